//! How the refs of a repository move, whoever moves them. Git's ref is the commit point; what the database says of it is an
//! index that follows.
//!
//! What is about to move is noted first, and the note goes last, when the index and the events are written. A process that
//! dies in between leaves the note, and any process of the hub finds it ([`heal`]): what moved is indexed and told then, at
//! most half a minute and a moment later, and what did not move cannot move any more, because the
//! [gate](crate::git::gate) that it was begun through is closed before the note goes.

use std::time::Duration;

use allmende_core::time::Timestamp;
use sqlx::{AnyConnection, Row as _};

use super::event::{self, Event, RefUpdate};
use super::ops::MAIN;
use super::{Repo, RepoError, card, store};
use crate::account::new_id;
use crate::app::App;
use crate::db::{Db, DbError, Tx};
use crate::git::refs::Change;
use crate::git::{GitError, GitRepo, Oid};
use crate::transaction;

/// How old a note is that is looked into. A move takes milliseconds; one that takes longer is broken off by it.
const OLD: Duration = Duration::from_secs(30);
/// How often is looked for them.
const EVERY: Duration = Duration::from_secs(5);
/// Most that are looked into in one go.
const MAX_NOTES: i64 = 100;
/// How often the index of a head is written anew when others move it.
const MAX_ATTEMPTS: u32 = 100;

/// Moves refs of the repository of this id, all or none, and sees to what follows: the index of main's head, and whoever
/// listens. Begun, it goes on to its end when whoever asked goes away.
///
/// # Errors
/// [`GitError::Moved`] when a ref is not where its change begins. After another failure they may have moved all the same, and
/// what follows is seen to later.
pub async fn move_refs(app: &App, repo: &str, changes: Vec<Change>) -> Result<(), RepoError> {
    let work = moved(app.clone(), repo.to_owned(), changes, true);
    let outcomes = app.tasks.spawn(work).await.map_err(|e| GitError::Io(std::io::Error::other(e)))??;
    Ok(outcomes.into_iter().collect::<Result<(), GitError>>()?)
}

/// The same for changes of which each is made or not by itself. Gives what became of each.
///
/// # Errors
/// [`RepoError`] when nothing was begun, or when what follows is seen to later.
pub async fn move_each(app: &App, repo: &str, changes: Vec<Change>) -> Result<Vec<Result<(), GitError>>, RepoError> {
    let work = moved(app.clone(), repo.to_owned(), changes, false);
    app.tasks.spawn(work).await.map_err(|e| GitError::Io(std::io::Error::other(e)))?
}

/// One outcome for all changes together, or one for each.
async fn moved(
    app: App,
    repo: String,
    changes: Vec<Change>,
    together: bool,
) -> Result<Vec<Result<(), GitError>>, RepoError> {
    let git = app.git.repo(&repo);
    // Before the note is written: whoever finds it closes this gate, or a later one.
    let mut gate = git.gate().await?;
    let note = Note { id: new_id()?, repo, changes };
    begin(&app.db, &note, app.clock.now()).await?;
    crate::faults::point("refs.noted");
    let (mut outcomes, mut done, mut unknown) = (Vec::new(), Vec::new(), false);
    for some in note.changes.chunks(if together { note.changes.len().max(1) } else { 1 }) {
        let outcome = git.change_refs_through(&mut gate, some).await;
        match &outcome {
            Ok(()) => done.extend(some),
            Err(GitError::Moved(_) | GitError::BadRef(_)) => {}
            Err(_) => unknown = true,
        }
        outcomes.push(outcome);
    }
    crate::faults::point("refs.moved");
    // Where it is unknown what moved the note stays: it is looked into when nothing can move any more.
    if !unknown {
        follow(&app, &note, &done).await?;
    }
    Ok(outcomes)
}

/// Sees to what follows from changes that were made, and takes the note away.
async fn follow(app: &App, note: &Note, done: &[&Change]) -> Result<(), RepoError> {
    if done.iter().any(|change| change.name == MAIN) {
        match keep_head(&app.db, &note.repo, &app.git.repo(&note.repo), app.clock.now()).await {
            // Only a mirror's may be gone.
            Err(RepoError::Git(GitError::NoRevision(_))) => {}
            kept => kept?,
        }
    }
    crate::faults::point("refs.indexed");
    let repo = match done.is_empty() {
        true => None,
        false => store::by_id(&mut *app.db.read().await?, &note.repo).await?,
    };
    let updates = done.iter().map(|change| RefUpdate::from(*change)).collect();
    let (event, now) = (Event::Refs(updates), app.clock.now());
    let ended: Result<(), DbError> = transaction!(app.db, tx => {
        // Two may see to it at once, whoever began it and whoever thought them dead: it is told once.
        if end(tx, note, !done.is_empty()).await?
            && let Some(repo) = &repo
        {
            event::note(tx, repo, &event, now).await?;
        }
        Ok(())
    });
    Ok(ended?)
}

/// Writes the index of main's head as git says it, whoever moves it meanwhile: who wrote last has looked once more after.
///
/// # Errors
/// [`RepoError`]; there must be a main branch.
pub async fn keep_head(db: &Db, repo: &str, git: &GitRepo, now: Timestamp) -> Result<(), RepoError> {
    let mut commit = git.resolve(MAIN).await?;
    for _ in 0..MAX_ATTEMPTS {
        let text = store::head_text(&card::head(git, commit).await?)?;
        let kept: Result<(), DbError> = transaction!(*db, tx => { store::note_head(tx, repo, &text, now).await });
        kept?;
        let standing = git.resolve(MAIN).await?;
        if standing == commit {
            return Ok(());
        }
        commit = standing;
    }
    Err(GitError::Moved(MAIN.to_owned()).into())
}

/// What is noted of refs that move.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    id: String,
    repo: String,
    changes: Vec<Change>,
}

impl Note {
    fn text(&self) -> Result<String, DbError> {
        let text = |oid: Oid| oid.to_string();
        let changes: Vec<(&str, String, String)> =
            self.changes.iter().map(|change| (change.name.as_str(), text(change.old), text(change.new))).collect();
        serde_json::to_string(&changes).map_err(|e| corrupt(&e))
    }
}

async fn begin(db: &Db, note: &Note, now: Timestamp) -> Result<(), DbError> {
    let changes = note.text()?;
    transaction!(*db, tx => {
        sqlx::query("INSERT INTO ref_moves (id, repo, changes, begun_at) VALUES ($1, $2, $3, $4)")
            .bind(&note.id)
            .bind(&note.repo)
            .bind(&changes)
            .bind(now.0)
            .execute(&mut **tx)
            .await?;
        Ok(())
    })
}

/// Takes a note away, and where refs moved all that note the very same move: who repeats what a hub died over makes the same
/// commit, and it is told once. Says whether it was still there.
async fn end(tx: &mut Tx, note: &Note, moved: bool) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM ref_moves WHERE id = $1").bind(&note.id).execute(&mut **tx).await?;
    if moved {
        sqlx::query("DELETE FROM ref_moves WHERE repo = $1 AND changes = $2")
            .bind(&note.repo)
            .bind(note.text()?)
            .execute(&mut **tx)
            .await?;
    }
    Ok(done.rows_affected() == 1)
}

fn corrupt(message: &dyn std::fmt::Display) -> DbError {
    DbError::Corrupt { column: "ref_moves.changes", message: message.to_string() }
}

async fn notes(connection: &mut AnyConnection, before: Timestamp) -> Result<Vec<Note>, DbError> {
    let sql = "SELECT id, repo, changes FROM ref_moves WHERE begun_at <= $1 ORDER BY begun_at, id LIMIT $2";
    let rows = sqlx::query(sql).bind(before.0).bind(MAX_NOTES).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let changes: Vec<(String, String, String)> =
                serde_json::from_str(row.try_get(2)?).map_err(|e| corrupt(&e))?;
            let changes = changes.into_iter().map(|(name, old, new)| {
                let oid = |text: String| text.parse().map_err(|e: GitError| corrupt(&e));
                Ok(Change { name, old: oid(old)?, new: oid(new)? })
            });
            Ok(Note { id: row.try_get(0)?, repo: row.try_get(1)?, changes: changes.collect::<Result<_, DbError>>()? })
        })
        .collect()
}

/// Sees to what follows from every move that was noted before and that nobody has seen to. Gives how many.
///
/// # Errors
/// [`RepoError`] of the database. What cannot be seen to now is logged and left.
pub async fn heal(app: &App, before: Timestamp) -> Result<u64, RepoError> {
    let mut healed = 0;
    for note in notes(&mut *app.db.read().await?, before).await? {
        match heal_one(app, &note).await {
            Ok(()) => healed += 1,
            Err(error) => {
                tracing::error!(repo = note.repo, %error, "what follows from a move of refs was not written and is tried again");
            }
        }
    }
    Ok(healed)
}

async fn heal_one(app: &App, note: &Note) -> Result<(), RepoError> {
    let found: Option<Repo> = store::by_id(&mut *app.db.read().await?, &note.repo).await?;
    if found.is_none() {
        let ended: Result<bool, DbError> = transaction!(app.db, tx => { end(tx, note, false).await });
        return Ok(ended.map(drop)?);
    }
    let git = app.git.repo(&note.repo);
    let mut done = done(&git, &note.changes).await?;
    if done.len() < note.changes.len() {
        // Whoever wrote the note may only be stopped: from here on it moves nothing.
        while git.close(&git.gate().await?).await?.is_none() {}
        done = self::done(&git, &note.changes).await?;
    }
    tracing::info!(
        repo = note.repo,
        moved = done.len(),
        of = note.changes.len(),
        "a move of refs was left in the middle"
    );
    follow(app, note, &done).await
}

/// Those of the changes that were made: the ref stands there, or main has gone on from there.
async fn done<'a>(git: &GitRepo, changes: &'a [Change]) -> Result<Vec<&'a Change>, RepoError> {
    let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
    let standing = git.values(&names).await?;
    let mut done = Vec::new();
    for change in changes {
        let at = standing.get(&change.name).copied().unwrap_or(Oid::ZERO);
        let went_on = at != change.old
            && at != Oid::ZERO
            && change.new != Oid::ZERO
            // What is no commit leads to nothing; what was never kept is no object at all.
            && git.is_ancestor(change.new, at).await.unwrap_or(false);
        if at == change.new || went_on {
            done.push(change);
        }
    }
    Ok(done)
}

/// Heals until the hub stops.
pub async fn keep(app: App) {
    while !app.closing.is_cancelled() {
        let before = app.clock.now().plus_ms(-i64::try_from(OLD.as_millis()).unwrap_or(i64::MAX));
        if let Err(error) = heal(&app, before).await {
            tracing::warn!(%error, "moves of refs that were left in the middle wait until this passes");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = app.closing.cancelled() => {}
        }
    }
}
