//! What happens to repositories, for whoever wants to hear of it: written down with the change itself, in the same
//! transaction, and taken up from there by a slice to the right that is not known here.
//!
//! A ref of git moves in no transaction of ours: what is about to move is written down before ([`moving`]), and if nobody
//! said afterwards that it did, the refs themselves are asked ([`settle`]). So no crash loses an event; nothing is written
//! while no webhook watches anything.

use allmende_core::id::CollaborationId;
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::{Gate, Kind, Repo, RepoName, Settings};
use crate::account::{AccountName, new_id, store as accounts};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::git::{GitRepo, Oid};
use crate::transaction;

/// How old an intention is that nobody carries out any more, in milliseconds: refs take 20 seconds at most.
const INTENT_MS: i64 = 60_000;
/// Events and intentions that are taken up at once.
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

impl RefUpdate {
    /// With [`Oid::ZERO`] for none.
    #[must_use]
    pub fn new(name: &str, old: Oid, new: Oid) -> Self {
        let there = |oid: Oid| (oid != Oid::ZERO).then(|| oid.to_string());
        Self { name: name.to_owned(), old: there(old), new: there(new) }
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

async fn write(
    tx: &mut Tx,
    repo: &Repo,
    event: &Event,
    happened: bool,
    now: Timestamp,
) -> Result<Option<String>, DbError> {
    let id = new_id().map_err(corrupt)?;
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
    let done = sqlx::query(
        "INSERT INTO repo_events (id, repo, kept, event, happened, created_at)
         SELECT $1, $2, $3, $4, $5, $6 WHERE EXISTS (SELECT 1 FROM webhook_watches)",
    )
    .bind(&id)
    .bind(&repo.id)
    .bind(serde_json::to_string(&kept).map_err(corrupt)?)
    .bind(serde_json::to_string(event).map_err(corrupt)?)
    .bind(i64::from(happened))
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok((done.rows_affected() == 1).then_some(id))
}

/// Writes an event down, in the transaction of the change itself.
///
/// # Errors
/// [`DbError`].
pub async fn note(tx: &mut Tx, repo: &Repo, event: &Event, now: Timestamp) -> Result<(), DbError> {
    write(tx, repo, event, true, now).await.map(drop)
}

/// The same where the change was made already. It fails nobody: what happened has happened.
pub async fn tell(app: &App, repo: &Repo, event: Event) {
    let now = app.clock.now();
    let noted: Result<(), DbError> = transaction!(app.db, tx => { note(tx, repo, &event, now).await });
    if let Err(error) = noted {
        tracing::error!(repo = repo.id, %error, "an event was not written down");
    }
}

/// Writes down that refs are about to move; the id under which that stands, if anybody listens.
///
/// # Errors
/// [`DbError`].
pub async fn intend(app: &App, repo: &Repo, updates: Vec<RefUpdate>) -> Result<Option<String>, DbError> {
    let watched: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM (SELECT 1 FROM webhook_watches LIMIT 1) AS one")
        .fetch_one(&mut *app.db.read().await?)
        .await?;
    if watched == 0 || updates.is_empty() {
        return Ok(None);
    }
    let (now, event) = (app.clock.now(), Event::Refs(updates));
    transaction!(app.db, tx => { write(tx, repo, &event, false, now).await })
}

async fn happened(tx: &mut Tx, id: &str) -> Result<(), DbError> {
    sqlx::query("UPDATE repo_events SET happened = 1 WHERE id = $1").bind(id).execute(&mut **tx).await?;
    Ok(())
}

/// Does what moves refs, and tells of it whatever happens in between. What fails leaves an intention, which the refs
/// themselves belie.
///
/// # Errors
/// [`DbError`] before anything moved; inside, what `work` fails with.
pub async fn moving<T, E>(
    app: &App,
    repo: &Repo,
    updates: Vec<RefUpdate>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<Result<T, E>, DbError> {
    let intent = intend(app, repo, updates).await?;
    let done = work.await;
    crate::faults::point("event.after_refs");
    if let (Some(id), Ok(_)) = (intent, &done) {
        let noted: Result<(), DbError> = transaction!(app.db, tx => { happened(tx, &id).await });
        if let Err(error) = noted {
            tracing::warn!(%error, "that refs moved is told later");
        }
    }
    Ok(done)
}

/// Whether a ref has moved as it was to: it leads there, or on from there.
async fn has_moved(git: &GitRepo, update: &RefUpdate) -> bool {
    let stands = git.resolve(&update.name).await.ok();
    match (&update.new, stands) {
        (None, stands) => stands.is_none(),
        (Some(_), None) => false,
        (Some(new), Some(stands)) => match new.parse::<Oid>() {
            Ok(new) => new == stands || git.is_ancestor(new, stands).await.unwrap_or(false),
            Err(_) => false,
        },
    }
}

/// Decides of intentions that nobody carries out any more whether they were carried out. Gives their number.
///
/// # Errors
/// [`DbError`].
pub async fn settle(app: &App) -> Result<usize, DbError> {
    let before = app.clock.now().plus_ms(-INTENT_MS);
    let sql =
        "SELECT id, repo, event FROM repo_events WHERE happened = 0 AND created_at < $1 ORDER BY created_at LIMIT $2";
    let rows = sqlx::query(sql).bind(before.0).bind(AT_ONCE).fetch_all(&mut *app.db.read().await?).await?;
    for row in &rows {
        let (id, repo, event): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let git = app.git.repo(&repo);
        let mut moved = Vec::new();
        if let Event::Refs(updates) = serde_json::from_str(&event).map_err(corrupt)? {
            for update in updates {
                if has_moved(&git, &update).await {
                    moved.push(update);
                }
            }
        }
        let now = (!moved.is_empty()).then_some(Event::Refs(moved));
        let now = now.map(|event| serde_json::to_string(&event)).transpose().map_err(corrupt)?;
        let done: Result<(), DbError> = transaction!(app.db, tx => {
            match &now {
                Some(event) => {
                    let sql = "UPDATE repo_events SET happened = 1, event = $2 WHERE id = $1 AND happened = 0";
                    sqlx::query(sql).bind(&id).bind(event).execute(&mut **tx).await?;
                }
                None => {
                    let sql = "DELETE FROM repo_events WHERE id = $1 AND happened = 0";
                    sqlx::query(sql).bind(&id).execute(&mut **tx).await?;
                }
            }
            Ok(())
        });
        done?;
    }
    Ok(rows.len())
}

/// The events that wait, oldest first.
///
/// # Errors
/// [`DbError`].
pub async fn waiting(connection: &mut AnyConnection) -> Result<Vec<Waiting>, DbError> {
    let sql =
        "SELECT id, repo, kept, event, created_at FROM repo_events WHERE happened = 1 ORDER BY created_at, id LIMIT $1";
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
