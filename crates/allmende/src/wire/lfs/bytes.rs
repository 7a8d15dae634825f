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
use crate::blobs::BlobError;
use crate::error::ApiError;
use crate::repo::{Repo, large, quota};
use crate::xet::ingest::Ingest;
use crate::xet::read;

/// Takes a file of this digest and size to its end, cuts it by content, and records that `repo` holds it.
pub(super) async fn put<E: Into<Box<dyn StdError + Send + Sync>>>(
    app: &App,
    repo: &Repo,
    bytes: impl Stream<Item = Result<Bytes, E>>,
    sha256: Digest,
    size: u64,
) -> Result<(), ApiError> {
    if size > app.config.max_blob_bytes {
        return Err(BlobError::TooLarge { max_bytes: app.config.max_blob_bytes }.into());
    }
    room(app, repo, size).await?;
    let mut bytes = std::pin::pin!(bytes);
    let mut ingest = Ingest::begin(app, repo).await?;
    let mut taken = 0;
    while let Some(piece) = bytes.next().await {
        let piece = piece.map_err(|e| BlobError::Input(e.into()))?;
        taken += piece.len() as u64;
        if taken > size {
            break;
        }
        ingest.push(&piece).await?;
    }
    if taken != size {
        return Err(BlobError::SizeMismatch { expected: size, actual: taken }.into());
    }
    ingest.finish_as(Some(&sha256)).await?;
    Ok(())
}

/// Refuses a file of this size that the quota has no room for.
pub(super) async fn room(app: &App, repo: &Repo, size: u64) -> Result<(), ApiError> {
    Ok(quota::require_in(&mut *app.db.read().await?, repo, size, app.config.default_quota_bytes).await?)
}

/// A range of a file that `repo` holds, which must lie inside.
pub(super) async fn read(
    app: &App,
    repo: &Repo,
    sha256: &Digest,
    range: Range<u64>,
) -> Result<BoxStream<'static, std::io::Result<Bytes>>, ApiError> {
    let reader = read::read(app, repo, sha256, Some(range)).await?;
    Ok(reader.stream.map_err(std::io::Error::other).boxed())
}

/// The size of the file, if `repo` holds it.
pub(super) async fn held(app: &App, repo: &Repo, sha256: &Digest) -> Result<Option<u64>, ApiError> {
    Ok(large::held(&mut *app.db.read().await?, repo, sha256).await?)
}

/// The same for a file that is about to be cited.
pub(super) async fn cite(app: &App, repo: &Repo, sha256: &Digest) -> Result<Option<u64>, ApiError> {
    Ok(large::cite(&app.db, repo, sha256).await?)
}
