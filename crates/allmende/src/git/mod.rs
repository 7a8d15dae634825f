//! Bare git repositories, by the git program: history is kept and read by the tool that everybody trusts with theirs.
//!
//! Each call is one process in an environment of its own: no configuration of the system or the user, no hooks, no
//! prompts, paths by id only. `docs/decisions/` says why there is no library.

pub mod commit;
pub mod copy;
pub mod gate;
pub mod history;
pub mod incoming;
pub mod leftovers;
pub mod merge;
pub mod objects;
mod path;
pub mod reach;
pub mod reader;
pub mod refs;
pub mod rewrite;
pub mod tree;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

pub use path::{InvalidPath, RepoPath};

use crate::error::{ApiError, Code};

/// Longest that one call may take that is not a transfer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes that a call may answer where its caller needs all of them at once.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// The oldest git that can do what is asked of it here.
const MIN_VERSION: (u32, u32) = (2, 40);

/// Why git did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git, or an old one.
    #[error("git {major}.{minor} or newer is needed: {0}", major = MIN_VERSION.0, minor = MIN_VERSION.1)]
    Missing(String),
    /// It could not be run.
    #[error("git could not be run: {0}")]
    Io(#[from] std::io::Error),
    /// It failed; what it said is for the log.
    #[error("git {call} failed: {said}")]
    Failed {
        /// What was asked.
        call: String,
        /// The end of what it said.
        said: String,
    },
    /// It took too long.
    #[error("git {0} took too long")]
    Slow(String),
    /// It answered more than fits.
    #[error("git {0} answered more than fits")]
    TooMuch(String),
    /// It answered what cannot be read.
    #[error("git's answer cannot be read: {0}")]
    Answer(&'static str),
    /// No such branch, tag or commit.
    #[error("Invalid rev id: {0}")]
    NoRevision(String),
    /// No such file or folder.
    #[error("Entry not found: {0}")]
    NoEntry(String),
    /// A ref is not where the caller believed.
    #[error("the ref {0} moved in the meantime")]
    Moved(String),
    /// It is there already.
    #[error("Reference {0} already exists")]
    RefExists(String),
    /// There is none.
    #[error("Reference {0} does not exist")]
    NoRef(String),
    /// A text that is no name of a ref.
    #[error("'{0}' is no valid name of a branch or tag")]
    BadRef(String),
    /// A path that a repository must not hold.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// What arrived is not taken; what git or the rules say of it is for whoever sent it.
    #[error("{0}")]
    Refused(String),
}

impl From<GitError> for ApiError {
    fn from(error: GitError) -> Self {
        let text = error.to_string();
        match error {
            GitError::NoRevision(_) | GitError::NoEntry(_) | GitError::NoRef(_) => Self::new(Code::NotFound, text),
            GitError::Moved(_) | GitError::RefExists(_) => Self::new(Code::Conflict, text),
            GitError::BadRef(_) | GitError::Refused(_) => Self::new(Code::BadRequest, text),
            GitError::Path(_) => Self::new(Code::Unprocessable, text),
            GitError::Slow(_) => Self::new(Code::Unavailable, "the repository did not answer in time").because(error),
            GitError::Missing(_)
            | GitError::Io(_)
            | GitError::Failed { .. }
            | GitError::TooMuch(_)
            | GitError::Answer(_) => Self::internal(error),
        }
    }
}

/// The name of an object: SHA-1, as git and its clients use it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid([u8; 20]);

impl Oid {
    /// What stands for no object.
    pub const ZERO: Self = Self([0; 20]);
}

impl FromStr for Oid {
    type Err = GitError;
    fn from_str(text: &str) -> Result<Self, GitError> {
        let bad = || GitError::Answer("40 hexadecimal digits were expected");
        let bytes = text.as_bytes();
        if bytes.len() != 40 {
            return Err(bad());
        }
        let mut oid = [0; 20];
        for (byte, pair) in oid.iter_mut().zip(bytes.chunks_exact(2)) {
            let digit = |c: u8| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            };
            *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(bad)?;
        }
        Ok(Self(oid))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The git program and the folder that all repositories lie in. Clones share it.
#[derive(Debug, Clone)]
pub struct Git {
    root: Arc<PathBuf>,
    readers: Arc<reader::Readers>,
}

impl Git {
    /// Makes sure of the program and the folder.
    ///
    /// # Errors
    /// [`GitError::Missing`] says what to install.
    pub async fn open(root: &Path) -> Result<Self, GitError> {
        let said = Command::new("git").arg("version").output().await.map_err(|e| GitError::Missing(e.to_string()))?;
        let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let mut parts = text.trim_start_matches("git version ").split(['.', ' ']).map(str::parse::<u32>);
        let version = match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => return Err(GitError::Missing(text)),
        };
        if version < MIN_VERSION {
            return Err(GitError::Missing(text));
        }
        tokio::fs::create_dir_all(root).await?;
        Ok(Self { root: Arc::new(root.to_owned()), readers: Arc::default() })
    }

    /// The ids of all folders of repositories that did not change for `age`.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn folders(&self, age: Duration) -> Result<Vec<String>, GitError> {
        let root = Arc::clone(&self.root);
        let look = move || {
            let mut found = Vec::new();
            for shelf in std::fs::read_dir(root.as_path())? {
                let shelf = shelf?;
                if shelf.file_name().len() != 2 || !shelf.file_type()?.is_dir() {
                    continue;
                }
                for folder in std::fs::read_dir(shelf.path())? {
                    let folder = folder?;
                    let name = folder.file_name();
                    let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".git")) else { continue };
                    let changed = folder.metadata().and_then(|meta| meta.modified());
                    if changed.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed >= age)) {
                        found.push(id.to_owned());
                    }
                }
            }
            Ok::<_, std::io::Error>(found)
        };
        Ok(tokio::task::spawn_blocking(look).await.map_err(std::io::Error::other)??)
    }

    /// The repository in the folder of this id, which is the id of a repository in the database.
    #[must_use]
    pub fn repo(&self, id: &str) -> GitRepo {
        let dir = self.root.join(&id[..id.len().min(2)]).join(format!("{id}.git"));
        let waiting = Arc::new(self.root.join(incoming::FOLDER));
        GitRepo { dir, incoming: None, waiting, readers: Arc::clone(&self.readers) }
    }
}

/// The bytes of all files in a folder and in those below it. What goes away meanwhile is passed over.
fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let gone = |error: std::io::Error| if error.kind() == std::io::ErrorKind::NotFound { Ok(0) } else { Err(error) };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return gone(error),
    };
    let mut sum = 0;
    for entry in entries {
        let entry = entry?;
        sum += match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path())?,
            Ok(meta) => meta.len(),
            Err(error) => gone(error)?,
        };
    }
    Ok(sum)
}

/// One bare repository.
#[derive(Debug, Clone)]
pub struct GitRepo {
    dir: PathBuf,
    /// Where objects go that nobody may see yet, if calls are to write there; they read the repository's own as well.
    incoming: Option<Arc<PathBuf>>,
    /// The folder of such folders.
    waiting: Arc<PathBuf>,
    /// The processes that stay, of all repositories.
    readers: Arc<reader::Readers>,
}

/// Settings that hold for every call, whatever stands in a repository's own file.
const ALWAYS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.fsync=committed",
    "core.filesRefLockTimeout=1000",
    "core.quotePath=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
];

impl GitRepo {
    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What its objects occupy on disk.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn size_bytes(&self) -> Result<u64, GitError> {
        let objects = self.dir.join("objects");
        let sum = tokio::task::spawn_blocking(move || folder_bytes(&objects)).await;
        Ok(sum.map_err(std::io::Error::other)??)
    }

    /// A call with the settings and the environment of every call. The process ends when its handle is dropped.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("HOME", &self.dir)
            .arg("--git-dir")
            .arg(&self.dir);
        if let Some(incoming) = &self.incoming {
            command.env("GIT_OBJECT_DIRECTORY", incoming.as_path());
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", incoming::listed(&self.dir.join("objects")));
        }
        for setting in ALWAYS {
            command.args(["-c", setting]);
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Makes an empty repository.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn create(&self) -> Result<(), GitError> {
        tokio::fs::create_dir_all(&self.dir).await?;
        self.run(["init", "--quiet", "--bare", "--initial-branch=main", "--template="], &[]).await?;
        self.gate().await?;
        Ok(())
    }

    /// Removes the repository; one that is not there is removed already.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn remove(&self) -> Result<(), GitError> {
        match tokio::fs::remove_dir_all(&self.dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Runs a call to its end: `input` goes in, what it answers comes back.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what it said.
    pub async fn run<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Result<Vec<u8>, GitError> {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let done = self.output(&args, input).await?;
        if done.code == Some(0) {
            return Ok(done.answer);
        }
        Err(done.failure(&args.first().map_or_else(String::new, |arg| arg.to_string_lossy().into_owned())))
    }

    /// As [`Self::run`], for calls whose exit code is an answer too.
    ///
    /// # Errors
    /// [`GitError`] when it could not be run to its end.
    pub async fn output<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Result<Done, GitError> {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let call = args.first().map_or_else(String::new, |arg| arg.to_string_lossy().into_owned());
        let mut child = self.command(&args).stdin(Stdio::piped()).spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A call that has heard enough closes its end: what matters is its answer.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let mut answer = Vec::new();
        let mut said = Vec::new();
        let read = async {
            let out = async {
                match stdout {
                    Some(stdout) => stdout.take(MAX_ANSWER_BYTES + 1).read_to_end(&mut answer).await,
                    None => Ok(0),
                }
            };
            let err = async {
                match stderr {
                    Some(stderr) => stderr.take(64 << 10).read_to_end(&mut said).await,
                    None => Ok(0),
                }
            };
            tokio::try_join!(out, err)
        };
        let whole = async {
            let ((), read) = tokio::join!(feed, read);
            read?;
            Ok::<_, GitError>(())
        };
        tokio::time::timeout(CALL_TIMEOUT, whole).await.map_err(|_| GitError::Slow(call.clone()))??;
        if answer.len() as u64 > MAX_ANSWER_BYTES {
            return Err(GitError::TooMuch(call));
        }
        let status =
            tokio::time::timeout(CALL_TIMEOUT, child.wait()).await.map_err(|_| GitError::Slow(call.clone()))??;
        Ok(Done { code: status.code(), answer, said })
    }
}

/// A call that came to its end.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// What it answered.
    pub answer: Vec<u8>,
    said: Vec<u8>,
}

impl Done {
    /// The failure that this is, of the call named so.
    #[must_use]
    pub fn failure(&self, call: &str) -> GitError {
        failed(call.to_owned(), &self.said)
    }
}

/// The failure of a call, with the end of what it said.
fn failed(call: String, said: &[u8]) -> GitError {
    let text = String::from_utf8_lossy(said);
    let chars: Vec<char> = text.trim().chars().collect();
    GitError::Failed { call, said: chars[chars.len().saturating_sub(600)..].iter().collect() }
}
