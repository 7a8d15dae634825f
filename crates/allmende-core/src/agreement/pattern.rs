//! Patterns of assets: `north/digits`, `*/digits`, `*/*#held-out`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::vocabulary::Part;
use crate::id::{AssetId, PartyId};

/// One or many assets: each segment a name or `*`, and after `#` optionally one part of the dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetPattern {
    owner: Option<PartyId>,
    /// Checked to be a valid asset name when parsed.
    name: Option<String>,
    part: Option<Part>,
}

/// The text is no pattern of assets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "asset pattern {0:?} is not valid: write owner/name, either may be '*', then '#train' or '#held-out' for one part"
)]
pub struct InvalidPattern(String);

impl AssetPattern {
    /// A pattern from its segments; `None` stands for `*`.
    #[must_use]
    pub fn new(owner: Option<PartyId>, asset: Option<&AssetId>, part: Option<Part>) -> Self {
        Self { owner, name: asset.map(|a| a.name().to_owned()), part }
    }

    /// The owner that it names, unless `*`.
    #[must_use]
    pub const fn owner(&self) -> Option<&PartyId> {
        self.owner.as_ref()
    }

    /// The name after the owner, unless `*`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The part that it is limited to.
    #[must_use]
    pub const fn part(&self) -> Option<Part> {
        self.part
    }

    /// Whether it names the asset, whatever the part.
    #[must_use]
    pub fn names(&self, asset: &AssetId) -> bool {
        self.owner.as_ref().is_none_or(|o| asset.as_str().split_once('/').is_some_and(|(own, _)| own == o.as_str()))
            && self.name.as_deref().is_none_or(|n| n == asset.name())
    }

    /// Whether it takes in all of what is asked for: a pattern with a part does not cover the whole asset.
    #[must_use]
    pub fn covers(&self, asset: &AssetId, part: Option<Part>) -> bool {
        self.names(asset) && (self.part.is_none() || self.part == part)
    }

    /// Whether it takes in any of what is asked for: asking for the whole asset asks for each of its parts.
    #[must_use]
    pub fn touches(&self, asset: &AssetId, part: Option<Part>) -> bool {
        self.names(asset) && (self.part.is_none() || part.is_none() || self.part == part)
    }

    /// Whether everything that `other` covers is covered by this pattern too.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        (self.owner.is_none() || self.owner == other.owner)
            && (self.name.is_none() || self.name == other.name)
            && (self.part.is_none() || self.part == other.part)
    }

    /// Whether some asset and part is covered by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let meets = |same: bool, a: bool, b: bool| same || a || b;
        meets(self.owner == other.owner, self.owner.is_none(), other.owner.is_none())
            && meets(self.name == other.name, self.name.is_none(), other.name.is_none())
            && meets(self.part == other.part, self.part.is_none(), other.part.is_none())
    }
}

impl FromStr for AssetPattern {
    type Err = InvalidPattern;
    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let refuse = || InvalidPattern(text.chars().take(100).collect());
        let (path, part) = match text.split_once('#') {
            Some((path, part)) => (path, Some(part.parse::<Part>().map_err(|_| refuse())?)),
            None => (text, None),
        };
        let (owner, name) = path.split_once('/').ok_or_else(refuse)?;
        let owner = if owner == "*" { None } else { Some(owner.parse::<PartyId>().map_err(|_| refuse())?) };
        // A name is as strict as a party's: the same rule of slugs.
        let name = if name == "*" { None } else { Some(name.parse::<PartyId>().map_err(|_| refuse())?.to_string()) };
        Ok(Self { owner, name, part })
    }
}

impl fmt::Display for AssetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.owner.as_ref().map_or("*", PartyId::as_str))?;
        f.write_str("/")?;
        f.write_str(self.name.as_deref().unwrap_or("*"))?;
        match self.part {
            Some(part) => write!(f, "#{part}"),
            None => Ok(()),
        }
    }
}

impl Serialize for AssetPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AssetPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> AssetPattern {
        text.parse().expect(text)
    }

    #[test]
    fn text_round_trips_and_is_strict() {
        for good in ["north/digits", "*/digits", "north/*", "*/*", "*/*#held-out", "north/digits#train"] {
            assert_eq!(pattern(good).to_string(), good);
        }
        for bad in ["", "digits", "/", "a/b/c", "n*/x", "*/x#", "*/x#all", "*/x#train#train", "**/x", "A/x", "*"] {
            assert!(bad.parse::<AssetPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_cover_and_touch() {
        let asset: AssetId = "north/digits".parse().expect("valid");
        let held = pattern("*/digits#held-out");
        assert!(held.covers(&asset, Some(Part::HeldOut)));
        assert!(!held.covers(&asset, None), "the whole asset is more than its held-out part");
        assert!(held.touches(&asset, None), "the whole asset holds its held-out part");
        assert!(!held.touches(&asset, Some(Part::Train)));
        assert!(pattern("*/*").includes(&held) && !held.includes(&pattern("*/digits")));
        assert!(pattern("north/*").overlaps(&held) && !pattern("*/photos").overlaps(&held));
    }
}
