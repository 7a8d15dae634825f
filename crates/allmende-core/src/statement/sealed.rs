//! A statement as bytes: what is signed, and how it is opened again.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Body, Header, Signer, Statement};
use crate::canonical;
use crate::digest::Digest;
use crate::id::{CollaborationId, Origin};
use crate::ledger::envelope::{Envelope, EnvelopeError, payload_type};
use crate::signature::{PublicKey, SecretKey};
use crate::time::Timestamp;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    agreement: Option<Digest>,
    body: Value,
    by: Signer,
    claimed_at: Timestamp,
    collaboration: Option<CollaborationId>,
    kind: String,
    origin: Origin,
    previous: Option<Digest>,
    seq: u64,
}

/// Why bytes are not a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The envelope is malformed or its signature wrong.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The payload is not strict canonical JSON of a statement.
    #[error(transparent)]
    Json(#[from] canonical::Error),
    /// The kind is not in the table.
    #[error("statement kind {0:?} is unknown")]
    UnknownKind(String),
    /// The envelope's payload type names another kind.
    #[error("payload type {found:?} does not belong to kind {kind:?}")]
    PayloadType {
        /// What stands on the envelope.
        found: String,
        /// The kind inside.
        kind: &'static str,
    },
}

impl Statement {
    /// The canonical bytes that are signed.
    ///
    /// # Errors
    /// [`StatementError::Json`] when a text holds a forbidden character or a number is unsafe.
    pub fn to_payload(&self) -> Result<Vec<u8>, StatementError> {
        let body = self.body.to_value().map_err(|e| canonical::Error::Shape(e.to_string()))?;
        let Header { origin, collaboration, agreement, by, seq, previous, claimed_at } = self.header.clone();
        let kind = self.body.kind().to_owned();
        Ok(canonical::to_bytes(&Wire { agreement, body, by, claimed_at, collaboration, kind, origin, previous, seq })?)
    }

    /// Reads a payload, which must be canonical.
    ///
    /// # Errors
    /// [`StatementError`] names what is wrong.
    pub fn from_payload(payload: &[u8]) -> Result<Self, StatementError> {
        let Wire { agreement, body, by, claimed_at, collaboration, kind, origin, previous, seq } =
            canonical::from_bytes(payload)?;
        let body = Body::from_value(&kind, body)?;
        Ok(Self { header: Header { origin, collaboration, agreement, by, seq, previous, claimed_at }, body })
    }

    /// Signs the statement.
    ///
    /// # Errors
    /// As [`Self::to_payload`].
    pub fn seal(&self, key: &SecretKey) -> Result<Envelope, StatementError> {
        Ok(Envelope::seal(self.body.kind(), &self.to_payload()?, key))
    }

    /// Opens an envelope: form, signature, payload type and content.
    ///
    /// # Errors
    /// [`StatementError`] names what is wrong.
    pub fn open(envelope: &Envelope) -> Result<Opened, StatementError> {
        let (payload, key) = envelope.open()?;
        let statement = Self::from_payload(&payload)?;
        let kind = statement.body.kind();
        if envelope.payload_type != payload_type(kind) {
            return Err(StatementError::PayloadType { found: envelope.payload_type.chars().take(100).collect(), kind });
        }
        Ok(Opened { statement, key, digest: Digest::of(&payload) })
    }
}

/// A statement whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub statement: Statement,
    /// The key that signed. Whether it may is for the state to say.
    pub key: PublicKey,
    /// Digest of the payload.
    pub digest: Digest,
}
