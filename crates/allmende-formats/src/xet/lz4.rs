//! The LZ4 frame around the blocks of a chunk, read without trust and written in one form.
//!
//! Blocks are packed and unpacked by `lz4_flex`. The frame is read here, because the size of a chunk bounds its blocks far
//! below what a frame may ask a decoder to reserve, and because a chunk must not be accepted that a client's decoder
//! would refuse later: every checksum is checked, a frame must end, and nothing may follow it. (LZ4 frame format 1.6.4.)

use lz4_flex::block::{compress_into, decompress_into, decompress_into_with_dict, get_maximum_output_size};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
/// A reserved bit, and dictionaries: no client has one.
const REFUSED_FLAGS: u8 = 0b0000_0011;
const BLOCK_SIZE_SHIFT: u8 = 4;
const BLOCK_SIZE_MASK: u8 = 0b0111_0000;
/// The upper bit of a block's length: the block is not packed.
const PLAIN: u32 = 1 << 31;
/// Lengths of blocks by their code.
const BLOCK_BYTES: [(u8, usize); 4] = [(4, 64 << 10), (5, 256 << 10), (6, 1 << 20), (7, 4 << 20)];

/// Bytes of a frame around one block: header, length of the block, and the end.
const FRAME_BYTES: usize = 4 + 3 + 4 + 4;

/// Packed bytes cannot be read, or do not hold what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadContent;

/// Unpacks a frame that has to fill `out` exactly.
pub(super) fn unpack(frame: &[u8], out: &mut [u8]) -> Result<(), BadContent> {
    let (magic, mut rest) = frame.split_first_chunk::<4>().ok_or(BadContent)?;
    let [flags, sizes] = *rest.first_chunk::<2>().ok_or(BadContent)?;
    if *magic != MAGIC || flags & VERSION_MASK != VERSION || flags & REFUSED_FLAGS != 0 || sizes & !BLOCK_SIZE_MASK != 0
    {
        return Err(BadContent);
    }
    let code = sizes >> BLOCK_SIZE_SHIFT;
    let (_, block_bytes) = *BLOCK_BYTES.iter().find(|(known, _)| *known == code).ok_or(BadContent)?;
    let described = if flags & CONTENT_SIZE == 0 { 2 } else { 2 + 8 };
    let descriptor = take(&mut rest, described)?;
    if let Some(size) = descriptor[2..].first_chunk::<8>()
        && u64::from_le_bytes(*size) != out.len() as u64
    {
        return Err(BadContent);
    }
    if take(&mut rest, 1)? != [(xxh32(descriptor) >> 8) as u8] {
        return Err(BadContent);
    }
    let mut filled = 0;
    loop {
        let header = number(&mut rest)?;
        if header == 0 {
            break;
        }
        // At most 2³¹ − 1; usize has at least 32 bits.
        let length = (header & !PLAIN) as usize;
        if length > block_bytes {
            return Err(BadContent);
        }
        let block = take(&mut rest, length)?;
        if flags & BLOCK_CHECKSUMS != 0 && number(&mut rest)? != xxh32(block) {
            return Err(BadContent);
        }
        let (before, after) = out.split_at_mut(filled);
        let room = after.len().min(block_bytes);
        let after = &mut after[..room];
        let added = if header & PLAIN != 0 {
            after.get_mut(..length).ok_or(BadContent)?.copy_from_slice(block);
            length
        } else if flags & INDEPENDENT != 0 || before.is_empty() {
            decompress_into(block, after).map_err(|_| BadContent)?
        } else {
            decompress_into_with_dict(block, after, before).map_err(|_| BadContent)?
        };
        // A block of nothing ends the stream for the clients' decoder.
        if added == 0 {
            return Err(BadContent);
        }
        filled += added;
    }
    if filled != out.len() || (flags & CONTENT_CHECKSUM != 0 && number(&mut rest)? != xxh32(out)) || !rest.is_empty() {
        return Err(BadContent);
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], BadContent> {
    let (taken, after) = rest.split_at_checked(bytes).ok_or(BadContent)?;
    *rest = after;
    Ok(taken)
}

fn number(rest: &mut &[u8]) -> Result<u32, BadContent> {
    let (number, after) = rest.split_first_chunk::<4>().ok_or(BadContent)?;
    *rest = after;
    Ok(u32::from_le_bytes(*number))
}

/// Packs `content` (at most 256 KiB) into a frame of one independent block without checksums at the end of `out`.
///
/// Returns whether that made it shorter; if not, `out` is as before.
pub(super) fn pack(content: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let (code, _) = BLOCK_BYTES.into_iter().find(|(_, bytes)| content.len() <= *bytes).unwrap_or(BLOCK_BYTES[3]);
    let descriptor = [VERSION | INDEPENDENT, code << BLOCK_SIZE_SHIFT];
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&descriptor);
    out.push((xxh32(&descriptor) >> 8) as u8);
    let length_at = out.len();
    let block_at = length_at + 4;
    out.resize(block_at + get_maximum_output_size(content.len()), 0);
    let packed = match compress_into(content, &mut out[block_at..]) {
        Ok(length) if length + FRAME_BYTES < content.len() => length,
        _ => {
            out.truncate(start);
            return false;
        }
    };
    // Below 2³¹: shorter than the content.
    out[length_at..block_at].copy_from_slice(&(packed as u32).to_le_bytes());
    out.truncate(block_at + packed);
    out.extend_from_slice(&[0; 4]);
    true
}

/// The checksum of LZ4 frames: XXH32 with seed 0.
pub(super) fn xxh32(bytes: &[u8]) -> u32 {
    const P: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    let (stripes, tail) = bytes.as_chunks::<16>();
    let mut hash = if stripes.is_empty() {
        P[4]
    } else {
        let mut lanes = [P[0].wrapping_add(P[1]), P[1], 0, 0_u32.wrapping_sub(P[0])];
        for stripe in stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<4>().0) {
                let mixed = lane.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(P[1]));
                *lane = mixed.rotate_left(13).wrapping_mul(P[0]);
            }
        }
        let turns = [1, 7, 12, 18];
        lanes.iter().zip(turns).fold(0, |sum: u32, (lane, turn)| sum.wrapping_add(lane.rotate_left(turn)))
    };
    // The length counts modulo 2³².
    hash = hash.wrapping_add(bytes.len() as u32);
    let (words, last) = tail.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(P[2])).rotate_left(17).wrapping_mul(P[3]);
    }
    for byte in last {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(P[4])).rotate_left(11).wrapping_mul(P[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(P[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(P[2]);
    hash ^ (hash >> 16)
}
