//! Content-defined chunking: where a file is cut depends on the bytes around the cut alone.
//!
//! A rolling gear hash over the last 64 bytes cuts where its 16 upper bits are zero, at least [`MIN_CHUNK_BYTES`] and at
//! most [`MAX_CHUNK_BYTES`] after the last cut. The same file gives the same chunks in every client and here, so that
//! what arrives through git or LFS shares storage with what arrives through Xet. (draft-denis-xet-03, "Content-Defined
//! Chunking"; compared with `xet-data` 1.8.0.)

use super::gear::GEAR;

/// Length of chunks that the mask aims at, in bytes.
pub const TARGET_CHUNK_BYTES: usize = 64 << 10;
/// Shortest chunk in bytes; only the last one of a file may be shorter.
pub const MIN_CHUNK_BYTES: usize = TARGET_CHUNK_BYTES / 8;
/// Longest chunk in bytes.
pub const MAX_CHUNK_BYTES: usize = TARGET_CHUNK_BYTES * 2;

/// The bits that are zero at a cut: as many as the target needs, at the upper end, where all 64 bytes have a say.
const MASK: u64 = {
    let mask = TARGET_CHUNK_BYTES as u64 - 1;
    mask << mask.leading_zeros()
};
/// Bytes that have a say in the hash.
const WINDOW_BYTES: usize = 64;
/// Bytes at the start of a chunk that are not hashed: no cut depends on them.
const SKIP_BYTES: usize = MIN_CHUNK_BYTES - WINDOW_BYTES - 1;

/// Finds where chunks end, in bytes that arrive in pieces of any length. It keeps no bytes.
#[derive(Debug, Clone, Default)]
pub struct Chunker {
    hash: u64,
    length: usize,
}

impl Chunker {
    /// A chunker at the start of a file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the chunk that is open.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.length
    }

    /// Takes the next bytes of the file, up to the end of the open chunk.
    ///
    /// `Some(n)`: the chunk ends after the first `n` of them; call again with the rest. `None`: all of them belong to
    /// the open chunk. At the end of the file whatever is open is the last chunk.
    pub fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        let skipped = SKIP_BYTES.saturating_sub(self.length).min(bytes.len());
        // No further than the longest chunk goes.
        let end = bytes.len().min(MAX_CHUNK_BYTES - self.length);
        // A hash that is zero before it has seen a whole window says nothing.
        let deaf = (MIN_CHUNK_BYTES - 1).saturating_sub(self.length).clamp(skipped, end);
        let hash = bytes[skipped..deaf].iter().fold(self.hash, |hash, byte| roll(hash, *byte));
        let hash = match scan(hash, &bytes[deaf..end]) {
            Ok(hash) => hash,
            Err(at) => return Some(self.close(deaf + at + 1)),
        };
        if self.length + end == MAX_CHUNK_BYTES {
            return Some(self.close(end));
        }
        self.hash = hash;
        self.length += end;
        None
    }

    fn close(&mut self, taken: usize) -> usize {
        *self = Self::default();
        taken
    }
}

fn roll(hash: u64, byte: u8) -> u64 {
    (hash << 1).wrapping_add(GEAR[usize::from(byte)])
}

/// The hash after these bytes, or where it cuts first.
fn scan(mut hash: u64, bytes: &[u8]) -> Result<u64, usize> {
    const STEP: usize = 4;
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for (at, step) in steps.iter().enumerate() {
        // What the bytes add does not wait for the hash before them, which halves the time.
        let [a, b, c, d] = step.map(|byte| GEAR[usize::from(byte)]);
        let ab = (a << 1).wrapping_add(b);
        let abc = (ab << 1).wrapping_add(c);
        let abcd = (abc << 1).wrapping_add(d);
        let hashes = [
            (hash << 1).wrapping_add(a),
            (hash << 2).wrapping_add(ab),
            (hash << 3).wrapping_add(abc),
            (hash << 4).wrapping_add(abcd),
        ];
        for (i, hash) in hashes.iter().enumerate() {
            if hash & MASK == 0 {
                return Err(at * STEP + i);
            }
        }
        hash = hashes[STEP - 1];
    }
    for (i, byte) in rest.iter().enumerate() {
        hash = roll(hash, *byte);
        if hash & MASK == 0 {
            return Err(bytes.len() - rest.len() + i);
        }
    }
    Ok(hash)
}

/// The chunks of a file that is in memory.
pub fn chunks(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = file;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = Chunker::new().cut(rest).unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(end);
        rest = after;
        Some(chunk)
    })
}

/// Cuts bytes that arrive in pieces into whole chunks. It keeps at most one chunk, and copies only those that a piece
/// ends in.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    chunker: Chunker,
    open: Vec<u8>,
}

impl Splitter {
    /// A splitter at the start of a file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file and gives each chunk that ends in them to `sink`.
    ///
    /// # Errors
    /// The first error of `sink`; the splitter is of no use afterwards.
    pub fn push<E>(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some(end) = self.chunker.cut(bytes) {
            let (last, rest) = bytes.split_at(end);
            if self.open.is_empty() {
                sink(last)?;
            } else {
                self.open.extend_from_slice(last);
                sink(&self.open)?;
                self.open.clear();
            }
            bytes = rest;
        }
        self.open.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the file; gives the last chunk to `sink`, if there is one, and starts anew.
    ///
    /// # Errors
    /// That of `sink`.
    pub fn finish<E>(&mut self, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.chunker = Chunker::new();
        if !self.open.is_empty() {
            sink(&self.open)?;
            self.open.clear();
        }
        Ok(())
    }
}
