//! Building a xorb, where the server cuts files itself.

use super::{
    CHUNK_HEADER_BYTES, Chunk, ChunkHeader, Error, FooterVersion, MAX_CHUNKS, MAX_UNPACKED_BYTES, Xorb, encode_footer,
};
use crate::xet::chunker::MAX_CHUNK_BYTES;
use crate::xet::hash::XetHash;
use crate::xet::scheme::{self, Scheme};
use crate::xet::tree::TreeHasher;

/// Chunks that are packed by one choice of scheme, at most: what clients do.
const CHUNKS_FOR_A_CHOICE: usize = 32;

/// Packs chunks into a xorb. It holds the packed bytes, up to [`MAX_XORB_BYTES`](super::MAX_XORB_BYTES).
#[derive(Debug, Default)]
pub struct XorbWriter {
    bytes: Vec<u8>,
    chunks: Vec<Chunk>,
    tree: TreeHasher,
    scratch: Vec<u8>,
    chosen: Option<(Scheme, usize)>,
}

impl XorbWriter {
    /// A xorb without chunks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no chunk was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Chunks so far: the place that the next one gets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether a chunk of `bytes` bytes can be added.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        self.chunks.len() < MAX_CHUNKS && self.tree.bytes() + bytes as u64 <= MAX_UNPACKED_BYTES
    }

    /// Says that the next chunk begins another file, so that its scheme is chosen anew.
    pub fn begin_file(&mut self) {
        self.chosen = None;
    }

    /// Adds a chunk; `hash` is its [`chunk_hash`](crate::xet::chunk_hash).
    ///
    /// # Errors
    /// [`Error::ChunkLength`] if it is empty or too long, [`Error::TooManyChunks`] or [`Error::TooLarge`] if it does not
    /// fit.
    pub fn push(&mut self, hash: XetHash, content: &[u8]) -> Result<(), Error> {
        if !(1..=MAX_CHUNK_BYTES).contains(&content.len()) {
            return Err(Error::ChunkLength { chunk: self.chunks.len(), bytes: content.len() });
        }
        if !self.fits(content.len()) {
            return Err(if self.chunks.len() < MAX_CHUNKS { Error::TooLarge } else { Error::TooManyChunks });
        }
        debug_assert_eq!(hash, crate::xet::chunk_hash(content));
        let scheme = match &mut self.chosen {
            Some((scheme, left)) if *left > 0 => {
                *left -= 1;
                *scheme
            }
            chosen => chosen.insert((Scheme::choose(content), CHUNKS_FOR_A_CHOICE - 1)).0,
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; CHUNK_HEADER_BYTES]);
        let packed_at = self.bytes.len();
        let scheme = scheme::pack(scheme, content, &mut self.scratch, &mut self.bytes);
        let packed_bytes = self.bytes.len() - packed_at;
        let header = ChunkHeader { scheme, packed_bytes, unpacked_bytes: content.len() };
        self.bytes[start..packed_at].copy_from_slice(&header.to_bytes());
        self.tree.push(hash, content.len() as u64);
        // All of these fit: they are within the limits of a xorb.
        self.chunks.push(Chunk {
            hash,
            start: start as u32,
            packed_bytes: packed_bytes as u32,
            unpacked_bytes: content.len() as u32,
        });
        Ok(())
    }

    /// Ends the xorb: what it holds, and its bytes, with a footer of version 1 where `footer` is given.
    ///
    /// # Errors
    /// [`Error::NoChunks`] if there is none.
    pub fn finish(mut self, footer: bool) -> Result<(Xorb, Vec<u8>), Error> {
        if self.chunks.is_empty() {
            return Err(Error::NoChunks);
        }
        let content_bytes = self.bytes.len() as u64;
        let unpacked_bytes = self.tree.bytes();
        let hash = self.tree.xorb_hash();
        let mut footer_bytes = 0;
        if footer {
            let footer = encode_footer(FooterVersion::V1, &hash, &self.chunks);
            footer_bytes = footer.len() as u64;
            self.bytes.extend_from_slice(&footer);
        }
        Ok((Xorb { hash, chunks: self.chunks, content_bytes, unpacked_bytes, footer_bytes }, self.bytes))
    }
}
