//! One entry of a log, for a list and in full.

use allmende_core::ledger::envelope::{EnvelopeError, Record};
use allmende_core::ledger::merkle::leaf_hash;
use allmende_core::statement::{Statement, StatementError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// Its place in the log, from 0.
    pub index: u64,
    /// The kind of statement.
    pub kind: String,
    /// Who signed, or `hub`.
    pub party: String,
    /// The class of key.
    pub class: String,
    /// The key.
    pub key: String,
    /// The key's first digits.
    pub key_short: String,
    /// The hub's clock at arrival, UTC.
    pub arrived_at: String,
    /// The signer's clock: a claim.
    pub claimed_at: String,
    /// SHA-256 of the payload, by which statements refer to each other.
    pub digest: String,
    /// The leaf's hash in the tree, in hexadecimal.
    pub leaf_hash: String,
    /// The agreement it is made under.
    pub agreement: Option<String>,
    /// Bytes of the entry.
    pub size_bytes: u64,
}

/// Why an entry's bytes cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableEntry {
    /// Not a record, or wrongly signed.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not a statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

/// The entry with these leaf bytes. Its signature is checked; whether the key may sign is for the reducer to say.
///
/// # Errors
/// [`UnreadableEntry`] says what the bytes are not.
pub fn entry(index: u64, leaf: &[u8]) -> Result<EntryView, UnreadableEntry> {
    let record = Record::from_bytes(leaf)?;
    let opened = Statement::open(&record.envelope)?;
    let header = &opened.statement.header;
    Ok(EntryView {
        index,
        kind: opened.statement.body.kind().to_owned(),
        party: header.by.party.to_string(),
        class: header.by.class.code().to_owned(),
        key: opened.key.to_string(),
        key_short: opened.key.short(),
        arrived_at: record.arrived_at.to_string(),
        claimed_at: header.claimed_at.to_string(),
        digest: opened.digest.to_string(),
        leaf_hash: leaf_hash(leaf).hex(),
        agreement: header.agreement.map(|d| d.to_string()),
        size_bytes: leaf.len() as u64,
    })
}

/// The signed statement inside, as indented JSON for people.
///
/// # Errors
/// [`UnreadableEntry`].
pub fn statement_json(leaf: &[u8]) -> Result<String, UnreadableEntry> {
    let record = Record::from_bytes(leaf)?;
    let payload = record.envelope.payload_bytes()?;
    let value = allmende_core::canonical::parse(&payload).map_err(EnvelopeError::Json)?;
    Ok(serde_json::to_string_pretty(&value).unwrap_or_default())
}
