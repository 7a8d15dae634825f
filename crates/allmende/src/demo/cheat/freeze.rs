//! The quietest lie: nothing new. A member takes its data back, and the operator goes on showing the log as it was.

use std::sync::Arc;
use std::time::Duration;

use allmende_core::state::runs::Run;

use super::forge::broken;
use super::proxy::Lie;
use super::scene::{EAST, NORTH, Outcome, Scene, WEST, has_update, slot};
use crate::demo::Failed;

/// The run that is under way when north takes its data back.
pub const LONG: &str = "long-run";
/// The one after it.
const LONGER: &str = "longer-run";
const BY: &str = "operator";
/// By when a node must have stopped: the age of a cosignature, the clocks' difference, and some room.
const STOPPED_BY: Duration = Duration::from_secs(25);
/// How long nothing at all may leave then.
const SILENCE: Duration = Duration::from_secs(3);

/// Freezes the log for west alone.
pub async fn one(scene: &mut Scene<'_>) -> Result<(), Failed> {
    scene.act("A dishonest operator: standing still");
    for party in [NORTH, EAST, WEST] {
        scene.stage.run(party, &["run", "approve", LONG, "--yes"]).await?;
    }
    let data = format!("{NORTH}/{}", scene.script.dataset);
    let before = frozen(scene, LONG, &[WEST], &data).await?;
    let tried = stopped(scene, WEST, before[0], "node.no-fresh-quorum").await?;
    scene.note("frozen-for-one", "freeze the log for west before north takes its data back", BY, "west's node", tried);
    thaw(scene, LONG).await
}

/// Freezes it for all nodes alike, so that they go on to vouch for it to each other.
pub async fn all(scene: &mut Scene<'_>) -> Result<(), Failed> {
    let assets = format!("{NORTH}/spare,{EAST}/{0},{WEST}/{0}", scene.script.dataset);
    let more = ["--rounds", "400", "--measure", "none", "--evaluate-every", "0", "--asset", &assets];
    scene.propose(LONGER, &more, &[NORTH, EAST, WEST]).await?;
    let nodes = [NORTH, EAST, WEST];
    let before = frozen(scene, LONGER, &nodes, &format!("{NORTH}/spare")).await?;
    let own = stopped(scene, NORTH, before[0], "node.withheld").await?;
    let others = stopped(scene, WEST, before[2], "node.no-fresh-quorum").await?;
    let tried =
        Outcome { caught: own.caught && others.caught, how: format!("north: {} · west: {}", own.how, others.how) };
    scene.note("frozen-for-all", "freeze it for all nodes alike", BY, "north's and west's nodes", tried);
    thaw(scene, LONGER).await
}

/// Lets `run` go, stops the log for `victims` in the middle of a round, and takes north's `asset` back. Gives how many
/// alarms each victim had.
async fn frozen(scene: &Scene<'_>, run: &str, victims: &[&str], asset: &str) -> Result<Vec<usize>, Failed> {
    scene.run(run, "in round 3", |run| run.tracks.first().is_some_and(|track| track.round() >= 3)).await?;
    // West's update is held back: so the round stays open, and the log comes to rest.
    scene.door(WEST).tell(Some(Lie::Held));
    let only_west_is_missing = |run: &Run| {
        let has = |party| has_update(run, slot(run, party));
        has(NORTH) && has(EAST) && !has(WEST)
    };
    scene.run(run, "waiting for west", only_west_is_missing).await?;
    scene.quiet().await?;
    scene.run(run, "waiting for west", only_west_is_missing).await?;
    let (records, state) = scene.truth().await?;
    for victim in victims {
        scene.level(victim, state.size()).await?;
    }
    let before = victims.iter().map(|victim| Ok(scene.alarms(victim)?.len())).collect::<Result<_, Failed>>()?;
    let log = Arc::new(scene.operator.frozen(&state, &records)?);
    let asked: Vec<u64> = victims.iter().map(|victim| scene.door(victim).asked().1).collect();
    for victim in victims {
        scene.door(victim).tell(Some(Lie::Frozen(Arc::clone(&log))));
    }
    for (victim, asked) in victims.iter().zip(asked) {
        // A question that was under way is still answered with the truth.
        scene.asked_again(victim, asked).await?;
    }
    scene.stage.run(NORTH, &["asset", "revoke", asset, "--yes"]).await?;
    Ok(before)
}

/// The node must say that it stopped, and then send nothing at all, whatever it is offered.
async fn stopped(scene: &Scene<'_>, party: &str, before: usize, code: &str) -> Result<Outcome, Failed> {
    let event = scene.alarm(party, before, code, STOPPED_BY).await?;
    // What was on its way when it noticed.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (sent, asked) = (scene.door(party).sent(), scene.door(party).asked().1);
    tokio::time::sleep(SILENCE).await;
    let (sent, asked) = (scene.door(party).sent() - sent, scene.door(party).asked().1 - asked);
    let Some(event) = event else { return Ok(Outcome { caught: false, how: format!("no alarm; sent {sent} times") }) };
    let caught = event.code == code && sent == 0 && asked > 0;
    Ok(Outcome {
        caught,
        how: format!("alarm {}: {}; offered work {asked} times, it sent {sent} times", event.code, event.text),
    })
}

/// The truth again: everybody learns that the run is over.
async fn thaw(scene: &mut Scene<'_>, run: &str) -> Result<(), Failed> {
    for party in [NORTH, EAST, WEST] {
        scene.door(party).tell(None);
    }
    let state = scene.run(run, "over", |run| run.status.is_over()).await?;
    let slots = state.run(&run.parse().map_err(broken)?).map_err(broken)?.tracks[0].updates.len();
    if slots > 2 {
        return Err(Failed::new("look at the run", "west's update was taken after the data was taken back"));
    }
    for party in [NORTH, EAST, WEST] {
        if scene.is_halted(party) {
            scene.recover(party, false).await?;
        }
        scene.level(party, state.size()).await?;
    }
    Ok(())
}
