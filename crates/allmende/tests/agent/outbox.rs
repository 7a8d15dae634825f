//! The outbox lists before it lets out, adds up, and falls shut.

use allmende::agent::outbox::{Outbox, Stage, lines, sums};
use allmende::client::http::{Gate, Kind, Outgoing};
use allmende::clock::Clock;
use allmende_core::digest::Digest;

use crate::stores::NOW;

fn outgoing<'a>(kind: Kind, what: &'a str, run: &'a allmende_core::id::RunId) -> Outgoing<'a> {
    Outgoing { kind, run: Some(run), what, bytes: 100, digest: Some(Digest::of(b"x")) }
}

#[test]
fn what_leaves_is_listed_first_and_added_up() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::test(NOW);
    let outbox = Outbox::open(dir.path(), clock.clone()).unwrap();
    let run = "first".parse().unwrap();
    let first = outbox.leaving(&outgoing(Kind::Update, "PUT /parts/0", &run)).unwrap();
    let listed = lines(dir.path()).unwrap();
    assert_eq!((listed.len(), listed[0].state, listed[0].rows), (1, Stage::Planned, 0));
    assert!(sums(&listed).is_empty());
    outbox.left(first, true);
    let second = outbox.leaving(&outgoing(Kind::Update, "PUT /parts/1", &run)).unwrap();
    assert!(second > first);
    outbox.left(second, false);
    outbox.left(second, true);
    // The next day is another file; all are read in order.
    clock.advance_ms(86_400_000);
    let third = outbox.leaving(&outgoing(Kind::Cosignature, "POST /sync", &run)).unwrap();
    outbox.left(third, true);
    let listed = lines(dir.path()).unwrap();
    assert_eq!(
        listed.iter().map(|l| l.state).collect::<Vec<_>>(),
        [Stage::Planned, Stage::Sent, Stage::Planned, Stage::Unanswered, Stage::Planned, Stage::Sent]
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    let sums = sums(&listed);
    assert_eq!((sums[&Kind::Update].pieces, sums[&Kind::Update].bytes, sums[&Kind::Update].rows), (2, 200, 0));
    assert_eq!(sums[&Kind::Cosignature].pieces, 1);
}

#[test]
fn after_a_stop_only_the_refusal_leaves_and_after_a_silent_one_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path(), Clock::test(NOW)).unwrap();
    let run = "first".parse().unwrap();
    outbox.farewell();
    let statements = "POST /v1/collaborations/c/statements";
    for (kind, what, passes) in [
        (Kind::Update, "PUT /v1/collaborations/c/uploads/1/parts/0", false),
        (Kind::Statement, "POST /v1/collaborations/c/uploads/1/seal", false),
        (Kind::Evaluation, statements, false),
        (Kind::Cosignature, "POST /v1/collaborations/c/sync", false),
        (Kind::Prediction, "POST /v1/collaborations/c/runs/r/predict", false),
        (Kind::Statement, statements, true),
        (Kind::Login, "POST /v1/login", true),
    ] {
        assert_eq!(outbox.leaving(&outgoing(kind, what, &run)).is_ok(), passes, "{kind:?} {what}");
    }
    outbox.close();
    // A gate that is shut does not open to less.
    outbox.farewell();
    assert!(outbox.leaving(&outgoing(Kind::Statement, statements, &run)).is_err());
    let held = lines(dir.path()).unwrap().iter().filter(|l| l.state == Stage::Held).count();
    assert_eq!(held, 6);
}
