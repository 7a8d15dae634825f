//! Two hubs as processes of their own, the command line, and the tools that people have.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash::process::HubProcess;
use crate::xet::noise;

/// A hub, somebody on it, and a token of theirs in a file.
struct Side {
    hub: HubProcess,
    dir: tempfile::TempDir,
    token: String,
}

impl Side {
    fn start(person: &str, settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut hub = HubProcess::new(dir.path()).with(settings);
        hub.start(None);
        let mut side = Self { hub, dir, token: String::new() };
        let data = side.hub.dir.display().to_string();
        side.says(&["account", "create", person, "--data-dir", &data]);
        let made = side.says(&["account", "token", person, "--data-dir", &data]);
        side.token = made["token"].as_str().unwrap().to_owned();
        std::fs::write(side.token_file(), &side.token).unwrap();
        side
    }

    fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    fn run(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_allmende"));
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("ALLMENDE_")) {
            command.env_remove(name);
        }
        let done = command.args(args).arg("--json").env("HOME", self.dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        (
            done.status.success(),
            if done.status.success() { text } else { text + &String::from_utf8_lossy(&done.stderr) },
        )
    }

    /// What a command answers.
    #[track_caller]
    fn says(&self, args: &[&str]) -> Value {
        let (fine, text) = self.run(args);
        assert!(fine, "{args:?}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The same of a command about repositories, of this hub.
    #[track_caller]
    fn repository(&self, args: &[&str]) -> Value {
        let (url, token) = (self.hub.url(), self.token_file().display().to_string());
        let all = [&["repository"], args, &["--hub", &url, "--token-file", &token]].concat();
        self.says(&all)
    }

    /// A program of the Python environment, or git, against this hub.
    #[track_caller]
    fn tool(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).env("HF_ENDPOINT", self.hub.url()).env("HF_TOKEN", &self.token);
        command.env("HF_HOME", self.dir.path().join("hf")).env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
        command.env("HF_HUB_DISABLE_UPDATE_CHECK", "1").env("GIT_TERMINAL_PROMPT", "0").env("HOME", self.dir.path());
        let output = command.output();
        let output = output.unwrap_or_else(|e| panic!("{program}: {e}; put .venv/bin first in PATH, as ./check does"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {text}");
        text
    }

    /// The bytes that `hf download` gives.
    fn downloads(&self, name: &str, file: &str) -> Vec<u8> {
        let to = self.dir.path().join(format!("got-{}", std::process::id()));
        let to = to.join(name.replace('/', "-"));
        self.tool("hf", &["download", name, file, "--local-dir", to.to_str().unwrap()]);
        std::fs::read(to.join(file)).unwrap()
    }

    /// The commits that a clone has, latest first.
    fn cloned(&self, person: &str, name: &str) -> String {
        let to = self.dir.path().join(format!("clone-{}", name.replace('/', "-")));
        let url = format!("{}/{name}", self.hub.url()).replace("://", &format!("://{person}:{}@", self.token));
        let to = to.to_str().unwrap();
        self.tool(
            "git",
            &["-c", "filter.lfs.smudge=", "-c", "filter.lfs.required=false", "clone", "--quiet", &url, to],
        );
        self.tool("git", &["-C", to, "fsck", "--full", "--strict"]);
        self.tool("git", &["-C", to, "log", "--format=%H"])
    }

    fn waits_for(&self, name: &str, what: &str) -> Value {
        let began = Instant::now();
        loop {
            let state = self.repository(&["mirror", "show", name]);
            let due = state["next_at"].as_i64().is_some_and(|at| at <= allmende::clock::Clock::system().now().0);
            if state["state"] == what && !due {
                return state;
            }
            assert!(began.elapsed() < Duration::from_secs(90), "{state}\n{}", self.hub.words());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn write(dir: &Path, bytes: &[u8]) -> String {
    let path = dir.join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn a_bundle_goes_where_no_network_is() {
    let (a, b) = (Side::start("ada", &[]), Side::start("bea", &[]));
    let bytes = noise(9_000_000, 21);
    let path = write(a.dir.path(), &bytes);
    a.tool("hf", &["upload", "ada/model", &path, "model.safetensors", "--private"]);
    let bundle = a.dir.path().join("m.bundle").display().to_string();
    let made = a.repository(&["export", "ada/model", "--output", &bundle]);
    let signer = made["signer"].as_str().unwrap().to_owned();
    let (fine, text) = a.run(&["repository", "inspect", &bundle, "--signer", &signer]);
    assert!(fine, "{text}");
    let wrong = b.run(&[
        "repository",
        "inspect",
        &bundle,
        "--signer",
        &format!("ed25519:{}", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
    ]);
    assert!(!wrong.0 && wrong.1.contains("bundle.other-signer"), "{}", wrong.1);
    let taken = b.repository(&["import", &bundle, "--as", "bea/copy", "--signer", &signer]);
    assert_eq!(taken["created"], true, "{taken}");
    assert!(b.downloads("bea/copy", "model.safetensors") == bytes);
    assert_eq!(b.cloned("bea", "bea/copy"), a.cloned("ada", "ada/model"));
    let again = b.repository(&["import", &bundle, "--as", "bea/copy", "--signer", &signer]);
    assert_eq!((&again["created"], &again["refs_moved"]), (&Value::Bool(false), &Value::from(0)), "{again}");
    // Nothing is written over, and nothing is left of what is refused.
    let (url, token) = (a.hub.url(), a.token_file().display().to_string());
    let args = ["repository", "export", "ada/model", "--hub", &url, "--token-file", &token, "--output", &bundle];
    assert!(!a.run(&args).0);
    let none = a.dir.path().join("none.bundle").display().to_string();
    let (fine, text) =
        a.run(&["repository", "export", "ada/none", "--hub", &url, "--token-file", &token, "--output", &none]);
    assert!(!fine && !Path::new(&none).exists() && !Path::new(&format!("{none}.part")).exists(), "{text}");
}

#[test]
fn a_mirror_goes_on_after_kill_9() {
    let a = Side::start("ada", &[]);
    let mut b = Side::start("bea", &["--outbound-networks", "127.0.0.0/8"]);
    // Two xorbs: one comes, and then the hub dies.
    let bytes = noise(80_000_000, 22);
    let path = write(a.dir.path(), &bytes);
    a.tool("hf", &["upload", "ada/model", &path, "model.safetensors", "--private"]);
    b.hub.kill();
    assert!(b.hub.start(Some("mirror.after_xorb:1")));
    let source_token = a.token_file().display().to_string();
    let url = a.hub.url();
    let add = ["mirror", "add", &url, "ada/model", "--as", "bea/copy", "--source-token-file", &source_token];
    b.repository(&add);
    let ended = b.hub.process().wait().expect("the hub dies on its way");
    assert!(!ended.success(), "{}", b.hub.words());
    assert!(b.hub.start(None));
    let state = b.waits_for("bea/copy", "current");
    let fetched = state["fetched_bytes"].as_u64().unwrap();
    eprintln!("after kill -9 within 80 MB: {fetched} bytes came the second time");
    assert!(fetched < 70_000_000, "the first xorb is not fetched again: {state}");
    assert!(b.downloads("bea/copy", "model.safetensors") == bytes);
    assert_eq!(b.cloned("bea", "bea/copy"), a.cloned("ada", "ada/model"));
    // Killed between the objects and the refs, and after the refs: the last good state, and then the next.
    for fault in ["push.before_refs", "push.after_refs"] {
        let mut more = noise(1_000, 30);
        more.extend(fault.as_bytes());
        let path = write(a.dir.path(), &more);
        a.tool("hf", &["upload", "ada/model", &path, &format!("{fault}.txt")]);
        b.hub.kill();
        assert!(b.hub.start(Some(fault)));
        b.repository(&["mirror", "sync", "bea/copy"]);
        assert!(!b.hub.process().wait().expect("dies").success(), "{fault}");
        assert!(b.hub.start(None));
        b.waits_for("bea/copy", "current");
        assert!(b.downloads("bea/copy", &format!("{fault}.txt")) == more, "{fault}");
    }
    let listed = b.repository(&["mirror", "list"]);
    assert_eq!(listed[0]["repository"], "models/bea/copy");
    b.repository(&["mirror", "remove", "bea/copy"]);
    b.tool("hf", &["upload", "bea/copy", &path, "own.safetensors"]);
}
