//! Where a log's files come from: a folder, a hub, memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::Finding;
use allmende_core::ledger::tile::{MAX_ENTRY_BYTES, TILE_WIDTH};

/// Largest file of a log, in bytes: a bundle of the longest entries.
pub const MAX_FILE_BYTES: u64 = TILE_WIDTH as u64 * (MAX_ENTRY_BYTES as u64 + 2);
/// Most files that a folder's list may hold.
const MAX_LISTED: usize = 4_000_000;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The hub did not answer, or not with the file.
    #[error("{0}")]
    Fetch(String),
    /// Larger than any file of a log.
    #[error("larger than the {MAX_FILE_BYTES} bytes that a file of a log may have")]
    TooLarge,
    /// Not an ordinary file, for instance a link.
    #[error("not an ordinary file")]
    NotAFile,
    /// More files than a folder of a log may hold here.
    #[error("more than {MAX_LISTED} files")]
    TooMany,
}

/// The files of a log, in the layout of C2SP tlog-tiles: `checkpoint`, `tile/…`, `tile/entries/…`.
pub trait Source {
    /// The bytes of the file at `path`; nothing if there is none.
    ///
    /// # Errors
    /// [`SourceError`] when that cannot be said.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError>;

    /// All files, if they can be listed.
    ///
    /// # Errors
    /// [`SourceError`] when the list breaks off.
    fn list(&self) -> Result<Option<Vec<String>>, SourceError> {
        Ok(None)
    }
}

/// The bytes of a file that must be there.
pub(super) fn read(source: &dyn Source, path: &str) -> Result<Vec<u8>, Finding> {
    match source.read(path) {
        Ok(Some(bytes)) if bytes.len() as u64 <= MAX_FILE_BYTES => Ok(bytes),
        Ok(Some(_)) => Err(Finding::Unreadable { path: path.to_owned(), source: SourceError::TooLarge }),
        Ok(None) => Err(Finding::Missing { path: path.to_owned() }),
        Err(source) => Err(Finding::Unreadable { path: path.to_owned(), source }),
    }
}

/// A folder.
#[derive(Debug, Clone)]
pub struct DirSource {
    root: PathBuf,
}

impl DirSource {
    /// The log in the folder `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Source for DirSource {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let path = self.root.join(path);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !metadata.is_file() {
            return Err(SourceError::NotAFile);
        }
        let mut bytes = Vec::new();
        fs::File::open(&path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES { Err(SourceError::TooLarge) } else { Ok(Some(bytes)) }
    }

    fn list(&self) -> Result<Option<Vec<String>>, SourceError> {
        let mut files = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            list_folder(&self.root, &folder, &mut files, &mut folders)?;
        }
        files.sort();
        Ok(Some(files))
    }
}

fn list_folder(
    root: &Path,
    folder: &str,
    files: &mut Vec<String>,
    folders: &mut Vec<String>,
) -> Result<(), SourceError> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        // Links are listed, not followed: a loop must not hold the judge.
        if entry.file_type()?.is_dir() {
            folders.push(path);
        } else {
            files.push(path);
        }
        if files.len() + folders.len() > MAX_LISTED {
            return Err(SourceError::TooMany);
        }
    }
    Ok(())
}

/// A hub, read through a function that gets a URL and gives its bytes, or nothing for "not found".
pub struct HttpSource<F> {
    base: String,
    fetch: F,
}

impl<F> HttpSource<F>
where
    F: Fn(&str) -> Result<Option<Vec<u8>>, String>,
{
    /// The log below `base`, for instance `https://hub.example/v1/collaborations/handwriting/log/`.
    #[must_use]
    pub fn new(base: &str, fetch: F) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), fetch }
    }
}

impl<F> Source for HttpSource<F>
where
    F: Fn(&str) -> Result<Option<Vec<u8>>, String>,
{
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        (self.fetch)(&format!("{}/{path}", self.base)).map_err(SourceError::Fetch)
    }
}

/// Files in memory, by path.
#[derive(Debug, Clone, Default)]
pub struct MemorySource(pub BTreeMap<String, Vec<u8>>);

impl Source for MemorySource {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.0.get(path).cloned())
    }

    fn list(&self) -> Result<Option<Vec<String>>, SourceError> {
        Ok(Some(self.0.keys().cloned().collect()))
    }
}
