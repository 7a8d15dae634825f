//! What people do with repositories beside changing them: liking, collecting, asking for access, being told of changes.

pub mod access;
pub mod collections;
pub mod likes;
pub mod webhooks;

use allmende_core::time::Timestamp;

use crate::account::{AccountError, Principal, Rights};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::error::{ApiError, Code};
use crate::repo::{Kind, RepoError};
use crate::transaction;

/// Where a list goes on: the time of the last that was shown, and its id.
pub type Cursor = (Timestamp, String);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// About accounts.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// About repositories.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Nothing there, or nothing that the caller may know of.
    #[error("{0} not found")]
    Missing(&'static str),
    /// It cannot be like this.
    #[error("{0}")]
    Bad(String),
    /// It is there already.
    #[error("{0}")]
    Taken(&'static str),
    /// The caller may see it, but not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A limit on number.
    #[error("{0}")]
    TooMany(String),
    /// The files of a gated repository are not for the caller.
    #[error("{}", restricted(.kind, .name, *.standing))]
    Restricted {
        /// What it holds.
        kind: Kind,
        /// `owner/name`.
        name: String,
        /// How the caller stands.
        standing: Standing,
    },
}

/// How somebody stands before a gated repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has said who they are.
    Anonymous,
    /// They have not asked.
    Stranger,
    /// They have asked.
    Pending,
    /// They were refused.
    Rejected,
    /// They may, with another token.
    OtherToken,
}

fn restricted(kind: &Kind, name: &str, standing: Standing) -> String {
    let what = format!("{} {name}", kind.as_str());
    match standing {
        Standing::Anonymous => format!(
            "Access to {what} is restricted. You must have access to it and be authenticated to access it. Please log in."
        ),
        Standing::Stranger => format!(
            "Access to {what} is restricted and you are not in the authorized list. Ask for access on the repository's page."
        ),
        Standing::Pending => format!(
            "Access to {what} is restricted and you are not in the authorized list. Your request to access it is awaiting \
             a review from the repo authors."
        ),
        Standing::Rejected => format!(
            "Access to {what} is restricted and you are not in the authorized list. Your request to access it has been \
             rejected by the repo authors."
        ),
        Standing::OtherToken => format!("Access to {what} is restricted, and this token does not reach it."),
    }
}

impl From<sqlx::Error> for ExchangeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<ExchangeError> for ApiError {
    fn from(error: ExchangeError) -> Self {
        let text = error.to_string();
        match error {
            ExchangeError::Db(inner) => inner.into(),
            ExchangeError::Account(inner) => inner.into(),
            ExchangeError::Repo(inner) => inner.into(),
            ExchangeError::Missing(_) => Self::new(Code::NotFound, text),
            ExchangeError::Bad(_) => Self::new(Code::BadRequest, text),
            ExchangeError::Taken(_) => Self::new(Code::Duplicate, text),
            ExchangeError::TooMany(_) => Self::new(Code::TooMany, text),
            // Tools then ask their user for a token.
            ExchangeError::Restricted { standing: Standing::Anonymous, .. } => Self::new(Code::Unauthenticated, text),
            ExchangeError::Forbidden(_) | ExchangeError::Restricted { .. } => Self::new(Code::Forbidden, text),
        }
    }
}

/// Refuses tokens that may not do whatever their account may: what is done here is no repository's, so a token for some
/// places reaches none of it.
///
/// # Errors
/// [`ExchangeError::Forbidden`].
pub fn whole(principal: &Principal) -> Result<(), ExchangeError> {
    if principal.token.rights == Rights::Write {
        return Ok(());
    }
    Err(ExchangeError::Forbidden("This needs a token with the role 'write'"))
}

/// A text of people within its length, without characters that make it read differently from what it says.
fn prose(what: &str, text: &str, max_chars: usize) -> Result<String, ExchangeError> {
    let text = text.trim();
    if text.chars().count() > max_chars {
        return Err(ExchangeError::Bad(format!("{what} has more than {max_chars} characters")));
    }
    let control = text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    if control || allmende_core::canonical::forbidden_character(text).is_some() {
        return Err(ExchangeError::Bad(format!("{what} has a character that cannot be shown")));
    }
    Ok(text.to_owned())
}

/// Throws away what belongs to repositories, collections and webhooks that are gone, and deliveries that ended before
/// `before`. Gives the number of rows.
///
/// # Errors
/// [`DbError`].
pub async fn sweep(app: &App, before: Timestamp) -> Result<u64, DbError> {
    transaction!(app.db, tx => { sweep_in(tx, before).await })
}

async fn sweep_in(tx: &mut Tx, before: Timestamp) -> Result<u64, DbError> {
    let mut gone = 0;
    for sql in [
        "DELETE FROM likes WHERE repo NOT IN (SELECT id FROM repos)",
        "DELETE FROM access_requests WHERE repo NOT IN (SELECT id FROM repos)",
        "DELETE FROM collection_items WHERE collection NOT IN (SELECT id FROM collections)
            OR (kind = 'repo' AND target NOT IN (SELECT id FROM repos))
            OR (kind = 'collection' AND target NOT IN (SELECT id FROM collections))",
        "DELETE FROM webhook_deliveries WHERE webhook NOT IN (SELECT id FROM webhooks)",
    ] {
        gone += sqlx::query(sql).execute(&mut **tx).await?.rows_affected();
    }
    let old =
        sqlx::query("DELETE FROM webhook_deliveries WHERE ended_at < $1").bind(before.0).execute(&mut **tx).await?;
    Ok(gone + old.rows_affected())
}
