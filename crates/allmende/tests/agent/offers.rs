//! A node does what its own log, its terms, its owner and its clock allow, whatever the hub signs.

use allmende::agent::checks::{Facts, Verdict, judge};
use allmende::agent::settings::{Hours, Policy};
use allmende_core::agreement::vocabulary::{DataClass, Purpose};
use allmende_core::collaboration::decision::Subject;
use allmende_core::digest::Digest;
use allmende_core::ledger::envelope::Envelope;
use allmende_core::run::offer::{Offer, Work};
use allmende_core::run::plan::{Coalition, Plan};
use allmende_core::signature::SecretKey;
use allmende_core::state::State;
use allmende_core::statement::{
    AgreementWithdrawn, AssetRegistered, AssetRevoked, HUB, KeyClass, RefusalCode, RunAccepted, RunProposed,
};
use allmende_core::time::Timestamp;

use crate::verify::world::{HELD_OUT_ROWS, PARTIES, Shape, TRAIN_ROWS, World, key};

const RUN: &str = "first-model";

/// A world whose run is approved: every node is being asked.
fn approved() -> World {
    let mut world = World::agreed();
    for (i, party) in PARTIES.into_iter().enumerate() {
        let body = AssetRegistered {
            asset: format!("{party}/digits").parse().unwrap(),
            class: DataClass::Record,
            commitment: Digest::of(party.as_bytes()),
            schema: Digest::of(b"schema"),
            features: 2,
            classes: 2,
            train_rows: TRAIN_ROWS[i],
            held_out_rows: HELD_OUT_ROWS[i],
            bytes: None,
            licence: None,
        };
        world.add(party, KeyClass::Governance, body);
    }
    let plan = world.plan(&Shape::small());
    let digest = plan.digest();
    world.add("north", KeyClass::Governance, RunProposed { run: RUN.parse().unwrap(), plan });
    world.hub_steps();
    world.decide("start", Subject::Run { run: RUN.parse().unwrap(), plan: digest });
    world
}

pub fn started() -> World {
    let mut world = approved();
    for party in PARTIES {
        accept(&mut world, party);
    }
    world.hub_steps();
    world
}

fn accept(world: &mut World, party: &str) {
    let (plan, log_size) = (world.state.run(&RUN.parse().unwrap()).unwrap().plan_digest, world.state.size());
    world.add(party, KeyClass::Node, RunAccepted { run: RUN.parse().unwrap(), plan, log_size });
}

fn offer(world: &World, work: Work) -> Offer {
    let run = world.state.run(&RUN.parse().unwrap()).unwrap();
    Offer {
        origin: world.state.origin().clone(),
        collaboration: "handwriting".parse().unwrap(),
        run: run.id.clone(),
        plan: run.plan_digest,
        agreement: run.plan.agreement,
        node: key("north", KeyClass::Node).public(),
        work,
        log_size: world.state.size(),
        issued_at: world.now,
        expires_at: world.now.plus_ms(120_000),
    }
}

fn sealed(offer: &Offer) -> Envelope {
    offer.seal(&key(HUB, KeyClass::Hub)).unwrap()
}

struct Bench<'a> {
    acting: &'a State,
    latest: &'a State,
    policy: Policy,
    load: Option<f64>,
    now: Timestamp,
}

impl<'a> Bench<'a> {
    fn of(world: &'a World) -> Self {
        Self { acting: &world.state, latest: &world.state, policy: Policy::default(), load: None, now: world.now }
    }

    fn judge(&self, envelope: &Envelope) -> Verdict {
        let party = "north".parse().unwrap();
        let facts = Facts {
            acting: self.acting,
            latest: self.latest,
            hub_key: World::hub_key(),
            party: &party,
            node: key("north", KeyClass::Node).public(),
            policy: &self.policy,
            load: self.load,
            now: self.now,
            skew_ms: 10_000,
        };
        judge(&facts, &"handwriting".parse().unwrap(), envelope)
    }
}

fn refused(verdict: Verdict) -> RefusalCode {
    match verdict {
        Verdict::Refuse(refusal) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_honest_offer_is_carried_out() {
    let world = approved();
    let answer = offer(&world, Work::Answer {});
    let Verdict::Do(job) = Bench::of(&world).judge(&sealed(&answer)) else { panic!("not done") };
    assert_eq!((job.offer, job.slot), (answer, 0));
    let world = started();
    let base = world.state.run(&RUN.parse().unwrap()).unwrap().plan.base_model;
    for coalition in [Coalition(0b111), Coalition(0b001), Coalition(0b101)] {
        let envelope = sealed(&offer(&world, Work::Train { coalition, round: 1, base }));
        assert!(matches!(Bench::of(&world).judge(&envelope), Verdict::Do(_)));
    }
}

#[test]
fn forged_offers_do_nothing() {
    let world = approved();
    let honest = offer(&world, Work::Answer {});
    let bench = Bench::of(&world);
    let forged = |envelope: &Envelope| matches!(bench.judge(envelope), Verdict::Forged(_));
    assert!(forged(&honest.seal(&SecretKey::from_seed(&[66; 32])).unwrap()));
    let mut tampered = sealed(&honest);
    tampered.payload = sealed(&Offer { expires_at: honest.expires_at.plus_ms(1), ..honest.clone() }).payload;
    assert!(forged(&tampered));
    let mut statement = sealed(&honest);
    statement.payload_type = "application/vnd.allmende.run.proposed.v1+json".into();
    assert!(forged(&statement));
    assert!(forged(&sealed(&Offer { node: key("east", KeyClass::Node).public(), ..honest.clone() })));
    assert!(forged(&sealed(&Offer { origin: "hub.example/other".parse().unwrap(), ..honest.clone() })));
    assert!(forged(&sealed(&Offer { collaboration: "other".parse().unwrap(), ..honest.clone() })));
    assert!(forged(&sealed(&Offer { run: "other".parse().unwrap(), ..honest.clone() })));
    // Signed by the hub, and not what the log says: the run is refused, in the open.
    for lie in
        [Offer { plan: Digest([1; 32]), ..honest.clone() }, Offer { agreement: Digest([1; 32]), ..honest.clone() }]
    {
        assert_eq!(refused(bench.judge(&sealed(&lie))), RefusalCode::Mismatch);
    }
}

#[test]
fn an_order_for_a_run_that_is_forbidden_or_undecided_is_no_accident() {
    let mut world = approved();
    let plan = world.state.run(&RUN.parse().unwrap()).unwrap().plan.clone();
    for (run, purpose) in [("side-business", Purpose::Commercial), ("hasty", plan.purpose)] {
        let plan = Plan { purpose, ..plan.clone() };
        world.add("north", KeyClass::Governance, RunProposed { run: run.parse().unwrap(), plan });
    }
    let bench = Bench::of(&world);
    for (run, says) in [("side-business", "clause 2.1: purpose commercial"), ("hasty", "did not approve run hasty")] {
        let id = run.parse().unwrap();
        let plan = world.state.run(&id).unwrap().plan_digest;
        let lie = Offer { run: id, plan, ..offer(&world, Work::Answer {}) };
        let verdict = bench.judge(&sealed(&lie));
        assert!(matches!(&verdict, Verdict::Forged(reason) if reason.contains(says)), "{verdict:?}");
    }
}

#[test]
fn offers_that_are_not_due_are_passed_over() {
    let world = started();
    let bench = Bench::of(&world);
    let base = world.state.run(&RUN.parse().unwrap()).unwrap().plan.base_model;
    let whole = Coalition(0b111);
    for work in [
        Work::Answer {},
        Work::Train { coalition: whole, round: 2, base },
        Work::Train { coalition: Coalition(0b110), round: 1, base },
        Work::Evaluate { coalition: whole, round: 1, model: base },
    ] {
        let verdict = bench.judge(&sealed(&offer(&world, work.clone())));
        assert!(matches!(verdict, Verdict::Ignore(_)), "{work:?}: {verdict:?}");
    }
    // The round is open, but the hub names another model to begin from than the one in the log: no accident.
    let lie = Work::Train { coalition: whole, round: 1, base: Digest([1; 32]) };
    assert!(matches!(bench.judge(&sealed(&offer(&world, lie))), Verdict::Forged(_)));
}

#[test]
fn time_and_witnesses_bound_an_offer() {
    let world = approved();
    let honest = offer(&world, Work::Answer {});
    let mut bench = Bench::of(&world);
    assert!(matches!(
        bench.judge(&sealed(&Offer { log_size: honest.log_size + 1, ..honest.clone() })),
        Verdict::Wait(_)
    ));
    bench.now = honest.expires_at.plus_ms(10_001);
    assert!(matches!(bench.judge(&sealed(&honest)), Verdict::Ignore(_)));
    bench.now = honest.issued_at.plus_ms(-10_001);
    assert!(matches!(bench.judge(&sealed(&honest)), Verdict::Ignore(_)));
    let eternal = Offer { expires_at: honest.issued_at.plus_ms(1 << 40), ..honest };
    assert!(matches!(Bench::of(&world).judge(&sealed(&eternal)), Verdict::Ignore(_)));
}

#[test]
fn an_answer_that_stands_already_is_not_given_twice() {
    let before = approved();
    let mut after = approved();
    accept(&mut after, "north");
    // The witnesses have not seen our answer yet, but we have.
    let bench = Bench { latest: &after.state, ..Bench::of(&before) };
    assert!(matches!(bench.judge(&sealed(&offer(&before, Work::Answer {}))), Verdict::Ignore(_)));
}

#[test]
fn what_the_terms_no_longer_allow_is_refused_by_our_own_clock() {
    let world = started();
    let base = world.state.run(&RUN.parse().unwrap()).unwrap().plan.base_model;
    let train = Work::Train { coalition: Coalition(0b111), round: 1, base };
    let mut bench = Bench::of(&world);
    // A year later; the hub's log still says that all is well.
    bench.now = world.now.plus_ms(366 * 86_400_000);
    let late = Offer { issued_at: bench.now, expires_at: bench.now.plus_ms(1_000), ..offer(&world, train.clone()) };
    assert_eq!(refused(bench.judge(&sealed(&late))), RefusalCode::Terms);
    // Taken back, and the witnesses do not know it yet: the newest entry counts.
    let mut newer = started();
    newer.add("east", KeyClass::Governance, AssetRevoked { asset: "east/digits".parse().unwrap() });
    let bench = Bench { latest: &newer.state, ..Bench::of(&world) };
    assert_eq!(refused(bench.judge(&sealed(&offer(&world, train.clone())))), RefusalCode::Terms);
    let mut left = started();
    let terms = *left.state.agreements().keys().next().unwrap();
    left.add("west", KeyClass::Governance, AgreementWithdrawn { terms });
    let mut bench = Bench::of(&left);
    bench.now = left.now.plus_ms(31 * 86_400_000);
    let late = Offer { issued_at: bench.now, expires_at: bench.now.plus_ms(1_000), ..offer(&left, train) };
    assert_eq!(refused(bench.judge(&sealed(&late))), RefusalCode::Terms);
}

#[test]
fn the_owner_narrows_what_the_terms_allow() {
    let world = approved();
    let answer = sealed(&offer(&world, Work::Answer {}));
    let with = |policy: Policy, load: Option<f64>| Bench { policy, load, ..Bench::of(&world) }.judge(&answer);
    let base = Policy::default;
    assert!(matches!(with(base(), Some(99.0)), Verdict::Do(_)));
    let owner = |policy| refused(with(policy, None));
    assert_eq!(owner(Policy { max_rounds: 1, ..base() }), RefusalCode::Owner);
    assert_eq!(owner(Policy { purposes: vec![Purpose::Care], ..base() }), RefusalCode::Owner);
    assert_eq!(owner(Policy { max_runs: 0, ..base() }), RefusalCode::Owner);
    let hour = (world.now.0 / 3_600_000 % 24) as u8;
    let asleep = Some(Hours { from: (hour + 1) % 24, until: hour });
    assert_eq!(owner(Policy { hours_utc: asleep, ..base() }), RefusalCode::Owner);
    assert!(matches!(with(Policy { max_load: Some(2.0), ..base() }, Some(2.5)), Verdict::Wait(_)));
    assert!(matches!(with(Policy { max_load: Some(2.0), ..base() }, Some(1.5)), Verdict::Do(_)));
    // A run that was accepted is not refused for the hour: it waits.
    let world = started();
    let base_model = world.state.run(&RUN.parse().unwrap()).unwrap().plan.base_model;
    let train = sealed(&offer(&world, Work::Train { coalition: Coalition(0b111), round: 1, base: base_model }));
    let bench = Bench { policy: Policy { hours_utc: asleep, ..base() }, ..Bench::of(&world) };
    assert!(matches!(bench.judge(&train), Verdict::Wait(_)));
}
