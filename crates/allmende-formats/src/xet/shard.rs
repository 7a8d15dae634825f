//! Shards: which chunks a xorb has, and which ranges of which xorbs make a file.
//!
//! ```text
//! header    32 bytes of magic, version 2 (u64), bytes of the footer (u64)
//! files     for each: header, one record a segment, one range hash a segment, SHA-256; then a bookend
//! xorbs     for each: header, one record a chunk; then a bookend
//! tables    files, xorbs and chunks by the first eight bytes of their hash
//! footer    200 bytes
//! ```
//!
//! All records have 48 bytes and all numbers are little-endian. Clients end a shard after the xorbs since `hf_xet` 1.1.6;
//! up to 1.2 its header still announces a footer. What a server sends has a footer. (draft-denis-xet-03, "Shard
//! Format"; the fields as in `xet-core-structures` 1.8.0.)

mod read;
mod write;

pub use read::ShardReader;
pub use write::{Ending, dedup_shard, write_shard};

use super::chunker::MAX_CHUNK_BYTES;
use super::hash::XetHash;
use super::xorb::{MAX_CHUNKS, MAX_UNPACKED_BYTES};

/// Most bytes of a shard: what clients aim at when they join shards.
pub const MAX_SHARD_BYTES: u64 = 64 << 20;
/// Bytes of every record, and of the header.
pub const RECORD_BYTES: usize = 48;
/// Bytes of a footer.
pub const FOOTER_BYTES: usize = 200;

const MAGIC: [u8; 32] = *b"HFRepoMetaData\0UigEj{\x81W\x83\xa5\xbd\xd9\\\xcd\xd1J\xa9";
const HEADER_VERSION: u64 = 2;
const FOOTER_VERSION: u64 = 1;
/// A file's flag: a range hash follows for each segment.
const WITH_RANGE_HASHES: u32 = 1 << 31;
/// A file's flag: its SHA-256 follows.
const WITH_SHA256: u32 = 1 << 30;
/// A chunk's flag: it may be asked for across files, whatever its hash.
const OFFERED: u32 = 1 << 31;

/// Why bytes are not an acceptable shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is longer than [`MAX_SHARD_BYTES`].
    #[error("more than {MAX_SHARD_BYTES} bytes")]
    TooLarge,
    /// It does not begin as a shard does.
    #[error("it does not begin with the header of a shard of version {HEADER_VERSION}")]
    Header,
    /// It ends within a section.
    #[error("it ends at byte {at}, within a section")]
    Truncated {
        /// Its length.
        at: u64,
    },
    /// A record has flags that are not known.
    #[error("the record at byte {at} has unknown flags {flags:#x}")]
    Flags {
        /// Where the record begins.
        at: u64,
        /// All its flags.
        flags: u32,
    },
    /// A segment has no chunks, or ones that no xorb has, or a length that they cannot have.
    #[error(
        "the segment at byte {at} has {unpacked_bytes} bytes in chunks {chunk_start} to {chunk_end}: a xorb has at most \
         {MAX_CHUNKS} chunks of 1 to {MAX_CHUNK_BYTES} bytes"
    )]
    Segment {
        /// Where the record begins.
        at: u64,
        /// Its bytes.
        unpacked_bytes: u32,
        /// Its first chunk.
        chunk_start: u32,
        /// One past its last chunk.
        chunk_end: u32,
    },
    /// A xorb has no chunks, or too many, or too many bytes.
    #[error(
        "the xorb at byte {at} has {chunks} chunks and {bytes} bytes, not within 1 to {MAX_CHUNKS} and 1 to \
         {MAX_UNPACKED_BYTES}"
    )]
    Xorb {
        /// Where the record begins.
        at: u64,
        /// Its chunks.
        chunks: u32,
        /// Its bytes, unpacked.
        bytes: u32,
    },
    /// A chunk has a length that no chunk has.
    #[error("the chunk at byte {at} has {bytes} bytes, not within 1 to {MAX_CHUNK_BYTES}")]
    Chunk {
        /// Where the record begins.
        at: u64,
        /// Its bytes.
        bytes: u32,
    },
    /// The chunks of a xorb are not as long as the xorb.
    #[error("the chunks of the xorb before byte {at} have {found} bytes, the xorb has {expected}")]
    Sum {
        /// Where its last record ends.
        at: u64,
        /// Bytes of the xorb.
        expected: u64,
        /// Bytes of its chunks.
        found: u64,
    },
    /// What follows the sections is not a footer that agrees with them.
    #[error("what follows the sections is not tables and a footer that agree with them")]
    Footer,
    /// A value to write is out of bounds: what is written must be readable.
    #[error("what is to be written is not a shard: {0}")]
    Write(&'static str),
}

/// A range of the chunks of one xorb, as a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The xorb.
    pub xorb: XetHash,
    /// Bytes of the file that it makes.
    pub unpacked_bytes: u32,
    /// First chunk, by its place in the xorb.
    pub chunk_start: u32,
    /// One past the last chunk.
    pub chunk_end: u32,
    /// The [`range_hash`](super::hash::range_hash) of the chunks. Clients always send it; without it nothing shows that
    /// the sender has the chunks of a xorb that it did not send.
    pub range_hash: Option<XetHash>,
}

/// What a file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its hash: that of the tree over its chunks.
    pub hash: XetHash,
    /// Its parts, in their order.
    pub segments: Vec<Segment>,
    /// SHA-256 of its content, in the usual order of bytes: the name under which a commit knows it. Clients leave it
    /// out for buckets.
    pub sha256: Option<[u8; 32]>,
}

impl FileInfo {
    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| u64::from(s.unpacked_bytes)).sum()
    }
}

/// A chunk of a xorb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkInfo {
    /// The hash of its content, or that hash under the key of the footer.
    pub hash: XetHash,
    /// Where it begins among the unpacked bytes of the xorb. Only the sender says so: nothing is built upon it.
    pub byte_offset: u32,
    /// Bytes of its content.
    pub unpacked_bytes: u32,
    /// Whether it is marked as one that others may ask for, beside those whose hash says so.
    pub offered: bool,
}

/// What a xorb holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XorbInfo {
    /// Its hash.
    pub hash: XetHash,
    /// Its chunks, in their order.
    pub chunks: Vec<ChunkInfo>,
    /// Bytes of its chunks, unpacked.
    pub bytes_in_xorb: u32,
    /// Bytes of its file; clients say 0.
    pub bytes_on_disk: u32,
}

/// An entry of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File(FileInfo),
    /// A xorb.
    Xorb(XorbInfo),
}

/// What the footer of a shard says. Its sums are the sender's: some count what is not in the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The key under which the chunk hashes stand, if any.
    pub chunk_key: Option<[u8; 32]>,
    /// When it was made, in seconds since 1970; clients forget the oldest first.
    pub created_s: u64,
    /// Until when clients use it in later sessions, in seconds since 1970.
    pub expires_s: u64,
    /// Bytes of the xorbs' files.
    pub stored_bytes_on_disk: u64,
    /// Bytes of all files.
    pub materialized_bytes: u64,
    /// Bytes of all chunks, unpacked.
    pub stored_bytes: u64,
}

/// What a whole shard held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its files.
    pub files: u64,
    /// Its xorbs.
    pub xorbs: u64,
    /// The chunks of all xorbs.
    pub chunks: u64,
    /// Bytes up to the end of the xorbs: what a client would send.
    pub section_bytes: u64,
    /// Its footer, if it has one.
    pub footer: Option<Footer>,
}

/// Each group of eight bytes reversed: how a shard spells a SHA-256, because clients read its digits as a hash of Xet.
fn reversed_groups(mut bytes: [u8; 32]) -> [u8; 32] {
    bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|group| group.reverse());
    bytes
}
