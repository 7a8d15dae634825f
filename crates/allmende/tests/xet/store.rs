//! Files that the hub cuts itself.

use allmende::xet::check::check;
use allmende::xet::ingest::{Ingest, Stored};
use allmende::xet::read::read;
use allmende_core::digest::Digest;
use allmende_formats::xet::tree::file_hash;
use allmende_formats::xet::{chunk_hash, chunker};
use futures::TryStreamExt as _;
use proptest::prelude::*;

use super::{World, noise};
use allmende::repo::Repo;

async fn put(world: &World, repo: &Repo, bytes: &[u8], piece: usize) -> Stored {
    let mut ingest = Ingest::begin(&world.hub.app, repo).await.unwrap();
    for piece in bytes.chunks(piece.max(1)) {
        ingest.push(piece).await.unwrap();
    }
    ingest.finish().await.unwrap()
}

async fn get(world: &World, repo: &Repo, sha256: &Digest, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let reader = read(&world.hub.app, repo, sha256, range).await.unwrap();
    let pieces: Vec<_> = reader.stream.try_collect().await.unwrap();
    pieces.concat()
}

/// Noise, runs, and repetitions of what came before.
fn files() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = prop_oneof![
        (0_usize..600_000, 0_u64..4).prop_map(|(bytes, seed)| noise(bytes, seed)),
        (0_usize..300_000, any::<u8>()).prop_map(|(bytes, byte)| vec![byte; bytes]),
    ];
    let file = prop::collection::vec(part, 0..5).prop_map(|parts| parts.concat());
    prop::collection::vec(file, 1..4)
}

#[test]
fn what_is_cut_here_comes_back_and_has_the_clients_hash() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::still());
    let (ada, repo) = runtime.block_on(async {
        let ada = world.person("ada").await;
        let repo = world.repo(&ada, &ada.account, "model").await;
        (ada, repo)
    });
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    });
    let tested = runner.run(&(files(), 1_usize..400_000, any::<prop::sample::Index>()), |(files, piece, at)| {
        runtime.block_on(async {
            for bytes in &files {
                let stored = put(&world, &repo, bytes, piece).await;
                let chunks = chunker::chunks(bytes).map(|c| (chunk_hash(c), c.len() as u64));
                let size = bytes.len() as u64;
                let expected = Stored { sha256: Digest::of(bytes), xet_hash: file_hash(chunks), size };
                prop_assert_eq!(stored, expected);
                let whole = get(&world, &repo, &stored.sha256, None).await;
                prop_assert!(&whole == bytes);
                let (a, b) = (at.index(bytes.len() + 1), at.index(bytes.len() / 2 + 1));
                let range = a.min(b)..a.max(b);
                let part = get(&world, &repo, &stored.sha256, Some(range.start as u64..range.end as u64)).await;
                prop_assert!(part == bytes[range]);
                // The plan for clients speaks of the same bytes.
                let session = world.session(&ada, &repo);
                let file = session.file(&world.hub.app, &stored.xet_hash).await.unwrap();
                let plan = session.plan(&world.hub.app, &file, None).await.unwrap();
                prop_assert_eq!(plan.terms.iter().map(|t| u64::from(t.unpacked_bytes)).sum::<u64>(), size);
            }
            Ok(())
        })
    });
    tested.unwrap();
    runtime.block_on(async { world.hub.stop().await });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_several_xorbs_is_stored_once() {
    let world = World::still().await;
    let ada = world.person("ada").await;
    let repo = world.repo(&ada, &ada.account, "model").await;
    let mut bytes = noise(150 << 20, 9);
    let begun = std::time::Instant::now();
    let first = put(&world, &repo, &bytes, 1 << 20).await;
    let took = begun.elapsed().as_secs_f64();
    let before = world.stored_bytes();
    eprintln!("ingest: {:.0} MB/s; stored {before}", bytes.len() as f64 / 1e6 / took);
    let begun = std::time::Instant::now();
    assert!(get(&world, &repo, &first.sha256, None).await == bytes);
    eprintln!("read: {:.0} MB/s", bytes.len() as f64 / 1e6 / begun.elapsed().as_secs_f64());
    assert_eq!(put(&world, &repo, &bytes, 1 << 20).await, first);
    assert_eq!(world.stored_bytes(), before, "nothing is new");
    bytes.splice(70_000_000..70_000_000, noise(1_000, 8));
    let second = put(&world, &repo, &bytes, 3_333_333).await;
    let new = world.stored_bytes() - before;
    eprintln!("1 kB inserted: {new} bytes more are stored");
    assert!(new < 300_000, "{new}");
    assert!(get(&world, &repo, &second.sha256, None).await == bytes);
    let report = check(&world.hub.app.db, &world.hub.app.blobs).await.unwrap();
    assert_eq!((report.files, report.uncited, report.findings.len()), (2, 0, 0), "{report:?}");
    // Another repository of the same owner cites nothing on its own.
    let other = world.repo(&ada, &ada.account, "other").await;
    assert!(read(&world.hub.app, &other, &first.sha256, None).await.is_err());
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_xorb_is_noticed_and_not_passed_on() {
    let world = World::still().await;
    let ada = world.person("ada").await;
    let repo = world.repo(&ada, &ada.account, "model").await;
    let stored = put(&world, &repo, &noise(3 << 20, 4), 1 << 20).await;
    let mut folders = vec![world.hub.dir.path().join("data/blobs/xet")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let mut bytes = std::fs::read(entry.path()).unwrap();
                bytes[2 << 20] ^= 1;
                std::fs::write(entry.path(), bytes).unwrap();
            }
        }
    }
    let reader = read(&world.hub.app, &repo, &stored.sha256, None).await.unwrap();
    assert!(reader.stream.try_collect::<Vec<_>>().await.is_err());
    let report = check(&world.hub.app.db, &world.hub.app.blobs).await.unwrap();
    assert_eq!(report.findings.len(), 2, "the xorb and the file: {report:?}");
    world.hub.stop().await;
}
