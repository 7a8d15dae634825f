//! The processes of the demonstration: a hub, nodes, and the commands that organizations run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Narrator, Options};
use crate::config::env_name;

/// How long a process may take to stop when asked.
const STOP: Duration = Duration::from_secs(10);
/// How long a hub or a node may take to begin.
const START: Duration = Duration::from_secs(30);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Failed {
    /// What was being done.
    pub step: String,
    /// How it failed.
    pub reason: String,
}

impl Failed {
    /// A failure of a step.
    pub fn new(step: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self { step: step.into(), reason: reason.to_string() }
    }
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its result: the JSON on standard output, or null.
    pub json: Value,
    /// What it said on standard error.
    pub said: String,
}

/// The stage.
pub struct Stage<'a> {
    /// Where everything lies.
    pub dir: PathBuf,
    /// Where the hub listens.
    pub url: String,
    /// The hub's key.
    pub hub_key: String,
    narrator: &'a dyn Narrator,
    program: PathBuf,
    database_url: Option<String>,
    processes: Vec<(String, Child)>,
    temporary: Option<tempfile::TempDir>,
}

impl<'a> Stage<'a> {
    /// Makes the folder and starts the hub.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn set(options: &Options, narrator: &'a dyn Narrator) -> Result<Self, Failed> {
        let (dir, temporary) = match &options.dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(|e| Failed::new(format!("make {}", dir.display()), e))?;
                (dir.clone(), None)
            }
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("allmende-demo-")
                    .tempdir()
                    .map_err(|e| Failed::new("make a temporary folder", e))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let mut stage = Self {
            dir,
            url: String::new(),
            hub_key: String::new(),
            narrator,
            program: options.program.clone(),
            database_url: options.database_url.clone(),
            processes: Vec::new(),
            temporary,
        };
        narrator.act("A hub opens");
        let listen = stage.start_hub("127.0.0.1:0").await?;
        stage.url = text(&listen, "/url")?;
        stage.hub_key = text(&listen, "/hub_key")?;
        narrator.tell(&format!("It listens at {} and signs with {}.", stage.url, short(&stage.hub_key)));
        Ok(stage)
    }

    /// The narrator.
    #[must_use]
    pub fn narrator(&self) -> &'a dyn Narrator {
        self.narrator
    }

    /// An organization's folder.
    #[must_use]
    pub fn home(&self, party: &str) -> PathBuf {
        self.dir.join(party)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        // Nothing of the caller's own settings may leak into the story.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ALLMENDE_") && name != "ALLMENDE_FAULT" {
                command.env_remove(name);
            }
        }
        command
    }

    /// Starts the hub on `listen` and gives what it says of itself.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn start_hub(&mut self, listen: &str) -> Result<Value, Failed> {
        let data_dir = self.dir.join("hub").display().to_string();
        let args = ["serve", "--data-dir", &data_dir, "--listen", listen, "--name", "demo.allmende.example", "--json"];
        self.narrator
            .command("hub", &format!("allmende serve --data-dir hub --listen {listen} --name demo.allmende.example"));
        let mut command = self.command(&args);
        command.stdout(Stdio::piped()).stderr(self.log_file("hub")?);
        if let Some(url) = &self.database_url {
            // Not among the arguments, which every user of the machine can list: it may hold a password.
            command.env(env_name("database_url"), url);
        }
        let mut child = command.spawn().map_err(|e| Failed::new("start the hub", e))?;
        let stdout = child.stdout.take().ok_or_else(|| Failed::new("start the hub", "no output"))?;
        self.processes.push(("hub".to_owned(), child));
        let mut lines = BufReader::new(stdout).lines();
        let mut said = String::new();
        let read = async {
            while let Ok(Some(line)) = lines.next_line().await {
                said.push_str(&line);
                if let Ok(value) = serde_json::from_str::<Value>(&said) {
                    return Some(value);
                }
            }
            None
        };
        let value = tokio::time::timeout(START, read).await.ok().flatten();
        value.ok_or_else(|| {
            let path = self.dir.join("hub.log");
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            Failed::new("start the hub", format!("{last} (see {})", path.display()))
        })
    }

    /// Starts an organization's node.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn start_node(&mut self, party: &str) -> Result<(), Failed> {
        let home = self.home(party).display().to_string();
        self.narrator.command(party, "allmende node run");
        let mut command = self.command(&["--home", &home, "node", "run"]);
        command.stdout(Stdio::null()).stderr(self.log_file(&format!("{party}-node"))?);
        let child = command.spawn().map_err(|e| Failed::new(format!("start {party}'s node"), e))?;
        self.processes.push((party.to_owned(), child));
        Ok(())
    }

    fn log_file(&self, name: &str) -> Result<Stdio, Failed> {
        let path = self.dir.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        Ok(file.map_err(|e| Failed::new(format!("open {}", path.display()), e))?.into())
    }

    /// Runs a command of `party` and shows it.
    ///
    /// # Errors
    /// [`Failed`] when it does not end with code 0.
    pub async fn run(&self, party: &str, args: &[&str]) -> Result<Value, Failed> {
        self.narrator.command(party, &shown(args));
        self.quietly(party, args).await
    }

    /// Runs a command of `party` without showing it.
    ///
    /// # Errors
    /// [`Failed`] when it does not end with code 0.
    pub async fn quietly(&self, party: &str, args: &[&str]) -> Result<Value, Failed> {
        let ran = self.attempt(party, args).await?;
        if ran.code == 0 {
            return Ok(ran.json);
        }
        Err(Failed::new(format!("{party}: {}", shown(args)), format!("exit code {}: {}", ran.code, ran.said.trim())))
    }

    /// Runs a command of `party`, whatever its exit code.
    ///
    /// # Errors
    /// [`Failed`] when it cannot be run at all.
    pub async fn attempt(&self, party: &str, args: &[&str]) -> Result<Ran, Failed> {
        let home = self.home(party).display().to_string();
        let mut all = vec!["--home", home.as_str(), "--json", "--quiet"];
        all.extend(args);
        let output = self.command(&all).output().await.map_err(|e| Failed::new(format!("run {}", shown(args)), e))?;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The process id of the hub or of an organization's node.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.processes.iter().rev().find(|(n, _)| n == name).and_then(|(_, child)| child.id())
    }

    /// Highest resident memory of a process so far, in bytes.
    #[must_use]
    pub fn peak_memory_bytes(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid(name)?)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Stops the hub or a node, gently or at once.
    pub async fn stop(&mut self, name: &str, at_once: bool) {
        let Some(i) = self.processes.iter().rposition(|(n, _)| n == name) else { return };
        let (_, mut child) = self.processes.remove(i);
        if !at_once && let Some(pid) = child.id() {
            let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
            if asked.is_ok_and(|s| s.success()) && tokio::time::timeout(STOP, child.wait()).await.is_ok() {
                return;
            }
        }
        // It may have ended by itself in the meantime.
        let _ = child.kill().await;
    }

    /// Stops everything and removes the temporary folder.
    pub async fn clear(&mut self) {
        while let Some((name, _)) = self.processes.last() {
            let name = name.clone();
            self.stop(&name, false).await;
        }
        self.temporary = None;
    }

    /// Lets everything go on after this program ends.
    pub fn leave_running(&mut self) {
        for (_, child) in self.processes.drain(..) {
            // Forgotten children are not killed on drop.
            std::mem::forget(child);
        }
        if let Some(temporary) = self.temporary.take() {
            let _ = temporary.keep();
        }
    }
}

/// The command as a person would type it.
fn shown(args: &[&str]) -> String {
    let quote = |arg: &&str| {
        let plain = !arg.is_empty() && arg.chars().all(|c| c.is_alphanumeric() || "-_./:,=%@+".contains(c));
        if plain { (*arg).to_owned() } else { format!("'{arg}'") }
    };
    let words: Vec<String> = args.iter().map(quote).collect();
    format!("allmende {}", words.join(" "))
}

/// A text at `pointer` of a command's answer.
///
/// # Errors
/// [`Failed`] when there is none.
pub fn text(value: &Value, pointer: &str) -> Result<String, Failed> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Failed::new("read an answer", format!("nothing at {pointer} of {value}")))
}

/// A key or digest, cut for people.
#[must_use]
pub fn short(text: &str) -> String {
    let (prefix, rest) = text.split_once(':').unwrap_or(("", text));
    let cut: String = rest.chars().take(12).collect();
    if prefix.is_empty() { cut } else { format!("{prefix}:{cut}…") }
}

/// A path below the stage's folder as text.
#[must_use]
pub fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}
