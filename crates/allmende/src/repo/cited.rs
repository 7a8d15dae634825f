//! Which large files the revisions of a repository cite, and taking some of them out of all of them.

use std::collections::{HashMap, HashSet};

use allmende_core::digest::Digest;

use super::moving::move_refs;
use super::ops::{MAIN, Seen};
use super::{RepoError, Right, large};
use crate::app::App;
use crate::db::DbError;
use crate::git::reach::History;
use crate::git::refs::Ref;
use crate::git::{GitError, GitRepo, Oid};
use crate::transaction;

/// Refs that are looked through one after the other to say where a file stands; what only others lead to has no ref.
const MAX_REFS: usize = 200;
/// How often a history is made anew when others move its refs.
const MAX_ATTEMPTS: u32 = 3;

/// Where a large file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// One of its paths.
    pub path: String,
    /// The pointer's own id.
    pub oid: Oid,
    /// A ref that leads to it, in full.
    pub git_ref: Option<String>,
}

/// Every large file that a ref leads to, by the digits of its SHA-256, with a place of it: on main if it stands there.
///
/// # Errors
/// [`GitError`].
pub async fn places(git: &GitRepo) -> Result<HashMap<String, Place>, GitError> {
    let mut refs = git.refs("refs/").await?;
    let rank = |r: &Ref| match r.name.as_str() {
        MAIN => 0,
        name if name.starts_with("refs/heads/") => 1,
        name if name.starts_with("refs/tags/") => 2,
        _ => 3,
    };
    refs.retain(|r| !r.name.starts_with("refs/incoming/"));
    refs.sort_by_key(rank);
    let (mut found, mut seen) = (HashMap::new(), Vec::new());
    let mut note = |cited: crate::git::reach::Cited, git_ref: Option<&str>| {
        let place = Place { path: cited.path, oid: cited.oid, git_ref: git_ref.map(str::to_owned) };
        found.entry(cited.pointer.sha256).or_insert(place);
    };
    let rest = refs.split_off(refs.len().min(MAX_REFS));
    for r in &refs {
        if !seen.contains(&r.commit) {
            let history = History::Of { tips: &[r.commit], but: &seen };
            git.cited(history, |cited| note(cited, Some(&r.name))).await?;
            seen.push(r.commit);
        }
    }
    let rest: Vec<Oid> = rest.iter().map(|r| r.commit).collect();
    git.cited(History::Of { tips: &rest, but: &seen }, |cited| note(cited, None)).await?;
    Ok(found)
}

/// Forgets that the repository holds these files, for good. With `rewrite` their pointers go too, from every commit of every
/// branch, tag and pull request; without it those commits name files that are not there.
///
/// # Errors
/// [`GitError::Moved`] when others keep changing the repository.
pub async fn forget(app: &App, seen: &Seen, files: &[Digest], rewrite: bool) -> Result<(), RepoError> {
    seen.require(Right::Write)?;
    seen.require(Right::Admin)?;
    if rewrite {
        // Begun, it goes on to its end when whoever asked goes away.
        let (app, seen, gone) = (app.clone(), seen.clone(), files.iter().map(Digest::hex).collect());
        let work = app.tasks.clone().spawn(async move { take_out(&app, &seen, &gone).await });
        work.await.map_err(|e| GitError::Io(std::io::Error::other(e)))??;
    }
    transaction!(app.db, tx => {
        for sha256 in files {
            large::forget(tx, &seen.repo.id, sha256).await?;
        }
        Ok::<_, DbError>(())
    })?;
    Ok(())
}

async fn take_out(app: &App, seen: &Seen, files: &HashSet<String>) -> Result<(), RepoError> {
    let git = seen.git(app);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut gone = HashSet::new();
        git.cited(History::Whole, |cited| {
            if files.contains(&cited.pointer.sha256) {
                gone.insert(cited.oid);
            }
        })
        .await?;
        if gone.is_empty() {
            return Ok(());
        }
        let anew = git.without(&gone).await?;
        let moved = match anew.changes.is_empty() {
            true => Ok(()),
            false => move_refs(app, &seen.repo.id, anew.changes).await,
        };
        git.let_go(&anew.names).await?;
        match moved {
            Err(RepoError::Git(GitError::Moved(_))) if attempt < MAX_ATTEMPTS => {}
            other => return other,
        }
    }
}
