//! The check: may this actor do this, under the terms in force?
//!
//! Pure and total. The rules, in their order:
//! 1. Terms bind on the days of their term only. They cover an asset when a permit or a prohibition names it.
//! 2. A prohibition that touches any of what is asked for denies, whatever is permitted.
//! 3. A party's use of its own asset needs no permit. Prohibitions that name the owner expressly bind it always; those for
//!    everybody bind it when something would leave its house (disclose, serve, release).
//! 4. Any other use needs a permit of which every condition is met, from each of the agreements that cover the asset.
//! 5. What cannot be judged is denied, with the reason.

use serde::{Deserialize, Serialize};

use super::clause::{ClauseKind, Forbid, Permit};
use super::missing::Missing;
use super::terms::Terms;
use super::vocabulary::{Action, DataClass, Part, Place, Purpose, codes};
use crate::digest::Digest;
use crate::id::{AssetId, ClauseId, PartyId};
use crate::time::{Date, Timestamp};

codes!(
    /// Whether a request passes.
    Outcome {
        /// It passes.
        Allow = "allow",
        /// It does not.
        Deny = "deny",
    }
);

/// What somebody asks to do. Facts only: whoever asks has established them from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Who.
    pub actor: PartyId,
    /// What.
    pub action: Action,
    /// On which asset; its owner stands in the name.
    pub asset: AssetId,
    /// On which part of it; the whole if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// What it holds, as registered.
    pub class: DataClass,
    /// For what.
    pub purpose: Purpose,
    /// Where.
    pub place: Place,
    /// How many parties take part.
    pub parties: u32,
    /// When.
    pub at: Timestamp,
}

/// A clause of particular terms.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClauseRef {
    /// Which terms.
    pub terms: Digest,
    /// Which clause.
    pub clause: ClauseId,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Whether it passes.
    pub outcome: Outcome,
    /// The clauses that allowed it, or that forbade it. Empty when a party uses its own asset, and when no clause speaks
    /// of the request.
    pub clauses: Vec<ClauseRef>,
    /// For a denial, what stands in the way; never empty then. For members' eyes only.
    pub missing: Vec<Missing>,
}

impl std::fmt::Display for Decision {
    /// The clauses or the reasons, in English and on one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |items: Vec<String>| items.join("; ");
        match self.outcome {
            Outcome::Allow => {
                write!(f, "allowed by clause {}", list(self.clauses.iter().map(|c| c.clause.to_string()).collect()))
            }
            Outcome::Deny => write!(f, "denied: {}", list(self.missing.iter().map(ToString::to_string).collect())),
        }
    }
}

impl Decision {
    /// Whether the request passes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.outcome == Outcome::Allow
    }
}

/// Judges a request by all terms in force. Terms that do not cover the asset have no say; all that do must allow.
#[must_use]
pub fn check(terms: &[&Terms], request: &Request) -> Decision {
    judge(terms, request, request.at.date())
}

/// The check on a day: times finer than a day never matter, which lets `diff` walk through days.
pub(super) fn judge(terms: &[&Terms], request: &Request, day: Date) -> Decision {
    let current: Vec<_> = terms.iter().filter(|t| t.starts <= day && day <= t.ends).collect();
    let covering: Vec<_> = current.iter().filter(|t| covers(t, request)).collect();
    let own = request.asset.owner() == request.actor;
    let mut clauses = Vec::new();
    let mut missing = Vec::new();
    let mut forbidden = false;
    for terms in &covering {
        let forbids: Vec<_> = forbids(terms, request).collect();
        if !forbids.is_empty() && !forbidden {
            // A prohibition is the whole answer: what other agreements permit no longer matters.
            forbidden = true;
            clauses.clear();
            missing.clear();
        }
        for (id, forbid) in forbids {
            clauses.push(ClauseRef { terms: terms.digest(), clause: id.clone() });
            missing.push(Missing::Forbidden {
                clause: id.clone(),
                action: forbid.action,
                data: forbid.data.clone(),
                assets: forbid.assets.clone(),
                except: forbid.except.clone(),
            });
        }
        if forbidden || own {
            continue;
        }
        match permitted(terms, request, day) {
            Ok(permits) => {
                clauses.extend(permits.into_iter().map(|clause| ClauseRef { terms: terms.digest(), clause }));
            }
            Err(mut reasons) => missing.append(&mut reasons),
        }
    }
    if covering.is_empty() && !own {
        missing = uncovered(terms, &current, request, day);
    }
    if missing.is_empty() {
        return Decision { outcome: Outcome::Allow, clauses, missing };
    }
    if !forbidden {
        // Clauses of one agreement that would have allowed are no reason for the denial.
        clauses.clear();
    }
    Decision { outcome: Outcome::Deny, clauses, missing }
}

/// Whether terms speak of the asset at all.
#[must_use]
pub fn covers(terms: &Terms, request: &Request) -> bool {
    terms.is_owner(&request.asset.owner())
        && terms.clause.iter().any(|clause| match &clause.rule {
            ClauseKind::Permit(permit) => permit.assets.iter().any(|p| p.names(&request.asset)),
            ClauseKind::Forbid(forbid) => {
                forbid.data.contains(&request.class) || forbid.assets.iter().any(|p| p.names(&request.asset))
            }
            _ => false,
        })
}

fn uncovered(terms: &[&Terms], current: &[&&Terms], request: &Request, day: Date) -> Vec<Missing> {
    let owner = request.asset.owner();
    let speaking: Vec<_> = current.iter().filter(|t| t.is_owner(&owner)).collect();
    if !speaking.is_empty() {
        return speaking
            .into_iter()
            .map(|t| Missing::NoPermit { terms: t.digest(), action: request.action, asset: request.asset.clone() })
            .collect();
    }
    let outside: Vec<_> = terms
        .iter()
        .filter(|t| covers(t, request))
        .map(|t| Missing::OutsideTerm { terms: t.digest(), starts: t.starts, ends: t.ends, at: day })
        .collect();
    if outside.is_empty() { vec![Missing::NothingInForce { asset: request.asset.clone() }] } else { outside }
}

fn forbids<'t>(terms: &'t Terms, request: &'t Request) -> impl Iterator<Item = (&'t ClauseId, &'t Forbid)> {
    let own = request.asset.owner() == request.actor;
    let outward = matches!(request.action, Action::Disclose | Action::Serve | Action::Release);
    terms.clause.iter().filter_map(move |clause| match &clause.rule {
        ClauseKind::Forbid(forbid) if forbid.action == request.action => {
            let bound = if own && !outward {
                forbid.by.names_expressly(&request.actor)
            } else {
                // Not `names` alone: an actor that has not signed is no freer than one that has.
                forbid.by.names(&request.actor) || terms.party(&request.actor).is_none()
            };
            let named = forbid.data.contains(&request.class)
                || forbid.assets.iter().any(|p| p.touches(&request.asset, request.part));
            let excepted = forbid.except.iter().any(|p| p.covers(&request.asset, request.part));
            (bound && named && !excepted).then_some((&clause.id, forbid))
        }
        _ => None,
    })
}

/// The permits of which every condition is met, or what the nearest one misses.
fn permitted(terms: &Terms, request: &Request, day: Date) -> Result<Vec<ClauseId>, Vec<Missing>> {
    if terms.party(&request.actor).is_none() {
        return Err(vec![Missing::NotAParty { terms: terms.digest(), party: request.actor.clone() }]);
    }
    let candidates: Vec<_> = terms
        .clause
        .iter()
        .filter_map(|clause| match &clause.rule {
            ClauseKind::Permit(permit)
                if permit.action == request.action && permit.assets.iter().any(|p| p.names(&request.asset)) =>
            {
                Some((&clause.id, unmet(terms, &clause.id, permit, request, day)))
            }
            _ => None,
        })
        .collect();
    let granted: Vec<_> =
        candidates.iter().filter(|(_, unmet)| unmet.is_empty()).map(|(id, _)| (*id).clone()).collect();
    if !granted.is_empty() {
        return Ok(granted);
    }
    // The nearest: fewest conditions unmet, then a condition that the actor can change before one that it cannot.
    let nearest = candidates.into_iter().map(|(_, unmet)| unmet).min_by_key(|unmet| {
        let fixed = unmet.iter().filter(|m| matches!(m, Missing::By { .. } | Missing::Until { .. })).count();
        (fixed, unmet.len())
    });
    Err(nearest.unwrap_or_else(|| {
        vec![Missing::NoPermit { terms: terms.digest(), action: request.action, asset: request.asset.clone() }]
    }))
}

fn unmet(terms: &Terms, id: &ClauseId, permit: &Permit, request: &Request, day: Date) -> Vec<Missing> {
    let mut missing = Vec::new();
    let clause = || id.clone();
    if !permit.by.names(&request.actor) {
        missing.push(Missing::By { clause: clause(), by: permit.by.clone(), actor: request.actor.clone() });
    }
    if !permit.assets.iter().any(|p| p.covers(&request.asset, request.part)) {
        let assets = permit.assets.iter().filter(|p| p.names(&request.asset)).cloned().collect();
        missing.push(Missing::Part { clause: clause(), assets });
    }
    let among = permit.purpose.as_ref().unwrap_or(&terms.purpose);
    if !among.contains(&request.purpose) {
        missing.push(Missing::Purpose { clause: clause(), among: among.clone(), asked: request.purpose });
    }
    if permit.place == Place::Owner && request.place != Place::Owner {
        missing.push(Missing::Place { clause: clause(), place: permit.place });
    }
    if let Some(min_parties) = permit.min_parties
        && request.parties < min_parties
    {
        missing.push(Missing::MinParties { clause: clause(), min_parties, parties: request.parties });
    }
    if let Some(sizes) = &permit.coalitions
        && !sizes.contains(&request.parties)
    {
        missing.push(Missing::Coalition { clause: clause(), sizes: sizes.clone(), parties: request.parties });
    }
    if let Some(until) = permit.until
        && day > until
    {
        missing.push(Missing::Until { clause: clause(), until, at: day });
    }
    missing
}
