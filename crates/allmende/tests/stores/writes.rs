//! Transactions and idempotency keys.

use allmende::db::DbError;
use allmende::error::{ApiError, Code};
use allmende::idempotency::{self, Answer, Idempotent, Key, Seal};
use allmende::transaction;
use allmende_core::digest::Digest;
use allmende_core::signature::SecretKey;
use axum::http::{HeaderMap, HeaderValue};
use sqlx::Row as _;

use super::NOW;

crate::on_both! {
    async fn read_then_write_loses_no_update(store) {
        let db = store.open().await;
        let made: Result<_, DbError> = transaction!(db, tx => {
            sqlx::raw_sql("CREATE TABLE counter (n BIGINT NOT NULL); INSERT INTO counter VALUES (0);").execute(&mut **tx).await?;
            Ok(())
        });
        made.unwrap();
        let add = |_| {
            let db = db.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let added: Result<_, DbError> = transaction!(db, tx => {
                        let n: i64 = sqlx::query("SELECT n FROM counter").fetch_one(&mut **tx).await?.try_get(0)?;
                        tokio::task::yield_now().await;
                        sqlx::query("UPDATE counter SET n = $1").bind(n + 1).execute(&mut **tx).await?;
                        Ok(())
                    });
                    added.unwrap();
                }
            })
        };
        for task in (0..3).map(add).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let row = sqlx::query("SELECT n FROM counter").fetch_one(&mut *db.read().await.unwrap()).await.unwrap();
        assert_eq!(row.try_get::<i64, _>(0).unwrap(), 30);
    }

    async fn a_dropped_transaction_leaves_nothing_and_blocks_nobody(store) {
        let db = store.open().await;
        let mut attempts = db.attempts();
        let mut tx = attempts.begin().await.unwrap();
        sqlx::query("INSERT INTO nonces (nonce, expires_at) VALUES ('x', 1)").execute(&mut *tx).await.unwrap();
        drop(tx);
        let rows: Result<u64, DbError> = transaction!(db, tx => {
            Ok(sqlx::query("DELETE FROM nonces").execute(&mut **tx).await?.rows_affected())
        });
        assert_eq!(rows.unwrap(), 0);
    }

    async fn the_same_request_gets_the_same_answer(store) {
        let db = store.open().await;
        let request = |party: &str, key: &'static str, body: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(idempotency::HEADER, HeaderValue::from_static(key));
            Key::read(&headers, "POST", "/v1/x", body).unwrap().map(|key| key.by(&party.parse().unwrap()))
        };
        let run = async |request: &Option<Idempotent>, value: u32| {
            let answer: Result<Answer, ApiError> = transaction!(db, tx => {
                if let Some(answer) = idempotency::replay(tx, request.as_ref()).await? {
                    return Ok(answer);
                }
                let answer = Answer::json(axum::http::StatusCode::CREATED, &value)?;
                idempotency::remember(tx, request.as_ref(), &answer, NOW).await?;
                Ok(answer)
            });
            answer.map(|a| (a.status, String::from_utf8(a.body).unwrap())).map_err(|e| e.code())
        };
        let one = request("north", "k1", b"body");
        assert_eq!(run(&one, 1).await, Ok((201, "1".to_owned())));
        assert_eq!(run(&one, 2).await, Ok((201, "1".to_owned())), "the first answer again");
        assert_eq!(run(&request("north", "k1", b"other"), 3).await, Err(Code::IdempotencyKeyReused));
        assert_eq!(run(&request("south", "k1", b"other"), 4).await, Ok((201, "4".to_owned())), "keys are per party");
        assert_eq!(run(&None, 5).await, Ok((201, "5".to_owned())));
        let forgotten: Result<u64, DbError> = transaction!(db, tx => { idempotency::forget(tx, NOW.plus_ms(1)).await });
        assert_eq!(forgotten.unwrap(), 2);
        assert_eq!(run(&one, 6).await, Ok((201, "6".to_owned())));
        assert_eq!(one.unwrap().request, Digest::of(b"POST\n/v1/x\nbody"));
    }

    async fn requests_at_the_same_time_do_the_work_once(store) {
        let db = store.open().await;
        let request = Idempotent { party: "north".parse().unwrap(), key: "k".to_owned(), request: Digest::of(b"r") };
        let run = |value: u32| {
            let (db, request) = (db.clone(), request.clone());
            tokio::spawn(async move {
                let answer: Result<Answer, ApiError> = transaction!(db, tx => {
                    if let Some(answer) = idempotency::replay(tx, Some(&request)).await? {
                        return Ok(answer);
                    }
                    tokio::task::yield_now().await;
                    let answer = Answer::json(axum::http::StatusCode::OK, &value)?;
                    idempotency::remember(tx, Some(&request), &answer, NOW).await?;
                    Ok(answer)
                });
                answer.unwrap()
            })
        };
        let mut answers = Vec::new();
        for task in (0..6).map(run).collect::<Vec<_>>() {
            answers.push(task.await.unwrap());
        }
        assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
    }
}

#[test]
fn idempotency_keys_are_bounded() {
    let read = |key: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(idempotency::HEADER, HeaderValue::from_bytes(key.as_bytes()).unwrap());
        Key::read(&headers, "POST", "/", b"").map(|k| k.is_some()).map_err(|e| e.code())
    };
    assert_eq!(read("a"), Ok(true));
    for bad in ["", "a b", "ä", &"x".repeat(101)] {
        assert_eq!(read(bad), Err(Code::BadRequest), "{bad}");
    }
    assert!(Key::read(&HeaderMap::new(), "POST", "/", b"").unwrap().is_none());
}

#[test]
fn a_sealed_answer_opens_for_its_request_and_hub_only() {
    let request =
        |key: &str| Idempotent { party: "north".parse().unwrap(), key: key.to_owned(), request: Digest::of(b"r") };
    let seal = |seed: u8| Seal::of(&SecretKey::from_seed(&[seed; 32]));
    let answer = Answer { status: 200, body: b"alm_secret".to_vec() };
    let kept = seal(1).close(&request("k"), &answer).unwrap();
    assert!(!kept.body.windows(6).any(|w| w == b"secret"));
    assert_ne!(kept, seal(1).close(&request("k"), &answer).unwrap(), "never twice the same bytes");
    assert_eq!(seal(1).open(&request("k"), &kept).unwrap(), answer);
    let refused = |seal: Seal, request: Idempotent, kept: &Answer| seal.open(&request, kept).unwrap_err().code();
    assert_eq!(refused(seal(2), request("k"), &kept), Code::Internal);
    assert_eq!(refused(seal(1), request("other"), &kept), Code::Internal);
    let short = Answer { body: kept.body[..20].to_vec(), ..kept };
    assert_eq!(refused(seal(1), request("k"), &short), Code::Internal);
}

#[tokio::test]
async fn sqlite_writes_again_when_its_full_disk_has_space() {
    let store = super::Store::sqlite();
    let db = store.open().await;
    let put = async |key: String| {
        let written: Result<(), DbError> = transaction!(db, tx => {
            // A limit of this connection stands for the disk's.
            sqlx::raw_sql("PRAGMA max_page_count = 100").execute(&mut **tx).await?;
            sqlx::query("INSERT INTO idempotency (party, key, request_digest, status, body, created_at)
                         VALUES ('north', $1, '', 200, $2, 1)")
                .bind(&key)
                .bind(vec![7_u8; 100_000])
                .execute(&mut **tx)
                .await?;
            Ok(())
        });
        written
    };
    let mut kept = 0;
    let full = loop {
        match put(format!("k{kept}")).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100, "the limit holds");
    };
    assert!(matches!(full, DbError::StorageFull(_)), "{full:?}");
    assert!(matches!(put("more".to_owned()).await, Err(DbError::StorageFull(_))), "full, and says so again");
    let rows: Result<u64, DbError> = transaction!(db, tx => {
        Ok(sqlx::query("DELETE FROM idempotency").execute(&mut **tx).await?.rows_affected())
    });
    assert_eq!(rows.unwrap(), kept, "what was written before is there, and the database writes again");
}
