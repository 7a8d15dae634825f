//! Large files by git-lfs and by the Hub's own client without Xet.

use allmende::account::{AccountError, Rights, token};
use allmende::repo::{Gate, Kind, Repo, large};
use allmende::tls::{Trust, client};
use allmende::transaction;
use allmende_core::digest::Digest;
use serde_json::{Value, json};

use super::{Desk, Someone, address, noise};
use crate::http::Hub;

struct Stage {
    hub: Hub,
    carla: Someone,
    repo: Repo,
}

impl Stage {
    async fn set() -> Self {
        // Parts of 1 MiB, so that a few megabytes are several.
        let hub = Hub::start(&[("max_part_bytes", "1048576")]).await;
        let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
        let repo = carla.creates(&hub.app, Kind::Model, "bert", true).await;
        Self { hub, carla, repo }
    }

    fn http(&self) -> reqwest::Client {
        client(&self.hub.url, &Trust::System).unwrap()
    }

    /// What a batch answers for one object.
    async fn batch(&self, who: &Someone, repo: &str, operation: &str, bytes: &[u8], transfers: &[&str]) -> Value {
        let oid = Digest::of(bytes).hex();
        let question = json!({
            "operation": operation, "transfers": transfers, "objects": [{ "oid": oid, "size": bytes.len() }],
        });
        let url = format!("{}/{repo}.git/info/lfs/objects/batch", self.hub.url);
        let answer = self.http().post(url).bearer_auth(&who.secret).json(&question).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        if status == 200 { answer["objects"][0].take() } else { json!({ "status": status, "said": answer }) }
    }

    async fn held(&self, bytes: &[u8]) -> Option<u64> {
        let mut connection = self.hub.app.db.read().await.unwrap();
        large::held(&mut connection, &self.repo, &Digest::of(bytes)).await.unwrap()
    }

    async fn put(&self, url: &Value, bytes: Vec<u8>) -> u16 {
        self.http().put(url.as_str().unwrap()).body(bytes).send().await.unwrap().status().as_u16()
    }
}

fn href(object: &Value, action: &str) -> Value {
    object["actions"][action]["href"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_lfs_sends_and_fetches_large_files() {
    let stage = Stage::set().await;
    let desk = Desk::new();
    let url = address(&stage.hub, &stage.carla, "carla/bert");
    desk.git("", &["lfs", "install"]).await.fine();
    desk.clones(&url, "one").await.fine();
    let bytes = noise(7, 20 << 20);
    desk.commits("one", "model.safetensors", &bytes).await;
    desk.commits("one", "weights/more.bin", &noise(8, 3 << 20)).await;
    desk.commits("one", "note.txt", b"beside them\n").await;
    desk.git("one", &["push", "--quiet"]).await.fine();
    assert_eq!(stage.held(&bytes).await, Some(20 << 20));
    desk.clones(&url, "two").await.fine();
    assert_eq!(std::fs::read(desk.path("two/model.safetensors")).unwrap(), bytes);
    assert_eq!(std::fs::read(desk.path("two/weights/more.bin")).unwrap(), noise(8, 3 << 20));
    desk.git("two", &["lfs", "fsck"]).await.fine();
    // The same bytes under another name are not sent again, and the Hub's address gives them too.
    desk.commits("two", "copy.bin", &bytes).await;
    desk.git("two", &["push", "--quiet"]).await.fine();
    let file = format!("{}/carla/bert/resolve/main/copy.bin", stage.hub.url);
    let got = stage.http().get(file).bearer_auth(&stage.carla.secret).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), bytes);
    // Without the bytes the pointers are not taken.
    desk.clones(&url, "three").await.fine();
    desk.commits("three", "missing.bin", &noise(9, 1 << 20)).await;
    desk.git("three", &["push", "--no-verify"]).await.refused("git lfs push --all");
    desk.git("three", &["push", "--quiet"]).await.fine();
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_good_for_one_thing_and_for_whom_it_was_made() {
    let stage = Stage::set().await;
    let (carla, bytes) = (&stage.carla, noise(3, 100_000));
    let basic = ["basic"];
    let mallory = Someone::new(&stage.hub.app, "mallory", Rights::Write).await;
    let asked = stage.batch(&mallory, "carla/bert", "upload", &bytes, &basic).await;
    assert_eq!(asked["status"], 404, "{asked}");
    let asked = stage.batch(carla, "carla/bert", "upload", &bytes, &basic).await;
    let up = href(&asked, "upload");
    assert_eq!(stage.put(&up, noise(4, 100_000)).await, 422, "other bytes");
    assert_eq!(stage.put(&up, bytes[..99_999].to_vec()).await, 422, "fewer");
    assert_eq!(stage.held(&bytes).await, None);
    let turned = |from: &str, to: &str| json!(up.as_str().unwrap().replace(from, to));
    for other in [turned("/lfs/put/", "/lfs/part/"), turned("size=100000", "size=100001"), turned("until=1", "until=2")]
    {
        assert_eq!(stage.put(&other, bytes.clone()).await, 403, "{other}");
    }
    assert_eq!(stage.put(&up, bytes.clone()).await, 200);
    assert_eq!(stage.held(&bytes).await, Some(100_000));
    let verify = href(&asked, "verify");
    let said = json!({ "oid": Digest::of(&bytes).hex(), "size": 100_000 });
    let verified = stage.http().post(verify.as_str().unwrap()).json(&said).send().await;
    assert_eq!(verified.unwrap().status(), 200);
    // Held here: nothing left to do. Held here alone: another repository has to be sent every byte.
    let again = stage.batch(carla, "carla/bert", "upload", &bytes, &basic).await;
    assert!(again.get("actions").is_none() && again.get("error").is_none(), "{again}");
    mallory.creates(&stage.hub.app, Kind::Model, "trap", true).await;
    let theirs = stage.batch(&mallory, "mallory/trap", "upload", &bytes, &basic).await;
    assert!(theirs["actions"]["upload"]["href"].is_string(), "{theirs}");
    let none = stage.batch(&mallory, "mallory/trap", "download", &bytes, &basic).await;
    assert_eq!(none["error"]["code"], 404);
    // Ranges, as git-lfs asks when it goes on.
    let down = stage.batch(carla, "carla/bert", "download", &bytes, &basic).await;
    let down = href(&down, "download").as_str().unwrap().to_owned();
    let get = |range: &'static str| stage.http().get(&down).header("range", range).send();
    let part = get("bytes=99990-").await.unwrap();
    assert_eq!(
        (part.status().as_u16(), part.headers()["content-range"].to_str().unwrap()),
        (206, "bytes 99990-99999/100000")
    );
    assert_eq!(part.bytes().await.unwrap(), bytes[99_990..]);
    assert_eq!(get("bytes=100000-").await.unwrap().status(), 416);
    assert_eq!(stage.http().get(&down).send().await.unwrap().bytes().await.unwrap(), bytes);
    assert_eq!(stage.http().get(down.replace("/get/", "/put/")).send().await.unwrap().status(), 405);
    // An address is worth no more than the token it was made for.
    let now = stage.hub.app.clock.now();
    let (account, id) = (&carla.principal.account, &carla.principal.token.id);
    let revoked: Result<bool, AccountError> =
        transaction!(stage.hub.app.db, tx => { Ok(token::revoke(tx, account, id, now).await?) });
    assert!(revoked.unwrap());
    assert_eq!(stage.http().get(&down).send().await.unwrap().status(), 404);
    assert_eq!(stage.put(&up, bytes).await, 404);
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_joined_when_all_are_there() {
    let stage = Stage::set().await;
    let bytes = noise(5, (2 << 20) + 17);
    let object = stage.batch(&stage.carla, "carla/bert", "upload", &bytes, &["basic", "multipart"]).await;
    let header = &object["actions"]["upload"]["header"];
    let each: usize = header["chunk_size"].as_str().unwrap().parse().unwrap();
    assert_eq!((each, header["3"].is_string(), header.get("4")), (1 << 20, true, None));
    let oid = Digest::of(&bytes).hex();
    let join = async |numbers: &[u32]| {
        let parts: Vec<_> = numbers.iter().map(|n| json!({ "partNumber": n, "etag": "x" })).collect();
        let url = href(&object, "upload");
        let request = stage.http().post(url.as_str().unwrap()).json(&json!({ "oid": oid, "parts": parts }));
        request.send().await.unwrap().status().as_u16()
    };
    let pieces: Vec<_> = bytes.chunks(each).map(<[u8]>::to_vec).collect();
    assert_eq!(stage.put(&header["2"], pieces[0][1..].to_vec()).await, 422);
    assert_eq!(stage.put(&header["3"], pieces[2].clone()).await, 200);
    assert_eq!(stage.put(&header["1"], pieces[0].clone()).await, 200);
    assert_eq!(join(&[1, 2, 3]).await, 422, "the second is missing");
    assert_eq!(stage.put(&header["2"], pieces[0].clone()).await, 200);
    assert_eq!(join(&[1, 2, 3]).await, 422, "the second is another's");
    assert_eq!(stage.held(&bytes).await, None);
    assert_eq!(stage.put(&header["2"], pieces[1].clone()).await, 200);
    for wrong in [&[1, 2][..], &[1, 3, 2], &[1, 2, 3, 4], &[]] {
        assert_eq!(join(wrong).await, 422);
    }
    assert_eq!(join(&[1, 2, 3]).await, 200);
    assert_eq!(join(&[1, 2, 3]).await, 200, "said again after a lost answer");
    assert_eq!(stage.held(&bytes).await, Some(bytes.len() as u64));
    let swept = stage.hub.app.blobs.sweep_parts(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(swept, 0, "no part is left");
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_s_own_client_without_xet() {
    let stage = Stage::set().await;
    let desk = Desk::new();
    let bytes = noise(6, 20 << 20);
    std::fs::write(desk.path("big.bin"), &bytes).unwrap();
    let script = "
import sys
from huggingface_hub import HfApi, hf_hub_download
api = HfApi()
for name in ('big.bin', 'again/big.bin'):
    api.upload_file(path_or_fileobj='big.bin', path_in_repo=name, repo_id='carla/bert')
    got = hf_hub_download('carla/bert', name, local_dir='got')
    assert open(got, 'rb').read() == open('big.bin', 'rb').read(), name
api.upload_file(path_or_fileobj=b'small ' * 10, path_in_repo='small.bin', repo_id='carla/bert')
assert open(hf_hub_download('carla/bert', 'small.bin'), 'rb').read() == b'small ' * 10
print('equal')
";
    let venv = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    let python = if venv.exists() { venv.display().to_string() } else { "python3".to_owned() };
    let mut command = desk.command(&python, &desk.path(""));
    command.args(["-c", script]).env("HF_ENDPOINT", &stage.hub.url).env("HF_TOKEN", &stage.carla.secret);
    command.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_DISABLE_TELEMETRY", "1");
    let done = command.output().await.unwrap();
    let words = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && done.stdout.starts_with(b"equal"), "{words}");
    assert_eq!(stage.held(&bytes).await, Some(20 << 20));
    stage.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_only_read_sends_large_files_for_a_pull_request() {
    let stage = Stage::set().await;
    let bytes = noise(21, (1 << 20) + 5);
    let both = ["basic", "multipart"];
    let bob = Someone::new(&stage.hub.app, "bob", Rights::Write).await;
    let reads = Someone::with_token(&stage.hub.app, bob.principal.account.clone(), "2", Rights::Read).await;
    let asked =
        async |who: &Someone, transfers: &[&str]| stage.batch(who, "carla/bert", "upload", &bytes, transfers).await;
    assert_eq!(asked(&bob, &both).await["status"], 404, "it is not there for strangers");
    let set = async |change: &dyn Fn(&mut Repo)| {
        let mut changed = stage.repo.clone();
        changed.private = false;
        change(&mut changed);
        allmende::repo::ops::configure(&stage.hub.app, &changed).await.unwrap();
    };
    set(&|_| ()).await;
    assert_eq!(asked(&reads, &both).await["status"], 403, "a token that may write nothing proposes nothing");
    let url = format!("{}/carla/bert.git/info/lfs/objects/batch", stage.hub.url);
    let question =
        json!({ "operation": "upload", "objects": [{ "oid": Digest::of(&bytes).hex(), "size": bytes.len() }] });
    assert_eq!(stage.http().post(&url).json(&question).send().await.unwrap().status(), 401, "nor does nobody");
    // In parts, as the client sends without Xet.
    let object = asked(&bob, &both).await;
    let header = &object["actions"]["upload"]["header"];
    for (n, piece) in bytes.chunks(1 << 20).enumerate() {
        assert_eq!(stage.put(&header[(n + 1).to_string()], piece.to_vec()).await, 200);
    }
    let oid = Digest::of(&bytes).hex();
    let parts = json!({ "oid": oid, "parts": [{ "partNumber": 1, "etag": "x" }, { "partNumber": 2, "etag": "y" }] });
    let join = stage.http().post(href(&object, "upload").as_str().unwrap()).json(&parts).send().await.unwrap();
    assert_eq!(join.status(), 200);
    assert_eq!(stage.held(&bytes).await, Some(bytes.len() as u64));
    // To his pull request, and nowhere else.
    let commit = async |query: &str| {
        let header = json!({ "key": "header", "value": { "summary": "Weights" } });
        let file = json!({ "key": "lfsFile", "value": { "path": "model.bin", "algo": "sha256", "oid": oid } });
        let url = format!("{}/api/models/carla/bert/commit/main{query}", stage.hub.url);
        let body = format!("{header}\n{file}\n");
        stage.http().post(url).bearer_auth(&bob.secret).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!((commit("").await, commit("?create_pr=1").await), (403, 200));
    let file = format!("{}/carla/bert/resolve/refs%2Fpr%2F1/model.bin", stage.hub.url);
    assert_eq!(stage.http().get(file).send().await.unwrap().bytes().await.unwrap(), bytes);
    // What may be proposed is asked at each use of an address.
    let other = noise(22, 1_000);
    let object = stage.batch(&bob, "carla/bert", "upload", &other, &["basic"]).await;
    set(&|repo| repo.settings.discussions_disabled = true).await;
    assert_eq!(stage.put(&href(&object, "upload"), other.clone()).await, 403);
    set(&|repo| repo.settings.frozen = true).await;
    assert_eq!(stage.put(&href(&object, "upload"), other.clone()).await, 403);
    set(&|repo| repo.gate = Gate::Manual).await;
    assert_eq!(stage.put(&href(&object, "upload"), other.clone()).await, 403, "whose files he may not read");
    set(&|repo| repo.private = true).await;
    assert_eq!(stage.put(&href(&object, "upload"), other.clone()).await, 404);
    assert_eq!(stage.held(&other).await, None);
    stage.hub.stop().await;
}

/// `git-xet` is no package: what it does is done here by a program of ours, which git-lfs runs as it would run that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_lfs_sends_by_xet_where_the_program_for_it_is() {
    // By the machine's time, as the client compares with it.
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start_at(dir, &[], allmende::clock::Clock::system()).await;
    let carla = Someone::new(&hub.app, "carla", Rights::Write).await;
    let repo = carla.creates(&hub.app, Kind::Model, "bert", true).await;
    let stage = Stage { hub, carla, repo };
    let desk = Desk::new();
    let url = address(&stage.hub, &stage.carla, "carla/bert");
    desk.git("", &["lfs", "install"]).await.fine();
    let agent = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire_git/xet_agent.py");
    let path = ["config", "--global", "lfs.customtransfer.xet.path", "python3"];
    desk.git("", &path).await.fine();
    desk.git("", &["config", "--global", "lfs.customtransfer.xet.args", agent]).await.fine();
    desk.git("", &["config", "--global", "lfs.customtransfer.xet.concurrent", "false"]).await.fine();
    desk.clones(&url, "one").await.fine();
    let bytes = noise(31, 6 << 20);
    desk.commits("one", "model.safetensors", &bytes).await;
    desk.commits("one", "more.bin", &noise(32, 1 << 20)).await;
    desk.git("one", &["push", "--quiet"]).await.fine();
    let said = std::fs::read_to_string(desk.path("xet_agent.log")).unwrap();
    assert_eq!(said.lines().filter(|line| line.starts_with("sent ")).count(), 2, "{said}");
    assert_eq!(stage.held(&bytes).await, Some(6 << 20));
    // Fetched in the ordinary way, with the same program at hand, which fetches nothing.
    desk.clones(&url, "two").await.fine();
    assert_eq!(std::fs::read(desk.path("two/model.safetensors")).unwrap(), bytes);
    assert!(!std::fs::read_to_string(desk.path("xet_agent.log")).unwrap().contains("download"));
    // What the answer says, and that a stranger gets a way for a pull request.
    let more = noise(33, 10);
    let object = stage.batch(&stage.carla, "carla/bert", "upload", &more, &["xet", "basic"]).await;
    let header = &object["actions"]["upload"]["header"];
    assert!(header["X-Xet-Cas-Url"].as_str().unwrap().ends_with(&stage.repo.id), "{object}");
    let until: i64 = header["X-Xet-Token-Expiration"].as_str().unwrap().parse().unwrap();
    assert!(until > stage.hub.app.clock.now().0 / 1_000);
    let refresh = href(&object, "upload").as_str().unwrap().to_owned();
    let fresh: Value =
        stage.http().get(&refresh).bearer_auth(&stage.carla.secret).send().await.unwrap().json().await.unwrap();
    assert_eq!(fresh["casUrl"], header["X-Xet-Cas-Url"]);
    let bob = Someone::new(&stage.hub.app, "bob", Rights::Write).await;
    assert_eq!(stage.batch(&bob, "carla/bert", "upload", &more, &["xet"]).await["status"], 404);
    let mut open = stage.repo.clone();
    open.private = false;
    allmende::repo::ops::configure(&stage.hub.app, &open).await.unwrap();
    let object = stage.batch(&bob, "carla/bert", "upload", &more, &["xet"]).await;
    let refresh = href(&object, "upload").as_str().unwrap().to_owned();
    assert!(refresh.ends_with("?create_pr=1"), "{refresh}");
    assert_eq!(stage.http().get(&refresh).bearer_auth(&bob.secret).send().await.unwrap().status(), 200);
    stage.hub.stop().await;
}
