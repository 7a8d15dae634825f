//! A mirrored log on disk, in the C2SP tlog-tiles layout: any verifier can read the folder.
//!
//! Order of writing: entries and tiles, then the checkpoint that speaks of them, then nothing is left of narrower tiles.
//! Whatever instant the process dies at, the checkpoint on disk is one whose entries are all there.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use allmende_core::ledger::checkpoint::{CheckpointError, MAX_NOTE_BYTES, SignedCheckpoint};
use allmende_core::ledger::merkle::Hash;
use allmende_core::ledger::tile::{
    Tile, TileError, TileKind, changed_tiles, decode_bundle, encode_bundle, encode_tile,
};

const CHECKPOINT: &str = "checkpoint";

/// Why a mirror's folder failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The checkpoint in the folder is none.
    #[error("{path}: {source}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// A tile in the folder is none.
    #[error("{path}: {source}", path = path.display())]
    Tile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TileError,
    },
    /// The entries in the folder do not make up what its checkpoint says.
    #[error("the mirror in {path} was altered: entry {index}: {reason}", path = path.display())]
    Altered {
        /// The folder.
        path: PathBuf,
        /// The first entry at fault, or the number of entries where the root is.
        index: u64,
        /// What is wrong.
        reason: String,
    },
    /// Another program has this mirror open.
    #[error("{path} is in use by another program", path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

/// The folder of one log.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Held open: its lock ends with the process, however it ends.
    _lock: fs::File,
}

impl Store {
    /// Opens or makes the folder, for this program alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: dir.into(), source };
        make_folder(dir).map_err(io)?;
        let lock =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.into(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.into() }),
            Err(fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The checkpoint that was stored last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, StoreError> {
        let path = self.dir.join(CHECKPOINT);
        match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, source }),
            Ok(bytes) => {
                let too_large = || CheckpointError::TooLarge { size_bytes: bytes.len() };
                let text = str::from_utf8(&bytes).ok().filter(|t| t.len() <= MAX_NOTE_BYTES).ok_or_else(too_large);
                let parsed = text.and_then(SignedCheckpoint::parse);
                parsed.map(Some).map_err(|source| StoreError::Checkpoint { path, source })
            }
        }
    }

    /// The entries of one bundle of a log of `size` entries, the one that holds entry `entry`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bundle(&self, entry: u64, size: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let tile = Tile::of_entry(entry, size).ok_or_else(|| StoreError::Altered {
            path: self.dir.clone(),
            index: entry,
            reason: "past the end".to_owned(),
        })?;
        let path = self.dir.join(tile.to_string());
        let bytes = fs::read(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
        let entries = decode_bundle(&bytes, tile.width).map_err(|source| StoreError::Tile { path, source })?;
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// Writes the files that a log has at `new_size` entries and had not, or narrower, at `old_size`; durable afterwards.
    ///
    /// `levels[l]` are all hashes of the tree's level 8·l; `tail` are the entries from the start of the first changed bundle.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn grow(&self, old_size: u64, new_size: u64, levels: &[Vec<Hash>], tail: &[Vec<u8>]) -> Result<(), StoreError> {
        let first = old_size / 256 * 256;
        for tile in changed_tiles(old_size, new_size) {
            let path = self.dir.join(tile.to_string());
            let wrong = |source| StoreError::Tile { path: path.clone(), source };
            let items = tile.items();
            let bytes = match tile.kind {
                TileKind::Hashes { level } => {
                    let hashes =
                        levels.get(usize::from(level)).and_then(|l| l.get(items.start as usize..items.end as usize));
                    encode_tile(hashes.unwrap_or(&[])).map_err(wrong)?
                }
                TileKind::Entries => {
                    let from = items.start.saturating_sub(first) as usize;
                    encode_bundle(tail.get(from..from + usize::from(tile.width)).unwrap_or(&[])).map_err(wrong)?
                }
            };
            write_durably(&path, &bytes)?;
        }
        Ok(())
    }

    /// Stores the checkpoint, whose entries must be there; durable afterwards. Then removes what `old_size` alone needed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn publish(&self, checkpoint: &SignedCheckpoint, old_size: u64) -> Result<(), StoreError> {
        write_durably(&self.dir.join(CHECKPOINT), checkpoint.to_string().as_bytes())?;
        let size = checkpoint.checkpoint.size;
        if size > old_size {
            for tile in outgrown(old_size, size) {
                let path = self.dir.join(tile.to_string());
                // Left-overs harm nobody.
                let _ = fs::remove_file(&path);
                let _ = path.parent().map(fs::remove_dir);
            }
        }
        Ok(())
    }
}

/// The partial tiles of a log of `old_size` entries that it has wider or whole at `new_size`.
fn outgrown(old_size: u64, new_size: u64) -> impl Iterator<Item = Tile> {
    let hashes = (0..8_u8).map(|level| (TileKind::Hashes { level }, 8 * level));
    hashes.chain([(TileKind::Entries, 0)]).filter_map(move |(kind, shift)| {
        let (old, new) = (old_size >> shift, new_size >> shift);
        let width = (old % 256) as u16;
        (width > 0 && new > old).then_some(Tile { kind, index: old / 256, width })
    })
}

/// Makes a folder and those above it, durably: a folder that is not synced into its parent may be lost with all in it.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => fs::File::open(parent)?.sync_all(),
    }
}

/// Replaces the file at `path`, so that a reader or a crash sees the old bytes or the new, never a part.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.into(), source };
    let parent = path.parent().unwrap_or(Path::new("."));
    make_folder(parent).map_err(io)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let staged = parent.join(name);
    let mut file = fs::File::create(&staged).map_err(io)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&staged, path).map_err(io)?;
    fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(io)
}
