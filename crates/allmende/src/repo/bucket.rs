//! What stands in buckets: paths, and by which hash the bytes of each are put together. A bucket is a repository without a
//! history: what is overwritten or deleted is gone.

use std::collections::HashSet;

use allmende_core::time::Timestamp;
use allmende_formats::xet::XetHash;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::Repo;
use crate::db::{DbError, Tx, to_i64, to_u64};
use crate::git::RepoPath;

const COLUMNS: &str = "path, xet, size, mtime, content_type, uploaded_at";

/// A file of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it stands.
    pub path: String,
    /// The hash by which its bytes are put together from chunks.
    pub xet: XetHash,
    /// Its bytes.
    pub size: u64,
    /// When it was changed last, as whoever put it there says.
    pub mtime: Option<Timestamp>,
    /// What it is, as whoever put it there says.
    pub content_type: Option<String>,
    /// When it was put there.
    pub uploaded_at: Timestamp,
}

/// A file to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Where it will stand.
    pub path: RepoPath,
    /// The hash of its bytes.
    pub xet: XetHash,
    /// When it was changed last.
    pub mtime: Option<Timestamp>,
    /// What it is.
    pub content_type: Option<String>,
}

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

fn path_of(bytes: Vec<u8>) -> Result<String, DbError> {
    String::from_utf8(bytes).map_err(|e| corrupt("bucket_files.path", e))
}

fn file(row: &AnyRow) -> Result<File, DbError> {
    let xet: String = row.try_get(1)?;
    let mtime: Option<i64> = row.try_get(3)?;
    Ok(File {
        path: path_of(row.try_get(0)?)?,
        xet: xet.parse().map_err(|e| corrupt("bucket_files.xet", e))?,
        size: to_u64("bucket_files.size", row.try_get(2)?)?,
        mtime: mtime.map(Timestamp),
        content_type: row.try_get(4)?,
        uploaded_at: Timestamp(row.try_get(5)?),
    })
}

/// Puts a file under its path, over the one that stands there. Its bytes are not collected from now on. Says whether it
/// did: not when the bucket does not hold the bytes.
///
/// # Errors
/// [`DbError`].
pub async fn put(tx: &mut Tx, repo: &Repo, new: &NewFile, now: Timestamp) -> Result<bool, DbError> {
    let hash = new.xet.to_string();
    let held = sqlx::query(
        "SELECT h.sha256, h.size FROM xet_files f JOIN repo_files h ON h.repo = f.repo AND h.sha256 = f.sha256
         WHERE f.repo = $1 AND f.hash = $2",
    )
    .bind(&repo.id)
    .bind(&hash)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(held) = held else { return Ok(false) };
    let (sha256, size): (String, i64) = (held.try_get(0)?, held.try_get(1)?);
    sqlx::query("UPDATE repo_files SET loose_since = NULL WHERE repo = $1 AND sha256 = $2 AND loose_since IS NOT NULL")
        .bind(&repo.id)
        .bind(sha256)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO bucket_files (repo, path, xet, size, mtime, content_type, uploaded_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (repo, path) DO UPDATE
         SET xet = excluded.xet, size = excluded.size, mtime = excluded.mtime, content_type = excluded.content_type,
             uploaded_at = excluded.uploaded_at",
    )
    .bind(&repo.id)
    .bind(new.path.as_str().as_bytes())
    .bind(hash)
    .bind(size)
    .bind(new.mtime.map(|at| at.0))
    .bind(new.content_type.as_deref())
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(true)
}

/// Takes the file at this path away; says whether there was one.
///
/// # Errors
/// [`DbError`].
pub async fn remove(tx: &mut Tx, repo: &Repo, path: &RepoPath) -> Result<bool, DbError> {
    let gone = sqlx::query("DELETE FROM bucket_files WHERE repo = $1 AND path = $2")
        .bind(&repo.id)
        .bind(path.as_str().as_bytes())
        .execute(&mut **tx)
        .await?;
    Ok(gone.rows_affected() > 0)
}

/// The file at this path.
///
/// # Errors
/// [`DbError`].
pub async fn find(connection: &mut AnyConnection, repo: &Repo, path: &RepoPath) -> Result<Option<File>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM bucket_files WHERE repo = $1 AND path = $2");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&repo.id).bind(path.as_str().as_bytes());
    query.fetch_optional(connection).await?.as_ref().map(file).transpose()
}

/// Paths from a first one to one that is not among them, in the order of their bytes; none is all that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from: Vec<u8>,
    /// One past the last.
    pub until: Option<Vec<u8>>,
}

/// More than every path's bytes, which are UTF-8.
const END: &[u8] = &[0xff];

/// The files of a span, by path.
///
/// # Errors
/// [`DbError`].
pub async fn page(
    connection: &mut AnyConnection,
    repo: &Repo,
    span: &Span,
    limit: usize,
) -> Result<Vec<File>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM bucket_files WHERE repo = $1 AND path >= $2 AND path < $3 ORDER BY path LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&repo.id)
        .bind(span.from.as_slice())
        .bind(span.until.as_deref().unwrap_or(END))
        .bind(to_i64(limit as u64)?)
        .fetch_all(connection)
        .await?;
    rows.iter().map(file).collect()
}

/// When the latest file of a span was put there.
///
/// # Errors
/// [`DbError`].
pub async fn latest(connection: &mut AnyConnection, repo: &Repo, span: &Span) -> Result<Option<Timestamp>, DbError> {
    let sql = "SELECT MAX(uploaded_at) FROM bucket_files WHERE repo = $1 AND path >= $2 AND path < $3";
    let query = sqlx::query_scalar(sql).bind(&repo.id).bind(span.from.as_slice());
    let latest: Option<i64> = query.bind(span.until.as_deref().unwrap_or(END)).fetch_one(connection).await?;
    Ok(latest.map(Timestamp))
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// How many files.
    pub files: u64,
    /// Their bytes, each file counted whole.
    pub bytes: u64,
}

/// How much stands in a bucket.
///
/// # Errors
/// [`DbError`].
pub async fn sums(connection: &mut AnyConnection, repo: &Repo) -> Result<Sums, DbError> {
    let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM bucket_files WHERE repo = $1";
    let row = sqlx::query(sql).bind(&repo.id).fetch_one(connection).await?;
    let number = |at| to_u64("bucket_files.size", row.try_get(at)?);
    Ok(Sums { files: number(0)?, bytes: number(1)? })
}

/// The digits of the SHA-256 of everything that stands in the bucket of this id.
///
/// # Errors
/// [`DbError`].
pub async fn cited(connection: &mut AnyConnection, repo: &str) -> Result<HashSet<String>, DbError> {
    let sql = "SELECT DISTINCT f.sha256 FROM bucket_files b JOIN xet_files f ON f.repo = b.repo AND f.hash = b.xet
               WHERE b.repo = $1";
    let found: Vec<String> = sqlx::query_scalar(sql).bind(repo).fetch_all(connection).await?;
    Ok(found.into_iter().collect())
}

/// Files whose bytes the bucket does not hold: its id and the path. There should be none.
///
/// # Errors
/// [`DbError`].
pub async fn without_bytes(connection: &mut AnyConnection, limit: i64) -> Result<Vec<(String, String)>, DbError> {
    let sql = "SELECT b.repo, b.path FROM bucket_files b
               WHERE NOT EXISTS (SELECT 1 FROM xet_files f WHERE f.repo = b.repo AND f.hash = b.xet)
               ORDER BY b.repo, b.path LIMIT $1";
    let rows = sqlx::query(sql).bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, path_of(row.try_get(1)?)?))).collect()
}
