//! What may be done under two terms, compared by asking the check at every point where its answer can change.
//!
//! Conditions only compare with constants that stand in the clauses, so it is enough to try each constant and one value
//! beside it. Parties that no clause singles out are alike: two of them stand for all.

use std::collections::{BTreeMap, BTreeSet};

use super::{Allowance, Concern as Changed, Diff, Effects, What};
use crate::agreement::check::{self, Request};
use crate::agreement::clause::{By, ClauseKind};
use crate::agreement::pattern::AssetPattern;
use crate::agreement::terms::Terms;
use crate::agreement::vocabulary::{Action, DataClass, Part, Place, Purpose};
use crate::id::{AssetId, PartyId};
use crate::time::{Date, Timestamp};

/// Most questions asked of the check; beyond, everybody must consent.
const MAX_QUESTIONS: usize = 1_000_000;

/// Fills in what `b` allows and forbids that `a` did not, and what follows for whom.
pub(super) fn compare(a: &Terms, b: &Terms, diff: &mut Diff, effects: &mut Effects) {
    let actions = actions(a, b);
    if actions.is_empty() {
        return;
    }
    let (first, last) = (a.starts.max(b.starts), a.ends.min(b.ends));
    let world = World::new(a, b, first, last);
    if first > last || actions.iter().map(|x| world.questions(*x)).sum::<usize>() > MAX_QUESTIONS {
        return effects.changed_if(true, Changed::Incomparable);
    }
    let mut found = Found::default();
    for action in actions {
        world.walk(action, &mut found);
    }
    let everybody = effects.everybody.clone();
    let joint = |owner: &PartyId| !everybody.contains(owner);
    let mut grouped: BTreeMap<(PartyId, u8), Vec<Allowance>> = BTreeMap::new();
    for (uses, gained) in [(&found.allows, true), (&found.forbids, false)] {
        for use_ in uses {
            let Some(owner) = use_.asset.owner() else { continue };
            let own = *owner == use_.by;
            let mut put = |party: &PartyId, group| {
                grouped.entry((party.clone(), group)).or_default().push(use_.clone());
            };
            match (gained, own) {
                (true, false) if joint(owner) => everybody.iter().for_each(|p| put(p, 0)),
                (true, false) => put(owner, 0),
                (false, true) => put(owner, 1),
                _ => {}
            }
            put(&use_.by, if gained { 2 } else { 3 });
        }
    }
    for ((party, group), uses) in grouped {
        let (worse, consent, what) = match group {
            0 => (true, true, What::MoreUsable { uses }),
            1 => (true, true, What::OwnUseForbidden { uses }),
            2 => (false, false, What::MayNow { uses }),
            _ => (true, false, What::MayNoLonger { uses }),
        };
        effects.on(&party, worse, consent, what);
    }
    for asset in found.uncovered {
        match asset.owner() {
            Some(owner) if !joint(owner) => effects.on(&owner.clone(), true, true, What::NotCovered { asset }),
            _ => effects.on_all(&What::NotCovered { asset }),
        }
    }
    diff.allows = found.allows.into_iter().collect();
    diff.forbids = found.forbids.into_iter().collect();
}

#[derive(Default)]
struct Found {
    allows: BTreeSet<Allowance>,
    forbids: BTreeSet<Allowance>,
    uncovered: BTreeSet<AssetPattern>,
}

/// The actions about which the two can differ.
fn actions(a: &Terms, b: &Terms) -> Vec<Action> {
    let spoken = |t: &Terms| -> Vec<(Action, String)> {
        let mut list: Vec<_> =
            t.clause.iter().filter_map(|c| Some((action_of(&c.rule)?, format!("{:?}", c.rule)))).collect();
        list.sort();
        list.dedup();
        list
    };
    let (old, new) = (spoken(a), spoken(b));
    let ids = |t: &Terms| t.parties.iter().map(|p| p.id.clone()).collect::<BTreeSet<_>>();
    let purposes = |t: &Terms| t.purpose.iter().copied().collect::<BTreeSet<_>>();
    let all = ids(a) != ids(b) || purposes(a) != purposes(b) || a.collaboration != b.collaboration;
    let differs = |list: &[(Action, String)], item: &(Action, String)| all || !list.contains(item);
    let changed = old.iter().filter(|i| differs(&new, i)).chain(new.iter().filter(|i| differs(&old, i)));
    changed.map(|(action, _)| *action).collect::<BTreeSet<_>>().into_iter().collect()
}

const fn action_of(rule: &ClauseKind) -> Option<Action> {
    match rule {
        ClauseKind::Permit(p) => Some(p.action),
        ClauseKind::Forbid(f) => Some(f.action),
        _ => None,
    }
}

/// The constants that one action's clauses compare with.
struct Points {
    parts: Vec<Option<Part>>,
    classes: Vec<DataClass>,
    counts: Vec<u32>,
    days: Vec<Date>,
}

struct World<'t> {
    a: &'t Terms,
    b: &'t Terms,
    last: Date,
    first: Date,
    /// Owners and actors that some clause singles out, or that only one of the terms has.
    special: BTreeSet<PartyId>,
    /// The parties of both that are all alike.
    alike: Vec<PartyId>,
    owners: Vec<PartyId>,
    /// Each name that a clause mentions, and one that none does.
    names: Vec<(String, bool)>,
    purposes: Vec<Purpose>,
}

impl<'t> World<'t> {
    fn new(a: &'t Terms, b: &'t Terms, first: Date, last: Date) -> Self {
        let mut special = BTreeSet::new();
        let mut names = BTreeSet::new();
        for clause in a.clause.iter().chain(&b.clause) {
            let (assets, by) = match &clause.rule {
                ClauseKind::Permit(p) => (vec![&p.assets], &p.by),
                ClauseKind::Forbid(f) => (vec![&f.assets, &f.except], &f.by),
                _ => (vec![], &By::All),
            };
            special.extend(by.listed().iter().cloned());
            for pattern in assets.into_iter().flatten() {
                special.extend(pattern.owner().cloned());
                names.extend(pattern.name().map(str::to_owned));
            }
        }
        let mut alike = Vec::new();
        for id in super::everybody(a, b) {
            if a.party(&id).is_some() && b.party(&id).is_some() && !special.contains(&id) {
                alike.push(id);
            } else {
                special.insert(id);
            }
        }
        let mut owners: Vec<_> = special.iter().cloned().chain(alike.first().cloned()).collect();
        // The collaborations themselves own the joint results.
        owners.extend([&a.collaboration, &b.collaboration].into_iter().filter_map(|c| c.as_str().parse().ok()));
        owners.sort();
        owners.dedup();
        let mut fresh = "other".to_owned();
        while names.contains(&fresh) {
            // Ends before the longest name: clauses cannot name every one of these.
            fresh.push('x');
        }
        let mut names: Vec<_> = names.into_iter().map(|n| (n, true)).collect();
        names.push((fresh, false));
        let purposes = a.purpose.iter().chain(&b.purpose).copied().collect::<BTreeSet<_>>().into_iter().collect();
        Self { a, b, last, first, special, alike, owners, names, purposes }
    }

    fn points(&self, action: Action) -> Points {
        let mut parts = BTreeSet::from([None]);
        let mut counts = BTreeSet::from([1]);
        let mut days = BTreeSet::from([self.last]);
        let mut classes = BTreeSet::from([DataClass::Record]);
        for clause in self.a.clause.iter().chain(&self.b.clause) {
            let assets: Vec<_> = match &clause.rule {
                ClauseKind::Permit(p) if p.action == action => {
                    counts.extend(p.min_parties.iter().flat_map(|m| [*m, m.saturating_sub(1)]));
                    counts.extend(p.coalitions.iter().flatten().flat_map(|s| [*s, s.saturating_add(1)]));
                    days.extend(p.until.filter(|u| (self.first..=self.last).contains(u)));
                    p.assets.iter().collect()
                }
                ClauseKind::Forbid(f) if f.action == action => f.assets.iter().chain(&f.except).collect(),
                _ => continue,
            };
            if assets.iter().any(|p| p.part().is_some()) {
                parts.extend([Some(Part::Train), Some(Part::HeldOut)]);
            }
            if matches!(&clause.rule, ClauseKind::Forbid(f) if !f.data.is_empty()) {
                classes.extend(DataClass::ALL);
            }
        }
        Points {
            parts: parts.into_iter().collect(),
            classes: classes.into_iter().collect(),
            counts: counts.into_iter().collect(),
            days: days.into_iter().collect(),
        }
    }

    /// Who may ask about an asset of `owner`.
    fn actors<'a>(&'a self, owner: &'a PartyId) -> Vec<&'a PartyId> {
        let mut actors: Vec<_> = self.special.iter().chain(self.alike.iter().take(2)).collect();
        if !actors.contains(&owner) {
            actors.push(owner);
        }
        actors
    }

    fn questions(&self, action: Action) -> usize {
        let points = self.points(action);
        // Two terms are asked, in two places.
        [
            self.owners.len(),
            self.names.len(),
            self.special.len() + 3,
            points.parts.len(),
            points.classes.len(),
            points.counts.len(),
            points.days.len(),
            self.purposes.len(),
            4,
        ]
        .into_iter()
        .fold(1, usize::saturating_mul)
    }

    fn walk(&self, action: Action, found: &mut Found) {
        let points = self.points(action);
        for owner in &self.owners {
            for (name, named) in &self.names {
                // Names and owners were validated, and a slug beside a slug is an asset.
                let Ok(asset) = format!("{owner}/{name}").parse::<AssetId>() else { continue };
                for actor in self.actors(owner) {
                    let (more, less) = self.compare_one(&points, action, &asset, actor, found);
                    for (owner, by) in self.expand(owner, actor) {
                        let asset = AssetPattern::new(Some(owner), named.then_some(&asset), None);
                        let use_ = Allowance { action, asset, by };
                        if more {
                            found.allows.insert(use_.clone());
                        }
                        if less {
                            found.forbids.insert(use_);
                        }
                    }
                }
            }
        }
    }

    /// Whether some request passes under `b` but not `a`, and under `a` but not `b`.
    fn compare_one(
        &self,
        points: &Points,
        action: Action,
        asset: &AssetId,
        actor: &PartyId,
        found: &mut Found,
    ) -> (bool, bool) {
        let (mut more, mut less) = (false, false);
        let mut request = Request {
            actor: actor.clone(),
            action,
            asset: asset.clone(),
            part: None,
            class: DataClass::Record,
            purpose: Purpose::Research,
            place: Place::Owner,
            parties: 1,
            at: Timestamp(0),
        };
        for class in &points.classes {
            request.class = *class;
            if check::covers(self.a, &request) && !check::covers(self.b, &request) {
                for (owner, _) in self.expand(&asset.owner(), actor) {
                    let named = self.names.iter().any(|(n, named)| *named && n == asset.name());
                    found.uncovered.insert(AssetPattern::new(Some(owner), named.then_some(asset), None));
                }
            }
            for (part, purpose, place) in points.parts.iter().flat_map(|part| {
                self.purposes.iter().flat_map(move |p| Place::ALL.iter().map(move |place| (*part, *p, *place)))
            }) {
                (request.part, request.purpose, request.place) = (part, purpose, place);
                for (count, day) in points.counts.iter().flat_map(|c| points.days.iter().map(move |d| (*c, *d))) {
                    request.parties = count;
                    let old = check::judge(&[self.a], &request, day).is_allowed();
                    let new = check::judge(&[self.b], &request, day).is_allowed();
                    more |= new && !old;
                    less |= old && !new;
                }
            }
        }
        (more, less)
    }

    /// All pairs of owner and actor that one pair stands for.
    fn expand(&self, owner: &PartyId, actor: &PartyId) -> Vec<(PartyId, PartyId)> {
        let rest = |id: &PartyId| self.alike.contains(id);
        let all = |id: &PartyId| if rest(id) { self.alike.clone() } else { vec![id.clone()] };
        let own = owner == actor;
        all(owner)
            .into_iter()
            .flat_map(
                |o| if own { vec![(o.clone(), o)] } else { all(actor).into_iter().map(|x| (o.clone(), x)).collect() },
            )
            .filter(|(o, x)| own || o != x)
            .collect()
    }
}
