//! A collaboration over processes: a hub, members with homes of their own, their nodes, and runs that follow each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use allmende::agent::alarms::Alarms;
use allmende::agent::data::{self, Salt};
use allmende::agent::settings::{Offered, Settings};
use allmende::client::home::sealed::Protection;
use allmende::client::home::{Home, HomeError, HubPin, PartyFile};
use allmende::client::http::{HubClient, Signer};
use allmende::client::routes::LogName;
use allmende::client::submit::{RemoteLog, SubmitError};
use allmende::clock::Clock;
use allmende::tls::Trust;
use allmende::verify::{self, DirBlobs, DirSource};
use allmende_core::agreement::draft::{DraftInputs, DraftParty, template};
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{DataClass, Language, Purpose};
use allmende_core::collaboration::charter::{Charter, Deadlock, Mode};
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::digest::Digest;
use allmende_core::id::{AssetId, Origin, PartyId, RunId};
use allmende_core::run::plan::{ModelSpec, Normalization, Optimizer, Outer, Plan, Seed, Slot, Training};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::state::State;
use allmende_core::state::runs::Status;
use allmende_core::statement::{
    AgreementProposed, AgreementSigned, AssetRegistered, Body, CollaborationJoined, CollaborationProposed,
    DecisionOpened, DecisionVoted, KeyClass, KeyDelegated, PartyRegistered, RunProposed,
};

use super::process::{HubProcess, Process, program};

const NAMES: [&str; 4] = ["north", "east", "west", "south"];
/// Longest wait for a run.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn collaboration() -> LogName {
    LogName::Collaboration("digits".parse().unwrap())
}

pub struct Member {
    pub id: PartyId,
    pub home: Home,
    pub governance: Signer,
    pub log: RemoteLog,
    pub node: Option<Process>,
}

impl Member {
    fn asset(&self) -> AssetId {
        format!("{}/rows", self.id).parse().unwrap()
    }

    /// Says it until the hub has answered; gives where it stands.
    pub async fn say(&self, body: impl Into<Body>, agreement: Option<Digest>) -> (u64, Digest) {
        self.say_through(&[&self.log], body, agreement).await
    }

    /// As [`Self::say`], by another way whenever one fails.
    pub async fn say_through(
        &self,
        ways: &[&RemoteLog],
        body: impl Into<Body>,
        agreement: Option<Digest>,
    ) -> (u64, Digest) {
        let body = body.into();
        let began = Instant::now();
        let mut tried = false;
        for way in ways.iter().cycle() {
            match way.submit(&self.governance, body.clone(), agreement).await {
                Ok(placed) => return (placed.index, placed.digest),
                Err(error) if passing(&error) => tried = true,
                // The answer to an earlier try was lost: it stands there under another digest.
                Err(SubmitError::Client(error)) if tried && !error.is_passing() => {
                    return standing(way, &body)
                        .await
                        .unwrap_or_else(|| panic!("{} {}: {error}", self.id, body.kind()));
                }
                Err(error) => panic!("{} {}: {error}", self.id, body.kind()),
            }
            assert!(began.elapsed() < PATIENCE, "{} {}", self.id, body.kind());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        unreachable!("there is a way")
    }

    pub async fn state(&self) -> State {
        let began = Instant::now();
        loop {
            match self.log.catch_up().await {
                Ok(()) => return self.log.mirror().state().clone(),
                Err(error) if passing(&error) => assert!(began.elapsed() < PATIENCE, "{error}"),
                Err(error) => panic!("{}: {error}", self.id),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn start_node(&mut self, dir: &Path) {
        let (home, log) = (self.home.dir().display().to_string(), dir.join(format!("{}-node.log", self.id)));
        self.node = Some(Process(program(&["--home", &home, "node", "run"], &log).spawn().unwrap()));
    }

    pub fn kill_node(&mut self) {
        self.node = None;
    }
}

async fn standing(log: &RemoteLog, body: &Body) -> Option<(u64, Digest)> {
    while log.catch_up().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mirror = log.mirror();
    (0..mirror.entries()).rev().find_map(|index| {
        let record = mirror.read(index).ok()?.into_iter().next()?;
        let opened = allmende_core::statement::Statement::open(&record.envelope).ok()?;
        (opened.statement.body == *body).then_some((index, opened.digest))
    })
}

fn passing(error: &SubmitError) -> bool {
    error.is_passing()
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub hub: HubProcess,
    pub hub_key: PublicKey,
    pub members: Vec<Member>,
    pub agreement: Digest,
    pub min_parties: u32,
}

pub fn hub_name() -> Origin {
    "hub.test".parse().unwrap()
}

pub fn client(url: &str, hub_key: PublicKey) -> HubClient {
    HubClient::connect(url, &Trust::System, Some(hub_key), Clock::system()).unwrap()
}

impl World {
    /// Founds a collaboration on a hub that runs: parties, charter, terms, datasets; nodes are not started.
    pub async fn found(dir: tempfile::TempDir, hub: HubProcess, parties: usize, min_parties: u32) -> Self {
        Self::found_under(dir, hub, parties, min_parties, "").await
    }

    /// As [`Self::found`], with further clauses.
    pub async fn found_under(
        dir: tempfile::TempDir,
        hub: HubProcess,
        parties: usize,
        min_parties: u32,
        clauses: &str,
    ) -> Self {
        Self::found_edited(dir, hub, parties, min_parties, |draft| draft + clauses).await
    }

    /// As [`Self::found`], under terms that were edited.
    pub async fn found_edited(
        dir: tempfile::TempDir,
        hub: HubProcess,
        parties: usize,
        min_parties: u32,
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        let hub_key = {
            let began = Instant::now();
            loop {
                let anybody = HubClient::connect(&hub.url(), &Trust::System, None, Clock::system()).unwrap();
                match anybody.hub().await {
                    Ok(found) => break found.key,
                    Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
                }
            }
        };
        let mut members = Vec::new();
        for name in &NAMES[..parties] {
            members.push(enter(dir.path(), &hub.url(), hub_key, name).await);
        }
        let charter = Charter {
            title: "Digits".into(),
            goal: "All of them".into(),
            mode: Mode::Peer,
            invited: members.iter().map(|m| m.id.clone()).collect(),
            quorum: u32::try_from(parties).unwrap(),
            vote_ms: 600_000,
            deadlock: Deadlock::Reject,
            milestones: Vec::new(),
        };
        members[0].say(CollaborationProposed { charter: charter.clone() }, None).await;
        for member in &members[1..] {
            member.state().await;
            member.say(CollaborationJoined { charter: charter.digest() }, None).await;
        }
        let day = |n: i64| Clock::system().now().plus_ms(n * 86_400_000).date();
        let draft = template(&DraftInputs {
            title: "Digits".into(),
            collaboration: "digits".parse().unwrap(),
            origin: "hub.test/digits".parse().unwrap(),
            hub_key,
            starts: day(0),
            ends: day(1),
            offer_expires: day(1),
            currency: "EUR".into(),
            language: Language::En,
            purpose: vec![Purpose::Research],
            parties: members
                .iter()
                .map(|m| DraftParty {
                    id: m.id.clone(),
                    key: m.governance.key.public(),
                    signatory: "Director".into(),
                    assets: vec![m.asset()],
                })
                .collect(),
            reference: None,
            min_parties,
            coordinator: None,
        });
        let terms = Terms::from_toml(&edit(draft)).unwrap();
        let agreement = terms.digest();
        members[0].say(AgreementProposed { terms }, None).await;
        for member in &members {
            member.say(AgreementSigned { terms: agreement }, None).await;
        }
        for (i, member) in members.iter().enumerate() {
            offer(dir.path(), member, i, agreement).await;
        }
        Self { dir, hub, hub_key, members, agreement, min_parties }
    }

    pub fn start_nodes(&mut self) {
        let dir = self.dir.path().to_owned();
        for member in &mut self.members {
            member.start_node(&dir);
        }
    }

    pub fn plan(&self, rounds: u32, round_timeout_ms: u64) -> Plan {
        let decimal = |text: &str| text.parse().unwrap();
        let model = ModelSpec::Mlp { inputs: 2, hidden: vec![8], classes: 3 };
        let seed = Seed(7);
        let base = allmende_train::model::initial_model(&model, seed).unwrap();
        Plan {
            agreement: self.agreement,
            purpose: Purpose::Research,
            slots: self.members.iter().map(|m| Slot { party: m.id.clone(), asset: m.asset() }).collect(),
            model,
            base_model: Digest::of(&base),
            normalization: Normalization::Uniform { shift: decimal("5"), scale: decimal("0.2") },
            training: Training { optimizer: Optimizer::Sgd { rate: decimal("0.5") }, batch_rows: 16, epochs: 1 },
            outer: Outer::Nesterov { rate: decimal("1"), momentum: decimal("0.5") },
            rounds,
            evaluate_every: 0,
            measure: Vec::new(),
            min_parties: self.min_parties,
            round_timeout_ms,
            seed,
        }
    }

    /// Proposes a run and lets all members agree.
    pub async fn propose(&self, name: &str, plan: Plan) -> RunId {
        let run: RunId = name.parse().unwrap();
        let digest = plan.digest();
        self.members[0].say(RunProposed { run: run.clone(), plan }, Some(self.agreement)).await;
        let decision: allmende_core::id::DecisionId = format!("about-{name}").parse().unwrap();
        let subject = Subject::Run { run: run.clone(), plan: digest };
        self.members[0].say(DecisionOpened { decision: decision.clone(), subject }, None).await;
        for member in &self.members {
            member.state().await;
            member.say(DecisionVoted { decision: decision.clone(), vote: Vote::Yes }, None).await;
        }
        run
    }

    pub async fn ended(&self, run: &RunId) -> Status {
        let began = Instant::now();
        loop {
            let state = self.members[0].state().await;
            let found = state.run(run).unwrap();
            if found.status.is_over() {
                return found.status;
            }
            let rounds: Vec<_> = found.tracks.iter().map(|t| t.models.len() - 1).collect();
            let nodes = std::fs::read_to_string(self.dir.path().join("north-node.log")).unwrap_or_default();
            let last: Vec<_> = nodes.lines().rev().take(10).collect();
            assert!(
                began.elapsed() < PATIENCE,
                "{run} {:?} is stuck at {rounds:?}\n{}\n{last:#?}",
                found.status,
                self.hub.words()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops everything and judges what is left: the log, its aggregations, the nodes' copies, and everything that was
    /// acknowledged.
    pub fn judge(&mut self, acknowledged: &[(u64, Digest)]) -> verify::Report {
        for member in &mut self.members {
            member.kill_node();
        }
        self.hub.process().stop();
        let folder = self.hub.dir.join("export/digits");
        let blobs = DirBlobs::new(self.hub.dir.join("blobs"));
        let options = verify::Options {
            origin: Some("hub.test/digits".parse().unwrap()),
            hub_key: Some(self.hub_key),
            blobs: Some(&blobs),
            ..verify::Options::default()
        };
        let report = verify::verify(&DirSource::new(&folder), &options).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(report.rounds.recomputed, report.rounds.recorded, "{:?}", report.not_checked);
        let mirror = allmende::client::mirror::Mirror::open(
            &folder,
            "hub.test/digits".parse().unwrap(),
            Some("digits".parse().unwrap()),
            self.hub_key,
        );
        let mirror = mirror.unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..mirror.entries() {
            assert!(seen.insert(mirror.payload(index).unwrap()), "entry {index} stands twice");
        }
        for (index, digest) in acknowledged {
            assert_eq!(mirror.payload(*index), Some(*digest), "entry {index} was acknowledged");
        }
        for member in &self.members {
            let dir = member.home.node_dir();
            let halting: Vec<_> = Alarms::new(&dir).all().unwrap().into_iter().filter(|a| a.halts).collect();
            assert!(halting.is_empty(), "{}: {halting:?}", member.id);
            let known = verify::checkpoint(&DirSource::new(dir.join("mirror/digits"))).unwrap().checkpoint;
            assert_eq!(mirror.root(known.size), Some(known.root), "{}'s copy", member.id);
        }
        report
    }
}

async fn enter(dir: &Path, url: &str, hub_key: PublicKey, name: &str) -> Member {
    let id: PartyId = name.parse().unwrap();
    let file = PartyFile::new(id.clone(), "node-1".parse().unwrap(), None);
    let (mut home, _) = Home::create(&dir.join(name), file, &Protection::None).unwrap();
    home.pin_hub(HubPin { url: url.to_owned(), key: hub_key, name: hub_name(), tls_pin: None }).unwrap();
    let key = |class| Arc::new(home.key(class, || Err(HomeError::NotJoined { party: id.clone() })).unwrap());
    let signer = |class| Signer { party: id.clone(), class, key: key(class) };
    let (root, governance) = (signer(KeyClass::Root), signer(KeyClass::Governance));
    let node: SecretKey = home.node_key().unwrap();
    let registry = RemoteLog::in_memory(Arc::new(client(url, hub_key)), &hub_name(), &LogName::Hub).unwrap();
    registry.catch_up().await.unwrap();
    let body = PartyRegistered {
        party: id.clone(),
        root: root.key.public(),
        governance: governance.key.public(),
        recovery: None,
    };
    registry.submit(&root, body, None).await.unwrap();
    let body = KeyDelegated { key: node.public(), node: "node-1".parse().unwrap() };
    registry.submit(&governance, body, None).await.unwrap();
    let signed_in = Arc::new(client(url, hub_key).signed_in_as(governance.clone()));
    let log = RemoteLog::in_memory(signed_in, &hub_name(), &collaboration()).unwrap();
    Member { id, home, governance, log, node: None }
}

async fn offer(dir: &Path, member: &Member, i: usize, agreement: Digest) {
    use std::fmt::Write as _;
    let mut text = String::from("a,b,label\n");
    for n in 0..60_usize {
        let class = (n + i) % 3;
        let (x, y) = ([1.0, 5.0, 9.0][class], [9.0, 1.0, 5.0][class]);
        let wobble = |k: usize| ((n * k + i * 7) % 11) as f32 / 10.0;
        let _ = writeln!(text, "{},{},{class}", x + wobble(3) + n as f32 * 0.001, y + wobble(5));
    }
    let path = dir.join(format!("{}.csv", member.id));
    std::fs::write(&path, text).unwrap();
    let salt = Salt([i as u8; 32]);
    let data = data::load(&path, 3, &salt).unwrap();
    let body = AssetRegistered {
        asset: member.asset(),
        class: DataClass::Record,
        commitment: data.commitment,
        schema: data.schema_digest,
        features: 2,
        classes: 3,
        train_rows: data.train.rows() as u64,
        held_out_rows: data.held_out.rows() as u64,
        bytes: None,
        licence: None,
    };
    member.say(body, Some(agreement)).await;
    let offered = Offered { path, classes: 3, salt, commitment: data.commitment, schema: data.schema_digest };
    let dataset = BTreeMap::from([(member.asset(), offered)]);
    let settings = Settings { wait_s: 2, dataset, ..Settings::default() };
    std::fs::create_dir_all(member.home.node_dir()).unwrap();
    settings.save(&member.home.node_dir()).unwrap();
}

/// Keeps the hub busy while it dies again and again: one run after the other, and small statements in between. Gives what
/// was acknowledged, and the runs.
pub async fn keep_busy(world: &World, stop: &AtomicBool) -> (Vec<(u64, Digest)>, Vec<RunId>) {
    let talk = async {
        let mut acknowledged = Vec::new();
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            let guest: PartyId = format!("guest-{n}").parse().unwrap();
            let decision = format!("talk-{n}").parse().unwrap();
            let body = DecisionOpened { decision, subject: Subject::Admit { party: guest } };
            acknowledged.push(world.members[1].say(body.clone(), None).await);
            // One member may hold few decisions open: it votes against its own, which ends it.
            let body = DecisionVoted { decision: body.decision, vote: Vote::No };
            acknowledged.push(world.members[1].say(body, None).await);
            n += 1;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        acknowledged
    };
    let runs = async {
        let mut runs = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let run = world.propose(&format!("run-{}", runs.len()), world.plan(4, 60_000)).await;
            runs.push(run.clone());
            assert_eq!(world.ended(&run).await, Status::Finished, "{run}");
        }
        runs
    };
    tokio::join!(talk, runs)
}
