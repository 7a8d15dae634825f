//! A hub that comes back from a backup older than what its members have seen.

use std::process::Output;
use std::time::{Duration, Instant};

use allmende_core::collaboration::decision::Subject;
use allmende_core::id::PartyId;
use allmende_core::state::runs::Status;
use allmende_core::statement::DecisionOpened;

use super::process::{HubProcess, program};
use super::world::World;

fn talk(n: u32) -> DecisionOpened {
    let party: PartyId = format!("guest-{n}").parse().unwrap();
    DecisionOpened { decision: format!("talk-{n}").parse().unwrap(), subject: Subject::Admit { party } }
}

fn run(args: &[&str], world: &World) -> Output {
    let pass = world.dir.path().join("pass");
    std::fs::write(&pass, "long enough\n").unwrap();
    let pass = pass.display().to_string();
    let mut all = vec!["--json", "--passphrase-file", &pass];
    all.extend(args);
    let mut command = program(&all, &world.dir.path().join("commands.log"));
    command.stdout(std::process::Stdio::piped()).output().unwrap()
}

fn done(args: &[&str], world: &World) -> serde_json::Value {
    let output = run(args, world);
    let words = std::fs::read_to_string(world.dir.path().join("commands.log")).unwrap_or_default();
    assert!(output.status.success(), "{args:?}: {words}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_hub_learns_from_its_witnesses_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path());
    hub.start(None);
    let mut world = World::found(dir, hub, 3, 3).await;
    world.start_nodes();
    let first = world.propose("before", world.plan(2, 60_000)).await;
    assert_eq!(world.ended(&first).await, Status::Finished);

    let data_dir = world.hub.dir.display().to_string();
    let archive = world.dir.path().join("hub.allmende").display().to_string();
    let settings = ["--name", "hub.test", "--data-dir", &data_dir];
    let made = done(&[&["backup", &archive], &settings[..]].concat(), &world);
    assert_eq!((made["logs"].as_u64(), made["missing"].as_array().map(Vec::len)), (Some(2), Some(0)), "{made}");
    // What follows is in no backup, but the nodes see it.
    let mut acknowledged = Vec::new();
    for n in 0..3 {
        acknowledged.push(world.members[1].say(talk(n), None).await);
    }
    let size = world.members[1].state().await.size();
    let mirror = world.members[2].home.node_dir().join("mirror");
    let copied = || {
        let source = allmende::verify::DirSource::new(mirror.join("digits"));
        allmende::verify::checkpoint(&source).map_or(0, |c| c.checkpoint.size)
    };
    let began = Instant::now();
    while copied() < size {
        assert!(began.elapsed() < Duration::from_secs(30), "the node's copy has {} of {size} entries", copied());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.hub.kill();
    std::fs::rename(&world.hub.dir, world.dir.path().join("lost")).unwrap();
    std::fs::create_dir(&world.hub.dir).unwrap();
    let keyless = run(&[&["restore", &archive], &settings[..]].concat(), &world);
    assert_eq!(keyless.status.code(), Some(2), "the key is kept apart");
    std::fs::copy(world.dir.path().join("lost/hub.key"), world.hub.dir.join("hub.key")).unwrap();
    let restored = done(&[&["restore", &archive], &settings[..]].concat(), &world);
    assert_eq!(restored["waiting"], serde_json::json!(["digits", "hub"]), "{restored}");
    world.hub.start(None);

    // Closed, and says why; no node takes it for a rolled-back log.
    let member = &world.members[0];
    let began = Instant::now();
    loop {
        let refused = member.log.submit(&member.governance, talk(9), None).await.unwrap_err().to_string();
        if refused.contains(&format!("a node of east has {size} entries")) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{refused}");
    }
    let rebuilt =
        done(&[&["ledger", "rebuild", "--from", &mirror.display().to_string()], &settings[..]].concat(), &world);
    assert_eq!(rebuilt[0]["entries"].as_u64(), Some(size), "{rebuilt}");
    // It opens by itself when every node was heard, and work goes on.
    acknowledged.push(world.members[1].say(talk(9), None).await);
    let second = world.propose("after", world.plan(2, 60_000)).await;
    assert_eq!(world.ended(&second).await, Status::Finished);
    let report = world.judge(&acknowledged);
    assert!(report.entries > size);
}
