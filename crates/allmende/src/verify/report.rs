//! What was judged, and what was not and why.

use std::collections::BTreeMap;

use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::state::State;
use allmende_core::state::runs::Status;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::replay::Replayed;
use super::{Finding, Options};

/// A log in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Origin of the log.
    pub origin: String,
    /// The collaboration; none for a hub's log of parties and keys.
    pub collaboration: Option<String>,
    /// The hub's key.
    pub hub_key: String,
    /// Whether that key was known before, and not only taken from the log itself.
    pub hub_key_pinned: bool,
    /// Number of entries, each with its signature and by the rules.
    pub entries: u64,
    /// Root of the Merkle tree, in base64 as checkpoints state it.
    pub root: String,
    /// The signed checkpoint.
    pub checkpoint: String,
    /// Arrival of the first entry, UTC.
    pub first_arrival: String,
    /// Arrival of the last entry, UTC.
    pub last_arrival: String,
    /// All parties registered in the log.
    pub parties: Vec<String>,
    /// Members now.
    pub members: Vec<String>,
    /// How many keys signed entries.
    pub keys: u64,
    /// How many statements of each kind.
    pub statements: BTreeMap<String, u64>,
    /// How many payouts follow from the contributions.
    pub payouts: u64,
    /// Who cosigned this checkpoint.
    pub cosignatures: Vec<Cosigned>,
    /// Aggregations.
    pub rounds: Rounds,
    /// What was not judged, and why.
    pub not_checked: Vec<NotChecked>,
}

/// A valid cosignature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cosigned {
    /// The name it cosigned under.
    pub name: String,
    /// The member whose node it is; none for a witness from outside.
    pub party: Option<String>,
    /// Its key.
    pub key: String,
    /// When, by its own clock, in seconds since 1970.
    pub at_s: u64,
}

/// How many rounds were folded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Rounds {
    /// Rounds that the log records.
    pub recorded: u64,
    /// Rounds folded again from the kept updates, with the very same model as result.
    pub recomputed: u64,
}

/// Something that was not judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotChecked {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl NotChecked {
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}

impl Report {
    pub(super) fn new(signed: &SignedCheckpoint, replayed: &Replayed, options: &Options<'_>) -> Self {
        let state = &replayed.state;
        let text = signed.checkpoint.text();
        Self {
            origin: state.origin().to_string(),
            collaboration: state.collaboration().map(ToString::to_string),
            hub_key: replayed.hub_key.to_string(),
            hub_key_pinned: options.hub_key.is_some(),
            entries: state.size(),
            root: text.lines().nth(2).unwrap_or_default().to_owned(),
            checkpoint: signed.to_string(),
            first_arrival: replayed.first_arrival.to_string(),
            last_arrival: state.last_arrival().to_string(),
            parties: state.parties().keys().map(ToString::to_string).collect(),
            members: state.members().keys().map(ToString::to_string).collect(),
            keys: replayed.signers.len() as u64,
            statements: replayed.kinds.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            payouts: state.payouts().len() as u64,
            cosignatures: Vec::new(),
            rounds: Rounds::default(),
            not_checked: not_checked(state, options),
        }
    }

    /// Judges the other lines of the note: known witnesses must hold, unknown ones are said not to be checked.
    pub(super) fn cosigned(
        &mut self,
        signed: &SignedCheckpoint,
        state: &State,
        options: &Options<'_>,
    ) -> Result<(), Finding> {
        let nodes = state.parties().values().flat_map(|p| p.nodes.keys().map(move |key| (Some(&p.id), *key)));
        let nodes: Vec<_> = nodes.collect();
        for line in signed.signatures() {
            let Ok(name) = line.name().parse() else {
                self.not_checked.push(NotChecked::new(line.to_string(), "its name is no witness's"));
                continue;
            };
            if name == signed.checkpoint.origin {
                // The log's own signature was judged before everything else.
                continue;
            }
            let outside = options.witnesses.iter().filter(|w| w.0 == name).map(|w| (None, w.1));
            let candidates: Vec<_> = outside.chain(nodes.iter().copied()).collect();
            let held = candidates
                .iter()
                .find_map(|(party, key)| Some((party, key, line.cosigned_at_s(&signed.checkpoint, &name, key)?)));
            if let Some((party, key, at_s)) = held {
                let party = party.map(ToString::to_string);
                self.cosignatures.push(Cosigned { name: name.to_string(), party, key: key.to_string(), at_s });
            } else if options.witnesses.iter().any(|w| w.0 == name) {
                return Err(Finding::Cosignature { name });
            } else {
                let why = format!("no key of a witness named {name} is known, or the line does not hold");
                self.not_checked.push(NotChecked::new(format!("signature line of {name}"), why));
            }
        }
        Ok(())
    }
}

fn not_checked(state: &State, options: &Options<'_>) -> Vec<NotChecked> {
    let mut out = Vec::new();
    if options.hub_key.is_none() {
        let why = "no key was given; it was taken from the log's first entry, and the terms in the log name the same";
        out.push(NotChecked::new("that the hub's key is the hub's", why));
    }
    if options.known.is_none() {
        let why = "no checkpoint seen before was given: give one, or ask the other members for theirs";
        out.push(NotChecked::new("that everybody is shown this same log", why));
    }
    if state.runs().values().any(|run| !run.tracks.is_empty()) {
        let why = "training is not repeated; it needs the rows, which stay on the members' nodes";
        out.push(NotChecked::new("that updates come from the registered rows", why));
        out.push(NotChecked::new("that evaluations count what the models predict", "each node's own signed word"));
    }
    for run in state.runs().values() {
        if matches!(run.status, Status::Failed(allmende_core::statement::FailureCode::Diverged)) {
            let why = "the updates of the open round would have to be folded";
            out.push(NotChecked::new(format!("that run {} diverged", run.id), why));
        }
    }
    out
}
