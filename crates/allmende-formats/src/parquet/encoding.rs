//! How values and levels are written: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.

use super::Error;
use super::schema::Physical;

/// A value as it lies in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    Bool(bool),
    Int(i64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
}

const CUT: Error = Error::Damaged("a page is cut off");

/// Bits from the lowest of each byte on.
fn bits(bytes: &[u8], at: usize, width: u32) -> Option<u64> {
    let mut value = 0;
    for i in 0..width as usize {
        let bit = at + i;
        value |= u64::from(*bytes.get(bit / 8)? >> (bit % 8) & 1) << i;
    }
    Some(value)
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, Error> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(CUT)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::Damaged("a number is too long"))
}

fn zigzag(bytes: &[u8], at: &mut usize) -> Result<i64, Error> {
    let value = varint(bytes, at)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// `count` numbers of `width` bits, in runs and in groups of eight.
pub fn hybrid(bytes: &[u8], width: u32, count: usize) -> Result<Vec<u32>, Error> {
    if width > 32 {
        return Err(Error::Damaged("numbers of too many bits"));
    }
    let (mut values, mut at) = (Vec::with_capacity(count), 0);
    if width == 0 {
        values.resize(count, 0);
        return Ok(values);
    }
    while values.len() < count {
        let head = varint(bytes, &mut at)?;
        let left = count - values.len();
        if head & 1 == 0 {
            let take = usize::try_from(head >> 1).unwrap_or(usize::MAX).min(left);
            let value = bits(bytes, at * 8, width).ok_or(CUT)?;
            at += width.div_ceil(8) as usize;
            if take == 0 {
                return Err(Error::Damaged("an empty run"));
            }
            values.resize(values.len() + take, value as u32);
        } else {
            let groups = usize::try_from(head >> 1).unwrap_or(usize::MAX);
            let take = groups.saturating_mul(8).min(left);
            if take == 0 {
                return Err(Error::Damaged("an empty run"));
            }
            for i in 0..take {
                values.push(bits(bytes, at * 8 + i * width as usize, width).ok_or(CUT)? as u32);
            }
            at = at.saturating_add(groups.saturating_mul(width as usize));
        }
    }
    Ok(values)
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// One value of a width that is fixed.
fn fixed(bytes: &[u8], physical: Physical) -> Raw {
    match physical {
        Physical::Int32 => Raw::Int(i64::from(little(bytes) as u32 as i32)),
        Physical::Int64 => Raw::Int(little(bytes) as i64),
        Physical::Float => Raw::Float(f32::from_bits(little(bytes) as u32)),
        Physical::Double => Raw::Double(f64::from_bits(little(bytes))),
        Physical::Int96 => {
            // A day by Julius Caesar's count, and nanoseconds of it.
            let (time, day) = (little(&bytes[..8]) as i64, little(&bytes[8..]) as i64);
            Raw::Int((day - 2_440_588).saturating_mul(86_400_000_000_000).saturating_add(time))
        }
        Physical::Boolean | Physical::Bytes | Physical::Fixed(_) => Raw::Bytes(bytes.to_vec()),
    }
}

const fn width(physical: Physical) -> Option<usize> {
    match physical {
        Physical::Int32 | Physical::Float => Some(4),
        Physical::Int64 | Physical::Double => Some(8),
        Physical::Int96 => Some(12),
        Physical::Fixed(width) => Some(width),
        Physical::Boolean | Physical::Bytes => None,
    }
}

/// `count` values, one after the other.
pub fn plain(bytes: &[u8], physical: Physical, count: usize) -> Result<Vec<Raw>, Error> {
    if let Some(width) = width(physical) {
        let all = bytes.get(..width.checked_mul(count).ok_or(CUT)?).ok_or(CUT)?;
        return Ok(all.chunks_exact(width).map(|value| fixed(value, physical)).collect());
    }
    if physical == Physical::Boolean {
        let value = |i| bits(bytes, i, 1).map(|bit| Raw::Bool(bit == 1)).ok_or(CUT);
        return (0..count).map(value).collect();
    }
    let (mut values, mut rest) = (Vec::with_capacity(count), bytes);
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let value = after.get(..u32::from_le_bytes(*length) as usize).ok_or(CUT)?;
        values.push(Raw::Bytes(value.to_vec()));
        rest = &after[value.len()..];
    }
    Ok(values)
}

/// Numbers as differences, and how many bytes they took.
fn deltas(bytes: &[u8], count: usize) -> Result<(Vec<i64>, usize), Error> {
    let mut at = 0;
    let (block, minis) = (varint(bytes, &mut at)?, varint(bytes, &mut at)?);
    let total = varint(bytes, &mut at)?;
    let mut value = zigzag(bytes, &mut at)?;
    let sound =
        (1..=1 << 16).contains(&block) && (1..=512).contains(&minis) && block % minis == 0 && total == count as u64;
    if !sound {
        return Err(Error::Damaged("the head of differences"));
    }
    let in_mini = (block / minis) as usize;
    let mut values = Vec::with_capacity(count);
    if count > 0 {
        values.push(value);
    }
    while values.len() < count {
        let least = zigzag(bytes, &mut at)?;
        let widths = bytes.get(at..at + minis as usize).ok_or(CUT)?;
        at += widths.len();
        for &width in widths {
            if values.len() >= count {
                // Those of a last block that are not needed may be left out.
                break;
            }
            if width > 64 {
                return Err(Error::Damaged("numbers of too many bits"));
            }
            for i in 0..in_mini.min(count - values.len()) {
                let delta = bits(bytes, at * 8 + i * usize::from(width), u32::from(width)).ok_or(CUT)?;
                value = value.wrapping_add(least).wrapping_add(delta as i64);
                values.push(value);
            }
            at = at.saturating_add(in_mini * usize::from(width) / 8);
        }
    }
    Ok((values, at))
}

/// Numbers as differences.
pub fn delta_numbers(bytes: &[u8], physical: Physical, count: usize) -> Result<Vec<Raw>, Error> {
    let (values, _) = deltas(bytes, count)?;
    let narrow = physical == Physical::Int32;
    Ok(values.into_iter().map(|v| Raw::Int(if narrow { i64::from(v as i32) } else { v })).collect())
}

/// Texts after all their lengths.
pub fn delta_lengths(bytes: &[u8], count: usize) -> Result<Vec<Vec<u8>>, Error> {
    let (lengths, mut at) = deltas(bytes, count)?;
    let mut values = Vec::with_capacity(count);
    for length in lengths {
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length)).ok_or(CUT)?;
        values.push(bytes.get(at..end).ok_or(CUT)?.to_vec());
        at = end;
    }
    Ok(values)
}

/// Texts by how much of the one before they begin with. `most` bytes are made at most.
pub fn delta_texts(bytes: &[u8], count: usize, most: usize) -> Result<Vec<Vec<u8>>, Error> {
    let (prefixes, at) = deltas(bytes, count)?;
    let suffixes = delta_lengths(bytes.get(at..).ok_or(CUT)?, count)?;
    let (mut values, mut made): (Vec<Vec<u8>>, usize) = (Vec::with_capacity(count), 0);
    for (prefix, suffix) in prefixes.into_iter().zip(suffixes) {
        let before: &[u8] = values.last().map_or(&[], |value| value);
        let prefix = usize::try_from(prefix).ok().and_then(|prefix| before.get(..prefix)).ok_or(CUT)?;
        made = made.saturating_add(prefix.len() + suffix.len());
        if made > most {
            return Err(Error::TooLarge("a page"));
        }
        values.push([prefix, &suffix].concat());
    }
    Ok(values)
}

/// Values whose first bytes stand together, and so on.
pub fn split_streams(bytes: &[u8], physical: Physical, count: usize) -> Result<Vec<Raw>, Error> {
    let width = width(physical).ok_or(Error::Damaged("an encoding that its type does not have"))?;
    let all = bytes.get(..width.checked_mul(count).ok_or(CUT)?).ok_or(CUT)?;
    let value = |i: usize| (0..width).map(|byte| all[byte * count + i]).collect::<Vec<u8>>();
    Ok((0..count).map(|i| fixed(&value(i), physical)).collect())
}
