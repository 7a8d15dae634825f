//! Xorbs, files and chunks in the database.

use std::collections::BTreeSet;

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use allmende_formats::xet::XetHash;
use allmende_formats::xet::shard::Segment;
use allmende_formats::xet::xorb::Xorb;
use sqlx::{AnyConnection, Row as _};

use super::XetError;
use super::table::{self, Stored};
use crate::db::{DbError, Tx, to_i64, to_u64};
use crate::repo::{Repo, RepoError, quota};

pub(super) use crate::repo::large::{domain, settle};

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

/// What became of a xorb.
pub(super) struct Put {
    /// How the name of the object that stands ends, which another sender may have brought first.
    pub object: String,
    /// Whether the repository did not hold it before.
    pub is_new: bool,
}

/// Records a xorb whose object is there, and that `repo` holds it.
pub(super) async fn put_xorb(
    tx: &mut Tx,
    domain: &str,
    repo: &Repo,
    xorb: &Xorb,
    (table, object): (&[u8], &str),
    default_quota: u64,
    now: Timestamp,
) -> Result<Put, RepoError> {
    let (hash, size) = (xorb.hash.to_string(), xorb.content_bytes + xorb.footer_bytes);
    let is_new = !holds(tx, repo, &xorb.hash).await?;
    if is_new {
        // Asked of whoever holds it not, also where the domain has it: nobody learns what others of it hold.
        quota::require(tx, domain, size, default_quota).await?;
    }
    sqlx::query(
        "INSERT INTO xorbs (domain, hash, size, chunks, stored_at, object) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (domain, hash) DO UPDATE SET loose_since = NULL",
    )
    .bind(domain)
    .bind(&hash)
    .bind(to_i64(size)?)
    .bind(table)
    .bind(now.0)
    .bind(object)
    .execute(&mut **tx)
    .await?;
    for (place, chunk) in xorb.chunks.iter().enumerate() {
        if place == 0 || chunk.hash.remainder(SAMPLE) == 0 {
            put_chunk(tx, domain, &chunk.hash, &xorb.hash).await?;
        }
    }
    sqlx::query("INSERT INTO repo_xorbs (repo, xorb) VALUES ($1, $2) ON CONFLICT (repo, xorb) DO NOTHING")
        .bind(&repo.id)
        .bind(&hash)
        .execute(&mut **tx)
        .await?;
    let object = sqlx::query_scalar("SELECT object FROM xorbs WHERE domain = $1 AND hash = $2")
        .bind(domain)
        .bind(&hash)
        .fetch_one(&mut **tx)
        .await?;
    Ok(Put { object, is_new })
}

/// Since when no file cites the xorb, if it is there.
pub(super) async fn loose_since(
    connection: &mut AnyConnection,
    domain: &str,
    xorb: &XetHash,
) -> Result<Option<Option<i64>>, DbError> {
    let query = sqlx::query_scalar("SELECT loose_since FROM xorbs WHERE domain = $1 AND hash = $2");
    Ok(query.bind(domain).bind(xorb.to_string()).fetch_optional(connection).await?)
}

/// Says that a file is about to cite the xorb: it is not collected any more. Says whether it is there.
pub(super) async fn keep_xorb(tx: &mut Tx, domain: &str, xorb: &XetHash) -> Result<bool, DbError> {
    let loose = loose_since(tx, domain, xorb).await?;
    if let Some(Some(_)) = loose {
        sqlx::query("UPDATE xorbs SET loose_since = NULL WHERE domain = $1 AND hash = $2")
            .bind(domain)
            .bind(xorb.to_string())
            .execute(&mut **tx)
            .await?;
    }
    Ok(loose.is_some())
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
    let row = sqlx::query("SELECT chunks, object FROM xorbs WHERE domain = $1 AND hash = $2")
        .bind(domain)
        .bind(hash.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        let (table, object): (Vec<u8>, String) = (row.try_get(0)?, row.try_get(1)?);
        Stored::read(domain, hash, &table, &object)
    })
    .transpose()
}

/// The bytes of the object of a xorb.
pub(super) async fn size(connection: &mut AnyConnection, domain: &str, hash: &XetHash) -> Result<Option<u64>, DbError> {
    let query = sqlx::query_scalar("SELECT size FROM xorbs WHERE domain = $1 AND hash = $2");
    let size: Option<i64> = query.bind(domain).bind(hash.to_string()).fetch_optional(connection).await?;
    size.map(|size| to_u64("xorbs.size", size)).transpose()
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

/// Records a file whose segments were checked, and keeps what it cites. Says whether the repository did not hold it before.
pub(super) async fn put_file(tx: &mut Tx, repo: &Repo, domain: &str, file: &Held) -> Result<bool, XetError> {
    let cited: BTreeSet<&XetHash> = file.segments.iter().map(|segment| &segment.xorb).collect();
    for xorb in cited {
        if !keep_xorb(tx, domain, xorb).await? {
            return Err(XetError::Collected);
        }
    }
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

/// A xorb as its row says.
pub(super) struct Listed {
    pub domain: String,
    pub hash: XetHash,
    pub size: u64,
    pub table: Vec<u8>,
    pub object: String,
}

/// Xorbs of all domains, by domain and hash, after the given ones.
pub(super) async fn xorbs(
    connection: &mut AnyConnection,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<Listed>, DbError> {
    let sql = "SELECT domain, hash, size, chunks, object FROM xorbs
               WHERE domain > $1 OR (domain = $1 AND hash > $2) ORDER BY domain, hash LIMIT $3";
    let rows = sqlx::query(sql).bind(after.0).bind(after.1).bind(limit).fetch_all(connection).await?;
    let row = |row: &sqlx::any::AnyRow| {
        let hash: String = row.try_get(1)?;
        Ok(Listed {
            domain: row.try_get(0)?,
            hash: hash.parse().map_err(|e| corrupt("xorbs.hash", e))?,
            size: to_u64("xorbs.size", row.try_get(2)?)?,
            table: row.try_get(3)?,
            object: row.try_get(4)?,
        })
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

/// The domains that have xorbs.
pub(super) async fn domains(connection: &mut AnyConnection) -> Result<Vec<String>, DbError> {
    Ok(sqlx::query_scalar("SELECT DISTINCT domain FROM xorbs ORDER BY domain").fetch_all(connection).await?)
}

/// What the files of a domain are made of, by repository and hash, after the given ones.
pub(super) async fn segments(
    connection: &mut AnyConnection,
    domain: &str,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<(String, String, Vec<Segment>)>, DbError> {
    let sql = "SELECT f.repo, f.hash, f.segments FROM xet_files f JOIN repo_domains d ON d.repo = f.repo
               WHERE d.domain = $1 AND (f.repo > $2 OR (f.repo = $2 AND f.hash > $3))
               ORDER BY f.repo, f.hash LIMIT $4";
    let rows = sqlx::query(sql).bind(domain).bind(after.0).bind(after.1).bind(limit).fetch_all(connection).await?;
    let row = |row: &sqlx::any::AnyRow| {
        Ok((row.try_get(0)?, row.try_get(1)?, table::segments(&row.try_get::<Vec<u8>, _>(2)?)?))
    };
    rows.iter().map(row).collect()
}

/// The xorbs of a domain by hash, after the given one: their sizes, and since when nothing cites them.
pub(super) async fn notes(
    connection: &mut AnyConnection,
    domain: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<(XetHash, u64, Option<Timestamp>)>, DbError> {
    let sql = "SELECT hash, size, loose_since FROM xorbs WHERE domain = $1 AND hash > $2 ORDER BY hash LIMIT $3";
    let rows = sqlx::query(sql).bind(domain).bind(after).bind(limit).fetch_all(connection).await?;
    let row = |row: &sqlx::any::AnyRow| {
        let hash: String = row.try_get(0)?;
        let hash = hash.parse().map_err(|e| corrupt("xorbs.hash", e))?;
        let since: Option<i64> = row.try_get(2)?;
        Ok((hash, to_u64("xorbs.size", row.try_get(1)?)?, since.map(Timestamp)))
    };
    rows.iter().map(row).collect()
}

/// Notes since when nothing cites the xorb, unless that is noted already; or that something does.
pub(super) async fn note(tx: &mut Tx, domain: &str, xorb: &XetHash, since: Option<Timestamp>) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE xorbs SET loose_since = $3
         WHERE domain = $1 AND hash = $2 AND (loose_since IS NULL OR CAST($3 AS BIGINT) IS NULL)",
    )
    .bind(domain)
    .bind(xorb.to_string())
    .bind(since.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets the xorb if it was noted before this that nothing cites it. Gives what is to be deleted then.
pub(super) async fn collect(
    tx: &mut Tx,
    domain: &str,
    hash: &XetHash,
    before: Timestamp,
) -> Result<Option<Stored>, DbError> {
    let stored = xorb(tx, domain, hash).await?;
    let text = hash.to_string();
    let sql = "DELETE FROM xorbs WHERE domain = $1 AND hash = $2 AND loose_since < $3";
    let done = sqlx::query(sql).bind(domain).bind(&text).bind(before.0).execute(&mut **tx).await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    for sql in [
        "DELETE FROM xet_chunks WHERE domain = $1 AND xorb = $2",
        "DELETE FROM repo_xorbs WHERE xorb = $2 AND repo IN (SELECT repo FROM repo_domains WHERE domain = $1)",
    ] {
        sqlx::query(sql).bind(domain).bind(&text).execute(&mut **tx).await?;
    }
    Ok(stored)
}

/// Ids of repositories that are not there and hold files, with when they got the last of them.
pub(super) async fn orphans(connection: &mut AnyConnection) -> Result<Vec<(String, Timestamp)>, DbError> {
    let sql = "SELECT repo, MAX(held_at) FROM repo_files f
               WHERE NOT EXISTS (SELECT 1 FROM repos r WHERE r.id = f.repo) GROUP BY repo ORDER BY repo";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, Timestamp(row.try_get(1)?)))).collect()
}

/// Forgets what a repository held that is not there.
pub(super) async fn forget_orphan(tx: &mut Tx, repo: &str) -> Result<(), DbError> {
    for table in ["repo_files", "xet_files", "repo_xorbs", "repo_domains"] {
        let sql =
            format!("DELETE FROM {table} WHERE repo = $1 AND NOT EXISTS (SELECT 1 FROM repos WHERE repos.id = $1)");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(repo).execute(&mut **tx).await?;
    }
    Ok(())
}
