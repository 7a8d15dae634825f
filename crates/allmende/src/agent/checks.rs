//! What a node checks before it works: the offer against its own copy of the log, the terms by its own clock, its owner's
//! policy, its data. A pure function of what it is given, so that every way of lying can be tested.

use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, PartyId, RunId};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::run::engine::{self, Task};
use allmende_core::run::offer::{Offer, Work};
use allmende_core::signature::PublicKey;
use allmende_core::state::runs::{Answer, Run, Status};
use allmende_core::state::{Refusal, State};
use allmende_core::statement::{RefusalCode, RunRefused};
use allmende_core::time::Timestamp;

use super::settings::Policy;

/// How long after its end an offer is still taken, in milliseconds.
const SKEW_MS: i64 = 10_000;
/// Longest life of an offer, in milliseconds: a day and the longest round.
const MAX_LIFE_MS: i64 = 2 * 86_400_000;

/// What a check rests on.
pub struct Facts<'a> {
    /// The state up to the size that enough witnesses saw alike.
    pub acting: &'a State,
    /// The state of everything that was mirrored: only to see what is done already.
    pub latest: &'a State,
    /// The pinned key of the hub.
    pub hub_key: PublicKey,
    /// This node's party.
    pub party: &'a PartyId,
    /// This node's key.
    pub node: PublicKey,
    /// The owner's policy.
    pub policy: &'a Policy,
    /// The machine's load over one minute, where it is known.
    pub load: Option<f64>,
    /// Our own clock.
    pub now: Timestamp,
    /// How far the hub's may be ahead of it, in milliseconds.
    pub skew_ms: i64,
}

/// A piece of work that passed every check that needs no data.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What was offered.
    pub offer: Offer,
    /// Digest of the offer.
    pub digest: Digest,
    /// This party's place in the plan.
    pub slot: u32,
}

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Carry it out.
    Do(Box<Job>),
    /// Not now; it may be offered again.
    Wait(&'static str),
    /// It is over, done or void. Honest hubs make such offers when two messages cross.
    Ignore(&'static str),
    /// Say no to the run.
    Refuse(RunRefused),
    /// The hub signed, or passed on, what no honest hub does. Nothing is done.
    Forged(String),
}

/// Judges one offer.
#[must_use]
pub fn judge(facts: &Facts<'_>, collaboration: &CollaborationId, envelope: &Envelope) -> Verdict {
    let Ok((offer, digest)) = Offer::open(envelope, &facts.hub_key) else {
        return forged("not an offer of this hub");
    };
    if offer.node != facts.node {
        return forged("made for another node");
    }
    if offer.origin != *facts.acting.origin() || offer.collaboration != *collaboration {
        return forged("made for another log");
    }
    if offer.expires_at.plus_ms(SKEW_MS) < facts.now {
        return Verdict::Ignore("expired");
    }
    if offer.issued_at > facts.now.plus_ms(facts.skew_ms) || offer.expires_at > facts.now.plus_ms(MAX_LIFE_MS) {
        return Verdict::Ignore("its time does not fit this machine's clock");
    }
    if offer.log_size > facts.acting.size() {
        return Verdict::Wait("the log it rests on is not witnessed yet");
    }
    let (Ok(run), Ok(latest)) = (facts.acting.run(&offer.run), facts.latest.run(&offer.run)) else {
        return forged("no such run in the log");
    };
    let Some(slot) = run.plan.slot_of(facts.party).and_then(|slot| u32::try_from(slot).ok()) else {
        return forged("this party takes no part in the run");
    };
    match run.status {
        Status::Approved | Status::Started if !latest.status.is_over() => {}
        // The log that the offer itself rests on says so: no honest hub crossed a message here.
        Status::Forbidden => {
            let decision = facts.acting.judge_plan(&run.plan, &run.proposed_by, run.proposed_at);
            return Verdict::Forged(format!("the terms forbid run {}: {decision}", run.id));
        }
        Status::Proposed | Status::Rejected => {
            return Verdict::Forged(format!("the members did not approve run {}", run.id));
        }
        _ => return Verdict::Ignore("the run is not under way"),
    }
    let refuse = |code, clause| Verdict::Refuse(refusal(facts, &offer.run, code, clause));
    if offer.plan != run.plan_digest || offer.agreement != run.plan.agreement {
        return refuse(RefusalCode::Mismatch, None);
    }
    if let Some(recorded) = recorded_model(latest, &offer.work).filter(|m| Some(*m) != model_of(&offer.work)) {
        return Verdict::Forged(format!("run {} stands at the model {recorded}, the offer names another", run.id));
    }
    let asked = task_of(&offer.work);
    if !tasks(run, facts).contains(&asked) || !tasks(latest, facts).contains(&asked) {
        return Verdict::Ignore("done already, or not due");
    }
    // Both states, so that a withdrawal counts before the witnesses have caught up.
    for (state, run) in [(facts.acting, run), (facts.latest, latest)] {
        if let Err(reason) = state.still_allowed(run, facts.now) {
            return refuse(RefusalCode::Terms, clause_of(&reason));
        }
    }
    if let Some(verdict) = by_policy(facts, run, &asked, refuse) {
        return verdict;
    }
    Verdict::Do(Box::new(Job { offer, digest, slot }))
}

/// What the owner's policy says, if anything.
fn by_policy(
    facts: &Facts<'_>,
    run: &Run,
    asked: &Task,
    refuse: impl Fn(RefusalCode, Option<allmende_core::id::ClauseId>) -> Verdict,
) -> Option<Verdict> {
    let policy = facts.policy;
    let plan = &run.plan;
    let fits =
        plan.rounds <= policy.max_rounds && (policy.purposes.is_empty() || policy.purposes.contains(&plan.purpose));
    if !fits {
        return Some(refuse(RefusalCode::Owner, None));
    }
    let hour = u8::try_from(facts.now.0.div_euclid(3_600_000).rem_euclid(24)).unwrap_or(0);
    let awake = policy.hours_utc.is_none_or(|hours| hours.contains(hour));
    if *asked == Task::Answer {
        if !awake || under_way(facts.latest, facts.party, facts.node) >= policy.max_runs as usize {
            return Some(refuse(RefusalCode::Owner, None));
        }
    } else if !awake {
        return Some(Verdict::Wait("outside the owner's hours"));
    }
    match (policy.max_load, facts.load) {
        (Some(most), Some(load)) if load > most => Some(Verdict::Wait("the machine is busy")),
        _ => None,
    }
}

/// A refusal of a run, judged by the acting state.
#[must_use]
pub fn refusal(
    facts: &Facts<'_>,
    run: &RunId,
    code: RefusalCode,
    clause: Option<allmende_core::id::ClauseId>,
) -> RunRefused {
    RunRefused { run: run.clone(), code, clause, log_size: facts.acting.size() }
}

fn clause_of(reason: &Refusal) -> Option<allmende_core::id::ClauseId> {
    match reason {
        Refusal::Denied { decision } => decision.clauses.first().map(|c| c.clause.clone()),
        _ => None,
    }
}

fn forged(reason: &str) -> Verdict {
    Verdict::Forged(reason.to_owned())
}

const fn model_of(work: &Work) -> Option<Digest> {
    match *work {
        Work::Answer {} => None,
        Work::Train { base, .. } => Some(base),
        Work::Evaluate { model, .. } => Some(model),
    }
}

/// The model that the log records where the offer names one, if the log is so far.
fn recorded_model(run: &Run, work: &Work) -> Option<Digest> {
    let (coalition, round) = match *work {
        Work::Answer {} => return None,
        Work::Train { coalition, round, .. } => (coalition, round.checked_sub(1)?),
        Work::Evaluate { coalition, round, .. } => (coalition, round),
    };
    run.track(coalition)?.models.get(round as usize).copied()
}

fn task_of(work: &Work) -> Task {
    match *work {
        Work::Answer {} => Task::Answer,
        Work::Train { coalition, round, base } => Task::Train { coalition, round, base },
        Work::Evaluate { coalition, round, model } => Task::Evaluate { coalition, round, model },
    }
}

/// What the run asks of this node. Another node of the same party is relieved only when it is gone: two nodes must not
/// take each other's place in turns.
fn tasks(run: &Run, facts: &Facts<'_>) -> Vec<Task> {
    let tasks = engine::tasks(run, facts.party, &facts.node);
    let slot = run.plan.slot_of(facts.party).and_then(|slot| u32::try_from(slot).ok());
    let other = slot.filter(|slot| !run.absent.contains(slot)).and_then(|slot| run.answers.get(&slot));
    match other {
        Some(Answer::Accepted { node }) if *node != facts.node && is_valid(facts, node) => Vec::new(),
        _ => tasks,
    }
}

fn is_valid(facts: &Facts<'_>, node: &PublicKey) -> bool {
    facts.latest.parties().get(facts.party).is_some_and(|p| p.nodes.contains_key(node))
}

/// Runs that this node has accepted and that are not over.
#[must_use]
pub fn accepted<'a>(state: &'a State, party: &PartyId, node: PublicKey) -> Vec<&'a Run> {
    let mine = |run: &&Run| {
        let slot = run.plan.slot_of(party).and_then(|slot| u32::try_from(slot).ok());
        let answer = slot.and_then(|slot| run.answers.get(&slot));
        !run.status.is_over() && answer == Some(&Answer::Accepted { node })
    };
    state.runs().values().filter(mine).collect()
}

fn under_way(state: &State, party: &PartyId, node: PublicKey) -> usize {
    accepted(state, party, node).len()
}
