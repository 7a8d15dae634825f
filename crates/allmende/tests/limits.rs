//! Limits of a real hub: how full a log may get, how long a long poll waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use allmende::api::SyncRequest;
use allmende::client::http::Signer;
use allmende::client::submit::SubmitError;
use allmende_core::collaboration::decision::Subject;
use allmende_core::id::PartyId;
use allmende_core::state::runs::Status;
use allmende_core::statement::{AssetRevoked, DecisionOpened, FailureCode, KeyClass};

use crate::crash::process::HubProcess;
use crate::crash::world::{World, client};

/// A matter to put to the members: as small a statement as there is.
pub fn talk(n: u32) -> DecisionOpened {
    let party: PartyId = format!("guest-{n}").parse().unwrap();
    DecisionOpened { decision: format!("talk-{n}").parse().unwrap(), subject: Subject::Admit { party } }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_takes_only_what_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path()).with(&["--max-log-entries", "50"]);
    hub.start(None);
    let mut world = World::found(dir, hub, 3, 3).await;
    // No node answers: the run is the hub's to end.
    let run = world.propose("unanswered", world.plan(1, 2_000)).await;
    let member = &world.members[0];
    let mut last = None;
    let refused = loop {
        let n = member.state().await.size() as u32;
        match member.log.submit(&member.governance, talk(n), None).await {
            Ok(placed) => last = Some((placed.index, placed.digest)),
            Err(error) => break error,
        }
        assert!(n <= 50, "the limit holds");
    };
    assert!(matches!(&refused, SubmitError::Client(e) if e.code() == "log_full"), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("max_log_entries = 50"), "{said}");
    // The hub closes what is open, and nobody is kept from taking data back.
    assert_eq!(world.ended(&run).await, Status::Failed(FailureCode::NoAnswer));
    let body = AssetRevoked { asset: "north/rows".parse().unwrap() };
    let revoked = member.say(body, None).await;
    assert!(revoked.0 >= 50, "{revoked:?}");
    member.state().await;
    for (index, digest) in [last.unwrap(), revoked] {
        assert_eq!(member.log.mirror().payload(index), Some(digest));
    }
    assert!(world.hub.process().stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_waits_no_longer_than_the_hub_permits() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path()).with(&["--long-poll-timeout-s", "1"]);
    hub.start(None);
    let mut world = World::found(dir, hub, 3, 3).await;
    let member = &world.members[0];
    let size = member.state().await.size();
    let key = Arc::new(member.home.node_key().unwrap());
    let node = key.public();
    let signer = Signer { party: member.id.clone(), class: KeyClass::Node, key };
    let client = client(&world.hub.url(), world.hub_key).signed_in_as(signer);
    let id = "digits".parse().unwrap();
    let ask = async |seen| {
        let request = SyncRequest { node, size, cosignature: None, seen, wait_s: 20 };
        client.sync(&id, &request).await.unwrap()
    };
    let seen = ask(1).await.seen;
    let began = Instant::now();
    ask(seen).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    world.hub.process().stop();
}
