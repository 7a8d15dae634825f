//! What webhooks hear of discussions, pull requests and buckets, read by the client's own model of it; and that no event is
//! lost between a change and its telling.

use std::io::Write as _;
use std::process::{Command, Stdio};

use allmende::db::DbError;
use allmende::exchange::webhooks::round;
use allmende::repo::moving::heal;
use allmende::repo::{Kind, Repo};
use allmende::transaction;
use reqwest::Method;
use serde_json::{Value, json};

use super::webhooks_sent::{LOOPBACK, Receiver};
use super::{World, secret};

/// What `huggingface_hub` makes of payloads: scope, action, and what else is of interest, each on a line.
fn parsed(bodies: &[Value]) -> Vec<Value> {
    let script = "
import json, sys
from huggingface_hub import WebhookPayload
for line in sys.stdin:
    payload = WebhookPayload.model_validate_json(line)
    d, c = payload.discussion, payload.comment
    print(json.dumps({
        'what': payload.event.scope + ':' + payload.event.action, 'num': d and d.num, 'title': d and d.title,
        'status': d and d.status, 'pull': d and d.isPullRequest, 'base': d and d.changes and d.changes.base,
        'merge': d and d.changes and d.changes.mergeCommitId, 'web': d and d.url.web, 'said': c and c.content,
        'hidden': c and c.hidden, 'refs': payload.updatedRefs and [r.ref for r in payload.updatedRefs],
    }))
";
    let mut command = Command::new("python3");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("put .venv/bin first in PATH, as ./check does");
    let mut stdin = child.stdin.take().unwrap();
    for body in bodies {
        writeln!(stdin, "{body}").unwrap();
    }
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl World {
    async fn hears(&self, who: &str, receiver: &Receiver, kind: &str, name: &str, domains: &[&str]) -> String {
        let body = json!({ "url": receiver.url, "watched": [{ "type": kind, "name": name }], "domains": domains });
        let made = self.post(who, "/api/settings/webhooks", body).await;
        assert_eq!(made.status, 200, "{:?}", made.body);
        made.body["webhook"]["id"].as_str().unwrap().to_owned()
    }

    async fn commit(&self, who: &str, query: &str, file: &str) -> Value {
        let lines = format!(
            "{}\n{}\n",
            json!({ "key": "header", "value": { "summary": "Changes", "description": "as discussed" } }),
            json!({ "key": "file", "value": { "path": file, "content": "x" } })
        );
        let url = format!("{}/api/models/ada/m/commit/main{query}", self.url);
        let answer = self.http.post(url).bearer_auth(secret(who)).body(lines).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// All that arrives now, in the order of its telling.
    async fn arrives(&self, receiver: &Receiver) -> Vec<Value> {
        let before = receiver.count();
        while round(&self.app).await.unwrap() > 0 {}
        (before..receiver.count()).map(|at| receiver.body(at)).collect()
    }

    async fn repo(&self, kind: Kind, name: &str) -> Repo {
        let mut connection = self.app.db.read().await.unwrap();
        allmende::repo::store::find(&mut connection, kind, "ada", name).await.unwrap().unwrap()
    }
}

crate::on_both! {
    async fn discussions_are_told_as_clients_read_them(store) {
        let (world, receiver) = (World::start(store, LOOPBACK).await, Receiver::start().await);
        world.model("ada/m", false).await;
        world.hears("ada", &receiver, "model", "ada/m", &["discussion"]).await;
        let at = |rest: &str| format!("/api/models/ada/m/discussions{rest}");
        let told = async |method: Method, who: &str, path: String, body: Value| {
            let answer = world.call(who, method, &path, Some(body)).await;
            assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
            (answer.body, parsed(&world.arrives(&receiver).await))
        };
        let post = Method::POST;
        let new = json!({ "title": "A question", "description": "What is it?" });
        let (_, heard) = told(post.clone(), "bob", at(""), new).await;
        assert_eq!((heard.len(), &heard[0]["what"], &heard[0]["said"]), (1, &json!("discussion:create"), &json!("What is it?")));
        assert_eq!((&heard[0]["num"], &heard[0]["pull"], &heard[0]["status"]), (&json!(1), &json!(false), &json!("open")));
        assert!(heard[0]["web"].as_str().unwrap().ends_with("/ada/m/discussions/1"));
        let (said, heard) = told(post.clone(), "ada", at("/1/comment"), json!({ "comment": "A model" })).await;
        assert_eq!((&heard[0]["what"], &heard[0]["said"]), (&json!("discussion.comment:create"), &json!("A model")));
        let id = said["newMessage"]["id"].as_str().unwrap().to_owned();
        let (_, heard) = told(post.clone(), "ada", at(&format!("/1/comment/{id}/edit")), json!({ "content": "A good one" })).await;
        assert_eq!((&heard[0]["what"], &heard[0]["said"]), (&json!("discussion.comment:update"), &json!("A good one")));
        let (_, heard) = told(post.clone(), "ada", at(&format!("/1/comment/{id}/hide")), json!({})).await;
        assert_eq!((&heard[0]["hidden"], &heard[0]["said"]), (&json!(true), &Value::Null), "what was taken back is not told");
        let (_, heard) = told(post.clone(), "ada", at("/1/title"), json!({ "title": "Another question" })).await;
        assert_eq!((&heard[0]["what"], &heard[0]["title"]), (&json!("discussion:update"), &json!("Another question")));
        let (_, heard) = told(post.clone(), "ada", at("/1/status"), json!({ "status": "closed", "comment": "Done" })).await;
        let mut whats: Vec<_> = heard.iter().map(|h| (h["what"].as_str().unwrap(), h["status"].as_str().unwrap())).collect();
        whats.sort_unstable();
        assert_eq!(whats, [("discussion.comment:create", "closed"), ("discussion:update", "closed")]);
        // What fails is not told.
        assert_eq!(world.post("bob", &at("/1/title"), json!({ "title": "x" })).await.status, 400);
        assert_eq!(world.post("carl", &at("/1/title"), json!({ "title": "Mine now" })).await.status, 403);
        assert!(world.arrives(&receiver).await.is_empty());
        // A pull request from its commit to its merge, for whoever hears of both.
        world.hears("bob", &receiver, "user", "ada", &["repo"]).await;
        world.commit("bob", "?create_pr=1", "new.txt").await;
        let mut heard = parsed(&world.arrives(&receiver).await);
        heard.sort_by_key(|h| h["what"].to_string());
        let whats: Vec<_> = heard.iter().map(|h| h["what"].as_str().unwrap()).collect();
        assert_eq!(whats, ["discussion:create", "repo.content:update"]);
        assert_eq!((&heard[0]["pull"], &heard[0]["base"], &heard[0]["said"]), (&json!(true), &json!("refs/heads/main"), &json!("as discussed")));
        assert_eq!(heard[1]["refs"], json!(["refs/pr/2"]));
        assert_eq!(world.post("ada", &at("/2/merge"), json!({ "comment": "Thanks" })).await.status, 200);
        let mut heard = parsed(&world.arrives(&receiver).await);
        heard.sort_by_key(|h| h["what"].to_string());
        let whats: Vec<_> = heard.iter().map(|h| h["what"].as_str().unwrap()).collect();
        assert_eq!(whats, ["discussion.comment:create", "discussion:update", "repo.content:update"]);
        assert_eq!((&heard[1]["status"], &heard[2]["refs"]), (&json!("merged"), &json!(["refs/heads/main"])));
        let git = world.app.git.repo(&world.repo(Kind::Model, "m").await.id);
        assert_eq!(heard[1]["merge"], git.resolve("main").await.unwrap().to_string());
        world.stop().await;
    }

    async fn files_of_buckets_are_told(store) {
        let (world, receiver) = (World::start(store, LOOPBACK).await, Receiver::start().await);
        let made = world.post("ada", "/api/buckets/ada/b", json!({})).await;
        assert_eq!(made.status, 200, "{:?}", made.body);
        world.hears("ada", &receiver, "bucket", "ada/b", &["repo"]).await;
        let batch = async |lines: &[Value]| {
            let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let url = format!("{}/api/buckets/ada/b/batch", world.url);
            world.http.post(url).bearer_auth(secret("ada")).body(body).send().await.unwrap().status().as_u16()
        };
        let empty = "0".repeat(64);
        let add = |path: &str, hash: &str| json!({ "type": "addFile", "path": path, "xetHash": hash, "mtime": 1 });
        batch(&[add("a", &empty), add("b", &empty), add("missing", &"ab".repeat(32))]).await;
        let heard = world.arrives(&receiver).await;
        assert_eq!((heard.len(), &heard[0]["event"]), (1, &json!({ "action": "update", "scope": "repo.content" })));
        let file = |path: &str, action: &str| json!({ "path": path, "action": action });
        assert_eq!(heard[0]["updatedFiles"], json!([file("a", "update"), file("b", "update")]));
        assert_eq!((&heard[0]["updatedFilesCount"], &heard[0]["repo"]["type"]), (&json!(2), &json!("bucket")));
        batch(&[json!({ "type": "deleteFile", "path": "a" })]).await;
        assert_eq!(world.arrives(&receiver).await[0]["updatedFiles"], json!([file("a", "remove")]));
        batch(&[add("missing", &"ab".repeat(32))]).await;
        assert!(world.arrives(&receiver).await.is_empty(), "nothing changed");
        world.stop().await;
    }

    async fn what_was_about_to_move_is_told_if_it_did(store) {
        let (world, receiver) = (World::start(store, LOOPBACK).await, Receiver::start().await);
        world.model("ada/m", false).await;
        let repo = world.repo(Kind::Model, "m").await;
        let git = world.app.git.repo(&repo.id);
        let head = git.resolve("main").await.unwrap();
        let change = |name: &str| {
            allmende::git::refs::Change { name: format!("refs/heads/{name}"), old: allmende::git::Oid::ZERO, new: head }
        };
        // As a hub leaves them that dies between writing down and moving, and between moving and saying so.
        let noted = async |id: &str, names: &[&str]| {
            let changes: Vec<_> =
                names.iter().map(|name| json!([format!("refs/heads/{name}"), "0".repeat(40), head.to_string()])).collect();
            transaction!(world.app.db, tx => {
                sqlx::query("INSERT INTO ref_moves (id, repo, changes, begun_at) VALUES ($1, $2, $3, $4)")
                    .bind(id)
                    .bind(&repo.id)
                    .bind(Value::Array(changes.clone()).to_string())
                    .bind(world.app.clock.now().0)
                    .execute(&mut **tx)
                    .await?;
                Ok::<_, DbError>(())
            })
            .unwrap();
        };
        noted("unheard", &["unheard"]).await;
        git.change_refs(&[change("unheard")]).await.unwrap();
        assert_eq!(heal(&world.app, world.app.clock.now()).await.unwrap(), 1);
        world.hears("ada", &receiver, "model", "ada/m", &["repo"]).await;
        assert!(world.arrives(&receiver).await.is_empty(), "nobody listened: nothing was written");
        noted("first", &["never"]).await;
        noted("second", &["moved", "not"]).await;
        // Somebody repeated what the hub died over: the same commit, noted by another process.
        noted("third", &["moved", "not"]).await;
        git.change_refs(&[change("moved")]).await.unwrap();
        assert!(world.arrives(&receiver).await.is_empty(), "whoever moves may still be at it");
        // Two processes look at once: it is told once.
        let now = world.app.clock.now();
        let (one, other) = tokio::join!(heal(&world.app, now), heal(&world.app, now));
        assert!(one.unwrap() + other.unwrap() >= 2, "one of them saw to each");
        let heard = world.arrives(&receiver).await;
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0]["updatedRefs"], json!([{ "ref": "refs/heads/moved", "oldSha": null, "newSha": head.to_string() }]));
        assert_eq!(heal(&world.app, now).await.unwrap(), 0);
        world.stop().await;
    }
}
