//! The Merkle tree over a log's entries: RFC 6962 section 2.1, verification as in RFC 9162 sections 2.1.3.2 and 2.1.4.2.
//!
//! Leaves and inner nodes are hashed behind different prefix bytes, so that no inner node can pass for an entry.
//! Proofs are made from hashes of *complete* subtrees alone, because those never change once written.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The hash of a leaf or an inner node.
pub type Hash = Digest;

/// Most leaves in one log: tree sizes stand as integers in strict JSON.
pub const MAX_SIZE: u64 = (1 << 53) - 1;

/// The hash of an entry: `SHA-256(0x00 ‖ entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Digest::of_parts(&[&[0], entry])
}

/// The hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Digest::of_parts(&[&[1], &left.0, &right.0])
}

/// The root of a log without entries: `SHA-256("")`.
#[must_use]
pub fn empty_root() -> Hash {
    Digest::of(b"")
}

/// A complete subtree: the leaves from `index · 2^level` up to, not including, `(index + 1) · 2^level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    /// Height above the leaves, 0 to 63.
    pub level: u8,
    /// Place among the subtrees of this level, from the left, counted from 0.
    pub index: u64,
}

/// Why a proof could not be made or does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// No such leaf in a tree of this size.
    #[error("entry {index} is not in a log of {size} entries")]
    Index {
        /// The leaf asked for, counted from 0.
        index: u64,
        /// The tree's number of leaves.
        size: u64,
    },
    /// A tree cannot be consistent with a smaller one.
    #[error("a log of {new_size} entries cannot extend one of {old_size}")]
    Sizes {
        /// The older tree's number of leaves.
        old_size: u64,
        /// The newer tree's number of leaves.
        new_size: u64,
    },
    /// Beyond [`MAX_SIZE`].
    #[error("a log holds at most {MAX_SIZE} entries, not {0}")]
    TooLarge(u64),
    /// The source of hashes has none for this subtree.
    #[error("the hash of subtree {index} at level {level} is missing")]
    Missing {
        /// Its level.
        level: u8,
        /// Its index in the level.
        index: u64,
    },
    /// The proof has too few or too many hashes.
    #[error("the proof has {got} hashes, which does not fit the tree's size")]
    Length {
        /// How many it has.
        got: usize,
    },
    /// The proof leads to another root.
    #[error("the proof leads to another root")]
    Root,
    /// The stored peaks do not fit the stored size.
    #[error("{peaks} peaks do not fit a log of {size} entries")]
    Frontier {
        /// Number of peaks stored.
        peaks: usize,
        /// Number of leaves stored.
        size: u64,
    },
}

/// The compact range over all leaves so far: enough to append and to know the root, in at most 53 hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "StoredFrontier")]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// The stored form, checked when it is read back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFrontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl TryFrom<StoredFrontier> for Frontier {
    type Error = MerkleError;
    fn try_from(stored: StoredFrontier) -> Result<Self, MerkleError> {
        let StoredFrontier { size, peaks } = stored;
        Self::from_peaks(size, peaks)
    }
}

impl Frontier {
    /// The frontier of a log without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A frontier from the hashes of [`Self::peak_subtrees`], largest subtree first.
    ///
    /// # Errors
    /// [`MerkleError::Frontier`] or [`MerkleError::TooLarge`] when they fit no log.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Result<Self, MerkleError> {
        if size > MAX_SIZE {
            return Err(MerkleError::TooLarge(size));
        }
        if peaks.len() != size.count_ones() as usize {
            return Err(MerkleError::Frontier { peaks: peaks.len(), size });
        }
        Ok(Self { size, peaks })
    }

    /// The complete subtrees whose hashes make the frontier of a log of `size` entries, largest first.
    #[must_use]
    pub fn peak_subtrees(size: u64) -> Vec<Subtree> {
        decompose(0, size)
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends the hash of the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_, _| ());
    }

    /// Appends the hash of the next leaf and reports every subtree that it completes, the leaf itself first.
    pub fn push_with(&mut self, leaf: Hash, mut completed: impl FnMut(Subtree, Hash)) {
        let mut hash = leaf;
        completed(Subtree { level: 0, index: self.size }, hash);
        // Each trailing one bit of the old size is a peak that the new leaf completes to the next level.
        for level in 1..=self.size.trailing_ones() {
            let left = self.peaks.pop().unwrap_or(hash);
            hash = node_hash(&left, &hash);
            completed(Subtree { level: level as u8, index: self.size >> level }, hash);
        }
        self.peaks.push(hash);
        // Sizes start at or below MAX_SIZE, so 2^63 appends would be needed to overflow.
        self.size += 1;
    }

    /// The root hash.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// The root of a tree with these leaf hashes.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// Largest power of two below `n`; `n` is at least 2.
const fn split_point(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// The complete subtrees that cover the leaves `from..to` of a tree in which that range is itself a node.
fn decompose(from: u64, to: u64) -> Vec<Subtree> {
    let mut subtrees = Vec::new();
    let mut at = from;
    while at < to {
        let level = 63 - (to - at).leading_zeros();
        subtrees.push(Subtree { level: level as u8, index: at >> level });
        at += 1 << level;
    }
    subtrees
}

/// The nodes of an audit path as ranges of leaves, from the leaf's sibling up.
fn inclusion_ranges(index: u64, size: u64) -> Result<Vec<(u64, u64)>, MerkleError> {
    if size > MAX_SIZE {
        return Err(MerkleError::TooLarge(size));
    }
    if index >= size {
        return Err(MerkleError::Index { index, size });
    }
    let (mut from, mut to, mut ranges) = (0, size, Vec::new());
    while to - from > 1 {
        let middle = from + split_point(to - from);
        if index < middle {
            ranges.push((middle, to));
            to = middle;
        } else {
            ranges.push((from, middle));
            from = middle;
        }
    }
    ranges.reverse();
    Ok(ranges)
}

/// The nodes of a consistency proof as ranges of leaves, in the order of RFC 6962 section 2.1.2.
fn consistency_ranges(old_size: u64, new_size: u64) -> Result<Vec<(u64, u64)>, MerkleError> {
    if new_size > MAX_SIZE {
        return Err(MerkleError::TooLarge(new_size));
    }
    if old_size > new_size {
        return Err(MerkleError::Sizes { old_size, new_size });
    }
    if old_size == 0 || old_size == new_size {
        return Ok(Vec::new());
    }
    let (mut from, mut to, mut ranges) = (0, new_size, Vec::new());
    // The old tree's last node is left out only where it is the whole old tree, whose root the verifier has.
    while to != old_size {
        let middle = from + split_point(to - from);
        if old_size <= middle {
            ranges.push((middle, to));
            to = middle;
        } else {
            ranges.push((from, middle));
            from = middle;
        }
    }
    if from != 0 {
        ranges.push((from, to));
    }
    ranges.reverse();
    Ok(ranges)
}

fn hash_ranges(
    ranges: &[(u64, u64)],
    mut source: impl FnMut(Subtree) -> Option<Hash>,
) -> Result<Vec<Hash>, MerkleError> {
    ranges
        .iter()
        .map(|&(from, to)| {
            let mut root: Option<Hash> = None;
            for subtree in decompose(from, to).into_iter().rev() {
                let Subtree { level, index } = subtree;
                let left = source(subtree).ok_or(MerkleError::Missing { level, index })?;
                root = Some(root.map_or(left, |right| node_hash(&left, &right)));
            }
            Ok(root.unwrap_or_else(empty_root))
        })
        .collect()
}

/// The complete subtrees whose hashes [`inclusion_proof`] will ask for, so that a store can fetch them at once.
///
/// # Errors
/// [`MerkleError::Index`] when the tree has no such leaf.
pub fn inclusion_subtrees(index: u64, size: u64) -> Result<Vec<Subtree>, MerkleError> {
    Ok(inclusion_ranges(index, size)?.into_iter().flat_map(|(from, to)| decompose(from, to)).collect())
}

/// The complete subtrees whose hashes [`consistency_proof`] will ask for.
///
/// # Errors
/// [`MerkleError::Sizes`] when the new tree is smaller.
pub fn consistency_subtrees(old_size: u64, new_size: u64) -> Result<Vec<Subtree>, MerkleError> {
    Ok(consistency_ranges(old_size, new_size)?.into_iter().flat_map(|(from, to)| decompose(from, to)).collect())
}

/// The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962 section 2.1.1), sibling first.
/// `source` gives the hash of a complete subtree.
///
/// # Errors
/// [`MerkleError::Index`] when the tree has no such leaf, [`MerkleError::Missing`] when `source` lacks a hash.
pub fn inclusion_proof(
    index: u64,
    size: u64,
    source: impl FnMut(Subtree) -> Option<Hash>,
) -> Result<Vec<Hash>, MerkleError> {
    hash_ranges(&inclusion_ranges(index, size)?, source)
}

/// The proof that the tree of the first `new_size` leaves extends that of `old_size` (RFC 6962 section 2.1.2). It is empty
/// when the old tree is empty or the sizes are equal.
///
/// # Errors
/// [`MerkleError::Sizes`] when the new tree is smaller, [`MerkleError::Missing`] when `source` lacks a hash.
pub fn consistency_proof(
    old_size: u64,
    new_size: u64,
    source: impl FnMut(Subtree) -> Option<Hash>,
) -> Result<Vec<Hash>, MerkleError> {
    hash_ranges(&consistency_ranges(old_size, new_size)?, source)
}

/// A source of subtree hashes over leaves in memory. Each look-up hashes its subtree anew.
pub fn leaves_source(leaves: &[Hash]) -> impl FnMut(Subtree) -> Option<Hash> {
    |Subtree { level, index }| {
        let from = usize::try_from(index.checked_shl(level.into())?).ok()?;
        let to = from.checked_add(1_usize.checked_shl(level.into())?)?;
        leaves.get(from..to).map(root_of)
    }
}

/// Checks that `leaf` is entry `index` of the log of `size` entries with this root.
///
/// # Errors
/// [`MerkleError`] says what does not fit.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), MerkleError> {
    if index >= size {
        return Err(MerkleError::Index { index, size });
    }
    let length = || MerkleError::Length { got: proof.len() };
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(length());
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            // A last node without a sibling rises unhashed to the level where it is a right child.
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length());
    }
    if hash == *root { Ok(()) } else { Err(MerkleError::Root) }
}

/// Checks that the log of `new_size` entries with root `new_root` extends the one of `old_size` with `old_root`.
///
/// # Errors
/// [`MerkleError`] says what does not fit.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), MerkleError> {
    if old_size > new_size {
        return Err(MerkleError::Sizes { old_size, new_size });
    }
    let length = || MerkleError::Length { got: proof.len() };
    if old_size == new_size || old_size == 0 {
        let expected = if old_size == 0 { empty_root() } else { *new_root };
        let new_fits = new_size != 0 || *new_root == empty_root();
        return match proof {
            [] if *old_root == expected && new_fits => Ok(()),
            [] => Err(MerkleError::Root),
            _ => Err(length()),
        };
    }
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    // When the old tree is one complete subtree, its root is the starting node and does not stand in the proof.
    let (start, rest) = if old_size.is_power_of_two() {
        (*old_root, proof)
    } else {
        proof.split_first().map(|(first, rest)| (*first, rest)).ok_or_else(length)?
    };
    let (mut old, mut new) = (start, start);
    for sibling in rest {
        if last == 0 {
            return Err(length());
        }
        if at & 1 == 1 || at == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length());
    }
    if old == *old_root && new == *new_root { Ok(()) } else { Err(MerkleError::Root) }
}

#[cfg(test)]
#[path = "merkle_tests.rs"]
mod tests;
