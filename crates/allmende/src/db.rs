//! The database: SQLite by default, PostgreSQL by its URL, one SQL text for both.
//!
//! SQL here and in the stores uses `$1` parameters, BIGINT, TEXT and bytes, `ON CONFLICT`, `RETURNING`; no
//! autoincrement, no clock of the database, `CAST(SUM(…) AS BIGINT)` where PostgreSQL would widen.
//!
//! Architecture invariant: nothing outside this module knows which of the two it talks to.

use std::error::Error as StdError;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Transaction};

use crate::config::Config;
use crate::faults;

mod migrate;

pub use migrate::{MIGRATIONS, Migration};

/// How often a write is tried when others get in its way.
const MAX_WRITE_ATTEMPTS: u32 = 10;
/// The same when a key is there already. Whoever looked for it first did not see it only because another wrote it at the same
/// time: looking again says what is so.
const MAX_UNIQUE_ATTEMPTS: u32 = 6;
/// How long to wait for a connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Which database answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// An SQLite file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// Why the database failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The URL names no database that this program speaks.
    #[error("database_url must begin with sqlite:// or postgres://")]
    UnknownScheme,
    /// A statement or a connection failed.
    #[error("database: {0}")]
    Sql(#[source] sqlx::Error),
    /// The disk of the database is full.
    #[error("the database's disk is full")]
    StorageFull(#[source] sqlx::Error),
    /// A row holds what no version of this program wrote.
    #[error("the database holds a wrong value in {column}: {message}")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A newer program wrote this database.
    #[error("the database is at version {found}, this program knows {known}: use a newer program")]
    Newer {
        /// The database's version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// A migration that was applied is not the one in this program.
    #[error("migration {version} was changed after it was applied to this database")]
    ChangedMigration {
        /// The migration.
        version: i64,
    },
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        let full = error
            .as_database_error()
            .and_then(|e| e.code().map(|code| sqlite_primary(&code) == Some(13) || code == "53100"))
            .unwrap_or(false);
        if full { Self::StorageFull(error) } else { Self::Sql(error) }
    }
}

/// SQLite's primary result code stands in the low byte of the extended one; PostgreSQL's codes have five characters.
fn sqlite_primary(code: &str) -> Option<i64> {
    if code.len() == 5 { None } else { code.parse::<i64>().ok().map(|code| code & 0xff) }
}

/// Finds the database's own error in a chain of errors.
fn sql_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e sqlx::Error> {
    std::iter::successors(Some(error), |&e| e.source()).find_map(|e| e.downcast_ref::<sqlx::Error>())
}

/// Whether trying the whole transaction again may succeed: busy or locked, serialization failure, deadlock.
#[must_use]
pub fn is_retryable(error: &(dyn StdError + 'static)) -> bool {
    let Some(error) = sql_error(error) else { return false };
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| {
        matches!(sqlite_primary(&code), Some(5 | 6)) || matches!(&*code, "40001" | "40P01" | "55P03")
    })
}

/// Whether a unique or primary key refused the row.
#[must_use]
pub fn is_unique_violation(error: &(dyn StdError + 'static)) -> bool {
    sql_error(error)
        .and_then(sqlx::Error::as_database_error)
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// `sqlite://…` or `postgres://…`.
    pub url: String,
    /// Connections for reading.
    pub connections: u32,
    /// How long a statement waits for another's lock, in milliseconds.
    pub busy_timeout_ms: u64,
}

impl From<&Config> for DbOptions {
    fn from(config: &Config) -> Self {
        Self {
            url: config.database_url(),
            connections: config.database_connections,
            busy_timeout_ms: config.database_busy_timeout_ms,
        }
    }
}

/// The database. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Db {
    backend: Backend,
    readers: AnyPool,
    /// SQLite takes one writer at a time: one connection makes them queue here instead of failing there.
    writer: AnyPool,
}

/// A transaction that may write. Queries run on `&mut *tx`.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Any>,
}

impl Deref for Tx {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}

impl Tx {
    /// Makes everything durable, or nothing.
    ///
    /// # Errors
    /// [`DbError`]; whether it was committed is then unknown.
    pub async fn commit(self) -> Result<(), DbError> {
        faults::point("db.before_commit");
        self.inner.commit().await?;
        faults::point("db.after_commit");
        Ok(())
    }
}

/// A transaction that only reads, all of it from one instant. Dropping it ends it.
#[derive(Debug)]
pub struct Snapshot {
    inner: Transaction<'static, Any>,
}

impl Deref for Snapshot {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Snapshot {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}

impl Db {
    /// Connects without looking at the tables; [`Db::migrate`] comes next.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn connect(options: &DbOptions) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let backend = if options.url.starts_with("sqlite:") {
            Backend::Sqlite
        } else if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://") {
            Backend::Postgres
        } else {
            return Err(DbError::UnknownScheme);
        };
        let pool = |connections: u32, set_up: String| {
            let set_up: Arc<str> = set_up.into();
            AnyPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).after_connect(
                move |connection, _| {
                    let set_up = Arc::clone(&set_up);
                    Box::pin(async move {
                        sqlx::raw_sql(sqlx::AssertSqlSafe(set_up)).execute(connection).await?;
                        Ok(())
                    })
                },
            )
        };
        let busy_timeout_ms = options.busy_timeout_ms;
        match backend {
            Backend::Sqlite => {
                let url =
                    if options.url.contains('?') { options.url.clone() } else { format!("{}?mode=rwc", options.url) };
                let common = format!("PRAGMA busy_timeout = {busy_timeout_ms}; PRAGMA foreign_keys = ON;");
                // FULL makes WAL sync at each commit: what was acknowledged survives a power cut.
                let writing = format!("{common} PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
                // A full disk makes SQLite end a transaction by itself. The driver does not notice and would never begin
                // another one on this connection, so a connection that comes back in a transaction is closed.
                let whole = |connection: &mut AnyConnection| !connection.is_in_transaction();
                let writer = pool(1, writing)
                    .after_release(move |connection, _| {
                        let whole = whole(connection);
                        Box::pin(async move { Ok(whole) })
                    })
                    .connect(&url)
                    .await?;
                let reading = format!("{common} PRAGMA query_only = ON;");
                let readers = pool(options.connections, reading).connect(&url).await?;
                Ok(Self { backend, readers, writer })
            }
            Backend::Postgres => {
                let set_up = format!("SET lock_timeout = {busy_timeout_ms}; SET synchronous_commit = on;");
                let both = pool(options.connections.max(2), set_up).connect(&options.url).await?;
                Ok(Self { backend, readers: both.clone(), writer: both })
            }
        }
    }

    /// Which database answers; for messages and for migrations only.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// A connection for single statements that read.
    ///
    /// # Errors
    /// [`DbError::Sql`] when none becomes free in time.
    pub async fn read(&self) -> Result<PoolConnection<Any>, DbError> {
        Ok(self.readers.acquire().await?)
    }

    /// A transaction for several statements that must read the same instant.
    ///
    /// # Errors
    /// [`DbError::Sql`] when no connection becomes free in time.
    pub async fn snapshot(&self) -> Result<Snapshot, DbError> {
        let begin = match self.backend {
            Backend::Sqlite => "BEGIN",
            Backend::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Ok(Snapshot { inner: self.readers.begin_with(begin).await? })
    }

    /// The attempts of one write; [`transaction!`](crate::transaction) drives them.
    #[must_use]
    pub const fn attempts(&self) -> Attempts<'_> {
        Attempts { db: self, attempt: 0 }
    }

    /// Begins a transaction that may write, for a caller that does its own retrying; [`transaction!`](crate::transaction)
    /// suits the others.
    ///
    /// # Errors
    /// [`DbError::Sql`] when no connection becomes free in time.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        let begin = match self.backend {
            // Taking the write lock at once avoids the one failure that waiting cannot cure: a reader turned writer.
            Backend::Sqlite => "BEGIN IMMEDIATE",
            Backend::Postgres => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        };
        Ok(Tx { inner: self.writer.begin_with(begin).await? })
    }

    /// Asks the database for a sign of life by reading; whether its disk is full shows only when something is written.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn ping(&self) -> Result<(), DbError> {
        sqlx::query("SELECT 1").execute(&mut *self.read().await?).await?;
        Ok(())
    }

    /// Closes all connections; SQLite folds its write-ahead log into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The attempts of one write.
#[derive(Debug)]
pub struct Attempts<'a> {
    db: &'a Db,
    attempt: u32,
}

impl Attempts<'_> {
    /// Begins the next attempt.
    ///
    /// # Errors
    /// [`DbError::Sql`] when no connection becomes free in time.
    pub async fn begin(&mut self) -> Result<Tx, DbError> {
        self.attempt += 1;
        self.db.begin().await
    }

    /// Commits, or rolls back what failed. Nothing comes back when the work has to be tried again.
    pub async fn end<T, E>(&mut self, tx: Tx, outcome: Result<T, E>) -> Option<Result<T, E>>
    where
        E: From<DbError> + StdError + 'static,
    {
        let outcome = match outcome {
            Ok(value) => tx.commit().await.map(|()| value).map_err(E::from),
            Err(error) => {
                // Waiting for the rollback frees the writer before the next attempt; the first error is what counts.
                let _ = tx.inner.rollback().await;
                Err(error)
            }
        };
        let again = |error: &E| {
            let limit = if is_unique_violation(error) { MAX_UNIQUE_ATTEMPTS } else { MAX_WRITE_ATTEMPTS };
            self.attempt < limit && (is_retryable(error) || is_unique_violation(error))
        };
        if outcome.as_ref().is_err_and(again) {
            tokio::time::sleep(backoff(self.attempt)).await;
            return None;
        }
        Some(outcome)
    }
}

/// Runs a block in one serializable transaction and commits it; an error rolls it back.
///
/// `transaction!(db, tx => { …; Ok::<_, SomeError>(value) })` gives the block's `Result`; `?` and `return` leave the
/// block, `tx` is a `&mut Tx`, the error must be `From<DbError>`. When another transaction gets in the way, the block
/// runs again from the start, so it must have no effect outside the transaction. If the connection breaks during the
/// commit, the outcome is unknown to the caller: statements are found again by their payload digest.
///
/// A macro, because the future of a method that takes an async closure over borrowed values cannot be shown to be `Send`
/// (rust-lang/rust#110338), and handlers must be.
#[macro_export]
macro_rules! transaction {
    ($db:expr, $tx:ident => $body:block) => {{
        let mut attempts = $crate::db::Db::attempts(&$db);
        loop {
            let mut tx = match attempts.begin().await {
                Ok(tx) => tx,
                Err(error) => break Err(error.into()),
            };
            let outcome = async {
                let $tx = &mut tx;
                $body
            }
            .await;
            if let Some(outcome) = attempts.end(tx, outcome).await {
                break outcome;
            }
        }
    }};
}

/// A few milliseconds, growing, with chance so that two writers do not meet again.
fn backoff(attempt: u32) -> Duration {
    let mut byte = [0];
    // Without chance the wait is only less fair.
    let _ = getrandom::fill(&mut byte);
    let unit_us = 1000 << attempt.min(7);
    Duration::from_micros(unit_us / 2 + unit_us * u64::from(byte[0]) / 255)
}

/// Turns a size or an index into the database's integer.
///
/// # Errors
/// [`DbError::Corrupt`] past 2^63 − 1, which no limit admits.
pub fn to_i64(value: u64) -> Result<i64, DbError> {
    i64::try_from(value)
        .map_err(|_| DbError::Corrupt { column: "parameter", message: format!("{value} does not fit 63 bits") })
}

/// Turns the database's integer into a size or an index.
///
/// # Errors
/// [`DbError::Corrupt`] when it is negative.
pub fn to_u64(column: &'static str, value: i64) -> Result<u64, DbError> {
    u64::try_from(value).map_err(|_| DbError::Corrupt { column, message: format!("{value} is negative") })
}
