//! Looking through a bundle without a hub: who signed it, what is in it, and whether all of it is whole.
//!
//! That the history is whole is for git to say, where the bundle is taken: here its pack is compared with the signed manifest.

use std::collections::HashMap;

use allmende_formats::bundle::{BundleFile, Place};
use allmende_formats::xet::XetHash;
use allmende_formats::xet::tree::TreeHasher;
use allmende_formats::xet::xorb::Validator;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::MirrorError;
use super::apply::{Opened, Taker};
use super::manifest::SentXorb;
use crate::xet::XetError;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 18;

/// What is in a bundle whose every byte was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleReport {
    /// The hub that made it.
    pub hub: String,
    /// The key that signed it.
    pub signer: String,
    /// `owner/name` there.
    pub repository: String,
    /// What it holds, as in `model`.
    pub kind: String,
    /// When, in milliseconds since 1970.
    pub made_at: i64,
    /// Whether its branches and tags are all that the repository has.
    pub whole: bool,
    /// The commits that its receiver must have.
    pub since: Vec<String>,
    /// Branches and tags: name and object.
    pub refs: Vec<(String, String)>,
    /// Bytes of the history.
    pub pack_bytes: u64,
    /// Large files.
    pub large_files: u64,
    /// Their bytes, before any chunk is left out.
    pub large_bytes: u64,
    /// Xorbs.
    pub xorbs: u64,
    /// Their bytes.
    pub chunk_bytes: u64,
    /// Large files that lean upon what the receiver has: their last check is made where they are taken.
    pub leaning_files: u64,
}

/// Keeps the hashes of chunks: 40 bytes for each, of some 64 KiB.
#[derive(Default)]
struct Chunks(HashMap<XetHash, Vec<(XetHash, u32)>>);

impl Taker for Chunks {
    async fn pack(&mut self, _: &mut (dyn AsyncRead + Unpin + Send)) -> Result<(), MirrorError> {
        // It is read to its end and compared in any case.
        Ok(())
    }

    async fn xorb(&mut self, xorb: &SentXorb, bytes: &mut (dyn AsyncRead + Unpin + Send)) -> Result<(), MirrorError> {
        let (mut validator, mut piece) = (Validator::new(), vec![0; PIECE_BYTES]);
        loop {
            let read = bytes.read(&mut piece).await?;
            if read == 0 {
                break;
            }
            let checked = tokio::task::spawn_blocking(move || {
                let pushed = validator.push(&piece[..read]);
                pushed.map(|()| (validator, piece))
            });
            (validator, piece) = checked.await.map_err(XetError::from)?.map_err(XetError::from)?;
        }
        let found = validator.finish(Some(&xorb.hash)).map_err(XetError::from)?;
        self.0.insert(xorb.hash, found.chunks.iter().map(|c| (c.hash, c.unpacked_bytes)).collect());
        Ok(())
    }
}

impl Chunks {
    /// Whether all of the file is here; then it was checked.
    fn check(&self, file: &BundleFile) -> Result<bool, MirrorError> {
        let mut tree = TreeHasher::new();
        for part in &file.parts {
            let Place::Xorb(hash) = part.place else { return Ok(false) };
            let Some(chunks) = self.0.get(&hash) else { return Ok(false) };
            // A part of a xorb has no more chunks than a xorb.
            let first = usize::try_from(part.first).unwrap_or(usize::MAX);
            let own = chunks.get(first..first.saturating_add(part.chunks as usize));
            let own =
                own.ok_or_else(|| MirrorError::Refused(format!("xorb {hash} has fewer chunks than a file cites")))?;
            own.iter().for_each(|(hash, bytes)| tree.push(*hash, u64::from(*bytes)));
        }
        if tree.bytes() == file.bytes && tree.file_hash() == file.hash {
            return Ok(true);
        }
        let name = allmende_core::digest::Digest(file.sha256).short();
        Err(MirrorError::Refused(format!("the chunks of the large file {name} make another file")))
    }
}

/// Looks through a bundle to its end.
///
/// # Errors
/// [`MirrorError`] names the first thing that is wrong.
pub async fn inspect(input: impl AsyncRead + Unpin + Send) -> Result<BundleReport, MirrorError> {
    let mut opened = Opened::read(input).await?;
    let mut chunks = Chunks::default();
    let files = opened.through(&mut chunks).await?;
    let mut leaning_files = 0;
    for file in &files {
        leaning_files += u64::from(!chunks.check(file)?);
    }
    let Opened { manifest, signer, refs, .. } = opened;
    Ok(BundleReport {
        signer: signer.to_string(),
        made_at: manifest.made_at.0,
        refs: refs.into_iter().map(|tip| (tip.name, tip.oid.to_string())).collect(),
        pack_bytes: manifest.pack.bytes,
        large_files: manifest.large_files,
        large_bytes: manifest.large_bytes,
        xorbs: manifest.xorbs.len() as u64,
        chunk_bytes: manifest.xorb_bytes(),
        leaning_files,
        whole: manifest.whole,
        hub: manifest.hub,
        repository: manifest.repository.name,
        kind: manifest.repository.kind,
        since: manifest.since,
    })
}
