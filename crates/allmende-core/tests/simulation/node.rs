//! A member's node: a mirrored log, an outbox of one statement, and a way to behave.

use std::rc::Rc;

use allmende_core::digest::Digest;
use allmende_core::ledger::merkle::{Frontier, Hash};
use allmende_core::run::engine::{self, Task};
use allmende_core::run::plan::Coalition;
use allmende_core::state::State;
use allmende_core::state::runs::Answer;
use allmende_core::statement::{
    Body, EvaluationReported, KeyClass, RefusalCode, RunAccepted, RunRefused, Statement, UpdateSubmitted,
};

use super::{Entry, Rng, Sealed};
use crate::world::{HELD_OUT_ROWS, TRAIN_ROWS, Who, correct, digest, fake_update, gov, id, key, next_statement};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Honest,
    /// Answers nothing.
    Silent,
    /// Refuses when asked.
    Refuser,
    /// Takes part, then is stopped by its owner at this time.
    StopsAt(i64),
    /// Takes part, then is never heard of again.
    VanishesAt(i64),
    /// Never reports an evaluation.
    NoEvaluation,
    /// Trains only with everybody.
    NoMeasuring,
    /// Says what is not so, whenever it may speak.
    Liar,
}

pub struct Node {
    pub who: Who,
    pub behaviour: Behaviour,
    pub up: bool,
    pub gone: bool,
    /// Durable: the mirror and what was said last.
    pub mirror: State,
    pub frontier: Frontier,
    pub leaves: Vec<Hash>,
    pub outbox: Option<Rc<Sealed>>,
    pub acknowledged: Vec<Digest>,
    pub alarm: Option<&'static str>,
    pub poll: u64,
    pub skew_ms: i64,
    pub terms: Digest,
    stopped: bool,
    last: Option<Rc<Sealed>>,
}

impl Node {
    pub fn new(
        who: Who,
        behaviour: Behaviour,
        prefix: (&State, &Frontier, &[Hash]),
        terms: Digest,
        skew_ms: i64,
    ) -> Self {
        Self {
            who,
            behaviour,
            up: true,
            gone: false,
            mirror: prefix.0.clone(),
            frontier: prefix.1.clone(),
            leaves: prefix.2.to_vec(),
            outbox: None,
            acknowledged: Vec::new(),
            alarm: None,
            poll: 0,
            skew_ms,
            terms,
            stopped: false,
            last: None,
        }
    }

    /// Takes what the hub says its log is. Anything but a longer version of the mirrored log raises an alarm.
    pub fn extend(&mut self, entries: &[Rc<Entry>], size: u64, root: Hash) {
        if size < self.mirror.size() {
            self.alarm = Some("the log is shorter than it was");
            return;
        }
        let mut frontier = self.frontier.clone();
        entries.iter().for_each(|e| frontier.push(e.leaf));
        if frontier.size() != size || frontier.root() != root {
            self.alarm = Some("the log is another one");
            return;
        }
        for entry in entries {
            if self.mirror.apply_opened(&entry.sealed.opened, entry.at).is_err() {
                self.alarm = Some("the log breaks a rule");
                return;
            }
            self.leaves.push(entry.leaf);
        }
        self.frontier = frontier;
        if let Some(sealed) = &self.outbox
            && self.mirror.chain(&sealed.opened.key, false).next > sealed.opened.statement.header.seq
        {
            self.outbox = None;
        }
    }

    /// What it has to say at `now`, if anything; whether it is a lie.
    pub fn speak(&mut self, now: i64, rng: &mut Rng) -> Option<(Rc<Sealed>, bool)> {
        let (run_id, body) = {
            let run = self.mirror.runs().values().next()?;
            let public = key(&self.who.key).public();
            let slot = u32::try_from(run.plan.slot_of(&self.who.party)?).ok()?;
            let accepted = matches!(run.answers.get(&slot), Some(Answer::Accepted { node }) if *node == public);
            let tasks = engine::tasks(run, &self.who.party, &public);
            let whole = run.whole();
            let willing = |task: &Task| match (self.behaviour, task) {
                (Behaviour::Silent, _) | (Behaviour::NoEvaluation, Task::Evaluate { .. }) => false,
                (Behaviour::NoMeasuring, Task::Train { coalition, .. }) => *coalition == whole,
                _ => true,
            };
            let refuse = |code| RunRefused { run: run.id.clone(), code, clause: None, log_size: self.mirror.size() };
            let body: Body = match (self.behaviour, tasks.into_iter().find(willing)) {
                (Behaviour::StopsAt(at), _) if now >= at && accepted && !self.stopped => {
                    self.stopped = true;
                    refuse(RefusalCode::Stopped).into()
                }
                (Behaviour::Refuser, Some(Task::Answer)) => refuse(RefusalCode::Declined).into(),
                (_, Some(Task::Answer)) => {
                    RunAccepted { run: run.id.clone(), plan: run.plan_digest, log_size: self.mirror.size() }.into()
                }
                (_, Some(Task::Train { coalition, round, base })) => UpdateSubmitted {
                    run: run.id.clone(),
                    coalition,
                    round,
                    slot,
                    offer: digest("offer"),
                    base,
                    update: fake_update(&base, slot),
                    size_bytes: 2_600,
                    weight: 1 + rng.below(TRAIN_ROWS),
                }
                .into(),
                (_, Some(Task::Evaluate { coalition, round, model })) => EvaluationReported {
                    run: run.id.clone(),
                    coalition,
                    round,
                    slot,
                    model,
                    correct: if rng.chance(50) { correct(coalition, slot) } else { rng.below(HELD_OUT_ROWS + 1) },
                    total: HELD_OUT_ROWS,
                    confusion: None,
                }
                .into(),
                (_, None) => return None,
            };
            (run.id.clone(), body)
        };
        let claimed = now + self.skew_ms;
        let honest = next_statement(&self.mirror, Some(self.terms), claimed, &self.who, body);
        let lies = self.behaviour == Behaviour::Liar && rng.chance(50);
        let lie = lies.then(|| self.lie(&honest, &run_id, claimed, rng)).flatten();
        let is_lie = lie.is_some();
        let (statement, signer) = lie.unwrap_or((honest, self.who.key.clone()));
        let envelope = statement.seal(&key(&signer)).unwrap();
        let sealed = Rc::new(Sealed { opened: Statement::open(&envelope).unwrap(), envelope });
        self.outbox = Some(Rc::clone(&sealed));
        if !is_lie {
            self.last = Some(Rc::clone(&sealed));
        }
        Some((sealed, is_lie))
    }

    /// A statement that must be refused, and the key that signs it.
    fn lie(
        &self,
        honest: &Statement,
        run: &allmende_core::id::RunId,
        now: i64,
        rng: &mut Rng,
    ) -> Option<(Statement, String)> {
        let mut s = honest.clone();
        let mut signer = self.who.key.clone();
        let general = rng.chance(30);
        match (&mut s.body, rng.below(6)) {
            // Another's place, another's name, another's power.
            (_, 0) if general => s.header.by.party = id("stranger"),
            (_, 1) if general => s.header.seq += 1,
            (_, 2) if general => s.header.previous = Some(digest("fork")),
            (_, 3) if general => s.header.agreement = Some(digest("better terms")),
            (_, 4) if general => {
                let vote = allmende_core::collaboration::decision::Vote::Yes;
                let body = allmende_core::statement::DecisionVoted { decision: id("d"), vote };
                s = next_statement(&self.mirror, None, now, &self.who, body.into());
            }
            (_, 5) if general => {
                s.header.by.class = KeyClass::Governance;
                if rng.chance(50) {
                    signer = gov("stranger").key;
                }
            }
            // The update of an earlier round once more, under the next number.
            (body, 0)
                if self.last.as_ref().is_some_and(|l| matches!(l.opened.statement.body, Body::UpdateSubmitted(_))) =>
            {
                let last = self.last.as_ref()?.opened.statement.clone();
                let Body::UpdateSubmitted(old) = &last.body else { return None };
                // Only once it stands in the log is it a replay.
                if self.mirror.run(run).ok()?.track(old.coalition)?.round() == old.round
                    && !self.mirror.run(run).ok()?.track(old.coalition)?.updates.contains_key(&old.slot)
                {
                    return None;
                }
                *body = last.body;
            }
            (Body::UpdateSubmitted(u), 1) => u.weight = TRAIN_ROWS + 1 + rng.below(1_000),
            (Body::UpdateSubmitted(u), 2) => u.base = digest("another base"),
            (Body::UpdateSubmitted(u), 3) => u.round = if rng.chance(50) { u.round + 1 } else { u.round - 1 },
            (Body::UpdateSubmitted(u), 4) => u.slot += 1,
            (Body::UpdateSubmitted(u), _) => u.coalition = Coalition(0),
            (Body::EvaluationReported(e), 1) => e.total += 1,
            (Body::EvaluationReported(e), 2) => e.correct = e.total + 1,
            (Body::EvaluationReported(e), 3) => e.model = digest("a better model"),
            (Body::EvaluationReported(e), 4) => e.round += 1,
            (Body::EvaluationReported(e), _) => e.slot += 1,
            (Body::RunAccepted(a), _) => a.plan = digest("another plan"),
            _ => return None,
        }
        Some((s, signer))
    }
}
