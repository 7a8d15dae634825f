//! A log as static files in a folder: the export that any C2SP tlog-tiles reader can audit, and a node's mirror.
//!
//! An export is idempotent: done again, or cut off and begun again, it ends with the same files. Tiles and bundles are
//! durable before the checkpoint that promises them takes its place. Full tiles never change.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use allmende_core::digest::Digest;
use allmende_core::ledger::checkpoint::{CheckpointError, SignedCheckpoint};
use allmende_core::ledger::merkle::{Frontier, Hash, leaf_hash};
use allmende_core::ledger::tile::{
    MAX_TILE_LEVEL, TILE_HEIGHT, TILE_WIDTH, Tile, TileError, TileKind, decode_bundle, decode_tile, encode_bundle,
    encode_tile, tile_source,
};

use crate::faults;

use super::source::{DirSource, Source as _, SourceError};
use super::{CHECKPOINT, Finding};

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read back.
    #[error("{path}: {source}")]
    Source {
        /// The file.
        path: String,
        /// Why.
        source: SourceError,
    },
    /// An entry is too long for a bundle.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// A full tile is there with other bytes. It belongs to another log, or was altered.
    #[error("{path} is there already with other bytes: it was altered, or belongs to another log")]
    Differs {
        /// The file.
        path: String,
    },
    /// The folder holds another log.
    #[error("the folder holds the log {found}, not {expected}")]
    OtherLog {
        /// The log to export.
        expected: String,
        /// The log that is there.
        found: String,
    },
    /// The checkpoint is not that of the entries given.
    #[error(
        "the checkpoint is of {stated_size} entries with root {stated}, but {size} entries with root {root} were given"
    )]
    Checkpoint {
        /// Entries that the checkpoint counts.
        stated_size: u64,
        /// Its root.
        stated: Digest,
        /// Entries given.
        size: u64,
        /// Their root.
        root: Digest,
    },
    /// The entries broke off.
    #[error("the entries cannot be read: {0}")]
    Entries(String),
}

/// What to do with a full tile that is there with other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse: full tiles never change.
    Keep,
    /// Write it anew from the entries, as `ledger rebuild` does.
    Repair,
}

/// Writes a log's files.
#[derive(Debug)]
pub struct Exporter {
    root: PathBuf,
    existing: Existing,
    frontier: Frontier,
    /// Hashes of the tile that is being filled, level by level.
    open: Vec<Vec<Hash>>,
    bundle: Vec<Vec<u8>>,
    /// Size at which the folder's files were complete before.
    before: u64,
    changed: BTreeSet<PathBuf>,
}

impl Exporter {
    /// Begins with the first entry, whatever is there.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, existing: Existing) -> Self {
        let levels = usize::from(MAX_TILE_LEVEL) + 1;
        Self {
            root: root.into(),
            existing,
            frontier: Frontier::new(),
            open: vec![Vec::new(); levels],
            bundle: Vec::new(),
            before: 0,
            changed: BTreeSet::new(),
        }
    }

    /// Goes on after the entries that are there, in time that does not grow with their number. A folder whose last files do
    /// not fit its checkpoint is begun anew and repaired.
    ///
    /// # Errors
    /// [`ExportError::Source`] when the folder cannot be read.
    pub fn resume(root: impl Into<PathBuf>) -> Result<Self, ExportError> {
        let mut new = Self::new(root, Existing::Keep);
        match new.load() {
            Ok(true) => Ok(new),
            Ok(false) => Ok(Self::new(new.root, Existing::Keep)),
            Err(Finding::Unreadable { path, source }) => Err(ExportError::Source { path, source }),
            Err(_) => Ok(Self::new(new.root, Existing::Repair)),
        }
    }

    /// Number of entries taken so far: the index of the next.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    fn load(&mut self) -> Result<bool, Finding> {
        let source = DirSource::new(&self.root);
        let found = source.read(CHECKPOINT);
        if found.map_err(|source| Finding::Unreadable { path: CHECKPOINT.into(), source })?.is_none() {
            return Ok(false);
        }
        let checkpoint = super::checkpoint(&source)?.checkpoint;
        let size = checkpoint.size;
        let hashes = |tile: &Tile| -> Result<Vec<Hash>, Finding> {
            let path = tile.to_string();
            let bytes = super::source::read(&source, &path)?;
            decode_tile(&bytes, tile.width).map_err(|source| Finding::Form { path, source })
        };
        let mut subtree = tile_source(size, |tile| hashes(tile).ok());
        let peaks: Option<Vec<Hash>> = Frontier::peak_subtrees(size).into_iter().map(&mut subtree).collect();
        let wrong = || Finding::Checkpoint { source: CheckpointError::Malformed("its tiles have another root") };
        let frontier = peaks.and_then(|peaks| Frontier::from_peaks(size, peaks).ok());
        self.frontier = frontier.filter(|f| f.root() == checkpoint.root).ok_or_else(wrong)?;
        for level in 0..=MAX_TILE_LEVEL {
            let items = size >> (TILE_HEIGHT * level);
            // Less than 256, so the cast keeps the value.
            let width = (items % u64::from(TILE_WIDTH)) as u16;
            if width > 0 {
                let tile = Tile { kind: TileKind::Hashes { level }, index: items / u64::from(TILE_WIDTH), width };
                self.open[usize::from(level)] = hashes(&tile)?;
            }
        }
        let first = size - size % u64::from(TILE_WIDTH);
        if first < size {
            let (path, bytes, width) = super::tree::bundle(&source, first, size)?;
            let entries = decode_bundle(&bytes, width).map_err(|source| Finding::Form { path, source })?;
            if entries.iter().zip(&self.open[0]).any(|(leaf, hash)| leaf_hash(leaf) != *hash) {
                return Err(wrong());
            }
            self.bundle = entries.into_iter().map(<[u8]>::to_vec).collect();
        }
        self.before = size;
        Ok(true)
    }

    /// Takes the next entry's bytes. Full tiles are written at once.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn push(&mut self, leaf: &[u8]) -> Result<(), ExportError> {
        let mut completed = Vec::new();
        self.frontier.push_with(leaf_hash(leaf), |subtree, hash| {
            if subtree.level.is_multiple_of(TILE_HEIGHT) {
                completed.push((subtree, hash));
            }
        });
        self.bundle.push(leaf.to_vec());
        for (subtree, hash) in completed {
            let level = subtree.level / TILE_HEIGHT;
            let open = &mut self.open[usize::from(level)];
            open.push(hash);
            if open.len() == usize::from(TILE_WIDTH) {
                let hashes = std::mem::take(open);
                let index = subtree.index / u64::from(TILE_WIDTH);
                let tile = Tile { kind: TileKind::Hashes { level }, index, width: TILE_WIDTH };
                self.put(&tile, &encode_tile(&hashes)?)?;
            }
        }
        if self.bundle.len() == usize::from(TILE_WIDTH) {
            let index = (self.size() - 1) / u64::from(TILE_WIDTH);
            let entries = std::mem::take(&mut self.bundle);
            let tile = Tile { kind: TileKind::Entries, index, width: TILE_WIDTH };
            self.put(&tile, &encode_bundle(&entries)?)?;
        }
        Ok(())
    }

    /// Writes the partial tiles, makes everything durable and then puts the checkpoint in its place.
    ///
    /// # Errors
    /// [`ExportError::Checkpoint`] when it is not that of the entries taken.
    pub fn finish(&mut self, checkpoint: &SignedCheckpoint) -> Result<(), ExportError> {
        let stated = &checkpoint.checkpoint;
        let (size, root) = (self.size(), self.frontier.root());
        if stated.size != size || stated.root != root {
            return Err(ExportError::Checkpoint { stated_size: stated.size, stated: stated.root, size, root });
        }
        if let Ok(there) = super::checkpoint(&DirSource::new(&self.root))
            && there.checkpoint.origin != stated.origin
        {
            let (expected, found) = (stated.origin.to_string(), there.checkpoint.origin.to_string());
            return Err(ExportError::OtherLog { expected, found });
        }
        let mut partial = Vec::new();
        for (level, hashes) in (0_u8..).zip(&self.open).filter(|(_, hashes)| !hashes.is_empty()) {
            let index = (size >> (TILE_HEIGHT * level)) / u64::from(TILE_WIDTH);
            // Fewer than 256: full ones were written before.
            let tile = Tile { kind: TileKind::Hashes { level }, index, width: hashes.len() as u16 };
            partial.push((tile, encode_tile(hashes)?));
        }
        if !self.bundle.is_empty() {
            let index = size / u64::from(TILE_WIDTH);
            let tile = Tile { kind: TileKind::Entries, index, width: self.bundle.len() as u16 };
            partial.push((tile, encode_bundle(&self.bundle)?));
        }
        for (tile, bytes) in &partial {
            self.put(tile, bytes)?;
        }
        self.sync()?;
        faults::point("export.before_checkpoint");
        self.write(CHECKPOINT, checkpoint.to_string().as_bytes())?;
        self.sync()?;
        self.prune(size);
        self.before = size;
        Ok(())
    }

    fn put(&mut self, tile: &Tile, bytes: &[u8]) -> Result<(), ExportError> {
        let path = tile.to_string();
        match DirSource::new(&self.root).read(&path) {
            Ok(Some(there)) if there == bytes => return Ok(()),
            Ok(Some(_)) if tile.is_full() && self.existing == Existing::Keep => {
                return Err(ExportError::Differs { path });
            }
            // Whatever stands there in the way is replaced below, or named by the disk.
            Ok(_) | Err(_) => {}
        }
        self.write(&path, bytes)
    }

    /// Writes a file under another name, makes it durable, and gives it its name: readers see it whole or not at all.
    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let target = self.root.join(path);
        let folder = target.parent().unwrap_or(&self.root).to_path_buf();
        let failed = |source| ExportError::Io { path: target.clone(), source };
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(failed)?;
            // New folders are entries of the ones above, which must be durable too.
            let above = folder.ancestors().skip(1).take_while(|a| a.starts_with(&self.root)).map(Path::to_path_buf);
            self.changed.extend(above);
        }
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        readable(file.as_file()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&target).map_err(|e| failed(e.error))?;
        self.changed.insert(folder);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), ExportError> {
        for folder in std::mem::take(&mut self.changed) {
            let synced = File::open(&folder).and_then(|f| f.sync_all());
            synced.map_err(|source| ExportError::Io { path: folder, source })?;
        }
        Ok(())
    }

    /// Removes partial files that wider ones replaced, but keeps those of the checkpoint before: a reader may hold it.
    /// What cannot be removed does no harm.
    fn prune(&self, size: u64) {
        let hashes = (0..=MAX_TILE_LEVEL).map(|level| (TileKind::Hashes { level }, TILE_HEIGHT * level));
        for (kind, shift) in hashes.chain([(TileKind::Entries, 0)]) {
            let (before, now) = (self.before >> shift, size >> shift);
            let index = before / u64::from(TILE_WIDTH);
            let kept = [before, now].map(|items| items.saturating_sub(index * u64::from(TILE_WIDTH)));
            let probe = Tile { kind, index, width: 1 }.to_string();
            let Some(folder) = self.root.join(probe).parent().map(Path::to_path_buf) else { continue };
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let width = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
                if width.is_some_and(|width| !kept.contains(&width)) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// Temporary files are for their owner only; a log's files are for whoever may read the folder.
#[cfg(unix)]
fn readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &File) -> io::Result<()> {
    Ok(())
}

/// Writes the whole log from all of its entries' bytes.
///
/// # Errors
/// [`ExportError`].
pub fn export<E: std::fmt::Display>(
    root: &Path,
    entries: impl IntoIterator<Item = Result<Vec<u8>, E>>,
    checkpoint: &SignedCheckpoint,
    existing: Existing,
) -> Result<(), ExportError> {
    let mut exporter = Exporter::new(root, existing);
    for leaf in entries {
        exporter.push(&leaf.map_err(|e| ExportError::Entries(e.to_string()))?)?;
    }
    exporter.finish(checkpoint)
}
