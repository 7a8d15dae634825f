//! What a witness judges: C2SP tlog-witness (<https://c2sp.org/tlog-witness>), without clock, files or network.
//!
//! A witness keeps the largest checkpoint that it cosigned for each log, and cosigns another only when that one extends it.
//! It sees origins, sizes and roots, never an entry.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{Checkpoint, CheckpointError, MAX_NOTE_BYTES, SignedCheckpoint};
use super::merkle::{Hash, MAX_SIZE, empty_root, verify_consistency};
use super::verifier::{Role, VerifierKey};
use crate::digest::Digest;

/// Most hashes in a consistency proof.
pub const MAX_PROOF_LINES: usize = 63;
/// Largest request, in bytes: a checkpoint, the hashes in base64, and the size line.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + MAX_PROOF_LINES * 45 + 32;

/// Why a request cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A line is not as the protocol asks; the text says which.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// The checkpoint is none.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

use RequestError::Malformed;

/// The body of `add-checkpoint`: this checkpoint extends the one of `old_size`, as the proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the checkpoint that the witness cosigned last; 0 when it has none.
    pub old_size: u64,
    /// The consistency proof from there.
    pub proof: Vec<Hash>,
    /// The log's new checkpoint.
    pub checkpoint: SignedCheckpoint,
}

impl AddCheckpoint {
    /// Reads a body of at most [`MAX_REQUEST_BYTES`].
    ///
    /// # Errors
    /// [`RequestError`] says what is wrong.
    pub fn parse(body: &str) -> Result<Self, RequestError> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(Malformed("it is too large"));
        }
        let (head, note) = body.split_once("\n\n").ok_or(Malformed("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(Malformed("it begins with 'old'"))?;
        let old_size = size(old).ok_or(Malformed("the old size"))?;
        let hash = |line| STANDARD.decode(line).ok()?.try_into().ok().map(Digest);
        let proof: Vec<Hash> =
            lines.map(hash).collect::<Option<_>>().ok_or(Malformed("a hash is not 32 bytes in base64"))?;
        if proof.len() > MAX_PROOF_LINES {
            return Err(Malformed("more than 63 hashes"));
        }
        Ok(Self { old_size, proof, checkpoint: SignedCheckpoint::parse(note)? })
    }
}

/// A size has one spelling.
fn size(text: &str) -> Option<u64> {
    text.parse().ok().filter(|size: &u64| *size <= MAX_SIZE && size.to_string() == text)
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It watches no log of this origin.
    #[error("this witness does not watch the log {0}")]
    UnknownLog(crate::id::Origin),
    /// The log did not sign it.
    #[error("no valid signature of the log by a key that this witness was given")]
    Unsigned,
    /// The old checkpoint is said to be larger than the new one.
    #[error("the old size {old} is larger than the new one, {new}")]
    Shrinks {
        /// As the request says.
        old: u64,
        /// As the checkpoint says.
        new: u64,
    },
    /// The proof begins at another checkpoint than the one that was cosigned last.
    #[error("the last cosigned size is {size}")]
    OtherSize {
        /// The size that was cosigned last.
        size: u64,
    },
    /// The log signed two roots for one size.
    #[error("another root was cosigned at {size} entries: the log has forked")]
    Forked {
        /// The size.
        size: u64,
    },
    /// The proof does not show that the checkpoint extends the last one.
    #[error("the proof does not show that this extends the last cosigned checkpoint")]
    Inconsistent,
}

/// Whether a witness of `logs`, which cosigned `latest` last for this origin, may cosign the checkpoint of `request`: the
/// checks of the protocol in its order.
///
/// # Errors
/// [`Refusal`].
pub fn judge(logs: &[VerifierKey], latest: Option<&Checkpoint>, request: &AddCheckpoint) -> Result<(), Refusal> {
    let new = &request.checkpoint.checkpoint;
    let mut keys = logs.iter().filter(|log| log.role == Role::Log && log.name == new.origin).peekable();
    if keys.peek().is_none() {
        return Err(Refusal::UnknownLog(new.origin.clone()));
    }
    if !keys.any(|log| request.checkpoint.verify_log_signature(&log.name, &log.key).is_ok()) {
        return Err(Refusal::Unsigned);
    }
    if request.old_size > new.size {
        return Err(Refusal::Shrinks { old: request.old_size, new: new.size });
    }
    let (size, root) = latest.map_or_else(|| (0, empty_root()), |latest| (latest.size, latest.root));
    if request.old_size != size {
        return Err(Refusal::OtherSize { size });
    }
    if size == new.size && root != new.root {
        return Err(Refusal::Forked { size });
    }
    verify_consistency(size, &root, new.size, &new.root, &request.proof).map_err(|_| Refusal::Inconsistent)
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
