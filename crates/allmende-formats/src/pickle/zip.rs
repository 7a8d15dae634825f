//! The list of what is in a zip archive, from its end: only the names, never the contents.
//!
//! <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, with the 64-bit fields that large checkpoints have.

use std::ops::Range;

/// Bytes of a file's end that [`directory`] wants; fewer only if the file has fewer.
pub const TAIL_BYTES: u64 = (64 << 10) + 22 + 20 + 56;
/// Largest list, in bytes: a few million names.
pub const MAX_DIRECTORY_BYTES: u64 = 256 << 20;

const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
/// Bytes of an entry before its name.
const ENTRY_BYTES: usize = 46;

/// Why a list cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The archive does not end as one does.
    #[error("the archive has no end")]
    NoEnd,
    /// Its list is not where its end says, or is none.
    #[error("the archive's list cannot be read")]
    Damaged,
    /// Its list is longer than [`MAX_DIRECTORY_BYTES`].
    #[error("the archive's list is too long")]
    TooLong,
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(field.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
}

/// Where the list lies in a file of `size` bytes that ends with `tail`.
///
/// # Errors
/// [`Error`].
pub fn directory(tail: &[u8], size: u64) -> Result<Range<u64>, Error> {
    let begin = size.checked_sub(tail.len() as u64).ok_or(Error::NoEnd)?;
    let end = (0..=tail.len().saturating_sub(22)).rev().find(|&at| tail[at..].starts_with(END)).ok_or(Error::NoEnd)?;
    let field = |at: usize, width: usize| number(tail, at, width).ok_or(Error::NoEnd);
    let (mut bytes, mut start) = (field(end + 12, 4)?, field(end + 16, 4)?);
    let locator = end.checked_sub(20).filter(|&at| tail[at..].starts_with(LOCATOR64));
    if let Some(locator) = locator {
        let at = field(locator + 8, 8)?.checked_sub(begin).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|&at| tail.get(at..).is_some_and(|rest| rest.starts_with(END64))).ok_or(Error::Damaged)?;
        (bytes, start) = (field(at + 40, 8)?, field(at + 48, 8)?);
    }
    let stop =
        start.checked_add(bytes).filter(|&stop| stop <= begin.saturating_add(end as u64)).ok_or(Error::Damaged)?;
    if bytes > MAX_DIRECTORY_BYTES { Err(Error::TooLong) } else { Ok(start..stop) }
}

/// Reads the names of a list as its bytes arrive.
#[derive(Debug, Default)]
pub struct Names {
    rest: Vec<u8>,
}

impl Names {
    /// Takes the next bytes and gives each name to `each`, which ends the reading by false.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str) -> bool) -> Result<bool, Error> {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let rest = &self.rest[at..];
            let seen = rest.len().min(ENTRY.len());
            if rest[..seen] != ENTRY[..seen] {
                return Err(Error::Damaged);
            }
            let length = |at: usize| number(rest, at, 2).and_then(|n| usize::try_from(n).ok());
            let lengths = length(28).zip(length(30)).zip(length(32));
            let Some(((name, extra), comment)) = lengths else { break };
            let Some(whole) = rest.get(..ENTRY_BYTES + name + extra + comment) else { break };
            if !each(&String::from_utf8_lossy(&whole[ENTRY_BYTES..ENTRY_BYTES + name])) {
                return Ok(false);
            }
            at += whole.len();
        }
        self.rest.drain(..at);
        Ok(true)
    }

    /// Ends the list.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it breaks off.
    pub fn finish(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Damaged) }
    }
}
