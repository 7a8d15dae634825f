//! Every kind of statement that can stand in a log, and which class of key may sign it.
//!
//! This is one closed table: a kind, field or class that is not here is refused. A statement binds its kind, the origin of
//! its log, its collaboration, the agreement it is made under, its signer and the signer's own sequence, so that it can be
//! neither replayed elsewhere nor dropped or reordered unnoticed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agreement::terms::Terms;
use crate::agreement::vocabulary::{DataClass, codes};
use crate::amount::Amount;
use crate::canonical;
use crate::collaboration::charter::Charter;
use crate::collaboration::decision::{Outcome, Subject, Vote};
use crate::contribution::Ratio;
use crate::digest::Digest;
use crate::id::{AssetId, ClauseId, CollaborationId, DecisionId, Label, Origin, PartyId, RunId};
use crate::licence::Stated;
use crate::run::plan::{Coalition, Plan};
use crate::signature::PublicKey;
use crate::time::Timestamp;

mod parts;
mod sealed;

pub use parts::{CoalitionValue, Confusion, Counted, FailureCode, OpenBytes, Reads, RefusalCode};
pub use sealed::{Opened, StatementError};

/// Version of the statements and of the wire between hub and node.
pub const PROTOCOL: u32 = 1;
/// The party id under which a hub signs.
pub const HUB: &str = "hub";

codes!(
    /// What a key may be used for.
    KeyClass {
        /// Kept offline; rotates the others.
        Root = "root",
        /// Known only by its digest until the root key is lost; rotates the root key.
        Recovery = "recovery",
        /// On a person's machine, encrypted: terms, votes, releases, payouts.
        Governance = "governance",
        /// On a member's node: accept, refuse, update, evaluate, cosign.
        Node = "node",
        /// The hub's: attestations of what it did.
        Hub = "hub",
    }
);

/// Who signs, and in which capacity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The party, or `hub`.
    pub party: PartyId,
    /// The class of the key.
    pub class: KeyClass,
}

/// What every statement binds besides its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Origin of the log it is made for.
    pub origin: Origin,
    /// The collaboration; none for statements about a party's own keys, which stand in several logs.
    pub collaboration: Option<CollaborationId>,
    /// The agreement it is made under, where one is needed.
    pub agreement: Option<Digest>,
    /// The signer.
    pub by: Signer,
    /// Position in the signer key's own chain in this scope, from 0.
    pub seq: u64,
    /// Payload digest of the statement before it in that chain.
    pub previous: Option<Digest>,
    /// The signer's clock: a claim, never used for a deadline.
    pub claimed_at: Timestamp,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it binds.
    pub header: Header,
    /// What it says.
    pub body: Body,
}

macro_rules! statements {
    ($($(#[doc = $doc:literal])+ $name:ident $kind:literal by [$($class:ident),+] $scope:ident $fields:tt)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name $fields
        )+

        /// What a statement says.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum Body { $($name($name)),+ }

        impl Body {
            /// The kind's name.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $kind),+ }
            }

            fn to_value(&self) -> Result<Value, serde_json::Error> {
                match self { $(Self::$name(body) => serde_json::to_value(body)),+ }
            }

            fn from_value(kind: &str, value: Value) -> Result<Self, StatementError> {
                let shape = |e: serde_json::Error| canonical::Error::Shape(format!("{kind}: {e}"));
                match kind {
                    $($kind => Ok(Self::$name(serde_json::from_value(value).map_err(shape)?)),)+
                    _ => Err(StatementError::UnknownKind(kind.chars().take(60).collect())),
                }
            }
        }

        /// Kind → key classes that may sign it → where it stands: the closed table.
        pub const TABLE: &[Row] = &[$(Row {
            kind: $kind,
            says: concat!($($doc),+),
            classes: &[$(KeyClass::$class),+],
            scope: Scope::$scope,
        }),+];

        $(impl From<$name> for Body { fn from(body: $name) -> Self { Self::$name(body) } })+
    };
}

/// Where a kind of statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// About a party's own keys: signed once for the hub's registry and copied into each collaboration it joins.
    Keys,
    /// The first entry of any log.
    Opening,
    /// In one collaboration.
    Collaboration,
    /// In one collaboration, under an agreement in force.
    Agreement,
}

/// A row of [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The kind's name.
    pub kind: &'static str,
    /// What such a statement says.
    pub says: &'static str,
    /// Who may sign.
    pub classes: &'static [KeyClass],
    /// Where it stands.
    pub scope: Scope,
}

statements! {
    /// A hub opens a log.
    LogOpened "log.opened" by [Hub] Opening {
        /// The key with which the hub attests and signs checkpoints.
        pub hub_key: PublicKey,
        /// Version of statements and wire.
        pub protocol: u32,
        /// Origin of the hub's log of parties and keys.
        pub registry: Origin,
    }
    /// A party makes itself known; signed by the root key it names.
    PartyRegistered "party.registered" by [Root] Keys {
        /// Its name on this hub.
        pub party: PartyId,
        /// The root key.
        pub root: PublicKey,
        /// The first governance key.
        pub governance: PublicKey,
        /// SHA-256 of the recovery public key's 32 bytes.
        pub recovery: Option<Digest>,
    }
    /// A governance key lends narrow powers to a node.
    KeyDelegated "key.delegated" by [Governance] Keys {
        /// The node's key.
        pub key: PublicKey,
        /// The node's name.
        pub node: Label,
    }
    /// A key is replaced: governance by root, root by recovery.
    KeyRotated "key.rotated" by [Root, Recovery] Keys {
        /// Which key.
        pub class: KeyClass,
        /// The key from now on.
        pub new: PublicKey,
    }
    /// A key loses its power.
    KeyRevoked "key.revoked" by [Root, Governance] Keys {
        /// The node key, or by root the governance key.
        pub key: PublicKey,
    }
    /// A party proposes a collaboration and is its first member.
    CollaborationProposed "collaboration.proposed" by [Governance] Collaboration {
        /// The charter.
        pub charter: Charter,
    }
    /// An invited or admitted party joins.
    CollaborationJoined "collaboration.joined" by [Governance] Collaboration {
        /// Digest of the charter it joins under.
        pub charter: Digest,
    }
    /// Terms are offered.
    AgreementProposed "agreement.proposed" by [Governance] Collaboration {
        /// The whole terms.
        pub terms: Terms,
    }
    /// A party signs the terms of this digest.
    AgreementSigned "agreement.signed" by [Governance] Collaboration {
        /// Digest of the canonical terms.
        pub terms: Digest,
    }
    /// A party leaves an agreement in force, as its exit clause says.
    AgreementWithdrawn "agreement.withdrawn" by [Governance] Collaboration {
        /// The agreement.
        pub terms: Digest,
    }
    /// A matter is put to the members.
    DecisionOpened "decision.opened" by [Governance] Collaboration {
        /// Its name.
        pub decision: DecisionId,
        /// What is decided.
        pub subject: Subject,
    }
    /// A member votes, once.
    DecisionVoted "decision.voted" by [Governance] Collaboration {
        /// On what.
        pub decision: DecisionId,
        /// How.
        pub vote: Vote,
    }
    /// The hub records the outcome, which everyone computes alike.
    DecisionClosed "decision.closed" by [Hub] Collaboration {
        /// Which.
        pub decision: DecisionId,
        /// How it ended.
        pub outcome: Outcome,
    }
    /// A member offers an asset; schema, counts and a salted commitment leave, rows do not.
    AssetRegistered "asset.registered" by [Governance] Agreement {
        /// Its name.
        pub asset: AssetId,
        /// What its bytes hold.
        pub class: DataClass,
        /// SHA-256 over a secret salt and the data: binds the owner without revealing anything guessable.
        pub commitment: Digest,
        /// Digest of the schema document.
        pub schema: Digest,
        /// Features of a row.
        pub features: u32,
        /// Classes of the label.
        pub classes: u32,
        /// Rows for training: caps the weight of its updates.
        pub train_rows: u64,
        /// Rows held out for evaluation.
        pub held_out_rows: u64,
        /// For an openly shared asset: its bytes on the hub.
        pub bytes: Option<OpenBytes>,
        /// The licence of others that it stands under, if so. Not stated, it is its owner's own, and the terms are its licence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub licence: Option<Stated>,
    }
    /// The owner takes an asset back at once, without a vote.
    AssetRevoked "asset.revoked" by [Governance] Collaboration {
        /// Which.
        pub asset: AssetId,
    }
    /// Work is proposed.
    RunProposed "run.proposed" by [Governance] Agreement {
        /// Its name.
        pub run: RunId,
        /// All that decides its result.
        pub plan: Plan,
    }
    /// The hub records what the terms say about a proposal.
    RunChecked "run.checked" by [Hub] Agreement {
        /// Which.
        pub run: RunId,
        /// Whether the terms allow it.
        pub allowed: bool,
        /// The clauses that allowed or forbade.
        pub clauses: Vec<ClauseId>,
    }
    /// A node will do its part of a run.
    RunAccepted "run.accepted" by [Node] Agreement {
        /// Which.
        pub run: RunId,
        /// Digest of the plan it read.
        pub plan: Digest,
        /// Size of the log it judged by.
        pub log_size: u64,
    }
    /// A node will not.
    RunRefused "run.refused" by [Node] Collaboration {
        /// Which.
        pub run: RunId,
        /// Why.
        pub code: RefusalCode,
        /// The clause that forbids, if one does.
        pub clause: Option<ClauseId>,
        /// Size of the log it judged by.
        pub log_size: u64,
    }
    /// Enough nodes accepted; the rounds begin.
    RunStarted "run.started" by [Hub] Agreement {
        /// Which.
        pub run: RunId,
    }
    /// A node's update arrived whole and is durable at the hub.
    UpdateSubmitted "update.submitted" by [Node] Agreement {
        /// Which run.
        pub run: RunId,
        /// Which track.
        pub coalition: Coalition,
        /// Which round, from 1.
        pub round: u32,
        /// Whose place in the plan.
        pub slot: u32,
        /// Digest of the hub's signed offer that this answers.
        pub offer: Digest,
        /// Digest of the model it began from.
        pub base: Digest,
        /// Digest of the bytes on the wire.
        pub update: Digest,
        /// Their number.
        pub size_bytes: u64,
        /// Rows behind it.
        pub weight: u64,
    }
    /// The hub folded the updates into the next model.
    RoundClosed "run.round_closed" by [Hub] Agreement {
        /// Which run.
        pub run: RunId,
        /// Which track.
        pub coalition: Coalition,
        /// Which round.
        pub round: u32,
        /// The updates, in the order of slots.
        pub counted: Vec<Counted>,
        /// Digest of the next model.
        pub model: Digest,
        /// Digest of the outer optimizer's state, if it has one.
        pub velocity: Option<Digest>,
    }
    /// A measuring track cannot go on without one of its members.
    TrackDropped "run.track_dropped" by [Hub] Agreement {
        /// Which run.
        pub run: RunId,
        /// Which track.
        pub coalition: Coalition,
    }
    /// A node's counts over its own held-out rows.
    EvaluationReported "evaluation.reported" by [Node] Agreement {
        /// Which run.
        pub run: RunId,
        /// Which track.
        pub coalition: Coalition,
        /// After which round.
        pub round: u32,
        /// Whose place in the plan.
        pub slot: u32,
        /// Digest of the model evaluated.
        pub model: Digest,
        /// Rows whose class was predicted right.
        pub correct: u64,
        /// Rows evaluated.
        pub total: u64,
        /// The confusion matrix, small cells merged; absent where only the sum is needed.
        pub confusion: Option<Confusion>,
    }
    /// The rounds are over.
    RunFinished "run.finished" by [Hub] Agreement {
        /// Which.
        pub run: RunId,
        /// Digest of the final model.
        pub model: Digest,
    }
    /// The run stopped.
    RunFailed "run.failed" by [Hub] Collaboration {
        /// Which.
        pub run: RunId,
        /// Why.
        pub code: FailureCode,
    }
    /// The members publish a model.
    ModelReleased "model.released" by [Governance] Agreement {
        /// The run it comes from.
        pub run: RunId,
        /// Digest of the model's file.
        pub model: Digest,
        /// Digest of the manifest that lists all published files.
        pub manifest: Digest,
        /// SPDX identifier.
        pub licence: String,
    }
    /// A repository on the hub stands under the terms from now on, as the asset of its full name.
    RepositoryPlaced "repository.placed" by [Hub] Collaboration {
        /// Its full name.
        pub repository: AssetId,
        /// What it holds.
        pub class: DataClass,
    }
    /// A repository no longer stands under the terms.
    RepositoryWithdrawn "repository.withdrawn" by [Hub] Collaboration {
        /// Its full name.
        pub repository: AssetId,
    }
    /// The owner of a repository whose readers have to ask let a party in.
    AccessGranted "access.granted" by [Hub] Collaboration {
        /// Its full name.
        pub repository: AssetId,
        /// Who may read now.
        pub party: PartyId,
    }
    /// What parties read of a repository in a period, summed up.
    ReadsCounted "reads.counted" by [Hub] Collaboration {
        /// Its full name.
        pub repository: AssetId,
        /// The period's begin.
        pub from: Timestamp,
        /// The period's end.
        pub until: Timestamp,
        /// Who read, in the order of names.
        pub readers: Vec<Reads>,
    }
    /// Contributions follow from the evaluations; everyone computes them alike.
    ContributionMeasured "contribution.measured" by [Hub] Collaboration {
        /// Of which run.
        pub run: RunId,
        /// Utility of every coalition: rows right over the held-out sets of all who evaluated every one of them. A
        /// coalition that was given up stands with what those of it are worth who stayed.
        pub values: Vec<CoalitionValue>,
        /// Each party's weight in the benefit, in the order of slots.
        pub shares: Vec<Ratio>,
    }
    /// Money is divided as the terms say.
    PayoutPosted "payout.posted" by [Governance] Collaboration {
        /// Its name, unique in the collaboration.
        pub payout: Label,
        /// For which run.
        pub run: RunId,
        /// What is divided; the signer's party pays it.
        pub pool: Amount,
        /// Currency of the terms.
        pub currency: String,
        /// To the compensation fund, first.
        pub fund: Amount,
        /// To each party, in the order of slots.
        pub amounts: Vec<Amount>,
    }
}

/// The row of a kind.
#[must_use]
pub fn row(kind: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.kind == kind)
}
