//! What a pooled training would have given. The terms forbid it: only the demonstration can compute it, because it wrote
//! everybody's files itself.

use std::path::Path;

use allmende_core::run::plan::{Coalition, Normalization, Plan};
use allmende_train::fit::{Recipe, fit};
use allmende_train::prepare::normalized;
use allmende_train::table::Table;

use super::stage::Failed;
use crate::agent::data::{self, Salt};

/// Rows right and rows held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// Right.
    pub correct: u64,
    /// Of so many.
    pub total: u64,
}

impl Right {
    /// Share of rows right.
    #[must_use]
    pub fn accuracy(self) -> f64 {
        if self.total == 0 { 0.0 } else { self.correct as f64 / self.total as f64 }
    }
}

/// Trains on everybody's training rows at once, with the plan's network and as many passes over the data, and counts on
/// everybody's held-out rows.
///
/// # Errors
/// [`Failed`] when a file cannot be read or the training diverges.
pub fn pooled(plan: &Plan, files: &[(&Path, Salt)]) -> Result<Right, Failed> {
    let step = "train on pooled data";
    let classes = plan.model.widths().last().copied().unwrap_or(0);
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (path, salt) in files {
        let dataset = data::load(path, classes, salt).map_err(|e| Failed::new(step, e))?;
        train.push(scaled(&dataset.train, &plan.normalization)?);
        held_out.push(scaled(&dataset.held_out, &plan.normalization)?);
    }
    let join = |tables: &[Table]| Table::concat(&tables.iter().collect::<Vec<_>>()).map_err(|e| Failed::new(step, e));
    let (train, held_out) = (join(&train)?, join(&held_out)?);
    let recipe = Recipe {
        spec: plan.model.clone(),
        training: plan.training.clone(),
        outer: plan.outer.clone(),
        rounds: plan.rounds,
        seed: plan.seed,
    };
    let outcome =
        fit(&recipe, &[&train], Coalition::all(1), Some(&held_out), &mut |_| std::ops::ControlFlow::Continue(()))
            .map_err(|e| Failed::new(step, e))?;
    let last =
        allmende_train::evaluate::evaluate(&recipe.spec, &outcome.last, &held_out).map_err(|e| Failed::new(step, e))?;
    Ok(Right { correct: last.confusion.correct(), total: last.confusion.total() })
}

fn scaled(table: &Table, normalization: &Normalization) -> Result<Table, Failed> {
    normalized(table, normalization).map_err(|e| Failed::new("scale the features", e))
}
