//! What a hub throws away by itself.

use std::time::{Duration, SystemTime};

use allmende::account::device::{self, Asking, Key};
use allmende::app::App;
use allmende::auth::{self, NewToken, NoKeys, Scopes};
use allmende::clock::Clock;
use allmende::db::DbError;
use allmende::hub::{self, Swept};
use allmende::idempotency::{self, Answer, Idempotent};
use allmende::invitations::{self, NewInvitation};
use allmende::{error::ApiError, transaction};
use allmende_core::digest::Digest;

use crate::http::{config, nouns};
use crate::stores::NOW;

/// A hub that does not keep house by itself.
async fn start(dir: &tempfile::TempDir, clock: &Clock) -> App {
    App::start(config(dir, &[]), clock.clone(), nouns(NoKeys)).await.unwrap()
}

#[tokio::test]
async fn what_nobody_needs_any_more_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::test(NOW);
    let app = start(&dir, &clock).await;
    let made: Result<(), ApiError> = transaction!(app.db, tx => {
        let new = NewToken {
            party: "north".parse().unwrap(),
            scopes: Scopes::parse("read").unwrap(),
            label: String::new(),
            expires_at: NOW.plus_ms(1_000),
        };
        auth::issue(tx, &new, 10, NOW).await?;
        auth::issue(tx, &NewToken { expires_at: NOW.plus_ms(10 * 86_400_000), ..new }, 10, NOW).await?;
        let request =
            Idempotent { party: "north".parse().unwrap(), key: "k".to_owned(), request: Digest::of(b"r") };
        idempotency::remember(tx, Some(&request), &Answer { status: 200, body: Vec::new() }, NOW).await?;
        invitations::create(tx, &NewInvitation { party: None, uses: 1, expires_at: NOW.plus_ms(1_000) }, NOW).await?;
        device::begin(tx, &Key::of(&app.hub_key), &Asking::new("c", "a", String::new()), NOW).await?;
        Ok(())
    });
    made.unwrap();
    let upload: Result<(), DbError> = transaction!(app.db, tx => {
        sqlx::query(
            "INSERT INTO uploads (id, log, run, coalition, round, slot, digest, size_bytes, weight, offer, statement,
             state, created_at) VALUES ('u', 'digits', 'r', 0, 1, 0, 'd', 1, 1, 'o b', 'north', 'open', $1)",
        )
        .bind(NOW.0)
        .execute(&mut **tx)
        .await?;
        Ok(())
    });
    upload.unwrap();
    let unfinished = dir.path().join("data/blobs/tmp/left-behind");
    std::fs::create_dir_all(unfinished.parent().unwrap()).unwrap();
    let file = std::fs::File::create(&unfinished).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(2 * 86_400)).unwrap();
    let fresh = unfinished.with_file_name("under-way");
    std::fs::write(&fresh, "").unwrap();

    // Of an age it is now only the file.
    assert_eq!(hub::sweep(&app).await.uploads, 0);
    assert!(!unfinished.exists() && fresh.exists());
    clock.advance_ms(2 * 86_400_000);
    let swept = hub::sweep(&app).await;
    assert_eq!(
        swept,
        Swept {
            uploads: 1,
            files: 0,
            answers: 1,
            tokens: 1,
            invitations: 1,
            parts: 0,
            pushes: 0,
            devices: 1,
            exchange: 0
        }
    );
    assert_eq!(hub::sweep(&app).await, Swept::default(), "once");
    let left = auth::tokens(&mut app.db.read().await.unwrap(), &"north".parse().unwrap(), 9).await.unwrap();
    assert_eq!(left.len(), 1, "what still holds stays");
}

#[tokio::test]
async fn what_fails_does_not_keep_the_rest_from_being_done() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::test(NOW);
    let app = start(&dir, &clock).await;
    let broken: Result<(), ApiError> = transaction!(app.db, tx => {
        let new = NewInvitation { party: None, uses: 1, expires_at: NOW.plus_ms(1_000) };
        invitations::create(tx, &new, NOW).await?;
        sqlx::raw_sql("DROP TABLE uploads; DROP TABLE idempotency").execute(&mut **tx).await?;
        Ok(())
    });
    broken.unwrap();
    clock.advance_ms(2 * 86_400_000);
    assert_eq!(hub::sweep(&app).await, Swept { invitations: 1, ..Swept::default() });
}
