//! Git and git-lfs as their users run them, against a hub on a real socket.

mod crashed;
mod hostile;
mod large;
mod ordinary;
mod restored;
mod room;
mod strangers;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use allmende::account::token::{TokenInfo, issue};
use allmende::account::{Account, AccountError, Kind as AccountKind, Principal, Rights, store};
use allmende::app::App;
use allmende::repo::ops::{self, Wanted};
use allmende::repo::{Kind, Repo, Settings};
use allmende::transaction;
use tokio::process::Command;

use crate::http::Hub;

/// Somebody with a token.
#[derive(Clone)]
pub struct Someone {
    pub principal: Principal,
    pub secret: String,
}

impl Someone {
    pub async fn new(app: &App, name: &str, rights: Rights) -> Self {
        let now = app.clock.now();
        let name = name.parse().unwrap();
        let account: Result<Account, AccountError> = transaction!(app.db, tx => {
            store::create(tx, AccountKind::User, &name, "Some One", None, true, now).await
        });
        Self::with_token(app, account.unwrap(), "1", rights).await
    }

    /// The same account with another token.
    pub async fn with_token(app: &App, account: Account, number: &str, rights: Rights) -> Self {
        let now = app.clock.now();
        let secret = format!("hf_{}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{number}", account.name);
        let id: Result<String, AccountError> =
            transaction!(app.db, tx => { issue(tx, &account, &secret, "", &rights, None, now).await });
        let token = TokenInfo { id: id.unwrap(), label: String::new(), rights, created_at: now, expires_at: None };
        Self { principal: Principal { account, memberships: Vec::new(), token }, secret }
    }

    pub fn name(&self) -> &str {
        self.principal.account.name.as_str()
    }

    pub async fn creates(&self, app: &App, kind: Kind, name: &str, private: bool) -> Repo {
        let (owner, name) = (self.principal.account.clone(), name.parse().unwrap());
        let wanted = Wanted { kind, owner, name, private: Some(private), settings: Settings::default() };
        ops::create(app, &self.principal, wanted).await.unwrap()
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn fine(self) -> String {
        assert!(self.ok, "it failed:\n{}\n{}", self.out, self.err);
        self.out.trim_end().to_owned()
    }

    /// It failed, and said this.
    #[track_caller]
    pub fn refused(self, because: &str) {
        assert!(!self.ok, "it did not fail:\n{}\n{}", self.out, self.err);
        assert!(self.err.contains(because), "it does not say '{because}':\n{}", self.err);
    }
}

/// A machine with git: nothing of the machine that runs the test is seen.
pub struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = "[user]\n\tname = Some One\n\temail = some@example.org\n[advice]\n\tdetachedHead = false\n";
        std::fs::write(dir.path().join(".gitconfig"), config).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(dir)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs git in the folder `place` of this machine.
    pub async fn git(&self, place: &str, args: &[&str]) -> Said {
        self.fed(place, args, b"").await
    }

    /// The same with something to read.
    pub async fn fed(&self, place: &str, args: &[&str], input: &[u8]) -> Said {
        use tokio::io::AsyncWriteExt as _;
        let mut command = self.command("git", &self.path(place));
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let write = async {
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let ((), done) = tokio::join!(write, child.wait_with_output());
        let done = done.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { ok: done.status.success(), out: text(&done.stdout), err: text(&done.stderr) }
    }

    /// Writes a file and commits it.
    pub async fn commits(&self, place: &str, name: &str, bytes: &[u8]) {
        let path = self.path(place).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self.git(place, &["add", "--all"]).await.fine();
        self.git(place, &["commit", "--quiet", "-m", name]).await.fine();
    }

    /// Clones `url` into `place`.
    pub async fn clones(&self, url: &str, place: &str) -> Said {
        self.git("", &["clone", "--quiet", url, place]).await
    }
}

/// The address of a repository with a user and a token in it.
pub fn address(hub: &Hub, who: &Someone, path: &str) -> String {
    hub.url.replace("://", &format!("://{}:{}@", who.name(), who.secret)) + "/" + path
}

/// Bytes that do not shrink, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}
