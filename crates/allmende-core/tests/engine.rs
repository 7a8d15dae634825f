//! Liveness of the engine: whatever members do or leave undone, a run comes to an end in bounded time, and whatever the
//! engine asks for can be recorded.

use allmende_core::collaboration::decision::{Outcome, Subject, Vote};
use allmende_core::contribution::Ratio;
use allmende_core::run::engine::{self, Task};
use allmende_core::run::plan::Coalition;
use allmende_core::state::runs::Status;
use allmende_core::statement::{
    AssetRevoked, DecisionOpened, DecisionVoted, FailureCode, KeyDelegated, KeyRevoked, RefusalCode, RunFailed,
    RunProposed, RunRefused, RunStarted,
};
use allmende_core::time::Timestamp;

use crate::story::PARTIES;
use crate::world::{HELD_OUT_ROWS, TIMEOUT_MS, World, correct, gov, hub, id, key, node};

fn refused(run: &str) -> RunRefused {
    RunRefused { run: id(run), code: RefusalCode::Stopped, clause: None, log_size: 0 }
}

/// Lets hub and nodes work; when nobody has anything to do, time passes to the next wake-up. Ends when the run is over.
fn live(world: &mut World, run: &str, parties: &dyn Fn(&str) -> bool) -> i64 {
    let began = world.now;
    for _ in 0..100 {
        world.work(run, parties);
        if world.run(run).status.is_over() {
            return world.now - began;
        }
        let wake = engine::next(&world.state, Timestamp(world.now)).wake_at.expect("something to wait for");
        assert!(wake.0 > world.now);
        world.now = wake.0;
    }
    panic!("the run does not end: {:?}", world.run(run));
}

#[test]
fn nobody_answers() {
    let mut world = World::ready(&PARTIES);
    world.approved("first", world.plan());
    assert_eq!(live(&mut world, "first", &|_| false), TIMEOUT_MS);
    assert_eq!(world.run("first").status, Status::Failed(FailureCode::NoAnswer));
}

#[test]
fn nobody_votes() {
    let mut world = World::ready(&PARTIES);
    let plan = world.plan();
    let subject = Subject::Run { run: id("first"), plan: plan.digest() };
    world.say(&gov("north"), RunProposed { run: id("first"), plan });
    world.hub_steps();
    assert_eq!(world.vote("d", subject, |_| None), Outcome::Expired);
    assert_eq!(world.run("first").status, Status::Rejected);
}

#[test]
fn a_node_that_accepted_and_vanished_is_waited_for_once() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    let took = live(&mut world, "first", &|p| p != "west");
    let run = world.run("first");
    assert_eq!(run.status, Status::Finished);
    // Once for the first round; the later ones go on without it; once more for its evaluations.
    assert_eq!(took, 2 * TIMEOUT_MS);
    assert_eq!(run.absent.iter().copied().collect::<Vec<_>>(), [2]);
    assert!(run.tracks.iter().all(|t| t.dropped.is_some() == t.coalition.contains(2) || t.coalition == run.whole()));
    // Every coalition with west is worth what the others of it are; all is measured on the rows of those who stayed.
    let values: Vec<u64> = run.contribution.as_ref().unwrap().values.iter().map(|v| v.correct).collect();
    let rows = |c| correct(Coalition(c), 0) + correct(Coalition(c), 1);
    assert_eq!(values, [rows(7), rows(1), rows(2), 0, rows(3), rows(1), rows(2)]);
    let last = run.contribution.as_ref().unwrap().shares[2];
    // West's share by hand: it only ever adds something to both others, which is the last of three.
    assert_eq!(last, Ratio::new(i128::from(rows(7)) - i128::from(rows(3)), 3).unwrap());
}

#[test]
fn too_many_vanish() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    live(&mut world, "first", &|p| p == "east");
    assert_eq!(world.run("first").status, Status::Failed(FailureCode::MinimumNotMet));
}

#[test]
fn one_answers_too_late_and_still_joins() {
    let mut world = World::ready(&PARTIES);
    let mut plan = world.plan();
    plan.measure = vec![];
    world.approved("first", plan);
    world.work("first", &|p| p != "west");
    assert_eq!(world.run("first").status, Status::Approved);
    world.wait(TIMEOUT_MS);
    world.hub_steps();
    assert_eq!(world.run("first").status, Status::Started);
    live(&mut world, "first", &|_| true);
    let run = world.run("first");
    assert_eq!((run.status, run.track(run.whole()).map(|t| t.closed[0].len())), (Status::Finished, Some(3)));
}

#[test]
fn a_refusal_in_the_middle_takes_its_updates_along() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    assert!(world.node_tasks("first", &|p| p == "west"), "west sends its update");
    world.say(&node("west"), refused("first"));
    let took = live(&mut world, "first", &|p| p != "west");
    let run = world.run("first");
    assert_eq!(run.status, Status::Finished);
    assert!(run.tracks.iter().flat_map(|t| t.closed.iter().flatten()).all(|c| c.slot != 2));
    // Nobody waits for evaluations of a party that said it will not work.
    assert_eq!(took, 0);
}

#[test]
fn a_second_refusal_ends_it() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    world.say(&node("west"), refused("first"));
    world.say(&node("east"), refused("first"));
    world.hub_steps();
    assert_eq!(world.run("first").status, Status::Failed(FailureCode::Refused));
    world.refuse(&node("north"), refused("first"), "run.status");
    assert_eq!(world.run("first").answers.len(), 3, "a run that is over takes no answers");
}

#[test]
fn a_party_cannot_put_off_a_run_by_changing_its_mind() {
    let mut world = World::ready(&PARTIES);
    world.approved("first", world.plan());
    let began = world.now;
    // West accepts and refuses by turns, more often than the deadline; the others stay silent.
    while world.run("first").status == Status::Approved && world.now < began + 10 * TIMEOUT_MS {
        let body = world.accept("first");
        world.say(&node("west"), body);
        world.wait(TIMEOUT_MS / 3);
        world.hub_steps();
        if world.run("first").status == Status::Approved {
            world.say(&node("west"), refused("first"));
        }
    }
    assert_eq!(world.run("first").status, Status::Failed(FailureCode::NoAnswer));
    assert_eq!(world.now - began, TIMEOUT_MS);
}

#[test]
fn two_nodes_of_one_party_do_not_take_the_run_from_each_other() {
    let mut world = World::ready(&PARTIES);
    world.say(&gov("west"), KeyDelegated { key: key("west/second").public(), node: id("node-2") });
    world.started("first", world.plan());
    let tasks = |w: &World, name: &str| engine::tasks(w.run("first"), &id("west"), &key(name).public());
    assert_eq!(tasks(&world, "west/second"), []);
    assert!(matches!(tasks(&world, "west/node")[0], Task::Train { .. }));
    // The first node's key is revoked: at once nobody waits for it, and the second may step in.
    world.say(&gov("west"), KeyRevoked { key: key("west/node").public() });
    assert_eq!(tasks(&world, "west/second"), [Task::Answer]);
    let base = world.run("first").plan.base_model;
    let update = world.update("first", Coalition(7), 1, 2, base);
    world.refuse(&node("west"), update.clone(), "key.unknown");
    let second = node("west").with("west/second");
    world.refuse(&second, update.clone(), "run.no-slot");
    let body = world.accept("first");
    world.say(&second, body.clone());
    world.refuse(&second, body, "run.answered");
    world.say(&second, update);
    assert!(world.run("first").absent.is_empty());
}

#[test]
fn a_revoked_node_does_not_make_the_engine_ask_for_what_is_refused() {
    let mut world = World::ready(&PARTIES);
    let mut plan = world.plan();
    plan.min_parties = 3;
    world.approved("first", plan);
    for party in PARTIES {
        let body = world.accept("first");
        world.say(&node(party), body);
    }
    world.say(&gov("west"), KeyRevoked { key: key("west/node").public() });
    world.hub_steps();
    assert_eq!(world.run("first").status, Status::Approved);
    world.refuse(&hub(), RunStarted { run: id("first") }, "run.early");
    world.wait(TIMEOUT_MS);
    world.hub_steps();
    assert_eq!(world.run("first").status, Status::Failed(FailureCode::NoAnswer));
}

#[test]
fn an_evaluation_that_never_comes_is_waited_for_once() {
    let mut world = World::ready(&PARTIES);
    let mut plan = world.plan();
    plan.rounds = 1;
    world.started("first", plan);
    for _ in 0..100 {
        world.hub_steps();
        for party in PARTIES {
            let tasks = engine::tasks(world.run("first"), &id(party), &key(&node(party).key).public());
            let honest = |t: &&Task| party != "east" || !matches!(t, Task::Evaluate { .. });
            if let Some(task) = tasks.iter().find(honest) {
                let body = world.task_body("first", party, task);
                world.say(&node(party), body);
            }
        }
    }
    assert_eq!(world.run("first").status, Status::Started);
    world.wait(TIMEOUT_MS);
    world.hub_steps();
    let run = world.run("first");
    assert_eq!(run.status, Status::Finished);
    // The others' rows are enough for all coalitions alike.
    let values = &run.contribution.as_ref().unwrap().values;
    assert!(values.iter().all(|v| v.total == 2 * HELD_OUT_ROWS), "{values:?}");
    let whole = values.iter().find(|v| v.coalition == Coalition(7)).unwrap();
    assert_eq!(whole.correct, correct(Coalition(7), 0) + correct(Coalition(7), 2));
}

#[test]
fn too_few_evaluations_measure_nothing() {
    let mut world = World::ready(&PARTIES);
    let mut plan = world.plan();
    plan.rounds = 1;
    world.started("first", plan);
    for _ in 0..100 {
        world.hub_steps();
        for party in PARTIES {
            let tasks = engine::tasks(world.run("first"), &id(party), &key(&node(party).key).public());
            let honest = |t: &&Task| party == "east" || !matches!(t, Task::Evaluate { .. });
            if let Some(task) = tasks.iter().find(honest) {
                let body = world.task_body("first", party, task);
                world.say(&node(party), body);
            }
        }
    }
    world.wait(TIMEOUT_MS);
    world.hub_steps();
    let run = world.run("first");
    assert_eq!((run.status, &run.contribution), (Status::Finished, &None));
}

#[test]
fn a_measuring_track_without_its_member_is_dropped_by_its_deadline() {
    let mut world = World::ready(&PARTIES);
    let mut plan = world.plan();
    plan.rounds = 1;
    world.started("first", plan);
    // East trains with everybody, but never alone or in pairs.
    for _ in 0..100 {
        world.hub_steps();
        for party in PARTIES {
            let tasks = engine::tasks(world.run("first"), &id(party), &key(&node(party).key).public());
            let willing = |t: &&Task| match t {
                Task::Train { coalition, .. } => party != "east" || *coalition == Coalition(7),
                _ => true,
            };
            if let Some(task) = tasks.iter().find(willing) {
                let body = world.task_body("first", party, task);
                world.say(&node(party), body);
            }
        }
    }
    world.wait(TIMEOUT_MS);
    world.hub_steps();
    let run = world.run("first");
    assert_eq!(run.status, Status::Finished);
    let dropped: Vec<u16> = run.tracks.iter().filter(|t| t.dropped.is_some()).map(|t| t.coalition.0).collect();
    assert_eq!(dropped, [2, 3, 6]);
    let there: Vec<_> = run.tracks.iter().filter_map(|t| t.dropped).map(|c| c.0).collect();
    assert_eq!(there, [0, 1, 4], "those who had sent their updates");
    assert!(run.contribution.is_some());
}

#[test]
fn measuring_waits_for_nodes_that_are_busy_with_the_whole() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    // Every task takes a third of a round's time: the six small tracks cannot all be served within one.
    while world.run("first").status == Status::Started {
        assert!(world.node_tasks("first", &|_| true));
        world.wait(TIMEOUT_MS / 3);
        world.hub_steps();
    }
    assert!(world.run("first").tracks.iter().all(|t| t.dropped.is_none()));
    assert!(world.run("first").contribution.is_some());
}

#[test]
fn the_agreement_ends_in_the_middle() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    let terms = world.terms.unwrap();
    world.decide("end", Subject::End { terms });
    world.hub_steps();
    assert_eq!(world.run("first").status, Status::Failed(FailureCode::NotAllowed));
    let update = world.update("first", Coalition(7), 1, 0, world.run("first").plan.base_model);
    world.refuse(&node("north"), update, "agreement.not-in-force");
}

#[test]
fn an_asset_is_taken_back_in_the_middle() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    world.say(&gov("west"), AssetRevoked { asset: id("west/digits") });
    let update = world.update("first", Coalition(7), 1, 0, world.run("first").plan.base_model);
    world.refuse(&node("north"), update, "agreement.denied");
    world.hub_steps();
    assert_eq!(world.run("first").status, Status::Failed(FailureCode::NotAllowed));
}

#[test]
fn nothing_that_needs_an_agreement_is_asked_for_after_its_end() {
    let end = 1_827_619_200_000; // 2027-12-01, the day after the last.
    // A proposal that was not checked before the end.
    let mut world = World::ready(&PARTIES);
    let plan = world.plan();
    world.say(&gov("north"), RunProposed { run: id("first"), plan });
    world.now = end;
    world.hub_steps();
    assert!(!world.run("first").checked);

    // A run that finished in the last moment, measured never.
    let mut world = World::ready(&PARTIES);
    let mut plan = world.plan();
    plan.rounds = 1;
    world.started("first", plan);
    world.now = end - 1;
    while world.run("first").status == Status::Started {
        assert!(world.node_tasks("first", &|_| true));
        let next = engine::next(&world.state, Timestamp(world.now));
        for step in next.steps {
            let body = crate::world::step_body(&world.state, &step);
            world.say(&hub(), body);
        }
    }
    assert_eq!((world.run("first").status, &world.run("first").contribution), (Status::Finished, &None));
    world.now = end;
    world.hub_steps();
    assert_eq!(engine::next(&world.state, Timestamp(world.now)).steps, []);
}

#[test]
fn the_hub_fails_a_run_for_reasons_in_the_log_only() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    for code in [FailureCode::NotAllowed, FailureCode::Refused, FailureCode::MinimumNotMet, FailureCode::NoAnswer] {
        world.refuse(&hub(), RunFailed { run: id("first"), code }, "run.wrong-result");
    }
    world.say(&hub(), RunFailed { run: id("first"), code: FailureCode::Diverged });
}

#[test]
fn a_decision_may_end_before_its_time() {
    let mut world = World::ready(&PARTIES);
    let plan = world.plan();
    let subject = Subject::Run { run: id("first"), plan: plan.digest() };
    world.say(&gov("north"), RunProposed { run: id("first"), plan });
    world.say(&gov("north"), DecisionOpened { decision: id("d"), subject });
    world.say(&gov("east"), DecisionVoted { decision: id("d"), vote: Vote::No });
    world.refuse(&gov("west"), DecisionVoted { decision: id("d"), vote: Vote::Yes }, "decision.over");
    world.hub_steps();
    assert_eq!(world.run("first").status, Status::Rejected);
}
