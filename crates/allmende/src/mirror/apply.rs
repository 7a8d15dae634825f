//! Taking a bundle, whether somebody brought it or a mirror fetched it: everything is checked before anything is seen.
//!
//! Refs move at the end, all or none. Xorbs and large files that came before a break stay, and are not sent again.

use allmende_core::digest::Hasher;
use allmende_core::signature::PublicKey;
use allmende_formats::bundle::{self, BundleFile, HEAD_BYTES, Head, Heads, MAGIC, Section};
use allmende_formats::xet::xorb::MAX_XORB_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::{InspectReader, ReaderStream};

use super::MirrorError;
use super::manifest::{Bytes, Manifest, SentXorb};
use crate::app::App;
use crate::content::pickle;
use crate::git::copy::Tip;
use crate::git::incoming::Incoming;
use crate::git::refs::{Change, is_valid_name};
use crate::git::{GitError, GitRepo, Oid};
use crate::repo::ops::Seen;
use crate::repo::push::{follow, look_at};
use crate::repo::{Repo, Right};
use crate::xet::Session;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 16;

/// A bundle whose beginning was read.
pub struct Opened<R> {
    /// What is in it, by who signed it.
    pub manifest: Manifest,
    /// Who signed it.
    pub signer: PublicKey,
    /// Its branches and tags.
    pub refs: Vec<Tip>,
    input: R,
    heads: Heads,
}

/// What came of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Branches and tags that moved.
    pub moved: Vec<Change>,
    /// Those of them that went elsewhere than onward, or away.
    pub rewritten: Vec<Change>,
    /// Bytes of xorbs that were new here.
    pub stored_bytes: u64,
    /// Large files that its history names and that its source did not have either.
    pub lacking: u64,
}

fn refused(text: impl Into<String>) -> MirrorError {
    MirrorError::Refused(text.into())
}

/// What breaks off while it is read.
fn cut(error: std::io::Error) -> MirrorError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return refused("the bundle is cut off: get it again");
    }
    MirrorError::Broken(error)
}

impl<R: AsyncRead + Unpin + Send> Opened<R> {
    /// Reads the manifest, and branches and tags.
    ///
    /// # Errors
    /// [`MirrorError::Refused`] when it is no bundle, or its signature is not its signer's.
    pub async fn read(mut input: R) -> Result<Self, MirrorError> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).await.map_err(cut)?;
        if magic != MAGIC {
            return Err(bundle::Error::Magic.into());
        }
        let mut heads = Heads::default();
        let head = head(&mut input, &mut heads).await?;
        let (manifest, signer) = Manifest::open(&all(&mut input, head.bytes).await?)?;
        let refs = section(&mut input, &mut heads, Section::Refs, &manifest.refs).await?;
        let tip = |r: bundle::BundleRef| match r.oid.parse() {
            Ok(oid) if is_valid_name(&r.name) && oid != Oid::ZERO => Ok(Tip { oid, name: r.name }),
            _ => Err(refused(format!("{:?} is no name of a branch or tag", r.name))),
        };
        let refs = bundle::read_refs(&refs)?.into_iter().map(tip).collect::<Result<_, _>>()?;
        Ok(Self { manifest, signer, refs, input, heads })
    }

    async fn next(&mut self, expected: Section) -> Result<Head, MirrorError> {
        let head = head(&mut self.input, &mut self.heads).await?;
        if head.section == expected {
            return Ok(head);
        }
        Err(refused("its sections are not those of its manifest"))
    }

    /// Gives the pack and each xorb to `taker`, all of it compared with the manifest, up to the end, behind which there is
    /// nothing. Gives the list of large files.
    ///
    /// # Errors
    /// What `taker` fails with; [`MirrorError::Refused`].
    pub async fn through(&mut self, taker: &mut impl Taker) -> Result<Vec<BundleFile>, MirrorError> {
        self.pack(taker).await?;
        let files = section(&mut self.input, &mut self.heads, Section::Files, &self.manifest.files).await?;
        let files = bundle::read_files(&files)?;
        if files.len() as u64 != self.manifest.large_files {
            return Err(refused("its large files are not those of its manifest"));
        }
        for xorb in self.manifest.xorbs.clone() {
            let head = self.next(Section::Xorb).await?;
            if xorb.bytes != head.bytes || head.bytes > MAX_XORB_BYTES {
                return Err(refused("its xorbs are not those of its manifest"));
            }
            let mut bytes = (&mut self.input).take(head.bytes);
            let taken = taker.xorb(&xorb, &mut bytes).await;
            if bytes.limit() > 0 {
                // It ended early, or it was refused before its end: that it ended is what to say.
                let rest = tokio::io::copy(&mut bytes, &mut tokio::io::sink()).await;
                if rest.is_ok() && bytes.limit() > 0 {
                    return Err(refused("the bundle is cut off: get it again"));
                }
            }
            taken?;
        }
        self.next(Section::End).await?;
        match self.input.read(&mut [0]).await {
            Ok(0) => Ok(files),
            Ok(_) => Err(refused("bytes follow the end of the bundle")),
            Err(error) => Err(cut(error)),
        }
    }

    async fn pack(&mut self, taker: &mut impl Taker) -> Result<(), MirrorError> {
        let head = self.next(Section::Pack).await?;
        let (mut hasher, mut bytes) = (Hasher::default(), 0);
        let mut pack = InspectReader::new((&mut self.input).take(head.bytes), |piece: &[u8]| {
            hasher.update(piece);
            bytes += piece.len() as u64;
        });
        let taken = taker.pack(&mut pack).await;
        // A pack that git refused early is read to its end: that it was cut off is what to say then.
        tokio::io::copy(&mut pack, &mut tokio::io::sink()).await.map_err(cut)?;
        if bytes < head.bytes {
            return Err(refused("the bundle is cut off: get it again"));
        }
        if (Bytes { bytes, sha256: hasher.finish() }) != self.manifest.pack {
            return Err(refused("its pack is not that of its manifest"));
        }
        taken
    }
}

/// Who takes what a bundle brings.
pub trait Taker: Send {
    /// Takes the pack.
    fn pack(
        &mut self,
        pack: &mut (dyn AsyncRead + Unpin + Send),
    ) -> impl Future<Output = Result<(), MirrorError>> + Send;

    /// Takes a xorb.
    fn xorb(
        &mut self,
        xorb: &SentXorb,
        bytes: &mut (dyn AsyncRead + Unpin + Send),
    ) -> impl Future<Output = Result<(), MirrorError>> + Send;
}

/// A repository takes it, where nobody sees it yet.
struct Landing<'a> {
    app: &'a App,
    session: Session,
    incoming: Incoming,
    stored_bytes: u64,
}

impl Taker for Landing<'_> {
    async fn pack(&mut self, mut pack: &mut (dyn AsyncRead + Unpin + Send)) -> Result<(), MirrorError> {
        Ok(self.incoming.take(&mut pack, self.app.config.max_push_bytes).await?)
    }

    async fn xorb(&mut self, xorb: &SentXorb, bytes: &mut (dyn AsyncRead + Unpin + Send)) -> Result<(), MirrorError> {
        let pieces = ReaderStream::with_capacity(bytes, PIECE_BYTES);
        if self.session.take_xorb(self.app, &xorb.hash, pieces).await? {
            self.stored_bytes += xorb.bytes;
        }
        crate::faults::point("mirror.after_xorb");
        Ok(())
    }
}

async fn head(input: &mut (impl AsyncRead + Unpin), heads: &mut Heads) -> Result<Head, MirrorError> {
    let mut bytes = [0; HEAD_BYTES];
    input.read_exact(&mut bytes).await.map_err(cut)?;
    Ok(heads.next(bytes)?)
}

/// So many bytes, of which there may be fewer than are claimed: memory grows with what comes.
async fn all(input: &mut (impl AsyncRead + Unpin), bytes: u64) -> Result<Vec<u8>, MirrorError> {
    let mut found = Vec::new();
    input.take(bytes).read_to_end(&mut found).await.map_err(cut)?;
    if found.len() as u64 == bytes { Ok(found) } else { Err(refused("the bundle is cut off: get it again")) }
}

async fn section(
    input: &mut (impl AsyncRead + Unpin),
    heads: &mut Heads,
    expected: Section,
    known: &Bytes,
) -> Result<Vec<u8>, MirrorError> {
    let head = head(input, heads).await?;
    if head.section != expected || head.bytes != known.bytes {
        return Err(refused("its sections are not those of its manifest"));
    }
    let found = all(input, head.bytes).await?;
    if Bytes::of(&found) != *known {
        return Err(refused("its lists are not those of its manifest"));
    }
    Ok(found)
}

/// What has to move so that the repository stands as the bundle says.
async fn changes(git: &GitRepo, manifest: &Manifest, refs: &[Tip]) -> Result<Vec<Change>, MirrorError> {
    let standing = git.tips(&["refs/heads", "refs/tags"]).await?;
    let old = |name: &str| standing.iter().find(|tip| tip.name == name).map_or(Oid::ZERO, |tip| tip.oid);
    let mut changes: Vec<Change> =
        refs.iter().map(|tip| Change { name: tip.name.clone(), old: old(&tip.name), new: tip.oid }).collect();
    changes.retain(|change| change.old != change.new);
    if manifest.whole {
        let gone = standing.iter().filter(|tip| refs.binary_search_by(|r| r.name.cmp(&tip.name)).is_err());
        changes.extend(gone.map(|tip| Change { name: tip.name.clone(), old: tip.oid, new: Oid::ZERO }));
    }
    Ok(changes)
}

/// The changes that are not onward.
async fn rewritten(git: &GitRepo, changes: &[Change]) -> Result<Vec<Change>, MirrorError> {
    let mut found = Vec::new();
    for change in changes.iter().filter(|change| change.old != Oid::ZERO) {
        let onward = change.new != Oid::ZERO
            && change.name.starts_with("refs/heads/")
            && git.is_ancestor(change.old, change.new).await?;
        if !onward {
            found.push(change.clone());
        }
    }
    Ok(found)
}

/// Takes the rest of a bundle into `repo`, which need not be in the database yet. That it comes from whom one trusts, and is of
/// the repository that is followed, was checked before.
///
/// # Errors
/// [`MirrorError::Refused`] with what is wrong; branches and tags stand then as they stood.
pub async fn apply<R>(app: &App, mut opened: Opened<R>, repo: &Repo) -> Result<Applied, MirrorError>
where
    R: AsyncRead + Unpin + Send,
{
    let seen = Seen { repo: repo.clone(), right: Right::Admin, denied: None };
    let git = seen.git(app);
    for commit in &opened.manifest.since {
        let missing =
            || refused(format!("it builds upon {commit}, which is not here: bring what it is based on first"));
        let oid: Oid = commit.parse().map_err(|_| missing())?;
        let kinds = git.kinds(&[oid]).await?;
        if kinds.first().is_none_or(Option::is_none) || !git.is_led_to(oid).await? {
            return Err(missing());
        }
    }
    let changes = changes(&git, &opened.manifest, &opened.refs).await?;
    let incoming = Incoming::begin(&git).await?;
    let session = Session { seen: seen.clone(), principal: None };
    let mut taker = Landing { app, session, incoming, stored_bytes: 0 };
    let files = opened.through(&mut taker).await?;
    let Landing { session, incoming, stored_bytes, .. } = taker;
    for file in &files {
        session.put_together(app, file).await?;
    }
    if changes.is_empty() {
        // Brought again: the pack has nothing that is not here.
        return Ok(Applied { stored_bytes, ..Applied::default() });
    }
    let mut looking = look_at(app, &seen, &incoming, &changes).await?;
    let (mut gate, lacking) = (pickle::Gate::of(app, repo), looking.lacking().len() as u64);
    while let Some(named) = looking.files().await? {
        gate.files(incoming.git(), named).await?;
    }
    let rewritten = rewritten(incoming.git(), &changes).await?;
    match follow(app, repo, incoming, changes.clone()).await {
        Err(crate::repo::RepoError::Git(GitError::Moved(_))) => {
            return Err(MirrorError::Busy("another bundle is being taken into this repository"));
        }
        other => other?,
    }
    Ok(Applied { moved: changes, rewritten, stored_bytes, lacking })
}
