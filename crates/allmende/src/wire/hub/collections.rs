//! Collections.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::Page;
use super::{Base, HubError, Known, Perhaps, info, iso};
use crate::account::{Kind as AccountKind, Principal, store as accounts};
use crate::app::App;
use crate::error::Code;
use crate::exchange::collections::items::{self, Item, Target};
use crate::exchange::collections::{self, Collection, Filter, New, Order, Patch};
use crate::extract::{self, Path};
use crate::repo::Kind;
use crate::repo::card::Head;

/// Collections in one page, at first and at most.
const PAGE: usize = 20;
const MAX_PAGE: usize = 100;
/// Items of each collection in a list.
const FEW_ITEMS: usize = 4;
/// Most owners, and most items, that a list can be asked for at once.
const MAX_NAMED: usize = 20;
/// Longest text that is searched for.
const MAX_TEXT_CHARS: usize = 100;

fn note(item: &Item) -> Option<Value> {
    let safe = item.note.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    (!item.note.is_empty()).then(|| json!({ "text": item.note, "html": safe }))
}

fn item(item: &Item) -> Value {
    let mut value = match &item.target {
        Target::Repo(repo, head) => {
            let head: Head = serde_json::from_str(head).unwrap_or_default();
            let mut value = info::summary(repo, &head, false, &[]);
            if let Some(map) = value.as_object_mut() {
                map.insert("type".to_owned(), repo.kind.as_str().into());
                map.insert("repoType".to_owned(), repo.kind.as_str().into());
                map.insert("author".to_owned(), repo.owner.name.as_str().into());
                map.insert("lastModified".to_owned(), iso(repo.modified_at).into());
            }
            value
        }
        Target::Collection(collection) => json!({
            "id": collection.slug(), "slug": collection.slug(), "type": "collection", "title": collection.title,
            "theme": collection.theme, "private": collection.private, "lastUpdated": iso(collection.updated_at),
        }),
    };
    if let Some(map) = value.as_object_mut() {
        map.insert("_id".to_owned(), item.id.clone().into());
        map.insert("position".to_owned(), item.place.into());
        map.extend(note(item).map(|note| ("note".to_owned(), note)));
    }
    value
}

/// A collection; its place stands in it only where it is shown alone: clients count in lists.
fn shown(collection: &Collection, held: &[Item], alone: bool) -> Value {
    let owner = &collection.owner;
    let mut value = json!({
        "slug": collection.slug(), "title": collection.title, "private": collection.private,
        "theme": collection.theme, "upvotes": 0, "isUpvotedByUser": false, "gating": false,
        "lastUpdated": iso(collection.updated_at), "createdAt": iso(collection.created_at),
        "owner": {
            "_id": owner.id, "name": owner.name.as_str(), "fullname": owner.full_name, "avatarUrl": "", "isPro": false,
            "type": if owner.kind == AccountKind::User { "user" } else { "org" },
        },
        "items": held.iter().map(item).collect::<Vec<_>>(),
    });
    if let Some(map) = value.as_object_mut() {
        if !collection.description.is_empty() {
            map.insert("description".to_owned(), collection.description.clone().into());
        }
        if alone {
            map.insert("position".to_owned(), collection.place.into());
        }
    }
    value
}

async fn whole(app: &App, principal: Option<&Principal>, collection: &Collection) -> Result<Value, HubError> {
    let held = items::list(app, principal, collection, usize::MAX).await?;
    Ok(shown(collection, &held, true))
}

/// What `models/owner/name` or `collections/owner/slug` names, if the caller may see it.
async fn named(
    app: &App,
    principal: Option<&Principal>,
    text: &str,
) -> Result<Option<(&'static str, String)>, HubError> {
    let Some((word, id)) = text.split_once('/') else { return Ok(None) };
    let kind = match word {
        "collections" => "collection",
        "papers" | "buckets" => return Ok(None),
        word => match Kind::WITH_HISTORY.into_iter().find(|kind| kind.plural() == word) {
            Some(kind) => kind.as_str(),
            None => return Err(HubError::new(Code::BadRequest, format!("'{word}' is no type of items"))),
        },
    };
    Ok(items::find(app, principal, kind, id).await.ok().map(|target| target.key()))
}

/// Collections that the caller may see.
pub async fn list(
    State(app): State<App>,
    Base(base): Base,
    Perhaps(principal): Perhaps,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let bad = |detail: String| HubError::new(Code::BadRequest, detail);
    let (page, principal) = (Page::of(query, PAGE, MAX_PAGE), principal.as_ref());
    let mut filter = Filter::default();
    let owners: Vec<&str> = page.all("owner").chain(page.all("owner[]")).collect();
    let wanted: Vec<&str> = page.all("item").chain(page.all("item[]")).collect();
    if owners.len() > MAX_NAMED || wanted.len() > MAX_NAMED {
        return Err(bad(format!("more than {MAX_NAMED} owners or items")));
    }
    for name in &owners {
        let account = accounts::by_name(&mut *app.db.read().await?, name).await?;
        // Nobody's collections are none, not everybody's.
        filter.owners.push(account.map_or_else(String::new, |account| account.id));
    }
    if !wanted.is_empty() {
        let mut found = Vec::new();
        for text in wanted {
            found.extend(named(&app, principal, text).await?);
        }
        filter.items = Some(found);
    }
    filter.text = page.all("q").next().unwrap_or_default().chars().take(MAX_TEXT_CHARS).collect();
    filter.order = match page.all("sort").next() {
        None | Some("lastModified" | "trending" | "upvotes") => Order::Changed,
        Some("createdAt") => Order::Created,
        Some(other) => return Err(bad(format!("'{other}' is no order: use lastModified, trending or upvotes"))),
    };
    let (found, next) = collections::list(&app, principal, &filter, page.before.as_ref(), page.limit).await?;
    let mut all = Vec::with_capacity(found.len());
    for collection in &found {
        let few = items::list(&app, principal, collection, FEW_ITEMS).await?;
        all.push(shown(collection, &few, false));
    }
    Ok((page.headers(&base, "/api/collections", next.as_ref()), Json(all.into())))
}

#[derive(Debug, Deserialize)]
struct NewItem {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
pub struct Create {
    title: String,
    namespace: Option<String>,
    description: Option<String>,
    #[serde(default)]
    private: bool,
    item: Option<NewItem>,
}

/// Makes a collection.
pub async fn create(
    State(app): State<App>,
    Known(principal): Known,
    extract::Json(body): extract::Json<Create>,
) -> Result<Json<Value>, HubError> {
    let first = match &body.item {
        Some(item) => Some(items::find(&app, Some(&principal), &item.kind, &item.id).await?),
        None => None,
    };
    let (title, description, private) = (body.title, body.description.unwrap_or_default(), body.private);
    let new = New { space: body.namespace, title, description, private };
    let made = collections::create(&app, &principal, new).await?;
    if let Some(target) = first {
        items::add(&app, &made, &target, "").await?;
    }
    Ok(Json(whole(&app, Some(&principal), &made).await?))
}

type Named = Path<(String, String)>;

/// A collection.
pub async fn get(
    State(app): State<App>,
    Path((space, slug)): Named,
    Perhaps(principal): Perhaps,
) -> Result<Json<Value>, HubError> {
    let collection = collections::see(&app, principal.as_ref(), &space, &slug).await?;
    Ok(Json(whole(&app, principal.as_ref(), &collection).await?))
}

/// The collection of an address, for a caller who may change it.
async fn own(app: &App, principal: &Principal, space: &str, slug: &str) -> Result<Collection, HubError> {
    let collection = collections::see(app, Some(principal), space, slug).await?;
    collections::may_change(principal, &collection)?;
    Ok(collection)
}

#[derive(Debug, Deserialize)]
pub struct Change {
    title: Option<String>,
    description: Option<String>,
    private: Option<bool>,
    theme: Option<String>,
    position: Option<i64>,
}

/// Changes what it says of itself; with the title also its address, but for the end.
pub async fn update(
    State(app): State<App>,
    Path((space, slug)): Named,
    Known(principal): Known,
    extract::Json(body): extract::Json<Change>,
) -> Result<Json<Value>, HubError> {
    let collection = own(&app, &principal, &space, &slug).await?;
    let Change { title, description, private, theme, position: place } = body;
    let changed = collections::update(&app, &collection, Patch { title, description, private, theme, place }).await?;
    Ok(Json(json!({ "success": true, "data": whole(&app, Some(&principal), &changed).await? })))
}

/// Removes a collection.
pub async fn remove(
    State(app): State<App>,
    Path((space, slug)): Named,
    Known(principal): Known,
) -> Result<Json<Value>, HubError> {
    let collection = own(&app, &principal, &space, &slug).await?;
    collections::remove(&app, &collection).await?;
    Ok(Json(json!({ "success": true })))
}

#[derive(Debug, Deserialize)]
pub struct Add {
    item: NewItem,
    note: Option<String>,
}

/// Adds an item.
pub async fn add(
    State(app): State<App>,
    Path((space, slug)): Named,
    Known(principal): Known,
    extract::Json(body): extract::Json<Add>,
) -> Result<Json<Value>, HubError> {
    let collection = own(&app, &principal, &space, &slug).await?;
    let target = items::find(&app, Some(&principal), &body.item.kind, &body.item.id).await?;
    items::add(&app, &collection, &target, body.note.as_deref().unwrap_or_default()).await?;
    let collection = collections::see(&app, Some(&principal), &space, &slug).await?;
    Ok(Json(whole(&app, Some(&principal), &collection).await?))
}

#[derive(Debug, Deserialize)]
pub struct ChangeItem {
    note: Option<String>,
    position: Option<usize>,
}

/// Changes an item's note or place.
pub async fn update_item(
    State(app): State<App>,
    Path((space, slug, item)): Path<(String, String, String)>,
    Known(principal): Known,
    extract::Json(body): extract::Json<ChangeItem>,
) -> Result<Json<Value>, HubError> {
    let collection = own(&app, &principal, &space, &slug).await?;
    items::update(&app, &collection, &item, body.note.as_deref(), body.position).await?;
    Ok(Json(json!({ "success": true })))
}

/// Removes an item.
pub async fn remove_item(
    State(app): State<App>,
    Path((space, slug, item)): Path<(String, String, String)>,
    Known(principal): Known,
) -> Result<Json<Value>, HubError> {
    let collection = own(&app, &principal, &space, &slug).await?;
    items::remove(&app, &collection, &item).await?;
    Ok(Json(json!({ "success": true })))
}
