//! A log as auditors and mirrors read it: checkpoint, tiles and entry bundles (C2SP tlog-tiles), pages of records, receipts.
//! Who may read is decided before.

use std::collections::HashMap;

use allmende_core::digest::Digest;
use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::ledger::merkle::{
    Frontier, Hash, MerkleError, Subtree, consistency_proof, consistency_subtrees, inclusion_proof, inclusion_subtrees,
    root_of,
};
use allmende_core::ledger::proof::Receipt;
use allmende_core::ledger::tile::{self, TILE_HEIGHT, Tile, TileError, TileKind, tile_source};
use sqlx::AnyConnection;

use super::log::{AppendError, Log};
use super::store::{self, LedgerError};
use crate::db::{Db, DbError};

/// Most bytes of records in one page; a page has one record at least.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

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
    tile_of(&mut *db.read().await?, log.name(), &tile, size).await
}

/// The receipt that entry `index` stands in the log.
///
/// # Errors
/// [`ReadError::Missing`] past the log's end.
pub async fn receipt(db: &Db, log: &Log, index: u64) -> Result<Receipt, ReadError> {
    receipt_under(db, log.name(), index, checkpoint(db, log).await?).await
}

/// The receipt that entry `index` stands under the checkpoint `note` of `log`.
///
/// # Errors
/// [`ReadError::Missing`] past its end.
pub async fn receipt_under(db: &Db, log: &str, index: u64, note: SignedCheckpoint) -> Result<Receipt, ReadError> {
    let size = note.checkpoint.size;
    let missing = || ReadError::Missing { what: format!("entry {index}"), size };
    if index >= size {
        return Err(missing());
    }
    let mut connection = db.read().await?;
    let entry = store::entries(&mut connection, log, index, 1).await?.pop().ok_or_else(missing)?;
    let tiles = tiles_of(&mut connection, log, size, &inclusion_subtrees(index, size)?).await?;
    let hashes = inclusion_proof(index, size, tile_source(size, |tile| tiles.get(tile).cloned()))?;
    Ok(Receipt { entry: Some(entry.leaf), index, hashes, checkpoint: note })
}

/// The root of the log's first `size` entries, which must exist.
///
/// # Errors
/// The database's.
pub async fn root_at(db: &Db, log: &str, size: u64) -> Result<Digest, ReadError> {
    let mut connection = db.read().await?;
    let subtrees = Frontier::peak_subtrees(size);
    let tiles = tiles_of(&mut connection, log, size, &subtrees).await?;
    let mut source = tile_source(size, |tile| tiles.get(tile).cloned());
    let peaks: Option<Vec<Hash>> = subtrees.into_iter().map(&mut source).collect();
    Ok(Frontier::from_peaks(size, peaks.ok_or_else(|| ReadError::Damaged(log.to_owned()))?)?.root())
}

/// The proof that the log's first `size` entries, which must exist, begin with its first `old_size`.
///
/// # Errors
/// [`ReadError::Merkle`] when `old_size` is larger.
pub async fn consistency(db: &Db, log: &str, old_size: u64, size: u64) -> Result<Vec<Hash>, ReadError> {
    let mut connection = db.read().await?;
    let tiles = tiles_of(&mut connection, log, size, &consistency_subtrees(old_size, size)?).await?;
    Ok(consistency_proof(old_size, size, tile_source(size, |tile| tiles.get(tile).cloned()))?)
}

/// The hashes of every tile that the roots of `subtrees` are made of: at most one for each level of tiles and side, so the
/// work grows with the logarithm of the log's size.
async fn tiles_of(
    connection: &mut AnyConnection,
    log: &str,
    size: u64,
    subtrees: &[Subtree],
) -> Result<HashMap<Tile, Vec<Hash>>, ReadError> {
    let mut tiles = HashMap::new();
    for subtree in subtrees {
        let Some(tile) = Tile::of_subtree(*subtree, size) else { continue };
        if let (TileKind::Hashes { level }, false) = (tile.kind, tiles.contains_key(&tile)) {
            let items = tile.items();
            tiles.insert(tile, hashes(connection, log, level, items.start, items.end).await?);
        }
    }
    Ok(tiles)
}

/// The hashes `from..to` of a level of tiles, which must be complete.
async fn hashes(
    connection: &mut AnyConnection,
    log: &str,
    level: u8,
    from: u64,
    to: u64,
) -> Result<Vec<Hash>, ReadError> {
    if level == 0 {
        let leaves = store::leaf_hashes(connection, log, from, to).await?;
        return Ok(leaves.into_iter().map(Digest).collect());
    }
    if let Some(stored) = store::nodes(connection, log, level * TILE_HEIGHT, from, to).await? {
        return Ok(stored);
    }
    // An older database gets its nodes when a hub opens the log; until then they are made of the level below.
    let mut made = Vec::new();
    for index in from..to {
        let below =
            Box::pin(hashes(connection, log, level - 1, index << TILE_HEIGHT, (index + 1) << TILE_HEIGHT)).await?;
        made.push(root_of(&below));
    }
    Ok(made)
}

/// The bytes of one file of the log's first `size` entries.
///
/// # Errors
/// [`ReadError::Missing`] past their end.
pub async fn tile_of(connection: &mut AnyConnection, log: &str, tile: &Tile, size: u64) -> Result<Vec<u8>, ReadError> {
    let missing = || ReadError::Missing { what: tile.to_string(), size };
    let items = tile.items();
    match tile.kind {
        TileKind::Entries => {
            if items.end > size {
                return Err(missing());
            }
            let entries = store::entries(connection, log, items.start, items.end - items.start).await?;
            let leaves: Vec<_> = entries.into_iter().map(|e| e.leaf).collect();
            Ok(tile::encode_bundle(&leaves)?)
        }
        TileKind::Hashes { level } => {
            let known = u32::from(level) * u32::from(TILE_HEIGHT);
            if known > 40 || items.end > size >> known {
                return Err(missing());
            }
            Ok(tile::encode_tile(&hashes(connection, log, level, items.start, items.end).await?)?)
        }
    }
}
