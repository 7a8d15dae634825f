//! Getting chunks out of a stored xorb.

use super::{CHUNK_HEADER_BYTES, Chunk, ChunkHeader, Error};
use crate::xet::hash::chunk_hash;
use crate::xet::scheme;

/// Unpacks chunks. It keeps buffers for one chunk.
#[derive(Debug, Clone, Default)]
pub struct Unpacker {
    content: Vec<u8>,
    scratch: Vec<u8>,
}

impl Unpacker {
    /// An unpacker without buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The content of a chunk from its stored bytes, header and all, as they are from [`Chunk::start`] to [`Chunk::end`].
    ///
    /// # Errors
    /// [`Error::Stored`], [`Error::Unpack`] or [`Error::Hash`] where they are not the chunk of the table.
    pub fn unpack(&mut self, chunk: &Chunk, stored: &[u8]) -> Result<&[u8], Error> {
        let (header, packed) = stored.split_first_chunk::<CHUNK_HEADER_BYTES>().ok_or(Error::Stored)?;
        let header = ChunkHeader::read(*header, 0).map_err(|_| Error::Stored)?;
        let agrees = (header.packed_bytes, header.unpacked_bytes)
            == (chunk.packed_bytes as usize, chunk.unpacked_bytes as usize)
            && packed.len() == header.packed_bytes;
        if !agrees {
            return Err(Error::Stored);
        }
        let content = self.read(&header, packed).map_err(|scheme::BadContent| Error::Unpack { chunk: 0 })?;
        let found = chunk_hash(content);
        if found != chunk.hash {
            return Err(Error::Hash { expected: chunk.hash, found });
        }
        Ok(content)
    }

    /// Gives the contents of neighbouring chunks to `sink`, one after the other. `stored` are the bytes of the xorb from
    /// the start of the first to the end of the last.
    ///
    /// # Errors
    /// [`Error`] as for [`Self::unpack`], or what `sink` makes of it.
    pub fn unpack_all<E: From<Error>>(
        &mut self,
        chunks: &[Chunk],
        stored: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(first) = chunks.first() else { return Ok(()) };
        for chunk in chunks {
            let at = chunk.start.checked_sub(first.start).ok_or(Error::Stored)? as usize;
            let bytes = CHUNK_HEADER_BYTES + chunk.packed_bytes as usize;
            let stored = stored.get(at..at + bytes).ok_or(Error::Stored)?;
            sink(self.unpack(chunk, stored)?)?;
        }
        Ok(())
    }

    /// The content behind a header that was checked.
    pub(super) fn read(&mut self, header: &ChunkHeader, packed: &[u8]) -> Result<&[u8], scheme::BadContent> {
        self.content.resize(header.unpacked_bytes, 0);
        scheme::unpack(header.scheme, packed, &mut self.scratch, &mut self.content)?;
        Ok(&self.content)
    }
}
