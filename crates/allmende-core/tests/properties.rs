//! Properties of any log: it replays to the same state, and no change to it goes unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use allmende_core::agreement::vocabulary::DataClass;
use allmende_core::digest::Digest;
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::merkle::{leaf_hash, root_of};
use allmende_core::signature::PublicKey;
use allmende_core::state::{Refusal, State};
use allmende_core::statement::{
    AccessGranted, AgreementWithdrawn, AssetRevoked, Body, HUB, KeyClass, KeyRevoked, KeyRotated, Reads, ReadsCounted,
    RefusalCode, RepositoryPlaced, RepositoryWithdrawn, RunFailed, RunRefused, Scope, Statement, TABLE, TrackDropped,
};
use allmende_core::time::Timestamp;

use crate::story::{PARTIES, told};
use crate::world::{START, World, digest, gov, hub, id, key, node, recovery, root};

fn empty() -> State {
    World::new(&PARTIES).state
}

fn replay(log: &[Record]) -> Result<State, Refusal> {
    log.iter().try_fold(empty(), |mut state, record| {
        state.apply(record)?;
        Ok(state)
    })
}

fn bytes(record: &Record) -> Vec<u8> {
    record.to_bytes().unwrap()
}

#[test]
fn the_same_records_give_the_same_state() {
    let world = told();
    let again: Vec<Record> = world.log.iter().map(|r| Record::from_bytes(&bytes(r)).unwrap()).collect();
    assert_eq!(again, world.log);
    assert_eq!(replay(&again).as_ref(), Ok(&world.state));
    assert_eq!(told().root_hash(), world.root_hash(), "the story is told the same way twice");
}

#[test]
fn a_flipped_byte_is_refused_or_changes_the_leaf() {
    let world = told();
    let mut state = empty();
    for (index, record) in world.log.iter().enumerate() {
        let original = bytes(record);
        // Another seventh of the bytes in each record: together all places of a statement.
        for place in (index % 7..original.len()).step_by(7) {
            let mut flipped = original.clone();
            flipped[place] ^= 1 << (place % 7);
            let Ok(other) = Record::from_bytes(&flipped) else { continue };
            if other.envelope == record.envelope {
                assert_ne!(other.arrived_at, record.arrived_at, "entry {index}, byte {place}");
                assert_ne!(leaf_hash(&bytes(&other)), leaf_hash(&original));
            } else {
                assert!(state.apply(&other).is_err(), "entry {index}, byte {place}");
            }
        }
        state.apply(record).unwrap();
    }
    assert_eq!(state, world.state, "what was refused left no trace");
}

#[test]
fn entries_cannot_be_dropped_doubled_or_moved_unnoticed() {
    let world = told();
    let log = &world.log;
    let root = world.root_hash();
    let signer = |r: &Record| (r.envelope.signatures[0].keyid, r.envelope.payload_type.contains(".key."));
    let last_of: BTreeMap<(PublicKey, bool), usize> = log.iter().enumerate().map(|(i, r)| (signer(r), i)).collect();
    let mut prefix = empty();
    let goes_on = |state: &State, rest: &[Record]| {
        let mut state = state.clone();
        rest.iter().try_for_each(|r| state.apply(r).map(|_| ()))
    };
    let root_without =
        |leaves: Vec<&Record>| root_of(&leaves.into_iter().map(|r| leaf_hash(&bytes(r))).collect::<Vec<_>>());
    for i in 0..log.len() {
        let dropped = goes_on(&prefix, &log[i + 1..]);
        if last_of[&signer(&log[i])] != i {
            assert!(dropped.is_err(), "entry {i} dropped, and its signer goes on");
        }
        let others = log.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, r)| r).collect();
        assert_ne!(root_without(others), root);

        if let Some(next) = log.get(i + 1) {
            let mut moved = prefix.clone();
            let both = moved.apply(next).and_then(|_| moved.apply(&log[i]));
            if signer(next) == signer(&log[i]) {
                assert!(both.is_err(), "entries {i} and {} change places", i + 1);
            }
            let mut others: Vec<&Record> = log.iter().collect();
            others.swap(i, i + 1);
            assert_ne!(root_without(others), root);
        }
        prefix.apply(&log[i]).unwrap();
        assert!(prefix.apply(&log[i]).is_err(), "entry {i} twice");
    }
    let mut end = prefix;
    for (i, record) in log.iter().enumerate() {
        let late = Record { arrived_at: end.last_arrival(), envelope: record.envelope.clone() };
        assert!(end.apply(&late).is_err(), "entry {i} again at the end");
    }
}

/// One body of every kind.
fn bodies() -> BTreeMap<&'static str, Body> {
    let world = told();
    let run = || id("first");
    let mut bodies: BTreeMap<&'static str, Body> = world
        .log
        .iter()
        .map(|r| Statement::open(&r.envelope).unwrap().statement.body)
        .map(|body| (body.kind(), body))
        .collect();
    let terms = world.terms.unwrap();
    let extra: [Body; 11] = [
        KeyRotated { class: KeyClass::Governance, new: key("x").public() }.into(),
        KeyRevoked { key: key("x").public() }.into(),
        AgreementWithdrawn { terms }.into(),
        AssetRevoked { asset: id("north/digits") }.into(),
        RepositoryPlaced { repository: id("north/set"), class: DataClass::Reference }.into(),
        RepositoryWithdrawn { repository: id("north/set") }.into(),
        AccessGranted { repository: id("north/set"), party: id("east") }.into(),
        ReadsCounted {
            repository: id("north/set"),
            from: Timestamp(START),
            until: Timestamp(START + 1),
            readers: vec![Reads { party: id("east"), requests: 1, bytes: 9 }],
        }
        .into(),
        RunRefused { run: run(), code: RefusalCode::Terms, clause: Some(id("2.1")), log_size: 9 }.into(),
        TrackDropped { run: run(), coalition: allmende_core::run::plan::Coalition(3) }.into(),
        RunFailed { run: run(), code: allmende_core::statement::FailureCode::Diverged }.into(),
    ];
    bodies.extend(extra.map(|body| (body.kind(), body)));
    let kinds: BTreeSet<_> = TABLE.iter().map(|row| row.kind).collect();
    assert_eq!(bodies.keys().copied().collect::<BTreeSet<_>>(), kinds, "a sample of every kind");
    bodies
}

#[test]
fn every_kind_survives_the_wire() {
    let world = World::ready(&PARTIES);
    for (kind, body) in bodies() {
        let statement = world.statement(&gov("north"), body);
        let payload = statement.to_payload().unwrap();
        assert_eq!(Statement::from_payload(&payload).as_ref(), Ok(&statement), "{kind}");
        let opened = Statement::open(&statement.seal(&key("k")).unwrap()).unwrap();
        assert_eq!((&opened.statement, opened.digest), (&statement, Digest::of(&payload)), "{kind}");
        // One spelling: no space, no unknown field, no field left out.
        let text = String::from_utf8(payload).unwrap();
        for other in [
            text.replacen(':', ": ", 1),
            text.replacen('{', "{\"aaa\":1,", 1),
            text.replace("\"body\":{", "\"body\":{\"zzz\":1,"),
        ] {
            assert!(Statement::from_payload(other.as_bytes()).is_err(), "{kind}: {other}");
        }
    }
}

#[test]
fn only_the_classes_of_the_table_sign() {
    let signers = [root("north"), recovery("north"), gov("north"), node("north"), hub()];
    for (kind, body) in bodies() {
        let row = allmende_core::statement::row(kind).unwrap();
        let mut world = if row.scope == Scope::Opening { World::new(&PARTIES) } else { told() };
        for who in signers.iter().filter(|w| !row.classes.contains(&w.class)) {
            world.refuse(who, body.clone(), "key.class");
        }
        // Nor does a key of the right class help that another holds, or that none does.
        for class in row.classes {
            let mut who = signers.iter().find(|w| w.class == *class).unwrap().clone().with("stranger");
            let refused = world.take(world.seal(&who, body.clone())).expect_err(kind);
            let known = ["key.unknown", "ledger.opening", "party.exists", "key.in-use", "statement.not-yours"];
            assert!(known.contains(&refused.code()), "{kind} by a stranger's {class} key: {refused}");
            who.party = id(if *class == KeyClass::Hub { "north" } else { HUB });
            assert!(world.take(world.seal(&who, body.clone())).is_err(), "{kind} under another's name");
        }
    }
    assert_ne!(digest("a"), digest("b"));
}
