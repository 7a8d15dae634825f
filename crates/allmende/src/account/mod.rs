//! People and organizations as owners and users of repositories, and their tokens.
//!
//! An account is how somebody is known to tools; a party is a legal entity with keys that signs. An organization may be a
//! party's: then the party's tokens act for it. Nothing that is signed is decided here.

pub mod device;
mod extract;
mod name;
pub mod store;
pub mod token;

use allmende_core::id::PartyId;
use allmende_core::time::Timestamp;

pub use extract::{PARTY, Principal};
pub use name::{AccountName, InvalidName};
pub use token::{Grant, Rights};

use crate::db::DbError;
use crate::error::{ApiError, Code};

/// A person or an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person, or a machine that acts for one.
    User,
    /// What several users belong to.
    Organization,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Organization => "organization",
        }
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// 24 hexadecimal digits, never given again.
    pub id: String,
    /// Person or organization.
    pub kind: Kind,
    /// Unique among both.
    pub name: AccountName,
    /// For people.
    pub full_name: String,
    /// The party that it is.
    pub party: Option<PartyId>,
    /// Whether new repositories are private unless something else is asked for.
    pub private_default: bool,
    /// Since when.
    pub created_at: Timestamp,
}

/// What a member may do in its organization; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read everything.
    Read,
    /// Also create repositories, and write those.
    Contributor,
    /// Also write all repositories.
    Write,
    /// Also settings, members, deleting.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Contributor, Self::Write, Self::Admin];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Contributor => "contributor",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The role of this word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// Belonging to an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// To which.
    pub organization: Account,
    /// As what.
    pub role: Role,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness,
    /// Somebody has it.
    #[error("the name '{0}' is taken")]
    Taken(AccountName),
    /// Nobody has it.
    #[error("there is no account '{0}'")]
    Unknown(String),
    /// Only organizations have members, and only users are.
    #[error("{0} belong to organizations, and only to those")]
    NotAMember(&'static str),
    /// The token is no text of this form.
    #[error("a token is 20 to 128 letters, digits, '-' and '_'")]
    BadToken,
}

impl From<sqlx::Error> for AccountError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// A new identifier of 24 hexadecimal digits.
///
/// # Errors
/// [`AccountError::Randomness`].
pub fn new_id() -> Result<String, AccountError> {
    let mut random = [0; 12];
    getrandom::fill(&mut random).map_err(|_| AccountError::Randomness)?;
    Ok(allmende_core::digest::to_hex(&random))
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let text = error.to_string();
        match error {
            AccountError::Db(inner) => inner.into(),
            AccountError::Randomness => Self::internal(error),
            AccountError::Taken(_) => Self::new(Code::Duplicate, text).hint("choose another name"),
            AccountError::Unknown(_) => Self::new(Code::NotFound, text),
            AccountError::NotAMember(_) | AccountError::BadToken => Self::new(Code::Unprocessable, text),
        }
    }
}
