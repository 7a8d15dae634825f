//! The hub as a process: a durable log, and volatile state that a crash loses at any instant.

use std::collections::HashMap;
use std::rc::Rc;

use allmende_core::digest::Digest;
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::merkle::{Frontier, leaf_hash};
use allmende_core::run::engine::Step;
use allmende_core::state::{Refusal, State};
use allmende_core::time::Timestamp;

use super::{Entry, Rng, Sealed};

pub struct Hub {
    /// Durable.
    pub log: Vec<Rc<Entry>>,
    /// Volatile: lost in a crash.
    pub state: Option<State>,
    pub frontier: Frontier,
    pub index: HashMap<Digest, u64>,
    pub folding: Vec<Step>,
    pub epoch: u64,
    /// Its clock, less the true one.
    pub offset_ms: i64,
}

/// Why nothing was appended, or nobody was told.
pub enum Failed {
    Refused(Refusal),
    Crashed,
}

impl Hub {
    pub fn new(state: State, frontier: Frontier) -> Self {
        let (log, index, folding) = Default::default();
        Self { log, state: Some(state), frontier, index, folding, epoch: 0, offset_ms: 0 }
    }

    /// The hub's time never runs back, whatever its clock does.
    pub fn now(&self, now: i64) -> Timestamp {
        let last = self.state.as_ref().map_or(Timestamp(0), State::last_arrival);
        Timestamp(now + self.offset_ms).max(last)
    }

    pub fn crash(&mut self) {
        self.state = None;
        self.index.clear();
        self.folding.clear();
        self.epoch += 1;
    }

    /// Replays the durable log on top of the part that all simulations share.
    pub fn recover(&mut self, prefix: &State, frontier: &Frontier) {
        let mut state = prefix.clone();
        self.frontier = frontier.clone();
        self.index.clear();
        for entry in &self.log {
            self.index.insert(entry.sealed.opened.digest, state.size());
            state.apply_opened(&entry.sealed.opened, entry.at).expect("what was taken once replays");
            self.frontier.push(entry.leaf);
        }
        self.state = Some(state);
    }

    /// Appends a statement. A crash may come before it is durable, or after that and before anybody hears of it.
    pub fn append(
        &mut self,
        sealed: &Rc<Sealed>,
        now: i64,
        crashes: bool,
        rng: &mut Rng,
    ) -> (Option<Rc<Entry>>, Result<(), Failed>) {
        let at = self.now(now);
        let Some(state) = self.state.as_mut() else { return (None, Err(Failed::Crashed)) };
        if let Err(refusal) = state.apply_opened(&sealed.opened, at) {
            return (None, Err(Failed::Refused(refusal)));
        }
        if crashes && rng.chance(2) {
            self.crash();
            return (None, Err(Failed::Crashed));
        }
        let record = Record { arrived_at: at, envelope: sealed.envelope.clone() };
        let leaf = leaf_hash(&record.to_bytes().unwrap());
        let entry = Rc::new(Entry { sealed: Rc::clone(sealed), at, leaf });
        self.log.push(Rc::clone(&entry));
        if crashes && rng.chance(2) {
            self.crash();
            return (Some(entry), Err(Failed::Crashed));
        }
        self.index.insert(sealed.opened.digest, self.state.as_ref().map_or(0, State::size) - 1);
        self.frontier.push(leaf);
        (Some(entry), Ok(()))
    }
}
