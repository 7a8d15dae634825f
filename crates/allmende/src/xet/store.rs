//! Xorbs, files and chunks in the database.

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use allmende_formats::xet::XetHash;
use allmende_formats::xet::shard::Segment;
use allmende_formats::xet::xorb::Xorb;
use sqlx::{AnyConnection, Row as _};

use super::table::{self, Stored};
use crate::db::{DbError, Tx, to_i64, to_u64};
use crate::repo::Repo;

/// One chunk in this many is looked for when files are cut here; a multiple of it is what clients ask for.
pub(super) const SAMPLE: u64 = 16;

/// A file that a repository holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The hash of the tree over its chunks.
    pub hash: XetHash,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// How many bytes.
    pub size: u64,
    /// What it is made of.
    pub segments: Vec<Segment>,
}

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

/// The domain that the repository's bytes lie in.
pub(super) async fn domain(connection: &mut AnyConnection, repo: &Repo) -> Result<String, DbError> {
    Ok(settled(connection, repo).await?.unwrap_or_else(|| repo.domain()))
}

/// The same once it stays so.
pub(super) async fn settled(connection: &mut AnyConnection, repo: &Repo) -> Result<Option<String>, DbError> {
    let kept = sqlx::query_scalar("SELECT domain FROM repo_domains WHERE repo = $1");
    Ok(kept.bind(&repo.id).fetch_optional(connection).await?)
}

/// The same, and it stays so.
pub(super) async fn settle(tx: &mut Tx, repo: &Repo) -> Result<String, DbError> {
    sqlx::query("INSERT INTO repo_domains (repo, domain) VALUES ($1, $2) ON CONFLICT (repo) DO NOTHING")
        .bind(&repo.id)
        .bind(repo.domain())
        .execute(&mut **tx)
        .await?;
    domain(tx, repo).await
}

/// What became of a xorb.
pub(super) struct Put {
    /// The table that stands, which another sender may have brought first.
    pub table: Vec<u8>,
    /// Whether the repository did not hold it before.
    pub is_new: bool,
}

/// Records a xorb whose object is there, and that `repo` holds it.
pub(super) async fn put_xorb(
    tx: &mut Tx,
    domain: &str,
    repo: &Repo,
    xorb: &Xorb,
    table: &[u8],
    now: Timestamp,
) -> Result<Put, DbError> {
    let hash = xorb.hash.to_string();
    sqlx::query(
        "INSERT INTO xorbs (domain, hash, size, chunks, stored_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (domain, hash) DO NOTHING",
    )
    .bind(domain)
    .bind(&hash)
    .bind(to_i64(xorb.content_bytes + xorb.footer_bytes)?)
    .bind(table)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    for (place, chunk) in xorb.chunks.iter().enumerate() {
        if place == 0 || chunk.hash.remainder(SAMPLE) == 0 {
            put_chunk(tx, domain, &chunk.hash, &xorb.hash).await?;
        }
    }
    let held = sqlx::query("INSERT INTO repo_xorbs (repo, xorb) VALUES ($1, $2) ON CONFLICT (repo, xorb) DO NOTHING")
        .bind(&repo.id)
        .bind(&hash)
        .execute(&mut **tx)
        .await?;
    let table = sqlx::query_scalar("SELECT chunks FROM xorbs WHERE domain = $1 AND hash = $2")
        .bind(domain)
        .bind(&hash)
        .fetch_one(&mut **tx)
        .await?;
    Ok(Put { table, is_new: held.rows_affected() == 1 })
}

/// Says that the chunk is found in the xorb.
pub(super) async fn put_chunk(tx: &mut Tx, domain: &str, chunk: &XetHash, xorb: &XetHash) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO xet_chunks (domain, chunk, xorb) VALUES ($1, $2, $3) ON CONFLICT (domain, chunk, xorb) DO NOTHING",
    )
    .bind(domain)
    .bind(chunk.to_string())
    .bind(xorb.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A xorb of the domain, whoever holds it.
pub(super) async fn xorb(
    connection: &mut AnyConnection,
    domain: &str,
    hash: &XetHash,
) -> Result<Option<Stored>, DbError> {
    let table: Option<Vec<u8>> = sqlx::query_scalar("SELECT chunks FROM xorbs WHERE domain = $1 AND hash = $2")
        .bind(domain)
        .bind(hash.to_string())
        .fetch_optional(connection)
        .await?;
    table.map(|table| Stored::read(domain, hash, &table)).transpose()
}

/// Whether the xorb came in through the repository.
pub(super) async fn holds(connection: &mut AnyConnection, repo: &Repo, xorb: &XetHash) -> Result<bool, DbError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT CAST(1 AS BIGINT) FROM repo_xorbs WHERE repo = $1 AND xorb = $2")
            .bind(&repo.id)
            .bind(xorb.to_string())
            .fetch_optional(connection)
            .await?;
    Ok(found.is_some())
}

/// The repositories of the domain through which the xorb came in.
pub(super) async fn holders(
    connection: &mut AnyConnection,
    domain: &str,
    xorb: &XetHash,
    limit: i64,
) -> Result<Vec<String>, DbError> {
    let sql = "SELECT x.repo FROM repo_xorbs x JOIN repo_domains d ON d.repo = x.repo
               WHERE x.xorb = $1 AND d.domain = $2 ORDER BY x.repo LIMIT $3";
    Ok(sqlx::query_scalar(sql).bind(xorb.to_string()).bind(domain).bind(limit).fetch_all(connection).await?)
}

fn hashes(found: &[String]) -> Result<Vec<XetHash>, DbError> {
    found.iter().map(|text| text.parse().map_err(|e| corrupt("xet_chunks.xorb", e))).collect()
}

/// Xorbs of the domain that have the chunk, as far as it is one that is looked for.
pub(super) async fn with_chunk(
    connection: &mut AnyConnection,
    domain: &str,
    chunk: &XetHash,
    limit: i64,
) -> Result<Vec<XetHash>, DbError> {
    let sql = "SELECT xorb FROM xet_chunks WHERE domain = $1 AND chunk = $2 ORDER BY xorb LIMIT $3";
    hashes(&sqlx::query_scalar(sql).bind(domain).bind(chunk.to_string()).bind(limit).fetch_all(connection).await?)
}

/// The first of them that came in through this repository.
pub(super) async fn own_with_chunk(
    connection: &mut AnyConnection,
    domain: &str,
    repo: &Repo,
    chunk: &XetHash,
) -> Result<Option<XetHash>, DbError> {
    let sql = "SELECT c.xorb FROM xet_chunks c JOIN repo_xorbs x ON x.xorb = c.xorb
               WHERE c.domain = $1 AND c.chunk = $2 AND x.repo = $3 ORDER BY c.xorb LIMIT 1";
    let found = sqlx::query_scalar(sql).bind(domain).bind(chunk.to_string()).bind(&repo.id).fetch_all(connection);
    Ok(hashes(&found.await?)?.pop())
}

/// Records a file whose segments were checked. Says whether the repository did not hold it before.
pub(super) async fn put_file(tx: &mut Tx, repo: &Repo, file: &Held) -> Result<bool, DbError> {
    let done = sqlx::query(
        "INSERT INTO xet_files (repo, hash, sha256, size, segments) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (repo, hash) DO NOTHING",
    )
    .bind(&repo.id)
    .bind(file.hash.to_string())
    .bind(file.sha256.hex())
    .bind(to_i64(file.size)?)
    .bind(table::encode_segments(&file.segments))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The file of this hash, if the repository holds it.
pub(super) async fn file(connection: &mut AnyConnection, repo: &Repo, hash: &XetHash) -> Result<Option<Held>, DbError> {
    let row = sqlx::query("SELECT sha256, size, segments FROM xet_files WHERE repo = $1 AND hash = $2")
        .bind(&repo.id)
        .bind(hash.to_string())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let sha256: String = row.try_get(0)?;
    Ok(Some(Held {
        hash: *hash,
        sha256: format!("sha256:{sha256}").parse().map_err(|e| corrupt("xet_files.sha256", e))?,
        size: to_u64("xet_files.size", row.try_get(1)?)?,
        segments: table::segments(&row.try_get::<Vec<u8>, _>(2)?)?,
    }))
}

/// Xorbs of all domains with their sizes and tables, by domain and hash, after the given ones.
pub(super) async fn xorbs(
    connection: &mut AnyConnection,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<(String, XetHash, u64, Vec<u8>)>, DbError> {
    let sql = "SELECT domain, hash, size, chunks FROM xorbs
               WHERE domain > $1 OR (domain = $1 AND hash > $2) ORDER BY domain, hash LIMIT $3";
    let rows = sqlx::query(sql).bind(after.0).bind(after.1).bind(limit).fetch_all(connection).await?;
    let row = |row: &sqlx::any::AnyRow| {
        let hash: String = row.try_get(1)?;
        let hash = hash.parse().map_err(|e| corrupt("xorbs.hash", e))?;
        Ok((row.try_get(0)?, hash, to_u64("xorbs.size", row.try_get(2)?)?, row.try_get(3)?))
    };
    rows.iter().map(row).collect()
}

/// Files of all repositories, by repository and hash, after the given ones.
pub(super) async fn files(
    connection: &mut AnyConnection,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<(String, XetHash)>, DbError> {
    let sql = "SELECT repo, hash FROM xet_files
               WHERE repo > $1 OR (repo = $1 AND hash > $2) ORDER BY repo, hash LIMIT $3";
    let rows = sqlx::query(sql).bind(after.0).bind(after.1).bind(limit).fetch_all(connection).await?;
    let row = |row: &sqlx::any::AnyRow| {
        let hash: String = row.try_get(1)?;
        Ok((row.try_get(0)?, hash.parse().map_err(|e| corrupt("xet_files.hash", e))?))
    };
    rows.iter().map(row).collect()
}

/// Holdings that name a file which is not there.
pub(super) async fn holdings_without_file(
    connection: &mut AnyConnection,
    limit: i64,
) -> Result<Vec<(String, String)>, DbError> {
    let sql = "SELECT h.repo, h.sha256 FROM repo_files h
               WHERE h.xet IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM xet_files f WHERE f.repo = h.repo AND f.hash = h.xet)
               ORDER BY h.repo, h.sha256 LIMIT $1";
    let rows = sqlx::query(sql).bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
