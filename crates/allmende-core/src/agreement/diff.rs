//! What an amendment changes, and who must sign it whatever the mode of the collaboration says.
//!
//! What may be done is compared by asking the check, not by comparing texts. Wherever this cannot be sure, it names
//! everybody: one signature too many costs an afternoon, one too few costs the trust.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::clause::{Benefit, ClauseKind, Results};
use super::pattern::AssetPattern;
use super::terms::Terms;
use super::vocabulary::{Action, BenefitRule, Licence, codes};
use crate::id::{ClauseId, PartyId};

mod usage;

/// One way in which an asset may be used by a party.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// What is done.
    pub action: Action,
    /// To which assets; `*` for a name stands for those that no clause names.
    pub asset: AssetPattern,
    /// By whom.
    pub by: PartyId,
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} by {}", self.action, self.asset, self.by)
    }
}

codes!(
    /// What has shares that can move.
    Shared {
        /// Ownership of the results.
        Ownership = "ownership",
        /// Fixed shares of the benefits.
        Benefit = "benefit",
        /// What goes to the compensation fund first.
        Fund = "fund",
    }
);

/// A share that moves, in per cent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// A share of what.
    pub of: Shared,
    /// Whose; nobody's for the fund.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<PartyId>,
    /// Before.
    pub from: u32,
    /// After.
    pub to: u32,
}

codes!(
    /// A part of the terms of which any change concerns everybody.
    Concern {
        /// Title or free text: only people can judge what it means.
        Text = "free text",
        /// Dates of the term.
        Term = "term",
        /// Purposes of the results.
        Purpose = "purpose",
        /// The hub, its key, the log or the collaboration.
        Hub = "hub and log",
        /// A party's key.
        Key = "key of a party",
        /// The vocabulary.
        Vocabulary = "vocabulary",
        /// Currency or prevailing language.
        Language = "currency or language",
        /// The paper contract.
        Contract = "paper contract",
        /// Ownership of results as a whole.
        Results = "results",
        /// Benefit rule or fund.
        Benefit = "benefit rule",
        /// Decisions.
        Decide = "decisions",
        /// Withdrawal.
        Exit = "withdrawal",
        /// Incorporated documents.
        Document = "incorporated documents",
        /// The terms are too large, or their dates too far apart, to compare use by use.
        Incomparable = "use of assets, which cannot be compared exactly",
    }
);

/// What changes for a party.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// It becomes a party.
    NewlyBound,
    /// It is no longer a party.
    NoLongerBound,
    /// Its representative signs in another office.
    Office,
    /// Something that concerns everybody changed.
    Changed {
        /// What.
        part: Concern,
    },
    /// Others may use its assets as they could not before.
    MoreUsable {
        /// How.
        uses: Vec<Allowance>,
    },
    /// It may no longer use its own assets as before.
    OwnUseForbidden {
        /// How.
        uses: Vec<Allowance>,
    },
    /// It may use others' assets as it could not before.
    MayNow {
        /// How.
        uses: Vec<Allowance>,
    },
    /// It may no longer use others' assets as before.
    MayNoLonger {
        /// How.
        uses: Vec<Allowance>,
    },
    /// These terms no longer speak of an asset, so other agreements alone would decide about it.
    NotCovered {
        /// Which.
        asset: AssetPattern,
    },
    /// Its share changes.
    Share {
        /// Of what.
        of: Shared,
        /// Per cent before.
        from: u32,
        /// Per cent after.
        to: u32,
    },
    /// The licence of the results changes.
    Licence {
        /// Before.
        from: Licence,
        /// After.
        to: Licence,
    },
    /// Its roles change.
    Role,
}

/// One effect on one party.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// On whom.
    pub party: PartyId,
    /// Whether it may be for the worse.
    pub worse: bool,
    /// Whether the party must sign because of it, in every mode.
    pub consent: bool,
    /// What changes.
    pub what: What,
}

/// The difference of two terms.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diff {
    /// Clauses that only the new terms have, by number.
    pub added: Vec<ClauseId>,
    /// Clauses that only the old terms have.
    pub removed: Vec<ClauseId>,
    /// Clauses that both have with different content.
    pub changed: Vec<ClauseId>,
    /// What may be done that could not be done before.
    pub allows: Vec<Allowance>,
    /// What could be done and may no longer be.
    pub forbids: Vec<Allowance>,
    /// Shares that move.
    pub moves: Vec<Move>,
    /// What this means for each party.
    pub effects: Vec<Effect>,
}

impl Diff {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Who must sign in every mode.
    #[must_use]
    pub fn consent_needed(&self) -> BTreeSet<PartyId> {
        self.effects.iter().filter(|e| e.consent).map(|e| e.party.clone()).collect()
    }
}

/// What terms `b` change compared with `a`.
#[must_use]
pub fn diff(a: &Terms, b: &Terms) -> Diff {
    let mut diff = Diff::default();
    for clause in &b.clause {
        match a.find(&clause.id) {
            None => diff.added.push(clause.id.clone()),
            Some(old) if old != clause => diff.changed.push(clause.id.clone()),
            Some(_) => {}
        }
    }
    diff.removed = a.clause.iter().filter(|c| b.find(&c.id).is_none()).map(|c| c.id.clone()).collect();
    let mut effects = Effects { everybody: everybody(a, b), set: BTreeSet::new() };
    header(a, b, &mut effects);
    parties(a, b, &mut effects);
    results(a, b, &mut effects, &mut diff.moves);
    benefits(a, b, &mut effects, &mut diff.moves);
    others(a, b, &mut effects);
    usage::compare(a, b, &mut diff, &mut effects);
    diff.effects = effects.set.into_iter().collect();
    diff
}

/// Who must sign `b` in every mode, because it may worsen its position compared with `a` or binds it newly.
#[must_use]
pub fn consent_needed(a: &Terms, b: &Terms) -> BTreeSet<PartyId> {
    diff(a, b).consent_needed()
}

/// The parties of either.
fn everybody(a: &Terms, b: &Terms) -> BTreeSet<PartyId> {
    a.parties.iter().chain(&b.parties).map(|p| p.id.clone()).collect()
}

/// Effects as they are found.
struct Effects {
    everybody: BTreeSet<PartyId>,
    set: BTreeSet<Effect>,
}

impl Effects {
    fn on(&mut self, party: &PartyId, worse: bool, consent: bool, what: What) {
        self.set.insert(Effect { party: party.clone(), worse, consent, what });
    }

    /// Everybody must sign.
    fn on_all(&mut self, what: &What) {
        for party in self.everybody.clone() {
            self.on(&party, true, true, what.clone());
        }
    }

    fn changed_if(&mut self, changed: bool, part: Concern) {
        if changed {
            self.on_all(&What::Changed { part });
        }
    }
}

fn header(a: &Terms, b: &Terms, effects: &mut Effects) {
    let notes = |t: &Terms| -> BTreeMap<ClauseId, String> {
        t.clause.iter().filter_map(|c| Some((c.id.clone(), c.note.clone()?))).collect()
    };
    effects.changed_if(a.title != b.title || a.note != b.note || notes(a) != notes(b), Concern::Text);
    effects.changed_if((a.starts, a.ends) != (b.starts, b.ends), Concern::Term);
    effects.changed_if(b.purpose.iter().any(|p| !a.purpose.contains(p)), Concern::Purpose);
    let hub = |t: &Terms| (t.hub_key, t.origin.clone(), t.collaboration.clone());
    effects.changed_if(hub(a) != hub(b), Concern::Hub);
    effects.changed_if(a.vocabulary != b.vocabulary, Concern::Vocabulary);
    effects.changed_if((&a.currency, a.language) != (&b.currency, b.language), Concern::Language);
    effects.changed_if(a.contract != b.contract, Concern::Contract);
}

fn parties(a: &Terms, b: &Terms, effects: &mut Effects) {
    for party in &b.parties {
        match a.party(&party.id) {
            None => {
                effects.on(&party.id, true, true, What::NewlyBound);
                // Where all get the same, one more means less for each.
                let equal =
                    b.clause.iter().any(|c| matches!(&c.rule, ClauseKind::Benefit(x) if x.rule == BenefitRule::Equal));
                effects.changed_if(equal, Concern::Benefit);
            }
            Some(old) => {
                effects.changed_if(old.key != party.key, Concern::Key);
                if old.signatory != party.signatory {
                    effects.on(&party.id, true, true, What::Office);
                }
            }
        }
    }
    for party in a.parties.iter().filter(|p| b.party(&p.id).is_none()) {
        effects.on(&party.id, true, true, What::NoLongerBound);
    }
}

fn rules<'t, T>(terms: &'t Terms, pick: impl Fn(&'t ClauseKind) -> Option<T>) -> Vec<T> {
    terms.clause.iter().filter_map(|c| pick(&c.rule)).collect()
}

fn results(a: &Terms, b: &Terms, effects: &mut Effects, moves: &mut Vec<Move>) {
    fn pick(rule: &ClauseKind) -> Option<&Results> {
        if let ClauseKind::Results(results) = rule { Some(results) } else { None }
    }
    let (old, new) = (rules(a, pick), rules(b, pick));
    if old == new {
        return;
    }
    if let ([old], [new]) = (&old[..], &new[..]) {
        shares(Shared::Ownership, &old.owners, &new.owners, effects, moves);
        if old.licence != new.licence {
            effects.on_all(&What::Licence { from: old.licence, to: new.licence });
        }
    } else {
        effects.changed_if(true, Concern::Results);
    }
}

fn benefits(a: &Terms, b: &Terms, effects: &mut Effects, moves: &mut Vec<Move>) {
    fn pick(rule: &ClauseKind) -> Option<&Benefit> {
        if let ClauseKind::Benefit(benefit) = rule { Some(benefit) } else { None }
    }
    let (old, new) = (rules(a, pick), rules(b, pick));
    if old == new {
        return;
    }
    let ([old], [new]) = (&old[..], &new[..]) else {
        return effects.changed_if(true, Concern::Benefit);
    };
    if old.fund != new.fund {
        // More for the fund is less for each; less for the fund is less cover for each.
        moves.push(Move { of: Shared::Fund, party: None, from: old.fund, to: new.fund });
        effects.on_all(&What::Share { of: Shared::Fund, from: old.fund, to: new.fund });
    }
    if old.rule == BenefitRule::Fixed && new.rule == BenefitRule::Fixed {
        shares(Shared::Benefit, &old.shares, &new.shares, effects, moves);
    } else {
        let but_fund = |benefit: &Benefit| Benefit { fund: 0, ..benefit.clone() };
        effects.changed_if(but_fund(old) != but_fund(new), Concern::Benefit);
    }
}

fn shares(
    of: Shared,
    old: &BTreeMap<PartyId, u32>,
    new: &BTreeMap<PartyId, u32>,
    effects: &mut Effects,
    moves: &mut Vec<Move>,
) {
    for party in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let share = |shares: &BTreeMap<PartyId, u32>| shares.get(party).copied().unwrap_or(0);
        let (from, to) = (share(old), share(new));
        if from != to {
            moves.push(Move { of, party: Some(party.clone()), from, to });
            effects.on(party, to < from, to < from, What::Share { of, from, to });
        }
    }
}

fn others(a: &Terms, b: &Terms, effects: &mut Effects) {
    // As sets: the order and the numbers of clauses carry no meaning.
    let texts = |terms: &Terms, kind: &str| -> BTreeSet<String> {
        terms.clause.iter().filter(|c| c.rule.kind() == kind).map(|c| format!("{:?}", c.rule)).collect()
    };
    for (kind, part) in [("decide", Concern::Decide), ("exit", Concern::Exit), ("incorporate", Concern::Document)] {
        effects.changed_if(texts(a, kind) != texts(b, kind), part);
    }
    let roles = |terms: &Terms| -> BTreeSet<_> {
        rules(terms, |r| if let ClauseKind::Role(r) = r { Some((r.party.clone(), r.role)) } else { None })
            .into_iter()
            .collect()
    };
    for (party, _) in roles(a).symmetric_difference(&roles(b)) {
        effects.on(party, true, true, What::Role);
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, says: &str, uses: &[Allowance]| {
            let uses: Vec<_> = uses.iter().map(ToString::to_string).collect();
            write!(f, "{says}: {}", uses.join("; "))
        };
        match self {
            Self::NewlyBound => f.write_str("becomes a party"),
            Self::NoLongerBound => f.write_str("is no longer a party"),
            Self::Office => f.write_str("signs in another office"),
            Self::Changed { part } => write!(f, "changed for everybody: {part}"),
            Self::MoreUsable { uses } => list(f, "others may use its assets in new ways", uses),
            Self::OwnUseForbidden { uses } => list(f, "may no longer use its own assets", uses),
            Self::MayNow { uses } => list(f, "may now", uses),
            Self::MayNoLonger { uses } => list(f, "may no longer", uses),
            Self::NotCovered { asset } => write!(f, "{asset} is no longer covered; other agreements alone decide"),
            Self::Share { of, from, to } => write!(f, "{of}: from {from} to {to} per cent"),
            Self::Licence { from, to } => write!(f, "licence of the results: from {from} to {to}"),
            Self::Role => f.write_str("its roles change"),
        }
    }
}
