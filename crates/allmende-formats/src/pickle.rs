//! Files that run code when they are loaded: Python's pickles, bare, or inside the containers that `torch.load`,
//! `joblib.load`, `numpy.load` and `pandas.read_pickle` open.
//!
//! A file is judged by its bytes. Its name counts only where bytes alone cannot tell: what is compressed, and what goes on
//! beyond the bytes that are looked at. Nothing is unpickled; the opcodes are walked with the depth of the stack alone.

mod walk;
pub mod zip;

pub use walk::{Walk, walk};

/// Bytes of a file's beginning that [`look`] wants; fewer only if the file has fewer.
pub const HEAD_BYTES: u64 = 1 << 20;

/// Endings of the names of files that are loaded by way of pickle. What cannot be told of them is refused.
const LOADED: &[&str] = &["bin", "ckpt", "dill", "joblib", "npy", "pck", "pickle", "pkl", "pt", "pth", "th"];
/// Endings of the names of files that loaders decompress and then unpickle.
const DECOMPRESSED: &[&str] = &["dill", "joblib", "pck", "pickle", "pkl"];
/// Endings that stand behind those when a file is compressed, as in `model.pkl.gz`.
const COMPRESSED: &[&str] = &["bz2", "gz", "lz4", "lzma", "xz", "z", "zip", "zst"];

/// How a file runs code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is a pickle.
    #[error("it is a Python pickle")]
    Pickle,
    /// An archive holds one.
    #[error("it is an archive that holds the pickle {0}")]
    Entry(String),
    /// It is an array of numpy whose elements are Python objects.
    #[error("it is a numpy array of Python objects, which are pickled")]
    Objects,
    /// By its name it is a pickle, and its bytes are compressed.
    #[error("by its name it is a pickle, and it is compressed")]
    Compressed,
    /// By its name it may be one, and what was looked at does not say that it is none.
    #[error("by its name it may hold a pickle, and what was looked at does not say that it holds none")]
    Unclear,
}

/// What the beginning of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It runs nothing.
    Plain,
    /// It runs code.
    Runs(Why),
    /// It is a zip archive: what is in it stands at its end, see [`zip`].
    Archive,
}

/// The ending that says what a file is; that of its compression does not.
fn ending(name: &str) -> Option<String> {
    let file = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let mut parts: Vec<&str> = file.split('.').skip(1).collect();
    if parts.last().is_some_and(|last| COMPRESSED.contains(last)) {
        parts.pop();
    }
    parts.pop().map(str::to_owned)
}

fn ends_with(name: &str, known: &[&str]) -> bool {
    ending(name).is_some_and(|ending| known.contains(&ending.as_str()))
}

/// Whether a file of this name is usually loaded by way of pickle, whatever its bytes are.
#[must_use]
pub fn is_loaded_so(name: &str) -> bool {
    ends_with(name, LOADED)
}

fn is_compressed(head: &[u8]) -> bool {
    const MAGIC: &[&[u8]] = &[
        b"\x1f\x8b",
        b"BZh",
        b"\xfd7zXZ\0",
        b"\x5d\0\0",
        b"\x04\x22\x4d\x18",
        b"\x28\xb5\x2f\xfd",
        b"\x78\x01",
        b"\x78\x5e",
        b"\x78\x9c",
        b"\x78\xda",
    ];
    MAGIC.iter().any(|magic| head.starts_with(magic))
}

/// Whether this is the beginning of a numpy array of objects.
fn is_objects(head: &[u8]) -> bool {
    let Some(rest) = head.strip_prefix(b"\x93NUMPY") else { return false };
    let header = match rest {
        [1, _, a, b, rest @ ..] => rest.get(..usize::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, _, a, b, c, d, rest @ ..] => {
            // A header that goes on beyond what is looked at is judged by what is there.
            let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
            Some(&rest[..rest.len().min(length)])
        }
        _ => None,
    };
    let Some(header) = header else { return false };
    // A type is a quoted code: an order of bytes, a letter, a size.
    let is_object = |code: &[u8]| matches!(code, [b'O', ..] | [b'|' | b'<' | b'>' | b'=', b'O', ..]);
    header.split(|c| matches!(c, b'\'' | b'"')).skip(1).step_by(2).any(is_object)
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// Judges a file of `size` bytes by its name and its first [`HEAD_BYTES`].
#[must_use]
pub fn look(name: &str, head: &[u8], size: u64) -> Look {
    if head.starts_with(b"PK\x03\x04") {
        return Look::Archive;
    }
    if is_objects(head) {
        return Look::Runs(Why::Objects);
    }
    match walk(head, size) {
        Walk::Runs => return Look::Runs(Why::Pickle),
        Walk::Open if is_loaded_so(name) => return Look::Runs(Why::Unclear),
        Walk::Open | Walk::Plain => {}
    }
    if is_compressed(head) && ends_with(name, DECOMPRESSED) {
        return Look::Runs(Why::Compressed);
    }
    // The form of torch before version 0.1.10: an archive with a pickle beside the tensors.
    if is_tar(head) && is_loaded_so(name) {
        return Look::Runs(Why::Unclear);
    }
    Look::Plain
}

/// Whether a file of this name inside an archive is a pickle.
#[must_use]
pub fn is_pickle_entry(name: &str) -> bool {
    // What else is called so is loaded from archives as what it is: raw numbers, arrays.
    is_loaded_so(name) && !ending(name).is_some_and(|ending| matches!(ending.as_str(), "bin" | "npy"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
