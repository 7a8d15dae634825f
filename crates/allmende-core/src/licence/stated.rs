//! The licence of data, as its owner states it in a signed statement.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::judge::Claim;
use super::table::{Licence, find};

/// The word for a licence that the table does not know.
const OTHER: &str = "other";

/// Under which licence of others data stands: one of the table, or `other`. A closed set, as every code that is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stated(Option<&'static Licence>);

/// A licence that cannot be stated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is no licence that is known; name one as SPDX or the Hub does, as cc-by-4.0, or say 'other'")]
pub struct UnknownLicence {
    got: String,
}

impl Stated {
    /// The identifier as it is signed.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.0.map_or(OTHER, |licence| licence.id)
    }

    /// What it claims: of `other` nothing is known.
    #[must_use]
    pub fn claim(self) -> Claim {
        Claim(vec![self.id().to_owned()])
    }
}

impl std::fmt::Display for Stated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id())
    }
}

/// By any identifier that the table knows it by, in any case.
impl std::str::FromStr for Stated {
    type Err = UnknownLicence;
    fn from_str(text: &str) -> Result<Self, UnknownLicence> {
        match find(text) {
            Some(licence) => Ok(Self(Some(licence))),
            None if text.trim().eq_ignore_ascii_case(OTHER) => Ok(Self(None)),
            None => Err(UnknownLicence { got: text.chars().take(80).collect() }),
        }
    }
}

impl Serialize for Stated {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for Stated {
    /// One spelling alone: signed bytes have one encoding.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let stated: Self = text.parse().map_err(serde::de::Error::custom)?;
        if stated.id() == text { Ok(stated) } else { Err(serde::de::Error::custom(UnknownLicence { got: text })) }
    }
}
