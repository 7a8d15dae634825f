//! What is missing for a request to pass, typed and in words.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::clause::By;
use super::pattern::AssetPattern;
use super::prose::{en, zh};
use super::vocabulary::{Action, DataClass, Place, Purpose};
use crate::digest::Digest;
use crate::id::{AssetId, ClauseId, PartyId};
use crate::time::Date;

/// One reason for a denial. Those that name a permit together describe the nearest request that it would let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "missing", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Missing {
    /// No terms cover the asset.
    NothingInForce {
        /// The asset.
        asset: AssetId,
    },
    /// The day is outside the term.
    OutsideTerm {
        /// Which terms.
        terms: Digest,
        /// First day.
        starts: Date,
        /// Last day.
        ends: Date,
        /// The day asked for.
        at: Date,
    },
    /// The actor has not signed.
    NotAParty {
        /// Which terms.
        terms: Digest,
        /// The actor.
        party: PartyId,
    },
    /// A party has not joined, has left or was put out.
    NotBound {
        /// Who.
        party: PartyId,
    },
    /// The owner took the asset back.
    TakenBack {
        /// Which.
        asset: AssetId,
    },
    /// A clause forbids it.
    Forbidden {
        /// The clause.
        clause: ClauseId,
        /// What it forbids.
        action: Action,
        /// Data of these classes.
        data: Vec<DataClass>,
        /// These assets.
        assets: Vec<AssetPattern>,
        /// But not these.
        except: Vec<AssetPattern>,
    },
    /// No clause permits this action on this asset.
    NoPermit {
        /// Which terms.
        terms: Digest,
        /// The action.
        action: Action,
        /// The asset.
        asset: AssetId,
    },
    /// The permit is for other parties.
    By {
        /// The permit.
        clause: ClauseId,
        /// Whom it permits.
        by: By,
        /// Who asked.
        actor: PartyId,
    },
    /// The permit covers less of the asset.
    Part {
        /// The permit.
        clause: ClauseId,
        /// What it covers.
        assets: Vec<AssetPattern>,
    },
    /// The permit is for other purposes.
    Purpose {
        /// The permit.
        clause: ClauseId,
        /// Its purposes.
        among: Vec<Purpose>,
        /// The purpose asked for.
        asked: Purpose,
    },
    /// The permit is for another place.
    Place {
        /// The permit.
        clause: ClauseId,
        /// Its place.
        place: Place,
    },
    /// Too few parties take part.
    MinParties {
        /// The permit.
        clause: ClauseId,
        /// Fewest parties.
        min_parties: u32,
        /// How many take part.
        parties: u32,
    },
    /// The coalition has another size.
    Coalition {
        /// The permit.
        clause: ClauseId,
        /// The sizes permitted.
        sizes: Vec<u32>,
        /// How many take part.
        parties: u32,
    },
    /// The permit has ended.
    Until {
        /// The permit.
        clause: ClauseId,
        /// Its last day.
        until: Date,
        /// The day asked for.
        at: Date,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingInForce { asset } => write!(f, "no agreement in force covers {asset}"),
            Self::OutsideTerm { starts, ends, at, .. } => {
                write!(f, "the agreement runs from {starts} to {ends}; {at} is outside")
            }
            Self::NotAParty { party, .. } => write!(f, "{party} is not a party of the agreement"),
            Self::NotBound { party } => write!(f, "{party} is not, or no longer, bound by the agreement"),
            Self::TakenBack { asset } => write!(f, "its owner took {asset} back"),
            Self::Forbidden { clause, action, data, assets, except } => {
                write!(f, "clause {clause} forbids to {} {}", en::action(*action), en::targets(data, assets))?;
                if except.is_empty() { Ok(()) } else { write!(f, ", except {}", en::all(except)) }
            }
            Self::NoPermit { action, asset, .. } => write!(f, "no clause permits to {} {asset}", en::action(*action)),
            Self::By { clause, by, actor } => {
                write!(f, "clause {clause} permits {} only, not {actor}", en::by(by))
            }
            Self::Part { clause, assets } => write!(f, "clause {clause} covers {} only", en::all(assets)),
            Self::Purpose { clause, among, asked } => {
                write!(f, "clause {clause}: purpose {asked} is not among {}", en::all(among))
            }
            Self::Place { clause, place } => {
                write!(f, "clause {clause} permits it {} only", en::place(*place))
            }
            Self::MinParties { clause, min_parties, parties } => {
                let verb = if *parties == 1 { "takes" } else { "take" };
                write!(f, "clause {clause}: min_parties {min_parties}: {parties} {verb} part")
            }
            Self::Coalition { clause, sizes, parties } => {
                write!(f, "clause {clause}: coalitions of {} parties only, not of {parties}", en::either(sizes))
            }
            Self::Until { clause, until, at } => write!(f, "clause {clause} permitted it until {until}; {at} is later"),
        }
    }
}

impl Missing {
    /// The same in Chinese.
    #[must_use]
    pub fn zh(&self) -> String {
        match self {
            Self::NothingInForce { asset } => format!("没有任何生效的协议涵盖 {asset}"),
            Self::OutsideTerm { starts, ends, at, .. } => {
                format!("协议期限为 {starts} 至 {ends}，{at} 不在期限内")
            }
            Self::NotAParty { party, .. } => format!("{party} 不是协议的一方"),
            Self::NotBound { party } => format!("{party} 不受或不再受协议约束"),
            Self::TakenBack { asset } => format!("{asset} 已被其所有者收回"),
            Self::Forbidden { clause, action, data, assets, except } => {
                let except =
                    if except.is_empty() { String::new() } else { format!("，但 {} 除外", zh::all(except)) };
                format!("第 {clause} 条禁止{}{}{except}", zh::action(*action), zh::targets(data, assets))
            }
            Self::NoPermit { action, asset, .. } => format!("没有条款许可{} {asset}", zh::action(*action)),
            Self::By { clause, by, actor } => format!("第 {clause} 条仅许可{}，不包括 {actor}", zh::by(by)),
            Self::Part { clause, assets } => format!("第 {clause} 条仅涵盖 {}", zh::all(assets)),
            Self::Purpose { clause, among, asked } => {
                format!("第 {clause} 条：目的“{}”不在“{}”之列", zh::purpose(*asked), zh::purposes(among))
            }
            Self::Place { clause, place } => format!("第 {clause} 条仅许可{}", zh::place(*place)),
            Self::MinParties { clause, min_parties, parties } => {
                format!("第 {clause} 条：至少须有 {min_parties} 方参与，现有 {parties} 方")
            }
            Self::Coalition { clause, sizes, parties } => {
                format!("第 {clause} 条：仅限 {} 方的组合，现为 {parties} 方", zh::either(sizes))
            }
            Self::Until { clause, until, at } => format!("第 {clause} 条的许可截至 {until}，{at} 已逾期"),
        }
    }
}
