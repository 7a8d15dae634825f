//! Lists of chunks and segments, as rows hold them.

use allmende_formats::xet::XetHash;
use allmende_formats::xet::shard::{ChunkInfo, Segment, XorbInfo};
use allmende_formats::xet::xorb::{CHUNK_HEADER_BYTES, Chunk};

use crate::blobs::Name;
use crate::db::DbError;
use allmende_core::digest::Digest;

/// The folder of all xorbs.
pub(super) const FOLDER: &str = "xet";
const CHUNK_BYTES: usize = 40;
const SEGMENT_BYTES: usize = 44;

/// A xorb that is stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub hash: XetHash,
    pub chunks: Vec<Chunk>,
    pub name: Name,
}

impl Stored {
    /// What the row of a xorb says.
    pub fn read(domain: &str, hash: &XetHash, table: &[u8], object: &str) -> Result<Self, DbError> {
        Ok(Self { hash: *hash, chunks: chunks(table)?, name: name(domain, hash, table, object) })
    }

    /// As shards list it.
    pub fn info(&self) -> XorbInfo {
        let mut at = 0;
        let chunks = self.chunks.iter().map(|chunk| {
            let byte_offset = at;
            at += chunk.unpacked_bytes;
            ChunkInfo { hash: chunk.hash, byte_offset, unpacked_bytes: chunk.unpacked_bytes, offered: false }
        });
        let chunks: Vec<_> = chunks.collect();
        let bytes_on_disk = self.chunks.last().map_or(0, Chunk::end);
        XorbInfo { hash: self.hash, chunks, bytes_in_xorb: at, bytes_on_disk }
    }
}

/// Where a xorb lies. The same chunks can be packed in several ways, and the table of one is wrong for the bytes of
/// another; and a xorb that was collected may come again while its old object is being deleted. So the name ends with
/// `object`, which no two stored xorbs have in common. Those of older versions end with their layout instead.
pub(super) fn name(domain: &str, hash: &XetHash, table: &[u8], object: &str) -> Name {
    let (hash, layout) = (hash.to_string(), Digest::of(table).hex());
    let ending = if object.is_empty() { &layout[..16] } else { object };
    Name::of(&[FOLDER, domain, &hash[..2], &format!("{hash}-{ending}")])
}

/// The domain and the hash of a xorb whose object has this name.
pub(super) fn named(name: &str) -> Option<(&str, XetHash)> {
    let (domain, rest) = name.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    let (hash, _) = rest.split_once('/')?.1.split_once('-')?;
    Some((domain, hash.parse().ok()?))
}

pub(super) fn encode_chunks(chunks: &[Chunk]) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunks.len() * CHUNK_BYTES);
    for chunk in chunks {
        out.extend_from_slice(chunk.hash.as_bytes());
        out.extend_from_slice(&chunk.packed_bytes.to_le_bytes());
        out.extend_from_slice(&chunk.unpacked_bytes.to_le_bytes());
    }
    out
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn hash(bytes: &[u8]) -> XetHash {
    XetHash::from_bytes(std::array::from_fn(|i| bytes[i]))
}

fn rows<'a, const N: usize>(column: &'static str, bytes: &'a [u8]) -> Result<&'a [[u8; N]], DbError> {
    let (rows, rest) = bytes.as_chunks::<N>();
    let torn = || DbError::Corrupt { column, message: format!("{} bytes", bytes.len()) };
    if rest.is_empty() { Ok(rows) } else { Err(torn()) }
}

fn chunks(table: &[u8]) -> Result<Vec<Chunk>, DbError> {
    let mut start = 0_u32;
    let chunk = |row: &[u8; CHUNK_BYTES]| {
        let (packed_bytes, unpacked_bytes) = (word(row, 32), word(row, 36));
        let chunk = Chunk { hash: hash(row), start, packed_bytes, unpacked_bytes };
        let end = start.checked_add(packed_bytes).and_then(|n| n.checked_add(CHUNK_HEADER_BYTES as u32));
        start = end.ok_or_else(|| DbError::Corrupt { column: "xorbs.chunks", message: "too long".to_owned() })?;
        Ok(chunk)
    };
    rows("xorbs.chunks", table)?.iter().map(chunk).collect()
}

pub(super) fn encode_segments(segments: &[Segment]) -> Vec<u8> {
    let mut out = Vec::with_capacity(segments.len() * SEGMENT_BYTES);
    for segment in segments {
        out.extend_from_slice(segment.xorb.as_bytes());
        for number in [segment.chunk_start, segment.chunk_end, segment.unpacked_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    out
}

pub(super) fn segments(bytes: &[u8]) -> Result<Vec<Segment>, DbError> {
    let segment = |row: &[u8; SEGMENT_BYTES]| Segment {
        xorb: hash(row),
        chunk_start: word(row, 32),
        chunk_end: word(row, 36),
        unpacked_bytes: word(row, 40),
        range_hash: None,
    };
    Ok(rows("xet_files.segments", bytes)?.iter().map(segment).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_as_they_were() {
        let hash = XetHash::from_bytes([7; 32]);
        let chunk = |start, packed_bytes| Chunk { hash, start, packed_bytes, unpacked_bytes: 9 };
        let all = vec![chunk(0, 5), chunk(13, 1)];
        let table = encode_chunks(&all);
        let stored = Stored::read("a-1", &hash, &table, "").unwrap();
        assert_eq!((&stored.chunks, stored.info().bytes_in_xorb), (&all, 18));
        assert!(stored.name.to_string().starts_with("xet/a-1/07/0707"));
        assert_eq!(named(&stored.name.to_string()), Some(("a-1", hash)));
        let drawn = name("a-1", &hash, &table, "drawn").to_string();
        assert!(drawn.ends_with("-drawn") && named(&drawn) == Some(("a-1", hash)));
        assert_eq!((named("sha256/00/x"), named("xet/a-1/00/x")), (None, None));
        assert!(Stored::read("a-1", &hash, &table[1..], "").is_err());
        let part = Segment { xorb: hash, unpacked_bytes: 3, chunk_start: 1, chunk_end: 2, range_hash: None };
        assert_eq!(segments(&encode_segments(&[part, part])).unwrap(), [part, part]);
    }
}
