//! What an operator can forge with the hub's key: any checkpoint, any offer, any attestation. Not a member's signature.

use std::sync::Arc;

use allmende_core::digest::Digest;
use allmende_core::id::{Origin, PartyId};
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::ledger::envelope::{Envelope, Record};
use allmende_core::ledger::merkle::{Frontier, leaf_hash};
use allmende_core::run::engine::{Task, due_at, tasks};
use allmende_core::run::offer::{Offer, Work};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::state::State;
use allmende_core::state::runs::Run;
use allmende_core::statement::{Body, HUB, Header, KeyClass, Signer, Statement};

use crate::client::mirror::Mirror;
use crate::clock::Clock;
use crate::demo::Failed;
use crate::ledger::log::seal_hub;

/// How long a forged offer stands, in milliseconds.
const OFFER_MS: i64 = 120_000;

/// A failure of the demonstration itself, not of a fraud.
pub fn broken(error: impl std::fmt::Display) -> Failed {
    Failed::new("prepare a fraud", error)
}

/// All records of a verified log.
///
/// # Errors
/// [`Failed`] when the mirror cannot be read.
pub fn records(mirror: &Mirror) -> Result<Vec<Record>, Failed> {
    let mut all = Vec::new();
    while (all.len() as u64) < mirror.entries() {
        let page = mirror.read(all.len() as u64).map_err(broken)?;
        if page.is_empty() {
            return Err(broken("the log ends early"));
        }
        all.extend(page);
    }
    Ok(all)
}

/// A log of the operator's own making, well signed by the hub's key at every size.
pub struct Forged {
    origin: Origin,
    key: Arc<SecretKey>,
    leaves: Vec<String>,
    state: Option<State>,
}

impl Forged {
    /// The bytes of all entries.
    #[must_use]
    pub fn leaves(&self) -> &[String] {
        &self.leaves
    }

    /// Number of entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The entries from `from` on.
    #[must_use]
    pub fn from(&self, from: u64) -> Vec<String> {
        self.leaves.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).cloned().collect()
    }

    /// A signed checkpoint over the first `size` entries.
    #[must_use]
    pub fn signed(&self, size: u64) -> SignedCheckpoint {
        let mut frontier = Frontier::new();
        for leaf in self.leaves.iter().take(usize::try_from(size).unwrap_or(usize::MAX)) {
            frontier.push(leaf_hash(leaf.as_bytes()));
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: frontier.size(), root: frontier.root() };
        SignedCheckpoint::sign(checkpoint, &self.origin, &self.key)
    }

    /// Its text.
    #[must_use]
    pub fn checkpoint(&self, size: u64) -> String {
        self.signed(size).to_string()
    }

    /// All work that this log makes due for a node, freshly signed.
    #[must_use]
    pub fn offers(&self, party: &PartyId, node: &PublicKey) -> Vec<Envelope> {
        let Some(state) = &self.state else { return Vec::new() };
        let due = state.runs().values().filter(|run| !run.status.is_over());
        let offered = due.flat_map(|run| tasks(run, party, node).into_iter().map(move |task| (run, task)));
        offered.filter_map(|(run, task)| self.offer(state, run, &task, node)).collect()
    }

    fn offer(&self, state: &State, run: &Run, task: &Task, node: &PublicKey) -> Option<Envelope> {
        let work = match *task {
            Task::Answer => Work::Answer {},
            Task::Train { coalition, round, base } => Work::Train { coalition, round, base },
            Task::Evaluate { coalition, round, model } => Work::Evaluate { coalition, round, model },
        };
        seal_offer(&self.key, state, run, work, due_at(run, task), *node).ok()
    }
}

fn seal_offer(
    key: &SecretKey,
    state: &State,
    run: &Run,
    work: Work,
    log_size: u64,
    node: PublicKey,
) -> Result<Envelope, Failed> {
    let now = Clock::system().now();
    let offer = Offer {
        origin: state.origin().clone(),
        collaboration: state.collaboration().cloned().ok_or_else(|| broken("no collaboration"))?,
        run: run.id.clone(),
        plan: run.plan_digest,
        agreement: run.plan.agreement,
        node,
        log_size,
        work,
        issued_at: now,
        expires_at: now.plus_ms(OFFER_MS),
    };
    offer.seal(key).map_err(broken)
}

/// The dishonest operator.
pub struct Operator {
    key: Arc<SecretKey>,
    /// A key of its own making, for impostures.
    pub own: SecretKey,
}

impl Operator {
    /// An operator who holds the hub's key, read from the hub's folder as only it can.
    ///
    /// # Errors
    /// [`Failed`] when the key is not there.
    pub fn new(hub_dir: &std::path::Path) -> Result<Self, Failed> {
        let key = crate::keyfile::signing_key(&hub_dir.join("hub.key")).map_err(broken)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(broken)?;
        Ok(Self { key: Arc::new(key), own: SecretKey::from_seed(&seed) })
    }

    /// A log of these records, whatever they are.
    ///
    /// # Errors
    /// [`Failed`] when a record has no encoding.
    pub fn log(&self, origin: &Origin, records: &[Record]) -> Result<Forged, Failed> {
        let leaf = |record: &Record| {
            let bytes = record.to_bytes().map_err(broken)?;
            String::from_utf8(bytes).map_err(broken)
        };
        let leaves = records.iter().map(leaf).collect::<Result<_, _>>()?;
        Ok(Forged { origin: origin.clone(), key: Arc::clone(&self.key), leaves, state: None })
    }

    /// A log that stands still at what `state` says, and goes on to offer the work that was due then.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn frozen(&self, state: &State, records: &[Record]) -> Result<Forged, Failed> {
        Ok(Forged { state: Some(state.clone()), ..self.log(state.origin(), records)? })
    }

    /// The hub's attestation of anything.
    ///
    /// # Errors
    /// [`Failed`] when it cannot be encoded.
    pub fn attest(&self, state: &State, body: Body, agreement: Option<Digest>) -> Result<Envelope, Failed> {
        seal_hub(state, &self.key, body, agreement, Clock::system().now()).map_err(broken)
    }

    /// An offer of `work` in `run` to `node`, signed like an honest one.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn offer(&self, state: &State, run: &Run, work: Work, node: PublicKey) -> Result<Envelope, Failed> {
        seal_offer(&self.key, state, run, work, state.size(), node)
    }
}

/// A statement that claims to be `party`'s, signed by whatever key is at hand.
///
/// # Errors
/// [`Failed`].
pub fn pose(state: &State, party: &str, class: KeyClass, key: &SecretKey, body: Body) -> Result<Envelope, Failed> {
    let keys = matches!(body, Body::KeyRotated(_) | Body::KeyDelegated(_) | Body::KeyRevoked(_));
    let chain = state.chain(&key.public(), keys);
    let agreement = state.terms_in_force(Clock::system().now()).next().map(|(digest, _)| *digest);
    let needed = allmende_core::statement::row(body.kind())
        .is_some_and(|row| row.scope == allmende_core::statement::Scope::Agreement);
    let header = Header {
        origin: if keys { state.registry().unwrap_or(state.origin()) } else { state.origin() }.clone(),
        collaboration: if keys { None } else { state.collaboration().cloned() },
        agreement: agreement.filter(|_| needed),
        by: Signer { party: party.parse().map_err(broken)?, class },
        seq: chain.next,
        previous: chain.last,
        claimed_at: Clock::system().now(),
    };
    Statement { header, body }.seal(key).map_err(broken)
}

/// A record that arrives now, or right after the last one where that lies later.
#[must_use]
pub fn arrived(after: &State, envelope: Envelope) -> Record {
    Record { arrived_at: Clock::system().now().max(after.last_arrival()), envelope }
}

/// The name under which a hub signs, for who poses as it.
pub const AS_HUB: &str = HUB;
