//! The store of bytes.

use std::process::Command;
use std::time::Duration;

use allmende::blobs::{BlobError, Blobs, Expect, Name, Stored};
use allmende_core::digest::Digest;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::s3;

pub const ANY: Expect = Expect { digest: None, size_bytes: None, max_bytes: u64::MAX };

pub fn pieces(bytes: &[u8], size: usize) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    let pieces: Vec<_> = bytes.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

pub async fn read(blobs: &Blobs, digest: &Digest, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, BlobError> {
    let reader = blobs.open_range(digest, range).await?;
    reader
        .stream
        .try_fold(Vec::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await
}

fn files(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).unwrap().flatten().map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
}

async fn suite(blobs: &Blobs) {
    let bytes = pattern(3_000_001);
    let digest = Digest::of(&bytes);
    let stored = blobs.put(pieces(&bytes, 70_001), &ANY).await.unwrap();
    assert_eq!(stored, Stored { digest, size_bytes: 3_000_001 });
    assert_eq!(blobs.put(pieces(&bytes, 1 << 21), &ANY).await.unwrap(), stored, "again");
    assert_eq!(read(blobs, &digest, None).await.unwrap(), bytes);
    for range in [0..1, 5..5, 1_048_570..1_048_580, 2_999_999..3_000_001, 0..3_000_001] {
        let expected = &bytes[range.start as usize..range.end as usize];
        assert_eq!(read(blobs, &digest, Some(range.clone())).await.unwrap(), expected, "{range:?}");
    }
    for outside in [0..3_000_002, 3_000_002..3_000_003] {
        let refused = read(blobs, &digest, Some(outside)).await;
        assert!(matches!(refused, Err(BlobError::RangeOutside { size_bytes: 3_000_001 })), "{refused:?}");
    }
    let empty = blobs.put_bytes(Bytes::new()).await.unwrap();
    assert_eq!((empty.size_bytes, read(blobs, &empty.digest, None).await.unwrap()), (0, Vec::new()));

    let other = Digest::of(b"other");
    let put = async |expect: Expect| blobs.put(pieces(b"hello", 2), &expect).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(put(Expect { digest: Some(other), ..ANY }).await, BlobError::DigestMismatch { expected, .. } if expected == other)
    );
    assert!(matches!(
        put(Expect { size_bytes: Some(6), ..ANY }).await,
        BlobError::SizeMismatch { expected: 6, actual: 5 }
    ));
    assert!(matches!(
        put(Expect { size_bytes: Some(4), ..ANY }).await,
        BlobError::SizeMismatch { expected: 4, actual: 5 }
    ));
    assert!(matches!(put(Expect { max_bytes: 4, ..ANY }).await, BlobError::TooLarge { max_bytes: 4 }));
    let broken = pieces(b"hello", 2).chain(stream::iter([Err(std::io::Error::other("reset"))]));
    assert!(matches!(blobs.put(broken, &ANY).await, Err(BlobError::Input(_))));
    assert!(!blobs.exists(&Digest::of(b"hello")).await.unwrap());
    assert!(matches!(read(blobs, &other, None).await, Err(BlobError::NotFound { .. })));

    let (a, b) = (blobs.put_bytes("ab".into()).await.unwrap(), blobs.put_bytes("cd".into()).await.unwrap());
    let whole = Expect { digest: Some(Digest::of(b"abcdab")), size_bytes: Some(6), max_bytes: 6 };
    let joined = blobs.join(vec![a.digest, b.digest, a.digest], &whole).await.unwrap();
    assert_eq!(read(blobs, &joined.digest, None).await.unwrap(), b"abcdab");
    let missing = blobs.join(vec![a.digest, other], &ANY).await;
    assert!(matches!(missing, Err(BlobError::NotFound { digest }) if digest == other), "{missing:?}");

    // More than one part of an S3 upload, with and without its digest, and with wrong ones.
    let large = pattern(20 << 20);
    let known = Expect { digest: Some(Digest::of(&large)), size_bytes: Some(20 << 20), max_bytes: 20 << 20 };
    for expect in [known, ANY] {
        let stored = blobs.put(pieces(&large, 300_001), &expect).await.unwrap();
        assert_eq!(stored, Stored { digest: Digest::of(&large), size_bytes: 20 << 20 });
        assert!(read(blobs, &stored.digest, None).await.unwrap() == large);
        let across = (8 << 20) - 5..(16 << 20) + 5;
        let expected = &large[across.start as usize..across.end as usize];
        assert!(read(blobs, &stored.digest, Some(across)).await.unwrap() == expected);
        blobs.delete(&stored.digest).await.unwrap();
    }
    let wrong = Expect { digest: Some(other), ..known };
    let refused = blobs.put(pieces(&large, 300_001), &wrong).await;
    assert!(matches!(refused, Err(BlobError::DigestMismatch { .. })), "{refused:?}");
    let broken = pieces(&large, 1 << 20).chain(stream::iter([Err(std::io::Error::other("reset"))]));
    assert!(matches!(blobs.put(broken, &known).await, Err(BlobError::Input(_))));
    assert!(!blobs.exists(&other).await.unwrap() && !blobs.exists(&Digest::of(&large)).await.unwrap());
    assert_eq!(blobs.sweep_unfinished(Duration::ZERO).await.unwrap(), 0, "refused bytes leave nothing");

    assert_eq!(blobs.size(&digest).await.unwrap(), 3_000_001);
    blobs.delete(&digest).await.unwrap();
    blobs.delete(&digest).await.unwrap();
    assert!(!blobs.exists(&digest).await.unwrap());
    blobs.ping().await.unwrap();
    named(blobs).await;
    parts(blobs).await;
}

/// Objects under names of their own.
async fn named(blobs: &Blobs) {
    assert!(!blobs.is_empty().await.unwrap(), "some are left of the first part");
    for size in [0, 5, 9 << 20] {
        let (name, bytes) = (Name::of(&["xet", "d", &size.to_string()]), pattern(size));
        let mut staged = blobs.stage(name.clone()).await.unwrap();
        for piece in bytes.chunks(1 << 20) {
            staged.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(blobs.size_named(&name).await.unwrap(), None, "not before it is published");
        staged.publish().await.unwrap();
        assert_eq!(blobs.size_named(&name).await.unwrap(), Some(size as u64));
        if size > 0 {
            assert_eq!(blobs.read_named(&name, 1..size as u64).await.unwrap(), bytes[1..]);
            let stream = blobs.open_named(&name, 0..size as u64).await.unwrap();
            assert!(stream.try_collect::<Vec<_>>().await.unwrap().concat() == bytes);
        }
    }
    let listed: Vec<_> = blobs.list_named("xet", Duration::ZERO).try_collect().await.unwrap();
    let mut listed: Vec<_> = listed.into_iter().map(|(name, size)| (name.to_string(), size)).collect();
    listed.sort();
    assert_eq!(listed, [("xet/d/0".into(), 0), ("xet/d/5".into(), 5), ("xet/d/9437184".into(), 9 << 20)]);
    assert_eq!(blobs.list_named("xet", Duration::from_secs(3600)).count().await, 0);
    for (name, _) in listed {
        let name = Name::of(&name.split('/').collect::<Vec<_>>());
        blobs.delete_named(&name).await.unwrap();
        blobs.delete_named(&name).await.unwrap();
        let gone = blobs.read_named(&name, 0..1).await;
        assert!(matches!(gone, Err(BlobError::Missing { .. })), "{gone:?}");
    }
}

/// Parts of an upload.
async fn parts(blobs: &Blobs) {
    let all = pattern(9 << 20);
    for (number, part) in (1..).zip([&all[..3], &all[3..]]) {
        let expect = Expect { size_bytes: Some(part.len() as u64), ..ANY };
        assert!(blobs.put_part("u1", number, pieces(&part[1..], 1 << 20), &expect).await.is_err());
        assert_eq!(blobs.part_size("u1", number).await.unwrap(), None);
        for _ in 0..2 {
            blobs.put_part("u1", number, pieces(part, 1 << 20), &expect).await.unwrap();
        }
        assert_eq!(blobs.part_size("u1", number).await.unwrap(), Some(part.len() as u64));
    }
    assert!(blobs.parts("u1", 2).try_collect::<Vec<_>>().await.unwrap().concat() == all);
    blobs.put_part("u2", 1, pieces(b"x", 1), &ANY).await.unwrap();
    assert_eq!(blobs.list_parts(Duration::ZERO).count().await, 3);
    blobs.drop_parts("u1").await.unwrap();
    assert_eq!(blobs.part_size("u1", 1).await.unwrap(), None);
    assert_eq!(blobs.sweep_parts(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(blobs.sweep_parts(Duration::ZERO).await.unwrap(), 1);
}

#[tokio::test]
async fn on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().to_str().unwrap()).unwrap();
    suite(&blobs).await;
    assert_eq!(files(&dir.path().join("tmp")), 0, "refused bytes leave nothing");
}

#[tokio::test]
async fn in_memory() {
    suite(&Blobs::open("memory:///").unwrap()).await;
    assert!(matches!(Blobs::open("gs://x"), Err(BlobError::UnknownScheme)));
}

#[tokio::test]
async fn in_s3() {
    suite(&s3::blobs_at(&s3::fresh_place()).await).await;
}

#[tokio::test]
async fn damage_on_disk_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().to_str().unwrap()).unwrap();
    let digest = blobs.put_bytes("precious".into()).await.unwrap().digest;
    let path = dir.path().join("sha256").join(&digest.hex()[..2]).join(digest.hex());
    std::fs::write(&path, "precioux").unwrap();
    assert!(matches!(read(&blobs, &digest, None).await, Err(BlobError::Damaged { .. })));
    assert_eq!(blobs.put_bytes("precious".into()).await.unwrap().digest, digest, "sent again it heals");
    assert_eq!(read(&blobs, &digest, None).await.unwrap(), b"precious");
}

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing_and_a_crash_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().to_str().unwrap()).unwrap();
    let endless = pieces(&pattern(2 << 20), 1 << 20).chain(stream::pending());
    assert!(tokio::time::timeout(Duration::from_millis(300), blobs.put(endless, &ANY)).await.is_err());
    // The file is deleted by another thread.
    for _ in 0..500 {
        if files(dir.path()) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(files(dir.path()), 0);
    std::fs::write(dir.path().join("tmp/left"), "by a crash").unwrap();
    assert_eq!(blobs.sweep_unfinished(Duration::from_secs(3600)).await.unwrap(), 0, "young ones may be in use");
    assert_eq!(blobs.sweep_unfinished(Duration::ZERO).await.unwrap(), 1);
}

/// Runs itself again in a mount namespace of its own, with a store on a disk of two megabytes.
#[test]
fn a_full_disk_is_a_typed_error() {
    const CHILD: &str = "ALLMENDE_TEST_FULL_DISK";
    if let Some(place) = std::env::var_os(CHILD) {
        return full_disk(place.to_str().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("disk");
    std::fs::create_dir(&place).unwrap();
    // With a user namespace this works without being root.
    let script = format!("mount -t tmpfs -o size=2m,nr_inodes=4096 tmpfs {} && exec \"$0\" \"$@\"", place.display());
    let run = |options: &[&str]| {
        Command::new("unshare")
            .args(options)
            .args(["sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "stores::blobs::a_full_disk_is_a_typed_error", "--nocapture"])
            .env(CHILD, &place)
            .output()
            .unwrap()
    };
    let output = [run(&["--mount"]), run(&["--user", "--map-root-user", "--mount"])];
    let text =
        output.each_ref().map(|o| [&o.stdout[..], &o.stderr[..]].map(|b| String::from_utf8_lossy(b).into_owned()));
    assert!(
        output.iter().any(|o| o.status.success() && String::from_utf8_lossy(&o.stdout).contains("disk was full")),
        "needs root or user namespaces to mount a small disk, and the error has to be typed: {text:?}"
    );
}

#[allow(clippy::print_stdout, reason = "the parent looks for it, so that a filtered-out test does not pass")]
fn full_disk(place: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let blobs = Blobs::open(place).unwrap();
        let small = blobs.put_bytes(pattern(1000).into()).await.unwrap();
        let full = blobs.put(pieces(&pattern(4 << 20), 1 << 16), &ANY).await;
        assert!(matches!(full, Err(BlobError::StorageFull(_))), "{full:?}");
        assert_eq!(files(&std::path::Path::new(place).join("tmp")), 0);
        assert_eq!(read(&blobs, &small.digest, None).await.unwrap(), pattern(1000), "what was there stays");
        blobs.put_bytes(pattern(2000).into()).await.unwrap();
    });
    println!("disk was full");
}
