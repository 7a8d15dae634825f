//! Large files by git-lfs and by the Hub's own client without Xet.

use allmende::account::{AccountError, Rights, token};
use allmende::repo::{Kind, Repo, large};
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
