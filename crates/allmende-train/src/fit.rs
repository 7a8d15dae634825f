//! A whole training in one process: every round of every party, one after the other, and the best model seen.
//!
//! Pooled and alone baselines are fits too (one party with all rows; one party with its own), so that what is compared
//! differs in nothing but who takes part: same rounds, same local work, same outer step, same code as the nodes'.

use std::ops::ControlFlow;

use allmende_core::run::aggregate::{AggregateError, SliceAggregator};
use allmende_core::run::plan::{Coalition, ModelSpec, Outer, Seed, Training};

use crate::evaluate::{Evaluation, evaluate};
use crate::local::{Round, TrainError, train_round};
use crate::model::{Model, initial_model};
use crate::stream::StreamKey;
use crate::table::Table;

/// What a plan says of training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The network.
    pub spec: ModelSpec,
    /// Local work of one round.
    pub training: Training,
    /// The outer step.
    pub outer: Outer,
    /// Number of rounds.
    pub rounds: u32,
    /// Decides initial parameters and the order of rows.
    pub seed: Seed,
}

/// Where a fit stands, told after every round.
#[derive(Debug, Clone, PartialEq)]
pub struct FitProgress {
    /// The round that is done, from 0.
    pub round: u32,
    /// Number of rounds.
    pub rounds: u32,
    /// How the model of this round does on the held-out rows; `None` if there are none.
    pub evaluation: Option<Evaluation>,
}

/// Called after every round; `Break` cancels.
pub type OnRound<'a> = &'a mut dyn FnMut(&FitProgress) -> ControlFlow<()>;

/// What a fit brought.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOutcome {
    /// The model after the last round: what a run releases.
    pub last: Vec<u8>,
    /// The model of the best round; the last one if nothing is held out.
    pub best: Vec<u8>,
    /// The best round, from 0. Choosing it by the held-out rows makes its figure a little too good: compare last with last.
    pub best_round: u32,
    /// Evaluation after each round; empty if nothing is held out.
    pub evaluations: Vec<Evaluation>,
}

/// Trains the members of `coalition` among `parties`, whose slots are 0, 1, 2 … Weights are rows. The models are those of
/// the same track of a run with these parties, byte for byte on the same build and instruction set.
///
/// The best round is the one with most rows right, then with the smallest loss, then the earliest.
///
/// # Errors
/// [`TrainError`] of the first round that fails.
pub fn fit(
    recipe: &Recipe,
    parties: &[&Table],
    coalition: Coalition,
    held_out: Option<&Table>,
    on_round: OnRound<'_>,
) -> Result<FitOutcome, TrainError> {
    let members: Vec<(usize, &Table)> =
        parties.iter().copied().enumerate().filter(|(slot, _)| coalition.contains(*slot)).collect();
    if members.len() != coalition.len() as usize || members.is_empty() {
        return Err(TrainError::NoRows);
    }
    let mut model = initial_model(&recipe.spec, recipe.seed)?;
    let mut velocity = Vec::new();
    let mut evaluations: Vec<Evaluation> = Vec::new();
    let mut best = (model.clone(), 0);
    for round in 0..recipe.rounds {
        let mut updates = Vec::with_capacity(members.len());
        for &(slot, table) in &members {
            let key = StreamKey::round(recipe.seed, coalition, round, slot);
            let Recipe { spec, training, .. } = recipe;
            let work = Round { spec, training, table, base: &model, key };
            updates.push((table.rows() as u64, train_round(&work, &mut |_| ControlFlow::Continue(()))?.model));
        }
        model = next_model(recipe, &model, &updates, &mut velocity)?;
        let evaluation = held_out.map(|table| evaluate(&recipe.spec, &model, table)).transpose()?;
        let rank = |e: &Evaluation| (e.confusion.correct(), u64::MAX - e.loss_micros);
        if evaluation.as_ref().is_none_or(|e| evaluations.iter().all(|earlier| rank(e) > rank(earlier))) {
            best = (model.clone(), round);
        }
        evaluations.extend(evaluation.clone());
        if on_round(&FitProgress { round, rounds: recipe.rounds, evaluation }).is_break() {
            return Err(TrainError::Cancelled);
        }
    }
    Ok(FitOutcome { last: model, best: best.0, best_round: best.1, evaluations })
}

/// The outer step on whole files, as the hub does it slice by slice. `velocity` is empty before the first round.
fn next_model(
    recipe: &Recipe,
    base: &[u8],
    updates: &[(u64, Vec<u8>)],
    velocity: &mut Vec<u8>,
) -> Result<Vec<u8>, TrainError> {
    // Everything before the payload is the same in every file: loading them has compared it.
    let payload_bytes = recipe.spec.parameters() as usize * 4;
    let payload = |file: &[u8]| file[file.len().saturating_sub(payload_bytes)..].to_vec();
    let weights: Vec<u64> = updates.iter().map(|(weight, _)| *weight).collect();
    let mut aggregator = SliceAggregator::new(&recipe.outer, &weights)?;
    aggregator.begin(&payload(base))?;
    for (_, update) in updates {
        aggregator.fold(&payload(update))?;
    }
    let next = aggregator.finish(velocity)?;
    *velocity = next.velocity;
    let (values, rest) = next.model.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(AggregateError::Ragged { what: "next model", bytes: next.model.len() }.into());
    }
    let values = values.iter().map(|&v| f32::from_le_bytes(v)).collect();
    Ok(Model::from_values(&recipe.spec, values)?.save()?)
}
