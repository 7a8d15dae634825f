//! The closed codes of vocabulary 1. A code that is not here cannot be written, and so cannot be signed.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every code, in the order of the vocabulary.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as it stands in the terms.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.code())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownCode;
            fn from_str(text: &str) -> Result<Self, UnknownCode> {
                Self::ALL.iter().copied().find(|c| c.code() == text).ok_or_else(|| UnknownCode {
                    what: stringify!($name),
                    got: text.chars().take(40).collect(),
                    known: Self::ALL.iter().map(|c| c.code()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(crate) use codes;

/// A code that the vocabulary does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {got:?} is not in the vocabulary; it knows {known}")]
pub struct UnknownCode {
    /// The kind of code.
    pub what: &'static str,
    /// What was given.
    pub got: String,
    /// The codes that exist.
    pub known: String,
}

codes!(
    /// What a result may be for.
    Purpose {
        /// Scientific research, published or not.
        Research = "research",
        /// Teaching.
        Education = "education",
        /// Diagnosis, treatment and its quality.
        Care = "care",
        /// Products and services for money.
        Commercial = "commercial",
    }
);

codes!(
    /// What someone does with an asset.
    Action {
        /// Learn that it exists, its schema and counts.
        See = "see",
        /// Download its bytes.
        Read = "read",
        /// Change it.
        Write = "write",
        /// Compute a model update from its rows, where they are.
        Train = "train",
        /// Compute metrics of a model on its rows, where they are.
        Evaluate = "evaluate",
        /// Train coalitions of fewer parties, only to measure contribution.
        Measure = "measure",
        /// Answer predictions with it.
        Serve = "serve",
        /// Let rows leave the owner's node.
        Disclose = "disclose",
        /// Publish a model.
        Release = "release",
        /// Build on a released model.
        Derive = "derive",
    }
);

codes!(
    /// What an asset's bytes hold.
    DataClass {
        /// Rows about individuals or cases.
        Record = "record",
        /// Rows that their owner shares openly.
        Reference = "reference",
        /// Counts and metrics over rows.
        Aggregate = "aggregate",
        /// Trained parameters.
        Model = "model",
    }
);

codes!(
    /// What members decide together.
    Matter {
        /// Let a party in.
        Admit = "admit",
        /// Start a run.
        Run = "run",
        /// Publish a model.
        Release = "release",
        /// Replace the terms.
        Amend = "amend",
        /// Put a party out after non-compliance.
        Exclude = "exclude",
        /// End the agreement.
        End = "end",
    }
);
