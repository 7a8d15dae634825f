//! Mirrors in the database.

use allmende_core::digest::Digest;
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;

use crate::db::{DbError, Tx, to_i64, to_u64};
use crate::secret::{self, Purpose};

/// Most rewritten refs that are remembered.
const MAX_REWRITTEN: usize = 50;

/// A ref that went elsewhere than onward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Rewritten {
    /// When it was noticed here, in milliseconds since 1970.
    pub at: i64,
    /// The branch or tag, in full.
    pub name: String,
    /// Where it led.
    pub old: String,
    /// Where it leads now; zeros where it is gone.
    pub new: String,
}

/// A repository that follows another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The repository's id here.
    pub repo: String,
    /// The other hub's address; empty where bundles are brought.
    pub url: String,
    /// SHA-256 of its TLS public key, where its certificate is its own.
    pub tls_pin: Option<Digest>,
    /// `owner/name` there.
    pub source: String,
    /// Its id there; empty until something came.
    pub source_id: String,
    /// Who signs what comes; none until something came.
    pub signer: Option<PublicKey>,
    /// Seconds between two looks; 0 is when asked alone.
    pub every_s: u64,
    /// When it is looked at next.
    pub next_at: Option<Timestamp>,
    /// Until when a process is at it.
    pub busy_until: Timestamp,
    /// How often it failed since it last did not.
    pub failures: u64,
    /// Why it failed last; empty if it did not.
    pub error: String,
    /// When what stands here was made there.
    pub made_at: Timestamp,
    /// When it was last known to be all there is.
    pub synced_at: Option<Timestamp>,
    /// Bytes that came on the wire, of what is under way or came last.
    pub fetched_bytes: u64,
    /// Bytes of xorbs that were stored of it.
    pub stored_bytes: u64,
    /// Large files that its history names and its source does not have.
    pub lacking: u64,
    /// Refs that went elsewhere than onward, latest last.
    pub rewritten: Vec<Rewritten>,
}

const COLUMNS: &str = "repo, url, source, source_id, signer, every_s, next_at, busy_until, failures, error, made_at, \
                       synced_at, fetched_bytes, stored_bytes, lacking, rewritten, tls_pin";

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

fn mirror(row: &AnyRow) -> Result<Mirror, DbError> {
    let (signer, rewritten): (String, String) = (row.try_get(4)?, row.try_get(15)?);
    let signer = Some(signer).filter(|text| !text.is_empty()).map(|text| text.parse());
    let tls_pin: String = row.try_get(16)?;
    let tls_pin = Some(tls_pin).filter(|text| !text.is_empty()).map(|text| text.parse());
    Ok(Mirror {
        repo: row.try_get(0)?,
        url: row.try_get(1)?,
        tls_pin: tls_pin.transpose().map_err(|e| corrupt("mirrors.tls_pin", e))?,
        source: row.try_get(2)?,
        source_id: row.try_get(3)?,
        signer: signer.transpose().map_err(|e| corrupt("mirrors.signer", e))?,
        every_s: to_u64("mirrors.every_s", row.try_get(5)?)?,
        next_at: row.try_get::<Option<i64>, _>(6)?.map(Timestamp),
        busy_until: Timestamp(row.try_get(7)?),
        failures: to_u64("mirrors.failures", row.try_get(8)?)?,
        error: row.try_get(9)?,
        made_at: Timestamp(row.try_get(10)?),
        synced_at: row.try_get::<Option<i64>, _>(11)?.map(Timestamp),
        fetched_bytes: to_u64("mirrors.fetched_bytes", row.try_get(12)?)?,
        stored_bytes: to_u64("mirrors.stored_bytes", row.try_get(13)?)?,
        lacking: to_u64("mirrors.lacking", row.try_get(14)?)?,
        rewritten: serde_json::from_str(&rewritten).map_err(|e| corrupt("mirrors.rewritten", e))?,
    })
}

/// The mirror that a repository is, if it is one.
///
/// # Errors
/// [`DbError`].
pub async fn of(connection: &mut AnyConnection, repo: &str) -> Result<Option<Mirror>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM mirrors WHERE repo = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(repo).fetch_optional(connection).await?;
    row.as_ref().map(mirror).transpose()
}

/// Mirrors by the ids of their repositories, after `after`.
///
/// # Errors
/// [`DbError`].
pub async fn page(connection: &mut AnyConnection, after: &str, limit: i64) -> Result<Vec<Mirror>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM mirrors WHERE repo > $1 ORDER BY repo LIMIT $2");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(after).bind(limit).fetch_all(connection).await?;
    rows.iter().map(mirror).collect()
}

/// The token that is shown to the source; empty without one.
pub(super) async fn token(
    connection: &mut AnyConnection,
    hub_key: &SecretKey,
    repo: &str,
) -> Result<Zeroizing<String>, DbError> {
    let kept: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT token FROM mirrors WHERE repo = $1").bind(repo).fetch_optional(connection).await?;
    let opened = secret::open(hub_key, Purpose::Mirror, repo, &kept.unwrap_or_default());
    opened.map_err(|e| corrupt("mirrors.token", e))
}

/// Writes a mirror, new or changed; `token` is sealed already, and none keeps what is there.
pub(super) async fn put(tx: &mut Tx, new: &Mirror, token: Option<&[u8]>) -> Result<(), DbError> {
    let rewritten = &new.rewritten[new.rewritten.len().saturating_sub(MAX_REWRITTEN)..];
    let rewritten = serde_json::to_string(rewritten).map_err(|e| corrupt("mirrors.rewritten", e))?;
    sqlx::query(
        "INSERT INTO mirrors (repo, url, source, source_id, signer, token, every_s, next_at, busy_until, failures, error,
                              made_at, synced_at, fetched_bytes, stored_bytes, lacking, rewritten, tls_pin)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
         ON CONFLICT (repo) DO UPDATE SET url = excluded.url, source = excluded.source, source_id = excluded.source_id,
             signer = excluded.signer, every_s = excluded.every_s, next_at = excluded.next_at,
             busy_until = excluded.busy_until, failures = excluded.failures, error = excluded.error,
             made_at = excluded.made_at, synced_at = excluded.synced_at, fetched_bytes = excluded.fetched_bytes,
             stored_bytes = excluded.stored_bytes, lacking = excluded.lacking, rewritten = excluded.rewritten,
             tls_pin = excluded.tls_pin",
    )
    .bind(&new.repo)
    .bind(&new.url)
    .bind(&new.source)
    .bind(&new.source_id)
    .bind(new.signer.map_or_else(String::new, |key| key.to_string()))
    .bind(token.unwrap_or_default())
    .bind(to_i64(new.every_s)?)
    .bind(new.next_at.map(|at| at.0))
    .bind(new.busy_until.0)
    .bind(to_i64(new.failures)?)
    .bind(&new.error)
    .bind(new.made_at.0)
    .bind(new.synced_at.map(|at| at.0))
    .bind(to_i64(new.fetched_bytes)?)
    .bind(to_i64(new.stored_bytes)?)
    .bind(to_i64(new.lacking)?)
    .bind(rewritten)
    .bind(new.tls_pin.map_or_else(String::new, |pin| pin.to_string()))
    .execute(&mut **tx)
    .await?;
    if let Some(token) = token {
        let sql = "UPDATE mirrors SET token = $2 WHERE repo = $1";
        sqlx::query(sql).bind(&new.repo).bind(token).execute(&mut **tx).await?;
    }
    Ok(())
}

pub(super) async fn delete(tx: &mut Tx, repo: &str) -> Result<(), DbError> {
    sqlx::query("DELETE FROM mirrors WHERE repo = $1").bind(repo).execute(&mut **tx).await?;
    Ok(())
}

/// Mirrors whose time has come and that nobody is at, longest first.
pub(super) async fn due(connection: &mut AnyConnection, now: Timestamp, most: i64) -> Result<Vec<Mirror>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM mirrors WHERE url <> '' AND next_at <= $1 AND busy_until <= $1 ORDER BY next_at, repo LIMIT $2"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now.0).bind(most).fetch_all(connection).await?;
    rows.iter().map(mirror).collect()
}

/// Takes a mirror until `until`, unless another has it.
pub(super) async fn claim(tx: &mut Tx, repo: &str, now: Timestamp, until: Timestamp) -> Result<bool, DbError> {
    let sql =
        "UPDATE mirrors SET busy_until = $3, fetched_bytes = 0, stored_bytes = 0 WHERE repo = $1 AND busy_until <= $2";
    let done = sqlx::query(sql).bind(repo).bind(now.0).bind(until.0).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps it longer, and says how far it is. Says whether the mirror is still there.
pub(super) async fn progress(tx: &mut Tx, repo: &str, until: Timestamp, fetched: u64) -> Result<bool, DbError> {
    let sql = "UPDATE mirrors SET busy_until = $2, fetched_bytes = $3 WHERE repo = $1";
    let done = sqlx::query(sql).bind(repo).bind(until.0).bind(to_i64(fetched)?).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

/// Asks for it now.
pub(super) async fn ask(tx: &mut Tx, repo: &str, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE mirrors SET next_at = $2, failures = 0 WHERE repo = $1";
    sqlx::query(sql).bind(repo).bind(now.0).execute(&mut **tx).await?;
    Ok(())
}

/// SHA-256 of the large files that a repository holds, at most `limit`, those that came last first.
pub(super) async fn files(connection: &mut AnyConnection, repo: &str, limit: i64) -> Result<Vec<String>, DbError> {
    let sql =
        "SELECT sha256 FROM repo_files WHERE repo = $1 AND xet IS NOT NULL ORDER BY held_at DESC, sha256 LIMIT $2";
    Ok(sqlx::query_scalar(sql).bind(repo).bind(limit).fetch_all(connection).await?)
}

/// The xorbs that came in through a repository, at most `limit`.
pub(super) async fn xorbs(connection: &mut AnyConnection, repo: &str, limit: i64) -> Result<Vec<String>, DbError> {
    let sql = "SELECT xorb FROM repo_xorbs WHERE repo = $1 ORDER BY xorb LIMIT $2";
    Ok(sqlx::query_scalar(sql).bind(repo).bind(limit).fetch_all(connection).await?)
}
