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
            type Err = $crate::agreement::vocabulary::UnknownCode;
            fn from_str(text: &str) -> Result<Self, $crate::agreement::vocabulary::UnknownCode> {
                Self::ALL.iter().copied().find(|c| c.code() == text).ok_or_else(|| $crate::agreement::vocabulary::UnknownCode {
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

codes!(
    /// Where an asset is used.
    Place {
        /// On the owner's node; the bytes stay there.
        Owner = "owner",
        /// On any member's machine or on the hub.
        Anywhere = "anywhere",
    }
);

codes!(
    /// A part of a dataset.
    Part {
        /// The rows that models learn from.
        Train = "train",
        /// The rows that are kept back to evaluate models.
        HeldOut = "held-out",
    }
);

codes!(
    /// A licence that a result may be released under, by its SPDX identifier.
    Licence {
        /// Apache License 2.0.
        Apache2 = "Apache-2.0",
        /// MIT License.
        Mit = "MIT",
        /// BSD 3-Clause.
        Bsd3 = "BSD-3-Clause",
        /// Mozilla Public License 2.0.
        Mpl2 = "MPL-2.0",
        /// GNU Affero General Public License 3.0 only.
        Agpl3 = "AGPL-3.0-only",
        /// Creative Commons Attribution 4.0.
        CcBy = "CC-BY-4.0",
        /// Creative Commons Attribution Share Alike 4.0.
        CcBySa = "CC-BY-SA-4.0",
        /// Creative Commons Attribution Non Commercial 4.0.
        CcByNc = "CC-BY-NC-4.0",
        /// Creative Commons Attribution Non Commercial Share Alike 4.0.
        CcByNcSa = "CC-BY-NC-SA-4.0",
        /// No licence to the public: members only.
        MembersOnly = "LicenseRef-Members-Only",
    }
);

impl Licence {
    /// Whether anybody may use the result commercially under it.
    #[must_use]
    pub const fn allows_commercial_use(self) -> bool {
        !matches!(self, Self::CcByNc | Self::CcByNcSa | Self::MembersOnly)
    }
}

codes!(
    /// What a `results` clause speaks of.
    ResultKind {
        /// A trained model.
        Model = "model",
    }
);

codes!(
    /// How benefits are shared.
    BenefitRule {
        /// By exact Shapley values of the measured coalitions.
        Shapley = "shapley",
        /// The same for every party that took part.
        Equal = "equal",
        /// By the shares that stand in the clause.
        Fixed = "fixed",
    }
);

codes!(
    /// What a coalition's worth is counted in.
    Utility {
        /// Rows of the held-out sets that its model classifies correctly.
        Correct = "correct",
    }
);

codes!(
    /// What happens to a value below zero.
    NegativeRule {
        /// It counts as zero.
        Zero = "zero",
    }
);

codes!(
    /// How benefits are shared when every value is zero.
    AllZeroRule {
        /// In equal parts.
        Equal = "equal",
    }
);

codes!(
    /// Who decides.
    DecidedBy {
        /// As the collaboration's charter says.
        Charter = "charter",
    }
);

codes!(
    /// What a party that leaves must leave behind.
    Keeps {
        /// Models released before the exit stay usable by the others.
        ReleasedModels = "released-models",
        /// Nothing: models that learned from the party's data are no longer used in the collaboration.
        Nothing = "nothing",
    }
);

codes!(
    /// A party's role in the collaboration or in data protection law.
    RoleCode {
        /// Convenes the members and keeps the calendar.
        Coordinator = "coordinator",
        /// Decides alone about purposes and means of processing its personal data.
        Controller = "controller",
        /// Decides about purposes and means together with the others.
        JointController = "joint-controller",
        /// Processes personal data on behalf of a controller.
        Processor = "processor",
        /// Provides data and trains on its own node.
        Trainer = "trainer",
        /// Evaluates models.
        Evaluator = "evaluator",
        /// Takes part without providing data.
        Observer = "observer",
    }
);

codes!(
    /// Who gives a clause effect.
    Enforcer {
        /// The hub refuses what the clause does not allow.
        Hub = "hub",
        /// Each member's own node refuses it too.
        Node = "node",
        /// Computed from the log and verifiable by every member.
        Ledger = "ledger",
        /// Notices, deadlines and evidence; people act on them.
        Duty = "duty",
        /// Stands in the record; software does not enforce it.
        Record = "record",
    }
);

codes!(
    /// A language that terms can be written out in.
    Language {
        /// English.
        En = "en",
        /// Chinese.
        Zh = "zh",
    }
);
