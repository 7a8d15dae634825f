//! Repositories that come from another hub: as bundles, signed files for places without a network, or by a mirror that
//! fetches what is new by itself.
//!
//! Both are the same bytes. [`export`] makes a bundle of what a receiver lacks, [`apply`] takes one, [`import`] takes one that
//! somebody brought, [`sync`] fetches one again and again. What came so is read-only here: it stands as its source stood.
//!
//! Architecture invariant: a bundle is believed in nothing that can be computed. Xorbs, files and objects are checked as
//! those of any sender; the signature says whose branches and tags they are.

pub mod api;
pub mod apply;
pub mod export;
pub mod import;
pub mod inspect;
pub mod manifest;
pub mod store;
pub mod sync;
pub mod view;

use allmende_core::signature::PublicKey;
use allmende_formats::bundle;

use crate::account::AccountError;
use crate::content::ContentError;
use crate::db::DbError;
use crate::error::{ApiError, Code};
use crate::exchange::ExchangeError;
use crate::git::GitError;
use crate::outbound::OutboundError;
use crate::repo::RepoError;
use crate::xet::XetError;

/// Why a bundle was not made or taken, or a mirror does not follow.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// About the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// About its history.
    #[error(transparent)]
    Git(#[from] GitError),
    /// About its large files.
    #[error(transparent)]
    Xet(#[from] XetError),
    /// About what is in its files.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// About who may do what.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// About accounts.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The source's address.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The bytes are no bundle.
    #[error("the bundle is refused: {0}")]
    Bundle(#[from] bundle::Error),
    /// It is a bundle, and not taken.
    #[error("{0}")]
    Refused(String),
    /// Another key signed it.
    #[error("the bundle is signed with {found}, not with {expected}")]
    OtherSigner {
        /// Who signed it.
        found: PublicKey,
        /// Who was to.
        expected: PublicKey,
    },
    /// What is asked for cannot be.
    #[error("{0}")]
    Bad(String),
    /// A repository stands there that is none of this kind.
    #[error("{0}")]
    Taken(&'static str),
    /// Somebody else is at it.
    #[error("{0}")]
    Busy(&'static str),
    /// The source did not give it.
    #[error("the source {0}")]
    Source(String),
    /// It broke off on the way.
    #[error("it broke off: {0}")]
    Broken(#[from] std::io::Error),
    /// A fault of this program.
    #[error("{0}")]
    Internal(String),
}

impl From<sqlx::Error> for MirrorError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<MirrorError> for ApiError {
    fn from(error: MirrorError) -> Self {
        let text = error.to_string();
        match error {
            MirrorError::Db(inner) => inner.into(),
            MirrorError::Repo(inner) => inner.into(),
            MirrorError::Git(inner) => inner.into(),
            MirrorError::Xet(inner) => inner.into(),
            MirrorError::Content(inner) => inner.into(),
            MirrorError::Exchange(inner) => inner.into(),
            MirrorError::Account(inner) => inner.into(),
            MirrorError::Outbound(_) | MirrorError::Bad(_) => Self::new(Code::BadRequest, text),
            MirrorError::Bundle(_) | MirrorError::Refused(_) => Self::new(Code::Unprocessable, text)
                .hint("nothing of it can be seen; 'allmende repository inspect' says more about a bundle's file"),
            MirrorError::OtherSigner { .. } => Self::new(Code::Forbidden, text)
                .hint("ask the other hub's operator for its key by another way; 'allmende repository inspect' shows who signed"),
            MirrorError::Taken(_) => Self::new(Code::Duplicate, text),
            MirrorError::Busy(_) => Self::new(Code::Conflict, text).hint("try again when it is done"),
            MirrorError::Source(_) => Self::new(Code::Unavailable, text),
            MirrorError::Broken(_) => Self::new(Code::BadRequest, "the bytes stopped coming").hint("send them again"),
            MirrorError::Internal(_) => Self::internal(error),
        }
    }
}
