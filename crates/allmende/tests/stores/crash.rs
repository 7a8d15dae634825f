//! What was acknowledged survives an abort at every fault point, and what was not is whole or absent.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use allmende::blobs::{BlobError, Blobs};
use allmende::db::{Db, DbOptions};
use allmende::ledger::store::{self, Head, NewEntry};
use allmende::{faults, keyfile, transaction};
use allmende_core::digest::Digest;
use bytes::Bytes;

use super::blobs::read as whole;
use super::{NOW, remote, s3};

const CHILD: &str = "ALLMENDE_TEST_CRASH";
const STEPS: u64 = 4;

fn options(dir: &Path) -> DbOptions {
    DbOptions { url: format!("sqlite://{}/hub.db", dir.display()), connections: 2, busy_timeout_ms: 1000 }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// In the folder, or where in S3 the folder says.
async fn blobs_of(dir: &Path) -> Blobs {
    match std::fs::read_to_string(dir.join("place")) {
        Ok(place) => s3::blobs_at(&place).await,
        Err(_) => Blobs::open(dir.join("blobs").to_str().unwrap()).unwrap(),
    }
}

/// More than one part of an upload to S3.
fn large(step: u64) -> Bytes {
    vec![step as u8; 9 << 20].into()
}

/// Acknowledges each step in a file of its own, after it was done.
async fn work(dir: &Path) {
    keyfile::signing_key(&dir.join("hub.key")).unwrap();
    std::fs::write(dir.join("key-ack"), "").unwrap();
    let blobs = blobs_of(dir).await;
    let db = Db::open(&options(dir), NOW).await.unwrap();
    for step in 0..STEPS {
        let payload = format!("payload {step}");
        blobs.put_bytes(payload.clone().into()).await.unwrap();
        std::fs::write(dir.join(format!("blob-ack-{step}")), "").unwrap();
        if dir.join("place").exists() {
            blobs.put_bytes(large(step)).await.unwrap();
            std::fs::write(dir.join(format!("large-ack-{step}")), "").unwrap();
        }
        let (digest, hash) = (Digest::of(payload.as_bytes()), [step as u8; 32]);
        let entry = NewEntry {
            leaf: payload.as_bytes(),
            leaf_hash: &hash,
            payload_digest: &digest,
            kind: "test",
            signer: "x",
            arrived_at: NOW,
        };
        let head = Head {
            origin: "localhost/a".to_owned(),
            size: step + 1,
            root: hash,
            frontier: Vec::new(),
            checkpoint: String::new(),
            arrived_at: NOW,
        };
        transaction!(db, tx => { store::append(tx, "a", step, &[entry], &head).await }).unwrap();
        std::fs::write(dir.join(format!("append-ack-{step}")), "").unwrap();
    }
}

async fn judge(dir: &Path, point: &str) {
    if dir.join("key-ack").exists() {
        assert!(dir.join("hub.key").exists(), "{point}");
    }
    keyfile::signing_key(&dir.join("hub.key")).unwrap();
    let blobs = blobs_of(dir).await;
    let db = Db::open(&options(dir), NOW).await.unwrap();
    let mut read = db.snapshot().await.unwrap();
    let size = store::head(&mut read, "a").await.unwrap().map_or(0, |h| h.size);
    let entries = store::entries(&mut read, "a", 0, 100).await.unwrap();
    assert_eq!(entries.len() as u64, size, "{point}: head and entries agree");
    for step in 0..STEPS {
        let payload = format!("payload {step}");
        let digest = Digest::of(payload.as_bytes());
        if dir.join(format!("append-ack-{step}")).exists() {
            assert_eq!(entries[step as usize].leaf, payload.as_bytes(), "{point}");
        }
        if dir.join(format!("blob-ack-{step}")).exists() {
            assert_eq!(blobs.size(&digest).await.unwrap(), payload.len() as u64, "{point}");
        }
        let large_one = whole(&blobs, &Digest::of(&large(step)), None).await;
        match large_one {
            Ok(bytes) => assert!(bytes == large(step), "{point}"),
            Err(BlobError::NotFound { .. }) => assert!(!dir.join(format!("large-ack-{step}")).exists(), "{point}"),
            Err(error) => panic!("{point}: {error}"),
        }
    }
}

/// Runs this test again as a process of its own, which dies at a point.
fn dies(test: &str, dir: &Path, point: &str, nth: u32) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CHILD, dir)
        .env("ALLMENDE_FAULT", format!("{point}:{nth}"))
        .output()
        .unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_in_s3() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return block_on(work(Path::new(&dir)));
    }
    for point in faults::POINTS.iter().filter(|point| point.starts_with("blob.")) {
        for nth in [1, 2, 4] {
            let dir = tempfile::tempdir().unwrap();
            let place = s3::fresh_place();
            std::fs::write(dir.path().join("place"), &place).unwrap();
            let output = dies("stores::crash::nothing_acknowledged_is_lost_in_s3", dir.path(), point, nth);
            assert!(!output.status.success(), "{point}:{nth}: {}", String::from_utf8_lossy(&output.stderr));
            block_on(async {
                judge(dir.path(), point).await;
                let blobs = s3::blobs_at(&place).await;
                blobs.sweep_unfinished(Duration::ZERO).await.unwrap();
                assert_eq!(remote::unfinished(&place).await, 0, "{point}:{nth}");
                judge(dir.path(), point).await;
            });
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_at_any_fault_point() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return block_on(work(Path::new(&dir)));
    }
    let stores = ["db.", "append.", "blob.", "key."];
    // The others need a hub at work: see the tests of crashes with real processes.
    for point in faults::POINTS.iter().filter(|p| stores.iter().any(|store| p.starts_with(store))) {
        for nth in [1, 3] {
            let dir = tempfile::tempdir().unwrap();
            let test = "stores::crash::nothing_acknowledged_is_lost_at_any_fault_point";
            let output = dies(test, dir.path(), point, nth);
            // A key is made once, so its points are passed once.
            let dies = nth == 1 || !point.starts_with("key.");
            assert_eq!(output.status.success(), !dies, "{point}:{nth}: {}", String::from_utf8_lossy(&output.stderr));
            block_on(judge(dir.path(), point));
        }
    }
}
