//! A log that must replay for ever: signed bytes never change.
//!
//! Written anew only by `ALLMENDE_GOLDEN=write`, and that only before a release has signed the first real statement.

use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::merkle::{leaf_hash, root_of};
use allmende_core::state::runs::Status;

use crate::story::{PARTIES, balance, told};
use crate::world::{World, id};

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log-v1.jsonl");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log-v1.root");

#[test]
fn the_first_log_replays_for_ever() {
    if std::env::var("ALLMENDE_GOLDEN").as_deref() == Ok("write") {
        let world = told();
        let lines: Vec<String> = world.log.iter().map(|r| String::from_utf8(r.to_bytes().unwrap()).unwrap()).collect();
        std::fs::write(LOG, lines.join("\n") + "\n").unwrap();
        std::fs::write(ROOT, format!("{}\n", world.root_hash())).unwrap();
    }
    let log = std::fs::read_to_string(LOG).unwrap();
    let mut state = World::new(&PARTIES).state;
    let mut leaves = Vec::new();
    for (line, text) in log.lines().enumerate() {
        let record = Record::from_bytes(text.as_bytes()).unwrap_or_else(|e| panic!("line {}: {e}", line + 1));
        assert_eq!(record.to_bytes().unwrap(), text.as_bytes(), "line {}", line + 1);
        let opened = state.apply(&record).unwrap_or_else(|e| panic!("line {}: {e}", line + 1));
        let again = opened.statement.to_payload().unwrap();
        assert_eq!(again, record.envelope.payload_bytes().unwrap(), "line {}", line + 1);
        leaves.push(leaf_hash(text.as_bytes()));
    }
    assert_eq!(root_of(&leaves).to_string(), std::fs::read_to_string(ROOT).unwrap().trim());
    // What stood in the log then is what it means today.
    assert_eq!(state.run(&id("first")).unwrap().status, Status::Finished);
    let got = ["fund", "party:north", "party:east", "party:west", "payer:north"].map(|a| balance(&state, a));
    assert_eq!(got, [5_000, 42_552, 30_677, 21_771, -100_000]);
}
