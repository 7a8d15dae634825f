//! How much an account may keep, asked at every door.

use allmende::db::DbError;
use allmende::repo::changes::{Change, Commit};
use allmende::repo::{RepoError, quota};
use allmende::transaction;
use allmende::xet::ingest::Ingest;
use allmende_core::digest::Digest;
use serde_json::{Value, json};

use super::{Person, World, clients, noise};

async fn give(world: &World, who: &Person, bytes: Option<u64>) {
    let given: Result<(), DbError> =
        transaction!(world.hub.app.db, tx => { quota::give(tx, &who.account, bytes).await });
    given.unwrap();
}

async fn post(world: &World, who: &Person, path: &str, body: Value) -> (u16, String) {
    let url = format!("{}{path}", world.hub.url);
    let answer = reqwest::Client::new().post(url).bearer_auth(&who.token).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_asks_for_room() {
    let world = World::start(&[("default_quota_bytes", "1000000")]).await;
    let (ada, eve) = (world.person("ada").await, world.person("eve").await);
    let model = world.repo(&ada, &ada.account, "model").await;
    let theirs = world.repo(&eve, &eve.account, "model").await;
    let app = &world.hub.app;
    let put = async |repo, bytes: &[u8]| {
        let mut ingest = Ingest::begin(app, repo).await?;
        ingest.push(bytes).await?;
        ingest.finish().await.map(|stored| stored.sha256)
    };
    let first = noise(600_000, 1);
    let sha256 = put(&model, &first).await.unwrap();
    // The same again costs nothing, more does not fit, and others have room of their own.
    put(&model, &first).await.unwrap();
    let refused = put(&model, &noise(600_000, 2)).await.unwrap_err().to_string();
    assert!(refused.contains("storage quota exceeded: 6") && refused.contains("of 1000000 bytes"), "{refused}");
    put(&theirs, &noise(600_000, 2)).await.unwrap();
    assert!(world.stored_bytes() < 1_300_000, "what was refused does not lie there");
    let object = |bytes: u64| json!({ "operation": "upload", "transfers": ["basic"], "objects": [{ "oid": "ab".repeat(32), "size": bytes }] });
    let (_, answer) = post(&world, &ada, "/ada/model.git/info/lfs/objects/batch", object(600_000)).await;
    assert!(answer.contains("\"code\":413") && answer.contains("storage quota exceeded"), "{answer}");
    let (_, answer) = post(&world, &ada, "/ada/model.git/info/lfs/objects/batch", object(100_000)).await;
    assert!(answer.contains("\"upload\""), "{answer}");
    // Xorbs as clients send them.
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("more.bin");
    std::fs::write(&path, noise(600_000, 3)).unwrap();
    let said = clients::fails(&world, &ada, home.path(), &["upload", "ada/model", path.to_str().unwrap()]).await;
    assert!(said.contains("storage quota exceeded: 6"), "{said}");
    // An operator gives more, or less than is there: then nothing more is cited either.
    give(&world, &ada, Some(5_000_000)).await;
    clients::upload(&world, &ada, &model, home.path(), &path, "more.bin").await;
    give(&world, &ada, Some(10)).await;
    let said =
        clients::fails(&world, &ada, home.path(), &["upload", "ada/model", path.to_str().unwrap(), "x.bin"]).await;
    assert!(said.contains("storage quota exceeded"), "{said}");
    let seen = world.session(&ada, &model).seen;
    let mut commit = Commit::begin(app, &seen, &ada.principal, "main", None, "x").await.unwrap();
    let change = Change::PutLarge { path: "a.bin".parse().unwrap(), sha256 };
    assert!(matches!(commit.take(change).await, Err(RepoError::Quota(_))));
    drop(commit);
    let line = json!({ "key": "lfsFile", "value": { "path": "a.bin", "oid": Digest::of(&first).hex() } });
    let body = format!("{}\n{line}\n", json!({ "key": "header", "value": { "summary": "x" } }));
    let url = format!("{}/api/models/ada/model/commit/main", world.hub.url);
    let answer = reqwest::Client::new().post(url).bearer_auth(&ada.token).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert!(answer.headers()["x-error-message"].to_str().unwrap().starts_with("storage quota exceeded"));
    // Small files and reading go on.
    let line = json!({ "key": "file", "value": { "path": "a.txt", "content": "small" } });
    let body = format!("{}\n{line}\n", json!({ "key": "header", "value": { "summary": "x" } }));
    let url = format!("{}/api/models/ada/model/commit/main", world.hub.url);
    let answer = reqwest::Client::new().post(url).bearer_auth(&ada.token).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(clients::download(&world, &ada, &model, "more.bin").await == noise(600_000, 3));
    give(&world, &ada, None).await;
    let mut connection = app.db.read().await.unwrap();
    let domain = quota::domain_of(&mut connection, &ada.account).await.unwrap();
    let usage = quota::usage(&mut connection, &domain, 1_000_000).await.unwrap();
    drop(connection);
    assert_eq!(usage.limit_bytes, Some(1_000_000));
    assert!((1_200_000..1_210_000).contains(&usage.large_bytes), "{usage:?}");
    world.hub.stop().await;
}
