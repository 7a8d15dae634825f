//! Large files: bytes beside git, of which git holds a pointer. They are read and cited only through a repository that has
//! them, inside its deduplication domain.

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use allmende_formats::xet::hash::{ParseHashError, XetHash};
use sqlx::{AnyConnection, Row as _};

use super::Repo;
use crate::db::{Db, DbError, Tx, to_i64, to_u64};
use crate::transaction;

/// The domain that the bytes of the repository's large files lie in, and whose quota they count against.
///
/// # Errors
/// [`DbError`].
pub async fn domain(connection: &mut AnyConnection, repo: &Repo) -> Result<String, DbError> {
    Ok(settled(connection, repo).await?.unwrap_or_else(|| repo.domain()))
}

/// The same once it stays so.
///
/// # Errors
/// [`DbError`].
pub async fn settled(connection: &mut AnyConnection, repo: &Repo) -> Result<Option<String>, DbError> {
    let kept = sqlx::query_scalar("SELECT domain FROM repo_domains WHERE repo = $1");
    Ok(kept.bind(&repo.id).fetch_optional(connection).await?)
}

/// The same, and it stays so.
///
/// # Errors
/// [`DbError`].
pub async fn settle(tx: &mut Tx, repo: &Repo) -> Result<String, DbError> {
    sqlx::query("INSERT INTO repo_domains (repo, domain) VALUES ($1, $2) ON CONFLICT (repo) DO NOTHING")
        .bind(&repo.id)
        .bind(repo.domain())
        .execute(&mut **tx)
        .await?;
    domain(tx, repo).await
}

/// Says that `repo` holds the file: its bytes came in through it, or a revision of it cites them. `xet` is the hash by
/// which they are put together from chunks; without it they lie as a whole.
///
/// # Errors
/// [`DbError`].
pub async fn hold(
    tx: &mut Tx,
    repo: &Repo,
    sha256: &Digest,
    size: u64,
    xet: Option<&XetHash>,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO repo_files (repo, sha256, size, held_at, xet) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (repo, sha256) DO UPDATE
         SET xet = COALESCE(excluded.xet, repo_files.xet), loose_since = NULL",
    )
    .bind(&repo.id)
    .bind(sha256.hex())
    .bind(to_i64(size)?)
    .bind(now.0)
    .bind(xet.map(ToString::to_string))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The hash by which the file is put together from chunks, if `repo` holds it so.
///
/// # Errors
/// [`DbError`].
pub async fn xet(connection: &mut AnyConnection, repo: &Repo, sha256: &str) -> Result<Option<XetHash>, DbError> {
    let row = sqlx::query("SELECT xet FROM repo_files WHERE repo = $1 AND sha256 = $2")
        .bind(&repo.id)
        .bind(sha256)
        .fetch_optional(connection)
        .await?;
    let text: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    let corrupt = |e: ParseHashError| DbError::Corrupt { column: "repo_files.xet", message: e.to_string() };
    text.map(|text| text.parse().map_err(corrupt)).transpose()
}

/// The size of the file, if `repo` holds it.
///
/// # Errors
/// [`DbError`].
pub async fn held(connection: &mut AnyConnection, repo: &Repo, sha256: &Digest) -> Result<Option<u64>, DbError> {
    let row = sqlx::query("SELECT size FROM repo_files WHERE repo = $1 AND sha256 = $2")
        .bind(&repo.id)
        .bind(sha256.hex())
        .fetch_optional(connection)
        .await?;
    row.map(|row| to_u64("repo_files.size", row.try_get(0)?)).transpose()
}

/// The size of the file, if `repo` holds it, for somebody who is about to cite it: it is not collected meanwhile.
///
/// # Errors
/// [`DbError`].
pub async fn cite(db: &Db, repo: &Repo, sha256: &Digest) -> Result<Option<u64>, DbError> {
    let sql = "SELECT loose_since FROM repo_files WHERE repo = $1 AND sha256 = $2";
    let mut connection = db.read().await?;
    let query = sqlx::query_scalar(sql).bind(&repo.id).bind(sha256.hex());
    let loose: Option<Option<i64>> = query.fetch_optional(&mut *connection).await?;
    if let Some(Some(_)) = loose {
        drop(connection);
        transaction!(*db, tx => {
            sqlx::query("UPDATE repo_files SET loose_since = NULL WHERE repo = $1 AND sha256 = $2")
                .bind(&repo.id)
                .bind(sha256.hex())
                .execute(&mut **tx)
                .await?;
            Ok::<_, DbError>(())
        })?;
        connection = db.read().await?;
    }
    held(&mut connection, repo, sha256).await
}

/// Forgets that `repo` holds the file, whatever cites it. Says whether it did. Xorbs that nothing else cites are collected
/// later.
///
/// # Errors
/// [`DbError`].
pub async fn forget(tx: &mut Tx, repo: &str, sha256: &Digest) -> Result<bool, DbError> {
    let sql = "DELETE FROM repo_files WHERE repo = $1 AND sha256 = $2";
    let done = sqlx::query(sql).bind(repo).bind(sha256.hex()).execute(&mut **tx).await?;
    let sql = "DELETE FROM xet_files WHERE repo = $1 AND sha256 = $2";
    sqlx::query(sql).bind(repo).bind(sha256.hex()).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

/// The files of `repo`, by digest, after `after`.
///
/// # Errors
/// [`DbError`].
pub async fn list(
    connection: &mut AnyConnection,
    repo: &Repo,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, u64, Timestamp)>, DbError> {
    let rows = sqlx::query(
        "SELECT sha256, size, held_at FROM repo_files WHERE repo = $1 AND sha256 > $2 ORDER BY sha256 LIMIT $3",
    )
    .bind(&repo.id)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let size = to_u64("repo_files.size", row.try_get(1)?)?;
            Ok((row.try_get(0)?, size, Timestamp(row.try_get(2)?)))
        })
        .collect()
}

/// A file as the collector sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The digits of its SHA-256.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// Since when no revision is known to cite it.
    pub since: Option<Timestamp>,
}

/// The files of the repository of this id, by digest, after `after`, with what was noted of them.
///
/// # Errors
/// [`DbError`].
pub async fn notes(connection: &mut AnyConnection, repo: &str, after: &str, limit: i64) -> Result<Vec<Note>, DbError> {
    let sql = "SELECT sha256, size, loose_since FROM repo_files
               WHERE repo = $1 AND sha256 > $2 ORDER BY sha256 LIMIT $3";
    let rows = sqlx::query(sql).bind(repo).bind(after).bind(limit).fetch_all(connection).await?;
    let row = |row: &sqlx::any::AnyRow| {
        let since: Option<i64> = row.try_get(2)?;
        let size = to_u64("repo_files.size", row.try_get(1)?)?;
        Ok(Note { sha256: row.try_get(0)?, size, since: since.map(Timestamp) })
    };
    rows.iter().map(row).collect()
}

/// Notes since when no revision cites the file, unless that is noted already; or that one does.
///
/// # Errors
/// [`DbError`].
pub async fn note(tx: &mut Tx, repo: &str, sha256: &str, since: Option<Timestamp>) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE repo_files SET loose_since = $3
         WHERE repo = $1 AND sha256 = $2 AND (loose_since IS NULL OR CAST($3 AS BIGINT) IS NULL)",
    )
    .bind(repo)
    .bind(sha256)
    .bind(since.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Writes the size of a file that a revision cites, and that one does.
///
/// # Errors
/// [`DbError`].
pub async fn put_right(tx: &mut Tx, repo: &str, sha256: &str, size: u64) -> Result<(), DbError> {
    let sql = "UPDATE repo_files SET size = $3, loose_since = NULL WHERE repo = $1 AND sha256 = $2";
    sqlx::query(sql).bind(repo).bind(sha256).bind(to_i64(size)?).execute(&mut **tx).await?;
    Ok(())
}

/// The hash and the size by which the record of its parts knows a file, if it stands.
///
/// # Errors
/// [`DbError`].
pub async fn parts(
    connection: &mut AnyConnection,
    repo: &str,
    sha256: &Digest,
) -> Result<Option<(XetHash, u64)>, DbError> {
    let sql = "SELECT hash, size FROM xet_files WHERE repo = $1 AND sha256 = $2 ORDER BY hash LIMIT 1";
    let row = sqlx::query(sql).bind(repo).bind(sha256.hex()).fetch_optional(connection).await?;
    let corrupt = |e: ParseHashError| DbError::Corrupt { column: "xet_files.hash", message: e.to_string() };
    row.map(|row| {
        let hash: String = row.try_get(0)?;
        Ok((hash.parse().map_err(corrupt)?, to_u64("xet_files.size", row.try_get(1)?)?))
    })
    .transpose()
}

/// Forgets the file if it was noted before this that no revision cites it. Says whether it did.
///
/// # Errors
/// [`DbError`].
pub async fn collect(tx: &mut Tx, repo: &str, sha256: &str, before: Timestamp) -> Result<bool, DbError> {
    let sql = "DELETE FROM repo_files WHERE repo = $1 AND sha256 = $2 AND loose_since < $3";
    let done = sqlx::query(sql).bind(repo).bind(sha256).bind(before.0).execute(&mut **tx).await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let sql = "DELETE FROM xet_files WHERE repo = $1 AND sha256 = $2";
    sqlx::query(sql).bind(repo).bind(sha256).execute(&mut **tx).await?;
    Ok(true)
}
