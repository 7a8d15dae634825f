//! What happens to repositories, for whoever wants to hear of it. Told after it happened, by value: a slice to the right
//! listens ([`crate::app::Nouns::tell`]) without being known here.

use futures::future::BoxFuture;
use serde_json::Value;

use super::Repo;
use crate::app::App;
use crate::git::Oid;

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
    Refs(Vec<RefUpdate>),
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

/// Hears of events.
pub type Tell = for<'a> fn(&'a App, &'a Repo, Event) -> BoxFuture<'a, ()>;

/// Tells whoever listens. It fails nobody: what happened has happened.
pub async fn tell(app: &App, repo: &Repo, event: Event) {
    (app.nouns.tell)(app, repo, event).await;
}

/// Tells of one ref that moved; [`Oid::ZERO`] stands for none.
pub async fn tell_ref(app: &App, repo: &Repo, name: &str, old: Oid, new: Oid) {
    let there = |oid| (oid != Oid::ZERO).then_some(oid);
    let update = RefUpdate { name: name.to_owned(), old: there(old), new: there(new) };
    tell(app, repo, Event::Refs(vec![update])).await;
}
