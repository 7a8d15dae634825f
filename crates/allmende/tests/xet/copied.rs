//! Copies between repositories, by those who may and by those who may not.

use allmende::git::Oid;
use allmende::git::refs::Change as RefChange;
use allmende::repo::{Gate, Kind, Repo, ops, store};
use allmende::xet::ingest::Ingest;
use allmende::xet::read::read;
use allmende_core::digest::Digest;
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use super::{Person, World, noise};

async fn put(world: &World, repo: &Repo, bytes: &[u8]) -> Digest {
    let mut ingest = Ingest::begin(&world.hub.app, repo).await.unwrap();
    ingest.push(bytes).await.unwrap();
    ingest.finish().await.unwrap().sha256
}

async fn get(world: &World, repo: &Repo, sha256: &Digest) -> Option<Vec<u8>> {
    let reader = read(&world.hub.app, repo, sha256, None).await.ok()?;
    Some(reader.stream.try_collect::<Vec<_>>().await.unwrap().concat())
}

async fn post(world: &World, who: &Person, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/api/models/{path}", world.hub.url);
    let answer = reqwest::Client::new().post(url).bearer_auth(&who.token).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn copies(world: &World, who: &Person, from: &str, to: &str, sha256: &Digest) -> (u16, Value) {
    let body = json!({ "target": { "type": "model", "name": to }, "files": [{ "sha256": sha256.hex() }] });
    let (status, answer) = post(world, who, &format!("{from}/lfs-files/duplicate"), body).await;
    (status, answer["failed"].clone())
}

async fn open(world: &World, repo: &Repo, gate: Gate) {
    let mut repo = repo.clone();
    repo.private = false;
    repo.gate = gate;
    ops::configure(&world.hub.app, &repo).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_what_its_maker_may_read_and_write() {
    let world = World::still().await;
    let (ada, eve) = (world.person("ada").await, world.person("eve").await);
    let (model, other) = (world.repo(&ada, &ada.account, "model").await, world.repo(&ada, &ada.account, "other").await);
    let trap = world.repo(&eve, &eve.account, "trap").await;
    let bytes = noise(500_000, 1);
    let sha256 = put(&world, &model, &bytes).await;
    let stored = world.stored_bytes();
    // What is private is not there, whatever one knows of it.
    assert_eq!(copies(&world, &eve, "ada/model", "eve/trap", &sha256).await.0, 404);
    assert_eq!(copies(&world, &eve, "eve/trap", "ada/model", &sha256).await.0, 404);
    let (_, failed) = copies(&world, &eve, "eve/trap", "eve/trap", &sha256).await;
    assert_eq!(failed[0]["sha256"], sha256.hex(), "{failed}");
    // Inside an account it costs nothing.
    assert_eq!(copies(&world, &ada, "ada/model", "ada/other", &sha256).await, (200, json!([])));
    assert_eq!(world.stored_bytes(), stored);
    assert_eq!(get(&world, &other, &sha256).await.as_deref(), Some(&bytes[..]));
    // Whoever may read without being let in further has to be let in; then the bytes go over as if they came from outside.
    open(&world, &model, Gate::Manual).await;
    assert_eq!(copies(&world, &eve, "ada/model", "eve/trap", &sha256).await.0, 403);
    open(&world, &model, Gate::Off).await;
    assert_eq!(copies(&world, &eve, "ada/model", "ada/model", &sha256).await.0, 403);
    assert_eq!(copies(&world, &eve, "ada/model", "ada/other", &sha256).await.0, 404);
    assert_eq!(get(&world, &trap, &sha256).await, None);
    assert_eq!(copies(&world, &eve, "ada/model", "eve/trap", &sha256).await, (200, json!([])));
    assert_eq!(world.stored_bytes(), 2 * stored);
    assert_eq!(get(&world, &trap, &sha256).await.as_deref(), Some(&bytes[..]));
    let bad = json!({ "target": { "type": "model", "name": "eve/trap" },
                      "files": [{ "sha256": sha256.hex(), "xetHash": "0".repeat(64) }, { "sha256": "x" }] });
    let (status, answer) = post(&world, &eve, "ada/model/lfs-files/duplicate", bad).await;
    assert_eq!((status, answer["failed"].as_array().unwrap().len()), (200, 2), "{answer}");
    // Each stands on its own.
    ops::remove(&world.hub.app, &model).await.unwrap();
    assert_eq!(get(&world, &other, &sha256).await.as_deref(), Some(&bytes[..]));
    assert_eq!(get(&world, &trap, &sha256).await.as_deref(), Some(&bytes[..]));
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_copied_with_its_history_and_not_with_what_was_left_behind() {
    use allmende::repo::changes::{Change, Commit};
    let world = World::still().await;
    let (ada, eve) = (world.person("ada").await, world.person("eve").await);
    let model = world.repo(&ada, &ada.account, "model").await;
    let (one, two) = (noise(300_000, 1), noise(300_000, 2));
    let (a, b) = (put(&world, &model, &one).await, put(&world, &model, &two).await);
    let seen = world.session(&ada, &model).seen;
    let git = seen.git(&world.hub.app);
    let commit = async |branch: &str, path: &str, sha256: Digest| {
        let mut commit = Commit::begin(&world.hub.app, &seen, &ada.principal, branch, None, "a file").await.unwrap();
        commit.take(Change::PutLarge { path: path.parse().unwrap(), sha256 }).await.unwrap();
        commit.finish().await.unwrap()
    };
    let first = commit("main", "a.bin", a).await;
    let tag = git.tag("v1", first, Some("the first"), "ada <ada@example.org> 0 +0000").await.unwrap();
    let new_ref = |name: &str, new| RefChange { name: name.to_owned(), old: Oid::ZERO, new };
    git.change_refs(&[new_ref("refs/tags/v1", tag)]).await.unwrap();
    let pull = new_ref("refs/pr/1", first);
    git.change_refs(&[pull]).await.unwrap();
    let hidden = commit("refs/pr/1", "b.bin", b).await;
    let to = json!({ "repository": "eve/mine" });
    assert_eq!(post(&world, &eve, "ada/model/duplicate", to.clone()).await.0, 404);
    open(&world, &model, Gate::Off).await;
    assert_eq!(post(&world, &eve, "ada/model/duplicate", json!({ "repository": "ada/stolen" })).await.0, 403);
    let (status, made) = post(&world, &eve, "ada/model/duplicate", to.clone()).await;
    assert_eq!((status, made["url"].as_str().unwrap()), (200, format!("{}/eve/mine", world.hub.url).as_str()));
    let again = post(&world, &eve, "ada/model/duplicate", to).await;
    assert_eq!((again.0, &again.1["url"]), (409, &made["url"]));
    let mine = store::find(&mut world.hub.app.db.read().await.unwrap(), Kind::Model, "eve", "mine").await;
    let mine = mine.unwrap().unwrap();
    let theirs = world.hub.app.git.repo(&mine.id);
    assert_eq!(theirs.resolve("v1").await.unwrap(), first);
    assert_eq!(theirs.resolve("main").await.unwrap(), first);
    assert!(theirs.resolve("refs/pr/1").await.is_err() && theirs.resolve(&hidden.to_string()).await.is_err());
    assert_eq!(get(&world, &mine, &a).await.as_deref(), Some(&one[..]));
    assert_eq!(get(&world, &mine, &b).await, None, "only a pull request had it");
    let report = allmende::xet::check::check(&world.hub.app.db, &world.hub.app.blobs).await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
    world.hub.stop().await;
}
