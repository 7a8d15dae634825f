//! What must hold, kept apart from the program: an independent account of the log, checked entry by entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use allmende_core::contribution::{Ratio, shapley};
use allmende_core::digest::Digest;
use allmende_core::ledger::merkle::{Frontier, Hash};
use allmende_core::run::plan::Coalition;
use allmende_core::state::State;
use allmende_core::statement::{Body, Counted};

use super::Entry;

pub struct Oracle {
    /// Folded from the log as it grows; never crashes.
    pub shadow: State,
    pub frontier: Frontier,
    pub leaves: Vec<Hash>,
    pub index: HashMap<Digest, u64>,
    /// Digests of statements that no hub may take.
    pub lies: BTreeSet<Digest>,
    /// Updates that await the close of their round.
    open: BTreeMap<(Coalition, u32), BTreeMap<u32, Counted>>,
    closed: BTreeMap<Coalition, u32>,
    slots: Vec<String>,
}

impl Oracle {
    pub fn new(shadow: State, frontier: Frontier, leaves: Vec<Hash>, slots: Vec<String>) -> Self {
        let (index, lies, open, closed) = Default::default();
        Self { shadow, frontier, leaves, index, lies, open, closed, slots }
    }

    fn slot(&self, party: &str) -> u32 {
        u32::try_from(self.slots.iter().position(|p| p == party).unwrap()).unwrap()
    }

    /// The log grew by this entry.
    pub fn observe(&mut self, entry: &Rc<Entry>) {
        let opened = &entry.sealed.opened;
        assert!(!self.lies.contains(&opened.digest), "a lie stands in the log: {:?}", opened.statement);
        assert!(entry.at >= self.shadow.last_arrival(), "time runs back");
        assert!(self.index.insert(opened.digest, self.shadow.size()).is_none(), "a statement stands twice");
        self.shadow.apply_opened(opened, entry.at).expect("the hub took it");
        self.frontier.push(entry.leaf);
        self.leaves.push(entry.leaf);
        match &opened.statement.body {
            Body::UpdateSubmitted(u) => {
                let counted = Counted { slot: u.slot, update: u.update, weight: u.weight };
                let before = self.open.entry((u.coalition, u.round)).or_default().insert(u.slot, counted);
                assert_eq!(before, None, "two updates of one slot in one round");
            }
            Body::RunRefused(_) => {
                let slot = self.slot(opened.statement.header.by.party.as_str());
                for updates in self.open.values_mut() {
                    updates.remove(&slot);
                }
            }
            Body::RoundClosed(c) => {
                let last = self.closed.insert(c.coalition, c.round).unwrap_or(0);
                assert_eq!(c.round, last + 1, "rounds follow each other");
                let due: Vec<Counted> =
                    self.open.remove(&(c.coalition, c.round)).unwrap_or_default().into_values().collect();
                assert_eq!(c.counted, due, "a round counts exactly what was acknowledged");
            }
            Body::ContributionMeasured(m) => self.check_contribution(m),
            Body::PayoutPosted(p) => {
                let sum: i64 = p.fund.minor() + p.amounts.iter().map(|a| a.minor()).sum::<i64>();
                assert_eq!(sum, p.pool.minor(), "a payout gives out its pool");
                self.shadow.accounts().audit().expect("sound books");
            }
            _ => {}
        }
    }

    fn check_contribution(&self, m: &allmende_core::statement::ContributionMeasured) {
        let value = |c: Coalition| m.values.iter().find(|v| v.coalition == c).map(|v| v.correct);
        let n = self.slots.len();
        let exact = shapley(n, |c| if c.is_empty() { Some(0) } else { value(c).map(|v| v as i64) }).unwrap();
        let sum = exact.iter().fold(Ratio::ZERO, |a, &b| a.checked_add(b).unwrap());
        let whole = value(Coalition::all(n)).unwrap();
        assert_eq!(sum, Ratio::whole(i64::try_from(whole).unwrap()), "efficiency");
        assert!(m.shares.iter().all(|s| !s.is_negative()) && m.shares.len() == n);
    }

    /// Compares with what a hub holds durably.
    pub fn check_log(&self, log: &[Rc<Entry>], prefix: usize) {
        assert_eq!(log.len() + prefix, self.leaves.len(), "the log neither shrinks nor grows by itself");
        assert!(log.iter().map(|e| e.leaf).eq(self.leaves[prefix..].iter().copied()), "the log is append-only");
    }
}
