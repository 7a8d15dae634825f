//! Reading a shard while it arrives.

use super::{
    ChunkInfo, Entry, Error, FOOTER_BYTES, FOOTER_VERSION, FileInfo, Footer, HEADER_VERSION, MAGIC, MAX_SHARD_BYTES,
    OFFERED, RECORD_BYTES, Segment, Shard, WITH_RANGE_HASHES, WITH_SHA256, XorbInfo, reversed_groups,
};
use crate::xet::chunker::MAX_CHUNK_BYTES;
use crate::xet::hash::{HASH_BYTES, XetHash};
use crate::xet::xorb::{MAX_CHUNKS, MAX_UNPACKED_BYTES};

type Record = [u8; RECORD_BYTES];

/// Reads a shard that arrives in pieces of any length.
///
/// It keeps one entry, which never has more records than have arrived, so its memory is less than twice the longest entry.
/// Tables are neither kept nor read: all they say is in the sections.
#[derive(Debug, Default)]
pub struct ShardReader {
    expects: Expects,
    held: Vec<u8>,
    taken_bytes: u64,
    files: u64,
    xorbs: u64,
    chunks: u64,
    xorbs_at: u64,
    section_bytes: u64,
    /// The last bytes behind the sections.
    tail: Vec<u8>,
}

#[derive(Debug, Default)]
enum Expects {
    #[default]
    Header,
    File,
    Segment {
        file: FileInfo,
        flags: u32,
        left: u32,
    },
    RangeHash {
        file: FileInfo,
        flags: u32,
        next: usize,
    },
    Sha256(FileInfo),
    Xorb,
    Chunk {
        xorb: XorbInfo,
        left: u32,
    },
    Tail,
}

impl ShardReader {
    /// A reader that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives each entry that ends in them to `sink`.
    ///
    /// # Errors
    /// [`Error`] as soon as the bytes cannot be a shard, or the first error of `sink`; the reader is of no use
    /// afterwards.
    pub fn push<E: From<Error>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.taken_bytes + bytes.len() as u64 > MAX_SHARD_BYTES {
            return Err(Error::TooLarge.into());
        }
        while !bytes.is_empty() {
            if matches!(self.expects, Expects::Tail) {
                self.taken_bytes += bytes.len() as u64;
                self.tail(bytes);
                break;
            }
            let (taken, rest) = bytes.split_at(bytes.len().min(RECORD_BYTES - self.held.len()));
            bytes = rest;
            self.taken_bytes += taken.len() as u64;
            let record: Record = if let Ok(whole) = taken.try_into() {
                whole
            } else {
                self.held.extend_from_slice(taken);
                let Ok(whole) = self.held.as_slice().try_into() else { break };
                self.held.clear();
                whole
            };
            if let Some(entry) = self.record(&record)? {
                sink(entry)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> Result<Option<Entry>, Error> {
        let at = self.taken_bytes - RECORD_BYTES as u64;
        let (next, entry) = match std::mem::take(&mut self.expects) {
            Expects::Header => {
                let announced = long(record, 40);
                let known = announced == 0 || announced == FOOTER_BYTES as u64;
                if record[..32] != MAGIC || long(record, 32) != HEADER_VERSION || !known {
                    return Err(Error::Header);
                }
                (Expects::File, None)
            }
            Expects::File => {
                let hash = hash(record);
                if hash == XetHash::BOOKEND {
                    self.xorbs_at = self.taken_bytes;
                    (Expects::Xorb, None)
                } else {
                    let flags = word(record, 32);
                    if flags & !(WITH_RANGE_HASHES | WITH_SHA256) != 0 {
                        return Err(Error::Flags { at, flags });
                    }
                    let file = FileInfo { hash, segments: Vec::new(), sha256: None };
                    self.after_segments(file, flags, word(record, 36))
                }
            }
            Expects::Segment { mut file, flags, left } => {
                file.segments.push(segment(record, at)?);
                self.after_segments(file, flags, left - 1)
            }
            Expects::RangeHash { mut file, flags, next } => {
                file.segments[next].range_hash = Some(hash(record));
                if next + 1 < file.segments.len() {
                    (Expects::RangeHash { file, flags, next: next + 1 }, None)
                } else {
                    self.after_range_hashes(file, flags)
                }
            }
            Expects::Sha256(mut file) => {
                file.sha256 = Some(reversed_groups(*hash(record).as_bytes()));
                self.file(file)
            }
            Expects::Xorb => {
                if hash(record) == XetHash::BOOKEND {
                    self.section_bytes = self.taken_bytes;
                    (Expects::Tail, None)
                } else {
                    let (xorb, chunks) = xorb(record, at)?;
                    (Expects::Chunk { xorb, left: chunks }, None)
                }
            }
            Expects::Chunk { mut xorb, left } => {
                xorb.chunks.push(chunk(record, at)?);
                if left > 1 { (Expects::Chunk { xorb, left: left - 1 }, None) } else { self.xorb(xorb)? }
            }
            Expects::Tail => (Expects::Tail, None),
        };
        self.expects = next;
        Ok(entry)
    }

    fn after_segments(&mut self, file: FileInfo, flags: u32, left: u32) -> (Expects, Option<Entry>) {
        if left > 0 {
            (Expects::Segment { file, flags, left }, None)
        } else if flags & WITH_RANGE_HASHES != 0 && !file.segments.is_empty() {
            (Expects::RangeHash { file, flags, next: 0 }, None)
        } else {
            self.after_range_hashes(file, flags)
        }
    }

    fn after_range_hashes(&mut self, file: FileInfo, flags: u32) -> (Expects, Option<Entry>) {
        if flags & WITH_SHA256 != 0 { (Expects::Sha256(file), None) } else { self.file(file) }
    }

    fn file(&mut self, file: FileInfo) -> (Expects, Option<Entry>) {
        self.files += 1;
        (Expects::File, Some(Entry::File(file)))
    }

    fn xorb(&mut self, xorb: XorbInfo) -> Result<(Expects, Option<Entry>), Error> {
        let expected = u64::from(xorb.bytes_in_xorb);
        let found = xorb.chunks.iter().map(|c| u64::from(c.unpacked_bytes)).sum();
        if found != expected {
            return Err(Error::Sum { at: self.taken_bytes, expected, found });
        }
        self.xorbs += 1;
        self.chunks += xorb.chunks.len() as u64;
        Ok((Expects::Xorb, Some(Entry::Xorb(xorb))))
    }

    fn tail(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(FOOTER_BYTES);
        self.tail.extend_from_slice(&bytes[bytes.len() - kept..]);
        let surplus = self.tail.len().saturating_sub(FOOTER_BYTES);
        self.tail.drain(..surplus);
    }

    /// Ends the shard.
    ///
    /// # Errors
    /// [`Error`] if it is not complete, or its footer does not agree with it.
    pub fn finish(self) -> Result<Shard, Error> {
        if !matches!(self.expects, Expects::Tail) {
            return Err(Error::Truncated { at: self.taken_bytes });
        }
        let footer = if self.tail.is_empty() { None } else { Some(self.footer()?) };
        let Self { files, xorbs, chunks, section_bytes, .. } = self;
        Ok(Shard { files, xorbs, chunks, section_bytes, footer })
    }

    fn footer(&self) -> Result<Footer, Error> {
        let footer: &[u8; FOOTER_BYTES] = self.tail.as_slice().try_into().map_err(|_| Error::Footer)?;
        let number = |field: usize| long(footer, 8 * field);
        // Each table is there as a whole, or not at all; they follow the sections without a gap.
        let mut at = self.section_bytes;
        let mut agrees = number(0) == FOOTER_VERSION && number(1) == RECORD_BYTES as u64 && number(2) == self.xorbs_at;
        for (field, entries, entry_bytes) in [(3, self.files, 12), (5, self.xorbs, 12), (7, self.chunks, 16)] {
            let listed = number(field + 1);
            agrees &= number(field) == at && (listed == 0 || listed == entries);
            at = at.saturating_add(listed.saturating_mul(entry_bytes));
        }
        if !agrees || number(24) != at || at.checked_add(FOOTER_BYTES as u64) != Some(self.taken_bytes) {
            return Err(Error::Footer);
        }
        let mut key = [0; 32];
        key.copy_from_slice(&footer[72..104]);
        Ok(Footer {
            chunk_key: (key != [0; 32]).then_some(key),
            created_s: number(13),
            expires_s: number(14),
            stored_bytes_on_disk: number(21),
            materialized_bytes: number(22),
            stored_bytes: number(23),
        })
    }
}

/// The number of 64 bits at this byte; in bounds for every caller.
fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn word(record: &Record, at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| record[at + i]))
}

fn hash(record: &Record) -> XetHash {
    XetHash::from_bytes(std::array::from_fn::<u8, HASH_BYTES, _>(|i| record[i]))
}

fn segment(record: &Record, at: u64) -> Result<Segment, Error> {
    let [flags, unpacked_bytes, chunk_start, chunk_end] = [32, 36, 40, 44].map(|field| word(record, field));
    if flags != 0 {
        return Err(Error::Flags { at, flags });
    }
    let chunks = u64::from(chunk_end.saturating_sub(chunk_start));
    let possible = chunks..=(chunks * MAX_CHUNK_BYTES as u64).min(MAX_UNPACKED_BYTES);
    if chunks == 0 || chunk_end as usize > MAX_CHUNKS || !possible.contains(&unpacked_bytes.into()) {
        return Err(Error::Segment { at, unpacked_bytes, chunk_start, chunk_end });
    }
    Ok(Segment { xorb: hash(record), unpacked_bytes, chunk_start, chunk_end, range_hash: None })
}

fn xorb(record: &Record, at: u64) -> Result<(XorbInfo, u32), Error> {
    let [flags, chunks, bytes, bytes_on_disk] = [32, 36, 40, 44].map(|field| word(record, field));
    if flags != 0 {
        return Err(Error::Flags { at, flags });
    }
    if !(1..=MAX_CHUNKS).contains(&(chunks as usize)) || !(1..=MAX_UNPACKED_BYTES).contains(&bytes.into()) {
        return Err(Error::Xorb { at, chunks, bytes });
    }
    Ok((XorbInfo { hash: hash(record), chunks: Vec::new(), bytes_in_xorb: bytes, bytes_on_disk }, chunks))
}

fn chunk(record: &Record, at: u64) -> Result<ChunkInfo, Error> {
    let [byte_offset, unpacked_bytes, flags] = [32, 36, 40].map(|field| word(record, field));
    if flags & !OFFERED != 0 {
        return Err(Error::Flags { at, flags });
    }
    if !(1..=MAX_CHUNK_BYTES).contains(&(unpacked_bytes as usize)) {
        return Err(Error::Chunk { at, bytes: unpacked_bytes });
    }
    Ok(ChunkInfo { hash: hash(record), byte_offset, unpacked_bytes, offered: flags & OFFERED != 0 })
}
