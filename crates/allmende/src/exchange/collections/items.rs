//! What stands in a collection. Of what somebody may not see they learn nothing here either.

use sqlx::Row as _;

use super::super::{ExchangeError, prose};
use super::{Collection, store, visible};
use crate::account::{Principal, new_id};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::repo::{Kind, Repo, ops};
use crate::transaction;

/// Longest note, in characters.
const MAX_NOTE_CHARS: usize = 500;
/// Most items of one collection.
const MAX_ITEMS: usize = 1_000;

/// What an item is.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A repository, with the index of its head.
    Repo(Box<Repo>, String),
    /// Another collection.
    Collection(Box<Collection>),
}

impl Target {
    /// How it stands in the database.
    #[must_use]
    pub fn key(&self) -> (&'static str, String) {
        match self {
            Self::Repo(repo, _) => ("repo", repo.id.clone()),
            Self::Collection(collection) => ("collection", collection.id.clone()),
        }
    }
}

/// An item.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its id in the collection.
    pub id: String,
    /// What it is.
    pub target: Target,
    /// Its place, from 0.
    pub place: i64,
    /// What was noted; may be empty.
    pub note: String,
}

/// What a word for its type and an id name, if `principal` may see it.
///
/// # Errors
/// [`ExchangeError::Missing`].
pub async fn find(app: &App, principal: Option<&Principal>, kind: &str, id: &str) -> Result<Target, ExchangeError> {
    let missing = ExchangeError::Missing("Item");
    if kind == "collection" {
        let Some((space, slug)) = id.split_once('/') else { return Err(missing) };
        return Ok(Target::Collection(Box::new(super::see(app, principal, space, slug).await?)));
    }
    let Some(kind) = Kind::WITH_HISTORY.into_iter().find(|known| known.as_str() == kind) else {
        return Err(ExchangeError::Bad(format!("this hub's collections hold no items of the type '{kind}'")));
    };
    let id = id.strip_prefix(kind.prefix()).unwrap_or(id);
    let Some((space, name)) = id.split_once('/') else { return Err(missing) };
    let seen = ops::see(app, principal, kind, space, name).await?;
    let head = crate::repo::store::head(&mut *app.db.read().await?, &seen.repo.id).await?;
    Ok(Target::Repo(Box::new(seen.repo), head))
}

/// The items that `principal` may see, at most `limit` of them.
///
/// # Errors
/// [`ExchangeError`] of the database or a log.
pub async fn list(
    app: &App,
    principal: Option<&Principal>,
    collection: &Collection,
    limit: usize,
) -> Result<Vec<Item>, ExchangeError> {
    let sql = "SELECT id, kind, target, place, note FROM collection_items WHERE collection = $1 ORDER BY place, id";
    let rows = sqlx::query(sql).bind(&collection.id).fetch_all(&mut *app.db.read().await?).await?;
    let mut found = Vec::new();
    for row in &rows {
        let (kind, target): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        let target = if kind == "collection" {
            let other = store::by_id(&mut *app.db.read().await?, &target).await?;
            other.filter(|other| visible(principal, other)).map(|other| Target::Collection(Box::new(other)))
        } else {
            let repo = crate::repo::store::by_id(&mut *app.db.read().await?, &target).await?;
            match repo {
                Some(repo) if ops::is_visible(app, principal, &repo).await? => {
                    let head = crate::repo::store::head(&mut *app.db.read().await?, &repo.id).await?;
                    Some(Target::Repo(Box::new(repo), head))
                }
                _ => None,
            }
        };
        if let Some(target) = target {
            found.push(Item { id: row.try_get(0)?, target, place: row.try_get(3)?, note: row.try_get(4)? });
            if found.len() == limit {
                break;
            }
        }
    }
    Ok(found)
}

async fn ids(tx: &mut Tx, collection: &Collection) -> Result<Vec<String>, DbError> {
    let sql = "SELECT id FROM collection_items WHERE collection = $1 ORDER BY place, id";
    Ok(sqlx::query_scalar(sql).bind(&collection.id).fetch_all(&mut **tx).await?)
}

/// Adds an item at the end.
///
/// # Errors
/// [`ExchangeError::Taken`] when it is there.
pub async fn add(app: &App, collection: &Collection, target: &Target, note: &str) -> Result<(), ExchangeError> {
    let note = prose("the note", note, MAX_NOTE_CHARS)?;
    let (kind, target) = target.key();
    if kind == "collection" && target == collection.id {
        return Err(ExchangeError::Bad("a collection does not hold itself".to_owned()));
    }
    let (id, now) = (new_id()?, app.clock.now());
    transaction!(app.db, tx => {
        let standing = ids(tx, collection).await?.len();
        if standing >= MAX_ITEMS {
            return Err(ExchangeError::TooMany(format!("a collection has at most {MAX_ITEMS} items")));
        }
        let last = "SELECT COALESCE(MAX(place), -1) FROM collection_items WHERE collection = $1";
        let last: i64 = sqlx::query_scalar(last).bind(&collection.id).fetch_one(&mut **tx).await?;
        let done = sqlx::query(
            "INSERT INTO collection_items (id, collection, kind, target, place, note) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (collection, kind, target) DO NOTHING",
        )
        .bind(&id)
        .bind(&collection.id)
        .bind(kind)
        .bind(&target)
        .bind(last + 1)
        .bind(&note)
        .execute(&mut **tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(ExchangeError::Taken("The item is in the collection already"));
        }
        store::touch(tx, &collection.id, now).await?;
        Ok(())
    })
}

/// Changes an item's note, or its place among all items.
///
/// # Errors
/// [`ExchangeError::Missing`].
pub async fn update(
    app: &App,
    collection: &Collection,
    item: &str,
    note: Option<&str>,
    place: Option<usize>,
) -> Result<(), ExchangeError> {
    let note = note.map(|note| prose("the note", note, MAX_NOTE_CHARS)).transpose()?;
    let now = app.clock.now();
    transaction!(app.db, tx => {
        let mut order = ids(tx, collection).await?;
        let at = order.iter().position(|id| id == item).ok_or(ExchangeError::Missing("Item"))?;
        if let Some(note) = &note {
            let sql = "UPDATE collection_items SET note = $2 WHERE id = $1";
            sqlx::query(sql).bind(item).bind(note).execute(&mut **tx).await?;
        }
        if let Some(place) = place {
            let moved = order.remove(at);
            order.insert(place.min(order.len()), moved);
            for (place, id) in (0_i64..).zip(&order) {
                let sql = "UPDATE collection_items SET place = $2 WHERE id = $1 AND place <> $2";
                sqlx::query(sql).bind(id).bind(place).execute(&mut **tx).await?;
            }
        }
        store::touch(tx, &collection.id, now).await?;
        Ok(())
    })
}

/// Removes an item.
///
/// # Errors
/// [`ExchangeError::Missing`].
pub async fn remove(app: &App, collection: &Collection, item: &str) -> Result<(), ExchangeError> {
    let now = app.clock.now();
    transaction!(app.db, tx => {
        let sql = "DELETE FROM collection_items WHERE id = $1 AND collection = $2";
        let done = sqlx::query(sql).bind(item).bind(&collection.id).execute(&mut **tx).await?;
        if done.rows_affected() == 0 {
            return Err(ExchangeError::Missing("Item"));
        }
        store::touch(tx, &collection.id, now).await?;
        Ok(())
    })
}
