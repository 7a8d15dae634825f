//! The terms at the doors of repositories: real processes, and the tools that people have.

mod licences;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use allmende::api::Manifest;
use allmende::auth::{Scope, Scopes};
use allmende::client::http::HubClient;
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::digest::Digest;
use allmende_core::id::RunId;
use allmende_core::state::runs::Status;
use allmende_core::statement::{AgreementWithdrawn, Body, DecisionOpened, DecisionVoted, ModelReleased, Statement};
use reqwest::Method;
use serde_json::{Value, json};

use crate::crash::process::HubProcess;
use crate::crash::world::{World, client, collaboration};

/// Everybody may read north's open set; nobody but its owner writes it.
const CLAUSES: &str = "\n[[clause]]\nid = \"9.1\"\nkind = \"permit\"\naction = \"read\"\nassets = [\"north/open-set\"]\n\
    by = [\"all\"]\nplace = \"anywhere\"\n\
    \n[[clause]]\nid = \"9.2\"\nkind = \"permit\"\naction = \"write\"\nassets = [\"north/open-set\"]\n\
    by = [\"west\"]\nplace = \"anywhere\"\n";

struct Answer {
    status: u16,
    message: String,
    body: Vec<u8>,
}

/// A collaboration, its hub, and a token for each member as other programs hold one.
struct Doors {
    world: World,
    tokens: BTreeMap<String, String>,
    http: reqwest::Client,
}

impl Doors {
    async fn open(settings: &[&str]) -> Self {
        Self::open_to(settings, 3, |draft| draft + CLAUSES).await
    }

    /// As [`Self::open`], with so many parties under terms that were edited.
    async fn open_to(settings: &[&str], parties: u32, edit: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut hub = HubProcess::new(dir.path()).with(settings);
        hub.start(None);
        let world = World::found_edited(dir, hub, parties as usize, parties, edit).await;
        let mut tokens = BTreeMap::new();
        for member in &world.members {
            let client = client(&world.hub.url(), world.hub_key).signed_in_as(member.governance.clone());
            let scopes = Scopes::of(&[Scope::Read, Scope::Write]);
            tokens.insert(member.id.to_string(), client.issue_token("tools", 3_600, scopes).await.unwrap().token);
        }
        Self { world, tokens, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn call(&self, who: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.world.hub.url()));
        if let Some(token) = self.tokens.get(who) {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let message = answer.headers().get("x-error-message").map(|v| v.to_str().unwrap().to_owned());
        let (status, message) = (answer.status().as_u16(), message.unwrap_or_default());
        Answer { status, message, body: answer.bytes().await.unwrap().to_vec() }
    }

    async fn get(&self, who: &str, path: &str) -> Answer {
        self.call(who, Method::GET, path, None).await
    }

    /// A page of the console, signed in as `who`.
    async fn page(&self, who: &str, path: &str) -> Answer {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut request = http.get(format!("{}{path}", self.world.hub.url()));
        if let Some(token) = self.tokens.get(who) {
            request = request.header("cookie", format!("allmende_console={token}"));
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        Answer { status, message: String::new(), body: answer.bytes().await.unwrap().to_vec() }
    }

    async fn done(&self, who: &str, method: Method, path: &str, body: Value) {
        let answer = self.call(who, method, path, Some(body)).await;
        assert!(answer.status < 300, "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    }

    async fn commit(&self, who: &str, repo: &str, file: &str, content: &str) -> Answer {
        let lines = [
            json!({ "key": "header", "value": { "summary": "a change" } }),
            json!({ "key": "file", "value": { "path": file, "content": content } }),
        ];
        let body = lines.map(|line| line.to_string()).join("\n");
        let request = self.http.post(format!("{}/api/{repo}/commit/main", self.world.hub.url()));
        let answer = request.bearer_auth(&self.tokens[who]).body(body).send().await.unwrap();
        let message = answer.headers().get("x-error-message").map(|v| v.to_str().unwrap().to_owned());
        let (status, message) = (answer.status().as_u16(), message.unwrap_or_default());
        Answer { status, message, body: answer.bytes().await.unwrap().to_vec() }
    }

    /// What a program of the Python environment says to the hub, as `who`.
    async fn tool(&self, who: &str, home: &Path, program: &str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(args).env("HF_ENDPOINT", self.world.hub.url()).env("HF_TOKEN", &self.tokens[who]);
        command.env("HF_HOME", home.join("hf")).env("HF_HUB_DISABLE_PROGRESS_BARS", "1").env("NO_COLOR", "1");
        command.env("HF_HUB_DISABLE_UPDATE_CHECK", "1").env("GIT_TERMINAL_PROMPT", "0").env("HOME", home);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        let output = output.unwrap_or_else(|e| panic!("{program}: {e}; put .venv/bin first in PATH, as ./check does"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// What stands in the log, of a kind.
    async fn attested(&self, kind: &str) -> Vec<Body> {
        let member = &self.world.members[0];
        member.state().await;
        let mirror = member.log.mirror();
        let read = (0..mirror.entries()).filter_map(|index| mirror.read(index).unwrap().into_iter().next());
        let bodies = read.map(|record| Statement::open(&record.envelope).unwrap().statement.body);
        bodies.filter(|body| body.kind() == kind).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_opens_as_the_terms_say() {
    let doors = Doors::open(&["--reads-period-s", "1"]).await;
    let repo = "datasets/north/open-set";
    let create = json!({ "name": "open-set", "organization": "north", "type": "dataset", "visibility": "public" });
    doors.done("north", Method::POST, "/api/repos/create", create).await;
    assert_eq!(doors.commit("north", repo, "rows.csv", "a,b\n1,2\n").await.status, 200);
    let file = "/datasets/north/open-set/resolve/main/rows.csv";
    assert_eq!(doors.get("", file).await.status, 200, "public before");

    let under = format!("/v1/collaborations/digits/repositories/{repo}");
    let by_another = doors.call("east", Method::PUT, &under, None).await;
    assert_eq!(by_another.status, 403, "{}", String::from_utf8_lossy(&by_another.body));
    for _ in 0..2 {
        doors.done("north", Method::PUT, &under, Value::Null).await;
    }
    assert_eq!(doors.attested("repository.placed").await.len(), 1, "twice is once");
    // A bucket is reference data as a dataset is: the log could not tell two of one name apart.
    for name in ["open-set", "scratch"] {
        doors.done("north", Method::POST, &format!("/api/buckets/north/{name}"), json!({})).await;
    }
    let twin = "/v1/collaborations/digits/repositories/buckets/north/open-set";
    let refused = doors.call("north", Method::PUT, twin, None).await;
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 403 && text.contains("is registered already"), "{} {text}", refused.status);
    let bucket = "/v1/collaborations/digits/repositories/buckets/north/scratch";
    doors.done("north", Method::PUT, bucket, Value::Null).await;
    assert_eq!(doors.get("", "/api/buckets/north/scratch").await.status, 401, "public no longer");
    for path in ["/api/buckets/north/scratch/xet-read-token", "/buckets/north/scratch/resolve/a"] {
        assert_eq!(doors.get("east", path).await.status, 403, "no clause lets east read {path}");
    }
    doors.done("north", Method::DELETE, bucket, Value::Null).await;

    assert_eq!(doors.get("", file).await.status, 401, "public no longer");
    for who in ["north", "east", "west"] {
        assert_eq!(doors.get(who, file).await.body, b"a,b\n1,2\n", "clause 9.1 for {who}");
    }
    let refused = doors.commit("east", repo, "rows.csv", "a\n").await;
    assert_eq!(refused.status, 403);
    assert!(refused.message.contains("clause 9.2 permits west only"), "{}", refused.message);
    assert_eq!(doors.commit("west", repo, "more.csv", "c\n3\n").await.status, 200, "clause 9.2");
    // While it stands under the terms it keeps its name, and stays out of the public eye.
    let settings = format!("/api/{repo}/settings");
    let public = doors.call("north", Method::PUT, &settings, Some(json!({ "visibility": "public" }))).await;
    assert_eq!((public.status, public.message.contains("take it back")), (403, true), "{}", public.message);
    let moved = json!({ "fromRepo": "north/open-set", "toRepo": "north/other", "type": "dataset" });
    assert_eq!(doors.call("north", Method::POST, "/api/repos/move", Some(moved)).await.status, 403);

    // No clause lets anybody read this one, and each hears why; strangers hear nothing.
    let create = json!({ "name": "own-model", "organization": "north", "type": "model" });
    doors.done("north", Method::POST, "/api/repos/create", create).await;
    doors.commit("north", "models/north/own-model", "config.json", "{}").await;
    doors
        .done("north", Method::PUT, "/v1/collaborations/digits/repositories/models/north/own-model", Value::Null)
        .await;
    let refused = doors.get("east", "/north/own-model/resolve/main/config.json").await;
    assert_eq!(refused.status, 403);
    assert!(refused.message.contains("agreement.denied") && refused.message.contains("read"), "{}", refused.message);
    // The pages show the same member the facts and the clauses, and strangers nothing.
    let page = "/console/en/r/models/north/own-model";
    let shown = doors.page("east", page).await;
    assert_eq!(shown.status, 200);
    let text = String::from_utf8(shown.body).unwrap();
    assert!(text.contains("What the terms let you do") && text.contains("denied"), "{text}");
    assert!(text.contains("You may not read what stands in the files"), "{text}");
    assert_eq!(doors.page("east", &format!("{page}/file/main/config.json")).await.status, 403);
    assert_eq!(doors.page("", page).await.status, 303);
    let home = doors.world.dir.path().join("tools");
    std::fs::create_dir_all(&home).unwrap();
    let to = home.join("clone");
    let address = |name: &str| {
        format!("{}/{name}", doors.world.hub.url()).replace("://", &format!("://east:{}@", doors.tokens["east"]))
    };
    let cloned = doors.tool("east", &home, "git", &["clone", &address("north/own-model"), to.to_str().unwrap()]).await;
    assert!(cloned.is_err());
    doors.tool("east", &home, "git", &["clone", &address(repo), to.to_str().unwrap()]).await.unwrap();
    assert_eq!(std::fs::read(to.join("more.csv")).unwrap(), b"c\n3\n");

    // A gate comes on top of the terms; whom its owner lets in stands in the log, and only whom the terms let read.
    doors.done("north", Method::PUT, &settings, json!({ "gated": "manual" })).await;
    assert_eq!(doors.get("east", file).await.status, 403);
    let grant = format!("/api/{repo}/user-access-request/grant");
    doors.done("north", Method::POST, &grant, json!({ "user": "east" })).await;
    assert_eq!(doors.get("east", file).await.status, 200);
    assert_eq!(doors.attested("access.granted").await.len(), 1);
    let gate = "/api/models/north/own-model/settings";
    doors.done("north", Method::PUT, gate, json!({ "gated": "manual" })).await;
    let grant = "/api/models/north/own-model/user-access-request/grant";
    let granted = doors.call("north", Method::POST, grant, Some(json!({ "user": "east" }))).await;
    assert_eq!(granted.status, 403, "{}", granted.message);

    // Looking into files is reading them: rows, tensors and headers.
    let header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    let tensors = format!("{}\0\0\0\0\0\0\0{header}x", char::from(u8::try_from(header.len()).unwrap()));
    assert_eq!(doors.commit("north", repo, "a.safetensors", &tensors).await.status, 200);
    let grant = json!({ "user": "west" });
    doors.done("north", Method::POST, &format!("/api/{repo}/user-access-request/grant"), grant).await;
    let looks = [
        "/rows?dataset=north/open-set",
        "/datasets-server/first-rows?dataset=north/open-set",
        &format!("/api/{repo}/tensors/main/a.safetensors"),
        &format!("/api/{repo}/tensors-diff/main...main"),
    ];
    for look in looks {
        let answer = doors.get("west", look).await;
        assert_eq!(answer.status, 200, "{look}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(doors.get("north", look).await.status, 200);
    }

    // What others read is summed up in the log; the owner's own reads are not.
    let began = Instant::now();
    let mut counted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    while !counted.contains_key("east") || counted.get("west").is_none_or(|sums| sums.0 < 5) {
        assert!(began.elapsed() < Duration::from_secs(60), "{counted:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        counted.clear();
        for body in doors.attested("reads.counted").await {
            let Body::ReadsCounted(body) = body else { unreachable!() };
            for reader in body.readers {
                let sums = counted.entry(reader.party.to_string()).or_default();
                *sums = (sums.0 + reader.requests, sums.1 + reader.bytes);
            }
        }
    }
    assert!(!counted.contains_key("north"), "{counted:?}");
    let looked = 2 * (9 + 8) + 8 + header.len() as u64;
    assert_eq!(counted["west"], (5, 8 + looked), "a file of eight bytes, two rows twice, a header, and no difference");
    assert!(counted["east"].0 >= 3, "two files and a clone: {counted:?}");

    // To read it is not to take it out: what leaves for another hub asks for more than a download.
    let bundle = "/v1/repositories/datasets/north/open-set/bundle";
    let refused = doors.call("east", Method::POST, bundle, Some(json!({}))).await;
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 403 && text.contains("agreement.denied") && text.contains("disclose"), "{text}");
    let own = "/v1/repositories/models/north/own-model/bundle";
    assert_eq!(doors.call("east", Method::POST, own, Some(json!({}))).await.status, 403);
    for path in [bundle, own] {
        assert_eq!(doors.call("", Method::POST, path, Some(json!({}))).await.status, 401, "{path}");
    }

    doors.done("north", Method::DELETE, &under, Value::Null).await;
    assert_eq!(doors.get("east", file).await.status, 404, "its owner's alone again");
    assert_eq!(doors.get("north", file).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_terms_is_out_at_once() {
    let mut doors = Doors::open(&[]).await;
    let create = json!({ "name": "open-set", "organization": "north", "type": "dataset" });
    doors.done("north", Method::POST, "/api/repos/create", create).await;
    doors.commit("north", "datasets/north/open-set", "rows.csv", "a\n").await;
    let under = "/v1/collaborations/digits/repositories/datasets/north/open-set";
    doors.done("north", Method::PUT, under, Value::Null).await;
    let file = "/datasets/north/open-set/resolve/main/rows.csv";
    assert_eq!(doors.get("west", file).await.status, 200);
    doors.world.members[2].say(AgreementWithdrawn { terms: doors.world.agreement }, None).await;
    // The notice of the exit clause outlasts these terms: until then it reads, and afterwards nobody does.
    assert_eq!(doors.get("west", file).await.status, 200);
    doors.world.hub.kill();
    assert!(doors.world.hub.start(None));
    assert_eq!(doors.get("west", file).await.status, 200, "also after a crash");
    assert_eq!(doors.get("", file).await.status, 401);
}

async fn release(doors: &mut Doors) -> (RunId, Manifest) {
    doors.world.start_nodes();
    let mut plan = doors.world.plan(1, 60_000);
    plan.evaluate_every = 1;
    let run = doors.world.propose("first", plan).await;
    assert_eq!(doors.world.ended(&run).await, Status::Finished);
    let members = &doors.world.members;
    let hub: HubClient =
        client(&doors.world.hub.url(), doors.world.hub_key).signed_in_as(members[0].governance.clone());
    let log = collaboration();
    let manifest = hub.run_file(log.collaboration().unwrap(), &run, "manifest.json", 1 << 20).await.unwrap();
    let model = members[0].state().await.run(&run).unwrap().final_model.unwrap();
    let decision: allmende_core::id::DecisionId = "release-first".parse().unwrap();
    let subject = Subject::Release { run: run.clone(), model, accepted: Vec::new() };
    members[0].say(DecisionOpened { decision: decision.clone(), subject }, None).await;
    for member in members {
        member.state().await;
        member.say(DecisionVoted { decision: decision.clone(), vote: Vote::Yes }, None).await;
    }
    members[0].state().await;
    let licence = "CC-BY-NC-4.0".to_owned();
    let body = ModelReleased { run: run.clone(), model, manifest: Digest::of(&manifest), licence };
    members[0].say(body, Some(doors.world.agreement)).await;
    (run, serde_json::from_slice(&manifest).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_downloaded_with_the_tools_that_people_have() {
    let mut doors = Doors::open(&[]).await;
    let (_, manifest) = release(&mut doors).await;
    let head = "/api/models/digits/first/revision/main";
    let began = Instant::now();
    while doors.get("west", head).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(30), "the release is no repository");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let first = doors.get("west", head).await.body;
    let home = doors.world.dir.path().join("tools");
    let to = home.join("model");
    let args = ["download", "digits/first", "--local-dir", to.to_str().unwrap()];
    doors.tool("west", &home, "hf", &args).await.unwrap();
    // Nothing comes beside the files of the manifest, but the manifest and what git reads to find the large ones.
    let names = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.filter(|name| name != ".cache").collect();
    let paths = manifest.files.iter().map(|file| file.path.as_str());
    assert_eq!(names, paths.chain([".gitattributes", "manifest.json"]).map(str::to_owned).collect());
    assert_eq!(manifest.files.len(), 3);
    for file in &manifest.files {
        let bytes = std::fs::read(to.join(&file.path)).unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (file.digest, file.size_bytes), "{}", file.path);
    }
    let card = String::from_utf8(std::fs::read(to.join("README.md")).unwrap()).unwrap();
    assert!(card.contains("license: cc-by-nc-4.0") && card.contains("## Lineage"), "{card}");
    // It counts for the organization of its name.
    let data = doors.world.hub.dir.display().to_string();
    let args = ["account", "show", "digits", "--data-dir", &data, "--json", "--quiet"];
    let account = doors.tool("west", &home, env!("CARGO_BIN_EXE_allmende"), &args);
    let account: Value = serde_json::from_str(&account.await.unwrap()).unwrap();
    let weights = manifest.files.iter().find(|file| file.path == "model.safetensors").unwrap().size_bytes;
    assert!(account["large_bytes"].as_u64().unwrap() >= weights / 2, "{account}");
    assert!(account["history_bytes"].as_u64().unwrap() > 500, "{account}");
    // Nobody writes to what members signed, nobody removes it, and strangers do not see it.
    assert_eq!(doors.commit("north", "models/digits/first", "README.md", "mine").await.status, 403);
    let gone = doors.call(
        "north",
        Method::DELETE,
        "/api/repos/delete",
        Some(json!({ "name": "first", "organization": "digits" })),
    );
    assert_eq!(gone.await.status, 403);
    assert_eq!(doors.get("", head).await.status, 401);
    // A hub that starts again finds it as it was.
    doors.world.hub.kill();
    assert!(doors.world.hub.start(None));
    let began = Instant::now();
    while doors.get("west", head).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    let again = doors.get("west", head).await.body;
    let sha = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["sha"].clone();
    assert_eq!(sha(&first), sha(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_a_crash_broke_off_is_whole_afterwards() {
    for fault in allmende::faults::RELEASE_POINTS {
        let mut doors = Doors::open(&[]).await;
        doors.world.hub.kill();
        assert!(doors.world.hub.start(Some(fault)));
        let (_, manifest) = release(&mut doors).await;
        let status = doors.world.hub.process().wait_at_most(Duration::from_secs(30));
        assert!(status.is_some_and(|s| !s.success()), "{fault} was not met: {}", doors.world.hub.words());
        assert!(doors.world.hub.start(None));
        let began = Instant::now();
        while doors.get("east", "/digits/first/resolve/main/manifest.json").await.status != 200 {
            assert!(began.elapsed() < Duration::from_secs(30), "{fault}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for file in &manifest.files {
            let bytes = doors.get("east", &format!("/digits/first/resolve/main/{}", file.path)).await.body;
            assert_eq!(Digest::of(&bytes), file.digest, "{}", file.path);
        }
    }
}
