//! The offline judge: replays a whole log from bytes alone and stops at the first wrong thing, naming it.
//!
//! What is judged, in this order: the checkpoint's form, log and signature; every entry against every hash tile and the
//! checkpoint's root; every entry through the one reducer (signatures, keys by position, decisions by mode, runs by the
//! agreement in force, contributions, payouts); cosignatures; and, where the bytes of updates are kept, every aggregation.
//!
//! Architecture invariant: no network, no database, no clock. It reads what a [`Source`] gives and believes none of it.

mod aggregates;
mod export;
mod finding;
mod prove;
mod replay;
mod report;
mod source;
mod tree;

use std::cell::Cell;

use allmende_core::id::Origin;
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::signature::PublicKey;
use allmende_core::state::State;

pub use aggregates::{BlobReader, Blobs, DirBlobs};
pub use export::{Existing, ExportError, Exporter, export};
pub use finding::Finding;
pub use prove::{Proven, UnprovenReceipt, read_receipt, receipt, receipt_from};
pub use report::{Cosigned, NotChecked, Report, Rounds};
pub use source::{DirSource, HttpSource, MemorySource, Source, SourceError};

/// The path of the signed checkpoint in a log's folder.
pub const CHECKPOINT: &str = "checkpoint";

/// What is known from elsewhere. The less is given, the more the log is only compared with itself.
#[derive(Default)]
pub struct Options<'a> {
    /// The log's origin, as it stands in the terms.
    pub origin: Option<Origin>,
    /// The hub's key, as it was pinned when joining or stands in the signed terms.
    pub hub_key: Option<PublicKey>,
    /// A checkpoint of this log that was seen before: the log must extend it.
    pub known: Option<Checkpoint>,
    /// Witnesses from outside, each by the name it cosigns under. Members' nodes are known from the log.
    pub witnesses: Vec<(Origin, PublicKey)>,
    /// The kept bytes of updates and models, from which aggregations are recomputed.
    pub blobs: Option<&'a dyn Blobs>,
    /// Told how many entries of how many are done.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

/// Judges the log.
///
/// # Errors
/// [`Finding`]: the first thing that is wrong.
pub fn verify(source: &dyn Source, options: &Options<'_>) -> Result<Report, Finding> {
    judge(source, options).map(|(report, _)| report)
}

/// As [`verify`], and gives the state that the log folds to.
///
/// # Errors
/// [`Finding`]: the first thing that is wrong.
pub fn judge(source: &dyn Source, options: &Options<'_>) -> Result<(Report, State), Finding> {
    let signed = checkpoint(source)?;
    let stated = &signed.checkpoint;
    if let Some(expected) = options.origin.as_ref().filter(|&o| *o != stated.origin) {
        return Err(Finding::Origin { expected: expected.clone(), got: stated.origin.clone() });
    }
    if let Some(key) = &options.hub_key {
        signed.verify_log_signature(&stated.origin, key)?;
    }
    if let Some(known) = &options.known {
        check_known(known, stated)?;
    }
    let others = tree::others(source, stated.size)?;
    let (hub_key, _) = replay::opened_by(source, stated)?;
    if let Some(expected) = options.hub_key.filter(|&key| key != hub_key) {
        return Err(Finding::HubKey { expected, got: hub_key });
    }
    signed.verify_log_signature(&stated.origin, &hub_key)?;

    // The tree is read first and the statements after it, so progress counts each entry twice.
    let done = Cell::new(0_u64);
    let tick = || {
        done.set(done.get() + 1);
        if let Some(progress) = options.progress {
            progress(done.get() / 2, stated.size);
        }
    };
    let strays = tree::check(source, stated, options.known.as_ref(), others, &tick)?;
    let replayed = replay::replay(source, stated, &tick)?;
    let mut report = Report::new(&signed, &replayed, options);
    report.not_checked.extend(strays);
    report.cosigned(&signed, &replayed.state, options)?;
    report.rounds = aggregates::recompute(&replayed, options.blobs, &mut report.not_checked)?;
    Ok((report, replayed.state))
}

/// Reads the signed checkpoint. Its signature is not checked.
///
/// # Errors
/// [`Finding`] when it is missing or malformed.
pub fn checkpoint(source: &dyn Source) -> Result<SignedCheckpoint, Finding> {
    let bytes = source::read(source, CHECKPOINT)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| Finding::NotText { path: CHECKPOINT.into(), offset: e.valid_up_to() })?;
    Ok(text.parse()?)
}

fn check_known(known: &Checkpoint, stated: &Checkpoint) -> Result<(), Finding> {
    if known.origin != stated.origin {
        return Err(Finding::Origin { expected: known.origin.clone(), got: stated.origin.clone() });
    }
    if stated.size < known.size {
        return Err(Finding::RolledBack { known: known.size, got: stated.size });
    }
    Ok(())
}
