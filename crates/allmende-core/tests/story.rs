//! The happy story, from an empty log to money in the accounts.

use allmende_core::amount::Amount;
use allmende_core::collaboration::decision::{Outcome, Subject};
use allmende_core::contribution::Ratio;
use allmende_core::ledger::account::{Account, AccountId};
use allmende_core::state::State;
use allmende_core::state::runs::Status;
use allmende_core::statement::{ModelReleased, PayoutPosted};

use crate::world::{World, digest, gov, id};

pub const PARTIES: [&str; 3] = ["north", "east", "west"];

/// The whole story.
pub fn told() -> World {
    let mut world = World::ready(&PARTIES);
    let mut plan = world.plan();
    plan.rounds = 1;
    world.finished("first", plan);
    release(&mut world, "first");
    pay(&mut world, "first", 100_000);
    world
}

pub fn release(world: &mut World, run: &str) {
    let model = world.run(run).final_model.unwrap();
    assert_eq!(
        world.decide("release", Subject::Release { run: id(run), model, accepted: Vec::new() }),
        Outcome::Passed
    );
    world.say(&gov("east"), released(world, run));
}

pub fn released(world: &World, run: &str) -> ModelReleased {
    let model = world.run(run).final_model.unwrap_or(digest("no model"));
    ModelReleased { run: id(run), model, manifest: digest("manifest"), licence: "CC-BY-NC-4.0".into() }
}

pub fn payout(world: &World, run: &str, minor: i64) -> PayoutPosted {
    let pool = Amount::from_minor(minor).unwrap();
    let due = world.state.divide(world.run(run), pool).unwrap();
    PayoutPosted {
        payout: id("licence-fee"),
        run: id(run),
        pool,
        currency: "EUR".into(),
        fund: due.fund,
        amounts: due.shares,
    }
}

fn pay(world: &mut World, run: &str, minor: i64) {
    let body = payout(world, run, minor);
    world.say(&gov("north"), body);
}

pub fn balance(state: &State, account: &str) -> i128 {
    let account: AccountId = id(account);
    state.accounts().account(&account).and_then(Account::balance_minor).unwrap_or(0)
}

#[test]
fn from_founding_to_payout() {
    let world = told();
    let run = world.run("first");
    assert_eq!((run.status, run.checked, run.tracks.len()), (Status::Finished, true, 7));
    assert!(run.tracks.iter().all(|t| t.round() == 2 && t.closed.len() == 1), "every coalition trained its round");
    assert_eq!(run.track(run.whole()).map(|t| t.closed[0].len()), Some(3));
    assert_eq!(run.evaluations.len(), 7 * 3);

    // By hand, from the table of values: φ = 21.5, 15.5, 11.
    let contribution = run.contribution.as_ref().unwrap();
    let values: Vec<(u16, u64, u64)> =
        contribution.values.iter().map(|v| (v.coalition.0, v.correct, v.total)).collect();
    assert_eq!(
        values,
        [(7, 48, 60), (1, 24, 60), (2, 18, 60), (4, 12, 60), (3, 36, 60), (5, 33, 60), (6, 27, 60)],
        "whole first, then by size and mask"
    );
    let half = |n| Ratio::new(n, 2).unwrap();
    assert_eq!(contribution.shares, [half(43), half(31), half(22)]);

    assert_eq!(run.released.as_ref().map(|r| r.by.as_str()), Some("east"));
    // 5 per cent of 1,000.00 to the fund; 950.00 as 43 : 31 : 22, the odd cent to the largest remainder.
    let got = ["fund", "party:north", "party:east", "party:west", "payer:north"].map(|a| balance(&world.state, a));
    assert_eq!(got, [5_000, 42_552, 30_677, 21_771, -100_000]);
    assert_eq!(got.iter().sum::<i128>(), 0);
    world.state.accounts().audit().unwrap();
}

#[test]
fn the_model_is_released_only_as_decided_and_licensed() {
    let mut world = World::ready(&PARTIES);
    world.finished("first", world.plan());
    let body = released(&world, "first");
    world.refuse(&gov("east"), body.clone(), "decision.missing");
    let subject = Subject::Release { run: id("first"), model: digest("another"), accepted: Vec::new() };
    world.refuse(
        &gov("east"),
        allmende_core::statement::DecisionOpened { decision: id("x"), subject },
        "decision.subject",
    );
    let model = body.model;
    world.decide("release", Subject::Release { run: id("first"), model, accepted: Vec::new() });
    world.refuse(&gov("east"), ModelReleased { licence: "MIT".into(), ..body.clone() }, "agreement.mismatch");
    world.refuse(&gov("east"), ModelReleased { model: digest("another"), ..body.clone() }, "run.model");
    world.say(&gov("east"), body.clone());
    world.refuse(&gov("east"), body, "run.done");
}

#[test]
fn a_payout_is_what_everybody_computes() {
    let mut world = told();
    let mut body = payout(&world, "first", 7);
    world.refuse(&gov("north"), body.clone(), "run.done");
    body.payout = id("second");
    body.amounts.swap(0, 2);
    world.refuse(&gov("north"), body.clone(), "run.wrong-result");
    body.amounts.swap(0, 2);
    body.currency = "USD".into();
    world.refuse(&gov("north"), body.clone(), "agreement.mismatch");
    body.currency = "EUR".into();
    world.say(&gov("west"), body);
    assert_eq!(balance(&world.state, "payer:west"), -7);
    // A later, smaller pool is divided for itself; nothing paid before is computed anew.
    assert_eq!(
        ["north", "east", "west"].map(|p| balance(&world.state, &format!("party:{p}"))),
        [42_555, 30_679, 21_773]
    );
}
