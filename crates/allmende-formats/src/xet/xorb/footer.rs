//! The footer of a xorb: written from the chunks, and read from the end of a stored file.

use super::{CHUNK_HEADER_BYTES, Chunk, Error, MAX_CHUNKS, MAX_CONTENT_BYTES, Xorb};
use crate::xet::chunker::MAX_CHUNK_BYTES;
use crate::xet::hash::{HASH_BYTES, XetHash};
use crate::xet::tree::xorb_hash;

/// What a footer begins with, before its version.
pub(super) const MAGIC: [u8; 7] = *b"XETBLOB";
const HASHES_MAGIC: [u8; 8] = *b"XBLBHSH\0";
const BOUNDS_MAGIC: [u8; 8] = *b"XBLBBND\x01";
/// Bytes that a footer leaves to its writer: no reader looks at them.
pub(super) const FREE_BYTES: usize = 16;
/// Bytes of the length behind a footer.
pub(super) const LENGTH_BYTES: usize = 4;
/// Bytes of a footer of version 1 without chunks, and what each chunk adds.
const FIXED_BYTES: usize = 92;
const CHUNK_BYTES: usize = HASH_BYTES + 4 + 4;
/// Most bytes of a footer and its length.
pub(super) const MAX_FOOTER_BYTES: u64 = (FIXED_BYTES + CHUNK_BYTES * MAX_CHUNKS + LENGTH_BYTES) as u64;

/// The versions of footers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FooterVersion {
    /// Hashes and packed ends: what clients wrote before 2025.
    V0,
    /// Hashes, packed and unpacked ends, in sections with names of their own.
    V1,
}

impl FooterVersion {
    pub(super) fn from_code(code: u8) -> Result<Self, Error> {
        match code {
            0 => Ok(Self::V0),
            1 => Ok(Self::V1),
            found => Err(Error::UnknownFooter { found }),
        }
    }
}

/// The footer of a xorb with this hash and these chunks, and its length behind it; the free bytes are zero.
#[must_use]
pub fn encode_footer(version: FooterVersion, hash: &XetHash, chunks: &[Chunk]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FIXED_BYTES + CHUNK_BYTES * chunks.len() + LENGTH_BYTES);
    // A xorb has at most MAX_CHUNKS chunks.
    let count = (chunks.len() as u32).to_le_bytes();
    out.extend_from_slice(&MAGIC);
    let ends = |out: &mut Vec<u8>| out.extend(chunks.iter().flat_map(|c| c.end().to_le_bytes()));
    let hashes = |out: &mut Vec<u8>| out.extend(chunks.iter().flat_map(|c| *c.hash.as_bytes()));
    match version {
        FooterVersion::V0 => {
            out.push(0);
            out.extend_from_slice(hash.as_bytes());
            out.extend_from_slice(&count);
            ends(&mut out);
            hashes(&mut out);
        }
        FooterVersion::V1 => {
            out.push(1);
            out.extend_from_slice(hash.as_bytes());
            let hashes_at = out.len();
            out.extend_from_slice(&HASHES_MAGIC);
            out.extend_from_slice(&count);
            hashes(&mut out);
            let bounds_at = out.len();
            out.extend_from_slice(&BOUNDS_MAGIC);
            out.extend_from_slice(&count);
            ends(&mut out);
            let mut unpacked_end = 0_u32;
            for chunk in chunks {
                unpacked_end += chunk.unpacked_bytes;
                out.extend_from_slice(&unpacked_end.to_le_bytes());
            }
            let end = out.len() + 4 + 4 + 4 + FREE_BYTES;
            out.extend_from_slice(&count);
            out.extend_from_slice(&((end - hashes_at) as u32).to_le_bytes());
            out.extend_from_slice(&((end - bounds_at) as u32).to_le_bytes());
        }
    }
    out.extend_from_slice(&[0; FREE_BYTES]);
    let length = out.len() as u32;
    out.extend_from_slice(&length.to_le_bytes());
    out
}

/// Reads the table of chunks from the end of a stored xorb of `file_bytes` bytes, whose footer is of version 1.
///
/// `tail` are its last bytes, [`Error::Truncated`] asks for more of them. Hashes and unpacked lengths are checked against
/// the hash of the xorb, which the caller compares; where packed chunks end nothing else says, and
/// [`Unpacker`](super::Unpacker) notices a wrong end.
///
/// # Errors
/// [`Error`] if the footer is not one that [`encode_footer`] writes.
pub fn read_footer(tail: &[u8], file_bytes: u64) -> Result<Xorb, Error> {
    let bad = Error::Footer { at: 0 };
    let (before, length) = tail.split_last_chunk::<LENGTH_BYTES>().ok_or(Error::Truncated { chunk: 0 })?;
    // usize has at least 32 bits.
    let length = u32::from_le_bytes(*length) as usize;
    let count = length.checked_sub(FIXED_BYTES).ok_or(bad)? / CHUNK_BYTES;
    if count == 0 || count > MAX_CHUNKS || length != FIXED_BYTES + CHUNK_BYTES * count {
        return Err(bad);
    }
    let footer_bytes = (length + LENGTH_BYTES) as u64;
    let content_bytes = file_bytes.checked_sub(footer_bytes).filter(|n| *n <= MAX_CONTENT_BYTES).ok_or(bad)?;
    let footer_at = before.len().checked_sub(length).ok_or(Error::Truncated { chunk: 0 })?;
    let footer = &before[footer_at..];
    let part = |at: usize, bytes: usize| footer.get(at..at + bytes).ok_or(bad);
    let hash = XetHash::from_bytes(*part(8, HASH_BYTES)?.first_chunk().ok_or(bad)?);
    let hashes = part(52, HASH_BYTES * count)?;
    let ends_at = 52 + HASH_BYTES * count + 12;
    let number = |at: usize| -> Result<u32, Error> { Ok(u32::from_le_bytes(*part(at, 4)?.first_chunk().ok_or(bad)?)) };
    let mut chunks = Vec::with_capacity(count);
    let (mut start, mut unpacked) = (0_u32, 0_u32);
    for (i, hash) in hashes.as_chunks::<HASH_BYTES>().0.iter().enumerate() {
        let end = number(ends_at + 4 * i)?;
        let unpacked_end = number(ends_at + 4 * count + 4 * i)?;
        let packed_bytes = end.checked_sub(start).and_then(|n| n.checked_sub(CHUNK_HEADER_BYTES as u32)).ok_or(bad)?;
        let unpacked_bytes = unpacked_end.checked_sub(unpacked).ok_or(bad)?;
        if packed_bytes == 0 || !(1..=MAX_CHUNK_BYTES as u32).contains(&unpacked_bytes) {
            return Err(bad);
        }
        chunks.push(Chunk { hash: XetHash::from_bytes(*hash), start, packed_bytes, unpacked_bytes });
        (start, unpacked) = (end, unpacked_end);
    }
    if u64::from(start) != content_bytes || hash != xorb_hash(chunks.iter().map(|c| (c.hash, c.unpacked_bytes.into())))
    {
        return Err(bad);
    }
    let expected = encode_footer(FooterVersion::V1, &hash, &chunks);
    let free_at = length - FREE_BYTES;
    if let Some(at) = (0..free_at).find(|&i| footer[i] != expected[i]) {
        return Err(Error::Footer { at });
    }
    Ok(Xorb { hash, chunks, content_bytes, unpacked_bytes: unpacked.into(), footer_bytes })
}
