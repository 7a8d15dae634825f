//! Large files: bytes beside git, of which git holds a pointer. They are read and cited only through a repository that has
//! them, inside its deduplication domain.

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use allmende_formats::xet::hash::{ParseHashError, XetHash};
use sqlx::{AnyConnection, Row as _};

use super::Repo;
use crate::db::{DbError, Tx, to_i64, to_u64};

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
         ON CONFLICT (repo, sha256) DO UPDATE SET xet = COALESCE(excluded.xet, repo_files.xet)",
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
