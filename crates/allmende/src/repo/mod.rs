//! Repositories of models, datasets, spaces and code: who owns them, who may do what, and their history in git; and
//! buckets, which have none.
//!
//! Architecture invariant: no hash, token or address yields bytes without a right that [`ops::look`] grants now.

pub mod api;
pub mod attributes;
pub mod bucket;
pub mod card;
pub mod changes;
pub mod cited;
pub mod event;
pub mod find;
pub mod history;
pub mod large;
pub mod moving;
mod name;
pub mod ops;
pub mod owned;
pub mod place;
pub mod push;
pub mod quota;
pub mod reads;
pub mod reindex;
pub mod store;
pub mod terms;

use allmende_core::agreement::check::Decision;
use allmende_core::id::CollaborationId;
use allmende_core::state::Refusal;
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use name::{InvalidRepoName, Kind, RepoName};

use crate::account::{Account, AccountError, Principal, Role};
use crate::db::DbError;
use crate::error::{ApiError, Code};
use crate::git::GitError;
use crate::ledger::AppendError;

/// Whether readers have to ask for the bytes of a repository first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// They need not.
    Off,
    /// Asking is enough.
    Auto,
    /// The owner answers each.
    Manual,
}

impl Gate {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Manual => "manual",
        }
    }

    /// The gate of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Off, Self::Auto, Self::Manual].into_iter().find(|gate| gate.as_str() == word)
    }
}

/// What its owner has set beside visibility and gate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Settings {
    /// Which kit a space is made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    /// Whether discussions and pull requests are closed.
    pub discussions_disabled: bool,
    /// Whether files that run code when they are loaded may stand in it.
    pub pickles_allowed: bool,
    /// Whether nobody can write to it any more.
    pub frozen: bool,
    /// Whether it follows another hub's repository, or bundles of it, and nobody writes to it here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mirror: bool,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// 24 hexadecimal digits; also the name of its folder. Moving changes nothing about it.
    pub id: String,
    /// What it holds.
    pub kind: Kind,
    /// Whose it is.
    pub owner: Account,
    /// Its name in the owner's space.
    pub name: RepoName,
    /// The account that created it.
    pub creator: String,
    /// Whether only its owner's people see it.
    pub private: bool,
    /// Whether readers have to ask.
    pub gate: Gate,
    /// Whether the operator has closed it.
    pub disabled: bool,
    /// Under whose terms it stands.
    pub collaboration: Option<CollaborationId>,
    /// Everything else.
    pub settings: Settings,
    /// Since when.
    pub created_at: Timestamp,
    /// When its main branch last changed.
    pub modified_at: Timestamp,
    /// How often it was read.
    pub downloads: u64,
    /// How many like it.
    pub likes: u64,
}

impl Repo {
    /// `owner/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner.name, self.name)
    }

    /// Whether anybody may see it.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        !self.private && !self.disabled && self.collaboration.is_none()
    }

    /// The deduplication domain that its bytes lie in: its collaboration's, or its owner's.
    #[must_use]
    pub fn domain(&self) -> String {
        match &self.collaboration {
            Some(collaboration) => format!("c-{collaboration}"),
            None => format!("a-{}", self.owner.id),
        }
    }
}

/// What somebody may do with a repository; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// See it, its files and its discussions.
    Read,
    /// Commit, push, merge.
    Write,
    /// Settings, moving, deleting.
    Admin,
}

/// What `principal` may do with `repo` by ownership, membership and the rights of the token; nothing if the answer is none,
/// and then nobody should learn that the repository exists. The terms of a collaboration come on top: [`ops::look`] asks
/// for both.
#[must_use]
fn right(principal: Option<&Principal>, repo: &Repo) -> Option<Right> {
    let anyone = repo.is_public().then_some(Right::Read);
    let Some(principal) = principal else { return anyone };
    let role = principal.role_in(&repo.owner.id);
    let by_role = role.map(|role| match role {
        Role::Admin => Right::Admin,
        Role::Write => Right::Write,
        Role::Contributor if repo.creator == principal.account.id => Right::Admin,
        Role::Contributor | Role::Read => Right::Read,
    });
    let (space, name) = (repo.owner.name.as_str(), repo.name.as_str());
    let by_token = by_role.and_then(|right| {
        let reach = |write| principal.token.rights.reach(space, name, write);
        match right {
            Right::Read => reach(false).then_some(Right::Read),
            right if reach(true) => Some(right),
            _ => reach(false).then_some(Right::Read),
        }
    });
    by_token.max(anyone)
}

/// Why something could not be done with a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// About accounts.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// About git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// It is there already.
    #[error("A {kind} repository called {name} already exists", kind = .0.kind.as_str(), name = .0.full_name())]
    Exists(Box<Repo>),
    /// Nothing there, or nothing that the caller may know of.
    #[error("Repository not found")]
    NotFound,
    /// What was given breaks a rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// The caller may see it, but not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The terms of its collaboration deny it. For members' eyes only.
    #[error("the terms deny it: {0}")]
    Denied(Box<Decision>),
    /// The log does not take what was done.
    #[error(transparent)]
    Log(#[from] AppendError),
    /// Whoever owns it keeps as many bytes of large files as they may.
    #[error(transparent)]
    Quota(#[from] quota::Exceeded),
}

impl From<sqlx::Error> for RepoError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<RepoError> for ApiError {
    fn from(error: RepoError) -> Self {
        let text = error.to_string();
        match error {
            RepoError::Db(inner) => inner.into(),
            RepoError::Account(inner) => inner.into(),
            RepoError::Git(inner) => inner.into(),
            RepoError::Exists(_) => Self::new(Code::Duplicate, text),
            RepoError::NotFound => Self::new(Code::NotFound, text),
            RepoError::Invalid(_) => Self::new(Code::BadRequest, text),
            RepoError::Forbidden(_) => Self::new(Code::Forbidden, text),
            RepoError::Denied(decision) => Refusal::Denied { decision }.into(),
            RepoError::Log(inner) => inner.into(),
            RepoError::Quota(_) => Self::new(Code::QuotaExceeded, text),
        }
    }
}

#[cfg(test)]
mod tests;
