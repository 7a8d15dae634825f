//! Small secret files that are made once: readable by their owner only, durable before they are used.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use allmende_core::digest::{from_hex, to_hex};
use allmende_core::signature::SecretKey;
use zeroize::Zeroizing;

use crate::faults;

/// Largest secret file, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a secret file was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{path} may be read by others: run chmod 600", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold what it should.
    #[error("{path} does not hold {expected}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness,
}

/// Makes a folder that its owner alone may enter, unless it exists.
///
/// # Errors
/// [`KeyFileError::Io`].
pub fn private_dir(path: &Path) -> Result<(), KeyFileError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| KeyFileError::Io { path: path.into(), source })
}

/// Reads the secret file at `path`, if there is one; others must not be able to.
///
/// # Errors
/// [`KeyFileError`].
pub fn load(path: &Path) -> Result<Option<Zeroizing<String>>, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.into(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.into() });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    Ok(Some(text))
}

/// Reads the secret file at `path`, or makes it with the text of `make`. When two programs start at once, one makes it
/// and both read the same.
///
/// # Errors
/// [`KeyFileError`].
pub fn load_or_create(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<String>, KeyFileError>,
) -> Result<Zeroizing<String>, KeyFileError> {
    if let Some(text) = load(path)? {
        return Ok(text);
    }
    let text = make()?;
    let io = |source| KeyFileError::Io { path: path.into(), source };
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| KeyFileError::Randomness)?;
    let staged = path.with_extension(format!("{}.tmp", to_hex(&random)));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    faults::point("key.before_rename");
    // A link, unlike a rename, never replaces a key that another program has just made.
    let linked = std::fs::hard_link(&staged, path);
    std::fs::remove_file(&staged).map_err(io)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {}
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(io)?;
    faults::point("key.after_rename");
    load(path)?.ok_or_else(|| io(io::ErrorKind::NotFound.into()))
}

/// The Ed25519 key in the file at `path` (64 hexadecimal digits), made from fresh randomness when there is none.
///
/// # Errors
/// [`KeyFileError`].
pub fn signing_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    let text = load_or_create(path, || {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| KeyFileError::Randomness)?;
        Ok(Zeroizing::new(format!("{}\n", to_hex(&*seed))))
    })?;
    let refuse = || KeyFileError::Content { path: path.into(), expected: "64 hexadecimal digits" };
    let seed = Zeroizing::new(from_hex::<32>(text.trim_end()).ok_or_else(refuse)?);
    Ok(SecretKey::from_seed(&seed))
}
