//! What can be wrong with a log, each thing by its name and place.

use allmende_core::digest::Digest;
use allmende_core::id::Origin;
use allmende_core::ledger::checkpoint::CheckpointError;
use allmende_core::ledger::tile::TileError;
use allmende_core::run::aggregate::AggregateError;
use allmende_core::signature::PublicKey;
use allmende_core::state::Refusal;

use super::SourceError;
use crate::view::UnreadableEntry;

macro_rules! findings {
    ($($(#[$doc:meta])* $name:ident $fields:tt $code:literal $text:literal)+) => {
        findings!(@enum $($(#[$doc])* $name $fields $text)+);
        impl Finding {
            /// A stable code for programs.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code),+ }
            }
        }
    };
    (@enum $($(#[$doc:meta])* $name:ident $fields:tt $text:literal)+) => {
        /// The first wrong thing in a log.
        #[derive(Debug, thiserror::Error)]
        #[allow(missing_docs)]
        pub enum Finding { $($(#[$doc])* #[error($text)] $name $fields),+ }
    };
}

findings! {
    /// A file could not be read. This is no judgement about the log.
    Unreadable { path: String, source: SourceError } "verify.unreadable" "{path} cannot be read: {source}"
    /// A file that the checkpoint promises is not there.
    Missing { path: String } "verify.missing" "{path} is missing"
    /// A file that must be text is not.
    NotText { path: String, offset: usize } "verify.not-text" "{path}: no text at byte {offset}"
    /// The checkpoint is malformed, or not signed by the hub.
    Checkpoint { source: CheckpointError } "verify.checkpoint" "checkpoint: {source}"
    /// The log of another collaboration or hub.
    Origin { expected: Origin, got: Origin } "verify.origin" "checkpoint: this is the log {got}, not {expected}"
    /// The log was opened by another hub than the one that is known.
    HubKey { expected: PublicKey, got: PublicKey } "verify.hub-key" "entry 0: the log was opened with the hub key {got}, not {expected}"
    /// Fewer entries than were seen before.
    RolledBack { known: u64, got: u64 } "verify.rolled-back" "checkpoint: {got} entries, but {known} were seen before: the log was rolled back"
    /// Another history than was seen before.
    Forked { size: u64, known: Digest, got: Digest } "verify.forked" "the first {size} entries have the root {got}, but {known} was seen before: the log was forked"
    /// An empty log says nothing.
    Empty {} "verify.empty" "checkpoint: the log is empty"
    /// A tile or bundle is not of the form that its name promises.
    Form { path: String, source: TileError } "verify.form" "{path}: {source}"
    /// A hash tile is not what the entries give, though the checkpoint confirms the entries.
    Tile { path: String, offset: usize } "verify.tile" "{path}, byte {offset}: not the hash that the entries give; the entries have the checkpoint's root"
    /// A tile of an earlier size is not a part of the tile that replaced it.
    Stale { path: String, offset: usize } "verify.stale" "{path}, byte {offset}: not what the log's later files say"
    /// An entry is not the one that the tree holds.
    Entry { entry: u64, path: String, offset: usize } "verify.entry" "entry {entry} ({path}, byte {offset}): not the entry that the hash tiles and the checkpoint hold"
    /// Entries and tiles agree with each other, not with the checkpoint.
    Root { size: u64, stated: Digest, computed: Digest } "verify.root" "checkpoint: {size} entries have the root {computed}, not {stated}"
    /// More than the checkpoint commits to.
    Beyond { path: String, size: u64 } "verify.beyond" "{path} holds more than the {size} entries of the checkpoint: the checkpoint is older than the log"
    /// Not a signed statement.
    Statement { entry: u64, path: String, offset: usize, source: UnreadableEntry } "verify.statement" "entry {entry} ({path}, byte {offset}): {source}"
    /// The rules do not let this statement stand here.
    Refused { entry: u64, kind: &'static str, by: String, says: String, source: Box<Refusal> } "verify.refused" "entry {entry}, {kind} by {by}{says}: {source}"
    /// A known witness's line that does not hold.
    Cosignature { name: Origin } "verify.cosignature" "checkpoint: the cosignature of {name} does not match"
    /// The bytes of a digest are others.
    Blob { entry: u64, what: String, digest: Digest, got: Digest } "verify.blob" "entry {entry}: the kept bytes of {what} {digest} have the digest {got}"
    /// The bytes are no model as the plan describes it.
    Model { entry: u64, what: String, digest: Digest, reason: String } "verify.model" "entry {entry}: {what} {digest} is not a model of the plan's shape: {reason}"
    /// The updates cannot be folded.
    Aggregation { entry: u64, run: String, round: u32, source: AggregateError } "verify.aggregation" "entry {entry}: round {round} of {run}: {source}"
    /// The recorded updates give another model than was recorded.
    WrongModel { entry: u64, run: String, round: u32, what: &'static str, stated: Digest, computed: Digest, offset: String } "verify.wrong-model" "entry {entry}: round {round} of {run} records the {what} {stated}, but the recorded updates give {computed}{offset}"
}

impl From<CheckpointError> for Finding {
    fn from(source: CheckpointError) -> Self {
        Self::Checkpoint { source }
    }
}

impl Finding {
    /// The entry at fault, where one is.
    #[must_use]
    pub const fn entry(&self) -> Option<u64> {
        match self {
            Self::Entry { entry, .. }
            | Self::Statement { entry, .. }
            | Self::Refused { entry, .. }
            | Self::Blob { entry, .. }
            | Self::Model { entry, .. }
            | Self::Aggregation { entry, .. }
            | Self::WrongModel { entry, .. } => Some(*entry),
            Self::HubKey { .. } => Some(0),
            _ => None,
        }
    }

    /// Whether the log could not be judged, rather than was found wrong.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable { .. })
    }
}
