//! The engine: what the hub should do next, and what it should ask of a node.
//!
//! Both are pure functions of the state and the time. The log is the engine's only journal: after a crash the same
//! questions give the same answers, so nothing is done twice and nothing is forgotten.

use crate::collaboration::decision::{Outcome, Standing};
use crate::digest::Digest;
use crate::id::{DecisionId, PartyId, RunId};
use crate::run::plan::Coalition;
use crate::signature::PublicKey;
use crate::state::State;
use crate::state::runs::{Answer, Run, Status};
use crate::statement::{Counted, FailureCode};
use crate::time::Timestamp;

/// Something that the hub should do and record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Record what the terms say about a proposed run.
    Check {
        /// Which.
        run: RunId,
    },
    /// Record how a decision ended.
    CloseDecision {
        /// Which.
        decision: DecisionId,
        /// How.
        outcome: Outcome,
    },
    /// Begin the rounds.
    Start {
        /// Of which run.
        run: RunId,
    },
    /// Fold the updates of a round into the next model and record it.
    CloseRound {
        /// Of which run.
        run: RunId,
        /// Which track.
        coalition: Coalition,
        /// Which round.
        round: u32,
        /// The model before.
        base: Digest,
        /// State of the outer optimizer before, if there is one yet.
        velocity: Option<Digest>,
        /// The updates, in the order of slots.
        counted: Vec<Counted>,
    },
    /// Give up a measuring track.
    DropTrack {
        /// Of which run.
        run: RunId,
        /// Which.
        coalition: Coalition,
    },
    /// Record the end of a run.
    Finish {
        /// Which.
        run: RunId,
        /// With which model.
        model: Digest,
    },
    /// Stop a run.
    Fail {
        /// Which.
        run: RunId,
        /// Why.
        code: FailureCode,
    },
    /// Measure the contributions to a finished run.
    Measure {
        /// Which.
        run: RunId,
    },
}

/// What the hub should do now, and when to ask again if nothing happens before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Next {
    /// Steps that are due, in order. After any of them ask again.
    pub steps: Vec<Step>,
    /// The next time at which waiting alone makes a step due.
    pub wake_at: Option<Timestamp>,
}

impl Next {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// What is due in a collaboration at `now`.
#[must_use]
pub fn next(state: &State, now: Timestamp) -> Next {
    let mut next = Next::default();
    for (_, id) in state.open_decisions() {
        match state.standing(id, now) {
            Some(Standing::Decided(outcome)) => {
                next.steps.push(Step::CloseDecision { decision: id.clone(), outcome });
            }
            Some(Standing::Open { until }) => next.wake(until),
            None => {}
        }
    }
    for run in state.runs().values() {
        next_in_run(state, run, now, &mut next);
    }
    next
}

fn next_in_run(state: &State, run: &Run, now: Timestamp, next: &mut Next) {
    let id = || run.id.clone();
    // The check stands under the run's agreement: once that is over it can no longer be recorded.
    if !run.checked && state.in_force(&run.plan.agreement, now).is_some() {
        next.steps.push(Step::Check { run: id() });
    }
    if run.status == Status::Finished {
        // Measuring and paying belong to what was, and go on when the terms have ended.
        if run.contribution.is_none() && state.contribution(run).is_ok() {
            next.steps.push(Step::Measure { run: id() });
        }
        return;
    }
    if !matches!(run.status, Status::Approved | Status::Started) {
        return;
    }
    if state.still_allowed(run, now).is_err() {
        next.steps.push(Step::Fail { run: id(), code: FailureCode::NotAllowed });
        return;
    }
    if let Some(code) = run.failure(now) {
        next.steps.push(Step::Fail { run: id(), code });
        return;
    }
    if run.status == Status::Approved {
        if run.may_start(now) {
            next.steps.push(Step::Start { run: id() });
        } else {
            next.wake(run.deadline(run.changed_at));
        }
        return;
    }
    rounds(run, now, next);
    if run.may_finish(now)
        && let Some(track) = run.track(run.whole())
    {
        next.steps.push(Step::Finish { run: id(), model: track.model() });
    } else {
        next.wake(run.deadline(run.changed_at));
    }
}

fn rounds(run: &Run, now: Timestamp, next: &mut Next) {
    for track in run.tracks.iter().filter(|t| t.is_active(&run.plan)) {
        let coalition = track.coalition;
        if run.may_close(coalition, now) {
            next.steps.push(Step::CloseRound {
                run: run.id.clone(),
                coalition,
                round: track.round(),
                base: track.model(),
                velocity: track.velocity,
                counted: track.updates.values().cloned().collect(),
            });
        } else if run.may_drop(coalition, now) {
            next.steps.push(Step::DropTrack { run: run.id.clone(), coalition });
        } else {
            next.wake(run.round_deadline(track));
        }
    }
}

/// Something that a node is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Accept or refuse the run.
    Answer,
    /// Train one round.
    Train {
        /// On which track.
        coalition: Coalition,
        /// Which round.
        round: u32,
        /// From which model.
        base: Digest,
    },
    /// Count over the held-out rows.
    Evaluate {
        /// On which track.
        coalition: Coalition,
        /// After which round.
        round: u32,
        /// Which model.
        model: Digest,
    },
}

/// Size of the log that makes `task` due: a node that has seen as much can judge it.
#[must_use]
pub fn due_at(run: &Run, task: &Task) -> u64 {
    let known = |coalition: Coalition, round: u32| {
        run.track(coalition).and_then(|t| t.known_at.get(round as usize)).copied().unwrap_or(u64::MAX)
    };
    match task {
        Task::Answer => run.approved_at,
        Task::Train { coalition, round, .. } => known(*coalition, round.saturating_sub(1)),
        Task::Evaluate { coalition, round, .. } => known(*coalition, *round),
    }
}

/// What `run` asks of `party`'s node `node`: its answer first, then training, the whole coalition first, then evaluation.
#[must_use]
pub fn tasks(run: &Run, party: &PartyId, node: &PublicKey) -> Vec<Task> {
    let Some(slot) = run.plan.slot_of(party) else { return Vec::new() };
    let Ok(place) = u32::try_from(slot) else { return Vec::new() };
    match (run.status, run.answers.get(&place)) {
        (Status::Approved | Status::Started, None) => return vec![Task::Answer],
        // Another node of the party steps in once the one that accepted has gone missing; before that, two nodes would
        // take the run from each other for ever.
        (Status::Approved | Status::Started, Some(Answer::Accepted { node: accepted })) if accepted != node => {
            return if run.absent.contains(&place) { vec![Task::Answer] } else { Vec::new() };
        }
        (Status::Started, Some(Answer::Accepted { .. })) => {}
        _ => return Vec::new(),
    }
    let training = run
        .tracks
        .iter()
        .filter(|t| t.is_active(&run.plan) && t.coalition.contains(slot) && !t.updates.contains_key(&place))
        .map(|t| Task::Train { coalition: t.coalition, round: t.round(), base: t.model() });
    let evaluation = run
        .missing_evaluations()
        .into_iter()
        .filter(|(.., missing)| *missing == place)
        .map(|(coalition, round, model, _)| Task::Evaluate { coalition, round, model });
    training.chain(evaluation).collect()
}
