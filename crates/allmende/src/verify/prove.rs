//! Receipts: one file that proves offline that an entry stands in a log.

use allmende_core::id::Origin;
use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::ledger::merkle::{Hash, MerkleError, Subtree, inclusion_proof};
use allmende_core::ledger::proof::{Receipt, ReceiptError};
use allmende_core::ledger::tile::{TILE_WIDTH, Tile, decode_bundle, decode_tile, tile_source};
use allmende_core::signature::PublicKey;

use super::report::Cosigned;
use super::{Finding, Source, checkpoint, source, tree};
use crate::view::{EntryView, UnreadableEntry, entry};

/// Why a receipt proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum UnprovenReceipt {
    /// The receipt does not hold.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// It holds, but the entry is no signed statement.
    #[error("the entry is in the log, but is not a signed statement: {0}")]
    Entry(#[from] UnreadableEntry),
    /// No such entry in the log.
    #[error(transparent)]
    Merkle(#[from] MerkleError),
    /// The log's files do not give a receipt.
    #[error(transparent)]
    Finding(#[from] Finding),
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The entry. That its signer's key was valid at this place is for the whole log to say.
    pub entry: EntryView,
    /// The entry's bytes.
    pub leaf: Vec<u8>,
    /// The checkpoint that the proof leads to.
    pub checkpoint: SignedCheckpoint,
    /// The given witnesses that cosigned it.
    pub cosignatures: Vec<Cosigned>,
}

/// The receipt for entry `index` under `checkpoint`, from a source of subtree hashes such as a hub's database.
///
/// # Errors
/// [`MerkleError`] when there is no such entry or a hash is missing.
pub fn receipt_from(
    index: u64,
    leaf: Vec<u8>,
    checkpoint: SignedCheckpoint,
    hashes: impl FnMut(Subtree) -> Option<Hash>,
) -> Result<Receipt, MerkleError> {
    let hashes = inclusion_proof(index, checkpoint.checkpoint.size, hashes)?;
    Ok(Receipt { entry: Some(leaf), index, hashes, checkpoint })
}

/// The receipt for entry `index` from a log's files. It is checked before it is given away, by `key` if that is known.
///
/// # Errors
/// [`UnprovenReceipt`].
pub fn receipt(from: &dyn Source, index: u64, key: Option<&PublicKey>) -> Result<Receipt, UnprovenReceipt> {
    let signed = checkpoint(from)?;
    let size = signed.checkpoint.size;
    if index >= size {
        return Err(MerkleError::Index { index, size }.into());
    }
    let first = index - index % u64::from(TILE_WIDTH);
    let (path, bytes, width) = tree::bundle(from, first, size)?;
    let entries = decode_bundle(&bytes, width).map_err(|source| Finding::Form { path, source })?;
    let leaf = entries.get((index - first) as usize).map(|leaf| leaf.to_vec()).unwrap_or_default();
    let mut fault = None;
    let hashes = tile_source(size, |tile| match load(from, tile) {
        Ok(hashes) => Some(hashes),
        Err(finding) => {
            fault.get_or_insert(finding);
            None
        }
    });
    let made = receipt_from(index, leaf, signed, hashes);
    if let Some(finding) = fault {
        return Err(finding.into());
    }
    let made = made?;
    if let Some(key) = key {
        made.verify_own(&made.checkpoint.checkpoint.origin, key)?;
    }
    Ok(made)
}

fn load(from: &dyn Source, tile: &Tile) -> Result<Vec<Hash>, Finding> {
    let path = tile.to_string();
    let bytes = source::read(from, &path)?;
    decode_tile(&bytes, tile.width).map_err(|source| Finding::Form { path, source })
}

/// Reads a receipt and checks that the entry it carries stands in the log `origin`, whose hub has this key.
///
/// # Errors
/// [`UnprovenReceipt`] names the first thing that is wrong.
pub fn read_receipt(
    text: &str,
    origin: &Origin,
    key: &PublicKey,
    witnesses: &[(Origin, PublicKey)],
) -> Result<Proven, UnprovenReceipt> {
    let receipt = Receipt::parse(text)?;
    let leaf = receipt.verify_own(origin, key)?.to_vec();
    let cosignatures = receipt.checkpoint.cosignatures(witnesses).into_iter().map(|(name, at_s)| {
        let key = witnesses.iter().find(|w| w.0 == name).map(|w| w.1.to_string()).unwrap_or_default();
        Cosigned { name: name.to_string(), party: None, key, at_s }
    });
    let cosignatures = cosignatures.collect();
    Ok(Proven { entry: entry(receipt.index, &leaf)?, leaf, checkpoint: receipt.checkpoint, cosignatures })
}
