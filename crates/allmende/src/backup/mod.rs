//! Backup, restore and rebuild of a hub, and the folder of tiles that it keeps beside its database.
//!
//! What a backup holds: every log as C2SP tiles, every blob that a log's statements name, and the repositories with their
//! histories, large files, discussions and the accounts that own them. The hub's key is not in it: it is kept apart, and
//! whoever restores needs both. Tokens, uploads and idempotency keys are not in it either, so a restore makes every token
//! invalid.
//!
//! Architecture invariant: what comes back is believed only after it went through the judge and the one reducer, and a log
//! that came back takes no entry before its witnesses were heard (`ledger/hold.rs`).

mod archive;
mod export;
mod import;
mod make;
mod repos;
mod restore;
mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use allmende_core::digest::Digest;
use allmende_core::signature::PublicKey;
use allmende_core::statement::{Body, HUB};
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::blobs::{BlobError, Blobs};
use crate::config::Config;
use crate::db::{Db, DbError, DbOptions};
use crate::git::{Git, GitError};
use crate::keyfile::{self, KeyFileError};
use crate::ledger::LedgerError;
use crate::ledger::read::ReadError;
use crate::verify::Finding;
use crate::xet::XetError;

pub use archive::ArchiveError;
pub use export::{keep, look};
pub use import::{Imported, import, rebuild, resume};
pub use make::{Made, backup};
pub use restore::{Restored, restore};
pub use tables::{LEFT_OUT, TABLES};

/// The folder below `data_dir` in which the logs stand as tiles.
pub const EXPORT: &str = "export";
/// The version of what is inside the archive.
const FORMAT: u32 = 2;
/// The first member of the archive.
const MANIFEST: &str = "manifest.json";

/// Why something was not backed up or did not come back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The database.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A log in the database.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store of bytes.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The bare repositories.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The store of large files.
    #[error(transparent)]
    Xet(#[from] XetError),
    /// The hub's key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The hub's key is not where it has to be.
    #[error("the hub's key is not in {path}: it is kept apart from backups", path = path.display())]
    NoKey {
        /// Where it belongs.
        path: PathBuf,
    },
    /// The logs were signed with another key.
    #[error("the logs were signed with {signed}, and the key in {path} is {here}", path = path.display())]
    OtherKey {
        /// The key's file.
        path: PathBuf,
        /// Its public half.
        here: PublicKey,
        /// The key that signed.
        signed: PublicKey,
    },
    /// The logs belong to a hub of another name.
    #[error("the logs belong to the hub {theirs}, and this one is set up as {ours}")]
    OtherHub {
        /// The name that they bear.
        theirs: String,
        /// The name in the settings.
        ours: String,
    },
    /// Something is there already.
    #[error("{what} is not empty: a hub is restored into an empty folder and an empty database")]
    NotEmpty {
        /// What.
        what: String,
    },
    /// A log does not stand up to the judge.
    #[error("log {log}: {finding}")]
    Judged {
        /// Which.
        log: String,
        /// What is wrong.
        finding: Box<Finding>,
    },
    /// The log in the database and the one to import differ where both have entries.
    #[error("log {log} in the database and the one in {dir} differ within the first {size} entries", dir = dir.display())]
    Forked {
        /// Which.
        log: String,
        /// From where.
        dir: PathBuf,
        /// As far as both reach.
        size: u64,
    },
    /// An entry does not replay.
    #[error("entry {index} of log {log}: {reason}")]
    Entry {
        /// Which log.
        log: String,
        /// Which entry.
        index: u64,
        /// Why.
        reason: String,
    },
    /// The archive does not hold what its list names.
    #[error("the archive lacks {what}")]
    Lacks {
        /// What.
        what: String,
    },
    /// Made by a release of the program that writes archives otherwise.
    #[error("the archive has format {found}, and this program reads {known}")]
    Format {
        /// The archive's.
        found: u32,
        /// The one that is read.
        known: u32,
    },
    /// Nothing that could be imported.
    #[error("{dir} holds no log", dir = dir.display())]
    NoLog {
        /// The folder.
        dir: PathBuf,
    },
}

impl From<DbError> for BackupError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        DbError::from(error).into()
    }
}

fn file(path: &Path) -> impl Fn(std::io::Error) -> BackupError {
    move |source| BackupError::File { path: path.into(), source }
}

/// What of a hub is backed up and comes back: its database and its bytes, opened beside a running hub or without one.
pub struct Parts {
    /// The settings.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// The store of bytes.
    pub blobs: Blobs,
    /// The bare repositories.
    pub git: Git,
    /// The hub's key, of which only the public half is needed.
    pub hub_key: PublicKey,
}

impl Parts {
    /// Opens what `config` names; the hub's key has to be there.
    ///
    /// # Errors
    /// [`BackupError::NoKey`], or what cannot be opened.
    pub async fn open(config: Config, now: Timestamp) -> Result<Self, BackupError> {
        let path = config.hub_key_path();
        if keyfile::load(&path)?.is_none() {
            return Err(BackupError::NoKey { path });
        }
        let hub_key = keyfile::signing_key(&path)?.public();
        let db = Db::open(&DbOptions::from(&config), now).await?;
        let blobs = Blobs::of(&config).await?;
        let git = Git::open(&config.git_dir()).await?;
        Ok(Self { config, db, blobs, git, hub_key })
    }
}

/// What stands in the archive: the first member says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    program: String,
    hub: String,
    hub_key: PublicKey,
    made_at: Timestamp,
    logs: Vec<LogListed>,
    blobs: Vec<BlobListed>,
    missing: Vec<Digest>,
}

/// A log in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogListed {
    log: String,
    size: u64,
    root: Digest,
    /// Number of its files in the archive, with the checkpoint.
    files: u64,
}

/// Bytes in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlobListed {
    digest: Digest,
    size_bytes: u64,
}

/// Adds the digests of the bytes that a statement names: models, updates, what an outer optimizer keeps, open assets and
/// the files of releases.
fn named(body: &Body, into: &mut BTreeSet<Digest>) {
    match body {
        Body::AssetRegistered(asset) => into.extend(asset.bytes.as_ref().map(|b| b.digest)),
        Body::RunProposed(run) => into.extend([run.plan.base_model]),
        Body::UpdateSubmitted(update) => into.extend([update.update]),
        Body::RoundClosed(round) => into.extend([round.model].into_iter().chain(round.velocity)),
        Body::ModelReleased(release) => into.extend([release.manifest]),
        _ => {}
    }
}

/// The logs' names in the order in which they come back: the hub's own first, because it says who may sign in.
fn in_order(mut names: Vec<String>) -> Vec<String> {
    names.sort_by_key(|name| (name != HUB, name.clone()));
    names
}
