//! A log as auditors and mirrors read it: checkpoint, tiles and entry bundles (C2SP tlog-tiles), pages of records, receipts.
//! Who may read is decided before.

use std::collections::HashMap;

use allmende_core::digest::Digest;
use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::ledger::merkle::{Frontier, MerkleError, Subtree, inclusion_proof, inclusion_subtrees};
use allmende_core::ledger::proof::Receipt;
use allmende_core::ledger::tile::{self, Tile, TileError, TileKind};

use super::log::{AppendError, Log};
use super::store::{self, LedgerError};
use crate::db::{Db, DbError};

/// Most bytes of records in one page; a page has one record at least.
pub const MAX_PAGE_BYTES: usize = 4 << 20;
/// Leaf hashes read at once.
const HASH_PAGE: u64 = 65_536;

/// Why something of a log was not given.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log has no such thing yet.
    #[error("{what} of a log of {size} entries")]
    Missing {
        /// What was asked for.
        what: String,
        /// How far the log reaches.
        size: u64,
    },
    /// No path of a tile.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The proof cannot be made.
    #[error(transparent)]
    Merkle(#[from] MerkleError),
    /// The log cannot be read.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stored bytes are not what they should be.
    #[error("stored bytes of log {0} are damaged")]
    Damaged(String),
}

impl From<DbError> for ReadError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

/// The newest signed checkpoint, with every cosignature on exactly it.
///
/// # Errors
/// [`ReadError::Missing`] while the log is empty.
pub async fn checkpoint(db: &Db, log: &Log) -> Result<SignedCheckpoint, ReadError> {
    let missing = || ReadError::Missing { what: "a checkpoint".to_owned(), size: 0 };
    let mut note = log.state().await?.checkpoint().cloned().ok_or_else(missing)?;
    for cosignature in store::cosignatures(&mut *db.read().await?, log.name()).await? {
        if cosignature.size == note.checkpoint.size
            && let Ok(line) = cosignature.line.parse()
        {
            // A line that does not fit any more is left out; the note stands without it.
            let _ = note.add(line);
        }
    }
    Ok(note)
}

/// Records from index `from` on, at most `limit` and about [`MAX_PAGE_BYTES`].
///
/// # Errors
/// The database's.
pub async fn records(db: &Db, log: &str, from: u64, limit: u64) -> Result<Vec<String>, ReadError> {
    let entries = store::entries(&mut *db.read().await?, log, from, limit).await?;
    let mut bytes = 0;
    let mut records = Vec::with_capacity(entries.len());
    for entry in entries {
        bytes += entry.leaf.len();
        if bytes > MAX_PAGE_BYTES && !records.is_empty() {
            break;
        }
        records.push(String::from_utf8(entry.leaf).map_err(|_| ReadError::Damaged(log.to_owned()))?);
    }
    Ok(records)
}

/// The bytes of a tile or an entry bundle, by its path without the leading `tile/`.
///
/// # Errors
/// [`ReadError::Tile`] for no path of a tile, [`ReadError::Missing`] past the log's end.
pub async fn tile(db: &Db, log: &Log, path: &str) -> Result<Vec<u8>, ReadError> {
    let tile: Tile = format!("tile/{path}").parse()?;
    let size = log.state().await?.size();
    let missing = || ReadError::Missing { what: tile.to_string(), size };
    let items = tile.items();
    match tile.kind {
        TileKind::Entries => {
            if items.end > size {
                return Err(missing());
            }
            let entries =
                store::entries(&mut *db.read().await?, log.name(), items.start, items.end - items.start).await?;
            let leaves: Vec<_> = entries.into_iter().map(|e| e.leaf).collect();
            Ok(tile::encode_bundle(&leaves)?)
        }
        TileKind::Hashes { level } => {
            let mut hashes = Vec::new();
            for index in items {
                let subtree = Subtree { level: level * tile::TILE_HEIGHT, index };
                hashes.push(subtree_root(db, log.name(), subtree, size).await?.ok_or_else(missing)?);
            }
            Ok(tile::encode_tile(&hashes)?)
        }
    }
}

/// The receipt that entry `index` stands in the log.
///
/// # Errors
/// [`ReadError::Missing`] past the log's end.
pub async fn receipt(db: &Db, log: &Log, index: u64) -> Result<Receipt, ReadError> {
    let note = checkpoint(db, log).await?;
    let size = note.checkpoint.size;
    let missing = || ReadError::Missing { what: format!("entry {index}"), size };
    if index >= size {
        return Err(missing());
    }
    let entry = store::entries(&mut *db.read().await?, log.name(), index, 1).await?.pop().ok_or_else(missing)?;
    let mut known = HashMap::new();
    for subtree in inclusion_subtrees(index, size)? {
        known.insert(subtree, subtree_root(db, log.name(), subtree, size).await?.ok_or_else(missing)?);
    }
    let hashes = inclusion_proof(index, size, |subtree| known.get(&subtree).copied())?;
    Ok(Receipt { entry: Some(entry.leaf), index, hashes, checkpoint: note })
}

/// The root of the log's first `size` entries, which must exist.
///
/// # Errors
/// The database's.
pub async fn root_at(db: &Db, log: &str, size: u64) -> Result<Digest, ReadError> {
    root_of(db, log, 0, size).await
}

/// The root of a complete subtree; none when the log does not reach so far.
async fn subtree_root(db: &Db, log: &str, subtree: Subtree, size: u64) -> Result<Option<Digest>, ReadError> {
    let level = u32::from(subtree.level);
    if level > 40 || subtree.index >= size {
        return Ok(None);
    }
    match (subtree.index + 1).checked_mul(1 << level) {
        Some(to) if to <= size => root_of(db, log, subtree.index << level, to).await.map(Some),
        _ => Ok(None),
    }
}

/// Read in pieces and folded, so that a tree of any height needs the memory of its peaks only.
async fn root_of(db: &Db, log: &str, from: u64, to: u64) -> Result<Digest, ReadError> {
    let mut frontier = Frontier::new();
    let mut next = from;
    while next < to {
        let end = to.min(next + HASH_PAGE);
        for hash in store::leaf_hashes(&mut *db.read().await?, log, next, end).await? {
            frontier.push(Digest(hash));
        }
        next = end;
    }
    Ok(frontier.root())
}
