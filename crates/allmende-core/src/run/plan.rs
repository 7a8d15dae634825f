//! The plan of a run: everything that decides its result, and nothing else. Its digest is what members approve.

use serde::{Deserialize, Serialize};

use crate::agreement::vocabulary::Purpose;
use crate::decimal::Decimal;
use crate::digest::Digest;
use crate::id::{AssetId, PartyId};

/// Most parties in one run. Coalitions are bit masks, and exact Shapley values cost 2^n trainings.
pub const MAX_SLOTS: usize = 10;
/// Most rounds on one track.
pub const MAX_ROUNDS: u32 = 10_000;
/// Most units in one layer, inputs and classes included.
pub const MAX_UNITS: u32 = 65_536;
/// Most hidden layers.
pub const MAX_HIDDEN: usize = 8;
/// Largest model, in bytes of its safetensors file.
pub const MAX_MODEL_BYTES: u64 = 256 << 20;

/// One party's place in the run. Updates are folded in the order of slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Whose node works here.
    pub party: PartyId,
    /// The dataset that it trains on.
    pub asset: AssetId,
}

/// The network that is trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum ModelSpec {
    /// Softmax regression: one dense layer.
    Linear {
        /// Features per row.
        inputs: u32,
        /// Classes.
        classes: u32,
    },
    /// Dense layers with ReLU between them.
    Mlp {
        /// Features per row.
        inputs: u32,
        /// Units of each hidden layer.
        hidden: Vec<u32>,
        /// Classes.
        classes: u32,
    },
}

impl ModelSpec {
    /// Units of every layer, inputs first, classes last.
    #[must_use]
    pub fn widths(&self) -> Vec<u32> {
        match self {
            Self::Linear { inputs, classes } => vec![*inputs, *classes],
            Self::Mlp { inputs, hidden, classes } => {
                let mut widths = vec![*inputs];
                widths.extend(hidden);
                widths.push(*classes);
                widths
            }
        }
    }

    /// The tensors of the model, sorted by name: `layers.{i}.weight` of `[in, out]` and `layers.{i}.bias` of `[out]`.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let widths = self.widths();
        let mut tensors: Vec<_> = widths
            .windows(2)
            .enumerate()
            .flat_map(|(i, pair)| {
                let (fan_in, fan_out) = (pair[0] as usize, pair[1] as usize);
                [(format!("layers.{i}.bias"), vec![fan_out]), (format!("layers.{i}.weight"), vec![fan_in, fan_out])]
            })
            .collect();
        tensors.sort();
        tensors
    }

    /// Number of trained parameters.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.widths().windows(2).map(|p| u64::from(p[0]) * u64::from(p[1]) + u64::from(p[1])).sum()
    }
}

/// How a local step changes the parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// Step size.
        rate: Decimal,
    },
    /// Gradient descent with momentum.
    Momentum {
        /// Step size.
        rate: Decimal,
        /// Share of the previous step that is kept, in [0, 1).
        momentum: Decimal,
    },
    /// Adam with the usual β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
    Adam {
        /// Step size.
        rate: Decimal,
    },
}

/// What one node does in one round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The local optimizer; its state starts anew each round.
    pub optimizer: Optimizer,
    /// Rows per step.
    pub batch_rows: u32,
    /// Passes over the local rows in one round.
    pub epochs: u32,
}

/// How the hub turns the weighted mean of the updates into the next model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Outer {
    /// The weighted mean itself (FedAvg, McMahan et al. 2017).
    Average,
    /// Nesterov momentum on the mean change (FedAvgM, Hsu et al. 2019; the outer step of DiLoCo).
    Nesterov {
        /// Outer step size.
        rate: Decimal,
        /// Share of the previous outer step that is kept, in [0, 1).
        momentum: Decimal,
    },
}

/// How raw features become inputs. The constants stand in the plan, so that no node learns another's statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Normalization {
    /// `(x − shift) × scale`, the same for every feature.
    Uniform {
        /// Subtracted first.
        shift: Decimal,
        /// Then multiplied.
        scale: Decimal,
    },
    /// `(x − shift[j]) × scale[j]` for feature j.
    PerFeature {
        /// Subtracted first, one for each feature.
        shift: Vec<Decimal>,
        /// Then multiplied, one for each feature.
        scale: Vec<Decimal>,
    },
}

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The agreement it runs under.
    pub agreement: Digest,
    /// What the result is for.
    pub purpose: Purpose,
    /// Who takes part, in folding order.
    pub slots: Vec<Slot>,
    /// The network.
    pub model: ModelSpec,
    /// Digest of the initial model's safetensors file; every node derives the same from `model` and `seed`.
    pub base_model: Digest,
    /// Feature scaling.
    pub normalization: Normalization,
    /// Local work.
    pub training: Training,
    /// The outer step.
    pub outer: Outer,
    /// Rounds on each track.
    pub rounds: u32,
    /// The whole coalition's model is evaluated after every so many rounds, and after the last; 0 for the last only.
    pub evaluate_every: u32,
    /// Sizes of smaller coalitions that are trained to measure contribution, ascending; empty for none.
    pub measure: Vec<u32>,
    /// Fewest updates with which a round of the whole coalition may close.
    pub min_parties: u32,
    /// Longest a round may stay open, in milliseconds by the hub's clock.
    pub round_timeout_ms: u64,
    /// Seed of initialization and shuffling, a decimal unsigned 64-bit number.
    pub seed: Seed,
}

/// A 64-bit seed, written as a decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse::<u64>() {
            Ok(seed) if seed.to_string() == text => Ok(Self(seed)),
            _ => Err(serde::de::Error::custom("a seed is a decimal unsigned 64-bit number")),
        }
    }
}

/// A set of slots, bit i for slot i. One track of a run trains one coalition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Coalition(pub u16);

impl Coalition {
    /// All of `slots` slots.
    #[must_use]
    pub const fn all(slots: usize) -> Self {
        Self(((1_u32 << slots) - 1) as u16)
    }

    /// Number of members.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it has no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether slot `slot` is a member.
    #[must_use]
    pub const fn contains(self, slot: usize) -> bool {
        slot < 16 && self.0 >> slot & 1 == 1
    }

    /// Slots of the members, ascending.
    pub fn slots(self) -> impl Iterator<Item = usize> {
        (0..16).filter(move |&slot| self.contains(slot))
    }
}

/// The coalition of these slots; those beyond the last possible one are no members.
impl FromIterator<u32> for Coalition {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        Self(slots.into_iter().filter_map(|slot| 1_u16.checked_shl(slot)).fold(0, |mask, bit| mask | bit))
    }
}

impl std::fmt::Debug for Coalition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.slots()).finish()
    }
}

/// Why a plan cannot be proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidPlan {
    /// The field at fault.
    pub field: &'static str,
    /// The rule it broke.
    pub rule: String,
}

impl Plan {
    /// The digest of the canonical plan.
    ///
    /// # Panics
    /// Never: every field of a plan serializes to strict JSON.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&crate::canonical::to_bytes(self).expect("a plan holds no floats"))
    }

    /// The coalitions that are trained: the whole one first, then the measured ones by size and mask.
    #[must_use]
    pub fn tracks(&self) -> Vec<Coalition> {
        let all = Coalition::all(self.slots.len());
        let mut tracks = vec![all];
        for &size in &self.measure {
            tracks.extend((1..all.0).map(Coalition).filter(|c| c.len() == size));
        }
        tracks
    }

    /// Whether `coalition`'s model is evaluated after `round`.
    #[must_use]
    pub fn is_evaluated(&self, coalition: Coalition, round: u32) -> bool {
        let whole = coalition == Coalition::all(self.slots.len());
        round == self.rounds
            || (whole && round > 0 && self.evaluate_every > 0 && round.is_multiple_of(self.evaluate_every))
    }

    /// The slot of `party`, if it takes part.
    #[must_use]
    pub fn slot_of(&self, party: &PartyId) -> Option<usize> {
        self.slots.iter().position(|slot| &slot.party == party)
    }

    /// Checks every bound that does not depend on the state of the collaboration.
    ///
    /// # Errors
    /// [`InvalidPlan`] names the field and the rule.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        let fail = |field, rule: String| Err(InvalidPlan { field, rule });
        let n = self.slots.len();
        if n == 0 || n > MAX_SLOTS {
            return fail("slots", format!("a run has 1 to {MAX_SLOTS} parties, this one {n}"));
        }
        for (i, slot) in self.slots.iter().enumerate() {
            if slot.asset.owner() != slot.party {
                return fail("slots", format!("{} does not belong to {}", slot.asset, slot.party));
            }
            if self.slots[..i].iter().any(|other| other.party == slot.party) {
                return fail("slots", format!("{} appears twice", slot.party));
            }
        }
        let widths = self.model.widths();
        if widths.len() > MAX_HIDDEN + 2 || widths.iter().any(|&w| w == 0 || w > MAX_UNITS) {
            return fail("model", format!("at most {MAX_HIDDEN} hidden layers of 1 to {MAX_UNITS} units"));
        }
        if *widths.last().unwrap_or(&0) < 2 {
            return fail("model", "a classifier has at least two classes".into());
        }
        if self.model.parameters() * 4 > MAX_MODEL_BYTES {
            return fail("model", format!("larger than {MAX_MODEL_BYTES} bytes"));
        }
        if let Normalization::PerFeature { shift, scale } = &self.normalization
            && (shift.len() != widths[0] as usize || scale.len() != shift.len())
        {
            return fail("normalization", format!("needs {} shifts and scales", widths[0]));
        }
        if self.rounds == 0 || self.rounds > MAX_ROUNDS {
            return fail("rounds", format!("1 to {MAX_ROUNDS}"));
        }
        if self.training.batch_rows == 0 || self.training.epochs == 0 || self.training.epochs > 1_000 {
            return fail("training", "batch_rows at least 1, epochs 1 to 1000".into());
        }
        self.validate_rates()?;
        if self.measure.windows(2).any(|w| w[0] >= w[1]) || self.measure.iter().any(|&s| s == 0 || s as usize >= n) {
            return fail("measure", format!("ascending sizes from 1 to {}", n - 1));
        }
        if self.min_parties == 0 || self.min_parties as usize > n {
            return fail("min_parties", format!("1 to {n}"));
        }
        if !(100..=86_400_000).contains(&self.round_timeout_ms) {
            return fail("round_timeout_ms", "100 to 86,400,000 (one day)".into());
        }
        Ok(())
    }

    fn validate_rates(&self) -> Result<(), InvalidPlan> {
        let positive = |field, d: &Decimal| {
            let value = d.to_f64();
            if value > 0.0 && value <= 1_000.0 {
                Ok(())
            } else {
                Err(InvalidPlan { field, rule: "a rate is above 0 and at most 1000".into() })
            }
        };
        let fraction = |field, d: &Decimal| {
            if (0.0..1.0).contains(&d.to_f64()) {
                Ok(())
            } else {
                Err(InvalidPlan { field, rule: "a momentum is at least 0 and below 1".into() })
            }
        };
        match &self.training.optimizer {
            Optimizer::Sgd { rate } | Optimizer::Adam { rate } => positive("training.optimizer", rate)?,
            Optimizer::Momentum { rate, momentum } => {
                positive("training.optimizer", rate)?;
                fraction("training.optimizer", momentum)?;
            }
        }
        match &self.outer {
            Outer::Average => Ok(()),
            Outer::Nesterov { rate, momentum } => {
                positive("outer", rate)?;
                fraction("outer", momentum)
            }
        }
    }
}
