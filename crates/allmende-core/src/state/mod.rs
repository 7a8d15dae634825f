//! The one reducer: folds a log's entries into the state that hub, node and verifier judge by.
//!
//! [`State::apply`] checks first and changes after: a refused entry leaves no trace. Nothing else may change the state.

mod agreements;
mod assets;
mod benefit;
mod decisions;
mod keys;
mod licences;
mod members;
pub mod refusal;
mod repositories;
pub mod runs;

use std::collections::{BTreeMap, BTreeSet};

use crate::agreement::terms::Terms;
use crate::collaboration::charter::Charter;
use crate::collaboration::decision::Subject;
use crate::digest::Digest;
use crate::id::{AssetId, CollaborationId, DecisionId, Label, Origin, PartyId, RunId};
use crate::ledger::account::Accounts;
use crate::ledger::envelope::Record;
use crate::party::Party;
use crate::signature::PublicKey;
use crate::statement::{Body, HUB, KeyClass, LogOpened, Opened, PROTOCOL, Scope, Statement, row};
use crate::time::Timestamp;

pub use agreements::{Agreement, AgreementStatus};
pub use assets::Asset;
pub use decisions::Decided;
pub use licences::Cleared;
pub use refusal::Refusal;
pub use repositories::Repository;

/// Where a key's own chain of statements stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    /// Sequence number of the next statement.
    pub next: u64,
    /// Payload digest of the last one.
    pub last: Option<Digest>,
}

/// All that a log says, up to its size.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    origin: Origin,
    collaboration: Option<CollaborationId>,
    registry: Option<Origin>,
    hub_key: Option<PublicKey>,
    size: u64,
    last_arrival: Timestamp,
    chains: BTreeMap<(PublicKey, bool), Chain>,
    keys_used: BTreeSet<PublicKey>,
    parties: BTreeMap<PartyId, Party>,
    charter: Option<Charter>,
    members: BTreeMap<PartyId, Timestamp>,
    admitted: BTreeSet<PartyId>,
    excluded: BTreeSet<PartyId>,
    agreements: BTreeMap<Digest, Agreement>,
    decisions: BTreeMap<DecisionId, Decided>,
    /// The open ones by their subjects, of which each is open at most once.
    open: BTreeMap<Subject, DecisionId>,
    /// What was decided in favour.
    passed: BTreeSet<Subject>,
    assets: BTreeMap<AssetId, Asset>,
    repositories: BTreeMap<AssetId, Repository>,
    runs: BTreeMap<RunId, runs::Run>,
    payouts: BTreeMap<Label, RunId>,
    accounts: Accounts,
}

/// What every handler needs of the entry beside its body.
struct Context<'a> {
    opened: &'a Opened,
    at: Timestamp,
}

impl Context<'_> {
    fn party(&self) -> &PartyId {
        &self.opened.statement.header.by.party
    }

    fn key(&self) -> PublicKey {
        self.opened.key
    }
}

type Checked = Result<(), Refusal>;

impl State {
    /// The state of an empty log. The hub's log of parties and keys has no collaboration.
    #[must_use]
    pub fn new(origin: Origin, collaboration: Option<CollaborationId>) -> Self {
        Self {
            origin,
            collaboration,
            registry: None,
            hub_key: None,
            size: 0,
            last_arrival: Timestamp(0),
            chains: BTreeMap::new(),
            keys_used: BTreeSet::new(),
            parties: BTreeMap::new(),
            charter: None,
            members: BTreeMap::new(),
            admitted: BTreeSet::new(),
            excluded: BTreeSet::new(),
            agreements: BTreeMap::new(),
            decisions: BTreeMap::new(),
            open: BTreeMap::new(),
            passed: BTreeSet::new(),
            assets: BTreeMap::new(),
            repositories: BTreeMap::new(),
            runs: BTreeMap::new(),
            payouts: BTreeMap::new(),
            accounts: Accounts::default(),
        }
    }

    /// Takes the next entry of the log.
    ///
    /// # Errors
    /// [`Refusal`] says why it cannot stand here; the state is then unchanged.
    pub fn apply(&mut self, record: &Record) -> Result<Opened, Refusal> {
        let opened = Statement::open(&record.envelope)?;
        self.apply_opened(&opened, record.arrived_at)?;
        Ok(opened)
    }

    /// As [`Self::apply`], for a statement that the caller has opened itself: whoever needs it twice opens it once. The
    /// signature is not checked again.
    ///
    /// # Errors
    /// [`Refusal`] says why it cannot stand here; the state is then unchanged.
    pub fn apply_opened(&mut self, opened: &Opened, arrived_at: Timestamp) -> Checked {
        if arrived_at < self.last_arrival {
            return Err(Refusal::TimeRunsBack { last: self.last_arrival, got: arrived_at });
        }
        let scope = self.check_header(opened, arrived_at)?;
        self.dispatch(&Context { opened, at: arrived_at })?;

        let chain = self.chains.entry((opened.key, scope == Scope::Keys)).or_default();
        *chain = Chain { next: opened.statement.header.seq + 1, last: Some(opened.digest) };
        self.size += 1;
        self.last_arrival = arrived_at;
        Ok(())
    }

    fn check_header(&self, opened: &Opened, at: Timestamp) -> Result<Scope, Refusal> {
        let header = &opened.statement.header;
        let kind = opened.statement.body.kind();
        let row = row(kind).ok_or(Refusal::WrongLog { kind })?;
        if (row.scope == Scope::Opening) != (self.size == 0) {
            return Err(Refusal::Opening {});
        }
        self.check_place(opened, row.scope)?;
        if !row.classes.contains(&header.by.class) {
            return Err(Refusal::WrongClass { kind, class: header.by.class });
        }
        self.check_key(opened)?;
        let chain = self.chain(&opened.key, row.scope == Scope::Keys);
        if header.seq != chain.next {
            return Err(Refusal::Sequence { expected: chain.next, got: header.seq });
        }
        if header.previous != chain.last {
            return Err(Refusal::Previous {});
        }
        if row.scope == Scope::Agreement && header.agreement.is_none_or(|terms| self.in_force(&terms, at).is_none()) {
            return Err(Refusal::NotInForce { agreement: header.agreement });
        }
        Ok(row.scope)
    }

    fn check_place(&self, opened: &Opened, scope: Scope) -> Checked {
        let header = &opened.statement.header;
        let kind = opened.statement.body.kind();
        let keys = scope == Scope::Keys;
        let expected = if keys { self.registry.as_ref().unwrap_or(&self.origin) } else { &self.origin };
        if header.origin != *expected {
            return Err(Refusal::WrongOrigin { expected: expected.clone(), got: header.origin.clone() });
        }
        if header.collaboration != if keys { None } else { self.collaboration.clone() } {
            return Err(Refusal::WrongCollaboration { got: header.collaboration.clone() });
        }
        if self.collaboration.is_none() && !matches!(scope, Scope::Keys | Scope::Opening) {
            return Err(Refusal::WrongLog { kind });
        }
        Ok(())
    }

    fn check_key(&self, opened: &Opened) -> Checked {
        let by = &opened.statement.header.by;
        let is_hub = by.party.as_str() == HUB;
        let holds = match (&opened.statement.body, by.class) {
            // These two name the key that they make known; their handlers check that it is the signer.
            (Body::LogOpened(_), KeyClass::Hub) => is_hub,
            (Body::PartyRegistered(_), KeyClass::Root) => !is_hub,
            (_, KeyClass::Hub) => is_hub && self.hub_key == Some(opened.key),
            (_, class) => {
                let unknown = || Refusal::UnknownParty { party: by.party.clone() };
                self.parties.get(&by.party).ok_or_else(unknown)?.holds(class, &opened.key)
            }
        };
        if holds {
            Ok(())
        } else {
            Err(Refusal::NotTheirKey { party: by.party.clone(), class: by.class, key: opened.key })
        }
    }

    fn dispatch(&mut self, context: &Context<'_>) -> Checked {
        match &context.opened.statement.body {
            Body::LogOpened(body) => self.log_opened(context, body),
            Body::PartyRegistered(body) => self.party_registered(context, body),
            Body::KeyDelegated(body) => self.key_delegated(context, body),
            Body::KeyRotated(body) => self.key_rotated(context, body),
            Body::KeyRevoked(body) => self.key_revoked(context, body),
            Body::CollaborationProposed(body) => self.collaboration_proposed(context, body),
            Body::CollaborationJoined(body) => self.collaboration_joined(context, body),
            Body::AgreementProposed(body) => self.agreement_proposed(context, body),
            Body::AgreementSigned(body) => self.agreement_signed(context, body),
            Body::AgreementWithdrawn(body) => self.agreement_withdrawn(context, body),
            Body::DecisionOpened(body) => self.decision_opened(context, body),
            Body::DecisionVoted(body) => self.decision_voted(context, body),
            Body::DecisionClosed(body) => self.decision_closed(context, body),
            Body::AssetRegistered(body) => self.asset_registered(context, body),
            Body::AssetRevoked(body) => self.asset_revoked(context, body),
            Body::RunProposed(body) => self.run_proposed(context, body),
            Body::RunChecked(body) => self.run_checked(context, body),
            Body::RunAccepted(body) => self.run_accepted(context, body),
            Body::RunRefused(body) => self.run_refused(context, body),
            Body::RunStarted(body) => self.run_started(context, body),
            Body::UpdateSubmitted(body) => self.update_submitted(context, body),
            Body::RoundClosed(body) => self.round_closed(context, body),
            Body::TrackDropped(body) => self.track_dropped(context, body),
            Body::EvaluationReported(body) => self.evaluation_reported(context, body),
            Body::RunFinished(body) => self.run_finished(context, body),
            Body::RunFailed(body) => self.run_failed(context, body),
            Body::ModelReleased(body) => self.model_released(context, body),
            Body::RepositoryPlaced(body) => self.repository_placed(context, body),
            Body::RepositoryWithdrawn(body) => self.repository_withdrawn(context, body),
            Body::AccessGranted(body) => self.access_granted(context, body),
            Body::ReadsCounted(body) => self.reads_counted(context, body),
            Body::ContributionMeasured(body) => self.contribution_measured(body),
            Body::PayoutPosted(body) => self.payout_posted(context, body),
        }
    }

    fn log_opened(&mut self, context: &Context<'_>, body: &LogOpened) -> Checked {
        if body.protocol != PROTOCOL {
            return Err(Refusal::Protocol { got: body.protocol });
        }
        if body.hub_key != context.key() {
            return Err(Refusal::Opening {});
        }
        self.hub_key = Some(body.hub_key);
        self.keys_used.insert(body.hub_key);
        self.registry = Some(body.registry.clone());
        Ok(())
    }
}

/// Reading the state.
impl State {
    /// Origin of the log.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The collaboration; none for the hub's own log.
    #[must_use]
    pub const fn collaboration(&self) -> Option<&CollaborationId> {
        self.collaboration.as_ref()
    }

    /// Origin of the hub's log of parties and keys, once the log is open.
    #[must_use]
    pub const fn registry(&self) -> Option<&Origin> {
        self.registry.as_ref()
    }

    /// The hub's key, once the log is open.
    #[must_use]
    pub const fn hub_key(&self) -> Option<PublicKey> {
        self.hub_key
    }

    /// Number of entries.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Arrival of the last entry.
    #[must_use]
    pub const fn last_arrival(&self) -> Timestamp {
        self.last_arrival
    }

    /// Where a key's chain stands: its chain of statements about keys, or its chain in this collaboration.
    #[must_use]
    pub fn chain(&self, key: &PublicKey, keys: bool) -> Chain {
        self.chains.get(&(*key, keys)).copied().unwrap_or_default()
    }

    /// All parties known to this log.
    #[must_use]
    pub const fn parties(&self) -> &BTreeMap<PartyId, Party> {
        &self.parties
    }

    /// The charter, once proposed.
    #[must_use]
    pub const fn charter(&self) -> Option<&Charter> {
        self.charter.as_ref()
    }

    /// The members now, with when they joined.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<PartyId, Timestamp> {
        &self.members
    }

    /// Parties that a decision let in and that have not joined yet.
    #[must_use]
    pub const fn admitted(&self) -> &BTreeSet<PartyId> {
        &self.admitted
    }

    /// All terms ever proposed.
    #[must_use]
    pub const fn agreements(&self) -> &BTreeMap<Digest, Agreement> {
        &self.agreements
    }

    /// All decisions.
    #[must_use]
    pub const fn decisions(&self) -> &BTreeMap<DecisionId, Decided> {
        &self.decisions
    }

    /// All registered assets.
    #[must_use]
    pub const fn assets(&self) -> &BTreeMap<AssetId, Asset> {
        &self.assets
    }

    /// All runs.
    #[must_use]
    pub const fn runs(&self) -> &BTreeMap<RunId, runs::Run> {
        &self.runs
    }

    /// The payouts posted, each with its run; the amounts stand in the accounts.
    #[must_use]
    pub const fn payouts(&self) -> &BTreeMap<Label, RunId> {
        &self.payouts
    }

    /// The accounts.
    #[must_use]
    pub const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Terms in force at `at`, oldest first.
    pub fn terms_in_force(&self, at: Timestamp) -> impl Iterator<Item = (&Digest, &Terms)> {
        self.agreements.iter().filter(move |(_, a)| a.is_in_force(at)).map(|(digest, a)| (digest, &a.terms))
    }
}
