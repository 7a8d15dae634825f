//! Decisions in each mode, vote by vote.

use super::*;
use crate::collaboration::charter::MemberClass;
use proptest::prelude::*;

fn party(name: &str) -> PartyId {
    name.parse().expect("slug")
}

fn parties() -> Vec<PartyId> {
    ["east", "north", "west"].map(party).to_vec()
}

fn charter(mode: Mode, quorum: u32, deadlock: Deadlock) -> Charter {
    let charter = Charter {
        title: "t".into(),
        goal: "g".into(),
        mode,
        invited: parties(),
        quorum,
        vote_ms: 1_000,
        deadlock,
        milestones: Vec::new(),
    };
    charter.validate().expect("valid");
    charter
}

fn leader() -> Mode {
    Mode::Leader { coordinator: party("north") }
}

fn ecosystem() -> Mode {
    let class = |name: &str, weight_percent, members: &[&str]| MemberClass {
        name: name.parse().expect("slug"),
        weight_percent,
        members: members.iter().map(|m| party(m)).collect(),
    };
    Mode::Ecosystem {
        classes: vec![class("hospitals", 60, &["north", "east"]), class("companies", 40, &["west"])],
        threshold_percent: 50,
    }
}

/// One letter a voter, in the order east, north, west: y, n, a, or `-` for no vote.
fn check(charter: &Charter, votes: &str, now: i64, expected: &str) {
    let voters = parties();
    let votes: BTreeMap<_, _> = voters
        .iter()
        .zip(votes.chars())
        .filter_map(|(p, c)| {
            let vote = match c {
                'y' => Vote::Yes,
                'n' => Vote::No,
                'a' => Vote::Abstain,
                _ => return None,
            };
            Some((p.clone(), vote))
        })
        .collect();
    let got = match standing(charter, &voters, &votes, Timestamp(0), Timestamp(now)) {
        Standing::Open { until } => format!("open until {}", until.0),
        Standing::Decided(outcome) => outcome.to_string(),
    };
    assert_eq!(got, expected, "{:?} {votes:?} at {now}", charter.mode);
}

#[test]
fn peers_need_consensus() {
    let c = charter(Mode::Peer, 2, Deadlock::Reject);
    check(&c, "yyy", 1, "passed");
    check(&c, "yya", 1, "passed");
    check(&c, "yy-", 1, "open until 1000");
    check(&c, "yy-", 1_000, "passed");
    check(&c, "y--", 1_000, "expired");
    check(&c, "n--", 1, "rejected");
    check(&c, "yyn", 1, "rejected");
    check(&c, "aaa", 1_000, "expired");
    check(&c, "---", 1_000, "expired");
}

#[test]
fn a_leader_decides_with_the_majority_and_may_veto() {
    let c = charter(leader(), 2, Deadlock::Reject);
    check(&c, "-y-", 1, "open until 1000");
    check(&c, "yy-", 1, "passed");
    check(&c, "yyn", 1, "passed");
    check(&c, "yny", 1, "rejected");
    check(&c, "nyn", 1, "rejected");
    check(&c, "y-y", 1_000, "expired");
    check(&c, "ay-", 1_000, "passed");
    check(&c, "ny-", 1_000, "rejected");
}

#[test]
fn an_ecosystem_weighs_classes() {
    let c = charter(ecosystem(), 2, Deadlock::Reject);
    // east and north hold 30 each, west 40.
    check(&c, "yy-", 1, "passed");
    check(&c, "y-y", 1, "passed");
    check(&c, "y--", 1, "open until 1000");
    check(&c, "nn-", 1, "rejected");
    check(&c, "n-n", 1, "rejected");
    check(&c, "y-a", 1_000, "rejected");
    check(&c, "y--", 1_000, "expired");
}

#[test]
fn a_deadlock_is_answered_as_the_charter_says() {
    let extend = charter(Mode::Peer, 3, Deadlock::ExtendOnce);
    check(&extend, "yy-", 1_000, "open until 2000");
    check(&extend, "yy-", 2_000, "expired");
    check(&extend, "yyy", 1_500, "passed");
    let arbiter = charter(Mode::Peer, 3, Deadlock::Arbiter { party: party("west") });
    check(&arbiter, "--y", 1_000, "passed");
    check(&arbiter, "y--", 1_000, "expired");
    check(&arbiter, "--a", 1_000, "rejected");
}

fn any_votes() -> impl Strategy<Value = BTreeMap<PartyId, Vote>> {
    prop::collection::vec(prop::option::of(prop::sample::select(Vote::ALL)), 3)
        .prop_map(|votes| parties().into_iter().zip(votes).filter_map(|(p, v)| v.map(|v| (p, v))).collect())
}

fn any_charter() -> impl Strategy<Value = Charter> {
    let mode = prop::sample::select(vec![Mode::Peer, leader(), ecosystem()]);
    let deadlock =
        prop::sample::select(vec![Deadlock::Reject, Deadlock::ExtendOnce, Deadlock::Arbiter { party: party("east") }]);
    (mode, 1..=3_u32, deadlock).prop_map(|(mode, quorum, deadlock)| charter(mode, quorum, deadlock))
}

proptest! {
    #[test]
    fn every_decision_ends(charter in any_charter(), votes in any_votes()) {
        let end = standing(&charter, &parties(), &votes, Timestamp(0), Timestamp(2_000));
        prop_assert!(matches!(end, Standing::Decided(_)));
    }

    #[test]
    fn an_outcome_stays(charter in any_charter(), votes in any_votes(), now in 0..3_000_i64, later in 0..3_000_i64) {
        let at = |now| standing(&charter, &parties(), &votes, Timestamp(0), Timestamp(now));
        if let Standing::Decided(outcome) = at(now) {
            prop_assert_eq!(at(now + later), Standing::Decided(outcome));
        }
    }

    #[test]
    fn nothing_passes_without_a_yes(charter in any_charter(), votes in any_votes(), now in 0..3_000_i64) {
        if standing(&charter, &parties(), &votes, Timestamp(0), Timestamp(now)) == Standing::Decided(Outcome::Passed) {
            prop_assert!(votes.values().any(|v| *v == Vote::Yes));
        }
    }

    #[test]
    fn the_coordinator_can_veto(votes in any_votes(), now in 0..3_000_i64) {
        let mut votes = votes;
        votes.insert(party("north"), Vote::No);
        let end = standing(&charter(leader(), 2, Deadlock::Reject), &parties(), &votes, Timestamp(0), Timestamp(now));
        prop_assert_eq!(end, Standing::Decided(Outcome::Rejected));
    }
}
