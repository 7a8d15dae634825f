//! The frame around all routes, through a real server and a real client.

use allmende::app::{App, Nouns};
use allmende::auth::{KeyDirectory, NewToken};
use allmende::clock::Clock;
use allmende::config::{Config, Flags, Layers};
use allmende::error::{ApiError, Code, Problem};
use allmende::router::{HubInfo, openapi};
use allmende::server::serve;
use allmende::tls::{Trust, client};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::signature::SecretKey;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::stores::NOW;
use crate::stores::tokens::{North, claim};

/// A hub on a free port, with a folder of its own.
pub struct Hub {
    pub app: App,
    pub url: String,
    pub dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

/// A hub of these keys in which nothing follows from anything.
pub fn nouns(keys: impl KeyDirectory) -> Nouns {
    Nouns {
        keys: Box::new(keys),
        consequence: |_, _| Vec::new(),
        prepare: |_, _, _| Box::pin(async { Ok(()) }),
        conduct: |_, _| (),
        tell: |_, _, _| Box::pin(async { true }),
    }
}

impl Hub {
    pub async fn start(settings: &[(&'static str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings).await
    }

    pub async fn start_in(dir: tempfile::TempDir, settings: &[(&'static str, &str)]) -> Self {
        Self::start_at(dir, settings, Clock::test(NOW)).await
    }

    pub async fn start_at(dir: tempfile::TempDir, settings: &[(&'static str, &str)], clock: Clock) -> Self {
        let app = App::start(config(&dir, settings), clock, nouns(North(key().public()))).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if app.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(app.clone(), listener, async {
            let _ = stopped.await;
        }));
        Self { app, url, dir, stop: Some(stop), server }
    }

    pub async fn stop(mut self) -> tempfile::TempDir {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(std::time::Duration::from_secs(10), self.server).await.unwrap().unwrap();
        self.dir
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer =
            client(&self.url, &Trust::System).unwrap().get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

pub fn config(dir: &tempfile::TempDir, settings: &[(&'static str, &str)]) -> Config {
    let data_dir = dir.path().join("data").display().to_string();
    let all = settings.iter().map(|(k, v)| (*k, (*v).to_owned())).chain([("data_dir", data_dir)]).collect();
    Layers::default().flags(&Flags(all)).build().unwrap()
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

#[tokio::test]
async fn a_hub_says_who_it_is_and_keeps_its_key() {
    let hub = Hub::start(&[("name", "hub.example")]).await;
    assert_eq!(hub.get("/healthz").await, (200, json!({ "database": true, "blobs": true })));
    let (status, info) = hub.get("/v1/hub").await;
    let info: HubInfo = serde_json::from_value(info).unwrap();
    assert_eq!((status, info.name.as_str(), info.tls_pin.is_none()), (200, "hub.example", true));
    assert_eq!(info.key, hub.app.hub_key.public().to_string());
    let (key, dir) = (hub.app.hub_key.public(), hub.stop().await);
    let again = Hub::start_in(dir, &[]).await;
    assert_eq!(again.app.hub_key.public(), key);
    again.stop().await;
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_request_id() {
    let hub = Hub::start(&[("max_body_bytes", "2000")]).await;
    let http = client(&hub.url, &Trust::System).unwrap();
    let url = |path: &str| format!("{}{path}", hub.url);
    let json_type = ("content-type", "application/json");
    let login = || http.post(url("/v1/login"));
    for (request, status, code) in [
        (http.get(url("/nothing")), 404, "not_found"),
        (http.post(url("/healthz")), 405, "method_not_allowed"),
        (http.get(url("/v1/tokens")), 401, "unauthenticated"),
        (http.get(url("/v1/tokens")).header("authorization", "Basic eA=="), 401, "unauthenticated"),
        (http.get(url("/v1/tokens")).bearer_auth("alm_x"), 401, "unauthenticated"),
        (login().body("{}"), 415, "unsupported_media_type"),
        (login().header("content-type", "text/plain").body("{}"), 415, "unsupported_media_type"),
        (login().header(json_type.0, json_type.1).body("{"), 400, "bad_request"),
        (login().header(json_type.0, json_type.1).body("x".repeat(2001)), 413, "too_large"),
    ] {
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        assert_eq!(answer.status(), status);
        let problem: Problem = answer.json().await.unwrap();
        assert_eq!((problem.code.as_str(), problem.status), (code, status));
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["x-request-id"], problem.request_id.unwrap().as_str());
        assert_eq!(
            (&headers["cache-control"], &headers["x-content-type-options"]),
            (&"no-store".parse().unwrap(), &"nosniff".parse().unwrap())
        );
    }
    // Without Content-Length the limit holds as well.
    let endless = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let chunked =
        login().header(json_type.0, json_type.1).body(reqwest::Body::wrap_stream(endless)).send().await.unwrap();
    assert_eq!(chunked.status(), 413);
    hub.stop().await;
}

#[tokio::test]
async fn signing_in_over_http_gives_a_token_that_works_until_revoked() {
    let hub = Hub::start(&[]).await;
    let http = client(&hub.url, &Trust::System).unwrap();
    let envelope = claim(&hub.app.hub_key.public(), "1").seal(&key()).unwrap();
    let login = async || http.post(format!("{}/v1/login", hub.url)).json(&envelope).send().await.unwrap();
    let first = login().await;
    assert_eq!(first.status(), 200);
    let answer: Value = first.json().await.unwrap();
    assert_eq!(login().await.status(), 401, "a replay");
    let (token, id) = (answer["token"].as_str().unwrap(), answer["id"].as_str().unwrap());
    let list = async || http.get(format!("{}/v1/tokens", hub.url)).bearer_auth(token).send().await.unwrap();
    let tokens: Value = list().await.json().await.unwrap();
    assert_eq!((tokens[0]["id"].as_str(), tokens[0]["label"].as_str()), (Some(id), Some("laptop")));
    let metrics = async |token: Option<&str>| {
        let request = http.get(format!("{}/metrics", hub.url));
        token.map_or(request.try_clone().unwrap(), |t| request.bearer_auth(t)).send().await.unwrap()
    };
    assert_eq!(metrics(Some(token)).await.status(), 403, "metrics need admin when a token is sent");
    let text = metrics(None).await.text().await.unwrap();
    assert!(text.contains("allmende_requests_total{method=\"POST\",route=\"/v1/login\",status=\"200\"} 1"), "{text}");
    assert!(!text.contains("north"), "no names of parties in metrics");
    let delete = async |id: &str| {
        http.delete(format!("{}/v1/tokens/{id}", hub.url)).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!((delete("0000").await, delete(id).await), (404, 204));
    assert_eq!(list().await.status(), 401);
    hub.stop().await;
}

#[tokio::test]
async fn a_lost_answer_is_given_again_to_whoever_asks_with_the_same_key_and_body() {
    let hub = Hub::start(&[]).await;
    let http = client(&hub.url, &Trust::System).unwrap();
    let claim = |nonce: &str| claim(&hub.app.hub_key.public(), nonce).seal(&key()).unwrap();
    let ask = async |envelope: &Envelope, with: &str| {
        let request = http.post(format!("{}/v1/login", hub.url)).header("Idempotency-Key", with).json(envelope);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let code = |answer: (u16, bytes::Bytes)| serde_json::from_slice::<Problem>(&answer.1).unwrap().code;
    let (first, second) = (claim("1"), claim("2"));
    let made = ask(&first, "lost").await;
    assert_eq!(made.0, 200);
    assert_eq!(ask(&first, "lost").await, made, "byte for byte");
    assert_eq!(code(ask(&second, "lost").await), "idempotency_key_reused");
    assert_eq!(code(ask(&first, "other").await), "login_refused", "the claim itself works once");
    assert_eq!(code(ask(&second, "two words").await), "bad_request");
    let tokens = allmende::auth::tokens(&mut hub.app.db.read().await.unwrap(), &"north".parse().unwrap(), 9).await;
    assert_eq!(tokens.unwrap().len(), 1, "no token was made twice");
    // What lies in the database is not the token.
    let answer: Value = serde_json::from_slice(&made.1).unwrap();
    let kept = sqlx::query("SELECT body FROM idempotency").fetch_one(&mut *hub.app.db.read().await.unwrap()).await;
    let kept: Vec<u8> = sqlx::Row::try_get(&kept.unwrap(), 0).unwrap();
    let secret = answer["token"].as_str().unwrap().as_bytes();
    assert!(!kept.windows(8).any(|w| secret.windows(8).any(|s| s == w)));
    // A claim that grew old is no claim any more, whatever its key.
    hub.app.clock.advance_ms(301_000);
    assert_eq!(code(ask(&first, "lost").await), "login_refused");
    hub.stop().await;
}

#[tokio::test]
async fn stopping_finishes_open_requests_and_wakes_those_who_wait() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let hub = Hub::start(&[]).await;
    let mut open = tokio::net::TcpStream::connect(hub.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    open.write_all(head.as_bytes()).await.unwrap();
    let mut changes = hub.app.witnessed.watch("a");
    hub.app.witnessed.notify("a");
    changes.changed().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let (closing, stopped) = (hub.app.closing.clone(), tokio::spawn(hub.stop()));
    closing.cancelled().await;
    open.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    stopped.await.unwrap();
}

#[tokio::test]
async fn the_clock_never_runs_backwards() {
    let clock = Clock::test(NOW);
    clock.advance_ms(10);
    assert_eq!(clock.now(), NOW.plus_ms(10));
    clock.advance_ms(-1000);
    assert_eq!(clock.now(), NOW.plus_ms(10));
    clock.raise(NOW.plus_ms(20));
    assert_eq!(clock.now(), NOW.plus_ms(20));
    clock.advance_ms(2000);
    assert_eq!(clock.now(), NOW.plus_ms(1010));
    let system = Clock::system();
    assert!(system.now() <= system.now());
}

#[tokio::test]
async fn tokens_are_issued_by_the_operator_too() {
    let hub = Hub::start(&[]).await;
    let new = NewToken {
        party: "operator".parse().unwrap(),
        scopes: allmende::auth::Scopes::parse("admin").unwrap(),
        label: "metrics".to_owned(),
        expires_at: NOW.plus_ms(1000),
    };
    let (_, token) =
        allmende::transaction!(hub.app.db, tx => { allmende::auth::issue(tx, &new, 10, NOW).await }).unwrap();
    let http = client(&hub.url, &Trust::System).unwrap();
    let metrics = http.get(format!("{}/metrics", hub.url)).bearer_auth(token.secret()).send().await.unwrap();
    assert_eq!(metrics.status(), 200);
    hub.stop().await;
}

#[test]
fn the_api_description_is_current() {
    crate::snapshot("openapi.json", &format!("{}\n", openapi().to_pretty_json().unwrap()));
}

#[tokio::test]
async fn a_problem_has_this_form() {
    let error = ApiError::new(Code::Forbidden, "training on north/digits needs three parties, this run has two")
        .hint("invite one more party")
        .clauses(["2.1", "4"])
        .retry_after_s(7)
        .because(std::io::Error::other("secret inside"));
    let response = error.into_response();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (403, &"7".parse().unwrap()));
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let pretty: Value = serde_json::from_slice(&body).unwrap();
    crate::snapshot("tests/golden/problem.json", &format!("{}\n", serde_json::to_string_pretty(&pretty).unwrap()));
    let mut codes: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Code::ALL.len(), "codes are unique");
}
