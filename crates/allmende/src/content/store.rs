//! What was found in files, kept so that they are read once.

use sqlx::{AnyConnection, Row as _};

use crate::app::App;
use crate::db::{DbError, Tx};
use crate::git::Oid;
use crate::repo::Repo;
use crate::transaction;

/// What a row tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// What the tensors of a file are together.
    Tensors,
    /// Which files an index names.
    Shards,
    /// That a file runs code, and how.
    Pickle,
    /// How many rows a table has.
    Rows,
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tensors => "tensors",
            Self::Shards => "shards",
            Self::Pickle => "pickle",
            Self::Rows => "rows",
        }
    }
}

/// What is known of a file.
///
/// # Errors
/// [`DbError`].
pub async fn get(
    connection: &mut AnyConnection,
    repo: &Repo,
    blob: Oid,
    what: What,
) -> Result<Option<String>, DbError> {
    let sql = "SELECT facts FROM content_facts WHERE repo = $1 AND blob = $2 AND what = $3";
    let query = sqlx::query_scalar(sql).bind(&repo.id).bind(blob.to_string()).bind(what.as_str());
    Ok(query.fetch_optional(connection).await?)
}

/// Keeps what was found in a file.
///
/// # Errors
/// [`DbError`].
pub async fn put(tx: &mut Tx, repo: &Repo, blob: Oid, what: What, facts: &str) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO content_facts (repo, blob, what, facts) VALUES ($1, $2, $3, $4)
         ON CONFLICT (repo, blob, what) DO UPDATE SET facts = excluded.facts",
    )
    .bind(&repo.id)
    .bind(blob.to_string())
    .bind(what.as_str())
    .bind(facts)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Keeps what was found, in a transaction of its own.
///
/// # Errors
/// [`DbError`].
pub async fn keep(app: &App, repo: &Repo, found: &[(Oid, String)], what: What) -> Result<(), DbError> {
    transaction!(app.db, tx => {
        for (blob, facts) in found {
            put(tx, repo, *blob, what, facts).await?;
        }
        Ok::<_, DbError>(())
    })
}

/// The files of a repository of which this is known, at most `limit`.
///
/// # Errors
/// [`DbError`].
pub async fn all(
    connection: &mut AnyConnection,
    repo: &Repo,
    what: What,
    limit: i64,
) -> Result<Vec<(String, String)>, DbError> {
    let sql = "SELECT blob, facts FROM content_facts WHERE repo = $1 AND what = $2 ORDER BY blob LIMIT $3";
    let rows = sqlx::query(sql).bind(&repo.id).bind(what.as_str()).bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
