//! What happens to repositories, for whoever wants to hear of it. Told after it happened, by value: a slice to the right
//! listens ([`crate::app::Nouns::tell`]) without being known here.

use futures::future::BoxFuture;
use serde_json::Value;

use super::Repo;
use crate::app::App;
use crate::git::Oid;
use crate::git::refs::Change;

/// A ref that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// `refs/heads/main`.
    pub name: String,
    /// Where it led before; nothing if it is new.
    pub old: Option<Oid>,
    /// Where it leads now; nothing if it is gone.
    pub new: Option<Oid>,
}

impl From<&Change> for RefUpdate {
    fn from(change: &Change) -> Self {
        let there = |oid: Oid| (oid != Oid::ZERO).then_some(oid);
        Self { name: change.name.clone(), old: there(change.old), new: there(change.new) }
    }
}

/// What happened to a discussion or to a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Create,
    /// It is another.
    Update,
    /// It is gone.
    Delete,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The repository is new.
    Created,
    /// The repository is gone.
    Removed,
    /// The repository, told as it was before, has another name.
    Moved {
        /// `owner/name`.
        name: String,
        /// The account it belongs to now.
        owner: String,
    },
    /// Its owner has set something.
    Configured,
    /// Branches, tags or pull requests' refs moved.
    Refs {
        /// By which a move that is told twice is known for one.
        id: String,
        /// What moved.
        updates: Vec<RefUpdate>,
    },
    /// A discussion or pull request, as payloads show it; with a comment it is about the comment.
    Discussion {
        /// What happened to it.
        action: Action,
        /// The discussion.
        discussion: Value,
        /// The comment.
        comment: Option<Value>,
    },
}

/// Hears of events, and says whether it has taken one up.
pub type Tell = for<'a> fn(&'a App, &'a Repo, Event) -> BoxFuture<'a, bool>;

/// Tells whoever listens, and gives whether they took it up. It fails nobody: what happened has happened.
pub async fn tell(app: &App, repo: &Repo, event: Event) -> bool {
    (app.nouns.tell)(app, repo, event).await
}
