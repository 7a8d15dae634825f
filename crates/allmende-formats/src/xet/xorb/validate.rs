//! Checking a xorb while it arrives.

use super::footer::{self, FREE_BYTES, FooterVersion, LENGTH_BYTES, encode_footer};
use super::{
    CHUNK_HEADER_BYTES, Chunk, ChunkHeader, Error, MAX_CHUNKS, MAX_CONTENT_BYTES, MAX_UNPACKED_BYTES, Unpacker, Xorb,
};
use crate::xet::hash::{XetHash, chunk_hash};
use crate::xet::tree::TreeHasher;

/// Checks a xorb that arrives in pieces of any length.
///
/// Every chunk is unpacked and hashed as soon as it is whole, and no claimed length is believed beyond the limits of a
/// single chunk. It keeps one chunk, packed and unpacked, and the table of chunks: under 1.5 MiB for any input.
#[derive(Debug, Default)]
pub struct Validator {
    chunks: Vec<Chunk>,
    tree: TreeHasher,
    /// Bytes of a header or packed content that have not all arrived.
    held: Vec<u8>,
    expects: Expects,
    unpacker: Unpacker,
    content_bytes: u64,
}

#[derive(Debug, Default)]
enum Expects {
    #[default]
    Header,
    Packed(ChunkHeader),
    Footer {
        expected: Vec<u8>,
        at: usize,
    },
}

impl Validator {
    /// A validator that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The chunks that are whole and checked so far.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error`] as soon as the bytes cannot be a xorb; the validator is of no use afterwards.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match &mut self.expects {
                Expects::Footer { expected, at } => return compare(expected, at, bytes),
                Expects::Header => {
                    let Some(header) = gather(&mut self.held, &mut bytes, CHUNK_HEADER_BYTES) else { break };
                    let header = header.as_slice(&self.held).first_chunk::<CHUNK_HEADER_BYTES>().copied();
                    self.held.clear();
                    self.header(header.ok_or(Error::Truncated { chunk: self.chunks.len() })?)?;
                }
                Expects::Packed(header) => {
                    let header = *header;
                    let Some(packed) = gather(&mut self.held, &mut bytes, header.packed_bytes) else { break };
                    let held = std::mem::take(&mut self.held);
                    self.chunk(&header, packed.as_slice(&held))?;
                    self.held = held;
                    self.held.clear();
                    self.expects = Expects::Header;
                }
            }
        }
        Ok(())
    }

    fn header(&mut self, bytes: [u8; CHUNK_HEADER_BYTES]) -> Result<(), Error> {
        let chunk = self.chunks.len();
        if let [magic @ .., version] = bytes
            && magic == footer::MAGIC
        {
            if chunk == 0 {
                return Err(Error::NoChunks);
            }
            let version = FooterVersion::from_code(version)?;
            let expected = encode_footer(version, &self.tree.clone().xorb_hash(), &self.chunks);
            self.expects = Expects::Footer { expected, at: CHUNK_HEADER_BYTES };
            return Ok(());
        }
        if chunk == MAX_CHUNKS {
            return Err(Error::TooManyChunks);
        }
        let header = ChunkHeader::read(bytes, chunk)?;
        let content = self.content_bytes + (CHUNK_HEADER_BYTES + header.packed_bytes) as u64;
        if content > MAX_CONTENT_BYTES || self.tree.bytes() + header.unpacked_bytes as u64 > MAX_UNPACKED_BYTES {
            return Err(Error::TooLarge);
        }
        self.expects = Expects::Packed(header);
        Ok(())
    }

    fn chunk(&mut self, header: &ChunkHeader, packed: &[u8]) -> Result<(), Error> {
        let chunk = self.chunks.len();
        let content = self.unpacker.read(header, packed).map_err(|_| Error::Unpack { chunk })?;
        let hash = chunk_hash(content);
        self.tree.push(hash, content.len() as u64);
        // All of these fit: they are within the limits of a xorb.
        self.chunks.push(Chunk {
            hash,
            start: self.content_bytes as u32,
            packed_bytes: header.packed_bytes as u32,
            unpacked_bytes: header.unpacked_bytes as u32,
        });
        self.content_bytes += (CHUNK_HEADER_BYTES + header.packed_bytes) as u64;
        Ok(())
    }

    /// Ends the xorb.
    ///
    /// # Errors
    /// [`Error`] if it is not complete, or `expected` is given and is not its hash.
    pub fn finish(self, expected: Option<&XetHash>) -> Result<Xorb, Error> {
        let footer_bytes = match &self.expects {
            Expects::Header if self.held.is_empty() => 0,
            Expects::Footer { expected, at } if *at == expected.len() => expected.len() as u64,
            _ => return Err(Error::Truncated { chunk: self.chunks.len() }),
        };
        if self.chunks.is_empty() {
            return Err(Error::NoChunks);
        }
        let unpacked_bytes = self.tree.bytes();
        let hash = self.tree.xorb_hash();
        if let Some(expected) = expected
            && *expected != hash
        {
            return Err(Error::Hash { expected: *expected, found: hash });
        }
        Ok(Xorb { hash, chunks: self.chunks, content_bytes: self.content_bytes, unpacked_bytes, footer_bytes })
    }
}

/// Bytes that are all there: still in the piece, or gathered from several.
enum Gathered<'a> {
    Whole(&'a [u8]),
    Held,
}

impl Gathered<'_> {
    fn as_slice<'b>(&'b self, held: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Held => held,
        }
    }
}

/// Takes as many bytes as are needed, without a copy where one piece has them all.
fn gather<'a>(held: &mut Vec<u8>, bytes: &mut &'a [u8], needed: usize) -> Option<Gathered<'a>> {
    let (taken, rest) = bytes.split_at(bytes.len().min(needed - held.len()));
    *bytes = rest;
    if taken.len() == needed {
        return Some(Gathered::Whole(taken));
    }
    held.extend_from_slice(taken);
    (held.len() == needed).then_some(Gathered::Held)
}

/// Compares the next bytes of a footer with what the chunks make of it.
fn compare(expected: &[u8], at: &mut usize, bytes: &[u8]) -> Result<(), Error> {
    let free_end = expected.len() - LENGTH_BYTES;
    let free = free_end - FREE_BYTES..free_end;
    let wanted = &expected[*at..expected.len().min(*at + bytes.len())];
    let differs = bytes.iter().zip(wanted).enumerate().find(|(i, (a, b))| a != b && !free.contains(&(*at + i)));
    if let Some((i, _)) = differs {
        return Err(Error::Footer { at: *at + i });
    }
    *at += wanted.len();
    if wanted.len() < bytes.len() { Err(Error::Trailing) } else { Ok(()) }
}
