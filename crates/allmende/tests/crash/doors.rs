//! `kill -9` of a hub while files come in by every door, with and without the git processes that work for it.
//! `ALLMENDE_KILLS` says how often, `ALLMENDE_SEED` repeats the instants.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use allmende::account::Rights;
use allmende::clock::Clock;
use allmende::config::{Config, flag_name};
use allmende::git::{Git, GitRepo};
use allmende::repo::{Kind, Repo};
use allmende_core::digest::Digest;
use allmende_formats::xet::shard::{Ending, FileInfo, Segment, write_shard};
use allmende_formats::xet::tree::file_hash;
use allmende_formats::xet::xorb::XorbWriter;
use allmende_formats::xet::{chunk_hash, chunker};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::kills::{Chance, chance, number};
use super::process::{HubProcess, program, shut};
use crate::stores::{remote, s3};
use crate::wire_git::{Desk, Someone, noise};

/// Longest wait for one commit to be taken: a lock of a git process that was killed holds for half a minute.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most bytes of a large file.
const LARGE_BYTES: u64 = 1 << 20;

/// Files by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The answer never came, or the hub says that it may come later.
pub struct Broken;

/// Somebody who sends by one door until it is taken, and then something else.
pub struct Writer<'a> {
    pub door: &'static str,
    pub http: Client,
    /// Of the processes of the hub, any of which takes each request.
    urls: Vec<String>,
    turn: AtomicU64,
    pub token: &'a str,
    /// `space/name`.
    pub repo: String,
    /// Where its commits go.
    pub branch: &'static str,
    /// What was taken: the commit, and the files in it.
    pub taken: Mutex<Vec<(String, BTreeMap<String, Digest>)>>,
    pub broken: AtomicU64,
    /// What was said last when it was not taken.
    said: Mutex<String>,
}

impl<'a> Writer<'a> {
    pub fn new(door: &'static str, urls: &[String], who: &'a Someone, repo: &Repo) -> Self {
        let (http, taken, said) = (Client::new(), Mutex::default(), Mutex::default());
        let (urls, token, repo) = (urls.to_vec(), who.secret.as_str(), repo.full_name());
        let (turn, broken) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { door, http, urls, turn, token, repo, branch: "main", taken, broken, said }
    }

    /// Any of the processes, as a balancer that remembers nothing picks it.
    pub fn url(&self) -> &str {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.urls[(turn >> 33) as usize % self.urls.len()]
    }

    /// The same address at any of the processes.
    fn anywhere(&self, href: &str) -> String {
        let own = self.urls.iter().find_map(|url| href.strip_prefix(url.as_str()));
        own.map_or_else(|| href.to_owned(), |path| format!("{}{path}", self.url()))
    }

    /// What is sent the `n`-th time: two large files that are new, and a small one.
    fn files(&self, n: u64) -> Files {
        let door = self.door;
        let large = |which: u64| {
            let seed = n * 16 + door.len() as u64 * 4 + which;
            noise(seed * 2 + 1, ((seed * 0x9e37_79b9) % LARGE_BYTES + 1_000) as usize)
        };
        BTreeMap::from([
            (format!("{door}-{n}/one.bin"), large(1)),
            (format!("{door}-{n}/two.bin"), large(2)),
            (format!("{door}-{n}/words.txt"), format!("{door} {n}\n").into_bytes()),
        ])
    }

    pub async fn sent(&self, request: RequestBuilder) -> Result<Vec<u8>, Broken> {
        let answer = request.send().await.map_err(|_| Broken)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|_| Broken)?;
        // What a git process that was killed has locked looks as if somebody else were about to change it.
        if status.is_server_error() || status == StatusCode::PRECONDITION_FAILED {
            *self.said.lock().unwrap() = format!("{status} {}", String::from_utf8_lossy(&body));
            return Err(Broken);
        }
        assert!(status.is_success(), "{}: {status} {}", self.door, String::from_utf8_lossy(&body));
        Ok(body.to_vec())
    }

    pub async fn json(&self, request: RequestBuilder) -> Result<Value, Broken> {
        Ok(serde_json::from_slice(&self.sent(request).await?).unwrap())
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url())).bearer_auth(self.token)
    }

    /// Commits what was sent: small files in the commit itself, large ones by their digest.
    async fn commit(&self, files: &Files, large: bool) -> Result<String, Broken> {
        let mut lines = json!({ "key": "header", "value": { "summary": format!("by {}", self.door) } }).to_string();
        for (path, bytes) in files {
            let line = if large && path.ends_with(".bin") {
                json!({ "key": "lfsFile", "value": { "path": path, "algo": "sha256", "oid": Digest::of(bytes).hex() } })
            } else {
                let content = STANDARD.encode(bytes);
                json!({ "key": "file", "value": { "path": path, "content": content, "encoding": "base64" } })
            };
            lines.push('\n');
            lines.push_str(&line.to_string());
        }
        let request = self.post(&format!("/api/models/{}/commit/{}", self.repo, self.branch)).body(lines);
        Ok(self.json(request).await?["commitOid"].as_str().unwrap().to_owned())
    }

    pub async fn by_commit(&self, files: &Files) -> Result<String, Broken> {
        self.commit(files, false).await
    }

    pub async fn by_lfs(&self, files: &Files) -> Result<String, Broken> {
        let large: Vec<&Vec<u8>> = files.iter().filter(|(path, _)| path.ends_with(".bin")).map(|(_, b)| b).collect();
        let objects: Vec<Value> =
            large.iter().map(|bytes| json!({ "oid": Digest::of(bytes).hex(), "size": bytes.len() })).collect();
        let question = json!({ "operation": "upload", "transfers": ["basic"], "objects": objects });
        let batch = self.post(&format!("/{}.git/info/lfs/objects/batch", self.repo)).body(question.to_string());
        let batch = self.json(batch).await?;
        for (object, bytes) in batch["objects"].as_array().unwrap().iter().zip(large) {
            // What arrived before the hub died is not asked for again.
            let Some(href) = object["actions"]["upload"]["href"].as_str() else { continue };
            self.sent(self.http.put(self.anywhere(href)).body(bytes.clone())).await?;
        }
        self.commit(files, true).await
    }

    pub async fn by_xet(&self, files: &Files) -> Result<String, Broken> {
        let token = format!("{}/api/models/{}/xet-write-token/main", self.url(), self.repo);
        let token = self.json(self.http.get(token).bearer_auth(self.token)).await?;
        let (cas, token) = (token["casUrl"].as_str().unwrap(), token["accessToken"].as_str().unwrap());
        for (_, bytes) in files.iter().filter(|(path, _)| path.ends_with(".bin")) {
            let mut writer = XorbWriter::new();
            for chunk in chunker::chunks(bytes) {
                writer.push(chunk_hash(chunk), chunk).unwrap();
            }
            let (xorb, packed) = writer.finish(false).unwrap();
            let url = self.anywhere(&format!("{cas}/v1/xorbs/default/{}", xorb.hash));
            self.sent(self.http.post(url).bearer_auth(token).body(packed)).await?;
            let segment = Segment {
                xorb: xorb.hash,
                unpacked_bytes: bytes.len() as u32,
                chunk_start: 0,
                chunk_end: xorb.chunks.len() as u32,
                range_hash: None,
            };
            let hash = file_hash(xorb.chunks.iter().map(|c| (c.hash, c.unpacked_bytes.into())));
            let file = FileInfo { hash, segments: vec![segment], sha256: Some(Digest::of(bytes).0) };
            let shard = write_shard(&[file], &[], &Ending::Sections).unwrap();
            let url = self.anywhere(&format!("{cas}/v1/shards"));
            self.sent(self.http.post(url).bearer_auth(token).body(shard)).await?;
        }
        self.commit(files, true).await
    }

    /// Sends one set of files after the other, each until it is taken.
    pub async fn go_on(&self, stop: &AtomicBool, send: impl AsyncFn(&Files) -> Result<String, Broken>) {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            let (files, began) = (self.files(n), Instant::now());
            let commit = loop {
                match send(&files).await {
                    Ok(commit) => break commit,
                    Err(Broken) => self.broken.fetch_add(1, Ordering::Relaxed),
                };
                let said = self.said.lock().unwrap().clone();
                assert!(began.elapsed() < PATIENCE, "{}: the {n}-th commit is never taken: {said}", self.door);
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            let digests = files.iter().map(|(path, bytes)| (path.clone(), Digest::of(bytes))).collect();
            self.taken.lock().unwrap().push((commit, digests));
            n += 1;
        }
    }

    /// How many commits were taken.
    pub fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Everything that was taken is there, bytes and all.
    pub async fn judge(&self) {
        let taken = self.taken.lock().unwrap().clone();
        for (commit, files) in taken {
            for (path, digest) in files {
                for revision in [&commit, self.branch] {
                    let url = format!("{}/{}/resolve/{revision}/{path}", self.url(), self.repo);
                    let Ok(bytes) = self.sent(self.http.get(url).bearer_auth(self.token)).await else {
                        panic!("{path} of {commit} cannot be read");
                    };
                    assert_eq!(Digest::of(&bytes), digest, "{path} at {revision}");
                }
            }
        }
    }
}

/// What git says of a repository of a hub that does not run: every object that a ref leads to is there, and every commit
/// on main has all its files.
pub async fn at_rest(git: &GitRepo) {
    let reachable = git.run(["rev-list", "--objects", "--all"], &[]).await.unwrap();
    let reachable = String::from_utf8_lossy(&reachable).into_owned();
    let checked = git.output(["fsck", "--strict", "--full", "--no-dangling"], &[]).await.unwrap();
    let said = String::from_utf8_lossy(&checked.answer).into_owned();
    if checked.code != Some(0) {
        // A call that was killed while it wrote leaves a part of what it wrote, to which nothing leads.
        let lost =
            |line: &str| line.starts_with("missing ") || line.starts_with("broken link from ") || line.contains(" to ");
        let ids = || said.split_ascii_whitespace().filter(|word| word.len() == 40);
        assert!(!said.is_empty() && said.lines().all(lost), "{said} {checked:?}");
        assert!(ids().all(|id| !reachable.contains(id)), "{said}");
        eprintln!("nothing leads to: {said}");
    }
    let head = git.resolve("main").await.unwrap();
    let mut sets: BTreeMap<String, usize> = BTreeMap::new();
    for entry in git.tree(head, None, true).await.unwrap() {
        if let Some((set, _)) = entry.path.split_once('/') {
            *sets.entry(set.to_owned()).or_default() += 1;
        }
    }
    assert!(sets.values().all(|files| *files == 3), "half a commit: {sets:?}");
}

/// The store of large files is whole.
pub fn fsck(hub: &HubProcess) {
    let dir = hub.dir.display().to_string();
    let mut command = program(&["hub", "fsck", "--data-dir", &dir], &hub.log);
    let status = command.args(&hub.settings).status().unwrap();
    assert!(status.success(), "{}", hub.words());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_killed_while_files_come_in_by_every_door_keeps_what_it_took() {
    killed(number("ALLMENDE_KILLS").unwrap_or(20), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_killed_while_files_come_in_to_s3_keeps_what_it_took() {
    let place = s3::fresh_place();
    killed(number("ALLMENDE_KILLS").unwrap_or(8), Some(&place)).await;
    let blobs = s3::blobs_at(&place).await;
    blobs.sweep_unfinished(Duration::ZERO).await.unwrap();
    assert_eq!(remote::unfinished(&place).await, 0);
}

/// Kills a hub so often whose bytes lie in its folder, or at this place in S3.
async fn killed(kills: u64, place: Option<&str>) {
    let mut chance: Chance = chance();
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path()).in_a_group();
    let mut config = Config { name: "hub.test".into(), ..Config::in_dir(&hub.dir).unwrap() };
    if let Some(place) = place {
        let flags = s3::settings_at(place).into_iter().map(|(key, value)| [format!("--{}", flag_name(key)), value]);
        hub.settings.extend(flags.flatten());
        config = Config { name: config.name, data_dir: config.data_dir, ..s3::config_at(place) };
    }
    let app = allmende::hub::open(config, Clock::system()).await.unwrap();
    let carla = Someone::new(&app, "carla", Rights::Write).await;
    // Commits by the API share one repository, in which they follow each other; pushes have another.
    let shared = carla.creates(&app, Kind::Model, "shared", true).await;
    let pushed = carla.creates(&app, Kind::Model, "pushed", true).await;
    shut(app).await;
    let git = Git::open(&hub.dir.join("git")).await.unwrap();
    let repos = [git.repo(&shared.id), git.repo(&pushed.id)];
    hub.start(None);

    let urls = [hub.url()];
    let writer = |door, repo| Writer::new(door, &urls, &carla, repo);
    let (xet, lfs, api, push) =
        (writer("xet", &shared), writer("lfs", &shared), writer("api", &shared), writer("push", &pushed));
    let desk = Desk::new();
    let origin = hub.url().replace("://", &format!("://carla:{}@", carla.secret)) + "/carla/pushed";
    desk.clones(&origin, "desk").await.fine();
    let by_push = async |files: &Files| {
        for (path, bytes) in files {
            let path = desk.path("desk").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        desk.git("desk", &["add", "--all"]).await.fine();
        // There is nothing to commit where an earlier push broke off.
        desk.git("desk", &["commit", "--quiet", "-m", "by push"]).await;
        if !desk.git("desk", &["push", "--quiet"]).await.ok {
            return Err(Broken);
        }
        Ok(desk.git("desk", &["rev-parse", "HEAD"]).await.fine())
    };
    let writers = [&xet, &lfs, &api, &push];
    let stop = AtomicBool::new(false);
    let mut starting = Duration::ZERO;
    let killing = async {
        for n in 0..kills {
            tokio::time::sleep(Duration::from_millis(chance.below(900))).await;
            if chance.below(2) == 0 {
                hub.kill();
            } else {
                hub.kill_group();
            }
            for repo in &repos {
                at_rest(repo).await;
            }
            if n % 10 == 9 {
                fsck(&hub);
            }
            let began = Instant::now();
            hub.start(None);
            starting += began.elapsed();
            if n % 5 == 4 {
                // Whatever was broken off is said again and taken.
                let before = writers.map(Writer::count);
                while writers.map(Writer::count).iter().zip(&before).any(|(now, before)| now == before) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(
        killing,
        xet.go_on(&stop, async |files| xet.by_xet(files).await),
        lfs.go_on(&stop, async |files| lfs.by_lfs(files).await),
        api.go_on(&stop, async |files| api.by_commit(files).await),
        push.go_on(&stop, by_push),
    );
    for writer in writers {
        let taken = writer.count();
        eprintln!(
            "{}: {taken} commits taken, {} attempts broken off",
            writer.door,
            writer.broken.load(Ordering::Relaxed)
        );
        assert!(taken > 0, "{}", writer.door);
        writer.judge().await;
    }
    eprintln!("{kills} kills, {} ms to start again", starting.as_millis() / u128::from(kills.max(1)));
    assert!(hub.process().stop().success());
    for repo in &repos {
        at_rest(repo).await;
    }
    fsck(&hub);
}
