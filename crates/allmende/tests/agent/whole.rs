//! Three whole nodes and a real hub: from registration to a finished run, a stop, a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use allmende::agent::alarms::Alarms;
use allmende::agent::control::{Control, Stop};
use allmende::agent::data::{self, Salt};
use allmende::agent::outbox::{lines, sums};
use allmende::agent::settings::{Offered, Settings};
use allmende::agent::{self, AgentError, Ended, Options};
use allmende::client::http::{HubClient, Kind, Signer};
use allmende::client::routes::LogName;
use allmende::client::submit::RemoteLog;
use allmende::clock::Clock;
use allmende::tls::Trust;
use allmende_core::agreement::draft::{DraftInputs, DraftParty, template};
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{DataClass, Language, Purpose};
use allmende_core::collaboration::charter::{Charter, Deadlock, Mode};
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::id::{Origin, RunId};
use allmende_core::run::plan::{ModelSpec, Normalization, Optimizer, Outer, Plan, Seed, Slot, Training};
use allmende_core::signature::PublicKey;
use allmende_core::state::State;
use allmende_core::state::runs::{Answer, Status};
use allmende_core::statement::{
    AgreementProposed, AgreementSigned, AssetRegistered, Body, CollaborationJoined, CollaborationProposed,
    DecisionOpened, DecisionVoted, KeyClass, KeyDelegated, PartyRegistered, RefusalCode, RunProposed,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stores::NOW;
use crate::verify::world::{PARTIES, key};

const RUN: &str = "first";

struct Village {
    dir: tempfile::TempDir,
    url: String,
    hub: Origin,
    hub_key: PublicKey,
    clock: Clock,
    _server: JoinHandle<()>,
}

impl Village {
    /// A hub, three parties with data, an agreement in force.
    async fn new(collaboration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::test(NOW);
        let config = crate::http::config(&dir, &[("name", "hub.example")]);
        let app = allmende::hub::open(config, clock.clone()).await.unwrap();
        let hub_key = app.hub_key.public();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let _server = tokio::spawn(allmende::server::serve(app, listener, std::future::pending::<()>()));
        let village = Self { dir, url, hub: "hub.example".parse().unwrap(), hub_key, clock, _server };
        village.found(collaboration).await;
        village
    }

    fn log(&self, party: &str, name: &LogName) -> RemoteLog {
        let client = HubClient::connect(&self.url, &Trust::System, Some(self.hub_key), self.clock.clone()).unwrap();
        let client = client.signed_in_as(signer(party, KeyClass::Governance));
        RemoteLog::in_memory(Arc::new(client), &self.hub, name).unwrap()
    }

    async fn say(&self, party: &str, class: KeyClass, body: impl Into<Body>) {
        let body = body.into();
        let name = match &body {
            Body::PartyRegistered(_) | Body::KeyDelegated(_) => LogName::Hub,
            _ => LogName::Collaboration("village".parse().unwrap()),
        };
        let log = self.log(party, &name);
        if !matches!(body, Body::CollaborationProposed(_)) {
            log.catch_up().await.unwrap();
        }
        log.submit(&signer(party, class), body, None).await.unwrap();
    }

    async fn state(&self) -> State {
        let log = self.log("north", &LogName::Collaboration("village".parse().unwrap()));
        log.catch_up().await.unwrap();
        log.mirror().state().clone()
    }

    fn home(&self, party: &str) -> std::path::PathBuf {
        self.dir.path().join(party)
    }

    async fn found(&self, collaboration: &str) {
        use KeyClass::{Governance, Node, Root};
        for party in PARTIES {
            let (root, governance) = (key(party, Root).public(), key(party, Governance).public());
            let body = PartyRegistered { party: party.parse().unwrap(), root, governance, recovery: None };
            self.say(party, Root, body).await;
            let body = KeyDelegated { key: key(party, Node).public(), node: "n1".parse().unwrap() };
            self.say(party, Governance, body).await;
        }
        let charter = Charter {
            title: collaboration.into(),
            goal: "A joint model.".into(),
            mode: Mode::Peer,
            invited: PARTIES.iter().map(|p| p.parse().unwrap()).collect(),
            quorum: 2,
            vote_ms: 86_400_000,
            deadlock: Deadlock::Reject,
            milestones: Vec::new(),
        };
        let digest = charter.digest();
        self.say("north", Governance, CollaborationProposed { charter }).await;
        for party in ["east", "west"] {
            self.say(party, Governance, CollaborationJoined { charter: digest }).await;
        }
        let party = |id: &&str| DraftParty {
            id: id.parse().unwrap(),
            key: key(id, Governance).public(),
            signatory: "director".into(),
            assets: vec![format!("{id}/points").parse().unwrap()],
        };
        let inputs = DraftInputs {
            title: "Points".into(),
            collaboration: "village".parse().unwrap(),
            origin: "hub.example/village".parse().unwrap(),
            hub_key: self.hub_key,
            starts: "2026-12-01".parse().unwrap(),
            ends: "2027-11-30".parse().unwrap(),
            offer_expires: "2026-12-31".parse().unwrap(),
            currency: "EUR".into(),
            language: Language::En,
            purpose: vec![Purpose::Research],
            parties: PARTIES.iter().map(party).collect(),
            reference: None,
            min_parties: 2,
            coordinator: None,
        };
        let terms = Terms::from_toml(&template(&inputs)).unwrap();
        let digest = terms.digest();
        self.say("north", Governance, AgreementProposed { terms }).await;
        for party in PARTIES {
            self.say(party, Governance, AgreementSigned { terms: digest }).await;
        }
        for (i, party) in PARTIES.into_iter().enumerate() {
            let home = self.home(party);
            std::fs::create_dir_all(&home).unwrap();
            let path = home.join("points.csv");
            std::fs::write(&path, points(i)).unwrap();
            let salt = Salt([i as u8; 32]);
            let dataset = data::load(&path, 2, &salt).unwrap();
            let asset: allmende_core::id::AssetId = format!("{party}/points").parse().unwrap();
            let mut settings = Settings { wait_s: 5, ..Settings::default() };
            let (commitment, schema) = (dataset.commitment, dataset.schema_digest);
            settings.dataset.insert(asset.clone(), Offered { path, classes: 2, salt, commitment, schema });
            settings.save(&home).unwrap();
            let body = AssetRegistered {
                asset,
                class: DataClass::Record,
                commitment,
                schema,
                features: 2,
                classes: 2,
                train_rows: dataset.train.rows() as u64,
                held_out_rows: dataset.held_out.rows() as u64,
                bytes: None,
                licence: None,
            };
            self.say(party, Governance, body).await;
        }
    }

    async fn propose(&self, run: &str, rounds: u32, epochs: u32) {
        let state = self.state().await;
        let model = ModelSpec::Mlp { inputs: 2, hidden: vec![8], classes: 2 };
        let base = allmende_train::model::initial_model(&model, Seed(7)).unwrap();
        let slot = |p: &&str| Slot { party: p.parse().unwrap(), asset: format!("{p}/points").parse().unwrap() };
        let plan = Plan {
            agreement: *state.agreements().keys().next().unwrap(),
            purpose: Purpose::Research,
            slots: PARTIES.iter().map(slot).collect(),
            model,
            base_model: allmende_core::digest::Digest::of(&base),
            normalization: Normalization::Uniform { shift: "0".parse().unwrap(), scale: "1".parse().unwrap() },
            training: Training { optimizer: Optimizer::Adam { rate: "0.05".parse().unwrap() }, batch_rows: 16, epochs },
            outer: Outer::Average,
            rounds,
            evaluate_every: 1,
            measure: vec![1],
            min_parties: 2,
            round_timeout_ms: 600_000,
            seed: Seed(7),
        };
        let (digest, id): (_, RunId) = (plan.digest(), run.parse().unwrap());
        self.say("north", KeyClass::Governance, RunProposed { run: id.clone(), plan }).await;
        let subject = Subject::Run { run: id, plan: digest };
        let decision: allmende_core::id::DecisionId = run.parse().unwrap();
        self.say("north", KeyClass::Governance, DecisionOpened { decision: decision.clone(), subject }).await;
        for party in PARTIES {
            let body = DecisionVoted { decision: decision.clone(), vote: Vote::Yes };
            self.say(party, KeyClass::Governance, body).await;
        }
    }

    fn start(&self, party: &str, resume: bool) -> Running {
        self.start_by(party, resume, self.clock.clone())
    }

    /// Starts a node that goes by a clock of its own.
    fn start_by(&self, party: &str, resume: bool, clock: Clock) -> Running {
        let shutdown = CancellationToken::new();
        let options = Options {
            dir: self.home(party),
            copies: None,
            url: self.url.clone(),
            trust: Trust::System,
            hub: self.hub.clone(),
            hub_key: self.hub_key,
            party: party.parse().unwrap(),
            node: "n1".parse().unwrap(),
            key: Arc::new(key(party, KeyClass::Node)),
            clock,
            resume,
        };
        Running { node: tokio::spawn(agent::run(options, shutdown.clone())), shutdown }
    }

    async fn until(&self, what: &str, reached: impl Fn(&State) -> bool) -> State {
        for _ in 0..600 {
            let state = self.state().await;
            if reached(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: {what}");
    }
}

struct Running {
    node: JoinHandle<Result<Ended, AgentError>>,
    shutdown: CancellationToken,
}

impl Running {
    async fn end(self) -> Result<Ended, AgentError> {
        self.shutdown.cancel();
        self.node.await.unwrap()
    }
}

fn signer(party: &str, class: KeyClass) -> Signer {
    Signer { party: party.parse().unwrap(), class, key: Arc::new(key(party, class)) }
}

/// Points left and right of a line, each party's own.
fn points(seed: usize) -> String {
    let mut text = "x,y,label\n".to_owned();
    for i in 0..60 + 10 * seed {
        let (x, y) = ((i * 37 + seed * 11) % 100, (i * 59 + seed * 7) % 100);
        text.push_str(&format!("{},{},{}\n", x as f64 / 50.0 - 1.0, y as f64 / 50.0 - 1.0, u8::from(x + y > 100)));
    }
    text
}

fn status(state: &State) -> Status {
    state.run(&RUN.parse().unwrap()).unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_train_evaluate_and_send_no_row() {
    let village = Village::new("train").await;
    let nodes: Vec<Running> = PARTIES.iter().map(|p| village.start(p, false)).collect();
    village.propose(RUN, 3, 2).await;
    let state = village.until("finished", |s| status(s).is_over()).await;
    let run = state.run(&RUN.parse().unwrap()).unwrap();
    assert_eq!(run.status, Status::Finished, "{run:?}");
    assert!(run.tracks.iter().all(|t| t.dropped.is_none() && t.closed.len() == 3));
    let (first, last) = (run.utility(run.whole(), 1).unwrap(), run.utility(run.whole(), 3).unwrap());
    assert!(last.correct >= first.correct && last.correct * 10 >= last.total * 8, "{first:?} {last:?}");
    for node in nodes {
        assert_eq!(node.end().await.unwrap(), Ended::Shutdown);
    }
    for party in PARTIES {
        let journal = lines(&village.home(party).join("outbox")).unwrap();
        let sums = sums(&journal);
        assert!(sums.values().all(|s| s.rows == 0));
        // Two tracks of three rounds: the whole coalition's, and its own.
        let previews = journal.iter().filter(|l| l.preview.is_some()).count();
        assert_eq!((previews, sums[&Kind::Update].pieces), (6, 6));
        assert!(sums[&Kind::Evaluation].pieces >= 4 && sums[&Kind::Cosignature].pieces > 0);
        assert!(no_file_with_rows(&village.home(party)));
        assert!(!village.home(party).join("alarms.jsonl").exists());
    }
}

/// Nothing that a node writes for itself holds a row either.
fn no_file_with_rows(home: &Path) -> bool {
    ["outbox", "mirror"].iter().all(|folder| {
        let mut open = vec![home.join(folder)];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains("x,y,label") {
                    return false;
                }
            }
        }
        true
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_is_heard_at_once_and_a_killed_node_goes_on() {
    let village = Village::new("stop").await;
    let mut nodes: Vec<Running> = PARTIES.iter().map(|p| village.start(p, false)).collect();
    village.propose(RUN, 40, 20).await;
    village
        .until("two rounds", |s| s.run(&RUN.parse().unwrap()).unwrap().tracks.first().is_some_and(|t| t.round() > 2))
        .await;
    // Killed, without a word, and started again: it goes on where it was.
    let killed = nodes.remove(0);
    killed.node.abort();
    let _ = killed.node.await;
    let again = village.start("north", false);
    let round = village.state().await.run(&RUN.parse().unwrap()).unwrap().tracks[0].round();
    village.until("further rounds", |s| s.run(&RUN.parse().unwrap()).unwrap().tracks[0].round() > round + 1).await;
    // The owner stops west.
    let asked = std::time::Instant::now();
    Control::new(&village.home("west")).stop(Stop { silent: false }).unwrap();
    let west = nodes.pop().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), west.node).await.unwrap().unwrap().unwrap();
    assert_eq!(ended, Ended::Stopped(Stop { silent: false }));
    assert!(asked.elapsed() < Duration::from_secs(3));
    let state = village.state().await;
    let answer = state.run(&RUN.parse().unwrap()).unwrap().answers[&2];
    assert_eq!(answer, Answer::Refused { code: RefusalCode::Stopped });
    assert!(matches!(village.start("west", false).end().await, Err(AgentError::Stopped)));
    let west = village.start("west", true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(west.end().await.unwrap(), Ended::Shutdown);
    for node in [again, nodes.remove(0)] {
        assert_eq!(node.end().await.unwrap(), Ended::Shutdown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_quorum_nothing_is_done() {
    let village = Village::new("quorum").await;
    let alone: Vec<Running> = ["north", "east"].iter().map(|p| village.start(p, false)).collect();
    village.propose(RUN, 1, 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let state = village.state().await;
    assert!(state.run(&RUN.parse().unwrap()).unwrap().answers.is_empty());
    // The third makes the quorum.
    let third = village.start("west", false);
    village.until("finished", |s| status(s) == Status::Finished).await;
    for node in alone.into_iter().chain([third]) {
        assert_eq!(node.end().await.unwrap(), Ended::Shutdown);
    }
}

/// Hub and node disagree about the time by more than the owner allows: whichever is wrong, dates of the log mean nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_dated_ahead_is_neither_cosigned_nor_worked_on_until_the_clocks_fit() {
    let village = Village::new("ahead").await;
    // Past the first midnight of the terms by either clock.
    village.clock.advance_ms(3_600_000);
    let slow = Clock::test(village.clock.now().plus_ms(-120_000));
    for party in PARTIES {
        let home = village.home(party);
        let settings = Settings { clock_skew_s: 60, ..Settings::load(&home).unwrap() };
        settings.save(&home).unwrap();
    }
    village.propose(RUN, 1, 1).await;
    let nodes: Vec<Running> = PARTIES.iter().map(|p| village.start_by(p, false, slow.clone())).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let state = village.state().await;
    assert!(state.run(&RUN.parse().unwrap()).unwrap().answers.is_empty());
    for party in PARTIES {
        let alarms = Alarms::new(&village.home(party)).all().unwrap();
        let ahead: Vec<_> = alarms.iter().filter(|alarm| alarm.code == "node.log-ahead").collect();
        assert!(ahead.len() == 1 && !ahead[0].halts, "{party}: {alarms:?}");
        assert!(
            ahead[0].text.contains("120 s ahead") && ahead[0].text.contains("the clock here is wrong"),
            "{ahead:?}"
        );
        let sent = sums(&lines(&village.home(party).join("outbox")).unwrap());
        assert!(!sent.contains_key(&Kind::Cosignature), "{sent:?}");
    }
    // Within what the owners allow, all goes on by itself.
    slow.advance_ms(61_000);
    village.until("finished", |s| status(s) == Status::Finished).await;
    for node in nodes {
        assert_eq!(node.end().await.unwrap(), Ended::Shutdown);
    }
}
