//! `kill -9` of a collection while it removes what nothing needs.

use std::time::Duration;

use allmende::account::Rights;
use allmende::clock::Clock;
use allmende::config::Config;
use allmende::repo::Kind;
use allmende::repo::changes::{Change, Commit};
use allmende::repo::ops::Seen;
use allmende::xet::ingest::Ingest;
use serde_json::Value;

use super::doors::{at_rest, fsck};
use super::kills::chance;
use super::process::{HubProcess, Process, program, shut};
use crate::wire_git::{Someone, noise};

/// Large files that no commit cites.
const LOOSE: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_killed_harms_nothing_and_the_next_one_ends_it() {
    let mut chance = chance();
    let dir = tempfile::tempdir().unwrap();
    let hub = HubProcess::new(dir.path()).with(&["--gc-min-age-s", "2", "--transfer-timeout-s", "1"]);
    let config = Config { name: "hub.test".into(), ..Config::in_dir(&hub.dir).unwrap() };
    let app = allmende::hub::open(config, Clock::system()).await.unwrap();
    let carla = Someone::new(&app, "carla", Rights::Write).await;
    let repo = carla.creates(&app, Kind::Model, "bert", true).await;
    let put = async |seed: u64| {
        let mut ingest = Ingest::begin(&app, &repo).await.unwrap();
        ingest.push(&noise(seed * 2 + 1, 20_000)).await.unwrap();
        ingest.finish().await.unwrap().sha256
    };
    let seen = Seen { repo: repo.clone(), right: allmende::repo::Right::Admin, denied: None };
    let mut commit = Commit::begin(&app, &seen, &carla.principal, "main", None, "kept").await.unwrap();
    for n in 0..3 {
        // Three files in one folder, as a whole commit has them here.
        let path = format!("kept/{n}.bin").parse().unwrap();
        commit.take(Change::PutLarge { path, sha256: put(1_000 + n).await }).await.unwrap();
    }
    commit.finish().await.unwrap();
    for n in 0..LOOSE {
        put(n).await;
    }
    let git = app.git.repo(&repo.id);
    // What git calls leave that are killed in the middle.
    let objects = git.dir().join("objects");
    for left in [objects.join("pack/tmp_pack_x"), objects.join("tmp_obj_y")] {
        std::fs::write(left, "half").unwrap();
    }
    let head = git.resolve("main").await.unwrap();
    let name = "refs/incoming/0011".to_owned();
    let change = allmende::git::refs::Change { name, old: allmende::git::Oid::ZERO, new: head };
    git.change_refs(&[change]).await.unwrap();
    shut(app).await;

    let data = hub.dir.display().to_string();
    let mut args = vec!["hub", "gc", "--json", "--data-dir", &data];
    args.extend(hub.settings.iter().map(String::as_str));
    let kills = std::cell::Cell::new(0);
    let collect = async |kill: Option<u64>| {
        let out = std::fs::File::create(dir.path().join("gc.json")).unwrap();
        let mut gc = Process(program(&args, &hub.log).stdout(out).spawn().unwrap());
        if let Some(after_ms) = kill {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            if gc.0.try_wait().unwrap().is_none() {
                kills.set(kills.get() + 1);
            }
            gc.kill();
            return Value::Null;
        }
        assert!(gc.wait().unwrap().success(), "{}", hub.words());
        serde_json::from_slice(&std::fs::read(dir.path().join("gc.json")).unwrap()).unwrap()
    };
    // The first notes what is loose; what it notes is old enough a moment later.
    let noted = collect(None).await;
    assert_eq!(noted["waiting"]["count"], LOOSE, "{noted}");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for _ in 0..12 {
        collect(Some(30 + chance.below(250))).await;
        fsck(&hub);
    }
    for _ in 0..2 {
        // Xorbs go in a later pass than the files that were made of them.
        collect(None).await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    let report = collect(None).await;
    eprintln!("{} collections killed; the last: {}", kills.get(), report["removed"]);
    assert!(kills.get() > 0);
    let report = collect(None).await;
    assert_eq!((&report["removed"]["count"], &report["waiting"]["count"]), (&0.into(), &0.into()), "{report}");
    fsck(&hub);
    at_rest(&git).await;
    assert!(git.refs("refs/incoming").await.unwrap().is_empty(), "a name that nobody needs is gone");
    assert!(!objects.join("pack/tmp_pack_x").exists() && !objects.join("tmp_obj_y").exists());
    let left: Vec<_> = walk(&hub.dir.join("blobs/xet"));
    assert_eq!(left.len(), 3, "{left:?}");
}

/// All files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}
