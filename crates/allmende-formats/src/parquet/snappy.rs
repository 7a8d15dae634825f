//! Snappy's block format: <https://github.com/google/snappy/blob/main/format_description.txt>

use super::Error;

/// Unpacks a block that must unfold to exactly `size` bytes.
///
/// # Errors
/// [`Error::Damaged`].
pub fn unpack(packed: &[u8], size: usize) -> Result<Vec<u8>, Error> {
    let bad = || Error::Damaged("a page that snappy did not pack");
    let mut at = 0;
    let mut said = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = *packed.get(at).ok_or_else(bad)?;
        at += 1;
        said |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if said != size as u64 {
        return Err(bad());
    }
    let number = |at: usize, width: usize| -> Option<usize> {
        let bytes = packed.get(at..at + width)?;
        Some(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
    };
    let mut out: Vec<u8> = Vec::with_capacity(size);
    while let Some(&tag) = packed.get(at) {
        at += 1;
        let head = usize::from(tag >> 2);
        let (length, back) = match tag & 3 {
            0 => {
                let width = head.saturating_sub(59);
                let length = if width == 0 { head } else { number(at, width).ok_or_else(bad)? } + 1;
                at += width;
                let literal = at.checked_add(length).and_then(|end| packed.get(at..end)).ok_or_else(bad)?;
                if out.len() + length > size {
                    return Err(bad());
                }
                out.extend_from_slice(literal);
                at += length;
                continue;
            }
            1 => {
                let low = number(at, 1).ok_or_else(bad)?;
                at += 1;
                ((head & 7) + 4, (head >> 3) << 8 | low)
            }
            kind => {
                let width = if kind == 2 { 2 } else { 4 };
                let back = number(at, width).ok_or_else(bad)?;
                at += width;
                (head + 1, back)
            }
        };
        if back == 0 || back > out.len() || out.len() + length > size {
            return Err(bad());
        }
        let from = out.len() - back;
        // What is copied may still be written meanwhile.
        for i in 0..length {
            out.push(out[from + i]);
        }
    }
    if out.len() == size { Ok(out) } else { Err(bad()) }
}
