//! The parts that bodies of statements are made of.

use serde::{Deserialize, Serialize};

use crate::agreement::vocabulary::codes;
use crate::digest::Digest;
use crate::id::PartyId;
use crate::run::plan::Coalition;

/// The bytes of an openly shared asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenBytes {
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
}

/// An update that a round counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Whose place in the plan.
    pub slot: u32,
    /// Digest of its bytes.
    pub update: Digest,
    /// Its weight in rows.
    pub weight: u64,
}

/// What a party read of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reads {
    /// Who.
    pub party: PartyId,
    /// How many requests for its bytes were answered, at least one.
    pub requests: u64,
    /// How many bytes were given out: none is counted for what its reader held already.
    pub bytes: u64,
}

/// What a coalition's model achieves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoalitionValue {
    /// Who trained.
    pub coalition: Coalition,
    /// Rows right.
    pub correct: u64,
    /// Rows evaluated.
    pub total: u64,
}

/// An integer confusion matrix whose cells under five are merged into one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// `(true class, predicted class, rows)` of every cell with at least five rows, ascending.
    pub cells: Vec<(u32, u32, u64)>,
    /// Rows in all smaller cells together.
    pub merged: u64,
}

codes!(
    /// Why a node refuses a run.
    RefusalCode {
        /// The terms deny it.
        Terms = "terms",
        /// The owner's own policy denies it.
        Owner = "owner",
        /// The owner was asked and said no.
        Declined = "declined",
        /// The node does not hold the dataset.
        Data = "data",
        /// What the hub said does not fit what the log says.
        Mismatch = "mismatch",
        /// The owner stopped the node.
        Stopped = "stopped",
    }
);

codes!(
    /// Why a run stopped.
    FailureCode {
        /// Fewer updates than the minimum at the deadline.
        MinimumNotMet = "minimum-not-met",
        /// Too many nodes refused.
        Refused = "refused",
        /// Nodes did not answer in time.
        NoAnswer = "no-answer",
        /// The agreement ended or an asset was taken back.
        NotAllowed = "not-allowed",
        /// The average of the updates was not finite.
        Diverged = "diverged",
    }
);
