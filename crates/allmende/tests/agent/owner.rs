//! The node's own checks.

use allmende::agent::owner::OwnersCopy;
use allmende::client::mirror::Mirror;
use allmende_core::digest::Digest;
use allmende_core::id::Origin;
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::signature::SecretKey;
use allmende_core::time::Timestamp;

#[test]
fn only_a_signed_checkpoint_of_this_log_counts_and_is_told_once() {
    let (hub, stranger) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
    let origin: Origin = "hub.test/c".parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let copy = OwnersCopy::new(Some(dir.path().into()), origin.clone(), hub.public());
    let write = |key: &SecretKey| {
        let checkpoint = Checkpoint { origin: origin.clone(), size: 5, root: Digest([7; 32]) };
        let note = SignedCheckpoint::sign(checkpoint, &origin, key).to_string();
        std::fs::write(dir.path().join("checkpoint"), note).unwrap();
    };
    assert!(!copy.is_ahead(0), "there is none");
    write(&stranger);
    assert!(!copy.is_ahead(0), "not signed by the hub");
    write(&hub);
    assert!(copy.is_ahead(4) && !copy.is_ahead(5));
    let mut mirror = Mirror::memory(origin.clone(), Some("c".parse().unwrap()), hub.public());
    let mut told = |at_ms| copy.compare(&mut mirror, Timestamp(at_ms), 5).unwrap();
    assert_eq!([told(1_000), told(6_000), told(6_001), told(60_000)], [false, false, true, false]);
}
