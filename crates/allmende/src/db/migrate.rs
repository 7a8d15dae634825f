//! Versioned changes of the tables, each in its own transaction.

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};

use super::{Backend, Db, DbError, DbOptions};
use crate::transaction;

/// One change of the tables. Once released it never changes; its digest is kept beside it.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1, 2, 3 …
    pub version: i64,
    /// For people.
    pub name: &'static str,
    /// The statements, with `{blob}` for the type of bytes.
    pub sql: &'static str,
}

/// All migrations in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "start", sql: include_str!("../../migrations/0001_start.sql") },
    Migration { version: 2, name: "projections", sql: include_str!("../../migrations/0002_projections.sql") },
    Migration {
        version: 3,
        name: "restores and nodes",
        sql: include_str!("../../migrations/0003_restores_and_nodes.sql"),
    },
    Migration { version: 4, name: "invitations", sql: include_str!("../../migrations/0004_invitations.sql") },
    Migration {
        version: 5,
        name: "accounts and repositories",
        sql: include_str!("../../migrations/0005_accounts_and_repositories.sql"),
    },
    Migration { version: 6, name: "xet", sql: include_str!("../../migrations/0006_xet.sql") },
    Migration { version: 7, name: "discussions", sql: include_str!("../../migrations/0007_discussions.sql") },
    Migration { version: 8, name: "exchange", sql: include_str!("../../migrations/0008_exchange.sql") },
    Migration { version: 9, name: "keeping", sql: include_str!("../../migrations/0009_keeping.sql") },
    Migration { version: 10, name: "content", sql: include_str!("../../migrations/0010_content.sql") },
    Migration {
        version: 11,
        name: "terms at the door",
        sql: include_str!("../../migrations/0011_terms_at_the_door.sql"),
    },
    Migration { version: 12, name: "buckets", sql: include_str!("../../migrations/0012_buckets.sql") },
    Migration { version: 14, name: "moving refs", sql: include_str!("../../migrations/0014_moving_refs.sql") },
    Migration { version: 15, name: "mirrors", sql: include_str!("../../migrations/0015_mirrors.sql") },
    Migration { version: 16, name: "doors", sql: include_str!("../../migrations/0016_doors.sql") },
    Migration { version: 17, name: "histories weigh", sql: include_str!("../../migrations/0017_histories_weigh.sql") },
];

const CREATE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)";

impl Db {
    /// Connects and brings the tables up to date.
    ///
    /// # Errors
    /// [`DbError`]; nothing of a failed migration remains.
    pub async fn open(options: &DbOptions, now: Timestamp) -> Result<Self, DbError> {
        let db = Self::connect(options).await?;
        db.migrate(MIGRATIONS, now).await?;
        Ok(db)
    }

    /// Applies what is missing of `migrations`. Several programs may start at once.
    ///
    /// # Errors
    /// [`DbError::Newer`], [`DbError::ChangedMigration`], or a statement's failure.
    pub async fn migrate(&self, migrations: &[Migration], now: Timestamp) -> Result<(), DbError> {
        transaction!(*self, tx => {
            if self.backend() == Backend::Postgres {
                // In spite of IF NOT EXISTS, PostgreSQL lets sessions that create the same table race and fail.
                sqlx::raw_sql("DO $$ BEGIN PERFORM pg_advisory_xact_lock(8440); END $$").execute(&mut **tx).await?;
            }
            sqlx::query(CREATE).execute(&mut **tx).await?;
            Ok::<_, DbError>(())
        })?;
        let known = migrations.last().map_or(0, |m| m.version);
        for migration in migrations {
            transaction!(*self, tx => {
                if self.backend() == Backend::Postgres {
                    // The first statement, because it takes no snapshot: what others applied meanwhile is seen below.
                    sqlx::raw_sql("LOCK TABLE schema_migrations IN ACCESS EXCLUSIVE MODE").execute(&mut **tx).await?;
                }
                let applied = sqlx::query("SELECT version, checksum FROM schema_migrations ORDER BY version")
                    .fetch_all(&mut **tx)
                    .await?;
                let applied = applied
                    .iter()
                    .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                    .collect::<Result<Vec<(i64, String)>, DbError>>()?;
                if let Some(&(found, _)) = applied.last().filter(|(version, _)| *version > known) {
                    return Err(DbError::Newer { found, known });
                }
                let checksum = Digest::of(migration.sql.as_bytes()).to_string();
                if let Some((version, kept)) = applied.into_iter().find(|(version, _)| *version == migration.version) {
                    return if kept == checksum { Ok(()) } else { Err(DbError::ChangedMigration { version }) };
                }
                let blob = match self.backend() {
                    Backend::Sqlite => "BLOB",
                    Backend::Postgres => "BYTEA",
                };
                sqlx::raw_sql(AssertSqlSafe(migration.sql.replace("{blob}", blob))).execute(&mut **tx).await?;
                sqlx::query(
                    "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
                )
                .bind(migration.version)
                .bind(migration.name)
                .bind(checksum)
                .bind(now.0)
                .execute(&mut **tx)
                .await?;
                tracing::info!(version = migration.version, name = migration.name, "database migrated");
                Ok::<_, DbError>(())
            })?;
        }
        Ok(())
    }
}
