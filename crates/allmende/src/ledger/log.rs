//! An open log: its folded state in memory, and the one way to append to it.
//!
//! Whoever appends puts its statements in a queue and takes the lock; the first one there carries out everything that
//! waits as one batch, in one transaction, with one checkpoint: under load many statements share one sync of the disk.
//! The state is ahead of the database only while the lock is held; if the commit fails it is thrown away and replayed.

use std::sync::Arc;

use allmende_core::canonical;
use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, Origin};
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::signature::SecretKey;
use allmende_core::state::{Refusal, State};
use allmende_core::statement::{Body, Opened, Statement};
use allmende_core::time::Timestamp;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, oneshot, watch};

use super::fold::{Batch, Inner, apply, replay};
use super::store::{self, Head, LedgerError, NewEntry};
use crate::clock::Clock;
use crate::db::{Db, DbError, Tx, is_retryable};

pub use super::fold::seal_hub;
pub use super::hold::Waiting as HeldFor;

/// Most statements in one transaction.
const MAX_BATCH: usize = 512;
/// How often a batch is tried when another process of the same hub was first.
const MAX_ATTEMPTS: u32 = 8;
/// Most statements that the rules themselves may add after one batch.
const MAX_CONSEQUENCES: usize = 1_000;

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The rules refuse the statement.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The log on disk does not replay: it was altered.
    #[error("entry {index} of log {log} does not replay: {reason}")]
    Corrupt {
        /// The log.
        log: String,
        /// The first entry at fault.
        index: u64,
        /// Why.
        reason: String,
    },
    /// The statement would not fit a log.
    #[error("the statement cannot be encoded: {0}")]
    Encoding(String),
    /// The log has as many entries as the hub permits.
    #[error("log {log} has max_log_entries = {max_entries} entries")]
    Full {
        /// The log.
        log: String,
        /// The limit.
        max_entries: u64,
    },
    /// The batch it was in was given up; nothing was appended.
    #[error("the append was given up; nothing was written: try again")]
    Aborted,
    /// The log came back from a backup, and entries may be missing that its members have.
    #[error("log {log} was restored at {size} entries{waiting}")]
    Restored {
        /// The log.
        log: String,
        /// Number of entries that it has.
        size: u64,
        /// What has to happen first.
        waiting: HeldFor,
    },
}

impl AppendError {
    /// Whether the log only waits for its witnesses after a restore.
    #[must_use]
    pub const fn is_restored(&self) -> bool {
        matches!(self, Self::Restored { .. })
    }

    /// Whether another process of the same hub was first, so that the same may be judged and written anew.
    fn is_overtaken(&self) -> bool {
        matches!(self, Self::Ledger(LedgerError::Conflict { .. })) || is_retryable(self)
    }
}

impl From<DbError> for AppendError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

/// A statement to append: somebody's, or the hub's own, which is sealed at the moment of appending.
#[derive(Debug, Clone)]
pub enum Item {
    /// Signed by a party.
    Signed(Envelope),
    /// The hub attests; under this agreement, where one is needed.
    Attest(Box<Body>, Option<Digest>),
}

/// Where a statement stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its index.
    pub index: u64,
    /// Digest of its payload.
    pub digest: Digest,
    /// When it arrived.
    pub arrived_at: Timestamp,
}

/// What the rules want to add after a batch, given the state: the hub's statements that are due now, each with the terms
/// that it stands under. Asked again after them, until none is due.
pub type Consequence = fn(&State, Timestamp) -> Vec<(Body, Option<Digest>)>;

/// What of the state is also kept in tables, written in the same transaction as the entries.
pub type Project = for<'a> fn(
    &'a mut Tx,
    &'a State,
    &'a [Opened],
) -> std::pin::Pin<Box<dyn Future<Output = Result<(), DbError>> + Send + 'a>>;

/// What an open log needs of its hub.
#[derive(Clone)]
pub struct Keeper {
    /// The database.
    pub db: Db,
    /// The clock.
    pub clock: Clock,
    /// The key that attests and signs checkpoints.
    pub key: Arc<SecretKey>,
    /// What follows from a batch by the rules alone.
    pub consequence: Consequence,
    /// What is kept in tables.
    pub project: Project,
    /// Entries that a log may have, with a reserve for what ends well.
    pub max_entries: u64,
    /// Counts the batches of all logs.
    pub grown: watch::Sender<u64>,
}

/// An [`Item`] whose signature was checked before it stood in the queue: the lock is not held for that.
enum Ready {
    Signed(Envelope, Box<Opened>),
    Attest(Box<Body>, Option<Digest>),
}

/// What became of one caller's statements.
type Outcome = Result<Vec<Appended>, AppendError>;

struct Waiting {
    items: Vec<Ready>,
    answer: oneshot::Sender<Outcome>,
}

/// An open log.
pub struct Log {
    pub(super) name: String,
    pub(super) keeper: Keeper,
    pub(super) inner: RwLock<Inner>,
    queue: Mutex<Vec<Waiting>>,
    pub(super) size: watch::Sender<u64>,
}

/// The state under its lock.
pub struct StateGuard<'a>(RwLockReadGuard<'a, Inner>);

impl std::ops::Deref for StateGuard<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.0.state
    }
}

impl StateGuard<'_> {
    /// The signed checkpoint over exactly this state; none while the log is empty.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&SignedCheckpoint> {
        self.0.checkpoint.as_ref()
    }
}

impl Log {
    /// Opens the log `name`, replaying every entry through the reducer.
    ///
    /// # Errors
    /// [`AppendError::Corrupt`] names the first entry that does not replay.
    pub async fn open(
        keeper: Keeper,
        name: String,
        origin: Origin,
        collaboration: Option<CollaborationId>,
    ) -> Result<Arc<Self>, AppendError> {
        let inner = replay(&keeper.db, &name, origin, collaboration).await?;
        let (size, _) = watch::channel(inner.state.size());
        Ok(Arc::new(Self { name, keeper, inner: RwLock::new(inner), queue: Mutex::default(), size }))
    }

    /// The log's name in the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state now. Readers never see what is not durable.
    ///
    /// # Errors
    /// [`AppendError`] when the state was lost to a failed commit and cannot be replayed.
    pub async fn state(&self) -> Result<StateGuard<'_>, AppendError> {
        loop {
            let guard = self.inner.read().await;
            if !guard.stale {
                return Ok(StateGuard(guard));
            }
            drop(guard);
            self.refresh(&mut *self.inner.write().await).await?;
        }
    }

    /// Tells when the log grows.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    /// Appends `items` in their order, all or none, and what follows from them by the rules. They are durable when this
    /// returns. A statement that stands in the log already is answered with its place.
    ///
    /// # Errors
    /// [`AppendError::Refused`] says which rule forbids it.
    pub async fn append(self: &Arc<Self>, items: Vec<Item>) -> Result<Vec<Appended>, AppendError> {
        let ready = |item| match item {
            Item::Signed(envelope) => {
                let opened = Statement::open(&envelope).map_err(Refusal::from)?;
                Ok(Ready::Signed(envelope, Box::new(opened)))
            }
            Item::Attest(body, agreement) => Ok(Ready::Attest(body, agreement)),
        };
        let items = items.into_iter().map(ready).collect::<Result<Vec<_>, AppendError>>()?;
        let (answer, result) = oneshot::channel();
        self.queue.lock().await.push(Waiting { items, answer });
        let log = Arc::clone(self);
        // On a task of its own: whoever waits may give up, the batch must not be cut in the middle.
        tokio::spawn(async move { log.drain().await });
        result.await.unwrap_or(Err(AppendError::Aborted))
    }

    /// Lets the rules add what is due by the passing of time alone.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn tick(self: &Arc<Self>) -> Result<(), AppendError> {
        self.append(Vec::new()).await.map(|_| ())
    }

    async fn drain(&self) {
        let mut inner = self.inner.write().await;
        let waiting: Vec<_> = {
            let mut queue = self.queue.lock().await;
            let count = queue.len().min(MAX_BATCH);
            queue.drain(..count).collect()
        };
        if waiting.is_empty() {
            return;
        }
        if let Err(error) = self.follow(&mut inner).await {
            tracing::error!(log = self.name, %error, "the log cannot be read");
            return;
        }
        if inner.held.is_some() {
            match self.look_again(&mut inner).await {
                Ok(None) => {}
                Ok(Some(held_for)) => {
                    for Waiting { answer, .. } in waiting {
                        // A caller that has given up needs no answer.
                        let _ = answer.send(Err(self.restored(&inner, held_for.clone())));
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(log = self.name, %error, "whether the log is still held cannot be said");
                    return;
                }
            }
        }
        self.carry_out(&mut inner, waiting).await;
    }

    pub(super) fn grew(&self, inner: &Inner) {
        let size = inner.state.size();
        if self.size.send_if_modified(|seen| std::mem::replace(seen, size) != size) {
            self.keeper.grown.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    async fn carry_out(&self, inner: &mut Inner, waiting: Vec<Waiting>) {
        let mut attempt = 1;
        let (results, committed) = loop {
            let (results, committed) = self.attempt(inner, &waiting).await;
            let overtaken = committed.as_ref().is_err_and(AppendError::is_overtaken) && attempt < MAX_ATTEMPTS;
            inner.stale = committed.is_err();
            // Another process was first: its entries are taken in, and everything is judged anew.
            if !overtaken || self.refresh(inner).await.is_err() {
                break (results, committed);
            }
            attempt += 1;
        };
        if let Err(error) = &committed {
            tracing::warn!(log = self.name, %error, "a batch was not appended");
        }
        let mut failure = committed.err();
        for (Waiting { answer, .. }, result) in waiting.into_iter().zip(results) {
            let result = match result {
                // The first caller whose statements were good learns the cause, the others that nothing was written.
                Ok(_) if inner.stale => Err(failure.take().unwrap_or(AppendError::Aborted)),
                result => result,
            };
            // A caller that has given up needs no answer.
            let _ = answer.send(result);
        }
        self.grew(inner);
    }

    /// Takes what waits as one batch, with what follows from it, and writes it. The state is ahead of the database when that
    /// fails.
    async fn attempt(&self, inner: &mut Inner, waiting: &[Waiting]) -> (Vec<Outcome>, Result<(), AppendError>) {
        let mut batch = Batch::new(inner.state.size(), self.keeper.clock.now());
        let mut results = Vec::with_capacity(waiting.len());
        for Waiting { items, .. } in waiting {
            results.push(self.take(inner, &mut batch, items).await);
            if inner.stale {
                return (results, Err(AppendError::Aborted));
            }
        }
        self.consequences(inner, &mut batch);
        let committed = self.commit(inner, &batch).await;
        (results, committed)
    }

    /// Applies the items of one caller: all of them, or on a refusal none.
    async fn take(&self, inner: &mut Inner, batch: &mut Batch, items: &[Ready]) -> Outcome {
        let mut appended = Vec::with_capacity(items.len());
        for item in items {
            match self.take_one(inner, batch, item).await {
                Ok(one) => appended.push(one),
                Err(error) => {
                    // What went before it in the same call must not stand alone. The state cannot be rolled back, so the
                    // rest of the batch is given up and replayed; callers retry.
                    if appended.iter().any(|a: &Appended| a.index >= batch.first) {
                        inner.stale = true;
                    }
                    return Err(error);
                }
            }
        }
        Ok(appended)
    }

    async fn take_one(&self, inner: &mut Inner, batch: &mut Batch, item: &Ready) -> Result<Appended, AppendError> {
        let (envelope, opened) = match item {
            Ready::Signed(envelope, opened) => (envelope.clone(), Opened::clone(opened)),
            Ready::Attest(body, agreement) => self.seal(&inner.state, Body::clone(body), *agreement, batch.now)?,
        };
        let digest = opened.digest;
        let applied = self.require_room(&inner.state, &opened).and_then(|()| apply(inner, batch, envelope, opened));
        match applied {
            Err(refused @ (AppendError::Refused(_) | AppendError::Full { .. })) => {
                self.standing(batch, digest).await?.ok_or(refused)
            }
            other => other,
        }
    }

    /// Where this very statement stands already, if it does: sending it again is no mistake.
    async fn standing(&self, batch: &Batch, digest: Digest) -> Result<Option<Appended>, AppendError> {
        if let Some(i) = batch.opened.iter().position(|o| o.digest == digest) {
            return Ok(Some(Appended { index: batch.first + i as u64, digest, arrived_at: batch.now }));
        }
        let mut connection = self.keeper.db.read().await?;
        let Some(index) = store::find(&mut connection, &self.name, &digest).await? else { return Ok(None) };
        let entry = store::entries(&mut connection, &self.name, index, 1).await?;
        Ok(entry.first().map(|e| Appended { index, digest, arrived_at: e.arrived_at }))
    }

    fn consequences(&self, inner: &mut Inner, batch: &mut Batch) {
        let end = batch.records.len() + MAX_CONSEQUENCES;
        while batch.records.len() < end {
            let due = (self.keeper.consequence)(&inner.state, batch.now);
            let before = batch.records.len();
            for (body, agreement) in due {
                let kind = body.kind();
                let applied = self.seal(&inner.state, body, agreement, batch.now).and_then(|(envelope, opened)| {
                    self.require_room(&inner.state, &opened)?;
                    apply(inner, batch, envelope, opened)
                });
                match applied {
                    Ok(_) => {}
                    // One of those before made it needless.
                    Err(_) if batch.records.len() > before => {}
                    // The rules proposed what the rules refuse: a bug, but no reason to lose the batch.
                    Err(error) => tracing::error!(log = self.name, kind, %error, "a consequence was refused"),
                }
            }
            if batch.records.len() == before {
                return;
            }
        }
    }

    fn seal(
        &self,
        state: &State,
        body: Body,
        agreement: Option<Digest>,
        now: Timestamp,
    ) -> Result<(Envelope, Opened), AppendError> {
        let envelope = seal_hub(state, &self.keeper.key, body, agreement, now)?;
        let opened = Statement::open(&envelope).map_err(Refusal::from)?;
        Ok((envelope, opened))
    }

    async fn commit(&self, inner: &mut Inner, batch: &Batch) -> Result<(), AppendError> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let encoding = |e: &dyn std::fmt::Display| AppendError::Encoding(e.to_string());
        let checkpoint = Checkpoint {
            origin: inner.state.origin().clone(),
            size: inner.frontier.size(),
            root: inner.frontier.root(),
        };
        let signed = SignedCheckpoint::sign(checkpoint, inner.state.origin(), &self.keeper.key);
        let head = Head {
            origin: inner.state.origin().to_string(),
            size: inner.frontier.size(),
            root: inner.frontier.root().0,
            frontier: canonical::to_bytes(&inner.frontier).map_err(|e| encoding(&e))?,
            checkpoint: signed.to_string(),
            arrived_at: batch.now,
        };
        let signers: Vec<String> = batch.opened.iter().map(|o| o.key.to_string()).collect();
        let entries: Vec<NewEntry<'_>> = batch
            .records
            .iter()
            .zip(&batch.opened)
            .zip(&signers)
            .map(|(((leaf, hash), opened), signer)| NewEntry {
                leaf,
                leaf_hash: &hash.0,
                payload_digest: &opened.digest,
                kind: opened.statement.body.kind(),
                signer,
                arrived_at: batch.now,
            })
            .collect();
        // Not `transaction!`: when another process was first, the same words are not good any more.
        let mut tx = self.keeper.db.begin().await?;
        store::append(&mut tx, &self.name, batch.first, &entries, &head).await?;
        store::put_nodes(&mut tx, &self.name, &batch.nodes).await?;
        (self.keeper.project)(&mut tx, &inner.state, &batch.opened).await?;
        tx.commit().await?;
        inner.checkpoint = Some(signed);
        Ok(())
    }

    pub(super) async fn refresh(&self, inner: &mut Inner) -> Result<(), AppendError> {
        if inner.stale {
            let (origin, collaboration) = (inner.state.origin().clone(), inner.state.collaboration().cloned());
            *inner = replay(&self.keeper.db, &self.name, origin, collaboration).await?;
            // What another process brought in may be later than what this one's clock has told.
            self.keeper.clock.raise(inner.state.last_arrival());
        }
        Ok(())
    }
}
