//! The log's store.

use allmende::db::Db;
use allmende::ledger::LedgerError;
use allmende::ledger::store::{self, Cosignature, Head, NewEntry};
use allmende::transaction;
use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;

use super::NOW;

fn head(log: &str, size: u64, at: Timestamp) -> Head {
    Head {
        origin: format!("localhost/{log}"),
        size,
        root: [size as u8; 32],
        frontier: vec![7; 32],
        checkpoint: format!("localhost/{log}\n{size}\n"),
        arrived_at: at,
    }
}

async fn append(db: &Db, log: &str, expected: u64, payloads: &[&str], at: Timestamp) -> Result<(), LedgerError> {
    let digests: Vec<Digest> = payloads.iter().map(|p| Digest::of(p.as_bytes())).collect();
    let hashes: Vec<[u8; 32]> = payloads.iter().map(|p| Digest::of_parts(&[&[0], p.as_bytes()]).0).collect();
    let entry = |i: usize| NewEntry {
        leaf: payloads[i].as_bytes(),
        leaf_hash: &hashes[i],
        payload_digest: &digests[i],
        kind: "test",
        signer: "ed25519:00",
        arrived_at: at,
    };
    let entries: Vec<_> = (0..payloads.len()).map(entry).collect();
    let head = head(log, expected + payloads.len() as u64, at);
    transaction!(*db, tx => { store::append(tx, log, expected, &entries, &head).await })
}

async fn size(db: &Db, log: &str) -> u64 {
    store::head(&mut db.read().await.unwrap(), log).await.unwrap().map_or(0, |h| h.size)
}

crate::on_both! {
    async fn what_was_appended_is_read_back(store) {
        let db = store.open().await;
        append(&db, "a", 0, &["one", "two"], NOW).await.unwrap();
        append(&db, "a", 2, &["three"], NOW.plus_ms(5)).await.unwrap();
        append(&db, "b", 0, &["one"], NOW).await.unwrap();
        let mut read = db.snapshot().await.unwrap();
        assert_eq!(store::head(&mut read, "a").await.unwrap(), Some(head("a", 3, NOW.plus_ms(5))));
        assert_eq!(store::head(&mut read, "c").await.unwrap(), None);
        let entries = store::entries(&mut read, "a", 1, 10).await.unwrap();
        assert_eq!(entries.iter().map(|e| (e.index, e.leaf.as_slice())).collect::<Vec<_>>(), [
            (1, b"two".as_slice()), (2, b"three".as_slice())
        ]);
        assert_eq!(entries[1].arrived_at, NOW.plus_ms(5));
        assert_eq!(store::entries(&mut read, "a", 0, 1).await.unwrap().len(), 1);
        assert_eq!(store::entries(&mut read, "a", 3, 1).await.unwrap(), []);
        let hashes = store::leaf_hashes(&mut read, "a", 0, 3).await.unwrap();
        assert_eq!(hashes[2], Digest::of(b"\0three").0);
        assert!(store::leaf_hashes(&mut read, "a", 0, 4).await.is_err());
        assert_eq!(store::find(&mut read, "a", &Digest::of(b"two")).await.unwrap(), Some(1));
        assert_eq!(store::find(&mut read, "b", &Digest::of(b"two")).await.unwrap(), None);
        assert_eq!(store::logs(&mut read, "", 10).await.unwrap(), ["a", "b"]);
        assert_eq!(store::logs(&mut read, "a", 10).await.unwrap(), ["b"]);
        assert_eq!(store::latest_arrival(&mut read).await.unwrap(), Some(NOW.plus_ms(5)));
    }

    async fn a_refused_append_writes_nothing(store) {
        let db = store.open().await;
        assert_eq!(store::latest_arrival(&mut db.read().await.unwrap()).await.unwrap(), None);
        append(&db, "a", 0, &["one"], NOW).await.unwrap();
        let conflict = append(&db, "a", 0, &["two"], NOW).await;
        assert!(matches!(conflict, Err(LedgerError::Conflict { expected: 0, actual: 1, .. })), "{conflict:?}");
        let duplicate = append(&db, "a", 1, &["two", "one"], NOW).await;
        assert!(matches!(duplicate, Err(LedgerError::Duplicate { index: 0, .. })), "{duplicate:?}");
        let twice = append(&db, "a", 1, &["two", "two"], NOW).await;
        assert!(matches!(twice, Err(LedgerError::Duplicate { index: 1, .. })), "{twice:?}");
        assert!(matches!(append(&db, "a", 1, &["two"], NOW.plus_ms(-1)).await, Err(LedgerError::Misuse(_))));
        assert_eq!(size(&db, "a").await, 1);
        assert_eq!(store::find(&mut db.read().await.unwrap(), "a", &Digest::of(b"two")).await.unwrap(), None);
        append(&db, "a", 1, &["two"], NOW).await.unwrap();
    }

    async fn an_origin_belongs_to_one_log(store) {
        let db = store.open().await;
        append(&db, "a", 0, &["one"], NOW).await.unwrap();
        let other = Head { origin: "localhost/a".to_owned(), ..head("b", 0, NOW) };
        let taken = transaction!(db, tx => { store::append(tx, "b", 0, &[], &other).await });
        assert!(matches!(taken, Err(LedgerError::OriginTaken { .. })), "{taken:?}");
    }

    async fn many_writers_make_one_order(store) {
        let db = store.open().await;
        let writer = |writer: u32| {
            let db = db.clone();
            // Spawning also shows that the transaction's future is Send.
            tokio::spawn(async move {
                for i in 0..10 {
                    let payload = format!("{writer}/{i}");
                    loop {
                        let seen = size(&db, "a").await;
                        match append(&db, "a", seen, &[&payload], NOW).await {
                            Ok(()) => break,
                            Err(LedgerError::Conflict { .. }) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                }
            })
        };
        for writer in (0..4).map(writer).collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let mut read = db.read().await.unwrap();
        let entries = store::entries(&mut read, "a", 0, 1000).await.unwrap();
        assert_eq!(entries.len(), 40);
        let mut leaves: Vec<_> = entries.into_iter().map(|e| e.leaf).collect();
        leaves.sort();
        leaves.dedup();
        assert_eq!(leaves.len(), 40);
    }

    async fn the_latest_cosignature_of_each_witness_is_kept(store) {
        let db = store.open().await;
        let put = async |key: &str, size, timestamp_s| {
            let line = format!("{key} {size} {timestamp_s}");
            let cosignature = Cosignature { key: key.to_owned(), size, timestamp_s, line };
            transaction!(db, tx => { store::put_cosignature(tx, "a", &cosignature).await }).unwrap()
        };
        assert!(put("k2", 5, 100).await);
        assert!(put("k1", 5, 100).await);
        assert!(!put("k1", 5, 100).await, "the same again");
        assert!(!put("k1", 4, 200).await, "a smaller tree");
        assert!(put("k1", 5, 101).await);
        assert!(put("k1", 6, 50).await);
        let kept = store::cosignatures(&mut db.read().await.unwrap(), "a").await.unwrap();
        assert_eq!(kept.iter().map(|c| c.line.as_str()).collect::<Vec<_>>(), ["k1 6 50", "k2 5 100"]);
        assert_eq!(store::cosignatures(&mut db.read().await.unwrap(), "b").await.unwrap(), []);
    }
}
