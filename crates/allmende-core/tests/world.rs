//! A small deterministic world: a hub, some parties and their keys, one log, and helpers to say the next thing in it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use allmende_core::agreement::draft::{DraftInputs, DraftParty, template};
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{DataClass, Language, Purpose};
use allmende_core::collaboration::charter::{Charter, Deadlock, Mode};
use allmende_core::collaboration::decision::{Outcome, Subject, Vote};
use allmende_core::digest::Digest;
use allmende_core::id::PartyId;
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::merkle::{leaf_hash, root_of};
use allmende_core::run::engine::{self, Step, Task};
use allmende_core::run::plan::{Coalition, ModelSpec, Normalization, Optimizer, Outer, Plan, Seed, Slot, Training};
use allmende_core::signature::SecretKey;
use allmende_core::state::runs::Status;
use allmende_core::state::{Refusal, State};
use allmende_core::statement::{
    AgreementProposed, AgreementSigned, AssetRegistered, Body, CollaborationJoined, CollaborationProposed, Counted,
    DecisionClosed, DecisionOpened, DecisionVoted, EvaluationReported, HUB, Header, KeyClass, KeyDelegated, LogOpened,
    Opened, PROTOCOL, PartyRegistered, RoundClosed, RunAccepted, RunChecked, RunFailed, RunFinished, RunProposed,
    RunStarted, Scope, Signer, Statement, TrackDropped, UpdateSubmitted, row,
};
use allmende_core::time::Timestamp;

/// 2026-12-01T00:00:00Z, the first day of the terms.
pub const START: i64 = 1_796_083_200_000;
pub const TIMEOUT_MS: i64 = 60_000;
pub const TRAIN_ROWS: u64 = 100;
pub const HELD_OUT_ROWS: u64 = 20;

pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

thread_local! {
    static KEYS: RefCell<HashMap<String, Rc<SecretKey>>> = RefCell::default();
}

/// The key of this name, the same in every test.
pub fn key(name: &str) -> Rc<SecretKey> {
    let make = || Rc::new(SecretKey::from_seed(&Digest::of(name.as_bytes()).0));
    KEYS.with_borrow_mut(|keys| Rc::clone(keys.entry(name.to_owned()).or_insert_with(make)))
}

pub fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Who signs: a party, in which capacity, with the key of which name.
#[derive(Debug, Clone)]
pub struct Who {
    pub party: PartyId,
    pub class: KeyClass,
    pub key: String,
}

impl Who {
    pub fn with(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }
}

fn who(party: &str, class: KeyClass, name: &str) -> Who {
    Who { party: id(party), class, key: format!("{party}/{name}") }
}

pub fn hub() -> Who {
    who(HUB, KeyClass::Hub, "hub")
}
pub fn gov(party: &str) -> Who {
    who(party, KeyClass::Governance, "governance")
}
pub fn root(party: &str) -> Who {
    who(party, KeyClass::Root, "root")
}
pub fn recovery(party: &str) -> Who {
    who(party, KeyClass::Recovery, "recovery")
}
pub fn node(party: &str) -> Who {
    who(party, KeyClass::Node, "node")
}

#[derive(Clone)]
pub struct World {
    pub state: State,
    pub log: Vec<Record>,
    pub now: i64,
    pub parties: Vec<String>,
    /// Digest of the terms that statements are made under.
    pub terms: Option<Digest>,
    pub notice_days: u32,
    pub vote_ms: u64,
}

impl World {
    /// An empty log.
    pub fn new(parties: &[&str]) -> Self {
        Self {
            state: State::new(id("hub.example/handwriting"), Some(id("handwriting"))),
            log: Vec::new(),
            now: START,
            parties: parties.iter().map(|&p| p.to_owned()).collect(),
            terms: None,
            notice_days: 30,
            vote_ms: 600_000,
        }
    }

    /// Opened; parties registered with a node each, and members.
    pub fn founded(parties: &[&str]) -> Self {
        let mut world = Self::new(parties);
        world.found();
        world
    }

    pub fn found(&mut self) {
        let parties = self.parties.clone();
        self.say(&hub(), log_opened());
        for party in &parties {
            self.register(party);
        }
        let charter = self.charter();
        self.say(&gov(&parties[0]), CollaborationProposed { charter: charter.clone() });
        for party in &parties[1..] {
            self.say(&gov(party), CollaborationJoined { charter: charter.digest() });
        }
    }

    /// Terms in force and a dataset of every party registered.
    pub fn ready(parties: &[&str]) -> Self {
        let mut world = Self::founded(parties);
        world.agree();
        world.offer_assets();
        world
    }

    pub fn register(&mut self, party: &str) {
        self.say(&root(party), registered(party));
        self.say(&gov(party), KeyDelegated { key: key(&node(party).key).public(), node: id("node-1") });
    }

    pub fn agree(&mut self) {
        self.agree_on(&Terms::from_toml(&self.draft()).unwrap());
    }

    pub fn agree_on(&mut self, terms: &Terms) {
        self.say(&gov(&self.parties[0].clone()), AgreementProposed { terms: terms.clone() });
        for party in self.parties.clone() {
            self.say(&gov(&party), AgreementSigned { terms: terms.digest() });
        }
        self.terms = Some(terms.digest());
    }

    pub fn offer_assets(&mut self) {
        for party in self.parties.clone() {
            let asset = self.asset(&party);
            self.say(&gov(&party), asset);
        }
    }

    pub fn charter(&self) -> Charter {
        Charter {
            title: "Handwriting".into(),
            goal: "Read digits of any hand".into(),
            mode: Mode::Peer,
            invited: self.parties.iter().map(|p| id(p)).collect(),
            quorum: u32::try_from(self.parties.len().min(2)).unwrap(),
            vote_ms: self.vote_ms,
            deadlock: Deadlock::Reject,
            milestones: Vec::new(),
        }
    }

    /// The draft of the terms, as TOML.
    pub fn draft(&self) -> String {
        let party = |p: &String| DraftParty {
            id: id(p),
            key: key(&gov(p).key).public(),
            signatory: "managing director".into(),
            assets: vec![id(&format!("{p}/digits"))],
        };
        template(&DraftInputs {
            title: "Handwriting consortium, first model".into(),
            collaboration: id("handwriting"),
            origin: id("hub.example/handwriting"),
            hub_key: key(&hub().key).public(),
            starts: id("2026-12-01"),
            ends: id("2027-11-30"),
            offer_expires: id("2026-12-31"),
            currency: "EUR".into(),
            language: Language::En,
            purpose: vec![Purpose::Research],
            parties: self.parties.iter().map(party).collect(),
            reference: None,
            min_parties: 2,
            coordinator: None,
        })
        .replace("notice_days = 30", &format!("notice_days = {}", self.notice_days))
    }

    pub fn asset(&self, party: &str) -> AssetRegistered {
        AssetRegistered {
            asset: id(&format!("{party}/digits")),
            class: DataClass::Record,
            commitment: digest(&format!("{party}: salt and rows")),
            schema: digest("64 pixels"),
            features: 64,
            classes: 10,
            train_rows: TRAIN_ROWS,
            held_out_rows: HELD_OUT_ROWS,
            bytes: None,
            licence: None,
        }
    }

    pub fn plan(&self) -> Plan {
        let n = u32::try_from(self.parties.len()).unwrap();
        Plan {
            agreement: self.terms.unwrap_or(digest("no terms")),
            purpose: Purpose::Research,
            slots: self.parties.iter().map(|p| Slot { party: id(p), asset: id(&format!("{p}/digits")) }).collect(),
            model: ModelSpec::Linear { inputs: 64, classes: 10 },
            base_model: digest("base model"),
            normalization: Normalization::Uniform { shift: id("0"), scale: id("0.0625") },
            training: Training { optimizer: Optimizer::Sgd { rate: id("0.1") }, batch_rows: 32, epochs: 1 },
            outer: Outer::Average,
            rounds: 2,
            evaluate_every: 1,
            measure: (1..n).collect(),
            min_parties: n.min(2),
            round_timeout_ms: TIMEOUT_MS.unsigned_abs(),
            seed: Seed(7),
        }
    }

    /// The next statement of `who`, everything but the body as it must be.
    pub fn statement(&self, who: &Who, body: impl Into<Body>) -> Statement {
        next_statement(&self.state, self.terms, self.now, who, body.into())
    }

    /// The statement, signed and arrived now.
    pub fn record(&self, statement: &Statement, key_name: &str) -> Record {
        Record { arrived_at: Timestamp(self.now), envelope: statement.seal(&key(key_name)).unwrap() }
    }

    pub fn seal(&self, who: &Who, body: impl Into<Body>) -> Record {
        self.record(&self.statement(who, body), &who.key)
    }

    /// Takes a record. Nothing may change when it is refused.
    pub fn take(&mut self, record: Record) -> Result<Opened, Refusal> {
        let before = self.state.clone();
        let result = self.state.apply(&record);
        let refused = |refusal: &Refusal| assert_eq!(self.state, before, "{refusal} left a trace");
        result.inspect_err(refused).inspect(|_| self.log.push(record))
    }

    /// Says something that must be taken.
    #[track_caller]
    pub fn say(&mut self, who: &Who, body: impl Into<Body>) -> Opened {
        let record = self.seal(who, body);
        self.take(record).unwrap_or_else(|refusal| panic!("{refusal} ({})", refusal.code()))
    }

    /// Says something that must be refused with this code.
    #[track_caller]
    pub fn refuse(&mut self, who: &Who, body: impl Into<Body>, code: &str) -> Refusal {
        let record = self.seal(who, body);
        self.refuse_record(record, code)
    }

    #[track_caller]
    pub fn refuse_record(&mut self, record: Record, code: &str) -> Refusal {
        match self.take(record) {
            Ok(opened) => panic!("taken, but should be refused with {code}: {opened:?}"),
            Err(refusal) => {
                assert_eq!(refusal.code(), code, "{refusal}");
                refusal
            }
        }
    }

    pub fn wait(&mut self, ms: i64) {
        self.now += ms;
    }

    pub fn run(&self, run: &str) -> &allmende_core::state::runs::Run {
        self.state.run(&id(run)).unwrap()
    }

    pub fn leaves(&self) -> Vec<allmende_core::ledger::merkle::Hash> {
        self.log.iter().map(|r| leaf_hash(&r.to_bytes().unwrap())).collect()
    }

    pub fn root_hash(&self) -> allmende_core::ledger::merkle::Hash {
        root_of(&self.leaves())
    }
}

/// The next statement of `who` by what `state` knows, everything but the body as it must be.
pub fn next_statement(state: &State, terms: Option<Digest>, now: i64, who: &Who, body: Body) -> Statement {
    let scope = row(body.kind()).unwrap().scope;
    let keys = scope == Scope::Keys;
    let chain = state.chain(&key(&who.key).public(), keys);
    let header = Header {
        origin: if keys { id("hub.example/registry") } else { state.origin().clone() },
        collaboration: if keys { None } else { state.collaboration().cloned() },
        agreement: if scope == Scope::Agreement { terms } else { None },
        by: Signer { party: who.party.clone(), class: who.class },
        seq: chain.next,
        previous: chain.last,
        claimed_at: Timestamp(now),
    };
    Statement { header, body }
}

/// Whole procedures.
impl World {
    /// Opens a decision, lets everyone vote yes, and records the outcome.
    #[track_caller]
    pub fn decide(&mut self, name: &str, subject: Subject) -> Outcome {
        self.vote(name, subject, |_| Some(Vote::Yes))
    }

    #[track_caller]
    pub fn vote(&mut self, name: &str, subject: Subject, vote: impl Fn(&str) -> Option<Vote>) -> Outcome {
        let opener = self.state.members().keys().next().unwrap().clone();
        self.say(&gov(opener.as_str()), DecisionOpened { decision: id(name), subject });
        for voter in self.state.decisions()[&id(name)].voters.clone() {
            if let Some(vote) = vote(voter.as_str()) {
                self.say(&gov(voter.as_str()), DecisionVoted { decision: id(name), vote });
            }
        }
        self.hub_steps();
        if self.state.decisions()[&id(name)].closed.is_none() {
            self.wait(600_000);
            self.hub_steps();
        }
        self.state.decisions()[&id(name)].closed.unwrap().0
    }

    /// Proposes a run and lets everybody agree to it.
    #[track_caller]
    pub fn approved(&mut self, run: &str, plan: Plan) {
        let proposer = plan.slots[0].party.clone();
        let digest = plan.digest();
        self.say(&gov(proposer.as_str()), RunProposed { run: id(run), plan });
        self.hub_steps();
        self.decide(&format!("decide-{run}"), Subject::Run { run: id(run), plan: digest });
    }

    /// As [`Self::approved`], accepted by all nodes and started.
    #[track_caller]
    pub fn started(&mut self, run: &str, plan: Plan) {
        let parties: Vec<PartyId> = plan.slots.iter().map(|s| s.party.clone()).collect();
        self.approved(run, plan);
        for party in parties {
            let accepted = self.accept(run);
            self.say(&node(party.as_str()), accepted);
        }
        self.hub_steps();
    }

    /// As [`Self::started`], carried out to the end.
    #[track_caller]
    pub fn finished(&mut self, run: &str, plan: Plan) {
        self.started(run, plan);
        self.work(run, &|_| true);
    }

    pub fn accept(&self, run: &str) -> RunAccepted {
        RunAccepted { run: id(run), plan: self.run(run).plan_digest, log_size: self.state.size() }
    }

    /// Lets hub and nodes of `parties` work until nobody has anything to do.
    #[track_caller]
    pub fn work(&mut self, run: &str, parties: &dyn Fn(&str) -> bool) {
        loop {
            self.hub_steps();
            if !self.node_tasks(run, parties) {
                return;
            }
        }
    }

    /// Every node does its first task; whether there was any.
    #[track_caller]
    pub fn node_tasks(&mut self, run: &str, parties: &dyn Fn(&str) -> bool) -> bool {
        let mut any = false;
        for party in self.parties.clone().into_iter().filter(|p| parties(p)) {
            let who = node(&party);
            let tasks = engine::tasks(self.run(run), &id(&party), &key(&who.key).public());
            if let Some(task) = tasks.first() {
                let body = self.task_body(run, &party, task);
                self.say(&who, body);
                any = true;
            }
        }
        any
    }

    /// What an honest node says once it has done `task`.
    pub fn task_body(&self, run: &str, party: &str, task: &Task) -> Body {
        let slot = u32::try_from(self.run(run).plan.slot_of(&id(party)).unwrap()).unwrap();
        match *task {
            Task::Answer => self.accept(run).into(),
            Task::Train { coalition, round, base } => self.update(run, coalition, round, slot, base).into(),
            Task::Evaluate { coalition, round, model } => EvaluationReported {
                run: id(run),
                coalition,
                round,
                slot,
                model,
                correct: correct(coalition, slot),
                total: HELD_OUT_ROWS,
                confusion: None,
            }
            .into(),
        }
    }

    pub fn update(&self, run: &str, coalition: Coalition, round: u32, slot: u32, base: Digest) -> UpdateSubmitted {
        let update = fake_update(&base, slot);
        let (offer, weight) = (digest("offer"), TRAIN_ROWS);
        UpdateSubmitted { run: id(run), coalition, round, slot, offer, base, update, size_bytes: 2_600, weight }
    }

    /// The hub does all that is due, one step after the other. What the engine asks for must be possible.
    #[track_caller]
    pub fn hub_steps(&mut self) {
        for _ in 0..10_000 {
            let next = engine::next(&self.state, Timestamp(self.now));
            assert!(next.wake_at.is_none_or(|at| at > Timestamp(self.now)) || !next.steps.is_empty(), "busy: {next:?}");
            let Some(step) = next.steps.first() else { return };
            let body = step_body(&self.state, step);
            self.say(&hub(), body);
        }
        panic!("the engine never comes to rest");
    }
}

pub fn log_opened() -> LogOpened {
    LogOpened { hub_key: key(&hub().key).public(), protocol: PROTOCOL, registry: id("hub.example/registry") }
}

pub fn registered(party: &str) -> PartyRegistered {
    PartyRegistered {
        party: id(party),
        root: key(&root(party).key).public(),
        governance: key(&gov(party).key).public(),
        recovery: Some(Digest::of(key(&recovery(party).key).public().as_bytes())),
    }
}

/// Rows right of each coalition of three, by mask, and of more by size: the whole table of the story.
pub const VALUES: [u64; 8] = [0, 24, 18, 36, 12, 33, 27, 48];

/// Rows right on the held-out part of `slot`: the coalition's value, spread over the slots.
pub fn correct(coalition: Coalition, slot: u32) -> u64 {
    let value = VALUES.get(usize::from(coalition.0)).copied().unwrap_or(u64::from(coalition.len()) * 12);
    value / 3 + u64::from(u64::from(slot) < value % 3)
}

pub fn fake_update(base: &Digest, slot: u32) -> Digest {
    Digest::of_parts(&[b"update", &base.0, &slot.to_be_bytes()])
}

pub fn fake_model(base: &Digest, counted: &[Counted]) -> Digest {
    let updates: Vec<&[u8]> = counted.iter().map(|c| c.update.0.as_slice()).collect();
    Digest::of_parts(&[&[b"model", base.0.as_slice()], updates.as_slice()].concat())
}

/// What the hub records once it has done `step`.
pub fn step_body(state: &State, step: &Step) -> Body {
    match step.clone() {
        Step::Check { run } => {
            let found = &state.runs()[&run];
            RunChecked { allowed: found.status != Status::Forbidden, clauses: found.clauses.clone(), run }.into()
        }
        Step::CloseDecision { decision, outcome } => DecisionClosed { decision, outcome }.into(),
        Step::Start { run } => RunStarted { run }.into(),
        Step::CloseRound { run, coalition, round, base, counted, .. } => {
            let model = fake_model(&base, &counted);
            RoundClosed { run, coalition, round, counted, model, velocity: None }.into()
        }
        Step::DropTrack { run, coalition } => TrackDropped { run, coalition }.into(),
        Step::Finish { run, model } => RunFinished { run, model }.into(),
        Step::Fail { run, code } => RunFailed { run, code }.into(),
        Step::Measure { run } => {
            let due = state.contribution(&state.runs()[&run]).unwrap();
            allmende_core::statement::ContributionMeasured { run, values: due.values, shares: due.shares }.into()
        }
    }
}
