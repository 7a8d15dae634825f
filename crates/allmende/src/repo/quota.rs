//! How many bytes an account may keep. A domain is charged for what its xorbs occupy: every chunk once, packed, also what no
//! file cites as long as it was not collected; and for the histories of its repositories ([`super::history`]).
//!
//! Architecture invariant: a limit and what is used of it are told to those alone who may write in that very domain, and
//! whether bytes fit never depends on what another repository holds.

use sqlx::AnyConnection;

use super::{Repo, RepoError, large};
use crate::account::Account;
use crate::db::{DbError, Tx, to_i64, to_u64};

/// What a domain occupies and may occupy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of its xorbs.
    pub large_bytes: u64,
    /// Bytes of its repositories' histories.
    pub history_bytes: u64,
    /// The most that both may be; none is no limit.
    pub limit_bytes: Option<u64>,
}

impl Usage {
    /// What it occupies.
    #[must_use]
    pub const fn used_bytes(&self) -> u64 {
        self.large_bytes.saturating_add(self.history_bytes)
    }
}

/// Why bytes are not taken.
#[derive(Debug, thiserror::Error)]
#[error(
    "storage quota exceeded: {used_bytes} of {limit_bytes} bytes are used, and {more_bytes} more do not fit. Delete large \
     files that nobody needs ('list_lfs_files' and 'permanently_delete_lfs_files'; their bytes are freed when they are \
     collected), or ask the hub's operator for a larger quota ('allmende account quota')"
)]
pub struct Exceeded {
    /// Bytes that are used.
    pub used_bytes: u64,
    /// The most that may be.
    pub limit_bytes: u64,
    /// Bytes that were to come.
    pub more_bytes: u64,
}

/// The domain of an account's own repositories; of a collaboration's organization, that of its results.
///
/// # Errors
/// [`DbError`].
pub async fn domain_of(connection: &mut AnyConnection, account: &Account) -> Result<String, DbError> {
    let sql = "SELECT collaboration FROM accounts WHERE id = $1";
    let found: Option<Option<String>> = sqlx::query_scalar(sql).bind(&account.id).fetch_optional(connection).await?;
    Ok(match found.flatten().filter(|name| !name.is_empty()) {
        Some(collaboration) => format!("c-{collaboration}"),
        None => format!("a-{}", account.id),
    })
}

/// The limit that an account was given, if it was.
///
/// # Errors
/// [`DbError`].
pub async fn given(connection: &mut AnyConnection, account: &str) -> Result<Option<u64>, DbError> {
    let sql = "SELECT bytes FROM account_quotas WHERE account = $1";
    let bytes: Option<i64> = sqlx::query_scalar(sql).bind(account).fetch_optional(connection).await?;
    bytes.map(|bytes| to_u64("account_quotas.bytes", bytes)).transpose()
}

/// Gives an account a limit of its own, or the hub's again.
///
/// # Errors
/// [`DbError`].
pub async fn give(tx: &mut Tx, account: &Account, bytes: Option<u64>) -> Result<(), DbError> {
    let query = match bytes {
        None => sqlx::query("DELETE FROM account_quotas WHERE account = $1").bind(&account.id),
        Some(bytes) => sqlx::query(
            "INSERT INTO account_quotas (account, bytes) VALUES ($1, $2)
             ON CONFLICT (account) DO UPDATE SET bytes = excluded.bytes",
        )
        .bind(&account.id)
        .bind(to_i64(bytes)?),
    };
    query.execute(&mut **tx).await?;
    Ok(())
}

/// The bytes of the domain's xorbs, and of its histories.
async fn used(connection: &mut AnyConnection, domain: &str) -> Result<(u64, u64), DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM xorbs WHERE domain = $1";
    let large: i64 = sqlx::query_scalar(sql).bind(domain).fetch_one(&mut *connection).await?;
    let sql = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM repo_histories WHERE domain = $1";
    let histories: i64 = sqlx::query_scalar(sql).bind(domain).fetch_one(connection).await?;
    Ok((to_u64("xorbs.size", large)?, to_u64("repo_histories.bytes", histories)?))
}

async fn limit(connection: &mut AnyConnection, domain: &str, default: u64) -> Result<Option<u64>, DbError> {
    let given = match (domain.strip_prefix("a-"), domain.strip_prefix("c-")) {
        (Some(account), _) => given(connection, account).await?,
        (None, Some(collaboration)) => {
            let sql =
                "SELECT q.bytes FROM account_quotas q JOIN accounts a ON a.id = q.account WHERE a.collaboration = $1";
            let bytes: Option<i64> =
                sqlx::query_scalar(sql).bind(collaboration).fetch_optional(&mut *connection).await?;
            bytes.map(|bytes| to_u64("account_quotas.bytes", bytes)).transpose()?
        }
        (None, None) => None,
    };
    Ok(given.or((default > 0).then_some(default)))
}

/// How a domain stands, where `default` is the hub's own limit and 0 is none.
///
/// # Errors
/// [`DbError`].
pub async fn usage(connection: &mut AnyConnection, domain: &str, default: u64) -> Result<Usage, DbError> {
    let limit_bytes = limit(connection, domain, default).await?;
    let (large_bytes, history_bytes) = used(connection, domain).await?;
    Ok(Usage { large_bytes, history_bytes, limit_bytes })
}

/// Refuses `more_bytes` that the domain has no room for. With 0 bytes it refuses where more is used than may be.
///
/// # Errors
/// [`RepoError::Quota`].
pub async fn require(
    connection: &mut AnyConnection,
    domain: &str,
    more_bytes: u64,
    default: u64,
) -> Result<(), RepoError> {
    // Without a limit nothing is counted.
    let Some(limit_bytes) = limit(connection, domain, default).await? else { return Ok(()) };
    let (large_bytes, history_bytes) = used(connection, domain).await?;
    let used_bytes = large_bytes.saturating_add(history_bytes);
    if used_bytes.saturating_add(more_bytes) > limit_bytes {
        return Err(Exceeded { used_bytes, limit_bytes, more_bytes }.into());
    }
    Ok(())
}

/// The same for the domain that the repository's bytes lie in.
///
/// # Errors
/// [`RepoError::Quota`].
pub async fn require_in(
    connection: &mut AnyConnection,
    repo: &Repo,
    more_bytes: u64,
    default: u64,
) -> Result<(), RepoError> {
    let domain = large::domain(connection, repo).await?;
    require(connection, &domain, more_bytes, default).await
}
