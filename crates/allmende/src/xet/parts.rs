//! Large files on their way to another hub: what the other side lacks, chunk by chunk, and putting it together there.
//!
//! Architecture invariant: what leaves are the chunks that the files cite, never the rest of the xorbs they lie in: others'
//! files may lie there too.

use std::collections::BTreeMap;
use std::ops::Range;

use allmende_core::digest::Digest;
use allmende_formats::bundle::{BundleFile, Part, Place};
use allmende_formats::xet::XetHash;
use allmende_formats::xet::shard::{FileInfo, Segment};
use allmende_formats::xet::tree::xorb_hash;
use allmende_formats::xet::xorb::{CHUNK_HEADER_BYTES, Validator};
use futures::TryStreamExt as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::read::Tables;
use super::shard::Claims;
use super::store::{self, Held};
use super::table::Stored;
use super::{Session, XetError};
use crate::app::App;
use crate::blobs::BlobError;
use crate::repo::{Repo, large};

/// The chunks of one stored xorb that leave: a xorb of its own.
#[derive(Debug, Clone)]
pub struct Cut {
    source: XetHash,
    ranges: Vec<Range<u32>>,
    /// Its hash; the source's where all of it leaves.
    pub hash: XetHash,
    /// Its bytes.
    pub bytes: u64,
}

/// Files, divided into what leaves and what the receiver has.
#[derive(Debug, Default)]
pub struct Divided {
    /// The files, by SHA-256.
    pub files: Vec<BundleFile>,
    /// What leaves.
    pub xorbs: Vec<Cut>,
}

/// Ranges of the chunks of one xorb, none overlapping another; each knows in which file it stands, and where.
#[derive(Debug, Default)]
struct Cover(BTreeMap<u32, (u32, XetHash, u64)>);

/// A piece of a range, and the file and the place in it where the other side has it.
type Piece = (Range<u32>, Option<(XetHash, u64)>);

impl Cover {
    fn split(&self, range: Range<u32>) -> Vec<Piece> {
        let (mut pieces, mut at) = (Vec::new(), range.start);
        let before = self.0.range(..=at).next_back();
        let inside = self.0.range(at.saturating_add(1)..range.end);
        for (&start, &(end, file, first)) in before.into_iter().chain(inside) {
            if end <= at {
                continue;
            }
            if start > at {
                pieces.push((at..start, None));
                at = start;
            }
            let stop = end.min(range.end);
            pieces.push((at..stop, Some((file, first + u64::from(at - start)))));
            at = stop;
        }
        if at < range.end {
            pieces.push((at..range.end, None));
        }
        pieces
    }

    fn add(&mut self, range: Range<u32>, file: XetHash, first: u64) {
        for (piece, known) in self.split(range.clone()) {
            if known.is_none() {
                self.0.insert(piece.start, (piece.end, file, first + u64::from(piece.start - range.start)));
            }
        }
    }

    /// Its ranges, those that touch joined.
    fn ranges(&self) -> Vec<Range<u32>> {
        let mut all: Vec<Range<u32>> = Vec::new();
        for (&start, &(end, ..)) in &self.0 {
            match all.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => all.push(start..end),
            }
        }
        all
    }
}

/// The place of a chunk among those of the ranges.
fn place_in(ranges: &[Range<u32>], chunk: u32) -> u64 {
    let mut before = 0;
    for range in ranges {
        if range.contains(&chunk) {
            return before + u64::from(chunk - range.start);
        }
        before += u64::from(range.end - range.start);
    }
    before
}

/// What the large file of this digest is made of, if `repo` holds it.
///
/// # Errors
/// [`XetError::Db`].
pub async fn held(app: &App, repo: &Repo, sha256: &Digest) -> Result<Option<Held>, XetError> {
    let mut connection = app.db.read().await?;
    match large::xet(&mut connection, repo, &sha256.hex()).await? {
        Some(hash) => Ok(store::file(&mut connection, repo, &hash).await?),
        None => Ok(None),
    }
}

/// Divides the files `new` for a receiver who has the files `old`. Memory: what all of them are made of, and one list of
/// chunks.
///
/// # Errors
/// [`XetError`] when a xorb is gone.
pub async fn divide(app: &App, repo: &Repo, mut new: Vec<Held>, old: &[Held]) -> Result<Divided, XetError> {
    let mut known: BTreeMap<XetHash, Cover> = BTreeMap::new();
    for file in old {
        let mut first = 0;
        for segment in &file.segments {
            let range = segment.chunk_start..segment.chunk_end;
            known.entry(segment.xorb).or_default().add(range, file.hash, first);
            first += u64::from(segment.chunk_end - segment.chunk_start);
        }
    }
    let nothing = Cover::default();
    let split =
        |segment: &Segment| known.get(&segment.xorb).unwrap_or(&nothing).split(segment.chunk_start..segment.chunk_end);
    let mut needed: BTreeMap<XetHash, Cover> = BTreeMap::new();
    for segment in new.iter().flat_map(|file| &file.segments) {
        for (piece, _) in split(segment).into_iter().filter(|(_, known)| known.is_none()) {
            needed.entry(segment.xorb).or_default().add(piece, XetHash::ZERO, 0);
        }
    }
    let domain = store::domain(&mut *app.db.read().await?, repo).await?;
    let mut cuts = BTreeMap::new();
    for (source, cover) in needed {
        let stored = stored(app, &domain, &source).await?;
        let ranges = cover.ranges();
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for range in &ranges {
            let own = stored.chunks.get(range.start as usize..range.end as usize).ok_or(XetError::NotFound("xorb"))?;
            bytes += own.iter().map(|c| CHUNK_HEADER_BYTES as u64 + u64::from(c.packed_bytes)).sum::<u64>();
            chunks.extend(own.iter().map(|c| (c.hash, u64::from(c.unpacked_bytes))));
        }
        cuts.insert(source, Cut { source, ranges, hash: xorb_hash(chunks), bytes });
    }
    new.sort_unstable_by_key(|file| file.sha256.0);
    new.dedup_by_key(|file| file.sha256.0);
    let files = new.into_iter().map(|file| {
        let mut parts: Vec<Part> = Vec::new();
        for segment in &file.segments {
            for (piece, known) in split(segment) {
                let chunks = piece.end - piece.start;
                let (place, first) = match (known, cuts.get(&segment.xorb)) {
                    (Some((file, first)), _) => (Place::File(file), first),
                    // What nobody has is needed, so it is among the cuts.
                    (None, cut) => {
                        let (ranges, hash) = cut.map_or((&[][..], segment.xorb), |cut| (&cut.ranges[..], cut.hash));
                        (Place::Xorb(hash), place_in(ranges, piece.start))
                    }
                };
                match parts.last_mut() {
                    Some(last) if last.place == place && last.first + u64::from(last.chunks) == first => {
                        last.chunks += chunks;
                    }
                    _ => parts.push(Part { place, first, chunks }),
                }
            }
        }
        BundleFile { hash: file.hash, sha256: file.sha256.0, bytes: file.size, parts }
    });
    Ok(Divided { files: files.collect(), xorbs: cuts.into_values().collect() })
}

async fn stored(app: &App, domain: &str, xorb: &XetHash) -> Result<Stored, XetError> {
    let found = store::xorb(&mut *app.db.read().await?, domain, xorb).await?;
    found.ok_or(XetError::NotFound("xorb"))
}

/// Writes the bytes of a cut, every chunk checked.
///
/// # Errors
/// [`XetError::Xorb`] when what is stored is damaged: what was written is of no use then.
pub async fn write(app: &App, repo: &Repo, cut: &Cut, into: &mut (impl AsyncWrite + Unpin)) -> Result<(), XetError> {
    let domain = store::domain(&mut *app.db.read().await?, repo).await?;
    let stored = stored(app, &domain, &cut.source).await?;
    let mut validator = Validator::new();
    for range in &cut.ranges {
        let own = stored.chunks.get(range.start as usize..range.end as usize).unwrap_or_default();
        let (Some(first), Some(last)) = (own.first(), own.last()) else { continue };
        let mut pieces = app.blobs.open_named(&stored.name, first.start.into()..last.end().into()).await?;
        while let Some(piece) = pieces.try_next().await? {
            let read = piece.clone();
            validator = tokio::task::spawn_blocking(move || validator.push(&read).map(|()| validator)).await??;
            into.write_all(&piece).await.map_err(|e| BlobError::Input(e.into()))?;
        }
    }
    validator.finish(Some(&cut.hash))?;
    Ok(())
}

/// Appends a range of the chunks of a xorb to what a file is made of.
fn append(segments: &mut Vec<Segment>, stored: &Stored, range: Range<u32>) -> Result<(), XetError> {
    let own = stored.chunks.get(range.start as usize..range.end as usize);
    let own = own.ok_or_else(|| XetError::False(format!("xorb {} has fewer chunks than are cited", stored.hash)))?;
    let bytes: u64 = own.iter().map(|c| u64::from(c.unpacked_bytes)).sum();
    // The chunks of a xorb have at most 64 MiB.
    let unpacked_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let (chunk_start, chunk_end) = (range.start, range.end);
    segments.push(Segment { xorb: stored.hash, unpacked_bytes, chunk_start, chunk_end, range_hash: None });
    Ok(())
}

impl Session {
    /// Puts a file together of what the repository holds, and registers it once hash, size and SHA-256 were computed from its
    /// bytes. One that it holds already is kept.
    ///
    /// # Errors
    /// [`XetError::False`] when something is missing or is not what it should be; nothing is registered then.
    pub async fn put_together(&self, app: &App, file: &BundleFile) -> Result<(), XetError> {
        let (repo, sha256) = (self.repo(), Digest(file.sha256));
        if large::cite(&app.db, repo, &sha256).await? == Some(file.bytes) && held(app, repo, &sha256).await?.is_some() {
            return Ok(());
        }
        let name = sha256.short();
        let mut tables = Tables::of(&app.db, &app.blobs, repo).await?;
        let mut segments = Vec::with_capacity(file.parts.len());
        for part in &file.parts {
            match part.place {
                Place::Xorb(hash) => {
                    if !store::holds(&mut *app.db.read().await?, repo, &hash).await? {
                        let text =
                            format!("the large file {name} needs xorb {hash}, which is not here and was not sent");
                        return Err(XetError::False(text));
                    }
                    // Both are at most the chunks of a xorb.
                    let first = u32::try_from(part.first).unwrap_or(u32::MAX);
                    let range = first..first.saturating_add(part.chunks);
                    append(&mut segments, &*tables.get(&hash).await?, range)?;
                }
                Place::File(hash) => {
                    let standing = store::file(&mut *app.db.read().await?, repo, &hash).await?;
                    let standing = standing.ok_or_else(|| {
                        XetError::False(format!(
                            "the large file {name} builds upon file {hash}, which this repository does not hold: bring what it \
                             is based on first"
                        ))
                    })?;
                    let (mut at, end) = (0_u64, part.first + u64::from(part.chunks));
                    for segment in &standing.segments {
                        let after = at + u64::from(segment.chunk_end - segment.chunk_start);
                        let (from, to) = (part.first.max(at), end.min(after));
                        if from < to {
                            // Inside the segment.
                            let place = |chunk: u64| segment.chunk_start + (chunk - at) as u32;
                            append(&mut segments, &*tables.get(&segment.xorb).await?, place(from)..place(to))?;
                        }
                        at = after;
                    }
                    if at < end {
                        return Err(XetError::False(format!(
                            "file {hash} has fewer chunks than the large file {name} cites"
                        )));
                    }
                }
            }
        }
        let bytes: u64 = segments.iter().map(|s| u64::from(s.unpacked_bytes)).sum();
        if bytes != file.bytes {
            return Err(XetError::False(format!(
                "the parts of the large file {name} have {bytes} bytes, not {}",
                file.bytes
            )));
        }
        let info = FileInfo { hash: file.hash, segments, sha256: Some(file.sha256) };
        self.register(app, Claims::of(info), || {}).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_split_by_what_is_known() {
        let file = XetHash::from_bytes([1; 32]);
        let mut cover = Cover::default();
        cover.add(10..20, file, 100);
        cover.add(15..30, file, 500);
        assert_eq!(cover.ranges(), vec![10..30; 1]);
        let known = |first| Some((file, first));
        assert_eq!(cover.split(0..5), [(0..5, None)]);
        assert_eq!(cover.split(5..12), [(5..10, None), (10..12, known(100))]);
        assert_eq!(cover.split(18..35), [(18..20, known(108)), (20..30, known(505)), (30..35, None)]);
        cover.add(0..3, file, 0);
        assert_eq!((cover.ranges(), place_in(&cover.ranges(), 12)), (vec![0..3, 10..30], 5));
    }
}
