//! The formats of Xet against vectors, the reference's golden files, and hostile bytes.

mod golden;
mod hashes;
mod packing;
mod plans;
mod shards;
mod wires;
mod xorbs;

use super::hash::XetHash;

/// Bytes that look random and are the same everywhere (SplitMix64).
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// A hash from its text.
pub fn hash(text: &str) -> XetHash {
    text.parse().unwrap()
}
