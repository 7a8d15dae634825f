//! Two processes of one hub: one PostgreSQL database, one folder of bytes, one key, a data folder for each.

use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use allmende::api::SyncRequest;
use allmende::client::home::HubPin;
use allmende::client::http::Signer;
use allmende::client::submit::RemoteLog;
use allmende_core::signature::PublicKey;
use allmende_core::state::runs::Status;
use allmende_core::statement::KeyClass;

use super::process::{HubProcess, program};
use super::world::{Member, World, client, collaboration, hub_name};
use crate::limits::talk;

/// Longest that news takes from one process to who waits at the other.
const NEWS: Duration = Duration::from_secs(5);
/// Statements that each of two members makes at the same time.
const STATEMENTS: u32 = 40;

fn way(url: &str, hub_key: PublicKey, member: &Member) -> RemoteLog {
    let client = client(url, hub_key).attempts(2).signed_in_as(member.governance.clone());
    RemoteLog::in_memory(Arc::new(client), &hub_name(), &collaboration()).unwrap()
}

/// The second process: it starts with the first one's key only.
fn second(dir: &std::path::Path, one: &HubProcess, settings: &[&str]) -> HubProcess {
    std::fs::create_dir_all(dir).unwrap();
    let mut two = HubProcess::new(dir).with(settings);
    let said = two.refused();
    assert!(said.contains("its key is not in"), "{said}");
    let key = two.dir.join("hub.key");
    assert!(!key.exists(), "no key is made where one is missing");
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&key).unwrap();
    std::io::Write::write_all(&mut file, "07".repeat(32).as_bytes()).unwrap();
    let said = two.refused();
    assert!(said.contains("were signed with"), "{said}");
    std::fs::copy(one.dir.join("hub.key"), &key).unwrap();
    two.start(None);
    two
}

/// What one process takes, the other shows at once, and whoever waits there hears of it.
async fn news_travels(world: &World, two: &HubProcess, one_way: &RemoteLog, other_way: &RemoteLog) {
    let member = &world.members[0];
    for n in 0..6 {
        let (way, shown) = if n % 2 == 0 { (one_way, other_way) } else { (other_way, one_way) };
        let (index, digest) = member.say_through(&[way], talk(n), None).await;
        shown.catch_up().await.unwrap();
        assert_eq!(shown.mirror().payload(index), Some(digest), "read where it was not written");
    }
    let key = Arc::new(member.home.node_key().unwrap());
    let node = key.public();
    let signer = Signer { party: member.id.clone(), class: KeyClass::Node, key };
    let client = client(&two.url(), world.hub_key).signed_in_as(signer);
    let (id, size) = ("digits".parse().unwrap(), other_way.mirror().entries());
    let request = |seen| SyncRequest { node, size, cosignature: None, seen, wait_s: 20 };
    let seen = client.sync(&id, &request(1)).await.unwrap().seen;
    let said = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        member.say_through(&[one_way], talk(99), None).await;
        Instant::now()
    };
    let request = request(seen);
    let (said, heard) = tokio::join!(said, async {
        let answer = client.sync(&id, &request).await.unwrap();
        assert!(!answer.records.is_empty(), "it did not only end");
        Instant::now()
    });
    let took = heard.saturating_duration_since(said);
    assert!(took < NEWS, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_keep_one_log_and_one_may_die() {
    let url = crate::stores::postgres::fresh_database().await;
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::create_dir(&here).unwrap();
    let blobs = there.join("hub/blobs").display().to_string();
    let settings = ["--database-url", &url, "--blob-store", &blobs];
    let mut one = HubProcess::new(&here).with(&settings);
    one.start(None);
    // The collaboration is founded after the other process has begun: it must hear of it.
    let two = second(&there, &one, &settings);
    let mut world = World::found(dir, one, 3, 3).await;
    let ways = |url: &str| world.members.iter().map(|m| way(url, world.hub_key, m)).collect::<Vec<_>>();
    let (first, other) = (ways(&world.hub.url()), ways(&two.url()));
    news_travels(&world, &two, &first[0], &other[0]).await;

    let pin = HubPin { url: two.url(), key: world.hub_key, name: hub_name(), tls_pin: None };
    for member in &mut world.members {
        member.home.pin_hub(pin.clone()).unwrap();
    }
    world.start_nodes();
    // Proposed at the one, worked on at the other.
    let run = world.propose("both", world.plan(6, 60_000)).await;
    let mut one = std::mem::replace(&mut world.hub, two);
    let (north, east) = (&world.members[0], &world.members[1]);
    let so_far = AtomicU32::new(0);
    let norths = async {
        let mut acknowledged = Vec::new();
        for n in 0..STATEMENTS {
            acknowledged.push(north.say_through(&[&first[0], &other[0]], talk(200 + n), None).await);
            so_far.store(n, Ordering::Relaxed);
        }
        acknowledged
    };
    let easts = async {
        let mut acknowledged = Vec::new();
        for n in 0..STATEMENTS {
            acknowledged.push(east.say_through(&[&other[1]], talk(300 + n), None).await);
        }
        acknowledged
    };
    let death = async {
        while so_far.load(Ordering::Relaxed) < STATEMENTS / 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        one.kill();
    };
    let (mut acknowledged, more, ()) = tokio::join!(norths, easts, death);
    acknowledged.extend(more);
    for (member, log) in world.members.iter_mut().zip(other) {
        member.log = log;
    }
    assert_eq!(world.ended(&run).await, Status::Finished);

    // The dead one comes back and shows the same.
    one.start(None);
    let size = world.members[0].state().await.size();
    first[0].catch_up().await.unwrap();
    assert!(first[0].mirror().entries() >= size);
    assert!(one.process().stop().success());
    let report = world.judge(&acknowledged);
    for hub in [&one, &world.hub] {
        let folder = hub.dir.join("export/digits").display().to_string();
        let mut command = program(&["ledger", "verify", &folder], &world.dir.path().join("verify.log"));
        let said = || std::fs::read_to_string(world.dir.path().join("verify.log"));
        assert!(command.status().unwrap().success(), "{:?}", said());
    }
    eprintln!("{} entries, {} acknowledged statements found again", report.entries, acknowledged.len());
}
