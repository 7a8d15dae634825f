//! An update reaches a hub that drops connections, forgets answers and restarts, and counts exactly once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use allmende::agent::outbox::{Outbox, lines, sums};
use allmende::api::{Entries, Placed, Submission, UploadOpening, UploadStanding};
use allmende::auth::api::LoginAnswer;
use allmende::client::error::ClientError;
use allmende::client::http::{HubClient, Kind, Signer};
use allmende::client::mirror::Mirror;
use allmende::client::submit::{RemoteLog, SubmitError};
use allmende::client::upload::upload;
use allmende::clock::Clock;
use allmende::tls::Trust;
use allmende_core::digest::Digest;
use allmende_core::ledger::envelope::Record;
use allmende_core::run::plan::Coalition;
use allmende_core::statement::{KeyClass, Statement};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tokio_util::sync::CancellationToken;

use super::offers::started;
use crate::verify::world::{World, key, origin};

const PART: u64 = 64;

struct Fake {
    world: Mutex<World>,
    parts: Mutex<Vec<u64>>,
    sealed: Mutex<Option<u64>>,
    puts: AtomicUsize,
    seals: AtomicUsize,
    /// Answers that are lost: the n-th PUT and the n-th seal.
    lost_puts: Vec<usize>,
    lost_seals: Vec<usize>,
    /// Says other things about the upload than are true.
    lie: Option<fn(&mut UploadStanding)>,
}

impl Fake {
    fn standing(&self) -> axum::Json<UploadStanding> {
        let sealed = self.sealed.lock().unwrap().is_some();
        let parts = self.parts.lock().unwrap().clone();
        let mut standing = UploadStanding { id: "u1".into(), part_bytes: PART, parts, parts_total: 4, sealed };
        if let Some(lie) = self.lie {
            lie(&mut standing);
        }
        axum::Json(standing)
    }
}

type Hub = State<Arc<Fake>>;

async fn put_part(State(fake): Hub, Path((_, _, part)): Path<(String, String, u64)>, body: Bytes) -> Response {
    let nth = fake.puts.fetch_add(1, Ordering::SeqCst);
    assert!(body.len() as u64 == if part == 3 { 8 } else { PART });
    let mut parts = fake.parts.lock().unwrap();
    assert!(!parts.contains(&part), "part {part} was sent twice");
    parts.push(part);
    drop(parts);
    if fake.lost_puts.contains(&nth) {
        StatusCode::BAD_GATEWAY.into_response()
    } else {
        fake.standing().into_response()
    }
}

async fn seal(State(fake): Hub, axum::Json(submission): axum::Json<Submission>) -> Response {
    let nth = fake.seals.fetch_add(1, Ordering::SeqCst);
    let mut world = fake.world.lock().unwrap();
    let digest = Statement::open(&submission.statement).unwrap().digest;
    let record = Record { arrived_at: world.now, envelope: submission.statement };
    let mut sealed = fake.sealed.lock().unwrap();
    if sealed.is_none() {
        world.state.apply(&record).unwrap();
        world.leaves.push(record.to_bytes().unwrap());
        *sealed = Some(world.leaves.len() as u64 - 1);
    }
    if fake.lost_seals.contains(&nth) {
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    }
    let checkpoint = world.checkpoint().to_string();
    axum::Json(Placed { index: sealed.unwrap(), digest, arrived_at: world.now, checkpoint }).into_response()
}

#[derive(serde::Deserialize)]
struct Range {
    from: u64,
    limit: u64,
}

async fn entries(State(fake): Hub, Query(Range { from, limit }): Query<Range>) -> axum::Json<Entries> {
    let world = fake.world.lock().unwrap();
    let records = world.leaves.iter().skip(from as usize).take(limit as usize);
    axum::Json(Entries { from, records: records.map(|l| String::from_utf8(l.clone()).unwrap()).collect() })
}

async fn start(fake: Fake) -> (Arc<Fake>, String) {
    let fake = Arc::new(fake);
    let login = || async {
        axum::Json(LoginAnswer {
            token: "t".into(),
            id: "t".into(),
            scopes: "node".into(),
            expires_at: crate::stores::NOW.0 + 86_400_000,
        })
    };
    let base = "/v1/collaborations/{c}";
    let router = Router::new()
        .route("/v1/login", post(login))
        .route(&format!("{base}/uploads"), post(|State(fake): Hub| async move { fake.standing() }))
        .route(&format!("{base}/uploads/{{id}}/parts/{{part}}"), put(put_part))
        .route(&format!("{base}/uploads/{{id}}/seal"), post(seal))
        .route(&format!("{base}/log/entries"), get(entries))
        .route(
            &format!("{base}/log/checkpoint"),
            get(|State(fake): Hub| async move { fake.world.lock().unwrap().checkpoint().to_string() }),
        )
        .with_state(Arc::clone(&fake));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (fake, url)
}

fn fake() -> Fake {
    Fake {
        world: Mutex::new(started()),
        parts: Mutex::default(),
        sealed: Mutex::default(),
        puts: AtomicUsize::new(0),
        seals: AtomicUsize::new(0),
        lost_puts: Vec::new(),
        lost_seals: Vec::new(),
        lie: None,
    }
}

struct Node {
    log: RemoteLog,
    signer: Signer,
    outbox: tempfile::TempDir,
}

fn node(url: &str) -> Node {
    let clock = Clock::test(crate::stores::NOW);
    let signer =
        Signer { party: "north".parse().unwrap(), class: KeyClass::Node, key: Arc::new(key("north", KeyClass::Node)) };
    let dir = tempfile::tempdir().unwrap();
    let outbox = Arc::new(Outbox::open(dir.path(), clock.clone()).unwrap());
    let client = HubClient::connect(url, &Trust::System, Some(World::hub_key()), clock).unwrap();
    let client = Arc::new(client.signed_in_as(signer.clone()).through(outbox).attempts(1));
    let mirror = Mirror::memory(origin(), Some("handwriting".parse().unwrap()), World::hub_key());
    Node { log: RemoteLog::new(client, mirror), signer, outbox: dir }
}

fn announcement(fake: &Fake, update: &Bytes) -> UploadOpening {
    let world = fake.world.lock().unwrap();
    let run = world.state.runs().values().next().unwrap();
    UploadOpening {
        run: run.id.clone(),
        coalition: Coalition(0b111),
        round: 1,
        slot: 0,
        offer: Digest([3; 32]),
        base: run.plan.base_model,
        update: Digest::of(update),
        size_bytes: update.len() as u64,
        weight: 500,
    }
}

#[tokio::test]
async fn lost_answers_cost_nothing_but_time() {
    let (fake, url) = start(Fake { lost_puts: vec![0, 2], lost_seals: vec![0], ..fake() }).await;
    let update = Bytes::from(vec![7; 200]);
    let opening = announcement(&fake, &update);
    let node = node(&url);
    let size = fake.world.lock().unwrap().leaves.len() as u64;
    let placed = upload(&node.log, &node.signer, &opening, &update, &CancellationToken::new()).await.unwrap();
    assert_eq!(placed.index, size);
    assert_eq!((fake.puts.load(Ordering::SeqCst), fake.seals.load(Ordering::SeqCst)), (4, 1));
    assert_eq!(node.log.mirror().verified(), size + 1);
    let sums = sums(&lines(node.outbox.path()).unwrap());
    assert_eq!((sums[&Kind::Update].bytes, sums[&Kind::Update].rows, sums[&Kind::Statement].pieces), (200, 0, 1));
    // A restart finds it done, and does nothing.
    let again = self::node(&url);
    let placed = upload(&again.log, &again.signer, &opening, &update, &CancellationToken::new()).await.unwrap();
    assert_eq!((placed.index, fake.seals.load(Ordering::SeqCst)), (size, 1));
}

#[tokio::test]
async fn a_half_done_upload_goes_on_in_another_process() {
    let (fake, url) = start(fake()).await;
    let update = Bytes::from(vec![7; 200]);
    let opening = announcement(&fake, &update);
    *fake.parts.lock().unwrap() = vec![0, 2];
    let node = node(&url);
    upload(&node.log, &node.signer, &opening, &update, &CancellationToken::new()).await.unwrap();
    assert_eq!(fake.puts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn lies_about_an_upload_and_a_stop_end_it() {
    let lies: [fn(&mut UploadStanding); 5] = [
        |s| s.part_bytes = 0,
        |s| s.part_bytes = 1 << 40,
        |s| s.parts_total = 1 << 60,
        |s| s.parts = vec![9],
        |s| s.id = "../../login".into(),
    ];
    let update = Bytes::from(vec![7; 200]);
    for lie in lies {
        let (fake, url) = start(Fake { lie: Some(lie), ..fake() }).await;
        let opening = announcement(&fake, &update);
        let node = node(&url);
        let result = upload(&node.log, &node.signer, &opening, &update, &CancellationToken::new()).await;
        let refused = matches!(&result, Err(SubmitError::Client(ClientError::Answer { .. } | ClientError::Name(_))));
        assert!(refused, "{result:?}");
        assert_eq!(fake.puts.load(Ordering::SeqCst), 0);
    }
    let (fake, url) = start(fake()).await;
    let opening = announcement(&fake, &update);
    let node = node(&url);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = upload(&node.log, &node.signer, &opening, &update, &cancel).await;
    assert!(matches!(result, Err(SubmitError::Client(ClientError::Cancelled))));
    let other = Bytes::from(vec![8; 200]);
    assert!(upload(&node.log, &node.signer, &opening, &other, &CancellationToken::new()).await.is_err());
    assert_eq!(fake.puts.load(Ordering::SeqCst), 0);
}
