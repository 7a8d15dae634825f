//! Collections in the database.

use allmende_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::super::Cursor;
use super::Collection;
use crate::account::Account;
use crate::account::store as accounts;
use crate::db::{DbError, Tx};

const COLUMNS: &str = "id, owner, creator, title, description, private, theme, place, created_at, updated_at";

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The last change first.
    #[default]
    Changed,
    /// The newest first.
    Created,
}

impl Order {
    /// What a collection is sorted by.
    #[must_use]
    pub const fn at(self, collection: &Collection) -> Timestamp {
        match self {
            Self::Changed => collection.updated_at,
            Self::Created => collection.created_at,
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Changed => "updated_at",
            Self::Created => "created_at",
        }
    }
}

/// Which collections.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those of one of these accounts; all if empty.
    pub owners: Vec<String>,
    /// Those that hold one of these: kind and id; all if nothing is said.
    pub items: Option<Vec<(&'static str, String)>>,
    /// Those with this in the title.
    pub text: String,
    /// Sorted how.
    pub order: Order,
}

async fn collection(connection: &mut AnyConnection, row: &AnyRow) -> Result<Collection, DbError> {
    let owner: String = row.try_get(1)?;
    let missing = || DbError::Corrupt { column: "collections.owner", message: owner.clone() };
    Ok(Collection {
        owner: accounts::by_id(connection, &owner).await?.ok_or_else(missing)?,
        id: row.try_get(0)?,
        creator: row.try_get(2)?,
        title: row.try_get(3)?,
        description: row.try_get(4)?,
        private: row.try_get::<i64, _>(5)? != 0,
        theme: row.try_get(6)?,
        place: row.try_get(7)?,
        created_at: Timestamp(row.try_get(8)?),
        updated_at: Timestamp(row.try_get(9)?),
    })
}

/// The collection of this id.
pub(super) async fn by_id(connection: &mut AnyConnection, id: &str) -> Result<Option<Collection>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM collections WHERE id = $1");
    match sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *connection).await? {
        Some(row) => collection(connection, &row).await.map(Some),
        None => Ok(None),
    }
}

/// How many an owner has.
pub(super) async fn count(tx: &mut Tx, owner: &Account) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM collections WHERE owner = $1";
    Ok(sqlx::query_scalar(sql).bind(&owner.id).fetch_one(&mut **tx).await?)
}

pub(super) async fn insert(tx: &mut Tx, new: &Collection) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO collections (id, owner, creator, title, title_key, description, private, theme, place, created_at,
                                  updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
    )
    .bind(&new.id)
    .bind(&new.owner.id)
    .bind(&new.creator)
    .bind(&new.title)
    .bind(new.title.to_lowercase())
    .bind(&new.description)
    .bind(i64::from(new.private))
    .bind(&new.theme)
    .bind(new.place)
    .bind(new.created_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn update(tx: &mut Tx, changed: &Collection) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE collections SET title = $2, title_key = $3, description = $4, private = $5, theme = $6, place = $7,
                                updated_at = $8
         WHERE id = $1",
    )
    .bind(&changed.id)
    .bind(&changed.title)
    .bind(changed.title.to_lowercase())
    .bind(&changed.description)
    .bind(i64::from(changed.private))
    .bind(&changed.theme)
    .bind(changed.place)
    .bind(changed.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes that its items changed.
pub(super) async fn touch(tx: &mut Tx, id: &str, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE collections SET updated_at = $2 WHERE id = $1";
    sqlx::query(sql).bind(id).bind(now.0).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn delete(tx: &mut Tx, collection: &Collection) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM collection_items WHERE collection = $1",
        "DELETE FROM collection_items WHERE kind = 'collection' AND target = $1",
        "DELETE FROM collections WHERE id = $1",
    ] {
        sqlx::query(sql).bind(&collection.id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Numbered parameters from `from` on.
fn parameters(from: usize, count: usize) -> String {
    (from..from + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// A page of what is public or in one of `spaces`.
pub(super) async fn page(
    connection: &mut AnyConnection,
    spaces: &[String],
    filter: &Filter,
    before: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<Collection>, DbError> {
    let (at, id) = before.map_or((i64::MAX, "~"), |(at, id)| (at.0, id.as_str()));
    let by = filter.order.column();
    let mut texts: Vec<String> = Vec::new();
    let mut sql = format!("SELECT {COLUMNS} FROM collections WHERE ({by} < $1 OR ({by} = $1 AND id < $2))");
    let mut next = 4;
    sql.push_str(" AND (private = 0");
    if !spaces.is_empty() {
        sql.push_str(&format!(" OR owner IN ({})", parameters(next, spaces.len())));
        next += spaces.len();
        texts.extend_from_slice(spaces);
    }
    sql.push(')');
    if !filter.owners.is_empty() {
        sql.push_str(&format!(" AND owner IN ({})", parameters(next, filter.owners.len())));
        next += filter.owners.len();
        texts.extend_from_slice(&filter.owners);
    }
    if let Some(items) = &filter.items {
        sql.push_str(" AND id IN (SELECT collection FROM collection_items WHERE 1 = 0");
        for (kind, target) in items {
            sql.push_str(&format!(" OR (kind = ${next} AND target = ${})", next + 1));
            next += 2;
            texts.extend([(*kind).to_owned(), target.clone()]);
        }
        sql.push(')');
    }
    if !filter.text.is_empty() {
        let escaped = filter.text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        sql.push_str(&format!(" AND title_key LIKE ${next} ESCAPE '\\'"));
        texts.push(format!("%{escaped}%"));
    }
    sql.push_str(&format!(" ORDER BY {by} DESC, id DESC LIMIT $3"));
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(at).bind(id.to_owned()).bind(limit);
    for text in texts {
        query = query.bind(text);
    }
    let rows = query.fetch_all(&mut *connection).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push(collection(connection, row).await?);
    }
    Ok(found)
}
