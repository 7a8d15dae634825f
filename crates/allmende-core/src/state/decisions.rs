//! Decisions of the members and what each brings about.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::runs::Status;
use super::{AgreementStatus, Checked, Context, Refusal, State};
use crate::collaboration::decision::{Outcome, Standing, Subject, Vote, standing};
use crate::id::{DecisionId, PartyId};
use crate::statement::{DecisionClosed, DecisionOpened, DecisionVoted};
use crate::time::Timestamp;

/// Most decisions in one collaboration.
const MAX_DECISIONS: usize = 100_000;
/// Most decisions that one member may hold open: each open one is looked at whenever the log grows.
const MAX_OPEN_BY_ONE: usize = 64;

/// A matter put to the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What it is about.
    pub subject: Subject,
    /// Who opened it.
    pub opened_by: PartyId,
    /// When, by the hub's clock.
    pub opened_at: Timestamp,
    /// Who has a vote, ascending.
    pub voters: Vec<PartyId>,
    /// The votes.
    pub votes: BTreeMap<PartyId, Vote>,
    /// How and when it ended.
    pub closed: Option<(Outcome, Timestamp)>,
}

impl State {
    /// Where an open decision stands at `now`.
    #[must_use]
    pub fn standing(&self, decision: &DecisionId, now: Timestamp) -> Option<Standing> {
        let decided = self.decisions.get(decision)?;
        let charter = self.charter.as_ref()?;
        // Members who left or were excluded since have no vote. Mostly nobody has: no copy then.
        let stays = |voter: &&PartyId| self.members.contains_key(*voter);
        let voters = if decided.voters.iter().all(|v| stays(&v)) {
            Cow::Borrowed(&decided.voters)
        } else {
            Cow::Owned(decided.voters.iter().filter(stays).cloned().collect())
        };
        Some(standing(charter, &voters, &decided.votes, decided.opened_at, now))
    }

    /// Whether the members decided for exactly this subject.
    #[must_use]
    pub fn has_passed(&self, subject: &Subject) -> bool {
        self.passed.contains(subject)
    }

    /// The open decisions, each with its subject, in the order of the subjects.
    pub fn open_decisions(&self) -> impl Iterator<Item = (&Subject, &DecisionId)> {
        self.open.iter()
    }

    pub(super) fn decision_opened(&mut self, context: &Context<'_>, body: &DecisionOpened) -> Checked {
        self.require_member(context.party())?;
        if self.decisions.contains_key(&body.decision) {
            return Err(Refusal::DecisionExists { decision: body.decision.clone() });
        }
        if self.decisions.len() >= MAX_DECISIONS {
            return Err(Refusal::Limit { what: "decisions in one collaboration", limit: MAX_DECISIONS as u64 });
        }
        if self.open.contains_key(&body.subject) {
            return Err(Refusal::BadSubject { detail: "the same matter is open already" });
        }
        let open = self.open.values().filter_map(|id| self.decisions.get(id));
        if open.filter(|d| d.opened_by == *context.party()).count() >= MAX_OPEN_BY_ONE {
            return Err(Refusal::Limit { what: "open decisions of one member", limit: MAX_OPEN_BY_ONE as u64 });
        }
        self.require_decidable(body.subject.matter(), context.at)?;
        self.check_subject(&body.subject, context.at)?;
        let concerned = match &body.subject {
            Subject::Exclude { party } => Some(party),
            _ => None,
        };
        let decided = Decided {
            subject: body.subject.clone(),
            opened_by: context.party().clone(),
            opened_at: context.at,
            voters: self.members.keys().filter(|m| Some(*m) != concerned).cloned().collect(),
            votes: BTreeMap::new(),
            closed: None,
        };
        self.open.insert(body.subject.clone(), body.decision.clone());
        self.decisions.insert(body.decision.clone(), decided);
        Ok(())
    }

    fn check_subject(&self, subject: &Subject, at: Timestamp) -> Checked {
        let bad = |detail| Err(Refusal::BadSubject { detail });
        match subject {
            Subject::Run { run, plan } => {
                let run = self.run(run)?;
                if run.plan_digest != *plan {
                    return bad("the run has another plan");
                }
                run.require(Status::Proposed)
            }
            Subject::Release { run, model, accepted } => {
                let run = self.run(run)?;
                run.require(Status::Finished)?;
                if run.final_model != Some(*model) {
                    return bad("the run ended with another model");
                }
                self.require_cleared(run, accepted, at)
            }
            Subject::Amend { terms } => match self.agreements.get(terms) {
                Some(a) if a.status == AgreementStatus::Offered && a.terms.replaces.is_some() => Ok(()),
                _ => bad("no offered terms of this digest replace others"),
            },
            Subject::Admit { party } if self.members.contains_key(party) => bad("a member already"),
            Subject::Admit { .. } => Ok(()),
            Subject::Exclude { party } if !self.members.contains_key(party) => bad("not a member"),
            Subject::Exclude { .. } => Ok(()),
            Subject::End { terms } => match self.agreements.get(terms).map(|a| a.status) {
                Some(AgreementStatus::InForce { .. }) => Ok(()),
                _ => bad("no terms of this digest are in force"),
            },
        }
    }

    pub(super) fn decision_voted(&mut self, context: &Context<'_>, body: &DecisionVoted) -> Checked {
        let party = context.party();
        self.require_member(party)?;
        let decided = self.decision(&body.decision)?;
        if decided.closed.is_some() {
            return Err(Refusal::DecisionOver { decision: body.decision.clone() });
        }
        if !decided.voters.contains(party) {
            return Err(Refusal::NoVote { party: party.clone() });
        }
        if decided.votes.contains_key(party) {
            return Err(Refusal::AlreadyVoted { party: party.clone() });
        }
        if let Some(Standing::Decided(_)) = self.standing(&body.decision, context.at) {
            return Err(Refusal::DecisionOver { decision: body.decision.clone() });
        }
        if let Some(decided) = self.decisions.get_mut(&body.decision) {
            decided.votes.insert(party.clone(), body.vote);
        }
        Ok(())
    }

    pub(super) fn decision_closed(&mut self, context: &Context<'_>, body: &DecisionClosed) -> Checked {
        let decided = self.decision(&body.decision)?;
        if decided.closed.is_some() {
            return Err(Refusal::DecisionOver { decision: body.decision.clone() });
        }
        match self.standing(&body.decision, context.at) {
            Some(Standing::Decided(outcome)) if outcome == body.outcome => {}
            Some(Standing::Decided(expected)) => return Err(Refusal::WrongOutcome { expected, got: body.outcome }),
            _ => return Err(Refusal::DecisionOpen { decision: body.decision.clone() }),
        }
        let Some(decided) = self.decisions.get_mut(&body.decision) else { return Ok(()) };
        decided.closed = Some((body.outcome, context.at));
        let subject = decided.subject.clone();
        self.open.remove(&subject);
        if body.outcome == Outcome::Passed {
            self.passed.insert(subject.clone());
        }
        self.take_effect(&subject, body.outcome, context.at);
        Ok(())
    }

    fn take_effect(&mut self, subject: &Subject, outcome: Outcome, at: Timestamp) {
        let passed = outcome == Outcome::Passed;
        match subject {
            Subject::Run { run, .. } => {
                let size = self.size + 1;
                if let Some(run) = self.runs.get_mut(run).filter(|run| run.status == Status::Proposed) {
                    run.status = if passed { Status::Approved } else { Status::Rejected };
                    run.approved_at = size;
                    run.changed_at = at;
                }
            }
            Subject::Amend { terms } if passed => {
                if let Some(agreement) = self.agreements.get_mut(terms) {
                    agreement.decided = true;
                }
                self.bring_into_force(*terms, at);
            }
            Subject::Admit { party } if passed => {
                self.excluded.remove(party);
                self.admitted.insert(party.clone());
            }
            Subject::Exclude { party } if passed => {
                self.members.remove(party);
                self.excluded.insert(party.clone());
            }
            Subject::End { terms } if passed => {
                // Terms that were replaced while the members voted stay replaced.
                let agreement = self.agreements.get_mut(terms);
                if let Some(a) = agreement.filter(|a| matches!(a.status, AgreementStatus::InForce { .. })) {
                    a.status = AgreementStatus::Ended { at };
                }
            }
            _ => {}
        }
    }

    fn decision(&self, id: &DecisionId) -> Result<&Decided, Refusal> {
        self.decisions.get(id).ok_or_else(|| Refusal::UnknownDecision { decision: id.clone() })
    }
}
