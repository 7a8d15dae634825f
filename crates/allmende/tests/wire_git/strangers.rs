//! What strangers send to the doors beside git: lies about names, sizes and hashes, what never ends, what grows, and what
//! is another's. Each is refused over a real socket, in bounds, and nothing of it stays.

use std::time::{Duration, Instant};

use allmende::account::Rights;
use allmende::repo::{Kind, Repo};
use allmende_core::digest::Digest;
use allmende_formats::xet::chunk_hash;
use allmende_formats::xet::xorb::XorbWriter;
use bytes::Bytes;
use futures::stream;
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Someone, noise};
use crate::http::Hub;

struct Stage {
    hub: Hub,
    ada: Someone,
    mallory: Someone,
    /// Of ada.
    repo: Repo,
}

impl Stage {
    async fn set(settings: &[(&'static str, &str)]) -> Self {
        let hub = Hub::start(settings).await;
        let ada = Someone::new(&hub.app, "ada", Rights::Write).await;
        let mallory = Someone::new(&hub.app, "mallory", Rights::Write).await;
        let repo = ada.creates(&hub.app, Kind::Model, "model", true).await;
        Self { hub, ada, mallory, repo }
    }

    fn post(&self, who: &Someone, path: &str) -> RequestBuilder {
        Client::new().post(format!("{}{path}", self.hub.url)).bearer_auth(&who.secret)
    }

    async fn commit(&self, who: &Someone, body: impl Into<Body>) -> Response {
        self.post(who, "/api/models/ada/model/commit/main").body(body).send().await.unwrap()
    }

    /// The answer to a question for large files.
    async fn batch(&self, who: &Someone, objects: &[(&str, u64)]) -> (StatusCode, Value) {
        let objects: Vec<Value> = objects.iter().map(|(oid, size)| json!({ "oid": oid, "size": size })).collect();
        let question = json!({ "operation": "upload", "transfers": ["basic"], "objects": objects });
        let asked = self.post(who, "/ada/model.git/info/lfs/objects/batch").body(question.to_string());
        let answer = asked.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn head(&self) -> String {
        self.hub.app.git.repo(&self.repo.id).resolve("main").await.unwrap().to_string()
    }

    /// What a socket answers to bytes of ours, until it closes or `patience` is over.
    async fn raw(&self, request: &str, patience: Duration) -> String {
        let mut socket = TcpStream::connect(self.hub.url.trim_start_matches("http://")).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(patience, socket.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Nothing was committed, waits or is held.
    async fn untouched(self, head: &str) {
        assert_eq!(self.head().await, head);
        let held = allmende::repo::large::list(&mut self.hub.app.db.read().await.unwrap(), &self.repo, "", 10).await;
        assert!(held.unwrap().is_empty(), "nothing is held");
        let git = self.hub.app.git.repo(&self.repo.id);
        assert!(git.run(["fsck", "--strict", "--full"], &[]).await.is_ok());
        let left = git.run(["for-each-ref", "refs/incoming"], &[]).await.unwrap();
        assert!(left.is_empty(), "{}", String::from_utf8_lossy(&left));
        self.hub.stop().await;
    }
}

fn header() -> String {
    json!({ "key": "header", "value": { "summary": "trap" } }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_lead_elsewhere() {
    let stage = Stage::set(&[]).await;
    let head = stage.head().await;
    for path in [
        "../../hub.db",
        "/etc/passwd",
        "a/../../b",
        "a//b",
        "./a",
        "a/.",
        "a\\..\\b",
        "a\0b",
        "a\nb",
        ".git/config",
        "a/.GIT/hooks/post-receive",
        ".g\u{200c}it/config",
        ".gi\u{feff}t/config",
        "git~1/config",
        ".git::$INDEX_ALLOCATION/config",
        "end./b",
        "",
        &"x".repeat(256),
        &vec!["y".repeat(200); 30].join("/"),
    ] {
        let sha256 = "ab".repeat(32);
        for change in [
            json!({ "key": "file", "value": { "path": path, "content": "eA==", "encoding": "base64" } }),
            json!({ "key": "lfsFile", "value": { "path": path, "algo": "sha256", "oid": sha256 } }),
            json!({ "key": "deletedFile", "value": { "path": path } }),
            json!({ "key": "deletedFolder", "value": { "path": path } }),
        ] {
            let answer = stage.commit(&stage.ada, format!("{}\n{change}\n", header())).await;
            assert!(answer.status().is_client_error(), "{change}: {}", answer.status());
        }
        let asked = json!({ "files": [{ "path": path, "sample": "", "size": 1 }] });
        let asked = stage.post(&stage.ada, "/api/models/ada/model/preupload/main").json(&asked).send().await.unwrap();
        assert!(asked.status().is_client_error(), "{path:?}: {}", asked.status());
    }
    // As no client of good will writes them.
    let token = &stage.ada.secret;
    for path in [
        "/ada/model/resolve/main/../../../hub.db",
        "/ada/model/resolve/main/%2e%2e/%2e%2e/hub.db",
        "/ada/model/resolve/main/..%2f..%2fhub.db",
        "/ada/model/resolve/main/%2fetc%2fpasswd",
        "/ada/model/resolve/..%2f..%2fHEAD/config",
        "/ada/model/resolve/main%5e%7btree%7d/config",
        "/ada/..%2fmodel/resolve/main/README.md",
        "/api/models/ada/model/tree/main/..%2f..",
        "/ada/model.git/../../hub.db",
        "/ada/model/objects/info/packs",
        "/xet/..%2f..%2fhub.db/v1/reconstructions/x",
        "/lfs/get/..%2f..%2fx/..%2fy?size=1&part=0&upload=&token=&until=9999999999999&mac=00",
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
        let answer = stage.raw(&request, Duration::from_secs(5)).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    stage.untouched(&head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_never_end() {
    let stage = Stage::set(&[]).await;
    let head = stage.head().await;
    // A line of a gigabyte, of which the hub reads what a line may have.
    for beginning in [String::new(), format!("{}\n", header())] {
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let first = Bytes::from(format!(r#"{beginning}{{"key":"file","value":{{"path":"x","content":""#));
        let pieces = std::iter::once(first).chain(std::iter::repeat_n(piece, 1_024)).map(Ok::<_, std::io::Error>);
        let request = stage.post(&stage.ada, "/api/models/ada/model/commit/main");
        // It may be told, or be cut off while it still sends.
        if let Ok(answer) = request.body(Body::wrap_stream(stream::iter(pieces))).send().await {
            assert_eq!(answer.status(), 413);
        }
    }
    // More in one file than a file beside the large ones may have.
    let content = "eHh4".repeat(3_600_000);
    let file = json!({ "key": "file", "value": { "path": "x", "content": content, "encoding": "base64" } });
    let answer = stage.commit(&stage.ada, format!("{}\n{file}\n", header())).await;
    assert!(answer.status().is_client_error(), "{}", answer.status());
    for body in [
        String::new(),
        "\n\n\n".to_owned(),
        "[]\n".to_owned(),
        format!("{}\n{}\n", header(), header()),
        format!("{}\n{{\"key\":\"file\"}}\n", header()),
        format!("{}\n{}", header(), "[".repeat(100_000)),
        format!("{}\n\u{0}\n", header()),
        json!({ "key": "header", "value": { "summary": " " } }).to_string(),
        json!({ "key": "header", "value": { "summary": "x".repeat(70_000) } }).to_string(),
    ] {
        let shown: String = body.chars().take(80).collect();
        let answer = stage.commit(&stage.ada, body).await;
        assert!(answer.status().is_client_error(), "{shown}: {}", answer.status());
    }
    stage.untouched(&head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_grow() {
    let stage = Stage::set(&[]).await;
    let head = stage.head().await;
    let token = format!("{}/api/models/ada/model/xet-write-token/main", stage.hub.url);
    let token: Value =
        Client::new().get(token).bearer_auth(&stage.ada.secret).send().await.unwrap().json().await.unwrap();
    let (cas, token) = (token["casUrl"].as_str().unwrap(), token["accessToken"].as_str().unwrap());
    // A gigabyte in four megabytes: each chunk is in order, all of them are too much.
    let zeros = vec![0; 128 << 10];
    let mut writer = XorbWriter::new();
    writer.push(chunk_hash(&zeros), &zeros).unwrap();
    let (xorb, packed) = writer.finish(false).unwrap();
    let one = &packed[..xorb.content_bytes as usize];
    assert!(one.len() < 2_000, "{}", one.len());
    let began = Instant::now();
    let send = async |path: String, body: Vec<u8>| {
        Client::new().post(format!("{cas}{path}")).bearer_auth(token).body(body).send().await.unwrap().status()
    };
    let xorb_at = format!("/v1/xorbs/default/{}", xorb.hash);
    assert!(send(xorb_at.clone(), one.repeat(8_192)).await.is_client_error());
    // One that says it grows to what no chunk has, to less than it does, and to nothing.
    for unpacked in [1_u32 << 23, 100, 0] {
        let mut lie = one.to_vec();
        lie[5..8].copy_from_slice(&unpacked.to_le_bytes()[..3]);
        assert!(send(xorb_at.clone(), lie).await.is_client_error(), "{unpacked}");
    }
    // A hash that is another's, and one that is none.
    let other = format!("/v1/xorbs/default/{}", chunk_hash(b"other"));
    assert!(send(other, one.to_vec()).await.is_client_error());
    assert!(send("/v1/xorbs/default/xyz".to_owned(), one.to_vec()).await.is_client_error());
    // A shard that counts more than it has.
    for shard in [vec![0xff; 48], noise(3, 4_096), b"HFRepoMetaData".repeat(1_000), Vec::new()] {
        assert!(send("/v1/shards".to_owned(), shard).await.is_client_error());
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    stage.untouched(&head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_digests_that_are_lies() {
    let stage = Stage::set(&[("max_blob_bytes", "2000000")]).await;
    let head = stage.head().await;
    let bytes = noise(5, 300_000);
    let oid = Digest::of(&bytes).hex();
    let http = Client::new();
    // Fewer and more bytes than were said, and others.
    for (said, sent) in
        [(299_999, bytes.clone()), (300_001, bytes.clone()), (300_000, noise(6, 300_000)), (5, bytes.clone())]
    {
        let (status, batch) = stage.batch(&stage.ada, &[(&oid, said)]).await;
        assert_eq!(status, 200);
        let href = batch["objects"][0]["actions"]["upload"]["href"].as_str().unwrap();
        // It may be told, or be cut off while it still sends.
        if let Ok(answer) = http.put(href).body(sent).send().await {
            assert!(answer.status().is_client_error(), "{said}: {}", answer.status());
        }
        let verify = batch["objects"][0]["actions"]["verify"]["href"].as_str().unwrap();
        let asked = json!({ "oid": oid, "size": said }).to_string();
        // By a connection of its own: the last one may be cut off.
        assert!(Client::new().post(verify).body(asked).send().await.unwrap().status().is_client_error());
    }
    // A body that ends before it said.
    let (_, batch) = stage.batch(&stage.ada, &[(&oid, 300_000)]).await;
    let href = batch["objects"][0]["actions"]["upload"]["href"].as_str().unwrap();
    let place = href.strip_prefix(&stage.hub.url).unwrap();
    let mut socket = TcpStream::connect(stage.hub.url.trim_start_matches("http://")).await.unwrap();
    let head_of_it = format!("PUT {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n");
    socket.write_all(head_of_it.as_bytes()).await.unwrap();
    socket.write_all(&bytes[..200_000]).await.unwrap();
    drop(socket);
    // Numbers and names that no object has.
    for (oid, size) in [(oid.as_str(), u64::MAX), (&oid, 2_000_001), ("../../x", 5), (&"AB".repeat(32), 5), ("", 5)] {
        let (status, batch) = stage.batch(&stage.ada, &[(oid, size)]).await;
        assert_eq!(
            (status, batch["objects"][0]["error"]["code"].as_u64()),
            (StatusCode::OK, Some(422)),
            "{oid} {size}"
        );
    }
    let many: Vec<(&str, u64)> = vec![(&oid, 1); 1_001];
    assert_eq!(stage.batch(&stage.ada, &many).await.0, 413);
    // A commit of what is not here.
    let line = json!({ "key": "lfsFile", "value": { "path": "x", "algo": "sha256", "oid": oid } });
    assert_eq!(stage.commit(&stage.ada, format!("{}\n{line}\n", header())).await.status(), 403);
    stage.untouched(&head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doors_of_others() {
    let stage = Stage::set(&[]).await;
    let head = stage.head().await;
    let own = stage.mallory.creates(&stage.hub.app, Kind::Model, "own", true).await;
    let bytes = noise(7, 200_000);
    let oid = Digest::of(&bytes).hex();
    let http = Client::new();
    assert_eq!(stage.batch(&stage.mallory, &[(&oid, 200_000)]).await.0, 404);
    let file = json!({ "key": "file", "value": { "path": "x", "content": "eA==", "encoding": "base64" } });
    assert_eq!(stage.commit(&stage.mallory, format!("{}\n{file}\n", header())).await.status(), 404);
    for path in [
        "/api/models/ada/model",
        "/api/models/ada/model/tree/main",
        "/api/models/ada/model/xet-read-token/main",
        "/api/models/ada/model/xet-write-token/main",
        "/ada/model/resolve/main/.gitattributes",
        "/ada/model.git/info/refs?service=git-receive-pack",
    ] {
        let asked =
            http.get(format!("{}{path}", stage.hub.url)).bearer_auth(&stage.mallory.secret).send().await.unwrap();
        assert_eq!(asked.status(), 404, "{path}");
    }
    // Addresses that were made for her own repository.
    let question =
        json!({ "operation": "upload", "transfers": ["basic"], "objects": [{ "oid": oid, "size": 200_000 }] });
    let asked = stage.post(&stage.mallory, "/mallory/own.git/info/lfs/objects/batch").body(question.to_string());
    let batch: Value = asked.send().await.unwrap().json().await.unwrap();
    let href = batch["objects"][0]["actions"]["upload"]["href"].as_str().unwrap();
    assert!(href.contains(&own.id));
    for forged in [
        href.replace(&own.id, &stage.repo.id),
        href.replace("size=200000", "size=1"),
        href.replace(&oid, &"ab".repeat(32)),
        href.replace("until=", "until=9"),
        href.replace("/lfs/put/", "/lfs/part/"),
        href.replace("mac=", "mac=00"),
    ] {
        let answer = http.put(&forged).body(bytes.clone()).send().await;
        assert!(answer.is_ok_and(|answer| answer.status() == 403), "{forged}");
    }
    // A transfer token of hers at ada's storage, and one of nobody's.
    let token = format!("{}/api/models/mallory/own/xet-write-token/main", stage.hub.url);
    let token: Value = http.get(token).bearer_auth(&stage.mallory.secret).send().await.unwrap().json().await.unwrap();
    let token = token["accessToken"].as_str().unwrap();
    for token in [token, "", "x.y", &stage.mallory.secret, &token[..token.len() - 2]] {
        let cas = format!("{}/xet/{}/v1/shards", stage.hub.url, stage.repo.id);
        assert_eq!(http.post(cas).bearer_auth(token).body("x").send().await.unwrap().status(), 401);
    }
    stage.untouched(&head).await;
}

/// Clients that send all before they read a word are many: what refuses them early still has to reach them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_all_before_reading_hears_the_refusal() {
    let stage = Stage::set(&[]).await;
    let head = stage.head().await;
    let forged = format!("/lfs/put/{}/{}?size=1&part=0&upload=&token=&until=1&mac=00", stage.repo.id, "ab".repeat(32));
    for (line, status) in [
        (format!("PUT {forged} HTTP/1.1"), "HTTP/1.1 403 "),
        ("POST /v1/login HTTP/1.1\r\nContent-Type: application/json".to_owned(), "HTTP/1.1 413 "),
        ("POST /nowhere HTTP/1.1".to_owned(), "HTTP/1.1 404 "),
    ] {
        let mut socket = TcpStream::connect(stage.hub.url.trim_start_matches("http://")).await.unwrap();
        let bytes = 8 << 20;
        let request = format!("{line}\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        // Slowly at first, so that the answer is long under way.
        let piece = vec![b'x'; 64 << 10];
        for n in 0..bytes / piece.len() {
            if n < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            socket.write_all(&piece).await.unwrap_or_else(|error| panic!("{line}: after {n} pieces: {error}"));
        }
        let mut answer = Vec::new();
        let began = Instant::now();
        socket.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(status.as_bytes()), "{line}: {}", String::from_utf8_lossy(&answer));
        let head = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(head.contains("\r\nconnection: close\r\n"), "it says that it ends: {head}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    // Whoever never ends is not heard for ever: by bytes, and by time while it says nothing.
    let mut socket = TcpStream::connect(stage.hub.url.trim_start_matches("http://")).await.unwrap();
    socket.write_all(b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n").await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while sent < 400 && socket.write_all(&piece).await.is_ok() {
        sent += 1;
    }
    assert!((80..400).contains(&sent), "{sent} MiB");
    stage.untouched(&head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_their_time() {
    let stage = Stage::set(&[("header_timeout_s", "1"), ("transfer_timeout_s", "2"), ("max_connections", "64")]).await;
    let head = stage.head().await;
    let address = stage.hub.url.trim_start_matches("http://").to_owned();
    // Heads that never end: a byte now and then.
    let heads = (0..40).map(|_| {
        let address = address.clone();
        tokio::spawn(async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let mut byte = [0; 1];
                let closed = tokio::time::timeout(Duration::from_millis(1), socket.read(&mut byte)).await;
                if socket.write_all(b"x").await.is_err() || matches!(closed, Ok(Ok(0) | Err(_))) {
                    break;
                }
            }
            began.elapsed()
        })
    });
    let heads: Vec<_> = heads.collect();
    // Bodies that never end.
    let bodies: Vec<_> = (0..8)
        .map(|_| {
            let body = stream::unfold(0, |n| async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let bytes = if n == 0 { Bytes::from(format!("{}\n", header())) } else { Bytes::from_static(b" ") };
                Some((Ok::<_, std::io::Error>(bytes), n + 1))
            });
            let request = stage.post(&stage.ada, "/api/models/ada/model/commit/main");
            tokio::spawn(async move {
                let began = Instant::now();
                let answer =
                    tokio::time::timeout(Duration::from_secs(10), request.body(Body::wrap_stream(body)).send());
                let refused =
                    answer.await.map(|answer| answer.is_err() || answer.is_ok_and(|a| !a.status().is_success()));
                (refused, began.elapsed())
            })
        })
        .collect();
    // Meanwhile others are answered.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let asked = Client::new().get(format!("{}/healthz", stage.hub.url)).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for task in heads {
        let took = task.await.unwrap();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    for task in bodies {
        let (refused, took) = task.await.unwrap();
        assert!(refused == Ok(true) && took < Duration::from_secs(6), "{refused:?} {took:?}");
    }
    stage.untouched(&head).await;
}
