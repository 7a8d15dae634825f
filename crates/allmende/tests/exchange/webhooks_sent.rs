//! Webhooks, with a receiver that listens.

use std::sync::{Arc, Mutex};

use allmende::exchange::webhooks::{SIGNATURE_HEADER, round, sign};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::World;

pub(super) const LOOPBACK: &[(&str, &str)] = &[("outbound_networks", "127.0.0.0/8, ::1/128")];

/// What arrived, and what is answered next; 200 when nothing is said.
#[derive(Clone, Default)]
pub(super) struct Receiver {
    pub(super) url: String,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    says: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Self { url, ..Self::default() };
        let (got, says) = (Arc::clone(&receiver.got), Arc::clone(&receiver.says));
        let take = async move |headers: HeaderMap, body: Bytes| {
            got.lock().unwrap().push((headers, body));
            let status = says.lock().unwrap().pop().unwrap_or(200);
            // Whoever follows this comes back here.
            (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, "/hook")]).into_response()
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(take)).await });
        receiver
    }

    pub(super) fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    pub(super) fn body(&self, at: usize) -> Value {
        serde_json::from_slice(&self.got.lock().unwrap()[at].1).unwrap()
    }
}

impl World {
    async fn hook(&self, who: &str, url: &str, kind: &str, name: &str) -> String {
        let body = json!({ "url": url, "watched": [{ "type": kind, "name": name }], "domains": ["repo"], "secret": "my-secret" });
        let made = self.post(who, "/api/settings/webhooks", body).await;
        assert_eq!(made.status, 200, "{:?}", made.body);
        made.body["webhook"]["id"].as_str().unwrap().to_owned()
    }

    async fn branch(&self, repo: &str) {
        let path = format!("/api/models/{repo}/commit/main");
        let lines = "{\"key\":\"header\",\"value\":{\"summary\":\"x\"}}\n{\"key\":\"file\",\"value\":{\"path\":\"a\",\"content\":\"b\"}}\n";
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(super::secret("ada"));
        assert_eq!(request.body(lines).send().await.unwrap().status(), 200);
    }

    /// The latest delivery as the log shows it.
    async fn log(&self, who: &str, id: &str) -> Value {
        self.get(who, &format!("/api/settings/webhooks/{id}/deliveries")).await.body[0].clone()
    }
}

crate::on_both! {
    async fn what_happens_is_sent_signed_and_written_down(store) {
        let (world, receiver) = (World::start(store, LOOPBACK).await, Receiver::start().await);
        let id = world.hook("ada", &receiver.url, "user", "Ada").await;
        world.model("ada/m", false).await;
        world.branch("ada/m").await;
        assert_eq!(round(&world.app).await.unwrap(), 1, "one after the other");
        assert_eq!(round(&world.app).await.unwrap(), 1);
        assert_eq!((round(&world.app).await.unwrap(), receiver.count()), (0, 2));
        let (headers, body) = {
            let got = receiver.got.lock().unwrap();
            got.iter().find(|(_, body)| body.windows(12).any(|w| w == b"repo.content")).unwrap().clone()
        };
        assert_eq!(headers["x-webhook-secret"], "my-secret");
        let at_s = world.app.clock.now().0 / 1_000;
        assert_eq!(headers[SIGNATURE_HEADER], sign("my-secret", at_s, &body).as_str());
        assert_eq!(headers["content-type"], "application/json");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["event"], json!({ "action": "update", "scope": "repo.content" }));
        assert_eq!((&body["repo"]["name"], &body["repo"]["type"]), (&json!("ada/m"), &json!("model")));
        assert_eq!((&body["webhook"]["id"], &body["webhook"]["version"]), (&json!(id), &json!(3)));
        let moved = &body["updatedRefs"][0];
        assert_eq!((&moved["ref"], &moved["newSha"]), (&json!("refs/heads/main"), &body["repo"]["headSha"]));
        assert!(moved["oldSha"].is_string() && moved["oldSha"] != moved["newSha"]);
        let log = world.log("ada", &id).await;
        assert_eq!((&log["state"], &log["statusCode"], &log["attempts"]), (&json!("done"), &json!(200), &json!(1)));
        // Branches and tags, which come and go.
        let before = receiver.count();
        let ref_of = async |method: Method, path: &str| {
            let answer = world.call("ada", method, &format!("/api/models/ada/m/{path}"), Some(json!({ "tag": "v1" }))).await;
            assert_eq!(answer.status, 200, "{path}");
            while round(&world.app).await.unwrap() > 0 {}
            let updated = receiver.body(receiver.count() - 1)["updatedRefs"][0].clone();
            (updated["ref"].as_str().unwrap().to_owned(), updated["oldSha"].is_null(), updated["newSha"].is_null())
        };
        let (branch, tag) = ("refs/heads/b".to_owned(), "refs/tags/v1".to_owned());
        assert_eq!(ref_of(Method::POST, "branch/b").await, (branch.clone(), true, false));
        assert_eq!(ref_of(Method::DELETE, "branch/b").await, (branch, false, true));
        assert_eq!(ref_of(Method::POST, "tag/main").await, (tag.clone(), true, false));
        assert_eq!(ref_of(Method::DELETE, "tag/v1").await, (tag, false, true));
        assert_eq!(receiver.count() - before, 4);
        // Moving and removing, and nothing while it rests.
        let body = json!({ "fromRepo": "ada/m", "toRepo": "ada/n", "type": "model" });
        assert_eq!(world.post("ada", "/api/repos/move", body).await.status, 200);
        let gone = json!({ "name": "n", "organization": "ada", "type": "model" });
        assert_eq!(world.call("ada", Method::DELETE, "/api/repos/delete", Some(gone)).await.status, 200);
        while round(&world.app).await.unwrap() > 0 {}
        let scopes: Vec<_> = (6..receiver.count()).map(|at| receiver.body(at)["event"]["action"].clone()).collect();
        assert!(scopes.contains(&json!("move")) && scopes.contains(&json!("delete")), "{scopes:?}");
        assert_eq!(world.post("ada", &format!("/api/settings/webhooks/{id}/disable"), json!({})).await.status, 200);
        world.model("ada/later", false).await;
        assert_eq!((round(&world.app).await.unwrap(), receiver.count()), (0, 8));
        world.stop().await;
    }

    async fn what_is_not_taken_is_sent_again_later_and_not_for_ever(store) {
        let (world, receiver) = (World::start(store, LOOPBACK).await, Receiver::start().await);
        let id = world.hook("ada", &receiver.url, "model", "ada/m").await;
        *receiver.says.lock().unwrap() = vec![200, 307, 500];
        world.model("ada/m", false).await;
        assert_eq!((round(&world.app).await.unwrap(), round(&world.app).await.unwrap()), (1, 0), "not at once");
        let log = world.log("ada", &id).await;
        assert_eq!((&log["state"], &log["statusCode"]), (&json!("pending"), &json!(500)));
        world.app.clock.advance_ms(10_000);
        assert_eq!((round(&world.app).await.unwrap(), receiver.count()), (1, 2), "a redirect is not followed");
        world.app.clock.advance_ms(10_000);
        assert_eq!(round(&world.app).await.unwrap(), 0, "longer each time");
        world.app.clock.advance_ms(50_000);
        assert_eq!((round(&world.app).await.unwrap(), receiver.count()), (1, 3));
        let log = world.log("ada", &id).await;
        assert_eq!((&log["state"], &log["attempts"]), (&json!("done"), &json!(3)));
        let ids: Vec<_> = receiver.got.lock().unwrap().iter().map(|(h, _)| h["x-allmende-delivery"].clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "a receiver knows what it has");

        *receiver.says.lock().unwrap() = vec![503; 100];
        world.branch("ada/m").await;
        let before = receiver.count();
        for _ in 0..20 {
            round(&world.app).await.unwrap();
            world.app.clock.advance_ms(86_400_000);
        }
        assert_eq!(receiver.count() - before, 7);
        assert_eq!(world.log("ada", &id).await["state"], "failed");
        assert!(allmende::hub::sweep(&world.app).await.exchange > 0, "what ended long ago is not kept");
        world.stop().await;
    }

    async fn nobody_hears_of_what_they_may_not_see(store) {
        let (world, receiver) = (World::start(store, LOOPBACK).await, Receiver::start().await);
        world.model("ada/hidden", true).await;
        let bobs = world.hook("bob", &receiver.url, "user", "ada").await;
        world.branch("ada/hidden").await;
        assert_eq!(round(&world.app).await.unwrap(), 0);
        // Queued while it was public, and not sent any more once it is not.
        world.model("ada/open", false).await;
        let close = json!({ "visibility": "private" });
        assert_eq!(world.call("ada", Method::PUT, "/api/models/ada/open/settings", Some(close)).await.status, 200);
        assert_eq!((round(&world.app).await.unwrap(), receiver.count()), (1, 0));
        let log = world.log("bob", &bobs).await;
        assert!(log["state"] == "refused" && log["error"].as_str().unwrap().contains("may not see"), "{log}");
        // Others' webhooks are none of theirs, and tokens that may not do everything manage none.
        let path = format!("/api/settings/webhooks/{bobs}");
        assert_eq!(world.get("ada", &path).await.status, 404);
        assert_eq!(world.get("bob-reads", &path).await.status, 403);
        assert_eq!(world.get("", "/api/settings/webhooks").await.status, 401);
        assert_eq!(world.get("bob", &path).await.body["webhook"]["secret"], "my-secret");
        let kept: Vec<u8> = sqlx::query_scalar("SELECT secret FROM webhooks")
            .fetch_one(&mut *world.app.db.read().await.unwrap())
            .await
            .unwrap();
        assert!(!kept.windows(9).any(|w| w == b"my-secret"), "the database alone does not have it");
        world.stop().await;
    }

    async fn only_public_addresses_and_no_jobs(store) {
        // The operator permits nothing.
        let world = World::start(store, &[]).await;
        let make = async |target: Value| {
            let mut body = json!({ "watched": [{ "type": "user", "name": "ada" }], "domains": ["repo"] });
            body.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
            world.post("ada", "/api/settings/webhooks", body).await
        };
        for url in ["http://example.org/", "https://127.0.0.1/", "https://169.254.169.254/", "http://localhost:1/", "x"] {
            assert_eq!(make(json!({ "url": url })).await.status, 400, "{url}");
        }
        for bad in [
            json!({}),
            json!({ "url": "https://e.org/", "jobSourceId": "j" }),
            json!({ "url": "https://e.org/", "domains": [] }),
            json!({ "url": "https://e.org/", "domains": ["all"] }),
            json!({ "url": "https://e.org/", "watched": [] }),
            json!({ "url": "https://e.org/", "watched": [{ "type": "planet", "name": "x" }] }),
            json!({ "url": "https://e.org/", "watched": [{ "type": "user", "name": "a/b" }] }),
            json!({ "url": "https://e.org/", "secret": "two words" }),
            json!({ "jobSourceId": "j", "secrets": { "A": "b" } }),
        ] {
            assert_eq!(make(bad.clone()).await.status, 400, "{bad}");
        }
        // A name is judged when it is resolved, each time.
        let named = make(json!({ "url": "https://localhost:1/" })).await.body["webhook"]["id"].clone();
        let job = make(json!({ "jobSourceId": "64f9a55bb3115b4f513ec026" })).await.body["webhook"]["id"].clone();
        world.model("ada/m", false).await;
        while round(&world.app).await.unwrap() > 0 {}
        for (id, why) in [(named, "not public"), (job, "runs no jobs")] {
            let log = world.log("ada", id.as_str().unwrap()).await;
            assert!(log["state"] == "refused" && log["error"].as_str().unwrap().contains(why), "{log}");
        }
        world.stop().await;
    }
}

#[test]
fn signatures_are_those_of_other_programs() {
    // By Python's hmac.
    assert_eq!(
        sign("my-secret", 1_796_083_200, b"{\"a\":1}"),
        "t=1796083200,v1=a4ac7c05b28c0dde22b5f5b56fb85d38ebc3b5b969baff3c663c5b54891516b3"
    );
    assert_eq!(
        sign(&"k".repeat(100), 0, b""),
        "t=0,v1=243c2f8200e1d4ee892e7a7ded377a65e2beb1c64b997c54b8b0f516216d4b0f"
    );
}
