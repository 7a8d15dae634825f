//! Shards from clients: what files are made of, believed when it was computed again.

use std::collections::HashSet;

use allmende_core::digest::{Digest, Hasher};
use allmende_formats::xet::XetHash;
use allmende_formats::xet::hash::range_hash;
use allmende_formats::xet::shard::{Entry, Error, FileInfo, Segment, ShardReader, XorbInfo};
use allmende_formats::xet::tree::TreeHasher;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};

use super::read::{Tables, bytes};
use super::store::{self, Held};
use super::{Session, XetError};
use crate::app::App;
use crate::blobs::BlobError;
use crate::repo::{large, quota};
use crate::transaction;

/// The entries of a shard, of which nothing is believed yet. At most as long as a shard may be.
#[derive(Debug, Default)]
pub struct Claims {
    files: Vec<FileInfo>,
    xorbs: Vec<XorbInfo>,
}

impl Claims {
    /// Reads a shard.
    ///
    /// # Errors
    /// [`XetError::Shard`].
    pub async fn read<E: std::error::Error + Send + Sync + 'static>(
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Self, XetError> {
        let mut body = std::pin::pin!(body);
        let (mut reader, mut claims) = (ShardReader::new(), Self::default());
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| BlobError::Input(e.into()))?;
            reader.push(&piece, |entry| {
                match entry {
                    Entry::File(file) => claims.files.push(file),
                    Entry::Xorb(xorb) => claims.xorbs.push(xorb),
                }
                Ok::<_, Error>(())
            })?;
        }
        reader.finish()?;
        Ok(claims)
    }

    /// The claim that this is what a file is made of.
    #[must_use]
    pub fn of(file: FileInfo) -> Self {
        Self { files: vec![file], xorbs: Vec::new() }
    }

    /// How many claims there are to check.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len() + self.xorbs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn no(text: impl Into<String>) -> XetError {
    XetError::False(text.into())
}

/// Clients remember for weeks what they sent, also what was deleted here since.
fn missing(xorb: &XetHash) -> String {
    format!(
        "xorb {xorb} is not in this repository. If it was deleted here, let your client forget that it once sent it: delete \
         the folder 'xet' in its cache (~/.cache/huggingface), and send the file again"
    )
}

impl Session {
    /// Checks all claims, calling `checked` after each, then registers the files. Says whether one of them is new.
    ///
    /// # Errors
    /// [`XetError::False`] for the first claim that does not hold; nothing is registered then.
    pub async fn register(
        &self,
        app: &App,
        claims: Claims,
        mut checked: impl FnMut() + Send,
    ) -> Result<bool, XetError> {
        let mut tables = Tables::of(&app.db, &app.blobs, self.repo()).await?;
        for xorb in &claims.xorbs {
            self.check_xorb(app, &mut tables, xorb).await?;
            checked();
        }
        // Many small files lie in one xorb: it is asked for once.
        let mut citable = HashSet::new();
        let mut files = Vec::with_capacity(claims.files.len());
        for file in claims.files {
            files.push(self.check_file(app, &mut tables, &mut citable, file).await?);
            checked();
        }
        let now = app.clock.now();
        let domain = tables.domain();
        transaction!(app.db, tx => {
            large::settle(tx, self.repo()).await?;
            quota::require(tx, domain, 0, app.config.default_quota_bytes).await?;
            let mut is_new = false;
            for (file, first) in &files {
                is_new |= store::put_file(tx, self.repo(), domain, file).await?;
                if let (Some(first), Some(segment)) = (first, file.segments.first()) {
                    store::put_chunk(tx, domain, first, &segment.xorb).await?;
                }
                large::hold(tx, self.repo(), &file.sha256, file.size, Some(&file.hash), now).await?;
            }
            Ok::<_, XetError>(is_new)
        })
    }

    async fn check_xorb(&self, app: &App, tables: &mut Tables, claimed: &XorbInfo) -> Result<(), XetError> {
        if !self.may_cite(app, tables.domain(), &claimed.hash).await? {
            return Err(no(missing(&claimed.hash)));
        }
        let stored = tables.get(&claimed.hash).await?;
        let same = stored.chunks.len() == claimed.chunks.len()
            && stored
                .chunks
                .iter()
                .zip(&claimed.chunks)
                .all(|(a, b)| (a.hash, a.unpacked_bytes) == (b.hash, b.unpacked_bytes));
        if same { Ok(()) } else { Err(no(format!("xorb {} has other chunks", claimed.hash))) }
    }

    async fn check_file(
        &self,
        app: &App,
        tables: &mut Tables,
        citable: &mut HashSet<XetHash>,
        claimed: FileInfo,
    ) -> Result<(Held, Option<XetHash>), XetError> {
        let FileInfo { hash, segments, sha256 } = claimed;
        let standing = store::file(&mut *app.db.read().await?, self.repo(), &hash).await?;
        if let Some(held) = standing {
            // It was computed when it came, and the same hash is the same bytes.
            return if sha256.is_none_or(|sha256| sha256 == held.sha256.0) {
                Ok((held, None))
            } else {
                Err(no(format!("file {hash} has the SHA-256 {}", held.sha256.hex())))
            };
        }
        let size: u64 = segments.iter().map(|s| u64::from(s.unpacked_bytes)).sum();
        if size > app.config.max_blob_bytes {
            return Err(BlobError::TooLarge { max_bytes: app.config.max_blob_bytes }.into());
        }
        let (mut tree, mut first) = (TreeHasher::new(), None);
        for segment in &segments {
            if !citable.contains(&segment.xorb) {
                if !self.may_cite(app, tables.domain(), &segment.xorb).await? {
                    return Err(no(format!("file {hash}: {}", missing(&segment.xorb))));
                }
                citable.insert(segment.xorb);
            }
            let stored = tables.get(&segment.xorb).await?;
            let own = stored.chunks.get(segment.chunk_start as usize..segment.chunk_end as usize);
            let own =
                own.ok_or_else(|| no(format!("xorb {} has fewer chunks than file {hash} cites", segment.xorb)))?;
            let bytes: u64 = own.iter().map(|c| u64::from(c.unpacked_bytes)).sum();
            if bytes != u64::from(segment.unpacked_bytes) {
                return Err(no(format!("a segment of file {hash} has {bytes} bytes")));
            }
            let proof = range_hash(own.iter().map(|c| &c.hash));
            // Without it the hash of the whole file shows that the sender has the chunks, though not which.
            if segment.range_hash.is_some_and(|claimed| claimed != proof) {
                return Err(no(format!("a range hash of file {hash} is wrong")));
            }
            first = first.or(own.first().map(|c| c.hash));
            own.iter().for_each(|c| tree.push(c.hash, c.unpacked_bytes.into()));
        }
        let found = tree.file_hash();
        if found != hash {
            return Err(no(format!("the chunks of file {hash} make file {found}")));
        }
        let digest = digest(tables.clone(), &segments, size).await?;
        if sha256.is_some_and(|claimed| claimed != digest.0) {
            return Err(no(format!("file {hash} has the SHA-256 {}", digest.hex())));
        }
        Ok((Held { hash, sha256: digest, size, segments }, first))
    }
}

/// Reads a file once: a commit knows it by this digest, and a false one would give it another's name.
async fn digest(tables: Tables, segments: &[Segment], size: u64) -> Result<Digest, XetError> {
    let all = bytes(tables, segments.to_vec(), 0..size);
    let folded = all.try_fold(Hasher::default(), async |mut hasher, piece| {
        Ok(tokio::task::spawn_blocking(move || {
            hasher.update(&piece);
            hasher
        })
        .await?)
    });
    Ok(folded.await?.finish())
}
