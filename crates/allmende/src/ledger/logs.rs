//! All open logs of a hub, by name.

use std::collections::HashMap;
use std::sync::Arc;

use allmende_core::id::{CollaborationId, Origin};
use allmende_core::state::State;
use allmende_core::statement::{Body, HUB, LogOpened, PROTOCOL};
use tokio::sync::{Mutex, watch};

use super::log::{AppendError, Appended, Item, Keeper, Log};
use super::store;

/// The logs. Clones share them.
#[derive(Clone)]
pub struct Logs(Arc<Inner>);

struct Inner {
    keeper: Keeper,
    host: String,
    open: Mutex<HashMap<String, Arc<Log>>>,
}

impl Logs {
    /// No log is read before it is asked for. `host` is the hub's name, with which every origin begins.
    #[must_use]
    pub fn new(keeper: Keeper, host: String) -> Self {
        Self(Arc::new(Inner { keeper, host, open: Mutex::default() }))
    }

    /// Tells when any log grows.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.keeper.grown.subscribe()
    }

    /// Origin of the log `name`.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<Origin> {
        format!("{}/{name}", self.0.host).parse().ok()
    }

    /// The empty state with which the log `name` begins.
    #[must_use]
    pub fn empty(&self, name: &str) -> Option<State> {
        let collaboration = if name == HUB { None } else { Some(name.parse().ok()?) };
        Some(State::new(self.origin(name)?, collaboration))
    }

    /// The hub's log of parties and keys as it is now, opened with its first entry when it has none.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn registry(&self) -> Result<Arc<Log>, AppendError> {
        let log = self.open(HUB, None).await?;
        log.catch_up().await?;
        if log.state().await?.size() == 0 {
            // Two at once do no harm: the second finds the log open and is refused.
            let opened = log.append(vec![self.opening()?]).await;
            if log.state().await?.size() == 0 {
                opened?;
            }
        }
        Ok(log)
    }

    /// The log of a collaboration as it is now, if it exists.
    ///
    /// # Errors
    /// [`AppendError::Corrupt`] when it does not replay.
    pub async fn get(&self, collaboration: &CollaborationId) -> Result<Option<Arc<Log>>, AppendError> {
        let name = collaboration.as_str();
        if name == HUB {
            return Ok(None);
        }
        let open = self.0.open.lock().await.get(name).cloned();
        if let Some(log) = open {
            log.catch_up().await?;
            return Ok(Some(log));
        }
        if store::head(&mut *self.0.keeper.db.read().await?, name).await?.is_none() {
            return Ok(None);
        }
        self.open(name, Some(collaboration.clone())).await.map(Some)
    }

    /// Opens the log of a new collaboration with `founding` as its first statements after the opening, all or none.
    ///
    /// # Errors
    /// [`AppendError::Refused`] says why it cannot be founded so.
    pub async fn found(
        &self,
        collaboration: &CollaborationId,
        mut founding: Vec<Item>,
    ) -> Result<(Arc<Log>, Vec<Appended>), AppendError> {
        let log = Log::open(
            self.0.keeper.clone(),
            collaboration.to_string(),
            self.origin_of(collaboration.as_str())?,
            Some(collaboration.clone()),
        )
        .await?;
        if log.state().await?.size() == 0 {
            founding.insert(0, self.opening()?);
        }
        let appended = log.append(founding).await?;
        let mut open = self.0.open.lock().await;
        let log = Arc::clone(open.entry(collaboration.to_string()).or_insert(log));
        Ok((log, appended))
    }

    /// The names of all logs of collaborations.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn all(&self) -> Result<Vec<CollaborationId>, AppendError> {
        let mut names: Vec<CollaborationId> = Vec::new();
        loop {
            let after = names.last().map_or("", |last| last.as_str()).to_owned();
            let page = store::logs(&mut *self.0.keeper.db.read().await?, &after, 1_000).await?;
            let before = names.len();
            names.extend(
                page.iter()
                    .filter(|name| *name != HUB && name.as_str() > after.as_str())
                    .filter_map(|n| n.parse().ok()),
            );
            if names.len() == before {
                return Ok(names);
            }
        }
    }

    async fn open(&self, name: &str, collaboration: Option<CollaborationId>) -> Result<Arc<Log>, AppendError> {
        let mut open = self.0.open.lock().await;
        if let Some(log) = open.get(name) {
            return Ok(Arc::clone(log));
        }
        let log = Log::open(self.0.keeper.clone(), name.to_owned(), self.origin_of(name)?, collaboration).await?;
        open.insert(name.to_owned(), Arc::clone(&log));
        Ok(log)
    }

    fn origin_of(&self, name: &str) -> Result<Origin, AppendError> {
        self.origin(name).ok_or_else(|| AppendError::Encoding(format!("{}/{name} is no origin", self.0.host)))
    }

    fn opening(&self) -> Result<Item, AppendError> {
        let registry = self.origin_of(HUB)?;
        let body = LogOpened { hub_key: self.0.keeper.key.public(), protocol: PROTOCOL, registry };
        Ok(Item::Attest(Box::new(Body::from(body)), None))
    }
}
