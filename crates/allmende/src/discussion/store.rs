//! Discussions in the database.

use allmende_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Discussion, Event, MAX_DISCUSSIONS, MAX_EVENTS, Status, What};
use crate::account::{Account, new_id, store as accounts};
use crate::db::{DbError, Tx, to_i64, to_u64};
use crate::repo::{Repo, RepoError};

const COLUMNS: &str = "repo, num, author, title, status, pull_request, base, merge_commit, created_at";

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

async fn discussion(connection: &mut AnyConnection, row: &AnyRow) -> Result<Discussion, DbError> {
    let (author, status, merged): (String, String, String) = (row.try_get(2)?, row.try_get(4)?, row.try_get(7)?);
    Ok(Discussion {
        repo: row.try_get(0)?,
        num: to_u64("discussions.num", row.try_get(1)?)?,
        author: accounts::by_id(connection, &author).await?,
        title: row.try_get(3)?,
        status: Status::parse(&status).ok_or_else(|| corrupt("discussions.status", status))?,
        pull_request: row.try_get::<i64, _>(5)? != 0,
        base: row.try_get(6)?,
        merge_commit: Some(merged).filter(|oid| !oid.is_empty()),
        created_at: Timestamp(row.try_get(8)?),
    })
}

/// Opens a discussion under the next number.
///
/// # Errors
/// [`RepoError`].
pub async fn open(
    tx: &mut Tx,
    repo: &Repo,
    author: &Account,
    title: &str,
    pull: Option<(&str, Status)>,
    now: Timestamp,
) -> Result<u64, RepoError> {
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(num), 0) FROM discussions WHERE repo = $1")
        .bind(&repo.id)
        .fetch_one(&mut **tx)
        .await?;
    if last >= MAX_DISCUSSIONS {
        return Err(RepoError::Invalid("this repository has as many discussions as it may have"));
    }
    let (base, status) = pull.unwrap_or(("", Status::Open));
    sqlx::query(
        "INSERT INTO discussions (repo, num, author, title, status, pull_request, base, merge_commit, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, '', $8)",
    )
    .bind(&repo.id)
    .bind(last + 1)
    .bind(&author.id)
    .bind(title)
    .bind(status.as_str())
    .bind(i64::from(pull.is_some()))
    .bind(base)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(to_u64("discussions.num", last + 1)?)
}

/// The discussion with this number.
///
/// # Errors
/// [`DbError`].
pub async fn find(connection: &mut AnyConnection, repo: &Repo, num: u64) -> Result<Option<Discussion>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM discussions WHERE repo = $1 AND num = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&repo.id)
        .bind(to_i64(num)?)
        .fetch_optional(&mut *connection)
        .await?;
    match row {
        Some(row) => Ok(Some(discussion(connection, &row).await?)),
        None => Ok(None),
    }
}

/// What a list asks for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Pull requests only, or discussions only.
    pub pull_request: Option<bool>,
    /// Those that go on only, or those that are over.
    pub open: Option<bool>,
    /// Opened by the account of this id; nobody's if it is empty.
    pub author: Option<String>,
}

/// How many discussions there are, and a page of them, newest first.
///
/// # Errors
/// [`DbError`].
pub async fn page(
    connection: &mut AnyConnection,
    repo: &Repo,
    filter: &Filter,
    skip: u64,
    limit: u64,
) -> Result<(u64, Vec<Discussion>), DbError> {
    // -1 stands for both.
    let pull = filter.pull_request.map_or(-1, i64::from);
    let open = filter.open.map_or(-1, i64::from);
    let (any, author) = filter.author.as_ref().map_or((1, ""), |author| (0, author.as_str()));
    let wanted = "repo = $1 AND ($2 = -1 OR pull_request = $2)
         AND ($3 = -1 OR ($3 = 1 AND status IN ('open', 'draft')) OR ($3 = 0 AND status IN ('closed', 'merged')))
         AND ($4 = 1 OR author = $5)";
    let count = format!("SELECT COUNT(*) FROM discussions WHERE {wanted}");
    let total: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count))
        .bind(&repo.id)
        .bind(pull)
        .bind(open)
        .bind(any)
        .bind(author)
        .fetch_one(&mut *connection)
        .await?;
    let sql = format!("SELECT {COLUMNS} FROM discussions WHERE {wanted} ORDER BY num DESC LIMIT $6 OFFSET $7");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&repo.id)
        .bind(pull)
        .bind(open)
        .bind(any)
        .bind(author)
        .bind(to_i64(limit)?)
        .bind(to_i64(skip)?)
        .fetch_all(&mut *connection)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push(discussion(connection, row).await?);
    }
    Ok((to_u64("COUNT(*)", total)?, found))
}

/// Adds an event.
///
/// # Errors
/// [`RepoError::Invalid`] when there are too many.
pub async fn add(
    tx: &mut Tx,
    repo: &Repo,
    num: u64,
    author: &Account,
    what: &What,
    now: Timestamp,
) -> Result<Event, RepoError> {
    let place: i64 =
        sqlx::query_scalar("SELECT COALESCE(MAX(place), 0) + 1 FROM discussion_events WHERE repo = $1 AND num = $2")
            .bind(&repo.id)
            .bind(to_i64(num)?)
            .fetch_one(&mut **tx)
            .await?;
    if place > MAX_EVENTS as i64 {
        return Err(RepoError::Invalid("so much happened in this discussion that nothing more fits"));
    }
    let id = new_id()?;
    let data = serde_json::to_string(what).map_err(|e| corrupt("discussion_events.data", e))?;
    sqlx::query(
        "INSERT INTO discussion_events (id, repo, num, place, author, kind, data, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&id)
    .bind(&repo.id)
    .bind(to_i64(num)?)
    .bind(place)
    .bind(&author.id)
    .bind(what.kind())
    .bind(data)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(Event { id, author: Some(author.clone()), what: what.clone(), created_at: now })
}

/// What happened in a discussion, in order.
///
/// # Errors
/// [`DbError`].
pub async fn events(connection: &mut AnyConnection, repo: &Repo, num: u64) -> Result<Vec<Event>, DbError> {
    let rows = sqlx::query(
        "SELECT id, author, data, created_at FROM discussion_events WHERE repo = $1 AND num = $2 ORDER BY place",
    )
    .bind(&repo.id)
    .bind(to_i64(num)?)
    .fetch_all(&mut *connection)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let (author, data): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        found.push(Event {
            id: row.try_get(0)?,
            author: accounts::by_id(connection, &author).await?,
            what: serde_json::from_str(&data).map_err(|e| corrupt("discussion_events.data", e))?,
            created_at: Timestamp(row.try_get(3)?),
        });
    }
    Ok(found)
}

/// Changes what an event says.
///
/// # Errors
/// [`DbError`].
pub async fn rewrite(tx: &mut Tx, id: &str, what: &What) -> Result<(), DbError> {
    let data = serde_json::to_string(what).map_err(|e| corrupt("discussion_events.data", e))?;
    sqlx::query("UPDATE discussion_events SET data = $2 WHERE id = $1").bind(id).bind(data).execute(&mut **tx).await?;
    Ok(())
}

/// Writes title, status and merge commit.
///
/// # Errors
/// [`DbError`].
pub async fn change(tx: &mut Tx, discussion: &Discussion) -> Result<(), DbError> {
    sqlx::query("UPDATE discussions SET title = $3, status = $4, merge_commit = $5 WHERE repo = $1 AND num = $2")
        .bind(&discussion.repo)
        .bind(to_i64(discussion.num)?)
        .bind(&discussion.title)
        .bind(discussion.status.as_str())
        .bind(discussion.merge_commit.as_deref().unwrap_or_default())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
