//! Pushes that an account has no room for, by the real git and git-lfs: what people read, and that nothing stays.

use allmende::account::Rights;
use allmende::db::DbError;
use allmende::repo::quota::{self, Usage};
use allmende::repo::{Kind, Repo, large};
use allmende::transaction;
use allmende::xet::collect::{How, Place, collect};
use allmende_core::digest::Digest;
use serde_json::json;
use std::time::Duration;

use super::{Desk, Someone, address, noise};
use crate::http::Hub;

const REFUSED: &str = "storage quota exceeded: ";

struct Stage {
    hub: Hub,
    carla: Someone,
    repo: Repo,
}

impl Stage {
    async fn set() -> Self {
        let hub = Hub::start(&[("default_quota_bytes", "1000000")]).await;
        let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
        let repo = carla.creates(&hub.app, Kind::Model, "bert", true).await;
        Self { hub, carla, repo }
    }

    async fn usage(&self) -> Usage {
        let mut connection = self.hub.app.db.read().await.unwrap();
        let domain = quota::domain_of(&mut connection, &self.carla.principal.account).await.unwrap();
        quota::usage(&mut connection, &domain, 1_000_000).await.unwrap()
    }

    async fn give(&self, bytes: Option<u64>) {
        let account = &self.carla.principal.account;
        let given: Result<(), DbError> = transaction!(self.hub.app.db, tx => { quota::give(tx, account, bytes).await });
        given.unwrap();
    }

    /// Where main leads, and what its objects occupy on disk, with what waits.
    async fn standing(&self) -> (String, u64) {
        let git = self.hub.app.git.repo(&self.repo.id);
        let waiting = std::fs::read_dir(self.hub.app.config.git_dir().join("incoming"));
        assert_eq!(waiting.map(Iterator::count).unwrap_or(0), 0, "nothing waits");
        (git.resolve("main").await.unwrap().to_string(), git.size_bytes().await.unwrap())
    }

    async fn collect(&self) {
        let app = &self.hub.app;
        let place = Place { db: &app.db, blobs: &app.blobs, git: &app.git };
        let now = || app.clock.now();
        collect(place, How { min_age: Duration::from_secs(3_600), dry_run: false, now: &now }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_without_room_is_refused_in_words_and_leaves_nothing() {
    let stage = Stage::set().await;
    let desk = Desk::new();
    desk.clones(&address(&stage.hub, &stage.carla, "carla/bert"), "a").await.fine();
    desk.commits("a", "first.txt", &noise(1, 600_000)).await;
    desk.git("a", &["push", "--quiet"]).await.fine();
    let before = stage.usage().await;
    assert!((600_000..620_000).contains(&before.history_bytes) && before.large_bytes == 0, "{before:?}");
    let stood = stage.standing().await;

    desk.commits("a", "second.txt", &noise(2, 600_000)).await;
    for args in [&["push"][..], &["push", "--atomic"], &["push", "origin", "HEAD:refs/heads/other"]] {
        let said = desk.git("a", args).await;
        assert!(said.err.contains("remote: refused: storage quota exceeded: 6"), "{}", said.err);
        assert!(
            said.err.contains("of 1000000 bytes are used") && said.err.contains("[remote rejected]"),
            "{}",
            said.err
        );
        said.refused("allmende account quota");
    }
    assert_eq!((stage.standing().await, stage.usage().await), (stood, before));

    // By the other doors too: a commit through the API, and a copy of the whole.
    let line = json!({ "key": "file", "value": { "path": "b.txt", "content": "x".repeat(500_000) } });
    let body = format!("{}\n{line}\n", json!({ "key": "header", "value": { "summary": "x" } }));
    let client = reqwest::Client::new();
    let post = |path: &str| client.post(format!("{}{path}", stage.hub.url)).bearer_auth(&stage.carla.secret);
    let answer = post("/api/models/carla/bert/commit/main").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert!(answer.headers()["x-error-message"].to_str().unwrap().starts_with(REFUSED));
    let copy = json!({ "repository": "carla/copy" });
    let answer = post("/api/models/carla/bert/duplicate").json(&copy).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(stage.usage().await, before);

    // What is small is taken all the same, and counts.
    desk.git("a", &["reset", "--quiet", "--hard", "origin/main"]).await.fine();
    stage.give(Some(10)).await;
    desk.commits("a", "README.md", b"---\nlicense: mit\n---\n").await;
    desk.git("a", &["push", "--quiet"]).await.fine();
    let after = stage.usage().await;
    assert!((1..10_000).contains(&(after.history_bytes - before.history_bytes)), "{after:?}");

    // Measured it is what lies there; with the repository it is gone.
    stage.collect().await;
    assert_eq!(stage.usage().await.history_bytes, stage.standing().await.1);
    allmende::repo::ops::remove(&stage.hub.app, &stage.repo).await.unwrap();
    assert_eq!(stage.usage().await.used_bytes(), 0);
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_lfs_without_room_is_refused_in_words_and_leaves_nothing() {
    let stage = Stage::set().await;
    let desk = Desk::new();
    desk.git("", &["lfs", "install"]).await.fine();
    desk.clones(&address(&stage.hub, &stage.carla, "carla/bert"), "a").await.fine();
    stage.collect().await;
    let (before, stood) = (stage.usage().await, stage.standing().await);
    let bytes = noise(3, 2_000_000);
    desk.commits("a", "model.safetensors", &bytes).await;
    let said = desk.git("a", &["push"]).await;
    assert!(said.err.contains("storage quota exceeded: "), "{}", said.err);
    said.refused("2000000 more do not fit");
    assert_eq!((stage.standing().await, stage.usage().await), (stood.clone(), before));
    let held = async || {
        let mut connection = stage.hub.app.db.read().await.unwrap();
        large::held(&mut connection, &stage.repo, &Digest::of(&bytes)).await.unwrap()
    };
    assert_eq!(held().await, None);

    // With room it comes in. Taken away again, nothing more does; what the history names already is named again freely.
    stage.give(Some(10_000_000)).await;
    desk.git("a", &["push", "--quiet"]).await.fine();
    assert_eq!(held().await, Some(2_000_000));
    stage.give(Some(10)).await;
    let (before, stood) = (stage.usage().await, stage.standing().await);
    desk.commits("a", "more.safetensors", &noise(4, 100_000)).await;
    desk.git("a", &["push"]).await.refused(REFUSED);
    assert_eq!((stage.standing().await, stage.usage().await), (stood, before));
    desk.git("a", &["reset", "--quiet", "--hard", "origin/main"]).await.fine();
    desk.commits("a", "copy.safetensors", &bytes).await;
    desk.git("a", &["push", "--quiet"]).await.fine();
    assert_eq!(stage.usage().await.large_bytes, before.large_bytes);
    stage.hub.stop().await;
}
