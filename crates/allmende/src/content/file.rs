//! One file of a repository, read in ranges.

use std::ops::Range;

use allmende_core::digest::Digest;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use super::ContentError;
use crate::app::App;
use crate::git::tree::{Entry, EntryKind};
use crate::git::{GitError, GitRepo, Oid, RepoPath};
use crate::repo::{Repo, large};
use crate::xet;

/// Most bytes that are asked for at once.
pub const MAX_RANGE_BYTES: u64 = 32 << 20;

/// Where the bytes of a file lie.
#[derive(Debug)]
enum Place {
    /// In git, as a whole, once it was read.
    Git(GitRepo, OnceCell<Bytes>),
    /// Beside it.
    Large(Digest),
}

/// A file whose bytes may be asked for.
#[derive(Debug)]
pub struct File {
    /// Where it stands.
    pub path: String,
    /// Its blob in git; of a large file, its pointer's.
    pub blob: Oid,
    /// Its bytes.
    pub size: u64,
    repo: Repo,
    place: Place,
}

impl File {
    /// The file at `path` of `commit`.
    ///
    /// # Errors
    /// [`GitError::NoEntry`] when there is no file, or none whose bytes the repository holds.
    pub async fn at(app: &App, repo: &Repo, git: &GitRepo, commit: Oid, path: &str) -> Result<Self, ContentError> {
        let missing = || GitError::NoEntry(path.chars().take(200).collect());
        let path: RepoPath = path.parse().map_err(|_| missing())?;
        let mut entry = [git.entry(commit, &path).await?];
        git.pointers(&mut entry).await?;
        let [entry] = entry;
        Ok(Self::of(app, repo, git, &entry).await?.ok_or_else(missing)?)
    }

    /// The file that an entry of a tree is, after [`GitRepo::pointers`] has looked at it.
    ///
    /// # Errors
    /// [`ContentError::Db`].
    pub async fn of(app: &App, repo: &Repo, git: &GitRepo, entry: &Entry) -> Result<Option<Self>, ContentError> {
        if entry.kind != EntryKind::File {
            return Ok(None);
        }
        let place = match &entry.pointer {
            None => Place::Git(git.clone(), OnceCell::new()),
            Some(pointer) => {
                let sha256: Option<Digest> = format!("sha256:{}", pointer.sha256).parse().ok();
                let Some(sha256) = sha256 else { return Ok(None) };
                let held = large::held(&mut *app.db.read().await?, repo, &sha256).await?;
                if held != Some(pointer.size) {
                    return Ok(None);
                }
                Place::Large(sha256)
            }
        };
        let (path, size) = (entry.path.clone(), entry.file_size());
        Ok(Some(Self { path, blob: entry.oid, size, repo: repo.clone(), place }))
    }

    /// The large file of these bytes, which `repo` holds, as it will stand at `path`.
    #[must_use]
    pub fn large(repo: &Repo, path: &str, sha256: Digest, size: u64) -> Self {
        Self { path: path.to_owned(), blob: Oid::ZERO, size, repo: repo.clone(), place: Place::Large(sha256) }
    }

    /// The bytes `range`, cut to the file, as they come.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn stream(
        &self,
        app: &App,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, ContentError>>, ContentError> {
        let range = range.start.min(self.size)..range.end.min(self.size);
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        match &self.place {
            Place::Git(git, bytes) => {
                let bytes = bytes.get_or_try_init(async || git.blob(self.blob).await.map(Bytes::from)).await?;
                let cut = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
                let cut = cut.filter(|(_, end)| *end <= bytes.len());
                let (start, end) = cut.ok_or(GitError::Answer("a blob has another size than its tree says"))?;
                Ok(stream::iter([Ok(bytes.slice(start..end))]).boxed())
            }
            Place::Large(sha256) => {
                let reader = xet::read::read(app, &self.repo, sha256, Some(range)).await?;
                Ok(reader.stream.map_err(ContentError::from).boxed())
            }
        }
    }

    /// The bytes `range`, cut to the file.
    ///
    /// # Errors
    /// [`ContentError::NotUnderstood`] for more than [`MAX_RANGE_BYTES`].
    pub async fn bytes(&self, app: &App, range: Range<u64>) -> Result<Vec<u8>, ContentError> {
        let range = range.start.min(self.size)..range.end.min(self.size);
        let length = range.end.saturating_sub(range.start);
        if length > MAX_RANGE_BYTES {
            let text = format!("{} bytes of {} are more than is looked at at once", length, self.path);
            return Err(ContentError::NotUnderstood(text));
        }
        let mut all = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let mut stream = self.stream(app, range).await?;
        while let Some(piece) = stream.try_next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}
