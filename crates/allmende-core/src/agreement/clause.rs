//! The clauses of vocabulary 1, each a closed set of typed fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pattern::AssetPattern;
use super::vocabulary::{
    Action, AllZeroRule, BenefitRule, DataClass, DecidedBy, Enforcer, Keeps, Licence, Matter, NegativeRule, Place,
    Purpose, ResultKind, RoleCode, Utility,
};
use crate::digest::Digest;
use crate::id::{ClauseId, PartyId};
use crate::time::Date;

/// Who a clause speaks of, written `["all"]` or a list of parties.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum By {
    /// Every party of the terms.
    #[default]
    All,
    /// These parties.
    Parties(Vec<PartyId>),
}

impl By {
    /// Whether it names `party`, by name or as one of all.
    #[must_use]
    pub fn names(&self, party: &PartyId) -> bool {
        self.names_expressly(party) || *self == Self::All
    }

    /// Whether `party` stands in it by name.
    #[must_use]
    pub fn names_expressly(&self, party: &PartyId) -> bool {
        matches!(self, Self::Parties(parties) if parties.contains(party))
    }

    /// The parties that stand in it by name.
    #[must_use]
    pub fn listed(&self) -> &[PartyId] {
        match self {
            Self::All => &[],
            Self::Parties(parties) => parties,
        }
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => ["all"].serialize(serializer),
            Self::Parties(parties) => parties.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parties = Vec::<PartyId>::deserialize(deserializer)?;
        let all = parties.iter().any(|p| p.as_str() == "all");
        match (all, parties.len()) {
            (true, 1) => Ok(Self::All),
            (true, _) => Err(serde::de::Error::custom("\"all\" stands alone, without other parties")),
            (false, 0) => Err(serde::de::Error::custom("name parties, or write [\"all\"]")),
            (false, _) => Ok(Self::Parties(parties)),
        }
    }
}

/// Parties may do something with assets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    /// What is permitted.
    pub action: Action,
    /// On which assets.
    pub assets: Vec<AssetPattern>,
    /// To whom.
    pub by: By,
    /// For what; the purposes of the terms if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Vec<Purpose>>,
    /// Where the asset is used.
    pub place: Place,
    /// Fewest parties that take part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_parties: Option<u32>,
    /// Sizes of coalitions, for `measure` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coalitions: Option<Vec<u32>>,
    /// Last day; the end of the terms if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// Nobody named may do something with data of a class or with named assets; wins over every permit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forbid {
    /// What is forbidden.
    pub action: Action,
    /// Data of these classes, whatever it is called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataClass>,
    /// These assets, whatever they hold. A request that either list names is forbidden.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<AssetPattern>,
    /// But not these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<AssetPattern>,
    /// To whom; everybody if not stated.
    #[serde(default)]
    pub by: By,
}

/// Whose the results are and under which licence they may be released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Which results.
    pub of: ResultKind,
    /// Per cent of the ownership, together 100.
    pub owners: BTreeMap<PartyId, u32>,
    /// The only licence they are released under.
    pub licence: Licence,
}

/// How benefits are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benefit {
    /// By which rule.
    pub rule: BenefitRule,
    /// What worth is counted in; for `shapley` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utility: Option<Utility>,
    /// The worth of the coalition of nobody; for `shapley` only, and always 0 in this vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty: Option<u32>,
    /// What becomes of values below zero; for `shapley` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<NegativeRule>,
    /// What happens when all values are zero; for `shapley` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_zero: Option<AllZeroRule>,
    /// Per cent for each party, together 100; for `fixed` only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<PartyId, u32>,
    /// Per cent of the whole that goes to the compensation fund first.
    pub fund: u32,
}

/// What members decide together and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// The matters.
    pub what: Vec<Matter>,
    /// By which rule.
    pub by: DecidedBy,
}

/// How a party leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// Days between the notice and the end of the party's participation.
    pub notice_days: u32,
    /// What the others keep.
    pub keeps: Keeps,
}

/// A party's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Whose.
    pub party: PartyId,
    /// Which.
    pub role: RoleCode,
}

/// Another document becomes part of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incorporate {
    /// What it is called.
    pub name: String,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
}

/// The typed content of a clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ClauseKind {
    /// See [`Permit`].
    Permit(Permit),
    /// See [`Forbid`].
    Forbid(Forbid),
    /// See [`Results`].
    Results(Results),
    /// See [`Benefit`].
    Benefit(Benefit),
    /// See [`Decide`].
    Decide(Decide),
    /// See [`Exit`].
    Exit(Exit),
    /// See [`Role`].
    Role(Role),
    /// See [`Incorporate`].
    Incorporate(Incorporate),
}

impl ClauseKind {
    /// The kind as it stands in the terms.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Permit(_) => "permit",
            Self::Forbid(_) => "forbid",
            Self::Results(_) => "results",
            Self::Benefit(_) => "benefit",
            Self::Decide(_) => "decide",
            Self::Exit(_) => "exit",
            Self::Role(_) => "role",
            Self::Incorporate(_) => "incorporate",
        }
    }

    /// Who gives it effect.
    #[must_use]
    pub fn enforced_by(&self) -> &'static [Enforcer] {
        super::kinds::KINDS.iter().find(|k| k.kind == self.kind()).map_or(&[Enforcer::Record], |k| k.enforced_by)
    }
}

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// Its number.
    pub id: ClauseId,
    /// Free text beside it. Not enforced by software; the typed fields prevail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub rule: ClauseKind,
}

impl<'de> Deserialize<'de> for Clause {
    /// In two steps, because serde's `flatten` would let unknown fields pass.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut fields = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let id = fields.remove("id").ok_or_else(|| D::Error::custom("a clause has no id"))?;
        let id: ClauseId = serde_json::from_value(id).map_err(D::Error::custom)?;
        let fail = |e: serde_json::Error| D::Error::custom(format!("clause {id}: {e}"));
        let note = fields.remove("note").map(serde_json::from_value).transpose().map_err(fail)?;
        let rule = serde_json::from_value(serde_json::Value::Object(fields)).map_err(fail)?;
        Ok(Self { id, note, rule })
    }
}
