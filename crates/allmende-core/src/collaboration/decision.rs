//! Decisions: who voted how, and what follows from it by the charter's mode.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::charter::{Charter, Deadlock, Mode};
use crate::agreement::vocabulary::{Matter, codes};
use crate::digest::Digest;
use crate::id::{AssetId, PartyId, RunId};
use crate::time::Timestamp;

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "matter", rename_all = "kebab-case")]
pub enum Subject {
    /// Start a run with exactly this plan.
    Run {
        /// Which.
        run: RunId,
        /// Digest of its plan.
        plan: Digest,
    },
    /// Publish exactly this model.
    Release {
        /// Of which run.
        run: RunId,
        /// Digest of the model.
        model: Digest,
        /// The sources whose licences leave it open, accepted as they stand; ascending, and none where nothing is open.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<AssetId>,
    },
    /// Replace the terms in force.
    Amend {
        /// Digest of the new terms.
        terms: Digest,
    },
    /// Let a party in.
    Admit {
        /// Whom.
        party: PartyId,
    },
    /// Put a party out; it has no vote on this.
    Exclude {
        /// Whom.
        party: PartyId,
    },
    /// End an agreement.
    End {
        /// Which.
        terms: Digest,
    },
}

impl Subject {
    /// The matter, as the terms name it.
    #[must_use]
    pub const fn matter(&self) -> Matter {
        match self {
            Self::Run { .. } => Matter::Run,
            Self::Release { .. } => Matter::Release,
            Self::Amend { .. } => Matter::Amend,
            Self::Admit { .. } => Matter::Admit,
            Self::Exclude { .. } => Matter::Exclude,
            Self::End { .. } => Matter::End,
        }
    }
}

codes!(
    /// A member's vote.
    Vote {
        /// In favour.
        Yes = "yes",
        /// Against; by the coordinator of a leader-mode collaboration it is a veto.
        No = "no",
        /// Present, but leaves it to the others.
        Abstain = "abstain",
    }
);

codes!(
    /// How a decision ended.
    Outcome {
        /// It holds.
        Passed = "passed",
        /// Votes or a veto stood against it.
        Rejected = "rejected",
        /// Time ran out, and the charter's answer to a deadlock is no.
        Expired = "expired",
    }
);

/// Where a decision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// More votes may come until this time.
    Open {
        /// When it closes.
        until: Timestamp,
    },
    /// It can be closed with this outcome.
    Decided(Outcome),
}

/// What the mode says about these votes.
///
/// `voters` are the members with a vote on the matter, ascending; votes of others are ignored. `opened` and `now` are the
/// hub's arrival times.
#[must_use]
pub fn standing(
    charter: &Charter,
    voters: &[PartyId],
    votes: &BTreeMap<PartyId, Vote>,
    opened: Timestamp,
    now: Timestamp,
) -> Standing {
    let cast: Vec<(&PartyId, Vote)> = voters.iter().filter_map(|v| votes.get(v).map(|&vote| (v, vote))).collect();
    let vote_ms = i64::try_from(charter.vote_ms).unwrap_or(i64::MAX);
    let first_end = opened.plus_ms(vote_ms);
    // A party that was excluded or has left must not make the quorum unreachable.
    let quorum = (charter.quorum as usize).min(voters.len());
    let quorate = cast.len() >= quorum && !cast.is_empty();
    let complete = cast.len() == voters.len();
    let extended = charter.deadlock == Deadlock::ExtendOnce && !quorate;
    let until = if extended { first_end.plus_ms(vote_ms) } else { first_end };
    let late = now >= until;

    let verdict = match &charter.mode {
        Mode::Peer => consensus(&cast, quorum, complete || late),
        Mode::Leader { coordinator } => led(&cast, coordinator, quorum, voters.len(), complete || late),
        Mode::Ecosystem { classes, threshold_percent } => {
            let of = |want: Option<Vote>| weight(classes, voters, votes, want);
            weighted(of(Some(Vote::Yes)), of(None), *threshold_percent, quorate, late)
        }
    };
    match verdict {
        Some(outcome) => Standing::Decided(outcome),
        None if late => Standing::Decided(on_deadlock(&charter.deadlock, &cast)),
        None => Standing::Open { until },
    }
}

fn count(cast: &[(&PartyId, Vote)], want: Vote) -> usize {
    cast.iter().filter(|(_, vote)| *vote == want).count()
}

fn consensus(cast: &[(&PartyId, Vote)], quorum: usize, over: bool) -> Option<Outcome> {
    if count(cast, Vote::No) > 0 {
        return Some(Outcome::Rejected);
    }
    (over && count(cast, Vote::Yes) >= quorum.max(1)).then_some(Outcome::Passed)
}

fn led(cast: &[(&PartyId, Vote)], coordinator: &PartyId, quorum: usize, voters: usize, over: bool) -> Option<Outcome> {
    let (yes, no) = (count(cast, Vote::Yes), count(cast, Vote::No));
    match cast.iter().find(|(party, _)| *party == coordinator).map(|(_, vote)| *vote) {
        Some(Vote::No) => Some(Outcome::Rejected),
        _ if no * 2 >= voters && no > 0 => Some(Outcome::Rejected),
        Some(Vote::Yes) if cast.len() >= quorum && yes * 2 > voters => Some(Outcome::Passed),
        Some(Vote::Yes) if over && cast.len() >= quorum => {
            Some(if yes > no { Outcome::Passed } else { Outcome::Rejected })
        }
        _ => None,
    }
}

/// Weight in hundredths of a per cent of members who voted `want`, or who have not voted at all when `want` is none.
/// Rounded down for votes in favour, so that a threshold is never met by rounding.
fn weight(
    classes: &[super::charter::MemberClass],
    voters: &[PartyId],
    votes: &BTreeMap<PartyId, Vote>,
    want: Option<Vote>,
) -> (u128, u128) {
    // An exact fraction: sum over classes of weight × matching / present.
    classes.iter().fold((0, 1), |(num, den), class| {
        let present = class.members.iter().filter(|m| voters.contains(m)).count() as u128;
        let matching =
            class.members.iter().filter(|m| voters.contains(m) && votes.get(m).copied() == want).count() as u128;
        if present == 0 {
            return (num, den);
        }
        let (num, den) = (num * present + u128::from(class.weight_percent) * matching * den, den * present);
        let divisor = gcd(num.max(1), den);
        if num == 0 { (0, 1) } else { (num / divisor, den / divisor) }
    })
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn weighted(yes: (u128, u128), open: (u128, u128), threshold: u32, quorate: bool, late: bool) -> Option<Outcome> {
    let exceeds = |(num, den): (u128, u128)| num > u128::from(threshold) * den;
    let reachable = (yes.0 * open.1 + open.0 * yes.1, yes.1 * open.1);
    if !exceeds(reachable) {
        return Some(Outcome::Rejected);
    }
    if quorate && exceeds(yes) {
        return Some(Outcome::Passed);
    }
    (late && quorate).then_some(Outcome::Rejected)
}

fn on_deadlock(deadlock: &Deadlock, cast: &[(&PartyId, Vote)]) -> Outcome {
    match deadlock {
        Deadlock::Arbiter { party } => match cast.iter().find(|(voter, _)| *voter == party) {
            Some((_, Vote::Yes)) => Outcome::Passed,
            Some(_) => Outcome::Rejected,
            None => Outcome::Expired,
        },
        Deadlock::Reject | Deadlock::ExtendOnce => Outcome::Expired,
    }
}

#[cfg(test)]
mod tests;
