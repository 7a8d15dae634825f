//! Names of users and organizations.

use std::fmt;
use std::str::FromStr;

/// Most characters of a name.
const MAX_CHARS: usize = 64;

/// Names that stand for something else at the beginning of a path.
const RESERVED: &[&str] = &[
    "api",
    "assets",
    "auth",
    "blog",
    "buckets",
    "c",
    "collections",
    "console",
    "dashboard",
    "datasets",
    "docs",
    "git",
    "healthz",
    "help",
    "hub",
    "join",
    "kernels",
    "lfs",
    "login",
    "logout",
    "metrics",
    "models",
    "new",
    "oauth",
    "organizations",
    "papers",
    "posts",
    "resolve",
    "search",
    "settings",
    "spaces",
    "static",
    "users",
    "v1",
    "v2",
    "webhooks",
    "well-known",
    "xet",
];

/// The name of a user or an organization: 1 to 64 of `A–Z a–z 0–9 - _ .`, beginning with a letter, a digit or an
/// underscore. Two names that differ only in case are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountName(String);

/// Why a text is no account's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Empty or too long.
    #[error("a name has 1 to {MAX_CHARS} characters")]
    Length,
    /// A character that no name has, or not in this place.
    #[error("a name has letters, digits, '-', '_' and '.', begins with none of '-' and '.', and ends with no '.'")]
    Character,
    /// It means something else in an address.
    #[error("'{0}' is not free: it means something else in an address")]
    Reserved(String),
}

impl AccountName {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is compared.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl FromStr for AccountName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() || text.len() > MAX_CHARS {
            return Err(InvalidName::Length);
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !text.chars().all(fits) || text.starts_with(['-', '.']) || text.ends_with('.') || text.contains("..") {
            return Err(InvalidName::Character);
        }
        if RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(InvalidName::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_name() {
        for good in ["a", "north-clinic", "__DUMMY_HUB_USER__", "DVUser", "7-of-9", "a.b_c", &"x".repeat(64)] {
            assert_eq!(good.parse::<AccountName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "a.", "a..b", "a/b", "a b", "ä", "a\n", "\u{202e}a", &"x".repeat(65)] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
        }
        assert_eq!("API".parse::<AccountName>(), Err(InvalidName::Reserved("API".into())));
    }
}
