//! Likes.

use allmende_core::time::Timestamp;
use sqlx::{AnyConnection, Row as _};

use super::{Cursor, ExchangeError, whole};
use crate::account::store as accounts;
use crate::account::{Account, Principal};
use crate::app::App;
use crate::db::DbError;
use crate::repo::ops::is_visible;
use crate::repo::{Repo, store};
use crate::transaction;

/// Most likes of one account.
const MAX_LIKES: i64 = 100_000;
/// Most pages of the database that one answer looks through for what the caller may see.
const MAX_PAGES: usize = 20;

/// Likes a repository, or no longer. Done again it changes nothing.
///
/// # Errors
/// [`ExchangeError`].
pub async fn set(app: &App, principal: &Principal, repo: &Repo, liked: bool) -> Result<(), ExchangeError> {
    whole(principal)?;
    let (account, now) = (&principal.account.id, app.clock.now());
    transaction!(app.db, tx => {
        let count = "SELECT COUNT(*) FROM likes WHERE account = $1";
        if liked && sqlx::query_scalar::<_, i64>(count).bind(account).fetch_one(&mut **tx).await? >= MAX_LIKES {
            return Err(ExchangeError::TooMany(format!("an account has at most {MAX_LIKES} likes")));
        }
        let done = if liked {
            let insert = "INSERT INTO likes (repo, account, liked_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            sqlx::query(insert).bind(&repo.id).bind(account).bind(now.0).execute(&mut **tx).await?
        } else {
            let delete = "DELETE FROM likes WHERE repo = $1 AND account = $2";
            sqlx::query(delete).bind(&repo.id).bind(account).execute(&mut **tx).await?
        };
        if done.rows_affected() == 1 {
            let change = if liked { 1_i64 } else { -1 };
            let update = "UPDATE repos SET likes = likes + $2 WHERE id = $1";
            sqlx::query(update).bind(&repo.id).bind(change).execute(&mut **tx).await?;
        }
        Ok(())
    })
}

/// Who likes a repository, latest first, after `before`.
///
/// # Errors
/// [`DbError`].
pub async fn of_repo(
    connection: &mut AnyConnection,
    repo: &Repo,
    before: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<(Account, Cursor)>, DbError> {
    let (at, id) = before.map_or((i64::MAX, "~"), |(at, id)| (at.0, id.as_str()));
    let rows = sqlx::query(
        "SELECT account, liked_at FROM likes
         WHERE repo = $1 AND (liked_at < $2 OR (liked_at = $2 AND account < $3))
         ORDER BY liked_at DESC, account DESC LIMIT $4",
    )
    .bind(&repo.id)
    .bind(at)
    .bind(id)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let (id, at): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(account) = accounts::by_id(connection, &id).await? {
            found.push((account, (Timestamp(at), id)));
        }
    }
    Ok(found)
}

/// What `account` likes of what `caller` may see, latest first, after `before`; and where it goes on.
///
/// # Errors
/// [`ExchangeError`] of the database or a log.
pub async fn of_account(
    app: &App,
    caller: Option<&Principal>,
    account: &Account,
    before: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<(Repo, Timestamp)>, Option<Cursor>), ExchangeError> {
    let (mut found, mut before) = (Vec::new(), before);
    for _ in 0..MAX_PAGES {
        let (at, id) = before.as_ref().map_or((i64::MAX, "~"), |(at, id)| (at.0, id.as_str()));
        let rows = sqlx::query(
            "SELECT repo, liked_at FROM likes
             WHERE account = $1 AND (liked_at < $2 OR (liked_at = $2 AND repo < $3))
             ORDER BY liked_at DESC, repo DESC LIMIT 200",
        )
        .bind(&account.id)
        .bind(at)
        .bind(id)
        .fetch_all(&mut *app.db.read().await?)
        .await?;
        for row in &rows {
            let (id, at): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            let repo = store::by_id(&mut *app.db.read().await?, &id).await?;
            before = Some((Timestamp(at), id));
            if let Some(repo) = repo
                && is_visible(app, caller, &repo).await?
            {
                found.push((repo, Timestamp(at)));
                if found.len() == limit {
                    return Ok((found, before));
                }
            }
        }
        if rows.len() < 200 {
            return Ok((found, None));
        }
    }
    Ok((found, before))
}
