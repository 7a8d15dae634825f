//! Tokens of accounts: what they may do, and how they are found without being kept.

use allmende_core::digest::{Digest, to_hex};
use allmende_core::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;

use super::{Account, AccountError, store};
use crate::db::{DbError, Tx};

/// How stale `last_used_at` may be, in milliseconds.
const LAST_USED_GRAIN_MS: i64 = 60_000;

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub enum Rights {
    /// Read what its account may read.
    Read,
    /// Whatever its account may do.
    Write,
    /// Only what is listed, and only what its account may do.
    FineGrained {
        /// What, and where.
        grants: Vec<Grant>,
    },
}

/// A right at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `namespace`, or `namespace/name` for one repository.
    pub place: String,
    /// Whether it may write there as well as read.
    pub write: bool,
}

impl Rights {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::FineGrained { .. } => "fineGrained",
        }
    }

    /// Whether it reaches the repository `name` of `namespace`, to write there if `write`.
    #[must_use]
    pub fn reach(&self, namespace: &str, name: &str, write: bool) -> bool {
        match self {
            Self::Read => !write,
            Self::Write => true,
            Self::FineGrained { grants } => grants.iter().any(|grant| {
                let (space, repo) = grant.place.split_once('/').map_or((&*grant.place, None), |(s, r)| (s, Some(r)));
                (grant.write || !write)
                    && space.eq_ignore_ascii_case(namespace)
                    && repo.is_none_or(|repo| repo.eq_ignore_ascii_case(name))
            }),
        }
    }
}

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its public id.
    pub id: String,
    /// For its owner to recognize.
    pub label: String,
    /// What it may do.
    pub rights: Rights,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when; for ever if absent.
    pub expires_at: Option<Timestamp>,
}

/// A new secret: `hf_` and 43 characters of 256 random bits. The prefix is what clients of the hub protocol expect.
///
/// # Errors
/// [`AccountError::Randomness`].
pub fn new_secret() -> Result<Zeroizing<String>, AccountError> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *random).map_err(|_| AccountError::Randomness)?;
    Ok(Zeroizing::new(format!("hf_{}", URL_SAFE_NO_PAD.encode(*random))))
}

fn identify(secret: &str) -> (String, Digest) {
    let hash = Digest::of(secret.as_bytes());
    (to_hex(&hash.0[..8]), hash)
}

/// Issues `secret` as a token of `account`; issuing it again for the same account changes its rights.
///
/// # Errors
/// [`AccountError::BadToken`] when the secret could not stand in a header or is short.
pub async fn issue(
    tx: &mut Tx,
    account: &Account,
    secret: &str,
    label: &str,
    rights: &Rights,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<String, AccountError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !(20..=128).contains(&secret.len()) || !secret.chars().all(fits) {
        return Err(AccountError::BadToken);
    }
    let (id, hash) = identify(secret);
    let rights =
        serde_json::to_string(rights).map_err(|e| DbError::Corrupt { column: "rights", message: e.to_string() })?;
    sqlx::query(
        "INSERT INTO account_tokens (id, account, hash, label, rights, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id) DO UPDATE SET label = excluded.label, rights = excluded.rights,
            expires_at = excluded.expires_at, revoked_at = NULL
         WHERE account_tokens.account = excluded.account",
    )
    .bind(&id)
    .bind(&account.id)
    .bind(hash.0.as_slice())
    .bind(label)
    .bind(rights)
    .bind(now.0)
    .bind(expires_at.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// Whose the token is and what it may do, if it is known, not expired and not revoked; and whether its use should be noted.
///
/// # Errors
/// [`DbError`].
pub async fn authenticate(
    connection: &mut AnyConnection,
    secret: &str,
    now: Timestamp,
) -> Result<Option<(Account, TokenInfo, bool)>, DbError> {
    let (id, hash) = identify(secret);
    // The whole hash is compared by the database's index, on what only the token's holder can compute.
    let row = sqlx::query(
        "SELECT account, label, rights, created_at, expires_at, last_used_at FROM account_tokens
         WHERE id = $1 AND hash = $2 AND revoked_at IS NULL",
    )
    .bind(&id)
    .bind(hash.0.as_slice())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (account, rights): (String, String) = (row.try_get(0)?, row.try_get(2)?);
    let expires_at = row.try_get::<Option<i64>, _>(4)?.map(Timestamp);
    if expires_at.is_some_and(|at| at <= now) {
        return Ok(None);
    }
    let rights = serde_json::from_str(&rights)
        .map_err(|e| DbError::Corrupt { column: "account_tokens.rights", message: e.to_string() })?;
    let Some(account) = store::by_id(connection, &account).await? else { return Ok(None) };
    let stale = row.try_get::<Option<i64>, _>(5)?.is_none_or(|at| Timestamp(at).plus_ms(LAST_USED_GRAIN_MS) <= now);
    let info = TokenInfo { id, label: row.try_get(1)?, rights, created_at: Timestamp(row.try_get(3)?), expires_at };
    Ok(Some((account, info, stale)))
}

/// Whose the token of this id is and what it may do, if it still works.
///
/// Architecture invariant: an id is no proof of anything; callers have one that this hub signed.
///
/// # Errors
/// [`DbError`].
pub async fn by_id(
    connection: &mut AnyConnection,
    id: &str,
    now: Timestamp,
) -> Result<Option<(Account, TokenInfo)>, DbError> {
    let sql = "SELECT id, label, rights, created_at, expires_at, account FROM account_tokens
               WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    let row = sqlx::query(sql).bind(id).bind(now.0).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let account: String = row.try_get(5)?;
    let found = store::by_id(connection, &account).await?;
    found.map(|account| Ok((account, info(&row)?))).transpose()
}

fn info(row: &AnyRow) -> Result<TokenInfo, DbError> {
    let rights: String = row.try_get(2)?;
    Ok(TokenInfo {
        id: row.try_get(0)?,
        label: row.try_get(1)?,
        rights: serde_json::from_str(&rights)
            .map_err(|e| DbError::Corrupt { column: "account_tokens.rights", message: e.to_string() })?,
        created_at: Timestamp(row.try_get(3)?),
        expires_at: row.try_get::<Option<i64>, _>(4)?.map(Timestamp),
    })
}

/// Notes that the token was used.
///
/// # Errors
/// [`DbError`].
pub async fn note_use(tx: &mut Tx, id: &str, now: Timestamp) -> Result<(), DbError> {
    sqlx::query("UPDATE account_tokens SET last_used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// An account's tokens that still work, oldest first.
///
/// # Errors
/// [`DbError`].
pub async fn list(
    connection: &mut AnyConnection,
    account: &Account,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<TokenInfo>, DbError> {
    let rows = sqlx::query(
        "SELECT id, label, rights, created_at, expires_at FROM account_tokens
         WHERE account = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
         ORDER BY created_at, id LIMIT $3",
    )
    .bind(&account.id)
    .bind(now.0)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(info).collect()
}

/// Revokes a token of the account. Says whether there was one to revoke.
///
/// # Errors
/// [`DbError`].
pub async fn revoke(tx: &mut Tx, account: &Account, id: &str, now: Timestamp) -> Result<bool, DbError> {
    let done =
        sqlx::query("UPDATE account_tokens SET revoked_at = $3 WHERE id = $1 AND account = $2 AND revoked_at IS NULL")
            .bind(id)
            .bind(&account.id)
            .bind(now.0)
            .execute(&mut **tx)
            .await?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_reach_where_they_say() {
        assert!(Rights::Read.reach("a", "b", false) && !Rights::Read.reach("a", "b", true));
        assert!(Rights::Write.reach("a", "b", true));
        let grant = |place: &str, write| Grant { place: place.into(), write };
        let fine = Rights::FineGrained { grants: vec![grant("North/model", true), grant("east", false)] };
        assert!(fine.reach("north", "Model", true) && fine.reach("north", "model", false));
        assert!(!fine.reach("north", "other", false) && !fine.reach("north", "models", false));
        assert!(fine.reach("EAST", "any", false) && !fine.reach("east", "any", true));
        assert!(!fine.reach("eastern", "any", false));
    }
}
