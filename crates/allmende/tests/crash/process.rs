//! The program as a process of its own.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a process to begin, to die or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed when it is dropped.
pub struct Process(pub Child);

impl Process {
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks it to end, and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(asked.success());
        self.wait().expect("ends when asked")
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self) -> Option<ExitStatus> {
        self.wait_at_most(PATIENCE)
    }

    pub fn wait_at_most(&mut self, time: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < time {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program with `args`, without the caller's own settings, its words appended to `log`.
pub fn program(args: &[&str], log: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_allmende"));
    quiet(&mut command, log);
    command.args(args);
    command
}

fn quiet(command: &mut Command, log: &Path) {
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("ALLMENDE_")) {
        command.env_remove(name);
    }
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
}

/// A hub that is started again and again in the same place.
pub struct HubProcess {
    pub dir: PathBuf,
    pub address: SocketAddr,
    pub log: PathBuf,
    /// Further flags of `serve`.
    pub settings: Vec<String>,
    /// Whether it leads a group of processes of its own, to which those belong that it starts.
    group: bool,
    /// Megabytes of a file system of its own for the data, if it has one.
    disk_mb: Option<u32>,
    process: Option<Process>,
}

impl HubProcess {
    pub fn new(dir: &Path) -> Self {
        // Free until somebody else takes it; the kernel hands the ports out in turn.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self {
            dir: dir.join("hub"),
            address,
            log: dir.join("hub.log"),
            settings: Vec::new(),
            group: false,
            disk_mb: None,
            process: None,
        }
    }

    /// With further settings, as flags of `serve`.
    pub fn with(mut self, settings: &[&str]) -> Self {
        self.settings.extend(settings.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// With a group of processes of its own.
    pub fn in_a_group(self) -> Self {
        Self { group: true, ..self }
    }

    /// A hub whose data lies on a small disk that only it sees.
    pub fn on_a_small_disk(dir: &Path, megabytes: u32) -> Self {
        let hub = Self { disk_mb: Some(megabytes), ..Self::new(dir) };
        std::fs::create_dir_all(&hub.dir).unwrap();
        hub
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn command(&self, fault: Option<&str>) -> Command {
        let (dir, listen) = (self.dir.display().to_string(), self.address.to_string());
        let mut args = vec!["serve", "--name", "hub.test", "--data-dir", &dir, "--listen", &listen];
        args.extend(["--max-part-bytes", "256"]);
        args.extend(self.settings.iter().map(String::as_str));
        let mut command = match self.disk_mb {
            None => program(&args, &self.log),
            Some(megabytes) => {
                // A name space of its own, so that any user may mount and the mount ends with the process.
                let program = env!("CARGO_BIN_EXE_allmende");
                let script = format!("mount -t tmpfs -o size={megabytes}m tmpfs {dir} && exec {program} \"$@\"");
                let mut command = Command::new("unshare");
                quiet(&mut command, &self.log);
                command.args(["-Urm", "sh", "-c", &script, "sh"]).args(&args);
                command
            }
        };
        if let Some(fault) = fault {
            command.env("ALLMENDE_FAULT", fault);
        }
        if self.group {
            command.process_group(0);
        }
        command
    }

    /// Starts it, and waits until it listens or has died.
    pub fn start(&mut self, fault: Option<&str>) -> bool {
        let mut process = Process(self.command(fault).spawn().unwrap());
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if process.0.try_wait().unwrap().is_some() {
                assert!(fault.is_some(), "the hub does not start: see\n{}", self.words());
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "the hub does not listen:\n{}", self.words());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
        true
    }

    /// Starts it where it must not start, and gives what it said.
    pub fn refused(&self) -> String {
        let mut process = Process(self.command(None).spawn().unwrap());
        assert!(!process.wait().expect("ends by itself").success());
        self.words()
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("started")
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Kills it and whatever works for it at the same instant, as a machine that loses its power does.
    pub fn kill_group(&mut self) {
        assert!(self.group, "it shares its group with the test");
        let group = format!("-{}", self.pid());
        assert!(Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
        self.kill();
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("started").0.id()
    }

    /// What it said last.
    pub fn words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Ends a hub that was opened in the test's own process, so that one of its own may have its folder.
pub async fn shut(app: allmende::app::App) {
    app.closing.cancel();
    app.tasks.close();
    app.tasks.wait().await;
    app.db.close().await;
}
