//! Three processes of one hub, with one database, one folder of bytes and one of repositories, behind a balancer that remembers
//! nothing. One is killed, one is stopped for longer than anybody waits for it, and work goes on. `ALLMENDE_KILLS` says how
//! often, `ALLMENDE_SEED` repeats the instants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use allmende::account::Rights;
use allmende::app::App;
use allmende::clock::Clock;
use allmende::config::{Config, Flags, Layers};
use allmende::git::Git;
use allmende::repo::{Kind, Repo};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _};

use super::doors::{Broken, Files, Writer, at_rest, fsck};
use super::kills::{chance, number};
use super::process::{HubProcess, program, shut};
use crate::wire_git::{Desk, Someone};

/// Longest wait for one answer: a process that is stopped gives none.
const ANSWER: Duration = Duration::from_secs(4);
/// How long a process stays stopped. What it left is made old meanwhile, as if it were minutes.
const STOPPED: Duration = Duration::from_secs(6);
/// Longest that is waited for what must come by itself.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a webhook was told: deliveries by what they say.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Told {
    /// Listens; gives its address.
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let told = self.clone();
        let take = async move |headers: axum::http::HeaderMap, axum::Json(body): axum::Json<Value>| {
            let delivery = headers["x-allmende-delivery"].to_str().unwrap().to_owned();
            for moved in body["updatedRefs"].as_array().into_iter().flatten() {
                let what = moved["newSha"].as_str().unwrap_or_default().to_owned();
                told.0.lock().unwrap().entry(what).or_default().insert(delivery.clone());
            }
        };
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(axum::routing::post(take))).await },
        );
        address
    }

    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().contains_key(what)
    }
}

/// The processes and what they share.
struct Replicas {
    dir: tempfile::TempDir,
    url: String,
    hubs: Vec<HubProcess>,
}

impl Replicas {
    fn settings(dir: &Path, url: &str) -> Vec<(&'static str, String)> {
        vec![
            ("database_url", url.to_owned()),
            ("blob_store", dir.join("bytes").display().to_string()),
            ("git_dir", dir.join("git").display().to_string()),
            ("outbound_networks", "127.0.0.0/8".to_owned()),
        ]
    }

    /// The hub as a library, in this process: a fourth of it.
    async fn app(&self) -> App {
        let data = self.hubs[0].dir.display().to_string();
        let settings = [("data_dir", data), ("name", "hub.test".to_owned())];
        let settings = Self::settings(self.dir.path(), &self.url).into_iter().chain(settings).collect();
        let config: Config = Layers::default().flags(&Flags(settings)).build().unwrap();
        allmende::hub::open(config, Clock::system()).await.unwrap()
    }

    async fn new(count: usize) -> Self {
        let (dir, url) = (tempfile::tempdir().unwrap(), crate::stores::postgres::fresh_database().await);
        let flags: Vec<String> = Self::settings(dir.path(), &url)
            .into_iter()
            .flat_map(|(key, value)| [format!("--{}", key.replace('_', "-")), value])
            .collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let hubs = (0..count).map(|n| {
            let dir = dir.path().join(n.to_string());
            std::fs::create_dir(&dir).unwrap();
            HubProcess::new(&dir).with(&flags).in_a_group()
        });
        let hubs: Vec<HubProcess> = hubs.collect();
        Self { dir, url, hubs }
    }

    /// Gives every process the key of the first.
    fn share_key(&self) {
        for hub in &self.hubs[1..] {
            std::fs::create_dir_all(&hub.dir).unwrap();
            std::fs::copy(self.hubs[0].dir.join("hub.key"), hub.dir.join("hub.key")).unwrap();
        }
    }

    fn urls(&self) -> Vec<String> {
        self.hubs.iter().map(HubProcess::url).collect()
    }

    /// Makes everything that waits for a process to be taken for dead as old as if minutes had passed.
    async fn minutes_pass(&self) {
        let mut connection = AnyConnection::connect(&self.url).await.unwrap();
        for sql in [
            "UPDATE ref_moves SET begun_at = begun_at - 60000",
            "UPDATE webhook_deliveries SET next_at = next_at - 60000 WHERE state = 'pending' AND attempts > 0",
        ] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        age_locks(&self.dir.path().join("git"));
    }
}

fn age_locks(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            age_locks(&path);
        } else if path.extension().is_some_and(|extension| extension == "lock")
            && let Ok(file) = std::fs::File::options().write(true).open(&path)
        {
            let _ = file.set_modified(SystemTime::now() - Duration::from_secs(60));
        }
    }
}

fn signal(signal: &str, hub: &HubProcess) {
    let group = format!("-{}", hub.pid());
    assert!(Command::new("kill").args([signal, "--", &group]).status().unwrap().success());
}

/// Opens one discussion after the other; gives their numbers.
async fn discuss(writer: &Writer<'_>, stop: &AtomicBool) -> Vec<u64> {
    let mut numbers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let body = json!({ "title": format!("the {}th", numbers.len()), "description": "words" });
        let request = writer.post(&format!("/api/models/{}/discussions", writer.repo)).json(&body);
        match writer.json(request).await {
            Ok(answer) => numbers.push(answer["num"].as_u64().unwrap()),
            Err(Broken) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    numbers
}

/// Repositories that come, get another name, and go, while files are committed to them. Gives how many went through it.
async fn come_and_go(writer: &Writer<'_>, stop: &AtomicBool) -> u64 {
    let mut gone = 0;
    // Asks until somebody answers; what was done by an attempt that got no answer may have been done.
    let ask = async |method: Method, path: &str, body: Value| {
        let began = Instant::now();
        loop {
            let request = writer.http.request(method.clone(), format!("{}{path}", writer.url()));
            let request = request.bearer_auth(writer.token).body(body.to_string());
            let answer = request.header("content-type", "application/json").send().await;
            if let Ok(answer) = answer
                && !answer.status().is_server_error()
                && answer.status() != 412
            {
                return answer.status().as_u16();
            }
            assert!(began.elapsed() < PATIENCE, "{path} is never answered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (old, new) = (format!("come-{n}"), format!("go-{n}"));
        let made = ask(Method::POST, "/api/repos/create", json!({ "name": old, "type": "model" })).await;
        assert!(matches!(made, 200 | 409), "{made}");
        let file = |name: &str| {
            let header = json!({ "key": "header", "value": { "summary": name } });
            format!("{header}\n{}", json!({ "key": "file", "value": { "path": name, "content": name } }))
        };
        let commit = async |at: &str, name: &str| {
            let began = Instant::now();
            loop {
                let path = format!("/api/models/carla/{at}/commit/main");
                if writer.sent(writer.post(&path).body(file(name))).await.is_ok() {
                    return;
                }
                assert!(began.elapsed() < PATIENCE, "a commit to {at} is never taken");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        commit(&old, "before.txt").await;
        let rename = json!({ "fromRepo": format!("carla/{old}"), "toRepo": format!("carla/{new}"), "type": "model" });
        // It may begin under the one name and end under the other.
        let (moved, ()) = tokio::join!(ask(Method::POST, "/api/repos/move", rename), commit(&old, "during.txt"));
        assert_eq!(moved, 200);
        commit(&new, "after.txt").await;
        for name in [&old, &new] {
            for file in ["before.txt", "during.txt", "after.txt"] {
                let path = format!("/carla/{name}/resolve/main/{file}");
                let status = ask(Method::GET, &path, Value::Null).await;
                assert!(matches!(status, 200 | 307), "{status} {path}");
            }
        }
        let remove = json!({ "name": new, "organization": "carla", "type": "model" });
        let removed = ask(Method::DELETE, "/api/repos/delete", remove).await;
        assert!(matches!(removed, 200 | 404), "{removed}");
        for _ in 0..3 {
            assert_eq!(ask(Method::GET, &format!("/api/models/carla/{new}"), Value::Null).await, 404);
        }
        gone += 1;
    }
    gone
}

/// What a process shows of a repository: its refs, and what its index says of main.
async fn shown(url: &str, token: &str, repo: &Repo) -> (Value, Value, Value) {
    let http = Client::new();
    let get = async |path: String| {
        let answer = http.get(format!("{url}{path}")).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json::<Value>().await.unwrap()
    };
    let name = repo.full_name();
    let info = get(format!("/api/models/{name}")).await;
    (get(format!("/api/models/{name}/refs")).await, info["sha"].clone(), info["usedStorage"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_serve_the_same_repositories_while_one_dies_and_one_is_stopped() {
    let rounds = number("ALLMENDE_KILLS").map_or(3, |kills| kills.div_ceil(2));
    let mut chance = chance();
    let mut replicas = Replicas::new(3).await;
    let app = replicas.app().await;
    let carla = Someone::new(&app, "carla", Rights::Write).await;
    let shared = carla.creates(&app, Kind::Model, "shared", true).await;
    let pushed = carla.creates(&app, Kind::Model, "pushed", true).await;
    shut(app).await;
    replicas.share_key();
    for hub in &mut replicas.hubs {
        hub.start(None);
    }
    let told = Told::default();
    let hook = json!({ "url": told.listen().await, "watched": [{ "type": "user", "name": "carla" }] });
    let urls = replicas.urls();
    let made = Client::new().post(format!("{}/api/settings/webhooks", urls[1])).bearer_auth(&carla.secret).json(&hook);
    assert_eq!(made.send().await.unwrap().status(), 200);

    let http = Client::builder().timeout(ANSWER).pool_max_idle_per_host(0).build().unwrap();
    let writer = |door, repo| {
        let mut writer = Writer::new(door, &urls, &carla, repo);
        writer.http = http.clone();
        writer
    };
    let (xet, lfs, api) = (writer("xet", &shared), writer("lfs", &shared), writer("api", &shared));
    let (talk, chat, life) = (writer("talk", &shared), writer("chat", &shared), writer("life", &shared));
    // Pushes to a branch of the repository that the others commit to, and to main of another.
    let desk = Desk::new();
    let push = |repo: &'static str, branch: &'static str| {
        let (desk, urls, secret) = (&desk, &urls, &carla.secret);
        async move |files: &Files| {
            for (path, bytes) in files {
                let path = desk.path(repo).join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            desk.git(repo, &["add", "--all"]).await.fine();
            // There is nothing to commit where an earlier push broke off.
            desk.git(repo, &["commit", "--quiet", "-m", "by push"]).await;
            let any = &urls[files.values().map(Vec::len).sum::<usize>() % urls.len()];
            for url in [any, &urls[0], &urls[1], &urls[2]] {
                let origin = url.replace("://", &format!("://carla:{secret}@")) + "/carla/" + repo;
                let to = format!("HEAD:refs/heads/{branch}");
                let args = ["push", "--quiet", &origin, &to];
                if tokio::time::timeout(ANSWER, desk.git(repo, &args)).await.is_ok_and(|pushed| pushed.ok) {
                    return Ok(desk.git(repo, &["rev-parse", "HEAD"]).await.fine());
                }
            }
            Err(Broken)
        }
    };
    for repo in ["shared", "pushed"] {
        let origin = urls[0].replace("://", &format!("://carla:{}@", carla.secret)) + "/carla/" + repo;
        desk.clones(&origin, repo).await.fine();
    }
    let (mut branch, main) = (writer("push", &shared), writer("pushes", &pushed));
    branch.branch = "desk";
    let writers = [&xet, &lfs, &api, &branch, &main];

    let (stop, began) = (AtomicBool::new(false), Instant::now());
    let chaos = async {
        for round in 0..rounds {
            tokio::time::sleep(Duration::from_millis(500 + chance.below(1_500))).await;
            let frozen = chance.below(3) as usize;
            let dies = (frozen + 1 + chance.below(2) as usize) % 3;
            signal("-STOP", &replicas.hubs[frozen]);
            tokio::time::sleep(Duration::from_millis(chance.below(800))).await;
            if chance.below(2) == 0 {
                replicas.hubs[dies].kill();
            } else {
                replicas.hubs[dies].kill_group();
            }
            // For everybody else both are dead now: what they hold is taken over, by a third or by the one that comes back.
            replicas.minutes_pass().await;
            tokio::time::sleep(Duration::from_millis(chance.below(2_000))).await;
            replicas.hubs[dies].start(None);
            replicas.minutes_pass().await;
            tokio::time::sleep(STOPPED).await;
            signal("-CONT", &replicas.hubs[frozen]);
            eprintln!("round {round}: {frozen} was stopped, {dies} was killed, {:?}", began.elapsed());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (by_branch, by_main) = (push("shared", "desk"), push("pushed", "main"));
    let ((), (), (), (), (), (), mut numbers, more, gone) = tokio::join!(
        chaos,
        xet.go_on(&stop, async |files| xet.by_xet(files).await),
        lfs.go_on(&stop, async |files| lfs.by_lfs(files).await),
        api.go_on(&stop, async |files| api.by_commit(files).await),
        branch.go_on(&stop, by_branch),
        main.go_on(&stop, by_main),
        discuss(&talk, &stop),
        discuss(&chat, &stop),
        come_and_go(&life, &stop),
    );
    for writer in writers {
        let (taken, broken) = (writer.count(), writer.broken.load(Ordering::Relaxed));
        eprintln!("{}: {taken} commits taken, {broken} attempts broken off", writer.door);
        assert!(taken > 0, "{}", writer.door);
        writer.judge().await;
    }
    eprintln!("{} and {} discussions, {gone} repositories came and went", numbers.len(), more.len());
    numbers.extend(more);
    let unique: BTreeSet<_> = numbers.iter().collect();
    assert!(unique.len() == numbers.len() && !numbers.is_empty(), "numbers are given once: {numbers:?}");

    // What the dead left is seen to, and all of it was told.
    let taken = |writer: &&Writer<'_>| writer.taken.lock().unwrap().iter().map(|t| t.0.clone()).collect::<Vec<_>>();
    let wanted: Vec<String> = writers.iter().flat_map(taken).collect();
    let waited = Instant::now();
    while let Some(missing) = wanted.iter().find(|what| !told.has(what)) {
        assert!(waited.elapsed() < PATIENCE, "{missing} was never told");
        replicas.minutes_pass().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for (what, deliveries) in told.0.lock().unwrap().iter() {
        assert!(what.is_empty() || deliveries.len() == 1, "{what} was told as two things: {deliveries:?}");
    }
    let logs: Vec<String> =
        replicas.hubs.iter().map(|hub| std::fs::read_to_string(&hub.log).unwrap_or_default()).collect();
    for what in ["a lock was left by a call that died", "a move of refs was left in the middle"] {
        eprintln!("{} times: {what}", logs.iter().map(|log| log.matches(what).count()).sum::<usize>());
    }
    let repos = [&shared, &pushed];
    let git = Git::open(&replicas.dir.path().join("git")).await.unwrap();
    for repo in repos {
        let mut said = Vec::new();
        for url in &urls {
            said.push(shown(url, &carla.secret, repo).await);
        }
        assert!(said.iter().all(|one| *one == said[0]), "all show the same: {said:?}");
        let standing = git.repo(&repo.id).resolve("main").await.unwrap().to_string();
        assert_eq!(said[0].1, standing.as_str());
    }
    let mut connection = AnyConnection::connect(&replicas.url).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM ref_moves").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(left, 0, "no note is left");
    for hub in &mut replicas.hubs {
        assert!(hub.process().stop().success(), "{}", hub.words());
    }
    for repo in repos {
        at_rest(&git.repo(&repo.id)).await;
    }
    let hub = &replicas.hubs[0];
    fsck(hub);
    // The index is what git says, to the letter.
    let dir = hub.dir.display().to_string();
    let mut args = vec!["hub", "reindex", "--dry-run", "--json", "--data-dir", &dir];
    args.extend(hub.settings.iter().map(String::as_str));
    let out = program(&args, &hub.log).stdout(std::process::Stdio::piped()).output().unwrap();
    assert!(out.status.success(), "{}", hub.words());
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["wrong"], &report["missing"], &report["skipped"]), (&json!([]), &json!([]), &json!([])));
}
