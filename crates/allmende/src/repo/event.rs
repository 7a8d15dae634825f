//! What happens to repositories, for whoever wants to hear of it: written down with the change itself, in the same
//! transaction, and taken up from there by a slice to the right that is not known here.
//!
//! A ref of git moves in no transaction of ours: [`super::moving`] notes what is about to move, and tells of it when it takes
//! that note away. So no crash loses an event; nothing is written while no webhook watches anything.

use allmende_core::id::CollaborationId;
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::{Gate, Kind, Repo, RepoName, Settings};
use crate::account::{AccountName, new_id, store as accounts};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::git::Oid;
use crate::git::refs::Change;
use crate::transaction;

/// Events that are taken up at once.
const AT_ONCE: i64 = 200;

/// A ref that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefUpdate {
    /// `refs/heads/main`.
    pub name: String,
    /// The commit that it led to before; nothing if it is new.
    pub old: Option<String>,
    /// The commit that it leads to now; nothing if it is gone.
    pub new: Option<String>,
}

impl From<&Change> for RefUpdate {
    fn from(change: &Change) -> Self {
        let there = |oid: Oid| (oid != Oid::ZERO).then(|| oid.to_string());
        Self { name: change.name.clone(), old: there(change.old), new: there(change.new) }
    }
}

/// What happened to a discussion or to a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// It is new.
    Create,
    /// It is another.
    Update,
}

/// A discussion as it was when something happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discussed {
    /// Its number.
    pub num: u64,
    /// The account that opened it; empty if that is gone.
    pub author: String,
    /// What it is about.
    pub title: String,
    /// The word for where it stands.
    pub status: String,
    /// Of a pull request, the branch that it is for.
    pub base: Option<String>,
    /// The commit that it was merged with.
    pub merge_commit: Option<String>,
}

/// A comment as it was when something happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Its id.
    pub id: String,
    /// The account that wrote it; empty if that is gone.
    pub author: String,
    /// What it says.
    pub text: String,
    /// Whether it was taken back.
    pub hidden: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Files came into a bucket or went from it.
    Files {
        /// Some of their paths, and whether they are there now.
        some: Vec<(String, bool)>,
        /// How many there are.
        count: u64,
    },
    /// A discussion or pull request; a new one comes with its first comment.
    Discussion(Action, Discussed, Option<Said>),
    /// A comment.
    Comment(Action, Discussed, Said),
}

/// What is kept of a repository with an event: as much as who may see it follows from.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    kind: Kind,
    owner: String,
    /// Of the owner, at that time.
    space: String,
    name: String,
    creator: String,
    private: bool,
    disabled: bool,
    collaboration: Option<CollaborationId>,
}

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its id.
    pub id: String,
    /// The repository as it was; nothing if its owner is gone.
    pub repo: Option<Repo>,
    /// What happened.
    pub event: Event,
    /// When.
    pub at: Timestamp,
}

fn corrupt(error: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column: "repo_events", message: error.to_string() }
}

/// Writes an event down, in the transaction of the change itself.
///
/// # Errors
/// [`DbError`].
pub async fn note(tx: &mut Tx, repo: &Repo, event: &Event, now: Timestamp) -> Result<(), DbError> {
    let kept = Kept {
        kind: repo.kind,
        owner: repo.owner.id.clone(),
        space: repo.owner.name.to_string(),
        name: repo.name.to_string(),
        creator: repo.creator.clone(),
        private: repo.private,
        disabled: repo.disabled,
        collaboration: repo.collaboration.clone(),
    };
    // Nobody listens: nothing is written.
    sqlx::query(
        "INSERT INTO repo_events (id, repo, kept, event, created_at)
         SELECT $1, $2, $3, $4, $5 WHERE EXISTS (SELECT 1 FROM webhook_watches)",
    )
    .bind(new_id().map_err(corrupt)?)
    .bind(&repo.id)
    .bind(serde_json::to_string(&kept).map_err(corrupt)?)
    .bind(serde_json::to_string(event).map_err(corrupt)?)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The same where the change was made already. It fails nobody: what happened has happened.
pub async fn tell(app: &App, repo: &Repo, event: Event) {
    let now = app.clock.now();
    let noted: Result<(), DbError> = transaction!(app.db, tx => { note(tx, repo, &event, now).await });
    if let Err(error) = noted {
        tracing::error!(repo = repo.id, %error, "an event was not written down");
    }
}

/// The events that wait, oldest first.
///
/// # Errors
/// [`DbError`].
pub async fn waiting(connection: &mut AnyConnection) -> Result<Vec<Waiting>, DbError> {
    let sql = "SELECT id, repo, kept, event, created_at FROM repo_events ORDER BY created_at, id LIMIT $1";
    let rows = sqlx::query(sql).bind(AT_ONCE).fetch_all(&mut *connection).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let (kept, event): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        let (kept, at): (Kept, _) = (serde_json::from_str(&kept).map_err(corrupt)?, Timestamp(row.try_get(4)?));
        let name: RepoName = kept.name.parse().map_err(corrupt)?;
        let space: AccountName = kept.space.parse().map_err(corrupt)?;
        let owner = accounts::by_id(connection, &kept.owner).await?;
        let id: String = row.try_get(1)?;
        let repo = owner.map(|owner| Repo {
            id,
            kind: kept.kind,
            owner: crate::account::Account { name: space, ..owner },
            name,
            creator: kept.creator,
            private: kept.private,
            gate: Gate::Off,
            disabled: kept.disabled,
            collaboration: kept.collaboration,
            settings: Settings::default(),
            created_at: at,
            modified_at: at,
            downloads: 0,
            likes: 0,
        });
        let event = serde_json::from_str(&event).map_err(corrupt)?;
        found.push(Waiting { id: row.try_get(0)?, repo, event, at });
    }
    Ok(found)
}

/// Takes an event out of those that wait. Says whether it still did: another process may have been first.
///
/// # Errors
/// [`DbError`].
pub async fn take(tx: &mut Tx, id: &str) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM repo_events WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}
