//! What every handler shares.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::statement::Body;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::KeyDirectory;
use crate::blobs::{BlobError, Blobs};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Db, DbError, DbOptions};
use crate::error::ApiError;
use crate::git::{Git, GitError};
use crate::keyfile::{KeyFileError, load, private_dir, signing_key};
use crate::ledger::bell::Bells;
use crate::ledger::log::{Consequence, Keeper};
use crate::ledger::{AppendError, LedgerError, Log, Logs, hold as restores, store};
use crate::metrics::Metrics;
use crate::projection::project;
use crate::repo::reads::Gathered;
use crate::tls::{self, ServerTls, TlsError};

/// Why the hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The log.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A log does not replay.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store of bytes.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The bare repositories.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The tiles are there and the database is not.
    #[error("the database is empty, but {dir} holds logs of this hub: it would begin them anew. Rebuild it with 'allmende ledger rebuild --from {dir}', or point database_url at the right one", dir = dir.display())]
    LostDatabase {
        /// The folder of tiles.
        dir: std::path::PathBuf,
    },
    /// The database holds this hub's logs, and the key that signed them is missing.
    #[error("the database holds logs of a hub, and its key is not in {path}: put it there, with mode 600", path = path.display())]
    NoKey {
        /// Where it belongs.
        path: std::path::PathBuf,
    },
    /// The database holds logs that another key signed.
    #[error("the logs in the database were signed with {signed}, and the key in {path} is {here}: put the hub's key there, or point database_url at another database", path = path.display())]
    OtherKey {
        /// The key's file.
        path: std::path::PathBuf,
        /// Its public half.
        here: PublicKey,
        /// The key that signed.
        signed: PublicKey,
    },
    /// A restore was cut short: not everything is here.
    #[error("a restore of this hub did not finish: run 'allmende restore' again with the same archive")]
    UnfinishedRestore,
}

/// What a member's statement needs beside the log before the log takes it: bytes that it names, or another door.
pub type Prepare = for<'a> fn(&'a App, &'a Arc<Log>, &'a Body) -> BoxFuture<'a, Result<(), ApiError>>;

/// What the nouns bring to the hub, each as a value: what stands here knows none of them.
pub struct Nouns {
    /// Who may sign in.
    pub keys: Box<dyn KeyDirectory>,
    /// What follows from a batch by the rules alone.
    pub consequence: Consequence,
    /// What a statement needs before it is taken.
    pub prepare: Prepare,
    /// Takes up a log that was founded.
    pub conduct: fn(&App, &Arc<Log>),
}

/// The hub's state. Clones share it.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// The fields that [`App`] gives access to.
pub struct Inner {
    /// The settings.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// The store of bytes.
    pub blobs: Blobs,
    /// The bare repositories.
    pub git: Git,
    /// The time; never earlier than any stored arrival.
    pub clock: Clock,
    /// Signs checkpoints, offers and attestations. Kept in `data_dir/hub.key` (64 hexadecimal digits, mode 0600), made
    /// at the first start; back it up apart from the data.
    pub hub_key: Arc<SecretKey>,
    /// What the nouns bring.
    pub nouns: Nouns,
    /// TLS, unless off.
    pub tls: Option<ServerTls>,
    /// Counters.
    pub metrics: Metrics,
    /// One permit for each part that is being received.
    pub parts_in_flight: Semaphore,
    /// One permit for each fetch or push by git.
    pub git_transfers: Arc<Semaphore>,
    /// Cancelled when the hub begins to stop; long polls then answer at once.
    pub closing: CancellationToken,
    /// What was read of repositories under terms, and not yet written.
    pub reads: Gathered,
    /// Rings when a log's cosignatures change.
    pub witnessed: Bells,
    /// The logs.
    pub logs: Logs,
    /// The logs that a task conducts.
    pub conducted: Conducted,
    /// Long work in the background, awaited when the hub stops.
    pub tasks: TaskTracker,
}

/// The logs that are conducted.
#[derive(Debug, Default)]
pub struct Conducted(Mutex<HashSet<String>>);

impl Conducted {
    /// Whether nobody conducts `log` yet; from now on the caller does.
    pub(crate) fn begin(&self, log: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(log.to_owned())
    }
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Opens everything below `config.data_dir`, making what is missing.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub async fn start(config: Config, clock: Clock, nouns: Nouns) -> Result<Self, StartError> {
        tls::install_provider();
        private_dir(&config.data_dir)?;
        let db = Db::open(&DbOptions::from(&config), clock.now()).await?;
        let path = config.hub_key_path();
        if let Some(latest) = store::latest_arrival(&mut *db.read().await?).await? {
            // The clock may have been set back since the last start; arrivals never run backwards.
            clock.raise(latest);
            if load(&path)?.is_none() {
                return Err(StartError::NoKey { path });
            }
        }
        let hub_key = Arc::new(signing_key(&path)?);
        let tls = tls::server(&config)?;
        let blobs = Blobs::of(&config).await?;
        let git = Git::open(&config.git_dir()).await?;
        if restores::unfinished(&mut *db.read().await?).await? {
            return Err(StartError::UnfinishedRestore);
        }
        let keeper = Keeper {
            db: db.clone(),
            clock: clock.clone(),
            key: Arc::clone(&hub_key),
            consequence: nouns.consequence,
            project,
            max_entries: config.max_log_entries,
            grown: watch::Sender::new(0),
        };
        let logs = Logs::new(keeper, config.name.clone());
        let permits = usize::try_from(config.max_parts_in_flight).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let transfers = usize::try_from(config.max_git_transfers).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Inner {
            db,
            blobs,
            git,
            clock,
            hub_key,
            nouns,
            tls,
            metrics: Metrics::default(),
            parts_in_flight: Semaphore::new(permits),
            git_transfers: Arc::new(Semaphore::new(transfers)),
            closing: CancellationToken::new(),
            reads: Gathered::default(),
            witnessed: Bells::default(),
            logs,
            conducted: Conducted::default(),
            tasks: TaskTracker::new(),
            config,
        })))
    }
}
