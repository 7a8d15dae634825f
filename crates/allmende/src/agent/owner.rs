//! The owner's own copy of a log, which its commands keep beside the node's: what the hub showed to a person, it cannot take
//! back from the person's node. So nobody can be kept working on terms from which its own party has withdrawn.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use allmende_core::id::Origin;
use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::signature::PublicKey;
use allmende_core::time::Timestamp;

use crate::client::mirror::{Mirror, MirrorError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    No,
    Since(Timestamp),
    Told,
}

/// Where the owner's commands keep their copy of one log, and how the node's compares with it.
#[derive(Debug)]
pub struct OwnersCopy {
    path: Option<PathBuf>,
    origin: Origin,
    hub_key: PublicKey,
    behind: Mutex<Behind>,
}

impl OwnersCopy {
    /// The copy in the folder `dir`, if the owner keeps one on this machine.
    #[must_use]
    pub fn new(dir: Option<PathBuf>, origin: Origin, hub_key: PublicKey) -> Self {
        let path = dir.map(|dir| dir.join("checkpoint"));
        Self { path, origin, hub_key, behind: Mutex::new(Behind::No) }
    }

    /// The newest checkpoint of the copy, where it is one of this log and signed by its hub.
    fn checkpoint(&self) -> Option<SignedCheckpoint> {
        let signed = SignedCheckpoint::parse(&std::fs::read_to_string(self.path.as_ref()?).ok()?).ok()?;
        let ours =
            signed.checkpoint.origin == self.origin && signed.verify_log_signature(&self.origin, &self.hub_key).is_ok();
        ours.then_some(signed)
    }

    /// Whether the owner has seen more than the first `size` entries: among the others may be a withdrawal.
    #[must_use]
    pub fn is_ahead(&self, size: u64) -> bool {
        self.checkpoint().is_some_and(|signed| signed.checkpoint.size > size)
    }

    /// Holds what the hub shows to the node against what it showed to the owner. Says once that the node has been behind for
    /// longer than `freshness_s`; a moment's difference is normal.
    ///
    /// # Errors
    /// [`MirrorError::Alarm`] when the two contradict each other.
    pub fn compare(&self, mirror: &mut Mirror, now: Timestamp, freshness_s: u64) -> Result<bool, MirrorError> {
        let Some(signed) = self.checkpoint() else { return Ok(false) };
        mirror.observe(&signed.to_string())?;
        let limit_ms = i64::try_from(freshness_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = signed.checkpoint.size > mirror.verified();
        let (next, tell) = match *behind {
            _ if !ahead => (Behind::No, false),
            Behind::No => (Behind::Since(now), false),
            Behind::Since(since) if now > since.plus_ms(limit_ms) => (Behind::Told, true),
            other => (other, false),
        };
        *behind = next;
        Ok(tell)
    }
}
