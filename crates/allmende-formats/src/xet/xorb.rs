//! Xorbs: chunks packed one after the other, with or without a footer that lists them.
//!
//! ```text
//! chunk   0, packed bytes (u24), scheme (u8), bytes (u24), then the packed content
//! footer  "XETBLOB" version, hash of the xorb, hashes and ends of the chunks, 16 free bytes, its length (u32)
//! ```
//!
//! All numbers are little-endian. Clients send xorbs without a footer since `hf_xet` 1.1.3; the footer says nothing that
//! the chunks do not say, so it is compared, never believed. (draft-denis-xet-03, "Xorb Format".)

mod footer;
mod unpack;
mod validate;
mod write;

pub use footer::{FooterVersion, encode_footer, read_footer};
pub use unpack::Unpacker;
pub use validate::Validator;
pub use write::XorbWriter;

use super::chunker::MAX_CHUNK_BYTES;
use super::hash::XetHash;
use super::scheme::Scheme;

/// Most bytes of all chunks of a xorb, unpacked.
pub const MAX_UNPACKED_BYTES: u64 = 64 << 20;
/// Most chunks of a xorb.
pub const MAX_CHUNKS: usize = 8 << 10;
/// Bytes before the packed content of each chunk.
pub const CHUNK_HEADER_BYTES: usize = 8;
/// Most bytes of a xorb before its footer. Clients fill xorbs by the unpacked bytes, so one of incompressible chunks has
/// its chunk headers beyond [`MAX_UNPACKED_BYTES`].
pub const MAX_CONTENT_BYTES: u64 = MAX_UNPACKED_BYTES + (MAX_CHUNKS * CHUNK_HEADER_BYTES) as u64;
/// Most bytes of a xorb with its footer.
pub const MAX_XORB_BYTES: u64 = MAX_CONTENT_BYTES + footer::MAX_FOOTER_BYTES;
/// Longest packed content of a chunk, in bytes: what clients accept, though they write none longer than its content.
pub const MAX_PACKED_BYTES: usize = 2 * MAX_CHUNK_BYTES;

/// Why bytes are not an acceptable xorb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A chunk is of a version that is not known.
    #[error("chunk {chunk} has version {found}, only 0 is known")]
    ChunkVersion {
        /// Its place in the xorb.
        chunk: usize,
        /// Its version.
        found: u8,
    },
    /// A chunk is packed in a way that is not known.
    #[error("chunk {chunk} is packed by scheme {found}, which is not known")]
    UnknownScheme {
        /// Its place in the xorb.
        chunk: usize,
        /// The number of the scheme.
        found: u8,
    },
    /// The length of a chunk is out of bounds.
    #[error("chunk {chunk} says it has {bytes} bytes, not within 1 to {MAX_CHUNK_BYTES}")]
    ChunkLength {
        /// Its place in the xorb.
        chunk: usize,
        /// Its length, unpacked.
        bytes: usize,
    },
    /// The packed length of a chunk is out of bounds.
    #[error("chunk {chunk} says it is packed in {bytes} bytes, not within 1 to {MAX_PACKED_BYTES}")]
    PackedLength {
        /// Its place in the xorb.
        chunk: usize,
        /// Its length, packed.
        bytes: usize,
    },
    /// A chunk does not unpack to what its header says.
    #[error("chunk {chunk} does not unpack to the length it says")]
    Unpack {
        /// Its place in the xorb.
        chunk: usize,
    },
    /// There are more chunks than a xorb may have.
    #[error("more than {MAX_CHUNKS} chunks")]
    TooManyChunks,
    /// The chunks have more bytes than a xorb may have.
    #[error("more than {MAX_UNPACKED_BYTES} bytes unpacked, or {MAX_CONTENT_BYTES} packed")]
    TooLarge,
    /// There is no chunk.
    #[error("no chunk")]
    NoChunks,
    /// The bytes end within a chunk or the footer.
    #[error("it ends within chunk {chunk} or the footer after it")]
    Truncated {
        /// Chunks before.
        chunk: usize,
    },
    /// The footer is of a version that is not known.
    #[error("the footer has version {found}, only 0 and 1 are known")]
    UnknownFooter {
        /// Its version.
        found: u8,
    },
    /// The footer is not that of these chunks.
    #[error("the footer does not agree with the chunks, first at its byte {at}")]
    Footer {
        /// Where it differs first.
        at: usize,
    },
    /// Bytes follow the footer.
    #[error("bytes follow the footer")]
    Trailing,
    /// The content is not the one that was asked for.
    #[error("the hash is {found}, expected {expected}")]
    Hash {
        /// The hash that was expected.
        expected: XetHash,
        /// The hash of what was found.
        found: XetHash,
    },
    /// Stored bytes are not those of the chunk in the table.
    #[error("stored bytes differ from the table of chunks")]
    Stored,
}

/// Where a chunk lies in its xorb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The hash of its content.
    pub hash: XetHash,
    /// First byte of its header, counted from the start of the xorb.
    pub start: u32,
    /// Bytes of its packed content, the header not counted.
    pub packed_bytes: u32,
    /// Bytes of its content.
    pub unpacked_bytes: u32,
}

impl Chunk {
    /// One past the last byte of its packed content, counted from the start of the xorb.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.start + CHUNK_HEADER_BYTES as u32 + self.packed_bytes
    }
}

/// What a xorb holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xorb {
    /// Its hash: that of the tree over its chunks.
    pub hash: XetHash,
    /// Its chunks, in their order. The first begins at 0, and each begins where the one before ends.
    pub chunks: Vec<Chunk>,
    /// Bytes of all chunks with their headers: what to keep of the file where footers are not kept.
    pub content_bytes: u64,
    /// Bytes of all chunks, unpacked.
    pub unpacked_bytes: u64,
    /// Bytes of the footer and its length; 0 where there is none.
    pub footer_bytes: u64,
}

/// The header of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkHeader {
    pub scheme: Scheme,
    pub packed_bytes: usize,
    pub unpacked_bytes: usize,
}

impl ChunkHeader {
    pub fn to_bytes(self) -> [u8; CHUNK_HEADER_BYTES] {
        // Both lengths are below 2²⁴: they are checked where they come from.
        let [a, b, c, _] = (self.packed_bytes as u32).to_le_bytes();
        let [x, y, z, _] = (self.unpacked_bytes as u32).to_le_bytes();
        [0, a, b, c, self.scheme.code(), x, y, z]
    }

    /// Reads and checks the header of the chunk at this place.
    pub fn read(bytes: [u8; CHUNK_HEADER_BYTES], chunk: usize) -> Result<Self, Error> {
        let [version, a, b, c, code, x, y, z] = bytes;
        if version != 0 {
            return Err(Error::ChunkVersion { chunk, found: version });
        }
        let scheme = Scheme::from_code(code).ok_or(Error::UnknownScheme { chunk, found: code })?;
        let packed_bytes = u32::from_le_bytes([a, b, c, 0]) as usize;
        let unpacked_bytes = u32::from_le_bytes([x, y, z, 0]) as usize;
        if !(1..=MAX_CHUNK_BYTES).contains(&unpacked_bytes) {
            return Err(Error::ChunkLength { chunk, bytes: unpacked_bytes });
        }
        if !(1..=MAX_PACKED_BYTES).contains(&packed_bytes) {
            return Err(Error::PackedLength { chunk, bytes: packed_bytes });
        }
        if scheme == Scheme::None && packed_bytes != unpacked_bytes {
            return Err(Error::Unpack { chunk });
        }
        Ok(Self { scheme, packed_bytes, unpacked_bytes })
    }
}

/// Checks the header of a chunk alone, as the first bytes of a stored range show it: its scheme, the bytes of its packed
/// content and of its content.
///
/// # Errors
/// [`Error`] where no chunk begins like this.
pub fn read_chunk_header(bytes: [u8; CHUNK_HEADER_BYTES]) -> Result<(Scheme, usize, usize), Error> {
    ChunkHeader::read(bytes, 0).map(|header| (header.scheme, header.packed_bytes, header.unpacked_bytes))
}
