//! Commits, newest first.

use super::{GitError, GitRepo, Oid};

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub oid: Oid,
    /// The commits before it.
    pub parents: Vec<Oid>,
    /// Who wrote it.
    pub author: String,
    /// Their address, as they gave it.
    pub email: String,
    /// When, in seconds since 1970, as they gave it.
    pub at_s: i64,
    /// The first line of its message.
    pub title: String,
    /// The rest.
    pub message: String,
}

const FORMAT: &str = "--format=%H%x00%P%x00%an%x00%ae%x00%at%x00%s%x00%b%x00%x01";

fn commits(answer: &[u8]) -> Result<Vec<Commit>, GitError> {
    let text = String::from_utf8_lossy(answer);
    let parse = |record: &str| {
        let bad = || GitError::Answer("a commit");
        let mut fields = record.trim_start_matches('\n').split('\0');
        let mut next = || fields.next().ok_or_else(bad);
        Ok(Commit {
            oid: next()?.parse()?,
            parents: next()?.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>()?,
            author: next()?.to_owned(),
            email: next()?.to_owned(),
            at_s: next()?.parse().unwrap_or(0),
            title: next()?.to_owned(),
            message: next()?.trim_end().to_owned(),
        })
    };
    text.split('\u{1}').filter(|record| !record.trim().is_empty()).map(parse).collect()
}

impl GitRepo {
    /// `limit` commits from `commit` on, after the first `skip`.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn history(&self, commit: Oid, skip: u64, limit: u64) -> Result<Vec<Commit>, GitError> {
        let (skip, limit, commit) = (format!("--skip={skip}"), format!("--max-count={limit}"), commit.to_string());
        commits(&self.run(["log", FORMAT, &skip, &limit, "--end-of-options", &commit], &[]).await?)
    }

    /// How many commits lead to `commit`, itself among them.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn count(&self, commit: Oid) -> Result<u64, GitError> {
        let answer = self.run(["rev-list", "--count", "--end-of-options", &commit.to_string()], &[]).await?;
        String::from_utf8_lossy(&answer).trim().parse().map_err(|_| GitError::Answer("a number of commits"))
    }

    /// The last commit up to `commit` that changed `path`.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn last_change(&self, commit: Oid, path: &str) -> Result<Option<Commit>, GitError> {
        let commit = commit.to_string();
        let args = ["log", FORMAT, "--max-count=1", "--end-of-options", &commit, "--", path];
        Ok(commits(&self.run(args, &[]).await?)?.pop())
    }
}
