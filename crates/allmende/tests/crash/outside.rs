//! A witness outside, as a process of its own beside a hub and nodes: it stands in for a node that is gone, dies again and
//! again, and does not follow a hub that forks.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allmende::agent::settings::{OutsideWitness, Settings};
use allmende::client::submit::RemoteLog;
use allmende_core::collaboration::decision::Subject;
use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::ledger::verifier::{Role, VerifierKey};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::state::runs::Status;
use allmende_core::statement::DecisionOpened;
use serde_json::Value;

use super::process::{HubProcess, Process, program};
use super::world::{World, client, collaboration, hub_name};

const PATIENCE: Duration = Duration::from_secs(60);
const ORIGIN: &str = "hub.test/digits";

/// A witness that is started again and again in the same place.
struct Outside {
    dir: PathBuf,
    address: SocketAddr,
    log: PathBuf,
    key: VerifierKey,
    /// Of its certificate, when it listens beyond this machine.
    pin: Option<String>,
    process: Option<Process>,
}

impl Outside {
    fn new(dir: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (folder, log) = (dir.join("witness"), dir.join("witness.log"));
        let shown = json(&["witness", "key", "--name", "witness.test/w1", "--data-dir", folder.to_str().unwrap()]).1;
        let key = shown["verifier_key"].as_str().unwrap().parse().unwrap();
        Self { dir: folder, address, log, key, pin: None, process: None }
    }

    /// One that speaks TLS, by a certificate that it makes at its first start.
    fn with_tls(dir: &Path) -> Self {
        let mut outside = Self::new(dir);
        outside.address.set_ip([0, 0, 0, 0].into());
        outside.start(SecretKey::from_seed(&[0; 32]).public(), None);
        outside.process = None;
        let said = std::fs::read_to_string(&outside.log).unwrap();
        let serving = serde_json::Deserializer::from_str(&said).into_iter::<Value>().next().unwrap().unwrap();
        outside.pin = Some(serving["tls_pin"].as_str().unwrap().to_owned());
        outside
    }

    /// Lets the hub ask it, from the hub's next start on.
    fn asked_by(&self, hub: &mut HubProcess) {
        let setting = match &self.pin {
            None => format!("{} http://{}", self.key, self.address),
            Some(pin) => format!("{} https://127.0.0.1:{} {pin}", self.key, self.address.port()),
        };
        hub.settings = ["--witnesses", &setting, "--witness-refresh-s", "1"].map(str::to_owned).to_vec();
    }

    /// Starts it to watch both logs of the hub; with a fault it dies there.
    fn start(&mut self, hub_key: PublicKey, fault: Option<&str>) {
        let watched =
            |origin: &str| VerifierKey { name: origin.parse().unwrap(), key: hub_key, role: Role::Log }.to_string();
        let (listen, dir) = (self.address.to_string(), self.dir.display().to_string());
        let logs = [watched(ORIGIN), watched("hub.test/hub")];
        let args =
            ["--json", "witness", "run", "--listen", &listen, "--data-dir", &dir, "--log", &logs[0], "--log", &logs[1]];
        let mut command = program(&args, &self.log);
        if let Some(fault) = fault {
            command.env("ALLMENDE_FAULT", fault);
        }
        let mut process = Process(command.spawn().unwrap());
        let began = Instant::now();
        while fault.is_none() && TcpStream::connect(self.address).is_err() {
            let words = std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(process.0.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE, "{words}");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
    }

    /// What it has cosigned of the collaboration's log: its size, and the size at which it saw a fork.
    fn seen(&self) -> (Option<i32>, u64, Option<u64>) {
        let (code, shown) = json(&["witness", "show", "--data-dir", self.dir.to_str().unwrap()]);
        let log = shown.as_array().and_then(|logs| logs.iter().find(|log| log["origin"] == ORIGIN));
        (code, log.map_or(0, |log| log["size"].as_u64().unwrap()), log.and_then(|log| log["forked_at"].as_u64()))
    }

    async fn reaches(&self, size: u64) {
        until(&format!("the witness has cosigned {size} entries"), || self.seen().1 >= size).await;
    }
}

/// Exit code and first JSON value of a command.
fn json(args: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_allmende")).arg("--json").args(args).output().unwrap();
    let mut values = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    (output.status.code(), values.next().and_then(Result::ok).unwrap_or_default())
}

async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_outside_stands_in_for_a_node_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hub, mut outside) = (HubProcess::new(dir.path()), Outside::new(dir.path()));
    outside.asked_by(&mut hub);
    hub.start(None);
    let mut world = World::found(dir, hub, 3, 2).await;
    // West's node never runs. The others' owners trust the witness; with f = 1, without it all three would be needed.
    let folder = world.dir.path().to_owned();
    for member in &mut world.members[..2] {
        let dir = member.home.node_dir();
        let mut settings = Settings::load(&dir).unwrap();
        settings.witness = vec![OutsideWitness { name: outside.key.name.clone(), key: outside.key.key }];
        settings.save(&dir).unwrap();
        member.start_node(&folder);
    }
    let mut plan = world.plan(8, 60_000);
    plan.slots.truncate(2);
    let run = world.propose("first", plan).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.members[0].state().await.run(&run).unwrap().answers.is_empty(), "two of three are no quorum");
    // It comes, and dies at each instant that matters: before and after a checkpoint is durable, and anywhere.
    let mut seen = 0;
    for fault in ["witness.before_write:3", "witness.after_write:3"] {
        outside.start(world.hub_key, Some(fault));
        until(fault, || outside.process.as_mut().unwrap().0.try_wait().unwrap().is_some()).await;
        let (_, size, forked) = outside.seen();
        assert!(size >= seen && forked.is_none(), "{size} after {seen}");
        seen = size;
    }
    outside.start(world.hub_key, None);
    until("it cosigned more", || outside.seen().1 > seen).await;
    outside.process = None;
    outside.start(world.hub_key, None);
    assert_eq!(world.ended(&run).await, Status::Finished);
    outside.reaches(world.members[0].state().await.size()).await;
    // The checkpoint that anybody reads carries its cosignature.
    let note = world.members[0].log.client().checkpoint(&collaboration()).await.unwrap();
    let note = SignedCheckpoint::parse(&note).unwrap();
    assert_eq!(note.cosignatures(&[(outside.key.name.clone(), outside.key.key)]).len(), 1, "{note}");
    world.members.truncate(2);
    world.judge(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_forks_is_refused_by_the_witness() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hub, mut outside) = (HubProcess::new(dir.path()), Outside::with_tls(dir.path()));
    outside.asked_by(&mut hub);
    hub.start(None);
    let mut world = World::found(dir, hub, 2, 2).await;
    outside.start(world.hub_key, None);
    let size = world.members[0].state().await.size();
    outside.reaches(size).await;
    // The hub's whole folder, as it is now: the operator can go on from here twice.
    world.hub.process().stop();
    let (here, copy) = (world.hub.dir.clone(), world.dir.path().join("copy"));
    assert!(Command::new("cp").arg("-a").arg(&here).arg(&copy).status().unwrap().success());
    world.hub.start(None);
    let admit = |party: &str| DecisionOpened {
        decision: party.parse().unwrap(),
        subject: Subject::Admit { party: party.parse().unwrap() },
    };
    world.members[0].say(admit("guest-a"), None).await;
    outside.reaches(size + 1).await;
    world.hub.process().stop();
    std::fs::rename(&here, world.dir.path().join("honest")).unwrap();
    std::fs::rename(&copy, &here).unwrap();
    world.hub.start(None);
    // Somebody who saw nothing of this speaks to the other history.
    let newcomer = client(&world.hub.url(), world.hub_key).signed_in_as(world.members[1].governance.clone());
    let log = RemoteLog::in_memory(Arc::new(newcomer), &hub_name(), &collaboration()).unwrap();
    log.catch_up().await.unwrap();
    assert_eq!(log.mirror().entries(), size);
    log.submit(&world.members[1].governance, admit("guest-b"), None).await.unwrap();
    until("the fork is refused", || world.hub.words().contains("another root was cosigned")).await;
    assert_eq!(outside.seen(), (Some(4), size + 1, Some(size + 1)));
    log.submit(&world.members[1].governance, admit("guest-c"), None).await.unwrap();
    until("and so is what follows it", || world.hub.words().contains("does not show that this extends")).await;
    assert_eq!(outside.seen(), (Some(4), size + 1, Some(size + 1)));
}
