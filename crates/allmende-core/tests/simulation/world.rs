//! What all simulations share, built once for each number of parties, and what people do in them.

use std::rc::Rc;
use std::sync::OnceLock;

use allmende_core::amount::Amount;
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::digest::Digest;
use allmende_core::ledger::merkle::{Frontier, Hash};
use allmende_core::run::plan::Plan;
use allmende_core::state::State;
use allmende_core::statement::{
    AgreementWithdrawn, AssetRevoked, Body, DecisionOpened, DecisionVoted, KeyDelegated, KeyRevoked, PayoutPosted,
    RunProposed,
};

use super::hub::Failed;
use super::node::Behaviour;
use super::{END_MS, Event, Rng, Sim};
use crate::world::{World, digest, gov, id, key, node};

/// 2027-12-01T00:00:00Z.
pub const END_OF_TERMS: i64 = 1_827_619_200_000;
const NAMES: [&str; 5] = ["north", "east", "west", "south", "center"];

pub struct Prefix {
    pub state: State,
    pub frontier: Frontier,
    pub leaves: Vec<Hash>,
    pub parties: Vec<String>,
    pub terms: Digest,
    pub now: i64,
    plan: Plan,
}

pub fn prefix(n: usize) -> &'static Prefix {
    static PREFIXES: [OnceLock<Prefix>; 6] = [const { OnceLock::new() }; 6];
    PREFIXES[n].get_or_init(|| {
        let names = &NAMES[..n];
        let mut world = World::new(names);
        world.notice_days = 0;
        world.vote_ms = 5_000;
        world.found();
        world.agree();
        world.offer_assets();
        let mut frontier = Frontier::new();
        let leaves = world.leaves();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let plan = world.plan();
        let terms = world.terms.unwrap();
        Prefix { state: world.state, frontier, leaves, parties: world.parties, terms, now: world.now, plan }
    })
}

impl Prefix {
    pub fn plan(&self, rng: &mut Rng, n: usize) -> Plan {
        let mut plan = self.plan.clone();
        plan.rounds = 1 + u32::from(rng.chance(50)) + u32::from(rng.chance(15));
        plan.evaluate_every = u32::from(rng.chance(30));
        plan.round_timeout_ms = 2_000 + rng.below(1_500);
        plan.min_parties = 2 + u32::try_from(rng.below(n as u64 - 1)).unwrap();
        let last = u32::try_from(n).unwrap() - 1;
        plan.measure = match rng.below(100) {
            0..45 if n == 3 => vec![1, 2],
            45..60 if n == 3 => vec![1],
            0..2 => (1..=last).collect(),
            2..15 => vec![last],
            _ => Vec::new(),
        };
        plan
    }
}

/// What a person does.
#[derive(Debug, Clone)]
pub enum Act {
    Propose(Rc<Plan>),
    Open,
    Vote {
        voter: usize,
        yes: bool,
    },
    Pay,
    End,
    RevokeAsset(usize),
    Exclude(usize),
    Withdraw(usize),
    /// Revokes the party's node and, after a while, sets up another.
    ReplaceNode(usize),
}

impl Sim {
    fn party(&self, i: usize) -> &'static str {
        NAMES[i % self.prefix.parties.len()]
    }

    /// A person tries until the hub has heard it, and takes no for an answer.
    pub(super) fn act(&mut self, act: Act) {
        let done = match &act {
            Act::Pay => return self.pay(),
            _ if self.hub.state.is_none() => Err(Failed::Crashed),
            Act::Propose(plan) => {
                self.say(&gov("north"), RunProposed { run: id("first"), plan: (**plan).clone() }.into())
            }
            Act::Open => self.open("d", |plan| Subject::Run { run: id("first"), plan }),
            Act::Vote { voter, yes } => {
                let vote = if *yes { Vote::Yes } else { Vote::No };
                self.vote(self.party(*voter), "d", vote)
            }
            Act::End => {
                let terms = self.prefix.terms;
                self.together("end", Subject::End { terms })
            }
            Act::Exclude(party) => {
                let party = id(self.party(*party));
                self.together("exclude", Subject::Exclude { party })
            }
            Act::RevokeAsset(party) => {
                let party = self.party(*party);
                self.say(&gov(party), AssetRevoked { asset: id(&format!("{party}/digits")) }.into())
            }
            Act::Withdraw(party) => {
                let terms = self.prefix.terms;
                self.say(&gov(self.party(*party)), AgreementWithdrawn { terms }.into())
            }
            Act::ReplaceNode(party) => self.replace_node(self.party(*party)),
        };
        match done {
            Err(Failed::Crashed) => self.after(400, Event::Act(act)),
            // What it needs may still be on its way: a vote before the decision was opened.
            Err(Failed::Refused(refusal)) if matches!(refusal.code(), "decision.unknown" | "run.unknown") => {
                self.after(200, Event::Act(act));
            }
            _ => self.think(),
        }
    }

    fn open(&mut self, name: &str, subject: impl Fn(Digest) -> Subject) -> Result<(), Failed> {
        let plan =
            self.hub.state.as_ref().and_then(|s| s.runs().values().next()).map_or(digest("none"), |r| r.plan_digest);
        self.say(&gov("north"), DecisionOpened { decision: id(name), subject: subject(plan) }.into())
    }

    fn vote(&mut self, party: &str, name: &str, vote: Vote) -> Result<(), Failed> {
        self.say(&gov(party), DecisionVoted { decision: id(name), vote }.into())
    }

    /// Opens a decision and lets everybody vote for it.
    fn together(&mut self, name: &str, subject: Subject) -> Result<(), Failed> {
        if let Err(Failed::Crashed) = self.say(&gov("east"), DecisionOpened { decision: id(name), subject }.into()) {
            return Err(Failed::Crashed);
        }
        for party in &NAMES[..self.prefix.parties.len()] {
            if let Err(Failed::Crashed) = self.vote(party, name, Vote::Yes) {
                return Err(Failed::Crashed);
            }
        }
        Ok(())
    }

    fn replace_node(&mut self, party: &str) -> Result<(), Failed> {
        let body: Body = KeyRevoked { key: key(&node(party).key).public() }.into();
        if let Err(Failed::Crashed) = self.say(&gov(party), body) {
            return Err(Failed::Crashed);
        }
        let second = node(party).with(&format!("{party}/second"));
        let body = KeyDelegated { key: key(&second.key).public(), node: id("second") };
        let done = self.say(&gov(party), body.into());
        if done.is_ok() {
            self.add_node(second, Behaviour::Honest, 0);
        }
        done
    }

    /// Divides some money once there is a measure for it.
    fn pay(&mut self) {
        let due = self.hub.state.as_ref().and_then(|state| {
            let run = state.runs().values().next()?;
            let pool = Amount::from_minor(99_999).ok()?;
            Some((pool, state.divide(run, pool).ok()?))
        });
        let Some((pool, due)) = due else {
            if self.now < self.began + END_MS - 5_000 {
                self.after(1_000, Event::Act(Act::Pay));
            }
            return;
        };
        let body = PayoutPosted {
            payout: id("fee"),
            run: id("first"),
            pool,
            currency: "EUR".into(),
            fund: due.fund,
            amounts: due.shares,
        };
        if let Err(Failed::Crashed) = self.say(&gov("north"), body.into()) {
            self.after(400, Event::Act(Act::Pay));
        }
    }
}
