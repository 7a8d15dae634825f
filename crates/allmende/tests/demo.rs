//! The demonstrations, as the built program plays them.

use std::process::Command;

use serde_json::Value;

/// Every fraud that is tried, in order.
const FRAUDS: &[&str] = &[
    "stolen-token",
    "others-key",
    "hubs-word",
    "vote-twice",
    "nan",
    "weight",
    "others-place",
    "other-bytes",
    "copy",
    "other-base",
    "other-model",
    "replay",
    "evaluation",
    "payout-altered",
    "payout-false",
    "forbidden-run",
    "forbidden-run-allowed",
    "undecided-run",
    "key-swapped",
    "key-in-terms",
    "rolled-back",
    "dated-ahead",
    "forked",
    "frozen-for-one",
    "frozen-for-all",
];

#[test]
fn every_fraud_is_caught() {
    let ran =
        Command::new(env!("CARGO_BIN_EXE_allmende")).args(["demo", "cheat", "--json", "--quiet"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let attempts = report["attempts"].as_array().unwrap_or_else(|| panic!("{report}"));
    let missed: Vec<&Value> = attempts.iter().filter(|a| a["caught"] != true).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    let names: Vec<&str> = attempts.iter().filter_map(|a| a["name"].as_str()).collect();
    assert_eq!(names, FRAUDS);
    assert_eq!(ran.status.code(), Some(0), "{said}");
}

#[tokio::test]
async fn the_story_is_the_same_on_postgres() {
    let url = crate::stores::postgres::fresh_database().await;
    let ran = Command::new(env!("CARGO_BIN_EXE_allmende"))
        .args(["demo", "clinic", "--json", "--quiet", "--database-url", &url])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    // It was played there and nowhere else.
    sqlx::any::install_default_drivers();
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let entries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM log_entries").fetch_one(&mut connection).await.unwrap();
    assert!(entries > 100, "{entries}: {report}");
}
