//! The store of bytes.

use std::process::Command;
use std::time::Duration;

use allmende::blobs::{BlobError, Blobs, Expect, Stored};
use allmende_core::digest::Digest;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

const ANY: Expect = Expect { digest: None, size_bytes: None, max_bytes: u64::MAX };

fn pieces(bytes: &[u8], size: usize) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    let pieces: Vec<_> = bytes.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

async fn read(blobs: &Blobs, digest: &Digest, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, BlobError> {
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

    assert_eq!(blobs.size(&digest).await.unwrap(), 3_000_001);
    blobs.delete(&digest).await.unwrap();
    blobs.delete(&digest).await.unwrap();
    assert!(!blobs.exists(&digest).await.unwrap());
    blobs.ping().await.unwrap();
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
    assert!(matches!(Blobs::open("s3://x"), Err(BlobError::UnknownScheme)));
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
