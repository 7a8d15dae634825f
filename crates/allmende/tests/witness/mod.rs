//! A witness outside: the answers of its protocol, what it keeps, and an independent look at what it signs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use allmende::clock::Clock;
use allmende::tls::{Trust, client};
use allmende::witness::{Identity, Witness, WitnessError, api, seen};
use allmende_core::ledger::checkpoint::{Checkpoint, NoteSignature, SignedCheckpoint};
use allmende_core::ledger::merkle::{Hash, consistency_proof, leaf_hash, leaves_source, root_of};
use allmende_core::ledger::verifier::{Role, VerifierKey};
use allmende_core::ledger::witness::{AddCheckpoint, MAX_REQUEST_BYTES, Refusal};
use allmende_core::signature::SecretKey;
use tokio::net::TcpListener;

use crate::stores::NOW;

fn log_key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn log(origin: &str) -> VerifierKey {
    VerifierKey { name: origin.parse().unwrap(), key: log_key().public(), role: Role::Log }
}

/// The first `size` leaves; `branch` tells histories apart from leaf 4 on.
fn leaves(size: u64, branch: u8) -> Vec<Hash> {
    (0..size).map(|i| leaf_hash(&[i as u8, if i < 4 { 0 } else { branch }])).collect()
}

fn signed(origin: &str, size: u64, branch: u8, key: &SecretKey) -> SignedCheckpoint {
    let checkpoint = Checkpoint { origin: origin.parse().unwrap(), size, root: root_of(&leaves(size, branch)) };
    SignedCheckpoint::sign(checkpoint.clone(), &checkpoint.origin, key)
}

fn request(old_size: u64, size: u64, branch: u8) -> AddCheckpoint {
    let proof = consistency_proof(old_size.min(size), size, leaves_source(&leaves(size, branch))).unwrap();
    AddCheckpoint { old_size, proof, checkpoint: signed("hub.example/a", size, branch, &log_key()) }
}

fn open(dir: &Path) -> Result<Witness, WitnessError> {
    let identity = Identity::open(dir, Some(&"witness.example/w1".parse().unwrap()))?;
    Witness::open(dir, identity, vec![log("hub.example/a"), log("hub.example/b")], Clock::test(NOW))
}

fn key(dir: &Path) -> VerifierKey {
    Identity::open(dir, None).unwrap().verifier_key()
}

async fn serve(witness: Witness) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = api::router(Arc::new(witness));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Status, type and text of the answer.
async fn post(url: &str, body: impl ToString) -> (u16, String, String) {
    let http = client(url, &Trust::System).unwrap();
    let answer = http.post(format!("{url}/add-checkpoint")).body(body.to_string()).send().await.unwrap();
    let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), kind, answer.text().await.unwrap())
}

#[tokio::test]
async fn the_answers_are_those_of_the_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let url = serve(open(dir.path()).unwrap()).await;
    let good = request(0, 7, 0);
    for bad in ["".to_owned(), "old 0\n".to_owned(), good.to_string().replacen("old 0", "old 00", 1)] {
        assert_eq!(post(&url, &bad).await.0, 400, "{bad}");
    }
    assert_eq!(post(&url, "x".repeat(MAX_REQUEST_BYTES + 1)).await.0, 413);
    let unknown = AddCheckpoint { checkpoint: signed("hub.example/c", 7, 0, &log_key()), ..good.clone() };
    assert_eq!(post(&url, &unknown).await.0, 404);
    let stranger = SecretKey::from_seed(&[2; 32]);
    let unsigned = AddCheckpoint { checkpoint: signed("hub.example/a", 7, 0, &stranger), ..good.clone() };
    assert_eq!(post(&url, &unsigned).await.0, 403);
    assert_eq!(post(&url, AddCheckpoint { old_size: 8, ..good.clone() }).await.0, 400);
    // A log that does not know where the witness stands is told.
    let (status, kind, text) = post(&url, request(3, 7, 0)).await;
    assert_eq!((status, kind.as_str(), text.as_str()), (409, "text/x.tlog.size", "0\n"));
    let (status, _, text) = post(&url, &good).await;
    assert_eq!(status, 200, "{text}");
    let line: NoteSignature = text.strip_suffix('\n').unwrap().parse().unwrap();
    let (checkpoint, key) = (&good.checkpoint.checkpoint, key(dir.path()));
    assert_eq!(line.cosigned_at_s(checkpoint, &key.name, &key.key), Some(NOW.0 as u64 / 1000));
    let (status, kind, text) = post(&url, &good).await;
    assert_eq!((status, kind.as_str(), text.as_str()), (409, "text/x.tlog.size", "7\n"));
    assert_eq!(post(&url, request(7, 7, 0)).await.0, 200, "again, for a newer time");
    // A fork: no size to go on from, or a client would try again for ever.
    let (status, kind, text) = post(&url, request(7, 7, 1)).await;
    assert!(status == 409 && kind != "text/x.tlog.size" && text.contains("forked"), "{status} {kind} {text}");
    assert_eq!(post(&url, request(7, 9, 1)).await.0, 422);
    assert_eq!(post(&url, request(7, 9, 0)).await.0, 200);
    let seen = seen(dir.path()).unwrap();
    assert_eq!((seen.len(), seen[0].checkpoint.size), (1, 9));
    assert_eq!(seen[0].contradiction.as_ref().map(|c| c.size), Some(7), "the evidence is kept");
}

#[test]
fn what_was_cosigned_binds_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |witness: &Witness, request: &AddCheckpoint| match witness.add(request) {
        Err(WitnessError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let witness = open(dir.path()).unwrap();
    witness.add(&request(0, 7, 0)).unwrap();
    assert!(matches!(open(dir.path()), Err(WitnessError::InUse { .. })), "one folder, one witness");
    drop(witness);
    // A process that another test is just starting holds the lock until it is another program.
    let began = std::time::Instant::now();
    let witness = loop {
        match open(dir.path()) {
            Err(WitnessError::InUse { .. }) if began.elapsed().as_secs() < 10 => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(refused(&witness, &request(0, 9, 1)), Refusal::OtherSize { size: 7 });
    assert_eq!(refused(&witness, &request(7, 9, 1)), Refusal::Inconsistent);
    drop(witness);
    let other = "witness.example/w2".parse().unwrap();
    assert!(matches!(Identity::open(dir.path(), Some(&other)), Err(WitnessError::OtherName { .. })));
    // What cannot be read is no reason to begin anew under the same key.
    let folder = dir.path().join("logs");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..20]).unwrap();
    assert!(matches!(open(dir.path()), Err(WitnessError::Damaged { .. })));
    std::fs::write(&file, text).unwrap();
    std::fs::rename(&file, folder.join("00.checkpoint")).unwrap();
    assert!(matches!(open(dir.path()), Err(WitnessError::Damaged { .. })));
}

#[test]
fn of_two_histories_at_once_only_one_is_cosigned() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    witness.add(&request(0, 5, 0)).unwrap();
    std::thread::scope(|threads| {
        let racers: Vec<_> = (0..16_u8)
            .map(|i| {
                let witness = &witness;
                // The first five leaves are alike only within one branch.
                threads.spawn(move || witness.add(&request(5, 6 + u64::from(i / 2), i % 2)).is_ok().then_some(i))
            })
            .collect();
        let won: Vec<u8> = racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect();
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(won[0] % 2, 0);
    });
}

/// The cosignature, read and verified by a program that shares no code with this one.
#[test]
fn others_verify_its_cosignatures() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    let mut note = request(0, 7, 0).checkpoint;
    note.add(witness.add(&request(0, 7, 0)).unwrap()).unwrap();
    let path = dir.path().join("note");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/witness/cosignature.py");
    let judge = |note: &str| {
        std::fs::write(&path, note).unwrap();
        let output = Command::new("python3").arg(&script).arg(&path).arg(key(dir.path()).to_string()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    let (good, text) = judge(&note.to_string());
    assert!(good && text.contains(&format!("7 entries, seen at {}", NOW.0 / 1000)), "{text}");
    if text.contains("signature good") {
        assert!(!judge(&note.to_string().replacen("\n7\n", "\n8\n", 1)).0);
    }
}
