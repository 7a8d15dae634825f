//! One run over real sockets, in one process: a hub and three nodes on loopback, from founding to payout.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allmende::agent::data::{self, Salt};
use allmende::agent::settings::{Offered, Settings};
use allmende::client::http::{HubClient, Signer};
use allmende::client::routes::LogName;
use allmende::client::submit::RemoteLog;
use allmende::clock::Clock;
use allmende::config::{Config, Layers};
use allmende::tls::Trust;
use allmende_core::agreement::draft::{DraftInputs, DraftParty, template};
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{DataClass, Language, Purpose};
use allmende_core::amount::Amount;
use allmende_core::collaboration::charter::{Charter, Deadlock, Mode};
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::digest::Digest;
use allmende_core::id::{AssetId, Origin, PartyId};
use allmende_core::run::plan::{ModelSpec, Normalization, Optimizer, Outer, Plan, Seed, Slot, Training};
use allmende_core::signature::SecretKey;
use allmende_core::state::State;
use allmende_core::state::runs::Status;
use allmende_core::statement::{
    AgreementProposed, AgreementSigned, AssetRegistered, CollaborationJoined, CollaborationProposed, DecisionOpened,
    DecisionVoted, KeyClass, KeyDelegated, PartyRegistered, PayoutPosted, RunProposed,
};
use tokio_util::sync::CancellationToken;

const PARTIES: [&str; 3] = ["north", "east", "west"];

fn party(name: &str) -> PartyId {
    name.parse().expect("slug")
}

fn key(seed: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed(&[seed; 32]))
}

/// A member: its keys and its view of the log.
struct Member {
    id: PartyId,
    governance: Signer,
    node: Arc<SecretKey>,
    log: RemoteLog,
}

impl Member {
    async fn enter(url: &str, hub_key: allmende_core::signature::PublicKey, hub: &Origin, i: usize) -> Self {
        let id = party(PARTIES[i]);
        let base = 10 * (i as u8 + 1);
        let signer = |class, n| Signer { party: id.clone(), class, key: key(base + n) };
        let (root, governance, node) = (signer(KeyClass::Root, 0), signer(KeyClass::Governance, 1), key(base + 2));
        let client = HubClient::connect(url, &Trust::System, Some(hub_key), Clock::system()).expect("client");
        let registry = RemoteLog::in_memory(Arc::new(client), hub, &LogName::Hub).expect("registry");
        registry.catch_up().await.expect("registry");
        let body = PartyRegistered {
            party: id.clone(),
            root: root.key.public(),
            governance: governance.key.public(),
            recovery: None,
        };
        registry.submit(&root, body, None).await.expect("registered");
        let body = KeyDelegated { key: node.public(), node: "node-1".parse().expect("label") };
        registry.submit(&governance, body, None).await.expect("delegated");
        let client = HubClient::connect(url, &Trust::System, Some(hub_key), Clock::system()).expect("client");
        let client = Arc::new(client.signed_in_as(governance.clone()));
        let name = LogName::Collaboration("digits".parse().expect("slug"));
        let log = RemoteLog::in_memory(client, hub, &name).expect("log");
        Self { id, governance, node, log }
    }

    async fn say(&self, body: impl Into<allmende_core::statement::Body>, agreement: Option<Digest>) {
        let body = body.into();
        let kind = body.kind();
        self.log.submit(&self.governance, body, agreement).await.unwrap_or_else(|e| panic!("{} {kind}: {e}", self.id));
    }

    async fn state(&self) -> State {
        self.log.catch_up().await.expect("catches up");
        self.log.mirror().state().clone()
    }
}

fn config(dir: &Path) -> Config {
    let mut config = Layers::default().build().expect("defaults");
    config.data_dir = dir.to_owned();
    config.name = "hub.test".into();
    config
}

fn rows(dir: &Path, i: usize) -> std::path::PathBuf {
    use std::fmt::Write as _;
    let mut text = String::from("a,b,label\n");
    for n in 0..60_usize {
        let class = (n + i) % 3;
        let (x, y) = ([1.0, 5.0, 9.0][class], [9.0, 1.0, 5.0][class]);
        let wobble = |k: usize| ((n * k + i * 7) % 11) as f32 / 10.0;
        let _ = writeln!(text, "{},{},{class}", x + wobble(3) + n as f32 * 0.001, y + wobble(5));
    }
    let path = dir.join(format!("{}.csv", PARTIES[i]));
    std::fs::write(&path, text).expect("written");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_founding_to_payout() {
    let dir = tempfile::tempdir().expect("dir");
    let app = allmende::hub::open(config(&dir.path().join("hub")), Clock::system()).await.expect("hub");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let hub_key = app.hub_key.public();
    let hub: Origin = "hub.test".parse().expect("origin");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(allmende::server::serve(app, listener, stop.clone().cancelled_owned()));

    let mut members = Vec::new();
    for i in 0..3 {
        members.push(Member::enter(&url, hub_key, &hub, i).await);
    }
    let charter = Charter {
        title: "Digits".into(),
        goal: "All of them".into(),
        mode: Mode::Peer,
        invited: PARTIES.map(party).to_vec(),
        quorum: 3,
        vote_ms: 600_000,
        deadlock: Deadlock::Reject,
        milestones: Vec::new(),
    };
    members[0].say(CollaborationProposed { charter: charter.clone() }, None).await;
    for member in &members[1..] {
        member.state().await;
        member.say(CollaborationJoined { charter: charter.digest() }, None).await;
    }
    let today = Clock::system().now().date();
    let tomorrow = Clock::system().now().plus_ms(86_400_000).date();
    let draft = template(&DraftInputs {
        title: "Digits".into(),
        collaboration: "digits".parse().expect("slug"),
        origin: "hub.test/digits".parse().expect("origin"),
        hub_key,
        starts: today,
        ends: tomorrow,
        offer_expires: tomorrow,
        currency: "EUR".into(),
        language: Language::En,
        purpose: vec![Purpose::Research],
        parties: members
            .iter()
            .map(|m| DraftParty {
                id: m.id.clone(),
                key: m.governance.key.public(),
                signatory: "Director".into(),
                assets: vec![format!("{}/rows", m.id).parse().expect("asset")],
            })
            .collect(),
        reference: None,
        min_parties: 3,
        coordinator: None,
    });
    let terms = Terms::from_toml(&draft).expect("terms");
    let agreement = terms.digest();
    members[0].state().await;
    members[0].say(AgreementProposed { terms }, None).await;
    for member in &members {
        member.state().await;
        member.say(AgreementSigned { terms: agreement }, None).await;
    }

    let mut nodes = Vec::new();
    let stop_nodes = CancellationToken::new();
    for (i, member) in members.iter().enumerate() {
        let (path, salt) = (rows(dir.path(), i), Salt([i as u8; 32]));
        let data = data::load(&path, 3, &salt).expect("data");
        let asset: AssetId = format!("{}/rows", member.id).parse().expect("asset");
        let body = AssetRegistered {
            asset: asset.clone(),
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
        member.state().await;
        member.say(body, Some(agreement)).await;
        let offered = Offered { path, classes: 3, salt, commitment: data.commitment, schema: data.schema_digest };
        let home = dir.path().join(PARTIES[i]);
        let settings = Settings { wait_s: 5, dataset: BTreeMap::from([(asset, offered)]), ..Settings::default() };
        settings.save(&home).expect("settings");
        let options = allmende::agent::Options {
            dir: home,
            copies: None,
            url: url.clone(),
            trust: Trust::System,
            hub: hub.clone(),
            hub_key,
            party: member.id.clone(),
            node: "node-1".parse().expect("label"),
            key: Arc::clone(&member.node),
            clock: Clock::system(),
            resume: false,
        };
        nodes.push(tokio::spawn(allmende::agent::run(options, stop_nodes.clone())));
    }

    let decimal = |text: &str| text.parse().expect("decimal");
    let model = ModelSpec::Mlp { inputs: 2, hidden: vec![8], classes: 3 };
    let seed = Seed(7);
    let base = allmende_train::model::initial_model(&model, seed).expect("model");
    let plan = Plan {
        agreement,
        purpose: Purpose::Research,
        slots: members
            .iter()
            .map(|m| Slot { party: m.id.clone(), asset: format!("{}/rows", m.id).parse().expect("asset") })
            .collect(),
        model,
        base_model: Digest::of(&base),
        normalization: Normalization::Uniform { shift: decimal("5"), scale: decimal("0.2") },
        training: Training { optimizer: Optimizer::Sgd { rate: decimal("0.5") }, batch_rows: 16, epochs: 2 },
        outer: Outer::Nesterov { rate: decimal("1"), momentum: decimal("0.5") },
        rounds: 8,
        evaluate_every: 4,
        measure: vec![1, 2],
        min_parties: 3,
        round_timeout_ms: 60_000,
        seed,
    };
    let run: allmende_core::id::RunId = "first".parse().expect("slug");
    let plan_digest = plan.digest();
    members[0].state().await;
    members[0].say(RunProposed { run: run.clone(), plan }, Some(agreement)).await;
    members[0].state().await;
    let decision: allmende_core::id::DecisionId = "run-first".parse().expect("slug");
    let subject = Subject::Run { run: run.clone(), plan: plan_digest };
    members[0].say(DecisionOpened { decision: decision.clone(), subject }, None).await;
    for member in &members {
        member.state().await;
        member.say(DecisionVoted { decision: decision.clone(), vote: Vote::Yes }, None).await;
    }
    let began = Instant::now();
    let state = loop {
        let state = members[0].state().await;
        let found = state.run(&run).expect("run");
        match found.status {
            Status::Finished => break state,
            Status::Approved | Status::Started => {}
            other => panic!("{other:?}"),
        }
        let rounds: Vec<_> = found.tracks.iter().map(|t| t.models.len() - 1).collect();
        assert!(began.elapsed() < Duration::from_secs(60), "stuck at {rounds:?}, {} entries", state.size());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    eprintln!("{} entries in {:?}", state.size(), began.elapsed());
    let found = state.run(&run).expect("run");
    let value = found.utility(found.whole(), 8).expect("evaluated");
    assert!(value.correct * 10 >= value.total * 9, "{value:?}");
    let contribution = found.contribution.as_ref().expect("measured");
    assert_eq!(contribution.values.len(), 7);

    let pool = Amount::parse_major("10000").expect("amount");
    let division = state.divide(found, pool).expect("division");
    let paid: i64 = division.shares.iter().map(|a| a.minor()).sum::<i64>() + division.fund.minor();
    assert_eq!(paid, pool.minor());
    let body = PayoutPosted {
        payout: "first".parse().expect("label"),
        run: run.clone(),
        pool,
        currency: "EUR".into(),
        fund: division.fund,
        amounts: division.shares,
    };
    members[0].say(body, Some(agreement)).await;
    members[0].state().await.accounts().audit().expect("sound");

    stop_nodes.cancel();
    for node in nodes {
        node.await.expect("joined").expect("ended");
    }
    stop.cancel();
    serving.await.expect("stopped");
}
