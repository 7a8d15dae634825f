//! Entries, heads and cosignatures in SQL.
//!
//! The transaction that appends is the only commit point of governance, so every writing function takes a [`Tx`] and
//! projections are written in the same one.

use allmende_core::digest::Digest;
use allmende_core::ledger::merkle::{Hash, Subtree};
use allmende_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::db::{DbError, Tx, to_i64, to_u64};
use crate::faults;

/// Why the log refused.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Another append came first: read the head again.
    #[error("log {log} has {actual} entries, not {expected}")]
    Conflict {
        /// The log.
        log: String,
        /// The size that the caller had seen.
        expected: u64,
        /// The size that it has.
        actual: u64,
    },
    /// This very payload stands in the log already.
    #[error("the statement is entry {index} of log {log} already")]
    Duplicate {
        /// The log.
        log: String,
        /// Where it stands.
        index: u64,
    },
    /// The origin belongs to another log.
    #[error("the origin {origin} is in use")]
    OriginTaken {
        /// The origin.
        origin: String,
    },
    /// The log's head is earlier than the entry's time, or another promise of the caller does not hold.
    #[error("append refused: {0}")]
    Misuse(&'static str),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// One entry to append.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// The leaf's bytes, as verifiers hash them.
    pub leaf: &'a [u8],
    /// The leaf's hash in the tree.
    pub leaf_hash: &'a [u8; 32],
    /// By which the statement repeats at most once.
    pub payload_digest: &'a Digest,
    /// The kind of statement.
    pub kind: &'a str,
    /// The key that signed, as text.
    pub signer: &'a str,
    /// The hub's clock at arrival; never earlier than the head's.
    pub arrived_at: Timestamp,
}

/// The tip of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// As checkpoints state it.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the Merkle tree.
    pub root: [u8; 32],
    /// Roots of the full subtrees from which the next root is made, joined.
    pub frontier: Vec<u8>,
    /// The signed checkpoint's text.
    pub checkpoint: String,
    /// Arrival of the last entry.
    pub arrived_at: Timestamp,
}

/// One stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 0.
    pub index: u64,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// The kind of statement.
    pub kind: String,
    /// The key that signed.
    pub signer: String,
    /// The hub's clock at arrival.
    pub arrived_at: Timestamp,
}

/// A witness's word for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// The witness's key, as text.
    pub key: String,
    /// Size of the checkpoint it signed.
    pub size: u64,
    /// When, by the witness's clock, in seconds since 1970.
    pub timestamp_s: u64,
    /// The signature line of the note.
    pub line: String,
}

/// Appends `entries` when the log has exactly `expected_size` of them, and replaces the head by `head`, whose size
/// must be the sum. Nothing is written unless all is.
///
/// # Errors
/// [`LedgerError::Conflict`], [`LedgerError::Duplicate`], [`LedgerError::OriginTaken`], or the database's failure. The
/// caller must let the transaction roll back.
pub async fn append(
    tx: &mut Tx,
    log: &str,
    expected_size: u64,
    entries: &[NewEntry<'_>],
    head: &Head,
) -> Result<(), LedgerError> {
    if head.size != expected_size + entries.len() as u64 {
        return Err(LedgerError::Misuse("the head's size is not the sum"));
    }
    let before = head_of(tx, log).await?;
    let (actual, mut latest) = before.as_ref().map_or((0, Timestamp(i64::MIN)), |h| (h.size, h.arrived_at));
    if actual != expected_size {
        return Err(LedgerError::Conflict { log: log.to_owned(), expected: expected_size, actual });
    }
    faults::point("append.before_entries");
    for entry in entries {
        if entry.arrived_at < latest {
            return Err(LedgerError::Misuse("an entry arrived before its predecessor"));
        }
        latest = entry.arrived_at;
    }
    let mut index = expected_size;
    for page in entries.chunks(ROWS) {
        insert(tx, log, index, page).await?;
        index += page.len() as u64;
    }
    if head.arrived_at < latest {
        return Err(LedgerError::Misuse("the head is earlier than its last entry"));
    }
    faults::point("append.before_head");
    let sql = if before.is_none() {
        "INSERT INTO log_heads (log, origin, size, root, frontier, checkpoint, arrived_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
    } else {
        "UPDATE log_heads SET size = $3, root = $4, frontier = $5, checkpoint = $6, arrived_at = $7
         WHERE log = $1 AND origin = $2 AND size = $8"
    };
    let mut query = sqlx::query(sql)
        .bind(log)
        .bind(&head.origin)
        .bind(to_i64(head.size)?)
        .bind(head.root.as_slice())
        .bind(head.frontier.as_slice())
        .bind(&head.checkpoint)
        .bind(head.arrived_at.0);
    if before.is_some() {
        query = query.bind(to_i64(expected_size)?);
    }
    if query.execute(&mut **tx).await?.rows_affected() != 1 {
        return Err(LedgerError::OriginTaken { origin: head.origin.clone() });
    }
    faults::point("append.after_head");
    Ok(())
}

/// Rows of one INSERT: SQLite takes 32,766 parameters, PostgreSQL 65,535.
const ROWS: usize = 64;

/// The text of an INSERT of `rows` rows with `columns` values each, of which the first is the same for all.
fn insert_sql(into: &str, rows: usize, columns: usize) -> String {
    use std::fmt::Write as _;
    let mut sql = format!("INSERT INTO {into} VALUES ");
    for row in 0..rows {
        sql.push_str(if row == 0 { "($1" } else { ", ($1" });
        for column in 1..columns {
            // Writing to a String cannot fail.
            let _ = write!(sql, ", ${}", 1 + row * (columns - 1) + column);
        }
        sql.push(')');
    }
    // DO NOTHING instead of an error, because on PostgreSQL an error would end the transaction.
    sql.push_str(" ON CONFLICT DO NOTHING");
    sql
}

async fn insert(tx: &mut Tx, log: &str, first: u64, entries: &[NewEntry<'_>]) -> Result<(), LedgerError> {
    let into = "log_entries (log, idx, leaf, leaf_hash, payload_digest, kind, signer, arrived_at)";
    let mut query = sqlx::query(sqlx::AssertSqlSafe(insert_sql(into, entries.len(), 8))).bind(log);
    for (index, entry) in (first..).zip(entries) {
        query = query
            .bind(to_i64(index)?)
            .bind(entry.leaf)
            .bind(entry.leaf_hash.as_slice())
            .bind(entry.payload_digest.to_string())
            .bind(entry.kind)
            .bind(entry.signer)
            .bind(entry.arrived_at.0);
    }
    if query.execute(&mut **tx).await?.rows_affected() == entries.len() as u64 {
        return Ok(());
    }
    for (index, entry) in (first..).zip(entries) {
        match find(tx, log, entry.payload_digest).await? {
            Some(standing) if standing == index => {}
            Some(index) => return Err(LedgerError::Duplicate { log: log.to_owned(), index }),
            // The place is taken although the head did not say so.
            None => {
                let message = format!("{log} has an entry {index}");
                return Err(DbError::Corrupt { column: "log_heads.size", message }.into());
            }
        }
    }
    Err(DbError::Corrupt { column: "log_heads.size", message: format!("{log} has entries after {first}") }.into())
}

/// Stores roots of complete subtrees; those that are there stay.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn put_nodes(tx: &mut Tx, log: &str, nodes: &[(Subtree, Hash)]) -> Result<(), LedgerError> {
    for page in nodes.chunks(ROWS) {
        let sql = insert_sql("log_nodes (log, level, idx, hash)", page.len(), 4);
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(log);
        for (subtree, hash) in page {
            query = query.bind(i64::from(subtree.level)).bind(to_i64(subtree.index)?).bind(hash.0.as_slice());
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// How many roots of subtrees of `log` are stored.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn count_nodes(connection: &mut AnyConnection, log: &str) -> Result<u64, LedgerError> {
    let count: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM log_nodes WHERE log = $1").bind(log).fetch_one(connection).await?;
    Ok(to_u64("COUNT(*)", count)?)
}

/// The stored roots of the subtrees `from..to` of a level; none when not all of them are there.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn nodes(
    connection: &mut AnyConnection,
    log: &str,
    level: u8,
    from: u64,
    to: u64,
) -> Result<Option<Vec<Hash>>, LedgerError> {
    let rows =
        sqlx::query("SELECT hash FROM log_nodes WHERE log = $1 AND level = $2 AND idx >= $3 AND idx < $4 ORDER BY idx")
            .bind(log)
            .bind(i64::from(level))
            .bind(to_i64(from)?)
            .bind(to_i64(to)?)
            .fetch_all(connection)
            .await?;
    if rows.len() as u64 != to.saturating_sub(from) {
        return Ok(None);
    }
    let hash = |row: &AnyRow| Ok(Digest(bytes32("log_nodes.hash", row.try_get(0)?)?));
    rows.iter().map(hash).collect::<Result<_, LedgerError>>().map(Some)
}

async fn head_of(connection: &mut AnyConnection, log: &str) -> Result<Option<Head>, LedgerError> {
    let row = sqlx::query("SELECT origin, size, root, frontier, checkpoint, arrived_at FROM log_heads WHERE log = $1")
        .bind(log)
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(Head {
            origin: row.try_get(0)?,
            size: to_u64("log_heads.size", row.try_get(1)?)?,
            root: bytes32("log_heads.root", row.try_get(2)?)?,
            frontier: row.try_get(3)?,
            checkpoint: row.try_get(4)?,
            arrived_at: Timestamp(row.try_get(5)?),
        })
    })
    .transpose()
}

/// The head of a log, if it has entries.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn head(connection: &mut AnyConnection, log: &str) -> Result<Option<Head>, LedgerError> {
    head_of(connection, log).await
}

/// Number of entries of a log.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn size(connection: &mut AnyConnection, log: &str) -> Result<u64, LedgerError> {
    let size: Option<i64> =
        sqlx::query_scalar("SELECT size FROM log_heads WHERE log = $1").bind(log).fetch_optional(connection).await?;
    Ok(to_u64("log_heads.size", size.unwrap_or(0))?)
}

/// What changes of a log when anybody appends to it or cosigns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    /// Number of entries.
    pub size: u64,
    /// Grows with every cosignature that is kept.
    pub cosigned: i64,
}

/// The pulse of every log.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn pulses(connection: &mut AnyConnection) -> Result<Vec<(String, Pulse)>, LedgerError> {
    let rows = sqlx::query(
        "SELECT h.log, h.size, COALESCE((SELECT CAST(SUM(c.size + c.timestamp_s) AS BIGINT) FROM cosignatures c
         WHERE c.log = h.log), 0) FROM log_heads h",
    )
    .fetch_all(connection)
    .await?;
    let pulse = |row: &AnyRow| {
        Ok((row.try_get(0)?, Pulse { size: to_u64("log_heads.size", row.try_get(1)?)?, cosigned: row.try_get(2)? }))
    };
    rows.iter().map(pulse).collect()
}

/// The names of all logs, in order, after `after`.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn logs(connection: &mut AnyConnection, after: &str, limit: u64) -> Result<Vec<String>, LedgerError> {
    let rows = sqlx::query("SELECT log FROM log_heads WHERE log > $1 ORDER BY log LIMIT $2")
        .bind(after)
        .bind(to_i64(limit)?)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The latest arrival in any log: no clock may tell an earlier time.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn latest_arrival(connection: &mut AnyConnection) -> Result<Option<Timestamp>, LedgerError> {
    let row = sqlx::query("SELECT MAX(arrived_at) FROM log_heads").fetch_one(connection).await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.map(Timestamp))
}

/// Where the statement with this payload stands, if it does.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn find(connection: &mut AnyConnection, log: &str, payload: &Digest) -> Result<Option<u64>, LedgerError> {
    let row = sqlx::query("SELECT idx FROM log_entries WHERE log = $1 AND payload_digest = $2")
        .bind(log)
        .bind(payload.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok(to_u64("log_entries.idx", row.try_get(0)?)?)).transpose()
}

/// At most `limit` entries from index `from` on, in order. Reading asserts that none is missing.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn entries(
    connection: &mut AnyConnection,
    log: &str,
    from: u64,
    limit: u64,
) -> Result<Vec<Entry>, LedgerError> {
    let rows = sqlx::query(
        "SELECT idx, leaf, kind, signer, arrived_at FROM log_entries WHERE log = $1 AND idx >= $2 ORDER BY idx LIMIT $3",
    )
    .bind(log)
    .bind(to_i64(from)?)
    .bind(to_i64(limit)?)
    .fetch_all(connection)
    .await?;
    let entry = |(expected, row): (u64, &AnyRow)| {
        Ok(Entry {
            index: in_order("log_entries.idx", expected, row.try_get(0)?)?,
            leaf: row.try_get(1)?,
            kind: row.try_get(2)?,
            signer: row.try_get(3)?,
            arrived_at: Timestamp(row.try_get(4)?),
        })
    };
    (from..).zip(&rows).map(entry).collect()
}

/// The hashes of the leaves `from..to`, which must exist.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn leaf_hashes(
    connection: &mut AnyConnection,
    log: &str,
    from: u64,
    to: u64,
) -> Result<Vec<[u8; 32]>, LedgerError> {
    let rows =
        sqlx::query("SELECT idx, leaf_hash FROM log_entries WHERE log = $1 AND idx >= $2 AND idx < $3 ORDER BY idx")
            .bind(log)
            .bind(to_i64(from)?)
            .bind(to_i64(to)?)
            .fetch_all(connection)
            .await?;
    if rows.len() as u64 != to.saturating_sub(from) {
        let message = format!("{log} has {} of the entries {from}..{to}", rows.len());
        return Err(DbError::Corrupt { column: "log_entries.idx", message }.into());
    }
    let hash = |(expected, row): (u64, &AnyRow)| {
        in_order("log_entries.idx", expected, row.try_get(0)?)?;
        Ok(bytes32("log_entries.leaf_hash", row.try_get(1)?)?)
    };
    (from..).zip(&rows).map(hash).collect()
}

/// Keeps a witness's cosignature unless a later one of the same key is there. Says whether it was kept.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn put_cosignature(tx: &mut Tx, log: &str, cosignature: &Cosignature) -> Result<bool, LedgerError> {
    let kept = sqlx::query(
        "INSERT INTO cosignatures (log, key, size, timestamp_s, line) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (log, key) DO UPDATE
         SET size = excluded.size, timestamp_s = excluded.timestamp_s, line = excluded.line
         WHERE excluded.size > cosignatures.size
            OR (excluded.size = cosignatures.size AND excluded.timestamp_s > cosignatures.timestamp_s)",
    )
    .bind(log)
    .bind(&cosignature.key)
    .bind(to_i64(cosignature.size)?)
    .bind(to_i64(cosignature.timestamp_s)?)
    .bind(&cosignature.line)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(kept == 1)
}

/// The latest cosignature of each witness, ordered by key.
///
/// # Errors
/// [`LedgerError::Db`].
pub async fn cosignatures(connection: &mut AnyConnection, log: &str) -> Result<Vec<Cosignature>, LedgerError> {
    let rows = sqlx::query("SELECT key, size, timestamp_s, line FROM cosignatures WHERE log = $1 ORDER BY key")
        .bind(log)
        .fetch_all(connection)
        .await?;
    let cosignature = |row: &AnyRow| {
        Ok(Cosignature {
            key: row.try_get(0)?,
            size: to_u64("cosignatures.size", row.try_get(1)?)?,
            timestamp_s: to_u64("cosignatures.timestamp_s", row.try_get(2)?)?,
            line: row.try_get(3)?,
        })
    };
    rows.iter().map(cosignature).collect()
}

fn bytes32(column: &'static str, bytes: Vec<u8>) -> Result<[u8; 32], DbError> {
    bytes.try_into().map_err(|b: Vec<u8>| DbError::Corrupt { column, message: format!("{} bytes, not 32", b.len()) })
}

fn in_order(column: &'static str, expected: u64, found: i64) -> Result<u64, DbError> {
    let found = to_u64(column, found)?;
    if found == expected {
        Ok(found)
    } else {
        Err(DbError::Corrupt { column, message: format!("entry {found} where {expected} was expected") })
    }
}
