//! The charter: what a collaboration is for, who is invited, and how its members decide.

use serde::{Deserialize, Serialize};

use crate::canonical::forbidden_character;
use crate::digest::Digest;
use crate::id::{Label, PartyId};
use crate::time::Date;

/// Most members of a collaboration.
pub const MAX_MEMBERS: usize = 64;
/// Longest free text in a charter, in characters.
pub const MAX_TEXT_CHARS: usize = 4_000;
/// Longest time to vote: one year, in milliseconds.
pub const MAX_VOTE_MS: u64 = 366 * 86_400_000;

/// How members decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Mode {
    /// Consensus: nobody against, and at least the quorum in favour.
    Peer,
    /// The coordinator must agree and may veto; beyond that the majority of votes cast.
    Leader {
        /// Who coordinates.
        coordinator: PartyId,
    },
    /// Classes of members with weights: the weight in favour must exceed the threshold.
    Ecosystem {
        /// The classes; weights sum to 100.
        classes: Vec<MemberClass>,
        /// Per cent of weight that must be exceeded, 50 to 99.
        threshold_percent: u32,
    },
}

/// A weighted class of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberClass {
    /// Its name.
    pub name: Label,
    /// Per cent of all weight, divided equally among its members.
    pub weight_percent: u32,
    /// Who belongs to it.
    pub members: Vec<PartyId>,
}

/// What happens when time runs out with neither a quorum nor a vote against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Deadlock {
    /// The matter is rejected.
    Reject,
    /// The time to vote runs once more, then the matter is rejected.
    ExtendOnce,
    /// This party's vote decides; if it has not voted, the matter is rejected.
    Arbiter {
        /// Who decides.
        party: PartyId,
    },
}

/// A step on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Milestone {
    /// Its name.
    pub name: Label,
    /// When it is due.
    pub due: Date,
    /// What is reached then.
    pub text: String,
}

/// The charter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// A short name for people.
    pub title: String,
    /// What the members want to reach together.
    pub goal: String,
    /// How they decide.
    pub mode: Mode,
    /// Who may join without a decision, the proposer included.
    pub invited: Vec<PartyId>,
    /// Fewest votes for a decision that is not unanimous.
    pub quorum: u32,
    /// Time to vote, in milliseconds by the hub's clock.
    pub vote_ms: u64,
    /// What follows when time runs out.
    pub deadlock: Deadlock,
    /// Steps on the way.
    pub milestones: Vec<Milestone>,
}

/// Why a charter cannot be proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("charter, {field}: {rule}")]
pub struct InvalidCharter {
    /// The field at fault.
    pub field: &'static str,
    /// The rule it broke.
    pub rule: &'static str,
}

impl Charter {
    /// Digest of the canonical charter.
    ///
    /// # Panics
    /// Never for a charter that passed [`Self::validate`]; a forbidden character would have been refused there.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&crate::canonical::to_bytes(self).expect("a validated charter is strict JSON"))
    }

    /// Checks every rule that needs no state.
    ///
    /// # Errors
    /// [`InvalidCharter`] names field and rule.
    pub fn validate(&self) -> Result<(), InvalidCharter> {
        let fail = |field, rule| Err(InvalidCharter { field, rule });
        let texts = [&self.title, &self.goal].into_iter().chain(self.milestones.iter().map(|m| &m.text));
        for text in texts {
            if text.trim().is_empty() || text.chars().count() > MAX_TEXT_CHARS || forbidden_character(text).is_some() {
                return fail("text", "1 to 4000 characters, none of them control or direction characters");
            }
        }
        if self.invited.is_empty() || self.invited.len() > MAX_MEMBERS || has_repeats(&self.invited) {
            return fail("invited", "1 to 64 parties, each once");
        }
        if self.milestones.len() > 100 {
            return fail("milestones", "at most 100");
        }
        if self.quorum == 0 || self.quorum as usize > self.invited.len() {
            return fail("quorum", "at least 1 and at most the number of invited parties");
        }
        if self.vote_ms < 1_000 || self.vote_ms > MAX_VOTE_MS {
            return fail("vote_ms", "one second to one year");
        }
        match &self.mode {
            Mode::Peer => {}
            Mode::Leader { coordinator } if self.invited.contains(coordinator) => {}
            Mode::Leader { .. } => return fail("mode", "the coordinator must be invited"),
            Mode::Ecosystem { classes, threshold_percent } => {
                let everyone: Vec<_> = classes.iter().flat_map(|c| c.members.iter().cloned()).collect();
                let sum: u64 = classes.iter().map(|c| u64::from(c.weight_percent)).sum();
                if classes.is_empty() || sum != 100 || classes.iter().any(|c| c.members.is_empty()) {
                    return fail("mode", "classes have members and weights that sum to 100");
                }
                if has_repeats(&everyone) || everyone.iter().any(|p| !self.invited.contains(p)) {
                    return fail("mode", "a member belongs to one class and is invited");
                }
                if everyone.len() != self.invited.len() {
                    return fail("mode", "every invited party belongs to a class");
                }
                if !(50..=99).contains(threshold_percent) {
                    return fail("mode", "the threshold is 50 to 99 per cent");
                }
            }
        }
        match &self.deadlock {
            Deadlock::Arbiter { party } if !self.invited.contains(party) => {
                fail("deadlock", "the arbiter must be invited")
            }
            _ => Ok(()),
        }
    }
}

fn has_repeats(parties: &[PartyId]) -> bool {
    parties.iter().collect::<std::collections::BTreeSet<_>>().len() != parties.len()
}
