//! Tables over time.

use allmende::db::{Db, DbError, MIGRATIONS, Migration};
use sqlx::Row as _;

use super::NOW;

const NEXT: Migration = Migration {
    version: 1000,
    name: "later",
    sql: "CREATE TABLE later (id BIGINT NOT NULL PRIMARY KEY, bytes {blob}); ALTER TABLE tokens ADD COLUMN extra TEXT;",
};

async fn count(db: &Db, sql: &'static str) -> i64 {
    sqlx::query(sql).fetch_one(&mut *db.read().await.unwrap()).await.unwrap().try_get(0).unwrap()
}

crate::on_both! {
    async fn the_first_database_upgrades_and_keeps_its_rows(store) {
        let db = Db::connect(&store.options).await.unwrap();
        db.migrate(&MIGRATIONS[..1], NOW).await.unwrap();
        let insert = "INSERT INTO tokens (id, party, scope, hash, label, created_at, expires_at)
                      VALUES ('a', 'north', 'read', $1, '', 1, 2)";
        let written: Result<_, DbError> = allmende::transaction!(db, tx => {
            Ok(sqlx::query(insert).bind([1_u8; 32].as_slice()).execute(&mut **tx).await?)
        });
        written.unwrap();
        db.close().await;
        let db = store.open().await;
        assert_eq!(count(&db, "SELECT COUNT(*) FROM schema_migrations").await, MIGRATIONS.len() as i64);
        let longer: Vec<_> = MIGRATIONS.iter().copied().chain([NEXT]).collect();
        db.migrate(&longer, NOW).await.unwrap();
        db.migrate(&longer, NOW).await.unwrap();
        assert_eq!(count(&db, "SELECT COUNT(*) FROM tokens WHERE extra IS NULL").await, 1);
        let newer = Db::open(&store.options, NOW).await;
        assert!(matches!(newer, Err(DbError::Newer { found: 1000, .. })), "{newer:?}");
    }

    async fn a_changed_migration_is_refused(store) {
        let db = store.open().await;
        let mut changed = MIGRATIONS.to_vec();
        changed[0].sql = "CREATE TABLE other (id BIGINT)";
        let refused = db.migrate(&changed, NOW).await;
        assert!(matches!(refused, Err(DbError::ChangedMigration { version: 1 })), "{refused:?}");
    }

    async fn of_a_failing_migration_nothing_remains(store) {
        let db = store.open().await;
        let bad = Migration { sql: "CREATE TABLE half (id BIGINT); CREATE TABLE half (id BIGINT);", ..NEXT };
        let all: Vec<_> = MIGRATIONS.iter().copied().chain([bad]).collect();
        assert!(db.migrate(&all, NOW).await.is_err());
        let good = Migration { sql: "CREATE TABLE half (id BIGINT)", ..NEXT };
        let all: Vec<_> = MIGRATIONS.iter().copied().chain([good]).collect();
        db.migrate(&all, NOW).await.unwrap();
    }

    async fn several_programs_may_start_at_once(store) {
        let open = || {
            let options = store.options.clone();
            tokio::spawn(async move { Db::open(&options, NOW).await.map(drop) })
        };
        for opened in (0..8).map(|_| open()).collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
    }
}
