//! Files that arrive whole, through git, LFS or a commit: cut, stored once, and held like those that clients cut.
//!
//! Memory: one xorb being packed, the bytes of a batch, and the chunk hashes of a few xorbs.

use std::collections::{HashMap, VecDeque};

use allmende_core::digest::{Digest, Hasher};
use allmende_formats::xet::chunker::Splitter;
use allmende_formats::xet::shard::Segment;
use allmende_formats::xet::tree::TreeHasher;
use allmende_formats::xet::xorb::{Error, MAX_UNPACKED_BYTES, XorbWriter};
use allmende_formats::xet::{XetHash, chunk_hash};
use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use super::store::{self, Held};
use super::{XetError, xorb};
use crate::app::App;
use crate::blobs::BlobError;
use crate::repo::{Repo, large};
use crate::transaction;

/// Bytes that are gathered before they are cut.
const BATCH_BYTES: usize = 4 << 20;
/// Xorbs whose chunks are remembered at once.
const KNOWN_XORBS: usize = 16;
/// Stands for the xorb that is being packed, whose hash nobody knows yet; no content has it.
const OPEN: XetHash = XetHash::BOOKEND;

/// A file that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of its bytes: the name under which commits know it.
    pub sha256: Digest,
    /// The hash of the tree over its chunks.
    pub xet_hash: XetHash,
    /// How many bytes.
    pub size: u64,
}

/// A file that is being stored. Dropping it leaves xorbs that nothing cites, and no file.
pub struct Ingest {
    app: App,
    repo: Repo,
    domain: String,
    gathered: Vec<u8>,
    cutter: Cutter,
    packer: Packer,
    /// The last xorb, on its way to the disk.
    keeping: Option<AbortOnDropHandle<Result<bool, XetError>>>,
    size: u64,
}

/// Cuts and hashes.
#[derive(Default)]
struct Cutter {
    hasher: Hasher,
    splitter: Splitter,
    tree: TreeHasher,
}

impl Cutter {
    fn cut(&mut self, bytes: &[u8], last: bool) -> Vec<(XetHash, Bytes)> {
        self.hasher.update(bytes);
        let mut cut = Vec::new();
        let mut take = |chunk: &[u8]| {
            let hash = chunk_hash(chunk);
            self.tree.push(hash, chunk.len() as u64);
            cut.push((hash, Bytes::copy_from_slice(chunk)));
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(()) = self.splitter.push(bytes, &mut take);
        if last {
            let Ok(()) = self.splitter.finish(&mut take);
        }
        cut
    }
}

/// Where chunks lie that need not be stored again.
#[derive(Default)]
struct Known {
    places: HashMap<XetHash, (XetHash, u32)>,
    xorbs: VecDeque<(XetHash, Vec<XetHash>)>,
}

impl Known {
    fn add(&mut self, xorb: XetHash, chunks: Vec<XetHash>) {
        if self.xorbs.iter().any(|(known, _)| *known == xorb) {
            return;
        }
        if self.xorbs.len() == KNOWN_XORBS
            && let Some((old, chunks)) = self.xorbs.pop_front()
        {
            for chunk in chunks {
                if self.places.get(&chunk).is_some_and(|(at, _)| *at == old) {
                    self.places.remove(&chunk);
                }
            }
        }
        for (place, chunk) in (0..).zip(&chunks) {
            self.places.insert(*chunk, (xorb, place));
        }
        self.xorbs.push_back((xorb, chunks));
    }
}

/// Packs what is not known, and writes down what the file is made of.
#[derive(Default)]
struct Packer {
    writer: XorbWriter,
    open: Vec<XetHash>,
    known: Known,
    segments: Vec<Segment>,
}

impl Packer {
    /// Takes chunks until the open xorb is full; those that are left follow once it was written.
    fn pack(&mut self, chunks: &mut VecDeque<(XetHash, Bytes)>) -> Result<(), Error> {
        while let Some((hash, content)) = chunks.front() {
            let place = match self.known.places.get(hash) {
                Some(place) => *place,
                None if !self.writer.fits(content.len()) => return Ok(()),
                None => {
                    // A xorb has at most 8,192 chunks.
                    let place = (OPEN, self.writer.len() as u32);
                    self.writer.push(*hash, content)?;
                    self.open.push(*hash);
                    self.known.places.insert(*hash, place);
                    place
                }
            };
            self.cite(place, content.len() as u32);
            chunks.pop_front();
        }
        Ok(())
    }

    fn cite(&mut self, (xorb, place): (XetHash, u32), bytes: u32) {
        match self.segments.last_mut() {
            // The same chunks may follow each other for long; a segment is never longer than a xorb.
            Some(last)
                if last.xorb == xorb
                    && last.chunk_end == place
                    && u64::from(last.unpacked_bytes + bytes) <= MAX_UNPACKED_BYTES =>
            {
                last.chunk_end += 1;
                last.unpacked_bytes += bytes;
            }
            _ => self.segments.push(Segment {
                xorb,
                unpacked_bytes: bytes,
                chunk_start: place,
                chunk_end: place + 1,
                range_hash: None,
            }),
        }
    }

    /// Gives the open xorb its name.
    fn close(&mut self, hash: XetHash) {
        self.segments.iter_mut().filter(|s| s.xorb == OPEN).for_each(|s| s.xorb = hash);
        let chunks = std::mem::take(&mut self.open);
        for chunk in &chunks {
            self.known.places.remove(chunk);
        }
        self.known.add(hash, chunks);
    }
}

impl Ingest {
    /// Begins a file of `repo`. Who may put it there was asked before.
    ///
    /// # Errors
    /// [`XetError::Db`].
    pub async fn begin(app: &App, repo: &Repo) -> Result<Self, XetError> {
        // Read first: each write waits for the disk, and many files follow each other.
        let settled = large::settled(&mut *app.db.read().await?, repo).await?;
        let domain = match settled {
            Some(domain) => domain,
            None => transaction!(app.db, tx => { large::settle(tx, repo).await.map_err(XetError::from) })?,
        };
        let (cutter, packer) = (Cutter::default(), Packer::default());
        let (app, repo, gathered) = (app.clone(), repo.clone(), Vec::new());
        Ok(Self { app, repo, domain, gathered, cutter, packer, keeping: None, size: 0 })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], or what failed; it is of no use afterwards.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), XetError> {
        self.size += bytes.len() as u64;
        let max_bytes = self.app.config.max_blob_bytes;
        if self.size > max_bytes {
            return Err(BlobError::TooLarge { max_bytes }.into());
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BATCH_BYTES - self.gathered.len()));
            self.gathered.extend_from_slice(now);
            bytes = later;
            if self.gathered.len() == BATCH_BYTES {
                self.work(false).await?;
            }
        }
        Ok(())
    }

    async fn work(&mut self, last: bool) -> Result<(), XetError> {
        let (gathered, mut cutter) = (std::mem::take(&mut self.gathered), std::mem::take(&mut self.cutter));
        let (cutter, cut, mut gathered) = tokio::task::spawn_blocking(move || {
            let cut = cutter.cut(&gathered, last);
            (cutter, cut, gathered)
        })
        .await?;
        gathered.clear();
        (self.cutter, self.gathered) = (cutter, gathered);
        self.recall(&cut).await?;
        let mut cut = VecDeque::from(cut);
        while !cut.is_empty() {
            let mut packer = std::mem::take(&mut self.packer);
            let (packer, left) =
                tokio::task::spawn_blocking(move || packer.pack(&mut cut).map(|()| (packer, cut))).await??;
            (self.packer, cut) = (packer, left);
            if !cut.is_empty() {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Looks for xorbs of this repository that have some of the chunks.
    async fn recall(&mut self, cut: &[(XetHash, Bytes)]) -> Result<(), XetError> {
        let first = self.packer.segments.is_empty();
        let mut connection = self.app.db.read().await?;
        for (i, (hash, _)) in cut.iter().enumerate() {
            let looked_for = hash.remainder(store::SAMPLE) == 0 || (first && i == 0);
            if !looked_for || self.packer.known.places.contains_key(hash) {
                continue;
            }
            let Some(xorb) = store::own_with_chunk(&mut connection, &self.domain, &self.repo, hash).await? else {
                continue;
            };
            if let Some(stored) = store::xorb(&mut connection, &self.domain, &xorb).await? {
                self.packer.known.add(xorb, stored.chunks.iter().map(|c| c.hash).collect());
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), XetError> {
        if self.packer.writer.is_empty() {
            return Ok(());
        }
        let (xorb, bytes) = std::mem::take(&mut self.packer.writer).finish(false)?;
        let place = xorb::Place::new(&self.app, &self.repo, &xorb.hash).await?;
        let mut staged = place.stage(&self.app).await?;
        let bytes = Bytes::from(bytes);
        for at in (0..bytes.len()).step_by(BATCH_BYTES) {
            staged.write(bytes.slice(at..bytes.len().min(at + BATCH_BYTES))).await?;
        }
        self.kept().await?;
        self.packer.close(xorb.hash);
        // While the disk works, the next xorb is cut and packed. Of this one nothing is in memory any more.
        let (app, repo) = (self.app.clone(), self.repo.clone());
        let keeping = self.app.tasks.spawn(async move { xorb::keep(&app, &repo, &xorb, (place, staged)).await });
        self.keeping = Some(AbortOnDropHandle::new(keeping));
        Ok(())
    }

    /// Waits until the last xorb is durable.
    async fn kept(&mut self) -> Result<(), XetError> {
        if let Some(keeping) = self.keeping.take() {
            keeping.await??;
        }
        Ok(())
    }

    /// Ends the file: from now on the repository holds it.
    ///
    /// # Errors
    /// What failed; nothing is held then.
    pub async fn finish(self) -> Result<Stored, XetError> {
        self.finish_as(None).await
    }

    /// Ends the file, which must have this SHA-256 if one is given.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`], or what failed; nothing is held then.
    pub async fn finish_as(mut self, expected: Option<&Digest>) -> Result<Stored, XetError> {
        self.work(true).await?;
        let Cutter { hasher, tree, .. } = std::mem::take(&mut self.cutter);
        let (sha256, hash) = (hasher.finish(), tree.file_hash());
        if let Some(expected) = expected.filter(|expected| **expected != sha256) {
            return Err(BlobError::DigestMismatch { expected: *expected, actual: sha256 }.into());
        }
        self.write().await?;
        self.kept().await?;
        let segments = std::mem::take(&mut self.packer.segments);
        let file = Held { hash, sha256, size: self.size, segments };
        let (repo, domain, now) = (&self.repo, &self.domain, self.app.clock.now());
        transaction!(self.app.db, tx => {
            store::put_file(tx, repo, domain, &file).await?;
            large::hold(tx, repo, &sha256, file.size, Some(&hash), now).await.map_err(XetError::from)
        })?;
        Ok(Stored { sha256, xet_hash: hash, size: self.size })
    }
}
