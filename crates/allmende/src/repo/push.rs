//! What may be pushed: looked at where nobody sees it yet, then kept, and only then do refs move.

use std::collections::BTreeSet;

use allmende_core::digest::Digest;

use super::attributes::LARGE_BYTES;
use super::moving::{move_each, move_refs};
use super::ops::{MAIN, Seen};
use super::{Repo, RepoError, Right, history, large, quota};
use crate::app::App;
use crate::git::incoming::{Incoming, MAX_CHANGES, NewEntry};
use crate::git::objects::{MAX_POINTER_BYTES, MIN_POINTER_BYTES, Pointer};
use crate::git::reach::Object;
use crate::git::refs::{Change, is_valid_name};
use crate::git::{GitError, GitRepo, Oid, RepoPath};

/// Longest target of a symbolic link, in bytes.
const MAX_TARGET_BYTES: u64 = 4_096;
/// Commits whose changes are in memory at once.
const COMMITS_AT_ONCE: usize = 256;
/// Most bytes of the paths that so many commits change.
const MAX_PATH_BYTES: usize = 256 << 20;
/// Blobs that are read at once.
const BLOBS_AT_ONCE: usize = 4_096;

/// What became of a change: nothing to say, or why it was refused.
pub type Outcome = Result<(), String>;

/// Whether a ref may be pushed at all.
///
/// # Errors
/// What to tell whoever pushes.
pub fn admit(change: &Change) -> Outcome {
    let name = change.name.as_str();
    if !(name.starts_with("refs/heads/") || name.starts_with("refs/tags/")) {
        return Err("only branches and tags are pushed: this ref is kept by the hub".to_owned());
    }
    if !is_valid_name(name) {
        return Err("this is no valid name of a branch or tag".to_owned());
    }
    if name == MAIN && change.new == Oid::ZERO {
        return Err("the branch main cannot be deleted".to_owned());
    }
    Ok(())
}

fn refuse<T>(text: impl Into<String>) -> Result<T, GitError> {
    Err(GitError::Refused(text.into()))
}

/// Looks at everything that a push brings, before it is part of the repository: how large files are, and that the large
/// files that it names were uploaded here. What its commits put where comes from [`Looking::files`], and a push is looked at
/// once that is at its end.
///
/// # Errors
/// [`GitError::Refused`] with what to do.
pub async fn look<'a>(
    app: &App,
    seen: &Seen,
    incoming: &'a Incoming,
    changes: &[Change],
) -> Result<Looking<'a>, RepoError> {
    let looking = look_at(app, seen, incoming, changes).await?;
    match looking.lacking.first() {
        None => Ok(looking),
        Some((sha256, path)) => {
            let text = format!(
                "the large file {path} (sha256 {sha256}) was never uploaded to this repository: run 'git lfs install' and \
                 'git lfs push --all origin', then push again"
            );
            refuse(text).map_err(Into::into)
        }
    }
}

/// A large file that is named and not here: its digits, and a place of it.
pub type Lacking = (String, String);

/// The same for what comes from another hub, which may itself lack large files that were deleted there.
///
/// # Errors
/// [`GitError::Refused`] with what is wrong.
pub async fn look_at<'a>(
    app: &App,
    seen: &Seen,
    incoming: &'a Incoming,
    changes: &[Change],
) -> Result<Looking<'a>, RepoError> {
    let (commits, lacking) = look_at_objects(app, seen, incoming, changes).await?;
    Ok(Looking { incoming, commits, lacking, at: 0, changes: 0 })
}

/// A push that is looked at, some commits at a time: memory grows with what few commits change, and not with the history.
#[derive(Debug)]
pub struct Looking<'a> {
    incoming: &'a Incoming,
    commits: Vec<Oid>,
    lacking: Vec<Lacking>,
    /// How many of them were looked at.
    at: usize,
    changes: u64,
}

impl Looking<'_> {
    /// The large files that it names and that are not here.
    #[must_use]
    pub fn lacking(&self) -> &[Lacking] {
        &self.lacking
    }

    /// The blob and the place of each file that the next commits put somewhere, after a look at the names of files and at
    /// where links lead; none at the end.
    ///
    /// # Errors
    /// [`GitError::Refused`] with what to do.
    pub async fn files(&mut self) -> Result<Option<Vec<(Oid, RepoPath)>>, RepoError> {
        let end = self.commits.len().min(self.at + COMMITS_AT_ONCE);
        let some = &self.commits[self.at..end];
        if some.is_empty() {
            return Ok(None);
        }
        let (links, files) = some_entries(self.incoming, some, &mut self.changes).await?;
        self.at = end;
        look_at_links(self.incoming.git(), links).await?;
        Ok(Some(files))
    }
}

/// The new commits, and the large files that are not here, after a look at all objects.
async fn look_at_objects(
    app: &App,
    seen: &Seen,
    incoming: &Incoming,
    changes: &[Change],
) -> Result<(Vec<Oid>, Vec<Lacking>), RepoError> {
    let tips: Vec<Oid> = changes.iter().map(|change| change.new).filter(|new| *new != Oid::ZERO).collect();
    if tips.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let names: Vec<String> = tips.iter().map(|tip| format!("{tip}^{{commit}}")).collect();
    if incoming.git().kinds(&names).await?.iter().any(Option::is_none) {
        return refuse("a branch or tag leads to no commit, or its commit was not sent").map_err(Into::into);
    }
    let (mut commits, mut small) = (Vec::new(), Vec::new());
    let each = |object: Object| {
        match object.kind.as_str() {
            "commit" => commits.push(object.oid),
            "blob" if object.size > LARGE_BYTES => return refuse(too_large(&object.path, object.size)),
            "blob" if (MIN_POINTER_BYTES..=MAX_POINTER_BYTES).contains(&object.size) => {
                small.push((object.oid, object.path));
            }
            _ => {}
        }
        Ok(())
    };
    incoming.objects(&tips, each).await?;
    let lacking = look_at_pointers(app, seen, incoming.git(), &small).await?;
    Ok((commits, lacking))
}

type Placed = Vec<(Oid, RepoPath)>;

/// The links and the files that some commits put somewhere.
async fn some_entries(incoming: &Incoming, commits: &[Oid], total: &mut u64) -> Result<(Placed, Placed), GitError> {
    let (mut links, mut files, mut path_bytes) = (Vec::new(), Vec::new(), 0);
    let each = |entry: NewEntry| {
        *total += 1;
        path_bytes += entry.path.len();
        if *total > MAX_CHANGES || path_bytes > MAX_PATH_BYTES {
            return refuse(format!(
                "the push changes more than {MAX_CHANGES} files, or {COMMITS_AT_ONCE} commits of it name files in more than \
                 {MAX_PATH_BYTES} bytes: send fewer commits at once"
            ));
        }
        let Ok(text) = std::str::from_utf8(&entry.path) else { return refuse("a path is not UTF-8") };
        let path: RepoPath = text.parse().map_err(|e: crate::git::InvalidPath| GitError::Refused(e.to_string()))?;
        match entry.mode.as_str() {
            "120000" => links.push((entry.oid, path)),
            "100644" | "100755" => files.push((entry.oid, path)),
            _ => {}
        }
        Ok(())
    };
    incoming.entries(commits, each).await?;
    Ok((links, files))
}

fn too_large(path: &str, size: u64) -> String {
    let path = if path.is_empty() { "a file" } else { path };
    format!(
        "{path} has {size} bytes, and files of more than {LARGE_BYTES} go beside git: run \
         'git lfs migrate import --everything --above=10MiB', then push again"
    )
}

async fn look_at_links(git: &GitRepo, links: Vec<(Oid, RepoPath)>) -> Result<(), GitError> {
    for some in links.chunks(BLOBS_AT_ONCE) {
        let oids: Vec<Oid> = some.iter().map(|(oid, _)| *oid).collect();
        let kinds = git.kinds(&oids).await?;
        if kinds.iter().any(|kind| kind.as_ref().is_none_or(|(_, size)| *size > MAX_TARGET_BYTES)) {
            return refuse("a symbolic link leads nowhere, or is too long");
        }
        for ((_, path), target) in some.iter().zip(git.blobs(&oids).await?) {
            let inside = target.as_deref().is_some_and(|target| stays_inside(path, target));
            if !inside {
                return refuse(format!("the symbolic link {path} leads outside the repository"));
            }
        }
    }
    Ok(())
}

/// Whether a link at `path` leads to a place inside the repository, whatever other links stand on the way: it goes up first,
/// no further than to the root, and then down by names that a path may have.
fn stays_inside(path: &RepoPath, target: &[u8]) -> bool {
    let Ok(target) = std::str::from_utf8(target) else { return false };
    let mut place: Vec<&str> = path.as_str().split('/').collect();
    place.pop();
    let mut down = false;
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." if !down && !place.is_empty() => {
                place.pop();
            }
            "" | ".." => return false,
            name => {
                down = true;
                place.push(name);
            }
        }
    }
    let drive = |name: &str| name.len() == 2 && name.ends_with(':');
    place.is_empty() || (place.join("/").parse::<RepoPath>().is_ok() && !place.first().is_some_and(|name| drive(name)))
}

/// The pointers whose large files are not here.
async fn look_at_pointers(
    app: &App,
    seen: &Seen,
    git: &GitRepo,
    small: &[(Oid, String)],
) -> Result<Vec<Lacking>, RepoError> {
    let (mut known, mut lacking) = (BTreeSet::new(), Vec::new());
    for some in small.chunks(BLOBS_AT_ONCE) {
        let oids: Vec<Oid> = some.iter().map(|(oid, _)| *oid).collect();
        for ((_, path), blob) in some.iter().zip(git.blobs(&oids).await?) {
            let Some(pointer) = blob.and_then(|bytes| Pointer::parse(&bytes)) else { continue };
            if known.is_empty() {
                let (mut connection, default) = (app.db.read().await?, app.config.default_quota_bytes);
                match quota::require_in(&mut connection, &seen.repo, 0, default).await {
                    Err(RepoError::Quota(exceeded)) => return refuse(exceeded.to_string()).map_err(Into::into),
                    asked => asked?,
                }
            }
            if !known.insert((pointer.sha256.clone(), pointer.size)) {
                continue;
            }
            let sha256: Option<Digest> = format!("sha256:{}", pointer.sha256).parse().ok();
            let held = match &sha256 {
                Some(sha256) => large::cite(&app.db, &seen.repo, sha256).await?,
                None => None,
            };
            if held != Some(pointer.size) {
                lacking.push((pointer.sha256, path.clone()));
            }
        }
    }
    Ok(lacking)
}

/// Keeps what was looked at and moves the refs: all or none if `together`, and otherwise each by itself. What is begun here
/// goes on to its end when whoever pushed goes away.
///
/// # Errors
/// [`RepoError`]. That a ref moved in the meantime is an outcome.
pub async fn land(
    app: &App,
    seen: &Seen,
    incoming: Incoming,
    changes: Vec<Change>,
    together: bool,
) -> Result<Vec<Outcome>, RepoError> {
    seen.require(Right::Write)?;
    let work = landing(app.clone(), seen.repo.clone(), incoming, changes, together);
    let done = app.tasks.spawn(work).await;
    done.map_err(|e| GitError::Io(std::io::Error::other(e)))?
}

async fn landing(
    app: App,
    repo: Repo,
    incoming: Incoming,
    changes: Vec<Change>,
    together: bool,
) -> Result<Vec<Outcome>, RepoError> {
    let mut outcomes = Vec::with_capacity(changes.len());
    for change in &changes {
        outcomes.push(onward(incoming.git(), change).await?);
    }
    match history::charge(&app, &repo, incoming.size_bytes().await?).await {
        Err(RepoError::Quota(exceeded)) => return Ok(changes.iter().map(|_| Err(exceeded.to_string())).collect()),
        charged => charged?,
    }
    crate::faults::point("push.before_keep");
    incoming.keep().await?;
    crate::faults::point("push.before_refs");
    if together {
        if outcomes.iter().any(Result::is_err) {
            let other = || Err("another ref of the same push was refused".to_owned());
            return Ok(outcomes.into_iter().map(|outcome| outcome.and_then(|()| other())).collect());
        }
        let outcome = match move_refs(&app, &repo.id, changes).await {
            Err(RepoError::Git(error)) => moved(Err(error))?,
            other => Ok(other?),
        };
        outcomes.fill(outcome);
    } else {
        let admitted = changes.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let admitted: Vec<Change> = admitted.map(|(change, _)| change).collect();
        let mut landed = move_each(&app, &repo.id, admitted).await?.into_iter();
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
            *outcome = moved(landed.next().ok_or(GitError::Answer("an outcome is missing"))?)?;
        }
    }
    crate::faults::point("push.after_refs");
    Ok(outcomes)
}

/// Keeps what was looked at and moves the refs of a mirror, all or none, wherever its source moved them. Once begun it goes on
/// to its end.
///
/// # Errors
/// [`GitError::Moved`] when another is at it, [`RepoError::Quota`] when there is no room for its history.
pub async fn follow(app: &App, repo: &Repo, incoming: Incoming, changes: Vec<Change>) -> Result<(), RepoError> {
    let (app, repo) = (app.clone(), repo.clone());
    let tasks = app.tasks.clone();
    let work = async move {
        history::charge(&app, &repo, incoming.size_bytes().await?).await?;
        crate::faults::point("push.before_keep");
        incoming.keep().await?;
        crate::faults::point("push.before_refs");
        if !changes.is_empty() {
            move_refs(&app, &repo.id, changes).await?;
        }
        crate::faults::point("push.after_refs");
        Ok(())
    };
    tasks.spawn(work).await.map_err(|e| GitError::Io(std::io::Error::other(e)))?
}

/// The history of main only grows: others build upon it, and what was agreed on stands in it.
async fn onward(git: &GitRepo, change: &Change) -> Result<Outcome, GitError> {
    if change.name != MAIN || change.old == Oid::ZERO {
        return Ok(Ok(()));
    }
    Ok(match git.is_ancestor(change.old, change.new).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the history of main only grows: fetch, merge, and push again".to_owned()),
        Err(GitError::Failed { .. }) => Err("main is not where this push believes: fetch first".to_owned()),
        Err(error) => return Err(error),
    })
}

fn moved(result: Result<(), GitError>) -> Result<Outcome, GitError> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(GitError::Moved(_)) => Ok(Err("it moved in the meantime: fetch first".to_owned())),
        Err(GitError::BadRef(_)) => Ok(Err("this is no valid name of a branch or tag".to_owned())),
        Err(GitError::Failed { said, .. }) => {
            tracing::warn!(said, "a ref could not be moved");
            Ok(Err("the ref could not be moved".to_owned()))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let inside = |path: &str, target: &str| stays_inside(&path.parse().unwrap(), target.as_bytes());
        for (path, target) in
            [("a", "b"), ("a", "./b/c"), ("d/a", "../b"), ("d/e/a", "../.."), ("d/a", ".."), ("a", "."), ("a", "b/")]
        {
            assert!(inside(path, target), "{path} -> {target}");
        }
        for (path, target) in [
            ("a", ".."),
            ("a", "../b"),
            ("d/a", "../../b"),
            ("a", "/etc/passwd"),
            ("a", ""),
            // Inside by its letters; outside where b is a link that leads up.
            ("a", "b/../c"),
            ("d/e/a", "../x/.."),
            ("a", ".git/config"),
            ("a", ".GIT/config"),
            ("a", "C:/x"),
            ("a", "b\\c"),
            ("a", "b\nc"),
        ] {
            assert!(!inside(path, target), "{path} -> {target}");
        }
        assert!(!stays_inside(&"a".parse().unwrap(), b"\xff"));
    }

    #[test]
    fn refs_that_may_be_pushed() {
        let (zero, some) = (Oid::ZERO, "1".repeat(40).parse().unwrap());
        let change = |name: &str, new| Change { name: name.to_owned(), old: zero, new };
        for name in ["refs/heads/main", "refs/heads/a/b", "refs/tags/v1"] {
            assert_eq!(admit(&change(name, some)), Ok(()));
        }
        for name in ["refs/pr/1", "refs/incoming/x", "HEAD", "refs/heads/../x", "refs/heads/", "refs/notes/x"] {
            assert!(admit(&change(name, some)).is_err(), "{name}");
        }
        assert!(admit(&change(MAIN, zero)).is_err() && admit(&change("refs/heads/x", zero)).is_ok());
    }
}
