//! A seeded simulator of hub, nodes and network: crashes, delays, losses, duplicates, clock jumps, lies and forks.
//!
//! `ALLMENDE_SIM_SEEDS=n` sets how many seeds run; `ALLMENDE_SIM_SEED=s` runs one alone, the one printed on failure.

mod events;
mod hub;
mod node;
mod oracle;
mod world;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use allmende_core::digest::Digest;
use allmende_core::ledger::envelope::{Envelope, Record};
use allmende_core::ledger::merkle::Hash;
use allmende_core::run::engine::{self, Step};
use allmende_core::state::runs::{Run, Status};
use allmende_core::statement::{Body, Opened, Statement};
use allmende_core::time::Timestamp;

use crate::world::{Who, hub as hub_signer, key, next_statement, step_body};
use hub::{Failed, Hub};
use node::{Behaviour, Node};
use oracle::Oracle;
use world::{Act, Prefix, prefix};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below((high - low).unsigned_abs())).unwrap()
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A signed statement, opened once.
pub struct Sealed {
    pub opened: Opened,
    pub envelope: Envelope,
}

/// An entry of the log.
pub struct Entry {
    pub sealed: Rc<Sealed>,
    pub at: Timestamp,
    pub leaf: Hash,
}

#[derive(Clone)]
enum Event {
    Poll { node: usize, id: u64, from: u64 },
    Submit { node: usize, sealed: Rc<Sealed> },
    Log { node: usize, id: u64, entries: Vec<Rc<Entry>>, size: u64, root: Hash },
    Acknowledge { node: usize, digest: Digest },
    Refuse { node: usize, digest: Digest },
    NodeTick(usize),
    NodeRestart(usize),
    NodeCrash(usize),
    HubCrash,
    HubRestart,
    HubWake,
    HubClock(i64),
    Folded { epoch: u64, step: Step },
    Act(Act),
    RollBack,
}

const POLL_MS: i64 = 250;
/// Until then the network is bad and things crash.
const HEAL_MS: i64 = 12_000;
/// By then every run must be over: votes, answers, rounds on all tracks, evaluations.
const END_MS: i64 = 90_000;

struct Sim {
    rng: Rng,
    now: i64,
    began: i64,
    queue: BinaryHeap<Reverse<(i64, usize)>>,
    events: Vec<Option<Event>>,
    hub: Hub,
    nodes: Vec<Node>,
    oracle: Oracle,
    prefix: &'static Prefix,
    stormy: bool,
    /// The size to which the hub's log fell, and the first entry that it lost, once it has.
    forked_at: Option<(usize, Hash)>,
    wake: Option<i64>,
}

impl Sim {
    fn new(seed: u64, fork: bool) -> Self {
        let mut rng = Rng(seed);
        let n = if rng.chance(60) { 3 } else { 4 + usize::try_from(rng.below(2)).unwrap() };
        let prefix = prefix(n);
        let stormy = fork || !rng.chance(10);
        // Sometimes the terms end in the middle.
        let began = if stormy && rng.chance(8) {
            world::END_OF_TERMS - rng.between(1, 25_000)
        } else {
            prefix.now + 86_400_000
        };
        let (state, frontier, leaves) = (prefix.state.clone(), prefix.frontier.clone(), prefix.leaves.clone());
        let oracle = Oracle::new(state.clone(), frontier.clone(), leaves, prefix.parties.clone());
        let mut sim = Self {
            rng,
            now: began,
            began,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            hub: Hub::new(state, frontier),
            nodes: Vec::new(),
            oracle,
            prefix,
            stormy,
            forked_at: None,
            wake: None,
        };
        sim.people(n);
        sim.machines(fork);
        sim
    }

    fn people(&mut self, n: usize) {
        let plan = self.prefix.plan(&mut self.rng, n);
        self.after(100, Event::Act(Act::Propose(Rc::new(plan))));
        self.after(300, Event::Act(Act::Open));
        for voter in 0..n {
            let roll = self.rng.below(100);
            let vote = if !self.stormy || roll < 93 {
                Some(true)
            } else if roll < 95 {
                Some(false)
            } else {
                None
            };
            if let Some(yes) = vote {
                let ms = self.rng.between(400, 1_500);
                self.after(ms, Event::Act(Act::Vote { voter, yes }));
            }
        }
        self.after(3_000, Event::Act(Act::Pay));
        if self.stormy && self.rng.chance(35) {
            let party = usize::try_from(self.rng.below(n as u64)).unwrap();
            let act = match self.rng.below(6) {
                0 => Act::End,
                1 => Act::RevokeAsset(party),
                2 => Act::Exclude(party),
                3 => Act::Withdraw(party),
                _ => Act::ReplaceNode(party),
            };
            let ms = self.rng.between(500, 10_000);
            self.after(ms, Event::Act(act));
        }
    }

    fn machines(&mut self, fork: bool) {
        for party in self.prefix.parties.clone() {
            let at = self.began + self.rng.between(500, 8_000);
            let behaviour = match self.rng.below(100) {
                _ if !self.stormy => Behaviour::Honest,
                0..50 => Behaviour::Honest,
                50..53 => Behaviour::Silent,
                53..56 => Behaviour::Refuser,
                56..62 => Behaviour::StopsAt(at),
                62..68 => Behaviour::VanishesAt(at),
                68..73 => Behaviour::NoEvaluation,
                73..78 => Behaviour::NoMeasuring,
                _ => Behaviour::Liar,
            };
            let skew_ms = self.rng.between(-90_000, 90_000);
            self.add_node(crate::world::node(&party), behaviour, skew_ms);
        }
        self.after(50, Event::HubWake);
        if !self.stormy {
            return;
        }
        for _ in 0..self.rng.below(4) {
            let ms = self.rng.between(0, HEAL_MS);
            self.after(ms, Event::HubCrash);
        }
        for _ in 0..self.rng.below(3) {
            let (ms, jump) = (self.rng.between(0, HEAL_MS), self.rng.between(-4_000, 4_000));
            self.after(ms, Event::HubClock(jump));
        }
        for node in 0..self.nodes.len() {
            if self.rng.chance(30) {
                let ms = self.rng.between(0, HEAL_MS);
                self.after(ms, Event::NodeCrash(node));
            }
        }
        if fork {
            let ms = self.rng.between(2_500, 9_000);
            self.after(ms, Event::RollBack);
        }
    }

    fn add_node(&mut self, who: Who, behaviour: Behaviour, skew_ms: i64) {
        let p = self.prefix;
        self.nodes.push(Node::new(who, behaviour, (&p.state, &p.frontier, &p.leaves), p.terms, skew_ms));
        let ms = self.rng.between(1, POLL_MS);
        self.after(ms, Event::NodeTick(self.nodes.len() - 1));
    }

    fn after(&mut self, ms: i64, event: Event) {
        let number = self.events.len();
        self.events.push(Some(event));
        self.queue.push(Reverse((self.now + ms.max(1), number)));
    }

    fn bad_weather(&self) -> bool {
        self.stormy && self.now < self.began + HEAL_MS
    }

    /// Over the network: late, twice, out of order, or never.
    fn send(&mut self, event: Event) {
        if !self.bad_weather() {
            let ms = self.rng.between(1, 20);
            return self.after(ms, event);
        }
        if self.rng.chance(15) {
            return;
        }
        let copies = 1 + usize::from(self.rng.chance(12));
        for _ in 0..copies {
            let slow = if self.rng.chance(5) { 4_000 } else { 300 };
            let ms = self.rng.between(1, slow);
            self.after(ms, event.clone());
        }
    }

    fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            if at > self.began + END_MS {
                break;
            }
            let event = self.events[number].take().expect("an event happens once");
            self.happen(event);
        }
        self.check_end();
    }

    fn say(&mut self, who: &Who, body: Body) -> Result<(), Failed> {
        let Some(state) = &self.hub.state else { return Err(Failed::Crashed) };
        let statement = next_statement(state, Some(self.prefix.terms), self.now, who, body);
        let envelope = statement.seal(&key(&who.key)).unwrap();
        self.append(&Rc::new(Sealed { opened: Statement::open(&envelope).unwrap(), envelope }))
    }

    fn record(&mut self, step: &Step) -> Option<Result<(), Failed>> {
        let body = step_body(self.hub.state.as_ref()?, step);
        Some(self.say(&hub_signer(), body))
    }

    /// The hub does what is due, or sleeps until the engine says.
    fn think(&mut self) {
        for _ in 0..1_000 {
            let Some(state) = &self.hub.state else { return };
            let at = self.hub.now(self.now);
            let next = engine::next(state, at);
            let Some(step) = next.steps.iter().find(|s| !self.hub.folding.contains(s)).cloned() else {
                let Some(wake) = next.wake_at.filter(|_| next.steps.is_empty()) else { return };
                assert!(wake > at, "the engine wakes the hub for nothing");
                let true_time = (wake.0 - self.hub.offset_ms).max(self.now + 1);
                if self.wake.is_none_or(|earlier| true_time < earlier) {
                    self.wake = Some(true_time);
                    self.after(true_time - self.now, Event::HubWake);
                }
                return;
            };
            if matches!(step, Step::CloseRound { .. }) && self.stormy && self.rng.chance(40) {
                let (epoch, ms) = (self.hub.epoch, self.rng.between(1, 400));
                self.hub.folding.push(step.clone());
                self.after(ms, Event::Folded { epoch, step });
                continue;
            }
            match self.record(&step) {
                Some(Err(Failed::Refused(refusal))) => panic!("the engine asks for {step:?}: {refusal}"),
                Some(Ok(())) => {}
                _ => return,
            }
        }
        panic!("the engine never comes to rest");
    }

    fn check_end(&self) {
        for node in &self.nodes {
            let known = self.hub.log.iter().map(|e| e.leaf);
            let ours = node.leaves.iter().skip(self.prefix.leaves.len()).copied();
            let differs = !ours.clone().eq(known.take(ours.count()));
            let live = node.up;
            let saw_more = self.forked_at.is_some_and(|(size, leaf)| node.leaves.get(size) == Some(&leaf));
            assert!(node.alarm.is_none() || saw_more, "a false alarm at {:?}: {:?}", node.who, node.alarm);
            assert!(node.alarm.is_some() || !live || !differs, "{:?} did not notice", node.who);
        }
        if self.forked_at.is_some() {
            return;
        }
        self.oracle.check_log(&self.hub.log, self.prefix.leaves.len());
        let state = self.hub.state.as_ref().expect("the hub is up again");
        assert!(*state == self.oracle.shadow);
        // The terms may have ended before anybody could propose a run under them.
        let run = state.runs().values().next();
        // And a proposal stands as long as nobody puts it to the members.
        let undecided = state.decisions().keys().all(|d| d.as_str() != "d");
        let over = |run: &Run| run.status.is_over() || (run.status == Status::Proposed && undecided);
        assert!(run.is_none_or(over), "the run does not end: {run:?}");
        if let Some(run) = run.filter(|_| !self.stormy) {
            assert_eq!(run.status, Status::Finished);
            let whole_tables = run.plan.measure.len() + 1 == run.plan.slots.len();
            assert_eq!(run.contribution.is_some(), whole_tables);
            assert_eq!(state.accounts().transfers().next().is_some(), whole_tables);
        }
        for node in &self.nodes {
            let missing = node.acknowledged.iter().find(|d| !self.oracle.index.contains_key(d));
            assert_eq!(missing, None, "acknowledged and lost");
            if node.up {
                assert!(node.mirror == *state, "{:?} works and does not see what the hub sees", node.who);
            }
        }
    }

    /// From bytes alone, every signature checked again.
    fn verify(&self) {
        let mut state = self.prefix.state.clone();
        for entry in &self.hub.log {
            let bytes = Record { arrived_at: entry.at, envelope: entry.sealed.envelope.clone() }.to_bytes().unwrap();
            state.apply(&Record::from_bytes(&bytes).unwrap()).unwrap();
        }
        assert!(state == self.oracle.shadow);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Prints the seed if the simulation of it panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation failed: run it again with ALLMENDE_SIM_SEED={}", self.0);
        }
    }
}

/// How the runs of all seeds ended: the simulator must reach every end.
fn simulate(default: u64, fork: bool) -> std::collections::BTreeMap<String, u64> {
    let mut ends = std::collections::BTreeMap::new();
    let seeds = match number("ALLMENDE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ALLMENDE_SIM_SEEDS").map_or(default, |n| if fork { n / 5 } else { n }),
    };
    for seed in seeds {
        let guard = Seed(seed);
        let mut sim = Sim::new(seed, fork);
        sim.run();
        if !fork && seed % 32 == 0 {
            sim.verify();
        }
        let status = sim.oracle.shadow.runs().values().next().map(|r| (r.status, r.contribution.is_some()));
        *ends.entry(format!("{status:?}")).or_default() += 1;
        if fork {
            *ends.entry(format!("{:?}", sim.nodes[0].alarm)).or_default() += 1;
        }
        drop(guard);
    }
    ends
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let ends = simulate(2_000, false);
    if number("ALLMENDE_SIM_SEED").is_none() && number("ALLMENDE_SIM_SEEDS").is_none_or(|n| n >= 2_000) {
        for end in
            ["Finished, true", "Finished, false", "Rejected", "NoAnswer", "Refused", "MinimumNotMet", "NotAllowed"]
        {
            assert!(ends.keys().any(|k| k.contains(end)), "{end} never happened: {ends:?}");
        }
    }
}

#[test]
fn a_hub_that_forgets_or_forks_is_noticed() {
    let ends = simulate(400, true);
    if number("ALLMENDE_SIM_SEED").is_none() {
        for alarm in ["shorter", "another one"] {
            assert!(ends.keys().any(|k| k.contains(alarm)), "{ends:?}");
        }
    }
}
