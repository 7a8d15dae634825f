//! The store of bytes in S3: what it says when it cannot be used, what is left behind, and a network that breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use allmende::blobs::{BlobError, Blobs, Expect, Name, Stored};
use allmende_core::digest::Digest;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::blobs::{ANY, pattern, pieces, read};
use super::s3::{self, BUCKET, READER, SECRET, blobs_at, config, endpoint, fresh_place, settings_at};

/// Settings of a place, one of them otherwise.
fn but(place: &str, key: &'static str, value: &str) -> Vec<(&'static str, String)> {
    let mut settings = settings_at(place);
    settings.retain(|(k, _)| *k != key);
    settings.push((key, value.to_owned()));
    settings
}

async fn refused(settings: Vec<(&'static str, String)>) -> String {
    match Blobs::of(&config(settings)).await {
        Err(error @ BlobError::Unusable { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_said_at_the_start() {
    let place = fresh_place();
    let said = refused(but(&place, "blob_store", "s3://not-there")).await;
    assert!(said.contains("s3://not-there at http://127.0.0.1:") && said.contains("no bucket not-there"), "{said}");
    for (key, wrong) in [("s3_secret_access_key", "wrong"), ("s3_access_key_id", "nobody")] {
        let said = refused(but(&place, key, wrong)).await;
        assert!(said.contains("refuses the key") && !said.contains(SECRET), "{said}");
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let began = Instant::now();
    let said = refused(but(&place, "s3_endpoint", &format!("http://{free}"))).await;
    assert!(said.contains("look at s3_endpoint") && began.elapsed() < Duration::from_secs(30), "{said}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let with_file = || but(&place, "s3_secret_access_key_path", file.to_str().unwrap());
    assert!(refused(with_file()).await.contains("s3_secret_access_key_path"));
    std::fs::write(&file, "\n").unwrap();
    assert!(refused(with_file()).await.contains("is empty"));
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let mut settings = with_file();
    settings.retain(|(key, _)| *key != "s3_secret_access_key");
    let blobs = Blobs::of(&config(settings)).await.unwrap();
    blobs.put_bytes("x".into()).await.unwrap();
    let shown = format!("{blobs:?} {:?}", s3::config_at(&place));
    assert!(shown.contains(BUCKET) && !shown.contains(SECRET), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_told_when_he_writes() {
    let place = fresh_place();
    let digest = blobs_at(&place).await.put_bytes("hello".into()).await.unwrap().digest;
    let mut settings = but(&place, "s3_access_key_id", READER.0);
    settings.retain(|(key, _)| *key != "s3_secret_access_key");
    settings.push(("s3_secret_access_key", READER.1.to_owned()));
    let blobs = Blobs::of(&config(settings)).await.unwrap();
    assert_eq!(read(&blobs, &digest, None).await.unwrap(), b"hello");
    let refused = blobs.put_bytes("other".into()).await;
    assert!(
        matches!(&refused, Err(BlobError::Store(error)) if error.to_string().contains("AccessDenied")),
        "{refused:?}"
    );
    assert!(blobs.delete(&digest).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_places_of_one_bucket_know_nothing_of_each_other() {
    let (one, other) = (blobs_at(&fresh_place()).await, blobs_at(&fresh_place()).await);
    let digest = one.put_bytes("mine".into()).await.unwrap().digest;
    assert!(!other.exists(&digest).await.unwrap() && other.is_empty().await.unwrap());
    assert!(!one.is_empty().await.unwrap());
    let mut unfinished = one.stage(Name::of(&["xet", "half"])).await.unwrap();
    unfinished.write(pattern(9 << 20).into()).await.unwrap();
    assert_eq!(other.sweep_unfinished(Duration::ZERO).await.unwrap(), 0);
    unfinished.publish().await.unwrap();
}

/// Waits until nothing unfinished is left, without removing anything.
async fn settles(blobs: &Blobs, place: &str) {
    for _ in 0..200 {
        if blobs.sweep_unfinished(Duration::from_secs(3600)).await.unwrap() == 0 && unfinished(place).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("uploads stay unfinished");
}

/// How many uploads the server itself says are unfinished below a place.
pub async fn unfinished(place: &str) -> usize {
    use object_store::aws::{AwsAuthorizer, AwsCredential};
    use object_store::client::HttpRequestBody;
    let credential = AwsCredential { key_id: s3::KEY.to_owned(), secret_key: SECRET.to_owned(), token: None };
    let prefix = place.strip_prefix(&format!("s3://{BUCKET}/")).unwrap().replace('/', "%2F");
    let url = format!("{}/{BUCKET}/?prefix={prefix}&uploads=", endpoint());
    let mut request = axum::http::Request::get(&url).body(HttpRequestBody::empty()).unwrap();
    AwsAuthorizer::new(&credential, "s3", "us-east-1").try_authorize(&mut request, None).unwrap();
    let answer = reqwest::Client::new().get(&url).headers(request.headers().clone()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap().matches("<Upload>").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_upload_leaves_nothing_and_a_crash_is_swept() {
    let place = fresh_place();
    let blobs = blobs_at(&place).await;
    let large = pattern(20 << 20);
    for digest in [None, Some(Digest::of(&large))] {
        let endless = pieces(&large, 1 << 20).chain(stream::pending());
        let expect = Expect { digest, ..ANY };
        let put = blobs.put(endless, &expect);
        assert!(tokio::time::timeout(Duration::from_secs(3), put).await.is_err());
        settles(&blobs, &place).await;
        assert!(!blobs.exists(&Digest::of(&large)).await.unwrap());
    }
    // What a killed process leaves: an upload that nobody ends, and an object that was to be copied.
    let mut left = blobs.stage(Name::of(&["xet", "d", "left"])).await.unwrap();
    left.write(large.clone().into()).await.unwrap();
    std::mem::forget(left);
    blobs.stage(Name::of(&["tmp", "left"])).await.unwrap().publish().await.unwrap();
    blobs.stage(Name::of(&["others", "x"])).await.unwrap().publish().await.unwrap();
    assert_eq!(unfinished(&place).await, 1);
    assert_eq!(blobs.sweep_unfinished(Duration::from_secs(3600)).await.unwrap(), 0, "young ones may be in use");
    assert_eq!(blobs.sweep_unfinished(Duration::ZERO).await.unwrap(), 2);
    assert_eq!(unfinished(&place).await, 0);
    assert_eq!(blobs.size_named(&Name::of(&["xet", "d", "left"])).await.unwrap(), None);
    assert_eq!(blobs.size_named(&Name::of(&["others", "x"])).await.unwrap(), Some(0), "not of this program's making");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uploads_of_others_in_the_bucket_are_left_alone() {
    let place = fresh_place();
    let blobs = blobs_at(&place).await;
    let mut theirs = blobs.stage(Name::of(&["videos", "theirs"])).await.unwrap();
    theirs.write(pattern(9 << 20).into()).await.unwrap();
    assert_eq!(blobs.sweep_unfinished(Duration::ZERO).await.unwrap(), 0);
    theirs.publish().await.unwrap();
    assert_eq!(blobs.size_named(&Name::of(&["videos", "theirs"])).await.unwrap(), Some(9 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_one_copy_is_copied_in_pieces() {
    let place = fresh_place();
    let blobs = blobs_at(&place).await.with_copies_of(6 << 20);
    let large = pattern((20 << 20) + 7);
    let stored = blobs.put(pieces(&large, 1 << 20), &ANY).await.unwrap();
    assert_eq!(stored, Stored { digest: Digest::of(&large), size_bytes: large.len() as u64 });
    assert!(read(&blobs, &stored.digest, None).await.unwrap() == large);
    assert_eq!(blobs.sweep_unfinished(Duration::ZERO).await.unwrap(), 0, "neither the stage nor an upload stays");
}

/// A wire to the server that can be cut.
struct Wire {
    address: SocketAddr,
    /// Takes no connection and breaks those that are open.
    cut: Arc<AtomicBool>,
    /// Breaks each connection after so many bytes to the server; 0 is never.
    breaks_after: Arc<AtomicU64>,
}

impl Wire {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, breaks_after) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let server = endpoint().trim_start_matches("http://").to_owned();
        let (broken, after) = (Arc::clone(&cut), Arc::clone(&breaks_after));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, broken, after) = (server.clone(), Arc::clone(&broken), Arc::clone(&after));
                tokio::spawn(async move {
                    if broken.load(Ordering::SeqCst) {
                        return;
                    }
                    let mut upstream = TcpStream::connect(server).await.unwrap();
                    let (mut up, mut down, mut sent) = (vec![0; 1 << 16], vec![0; 1 << 16], 0);
                    loop {
                        tokio::select! {
                            read = client.read(&mut up) => match read {
                                Ok(n) if n > 0 => {
                                    sent += n as u64;
                                    let limit = after.load(Ordering::SeqCst);
                                    if limit > 0 && sent > limit {
                                        // Once is enough.
                                        after.store(0, Ordering::SeqCst);
                                        return;
                                    }
                                    if upstream.write_all(&up[..n]).await.is_err() { return; }
                                }
                                _ => return,
                            },
                            read = upstream.read(&mut down) => match read {
                                Ok(n) if n > 0 => if client.write_all(&down[..n]).await.is_err() { return; },
                                _ => return,
                            },
                            () = tokio::time::sleep(Duration::from_millis(50)) => {}
                        }
                        if broken.load(Ordering::SeqCst) {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, cut, breaks_after }
    }

    async fn blobs(&self, place: &str) -> Blobs {
        Blobs::of(&config(but(place, "s3_endpoint", &format!("http://{}", self.address)))).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_again_and_one_that_stays_away_is_said() {
    let (wire, place) = (Wire::new().await, fresh_place());
    let blobs = wire.blobs(&place).await;
    let large = pattern(20 << 20);
    wire.breaks_after.store(3 << 20, Ordering::SeqCst);
    let stored = blobs.put(pieces(&large, 1 << 20), &ANY).await.unwrap();
    assert_eq!(wire.breaks_after.load(Ordering::SeqCst), 0, "it broke");
    assert!(read(&blobs, &stored.digest, None).await.unwrap() == large);
    wire.cut.store(true, Ordering::SeqCst);
    let began = Instant::now();
    for answer in [blobs.ping().await, blobs.exists(&stored.digest).await.map(drop)] {
        assert!(matches!(answer, Err(BlobError::Away(_))), "{answer:?}");
    }
    let lost = blobs.put_bytes(Bytes::from_static(b"x")).await;
    assert!(matches!(lost, Err(BlobError::Away(_))), "{lost:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    wire.cut.store(false, Ordering::SeqCst);
    blobs.ping().await.unwrap();
    assert!(read(&blobs, &stored.digest, None).await.unwrap() == large);
    settles(&blobs, &place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_says_that_its_store_is_away_and_serves_again_when_it_is_back() {
    let (wire, place) = (Wire::new().await, fresh_place());
    let settings = but(&place, "s3_endpoint", &format!("http://{}", wire.address));
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let hub = crate::http::Hub::start(&settings).await;
    let health = async || reqwest::get(format!("{}/healthz", hub.url)).await.unwrap();
    assert_eq!(health().await.status(), 200);
    wire.cut.store(true, Ordering::SeqCst);
    let answer = health().await;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));
    assert!(answer.text().await.unwrap().contains("the store of bytes does not answer"));
    wire.cut.store(false, Ordering::SeqCst);
    assert_eq!(health().await.status(), 200);
    hub.stop().await;
}
