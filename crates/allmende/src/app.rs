//! What every handler shares.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use allmende_core::signature::SecretKey;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::auth::KeyDirectory;
use crate::blobs::{BlobError, Blobs};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Db, DbError, DbOptions};
use crate::keyfile::{KeyFileError, private_dir, signing_key};
use crate::ledger::{LedgerError, store};
use crate::metrics::Metrics;
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
    /// The store of bytes.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    /// The time; never earlier than any stored arrival.
    pub clock: Clock,
    /// Signs checkpoints, offers and attestations. Kept in `data_dir/hub.key` (64 hexadecimal digits, mode 0600), made
    /// at the first start; back it up apart from the data.
    pub hub_key: SecretKey,
    /// Who may sign in.
    pub keys: Box<dyn KeyDirectory>,
    /// TLS, unless off.
    pub tls: Option<ServerTls>,
    /// Counters.
    pub metrics: Metrics,
    /// One permit for each part that is being received.
    pub parts_in_flight: Semaphore,
    /// Cancelled when the hub begins to stop; long polls then answer at once.
    pub closing: CancellationToken,
    sizes: Mutex<HashMap<String, watch::Sender<u64>>>,
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
    pub async fn start(config: Config, clock: Clock, keys: impl KeyDirectory) -> Result<Self, StartError> {
        tls::install_provider();
        private_dir(&config.data_dir)?;
        let hub_key = signing_key(&config.data_dir.join("hub.key"))?;
        let tls = tls::server(&config)?;
        let blobs = Blobs::open(&config.blob_store())?;
        let options = DbOptions {
            url: config.database_url(),
            connections: config.database_connections,
            busy_timeout_ms: config.database_busy_timeout_ms,
        };
        let db = Db::open(&options, clock.now()).await?;
        // The clock may have been set back since the last start; arrivals never run backwards.
        if let Some(latest) = store::latest_arrival(&mut *db.read().await?).await? {
            clock.raise(latest);
        }
        let permits = usize::try_from(config.max_parts_in_flight).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Inner {
            db,
            blobs,
            clock,
            hub_key,
            keys: Box::new(keys),
            tls,
            metrics: Metrics::default(),
            parts_in_flight: Semaphore::new(permits),
            closing: CancellationToken::new(),
            sizes: Mutex::default(),
            config,
        })))
    }

    fn sizes(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<u64>>> {
        // The map is whole after every statement, so a panic elsewhere does no harm.
        self.0.sizes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells those who wait that `log` has grown to `size`. Call after the commit; it is a hint, the database decides.
    pub fn notify(&self, log: &str, size: u64) {
        let mut sizes = self.sizes();
        if let Some(sender) = sizes.get(log) {
            sender.send_if_modified(|known| size > std::mem::replace(known, size.max(*known)));
            if sender.is_closed() {
                sizes.remove(log);
            }
        }
    }

    /// Waits for `log` to grow: subscribe, read the database, then await `changed()`. Other processes of the same hub
    /// append without a hint, so re-read after the wait too.
    #[must_use]
    pub fn watch(&self, log: &str) -> watch::Receiver<u64> {
        let mut sizes = self.sizes();
        sizes.retain(|name, sender| name == log || !sender.is_closed());
        sizes.entry(log.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe()
    }
}
