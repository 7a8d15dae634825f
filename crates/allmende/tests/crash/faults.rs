//! Every fault point that a hub at work passes, one after the other, in one collaboration that goes on all the time.

use std::sync::atomic::{AtomicBool, Ordering};

use allmende::faults::POINTS;

use super::process::HubProcess;
use super::world::{World, keep_busy};

/// The how-many-th time at which the hub dies: past its start, where it is the start that dies otherwise.
fn nth(point: &str) -> u32 {
    match point.split_once('.') {
        Some(("db", _)) => 11,
        Some(("append" | "blob" | "upload", _)) => 3,
        _ => 2,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_dies_at_any_durable_write_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path());
    let (at_start, at_work): (Vec<&str>, Vec<&str>) = POINTS
        .iter()
        .copied()
        .filter(|point| !point.starts_with("witness."))
        .partition(|point| point.starts_with("key."));
    for point in at_start {
        assert!(!hub.start(Some(point)), "{point} is passed before the hub listens");
    }
    hub.start(None);
    let mut world = World::found(dir, hub, 3, 3).await;
    world.start_nodes();
    let mut hub = std::mem::replace(&mut world.hub, HubProcess::new(world.dir.path()));
    world.hub.log.clone_from(&hub.log);
    let stop = AtomicBool::new(false);
    let mut deaths = 0;
    let crashes = async {
        for point in &at_work {
            hub.kill();
            let armed = hub.start(Some(&format!("{point}:{}", nth(point))));
            if armed {
                let began = std::time::Instant::now();
                while hub.process().0.try_wait().unwrap().is_none() {
                    assert!(began.elapsed().as_secs() < 60, "{point} is never passed:\n{}", hub.words());
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
            deaths += 1;
        }
        hub.kill();
        hub.start(None);
        stop.store(true, Ordering::Relaxed);
    };
    let ((), (acknowledged, runs)) = tokio::join!(crashes, keep_busy(&world, &stop));
    world.hub = hub;
    let report = world.judge(&acknowledged);
    eprintln!(
        "{deaths} fault points, {} runs finished, {} entries, {} acknowledged statements found again",
        runs.len(),
        report.entries,
        acknowledged.len()
    );
    assert_eq!(deaths, at_work.len());
}
