//! Discussions about a repository, and pull requests: discussions that bring a line of history with them.

pub mod pulls;
pub mod store;
pub mod told;

use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::account::{Account, Principal};
use crate::repo::ops::Seen;
use crate::repo::{RepoError, Right};

/// Longest title, in characters.
const MAX_TITLE_CHARS: usize = 200;
/// Longest comment, in bytes.
pub const MAX_COMMENT_BYTES: usize = 64 << 10;
/// Most events of one discussion.
pub const MAX_EVENTS: usize = 5_000;
/// Most discussions of one repository.
pub const MAX_DISCUSSIONS: i64 = 100_000;

/// Where a discussion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A pull request that nobody needs to look at yet.
    Draft,
    /// Going on.
    Open,
    /// Over.
    Closed,
    /// A pull request that was taken.
    Merged,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }

    /// The status of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Draft, Self::Open, Self::Closed, Self::Merged].into_iter().find(|status| status.as_str() == word)
    }

    /// Whether it goes on.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Draft | Self::Open)
    }
}

/// A discussion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discussion {
    /// The repository's id.
    pub repo: String,
    /// Its number there, from 1.
    pub num: u64,
    /// Who opened it, if they are still known.
    pub author: Option<Account>,
    /// What it is about.
    pub title: String,
    /// Where it stands.
    pub status: Status,
    /// Whether it brings changes.
    pub pull_request: bool,
    /// The branch that it would change.
    pub base: String,
    /// The commit that it was merged with.
    pub merge_commit: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
}

impl Discussion {
    /// The ref of its changes.
    #[must_use]
    pub fn git_ref(&self) -> String {
        git_ref(self.num)
    }

    /// Whether `principal` opened it.
    #[must_use]
    pub fn is_of(&self, principal: &Principal) -> bool {
        self.author.as_ref().is_some_and(|author| author.id == principal.account.id)
    }
}

/// The ref of the pull request with this number.
#[must_use]
pub fn git_ref(num: u64) -> String {
    format!("refs/pr/{num}")
}

/// What happened in a discussion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// Somebody said something.
    Comment {
        /// Markdown, as written; empty once hidden.
        text: String,
        /// Whether it was changed since.
        edited: bool,
        /// Whether it was taken back.
        hidden: bool,
    },
    /// It was opened, closed or merged.
    StatusChange {
        /// Where it stands since.
        status: Status,
    },
    /// It was given another title.
    TitleChange {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// A commit came to a pull request.
    Commit {
        /// Its first line.
        subject: String,
        /// Its id.
        oid: String,
    },
}

impl What {
    /// The word for it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Comment { .. } => "comment",
            Self::StatusChange { .. } => "status-change",
            Self::TitleChange { .. } => "title-change",
            Self::Commit { .. } => "commit",
        }
    }
}

/// Something that happened in a discussion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// 24 hexadecimal digits.
    pub id: String,
    /// Who did it, if they are still known.
    pub author: Option<Account>,
    /// What.
    pub what: What,
    /// When.
    pub created_at: Timestamp,
}

/// A title as it is kept.
///
/// # Errors
/// [`RepoError::Invalid`].
pub fn title(text: &str) -> Result<String, RepoError> {
    let text = text.trim();
    let chars = text.chars().count();
    if !(3..=MAX_TITLE_CHARS).contains(&chars) || text.chars().any(char::is_control) {
        return Err(RepoError::Invalid("a title has 3 to 200 characters, on one line"));
    }
    Ok(text.to_owned())
}

/// A comment as it is kept.
///
/// # Errors
/// [`RepoError::Invalid`].
pub fn comment(text: &str) -> Result<String, RepoError> {
    if text.trim().is_empty() || text.len() > MAX_COMMENT_BYTES || text.contains('\0') {
        return Err(RepoError::Invalid("a comment has 1 byte to 64 KiB of text"));
    }
    Ok(text.to_owned())
}

/// Refuses unless `principal` may change what `discussion` is: its author, or whoever may write to the repository.
///
/// # Errors
/// [`RepoError::Forbidden`].
pub fn require_steward(seen: &Seen, discussion: &Discussion, principal: &Principal) -> Result<(), RepoError> {
    if discussion.is_of(principal) && principal.token.rights != crate::account::Rights::Read {
        return Ok(());
    }
    seen.require(Right::Write)
}
