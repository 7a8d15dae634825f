//! Mirrors: what their sources have they have, and what a source does wrong changes nothing.

use allmende::account::{AccountError, token};
use allmende::git::refs::Change;
use allmende::mirror::sync;
use allmende::transaction;
use allmende_core::signature::SecretKey;
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::hostile::Taken;
use super::{Pair, call, commit, file, find, tagged, tips};
use crate::xet::{World, noise};

const LOOPBACK: &[(&str, &str)] = &[("outbound_networks", "127.0.0.0/8")];
const MIRROR: &str = "/v1/repositories/models/bea/copy/mirror";

impl Pair {
    async fn add(&self, wanted: Value) -> (u16, Value) {
        let answer = call(&self.b, Some(&self.bea), Method::PUT, MIRROR, Some(wanted)).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    fn wanted(&self) -> Value {
        json!({ "url": self.a.hub.url, "source": "ada/model", "token": self.ada.token, "every_s": 3600 })
    }

    async fn state(&self) -> Value {
        call(&self.b, Some(&self.bea), Method::GET, MIRROR, None).await.json().await.unwrap()
    }

    /// Asks for a look, and takes it.
    async fn sync(&self) -> Value {
        let asked = call(&self.b, Some(&self.bea), Method::POST, &format!("{MIRROR}/sync"), None).await;
        assert_eq!(asked.status(), 202);
        assert_eq!(sync::round(&self.b.hub.app).await.unwrap(), 1);
        self.state().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_has_what_its_source_has_and_fetches_what_is_new() {
    let pair = Pair::start_with(LOOPBACK).await;
    let mut weights = noise(100_000_000, 1);
    pair.commit(&[("model.safetensors", &weights), ("README.md", b"words")]).await;
    let (status, said) = pair.add(pair.wanted()).await;
    assert_eq!((status, said["state"].as_str()), (200, Some("waiting")), "{said}");
    assert_eq!(sync::round(&pair.b.hub.app).await.unwrap(), 1);
    let first = pair.state().await;
    assert_eq!(first["state"], "current", "{first}");
    assert!(pair.same().await);
    assert!(pair.copy().await.unwrap().private);
    assert!(file(&pair.b, &pair.bea, "bea/copy", "main", "model.safetensors").await.1 == weights);
    // A thousand bytes in the middle.
    weights.splice(40_000_000..40_000_000, noise(1_000, 2));
    let head = pair.commit(&[("model.safetensors", &weights)]).await;
    let second = pair.sync().await;
    assert!(pair.same().await, "{second}");
    eprintln!(
        "100 MB mirrored: {} bytes on the wire, {} stored; 1 kB inserted: {} bytes on the wire, {} stored",
        first["fetched_bytes"], first["stored_bytes"], second["fetched_bytes"], second["stored_bytes"]
    );
    assert!((99_000_000..101_000_000).contains(&first["fetched_bytes"].as_u64().unwrap()), "{first}");
    assert!(second["fetched_bytes"].as_u64().unwrap() < 400_000, "{second}");
    assert!(file(&pair.b, &pair.bea, "bea/copy", &head, "model.safetensors").await.1 == weights);
    // Nothing new: a question, and no bundle.
    let third = pair.sync().await;
    assert_eq!((third["fetched_bytes"].as_u64(), third["state"].as_str()), (Some(0), Some("current")), "{third}");
    // A branch and a tag more, and another branch that goes back.
    let git = pair.a.hub.app.git.repo(&pair.repo.id);
    let (zero, oid) = (allmende::git::Oid::ZERO, head.parse().unwrap());
    tagged(&git, "v1", oid, Some("words")).await;
    git.change_refs(&[Change { name: "refs/heads/side".to_owned(), old: zero, new: oid }]).await.unwrap();
    pair.sync().await;
    assert!(pair.same().await);
    let parent = git.resolve("main").await.unwrap();
    let log = git.run(["rev-list", "--max-count=2", "main"], &[]).await.unwrap();
    let earlier = String::from_utf8(log).unwrap().lines().nth(1).unwrap().parse().unwrap();
    git.change_refs(&[Change { name: "refs/heads/main".to_owned(), old: parent, new: earlier }]).await.unwrap();
    let fifth = pair.sync().await;
    assert!(pair.same().await);
    assert_eq!(fifth["rewritten"][0]["name"], "refs/heads/main", "{fifth}");
    assert!(fifth["fetched_bytes"].as_u64().unwrap() < 10_000, "{fifth}");
    // Forked onward from there with a new file: what is known is not fetched again.
    weights.extend(noise(200_000, 8));
    let head = pair.commit(&[("model.safetensors", &weights)]).await;
    let sixth = pair.sync().await;
    assert!(pair.same().await && sixth["fetched_bytes"].as_u64().unwrap() < 600_000, "{sixth}");
    assert!(file(&pair.b, &pair.bea, "bea/copy", &head, "model.safetensors").await.1 == weights);
    // It is listed for those who administrate it, and shown to those who see it.
    let listed: Value = call(&pair.b, Some(&pair.bea), Method::GET, "/v1/mirrors", None).await.json().await.unwrap();
    assert_eq!(listed["items"][0]["repository"], "models/bea/copy");
    let eve = pair.b.person("eve").await;
    let listed: Value = call(&pair.b, Some(&eve), Method::GET, "/v1/mirrors", None).await.json().await.unwrap();
    assert_eq!(listed["items"], json!([]));
    assert_eq!(call(&pair.b, Some(&eve), Method::GET, MIRROR, None).await.status(), 404);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_reads_what_its_token_may_read_and_no_more() {
    let pair = Pair::start_with(LOOPBACK).await;
    pair.commit(&[("a.txt", b"a")]).await;
    // Without a token a private repository is not there.
    let mut wanted = pair.wanted();
    wanted.as_object_mut().unwrap().remove("token");
    assert_eq!(pair.add(wanted).await.0, 200);
    assert_eq!(sync::round(&pair.b.hub.app).await.unwrap(), 1);
    let failed = pair.state().await;
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("answered 401"), "{failed}");
    assert!(tips(&pair.b, &pair.copy().await.unwrap()).await.is_empty());
    assert_eq!(pair.add(pair.wanted()).await.0, 200, "with a token");
    assert_eq!(sync::round(&pair.b.hub.app).await.unwrap(), 1);
    assert!(pair.same().await);
    // It lies sealed.
    let kept: Vec<u8> = {
        let mut connection = pair.b.hub.app.db.read().await.unwrap();
        let query = "SELECT token FROM mirrors";
        sqlx::Row::try_get(&sqlx::query(query).fetch_one(&mut *connection).await.unwrap(), 0).unwrap()
    };
    let secret = pair.ada.token.as_bytes();
    assert!(kept.len() > secret.len() && !kept.windows(secret.len()).any(|window| window == secret));
    assert!(!pair.state().await.to_string().contains(&pair.ada.token));
    // Revoked, it opens nothing more, and what came stays.
    pair.commit(&[("b.txt", b"b")]).await;
    let (app, now) = (&pair.a.hub.app, pair.a.hub.app.clock.now());
    let revoked: Result<bool, AccountError> = transaction!(app.db, tx => {
        Ok(token::revoke(tx, &pair.ada.account, &pair.ada.principal.token.id, now).await?)
    });
    assert!(revoked.unwrap());
    let before = tips(&pair.b, &pair.copy().await.unwrap()).await;
    let failed = pair.sync().await;
    assert_eq!((&failed["state"], failed["synced_at"].is_i64()), (&json!("failed"), true), "{failed}");
    assert_eq!(tips(&pair.b, &pair.copy().await.unwrap()).await, before);
    // Why it failed is for those who administrate it.
    let open = json!({ "visibility": "public" });
    let set = call(&pair.b, Some(&pair.bea), Method::PUT, "/api/models/bea/copy/settings", Some(open)).await;
    assert_eq!(set.status(), 200);
    let shown: Value = call(&pair.b, None, Method::GET, MIRROR, None).await.json().await.unwrap();
    assert!(shown["state"] == "failed" && shown.get("error").is_none(), "{shown}");
    // To another place the token does not go.
    let elsewhere = json!({ "url": "http://127.0.0.1:1", "source": "ada/model", "every_s": 0 });
    let (status, said) = pair.add(elsewhere).await;
    assert!(status == 400 && said["detail"].as_str().unwrap().contains("give its token as well"), "{said}");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_mirror_may_be() {
    let pair = Pair::start_with(LOOPBACK).await;
    let with = |key: &str, value: Value| {
        let mut wanted = pair.wanted();
        wanted[key] = value;
        wanted
    };
    for (wanted, word) in [
        (with("url", json!("http://10.0.0.1")), "not public"),
        (with("url", json!("https://169.254.169.254/latest")), "not public"),
        (with("url", json!("http://example.org")), "https://"),
        (with("url", json!("file:///etc/passwd")), "https://"),
        (with("url", json!("https://user:pass@example.org")), "without user"),
        (with("source", json!("ada")), "OWNER/NAME"),
        (with("source", json!("ada/../x")), "OWNER/NAME"),
        (with("source", json!("ada/x?y=z")), "OWNER/NAME"),
        (with("source", json!("../x")), "OWNER/NAME"),
        (with("every_s", json!(5)), "every 60 s"),
        (with("token", json!("a\nb")), "token"),
        (with("signer", json!("x")), "ed25519"),
        (with("tls_pin", json!("x")), "sha256"),
        (with("other", json!("x")), "other"),
    ] {
        let (status, said) = pair.add(wanted.clone()).await;
        let detail = said["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && detail.contains(word), "{wanted}: {status} {said}");
    }
    let put = async |who, path: &str| call(&pair.b, Some(who), Method::PUT, path, Some(pair.wanted())).await.status();
    assert_eq!(put(&pair.bea, "/v1/repositories/buckets/bea/x/mirror").await, 404);
    let eve = pair.b.person("eve").await;
    assert_eq!(put(&eve, MIRROR).await, 403);
    let own = pair.b.repo(&pair.bea, &pair.bea.account, "own").await;
    assert_eq!(put(&pair.bea, "/v1/repositories/models/bea/own/mirror").await, 409);
    commit(&pair.b, &pair.bea, &own, &[("a.txt", b"still mine")]).await;
    // Removed while it is wanted: it stands on its own, and a deleted one is gone with its token.
    assert_eq!(pair.add(pair.wanted()).await.0, 200);
    let gone = json!({ "name": "copy" });
    assert_eq!(call(&pair.b, Some(&pair.bea), Method::DELETE, "/api/repos/delete", Some(gone)).await.status(), 200);
    assert_eq!(sync::round(&pair.b.hub.app).await.unwrap(), 0);
    assert!(find(&pair.b, "bea", "copy").await.is_none());
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_a_certificate_of_its_own_is_known_by_its_key() {
    let (a, b) = (World::start(&[("tls", "self-signed")]).await, World::start(LOOPBACK).await);
    let (ada, bea) = (a.person("ada").await, b.person("bea").await);
    let repo = a.repo(&ada, &ada.account, "model").await;
    let pin = a.hub.app.tls.as_ref().unwrap().pin;
    let other = allmende_core::digest::Digest::of(b"another key");
    for (pin, state) in [(None, "failed"), (Some(other), "failed"), (Some(pin), "current")] {
        let wanted = json!({
            "url": a.hub.url, "source": "ada/model", "token": ada.token, "tls_pin": pin.map(|pin| pin.to_string()),
        });
        assert_eq!(call(&b, Some(&bea), Method::PUT, MIRROR, Some(wanted)).await.status(), 200);
        assert_eq!(sync::round(&b.hub.app).await.unwrap(), 1);
        let shown: Value = call(&b, Some(&bea), Method::GET, MIRROR, None).await.json().await.unwrap();
        assert_eq!(shown["state"], state, "{pin:?}: {shown}");
    }
    assert_eq!(tips(&a, &repo).await, tips(&b, &find(&b, "bea", "copy").await.unwrap()).await);
    a.hub.stop().await;
    b.hub.stop().await;
}

/// A source that answers what it is told to.
async fn liar(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> String {
    let router = Router::new().fallback(move || {
        let answer = answer.clone();
        async move { answer() }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_source_leaves_the_mirror_as_it_stands() {
    let pair = Pair::start_with(LOOPBACK).await;
    pair.commit(&[("w.bin", &noise(300_000, 4)), ("a.txt", b"a")]).await;
    let first = pair.bundle(json!({})).await;
    pair.commit(&[("a.txt", b"b")]).await;
    let taken = Taken::apart(&pair.bundle(json!({})).await);
    let key = SecretKey::from_seed(&pair.a.hub.app.hub_key.seed());
    let true_one = taken.clone().signed(&key, |_| ());
    let url = liar({
        let bundle = true_one.clone();
        move || bundle.clone().into_response()
    })
    .await;
    let at = |url: &str| json!({ "url": url, "source": "ada/model", "token": "", "every_s": 0, "signer": pair.signer().to_string() });
    assert_eq!(pair.add(at(&url)).await.0, 200);
    assert_eq!(sync::round(&pair.b.hub.app).await.unwrap(), 1);
    assert_eq!(pair.state().await["state"], "current", "{}", pair.state().await);
    assert!(pair.same().await);
    let before = tips(&pair.b, &pair.copy().await.unwrap()).await;
    let mut torn = true_one.clone();
    let middle = torn.len() / 2;
    torn[middle] ^= 1;
    let other_key = taken.clone().signed(&SecretKey::from_seed(&[3; 32]), |_| ());
    let other_repo = taken.clone().signed(&key, |m| m.repository.id = "another".to_owned());
    let part = taken.clone().signed(&key, |m| m.whole = false);
    let kind = taken.clone().signed(&key, |m| m.repository.kind = "dataset".to_owned());
    let bytes = |bytes: Vec<u8>| bytes.into_response();
    let redirect = (StatusCode::FOUND, [("location", "http://127.0.0.1:1/secret")]).into_response();
    let page = (StatusCode::OK, "<html>".repeat(10_000)).into_response();
    let loud = (StatusCode::BAD_GATEWAY, Body::from(vec![b'x'; 1 << 20])).into_response();
    for (what, answer, word) in [
        ("torn", bytes(torn), ""),
        ("cut", bytes(true_one[..middle].to_vec()), "cut off"),
        ("of another key", bytes(other_key), "is signed with"),
        ("of another repository", bytes(other_repo), "another repository"),
        ("of one branch", bytes(part), "not all of a repository"),
        ("of another kind", bytes(kind), "not all of a repository"),
        ("an old one", bytes(first), "before what stands here"),
        ("a redirect", redirect, "answered 302"),
        ("a page", page, "no bundle"),
        ("a loud error", loud, "answered 502"),
    ] {
        let answer = std::sync::Arc::new(std::sync::Mutex::new(Some(answer)));
        let url = liar(move || answer.lock().unwrap().take().unwrap_or_else(|| StatusCode::GONE.into_response())).await;
        let mirror = pair.copy().await.unwrap();
        // As if the source's name led elsewhere: what is known of it stays.
        let moved: Result<(), allmende::db::DbError> = transaction!(pair.b.hub.app.db, tx => {
            let sql = "UPDATE mirrors SET url = $2 WHERE repo = $1";
            sqlx::query(sql).bind(&mirror.id).bind(&url).execute(&mut **tx).await?;
            Ok(())
        });
        moved.unwrap();
        let state = pair.sync().await;
        let error = state["error"].as_str().unwrap_or_default();
        assert!(state["state"] == "failed" && error.contains(word), "{what}: {state}");
        assert_eq!(tips(&pair.b, &mirror).await, before, "{what}");
    }
    pair.stop().await;
}
