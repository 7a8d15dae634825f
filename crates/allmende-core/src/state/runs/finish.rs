//! Evaluation, the end of a run, and the release of its model.

use super::rounds::require_model;
use super::{Evaluation, Released, Run, Status};
use crate::agreement::check::Request;
use crate::agreement::clause::ClauseKind;
use crate::agreement::vocabulary::{Action, DataClass, Place};
use crate::collaboration::decision::Subject;
use crate::id::AssetId;
use crate::state::{Context, Refusal, State};
use crate::statement::{Confusion, EvaluationReported, FailureCode, HUB, ModelReleased, RunFailed, RunFinished};
use crate::time::Timestamp;

type Checked = Result<(), Refusal>;

/// Cells with fewer rows are merged.
pub const MIN_CELL_ROWS: u64 = 5;

impl Run {
    /// Whether the rounds and evaluations are over at `now`, so that the run may finish.
    #[must_use]
    pub fn may_finish(&self, now: Timestamp) -> bool {
        let rounds_over = self.tracks.iter().all(|t| !t.is_active(&self.plan));
        let whole_done = self.track(self.whole()).is_some_and(|t| t.is_complete(&self.plan));
        let late = now >= self.deadline(self.changed_at);
        // Whoever refused will not evaluate: nobody waits for it.
        let refused = |slot: &u32| matches!(self.answers.get(slot), Some(super::Answer::Refused { .. }));
        rounds_over && whole_done && (late || self.missing_evaluations().iter().all(|(.., slot)| refused(slot)))
    }

    /// Why the run cannot go on at `now`, if so.
    #[must_use]
    pub fn failure(&self, now: Timestamp) -> Option<FailureCode> {
        let min = self.plan.min_parties as usize;
        let slots = self.plan.slots.len();
        let refused = self.answers.values().filter(|a| matches!(a, super::Answer::Refused { .. })).count();
        match self.status {
            Status::Approved | Status::Started if slots - refused < min => Some(FailureCode::Refused),
            Status::Approved if now >= self.deadline(self.changed_at) && self.present().count() < min => {
                Some(FailureCode::NoAnswer)
            }
            Status::Started => {
                let whole = self.track(self.whole()).filter(|t| t.is_active(&self.plan))?;
                let late = now >= self.deadline(whole.opened_at);
                (late && whole.updates.len() < min).then_some(FailureCode::MinimumNotMet)
            }
            _ => None,
        }
    }
}

impl State {
    /// Checks an evaluation before it is taken.
    fn check_evaluation(&self, context: &Context<'_>, body: &EvaluationReported) -> Checked {
        let run = self.run(&body.run)?;
        run.require(Status::Started)?;
        let asset = self.require_slot(run, body.slot, context.party())?;
        self.require_node(context, run, body.slot)?;
        self.still_allowed(run, context.at)?;
        let no_track = || Refusal::NoTrack { coalition: body.coalition };
        let track = run.track(body.coalition).filter(|t| t.dropped.is_none()).ok_or_else(no_track)?;
        let model = track.models.get(body.round as usize).filter(|_| run.plan.is_evaluated(body.coalition, body.round));
        let model = *model.ok_or(Refusal::WrongRound { expected: run.plan.rounds, got: body.round })?;
        require_model(model, body.model)?;
        if run.evaluations.contains_key(&(body.coalition, body.round, body.slot)) {
            return Err(Refusal::AlreadySubmitted {});
        }
        let rows = self.asset(&asset).map_or(0, |a| a.held_out_rows);
        if body.total != rows || body.correct > body.total {
            let expected = format!("{rows} held-out rows were registered");
            return Err(Refusal::WrongResult { what: "the evaluation", expected });
        }
        let classes = run.plan.model.widths().last().copied().unwrap_or(0);
        match &body.confusion {
            Some(confusion) => check_confusion(confusion, body, classes),
            None => Ok(()),
        }
    }

    pub(in crate::state) fn evaluation_reported(
        &mut self,
        context: &Context<'_>,
        body: &EvaluationReported,
    ) -> Checked {
        self.check_evaluation(context, body)?;
        let evaluation = Evaluation { correct: body.correct, total: body.total, confusion: body.confusion.clone() };
        let run = self.run_mut(&body.run)?;
        run.evaluations.insert((body.coalition, body.round, body.slot), evaluation);
        run.changed_at = context.at;
        Ok(())
    }

    pub(in crate::state) fn run_finished(&mut self, context: &Context<'_>, body: &RunFinished) -> Checked {
        let run = self.run(&body.run)?;
        run.require(Status::Started)?;
        self.require_agreement(context, run)?;
        if !run.may_finish(context.at) {
            return Err(Refusal::TooEarly { detail: "rounds or evaluations are still under way" });
        }
        let whole = run.track(run.whole()).ok_or(Refusal::NoTrack { coalition: run.whole() })?;
        require_model(whole.model(), body.model)?;
        let run = self.run_mut(&body.run)?;
        run.status = Status::Finished;
        run.final_model = Some(body.model);
        run.changed_at = context.at;
        Ok(())
    }

    pub(in crate::state) fn run_failed(&mut self, context: &Context<'_>, body: &RunFailed) -> Checked {
        let run = self.run(&body.run)?;
        if !matches!(run.status, Status::Proposed | Status::Approved | Status::Started) {
            return Err(Refusal::WrongStatus { expected: "under way", got: run.status.code() });
        }
        let justified = match body.code {
            FailureCode::NotAllowed => self.still_allowed(run, context.at).is_err(),
            // Only the updates' bytes could tell; whoever keeps them can check.
            FailureCode::Diverged => run.status == Status::Started,
            code => run.failure(context.at) == Some(code),
        };
        if !justified {
            return Err(Refusal::WrongResult {
                what: "the failure",
                expected: "no such reason stands in the log".into(),
            });
        }
        let run = self.run_mut(&body.run)?;
        run.status = Status::Failed(body.code);
        run.changed_at = context.at;
        Ok(())
    }

    pub(in crate::state) fn model_released(&mut self, context: &Context<'_>, body: &ModelReleased) -> Checked {
        self.require_member(context.party())?;
        let run = self.run(&body.run)?;
        run.require(Status::Finished)?;
        if run.released.is_some() {
            return Err(Refusal::AlreadyDone { what: "this model was released" });
        }
        require_model(run.final_model.unwrap_or(body.model), body.model)?;
        // What is open now is what the members accepted, or they decide again.
        let accepted = self.clear_release(run, context.at).open;
        self.require_cleared(run, &accepted, context.at)?;
        if !self.has_passed(&Subject::Release { run: body.run.clone(), model: body.model, accepted }) {
            return Err(Refusal::NotDecided {});
        }
        for (_, terms) in self.terms_in_force(context.at) {
            for clause in &terms.clause {
                if let ClauseKind::Results(results) = &clause.rule
                    && results.licence.code() != body.licence
                {
                    let detail = format!("clause {} says {}, not {}", clause.id, results.licence, body.licence);
                    return Err(Refusal::TermsMismatch { field: "licence", detail });
                }
            }
        }
        self.require(&self.model_request(run, context.party(), Action::Release, context.at))?;
        let asset = self.model_asset(run);
        let (by, at) = (context.party().clone(), context.at);
        let released = Released { by, at, manifest: body.manifest, licence: body.licence.clone() };
        // From now on it is a repository like others: the hub writes it under the collaboration's name.
        self.place(asset, DataClass::Model, at)?;
        self.run_mut(&body.run)?.released = Some(released);
        Ok(())
    }

    /// The name under which the terms speak of a run's model.
    ///
    /// # Panics
    /// Never: a collaboration and a run are slugs, and so make an asset's name.
    #[must_use]
    pub fn model_asset(&self, run: &Run) -> AssetId {
        let owner = self.collaboration.as_ref().map_or(HUB, |c| c.as_str());
        format!("{owner}/{}", run.id).parse().expect("two slugs make an asset's name")
    }

    /// What `actor` asks of the terms to do `action` with the model of `run`, a joint result under the collaboration's name.
    #[must_use]
    pub fn model_request(&self, run: &Run, actor: &crate::id::PartyId, action: Action, at: Timestamp) -> Request {
        Request {
            actor: actor.clone(),
            action,
            asset: self.model_asset(run),
            part: None,
            class: DataClass::Model,
            purpose: run.plan.purpose,
            place: Place::Anywhere,
            parties: u32::try_from(run.plan.slots.len()).unwrap_or(u32::MAX),
            at,
        }
    }
}

fn check_confusion(confusion: &Confusion, body: &EvaluationReported, classes: u32) -> Checked {
    let wrong =
        |expected: &str| Err(Refusal::WrongResult { what: "the confusion matrix", expected: expected.to_owned() });
    let cells = &confusion.cells;
    if !cells.windows(2).all(|w| (w[0].0, w[0].1) < (w[1].0, w[1].1)) {
        return wrong("cells ascend and stand once");
    }
    if cells.iter().any(|&(t, p, rows)| t >= classes || p >= classes || rows < MIN_CELL_ROWS) {
        return wrong("cells name known classes and hold at least five rows");
    }
    let sum = cells.iter().try_fold(confusion.merged, |sum, cell| sum.checked_add(cell.2));
    let diagonal: u64 = cells.iter().filter(|c| c.0 == c.1).map(|c| c.2.min(body.total)).sum();
    if sum != Some(body.total) || diagonal > body.correct {
        return wrong("its cells sum to the rows evaluated, its diagonal to at most the rows right");
    }
    Ok(())
}
