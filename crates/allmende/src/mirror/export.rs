//! Making a bundle: for a place without a network, or for a mirror that says what it has.

use std::collections::{BTreeMap, HashSet};

use allmende_core::digest::{Digest, Hasher};
use allmende_formats::bundle::{
    BundleRef, HEAD_BYTES, Head, MAGIC, MAX_FILES_BYTES, MAX_MANIFEST_BYTES, MAX_REFS_BYTES, Section, write_files,
    write_refs,
};
use allmende_formats::xet::XetHash;
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::{InspectWriter, ReaderStream};

use super::MirrorError;
use super::manifest::{Bytes, FORMAT, MAX_SINCE, Manifest, SentXorb, SourceRepository};
use crate::app::App;
use crate::git::copy::Tip;
use crate::git::reach::History;
use crate::git::{GitError, GitRepo, Oid};
use crate::repo::Repo;
use crate::repo::ops::Seen;
use crate::xet::Held;
use crate::xet::parts::{self, Cut};

/// Most commits that a mirror says it has.
pub const MAX_HAVE: usize = 200;
/// Bytes that wait for a slow reader.
const PIPE_BYTES: usize = 1 << 18;

/// What somebody wants of a repository. Nothing at all is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// One branch or tag; all of them if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Commits, branches or tags that the receiver has, with all large files that they lead to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub since: Vec<String>,
    /// What the receiver, a mirror, has as well, as far as it is known here: commits and tags by their ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub have: Vec<String>,
    /// Large files that the receiver has, by SHA-256 (`sha256:…`). Without this list it has those that `since` leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub files: Option<Vec<Digest>>,
    /// Xorbs that the receiver has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub xorbs: Vec<XetHash>,
    /// SHA-256 of the branches and tags that the receiver has: nothing is sent if they are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub refs: Option<Digest>,
}

/// A bundle that is ready to be sent.
pub struct Outgoing {
    repo: Repo,
    manifest: Vec<u8>,
    refs: Vec<u8>,
    pack: tokio::fs::File,
    pack_bytes: u64,
    files: Vec<u8>,
    xorbs: Vec<Cut>,
}

/// Branches and tags as bundles list them.
#[must_use]
pub fn listed(tips: &[Tip]) -> Vec<u8> {
    let mut refs: Vec<BundleRef> =
        tips.iter().map(|tip| BundleRef { name: tip.name.clone(), oid: tip.oid.to_string() }).collect();
    refs.sort_by(|a, b| a.name.cmp(&b.name));
    write_refs(&refs)
}

/// Every pointer of a history: SHA-256 and size.
async fn pointers(git: &GitRepo, history: History<'_>) -> Result<BTreeMap<Digest, u64>, GitError> {
    let mut found = BTreeMap::new();
    git.cited(history, |cited| {
        if let Ok(sha256) = format!("sha256:{}", cited.pointer.sha256).parse() {
            found.insert(sha256, cited.pointer.size);
        }
    })
    .await?;
    Ok(found)
}

/// The files of these that the repository holds: what was deleted here leaves no bytes.
async fn held(app: &App, repo: &Repo, files: BTreeMap<Digest, u64>) -> Result<Vec<Held>, MirrorError> {
    let mut found = Vec::with_capacity(files.len());
    for (sha256, size) in files {
        found.extend(parts::held(app, repo, &sha256).await?.filter(|file| file.size == size));
    }
    Ok(found)
}

/// What the receiver has, of the commits and tags that it names.
async fn base(git: &GitRepo, wanted: &Wanted) -> Result<Vec<Oid>, MirrorError> {
    let mut base = Vec::new();
    for revision in &wanted.since {
        let commit = git.resolve(revision).await?;
        if !git.is_led_to(commit).await? {
            return Err(GitError::NoRevision(revision.clone()).into());
        }
        base.push(commit);
    }
    let have: Vec<Oid> = wanted.have.iter().filter_map(|oid| oid.parse().ok()).collect();
    for (oid, kind) in have.iter().zip(git.kinds(&have).await?) {
        if kind.is_some() && git.is_led_to(*oid).await? {
            base.push(*oid);
        }
    }
    base.sort_unstable();
    base.dedup();
    Ok(base)
}

/// Makes a bundle of a repository whose files the caller may read and may take out of its terms. Nothing if the receiver has
/// all there is. Memory: what the large files are made of; the pack lies on the disk.
///
/// # Errors
/// [`MirrorError`]; [`GitError::NoRevision`] when something that is named is not there.
pub async fn make(app: &App, seen: &Seen, wanted: &Wanted) -> Result<Option<Outgoing>, MirrorError> {
    let (git, repo) = (seen.git(app), &seen.repo);
    if wanted.since.len() > MAX_SINCE - MAX_HAVE || wanted.have.len() > MAX_HAVE {
        return Err(MirrorError::Bad(format!("at most {MAX_HAVE} commits are named at once")));
    }
    let mut tips = git.tips(&["refs/heads", "refs/tags"]).await?;
    if let Some(revision) = &wanted.revision {
        let named = |tip: &Tip| {
            ["refs/heads/", "refs/tags/"].iter().any(|place| tip.name.strip_prefix(place) == Some(revision))
        };
        tips.retain(named);
        if tips.is_empty() {
            return Err(GitError::NoRevision(revision.chars().take(200).collect()).into());
        }
    }
    let refs = listed(&tips);
    if refs.len() as u64 > MAX_REFS_BYTES {
        return Err(MirrorError::Bad("it has more branches and tags than a bundle holds: name one".to_owned()));
    }
    if wanted.refs == Some(Digest::of(&refs)) {
        return Ok(None);
    }
    let base = base(&git, wanted).await?;
    let heads: Vec<Oid> = tips.iter().map(|tip| tip.oid).collect();
    let mut new = pointers(&git, History::Of { tips: &heads, but: &base }).await?;
    let old = match &wanted.files {
        // What it says counts as far as this repository's own history has it.
        Some(files) => {
            let all: Vec<Oid> = heads.iter().chain(&base).copied().collect();
            let has: HashSet<&Digest> = files.iter().collect();
            let mut own = pointers(&git, History::Of { tips: &all, but: &[] }).await?;
            own.retain(|sha256, _| has.contains(sha256));
            own
        }
        None => pointers(&git, History::Of { tips: &base, but: &[] }).await?,
    };
    new.retain(|sha256, _| !old.contains_key(sha256));
    let (new, old) = (held(app, repo, new).await?, held(app, repo, old).await?);
    let (large_files, large_bytes) = (new.len() as u64, new.iter().map(|file| file.size).sum());
    let mut divided = parts::divide(app, repo, new, &old).await?;
    let has: HashSet<&XetHash> = wanted.xorbs.iter().collect();
    divided.xorbs.retain(|cut| !has.contains(&cut.hash));
    let files = write_files(&divided.files);
    let (pack, packed) = pack(app, &git, &tips, &base).await?;
    let manifest = Manifest {
        format: FORMAT,
        hub: app.config.name.clone(),
        repository: SourceRepository {
            id: repo.id.clone(),
            kind: repo.kind.as_str().to_owned(),
            name: repo.full_name(),
        },
        made_at: app.clock.now(),
        whole: wanted.revision.is_none(),
        since: base.iter().map(ToString::to_string).collect(),
        refs: Bytes::of(&refs),
        pack: packed,
        files: Bytes::of(&files),
        large_files,
        large_bytes,
        xorbs: divided.xorbs.iter().map(|cut| SentXorb { bytes: cut.bytes, hash: cut.hash }).collect(),
    };
    let pack_bytes = manifest.pack.bytes;
    let manifest = manifest.seal(&app.hub_key)?;
    if files.len() as u64 > MAX_FILES_BYTES || manifest.len() as u64 > MAX_MANIFEST_BYTES {
        let text =
            "it has more large files than one bundle holds: export one branch after the other, each since the last";
        return Err(MirrorError::Bad(text.to_owned()));
    }
    let repo = repo.clone();
    Ok(Some(Outgoing { repo, manifest, refs, pack, pack_bytes, files, xorbs: divided.xorbs }))
}

/// Writes the pack to a file without a name, which is gone when nobody has it open any more.
async fn pack(app: &App, git: &GitRepo, tips: &[Tip], base: &[Oid]) -> Result<(tokio::fs::File, Bytes), MirrorError> {
    let dir = app.config.data_dir.clone();
    let made = async {
        let file =
            tokio::task::spawn_blocking(move || tempfile::tempfile_in(dir)).await.map_err(std::io::Error::other)??;
        let mut hasher = Hasher::default();
        let mut into = InspectWriter::new(tokio::fs::File::from_std(file), |bytes| hasher.update(bytes));
        let bytes = git.pack_since(tips, base).await?.write(&mut into).await?;
        into.flush().await?;
        let mut file = into.into_inner();
        file.rewind().await?;
        Ok::<_, GitError>((file, Bytes { bytes, sha256: hasher.finish() }))
    };
    // What this disk does wrong is no fault of the caller's.
    Ok(made.await?)
}

impl Outgoing {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let xorbs: u64 = self.xorbs.iter().map(|cut| HEAD_BYTES as u64 + cut.bytes).sum();
        let lists = self.manifest.len() + self.refs.len() + self.files.len() + MAGIC.len() + 5 * HEAD_BYTES;
        lists as u64 + self.pack_bytes + xorbs
    }

    /// Sends it while it is read, and holds `slot` that long. What breaks off on the way is shorter than was announced.
    pub fn stream(
        self,
        app: &App,
        slot: OwnedSemaphorePermit,
    ) -> impl Stream<Item = std::io::Result<bytes::Bytes>> + use<> {
        let (mut into, out) = tokio::io::duplex(PIPE_BYTES);
        let app = app.clone();
        let closing = app.closing.clone();
        app.tasks.clone().spawn(async move {
            let _slot = slot;
            let written = tokio::select! {
                written = self.write(&app, &mut into) => written,
                () = closing.cancelled() => return,
            };
            if let Err(error) = written {
                tracing::warn!(%error, "a bundle broke off");
            }
        });
        ReaderStream::with_capacity(out, PIPE_BYTES)
    }

    async fn write(mut self, app: &App, into: &mut (impl AsyncWrite + Unpin)) -> Result<(), MirrorError> {
        into.write_all(&MAGIC).await?;
        for (section, bytes) in [(Section::Manifest, &self.manifest), (Section::Refs, &self.refs)] {
            into.write_all(&Head { section, bytes: bytes.len() as u64 }.to_bytes()).await?;
            into.write_all(bytes).await?;
        }
        into.write_all(&Head { section: Section::Pack, bytes: self.pack_bytes }.to_bytes()).await?;
        tokio::io::copy(&mut self.pack, into).await?;
        into.write_all(&Head { section: Section::Files, bytes: self.files.len() as u64 }.to_bytes()).await?;
        into.write_all(&self.files).await?;
        for cut in &self.xorbs {
            into.write_all(&Head { section: Section::Xorb, bytes: cut.bytes }.to_bytes()).await?;
            parts::write(app, &self.repo, cut, into).await?;
        }
        into.write_all(&Head { section: Section::End, bytes: 0 }.to_bytes()).await?;
        Ok(into.shutdown().await?)
    }
}
