//! The tree: every byte of every file against what the entries give.

use std::collections::BTreeMap;

use allmende_core::digest::Digest;
use allmende_core::ledger::checkpoint::Checkpoint;
use allmende_core::ledger::merkle::{Frontier, Hash, leaf_hash};
use allmende_core::ledger::tile::{
    MAX_TILE_LEVEL, TILE_HEIGHT, TILE_WIDTH, Tile, TileKind, decode_bundle, encode_bundle, encode_tile,
};

use super::{CHECKPOINT, Finding, NotChecked, Source, source};

/// Stray files named one by one in a report.
const MAX_STRAYS: usize = 16;

/// The entries of the bundle that holds entry `first`, which must be the first of a bundle.
pub(super) fn bundle(source: &dyn Source, first: u64, size: u64) -> Result<(String, Vec<u8>, u16), Finding> {
    let index = first / u64::from(TILE_WIDTH);
    // At most 256, so the cast keeps the value.
    let width = (size - first).min(u64::from(TILE_WIDTH)) as u16;
    let path = Tile { kind: TileKind::Entries, index, width }.to_string();
    let bytes = source::read(source, &path)?;
    Ok((path, bytes, width))
}

/// Calls `each` with every entry, the path of its bundle and the offset of its first byte there.
pub(super) fn for_each_entry(
    source: &dyn Source,
    size: u64,
    mut each: impl FnMut(u64, &[u8], &str, usize) -> Result<(), Finding>,
) -> Result<(), Finding> {
    let mut first = 0;
    while first < size {
        let (path, bytes, width) = bundle(source, first, size)?;
        let entries = decode_bundle(&bytes, width).map_err(|source| Finding::Form { path: path.clone(), source })?;
        let mut offset = 0;
        for (entry, leaf) in (first..).zip(entries) {
            offset += 2;
            each(entry, leaf, &path, offset)?;
            offset += leaf.len();
        }
        first += u64::from(width);
    }
    Ok(())
}

struct Tree<'a> {
    source: &'a dyn Source,
    /// Hashes of the tile that is being filled, level by level.
    open: Vec<Vec<Hash>>,
    /// Number of tiles filled, level by level.
    filled: Vec<u64>,
    /// The first tile that differs from the entries, if one does.
    wrong: Option<(Tile, usize)>,
    /// Narrower tiles that were not removed when wider ones took their place.
    stale: Stale,
    /// The first of those that differs from the entries, if one does.
    wrong_stale: Option<(String, usize)>,
}

impl Tree<'_> {
    fn add(&mut self, level: u8, hash: Hash) -> Result<(), Finding> {
        let level = usize::from(level);
        self.open[level].push(hash);
        if self.open[level].len() == usize::from(TILE_WIDTH) {
            self.close(level)?;
        }
        Ok(())
    }

    /// Compares the tile of `level` that is open, full or not, with its file.
    fn close(&mut self, level: usize) -> Result<(), Finding> {
        let hashes = std::mem::take(&mut self.open[level]);
        let index = self.filled[level];
        self.filled[level] += 1;
        // Tiles hold at most 256 hashes, and there are eight levels.
        let tile = Tile { kind: TileKind::Hashes { level: level as u8 }, index, width: hashes.len() as u16 };
        let path = tile.to_string();
        let computed = encode_tile(&hashes).map_err(|source| Finding::Form { path: path.clone(), source })?;
        let found = source::read(self.source, &path)?;
        if let Some(offset) = differs(&computed, &found) {
            self.wrong.get_or_insert((tile, offset));
        }
        for width in self.stale.remove(&(level as u8, index)).unwrap_or_default() {
            let path = Tile { width, ..tile }.to_string();
            let found = source::read(self.source, &path)?;
            let expected = &computed[..(usize::from(width) * 32).min(computed.len())];
            if let Some(offset) = differs(expected, &found) {
                self.wrong_stale.get_or_insert((path, offset));
            }
        }
        Ok(())
    }
}

/// The first byte in which two files differ.
fn differs(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b {
        return None;
    }
    Some(a.iter().zip(b).position(|(a, b)| a != b).unwrap_or_else(|| a.len().min(b.len())))
}

/// Checks all files below `checkpoint`, and of the others those that a log once had.
pub(super) fn check(
    source: &dyn Source,
    checkpoint: &Checkpoint,
    known: Option<&Checkpoint>,
    others: Others,
    tick: &dyn Fn(),
) -> Result<Vec<NotChecked>, Finding> {
    let size = checkpoint.size;
    let Others { stale_hashes: stale, stale_entries, strays } = others;
    let levels = usize::from(MAX_TILE_LEVEL) + 1;
    let (open, filled) = (vec![Vec::new(); levels], vec![0; levels]);
    let mut tree = Tree { source, open, filled, wrong: None, stale, wrong_stale: None };
    let mut frontier = Frontier::new();
    let mut pending = Vec::new();
    for_each_entry(source, size, |entry, leaf, _, _| {
        frontier.push_with(leaf_hash(leaf), |subtree, hash| {
            if subtree.level.is_multiple_of(TILE_HEIGHT) {
                pending.push((subtree.level / TILE_HEIGHT, hash));
            }
        });
        for (level, hash) in pending.drain(..) {
            tree.add(level, hash)?;
        }
        if let Some(known) = known.filter(|k| k.size == entry + 1 && k.root != frontier.root()) {
            return Err(Finding::Forked { size: known.size, known: known.root, got: frontier.root() });
        }
        tick();
        Ok(())
    })?;
    for level in 0..levels {
        if !tree.open[level].is_empty() {
            tree.close(level)?;
        }
    }
    conclude(source, checkpoint, frontier.root(), tree.wrong)?;
    if let Some((path, offset)) = tree.wrong_stale {
        return Err(Finding::Stale { path, offset });
    }
    check_stale_bundles(source, size, stale_entries)?;
    Ok(strays)
}

/// Says which of entries, tiles and checkpoint is wrong when they do not agree: whoever stands against the signed root.
fn conclude(
    source: &dyn Source,
    checkpoint: &Checkpoint,
    root: Digest,
    wrong: Option<(Tile, usize)>,
) -> Result<(), Finding> {
    match (root == checkpoint.root, wrong) {
        (true, None) => Ok(()),
        (true, Some((tile, offset))) => Err(Finding::Tile { path: tile.to_string(), offset }),
        (false, Some((tile, offset))) if tile.kind == (TileKind::Hashes { level: 0 }) => {
            let entry = tile.items().start + (offset / 32) as u64;
            for_each_entry(source, checkpoint.size, |at, _, path, offset| {
                if at == entry { Err(Finding::Entry { entry, path: path.to_owned(), offset }) } else { Ok(()) }
            })?;
            Err(Finding::Tile { path: tile.to_string(), offset })
        }
        (false, _) => Err(Finding::Root { size: checkpoint.size, stated: checkpoint.root, computed: root }),
    }
}

/// Widths of narrower tiles by level and number.
type Stale = BTreeMap<(u8, u64), Vec<u16>>;

/// What lies beside the files that the checkpoint promises.
pub(super) struct Others {
    stale_hashes: Stale,
    stale_entries: Vec<(u64, u16)>,
    strays: Vec<NotChecked>,
}

/// Sorts what else lies in the folder: narrower tiles of earlier sizes, and files that are no part of the log.
pub(super) fn others(source: &dyn Source, size: u64) -> Result<Others, Finding> {
    let (mut hashes, mut entries, mut strays, mut more) = (Stale::new(), Vec::new(), Vec::new(), 0_u64);
    let unreadable = |source| Finding::Unreadable { path: "the folder".to_owned(), source };
    for path in source.list().map_err(unreadable)?.unwrap_or_default() {
        let Ok(tile) = path.parse::<Tile>() else {
            if path != CHECKPOINT && strays.len() < MAX_STRAYS {
                strays.push(NotChecked { what: path, why: "not a file of the log".to_owned() });
            } else if path != CHECKPOINT {
                more += 1;
            }
            continue;
        };
        let (level, items) = match tile.kind {
            TileKind::Hashes { level } => (level, size >> (TILE_HEIGHT * level)),
            TileKind::Entries => (0, size),
        };
        if tile.items().end > items {
            return Err(Finding::Beyond { path, size });
        }
        let due = (items - tile.items().start).min(u64::from(TILE_WIDTH));
        if u64::from(tile.width) < due {
            match tile.kind {
                TileKind::Hashes { .. } => hashes.entry((level, tile.index)).or_default().push(tile.width),
                TileKind::Entries => entries.push((tile.index, tile.width)),
            }
        }
    }
    if more > 0 {
        strays.push(NotChecked { what: format!("{more} more files"), why: "not files of the log".to_owned() });
    }
    Ok(Others { stale_hashes: hashes, stale_entries: entries, strays })
}

fn check_stale_bundles(source: &dyn Source, size: u64, stale: Vec<(u64, u16)>) -> Result<(), Finding> {
    for (index, width) in stale {
        let (path, bytes, whole) = bundle(source, index * u64::from(TILE_WIDTH), size)?;
        let form = |source| Finding::Form { path: path.clone(), source };
        let entries = decode_bundle(&bytes, whole).map_err(form)?;
        let expected = encode_bundle(&entries[..usize::from(width)]).map_err(form)?;
        let path = Tile { kind: TileKind::Entries, index, width }.to_string();
        let found = source::read(source, &path)?;
        if let Some(offset) = differs(&expected, &found) {
            return Err(Finding::Stale { path, offset });
        }
    }
    Ok(())
}
