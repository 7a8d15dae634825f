//! What forgers, thieves and the curious get.

use allmende::account::{Role, token};
use allmende::repo::Repo;
use allmende::transaction;
use allmende_core::digest::Digest;
use allmende_formats::xet::hash::range_hash;
use allmende_formats::xet::shard::{ChunkInfo, Ending, FileInfo, Segment, XorbInfo, write_shard};
use allmende_formats::xet::tree::file_hash;
use allmende_formats::xet::xorb::{Xorb, XorbWriter};
use allmende_formats::xet::{XetHash, chunk_hash, chunker};
use reqwest::{Client, Response};
use serde_json::Value;

use super::{Person, World, noise};

/// A file of one xorb, and how a client would send it.
struct Sent {
    bytes: Vec<u8>,
    xorb: Xorb,
    packed: Vec<u8>,
    file: FileInfo,
}

fn sent(seed: u64) -> Sent {
    let bytes = noise(400_000, seed);
    let mut writer = XorbWriter::new();
    for chunk in chunker::chunks(&bytes) {
        writer.push(chunk_hash(chunk), chunk).unwrap();
    }
    let (xorb, packed) = writer.finish(false).unwrap();
    let segment = Segment {
        xorb: xorb.hash,
        unpacked_bytes: bytes.len() as u32,
        chunk_start: 0,
        chunk_end: xorb.chunks.len() as u32,
        range_hash: Some(range_hash(xorb.chunks.iter().map(|c| &c.hash))),
    };
    let hash = file_hash(xorb.chunks.iter().map(|c| (c.hash, c.unpacked_bytes.into())));
    let file = FileInfo { hash, segments: vec![segment], sha256: Some(Digest::of(&bytes).0) };
    Sent { bytes, xorb, packed, file }
}

fn info(xorb: &Xorb) -> XorbInfo {
    let mut at = 0;
    let chunk = |c: &allmende_formats::xet::xorb::Chunk| {
        let byte_offset = at;
        at += c.unpacked_bytes;
        ChunkInfo { hash: c.hash, byte_offset, unpacked_bytes: c.unpacked_bytes, offered: false }
    };
    let chunks = xorb.chunks.iter().map(chunk).collect();
    XorbInfo { hash: xorb.hash, chunks, bytes_in_xorb: at, bytes_on_disk: 0 }
}

/// A repository's part of the store, with a token for it.
struct Door {
    http: Client,
    url: String,
    token: String,
}

impl Door {
    async fn open(world: &World, person: &Person, repo: &Repo, word: &str) -> Self {
        let (url, token) = world.transfer(person, repo, word).await;
        Self { http: Client::new(), url, token }
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Response {
        self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).body(body).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await.unwrap()
    }

    async fn xorb(&self, hash: &XetHash, packed: &[u8]) -> (u16, Value) {
        let answer = self.post(&format!("/v1/xorbs/default/{hash}"), packed.to_vec()).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn shard(&self, file: &FileInfo, xorbs: &[XorbInfo]) -> u16 {
        let shard = write_shard(std::slice::from_ref(file), xorbs, &Ending::Sections).unwrap();
        let first = self.post("/v1/shards", shard.clone()).await.status().as_u16();
        // The newer door says the same.
        let lines = self.post("/v2/shards", shard).await;
        assert_eq!(lines.status(), 200);
        let text = lines.text().await.unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["type"] == "result", first == 200, "{text}");
        first
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_about_a_file_is_refused() {
    let world = World::still().await;
    let ada = world.person("ada").await;
    let repo = world.repo(&ada, &ada.account, "model").await;
    let door = Door::open(&world, &ada, &repo, "write").await;
    let (one, two) = (sent(1), sent(2));
    assert_eq!(door.shard(&one.file, &[]).await, 400, "a xorb that was never sent");
    assert_eq!(door.xorb(&two.xorb.hash, &one.packed).await.0, 422, "another hash");
    let mut broken = one.packed.clone();
    broken[200_000] ^= 1;
    assert_ne!(door.xorb(&one.xorb.hash, &broken).await.0, 200);
    assert_eq!(door.xorb(&one.xorb.hash, &one.packed[..300_000]).await.0, 400);
    assert_eq!(world.stored_bytes(), 0, "nothing of it is kept");
    assert_eq!(door.xorb(&one.xorb.hash, &one.packed).await, (200, serde_json::json!({ "was_inserted": true })));
    assert_eq!(door.xorb(&one.xorb.hash, &one.packed).await, (200, serde_json::json!({ "was_inserted": false })));
    let lie = |change: &dyn Fn(&mut FileInfo)| {
        let mut file = one.file.clone();
        change(&mut file);
        file
    };
    for (what, file) in [
        ("its hash", lie(&|f| f.hash = two.file.hash)),
        ("its SHA-256", lie(&|f| f.sha256 = two.file.sha256)),
        ("its length", lie(&|f| f.segments[0].unpacked_bytes -= 1)),
        ("its chunks", lie(&|f| f.segments[0].chunk_start = 1)),
        ("more chunks", lie(&|f| f.segments[0].chunk_end += 1)),
        ("its range hash", lie(&|f| f.segments[0].range_hash = Some(f.hash))),
        ("its xorb", lie(&|f| f.segments[0].xorb = two.xorb.hash)),
    ] {
        assert_eq!(door.shard(&file, &[]).await, 400, "{what}");
    }
    let mut xorb = info(&one.xorb);
    xorb.chunks[0].hash = two.xorb.chunks[0].hash;
    assert_eq!(door.shard(&one.file, &[xorb]).await, 400, "a xorb with others' chunks");
    let gone = door.get(&format!("/v1/reconstructions/{}", one.file.hash)).await;
    assert_eq!(gone.status(), 404, "of a shard that was refused nothing is registered");
    assert_eq!(door.shard(&one.file, &[info(&one.xorb)]).await, 200);
    assert_eq!(door.shard(&lie(&|f| f.sha256 = two.file.sha256), &[]).await, 400, "its SHA-256, later");
    assert_eq!(door.post("/v1/shards", b"nonsense".to_vec()).await.status(), 400);
    assert_eq!(door.post("/v1/xorb-grants/default/x", Vec::new()).await.status(), 404);
    assert_eq!(door.post("/v1/telemetry", b"{}".to_vec()).await.status(), 200);
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_the_paths_gives_the_file() {
    every_version(World::still().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_the_paths_gives_the_file_on_postgres() {
    let url = crate::stores::postgres::fresh_database().await;
    every_version(World::start(&[("database_url", &url)]).await).await;
}

async fn every_version(world: World) {
    let ada = world.person("ada").await;
    let repo = world.repo(&ada, &ada.account, "model").await;
    let door = Door::open(&world, &ada, &repo, "write").await;
    let one = sent(1);
    let hash = one.xorb.hash;
    for path in ["/xorb/default", "/xorbs/default", "/v1/xorbs/default"] {
        assert_eq!(door.post(&format!("{path}/{hash}"), one.packed.clone()).await.status(), 200, "{path}");
    }
    let shard = write_shard(std::slice::from_ref(&one.file), &[info(&one.xorb)], &Ending::Sections).unwrap();
    for path in [format!("/shard/default/{hash}"), "/shards".to_owned(), "/v1/shards".to_owned()] {
        assert_eq!(door.post(&path, shard.clone()).await.status(), 200, "{path}");
    }
    let file = one.file.hash;
    for path in ["/reconstruction", "/reconstructions", "/v1/reconstructions"] {
        let plan: Value = door.get(&format!("{path}/{file}")).await.json().await.unwrap();
        let fetch = &plan["fetch_info"][hash.to_string()][0];
        let (url, range) = (fetch["url"].as_str().unwrap(), &fetch["url_range"]);
        let asked = format!("bytes={}-{}", range["start"], range["end"]);
        let part = door.http.get(url).header("range", asked).send().await.unwrap();
        assert_eq!(part.status(), 206);
        assert!(part.bytes().await.unwrap() == one.packed);
    }
    let batch: Value = door.get(&format!("/v1/reconstructions?file_id={file}")).await.json().await.unwrap();
    assert_eq!(batch["files"][file.to_string()][0]["unpacked_length"], one.bytes.len());
    let plan: Value = door.get(&format!("/v2/reconstructions/{file}")).await.json().await.unwrap();
    assert_eq!(plan["xorbs"][hash.to_string()][0]["ranges"].as_array().unwrap().len(), 1);
    // Windows of the file, up to its end.
    let window = async |range: &str| {
        let url = format!("{}/v1/reconstructions/{file}", door.url);
        door.http.get(url).bearer_auth(&door.token).header("range", range).send().await.unwrap()
    };
    let part: Value = window("bytes=200000-299999").await.json().await.unwrap();
    assert!(part["terms"][0]["unpacked_length"].as_u64().unwrap() < 400_000);
    assert_eq!(window("bytes=400000-500000").await.status(), 416);
    for path in ["/chunk", "/chunks", "/v1/chunks"] {
        let known = door.get(&format!("{path}/default/{}", one.xorb.chunks[0].hash)).await;
        assert_eq!(known.status(), 200, "the first chunk of a file");
        assert!(known.bytes().await.unwrap().starts_with(b"HFRepoMetaData\0"));
    }
    assert_eq!(door.get(&format!("/v1/chunks/default-merkledb/{file}")).await.status(), 404);
    let report = allmende::xet::check::check(&world.hub.app.db, &world.hub.app.blobs).await.unwrap();
    assert_eq!((report.xorbs, report.files, report.findings.len()), (1, 1, 0), "{report:?}");
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_one_repository_for_minutes_and_while_the_right_lasts() {
    let world = World::still().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let (repo, other) = (world.repo(&ada, &ada.account, "one").await, world.repo(&ada, &ada.account, "two").await);
    let one = sent(1);
    let door = Door::open(&world, &ada, &repo, "write").await;
    assert_eq!(door.xorb(&one.xorb.hash, &one.packed).await.0, 200);
    assert_eq!(door.shard(&one.file, &[]).await, 200);
    let path = format!("/v1/reconstructions/{}", one.file.hash);
    // Another repository's address, another's token, a changed token, none.
    let elsewhere = Door { url: door.url.replace(&repo.id, &other.id), token: door.token.clone(), ..door };
    assert_eq!(elsewhere.get(&path).await.status(), 401);
    let door = Door { url: elsewhere.url.replace(&other.id, &repo.id), ..elsewhere };
    let forged = |token: String| Door { http: Client::new(), url: door.url.clone(), token };
    let (text, mac) = door.token.split_once('.').unwrap();
    for token in [ada.token.clone(), format!("{text}x.{mac}"), format!("{text}."), String::new()] {
        assert_eq!(forged(token).get(&path).await.status(), 401);
    }
    // One to read cannot write; strangers get none.
    let reader = Door::open(&world, &ada, &repo, "read").await;
    assert_eq!(reader.get(&path).await.status(), 200);
    assert_eq!(reader.xorb(&one.xorb.hash, &[]).await.0, 403);
    for word in ["read", "write"] {
        let url = format!("{}/api/models/ada/one/xet-{word}-token/main", world.hub.url);
        // The hub closes the connection of a body that it did not read.
        assert_eq!(Client::new().get(&url).bearer_auth(&bob.token).send().await.unwrap().status(), 404);
        assert_eq!(Client::new().get(&url).send().await.unwrap().status(), 401);
    }
    // An address of a range is good for it alone, and for minutes.
    let plan: Value = reader.get(&path).await.json().await.unwrap();
    let url = plan["fetch_info"][one.xorb.hash.to_string()][0]["url"].as_str().unwrap().to_owned();
    let fetch = async |url: &str, range: &str| {
        reader.http.get(url).header("range", range).send().await.unwrap().status().as_u16()
    };
    assert_eq!(fetch(&url, "bytes=8-99").await, 206);
    assert_eq!(fetch(&url, &format!("bytes=0-{}", one.packed.len())).await, 403);
    assert_eq!(fetch(&url.replace(&repo.id, &other.id), "bytes=0-9").await, 403);
    world.hub.app.clock.advance_ms(6 * 60_000);
    assert_eq!(fetch(&url, "bytes=0-9").await, 403);
    assert_eq!(reader.get(&path).await.status(), 200);
    world.hub.app.clock.advance_ms(10 * 60_000);
    assert_eq!(reader.get(&path).await.status(), 401, "it is over");
    // With the account's token the transfer tokens end, and the addresses.
    let reader = Door::open(&world, &ada, &repo, "read").await;
    let plan: Value = reader.get(&path).await.json().await.unwrap();
    let url = plan["fetch_info"][one.xorb.hash.to_string()][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(fetch(&url, "bytes=0-9").await, 206);
    let (app, now) = (&world.hub.app, world.hub.app.clock.now());
    let revoked: Result<_, allmende::db::DbError> = transaction!(app.db, tx => {
        token::revoke(tx, &ada.account, &ada.principal.token.id, now).await
    });
    assert!(revoked.unwrap());
    assert_eq!(reader.get(&path).await.status(), 401);
    assert_eq!(fetch(&url, "bytes=0-9").await, 403);
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cites_only_what_its_sender_may_read() {
    let world = World::still().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let north = world.organization("north", &[(&ada, Role::Write), (&bob, Role::Contributor)]).await;
    let again = async |person: Person| Person {
        principal: allmende::account::Principal::of_token_id(&world.hub.app, &person.principal.token.id)
            .await
            .unwrap()
            .unwrap(),
        ..person
    };
    let (ada, bob) = (again(ada).await, again(bob).await);
    let one = sent(1);
    let private = world.repo(&ada, &ada.account, "private").await;
    let shared = world.repo(&ada, &north, "shared").await;
    for repo in [&private, &shared] {
        let door = Door::open(&world, &ada, repo, "write").await;
        assert_eq!(
            door.xorb(&one.xorb.hash, &one.packed).await.1["was_inserted"],
            true,
            "of others one learns nothing"
        );
        assert_eq!(door.shard(&one.file, &[]).await, 200);
    }
    let chunk = format!("/v1/chunks/default/{}", one.xorb.chunks[0].hash);
    // In the same organization bob reads what ada shares, and may cite it.
    let own = world.repo(&bob, &north, "bobs").await;
    let door = Door::open(&world, &bob, &own, "write").await;
    assert_eq!(door.get(&chunk).await.status(), 200);
    assert_eq!(door.shard(&one.file, &[info(&one.xorb)]).await, 200);
    // Of a file he does not hold he learns nothing, whoever holds it.
    let elsewhere = world.repo(&bob, &bob.account, "alone").await;
    let door = Door::open(&world, &bob, &elsewhere, "write").await;
    assert_eq!(door.get(&chunk).await.status(), 404);
    assert_eq!(door.shard(&one.file, &[info(&one.xorb)]).await, 400, "another domain");
    assert_eq!(door.get(&format!("/v1/reconstructions/{}", one.file.hash)).await.status(), 404);
    // Nor does a repository of ada's own that her reader may not see help anybody else.
    let two = sent(2);
    let door = Door::open(&world, &ada, &private, "write").await;
    assert_eq!(door.xorb(&two.xorb.hash, &two.packed).await.0, 200);
    let door = Door::open(&world, &bob, &own, "write").await;
    assert_eq!(door.shard(&two.file, &[]).await, 400);
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_sends_large_files_for_a_pull_request_and_nothing_else() {
    let world = World::still().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let repo = world.repo(&ada, &ada.account, "one").await;
    let token = async |query: &str| {
        let url = format!("{}/api/models/ada/one/xet-write-token/main{query}", world.hub.url);
        let answer = Client::new().get(url).bearer_auth(&bob.token).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["accessToken"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(token("?create_pr=1").await.0, 404, "it is not there for strangers");
    let set = async |change: &dyn Fn(&mut Repo)| {
        let mut changed = repo.clone();
        change(&mut changed);
        allmende::repo::ops::configure(&world.hub.app, &changed).await.unwrap();
    };
    set(&|repo| repo.private = false).await;
    assert_eq!(token("").await.0, 403, "to write is something else");
    let (status, secret) = token("?create_pr=1").await;
    assert_eq!(status, 200);
    let door = Door { http: Client::new(), url: format!("{}/xet/{}", world.hub.url, repo.id), token: secret };
    let one = sent(1);
    assert_eq!(door.xorb(&one.xorb.hash, &one.packed).await.0, 200);
    assert_eq!(door.shard(&one.file, &[]).await, 200);
    // What may be proposed is asked at each use.
    set(&|repo| (repo.private, repo.settings.discussions_disabled) = (false, true)).await;
    assert_eq!((door.xorb(&one.xorb.hash, &[]).await.0, token("?create_pr=1").await.0), (403, 403));
    set(&|repo| (repo.private, repo.settings.frozen) = (false, true)).await;
    assert_eq!((door.xorb(&one.xorb.hash, &[]).await.0, token("?create_pr=1").await.0), (403, 403));
    world.hub.stop().await;
}
