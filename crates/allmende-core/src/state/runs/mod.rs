//! Runs as the log tells them: proposed, checked, decided, accepted, trained round by round, evaluated, finished.

mod finish;
mod rounds;
mod start;

use std::collections::BTreeMap;

use super::{Context, Refusal, State};
use crate::contribution::Ratio;
use crate::digest::Digest;
use crate::id::{AssetId, ClauseId, PartyId, RunId};
use crate::run::plan::{Coalition, Plan};
use crate::signature::PublicKey;
use crate::statement::{CoalitionValue, Confusion, Counted, FailureCode, RefusalCode};
use crate::time::Timestamp;

pub use start::requests;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The terms deny it.
    Forbidden,
    /// The terms allow it; the members have not decided.
    Proposed,
    /// The members decided against it.
    Rejected,
    /// The members decided for it; nodes are being asked.
    Approved,
    /// Rounds are under way.
    Started,
    /// All rounds are over.
    Finished,
    /// It stopped.
    Failed(FailureCode),
}

impl Status {
    /// One word for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Proposed => "proposed",
            Self::Rejected => "rejected",
            Self::Approved => "approved",
            Self::Started => "started",
            Self::Finished => "finished",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether nothing more can happen in it.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Forbidden | Self::Rejected | Self::Finished | Self::Failed(_))
    }
}

/// What a party's node said to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It takes part.
    Accepted {
        /// The node that accepted.
        node: PublicKey,
    },
    /// It does not.
    Refused {
        /// Why.
        code: RefusalCode,
    },
}

/// The training of one coalition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Who trains.
    pub coalition: Coalition,
    /// The model before the first round and after each.
    pub models: Vec<Digest>,
    /// Size of the log with which each of the models came to stand in it.
    pub known_at: Vec<u64>,
    /// State of the outer optimizer, if it has one.
    pub velocity: Option<Digest>,
    /// When the current round began.
    pub opened_at: Timestamp,
    /// Updates of the current round, by slot.
    pub updates: BTreeMap<u32, Counted>,
    /// What each closed round counted.
    pub closed: Vec<Vec<Counted>>,
    /// Given up for want of a member; then it is worth as much as these, who were there.
    pub dropped: Option<Coalition>,
}

impl Track {
    /// The round that is open, from 1.
    #[must_use]
    pub fn round(&self) -> u32 {
        u32::try_from(self.models.len()).unwrap_or(u32::MAX)
    }

    /// The newest model.
    ///
    /// # Panics
    /// Never: a track begins with its base model.
    #[must_use]
    pub fn model(&self) -> Digest {
        *self.models.last().expect("a track begins with its base model")
    }

    /// Whether all of `plan`'s rounds are closed.
    #[must_use]
    pub fn is_complete(&self, plan: &Plan) -> bool {
        self.round() > plan.rounds
    }

    /// Whether rounds go on.
    #[must_use]
    pub fn is_active(&self, plan: &Plan) -> bool {
        self.dropped.is_none() && !self.is_complete(plan)
    }
}

/// A node's counts over its held-out rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Rows right.
    pub correct: u64,
    /// Rows evaluated.
    pub total: u64,
    /// The confusion matrix, if it was reported.
    pub confusion: Option<Confusion>,
}

/// What was published of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// By whom the statement is signed.
    pub by: PartyId,
    /// When.
    pub at: Timestamp,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// SPDX identifier.
    pub licence: String,
}

/// Measured contributions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// Utility of each coalition.
    pub values: Vec<CoalitionValue>,
    /// Weight of each slot in the benefit.
    pub shares: Vec<Ratio>,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// Who proposed it.
    pub proposed_by: PartyId,
    /// When.
    pub proposed_at: Timestamp,
    /// The plan.
    pub plan: Plan,
    /// Its digest.
    pub plan_digest: Digest,
    /// The clauses that allowed or forbade it.
    pub clauses: Vec<ClauseId>,
    /// Whether the hub recorded the check.
    pub checked: bool,
    /// Size of the log with which the members' approval came to stand in it.
    pub approved_at: u64,
    /// What nodes said, by slot.
    pub answers: BTreeMap<u32, Answer>,
    /// Slots that missed a deadline and have not been heard of since.
    pub absent: std::collections::BTreeSet<u32>,
    /// One for each coalition that is trained, the whole one first; empty before the start.
    pub tracks: Vec<Track>,
    /// Counts by coalition, round and slot.
    pub evaluations: BTreeMap<(Coalition, u32, u32), Evaluation>,
    /// When something last happened in it.
    pub changed_at: Timestamp,
    /// Where it stands.
    pub status: Status,
    /// The model it ended with.
    pub final_model: Option<Digest>,
    /// What was published.
    pub released: Option<Released>,
    /// What was measured.
    pub contribution: Option<Contribution>,
}

impl Run {
    /// Refuses unless the run stands at `status`.
    ///
    /// # Errors
    /// [`Refusal::WrongStatus`].
    pub fn require(&self, status: Status) -> Result<(), Refusal> {
        if self.status == status {
            Ok(())
        } else {
            Err(Refusal::WrongStatus { expected: status.code(), got: self.status.code() })
        }
    }

    /// The coalition of all slots.
    #[must_use]
    pub fn whole(&self) -> Coalition {
        Coalition::all(self.plan.slots.len())
    }

    /// The track of `coalition`.
    #[must_use]
    pub fn track(&self, coalition: Coalition) -> Option<&Track> {
        self.tracks.iter().find(|t| t.coalition == coalition)
    }

    /// Slots whose node accepted and has not gone missing.
    pub fn present(&self) -> impl Iterator<Item = u32> {
        self.answers
            .iter()
            .filter(|(slot, answer)| matches!(answer, Answer::Accepted { .. }) && !self.absent.contains(slot))
            .map(|(&slot, _)| slot)
    }

    /// What `coalition` is worth in the end; `empty` when nobody of it was there. One that was given up is worth as much as
    /// those of it who stayed: whoever went away adds nothing to the others and takes nothing from them.
    #[must_use]
    pub fn worth(&self, coalition: Coalition, empty: u32) -> Option<CoalitionValue> {
        let mut trained = coalition;
        // Each step has fewer slots than the one before.
        while let Some(there) = self.track(trained).and_then(|t| t.dropped) {
            trained = there;
        }
        if trained.is_empty() {
            return Some(CoalitionValue { coalition, correct: empty.into(), total: 0 });
        }
        self.utility(trained, self.plan.rounds).map(|value| CoalitionValue { coalition, ..value })
    }

    /// The slots whose held-out rows count: all of the plan's, and once the run is over those that have evaluated the last
    /// model of every track that got so far, so that no member can hold up the others by going away. Every coalition is measured on the
    /// same rows.
    #[must_use]
    pub fn evaluators(&self) -> Vec<u32> {
        let going = self.status != Status::Finished;
        let last = |t: &Track, slot| self.evaluations.contains_key(&(t.coalition, self.plan.rounds, slot));
        let all = |slot| self.tracks.iter().all(|t| t.dropped.is_some() || last(t, slot));
        (0..).take(self.plan.slots.len()).filter(|&slot| going || all(slot)).collect()
    }

    /// Rows right and rows evaluated, over all [`Self::evaluators`], of `coalition`'s model after `round`; none unless each
    /// of them has reported, and they are as many as the plan's minimum.
    #[must_use]
    pub fn utility(&self, coalition: Coalition, round: u32) -> Option<CoalitionValue> {
        let slots = self.evaluators();
        if slots.len() < self.plan.min_parties as usize {
            return None;
        }
        slots.into_iter().try_fold(CoalitionValue { coalition, correct: 0, total: 0 }, |sum, slot| {
            let e = self.evaluations.get(&(coalition, round, slot))?;
            let correct = sum.correct.checked_add(e.correct)?;
            Some(CoalitionValue { coalition, correct, total: sum.total.checked_add(e.total)? })
        })
    }

    /// The end of the time in which the hub waits for whatever comes next.
    #[must_use]
    pub fn deadline(&self, since: Timestamp) -> Timestamp {
        since.plus_ms(i64::try_from(self.plan.round_timeout_ms).unwrap_or(i64::MAX))
    }

    /// Evaluations that the plan asks for and that are not in yet, as coalition, round, model and slot.
    #[must_use]
    pub fn missing_evaluations(&self) -> Vec<(Coalition, u32, Digest, u32)> {
        let slots = u32::try_from(self.plan.slots.len()).unwrap_or(0);
        let mut missing = Vec::new();
        for track in self.tracks.iter().filter(|t| t.dropped.is_none()) {
            for (round, &model) in (0_u32..).zip(&track.models).skip(1) {
                if !self.plan.is_evaluated(track.coalition, round) {
                    continue;
                }
                let open = (0..slots).filter(|&slot| !self.evaluations.contains_key(&(track.coalition, round, slot)));
                missing.extend(open.map(|slot| (track.coalition, round, model, slot)));
            }
        }
        missing
    }
}

impl State {
    /// The run of this name.
    ///
    /// # Errors
    /// [`Refusal::UnknownRun`].
    pub fn run(&self, id: &RunId) -> Result<&Run, Refusal> {
        self.runs.get(id).ok_or_else(|| Refusal::UnknownRun { run: id.clone() })
    }

    fn run_mut(&mut self, id: &RunId) -> Result<&mut Run, Refusal> {
        self.runs.get_mut(id).ok_or_else(|| Refusal::UnknownRun { run: id.clone() })
    }

    /// What is done in a run stands under the run's own agreement, whatever else is in force.
    fn require_agreement(&self, context: &Context<'_>, run: &Run) -> Result<(), Refusal> {
        let agreement = context.opened.statement.header.agreement;
        if agreement == Some(run.plan.agreement) { Ok(()) } else { Err(Refusal::NotInForce { agreement }) }
    }

    /// The node that accepted for `slot` of a started run must be the one that signs; another node of the same party takes
    /// its place by accepting anew.
    fn require_node(&self, context: &Context<'_>, run: &Run, slot: u32) -> Result<(), Refusal> {
        self.require_agreement(context, run)?;
        match run.answers.get(&slot) {
            Some(Answer::Accepted { node }) if *node == context.key() => Ok(()),
            _ => Err(Refusal::NoSlot { party: context.party().clone() }),
        }
    }

    /// A node whose key was revoked is gone from every run that it works in, so that nobody waits for it and another node
    /// of its party may step in.
    pub(in crate::state) fn node_gone(&mut self, node: &PublicKey) {
        for run in self.runs.values_mut().filter(|run| !run.status.is_over()) {
            let gone = run.answers.iter().filter(|(_, a)| matches!(a, Answer::Accepted { node: n } if n == node));
            run.absent.extend(gone.map(|(&slot, _)| slot).collect::<Vec<_>>());
        }
    }

    /// The asset of `slot`, which must be `party`'s, and accepted by one of its nodes.
    fn require_slot(&self, run: &Run, slot: u32, party: &PartyId) -> Result<AssetId, Refusal> {
        let refuse = || Refusal::NoSlot { party: party.clone() };
        let place = run.plan.slots.get(slot as usize).filter(|p| p.party == *party).ok_or_else(refuse)?;
        match run.answers.get(&slot) {
            Some(Answer::Accepted { .. }) => Ok(place.asset.clone()),
            _ => Err(refuse()),
        }
    }
}
