//! The conductor: one task for each collaboration's log. It closes rounds, and wakes the rules when time alone makes
//! something due.
//!
//! It keeps nothing: what is due is read from the log each time, so after a crash it simply goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use allmende_core::run::engine::{Next, Step, next};
use allmende_core::statement::{FailureCode, RoundClosed, RunFailed};

use super::aggregate::{self, AggregateError, Folded};
use super::publish;
use crate::app::App;
use crate::faults;
use crate::ledger::{AppendError, Item, Log};

/// How long to wait after a failure of the store before trying again.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest sleep: another process of the same hub appends without waking this one.
const MAX_SLEEP: Duration = Duration::from_secs(5);

/// Conducts every collaboration of the hub.
///
/// # Errors
/// [`AppendError`] when a log cannot be opened.
pub async fn conduct_all(app: &App) -> Result<(), AppendError> {
    for name in app.logs.all().await? {
        if let Some(log) = app.logs.get(&name).await? {
            conduct(app, &log);
        }
    }
    Ok(())
}

/// Begins to conduct a log, once.
pub fn conduct(app: &App, log: &Arc<Log>) {
    if !app.conducted.begin(log.name()) {
        return;
    }
    let (app, log) = (app.clone(), Arc::clone(log));
    app.clone().tasks.spawn(async move {
        let mut grown = log.watch();
        let mut published = HashSet::new();
        while !app.closing.is_cancelled() {
            grown.mark_unchanged();
            let sleep = match act(&app, &log).await {
                Ok(sleep) => match publish::due(&app, &log, &mut published).await {
                    Ok(()) => sleep,
                    Err(error) => {
                        tracing::error!(log = log.name(), ?error, "a release was not published and is tried again");
                        MAX_SLEEP.min(sleep)
                    }
                },
                Err(error) => {
                    tracing::error!(log = log.name(), %error, "the conductor stumbled");
                    PAUSE
                }
            };
            tokio::select! {
                _ = grown.changed() => {}
                () = tokio::time::sleep(sleep) => {}
                () = app.closing.cancelled() => {}
            }
        }
    });
}

#[derive(Debug, thiserror::Error)]
enum ConductError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
}

/// Does what is due and says how long nothing will be.
async fn act(app: &App, log: &Arc<Log>) -> Result<Duration, ConductError> {
    if log.held().await?.is_some() {
        return Ok(MAX_SLEEP);
    }
    loop {
        let now = app.clock.now();
        let Next { steps, wake_at } = next(&*log.state().await?, now);
        if steps.is_empty() {
            let sleep = wake_at.map_or(MAX_SLEEP, |at| {
                Duration::from_millis(u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0) + 1)
            });
            return Ok(sleep.min(MAX_SLEEP));
        }
        let mut closings = Vec::new();
        for step in steps {
            if let Step::CloseRound { .. } = step {
                closings.push(close(app, log, step).await?);
            }
        }
        faults::point("round.before_append");
        // With nothing to attest this only lets the rules add what is due.
        match log.append(closings).await {
            Ok(_) => {}
            // A member's refusal or the end of the agreement came in between: look again.
            Err(AppendError::Restored { .. }) => return Ok(MAX_SLEEP),
            Err(error @ AppendError::Full { .. }) => {
                tracing::warn!(%error, "a round cannot be closed");
                return Ok(MAX_SLEEP);
            }
            Err(AppendError::Refused(refusal)) => tracing::info!(log = log.name(), %refusal, "a step was overtaken"),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Folds the updates of a round, and gives the statement that closes it; or the one that fails the run when the mean is
/// not finite.
async fn close(app: &App, log: &Arc<Log>, step: Step) -> Result<Item, ConductError> {
    let Step::CloseRound { run, coalition, round, base, velocity, counted } = step else {
        return Err(AppendError::Aborted.into());
    };
    let (outer, agreement) = {
        let state = log.state().await?;
        let found = state.run(&run).map_err(AppendError::from)?;
        (found.plan.outer.clone(), found.plan.agreement)
    };
    match aggregate::fold(app, &outer, base, velocity, &counted).await {
        Ok(Folded { model, velocity }) => {
            let body = RoundClosed { run, coalition, round, counted, model, velocity };
            Ok(Item::Attest(Box::new(body.into()), Some(agreement)))
        }
        Err(AggregateError::Rule(error)) => {
            tracing::warn!(log = log.name(), %run, %error, "the mean of the updates is not finite");
            Ok(Item::Attest(Box::new(RunFailed { run, code: FailureCode::Diverged }.into()), None))
        }
        Err(error) => Err(error.into()),
    }
}
