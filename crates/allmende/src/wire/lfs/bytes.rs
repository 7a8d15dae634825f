//! The bytes of large files: the one place where this protocol touches them.
//!
//! Architecture invariant: a repository's record of what it holds is the only key to bytes here. What another repository
//! holds is neither given nor counted, so an object that is new to a repository is always sent in full.

use std::error::Error as StdError;
use std::ops::Range;

use allmende_core::digest::Digest;
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _, TryStreamExt as _};

use crate::app::App;
use crate::blobs::Expect;
use crate::db::DbError;
use crate::error::ApiError;
use crate::repo::{Repo, large};
use crate::transaction;

/// Takes a file of this digest and size to its end, and records that `repo` holds it.
pub(super) async fn put<E: Into<Box<dyn StdError + Send + Sync>>>(
    app: &App,
    repo: &Repo,
    bytes: impl Stream<Item = Result<Bytes, E>>,
    sha256: Digest,
    size: u64,
) -> Result<(), ApiError> {
    let expect = Expect { digest: Some(sha256), size_bytes: Some(size), max_bytes: app.config.max_blob_bytes };
    app.blobs.put(bytes, &expect).await?;
    let now = app.clock.now();
    let held: Result<(), DbError> = transaction!(app.db, tx => { large::hold(tx, repo, &sha256, size, now).await });
    Ok(held?)
}

/// A range of a file that `repo` holds, which must lie inside.
pub(super) async fn read(
    app: &App,
    repo: &Repo,
    sha256: &Digest,
    range: Range<u64>,
) -> Result<BoxStream<'static, std::io::Result<Bytes>>, ApiError> {
    let size = held(app, repo, sha256).await?.ok_or_else(|| ApiError::not_found("this large file"))?;
    let part = (range != (0..size)).then_some(range);
    let reader = app.blobs.open_range(sha256, part).await?;
    Ok(reader.stream.map_err(std::io::Error::other).boxed())
}

/// The size of the file, if `repo` holds it.
pub(super) async fn held(app: &App, repo: &Repo, sha256: &Digest) -> Result<Option<u64>, ApiError> {
    Ok(large::held(&mut *app.db.read().await?, repo, sha256).await?)
}
