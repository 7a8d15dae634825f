//! Names that stand in signed statements. All are ASCII, bounded and validated when parsed.

/// Longest slug, in bytes.
pub const MAX_SLUG_BYTES: usize = 40;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {got:?} is not valid: {rule}")]
pub struct InvalidId {
    /// The kind of name, for instance `party`.
    pub what: &'static str,
    /// What was given, cut to 80 characters.
    pub got: String,
    /// The rule it broke, in words.
    pub rule: &'static str,
}

const SLUG_RULE: &str = "use 1 to 40 of a-z, 0-9 and '-', beginning and ending with a letter or digit";

fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if word(first) && word(last))
        && bytes.len() <= MAX_SLUG_BYTES
        && bytes.iter().all(|&b| word(b) || b == b'-')
}

pub(crate) fn invalid(what: &'static str, got: &str, rule: &'static str) -> InvalidId {
    InvalidId { what, got: got.chars().take(80).collect(), rule }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:expr, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::id::InvalidId;
            fn from_str(text: &str) -> Result<Self, $crate::id::InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err($crate::id::invalid($what, text, $rule)) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use identifier;

identifier!(
    /// An organization or a person, unique on one hub, for instance `north`.
    PartyId, "party", is_slug, SLUG_RULE
);
identifier!(
    /// A collaboration, unique on one hub, for instance `handwriting`.
    CollaborationId, "collaboration", is_slug, SLUG_RULE
);
identifier!(
    /// A run, unique in one collaboration, for instance `first-model`.
    RunId, "run", is_slug, SLUG_RULE
);
identifier!(
    /// A decision, unique in one collaboration.
    DecisionId, "decision", is_slug, SLUG_RULE
);
identifier!(
    /// A label such as a node's name or a member's class.
    Label, "label", is_slug, SLUG_RULE
);
identifier!(
    /// An asset as `party/name`: the owner stands in the name, so that nobody can register another's.
    AssetId, "asset",
    |text| matches!(text.split_once('/'), Some((party, name)) if is_slug(party) && is_slug(name)),
    "write it as party/name, each 1 to 40 of a-z, 0-9 and '-'"
);
identifier!(
    /// The number of a clause in a contract, for instance `2.1`.
    ClauseId, "clause id",
    |text| !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'),
    "use 1 to 16 ASCII letters, digits and '.'"
);
identifier!(
    /// The origin of a log as its checkpoints state it: `host/name`, no white space and no `+`.
    Origin, "origin",
    |text| !text.is_empty() && text.len() <= 200
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'/' | b':' | b'_')),
    "use 1 to 200 of letters, digits, '.', '-', '_', ':' and '/'"
);

impl AssetId {
    /// The party that owns the asset.
    #[must_use]
    pub fn owner(&self) -> PartyId {
        PartyId(self.0.split_once('/').map_or("", |(owner, _)| owner).to_owned())
    }

    /// The name after the owner.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_ascii() {
        for good in ["a", "north", "a-1", &"x".repeat(40)] {
            assert!(good.parse::<PartyId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "ä", "a/b", &"x".repeat(41), "a\u{202e}b", "a\n"] {
            assert!(bad.parse::<PartyId>().is_err(), "{bad}");
        }
        let asset: AssetId = "north/digits".parse().expect("valid");
        assert_eq!((asset.owner().as_str(), asset.name()), ("north", "digits"));
        for bad in ["north", "north/", "/x", "a/b/c", "../x"] {
            assert!(bad.parse::<AssetId>().is_err(), "{bad}");
        }
    }
}
