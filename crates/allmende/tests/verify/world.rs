//! Logs to judge: a hub and three parties in memory, which state what the rules let them, and where asked, what they do not.

use std::collections::BTreeMap;
use std::path::Path;

use allmende::verify::{Existing, export};
use allmende_core::agreement::draft::{DraftInputs, DraftParty, template};
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{DataClass, Language, Purpose};
use allmende_core::amount::Amount;
use allmende_core::collaboration::charter::{Charter, Deadlock, Milestone, Mode};
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::digest::Digest;
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::ledger::envelope::{Envelope, Record};
use allmende_core::ledger::merkle::{leaf_hash, root_of};
use allmende_core::run::aggregate::SliceAggregator;
use allmende_core::run::engine::{Step, Task, next, tasks};
use allmende_core::run::plan::{ModelSpec, Normalization, Optimizer, Outer, Plan, Seed, Slot, Training};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::state::State;
use allmende_core::state::runs::Status;
use allmende_core::statement::{
    AgreementProposed, AgreementSigned, AssetRegistered, Body, CollaborationJoined, CollaborationProposed, Confusion,
    ContributionMeasured, DecisionClosed, DecisionOpened, DecisionVoted, EvaluationReported, HUB, Header, KeyClass,
    KeyDelegated, KeyRevoked, LogOpened, ModelReleased, PROTOCOL, PartyRegistered, PayoutPosted, RoundClosed,
    RunAccepted, RunChecked, RunFinished, RunProposed, RunStarted, Scope, Signer, Statement, UpdateSubmitted, row,
};
use allmende_core::time::Timestamp;
use allmende_formats::safetensors::{canonical_header, write_f32};

pub const PARTIES: [&str; 3] = ["north", "east", "west"];
pub const TRAIN_ROWS: [u64; 3] = [500, 300, 200];
pub const HELD_OUT_ROWS: [u64; 3] = [120, 90, 60];

/// Where one run leads.
pub struct Shape {
    pub inputs: u32,
    pub classes: u32,
    pub rounds: u32,
    pub measure: Vec<u32>,
    pub outer: Outer,
}

impl Shape {
    pub fn small() -> Self {
        let outer = Outer::Nesterov { rate: "0.7".parse().unwrap(), momentum: "0.9".parse().unwrap() };
        Self { inputs: 2, classes: 2, rounds: 2, measure: vec![1, 2], outer }
    }
}

pub struct World {
    pub state: State,
    pub leaves: Vec<Vec<u8>>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub now: Timestamp,
    pub agreement: Option<Digest>,
}

pub fn key(party: &str, class: KeyClass) -> SecretKey {
    let number = PARTIES.iter().position(|p| *p == party).map_or(200, |i| 10 * (i as u8 + 1));
    SecretKey::from_seed(&[number + class as u8; 32])
}

pub fn origin() -> allmende_core::id::Origin {
    "hub.example/handwriting".parse().unwrap()
}

fn salted(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

impl World {
    /// Opened, founded, three members.
    pub fn founded() -> Self {
        let mut world = Self {
            state: State::new(origin(), Some("handwriting".parse().unwrap())),
            leaves: Vec::new(),
            blobs: BTreeMap::new(),
            now: Timestamp(1_796_169_600_000),
            agreement: None,
        };
        let hub_key = key(HUB, KeyClass::Hub).public();
        let registry = "hub.example/hub".parse().unwrap();
        world.add(HUB, KeyClass::Hub, LogOpened { hub_key, protocol: PROTOCOL, registry });
        for party in PARTIES {
            let root = key(party, KeyClass::Root).public();
            let governance = key(party, KeyClass::Governance).public();
            let node = key(party, KeyClass::Node).public();
            let body = PartyRegistered { party: party.parse().unwrap(), root, governance, recovery: None };
            world.add(party, KeyClass::Root, body);
            let name = format!("{party}-node").parse().unwrap();
            world.add(party, KeyClass::Governance, KeyDelegated { key: node, node: name });
        }
        let charter = Charter {
            title: "Handwriting <consortium>".into(),
            goal: "One model of handwritten digits that all three of us may use, without any of us showing its rows."
                .into(),
            mode: Mode::Peer,
            invited: PARTIES.iter().map(|p| p.parse().unwrap()).collect(),
            quorum: 2,
            vote_ms: 3 * 86_400_000,
            deadlock: Deadlock::ExtendOnce,
            milestones: vec![
                Milestone {
                    name: "first-model".parse().unwrap(),
                    due: "2027-01-31".parse().unwrap(),
                    text: "A first joint model, better than the best that any of us has alone.".into(),
                },
                Milestone {
                    name: "service".parse().unwrap(),
                    due: "2027-06-30".parse().unwrap(),
                    text: "The model answers in all three houses.".into(),
                },
            ],
        };
        let digest = charter.digest();
        world.add("north", KeyClass::Governance, CollaborationProposed { charter });
        for party in ["east", "west"] {
            world.add(party, KeyClass::Governance, CollaborationJoined { charter: digest });
        }
        world
    }

    /// Founded, and terms signed by all.
    pub fn agreed() -> Self {
        let mut world = Self::founded();
        let party = |id: &&str| DraftParty {
            id: id.parse().unwrap(),
            key: key(id, KeyClass::Governance).public(),
            signatory: "managing director".into(),
            assets: vec![format!("{id}/digits").parse().unwrap()],
        };
        let inputs = DraftInputs {
            title: "Handwriting consortium, first model".into(),
            collaboration: "handwriting".parse().unwrap(),
            origin: origin(),
            hub_key: key(HUB, KeyClass::Hub).public(),
            starts: "2026-12-01".parse().unwrap(),
            ends: "2027-11-30".parse().unwrap(),
            offer_expires: "2026-12-31".parse().unwrap(),
            currency: "EUR".into(),
            language: Language::En,
            purpose: vec![Purpose::Research],
            parties: PARTIES.iter().map(party).collect(),
            reference: None,
            min_parties: 3,
            coordinator: None,
        };
        let terms = Terms::from_toml(&template(&inputs)).unwrap();
        let digest = terms.digest();
        world.add("north", KeyClass::Governance, AgreementProposed { terms });
        for party in PARTIES {
            world.add(party, KeyClass::Governance, AgreementSigned { terms: digest });
        }
        world.agreement = Some(digest);
        world
    }

    /// Everything up to a payout.
    pub fn settled(shape: &Shape) -> Self {
        let mut world = Self::agreed();
        for (i, party) in PARTIES.into_iter().enumerate() {
            let body = AssetRegistered {
                asset: format!("{party}/digits").parse().unwrap(),
                class: DataClass::Record,
                commitment: salted(party),
                schema: salted("schema"),
                features: shape.inputs,
                classes: shape.classes,
                train_rows: TRAIN_ROWS[i],
                held_out_rows: HELD_OUT_ROWS[i],
                bytes: None,
                licence: None,
            };
            world.add(party, KeyClass::Governance, body);
        }
        let plan = world.plan(shape);
        let digest = plan.digest();
        let run = "first-model";
        world.add("north", KeyClass::Governance, RunProposed { run: run.parse().unwrap(), plan });
        world.hub_steps();
        world.decide("start", Subject::Run { run: run.parse().unwrap(), plan: digest });
        for party in PARTIES {
            let log_size = world.state.size();
            world.add(party, KeyClass::Node, RunAccepted { run: run.parse().unwrap(), plan: digest, log_size });
        }
        world.hub_steps();
        while world.work() {
            world.hub_steps();
        }
        world.hub_steps();
        let finished = &world.state.runs()[&run.parse().unwrap()];
        assert_eq!(finished.status, Status::Finished);
        let model = finished.final_model.unwrap();
        world.decide("release", Subject::Release { run: run.parse().unwrap(), model, accepted: Vec::new() });
        let (manifest, licence) = (salted("manifest"), "CC-BY-NC-4.0".to_owned());
        world.add("east", KeyClass::Governance, ModelReleased { run: run.parse().unwrap(), model, manifest, licence });
        let payout = world.payout("1000000");
        world.add("north", KeyClass::Governance, payout);
        world
    }

    /// The payout that the rules ask for.
    pub fn payout(&self, pool: &str) -> PayoutPosted {
        let run = &self.state.runs()[&"first-model".parse().unwrap()];
        let pool: Amount = pool.parse().unwrap();
        let due = self.state.divide(run, pool).unwrap();
        PayoutPosted {
            payout: format!("grant-{}", self.state.payouts().len() + 1).parse().unwrap(),
            run: run.id.clone(),
            pool,
            currency: "EUR".into(),
            fund: due.fund,
            amounts: due.shares,
        }
    }

    pub fn plan(&mut self, shape: &Shape) -> Plan {
        let model = ModelSpec::Linear { inputs: shape.inputs, classes: shape.classes };
        let values: Vec<f32> = (0..model.parameters()).map(|i| (i as f32 * 0.37).sin() * 0.1).collect();
        let base_model = self.keep(write_f32(&model.tensors(), &values).unwrap());
        let slot = |p: &&str| Slot { party: p.parse().unwrap(), asset: format!("{p}/digits").parse().unwrap() };
        Plan {
            agreement: self.agreement.unwrap(),
            purpose: Purpose::Research,
            slots: PARTIES.iter().map(slot).collect(),
            model,
            base_model,
            normalization: Normalization::Uniform { shift: "0".parse().unwrap(), scale: "0.0625".parse().unwrap() },
            training: Training {
                optimizer: Optimizer::Momentum { rate: "0.05".parse().unwrap(), momentum: "0.9".parse().unwrap() },
                batch_rows: 32,
                epochs: 1,
            },
            outer: shape.outer.clone(),
            rounds: shape.rounds,
            evaluate_every: 1,
            measure: shape.measure.clone(),
            min_parties: 3,
            round_timeout_ms: 600_000,
            seed: Seed(7),
        }
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest, bytes);
        digest
    }

    pub fn decide(&mut self, name: &str, subject: Subject) {
        let decision: allmende_core::id::DecisionId = name.parse().unwrap();
        let body = DecisionOpened { decision: decision.clone(), subject };
        self.add("north", KeyClass::Governance, body);
        for party in PARTIES {
            let body = DecisionVoted { decision: decision.clone(), vote: Vote::Yes };
            self.add(party, KeyClass::Governance, body);
        }
        self.hub_steps();
    }

    /// All that nodes are asked for now; says whether that was anything.
    fn work(&mut self) -> bool {
        let mut worked = false;
        for (slot, party) in PARTIES.into_iter().enumerate() {
            let node = key(party, KeyClass::Node).public();
            let runs: Vec<_> = self.state.runs().values().cloned().collect();
            for run in runs {
                for task in tasks(&run, &party.parse().unwrap(), &node) {
                    let body = self.carry_out(&run, slot, task);
                    self.add(party, KeyClass::Node, body);
                    worked = true;
                }
            }
        }
        worked
    }

    fn carry_out(&mut self, run: &allmende_core::state::runs::Run, slot: usize, task: Task) -> Body {
        let slot_number = slot as u32;
        match task {
            Task::Answer => panic!("answered already"),
            Task::Train { coalition, round, base } => {
                let base_bytes = self.blobs[&base].clone();
                let header = canonical_header(&run.plan.model.tensors()).unwrap().len();
                let mut bytes = base_bytes;
                for (i, value) in bytes[header..].as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let step = ((i + slot * 7) as f32 * 0.11 + round as f32).cos() * 0.02;
                    *value = (f32::from_le_bytes(*value) + step).to_le_bytes();
                }
                let size_bytes = bytes.len() as u64;
                let update = self.keep(bytes);
                let offer = salted(&format!("{coalition:?} {round} {slot}"));
                let weight = TRAIN_ROWS[slot];
                let run = run.id.clone();
                let slot = slot_number;
                UpdateSubmitted { run, coalition, round, slot, offer, base, update, size_bytes, weight }.into()
            }
            Task::Evaluate { coalition, round, model } => {
                let total = HELD_OUT_ROWS[slot];
                let classes = run.plan.model.widths()[1];
                // Each member's rows help, the first one's most.
                let helped: u64 = coalition.slots().map(|member| [11, 7, 4][member]).sum();
                let best = 74 + helped - slot as u64;
                let progress = 100 - 100 / (u64::from(round) + 1);
                let correct = total * (12 + (best - 12) * progress / 100) / 100;
                let whole = coalition == run.whole();
                let confusion = whole.then(|| confusion(classes, correct, total));
                let (run, slot) = (run.id.clone(), slot_number);
                EvaluationReported { run, coalition, round, slot, model, correct, total, confusion }.into()
            }
        }
    }

    /// What the rules ask of the hub, until nothing is due.
    pub fn hub_steps(&mut self) {
        loop {
            let steps = next(&self.state, self.now).steps;
            let Some(step) = steps.into_iter().next() else { return };
            let body = self.attest(step);
            self.add(HUB, KeyClass::Hub, body);
        }
    }

    fn attest(&mut self, step: Step) -> Body {
        match step {
            Step::Check { run } => {
                let known = &self.state.runs()[&run];
                let (allowed, clauses) = (known.status != Status::Forbidden, known.clauses.clone());
                assert!(allowed, "{:?}", self.state.judge_plan(&known.plan, &known.proposed_by, self.now));
                RunChecked { run, allowed, clauses }.into()
            }
            Step::CloseDecision { decision, outcome } => DecisionClosed { decision, outcome }.into(),
            Step::Start { run } => RunStarted { run }.into(),
            Step::CloseRound { run, coalition, round, base, velocity, counted } => {
                let plan = self.state.runs()[&run].plan.clone();
                let header = canonical_header(&plan.model.tensors()).unwrap();
                let payload = |digest: &Digest| self.blobs[digest][header.len()..].to_vec();
                let weights: Vec<u64> = counted.iter().map(|c| c.weight).collect();
                let mut fold = SliceAggregator::new(&plan.outer, &weights).unwrap();
                fold.begin(&payload(&base)).unwrap();
                for update in &counted {
                    fold.fold(&payload(&update.update)).unwrap();
                }
                let slice = fold.finish(&velocity.map(|v| payload(&v)).unwrap_or_default()).unwrap();
                let model = self.keep([header.clone(), slice.model].concat());
                let velocity = (plan.outer != Outer::Average).then(|| self.keep([header, slice.velocity].concat()));
                RoundClosed { run, coalition, round, counted, model, velocity }.into()
            }
            Step::Finish { run, model } => RunFinished { run, model }.into(),
            Step::Measure { run } => {
                let due = self.state.contribution(&self.state.runs()[&run]).unwrap();
                ContributionMeasured { run, values: due.values, shares: due.shares }.into()
            }
            Step::DropTrack { .. } | Step::Fail { .. } => panic!("nothing fails here: {step:?}"),
        }
    }

    /// Many entries cheaply: nodes come and go.
    pub fn grow(&mut self, size: u64) {
        // Fresh numbers, also when it grows again.
        let mut n = self.state.size() as u32;
        while self.state.size() < size {
            let mut seed = [77; 32];
            seed[..4].copy_from_slice(&n.to_le_bytes());
            let key = SecretKey::from_seed(&seed).public();
            self.add("east", KeyClass::Governance, KeyDelegated { key, node: format!("n{n}").parse().unwrap() });
            if self.state.size() < size {
                self.add("east", KeyClass::Governance, KeyRevoked { key });
            }
            n += 1;
        }
    }

    pub fn seal(&self, party: &str, class: KeyClass, body: impl Into<Body>) -> Envelope {
        let body = body.into();
        let row = row(body.kind()).unwrap();
        let secret = key(party, class);
        let keys = row.scope == Scope::Keys;
        let chain = self.state.chain(&secret.public(), keys);
        let header = Header {
            origin: if keys { "hub.example/hub".parse().unwrap() } else { origin() },
            collaboration: (!keys).then(|| "handwriting".parse().unwrap()),
            agreement: self.agreement.filter(|_| row.scope == Scope::Agreement),
            by: Signer { party: party.parse().unwrap(), class },
            seq: chain.next,
            previous: chain.last,
            claimed_at: self.now,
        };
        Statement { header, body }.seal(&secret).unwrap()
    }

    pub fn add(&mut self, party: &str, class: KeyClass, body: impl Into<Body>) {
        let envelope = self.seal(party, class, body);
        let record = Record { arrived_at: self.now, envelope };
        let kind = record.envelope.payload_type.clone();
        self.state.apply(&record).unwrap_or_else(|e| panic!("{kind}: {e}"));
        self.leaves.push(record.to_bytes().unwrap());
        self.now = self.now.plus_ms(1_137);
    }

    /// Appends what the rules refuse, as a hub that cheats would.
    pub fn cheat(&mut self, envelope: Envelope) {
        self.leaves.push(Record { arrived_at: self.now, envelope }.to_bytes().unwrap());
    }

    pub fn checkpoint(&self) -> SignedCheckpoint {
        let hashes: Vec<_> = self.leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let checkpoint = Checkpoint { origin: origin(), size: hashes.len() as u64, root: root_of(&hashes) };
        SignedCheckpoint::sign(checkpoint, &origin(), &key(HUB, KeyClass::Hub))
    }

    pub fn hub_key() -> PublicKey {
        key(HUB, KeyClass::Hub).public()
    }

    pub fn export(&self, root: &Path) {
        let leaves = self.leaves.iter().map(|leaf| Ok::<_, std::convert::Infallible>(leaf.clone()));
        export(root, leaves, &self.checkpoint(), Existing::Keep).unwrap();
    }
}

/// A plausible matrix: the right rows on the diagonal, the wrong ones beside it, small cells merged.
fn confusion(classes: u32, correct: u64, total: u64) -> Confusion {
    let n = u64::from(classes);
    let mut rows = BTreeMap::new();
    for class in 0..n {
        let right = correct / n + u64::from(class < correct % n);
        let wrong = (total - correct) / n + u64::from(class < (total - correct) % n);
        *rows.entry((class as u32, class as u32)).or_insert(0) += right;
        *rows.entry((class as u32, ((class + 5) % n) as u32)).or_insert(0) += wrong;
    }
    let merged = rows.values().filter(|&&r| r < 5).sum();
    let cells = rows.into_iter().filter(|&(_, r)| r >= 5).map(|((t, p), r)| (t, p, r)).collect();
    Confusion { cells, merged }
}
