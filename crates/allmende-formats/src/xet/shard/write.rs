//! Writing a shard.

use super::{
    Error, FOOTER_BYTES, FOOTER_VERSION, FileInfo, HEADER_VERSION, MAGIC, MAX_SHARD_BYTES, OFFERED, RECORD_BYTES,
    WITH_RANGE_HASHES, WITH_SHA256, XorbInfo, reversed_groups,
};
use crate::xet::hash::XetHash;

/// How a shard ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// After its sections, as clients send it.
    Sections,
    /// With a footer, as servers send it and clients keep it.
    Footer {
        /// The key to put the chunk hashes under, if any.
        chunk_key: Option<[u8; 32]>,
        /// When it was made, in seconds since 1970.
        created_s: u64,
        /// Until when it may be used, in seconds since 1970.
        expires_s: u64,
        /// Whether tables stand before the footer. Clients do without.
        tables: bool,
    },
}

/// The answer to a question for a chunk across files: xorbs whose chunk hashes stand under `chunk_key`.
///
/// Whoever has one of the chunks recognizes it and its neighbours; nobody learns a hash. Use one key for long: clients
/// hash every chunk once for each key that they hold shards of. Without `expires_s` in the future a client uses the
/// answer in the same session only.
///
/// # Errors
/// [`Error::Write`] if the shard could not be read again.
pub fn dedup_shard(xorbs: &[XorbInfo], chunk_key: [u8; 32], created_s: u64, expires_s: u64) -> Result<Vec<u8>, Error> {
    let ending = Ending::Footer { chunk_key: Some(chunk_key), created_s, expires_s, tables: false };
    write_shard(&[], xorbs, &ending)
}

/// A shard of these files and xorbs, in their order.
///
/// # Errors
/// [`Error::Write`] if the shard could not be read again: it would be too long, or a file has range hashes for some of
/// its segments only.
pub fn write_shard(files: &[FileInfo], xorbs: &[XorbInfo], ending: &Ending) -> Result<Vec<u8>, Error> {
    if files.iter().map(|f| f.hash).chain(xorbs.iter().map(|x| x.hash)).any(|hash| hash == XetHash::BOOKEND) {
        return Err(Error::Write("a hash is the one that ends a section"));
    }
    let mut out = Out { bytes: MAGIC.to_vec() };
    out.long(HEADER_VERSION);
    out.long(if *ending == Ending::Sections { 0 } else { FOOTER_BYTES as u64 });
    let files_at = out.at();
    let mut file_table = Vec::new();
    for file in files {
        file_table.push((file.hash.truncated(), out.index(files_at)));
        out.file(file)?;
    }
    out.record(&XetHash::BOOKEND, [0; 4]);

    let key = match ending {
        Ending::Footer { chunk_key, .. } => chunk_key.as_ref(),
        Ending::Sections => None,
    };
    let xorbs_at = out.at();
    let mut xorb_table = Vec::new();
    let mut chunk_table = Vec::new();
    for xorb in xorbs {
        let index = out.index(xorbs_at);
        xorb_table.push((xorb.hash.truncated(), index));
        let count = u32::try_from(xorb.chunks.len()).map_err(|_| Error::Write("a xorb has too many chunks"))?;
        out.record(&xorb.hash, [0, count, xorb.bytes_in_xorb, xorb.bytes_on_disk]);
        for (place, chunk) in (0_u32..).zip(&xorb.chunks) {
            let hash = key.map_or(chunk.hash, |key| chunk.hash.keyed(key));
            chunk_table.push((hash.truncated(), index, place));
            let flags = if chunk.offered { OFFERED } else { 0 };
            out.record(&hash, [chunk.byte_offset, chunk.unpacked_bytes, flags, 0]);
        }
    }
    out.record(&XetHash::BOOKEND, [0; 4]);

    if let Ending::Footer { chunk_key, created_s, expires_s, tables } = ending {
        if !tables {
            (file_table, xorb_table, chunk_table) = Default::default();
        }
        let mut fields = vec![FOOTER_VERSION, files_at, xorbs_at];
        for mut table in [file_table, xorb_table] {
            table.sort_unstable();
            fields.extend([out.at(), table.len() as u64]);
            table.iter().for_each(|(key, index)| {
                out.long(*key);
                out.word(*index);
            });
        }
        chunk_table.sort_unstable();
        fields.extend([out.at(), chunk_table.len() as u64]);
        chunk_table.iter().for_each(|(key, index, place)| {
            out.long(*key);
            out.word(*index);
            out.word(*place);
        });
        let footer_at = out.at();
        fields.into_iter().for_each(|field| out.long(field));
        out.bytes.extend_from_slice(&chunk_key.unwrap_or_default());
        [*created_s, *expires_s, 0, 0, 0, 0, 0, 0].into_iter().for_each(|field| out.long(field));
        out.long(xorbs.iter().map(|x| u64::from(x.bytes_on_disk)).sum());
        out.long(files.iter().map(FileInfo::bytes).sum());
        out.long(xorbs.iter().map(|x| u64::from(x.bytes_in_xorb)).sum());
        out.long(footer_at);
    }
    if out.at() > MAX_SHARD_BYTES {
        return Err(Error::Write("it is too long"));
    }
    Ok(out.bytes)
}

struct Out {
    bytes: Vec<u8>,
}

impl Out {
    fn at(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Records since the start of a section; they fit, or the shard is too long and not given out.
    fn index(&self, section_at: u64) -> u32 {
        ((self.at() - section_at) / RECORD_BYTES as u64) as u32
    }

    fn long(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn record(&mut self, hash: &XetHash, words: [u32; 4]) {
        self.bytes.extend_from_slice(hash.as_bytes());
        words.into_iter().for_each(|word| self.word(word));
    }

    fn file(&mut self, file: &FileInfo) -> Result<(), Error> {
        let count = u32::try_from(file.segments.len()).map_err(|_| Error::Write("a file has too many segments"))?;
        let hashes: Vec<_> = file.segments.iter().filter_map(|s| s.range_hash).collect();
        if !hashes.is_empty() && hashes.len() != file.segments.len() {
            return Err(Error::Write("a file has range hashes for some of its segments only"));
        }
        let mut flags = if hashes.is_empty() { 0 } else { WITH_RANGE_HASHES };
        if file.sha256.is_some() {
            flags |= WITH_SHA256;
        }
        self.record(&file.hash, [flags, count, 0, 0]);
        for segment in &file.segments {
            self.record(&segment.xorb, [0, segment.unpacked_bytes, segment.chunk_start, segment.chunk_end]);
        }
        hashes.iter().for_each(|hash| self.record(hash, [0; 4]));
        if let Some(sha256) = file.sha256 {
            self.record(&XetHash::from_bytes(reversed_groups(sha256)), [0; 4]);
        }
        Ok(())
    }
}
