//! Bad statements about runs, payouts and limits.

use allmende_core::run::plan::Coalition;
use allmende_core::statement::{
    EvaluationReported, KeyDelegated, RoundClosed, RunAccepted, RunChecked, RunFinished, RunProposed, RunStarted,
    TrackDropped, UpdateSubmitted,
};

use super::{Case, approved, evaluating, evaluation, over, proposed, ready, started, update};
use crate::story::payout;
use crate::world::{HELD_OUT_ROWS, digest, gov, hub, id, key, node};

/// Code, what is tried, and how.
pub const CASES: &[Case] = &[
    ("run.exists", "a name taken twice", |code| {
        let mut w = proposed();
        let plan = w.plan();
        w.refuse(&gov("east"), RunProposed { run: id("first"), plan }, code);
    }),
    ("run.unknown", "a run nobody proposed", |code| {
        ready().refuse(&hub(), RunStarted { run: id("first") }, code);
    }),
    ("run.plan", "a plan without rounds", |code| {
        let mut w = ready();
        let mut plan = w.plan();
        plan.rounds = 0;
        w.refuse(&gov("north"), RunProposed { run: id("first"), plan }, code);
    }),
    ("run.wrong-result", "a check that says no where the terms say yes", |code| {
        let mut w = proposed();
        let clauses = w.run("first").clauses.clone();
        w.refuse(&hub(), RunChecked { run: id("first"), allowed: false, clauses }, code);
    }),
    ("run.wrong-result", "an update left out of its round", |code| {
        let mut w = started();
        w.node_tasks("first", &|_| true);
        let counted: Vec<_> = w.run("first").track(Coalition(7)).unwrap().updates.values().skip(1).cloned().collect();
        let (coalition, model) = (Coalition(7), digest("model"));
        let body = RoundClosed { run: id("first"), coalition, round: 1, counted, model, velocity: None };
        w.refuse(&hub(), body, code);
    }),
    ("run.wrong-result", "more rows evaluated than were registered", |code| {
        let mut w = evaluating();
        let body = EvaluationReported { total: HELD_OUT_ROWS + 1, ..evaluation(&w) };
        w.refuse(&node("north"), body, code);
    }),
    ("run.status", "accepted before the decision", |code| {
        let mut w = proposed();
        let body = w.accept("first");
        w.refuse(&node("north"), body, code);
    }),
    ("run.no-slot", "an update in another's place", |code| {
        let mut w = started();
        let body = update(&w);
        w.refuse(&node("east"), body, code);
    }),
    ("run.answered", "accepted twice", |code| {
        let mut w = started();
        let body = w.accept("first");
        w.refuse(&node("north"), body, code);
    }),
    ("run.track", "an update for a coalition that is not trained", |code| {
        let mut w = started();
        let body = UpdateSubmitted { coalition: Coalition(0x100), ..update(&w) };
        w.refuse(&node("north"), body, code);
        w.refuse(&hub(), TrackDropped { run: id("first"), coalition: Coalition(0) }, code);
    }),
    ("run.round", "an update for the next round", |code| {
        let mut w = started();
        let body = UpdateSubmitted { round: 2, ..update(&w) };
        w.refuse(&node("north"), body, code);
    }),
    ("run.model", "an update from another model", |code| {
        let mut w = started();
        let body = UpdateSubmitted { base: digest("poisoned"), ..update(&w) };
        w.refuse(&node("north"), body, code);
        let mut w = approved();
        let body = RunAccepted { plan: digest("another plan"), ..w.accept("first") };
        w.refuse(&node("north"), body, code);
    }),
    ("run.weight", "more weight than rows", |code| {
        let mut w = started();
        for weight in [0, 101] {
            let body = UpdateSubmitted { weight, ..update(&w) };
            w.refuse(&node("north"), body, code);
        }
    }),
    ("run.submitted", "a second update in one round", |code| {
        let mut w = started();
        w.say(&node("north"), update(&w));
        let body = UpdateSubmitted { update: digest("better"), ..update(&w) };
        w.refuse(&node("north"), body, code);
        let mut w = evaluating();
        w.say(&node("north"), evaluation(&w));
        let body = EvaluationReported { correct: 2, ..evaluation(&w) };
        w.refuse(&node("north"), body, code);
    }),
    ("run.early", "finished before the rounds are over", |code| {
        let mut w = started();
        let model = w.run("first").plan.base_model;
        w.refuse(&hub(), RunFinished { run: id("first"), model }, code);
        let mut w = approved();
        w.refuse(&hub(), RunStarted { run: id("first") }, code);
    }),
    ("run.done", "paid twice under one name", |code| {
        let mut w = over();
        let body = payout(&w, "first", 5);
        w.refuse(&gov("north"), body, code);
    }),
    ("limit", "one node key too many", |code| {
        let mut w = ready();
        for i in 1..64 {
            w.say(&gov("north"), KeyDelegated { key: key(&format!("n{i}")).public(), node: id("n") });
        }
        w.refuse(&gov("north"), KeyDelegated { key: key("n64").public(), node: id("n") }, code);
    }),
    ("limit", "an update of no bytes", |code| {
        let mut w = started();
        let body = UpdateSubmitted { size_bytes: 0, ..update(&w) };
        w.refuse(&node("north"), body, code);
    }),
];
