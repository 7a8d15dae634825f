//! What repositories hold and what they are called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a repository holds. The word in an address is the plural.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Weights, tokenizer, configuration.
    Model,
    /// Data.
    Dataset,
    /// A demonstration; kept, not run.
    Space,
    /// A program.
    Code,
    /// Programs made for accelerators, fetched by whoever runs a model.
    Kernel,
    /// Files without a history: the last that was put under a path is all there is.
    Bucket,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Model, Self::Dataset, Self::Space, Self::Code, Self::Kernel, Self::Bucket];
    /// Those with a history in git, and with all that goes with one: revisions, commits, discussions, cards.
    pub const WITH_HISTORY: [Self; 5] = [Self::Model, Self::Dataset, Self::Space, Self::Code, Self::Kernel];

    /// Whether it has a history in git.
    #[must_use]
    pub fn has_history(self) -> bool {
        Self::WITH_HISTORY.contains(&self)
    }

    /// The word for one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Space => "space",
            Self::Code => "code",
            Self::Kernel => "kernel",
            Self::Bucket => "bucket",
        }
    }

    /// The word for many, as it stands in `/api/…`.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
            Self::Space => "spaces",
            Self::Code => "codes",
            Self::Kernel => "kernels",
            Self::Bucket => "buckets",
        }
    }

    /// What stands before the name in addresses of files and of git: nothing for models.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
            Self::Space => "spaces/",
            Self::Code => "codes/",
            Self::Kernel => "kernels/",
            Self::Bucket => "buckets/",
        }
    }

    /// The kind of this word, for one or for many.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word || kind.plural() == word)
    }
}

/// The name of a repository inside its owner's space: 1 to 96 of `A–Z a–z 0–9 - _ .`, neither beginning nor ending with
/// `-` or `.`, without `--` and `..`, and not ending with `.git`. The rules are those of the clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoName(String);

/// Why a text names no repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a repository's name has 1 to 96 letters, digits, '-', '_' and '.', neither begins nor ends with '-' or '.', and contains no '--', '..' or '.git' at its end"
)]
pub struct InvalidRepoName;

impl RepoName {
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

impl FromStr for RepoName {
    type Err = InvalidRepoName;
    fn from_str(text: &str) -> Result<Self, InvalidRepoName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let edge = |c: char| matches!(c, '-' | '.');
        let bad = text.is_empty()
            || text.len() > 96
            || !text.chars().all(fits)
            || text.starts_with(edge)
            || text.ends_with(edge)
            || text.contains("--")
            || text.contains("..")
            || text.to_ascii_lowercase().ends_with(".git");
        if bad { Err(InvalidRepoName) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_repository() {
        for good in ["a", "bert-base", "A.b_c-9", "repo_1", &"x".repeat(96)] {
            assert!(good.parse::<RepoName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "a.", "a--b", "a..b", "a.git", "a.GIT", "a/b", "a b", "é", &"x".repeat(97)] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad:?}");
        }
    }
}
