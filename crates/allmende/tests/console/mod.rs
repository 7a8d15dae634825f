//! The console: what it serves to whom, and how it looks in a real browser.

mod browser;
mod pages;
mod repositories;

use allmende::auth::{NewToken, Scopes, issue};
use allmende::ledger::store::{Head, NewEntry, append};
use allmende::projection;
use allmende_core::canonical;
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::merkle::{Frontier, leaf_hash};
use allmende_core::statement::{HUB, KeyClass, Statement};

use crate::http::Hub;
use crate::stores::NOW;
use crate::verify::world::{Shape, World, key, origin};

/// A hub that holds a whole story: a collaboration with terms, a run, contributions and a payout.
async fn hub() -> (Hub, World) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    restrict(&data, 0o700);
    let seed = allmende_core::digest::to_hex(&key(HUB, KeyClass::Hub).seed());
    std::fs::write(data.join("hub.key"), format!("{seed}\n")).unwrap();
    restrict(&data.join("hub.key"), 0o600);
    let hub = Hub::start_in(dir, &[("name", "hub.example")]).await;
    let world = World::settled(&Shape { inputs: 64, classes: 10, rounds: 8, ..Shape::small() });
    assert_eq!(hub.app.hub_key.public(), World::hub_key());
    load(&hub, &world).await;
    (hub, world)
}

fn restrict(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

async fn load(hub: &Hub, world: &World) {
    let mut frontier = Frontier::new();
    let opened: Vec<_> = world
        .leaves
        .iter()
        .map(|leaf| {
            frontier.push(leaf_hash(leaf));
            let record = Record::from_bytes(leaf).unwrap();
            (Statement::open(&record.envelope).unwrap(), record.arrived_at, leaf_hash(leaf))
        })
        .collect();
    let signers: Vec<_> = opened.iter().map(|o| o.0.key.to_string()).collect();
    let entries: Vec<_> = (0..opened.len())
        .map(|i| NewEntry {
            leaf: &world.leaves[i],
            leaf_hash: &opened[i].2.0,
            payload_digest: &opened[i].0.digest,
            kind: opened[i].0.statement.body.kind(),
            signer: &signers[i],
            arrived_at: opened[i].1,
        })
        .collect();
    let head = Head {
        origin: origin().to_string(),
        size: frontier.size(),
        root: frontier.root().0,
        frontier: canonical::to_bytes(&frontier).unwrap(),
        checkpoint: world.checkpoint().to_string(),
        arrived_at: opened.last().unwrap().1,
    };
    let stored: Result<(), allmende::ledger::LedgerError> =
        allmende::transaction!(hub.app.db, tx => { append(tx, "handwriting", 0, &entries, &head).await });
    stored.unwrap();
    projection::rebuild(&hub.app.db, |log| hub.app.logs.empty(log)).await.unwrap();
}

/// A token of `party`.
async fn token(hub: &Hub, party: &str, scopes: &str) -> String {
    let new = NewToken {
        party: party.parse().unwrap(),
        scopes: Scopes::parse(scopes).unwrap(),
        label: "console".to_owned(),
        expires_at: NOW.plus_ms(400 * 86_400_000),
    };
    let issued: Result<_, allmende::auth::AuthError> =
        allmende::transaction!(hub.app.db, tx => { issue(tx, &new, 10, NOW).await });
    issued.unwrap().1.secret().to_owned()
}
