//! How the bytes of a chunk are packed inside a xorb.
//!
//! Three schemes exist: none, an LZ4 frame, and an LZ4 frame of the bytes grouped by their position modulo four, which
//! suits tables of 32-bit numbers. (draft-denis-xet-03, "Compression"; the choice is that of `xet-core-structures`.)

use super::lz4;
pub(super) use super::lz4::BadContent;

/// How the bytes of a chunk are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Not at all.
    None,
    /// An LZ4 frame.
    Lz4,
    /// All first bytes of every four, all second, third and fourth, in an LZ4 frame.
    GroupedLz4,
}

impl Scheme {
    /// The number in the header of a chunk.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::GroupedLz4 => 2,
        }
    }

    /// The scheme of a number in the header of a chunk.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::GroupedLz4),
            _ => None,
        }
    }

    /// The scheme that clients would try on this content: grouping, where the four positions differ enough in how many
    /// bits their bytes have set, else plain LZ4. Packing falls back to none where that does not help.
    #[must_use]
    pub fn choose(content: &[u8]) -> Self {
        if divergence(content) > 0.02 { Self::GroupedLz4 } else { Self::Lz4 }
    }
}

/// The largest Kullback–Leibler divergence between the numbers of set bits at one of four positions and at all of them.
fn divergence(content: &[u8]) -> f64 {
    let mut counts = [[0_u32; 9]; 4];
    let (fours, rest) = content.as_chunks::<4>();
    for four in fours {
        for (count, byte) in counts.iter_mut().zip(four) {
            count[byte.count_ones() as usize] += 1;
        }
    }
    for (count, byte) in counts.iter_mut().zip(rest) {
        count[byte.count_ones() as usize] += 1;
    }
    let total: u32 = counts.iter().flatten().sum();
    let all: [u32; 9] = std::array::from_fn(|bits| 1 + counts.iter().map(|count| count[bits]).sum::<u32>());
    counts.iter().fold(0.0, |largest: f64, count| {
        let own: u32 = count.iter().sum();
        let divergence = count.iter().zip(all).fold(0.0, |sum, (count, all)| {
            let p = f64::from(*count) / f64::from(own);
            let q = f64::from(all) / f64::from(total);
            // Not a number where a count is zero, and then this position is ignored: clients do the same.
            sum + p * (p / q).ln()
        });
        largest.max(divergence)
    })
}

/// Packs content at the end of `out` by `scheme`, or plainly where that is no shorter; returns what it was.
pub(super) fn pack(scheme: Scheme, content: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> Scheme {
    let shorter = match scheme {
        Scheme::None => false,
        Scheme::Lz4 => lz4::pack(content, out),
        Scheme::GroupedLz4 => {
            scratch.resize(content.len(), 0);
            group(content, scratch);
            lz4::pack(scratch, out)
        }
    };
    if shorter {
        return scheme;
    }
    out.extend_from_slice(content);
    Scheme::None
}

/// Unpacks content that has to fill `out` exactly.
pub(super) fn unpack(scheme: Scheme, packed: &[u8], scratch: &mut Vec<u8>, out: &mut [u8]) -> Result<(), BadContent> {
    match scheme {
        Scheme::None if packed.len() == out.len() => out.copy_from_slice(packed),
        Scheme::None => return Err(BadContent),
        Scheme::Lz4 => lz4::unpack(packed, out)?,
        Scheme::GroupedLz4 => {
            scratch.resize(out.len(), 0);
            lz4::unpack(packed, scratch)?;
            ungroup(scratch, out);
        }
    }
    Ok(())
}

/// Where each of the four groups begins.
fn starts(bytes: usize) -> [usize; 4] {
    let (quarter, rest) = (bytes / 4, bytes % 4);
    std::array::from_fn(|i| i * quarter + i.min(rest))
}

fn group(content: &[u8], grouped: &mut [u8]) {
    let [_, b, c, d] = starts(content.len());
    let (first, rest) = grouped.split_at_mut(b);
    let (second, rest) = rest.split_at_mut(c - b);
    let (third, fourth) = rest.split_at_mut(d - c);
    let (fours, last) = content.as_chunks::<4>();
    for ((((four, w), x), y), z) in fours.iter().zip(&mut *first).zip(&mut *second).zip(&mut *third).zip(&mut *fourth) {
        [*w, *x, *y, *z] = *four;
    }
    for (group, byte) in [first, second, third].into_iter().zip(last) {
        group[fours.len()] = *byte;
    }
}

fn ungroup(grouped: &[u8], content: &mut [u8]) {
    let [_, b, c, d] = starts(grouped.len());
    let (first, second, third, fourth) = (&grouped[..b], &grouped[b..c], &grouped[c..d], &grouped[d..]);
    let (fours, last) = content.as_chunks_mut::<4>();
    let whole = fours.len();
    for ((((four, w), x), y), z) in fours.iter_mut().zip(first).zip(second).zip(third).zip(fourth) {
        *four = [*w, *x, *y, *z];
    }
    for (group, byte) in [first, second, third].into_iter().zip(last) {
        *byte = group[whole];
    }
}
