//! Gated repositories.

use allmende::account::{Grant, Rights, store};
use reqwest::Method;
use serde_json::json;

use super::World;

const FILE: &str = "/north/gated/resolve/main/.gitattributes";
const ASK: &str = "/north/gated/ask-access";
const REQUESTS: &str = "/api/models/north/gated/user-access-request";

impl World {
    async fn gate(&self, gated: &str) {
        let body = json!({ "gated": gated });
        assert_eq!(self.call("ada", Method::PUT, "/api/models/north/gated/settings", Some(body)).await.status, 200);
    }

    /// Status and code of an attempt to read a file.
    async fn reads(&self, who: &str) -> (u16, String) {
        let answer = self.get(who, FILE).await;
        let code = answer.headers.get("x-error-code").map_or("", |v| v.to_str().unwrap());
        (answer.status, code.to_owned())
    }
}

impl World {
    /// Statuses of the other doors to the same files: git's and git-lfs's.
    async fn doors(&self, who: &str) -> [u16; 3] {
        let objects = json!({ "operation": "download", "objects": [{ "oid": "0".repeat(64), "size": 1 }] });
        let git = "/north/gated.git";
        let pack = self.http.post(format!("{}{git}/git-upload-pack", self.url));
        let pack = pack.header("content-type", "application/x-git-upload-pack-request").body("0000");
        let pack = if who.is_empty() { pack } else { pack.bearer_auth(super::secret(who)) };
        [
            self.get(who, &format!("{git}/info/refs?service=git-upload-pack")).await.status,
            pack.send().await.unwrap().status().as_u16(),
            self.post(who, &format!("{git}/info/lfs/objects/batch"), objects).await.status,
        ]
    }
}

fn gated(status: u16) -> (u16, String) {
    (status, "GatedRepo".to_owned())
}

fn open() -> (u16, String) {
    (200, String::new())
}

crate::on_both! {
    async fn files_of_a_gated_repository_are_for_those_let_in(store) {
        let world = World::start(store, &[]).await;
        // Ada's role there is to write: she makes it, and administrates as whoever made it does not need to.
        world.model("north/gated", false).await;
        let north = store::by_name(&mut world.app.db.read().await.unwrap(), "north").await.unwrap().unwrap();
        let ada = store::by_name(&mut world.app.db.read().await.unwrap(), "ada").await.unwrap().unwrap();
        let promoted: Result<(), allmende::account::AccountError> = allmende::transaction!(world.app.db, tx => {
            store::set_member(tx, &north, &ada, allmende::account::Role::Admin).await
        });
        promoted.unwrap();
        assert_eq!(world.reads("").await, open());
        assert_eq!(world.post("bob", ASK, json!({})).await.status, 400, "there is no gate");
        world.gate("manual").await;
        assert_eq!((world.reads("").await, world.reads("bob").await), (gated(401), gated(403)));
        assert_eq!(world.reads("carl").await, gated(403), "reading the organization's repositories is not enough");
        assert_eq!((world.reads("ada").await, world.reads("ada-reads").await), (open(), open()));
        let check = world.get("bob", "/api/models/north/gated/auth-check").await;
        let message = check.headers["x-error-message"].to_str().unwrap();
        assert!(check.status == 403 && message.starts_with("Access to model north/gated is restricted and you are not"));
        assert_eq!((world.doors("").await, world.doors("bob").await), ([401; 3], [403; 3]));
        assert_eq!((world.doors("ada").await, world.doors("ada-reads").await), ([200; 3], [200; 3]));
        // That it is there, and what it is, everybody sees.
        assert_eq!(world.get("", "/api/models/north/gated").await.body["gated"], "manual");
        assert_eq!(world.get("", "/api/models/north/gated/tree/main").await.status, 200);

        assert_eq!(world.post("", ASK, json!({})).await.status, 401);
        assert_eq!(world.post("bob-reads", ASK, json!({})).await.status, 403);
        let asked = world.post("bob", ASK, json!({ "Affiliation": "Bob's" })).await;
        assert_eq!((asked.status, &asked.body["status"]), (200, &json!("pending")));
        assert_eq!(world.post("bob", ASK, json!({})).await.body["status"], "pending", "asked twice");
        assert_eq!(world.reads("bob").await, gated(403));
        for who in ["bob", "carl", "ada-reads"] {
            assert_eq!(world.get(who, &format!("{REQUESTS}/pending")).await.status, 403, "{who}");
            let grant = world.post(who, &format!("{REQUESTS}/grant"), json!({ "user": "bob" })).await;
            assert_eq!(grant.status, 403, "{who}");
        }
        let pending = world.get("ada", &format!("{REQUESTS}/pending")).await.body;
        assert_eq!((&pending[0]["user"]["user"], &pending[0]["fields"]["Affiliation"]), (&json!("bob"), &json!("Bob's")));
        let handle = async |body| world.post("ada", &format!("{REQUESTS}/handle"), body).await.status;
        let id = &pending[0]["requestId"];
        assert_eq!(handle(json!({ "requestId": id, "status": "accepted", "rejectionReason": "x" })).await, 400);
        assert_eq!(handle(json!({ "requestId": id, "user": "bob", "status": "accepted" })).await, 400);
        assert_eq!(handle(json!({ "requestId": "0", "status": "accepted" })).await, 404);
        assert_eq!(handle(json!({ "requestId": id, "status": "accepted" })).await, 200);
        assert_eq!(handle(json!({ "requestId": id, "status": "accepted" })).await, 400, "already");
        assert_eq!((world.reads("bob").await, world.reads("bob-reads").await), (open(), open()));

        assert_eq!(world.doors("bob").await, [200; 3]);

        // A token for other places does not reach what its account was let into.
        let bob = store::by_name(&mut world.app.db.read().await.unwrap(), "bob").await.unwrap().unwrap();
        for (name, place) in [("bob-elsewhere", "bob"), ("bob-here", "north/gated")] {
            let grants = vec![Grant { place: place.to_owned(), write: false }];
            world.token(&bob, name, &Rights::FineGrained { grants }).await;
        }
        assert_eq!((world.reads("bob-elsewhere").await, world.reads("bob-here").await), (gated(403), open()));

        assert_eq!(handle(json!({ "user": "bob", "status": "rejected", "rejectionReason": "no" })).await, 200);
        assert_eq!((world.reads("bob").await, world.doors("bob").await), (gated(403), [403; 3]));
        assert_eq!(world.post("bob", ASK, json!({})).await.body["status"], "rejected", "a rejection stands");
        // What a pull request would change shows what stands in files.
        let opened = world.post("ada", "/api/models/north/gated/discussions", json!({ "title": "A pull request", "pullRequest": true }));
        assert_eq!(opened.await.status, 200);
        let lines = "{\"key\":\"header\",\"value\":{\"summary\":\"x\"}}\n{\"key\":\"file\",\"value\":{\"path\":\"a\",\"content\":\"b\"}}\n";
        let commit = world.http.post(format!("{}/api/models/north/gated/commit/refs%2Fpr%2F1", world.url));
        assert_eq!(commit.bearer_auth(super::secret("ada")).body(lines).send().await.unwrap().status(), 200);
        let diff = async |who: &str| {
            let details = world.get(who, "/api/models/north/gated/discussions/1?diff=1").await;
            (details.status, details.body["diff"].as_str().unwrap().is_empty())
        };
        assert_eq!((diff("ada").await, diff("bob").await, diff("").await), ((200, false), (200, true), (200, true)));
        world.stop().await;
    }

    async fn an_automatic_gate_opens_for_whoever_asks(store) {
        let world = World::start(store, &[]).await;
        world.model("ada/m", false).await;
        let set = world.call("ada", Method::PUT, "/api/models/ada/m/settings", Some(json!({ "gated": "auto" }))).await;
        assert_eq!(set.status, 200);
        let file = "/ada/m/resolve/main/.gitattributes";
        assert_eq!(world.get("bob", file).await.status, 403);
        let form = world.http.post(format!("{}/ada/m/ask-access", world.url)).bearer_auth(super::secret("bob"));
        let form = form.header("content-type", "application/x-www-form-urlencoded").body("Country=Here%20and%20there");
        assert_eq!(form.send().await.unwrap().json::<serde_json::Value>().await.unwrap()["status"], "accepted");
        assert_eq!(world.get("bob", file).await.status, 200);
        let accepted = world.get("ada", "/api/models/ada/m/user-access-request/accepted").await.body;
        assert_eq!(accepted[0]["fields"]["Country"], "Here and there");
        let long = json!({ "x": "y".repeat(20_000) });
        assert_eq!(world.post("carl", "/ada/m/ask-access", long).await.status, 400);
        assert_eq!(world.post("bob", "/ada/nothing/ask-access", json!({})).await.status, 404);
        world.stop().await;
    }
}
