//! Repositories in the database.

use allmende_core::id::CollaborationId;
use allmende_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::card::Head;
use super::{Gate, Kind, Repo, RepoError, RepoName, Settings};
use crate::account::Account;
use crate::account::store as accounts;
use crate::db::{DbError, Tx, is_unique_violation, to_u64};

const COLUMNS: &str = "id, kind, owner, name, creator, private, gated, disabled, collaboration, settings, created_at, \
                       modified_at, downloads, likes";

fn corrupt(column: &'static str, message: impl std::fmt::Display) -> DbError {
    DbError::Corrupt { column, message: message.to_string() }
}

async fn repo(connection: &mut AnyConnection, row: &AnyRow) -> Result<Repo, DbError> {
    let (kind, owner, name): (String, String, String) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let (gate, collaboration, settings): (String, String, String) = (row.try_get(6)?, row.try_get(8)?, row.try_get(9)?);
    let owner = accounts::by_id(connection, &owner).await?.ok_or_else(|| corrupt("repos.owner", &owner))?;
    Ok(Repo {
        id: row.try_get(0)?,
        kind: Kind::parse(&kind).ok_or_else(|| corrupt("repos.kind", &kind))?,
        owner,
        name: name.parse().map_err(|e| corrupt("repos.name", e))?,
        creator: row.try_get(4)?,
        private: row.try_get::<i64, _>(5)? != 0,
        gate: Gate::parse(&gate).ok_or_else(|| corrupt("repos.gated", &gate))?,
        disabled: row.try_get::<i64, _>(7)? != 0,
        collaboration: match collaboration.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|e| corrupt("repos.collaboration", e))?),
        },
        settings: serde_json::from_str(&settings).map_err(|e| corrupt("repos.settings", e))?,
        created_at: Timestamp(row.try_get(10)?),
        modified_at: Timestamp(row.try_get(11)?),
        downloads: to_u64("repos.downloads", row.try_get(12)?)?,
        likes: to_u64("repos.likes", row.try_get(13)?)?,
    })
}

/// The repository of this id.
///
/// # Errors
/// [`DbError`].
pub async fn by_id(connection: &mut AnyConnection, id: &str) -> Result<Option<Repo>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM repos WHERE id = $1");
    match sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *connection).await? {
        Some(row) => Ok(Some(repo(connection, &row).await?)),
        None => Ok(None),
    }
}

/// The repository `space/name` of a kind, also by a name that it had before it moved.
///
/// # Errors
/// [`DbError`].
pub async fn find(
    connection: &mut AnyConnection,
    kind: Kind,
    space: &str,
    name: &str,
) -> Result<Option<Repo>, DbError> {
    let (space, name) = (space.to_ascii_lowercase(), name.to_ascii_lowercase());
    let id: Option<String> = sqlx::query_scalar(
        "SELECT r.id FROM repos r JOIN accounts a ON a.id = r.owner
         WHERE r.kind = $1 AND a.name_key = $2 AND r.name_key = $3",
    )
    .bind(kind.as_str())
    .bind(&space)
    .bind(&name)
    .fetch_optional(&mut *connection)
    .await?;
    let moved = "SELECT repo FROM repo_moves WHERE kind = $1 AND owner_key = $2 AND name_key = $3";
    let id = match id {
        Some(id) => Some(id),
        None => {
            let query = sqlx::query_scalar(moved).bind(kind.as_str()).bind(&space).bind(&name);
            query.fetch_optional(&mut *connection).await?
        }
    };
    match id {
        Some(id) => by_id(connection, &id).await,
        None => Ok(None),
    }
}

/// A repository to be.
#[derive(Debug, Clone)]
pub struct NewRepo {
    /// What it will hold.
    pub kind: Kind,
    /// Whose it will be.
    pub owner: Account,
    /// What it will be called.
    pub name: RepoName,
    /// Who creates it, an account's id.
    pub creator: String,
    /// Whether only its owner's people see it.
    pub private: bool,
    /// Under whose terms it will stand.
    pub collaboration: Option<CollaborationId>,
    /// Everything else.
    pub settings: Settings,
}

/// Records a repository with the index of its head. Its folder has to be there already, under the id from
/// [`crate::account::new_id`].
///
/// # Errors
/// [`RepoError::Exists`] with the one that is there.
pub async fn create(
    tx: &mut Tx,
    id: &str,
    new: &NewRepo,
    head: Option<&Head>,
    now: Timestamp,
) -> Result<Repo, RepoError> {
    if let Some(standing) = find_exactly(tx, new.kind, &new.owner, &new.name).await? {
        return Err(RepoError::Exists(Box::new(standing)));
    }
    let settings = serde_json::to_string(&new.settings).map_err(|e| corrupt("repos.settings", e))?;
    sqlx::query(
        "INSERT INTO repos (id, kind, owner, name, name_key, creator, private, gated, disabled, collaboration, settings,
                            created_at, head, modified_at, downloads, likes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'off', 0, $8, $9, $10, $11, $10, 0, 0)",
    )
    .bind(id)
    .bind(new.kind.as_str())
    .bind(&new.owner.id)
    .bind(new.name.as_str())
    .bind(new.name.key())
    .bind(&new.creator)
    .bind(i64::from(new.private))
    .bind(new.collaboration.as_ref().map_or("", |c| c.as_str()))
    .bind(settings)
    .bind(now.0)
    .bind(head.map_or_else(|| Ok("{}".to_owned()), head_text)?)
    .execute(&mut **tx)
    .await?;
    forget_move(tx, new.kind, &new.owner, &new.name).await?;
    by_id(tx, id).await?.ok_or(RepoError::NotFound)
}

async fn find_exactly(tx: &mut Tx, kind: Kind, owner: &Account, name: &RepoName) -> Result<Option<Repo>, DbError> {
    let id: Option<String> =
        sqlx::query_scalar("SELECT id FROM repos WHERE kind = $1 AND owner = $2 AND name_key = $3")
            .bind(kind.as_str())
            .bind(&owner.id)
            .bind(name.key())
            .fetch_optional(&mut **tx)
            .await?;
    match id {
        Some(id) => by_id(tx, &id).await,
        None => Ok(None),
    }
}

async fn forget_move(tx: &mut Tx, kind: Kind, owner: &Account, name: &RepoName) -> Result<(), DbError> {
    sqlx::query("DELETE FROM repo_moves WHERE kind = $1 AND owner_key = $2 AND name_key = $3")
        .bind(kind.as_str())
        .bind(owner.name.key())
        .bind(name.key())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Moves a repository to another name or owner; the old name leads to it until somebody else takes it.
///
/// # Errors
/// [`RepoError::Exists`] when the new name is taken.
pub async fn rename(tx: &mut Tx, repo: &Repo, owner: &Account, name: &RepoName) -> Result<(), RepoError> {
    if let Some(standing) = find_exactly(tx, repo.kind, owner, name).await?
        && standing.id != repo.id
    {
        return Err(RepoError::Exists(Box::new(standing)));
    }
    let done = sqlx::query("UPDATE repos SET owner = $2, name = $3, name_key = $4 WHERE id = $1")
        .bind(&repo.id)
        .bind(&owner.id)
        .bind(name.as_str())
        .bind(name.key())
        .execute(&mut **tx)
        .await;
    match done {
        Ok(_) => {}
        Err(error) if is_unique_violation(&error) => return Err(RepoError::Exists(Box::new(repo.clone()))),
        Err(error) => return Err(error.into()),
    }
    forget_move(tx, repo.kind, owner, name).await?;
    sqlx::query(
        "INSERT INTO repo_moves (kind, owner_key, name_key, repo) VALUES ($1, $2, $3, $4)
         ON CONFLICT (kind, owner_key, name_key) DO UPDATE SET repo = excluded.repo",
    )
    .bind(repo.kind.as_str())
    .bind(repo.owner.name.key())
    .bind(repo.name.key())
    .bind(&repo.id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Writes what the owner has set.
///
/// # Errors
/// [`DbError`].
pub async fn configure(tx: &mut Tx, repo: &Repo) -> Result<(), DbError> {
    let settings = serde_json::to_string(&repo.settings).map_err(|e| corrupt("repos.settings", e))?;
    sqlx::query("UPDATE repos SET private = $2, gated = $3, disabled = $4, settings = $5 WHERE id = $1")
        .bind(&repo.id)
        .bind(i64::from(repo.private))
        .bind(repo.gate.as_str())
        .bind(i64::from(repo.disabled))
        .bind(settings)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes under whose terms it stands, and that it is private.
///
/// # Errors
/// [`DbError`].
pub async fn put_under(tx: &mut Tx, repo: &Repo) -> Result<(), DbError> {
    sqlx::query("UPDATE repos SET collaboration = $2, private = $3 WHERE id = $1")
        .bind(&repo.id)
        .bind(repo.collaboration.as_ref().map_or("", CollaborationId::as_str))
        .bind(i64::from(repo.private))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The repositories under the terms of a collaboration, by id, after `after`.
///
/// # Errors
/// [`DbError`].
pub async fn under(
    connection: &mut AnyConnection,
    collaboration: &CollaborationId,
    after: &str,
    limit: i64,
) -> Result<Vec<Repo>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM repos WHERE collaboration = $1 AND id > $2 ORDER BY id LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(collaboration.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push(repo(connection, row).await?);
    }
    Ok(found)
}

/// The index of a head as it is kept.
///
/// # Errors
/// [`DbError::Corrupt`], never in practice.
pub fn head_text(head: &Head) -> Result<String, DbError> {
    serde_json::to_string(head).map_err(|e| corrupt("repos.head", e))
}

/// Keeps an index of the main branch's head.
///
/// # Errors
/// [`DbError`].
pub async fn note_head(tx: &mut Tx, repo: &str, head: &str, at: Timestamp) -> Result<(), DbError> {
    sqlx::query("UPDATE repos SET head = $2, modified_at = $3 WHERE id = $1")
        .bind(repo)
        .bind(head)
        .bind(at.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Notes when a repository without a history last changed.
///
/// # Errors
/// [`DbError`].
pub async fn touch(tx: &mut Tx, repo: &str, at: Timestamp) -> Result<(), DbError> {
    sqlx::query("UPDATE repos SET modified_at = $2 WHERE id = $1").bind(repo).bind(at.0).execute(&mut **tx).await?;
    Ok(())
}

/// Forgets a repository. Its folder goes after it.
///
/// # Errors
/// [`DbError`].
pub async fn delete(tx: &mut Tx, repo: &Repo) -> Result<(), DbError> {
    // Xorbs stay: other repositories may cite them.
    for sql in [
        "DELETE FROM bucket_files WHERE repo = $1",
        "DELETE FROM repo_files WHERE repo = $1",
        "DELETE FROM xet_files WHERE repo = $1",
        "DELETE FROM repo_xorbs WHERE repo = $1",
        "DELETE FROM repo_domains WHERE repo = $1",
        "DELETE FROM repo_histories WHERE repo = $1",
        "DELETE FROM repo_moves WHERE repo = $1",
        "DELETE FROM content_facts WHERE repo = $1",
        "DELETE FROM mirrors WHERE repo = $1",
        "DELETE FROM repos WHERE id = $1",
    ] {
        sqlx::query(sql).bind(&repo.id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// The ids of all repositories, after `after`.
///
/// # Errors
/// [`DbError`].
pub async fn ids(connection: &mut AnyConnection, after: &str, limit: i64) -> Result<Vec<String>, DbError> {
    let query = sqlx::query_scalar("SELECT id FROM repos WHERE id > $1 ORDER BY id LIMIT $2");
    Ok(query.bind(after).bind(limit).fetch_all(connection).await?)
}

/// A page of repositories of a kind, with the index of their heads, newest change first.
///
/// # Errors
/// [`DbError`].
pub async fn page(
    connection: &mut AnyConnection,
    kind: Kind,
    before: Option<(Timestamp, &str)>,
    limit: i64,
) -> Result<Vec<(Repo, String)>, DbError> {
    let (at, id) = before.map_or((i64::MAX, "~"), |(at, id)| (at.0, id));
    let sql = format!(
        "SELECT {COLUMNS}, head FROM repos
         WHERE kind = $1 AND (modified_at < $2 OR (modified_at = $2 AND id < $3))
         ORDER BY modified_at DESC, id DESC LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(kind.as_str())
        .bind(at)
        .bind(id)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push((repo(connection, row).await?, row.try_get(14)?));
    }
    Ok(found)
}

/// The index of a repository's head, as JSON.
///
/// # Errors
/// [`DbError`].
pub async fn head(connection: &mut AnyConnection, repo: &str) -> Result<String, DbError> {
    let head = sqlx::query_scalar("SELECT head FROM repos WHERE id = $1").bind(repo).fetch_optional(connection).await?;
    Ok(head.unwrap_or_default())
}
