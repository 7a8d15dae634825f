//! From a proposal to the first round.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Run, Status, Track};
use crate::agreement::check::{Decision, Outcome, Request};
use crate::agreement::vocabulary::{Action, DataClass, Part, Place};
use crate::id::{ClauseId, PartyId};
use crate::run::plan::Plan;
use crate::state::{Context, Refusal, State};
use crate::statement::{RunAccepted, RunChecked, RunProposed, RunRefused, RunStarted};
use crate::time::Timestamp;

type Checked = Result<(), Refusal>;

/// Most runs in one collaboration.
const MAX_RUNS: usize = 10_000;

/// Everything that `plan`, carried out for `actor`, does with anybody's data: what the terms must allow.
#[must_use]
pub fn requests(plan: &Plan, actor: &PartyId, at: Timestamp) -> Vec<Request> {
    let mut requests = Vec::new();
    for slot in &plan.slots {
        let mut ask = |action, part, parties| {
            requests.push(Request {
                actor: actor.clone(),
                action,
                asset: slot.asset.clone(),
                part: Some(part),
                class: DataClass::Record,
                purpose: plan.purpose,
                place: Place::Owner,
                parties,
                at,
            });
        };
        ask(Action::Train, Part::Train, plan.min_parties);
        ask(Action::Evaluate, Part::HeldOut, plan.min_parties);
        for &size in &plan.measure {
            ask(Action::Measure, Part::Train, size);
        }
    }
    requests
}

impl Run {
    /// Whether an approved run may begin at `now`: enough nodes accepted, and all have answered or the time is up.
    #[must_use]
    pub fn may_start(&self, now: Timestamp) -> bool {
        let answered = self.answers.len() == self.plan.slots.len();
        self.status == Status::Approved
            && self.present().count() >= self.plan.min_parties as usize
            && (answered || now >= self.deadline(self.changed_at))
    }
}

impl State {
    /// What the terms say about a plan: the first denial, or all clauses that allow it.
    #[must_use]
    pub fn judge_plan(&self, plan: &Plan, actor: &PartyId, at: Timestamp) -> Decision {
        let mut clauses = BTreeSet::new();
        for request in requests(plan, actor, at) {
            let decision = self.judge(&request);
            if decision.outcome == Outcome::Deny {
                return decision;
            }
            clauses.extend(decision.clauses);
        }
        Decision { outcome: Outcome::Allow, clauses: clauses.into_iter().collect(), missing: Vec::new() }
    }

    pub(in crate::state) fn run_proposed(&mut self, context: &Context<'_>, body: &RunProposed) -> Checked {
        self.require_member(context.party())?;
        if self.runs.contains_key(&body.run) {
            return Err(Refusal::RunExists { run: body.run.clone() });
        }
        if self.runs.len() >= MAX_RUNS {
            return Err(Refusal::Limit { what: "runs in one collaboration", limit: MAX_RUNS as u64 });
        }
        body.plan.validate().map_err(|source| Refusal::BadPlan { source })?;
        if context.opened.statement.header.agreement != Some(body.plan.agreement) {
            return Err(Refusal::NotInForce { agreement: Some(body.plan.agreement) });
        }
        let widths = body.plan.model.widths();
        for slot in &body.plan.slots {
            self.require_member(&slot.party)?;
            let asset = self.asset(&slot.asset).ok_or_else(|| Refusal::UnknownAsset { asset: slot.asset.clone() })?;
            if asset.class != DataClass::Record {
                return Err(Refusal::BadAsset { detail: "a run trains on assets of class record" });
            }
            if widths.first() != Some(&asset.features) || widths.last() != Some(&asset.classes) {
                return Err(Refusal::BadAsset { detail: "the model's inputs and classes are not the dataset's" });
            }
        }
        let decision = self.judge_plan(&body.plan, context.party(), context.at);
        let allowed = decision.outcome == Outcome::Allow;
        let run = Run {
            id: body.run.clone(),
            proposed_by: context.party().clone(),
            proposed_at: context.at,
            plan: body.plan.clone(),
            plan_digest: body.plan.digest(),
            clauses: clause_ids(&decision),
            checked: false,
            approved_at: 0,
            answers: BTreeMap::new(),
            absent: BTreeSet::new(),
            tracks: Vec::new(),
            evaluations: BTreeMap::new(),
            changed_at: context.at,
            status: if allowed { Status::Proposed } else { Status::Forbidden },
            final_model: None,
            released: None,
            contribution: None,
        };
        self.runs.insert(body.run.clone(), run);
        Ok(())
    }

    pub(in crate::state) fn run_checked(&mut self, context: &Context<'_>, body: &RunChecked) -> Checked {
        self.require_agreement(context, self.run(&body.run)?)?;
        let run = self.run_mut(&body.run)?;
        if run.checked {
            return Err(Refusal::AlreadyDone { what: "this run was checked" });
        }
        let allowed = run.status != Status::Forbidden;
        if body.allowed != allowed || body.clauses != run.clauses {
            let expected = format!("allowed {allowed} by {:?}", run.clauses);
            return Err(Refusal::WrongResult { what: "the check", expected });
        }
        run.checked = true;
        Ok(())
    }

    pub(in crate::state) fn run_accepted(&mut self, context: &Context<'_>, body: &RunAccepted) -> Checked {
        let run = self.run(&body.run)?;
        if !matches!(run.status, Status::Approved | Status::Started) {
            return Err(Refusal::WrongStatus { expected: "approved", got: run.status.code() });
        }
        self.require_agreement(context, run)?;
        if body.plan != run.plan_digest {
            return Err(Refusal::WrongModel { expected: run.plan_digest, got: body.plan });
        }
        let slot = slot_of(run, context.party())?;
        let node = context.key();
        // Another node of the same party may take over; the same one answers once.
        if run.answers.get(&slot) == Some(&Answer::Accepted { node }) {
            return Err(Refusal::AlreadyAnswered {});
        }
        let run = self.run_mut(&body.run)?;
        run.answers.insert(slot, Answer::Accepted { node });
        run.absent.remove(&slot);
        // An answer moves no deadline: a party could put off the run for ever by changing its mind.
        Ok(())
    }

    pub(in crate::state) fn run_refused(&mut self, context: &Context<'_>, body: &RunRefused) -> Checked {
        let run = self.run(&body.run)?;
        if run.status.is_over() {
            return Err(Refusal::WrongStatus { expected: "under way", got: run.status.code() });
        }
        let slot = slot_of(run, context.party())?;
        if matches!(run.answers.get(&slot), Some(Answer::Refused { .. })) {
            return Err(Refusal::AlreadyAnswered {});
        }
        let run = self.run_mut(&body.run)?;
        run.answers.insert(slot, Answer::Refused { code: body.code });
        // An owner's stop counts at once: what it sent to the open rounds no longer takes part.
        for track in &mut run.tracks {
            track.updates.remove(&slot);
        }
        Ok(())
    }

    pub(in crate::state) fn run_started(&mut self, context: &Context<'_>, body: &RunStarted) -> Checked {
        let run = self.run(&body.run)?;
        run.require(Status::Approved)?;
        self.require_agreement(context, run)?;
        if !run.may_start(context.at) {
            return Err(Refusal::TooEarly {
                detail: "nodes have time left to answer, or fewer accepted than the plan's minimum",
            });
        }
        let size = self.size + 1;
        let run = self.run_mut(&body.run)?;
        run.status = Status::Started;
        run.changed_at = context.at;
        run.tracks = run
            .plan
            .tracks()
            .into_iter()
            .map(|coalition| Track {
                coalition,
                models: vec![run.plan.base_model],
                known_at: vec![size],
                velocity: None,
                opened_at: context.at,
                updates: BTreeMap::new(),
                closed: Vec::new(),
                dropped: None,
            })
            .collect();
        Ok(())
    }
}

fn clause_ids(decision: &Decision) -> Vec<ClauseId> {
    decision.clauses.iter().map(|c| c.clause.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn slot_of(run: &Run, party: &PartyId) -> Result<u32, Refusal> {
    let slot = run.plan.slot_of(party).ok_or_else(|| Refusal::NoSlot { party: party.clone() })?;
    u32::try_from(slot).map_err(|_| Refusal::NoSlot { party: party.clone() })
}
