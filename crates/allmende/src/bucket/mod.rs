//! Buckets: changing what stands in them, and listing it. Who may is asked where every repository's rights are
//! ([`crate::repo::ops::look`], [`crate::exchange::access`]); bytes come and go by Xet alone.
//!
//! Architecture invariant: a hash is no authorization. A file is put by the hash of bytes that the bucket itself holds, or
//! copied from a repository whose files the caller may read now.

pub mod tree;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use allmende_core::time::Timestamp;
use allmende_formats::xet::XetHash;

use crate::account::Principal;
use crate::app::App;
use crate::db::DbError;
use crate::error::{ApiError, Code};
use crate::exchange::ExchangeError;
use crate::exchange::access;
use crate::git::RepoPath;
use crate::repo::bucket::{self, NewFile};
use crate::repo::event::{self, Event};
use crate::repo::ops::see;
use crate::repo::{Kind, Repo, RepoError, large, store, terms};
use crate::transaction;
use crate::xet::ingest::Ingest;
use crate::xet::{XetError, copy, read};

/// Most paths of one batch that are told to whoever listens.
const MAX_TOLD: usize = 100;

/// Where a file is copied from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// What the repository holds.
    pub kind: Kind,
    /// Its owner's name.
    pub space: String,
    /// Its name.
    pub name: String,
}

/// One change of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Put a file there whose bytes the bucket holds.
    Add(NewFile),
    /// Put a file there that another repository holds.
    Copy(NewFile, Source),
    /// Take a file away. That there is none is no failure.
    Delete(RepoPath),
}

/// A change that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of which path.
    pub path: String,
    /// Why, for people.
    pub error: String,
}

/// Why nothing more was changed.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// About the bytes.
    #[error(transparent)]
    Xet(#[from] XetError),
    /// About the right to read a source.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

impl From<DbError> for BucketError {
    fn from(error: DbError) -> Self {
        Self::Xet(error.into())
    }
}

impl From<BucketError> for ApiError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Xet(inner) => inner.into(),
            BucketError::Exchange(inner) => inner.into(),
        }
    }
}

/// The same for what is not there and for what the caller may not know of.
const NO_SOURCE: &str = "there is no such source, or it holds no such file";
fn full(max_files: u64) -> String {
    format!(
        "the bucket holds max_bucket_files = {max_files} files: delete some, use another bucket, or ask the hub's operator \
         for a larger limit"
    )
}

const NOT_HELD: &str = "the bucket does not hold these bytes: upload them to it first";

/// Makes changes in their order, and tells which could not be made; the others are made all the same, together. That the
/// caller may write to the bucket was asked before.
///
/// # Errors
/// [`BucketError`] when the hub failed; files may have been copied then, and no path was changed.
pub async fn change(
    app: &App,
    principal: &Principal,
    bucket: &Repo,
    changes: Vec<Change>,
) -> Result<Vec<Failure>, BucketError> {
    let (mut failures, mut ready) = (Vec::new(), Vec::with_capacity(changes.len()));
    let mut sources: HashMap<Source, Result<Repo, String>> = HashMap::new();
    for change in changes {
        match change {
            Change::Copy(file, source) => {
                let from = match sources.entry(source) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let found = find_source(app, principal, bucket, new.key()).await?;
                        new.insert(found)
                    }
                };
                let copied = match from {
                    Ok(from) => bring(app, from, bucket, &file.xet).await?,
                    Err(why) => Err(why.clone()),
                };
                match copied {
                    Ok(xet) => ready.push(Change::Add(NewFile { xet, ..file })),
                    Err(error) => failures.push(Failure { path: file.path.to_string(), error }),
                }
            }
            Change::Add(file) if file.xet == XetHash::ZERO => {
                // Clients send no bytes of what has none.
                Ingest::begin(app, bucket).await?.finish().await?;
                ready.push(Change::Add(file));
            }
            other => ready.push(other),
        }
    }
    let (now, max_files) = (app.clock.now(), app.config.max_bucket_files);
    let refused = transaction!(app.db, tx => {
        // First, so that changes of the same bucket come one after the other and count each other's files.
        store::touch(tx, &bucket.id, now).await?;
        let mut files = bucket::sums(tx, bucket).await?.files;
        let (mut refused, mut some, mut count) = (Vec::new(), Vec::new(), 0);
        for change in &ready {
            match change {
                Change::Add(file) | Change::Copy(file, _) => {
                    let is_new = bucket::find(tx, bucket, &file.path).await?.is_none();
                    if is_new && files >= max_files {
                        refused.push(Failure { path: file.path.to_string(), error: full(max_files) });
                    } else if bucket::put(tx, bucket, file, now).await? {
                        files += u64::from(is_new);
                    } else {
                        refused.push(Failure { path: file.path.to_string(), error: NOT_HELD.to_owned() });
                    }
                }
                Change::Delete(path) => {
                    files = files.saturating_sub(u64::from(bucket::remove(tx, bucket, path).await?));
                }
            }
            let (path, there) = match change {
                Change::Add(file) | Change::Copy(file, _) => (&file.path, true),
                Change::Delete(path) => (path, false),
            };
            if refused.last().is_none_or(|refused| refused.path != path.as_str()) {
                count += 1;
                if some.len() < MAX_TOLD {
                    some.push((path.to_string(), there));
                }
            }
        }
        if count > 0 {
            event::note(tx, bucket, &Event::Files { some, count }, now).await?;
        }
        Ok::<_, DbError>(refused)
    })?;
    failures.extend(refused);
    Ok(failures)
}

/// The source, if the caller may read its files now and take them from there to the bucket; otherwise why not.
async fn find_source(
    app: &App,
    principal: &Principal,
    bucket: &Repo,
    source: &Source,
) -> Result<Result<Repo, String>, BucketError> {
    let asked = async {
        let repo = see(app, Some(principal), source.kind, &source.space, &source.name).await?.repo;
        access::may_read_files(app, Some(principal), &repo).await?;
        terms::may_leave(app, principal, &repo, bucket.collaboration.as_ref()).await?;
        Ok(repo)
    };
    match asked.await {
        Ok(repo) => Ok(Ok(repo)),
        Err(ExchangeError::Repo(RepoError::NotFound)) => Ok(Err(NO_SOURCE.to_owned())),
        Err(error @ (ExchangeError::Repo(RepoError::Denied(_)) | ExchangeError::Restricted { .. })) => {
            Ok(Err(error.to_string()))
        }
        Err(other) => Err(other.into()),
    }
}

/// Makes the bucket hold a file of another repository. Gives the hash by which it is put together there: bytes that come
/// into another domain are cut anew.
async fn bring(app: &App, from: &Repo, bucket: &Repo, hash: &XetHash) -> Result<Result<XetHash, String>, BucketError> {
    let Some(sha256) = read::sha256(app, from, hash).await? else { return Ok(Err(NO_SOURCE.to_owned())) };
    if from.id == bucket.id {
        return Ok(Ok(*hash));
    }
    if let Err(error) = copy::file(app, from, bucket, &sha256).await {
        let error = ApiError::from(error);
        if error.code() == Code::Internal {
            return Err(XetError::Account(error).into());
        }
        return Ok(Err(error.problem().detail));
    }
    let held = large::xet(&mut *app.db.read().await?, bucket, &sha256.hex()).await?;
    Ok(held.ok_or_else(|| NOT_HELD.to_owned()))
}

/// Latest time that a file may be said to have been changed: the end of the year 9999.
const MAX_MTIME: i64 = 253_402_300_799_999;
/// Longest word for what a file is, in bytes.
const MAX_CONTENT_TYPE_BYTES: usize = 255;

/// A file as it was asked for, if it can be like that.
///
/// # Errors
/// Why not, for people.
pub fn new_file(path: &str, xet: &str, mtime_ms: Option<i64>, content_type: Option<String>) -> Result<NewFile, String> {
    let xet = xet.parse().map_err(|_| "this is no hash of a file".to_owned())?;
    if mtime_ms.is_some_and(|at| !(0..=MAX_MTIME).contains(&at)) {
        return Err("mtime counts milliseconds since 1970, up to the year 9999".to_owned());
    }
    let fits = |text: &String| text.len() <= MAX_CONTENT_TYPE_BYTES && text.bytes().all(|c| (b' '..=b'~').contains(&c));
    if content_type.as_ref().is_some_and(|text| !fits(text)) {
        return Err(format!("the content type has at most {MAX_CONTENT_TYPE_BYTES} printable characters"));
    }
    Ok(NewFile { path: new_path(path)?, xet, mtime: mtime_ms.map(Timestamp), content_type })
}

/// A path as it was asked for, if files may stand there.
///
/// # Errors
/// Why not, for people.
pub fn new_path(path: &str) -> Result<RepoPath, String> {
    path.parse().map_err(|e: crate::git::InvalidPath| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_in_one() {
        let hash = "a".repeat(64);
        let whole = |path: &str, mtime, kind: Option<&str>| new_file(path, &hash, mtime, kind.map(str::to_owned));
        let file = whole("a/b.txt", Some(1_700_000_000_123), Some("text/plain")).unwrap();
        assert_eq!((file.path.as_str(), file.mtime), ("a/b.txt", Some(Timestamp(1_700_000_000_123))));
        assert!(whole("a", None, None).is_ok() && whole("a", Some(0), None).is_ok());
        for path in ["", "/a", "../a", "a//b", "a/", ".git/config", "a\u{0}b", &"x".repeat(5_000)] {
            assert!(whole(path, None, None).is_err(), "{path:?}");
        }
        assert!(whole("a", Some(-1), None).is_err() && whole("a", Some(i64::MAX), None).is_err());
        assert!(whole("a", None, Some("text\r\nplain")).is_err() && whole("a", None, Some(&"x".repeat(256))).is_err());
        assert!(new_file("a", "xyz", None, None).is_err() && new_file("a", &"a".repeat(63), None, None).is_err());
    }
}
