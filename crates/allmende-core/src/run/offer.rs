//! An offer: one piece of work for one node, signed by the hub over everything that decides what the node will do.
//!
//! Offers are not logged. A node checks each against its own copy of the log, and its update names the offer's digest.

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::digest::Digest;
use crate::id::{CollaborationId, Origin, RunId};
use crate::ledger::envelope::{Envelope, EnvelopeError, payload_type};
use crate::run::plan::Coalition;
use crate::signature::{PublicKey, SecretKey};
use crate::time::Timestamp;

const KIND: &str = "offer";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Work {
    /// Accept or refuse the run.
    Answer {},
    /// Train one round.
    Train {
        /// On which track.
        coalition: Coalition,
        /// Which round.
        round: u32,
        /// From which model.
        base: Digest,
    },
    /// Count over the held-out rows.
    Evaluate {
        /// On which track.
        coalition: Coalition,
        /// After which round.
        round: u32,
        /// Which model.
        model: Digest,
    },
}

/// The offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Origin of the log.
    pub origin: Origin,
    /// The collaboration.
    pub collaboration: CollaborationId,
    /// The run.
    pub run: RunId,
    /// Digest of its plan.
    pub plan: Digest,
    /// Digest of the agreement it runs under.
    pub agreement: Digest,
    /// The node that it is for.
    pub node: PublicKey,
    /// What is asked.
    pub work: Work,
    /// Size of the log that made the work due: the node must have replayed at least as much.
    pub log_size: u64,
    /// When it was made, by the hub's clock.
    pub issued_at: Timestamp,
    /// When it is void.
    pub expires_at: Timestamp,
}

/// Why an offer was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Malformed or wrongly signed.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not the JSON of an offer.
    #[error(transparent)]
    Json(#[from] canonical::Error),
    /// Signed by another key than the hub's, or not an offer.
    #[error("not an offer signed by this log's hub")]
    NotFromHub,
}

impl Offer {
    /// Signs the offer.
    ///
    /// # Errors
    /// [`canonical::Error`] when a field is not strict JSON, which no valid value is.
    pub fn seal(&self, hub: &SecretKey) -> Result<Envelope, canonical::Error> {
        Ok(Envelope::seal(KIND, &canonical::to_bytes(self)?, hub))
    }

    /// Opens an envelope that must be an offer of `hub`.
    ///
    /// # Errors
    /// [`OfferError`].
    pub fn open(envelope: &Envelope, hub: &PublicKey) -> Result<(Self, Digest), OfferError> {
        let (payload, key) = envelope.open()?;
        if key != *hub || envelope.payload_type != payload_type(KIND) {
            return Err(OfferError::NotFromHub);
        }
        Ok((canonical::from_bytes(&payload)?, Digest::of(&payload)))
    }
}
