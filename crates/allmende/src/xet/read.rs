//! Putting files together again: as bytes, or as a plan for clients who do it themselves.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use allmende_core::digest::Digest;
use allmende_formats::xet::XetHash;
use allmende_formats::xet::reconstruction::{Fetch, Plan, PlanError, XorbFetches, plan};
use allmende_formats::xet::shard::Segment;
use allmende_formats::xet::xorb::{self, Chunk, Unpacker};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};

use super::store::{self, Held};
use super::table::Stored;
use super::{Session, XetError};
use crate::app::App;
use crate::blobs::{BlobError, Blobs, Name, Reader};
use crate::db::Db;
use crate::repo::{Repo, large};

/// Bytes that are unpacked at once.
const BATCH_BYTES: u64 = 1 << 20;
/// Batches that are under way at once.
const AHEAD: usize = 3;
/// Lists of chunks that one reader keeps.
const TABLES: usize = 4;

/// The lists of chunks of the xorbs that a reader goes through. Clones begin with those that are in memory.
#[derive(Clone)]
pub(super) struct Tables {
    db: Db,
    blobs: Blobs,
    domain: String,
    recent: VecDeque<Arc<Stored>>,
}

impl Tables {
    pub async fn of(db: &Db, blobs: &Blobs, repo: &Repo) -> Result<Self, XetError> {
        let domain = store::domain(&mut *db.read().await?, repo).await?;
        Ok(Self { db: db.clone(), blobs: blobs.clone(), domain, recent: VecDeque::new() })
    }

    pub fn domain(&self) -> &str {
        &self.domain
    }

    pub async fn get(&mut self, hash: &XetHash) -> Result<Arc<Stored>, XetError> {
        if let Some(found) = self.recent.iter().find(|stored| stored.hash == *hash) {
            return Ok(Arc::clone(found));
        }
        let found = store::xorb(&mut *self.db.read().await?, &self.domain, hash).await?;
        let found = Arc::new(found.ok_or(PlanError::MissingXorb(*hash))?);
        if self.recent.len() == TABLES {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(&found));
        Ok(found)
    }
}

/// Neighbouring chunks that are fetched and unpacked at once.
struct Batch {
    name: Name,
    chunks: Vec<Chunk>,
    /// The bytes of them that are wanted.
    wanted: Range<usize>,
}

struct Walk {
    tables: Tables,
    segments: std::vec::IntoIter<Segment>,
    /// The segment that is under way: its xorb, and the chunks that are left of it.
    open: Option<(Arc<Stored>, Range<usize>)>,
    /// Where the next chunk begins in the file.
    at: u64,
    range: Range<u64>,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Batch>, XetError> {
        loop {
            if self.at >= self.range.end {
                return Ok(None);
            }
            let (stored, left) = match self.open.take() {
                Some(open) => open,
                None => {
                    let Some(segment) = self.segments.next() else { return Ok(None) };
                    let length = u64::from(segment.unpacked_bytes);
                    if self.at + length <= self.range.start {
                        self.at += length;
                        continue;
                    }
                    let stored = self.tables.get(&segment.xorb).await?;
                    let places = segment.chunk_start as usize..segment.chunk_end as usize;
                    if places.end > stored.chunks.len() {
                        return Err(PlanError::Segment(segment.xorb).into());
                    }
                    (stored, places)
                }
            };
            let mut taken = left.start..left.start;
            let (mut begin, mut end) = (self.at, self.at);
            for chunk in &stored.chunks[left.clone()] {
                let after = end + u64::from(chunk.unpacked_bytes);
                if after <= self.range.start {
                    // Wholly before what is wanted.
                    (begin, end) = (after, after);
                    taken = taken.end + 1..taken.end + 1;
                    continue;
                }
                if end >= self.range.end || (!taken.is_empty() && after - begin > BATCH_BYTES) {
                    break;
                }
                end = after;
                taken.end += 1;
            }
            self.at = end;
            if taken.end < left.end {
                self.open = Some((Arc::clone(&stored), taken.end..left.end));
            }
            if taken.is_empty() {
                continue;
            }
            // At most a batch and a chunk: it fits.
            let offset = |at: u64| (at.clamp(begin, end) - begin) as usize;
            let wanted = offset(self.range.start)..offset(self.range.end);
            return Ok(Some(Batch { name: stored.name.clone(), chunks: stored.chunks[taken].to_vec(), wanted }));
        }
    }
}

async fn unpacked(blobs: Blobs, batch: Batch) -> Result<Bytes, XetError> {
    let (Some(first), Some(last)) = (batch.chunks.first(), batch.chunks.last()) else { return Ok(Bytes::new()) };
    let stored = blobs.read_named(&batch.name, first.start.into()..last.end().into()).await?;
    let bytes = tokio::task::spawn_blocking(move || {
        let mut all = Vec::with_capacity(batch.chunks.iter().map(|c| c.unpacked_bytes as usize).sum());
        Unpacker::new().unpack_all(&batch.chunks, &stored, |content| {
            all.extend_from_slice(content);
            Ok::<_, xorb::Error>(())
        })?;
        Ok::<_, xorb::Error>(Bytes::from(all).slice(batch.wanted))
    })
    .await??;
    Ok(bytes)
}

/// The bytes `range` of what the segments make, every chunk checked.
pub(super) fn bytes(
    tables: Tables,
    segments: Vec<Segment>,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, XetError>> + Send + 'static {
    let blobs = tables.blobs.clone();
    let walk = Walk { tables, segments: segments.into_iter(), open: None, at: 0, range };
    stream::try_unfold(walk, |mut walk| async move { Ok(walk.next().await?.map(|batch| (batch, walk))) })
        .map_ok(move |batch| unpacked(blobs.clone(), batch))
        .try_buffered(AHEAD)
}

/// Opens the bytes of a large file that `repo` holds, or a range of them that must lie inside.
///
/// # Errors
/// [`XetError::NotFound`] when it does not hold it.
pub async fn read(app: &App, repo: &Repo, sha256: &Digest, range: Option<Range<u64>>) -> Result<Reader, XetError> {
    let mut connection = app.db.read().await?;
    if large::held(&mut connection, repo, sha256).await?.is_none() {
        return Err(XetError::NotFound("large file"));
    }
    let Some(hash) = large::xet(&mut connection, repo, &sha256.hex()).await? else {
        drop(connection);
        return Ok(app.blobs.open_range(sha256, range).await?);
    };
    drop(connection);
    read_by_hash(app, repo, &hash, range).await
}

/// The SHA-256 of the file of this hash, if `repo` holds it.
///
/// # Errors
/// [`XetError::Db`].
pub async fn sha256(app: &App, repo: &Repo, hash: &XetHash) -> Result<Option<Digest>, XetError> {
    let file = store::file(&mut *app.db.read().await?, repo, hash).await?;
    Ok(file.map(|file| file.sha256))
}

/// The same for the file of this hash, by which it is put together.
///
/// # Errors
/// [`XetError::NotFound`] when `repo` does not hold it.
pub async fn read_by_hash(
    app: &App,
    repo: &Repo,
    hash: &XetHash,
    range: Option<Range<u64>>,
) -> Result<Reader, XetError> {
    let file = store::file(&mut *app.db.read().await?, repo, hash).await?.ok_or(XetError::NotFound("large file"))?;
    let range = range.unwrap_or(0..file.size);
    if range.start > range.end || range.end > file.size {
        return Err(BlobError::RangeOutside { size_bytes: file.size }.into());
    }
    let (size_bytes, digest) = (file.size, file.sha256);
    let stream =
        bytes(Tables::of(&app.db, &app.blobs, repo).await?, file.segments, range.clone()).map_err(move |error| {
            match error {
                XetError::Blob(inner) => inner,
                error => {
                    tracing::error!(%error, "a large file cannot be put together");
                    BlobError::Damaged { digest }
                }
            }
        });
    Ok(Reader { size_bytes, range, stream: stream.boxed() })
}

impl Session {
    /// The file of this hash, if the repository holds it.
    ///
    /// # Errors
    /// [`XetError::NotFound`].
    pub async fn file(&self, app: &App, hash: &XetHash) -> Result<Held, XetError> {
        let found = store::file(&mut *app.db.read().await?, self.repo(), hash).await?;
        found.ok_or(XetError::NotFound("file"))
    }

    /// How to get the bytes `range` of the file, or all of it. One list of chunks is in memory at a time.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub async fn plan(&self, app: &App, file: &Held, range: Option<(u64, u64)>) -> Result<Plan, XetError> {
        let (start, end) = range.unwrap_or((0, file.size));
        let end = end.min(file.size);
        if start >= end && (file.size > 0 || start > 0) {
            return Err(PlanError::OutOfRange { start, file_bytes: file.size }.into());
        }
        let mut whole = Plan { offset_into_first_range: 0, start, end, terms: Vec::new(), fetches: Vec::new() };
        let mut needed: BTreeMap<XetHash, Vec<Fetch>> = BTreeMap::new();
        let mut tables = Tables::of(&app.db, &app.blobs, self.repo()).await?;
        let mut at = 0;
        for segment in &file.segments {
            let begin = at;
            at += u64::from(segment.unpacked_bytes);
            if at <= start || begin >= end {
                continue;
            }
            let stored = tables.get(&segment.xorb).await?;
            let part = Some((start.max(begin) - begin, end.min(at) - begin));
            let part = plan(std::slice::from_ref(segment), |_| Some(&stored.chunks[..]), part)?;
            if whole.terms.is_empty() {
                whole.offset_into_first_range = part.offset_into_first_range;
            }
            whole.terms.extend(part.terms);
            for XorbFetches { xorb, ranges } in part.fetches {
                needed.entry(xorb).or_default().extend(ranges);
            }
        }
        whole.fetches = needed.into_iter().map(|(xorb, ranges)| XorbFetches { xorb, ranges: joined(ranges) }).collect();
        Ok(whole)
    }
}

/// Joins ranges that touch or overlap.
fn joined(mut ranges: Vec<Fetch>) -> Vec<Fetch> {
    ranges.sort_unstable_by_key(|fetch| fetch.chunks);
    let mut all: Vec<Fetch> = Vec::with_capacity(ranges.len());
    for next in ranges {
        match all.last_mut() {
            Some(last) if next.chunks.start <= last.chunks.end => {
                if next.chunks.end > last.chunks.end {
                    last.chunks.end = next.chunks.end;
                    last.bytes.end = next.bytes.end;
                }
            }
            _ => all.push(next),
        }
    }
    all
}
