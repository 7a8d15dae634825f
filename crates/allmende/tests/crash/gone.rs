//! A node that never comes back.

use allmende_core::state::runs::Status;
use allmende_core::statement::FailureCode;

use super::process::HubProcess;
use super::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node_a_round_closes_at_its_deadline_and_below_the_minimum_the_run_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path());
    hub.start(None);
    let mut world = World::found(dir, hub, 4, 3).await;
    world.start_nodes();
    let run = world.propose("with-three", world.plan(3, 3_000)).await;
    // All four began; then one is gone for good.
    loop {
        let state = world.members[0].state().await;
        let found = state.run(&run).unwrap();
        if found.status == Status::Started {
            break;
        }
        assert!(!found.status.is_over(), "{:?}", found.status);
    }
    world.members[3].kill_node();
    assert_eq!(world.ended(&run).await, Status::Finished);
    let state = world.members[0].state().await;
    let found = state.run(&run).unwrap();
    let counted: Vec<_> = found.tracks[0].closed.iter().map(Vec::len).collect();
    assert_eq!(counted.last(), Some(&3), "{counted:?}");
    // Two are fewer than the minimum.
    world.members[2].kill_node();
    let run = world.propose("with-two", world.plan(3, 3_000)).await;
    let ended = world.ended(&run).await;
    assert!(
        matches!(ended, Status::Failed(FailureCode::NoAnswer | FailureCode::MinimumNotMet)),
        "the run stops with a reason: {ended:?}"
    );
    let report = world.judge(&[]);
    eprintln!("counted {counted:?}, then {ended:?}; {} entries", report.entries);
}
