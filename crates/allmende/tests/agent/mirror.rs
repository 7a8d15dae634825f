//! The mirror takes an honest log, survives restarts, and raises the right alarm for each way of lying.

use allmende::client::mirror::{Alarm, Mirror, MirrorError};
use allmende::client::store::StoreError;
use allmende_core::digest::Digest;
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::signature::SecretKey;
use allmende_core::statement::{HUB, KeyClass};

use crate::verify::world::{World, key, origin};

fn memory() -> Mirror {
    Mirror::memory(origin(), Some("handwriting".parse().unwrap()), World::hub_key())
}

fn records(world: &World, from: usize) -> Vec<String> {
    world.leaves[from..].iter().map(|leaf| String::from_utf8(leaf.clone()).unwrap()).collect()
}

fn signed(size: u64, root: Digest) -> String {
    let checkpoint = Checkpoint { origin: origin(), size, root };
    SignedCheckpoint::sign(checkpoint, &origin(), &key(HUB, KeyClass::Hub)).to_string()
}

fn alarm(result: Result<(), MirrorError>) -> Alarm {
    match result {
        Err(MirrorError::Alarm(alarm)) => *alarm,
        other => panic!("no alarm: {other:?}"),
    }
}

fn full() -> (World, Mirror) {
    let world = World::agreed();
    let mut mirror = memory();
    mirror.extend(0, &records(&world, 0), &world.checkpoint().to_string(), 0).unwrap();
    (world, mirror)
}

#[test]
fn an_honest_log_is_taken_in_pieces_twice_and_out_of_step() {
    let world = World::agreed();
    let (all, note) = (records(&world, 0), world.checkpoint().to_string());
    let mut mirror = memory();
    mirror.extend(0, &all[..3], &note, 0).unwrap();
    assert_eq!((mirror.entries(), mirror.verified()), (3, 0));
    mirror.extend(0, &all[..5], &note, 0).unwrap();
    // A gap is not filled by guessing.
    mirror.extend(7, &all[7..], &note, 0).unwrap();
    assert_eq!(mirror.entries(), 5);
    mirror.extend(5, &all[5..], &note, 0).unwrap();
    assert_eq!((mirror.verified(), mirror.state()), (all.len() as u64, &world.state));
    assert_eq!(mirror.root(mirror.verified()), Some(world.checkpoint().checkpoint.root));
    // A checkpoint of before, as two answers crossing on the way bring it, is no roll-back unless we had told our size.
    let early = signed(4, mirror.root(4).unwrap());
    mirror.extend::<&str>(0, &[], &early, 4).unwrap();
    assert_eq!(mirror.read(2).unwrap()[0].to_bytes().unwrap(), world.leaves[2]);
    assert_eq!(mirror.find(&mirror.payload(6).unwrap()), Some(6));
}

#[test]
fn a_fork_is_proved_by_two_checkpoints() {
    let (_, mut mirror) = full();
    let size = mirror.verified();
    let other = signed(size, Digest([7; 32]));
    let Alarm::Fork { size: at, ours, theirs } = alarm(mirror.extend::<&str>(size, &[], &other, size)) else {
        panic!("not a fork");
    };
    assert_eq!((at, theirs), (size, other.clone()));
    assert_eq!(ours.parse::<SignedCheckpoint>().unwrap(), *mirror.checkpoint().unwrap());
    // From now on it takes nothing, not even the truth.
    let truth = mirror.checkpoint().unwrap().to_string();
    assert!(matches!(alarm(mirror.extend::<&str>(size, &[], &truth, size)), Alarm::Fork { .. }));
    let (_, mut mirror) = full();
    assert!(matches!(mirror.observe(&signed(5, Digest([7; 32]))), Err(MirrorError::Alarm(_))));
    assert!(matches!(mirror.alarm(), Some(Alarm::Fork { size: 5, .. })));
}

#[test]
fn a_shorter_log_is_rolled_back() {
    let (_, mut mirror) = full();
    let size = mirror.verified();
    let shorter = signed(4, mirror.root(4).unwrap());
    let got = alarm(mirror.extend::<&str>(size, &[], &shorter, size));
    assert!(matches!(got, Alarm::RolledBack { theirs_size: 4, ours_size, .. } if ours_size == size));
}

#[test]
fn entries_that_break_a_rule_or_miss_the_root_are_alarms() {
    let (mut world, mut mirror) = full();
    let size = mirror.verified();
    // A statement that stood already stands again.
    world.leaves.push(world.leaves[size as usize - 1].clone());
    let got = alarm(mirror.extend(size, &records(&world, size as usize), &world.checkpoint().to_string(), size));
    assert!(matches!(got, Alarm::InvalidEntry { index, .. } if index == size), "{got:?}");

    let (mut world, mut mirror) = full();
    world.grow(size + 1);
    let lie = signed(size + 1, Digest([1; 32]));
    let got = alarm(mirror.extend(size, &records(&world, size as usize)[..1], &lie, size));
    assert!(matches!(got, Alarm::OtherEntries { .. }), "{got:?}");

    let (world, mut mirror) = full();
    let mut altered = records(&world, 0);
    altered[3] = altered[2].clone();
    let got = alarm(mirror.extend(0, &altered, &world.checkpoint().to_string(), 0));
    assert!(matches!(got, Alarm::InvalidEntry { index: 3, .. }), "{got:?}");
    assert!(matches!(alarm(memory().extend(0, &["{}"], &signed(1, Digest([0; 32])), 0)), Alarm::InvalidEntry { .. }));
}

#[test]
fn only_the_pinned_hub_and_this_log_are_believed() {
    let world = World::agreed();
    let honest = world.checkpoint().checkpoint;
    let stranger = SecretKey::from_seed(&[99; 32]);
    let foreign = SignedCheckpoint::sign(honest.clone(), &origin(), &stranger).to_string();
    let elsewhere: allmende_core::id::Origin = "hub.example/other".parse().unwrap();
    let moved = Checkpoint { origin: elsewhere.clone(), ..honest };
    let moved = SignedCheckpoint::sign(moved, &elsewhere, &key(HUB, KeyClass::Hub)).to_string();
    for note in [foreign.as_str(), moved.as_str(), "", "no note\n"] {
        assert!(matches!(alarm(memory().extend(0, &records(&world, 0), note, 0)), Alarm::BadCheckpoint { .. }));
    }
    let mut other = Mirror::memory(origin(), Some("handwriting".parse().unwrap()), stranger.public());
    let note = SignedCheckpoint::sign(world.checkpoint().checkpoint, &origin(), &stranger).to_string();
    assert!(matches!(alarm(other.extend(0, &records(&world, 0), &note, 0)), Alarm::InvalidEntry { index: 0, .. }));
}

#[test]
fn a_mirror_on_disk_comes_back_and_grows_over_many_bundles() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Mirror::open(dir.path(), origin(), Some("handwriting".parse().unwrap()), World::hub_key());
    let mut world = World::agreed();
    let mut from = 0;
    for size in [20, 21, 256, 257, 600, 1_300] {
        world.grow(size);
        let mut mirror = open().unwrap();
        assert_eq!(mirror.verified(), from);
        assert!(matches!(open(), Err(MirrorError::Store(StoreError::InUse { .. }))));
        mirror.extend(from, &records(&world, from as usize), &world.checkpoint().to_string(), from).unwrap();
        assert_eq!((mirror.verified(), mirror.state()), (size, &world.state));
        for index in [0, size / 2, size - 1] {
            assert_eq!(mirror.read(index).unwrap()[0].to_bytes().unwrap(), world.leaves[index as usize]);
        }
        from = size;
    }
    // Any verifier of the layout reads it.
    let options = allmende::verify::Options { hub_key: Some(World::hub_key()), ..Default::default() };
    let judged = allmende::verify::verify(&allmende::verify::DirSource::new(dir.path()), &options);
    assert!(judged.is_ok(), "{judged:?}");
    // What was told is not unlearned by a restart.
    let mut mirror = open().unwrap();
    let shorter = signed(20, mirror.root(20).unwrap());
    assert!(matches!(alarm(mirror.extend::<&str>(from, &[], &shorter, from)), Alarm::RolledBack { .. }));
    drop(mirror);
    let bundle = dir.path().join("tile/entries/001");
    let mut bytes = std::fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    assert!(matches!(open(), Err(MirrorError::Store(_))));
}
