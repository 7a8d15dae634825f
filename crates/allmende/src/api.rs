//! What travels between hub and client under `/v1`, beside signed statements: requests and answers as both sides see them.
//!
//! What a client can compute from the log itself has no answer here: it mirrors the log, verifies it and folds the state.

use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, Label, Origin, PartyId, RunId};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::run::plan::Coalition;
use allmende_core::signature::PublicKey;
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A signed statement on its way to a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The DSSE envelope.
    #[schema(value_type = Object)]
    pub statement: Envelope,
}

/// `POST /v1/parties`: a party's first statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The DSSE envelope.
    #[schema(value_type = Object)]
    pub statement: Envelope,
    /// The operator's invitation, where the hub asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
}

/// Where a statement stands now. It is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placed {
    /// Its index in the log.
    pub index: u64,
    /// SHA-256 of its payload.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// When it arrived, by the hub's clock, in milliseconds since 1970.
    #[schema(value_type = i64)]
    pub arrived_at: Timestamp,
    /// The signed checkpoint of a log that holds it.
    pub checkpoint: String,
}

/// `POST /v1/collaborations`: opens a log and founds a collaboration in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// Its name, unique on the hub.
    #[schema(value_type = String)]
    pub collaboration: CollaborationId,
    /// The signed `collaboration.proposed`.
    #[schema(value_type = Object)]
    pub statement: Envelope,
}

/// One collaboration in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CollaborationSummary {
    /// Its name.
    #[schema(value_type = String)]
    pub id: CollaborationId,
    /// Origin of its log.
    #[schema(value_type = String)]
    pub origin: Origin,
    /// Title of the charter.
    pub title: String,
    /// Members now.
    #[schema(value_type = Vec<String>)]
    pub members: Vec<PartyId>,
    /// Entries in its log.
    pub size: u64,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Pass it as `after` to go on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `GET …/log/entries?from=&limit=`: consecutive records of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entries {
    /// Index of the first.
    pub from: u64,
    /// Each record's leaf bytes, as text: canonical JSON.
    pub records: Vec<String>,
}

/// `POST …/sync`: a node's heartbeat. It answers when there is news, or after `wait_s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    /// The node's key: offers name it.
    #[schema(value_type = String)]
    pub node: PublicKey,
    /// Entries that the node has mirrored.
    pub size: u64,
    /// Its cosignature line on the checkpoint of exactly `size`, if it has a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosignature: Option<String>,
    /// The counter from the last answer: the hub waits until something is newer.
    pub seen: u64,
    /// Longest wait, in seconds; the hub's `long_poll_timeout_s` may end it earlier.
    pub wait_s: u32,
}

/// A witness's newest word on the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Witnessed {
    /// The member whose node it is; none for a witness outside.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<PartyId>,
    /// The witness's key.
    #[schema(value_type = String)]
    pub key: PublicKey,
    /// Size of the checkpoint it cosigned.
    pub size: u64,
    /// The signature line of the note.
    pub line: String,
}

/// The answer to [`SyncRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncAnswer {
    /// Pass it back as `seen`.
    pub seen: u64,
    /// The newest signed checkpoint.
    pub checkpoint: String,
    /// Records from the node's size on, at most a page; more follow at once if the checkpoint is larger.
    pub records: Vec<String>,
    /// The newest cosignature of each node, and of each witness outside.
    pub witnesses: Vec<Witnessed>,
    /// Work for this node: signed offers.
    #[schema(value_type = Vec<Object>)]
    pub offers: Vec<Envelope>,
}

/// `POST …/uploads`: announces an update. Nothing of it counts before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadOpening {
    /// For which run.
    #[schema(value_type = String)]
    pub run: RunId,
    /// Which track.
    #[schema(value_type = u16)]
    pub coalition: Coalition,
    /// Which round.
    pub round: u32,
    /// Whose place.
    pub slot: u32,
    /// Digest of the offer it answers.
    #[schema(value_type = String)]
    pub offer: Digest,
    /// Digest of the model it began from.
    #[schema(value_type = String)]
    pub base: Digest,
    /// Digest of the bytes.
    #[schema(value_type = String)]
    pub update: Digest,
    /// Their number.
    pub size_bytes: u64,
    /// Rows behind it.
    pub weight: u64,
}

/// Where an upload stands: what to send next after a break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadStanding {
    /// Its id.
    pub id: String,
    /// Size of a part; the last may be smaller.
    pub part_bytes: u64,
    /// Parts that the hub has.
    pub parts: Vec<u64>,
    /// Number of parts.
    pub parts_total: u64,
    /// Whether it is sealed, and so counts.
    pub sealed: bool,
}

/// `POST …/predict`: rows to classify with a run's released model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictRequest {
    /// One vector of raw features for each row, at most 1,000 rows.
    pub rows: Vec<Vec<f32>>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PredictAnswer {
    /// Digest of the model.
    #[schema(value_type = String)]
    pub model: Digest,
    /// For each row, the likeliest class.
    pub classes: Vec<u32>,
    /// For each row, the probability of every class.
    pub probabilities: Vec<Vec<f32>>,
}

/// A published file of a released model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its path.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256.
    #[schema(value_type = String)]
    pub digest: Digest,
}

/// The manifest whose digest a release binds: canonical JSON of this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// By path, ascending.
    pub files: Vec<ManifestFile>,
}

/// A party in the hub's registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartyView {
    /// Its name.
    #[schema(value_type = String)]
    pub id: PartyId,
    /// The root key.
    #[schema(value_type = String)]
    pub root: PublicKey,
    /// The governance key; none while it is revoked.
    #[schema(value_type = Option<String>)]
    pub governance: Option<PublicKey>,
    /// Node keys by name.
    #[schema(value_type = Object)]
    pub nodes: std::collections::BTreeMap<PublicKey, Label>,
    /// Its statements about keys, in order: what a log gets a copy of when the party joins.
    #[schema(value_type = Vec<Object>)]
    pub history: Vec<Envelope>,
}
