//! Writing anew what the database says of histories and git says too: of each repository the index of main's head, when main
//! last changed as far as that cannot be, and which of its large files a revision cites.
//!
//! What git does not say is left alone: who owns a repository, what stands in a bucket, what was deleted for good. A large file
//! that a revision cites is held again only where the record of its parts still stands; bytes come from nowhere else.

use std::collections::HashMap;

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use serde::Serialize;

use super::ops::MAIN;
use super::{Kind, Repo, RepoError, card, large, store};
use crate::db::{Db, DbError};
use crate::git::reach::History;
use crate::git::{Git, GitError, GitRepo, Oid};
use crate::transaction;

/// Rows that are read at once.
const PAGE: i64 = 256;
/// Findings that are named; more are counted.
const MAX_NAMED: usize = 10_000;
/// How often a head is looked at anew when others move it.
const MAX_ATTEMPTS: u32 = 100;

/// What there is to index.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The database.
    pub db: &'a Db,
    /// The bare repositories.
    pub git: &'a Git,
    /// The time.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// Nothing is written, only told.
    pub dry_run: bool,
}

/// Something that the database said otherwise than git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `owner/name`.
    pub repository: String,
    /// `head`, `modified`, `file`, `size` or `loose`; `missing` for what cannot be written anew.
    pub what: &'static str,
    /// The digits of the large file's SHA-256, or the ref.
    pub name: String,
    /// What the database said.
    pub was: String,
    /// What git says.
    pub is: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Repositories that were looked through.
    pub repositories: u64,
    /// What was wrong; it is written anew unless this was a dry run.
    pub wrong: Vec<Finding>,
    /// Large files that revisions cite and nothing has the bytes of. Files that were deleted for good are among them.
    pub missing: Vec<Finding>,
    /// Findings that are counted and not named here, because there are too many.
    pub unnamed: u64,
    /// Repositories that could not be looked through, and why.
    pub skipped: Vec<String>,
}

impl Report {
    fn note(&mut self, repo: &Repo, what: &'static str, name: impl Into<String>, was: String, is: String) {
        let list = if what == "missing" { &mut self.missing } else { &mut self.wrong };
        if list.len() < MAX_NAMED {
            list.push(Finding { repository: repo.full_name(), what, name: name.into(), was, is });
        } else {
            self.unnamed += 1;
        }
    }
}

/// Looks through all repositories, or the one of this kind, owner and name. Memory: the pointers of one repository.
/// `progress` hears how many were looked through.
///
/// # Errors
/// What kept it from going on; what was done until then is done. [`RepoError::NotFound`] when there is no such repository.
pub async fn reindex(
    place: Place<'_>,
    only: Option<(Kind, &str, &str)>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, RepoError> {
    let mut report = Report::default();
    if let Some((kind, space, name)) = only {
        let found = store::find(&mut *place.db.read().await?, kind, space, name).await?;
        one(place, &found.ok_or(RepoError::NotFound)?, &mut report).await?;
        progress(report.repositories);
        return Ok(report);
    }
    let mut after = String::new();
    loop {
        let ids = store::ids(&mut *place.db.read().await?, &after, PAGE).await?;
        let Some(last) = ids.last() else { return Ok(report) };
        after.clone_from(last);
        for id in ids {
            // It may have been deleted a moment ago.
            let found = store::by_id(&mut *place.db.read().await?, &id).await?;
            if let Some(repo) = found {
                one(place, &repo, &mut report).await?;
                progress(report.repositories);
            }
        }
    }
}

async fn one(place: Place<'_>, repo: &Repo, report: &mut Report) -> Result<(), RepoError> {
    if !repo.kind.has_history() {
        return Ok(());
    }
    let git = place.git.repo(&repo.id);
    let looked = async {
        head(place, repo, &git, report).await?;
        files(place, repo, &git, report).await
    };
    match looked.await {
        Err(RepoError::Git(error)) => {
            let gone = store::by_id(&mut *place.db.read().await?, &repo.id).await?.is_none();
            if !gone {
                report.skipped.push(format!("{} ({}): {error}", repo.full_name(), repo.id));
            }
        }
        other => other?,
    }
    report.repositories += 1;
    Ok(())
}

/// The commit that main leads to; none in a repository where nothing was committed yet.
async fn main(git: &GitRepo) -> Result<Option<Oid>, GitError> {
    match git.resolve(MAIN).await {
        Ok(commit) => Ok(Some(commit)),
        // A folder that is not there answers so too.
        Err(GitError::NoRevision(_)) if git.refs("refs/heads/main").await?.is_empty() => Ok(None),
        Err(other) => Err(other),
    }
}

async fn head(place: Place<'_>, repo: &Repo, git: &GitRepo, report: &mut Report) -> Result<(), RepoError> {
    let mut commit = main(git).await?;
    for attempt in 0..MAX_ATTEMPTS {
        let (is, at) = match commit {
            Some(commit) => {
                let made = git.history(commit, 0, 1).await?.pop().map_or(0, |commit| commit.at_s);
                (store::head_text(&card::head(git, commit).await?)?, Timestamp(made.saturating_mul(1_000)))
            }
            None => ("{}".to_owned(), repo.created_at),
        };
        let was = store::head(&mut *place.db.read().await?, &repo.id).await?;
        let now = (place.now)();
        // When it changed git says by the clocks of those who commit: the hub's own word stands where it can be true.
        let stands = repo.created_at <= repo.modified_at && repo.modified_at <= now;
        let modified_at = if stands { repo.modified_at } else { at.clamp(repo.created_at, now.max(repo.created_at)) };
        if was == is && stands {
            return Ok(());
        }
        if attempt == 0 && was != is {
            report.note(repo, "head", MAIN, was, is.clone());
        }
        if attempt == 0 && !stands {
            report.note(repo, "modified", MAIN, repo.modified_at.to_string(), modified_at.to_string());
        }
        if place.dry_run {
            return Ok(());
        }
        let kept: Result<(), DbError> =
            transaction!(*place.db, tx => { store::note_head(tx, &repo.id, &is, modified_at).await });
        kept?;
        // Others may have moved it and noted that before this was written: who wrote last looks once more.
        let standing = main(git).await?;
        if standing == commit {
            return Ok(());
        }
        commit = standing;
    }
    Err(GitError::Moved(MAIN.to_owned()).into())
}

async fn files(place: Place<'_>, repo: &Repo, git: &GitRepo, report: &mut Report) -> Result<(), RepoError> {
    let mut cited = HashMap::new();
    git.cited(History::Whole, |found| {
        cited.insert(found.pointer.sha256, found.pointer.size);
    })
    .await?;
    let mut after = String::new();
    loop {
        let page = large::notes(&mut *place.db.read().await?, &repo.id, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.sha256);
        for large::Note { sha256, size, since } in page {
            let Some(is) = cited.remove(&sha256) else { continue };
            if size != is {
                report.note(repo, "size", sha256.as_str(), size.to_string(), is.to_string());
            }
            if let Some(since) = since {
                report.note(repo, "loose", sha256.as_str(), since.to_string(), "cited".to_owned());
            }
            if (size != is || since.is_some()) && !place.dry_run {
                let kept: Result<(), DbError> =
                    transaction!(*place.db, tx => { large::put_right(tx, &repo.id, &sha256, is).await });
                kept?;
            }
        }
    }
    let mut lost: Vec<(String, u64)> = cited.into_iter().collect();
    lost.sort();
    for (sha256, size) in lost {
        let Ok(digest) = format!("sha256:{sha256}").parse::<Digest>() else { continue };
        let parts = large::parts(&mut *place.db.read().await?, &repo.id, &digest).await?;
        let Some(xet) = parts.filter(|(_, standing)| *standing == size).map(|(xet, _)| xet) else {
            report.note(repo, "missing", sha256, "not held".to_owned(), format!("{size} bytes"));
            continue;
        };
        report.note(repo, "file", sha256, "not held".to_owned(), format!("{size} bytes"));
        if !place.dry_run {
            let now = (place.now)();
            let held: Result<(), DbError> =
                transaction!(*place.db, tx => { large::hold(tx, repo, &digest, size, Some(&xet), now).await });
            held?;
        }
    }
    Ok(())
}
