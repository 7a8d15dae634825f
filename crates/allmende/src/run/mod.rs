//! Runs on the hub: what follows from the log by the rules, and the work that has effects beside it.

mod aggregate;
pub mod api;
mod card;
pub(crate) mod conductor;
pub mod predict;
mod publish;
pub mod release;
pub mod upload;

use std::sync::Arc;

use allmende_core::digest::Digest;
use allmende_core::run::engine::{Step, next};
use allmende_core::run::plan::Plan;
use allmende_core::state::State;
use allmende_core::statement::{
    Body, ContributionMeasured, DecisionClosed, RunChecked, RunFailed, RunFinished, RunStarted, TrackDropped,
};
use allmende_core::time::Timestamp;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::app::App;
use crate::error::{ApiError, Code};
use crate::ledger::Log;

pub use conductor::{conduct, conduct_all};

/// The statements that the rules alone make due: everything of the engine's but the closing of rounds, which needs the
/// updates' bytes.
#[must_use]
pub fn consequence(state: &State, now: Timestamp) -> Vec<(Body, Option<Digest>)> {
    next(state, now).steps.into_iter().filter_map(|step| statement(state, step)).collect()
}

fn statement(state: &State, step: Step) -> Option<(Body, Option<Digest>)> {
    let under = |run| state.run(run).ok().map(|run| run.plan.agreement);
    Some(match step {
        Step::CloseRound { .. } => return None,
        Step::Check { run } => {
            let found = state.run(&run).ok()?;
            let allowed = found.status != allmende_core::state::runs::Status::Forbidden;
            let agreement = under(&run);
            (RunChecked { run, allowed, clauses: found.clauses.clone() }.into(), agreement)
        }
        Step::CloseDecision { decision, outcome } => (DecisionClosed { decision, outcome }.into(), None),
        Step::Start { run } => {
            let agreement = under(&run);
            (RunStarted { run }.into(), agreement)
        }
        Step::DropTrack { run, coalition } => {
            let agreement = under(&run);
            (TrackDropped { run, coalition }.into(), agreement)
        }
        Step::Finish { run, model } => {
            let agreement = under(&run);
            (RunFinished { run, model }.into(), agreement)
        }
        Step::Fail { run, code } => (RunFailed { run, code }.into(), None),
        Step::Measure { run } => {
            let found = state.run(&run).ok()?;
            let due = state.contribution(found).ok()?;
            let agreement = under(&run);
            (ContributionMeasured { run, values: due.values, shares: due.shares }.into(), agreement)
        }
    })
}

/// What a statement about runs needs before the log takes it.
pub fn prepare<'a>(app: &'a App, log: &'a Arc<Log>, body: &'a Body) -> BoxFuture<'a, Result<(), ApiError>> {
    Box::pin(async move {
        match body {
            // The statement acknowledges bytes, so it is taken only together with them.
            Body::UpdateSubmitted(_) => {
                let error = ApiError::new(Code::Unprocessable, "an update is submitted by sealing its upload");
                Err(error.hint("open an upload first: POST …/uploads"))
            }
            Body::RunProposed(body) => check_base(app, &body.plan).await,
            Body::ModelReleased(body) => release::check(app, log, body).await,
            _ => Ok(()),
        }
    })
}

/// Checks that a plan's base model is the one that its network and seed give, and keeps its bytes for the nodes.
///
/// # Errors
/// [`Code::Unprocessable`] when the digest is another one.
async fn check_base(app: &App, plan: &Plan) -> Result<(), ApiError> {
    plan.validate().map_err(|e| ApiError::new(Code::Unprocessable, e.to_string()))?;
    let (spec, seed) = (plan.model.clone(), plan.seed);
    let bytes = tokio::task::spawn_blocking(move || allmende_train::model::initial_model(&spec, seed))
        .await
        .map_err(ApiError::internal)?
        .map_err(|e| ApiError::new(Code::Unprocessable, e.to_string()))?;
    let digest = Digest::of(&bytes);
    if digest != plan.base_model {
        let detail = format!("the plan's network and seed give the base model {digest}, not {}", plan.base_model);
        return Err(
            ApiError::new(Code::Unprocessable, detail).hint("propose the run with the same release as the hub's")
        );
    }
    app.blobs.put_bytes(Bytes::from(bytes)).await?;
    Ok(())
}
