//! Runs: what was planned, how far it came, and what the models achieve.

use std::collections::BTreeMap;

use allmende_core::id::RunId;
use allmende_core::run::plan::{ModelSpec, Optimizer, Outer, Plan};
use allmende_core::state::State;
use allmende_core::state::runs::{Answer, Run, Status};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{members_of, percent};

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    /// Its name.
    pub id: String,
    /// `forbidden`, `proposed`, `rejected`, `approved`, `started`, `finished` or `failed`.
    pub status: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Who proposed it.
    pub proposed_by: String,
    /// When, UTC.
    pub proposed_at: String,
    /// The parties, in the order of slots.
    pub parties: Vec<String>,
    /// Rounds of the whole coalition that are closed.
    pub rounds_done: u32,
    /// Rounds planned.
    pub rounds: u32,
    /// Accuracy of the whole coalition's newest evaluated model over all held-out rows.
    pub accuracy: Option<String>,
}

/// A run in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// At a glance.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Digest of the plan.
    pub plan: String,
    /// The agreement it runs under.
    pub agreement: String,
    /// What the result is for.
    pub purpose: String,
    /// The network, for people.
    pub model: String,
    /// Trained parameters.
    pub parameters: u64,
    /// Local work of a round, for people.
    pub training: String,
    /// The outer step, for people.
    pub outer: String,
    /// Fewest updates of a round.
    pub min_parties: u32,
    /// Longest a round may stay open, in milliseconds.
    pub round_timeout_ms: u64,
    /// Sizes of smaller coalitions trained to measure contribution.
    pub measure: Vec<u32>,
    /// The clauses that allowed or forbade it.
    pub clauses: Vec<String>,
    /// What the nodes said.
    pub answers: Vec<AnswerView>,
    /// The trainings, the whole coalition first.
    pub tracks: Vec<TrackView>,
    /// Accuracy of the whole coalition's model after each round that all parties evaluated.
    pub curve: Vec<CurvePoint>,
    /// Each party's counts for the newest model of the whole coalition that all parties evaluated.
    pub results: Vec<PartyResult>,
    /// The parties' confusion matrices for that model, added up.
    pub confusion: Option<ConfusionView>,
    /// Digest of the final model.
    pub final_model: Option<String>,
    /// Licence under which it was released.
    pub licence: Option<String>,
    /// When it was released, UTC.
    pub released_at: Option<String>,
    /// Digest of the release's manifest.
    pub manifest: Option<String>,
}

/// What a party's node said to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswerView {
    /// The party.
    pub party: String,
    /// The dataset it trains on.
    pub asset: String,
    /// `waiting`, `accepted` or `refused`.
    pub answer: String,
    /// Why it refused.
    pub code: Option<String>,
    /// Whether it missed a deadline and was not heard of since.
    pub absent: bool,
}

/// The training of one coalition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrackView {
    /// Who trains, in the order of slots.
    pub parties: Vec<String>,
    /// The coalition's bit mask.
    pub coalition: u16,
    /// Rounds closed.
    pub rounds_done: u32,
    /// Updates of the open round that are in.
    pub updates_in: u32,
    /// Digest of the newest model.
    pub model: String,
    /// `active`, `complete` or `dropped`.
    pub status: String,
}

/// A point of the accuracy curve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CurvePoint {
    /// After this round.
    pub round: u32,
    /// Rows right.
    pub correct: u64,
    /// Rows evaluated.
    pub total: u64,
    /// Per cent of rows right.
    pub accuracy: String,
}

/// A party's counts over its own held-out rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartyResult {
    /// The party.
    pub party: String,
    /// After this round.
    pub round: u32,
    /// Rows right.
    pub correct: u64,
    /// Rows evaluated.
    pub total: u64,
    /// Per cent of rows right.
    pub accuracy: String,
}

/// Confusion matrices added up. Cells under five rows were merged by each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfusionView {
    /// Number of classes.
    pub classes: u32,
    /// Cells with at least five rows at some node, ascending.
    pub cells: Vec<ConfusionCell>,
    /// Rows in merged cells, of which only the number is known.
    pub merged: u64,
    /// Parties whose matrices are in it.
    pub parties: u32,
}

/// A cell of a confusion matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfusionCell {
    /// The true class.
    pub truth: u32,
    /// The predicted class.
    pub predicted: u32,
    /// How many rows.
    pub rows: u64,
}

/// All runs, newest first.
#[must_use]
pub fn runs(state: &State) -> Vec<RunSummary> {
    let mut all: Vec<_> = state.runs().values().collect();
    all.sort_by_key(|run| (std::cmp::Reverse(run.proposed_at), run.id.clone()));
    all.into_iter().map(summary).collect()
}

fn summary(run: &Run) -> RunSummary {
    let failure = match run.status {
        Status::Failed(code) => Some(code.code().to_owned()),
        _ => None,
    };
    RunSummary {
        id: run.id.to_string(),
        status: run.status.code().to_owned(),
        failure,
        proposed_by: run.proposed_by.to_string(),
        proposed_at: run.proposed_at.to_string(),
        parties: run.plan.slots.iter().map(|slot| slot.party.to_string()).collect(),
        rounds_done: run.track(run.whole()).map_or(0, |t| t.round() - 1),
        rounds: run.plan.rounds,
        accuracy: curve(run).last().map(|point| point.accuracy.clone()),
    }
}

fn curve(run: &Run) -> Vec<CurvePoint> {
    let whole = run.whole();
    let rounds = run.track(whole).map_or(0, allmende_core::state::runs::Track::round);
    let point = |round| {
        let value = run.utility(whole, round).filter(|_| run.plan.is_evaluated(whole, round))?;
        let accuracy = percent(value.correct, value.total);
        Some(CurvePoint { round, correct: value.correct, total: value.total, accuracy })
    };
    (1..rounds).filter_map(point).collect()
}

fn confusion(run: &Run, round: u32) -> Option<ConfusionView> {
    let mut cells = BTreeMap::new();
    let (mut merged, mut parties) = (0_u64, 0);
    for slot in 0..u32::try_from(run.plan.slots.len()).ok()? {
        let evaluation = run.evaluations.get(&(run.whole(), round, slot))?;
        let Some(confusion) = &evaluation.confusion else { continue };
        parties += 1;
        merged = merged.saturating_add(confusion.merged);
        for &(truth, predicted, rows) in &confusion.cells {
            let sum: &mut u64 = cells.entry((truth, predicted)).or_default();
            *sum = sum.saturating_add(rows);
        }
    }
    let cells = cells.into_iter().map(|((truth, predicted), rows)| ConfusionCell { truth, predicted, rows }).collect();
    let classes = run.plan.model.widths().last().copied().unwrap_or(0);
    (parties > 0).then_some(ConfusionView { classes, cells, merged, parties })
}

/// The run of this name.
#[must_use]
pub fn run(state: &State, id: &RunId) -> Option<RunView> {
    let run = state.runs().get(id)?;
    let plan = &run.plan;
    let curve = curve(run);
    let last = curve.last().map(|point| point.round);
    let results = last.map(|round| results(run, round)).unwrap_or_default();
    let released = run.released.as_ref();
    Some(RunView {
        summary: summary(run),
        plan: run.plan_digest.to_string(),
        agreement: plan.agreement.to_string(),
        purpose: plan.purpose.code().to_owned(),
        model: model_in_words(&plan.model),
        parameters: plan.model.parameters(),
        training: training_in_words(plan),
        outer: match &plan.outer {
            Outer::Average => "weighted mean".to_owned(),
            Outer::Nesterov { rate, momentum } => {
                format!("Nesterov, rate {}, momentum {}", rate.as_str(), momentum.as_str())
            }
        },
        min_parties: plan.min_parties,
        round_timeout_ms: plan.round_timeout_ms,
        measure: plan.measure.clone(),
        clauses: run.clauses.iter().map(ToString::to_string).collect(),
        answers: answers(run),
        tracks: tracks(run),
        results,
        confusion: last.and_then(|round| confusion(run, round)),
        curve,
        final_model: run.final_model.map(|d| d.to_string()),
        licence: released.map(|r| r.licence.clone()),
        released_at: released.map(|r| r.at.to_string()),
        manifest: released.map(|r| r.manifest.to_string()),
    })
}

fn results(run: &Run, round: u32) -> Vec<PartyResult> {
    let result = |(slot, place): (u32, &allmende_core::run::plan::Slot)| {
        let e = run.evaluations.get(&(run.whole(), round, slot))?;
        let accuracy = percent(e.correct, e.total);
        Some(PartyResult { party: place.party.to_string(), round, correct: e.correct, total: e.total, accuracy })
    };
    (0_u32..).zip(&run.plan.slots).filter_map(result).collect()
}

fn answers(run: &Run) -> Vec<AnswerView> {
    let view = |(slot, place): (u32, &allmende_core::run::plan::Slot)| {
        let (answer, code) = match run.answers.get(&slot) {
            None => ("waiting", None),
            Some(Answer::Accepted { .. }) => ("accepted", None),
            Some(Answer::Refused { code }) => ("refused", Some(code.code().to_owned())),
        };
        AnswerView {
            party: place.party.to_string(),
            asset: place.asset.to_string(),
            answer: answer.to_owned(),
            code,
            absent: run.absent.contains(&slot),
        }
    };
    (0_u32..).zip(&run.plan.slots).map(view).collect()
}

fn tracks(run: &Run) -> Vec<TrackView> {
    let view = |track: &allmende_core::state::runs::Track| TrackView {
        parties: members_of(track.coalition, &run.plan),
        coalition: track.coalition.0,
        rounds_done: track.round() - 1,
        updates_in: u32::try_from(track.updates.len()).unwrap_or(u32::MAX),
        model: track.model().to_string(),
        status: match (track.dropped.is_some(), track.is_complete(&run.plan)) {
            (true, _) => "dropped",
            (_, true) => "complete",
            _ => "active",
        }
        .to_owned(),
    };
    run.tracks.iter().map(view).collect()
}

fn model_in_words(model: &ModelSpec) -> String {
    let widths: Vec<_> = model.widths().iter().map(ToString::to_string).collect();
    match model {
        ModelSpec::Linear { .. } => format!("linear {}", widths.join("–")),
        ModelSpec::Mlp { .. } => format!("MLP {}", widths.join("–")),
    }
}

fn training_in_words(plan: &Plan) -> String {
    let training = &plan.training;
    let optimizer = match &training.optimizer {
        Optimizer::Sgd { rate } => format!("SGD {}", rate.as_str()),
        Optimizer::Momentum { rate, momentum } => format!("SGD {}, momentum {}", rate.as_str(), momentum.as_str()),
        Optimizer::Adam { rate } => format!("Adam {}", rate.as_str()),
    };
    format!("{optimizer}; batch {}; epochs {}", training.batch_rows, training.epochs)
}
