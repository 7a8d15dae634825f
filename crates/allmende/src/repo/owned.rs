//! The repositories of one owner.

use allmende_core::time::Timestamp;
use sqlx::AnyConnection;

use super::{Kind, Repo, store};
use crate::account::Account;
use crate::db::DbError;

/// A page of one kind or of all, newest first, after `before`. Whoever shows them asks [`super::ops::is_visible`] of each.
///
/// # Errors
/// [`DbError`].
pub async fn page(
    connection: &mut AnyConnection,
    owner: &Account,
    kind: Option<Kind>,
    before: Option<&(Timestamp, String)>,
    limit: i64,
) -> Result<Vec<Repo>, DbError> {
    let (at, id) = before.map_or((i64::MAX, "~"), |(at, id)| (at.0, id.as_str()));
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM repos
         WHERE owner = $1 AND (created_at < $2 OR (created_at = $2 AND id < $3)) AND ($5 = '' OR kind = $5)
         ORDER BY created_at DESC, id DESC LIMIT $4",
    )
    .bind(&owner.id)
    .bind(at)
    .bind(id)
    .bind(limit)
    .bind(kind.map_or("", Kind::as_str))
    .fetch_all(&mut *connection)
    .await?;
    let mut found = Vec::with_capacity(ids.len());
    for id in &ids {
        found.extend(store::by_id(connection, id).await?);
    }
    Ok(found)
}
