//! What changes along the way: terms, members, keys.

use allmende_core::agreement::clause::ClauseKind;
use allmende_core::agreement::terms::Terms;
use allmende_core::collaboration::charter::Deadlock;
use allmende_core::collaboration::decision::{Outcome, Standing, Subject, Vote, standing};
use allmende_core::id::PartyId;
use allmende_core::state::AgreementStatus;
use allmende_core::state::runs::Status;
use allmende_core::statement::{
    AgreementProposed, AgreementSigned, AgreementWithdrawn, CollaborationJoined, DecisionClosed, DecisionOpened,
    DecisionVoted, KeyClass, KeyDelegated, KeyRevoked, KeyRotated, RunProposed,
};
use allmende_core::time::Timestamp;

use crate::story::PARTIES;
use crate::world::{World, gov, hub, id, key, node, recovery, root};

const DAY: i64 = 86_400_000;

/// Terms that replace those in force and differ in their notice.
fn successor(world: &World, notice_days: u32) -> Terms {
    let mut text = world.state.agreements()[&world.terms.unwrap()].terms.text().clone();
    text.replaces = world.terms;
    for clause in &mut text.clause {
        if let ClauseKind::Exit(exit) = &mut clause.rule {
            exit.notice_days = notice_days;
        }
    }
    text.seal().unwrap()
}

fn sign_all(world: &mut World, terms: &Terms) {
    for party in PARTIES {
        world.say(&gov(party), AgreementSigned { terms: terms.digest() });
    }
}

#[test]
fn an_amendment_replaces_the_terms_once_decided_and_signed() {
    let mut world = World::ready(&PARTIES);
    let old = world.terms.unwrap();
    let terms = successor(&world, 10);
    world.say(&gov("east"), AgreementProposed { terms: terms.clone() });
    sign_all(&mut world, &terms);
    let status = |w: &World, d| w.state.agreements()[&d].status;
    assert_eq!(status(&world, terms.digest()), AgreementStatus::Offered, "signed, not decided");
    world.decide("amend", Subject::Amend { terms: terms.digest() });
    assert!(matches!(status(&world, old), AgreementStatus::Replaced { by, .. } if by == terms.digest()));
    assert!(matches!(status(&world, terms.digest()), AgreementStatus::InForce { .. }));
    // New work stands under the new terms; the old ones are no longer a ground for anything.
    let plan = world.plan();
    world.refuse(&gov("north"), RunProposed { run: id("first"), plan }, "agreement.not-in-force");
    world.terms = Some(terms.digest());
    world.finished("first", world.plan());
    assert_eq!(world.run("first").status, Status::Finished);
}

#[test]
fn two_amendments_of_the_same_terms_are_never_both_in_force() {
    let mut world = World::ready(&PARTIES);
    let (one, two) = (successor(&world, 10), successor(&world, 20));
    for terms in [&one, &two] {
        world.say(&gov("east"), AgreementProposed { terms: terms.clone() });
        sign_all(&mut world, terms);
    }
    world.decide("one", Subject::Amend { terms: one.digest() });
    world.decide("two", Subject::Amend { terms: two.digest() });
    let in_force: Vec<_> = world.state.terms_in_force(Timestamp(world.now)).map(|t| *t.0).collect();
    assert_eq!(in_force, [one.digest()]);
    let old = world.state.agreements()[&world.terms.unwrap()].status;
    assert!(matches!(old, AgreementStatus::Replaced { by, .. } if by == one.digest()), "the past stays: {old:?}");
}

#[test]
fn an_amendment_decided_after_its_offer_expired_stays_an_offer() {
    let mut world = World::ready(&PARTIES);
    let terms = successor(&world, 10);
    world.now = 1_798_761_599_000; // 2026-12-31T23:59:59Z, the last day of the offer.
    world.say(&gov("east"), AgreementProposed { terms: terms.clone() });
    sign_all(&mut world, &terms);
    world.say(&gov("east"), DecisionOpened { decision: id("d"), subject: Subject::Amend { terms: terms.digest() } });
    for party in PARTIES {
        world.say(&gov(party), DecisionVoted { decision: id("d"), vote: Vote::Yes });
    }
    world.wait(DAY);
    world.hub_steps();
    assert_eq!(world.state.agreements()[&terms.digest()].status, AgreementStatus::Offered);
    world.refuse(&gov("east"), AgreementSigned { terms: terms.digest() }, "agreement.signed-already");
}

#[test]
fn terms_that_were_replaced_cannot_be_ended_afterwards() {
    let mut world = World::ready(&PARTIES);
    let old = world.terms.unwrap();
    let terms = successor(&world, 10);
    world.say(&gov("east"), AgreementProposed { terms: terms.clone() });
    sign_all(&mut world, &terms);
    world.say(&gov("east"), DecisionOpened { decision: id("end"), subject: Subject::End { terms: old } });
    world.decide("amend", Subject::Amend { terms: terms.digest() });
    for party in PARTIES {
        world.say(&gov(party), DecisionVoted { decision: id("end"), vote: Vote::Yes });
    }
    world.say(&hub(), DecisionClosed { decision: id("end"), outcome: Outcome::Passed });
    assert!(matches!(world.state.agreements()[&old].status, AgreementStatus::Replaced { .. }));
}

#[test]
fn a_withdrawal_takes_effect_after_its_notice() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    let terms = world.terms.unwrap();
    world.say(&gov("west"), AgreementWithdrawn { terms });
    world.refuse(&gov("west"), AgreementWithdrawn { terms }, "agreement.withdrawn-already");
    assert!(world.node_tasks("first", &|p| p == "west"), "during the notice the work goes on");
    let plan = world.plan();
    world.wait(30 * DAY);
    world.hub_steps();
    assert!(matches!(world.run("first").status, Status::Failed(_)));
    // What needs west's data is denied now, and the denial says so.
    world.say(&gov("north"), RunProposed { run: id("second"), plan: plan.clone() });
    assert_eq!(world.run("second").status, Status::Forbidden);
    let mut without = plan;
    without.slots.pop();
    without.measure = vec![1];
    world.say(&gov("north"), RunProposed { run: id("third"), plan: without });
    assert_eq!(world.run("third").status, Status::Proposed);
}

#[test]
fn who_left_terms_that_are_over_may_sign_new_ones() {
    let mut world = World::ready(&PARTIES);
    let old = world.terms.unwrap();
    world.notice_days = 0;
    world.say(&gov("west"), AgreementWithdrawn { terms: old });
    world.wait(30 * DAY);
    world.decide("end", Subject::End { terms: old });
    world.agree();
    let plan = world.plan();
    world.say(&gov("north"), RunProposed { run: id("first"), plan });
    assert_eq!(world.run("first").status, Status::Proposed);
}

#[test]
fn an_excluded_party_has_no_part_any_more() {
    let mut world = World::ready(&PARTIES);
    world.started("first", world.plan());
    world.say(&gov("north"), DecisionOpened { decision: id("d"), subject: Subject::Exclude { party: id("west") } });
    world.refuse(&gov("west"), DecisionVoted { decision: id("d"), vote: Vote::No }, "decision.no-vote");
    for party in ["north", "east"] {
        world.say(&gov(party), DecisionVoted { decision: id("d"), vote: Vote::Yes });
    }
    world.hub_steps();
    assert!(matches!(world.run("first").status, Status::Failed(_)), "its data is no longer there");
    let subject = Subject::Exclude { party: id("east") };
    world.refuse(&gov("west"), DecisionOpened { decision: id("revenge"), subject }, "collaboration.not-member");
    let charter = world.charter().digest();
    world.refuse(&gov("west"), CollaborationJoined { charter }, "collaboration.not-invited");
    // Until the others let it in again.
    world.decide("again", Subject::Admit { party: id("west") });
    world.say(&gov("west"), CollaborationJoined { charter });
    world.refuse(&gov("west"), CollaborationJoined { charter }, "collaboration.member-exists");
}

#[test]
fn an_arbiter_without_a_vote_decides_nothing() {
    let world = World::ready(&PARTIES);
    let mut charter = world.charter();
    charter.quorum = 3;
    charter.deadlock = Deadlock::Arbiter { party: id("west") };
    let votes = [(id("west"), Vote::Yes)].into();
    let ends = |voters: &[&str]| {
        let voters: Vec<PartyId> = voters.iter().map(|v| id(v)).collect();
        standing(&charter, &voters, &votes, Timestamp(0), Timestamp(600_000))
    };
    assert_eq!(ends(&["east", "north", "west"]), Standing::Decided(Outcome::Passed));
    assert_eq!(ends(&["east", "north"]), Standing::Decided(Outcome::Expired), "west was put out since it voted");
}

#[test]
fn members_are_limited() {
    let names: Vec<String> = (0..64).map(|i| format!("p{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::founded(&names);
    world.vote("admit", Subject::Admit { party: id("one-more") }, |p| ["p0", "p1"].contains(&p).then_some(Vote::Yes));
    world.register("one-more");
    let charter = world.charter().digest();
    world.refuse(&gov("one-more"), CollaborationJoined { charter }, "limit");
}

#[test]
fn a_rotated_key_stops_at_its_position() {
    let mut world = World::ready(&PARTIES);
    let new = key("north/governance-2").public();
    world.refuse(&gov("north"), KeyRotated { class: KeyClass::Governance, new }, "key.class");
    world.say(&root("north"), KeyRotated { class: KeyClass::Governance, new });
    let plan = world.plan();
    world.refuse(&gov("north"), RunProposed { run: id("first"), plan: plan.clone() }, "key.unknown");
    let second = gov("north").with("north/governance-2");
    world.say(&second, RunProposed { run: id("first"), plan });
    world.refuse(&root("north"), KeyRotated { class: KeyClass::Governance, new }, "key.in-use");
    // What the old key signed before stays signed: the log replays.
    let mut again = World::new(&PARTIES).state;
    for record in &world.log {
        again.apply(record).unwrap();
    }
    assert_eq!(again, world.state);
}

#[test]
fn revoked_keys_never_come_back() {
    let mut world = World::ready(&PARTIES);
    let node_key = key("north/node").public();
    world.say(&gov("north"), KeyRevoked { key: node_key });
    world.refuse(&gov("north"), KeyRevoked { key: node_key }, "key.unknown");
    world.refuse(&gov("north"), KeyDelegated { key: node_key, node: id("again") }, "key.in-use");
    world.refuse(&gov("east"), KeyDelegated { key: node_key, node: id("again") }, "key.in-use");
    let governance = key("north/governance").public();
    world.refuse(&gov("north"), KeyRevoked { key: governance }, "key.unknown");
    world.say(&root("north"), KeyRevoked { key: governance });
    world.refuse(&gov("north"), KeyDelegated { key: key("x").public(), node: id("x") }, "key.unknown");
    world.say(&root("north"), KeyRotated { class: KeyClass::Governance, new: key("north/governance-2").public() });
    let second = gov("north").with("north/governance-2");
    world.say(&second, KeyDelegated { key: key("x").public(), node: id("x") });
}

#[test]
fn a_lost_root_is_recovered_once() {
    let mut world = World::ready(&PARTIES);
    let revealed = key("north/recovery").public();
    let rotate = |new| KeyRotated { class: KeyClass::Root, new };
    world.refuse(&root("north"), rotate(key("r2").public()), "key.class");
    world.refuse(&recovery("north"), KeyRotated { class: KeyClass::Governance, new: key("r2").public() }, "key.class");
    world.refuse(&recovery("north"), rotate(revealed), "key.in-use");
    world.say(&recovery("north"), rotate(key("r2").public()));
    world.refuse(&recovery("north"), rotate(key("r3").public()), "key.unknown");
    let governance = |new| KeyRotated { class: KeyClass::Governance, new };
    world.refuse(&root("north"), governance(key("g2").public()), "key.unknown");
    let second = root("north").with("r2");
    world.refuse(&second, governance(revealed), "key.in-use");
    world.refuse(&gov("east"), KeyDelegated { key: revealed, node: id("x") }, "key.in-use");
    world.say(&second, governance(key("g2").public()));
    world.refuse(&node("west"), KeyDelegated { key: key("x").public(), node: id("x") }, "key.class");
}
