//! Sign-ins of devices in the database.

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use sqlx::{AnyConnection, Row as _};

use super::{Asking, INTERVAL_S, Loan, VALID_MS, Waiting};
use crate::db::{DbError, Tx};

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

/// How many wait, of one address or of all.
pub(super) async fn waiting(tx: &mut Tx, address: Option<&str>, now: Timestamp) -> Result<i64, DbError> {
    let sql =
        "SELECT COUNT(*) FROM device_codes WHERE state = 'pending' AND expires_at > $1 AND ($2 = '' OR address = $2)";
    Ok(sqlx::query_scalar(sql).bind(now.0).bind(address.unwrap_or_default()).fetch_one(&mut **tx).await?)
}

/// Writes a new one, unless another has its code.
pub(super) async fn insert(
    tx: &mut Tx,
    device: &Digest,
    code: &Digest,
    asking: &Asking,
    now: Timestamp,
) -> Result<bool, DbError> {
    let done = sqlx::query(
        "INSERT INTO device_codes (device, code, client, agent, address, created_at, expires_at, interval_s, state)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending') ON CONFLICT DO NOTHING",
    )
    .bind(device.0.as_slice())
    .bind(code.0.as_slice())
    .bind(&asking.client)
    .bind(&asking.agent)
    .bind(&asking.address)
    .bind(now.0)
    .bind(now.plus_ms(VALID_MS).0)
    .bind(INTERVAL_S)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The one that waits with this code.
pub(super) async fn find(tx: &mut Tx, code: &Digest, now: Timestamp) -> Result<Option<Waiting>, DbError> {
    let row = sqlx::query(
        "SELECT client, agent, address, created_at, expires_at FROM device_codes
         WHERE code = $1 AND state = 'pending' AND expires_at > $2",
    )
    .bind(code.0.as_slice())
    .bind(now.0)
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|row| {
        Ok(Waiting {
            asking: Asking { client: row.try_get(0)?, agent: row.try_get(1)?, address: row.try_get(2)? },
            created_at: Timestamp(row.try_get(3)?),
            expires_at: Timestamp(row.try_get(4)?),
        })
    })
    .transpose()
}

/// Writes what was decided. Says whether it waited still.
pub(super) async fn decide(tx: &mut Tx, code: &Digest, loan: Option<&Loan>, now: Timestamp) -> Result<bool, DbError> {
    let rights = loan.map(|loan| serde_json::to_string(&loan.rights)).transpose();
    let done = sqlx::query(
        "UPDATE device_codes SET state = $3, account = $4, rights = $5, token_ends_at = $6, approver = $7
         WHERE code = $1 AND state = 'pending' AND expires_at > $2",
    )
    .bind(code.0.as_slice())
    .bind(now.0)
    .bind(if loan.is_some() { "approved" } else { "denied" })
    .bind(loan.map(|loan| loan.account.clone()))
    .bind(rights.map_err(|e| corrupt("device_codes.rights", e))?)
    .bind(loan.map(|loan| loan.ends_at.0))
    .bind(loan.and_then(|loan| loan.approver.clone()))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What is kept of one.
pub(super) struct Kept {
    pub client: String,
    pub state: String,
    pub expires_at: Timestamp,
    pub interval_s: i64,
    pub polled_at: Option<Timestamp>,
    pub loan: Option<Loan>,
}

/// The one of this device.
pub(super) async fn kept(connection: &mut AnyConnection, device: &Digest) -> Result<Option<Kept>, DbError> {
    let row = sqlx::query(
        "SELECT client, state, expires_at, interval_s, polled_at, account, rights, token_ends_at, approver
         FROM device_codes WHERE device = $1",
    )
    .bind(device.0.as_slice())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (account, rights): (Option<String>, Option<String>) = (row.try_get(5)?, row.try_get(6)?);
    let ends_at: Option<i64> = row.try_get(7)?;
    let loan = match (account, rights, ends_at) {
        (Some(account), Some(rights), Some(ends_at)) => Some(Loan {
            account,
            rights: serde_json::from_str(&rights).map_err(|e| corrupt("device_codes.rights", e))?,
            ends_at: Timestamp(ends_at),
            approver: row.try_get(8)?,
        }),
        _ => None,
    };
    Ok(Some(Kept {
        client: row.try_get(0)?,
        state: row.try_get(1)?,
        expires_at: Timestamp(row.try_get(2)?),
        interval_s: row.try_get(3)?,
        polled_at: row.try_get::<Option<i64>, _>(4)?.map(Timestamp),
        loan,
    }))
}

/// Notes that the device asked, and how often it may from now on.
pub(super) async fn polled(tx: &mut Tx, device: &Digest, interval_s: i64, now: Timestamp) -> Result<(), DbError> {
    sqlx::query("UPDATE device_codes SET polled_at = $2, interval_s = $3 WHERE device = $1")
        .bind(device.0.as_slice())
        .bind(now.0)
        .bind(interval_s)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Notes that the token was fetched. Says whether it was still to be had.
pub(super) async fn fetched(tx: &mut Tx, device: &Digest) -> Result<bool, DbError> {
    let sql = "UPDATE device_codes SET state = 'used' WHERE device = $1 AND state = 'approved'";
    Ok(sqlx::query(sql).bind(device.0.as_slice()).execute(&mut **tx).await?.rows_affected() == 1)
}

/// How many unknown codes an account has typed since `since`.
pub(super) async fn misses(tx: &mut Tx, account: &str, since: Timestamp) -> Result<i64, DbError> {
    let sql = "SELECT misses FROM device_misses WHERE account = $1 AND since > $2";
    let found: Option<i64> = sqlx::query_scalar(sql).bind(account).bind(since.0).fetch_optional(&mut **tx).await?;
    Ok(found.unwrap_or(0))
}

/// Counts one more; what is older than `cut` begins anew.
pub(super) async fn miss(tx: &mut Tx, account: &str, now: Timestamp, cut: Timestamp) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO device_misses (account, misses, since) VALUES ($1, 1, $2) ON CONFLICT (account) DO UPDATE SET
            misses = CASE WHEN device_misses.since > $3 THEN device_misses.misses + 1 ELSE 1 END,
            since = CASE WHEN device_misses.since > $3 THEN device_misses.since ELSE $2 END",
    )
    .bind(account)
    .bind(now.0)
    .bind(cut.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets sign-ins that were over before `before`. Gives their number.
///
/// # Errors
/// [`DbError`].
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64, DbError> {
    sqlx::query("DELETE FROM device_misses WHERE since < $1").bind(before.0).execute(&mut **tx).await?;
    let done = sqlx::query("DELETE FROM device_codes WHERE expires_at < $1").bind(before.0).execute(&mut **tx);
    Ok(done.await?.rows_affected())
}
