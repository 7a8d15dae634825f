//! A verified copy of one log: every entry goes through the reducer, every size through the Merkle tree, every checkpoint
//! through the pinned key. What does not fit is an [`Alarm`], with both checkpoints as evidence.

use std::path::Path;

use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, Origin};
use allmende_core::ledger::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use allmende_core::ledger::envelope::{MAX_RECORD_BYTES, Record};
use allmende_core::ledger::merkle::{Frontier, Hash, empty_root, leaf_hash};
use allmende_core::ledger::tile::{MAX_TILE_LEVEL, TILE_HEIGHT, TILE_WIDTH};
use allmende_core::signature::PublicKey;
use allmende_core::state::State;
use serde::{Deserialize, Serialize};

use super::error::plain;
use super::store::{Store, StoreError};

/// What a log did that no honest log does. The evidence stands in it: signed checkpoints, or the entry itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "alarm", rename_all = "kebab-case")]
pub enum Alarm {
    /// Two signed checkpoints of one size, or of one history, differ.
    #[error("the log is forked: at size {size} it shows others another history")]
    Fork {
        /// The size at which the roots differ.
        size: u64,
        /// A checkpoint of the history that we verified.
        ours: String,
        /// The one that contradicts it.
        theirs: String,
    },
    /// The log is shorter than what it signed before.
    #[error("the log was rolled back: from {ours_size} entries to {theirs_size}")]
    RolledBack {
        /// Entries that we verified.
        ours_size: u64,
        /// Entries that it shows now.
        theirs_size: u64,
        /// The checkpoint that we verified.
        ours: String,
        /// The shorter one.
        theirs: String,
    },
    /// An entry that the rules refuse stands in the log.
    #[error("entry {index} breaks a rule: {refusal}")]
    InvalidEntry {
        /// Its index.
        index: u64,
        /// The rule.
        refusal: String,
        /// The entry, cut to the longest that a log may hold.
        record: String,
        /// The checkpoint that was to cover it.
        checkpoint: String,
    },
    /// The entries do not make up the root that the log signed.
    #[error("the {size} entries that were sent do not have the root that was signed")]
    OtherEntries {
        /// How many.
        size: u64,
        /// The root that they have.
        root: Digest,
        /// The signed checkpoint.
        theirs: String,
    },
    /// A checkpoint that is malformed, of another log, or not signed by the pinned key.
    #[error("the checkpoint cannot be trusted: {reason}")]
    BadCheckpoint {
        /// Why.
        reason: String,
        /// It.
        theirs: String,
    },
}

impl Alarm {
    /// A stable code for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Fork { .. } => "mirror.fork",
            Self::RolledBack { .. } => "mirror.rolled-back",
            Self::InvalidEntry { .. } => "mirror.invalid-entry",
            Self::OtherEntries { .. } => "mirror.other-entries",
            Self::BadCheckpoint { .. } => "mirror.bad-checkpoint",
        }
    }
}

/// Why a mirror could not go on.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The log misbehaves.
    #[error(transparent)]
    Alarm(Box<Alarm>),
    /// The folder failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Alarm> for MirrorError {
    fn from(alarm: Alarm) -> Self {
        Self::Alarm(Box::new(alarm))
    }
}

/// A verified copy of one log.
#[derive(Debug)]
pub struct Mirror {
    hub_key: PublicKey,
    state: State,
    frontier: Frontier,
    /// Root at each size, from 0.
    roots: Vec<Hash>,
    /// Hashes of the tree's levels 0, 8, 16, …
    levels: Vec<Vec<Hash>>,
    /// Payload digest of each entry.
    payloads: Vec<Digest>,
    /// Entries kept in memory: all without a folder, with one those from the first bundle that is not on disk whole.
    kept: Vec<Vec<u8>>,
    kept_from: u64,
    checkpoint: Option<SignedCheckpoint>,
    store: Option<Store>,
    alarm: Option<Box<Alarm>>,
}

impl Mirror {
    /// An empty mirror in memory.
    #[must_use]
    pub fn memory(origin: Origin, collaboration: Option<CollaborationId>, hub_key: PublicKey) -> Self {
        Self {
            hub_key,
            state: State::new(origin, collaboration),
            frontier: Frontier::new(),
            roots: vec![empty_root()],
            levels: vec![Vec::new(); usize::from(MAX_TILE_LEVEL) + 1],
            payloads: Vec::new(),
            kept: Vec::new(),
            kept_from: 0,
            checkpoint: None,
            store: None,
            alarm: None,
        }
    }

    /// The mirror in the folder `dir`, which is made when missing; every entry in it is verified anew.
    ///
    /// # Errors
    /// [`MirrorError::Store`], also when the folder was altered.
    pub fn open(
        dir: &Path,
        origin: Origin,
        collaboration: Option<CollaborationId>,
        hub_key: PublicKey,
    ) -> Result<Self, MirrorError> {
        let store = Store::open(dir)?;
        let mut mirror = Self::memory(origin, collaboration, hub_key);
        if let Some(stored) = store.checkpoint()? {
            let altered = |index, reason: String| StoreError::Altered { path: dir.into(), index, reason };
            let size = stored.checkpoint.size;
            mirror.check_signature(&stored).map_err(|e| altered(size, e.to_string()))?;
            while mirror.entries() < size {
                let from = mirror.entries();
                mirror.kept.clear();
                mirror.kept_from = from;
                for record in store.bundle(from, size)? {
                    let index = mirror.entries();
                    mirror.take(&record).map_err(|reason| altered(index, reason))?;
                }
            }
            if mirror.frontier.root() != stored.checkpoint.root {
                return Err(altered(size, "the root is not the signed one".to_owned()).into());
            }
            mirror.checkpoint = Some(stored);
        }
        mirror.store = Some(store);
        Ok(mirror)
    }

    /// The state after every entry that was taken in. After an alarm it may hold entries that no checkpoint covers.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Number of entries that were taken in.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.frontier.size()
    }

    /// Number of entries that a signed checkpoint covers and that are durable, where there is a folder.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |c| c.checkpoint.size)
    }

    /// The newest verified checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&SignedCheckpoint> {
        self.checkpoint.as_ref()
    }

    /// The root that the log has at `size`, computed here.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Hash> {
        usize::try_from(size).ok().and_then(|size| self.roots.get(size)).copied()
    }

    /// What the log commits to at `size`, computed here.
    #[must_use]
    pub fn at(&self, size: u64) -> Option<Checkpoint> {
        Some(Checkpoint { origin: self.state.origin().clone(), size, root: self.root(size)? })
    }

    /// Payload digest of the entry at `index`.
    #[must_use]
    pub fn payload(&self, index: u64) -> Option<Digest> {
        usize::try_from(index).ok().and_then(|index| self.payloads.get(index)).copied()
    }

    /// Index of the entry whose payload has this digest.
    #[must_use]
    pub fn find(&self, payload: &Digest) -> Option<u64> {
        self.payloads.iter().rposition(|d| d == payload).map(|index| index as u64)
    }

    /// The pinned key of the hub.
    #[must_use]
    pub const fn hub_key(&self) -> PublicKey {
        self.hub_key
    }

    /// What this log did wrong, if it did. The mirror then takes nothing more.
    #[must_use]
    pub fn alarm(&self) -> Option<&Alarm> {
        self.alarm.as_deref()
    }

    /// The entries from `from` on, at most up to the end of the bundle that holds it.
    ///
    /// # Errors
    /// [`MirrorError::Store`].
    pub fn read(&self, from: u64) -> Result<Vec<Record>, MirrorError> {
        let size = self.entries();
        let bundle;
        let raw: &[Vec<u8>] = if from >= size {
            &[]
        } else if from >= self.kept_from {
            let kept = self.kept.get((from - self.kept_from) as usize..).unwrap_or(&[]);
            &kept[..kept.len().min(usize::from(TILE_WIDTH))]
        } else if let Some(store) = &self.store {
            // Everything before `kept_from` stands in whole bundles.
            bundle = store.bundle(from, self.kept_from)?;
            bundle.get((from % u64::from(TILE_WIDTH)) as usize..).unwrap_or(&[])
        } else {
            &[]
        };
        raw.iter().zip(from..).map(|(bytes, index)| self.reread(bytes, index)).collect()
    }

    /// Reads an entry back and makes sure that it is still the one that was verified.
    fn reread(&self, bytes: &[u8], index: u64) -> Result<Record, MirrorError> {
        let known = self.levels[0].get(index as usize).is_some_and(|known| *known == leaf_hash(bytes));
        match Record::from_bytes(bytes) {
            Ok(record) if known => Ok(record),
            _ => {
                let path = self.store.as_ref().map_or_else(Default::default, |s| s.dir().to_owned());
                Err(StoreError::Altered { path, index, reason: "not the entry that was verified".to_owned() }.into())
            }
        }
    }

    /// Takes what the hub sent: consecutive records, the first at index `from`, and its newest signed checkpoint. Records
    /// may be fewer than the checkpoint covers, then more must follow; what is known already is compared.
    ///
    /// `told` is the size that the hub had been told: an answer that ends before it is a rolled-back log.
    ///
    /// # Errors
    /// [`MirrorError::Alarm`], from then on always; [`MirrorError::Store`] when the folder failed.
    pub fn extend<R: AsRef<str>>(
        &mut self,
        from: u64,
        records: &[R],
        checkpoint: &str,
        told: u64,
    ) -> Result<(), MirrorError> {
        if let Some(alarm) = &self.alarm {
            return Err(MirrorError::Alarm(alarm.clone()));
        }
        let result = self.try_extend(from, records, checkpoint, told);
        if let Err(MirrorError::Alarm(alarm)) = &result {
            self.alarm = Some(alarm.clone());
        }
        result
    }

    fn try_extend<R: AsRef<str>>(
        &mut self,
        from: u64,
        records: &[R],
        note: &str,
        told: u64,
    ) -> Result<(), MirrorError> {
        let signed = self.parse(note)?;
        let size = signed.checkpoint.size;
        if size < told.min(self.verified()) {
            return Err(self.rolled_back(&signed).into());
        }
        self.compare(&signed)?;
        for (record, index) in records.iter().zip(from..size) {
            let bytes = record.as_ref().as_bytes();
            if index < self.entries() {
                if self.levels[0].get(index as usize) != Some(&leaf_hash(bytes)) {
                    return Err(self.invalid(index, bytes, &signed, "another entry stood here").into());
                }
                continue;
            }
            if index > self.entries() {
                break;
            }
            self.take(bytes).map_err(|refusal| self.invalid(index, bytes, &signed, &refusal))?;
            if self.entries().is_multiple_of(u64::from(TILE_WIDTH) * 4) {
                self.flush()?;
            }
        }
        if self.entries() == size && self.verified() < size {
            if self.frontier.root() != signed.checkpoint.root {
                let (root, theirs) = (self.frontier.root(), signed.to_string());
                return Err(Alarm::OtherEntries { size, root, theirs }.into());
            }
            self.flush()?;
            if let Some(store) = &self.store {
                store.publish(&signed, self.verified())?;
            }
            self.checkpoint = Some(signed);
        }
        Ok(())
    }

    /// Checks a checkpoint that came by another way, for instance with an answer to a statement or from another member.
    ///
    /// # Errors
    /// [`MirrorError::Alarm`], from then on always.
    pub fn observe(&mut self, checkpoint: &str) -> Result<SignedCheckpoint, MirrorError> {
        let result = self.parse(checkpoint).and_then(|signed| self.compare(&signed).map(|()| signed));
        result.map_err(|alarm| {
            self.alarm = Some(Box::new(alarm.clone()));
            alarm.into()
        })
    }

    fn parse(&self, note: &str) -> Result<SignedCheckpoint, Alarm> {
        let bad = |e: CheckpointError| Alarm::BadCheckpoint { reason: e.to_string(), theirs: cut(note) };
        let signed = SignedCheckpoint::parse(note).map_err(bad)?;
        self.check_signature(&signed).map_err(bad)?;
        Ok(signed)
    }

    fn check_signature(&self, signed: &SignedCheckpoint) -> Result<(), CheckpointError> {
        let origin = self.state.origin();
        if signed.checkpoint.origin != *origin {
            return Err(CheckpointError::Unsigned { name: origin.clone() });
        }
        signed.verify_log_signature(origin, &self.hub_key)
    }

    /// A checkpoint of a size that we know must have our root.
    fn compare(&self, signed: &SignedCheckpoint) -> Result<(), Alarm> {
        let size = signed.checkpoint.size;
        match self.root(size).filter(|_| size <= self.verified()) {
            Some(root) if root != signed.checkpoint.root => {
                Err(Alarm::Fork { size, ours: self.ours(), theirs: signed.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn ours(&self) -> String {
        self.checkpoint.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn rolled_back(&self, signed: &SignedCheckpoint) -> Alarm {
        if let Err(fork) = self.compare(signed) {
            return fork;
        }
        let (ours_size, theirs_size) = (self.verified(), signed.checkpoint.size);
        Alarm::RolledBack { ours_size, theirs_size, ours: self.ours(), theirs: signed.to_string() }
    }

    fn invalid(&self, index: u64, bytes: &[u8], signed: &SignedCheckpoint, refusal: &str) -> Alarm {
        let record = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_RECORD_BYTES)]).into_owned();
        Alarm::InvalidEntry { index, refusal: plain(refusal), record, checkpoint: signed.to_string() }
    }

    /// Takes one entry through the rules; says which rule it broke.
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let record = Record::from_bytes(bytes).map_err(|e| e.to_string())?;
        if self.entries() == 0 && record.envelope.signatures.first().map(|s| s.keyid) != Some(self.hub_key) {
            return Err("the log was opened by another hub".to_owned());
        }
        let opened = self.state.apply(&record).map_err(|e| e.to_string())?;
        if self.entries() == 0
            && self.state.registry().map(Origin::as_str) != Some(registry_of(self.state.origin()).as_str())
        {
            return Err("the log names another hub's registry".to_owned());
        }
        let levels = &mut self.levels;
        self.frontier.push_with(leaf_hash(bytes), |subtree, hash| {
            if subtree.level.is_multiple_of(TILE_HEIGHT)
                && let Some(level) = levels.get_mut(usize::from(subtree.level / TILE_HEIGHT))
            {
                level.push(hash);
            }
        });
        self.roots.push(self.frontier.root());
        self.payloads.push(opened.digest);
        self.kept.push(bytes.to_vec());
        Ok(())
    }

    /// Writes what the folder has not; keeps in memory what the next entries share a bundle with.
    fn flush(&mut self) -> Result<(), MirrorError> {
        let Some(store) = &self.store else { return Ok(()) };
        store.grow(self.kept_from, self.entries(), &self.levels, &self.kept)?;
        let width = u64::from(TILE_WIDTH);
        let from = self.entries() / width * width;
        self.kept.drain(..(from - self.kept_from) as usize);
        self.kept_from = from;
        Ok(())
    }
}

/// Origin of the log of parties and keys of the hub whose log this is.
fn registry_of(origin: &Origin) -> String {
    let hub = origin.as_str().rsplit_once('/').map_or(origin.as_str(), |(hub, _)| hub);
    format!("{hub}/hub")
}

fn cut(text: &str) -> String {
    text.chars().take(4_096).collect()
}
