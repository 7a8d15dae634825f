//! The log as static files: paths, hash tiles and entry bundles of C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>).
//!
//! A tile at level L holds up to 256 consecutive hashes of the tree's level 8·L. An entry bundle holds the entries below
//! the level-0 tile of the same number. Full tiles never change; a partial one carries its width in its name.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::ledger::merkle::{Hash, Subtree, node_hash};

/// Hashes in a full tile and entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Tree levels that one tile spans.
pub const TILE_HEIGHT: u8 = 8;
/// Highest tile level: 256^8 leaves are more than a 64-bit size can count.
pub const MAX_TILE_LEVEL: u8 = 7;
/// Largest entry, in bytes: its length prefix is 16 bits.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;
/// Bytes of one hash in a tile.
const HASH_BYTES: usize = 32;

/// What a file of the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of the tree's level `8 · level`; `level` is 0 to [`MAX_TILE_LEVEL`].
    Hashes {
        /// The tile's level.
        level: u8,
    },
    /// The entries themselves.
    Entries,
}

/// The name of one file of the log. Written as its path, `tile/0/x001/x234/067.p/5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Hashes or entries.
    pub kind: TileKind,
    /// Number within the level, from 0.
    pub index: u64,
    /// Hashes or entries that it holds, 1 to 256.
    pub width: u16,
}

/// Why a path or a file's bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// Not in the one form that tlog-tiles defines.
    #[error("{0:?} is not a tile's path, which reads tile/<level>/<number>[.p/<width>]")]
    Path(String),
    /// The bytes do not hold the number of hashes or entries that the name says.
    #[error("the file does not hold exactly {expected} complete items")]
    Content {
        /// How many there should be.
        expected: u16,
    },
    /// A tile or bundle holds 1 to 256 items.
    #[error("a tile holds 1 to {TILE_WIDTH} items, not {0}")]
    Width(usize),
    /// Longer than the length prefix can say.
    #[error("an entry of {size_bytes} bytes; a log entry holds at most {MAX_ENTRY_BYTES}")]
    EntryTooLarge {
        /// Its size.
        size_bytes: usize,
    },
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            if place == 0 { write!(f, "{group:03}")? } else { write!(f, "x{group:03}/")? }
        }
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        let tile = parse_path(path);
        // One name for each tile: whatever reads otherwise than it would be written is refused.
        tile.filter(|tile| tile.to_string() == path).ok_or_else(|| TileError::Path(path.chars().take(80).collect()))
    }
}

/// Reads a path leniently; the caller compares with the one right spelling.
fn parse_path(path: &str) -> Option<Tile> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = if level == "entries" {
        TileKind::Entries
    } else {
        TileKind::Hashes { level: level.parse().ok().filter(|&level| level <= MAX_TILE_LEVEL)? }
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|w| (1..TILE_WIDTH).contains(w))?),
        None => (rest, TILE_WIDTH),
    };
    let index = number.split('/').try_fold(0_u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let group: u64 = (digits.len() == 3).then(|| digits.parse().ok()).flatten()?;
        index.checked_mul(1000)?.checked_add(group)
    })?;
    Some(Tile { kind, index, width })
}

impl Tile {
    /// The tile that holds the hashes below `subtree` in a tree of `size` leaves, as wide as that tree has it.
    /// `None` when the subtree is not complete in that tree.
    #[must_use]
    pub fn of_subtree(subtree: Subtree, size: u64) -> Option<Self> {
        let level = subtree.level / TILE_HEIGHT;
        let within = u32::from(subtree.level % TILE_HEIGHT);
        if level > MAX_TILE_LEVEL {
            return None;
        }
        let hashes = size >> (TILE_HEIGHT * level);
        // The subtree's last hash at the tile's level must exist.
        let end = subtree.index.checked_add(1)?.checked_mul(1 << within)?;
        if end > hashes {
            return None;
        }
        let index = (end - 1) / u64::from(TILE_WIDTH);
        let width = (hashes - index * u64::from(TILE_WIDTH)).min(u64::from(TILE_WIDTH)) as u16;
        Some(Self { kind: TileKind::Hashes { level }, index, width })
    }

    /// The bundle that holds entry `entry` in a log of `size` entries; `None` past its end.
    #[must_use]
    pub fn of_entry(entry: u64, size: u64) -> Option<Self> {
        let tile = Self::of_subtree(Subtree { level: 0, index: entry }, size)?;
        Some(Self { kind: TileKind::Entries, ..tile })
    }

    /// The items that this tile holds, as a range of numbers in its level.
    #[must_use]
    pub const fn items(&self) -> std::ops::Range<u64> {
        let start = self.index.saturating_mul(TILE_WIDTH as u64);
        start..start.saturating_add(self.width as u64)
    }

    /// Whether every item is there, so that the file will never grow.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }
}

/// All files of a log of `size` entries: hash tiles level by level, then the entry bundles.
pub fn tiles(size: u64) -> impl Iterator<Item = Tile> {
    changed_tiles(0, size)
}

/// The files of a log of `new_size` entries that it did not have, or had narrower, at `old_size` entries.
pub fn changed_tiles(old_size: u64, new_size: u64) -> impl Iterator<Item = Tile> {
    let hashes = (0..=MAX_TILE_LEVEL).map(|level| (TileKind::Hashes { level }, TILE_HEIGHT * level));
    hashes.chain([(TileKind::Entries, 0)]).flat_map(move |(kind, shift)| {
        let (old, new) = (old_size >> shift, new_size >> shift);
        let width = u64::from(TILE_WIDTH);
        let range = if new > old { old / width..new.div_ceil(width) } else { 0..0 };
        range.map(move |index| Tile { kind, index, width: (new - index * width).min(width) as u16 })
    })
}

/// The bytes of a hash tile: its hashes joined.
///
/// # Errors
/// [`TileError::Width`] unless there are 1 to 256.
pub fn encode_tile(hashes: &[Hash]) -> Result<Vec<u8>, TileError> {
    check_width(hashes.len())?;
    Ok(hashes.iter().flat_map(|hash| hash.0).collect())
}

/// The hashes of a tile that must hold exactly `width`.
///
/// # Errors
/// [`TileError`] when it does not.
pub fn decode_tile(bytes: &[u8], width: u16) -> Result<Vec<Hash>, TileError> {
    check_width(width.into())?;
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if hashes.len() != usize::from(width) || !rest.is_empty() {
        return Err(TileError::Content { expected: width });
    }
    Ok(hashes.iter().map(|&hash| Digest(hash)).collect())
}

/// The bytes of an entry bundle: each entry behind its length as 16 bits, big-endian.
///
/// # Errors
/// [`TileError`] for too many entries or one too long.
pub fn encode_bundle<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, TileError> {
    check_width(entries.len())?;
    let mut out = Vec::with_capacity(entries.iter().map(|e| e.as_ref().len() + 2).sum());
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLarge { size_bytes: entry.len() })?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// The entries of a bundle that must hold exactly `width`.
///
/// # Errors
/// [`TileError`] when it does not.
pub fn decode_bundle(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    check_width(width.into())?;
    let wrong = TileError::Content { expected: width };
    let mut entries = Vec::with_capacity(width.into());
    let mut rest = bytes;
    while let Some((&length, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at_checked(u16::from_be_bytes(length).into()).ok_or_else(|| wrong.clone())?;
        entries.push(entry);
        if entries.len() > usize::from(width) {
            return Err(wrong);
        }
        rest = after;
    }
    if rest.is_empty() && entries.len() == usize::from(width) { Ok(entries) } else { Err(wrong) }
}

fn check_width(width: usize) -> Result<(), TileError> {
    if (1..=usize::from(TILE_WIDTH)).contains(&width) { Ok(()) } else { Err(TileError::Width(width)) }
}

/// The hash of `subtree` from the hashes of the tile that [`Tile::of_subtree`] names for it.
#[must_use]
pub fn subtree_hash(subtree: Subtree, hashes: &[Hash]) -> Option<Hash> {
    let count = 1_usize << (subtree.level % TILE_HEIGHT);
    let places = u64::from(TILE_WIDTH) / count as u64;
    let start = (subtree.index % places) as usize * count;
    let mut level = hashes.get(start..start + count)?.to_vec();
    while level.len() > 1 {
        level = level.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    level.first().copied()
}

/// A source of subtree hashes for [`crate::ledger::merkle::inclusion_proof`] and its relatives that reads the tiles of a
/// log of `size` entries; `load` gives a tile's hashes.
pub fn tile_source(size: u64, mut load: impl FnMut(&Tile) -> Option<Vec<Hash>>) -> impl FnMut(Subtree) -> Option<Hash> {
    move |subtree| {
        let tile = Tile::of_subtree(subtree, size)?;
        subtree_hash(subtree, &load(&tile)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::merkle::{Frontier, inclusion_proof, leaf_hash, verify_inclusion};

    fn count(size: u64, kind: TileKind, full: bool) -> usize {
        tiles(size).filter(|t| t.kind == kind && t.is_full() == full).count()
    }

    #[test]
    fn the_specification_s_examples() {
        let tile = Tile { kind: TileKind::Hashes { level: 0 }, index: 1_234_067, width: 256 };
        assert_eq!(tile.to_string(), "tile/0/x001/x234/067");
        let hashes = |level| TileKind::Hashes { level };
        assert_eq!((count(70_000, hashes(0), true), count(70_000, hashes(0), false)), (273, 1));
        assert_eq!((count(70_000, hashes(1), true), count(70_000, hashes(1), false)), (1, 1));
        assert_eq!((count(70_000, hashes(2), true), count(70_000, hashes(2), false)), (0, 1));
        assert_eq!((count(70_000, TileKind::Entries, true), count(70_000, hashes(3), false)), (273, 0));
        let partial: Vec<String> = tiles(70_000).filter(|t| !t.is_full()).map(|t| t.to_string()).collect();
        assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"]);
        let small: Vec<String> = tiles(256).map(|t| t.to_string()).collect();
        assert_eq!(small, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
        assert_eq!(tiles(0).count(), 0);
    }

    #[test]
    fn only_the_one_spelling_of_a_path_is_read() {
        for good in ["tile/0/000", "tile/7/x001/000.p/255", "tile/entries/x999/x999/999", "tile/entries/001.p/1"] {
            assert_eq!(good.parse::<Tile>().map(|t| t.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/00/000",
            "tile/8/000",
            "tile/+1/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/x234",
            "tile/0/x001",
            "tile/0/001/234",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/../000",
            "tile/0/+01",
            "tile/data/000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/00٣",
        ] {
            assert!(bad.parse::<Tile>().is_err(), "{bad}");
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let bundle = encode_bundle(&[b"".as_slice(), b"ab", &[7; 300]]).expect("small");
        assert_eq!(bundle[..7], [0, 0, 0, 2, b'a', b'b', 1]);
        assert_eq!(decode_bundle(&bundle, 3).map(|e| e.len()), Ok(3));
        for cut in 1..bundle.len() {
            assert!(decode_bundle(&bundle[..cut], 3).is_err(), "{cut}");
        }
        for width in [0, 2, 4, 257] {
            assert!(decode_bundle(&bundle, width).is_err(), "{width}");
        }
        assert!(matches!(encode_bundle(&[vec![0; 65_536]]), Err(TileError::EntryTooLarge { size_bytes: 65_536 })));
        assert!(encode_bundle::<&[u8]>(&[]).is_err());
        let tile = encode_tile(&[leaf_hash(b"a"), leaf_hash(b"b")]).expect("two");
        assert_eq!(decode_tile(&tile, 2), Ok(vec![leaf_hash(b"a"), leaf_hash(b"b")]));
        assert!(decode_tile(&tile, 1).is_err() && decode_tile(&tile[1..], 2).is_err() && decode_tile(&[], 0).is_err());
        assert!(encode_tile(&[leaf_hash(b""); 257]).is_err());
    }

    #[test]
    fn proofs_come_out_of_tiles_alone() {
        let size = 66_000_u64;
        let mut frontier = Frontier::new();
        let mut levels: BTreeMap<u8, Vec<Hash>> = BTreeMap::new();
        for i in 0..size {
            frontier.push_with(leaf_hash(&i.to_be_bytes()), |subtree, hash| {
                if subtree.level.is_multiple_of(TILE_HEIGHT) {
                    levels.entry(subtree.level / TILE_HEIGHT).or_default().push(hash);
                }
            });
        }
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for tile in tiles(size) {
            if let TileKind::Hashes { level } = tile.kind {
                let items = tile.items();
                let hashes = &levels[&level][items.start as usize..items.end as usize];
                files.insert(tile.to_string(), encode_tile(hashes).expect("not empty"));
            }
        }
        for index in [0, 1, 255, 256, 65_535, 65_536, 65_999] {
            let load = |tile: &Tile| decode_tile(files.get(&tile.to_string())?, tile.width).ok();
            let proof = inclusion_proof(index, size, tile_source(size, load)).expect("all tiles are there");
            let leaf = leaf_hash(&index.to_be_bytes());
            assert_eq!(verify_inclusion(&leaf, index, size, &proof, &frontier.root()), Ok(()), "{index}");
        }
        assert_eq!(Tile::of_entry(65_999, size).map(|t| t.to_string()), Some("tile/entries/257.p/208".into()));
        assert_eq!(Tile::of_entry(size, size), None);
        assert_eq!(Tile::of_subtree(Subtree { level: 63, index: u64::MAX }, u64::MAX), None);
    }

    proptest! {
        #[test]
        fn paths_round_trip(level in 0..=MAX_TILE_LEVEL, index: u64, width in 1..=TILE_WIDTH, entries: bool) {
            let kind = if entries { TileKind::Entries } else { TileKind::Hashes { level } };
            let tile = Tile { kind, index, width };
            prop_assert_eq!(tile.to_string().parse::<Tile>(), Ok(tile));
        }

        #[test]
        fn any_text_is_read_or_refused(path in "tile/[0-9x./pentris]{0,30}") {
            if let Ok(tile) = path.parse::<Tile>() {
                prop_assert_eq!(tile.to_string(), path);
            }
        }

        #[test]
        fn bundles_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..=256)) {
            let bytes = encode_bundle(&entries).expect("within limits");
            let back = decode_bundle(&bytes, entries.len() as u16).expect("own output");
            prop_assert_eq!(back, entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn growing_writes_what_is_new_and_nothing_else(old in 0_u64..200_000, more in 0_u64..100_000) {
            let new = old + more;
            let before: std::collections::BTreeSet<_> = tiles(old).collect();
            let after: std::collections::BTreeSet<_> = tiles(new).collect();
            let changed: std::collections::BTreeSet<_> = changed_tiles(old, new).collect();
            prop_assert_eq!(after.difference(&before).copied().collect::<std::collections::BTreeSet<_>>(), changed);
        }
    }
}
