//! An open log's state in memory: how it grows by a statement, and how it is read back from the database.

use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, Origin, PartyId};
use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::ledger::envelope::{Envelope, Record};
use allmende_core::ledger::merkle::{Frontier, Hash, Subtree, leaf_hash};
use allmende_core::ledger::tile::TILE_HEIGHT;
use allmende_core::signature::SecretKey;
use allmende_core::state::State;
use allmende_core::statement::{Body, HUB, Header, KeyClass, Opened, Scope, Signer, Statement, row};
use allmende_core::time::Timestamp;

use super::hold::{self, Hold};
use super::log::{AppendError, Appended};
use super::store;
use crate::db::Db;
use crate::transaction;

/// Entries read at once when a log is replayed.
const REPLAY_PAGE: u64 = 1_000;
/// Stored nodes written in one transaction when an older database gets them.
const BACKFILL_PAGE: usize = 10_000;

/// What a log folds to.
pub(super) struct Inner {
    pub state: State,
    pub frontier: Frontier,
    /// Over exactly this state; none while the log is empty.
    pub checkpoint: Option<SignedCheckpoint>,
    /// Whether it came back from a backup and its witnesses were not heard.
    pub held: Option<Hold>,
    /// Ahead of the database, because a commit failed.
    pub stale: bool,
}

/// The entries of one transaction.
pub(super) struct Batch {
    pub first: u64,
    pub now: Timestamp,
    pub records: Vec<(Vec<u8>, Hash)>,
    pub opened: Vec<Opened>,
    /// Subtrees that the entries complete, at the levels that are stored.
    pub nodes: Vec<(Subtree, Hash)>,
}

impl Batch {
    pub(super) const fn new(first: u64, now: Timestamp) -> Self {
        Self { first, now, records: Vec::new(), opened: Vec::new(), nodes: Vec::new() }
    }
}

/// Whether subtrees of this level are stored: those that the next level of tiles is made of.
#[must_use]
pub const fn is_stored(level: u8) -> bool {
    level > 0 && level.is_multiple_of(TILE_HEIGHT)
}

/// Takes the next entry into the state and the batch.
pub(super) fn apply(
    inner: &mut Inner,
    batch: &mut Batch,
    envelope: Envelope,
    opened: Opened,
) -> Result<Appended, AppendError> {
    let record = Record { arrived_at: batch.now, envelope };
    let leaf = record.to_bytes().map_err(|e| AppendError::Encoding(e.to_string()))?;
    let index = inner.state.size();
    inner.state.apply_opened(&opened, batch.now)?;
    let hash = leaf_hash(&leaf);
    inner.frontier.push_with(hash, |subtree, hash| {
        if is_stored(subtree.level) {
            batch.nodes.push((subtree, hash));
        }
    });
    let appended = Appended { index, digest: opened.digest, arrived_at: batch.now };
    batch.records.push((leaf, hash));
    batch.opened.push(opened);
    Ok(appended)
}

/// Seals the hub's next statement for the log of `state`.
///
/// # Errors
/// [`AppendError::Encoding`] when the body is no strict JSON.
pub fn seal_hub(
    state: &State,
    key: &SecretKey,
    body: Body,
    agreement: Option<Digest>,
    now: Timestamp,
) -> Result<Envelope, AppendError> {
    let keys = row(body.kind()).is_some_and(|row| row.scope == Scope::Keys);
    let chain = state.chain(&key.public(), keys);
    let encoding = |e: &dyn std::fmt::Display| AppendError::Encoding(e.to_string());
    let party: PartyId = HUB.parse().map_err(|e| encoding(&e))?;
    let header = Header {
        origin: state.origin().clone(),
        collaboration: state.collaboration().cloned(),
        agreement,
        by: Signer { party, class: KeyClass::Hub },
        seq: chain.next,
        previous: chain.last,
        claimed_at: now,
    };
    Statement { header, body }.seal(key).map_err(|e| encoding(&e))
}

/// Reads the log `name` from the database through the rules.
pub(super) async fn replay(
    db: &Db,
    name: &str,
    origin: Origin,
    collaboration: Option<CollaborationId>,
) -> Result<Inner, AppendError> {
    let state = State::new(origin, collaboration);
    let mut inner = Inner { state, frontier: Frontier::new(), checkpoint: None, held: None, stale: false };
    let nodes = read_on(db, name, &mut inner).await?;
    let stored = store::count_nodes(&mut *db.read().await?, name).await?;
    if stored < nodes.len() as u64 {
        backfill(db, name, &nodes).await?;
    }
    Ok(inner)
}

/// Reads the entries that `inner` has not yet, through the rules. Gives the subtrees that they complete. What is left after
/// an error fits no checkpoint.
pub(super) async fn read_on(db: &Db, name: &str, inner: &mut Inner) -> Result<Vec<(Subtree, Hash)>, AppendError> {
    let mut nodes = Vec::new();
    let mut snapshot = db.snapshot().await?;
    let head = store::head(&mut snapshot, name).await?;
    let corrupt = |index, reason: String| AppendError::Corrupt { log: name.to_owned(), index, reason };
    let size = head.as_ref().map_or(0, |h| h.size);
    while inner.state.size() < size {
        let from = inner.state.size();
        for entry in store::entries(&mut snapshot, name, from, REPLAY_PAGE.min(size - from)).await? {
            let record = Record::from_bytes(&entry.leaf).map_err(|e| corrupt(entry.index, e.to_string()))?;
            inner.state.apply(&record).map_err(|e| corrupt(entry.index, e.to_string()))?;
            inner.frontier.push_with(leaf_hash(&entry.leaf), |subtree, hash| {
                if is_stored(subtree.level) {
                    nodes.push((subtree, hash));
                }
            });
        }
    }
    inner.checkpoint = match head {
        None => None,
        Some(head) if head.root == inner.frontier.root().0 => {
            Some(head.checkpoint.parse().map_err(|e| corrupt(size, format!("checkpoint: {e}")))?)
        }
        Some(_) => return Err(corrupt(size, "the root is not the stored one".to_owned())),
    };
    inner.held = hold::of(&mut snapshot, name).await?;
    Ok(nodes)
}

/// Stores what a database of an earlier version has not.
async fn backfill(db: &Db, name: &str, nodes: &[(Subtree, Hash)]) -> Result<(), AppendError> {
    for page in nodes.chunks(BACKFILL_PAGE) {
        let stored: Result<(), super::LedgerError> =
            transaction!(*db, tx => { store::put_nodes(tx, name, page).await });
        stored?;
    }
    tracing::info!(log = name, nodes = nodes.len(), "inner nodes of the log's tree are stored");
    Ok(())
}
