//! `kill -9` of a hub and of nodes at random instants. `ALLMENDE_KILLS` says how many of each, `ALLMENDE_SEED` repeats one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::process::HubProcess;
use super::world::{World, keep_busy};

/// The number that the environment gives for this.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// xorshift64: good enough to pick instants.
pub struct Chance(u64);

/// With the seed of the environment, or one that it says.
pub fn chance() -> Chance {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let seed = number("ALLMENDE_SEED").unwrap_or(u64::from_le_bytes(random) | 1);
    eprintln!("ALLMENDE_SEED={seed}");
    Chance(seed)
}

impl Chance {
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_and_nodes_that_are_killed_at_random_lose_nothing() {
    let kills = number("ALLMENDE_KILLS").unwrap_or(6);
    let mut chance = chance();
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path());
    hub.start(None);
    let mut world = World::found(dir, hub, 3, 3).await;
    world.start_nodes();
    let mut hub = std::mem::replace(&mut world.hub, HubProcess::new(world.dir.path()));
    world.hub.log.clone_from(&hub.log);
    let mut nodes: Vec<_> = world.members.iter_mut().map(|m| m.node.take()).collect();
    let stop = AtomicBool::new(false);
    let killing = async {
        for _ in 0..kills {
            tokio::time::sleep(Duration::from_millis(200 + chance.below(1_500))).await;
            hub.kill();
            hub.start(None);
            tokio::time::sleep(Duration::from_millis(chance.below(1_200))).await;
            let i = chance.below(nodes.len() as u64) as usize;
            nodes[i] = None;
            let member = &world.members[i];
            let log = world.dir.path().join(format!("{}-node.log", member.id));
            let home = member.home.dir().display().to_string();
            let node = super::process::program(&["--home", &home, "node", "run"], &log).spawn().unwrap();
            nodes[i] = Some(super::process::Process(node));
        }
        stop.store(true, Ordering::Relaxed);
    };
    let ((), (acknowledged, runs)) = tokio::join!(killing, keep_busy(&world, &stop));
    drop(nodes);
    world.hub = hub;
    let report = world.judge(&acknowledged);
    eprintln!(
        "{kills} hubs and {kills} nodes killed, {} runs finished, {} entries, {} acknowledged statements found again",
        runs.len(),
        report.entries,
        acknowledged.len()
    );
}
