//! Bytes on their way into the store, which nobody sees before they are published.
//!
//! A folder takes them below `tmp` and renames them. An S3 store cannot rename, and a copy is a second transfer inside it:
//! what has its name from the start is sent there, and the upload is completed only when the bytes were found right.

use allmende_core::digest::to_hex;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStoreExt as _, PutPayload};
use tokio::task::JoinHandle;

use super::{BlobError, Blobs, CHUNK_BYTES, store_error};
use crate::faults;

/// Where bytes lie that have no name yet.
pub(super) const FOLDER: &str = "tmp";
/// Bytes of a part in an S3 store, which takes no less.
const PART_BYTES: usize = 5 << 20;
/// Bytes of each buffer that is gathered for an S3 store.
const COPIED_BYTES: usize = 256 << 10;
/// The most parts that S3 takes in one upload.
const MAX_PARTS: u64 = 10_000;
/// Where the size is not known before, parts grow by [`PART_BYTES`] after so many of them.
const GROW_AFTER: usize = 240;

/// The size of the part with this number, from 0.
fn part_bytes(total: Option<u64>, number: usize) -> usize {
    match total {
        Some(total) => usize::try_from(total.div_ceil(MAX_PARTS)).unwrap_or(usize::MAX).max(PART_BYTES),
        None => PART_BYTES * (1 + number / GROW_AFTER),
    }
}

#[derive(Debug)]
pub(super) struct Upload {
    blobs: Blobs,
    /// Where the bytes are sent.
    at: Path,
    /// How many are announced.
    total: Option<u64>,
    open: Option<Box<dyn MultipartUpload>>,
    sending: Option<JoinHandle<Result<(), Error>>>,
    gathered: Gathered,
    parts: usize,
    size_bytes: u64,
}

/// What is not sent yet.
#[derive(Debug, Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    /// The last bytes, where they are copied.
    last: Vec<u8>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    /// Takes a copy. A piece may keep a buffer alive that is much larger than itself, and a store is slow.
    fn copy(&mut self, mut piece: &[u8]) {
        self.bytes += piece.len();
        while !piece.is_empty() {
            // All of one size, so that what is free again fits the next.
            self.last.reserve_exact(COPIED_BYTES - self.last.len());
            let (now, later) = piece.split_at(piece.len().min(COPIED_BYTES - self.last.len()));
            self.last.extend_from_slice(now);
            if self.last.len() == COPIED_BYTES {
                self.pieces.push(std::mem::take(&mut self.last).into());
            }
            piece = later;
        }
    }

    fn take(&mut self) -> PutPayload {
        if !self.last.is_empty() {
            self.pieces.push(std::mem::take(&mut self.last).into());
        }
        self.bytes = 0;
        PutPayload::from_iter(self.pieces.drain(..))
    }
}

impl Upload {
    /// Begins an upload to `to`, if that is known, of `total` bytes, if that is known.
    pub async fn begin(blobs: &Blobs, to: Option<Path>, total: Option<u64>) -> Result<Self, BlobError> {
        let at = match to {
            Some(to) if blobs.remote.is_some() => to,
            _ => {
                let mut random = [0; 16];
                getrandom::fill(&mut random).map_err(|e| BlobError::Store(e.to_string().into()))?;
                Path::from_iter([FOLDER, &to_hex(&random)])
            }
        };
        Self::straight(blobs, at, total).await
    }

    /// Begins an upload that goes to `at` without a detour, in a folder too.
    pub async fn straight(blobs: &Blobs, at: Path, total: Option<u64>) -> Result<Self, BlobError> {
        // In S3 what fits into one part is sent at once, when it is whole.
        let open = match blobs.remote {
            Some(_) => None,
            None => Some(blobs.store.put_multipart(&at).await.map_err(store_error)?),
        };
        let gathered = Gathered::default();
        Ok(Self { blobs: blobs.clone(), at, total, open, sending: None, gathered, parts: 0, size_bytes: 0 })
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, mut piece: Bytes) -> Result<(), BlobError> {
        self.size_bytes += piece.len() as u64;
        while !piece.is_empty() {
            let wanted = match self.blobs.remote {
                Some(_) => part_bytes(self.total, self.parts),
                None => CHUNK_BYTES,
            };
            // Exactly as much, because some stores want all parts but the last to be equal.
            let rest = piece.split_off(piece.len().min(wanted - self.gathered.bytes));
            match self.blobs.remote {
                Some(_) => self.gathered.copy(&piece),
                None => self.gathered.push(piece),
            }
            piece = rest;
            if self.gathered.bytes >= wanted {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        self.parts += 1;
        let payload = self.gathered.take();
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(self.blobs.store.put_multipart(&self.at).await.map_err(store_error)?),
        };
        let part = open.put_part(payload);
        let Some(remote) = &self.blobs.remote else { return part.await.map_err(store_error) };
        // While one part is sent the next is gathered, as long as few do so: it doubles what an upload has in memory.
        let Some(ahead) = remote.ahead() else {
            self.sent().await?;
            return part.await.map_err(store_error);
        };
        self.sent().await?;
        self.sending = Some(tokio::spawn(async move {
            let _ahead = ahead;
            part.await
        }));
        Ok(())
    }

    /// Waits until the last part is there.
    async fn sent(&mut self) -> Result<(), BlobError> {
        if let Some(sending) = &mut self.sending {
            let sent = sending.await;
            self.sending = None;
            sent.map_err(|e| BlobError::Store(e.into()))?.map_err(store_error)?;
        }
        Ok(())
    }

    /// Makes the bytes durable and gives them this name; another object of that name is gone then.
    pub async fn publish(mut self, name: &Path) -> Result<(), BlobError> {
        let store = self.blobs.store.clone();
        if self.open.is_some() && self.gathered.bytes > 0 {
            self.flush().await?;
        }
        self.sent().await?;
        faults::point("blob.before_sync");
        let Some(open) = &mut self.open else {
            store.put(name, self.gathered.take()).await.map_err(store_error)?;
            faults::point("blob.after_publish");
            return Ok(());
        };
        let completed = open.complete().await;
        self.completed(completed.map(drop)).await?;
        self.open = None;
        faults::point("blob.before_publish");
        match &self.blobs.remote {
            _ if *name == self.at => {}
            None => store.rename(&self.at, name).await.map_err(store_error)?,
            Some(remote) => {
                remote.copy(&self.at, name, self.size_bytes, self.blobs.copy_bytes).await?;
                if let Err(error) = store.delete(&self.at).await {
                    tracing::warn!(object = %self.at, ?error, "a staged object is left to be swept");
                }
            }
        }
        faults::point("blob.after_publish");
        Ok(())
    }

    /// Whether an upload is complete, whatever the answer to it was.
    async fn completed(&mut self, answer: Result<(), Error>) -> Result<(), BlobError> {
        match answer {
            // The store's first answer was lost, and the second time there is no such upload: it is an object now.
            Err(error @ Error::NotFound { .. }) if self.blobs.remote.is_some() => {
                match self.blobs.store.head(&self.at).await {
                    Ok(found) if found.size == self.size_bytes => Ok(()),
                    _ => Err(store_error(error)),
                }
            }
            answer => answer.map_err(store_error),
        }
    }

    /// Gives the upload up. The first error is what counts, so this one has none; what stays is swept.
    pub async fn abort(mut self) {
        if let Some(open) = self.open.take() {
            give_up(open, self.sending.take()).await;
        }
    }
}

async fn give_up(mut open: Box<dyn MultipartUpload>, sending: Option<JoinHandle<Result<(), Error>>>) {
    // A part that arrives after the abort would stay.
    if let Some(sending) = sending {
        sending.abort();
        let _ = sending.await;
    }
    if let Err(error) = open.abort().await {
        tracing::debug!(?error, "an upload that was given up is left to be swept");
    }
}

impl Drop for Upload {
    /// A request that is cancelled leaves nothing. In a folder the upload itself deletes its file.
    fn drop(&mut self) {
        if self.blobs.remote.is_none() {
            return;
        }
        if let (Some(open), Ok(runtime)) = (self.open.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(give_up(open, self.sending.take()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tebibyte_fits_into_the_parts_that_s3_takes() {
        let tebibyte = 1_u64 << 40;
        let unknown: u64 = (0..10_000).map(|number| part_bytes(None, number) as u64).sum();
        assert!(unknown >= tebibyte, "{unknown}");
        assert!(part_bytes(None, 9_999) <= 256 << 20, "of which two lie in memory");
        for total in [0, 1, 8 << 20, 80_000 << 20, tebibyte, tebibyte + 1] {
            let part = part_bytes(Some(total), 0);
            assert!(part >= PART_BYTES && total.div_ceil(part as u64) <= MAX_PARTS, "{total}");
        }
        assert_eq!(part_bytes(Some(1 << 30), 5_000), PART_BYTES);
    }
}
