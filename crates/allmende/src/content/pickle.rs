//! Files that run code when they are loaded: kept out of repositories of models and data unless their owner lets them in,
//! at every door by which a file gets a name.

use std::collections::BTreeSet;

use allmende_core::digest::Digest;
use allmende_formats::pickle::{HEAD_BYTES, Look, Why, is_loaded_so, is_pickle_entry, look, zip};
use futures::TryStreamExt as _;
use tokio::sync::Semaphore;

use super::ContentError;
use super::file::File;
use super::store::{self, What};
use crate::app::App;
use crate::git::objects::Pointer;
use crate::git::tree::Entry;
use crate::git::{GitError, GitRepo, Oid, RepoPath};
use crate::repo::changes::Change;
use crate::repo::{Kind, Repo, large};

/// Bytes of blobs that are read at once.
const BATCH_BYTES: u64 = 16 << 20;
/// Blobs whose sizes are asked for at once.
const BATCH: usize = 4_096;
/// Most files that are named as running code.
pub const MAX_NAMED: i64 = 100;
/// Batches of blobs that are in memory at once, in the whole program.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// A file that runs code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands.
    pub path: String,
    /// How.
    pub why: Why,
}

impl Finding {
    /// What to tell whoever puts it in where it is not allowed.
    #[must_use]
    pub fn refusal(&self) -> String {
        format!(
            "{}: {}. Loading it runs whatever code it holds, so this repository does not take it: save the weights as \
             safetensors, or let an administrator of the repository allow such files (picklesAllowed in its settings)",
            self.path, self.why
        )
    }

    /// What to tell whoever puts it in where it is allowed.
    #[must_use]
    pub fn warning(&self) -> String {
        format!("{}: {}. Loading it runs whatever code it holds", self.path, self.why)
    }
}

/// Whether such files are kept out of repositories of this kind. Spaces and code are programs anyway.
#[must_use]
pub const fn concerns(kind: Kind) -> bool {
    matches!(kind, Kind::Model | Kind::Dataset)
}

/// What to make of an archive that cannot be looked into.
fn unclear(path: &str) -> Option<Why> {
    is_loaded_so(path).then_some(Why::Unclear)
}

async fn in_archive(app: &App, file: &File) -> Result<Option<Why>, ContentError> {
    let tail = file.bytes(app, file.size.saturating_sub(zip::TAIL_BYTES)..file.size).await?;
    let Ok(range) = zip::directory(&tail, file.size) else { return Ok(unclear(&file.path)) };
    let mut list = List::default();
    let mut stream = file.stream(app, range).await?;
    while let Some(bytes) = stream.try_next().await? {
        match list.push(&bytes) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return Ok(unclear(&file.path)),
        }
    }
    Ok(list.finish().unwrap_or_else(|_| unclear(&file.path)))
}

/// Whether a file runs code when it is loaded, and how.
///
/// # Errors
/// [`ContentError`] when it cannot be read.
pub async fn judge(app: &App, file: &File) -> Result<Option<Why>, ContentError> {
    let head = file.bytes(app, 0..HEAD_BYTES).await?;
    match look(&file.path, &head, file.size) {
        Look::Plain => Ok(None),
        Look::Runs(why) => Ok(Some(why)),
        Look::Archive => in_archive(app, file).await,
    }
}

/// Looks through the list of an archive as it arrives.
#[derive(Default)]
struct List {
    names: zip::Names,
    found: Option<Why>,
}

impl List {
    /// Whether there is any need to go on.
    fn push(&mut self, bytes: &[u8]) -> Result<bool, zip::Error> {
        let Self { names, found } = self;
        names.push(bytes, |name| {
            *found = is_pickle_entry(name).then(|| Why::Entry(name.chars().take(200).collect()));
            found.is_none()
        })
    }

    fn finish(self) -> Result<Option<Why>, zip::Error> {
        if self.found.is_none() {
            self.names.finish()?;
        }
        Ok(self.found)
    }
}

/// The same for bytes that are all there.
fn judge_bytes(path: &str, bytes: &[u8]) -> Option<Why> {
    let size = bytes.len() as u64;
    match look(path, bytes, size) {
        Look::Plain => None,
        Look::Runs(why) => Some(why),
        Look::Archive => {
            let listed = || {
                let tail = &bytes[bytes.len().saturating_sub(zip::TAIL_BYTES as usize)..];
                let range = zip::directory(tail, size)?;
                let mut list = List::default();
                list.push(bytes.get(range.start as usize..range.end as usize).ok_or(zip::Error::Damaged)?)?;
                list.finish()
            };
            listed().unwrap_or_else(|_| unclear(path))
        }
    }
}

/// Looks at everything that one commit or push puts into a repository.
pub struct Gate<'a> {
    app: &'a App,
    repo: &'a Repo,
    found: Vec<Finding>,
}

impl<'a> Gate<'a> {
    /// The gate of a repository.
    #[must_use]
    pub const fn of(app: &'a App, repo: &'a Repo) -> Self {
        Self { app, repo, found: Vec::new() }
    }

    fn note(&mut self, path: &str, why: Option<Why>) -> Result<(), ContentError> {
        let Some(why) = why else { return Ok(()) };
        let finding = Finding { path: path.to_owned(), why };
        if !self.repo.settings.pickles_allowed {
            return Err(GitError::Refused(finding.refusal()).into());
        }
        self.found.push(finding);
        Ok(())
    }

    /// Looks at a change before a commit takes it.
    ///
    /// # Errors
    /// [`GitError::Refused`] with what to do, when the file runs code and the repository does not take such files.
    pub async fn change(&mut self, change: &Change) -> Result<(), ContentError> {
        if !concerns(self.repo.kind) {
            return Ok(());
        }
        match change {
            Change::Put { path, bytes } => self.small(path.as_str(), bytes).await,
            Change::PutLarge { path, sha256 } => self.large(path.as_str(), sha256).await,
            Change::Delete { .. } => Ok(()),
        }
    }

    /// Looks at a blob, and through it if it stands for a large file: whoever writes a pointer by hand gives bytes a name too.
    async fn small(&mut self, path: &str, bytes: &[u8]) -> Result<(), ContentError> {
        match Pointer::parse(bytes).and_then(|p| format!("sha256:{}", p.sha256).parse::<Digest>().ok()) {
            Some(sha256) => self.large(path, &sha256).await,
            None => self.note(path, judge_bytes(path, bytes)),
        }
    }

    /// Looks at a large file. One that is not held is refused where it is cited.
    async fn large(&mut self, path: &str, sha256: &Digest) -> Result<(), ContentError> {
        let size = large::held(&mut *self.app.db.read().await?, self.repo, sha256).await?;
        let Some(size) = size else { return Ok(()) };
        let why = judge(self.app, &File::large(self.repo, path, *sha256, size)).await?;
        self.note(path, why)
    }

    /// Looks at files that a push names, by their blobs. What runs code and is allowed is kept in mind.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub async fn files(&mut self, git: &GitRepo, files: Vec<(Oid, RepoPath)>) -> Result<(), ContentError> {
        if !concerns(self.repo.kind) {
            return Ok(());
        }
        // The same bytes are judged once, unless a name could make a difference.
        let mut seen = BTreeSet::new();
        let files: Vec<_> =
            files.into_iter().filter(|(oid, path)| seen.insert((*oid, is_loaded_so(path.as_str())))).collect();
        drop(seen);
        let mut marks = Vec::new();
        for some in files.chunks(BATCH) {
            let oids: Vec<Oid> = some.iter().map(|(oid, _)| *oid).collect();
            let sizes = git.kinds(&oids).await?;
            let mut rest = some.iter().zip(sizes).map(|(file, kind)| (file, kind.map_or(0, |(_, size)| size)));
            let mut batch = rest.next();
            while let Some(first) = batch.take() {
                let (mut together, mut bytes) = (vec![first.0], first.1);
                for (file, size) in rest.by_ref() {
                    if bytes.saturating_add(size) > BATCH_BYTES {
                        batch = Some((file, size));
                        break;
                    }
                    bytes += size;
                    together.push(file);
                }
                self.blobs(git, &together, &mut marks).await?;
            }
        }
        Ok(store::keep(self.app, self.repo, &marks, What::Pickle).await?)
    }

    async fn blobs(
        &mut self,
        git: &GitRepo,
        files: &[&(Oid, RepoPath)],
        marks: &mut Vec<(Oid, String)>,
    ) -> Result<(), ContentError> {
        let _permit = AT_ONCE.acquire().await;
        let oids: Vec<Oid> = files.iter().map(|(oid, _)| *oid).collect();
        for ((oid, path), blob) in files.iter().zip(git.blobs(&oids).await?) {
            let Some(blob) = blob else { continue };
            let before = self.found.len();
            self.small(path.as_str(), &blob).await?;
            if let Some(finding) = self.found.get(before) {
                marks.push((*oid, finding.why.to_string()));
            }
        }
        Ok(())
    }

    /// Keeps in mind what a commit through the API brought, once it is made.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn committed(&self, git: &GitRepo, commit: Oid) -> Result<(), ContentError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let paths: Vec<RepoPath> = self.found.iter().filter_map(|finding| finding.path.parse().ok()).collect();
        let why = |path: &str| self.found.iter().find(|finding| finding.path == path);
        let entries = git.entries(commit, &paths).await?;
        let marks: Vec<_> = entries.iter().filter_map(|e| Some((e.oid, why(&e.path)?.why.to_string()))).collect();
        Ok(store::keep(self.app, self.repo, &marks, What::Pickle).await?)
    }

    /// A warning for each file that runs code and was let in, at most a few.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        const SHOWN: usize = 10;
        let mut all: Vec<String> = self.found.iter().take(SHOWN).map(Finding::warning).collect();
        if self.found.len() > SHOWN {
            all.push(format!("{} more files run code when they are loaded", self.found.len() - SHOWN));
        }
        all
    }
}

/// The files among `entries` that run code, as far as they came in when this was looked for: path and how.
///
/// # Errors
/// [`ContentError::Db`].
pub async fn among(app: &App, repo: &Repo, entries: &[Entry]) -> Result<Vec<(String, String)>, ContentError> {
    if !concerns(repo.kind) {
        return Ok(Vec::new());
    }
    let known = store::all(&mut *app.db.read().await?, repo, What::Pickle, 100 * MAX_NAMED).await?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let known: std::collections::BTreeMap<String, String> = known.into_iter().collect();
    let named = entries.iter().filter_map(|e| Some((e.path.clone(), known.get(&e.oid.to_string())?.clone())));
    Ok(named.take(MAX_NAMED as usize).collect())
}
