//! Logs that came back from a backup or from tiles. Entries acknowledged after the backup was made may stand in no other
//! place than the members' nodes, so such a log takes nothing before a node of every member was heard, and nothing at all
//! while one of them has seen more than is here.

use allmende_core::id::PartyId;
use allmende_core::signature::PublicKey;
use allmende_core::time::Timestamp;
use sqlx::{AnyConnection, Row as _};

use super::store::LedgerError;
use crate::db::{DbError, Tx, to_i64, to_u64};

/// That a log is held, and since which size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Number of entries that came back.
    pub size: u64,
}

/// What a held log still waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Members of which no node was heard since.
    pub silent: Vec<PartyId>,
    /// Whose node has seen more than is here, and how much.
    pub ahead: Vec<(PartyId, u64)>,
}

impl Waiting {
    /// Whether the log may be written to again.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.silent.is_empty() && self.ahead.is_empty()
    }
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (party, size) in &self.ahead {
            write!(f, "; a node of {party} has {size} entries")?;
        }
        if !self.silent.is_empty() {
            let names: Vec<_> = self.silent.iter().map(PartyId::as_str).collect();
            write!(f, "; waiting to hear from the nodes of {}", names.join(", "))?;
        }
        Ok(())
    }
}

/// A node's word on how much it has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The node's key, as text.
    pub node: String,
    /// Whose node it is.
    pub party: PartyId,
    /// The most entries it said that it has.
    pub size: u64,
}

/// Whether `log` is held.
///
/// # Errors
/// The database's.
pub async fn of(connection: &mut AnyConnection, log: &str) -> Result<Option<Hold>, LedgerError> {
    let size: Option<i64> =
        sqlx::query_scalar("SELECT size FROM log_restores WHERE log = $1").bind(log).fetch_optional(connection).await?;
    Ok(size.map(|size| to_u64("log_restores.size", size)).transpose()?.map(|size| Hold { size }))
}

/// The names of all held logs.
///
/// # Errors
/// The database's.
pub async fn all(connection: &mut AnyConnection) -> Result<Vec<String>, LedgerError> {
    Ok(sqlx::query_scalar("SELECT log FROM log_restores ORDER BY log").fetch_all(connection).await?)
}

/// Holds `log` from now on; what its witnesses said before is forgotten.
///
/// # Errors
/// The database's.
pub async fn put(tx: &mut Tx, log: &str, size: u64, at: Timestamp) -> Result<(), LedgerError> {
    release(tx, log).await?;
    sqlx::query("INSERT INTO log_restores (log, size, restored_at) VALUES ($1, $2, $3)")
        .bind(log)
        .bind(to_i64(size)?)
        .bind(at.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Lets `log` be written to again. Says whether it was held.
///
/// # Errors
/// The database's.
pub async fn release(tx: &mut Tx, log: &str) -> Result<bool, LedgerError> {
    sqlx::query("DELETE FROM log_restore_reports WHERE log = $1").bind(log).execute(&mut **tx).await?;
    let released = sqlx::query("DELETE FROM log_restores WHERE log = $1").bind(log).execute(&mut **tx).await?;
    Ok(released.rows_affected() > 0)
}

/// Keeps a node's word; of two the larger size.
///
/// # Errors
/// The database's.
pub async fn report(tx: &mut Tx, log: &str, node: &PublicKey, party: &PartyId, size: u64) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO log_restore_reports (log, node, party, size) VALUES ($1, $2, $3, $4)
         ON CONFLICT (log, node) DO UPDATE SET size = excluded.size
         WHERE excluded.size > log_restore_reports.size",
    )
    .bind(log)
    .bind(node.to_string())
    .bind(party.as_str())
    .bind(to_i64(size)?)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What the witnesses of `log` said.
///
/// # Errors
/// The database's.
pub async fn reports(connection: &mut AnyConnection, log: &str) -> Result<Vec<Report>, LedgerError> {
    let rows = sqlx::query("SELECT node, party, size FROM log_restore_reports WHERE log = $1 ORDER BY node")
        .bind(log)
        .fetch_all(connection)
        .await?;
    let report = |row: &sqlx::any::AnyRow| {
        let party: String = row.try_get(1)?;
        let column = "log_restore_reports.party";
        let party = party.parse().map_err(|_| DbError::Corrupt { column, message: party })?;
        Ok(Report { node: row.try_get(0)?, party, size: to_u64("log_restore_reports.size", row.try_get(2)?)? })
    };
    rows.iter().map(report).collect()
}

/// What a log with `members` and `size` entries still waits for after `reports`.
pub fn waiting<'a>(members: impl Iterator<Item = &'a PartyId>, size: u64, reports: &[Report]) -> Waiting {
    let silent = members.filter(|party| !reports.iter().any(|r| r.party == **party)).cloned().collect();
    let ahead = reports.iter().filter(|r| r.size > size).map(|r| (r.party.clone(), r.size)).collect();
    Waiting { silent, ahead }
}

/// Notes that a restore begins, before anything of it is written.
///
/// # Errors
/// The database's.
pub async fn begin_restore(tx: &mut Tx, at: Timestamp) -> Result<(), LedgerError> {
    sqlx::query("INSERT INTO restores (id, began_at) SELECT COALESCE(MAX(id), 0) + 1, $1 FROM restores")
        .bind(at.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Notes that everything of every restore that began is here.
///
/// # Errors
/// The database's.
pub async fn finish_restore(tx: &mut Tx, at: Timestamp) -> Result<(), LedgerError> {
    sqlx::query("UPDATE restores SET finished_at = $1 WHERE finished_at IS NULL").bind(at.0).execute(&mut **tx).await?;
    Ok(())
}

/// Whether a restore began and did not finish.
///
/// # Errors
/// The database's.
pub async fn unfinished(connection: &mut AnyConnection) -> Result<bool, LedgerError> {
    let open: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM restores WHERE finished_at IS NULL").fetch_one(connection).await?;
    Ok(open > 0)
}
