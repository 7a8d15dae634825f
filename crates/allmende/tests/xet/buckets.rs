//! Buckets through a real server: who may, what a hash opens, how they are listed, and what the collector leaves.

use std::time::Duration;

use allmende::repo::ops::{self, Wanted};
use allmende::repo::{Kind, Repo, Settings};
use allmende::xet::check::check;
use allmende::xet::collect::{How, Place, Report, collect};
use allmende::xet::ingest::{Ingest, Stored};
use reqwest::{Method, Response, header};
use serde_json::{Value, json};

use super::{Person, World, noise};
use crate::http::Hub;
use crate::stores::Store;

const AGE: Duration = Duration::from_secs(1_000);

/// A world on an SQLite file, and one on PostgreSQL with the store that has to outlive it.
async fn on_both() -> [(World, Option<Store>); 2] {
    on_both_with(&[]).await
}

async fn on_both_with(settings: &[(&'static str, &str)]) -> [(World, Option<Store>); 2] {
    let store = Store::postgres().await;
    let more: Vec<_> = settings.iter().copied().chain([("database_url", store.options.url.as_str())]).collect();
    let hub = Hub::start(&more).await;
    [(World { hub: Hub::start(settings).await }, None), (World { hub }, Some(store))]
}

async fn bucket(world: &World, who: &Person, name: &str, private: bool) -> Repo {
    let wanted = Wanted {
        kind: Kind::Bucket,
        owner: who.account.clone(),
        name: name.parse().unwrap(),
        private: Some(private),
        settings: Settings::default(),
    };
    ops::create(&world.hub.app, &who.principal, wanted).await.unwrap()
}

/// Makes a repository hold these bytes, as an upload in chunks does.
async fn held(world: &World, repo: &Repo, bytes: &[u8]) -> Stored {
    let mut ingest = Ingest::begin(&world.hub.app, repo).await.unwrap();
    ingest.push(bytes).await.unwrap();
    ingest.finish().await.unwrap()
}

async fn call(world: &World, who: Option<&Person>, method: Method, path: &str, body: &str) -> Response {
    let url = format!("{}{path}", world.hub.url);
    let request = reqwest::Client::new().request(method, url).body(body.to_owned());
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let request = if let Some(who) = who { request.bearer_auth(&who.token) } else { request };
    request.send().await.unwrap()
}

async fn get(world: &World, who: Option<&Person>, path: &str) -> (u16, Value) {
    let answer = call(world, who, Method::GET, path, "").await;
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn batch(world: &World, who: Option<&Person>, bucket: &str, lines: &[Value]) -> (u16, Value) {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let answer = call(world, who, Method::POST, &format!("/api/buckets/{bucket}/batch"), &body).await;
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

fn add(path: &str, file: &Stored) -> Value {
    json!({ "type": "addFile", "path": path, "xetHash": file.xet_hash.to_string(), "mtime": 1_700_000_000_123_u64 })
}

fn copy(path: &str, file: &Stored, kind: &str, from: &str) -> Value {
    json!({ "type": "copyFile", "path": path, "xetHash": file.xet_hash.to_string(), "mtime": 1, "sourceRepoType": kind,
            "sourceRepoId": from })
}

fn delete(path: &str) -> Value {
    json!({ "type": "deleteFile", "path": path })
}

/// The paths of a listing, folders with a slash, page by page.
async fn tree(world: &World, who: Option<&Person>, path: &str) -> Vec<String> {
    let (mut next, mut found) = (Some(format!("{}{path}", world.hub.url)), Vec::new());
    while let Some(url) = next {
        let answer = call(world, who, Method::GET, url.strip_prefix(&world.hub.url).unwrap(), "").await;
        assert_eq!(answer.status(), 200, "{url}");
        let link = answer.headers().get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
        let lines: Vec<Value> = answer.json().await.unwrap();
        found.extend(lines.iter().map(|line| {
            let slash = if line["type"] == "directory" { "/" } else { "" };
            format!("{}{slash}", line["path"].as_str().unwrap())
        }));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_puts_only_what_the_bucket_holds_and_copies_only_what_one_may_read() {
    let world = World::still().await;
    let (ada, eve) = (world.person("ada").await, world.person("eve").await);
    let model = world.repo(&ada, &ada.account, "model").await;
    let (own, trap) = (bucket(&world, &ada, "own", true).await, bucket(&world, &eve, "trap", false).await);
    let bytes = noise(300_000, 1);
    let file = held(&world, &model, &bytes).await;
    let stored = world.stored_bytes();
    // Knowing the hash is no right, neither to put it nor to learn whether anybody has it.
    for who in [&ada, &eve] {
        let name = format!("{}/{}", who.account.name, if who.account.id == ada.account.id { "own" } else { "trap" });
        let (status, answer) = batch(&world, Some(who), &name, &[add("a.bin", &file)]).await;
        assert_eq!((status, answer["failed"][0]["path"].as_str()), (422, Some("a.bin")), "{answer}");
    }
    let stolen = copy("a.bin", &file, "model", "ada/model");
    let (status, private) = batch(&world, Some(&eve), "eve/trap", std::slice::from_ref(&stolen)).await;
    let (_, nothing) = batch(&world, Some(&eve), "eve/trap", &[copy("a.bin", &file, "model", "ada/none")]).await;
    assert_eq!(status, 422);
    assert_eq!(private, nothing, "what is private and what is not there look the same");
    // Inside an account a copy costs nothing, and some of a batch may fail.
    let bogus = json!({ "type": "copyFile", "path": "no", "xetHash": "0".repeat(64), "sourceRepoType": "bucket",
                        "sourceRepoId": "ada/own" });
    let lines = [copy("a/b c.bin", &file, "model", "ada/model"), bogus];
    let (status, answer) = batch(&world, Some(&ada), "ada/own", &lines).await;
    assert_eq!((status, answer["failed"].as_array().unwrap().len()), (200, 1), "{answer}");
    assert_eq!((answer["failed"][0]["path"].as_str(), world.stored_bytes()), (Some("no"), stored));
    // Into another's bucket the bytes go as if they came from outside.
    let mut open = model.clone();
    open.private = false;
    ops::configure(&world.hub.app, &open).await.unwrap();
    assert_eq!(batch(&world, Some(&eve), "eve/trap", &[stolen]).await.0, 200);
    assert_eq!(world.stored_bytes(), 2 * stored);

    // Its bytes are read as those of every repository.
    let file_path = "/buckets/ada/own/resolve/a%2Fb%20c.bin";
    for (who, status) in [(None, 401), (Some(&eve), 404), (Some(&ada), 200)] {
        assert_eq!(call(&world, who, Method::GET, file_path, "").await.status(), status);
    }
    for path in [file_path, "/buckets/ada/own/resolve/a/b%20c.bin"] {
        let whole = call(&world, Some(&ada), Method::GET, path, "").await;
        let header = |name: &str| whole.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("x-xet-hash"), header("x-linked-size")), (file.xet_hash.to_string(), "300000".to_owned()));
        assert!(header("link").contains("/api/buckets/ada/own/xet-read-token>; rel=\"xet-auth\""));
        assert_eq!(header("etag"), format!("\"{}\"", file.xet_hash));
        assert_eq!(whole.bytes().await.unwrap(), bytes);
    }
    let url = format!("{}{file_path}", world.hub.url);
    let part = reqwest::Client::new().get(url).bearer_auth(&ada.token).header(header::RANGE, "bytes=100-199");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), bytes[100..200]);
    assert_eq!(get(&world, Some(&ada), "/buckets/ada/own/resolve/none").await.0, 404);

    // What is private is not there; what is public is read by all and written by its own people.
    for (who, status) in [(None, 401), (Some(&eve), 404)] {
        for path in ["", "/tree", "/tree/a", "/xet-read-token", "/xet-write-token"] {
            assert_eq!(get(&world, who, &format!("/api/buckets/ada/own{path}")).await.0, status, "{path}");
        }
        assert_eq!(batch(&world, who, "ada/own", &[delete("a/b c.bin")]).await.0, status);
        assert_eq!(call(&world, who, Method::DELETE, "/api/buckets/ada/own", "").await.status(), status);
    }
    assert_eq!(get(&world, None, "/api/buckets/eve").await.1.as_array().unwrap().len(), 1);
    assert_eq!(get(&world, Some(&eve), "/api/buckets/ada").await, (200, json!([])));
    assert_eq!(get(&world, Some(&ada), "/api/buckets/me").await.1[0]["totalFiles"], 1);
    for (who, status) in [(None, 401), (Some(&ada), 403)] {
        assert_eq!(batch(&world, who, "eve/trap", &[delete("a.bin")]).await.0, status);
        assert_eq!(get(&world, who, "/api/buckets/eve/trap/xet-write-token").await.0, status);
        assert_eq!(call(&world, who, Method::PUT, "/api/buckets/eve/trap/settings", "{}").await.status(), status);
        assert_eq!(call(&world, who, Method::DELETE, "/api/buckets/eve/trap", "").await.status(), status);
    }
    assert_eq!(tree(&world, None, "/api/buckets/eve/trap/tree").await, ["a.bin"]);
    drop((own, trap));
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_stand_in_a_bucket_is_refused_and_the_rest_is_done() {
    let world = World::still().await;
    let ada = world.person("ada").await;
    let own = bucket(&world, &ada, "own", true).await;
    let file = held(&world, &own, b"some bytes").await;
    let long = "x".repeat(5_000);
    let bad = ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a/", ".git/config", "a\u{0}b", "a\\b", &long];
    let lines: Vec<Value> = bad.iter().map(|path| add(path, &file)).chain([add("good.txt", &file)]).collect();
    let (status, answer) = batch(&world, Some(&ada), "ada/own", &lines).await;
    assert_eq!((status, answer["failed"].as_array().unwrap().len()), (200, bad.len()), "{answer}");
    let mut late = add("late", &file);
    late["mtime"] = json!(i64::MAX);
    let mut other = add("other", &file);
    other["xetHash"] = json!("not a hash");
    assert_eq!(batch(&world, Some(&ada), "ada/own", &[late, other]).await.0, 422);
    // Half a request is none.
    let torn = format!("{}\n{{\"type\":\"addFile\"", add("torn", &file));
    let answer = call(&world, Some(&ada), Method::POST, "/api/buckets/ada/own/batch", &torn).await;
    assert_eq!(answer.status(), 400);
    let many: Vec<Value> = (0..1_001).map(|n| delete(&n.to_string())).collect();
    assert_eq!(batch(&world, Some(&ada), "ada/own", &many).await.0, 400);
    let wide = format!("{{\"type\":\"deleteFile\",\"path\":\"{}", "x".repeat(1 << 20));
    let answer = call(&world, Some(&ada), Method::POST, "/api/buckets/ada/own/batch", &wide).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(tree(&world, Some(&ada), "/api/buckets/ada/own/tree").await, ["good.txt"]);
    // What has no bytes needs none sent. That there is nothing to delete is no failure.
    let empty = json!({ "type": "addFile", "path": "empty", "xetHash": "0".repeat(64), "mtime": 0 });
    assert_eq!(batch(&world, Some(&ada), "ada/own", &[empty, delete("good.txt"), delete("none")]).await.0, 200);
    assert_eq!(tree(&world, Some(&ada), "/api/buckets/ada/own/tree").await, ["empty"]);
    let got = call(&world, Some(&ada), Method::GET, "/buckets/ada/own/resolve/empty", "").await;
    assert_eq!((got.status().as_u16(), got.bytes().await.unwrap().len()), (200, 0));
    // What a bucket has none of is behind no door.
    for path in ["revision/main", "refs", "commits/main", "discussions", "lfs-files", "likers", "tree/main/../x"] {
        let (status, answer) = get(&world, Some(&ada), &format!("/api/buckets/ada/own/{path}")).await;
        assert!(status == 404 || answer == json!([]), "{path}: {status} {answer}");
    }
    for path in ["commit/main", "preupload/main", "branch/new", "discussions", "duplicate", "lfs-files/batch", "like"] {
        let answer = call(&world, Some(&ada), Method::POST, &format!("/api/buckets/ada/own/{path}"), "{}").await;
        assert_eq!(answer.status(), 404, "{path}");
    }
    for path in ["/buckets/ada/own.git/info/refs?service=git-upload-pack", "/buckets/ada/own/info/refs", "/api/buckets"]
    {
        assert_eq!(get(&world, Some(&ada), path).await.0, 404, "{path}");
    }
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_listed_by_letters_and_by_folders() {
    for (world, _store) in on_both().await {
        listed(world).await;
    }
}

async fn listed(world: World) {
    let ada = world.person("ada").await;
    let own = bucket(&world, &ada, "own", false).await;
    let file = held(&world, &own, b"some bytes").await;
    let paths = [
        "a.txt",
        "logs.json",
        "logs/1.txt",
        "logs/deep/2.txt",
        "logs/deep/3.txt",
        "logs0",
        "logs_old/4.txt",
        "é/ü.txt",
    ];
    let lines: Vec<Value> = paths.iter().rev().map(|path| add(path, &file)).collect();
    assert_eq!(batch(&world, Some(&ada), "ada/own", &lines).await.0, 200);
    for (query, expected) in [
        ("tree", &paths[..]),
        ("tree?recursive=true", &paths[..]),
        ("tree?recursive=false", &["a.txt", "logs.json", "logs/", "logs0", "logs_old/", "é/"][..]),
        ("tree/logs", &paths[1..7]),
        ("tree/logs?recursive=false", &["logs.json", "logs/1.txt", "logs/deep/", "logs0", "logs_old/"]),
        ("tree/logs%2F?recursive=False", &["logs/1.txt", "logs/deep/"]),
        ("tree/logs%2Fdeep", &["logs/deep/2.txt", "logs/deep/3.txt"]),
        ("tree/logs/deep", &["logs/deep/2.txt", "logs/deep/3.txt"]),
        ("tree/%C3%A9?recursive=false", &["é/ü.txt"]),
        ("tree/none", &[]),
    ] {
        for limit in [1, 2, 3, 1_000] {
            let mark = if query.contains('?') { '&' } else { '?' };
            let found = tree(&world, None, &format!("/api/buckets/ada/own/{query}{mark}limit={limit}")).await;
            assert_eq!(found, expected, "{query} {limit}");
        }
    }
    let (_, lines) = get(&world, None, "/api/buckets/ada/own/tree?recursive=false&limit=3").await;
    assert_eq!((&lines[0]["mtime"], &lines[0]["size"]), (&json!("2023-11-14T22:13:20.123Z"), &json!(10)));
    assert_eq!(lines[2]["uploadedAt"], lines[0]["uploadedAt"], "{lines}");
    let asked = json!({ "paths": ["logs", "a.txt", "../a.txt", "none"] }).to_string();
    let answer = call(&world, None, Method::POST, "/api/buckets/ada/own/paths-info", &asked).await;
    let found: Vec<Value> = answer.json().await.unwrap();
    assert_eq!((found.len(), &found[0]["path"]), (1, &json!("a.txt")));
    let (_, info) = get(&world, None, "/api/buckets/ada/own").await;
    assert_eq!((&info["size"], &info["totalFiles"]), (&json!(80), &json!(8)));
    world.hub.stop().await;
}

async fn gc(world: &World) -> Report {
    let app = &world.hub.app;
    app.clock.advance_ms(2 * AGE.as_millis() as i64);
    let place = Place { db: &app.db, blobs: &app.blobs, git: &app.git };
    collect(place, How { min_age: AGE, dry_run: false, now: &|| app.clock.now() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_leaves_what_stands_in_a_bucket_and_takes_what_does_not() {
    for (world, _store) in on_both().await {
        collected(world).await;
    }
}

async fn collected(world: World) {
    let ada = world.person("ada").await;
    let own = bucket(&world, &ada, "own", true).await;
    let (kept, gone) = (noise(200_000, 1), noise(300_000, 2));
    let (one, two) = (held(&world, &own, &kept).await, held(&world, &own, &gone).await);
    let lines = [add("kept", &one), add("overwritten", &two), add("deleted", &two)];
    assert_eq!(batch(&world, Some(&ada), "ada/own", &lines).await.0, 200);
    for _ in 0..3 {
        assert_eq!((gc(&world).await.removed.count, world.stored_bytes() > 500_000), (0, true));
    }
    let lines = [add("overwritten", &one), delete("deleted")];
    assert_eq!(batch(&world, Some(&ada), "ada/own", &lines).await.0, 200);
    gc(&world).await;
    // Noted and not yet removed: whoever puts it back keeps it.
    assert_eq!(batch(&world, Some(&ada), "ada/own", &[add("back", &two)]).await.0, 200);
    gc(&world).await;
    gc(&world).await;
    assert!(world.stored_bytes() > 500_000);
    assert_eq!(batch(&world, Some(&ada), "ada/own", &[delete("back")]).await.0, 200);
    for _ in 0..4 {
        gc(&world).await;
    }
    assert!((200_000..300_000).contains(&world.stored_bytes()), "{}", world.stored_bytes());
    assert_eq!(batch(&world, Some(&ada), "ada/own", &[add("back", &two)]).await.0, 422, "it is gone");
    let app = &world.hub.app;
    let report = check(&app.db, &app.blobs).await.unwrap();
    assert_eq!((report.files, report.findings.len()), (1, 0), "{report:?}");
    for path in ["kept", "overwritten"] {
        let answer = call(&world, Some(&ada), Method::GET, &format!("/buckets/ada/own/resolve/{path}"), "").await;
        assert_eq!(answer.bytes().await.unwrap(), kept);
    }
    assert_eq!(call(&world, Some(&ada), Method::DELETE, "/api/buckets/ada/own", "").await.status(), 200);
    assert_eq!(get(&world, Some(&ada), "/api/buckets/ada/own").await.0, 404);
    for _ in 0..3 {
        gc(&world).await;
    }
    assert_eq!(world.stored_bytes(), 0);
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_moves_with_its_files_and_a_quota_holds_for_it() {
    let world = World::start(&[("default_quota_bytes", "150000")]).await;
    let ada = world.person("ada").await;
    let own = bucket(&world, &ada, "own", true).await;
    let file = held(&world, &own, &noise(100_000, 1)).await;
    assert_eq!(batch(&world, Some(&ada), "ada/own", &[add("a", &file)]).await.0, 200);
    let moved = json!({ "fromRepo": "ada/own", "toRepo": "ada/other", "type": "bucket" }).to_string();
    assert_eq!(call(&world, Some(&ada), Method::POST, "/api/repos/move", &moved).await.status(), 200);
    for name in ["own", "other"] {
        let (status, info) = get(&world, Some(&ada), &format!("/api/buckets/ada/{name}")).await;
        assert_eq!((status, &info["id"]), (200, &json!("ada/other")));
    }
    let eve = world.person("eve").await;
    let theirs = world.repo(&eve, &eve.account, "theirs").await;
    let more = held(&world, &theirs, &noise(90_000, 2)).await;
    let mut open = theirs.clone();
    open.private = false;
    ops::configure(&world.hub.app, &open).await.unwrap();
    let copied = copy("b", &more, "model", "eve/theirs");
    let (status, answer) = batch(&world, Some(&ada), "ada/other", &[copied]).await;
    assert_eq!(status, 422);
    assert!(answer["failed"][0]["error"].as_str().unwrap().contains("quota"), "{answer}");
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_holds_no_more_files_than_the_hub_says() {
    for (world, _store) in on_both_with(&[("max_bucket_files", "3")]).await {
        let ada = world.person("ada").await;
        let own = bucket(&world, &ada, "own", true).await;
        let file = held(&world, &own, b"some").await;
        let lines = ["a", "b/c", "d", "e"].map(|path| add(path, &file));
        let (status, answer) = batch(&world, Some(&ada), "ada/own", &lines).await;
        assert_eq!((status, &answer["success"], &answer["succeeded"]), (200, &json!(false), &json!(3)), "{answer}");
        let failed = &answer["failed"][0];
        assert_eq!(failed["path"], "e");
        let text = failed["error"].as_str().unwrap();
        assert!(text.starts_with("the bucket holds max_bucket_files = 3 files: delete some"), "{text}");
        // What stands there may be overwritten, and what goes makes room, in the same batch too.
        let lines = [add("d", &file), delete("a"), delete("a"), add("e", &file)];
        assert_eq!(batch(&world, Some(&ada), "ada/own", &lines).await.0, 200);
        assert_eq!(tree(&world, Some(&ada), "/api/buckets/ada/own/tree?recursive=true").await.len(), 3);
        // Together they take no more than alone.
        assert_eq!(batch(&world, Some(&ada), "ada/own", &[delete("d"), delete("e")]).await.0, 200);
        let names: Vec<String> = (0..8).map(|i| format!("n{i}")).collect();
        let one = async |path: &String| batch(&world, Some(&ada), "ada/own", &[add(path, &file)]).await.0;
        let done = futures::future::join_all(names.iter().map(one)).await;
        assert_eq!(done.iter().filter(|status| **status == 200).count(), 2, "{done:?}");
        world.hub.stop().await;
    }
}
