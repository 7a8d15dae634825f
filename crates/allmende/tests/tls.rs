//! TLS: the pinned key and nothing else is the hub; secret files are secret.

use std::os::unix::fs::PermissionsExt as _;

use allmende::client::error::ClientError;
use allmende::client::http::HubClient;
use allmende::keyfile::{KeyFileError, signing_key};
use allmende::tls::{OtherKey, TlsError, Trust, client, distrust};
use allmende_core::digest::Digest;

use crate::http::Hub;

#[tokio::test]
async fn only_the_pinned_key_is_the_hub() {
    let hub = Hub::start(&[("tls", "self-signed")]).await;
    let pin = hub.app.tls.as_ref().unwrap().pin;
    let get = async |trust: Trust| client(&hub.url, &trust).unwrap().get(format!("{}/v1/hub", hub.url)).send().await;
    let info: serde_json::Value = get(Trust::Pin(pin)).await.unwrap().json().await.unwrap();
    assert_eq!(info["tls_pin"], pin.to_string());
    let wrong = get(Trust::Pin(Digest::of(b"another key"))).await.unwrap_err();
    let (text, other) = distrust(&wrong).unwrap();
    assert_eq!(other, Some(OtherKey { pinned: Digest::of(b"another key"), shown: pin }));
    assert!(text.contains(&pin.to_string()), "{text}");
    // In the words of a command, and without trying again: it would not help.
    let began = std::time::Instant::now();
    let connect = |trust| HubClient::connect(&hub.url, &trust, None, hub.app.clock.clone()).unwrap();
    let refused = connect(Trust::Pin(Digest::of(b"another key"))).hub().await.unwrap_err();
    assert!(matches!(refused, ClientError::Distrust { other_key: true, .. }), "{refused:?}");
    assert!(refused.to_string().contains("not the pinned") && refused.hint().unwrap().contains("operator"));
    let refused = connect(Trust::System).hub().await.unwrap_err();
    assert!(matches!(refused, ClientError::Distrust { other_key: false, .. }), "{refused:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(get(Trust::System).await.is_err(), "no authority vouches for it");
    let pem = std::fs::read(hub.dir.path().join("data/tls.crt")).unwrap();
    assert!(get(Trust::Authority(pem)).await.is_ok(), "the certificate itself as a private authority");
    let foreign = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    assert!(get(Trust::Authority(foreign.into_bytes())).await.is_err());
    // Somebody who shows the certificate without holding its key fails the handshake.
    let plain = reqwest::Client::new().get(hub.url.replace("https", "http")).send().await;
    assert!(plain.is_err(), "no plain HTTP on a TLS port");
    let again = Hub::start_in(hub.stop().await, &[("tls", "self-signed")]).await;
    assert_eq!(again.app.tls.as_ref().unwrap().pin, pin, "the pin stays");
    again.stop().await;
}

#[test]
fn plain_http_is_for_this_machine() {
    for good in ["http://127.0.0.1:8440", "http://localhost:8440", "http://[::1]:1", "https://hub.example"] {
        assert!(client(good, &Trust::System).is_ok(), "{good}");
    }
    for bad in ["http://hub.example", "http://10.0.0.1:8440", "http://localhost.example"] {
        assert!(matches!(client(bad, &Trust::System), Err(TlsError::Plain)), "{bad}");
    }
    for bad in ["ftp://localhost", "hub.example", ""] {
        assert!(matches!(client(bad, &Trust::System), Err(TlsError::Url(_))), "{bad}");
    }
}

#[test]
fn key_files_are_private_and_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.key");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || signing_key(&path).unwrap().public())
        })
        .collect();
    let keys: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(keys.iter().all(|k| *k == keys[0]), "one key, however many start at once");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(signing_key(&path), Err(KeyFileError::Exposed { .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "abc").unwrap();
    assert!(matches!(signing_key(&path), Err(KeyFileError::Content { .. })));
}
