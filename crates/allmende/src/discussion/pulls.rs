//! Pull requests: a ref of their own, and the merge.

use super::{Discussion, Status, What, git_ref, store, told};
use crate::account::Principal;
use crate::app::App;
use crate::git::merge::Merge;
use crate::git::refs::Change;
use crate::git::{GitError, GitRepo, Oid};
use crate::repo::event::Action;
use crate::repo::moving::move_refs;
use crate::repo::ops::{FOLLOWS, Seen, author};
use crate::repo::{RepoError, Right};
use crate::transaction;

/// Commits of the branch that are looked through for a merge that nobody noted.
const RECENT: u64 = 1_000;

/// What a pull request begins with.
#[derive(Debug, Clone)]
pub struct Start {
    /// Draft or open.
    pub status: Status,
    /// The branch that it is for, in full.
    pub base: String,
    /// The commit that its changes stand upon; where the branch is now, if none is named.
    pub from: Option<Oid>,
}

/// Opens a discussion with a first comment; a pull request with a ref of its own.
///
/// # Errors
/// [`RepoError`].
pub async fn open(
    app: &App,
    seen: &Seen,
    principal: &Principal,
    title: &str,
    text: &str,
    pull: Option<Start>,
) -> Result<u64, RepoError> {
    if seen.repo.settings.discussions_disabled {
        return Err(RepoError::Forbidden("Discussions are disabled for this repository"));
    }
    if pull.is_some() && seen.repo.settings.mirror {
        return Err(RepoError::Forbidden(FOLLOWS));
    }
    let (title, text) = (super::title(title)?, super::comment(text)?);
    let git = seen.git(app);
    let start = match &pull {
        Some(Start { from: Some(from), .. }) => Some(*from),
        Some(Start { base, .. }) => Some(git.resolve(base).await?),
        None => None,
    };
    let now = app.clock.now();
    let num = transaction!(app.db, tx => {
        let wanted = pull.as_ref().map(|pull| (pull.base.as_str(), pull.status));
        let num = store::open(tx, &seen.repo, &principal.account, &title, wanted, now).await?;
        let what = What::Comment { text: text.clone(), edited: false, hidden: false };
        let first = store::add(tx, &seen.repo, num, &principal.account, &what, now).await?;
        if let Some(opened) = store::find(tx, &seen.repo, num).await? {
            told::opened(tx, &seen.repo, &opened, &first, now).await?;
        }
        Ok::<_, RepoError>(num)
    })?;
    // A crash in between leaves a pull request without its ref: whoever commits to it next makes it.
    if let Some(new) = start {
        git.change_refs(&[Change { name: git_ref(num), old: Oid::ZERO, new }]).await?;
    }
    Ok(num)
}

/// The pull request that a ref belongs to, if it is one's, and if `principal` may commit to it: its author, or whoever may
/// write to the repository.
///
/// # Errors
/// [`RepoError::Forbidden`], or [`GitError::NoRevision`] when there is none.
pub async fn of_ref(
    app: &App,
    seen: &Seen,
    principal: &Principal,
    revision: &str,
) -> Result<Option<Discussion>, RepoError> {
    let Some(num) = revision.strip_prefix("refs/pr/") else { return Ok(None) };
    let missing = || RepoError::from(GitError::NoRevision(revision.to_owned()));
    let num: u64 = num.parse().map_err(|_| missing())?;
    let found = store::find(&mut *app.db.read().await?, &seen.repo, num).await?;
    let pull = found.filter(|d| d.pull_request).ok_or_else(missing)?;
    super::require_steward(seen, &pull, principal)?;
    if !pull.status.is_open() {
        return Err(RepoError::Forbidden("This pull request is over: nothing can be added to it"));
    }
    let git = seen.git(app);
    if let Err(GitError::NoRevision(_)) = git.resolve(revision).await {
        // Whoever opened it died before its ref was made.
        let new = git.resolve(&pull.base).await?;
        match git.change_refs(&[Change { name: revision.to_owned(), old: Oid::ZERO, new }]).await {
            Ok(()) | Err(GitError::Moved(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(Some(pull))
}

/// Notes a commit to a pull request.
///
/// # Errors
/// [`RepoError`].
pub async fn note_commit(
    app: &App,
    seen: &Seen,
    principal: &Principal,
    num: u64,
    oid: Oid,
    subject: &str,
) -> Result<(), RepoError> {
    let now = app.clock.now();
    let what = What::Commit { subject: subject.lines().next().unwrap_or_default().to_owned(), oid: oid.to_string() };
    transaction!(app.db, tx => {
        store::add(tx, &seen.repo, num, &principal.account, &what, now).await.map(|_| ())
    })
}

/// What a pull request would change, or has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// The files that both sides changed, while it goes on.
    pub conflicts: Vec<String>,
    /// The difference as text, if it was asked for; cut where it gets long.
    pub difference: String,
}

/// What stands between a pull request and the branch that it is for; nothing if one of them is gone. A difference shows what
/// stands in files: `with_difference` is for whoever may read those.
///
/// # Errors
/// [`GitError`].
pub async fn changes(git: &GitRepo, pull: &Discussion, with_difference: bool) -> Result<Changes, GitError> {
    let mut changes = Changes::default();
    let both = (git.resolve(&pull.base).await, git.resolve(&pull.git_ref()).await);
    let (Ok(base), Ok(other)) = both else { return Ok(changes) };
    if pull.status.is_open()
        && let Merge::Conflicts(files) = git.try_merge(base, other).await?
    {
        changes.conflicts = files;
    }
    if !with_difference {
        return Ok(changes);
    }
    // A merged one is compared with where its branch was.
    let first = match &pull.merge_commit {
        None => Some(base),
        Some(merged) => match git.resolve(merged).await {
            Ok(merged) => git.history(merged, 0, 1).await?.pop().and_then(|c| c.parents.first().copied()),
            Err(_) => None,
        },
    };
    if let Some(first) = first {
        changes.difference = git.difference(first, other).await?;
    }
    Ok(changes)
}

/// The message of the commit that a pull request is merged with.
fn title(pull: &Discussion) -> String {
    format!("{} (#{})", pull.title, pull.num)
}

/// The commit that the pull request was merged with already, if a process died before it could say so.
async fn merged(git: &GitRepo, pull: &Discussion, base: Oid, other: Oid) -> Result<Option<Oid>, GitError> {
    let latest = git.history(base, 0, RECENT).await?;
    let found = latest.into_iter().find(|c| c.parents.get(1) == Some(&other) && c.title == title(pull));
    Ok(found.map(|commit| commit.oid))
}

/// Takes a pull request: merges its commits into the branch that it is for.
///
/// # Errors
/// [`RepoError::Forbidden`] when files conflict or it is over.
pub async fn merge(
    app: &App,
    seen: &Seen,
    principal: &Principal,
    mut pull: Discussion,
    text: Option<&str>,
) -> Result<Oid, RepoError> {
    seen.require(Right::Write)?;
    if pull.status != Status::Open {
        return Err(RepoError::Forbidden(
            "Only a pull request that is open can be merged: a draft has to be published first",
        ));
    }
    let git = seen.git(app);
    let (base, other) = (git.resolve(&pull.base).await?, git.resolve(&pull.git_ref()).await?);
    let now = app.clock.now();
    let new = match merged(&git, &pull, base, other).await? {
        Some(new) => new,
        None => {
            let tree = match git.try_merge(base, other).await? {
                Merge::Tree(tree) => tree,
                Merge::Conflicts(_) => {
                    return Err(RepoError::Forbidden("The pull request has conflicts with the branch that it is for"));
                }
            };
            let title = title(&pull);
            let new = git.commit_tree(tree, &[base, other], &author(principal), &title, now).await?;
            move_refs(app, &seen.repo.id, vec![Change { name: pull.base.clone(), old: base, new }]).await?;
            new
        }
    };
    pull.status = Status::Merged;
    pull.merge_commit = Some(new.to_string());
    let text = text.map(super::comment).transpose()?;
    transaction!(app.db, tx => {
        if let Some(text) = &text {
            let what = What::Comment { text: text.clone(), edited: false, hidden: false };
            let comment = store::add(tx, &seen.repo, pull.num, &principal.account, &what, now).await?;
            told::commented(tx, &seen.repo, &pull, Action::Create, &comment, now).await?;
        }
        let what = What::StatusChange { status: Status::Merged };
        store::add(tx, &seen.repo, pull.num, &principal.account, &what, now).await?;
        store::change(tx, &pull).await?;
        told::changed(tx, &seen.repo, &pull, now).await.map_err(RepoError::from)
    })?;
    Ok(new)
}
