//! The statements: every entry through the reducer, in order.

use std::collections::{BTreeMap, BTreeSet};

use allmende_core::amount::Amount;
use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, RunId};
use allmende_core::ledger::checkpoint::Checkpoint;
use allmende_core::ledger::envelope::{EnvelopeError, Record};
use allmende_core::ledger::tile::decode_bundle;
use allmende_core::run::plan::Coalition;
use allmende_core::signature::PublicKey;
use allmende_core::state::{Refusal, State};
use allmende_core::statement::{Body, Counted, RoundClosed, Statement};
use allmende_core::time::Timestamp;

use super::{Finding, Source, tree};
use crate::view::UnreadableEntry;

/// A round as the log records it, with what it began from.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub entry: u64,
    pub run: RunId,
    pub coalition: Coalition,
    pub round: u32,
    pub base: Digest,
    pub velocity_before: Option<Digest>,
    pub counted: Vec<Counted>,
    pub model: Digest,
    pub velocity: Option<Digest>,
}

/// What the replay of a log gives.
pub(super) struct Replayed {
    pub state: State,
    pub hub_key: PublicKey,
    pub first_arrival: Timestamp,
    pub kinds: BTreeMap<&'static str, u64>,
    pub signers: BTreeSet<PublicKey>,
    pub rounds: Vec<Round>,
}

/// The first entry's record, and the statement in it.
fn opening(source: &dyn Source, checkpoint: &Checkpoint) -> Result<Statement, Finding> {
    if checkpoint.size == 0 {
        return Err(Finding::Empty {});
    }
    let (path, bytes, width) = tree::bundle(source, 0, checkpoint.size)?;
    let entries = decode_bundle(&bytes, width).map_err(|source| Finding::Form { path: path.clone(), source })?;
    let wrong = |source: UnreadableEntry| Finding::Statement { entry: 0, path: path.clone(), offset: 2, source };
    let record = Record::from_bytes(entries.first().copied().unwrap_or_default()).map_err(|e| wrong(e.into()))?;
    Ok(Statement::open(&record.envelope).map_err(|e| wrong(e.into()))?.statement)
}

/// The key with which the log says that it was opened, and the collaboration that it was opened for.
pub(super) fn opened_by(
    source: &dyn Source,
    checkpoint: &Checkpoint,
) -> Result<(PublicKey, Option<CollaborationId>), Finding> {
    let statement = opening(source, checkpoint)?;
    match &statement.body {
        Body::LogOpened(body) => Ok((body.hub_key, statement.header.collaboration)),
        body => Err(refused(0, body, &statement, Refusal::Opening {})),
    }
}

fn refused(entry: u64, body: &Body, statement: &Statement, source: Refusal) -> Finding {
    let says = match body {
        // What the rules expect stands in the refusal; what was written instead stands here.
        Body::PayoutPosted(payout) => {
            let list = |amounts: &[Amount]| amounts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let amounts = list(&payout.amounts);
            format!(" (pool {}, fund {}, amounts {amounts})", payout.pool, payout.fund)
        }
        _ => String::new(),
    };
    let by = format!("{} ({} key)", statement.header.by.party, statement.header.by.class);
    Finding::Refused { entry, kind: body.kind(), by, says, source: Box::new(source) }
}

/// Folds the log into its state.
pub(super) fn replay(source: &dyn Source, checkpoint: &Checkpoint, tick: &dyn Fn()) -> Result<Replayed, Finding> {
    let (hub_key, collaboration) = opened_by(source, checkpoint)?;
    let mut out = Replayed {
        state: State::new(checkpoint.origin.clone(), collaboration),
        hub_key,
        first_arrival: Timestamp(0),
        kinds: BTreeMap::new(),
        signers: BTreeSet::new(),
        rounds: Vec::new(),
    };
    let mut velocities: BTreeMap<(RunId, Coalition), Digest> = BTreeMap::new();
    tree::for_each_entry(source, checkpoint.size, |entry, leaf, path, offset| {
        let wrong = |source: UnreadableEntry| Finding::Statement { entry, path: path.to_owned(), offset, source };
        let record = Record::from_bytes(leaf).map_err(|e| wrong(e.into()))?;
        let opened = match out.state.apply(&record) {
            Ok(opened) => opened,
            Err(Refusal::Malformed { source }) => return Err(wrong(source.into())),
            Err(refusal) => {
                let payload = record.envelope.payload_bytes().map_err(|e: EnvelopeError| wrong(e.into()))?;
                let statement = Statement::from_payload(&payload).map_err(|e| wrong(e.into()))?;
                return Err(refused(entry, &statement.body, &statement, refusal));
            }
        };
        if entry == 0 {
            out.first_arrival = record.arrived_at;
        }
        *out.kinds.entry(opened.statement.body.kind()).or_default() += 1;
        out.signers.insert(opened.key);
        if let Body::RoundClosed(body) = opened.statement.body {
            out.rounds.extend(round(entry, body, &out.state, &mut velocities));
        }
        tick();
        Ok(())
    })?;
    Ok(out)
}

fn round(
    entry: u64,
    body: RoundClosed,
    state: &State,
    velocities: &mut BTreeMap<(RunId, Coalition), Digest>,
) -> Option<Round> {
    let RoundClosed { run, coalition, round, counted, model, velocity } = body;
    let track = state.runs().get(&run)?.track(coalition)?;
    let base = *track.models.get((round as usize).checked_sub(1)?)?;
    let key = (run.clone(), coalition);
    let velocity_before = match velocity {
        Some(velocity) => velocities.insert(key, velocity),
        None => velocities.remove(&key),
    };
    Some(Round { entry, run, coalition, round, base, velocity_before, counted, model, velocity })
}
