//! A hub whose disk is full.

use std::time::Duration;

use allmende::client::submit::SubmitError;
use allmende_core::collaboration::decision::Subject;
use allmende_core::id::PartyId;
use allmende_core::statement::DecisionOpened;
use bytes::Bytes;

use super::process::HubProcess;
use super::world::World;

fn talk(n: u32) -> DecisionOpened {
    let party: PartyId = format!("guest-{n}").parse().unwrap();
    DecisionOpened { decision: format!("talk-{n}").parse().unwrap(), subject: Subject::Admit { party } }
}

/// Takes all space that is left, and gives it back when dropped.
struct Filler(std::path::PathBuf);

impl Filler {
    fn fill(path: std::path::PathBuf) -> Self {
        use std::io::Write as _;
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::on_a_small_disk(dir.path(), 24);
    hub.start(None);
    let mut world = World::found(dir, hub, 3, 3).await;
    let member = &world.members[0];
    let client = member.log.client();
    let id = "digits".parse().unwrap();
    let asset = "north/open".parse().unwrap();
    let mut acknowledged = vec![member.say(talk(0), None).await];
    // The disk as the hub sees it.
    let inside = std::path::PathBuf::from(format!("/proc/{}/root{}", world.hub.pid(), world.hub.dir.display()));
    let filler = Filler::fill(inside.join("filler"));
    let bytes = Bytes::from(vec![5; 1 << 20]);
    let refused = client.put_asset(&id, &asset, bytes.clone()).await.unwrap_err();
    assert_eq!(refused.code(), "storage_full", "{refused}");
    let mut n = 1;
    let refused = loop {
        // A statement may still find room in the write-ahead log; then it is acknowledged and has to stay.
        match member.log.submit(&member.governance, talk(n), None).await {
            Ok(placed) => acknowledged.push((placed.index, placed.digest)),
            Err(error) => break error,
        }
        n += 1;
        assert!(n < 2_000, "the disk is full and everything is taken");
    };
    assert!(matches!(&refused, SubmitError::Client(e) if e.code() == "storage_full"), "{refused}");
    // It still answers.
    member.state().await;
    drop(filler);
    tokio::time::sleep(Duration::from_millis(100)).await;
    acknowledged.push(member.say(talk(n), None).await);
    client.put_asset(&id, &asset, bytes).await.unwrap();
    // Every acknowledged statement is in the log, and the one that was refused stands in it once.
    let state = member.state().await;
    assert_eq!(state.decisions().len() as u32, n + 1);
    let mirror = member.log.mirror();
    for (index, digest) in &acknowledged {
        assert_eq!(mirror.payload(*index), Some(*digest));
    }
    drop(mirror);
    assert!(world.hub.process().stop().success());
}
