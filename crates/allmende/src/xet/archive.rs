//! Xorbs on their way into a backup and out of one.

use std::collections::{BTreeMap, HashSet};

use allmende_formats::xet::XetHash;
use allmende_formats::xet::xorb::Validator;
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use sqlx::AnyConnection;

use super::{XetError, store};
use crate::blobs::{BlobError, Blobs, Name};
use crate::db::Db;

/// Rows that are read at once.
const PAGE: i64 = 256;

/// The xorbs that the files of these repositories cite, by domain.
pub type Cited = BTreeMap<String, HashSet<XetHash>>;

/// Finds them.
///
/// # Errors
/// [`XetError::Db`].
pub async fn cited(connection: &mut AnyConnection, repos: &HashSet<String>) -> Result<Cited, XetError> {
    let mut all = Cited::new();
    for domain in store::domains(connection).await? {
        let mut cited = HashSet::new();
        let mut after = (String::new(), String::new());
        loop {
            let page = store::segments(connection, &domain, (&after.0, &after.1), PAGE).await?;
            let Some((repo, hash, _)) = page.last() else { break };
            after = (repo.clone(), hash.clone());
            let own = page.iter().filter(|(repo, ..)| repos.contains(repo));
            cited.extend(own.flat_map(|(.., segments)| segments.iter().map(|segment| segment.xorb)));
        }
        all.insert(domain, cited);
    }
    Ok(all)
}

/// The object of a xorb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name in the store.
    pub name: Name,
    /// Its bytes.
    pub size: u64,
}

/// The object of a xorb as its row says.
///
/// # Errors
/// [`XetError::NotFound`] without one.
pub async fn object(connection: &mut AnyConnection, domain: &str, xorb: &XetHash) -> Result<Object, XetError> {
    let size = store::size(connection, domain, xorb).await?;
    let stored = store::xorb(connection, domain, xorb).await?;
    let (size, stored) = size.zip(stored).ok_or(XetError::NotFound("xorb"))?;
    Ok(Object { name: stored.name, size })
}

/// Puts back the bytes of a xorb whose row is there. They are read as those of a client are.
///
/// # Errors
/// [`XetError::Xorb`] or [`XetError::False`]; nothing is stored then.
pub async fn put<E: std::error::Error + Send + Sync + 'static>(
    db: &Db,
    blobs: &Blobs,
    domain: &str,
    xorb: &XetHash,
    bytes: impl Stream<Item = Result<Bytes, E>>,
) -> Result<(), XetError> {
    let stored = store::xorb(&mut *db.read().await?, domain, xorb).await?;
    let stored = stored.ok_or(XetError::NotFound("xorb"))?;
    let mut bytes = std::pin::pin!(bytes);
    let (mut staged, mut validator) = (blobs.stage(stored.name).await?, Validator::new());
    while let Some(piece) = bytes.try_next().await.map_err(|e| BlobError::Input(e.into()))? {
        let read = piece.clone();
        validator = tokio::task::spawn_blocking(move || validator.push(&read).map(|()| validator)).await??;
        staged.write(piece).await?;
    }
    let found = validator.finish(Some(xorb))?;
    if found.chunks != stored.chunks {
        return Err(XetError::False(format!("xorb {xorb} is packed otherwise than its row says")));
    }
    staged.publish().await?;
    Ok(())
}
