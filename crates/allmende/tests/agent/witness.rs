//! Who must have seen a log alike, and which cosignatures count.

use allmende::agent::settings::OutsideWitness;
use allmende::agent::witness::{Witnesses, cosign, dated_ahead_ms, is_fresh, quorum, witness_name};
use allmende::api::Witnessed;
use allmende::client::http::Signer;
use allmende::client::mirror::Mirror;
use allmende_core::ledger::checkpoint::Checkpoint;
use allmende_core::signature::SecretKey;
use allmende_core::statement::KeyClass;
use allmende_core::time::Timestamp;
use proptest::prelude::*;

use crate::verify::world::{PARTIES, World, key, origin};

const NOW: Timestamp = Timestamp(1_796_500_000_000);

fn mirror(world: &World) -> Mirror {
    let mut mirror = Mirror::memory(origin(), Some("handwriting".parse().unwrap()), World::hub_key());
    let records: Vec<String> = world.leaves.iter().map(|l| String::from_utf8(l.clone()).unwrap()).collect();
    mirror.extend(0, &records, &world.checkpoint().to_string(), 0).unwrap();
    mirror
}

fn line(mirror: &Mirror, party: &str, size: u64, age_s: i64) -> Witnessed {
    let node = format!("{party}-node").parse().unwrap();
    let name = witness_name(&party.parse().unwrap(), &node).unwrap();
    let secret = key(party, KeyClass::Node);
    let time_s = (NOW.0 / 1000 - age_s) as u64;
    let line = mirror.at(size).unwrap().cosign(&name, &secret, time_s).to_string();
    Witnessed { party: Some(party.parse().unwrap()), key: secret.public(), size, line }
}

fn count(mirror: &Mirror, lines: &[Witnessed], outside: &[OutsideWitness]) -> Witnesses {
    Witnesses::count(mirror, &"north".parse().unwrap(), lines, outside, 60, NOW)
}

#[test]
fn quorums_by_hand() {
    assert_eq!((1..=10).map(quorum).collect::<Vec<_>>(), [1, 2, 3, 3, 4, 4, 5, 6, 6, 7]);
}

proptest! {
    /// Two quorums share an honest member, as long as at most f lie; and the honest alone can make one when f ≥ 1 is a
    /// third or less.
    #[test]
    fn two_quorums_share_an_honest_member(n in 2_usize..1_000) {
        let f = ((n - 1) / 3).max(1);
        let q = quorum(n);
        prop_assert!(2 * q > n + f || q == n);
        prop_assert!(q <= n);
        prop_assert!(n < 4 || q <= n - f);
    }

    #[test]
    fn freshness_has_two_ends(now_s in 1_000_u64..1 << 40, freshness_s in 5_u64..86_400) {
        let now = Timestamp(now_s as i64 * 1000);
        prop_assert!(is_fresh(now_s, now, freshness_s));
        prop_assert!(is_fresh(now_s + 10, now, freshness_s) && !is_fresh(now_s + 11, now, freshness_s));
        let oldest = now_s.saturating_sub(freshness_s + 10);
        prop_assert!(is_fresh(oldest, now, freshness_s));
        prop_assert!(oldest == 0 || !is_fresh(oldest - 1, now, freshness_s));
    }
}

#[test]
fn all_three_of_three_and_the_smallest_of_their_sizes() {
    let mirror = mirror(&World::agreed());
    let size = mirror.verified();
    assert_eq!(count(&mirror, &[], &[]).acting().map(|(size, _)| size), None);
    let east = line(&mirror, "east", size, 5);
    assert_eq!(count(&mirror, std::slice::from_ref(&east), &[]).acting().map(|(size, _)| size), None);
    // One party has one vote, however many lines it sends, and its own node's does not count twice.
    let many = [east.clone(), line(&mirror, "east", 9, 0), line(&mirror, "north", size, 0)];
    assert_eq!(count(&mirror, &many, &[]).acting().map(|(size, _)| size), None);
    let all = [east.clone(), line(&mirror, "west", 10, 59)];
    assert_eq!(count(&mirror, &all, &[]).acting().map(|(size, _)| size), Some(10));
    for bad in [line(&mirror, "west", 10, 71), line(&mirror, "west", 10, -11)] {
        assert_eq!(count(&mirror, &[east.clone(), bad], &[]).acting().map(|(size, _)| size), None);
    }
}

#[test]
fn what_witnesses_said_does_not_become_fresher_by_being_passed_on_late() {
    let mirror = mirror(&World::agreed());
    let (size, now_s) = (mirror.verified(), NOW.0 as u64 / 1000);
    let said = |ages: [i64; 2]| {
        let lines = [line(&mirror, "east", size, ages[0]), line(&mirror, "west", size, ages[1])];
        count(&mirror, &lines, &[]).acting()
    };
    assert_eq!(said([5, 40]), Some((size, now_s - 40)));
    assert_eq!(said([40, 5]), Some((size, now_s - 40)));
    // A witness whose clock is ahead does not vouch for the future.
    assert_eq!(said([-9, 0]), Some((size, now_s)));
}

#[test]
fn a_line_over_another_history_or_by_another_key_counts_for_nothing() {
    let mut world = World::agreed();
    let mirror = mirror(&world);
    let size = mirror.verified();
    let east = line(&mirror, "east", size, 0);
    let west = line(&mirror, "west", size, 0);
    assert_eq!(count(&mirror, &[east.clone(), west.clone()], &[]).acting().map(|(size, _)| size), Some(size));
    let other = Checkpoint { root: allmende_core::digest::Digest([5; 32]), ..mirror.at(size).unwrap() };
    let name = "west/west-node".parse().unwrap();
    let forked = other.cosign(&name, &key("west", KeyClass::Node), NOW.0 as u64 / 1000).to_string();
    let governance = mirror.at(size).unwrap().cosign(&name, &key("west", KeyClass::Governance), NOW.0 as u64 / 1000);
    let lies = [
        Witnessed { line: forked, ..west.clone() },
        Witnessed { line: governance.to_string(), key: key("west", KeyClass::Governance).public(), ..west.clone() },
        Witnessed { size: size - 1, ..west.clone() },
        Witnessed { size: size + 1, ..west.clone() },
        Witnessed { party: Some("east".parse().unwrap()), ..west.clone() },
        Witnessed { party: None, ..west.clone() },
        Witnessed { line: "— west/west-node AAAA".to_owned(), ..west.clone() },
    ];
    for lie in lies {
        assert_eq!(count(&mirror, &[east.clone(), lie.clone()], &[]).acting().map(|(size, _)| size), None, "{lie:?}");
    }
    // A key that was taken back no longer counts.
    let key = key("west", KeyClass::Node).public();
    world.add("west", KeyClass::Governance, allmende_core::statement::KeyRevoked { key });
    let mirror = self::mirror(&world);
    assert_eq!(count(&mirror, &[east, west], &[]).acting().map(|(size, _)| size), None);
}

#[test]
fn a_witness_outside_suffices_alone() {
    let mirror = mirror(&World::agreed());
    let (name, secret) = ("witness.example/w1".parse().unwrap(), SecretKey::from_seed(&[88; 32]));
    let size = mirror.verified();
    let line = mirror.at(size).unwrap().cosign(&name, &secret, NOW.0 as u64 / 1000).to_string();
    let witnessed = Witnessed { party: None, key: secret.public(), size, line };
    let outside = OutsideWitness { name, key: secret.public() };
    assert_eq!(count(&mirror, std::slice::from_ref(&witnessed), &[outside]).acting().map(|(size, _)| size), Some(size));
    assert_eq!(count(&mirror, &[witnessed], &[]).acting().map(|(size, _)| size), None);
}

#[test]
fn a_node_cosigns_what_others_count() {
    let mirror = mirror(&World::agreed());
    for party in PARTIES {
        let signer = Signer {
            party: party.parse().unwrap(),
            class: KeyClass::Node,
            key: std::sync::Arc::new(key(party, KeyClass::Node)),
        };
        let node = format!("{party}-node").parse().unwrap();
        let (size, signature) = cosign(&mirror, &signer, &node, NOW).unwrap();
        assert_eq!((size, signature.to_string()), (mirror.verified(), line(&mirror, party, size, 0).line));
    }
}

#[test]
fn a_log_is_dated_ahead_only_past_the_skew() {
    let at = |ms| Timestamp(NOW.0 + ms);
    assert_eq!(dated_ahead_ms(at(300_000), NOW, 300_000), None);
    assert_eq!(dated_ahead_ms(at(300_001), NOW, 300_000), Some(300_001));
    assert_eq!(dated_ahead_ms(at(-86_400_000), NOW, 300_000), None, "a quiet log is no fault");
    assert_eq!(dated_ahead_ms(Timestamp(i64::MAX), Timestamp(-1), 86_400_000), Some(i64::MAX));
}
