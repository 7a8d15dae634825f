//! Commits through the API: several changes at once, upon the head or upon a named parent.

use std::collections::BTreeMap;

use allmende_core::digest::Digest;

use super::moving::move_refs;
use super::ops::{Seen, author};
use super::{RepoError, history, large, quota};
use crate::account::Principal;
use crate::app::App;
use crate::git::commit::Builder;
use crate::git::objects::Pointer;
use crate::git::refs::Change as RefChange;
use crate::git::tree::EntryKind;
use crate::git::{GitError, GitRepo, Oid, RepoPath};

/// How often a commit upon the head is made anew when others move it.
const MAX_ATTEMPTS: u32 = 10;

/// One change of a commit.
#[derive(Debug)]
pub enum Change {
    /// A file of these bytes.
    Put {
        /// Where.
        path: RepoPath,
        /// What.
        bytes: Vec<u8>,
    },
    /// A large file that the repository holds.
    PutLarge {
        /// Where.
        path: RepoPath,
        /// SHA-256 of its bytes.
        sha256: Digest,
    },
    /// A file or folder goes.
    Delete {
        /// Where.
        path: RepoPath,
        /// Whether it is a folder.
        folder: bool,
    },
}

/// A commit that takes changes one after the other.
pub struct Commit<'a> {
    app: &'a App,
    seen: &'a Seen,
    git: GitRepo,
    principal: &'a Principal,
    branch: String,
    base: Oid,
    /// Whether it must stand upon exactly `base`.
    pinned: bool,
    message: String,
    builder: Builder,
    touched: BTreeMap<RepoPath, bool>,
    asked_for_room: bool,
    /// Bytes of files that git will keep.
    put_bytes: u64,
}

impl<'a> Commit<'a> {
    /// Begins a commit to `branch`, upon `parent` if one is named and otherwise upon whatever the branch leads to.
    ///
    /// # Errors
    /// [`GitError::NoRevision`], or [`GitError::Moved`] when the branch does not lead to `parent`.
    pub async fn begin(
        app: &'a App,
        seen: &'a Seen,
        principal: &'a Principal,
        branch: &str,
        parent: Option<&str>,
        message: &str,
    ) -> Result<Self, RepoError> {
        let git = seen.git(app);
        let full = if branch.starts_with("refs/") { branch.to_owned() } else { format!("refs/heads/{branch}") };
        let base = git.resolve(&full).await.map_err(|_| GitError::NoRevision(branch.to_owned()))?;
        if let Some(parent) = parent
            && !(parent.len() >= 7 && base.to_string().starts_with(parent))
        {
            return Err(GitError::Moved(full).into());
        }
        let builder = Builder::start(&git, &[base], &author(principal), message, app.clock.now()).await?;
        let (pinned, message) = (parent.is_some(), message.to_owned());
        let (branch, touched) = (full, BTreeMap::new());
        Ok(Self {
            app,
            seen,
            git,
            principal,
            branch,
            base,
            pinned,
            message,
            builder,
            touched,
            asked_for_room: false,
            put_bytes: 0,
        })
    }

    /// Takes a change.
    ///
    /// # Errors
    /// [`RepoError::Forbidden`] when it cites bytes that the repository does not hold.
    pub async fn take(&mut self, change: Change) -> Result<(), RepoError> {
        match change {
            Change::Put { path, bytes } => {
                self.builder.put(&path, &bytes).await?;
                self.put_bytes += bytes.len() as u64;
                self.touched.insert(path, true);
            }
            Change::PutLarge { path, sha256 } => {
                let size = large::cite(&self.app.db, &self.seen.repo, &sha256).await?;
                let missing = "a large file was never uploaded to this repository: upload its bytes before the commit";
                let size = size.ok_or(RepoError::Forbidden(missing))?;
                self.room().await?;
                let pointer = Pointer { sha256: sha256.hex(), size };
                self.builder.put(&path, &pointer.to_bytes()).await?;
                self.touched.insert(path, true);
            }
            Change::Delete { path, folder } => {
                let found = self.git.entry(self.base, &path).await;
                // Whoever deletes a folder as if it were a file means what is in it; a file is never taken for a folder.
                let there = found.is_ok_and(|entry| !folder || entry.kind == EntryKind::Folder);
                if !there && !self.touched.contains_key(&path) {
                    return Err(GitError::NoEntry(format!("{path}: A file with this name doesn't exist")).into());
                }
                self.builder.delete(&path).await?;
                self.touched.insert(path, false);
            }
        }
        Ok(())
    }

    /// Whoever is above the quota cites no large files.
    async fn room(&mut self) -> Result<(), RepoError> {
        if !std::mem::replace(&mut self.asked_for_room, true) {
            let default = self.app.config.default_quota_bytes;
            quota::require_in(&mut *self.app.db.read().await?, &self.seen.repo, 0, default).await?;
        }
        Ok(())
    }

    /// Ends the commit and moves its branch. When others moved it meanwhile and no parent was named, the same changes are
    /// made upon what stands there now.
    ///
    /// # Errors
    /// [`GitError::Moved`].
    pub async fn finish(self) -> Result<Oid, RepoError> {
        let Self { app, seen, git, principal, branch, base, pinned, message, builder, touched, put_bytes, .. } = self;
        history::charge(app, &seen.repo, put_bytes).await?;
        let made = builder.finish().await?;
        let (mut base, mut new) = (base, made);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let change = RefChange { name: branch.clone(), old: base, new };
            match move_refs(app, &seen.repo.id, vec![change]).await {
                Err(RepoError::Git(GitError::Moved(_))) if !pinned && attempt < MAX_ATTEMPTS => {
                    base = git.resolve(&branch).await?;
                    new = again(app, &git, principal, base, made, &message, &touched).await?;
                }
                other => {
                    other?;
                    return Ok(new);
                }
            }
        }
    }
}

/// Makes the changes that led to `made` upon `base`.
async fn again(
    app: &App,
    git: &GitRepo,
    principal: &Principal,
    base: Oid,
    made: Oid,
    message: &str,
    touched: &BTreeMap<RepoPath, bool>,
) -> Result<Oid, GitError> {
    let put: Vec<RepoPath> = touched.iter().filter(|(_, put)| **put).map(|(path, _)| path.clone()).collect();
    let blobs = git.entries(made, &put).await?;
    let mut builder = Builder::start(git, &[base], &author(principal), message, app.clock.now()).await?;
    for path in touched.iter().filter(|(_, put)| !**put).map(|(path, _)| path) {
        builder.delete(path).await?;
    }
    for entry in blobs {
        builder.link(&entry.path.parse()?, entry.oid).await?;
    }
    builder.finish().await
}

/// Replaces the history of a branch by one commit of its files.
///
/// # Errors
/// [`GitError::Moved`] when the branch moved meanwhile.
pub async fn squash(
    app: &App,
    seen: &Seen,
    principal: &Principal,
    branch: &str,
    message: &str,
) -> Result<Oid, RepoError> {
    let git = seen.git(app);
    let full = if branch.starts_with("refs/") { branch.to_owned() } else { format!("refs/heads/{branch}") };
    let old = git.resolve(&full).await?;
    let tree = git.tree_of(old).await?;
    let new = git.commit_tree(tree, &[], &author(principal), message, app.clock.now()).await?;
    move_refs(app, &seen.repo.id, vec![RefChange { name: full, old, new }]).await?;
    Ok(new)
}
