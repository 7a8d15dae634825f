//! Bringing two lines of history together, and what lies between them.

use std::borrow::Cow;

use allmende_core::time::Timestamp;

use super::commit::Author;
use super::{GitError, GitRepo, Oid};

/// Most bytes of a difference that are shown.
const MAX_DIFF_BYTES: usize = 1 << 20;

/// What a merge would give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// This tree.
    Tree(Oid),
    /// Nothing, because both sides changed these files.
    Conflicts(Vec<String>),
}

impl GitRepo {
    /// What merging `other` into `base` would give. Nothing is changed.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn try_merge(&self, base: Oid, other: Oid) -> Result<Merge, GitError> {
        let (base, other) = (base.to_string(), other.to_string());
        let args = [
            "merge-tree",
            "--write-tree",
            "-z",
            "--name-only",
            "--no-messages",
            "--allow-unrelated-histories",
            &base,
            &other,
        ];
        let done = self.output(args, &[]).await?;
        let mut fields = done.answer.split(|&c| c == 0).map(String::from_utf8_lossy);
        match done.code {
            Some(0) => Ok(Merge::Tree(fields.next().unwrap_or_default().trim().parse()?)),
            Some(1) => Ok(Merge::Conflicts(fields.skip(1).filter(|f| !f.is_empty()).map(Cow::into_owned).collect())),
            _ => Err(done.failure("merge-tree")),
        }
    }

    /// A commit of `tree` upon `parents`. No ref moves.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn commit_tree(
        &self,
        tree: Oid,
        parents: &[Oid],
        author: &Author,
        message: &str,
        at: Timestamp,
    ) -> Result<Oid, GitError> {
        let line = author.line(at);
        let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
        let object = format!("tree {tree}\n{parents}author {line}\ncommitter {line}\n\n{message}\n");
        let answer = self.run(["hash-object", "-t", "commit", "-w", "--stdin"], object.as_bytes()).await?;
        String::from_utf8_lossy(&answer).trim().parse()
    }

    /// The tree of a commit.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn tree_of(&self, commit: Oid) -> Result<Oid, GitError> {
        let answer =
            self.run(["rev-parse", "--verify", "--end-of-options", &format!("{commit}^{{tree}}")], &[]).await?;
        String::from_utf8_lossy(&answer).trim().parse()
    }

    /// What `other` changes since it left `base`, as text, cut where it gets long.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn difference(&self, base: Oid, other: Oid) -> Result<String, GitError> {
        let range = format!("{base}...{other}");
        self.cut(&["diff", "--no-color", "--no-ext-diff", "--no-textconv", "--end-of-options", &range]).await
    }

    /// What a commit changes upon its first parent, or everything if it has none, as text, cut where it gets long.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn change(&self, commit: Oid) -> Result<String, GitError> {
        let commit = commit.to_string();
        let args = ["diff-tree", "-p", "-M", "--root", "--no-commit-id", "--diff-merges=first-parent"];
        let rest = ["--no-color", "--no-ext-diff", "--no-textconv", "--end-of-options", &commit];
        self.cut(&[&args[..], &rest].concat()).await
    }

    async fn cut(&self, args: &[&str]) -> Result<String, GitError> {
        let mut answer = match self.run(args, &[]).await {
            Err(GitError::TooMuch(_)) => return Ok("The difference is too long to be shown.\n".to_owned()),
            answer => answer?,
        };
        answer.truncate(MAX_DIFF_BYTES);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The commits that lead to `other` and not to `base`, oldest first, `limit` of them.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn ahead(&self, base: Oid, other: Oid, limit: u64) -> Result<Vec<Oid>, GitError> {
        let (range, limit) = (format!("{base}..{other}"), format!("--max-count={limit}"));
        let answer = self.run(["rev-list", "--reverse", &limit, "--end-of-options", &range], &[]).await?;
        String::from_utf8_lossy(&answer).lines().map(str::parse).collect()
    }
}
