//! What belongs to an account, and which tags the repositories here have.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::page::Page;
use super::{Base, HubError, Known, iso};
use crate::account::{Account, Principal, store as accounts};
use crate::app::App;
use crate::error::Code;
use crate::extract::Path;
use crate::repo::card::Head;
use crate::repo::{Kind, bucket, ops, owned, store};

/// Repositories in one page.
const PAGE: usize = 100;
/// Most repositories whose tags are looked at, and most tags of a type that are shown.
const MAX_LOOKED_AT: usize = 2_000;
const MAX_TAGS: usize = 1_000;

async fn page(
    app: &App,
    base: &str,
    path: &str,
    principal: &Principal,
    owner: &Account,
    query: Option<String>,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let page = Page::of(query, PAGE, PAGE);
    let mut connection = app.db.read().await?;
    let mut found = owned::page(&mut connection, owner, None, page.before.as_ref(), page.rows()).await?;
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|repo| (repo.created_at, repo.id.clone()));
    let mut shown = Vec::with_capacity(found.len());
    drop(connection);
    for repo in &found {
        if !ops::is_visible(app, Some(principal), repo).await? {
            continue;
        }
        let mut connection = app.db.read().await?;
        let used_bytes = if repo.kind.has_history() {
            let head: Head = serde_json::from_str(&store::head(&mut connection, &repo.id).await?).unwrap_or_default();
            head.used_bytes
        } else {
            bucket::sums(&mut connection, repo).await?.bytes
        };
        shown.push(json!({
            "id": repo.full_name(), "type": repo.kind.as_str(), "updatedAt": iso(repo.modified_at),
            "visibility": if repo.private { "private" } else { "public" }, "storage": used_bytes,
            "storagePercent": 0,
        }));
    }
    Ok((page.headers(base, path, next.as_ref()), Json(shown.into())))
}

/// The caller's repositories, and how large they are.
pub async fn own(
    State(app): State<App>,
    Base(base): Base,
    Known(principal): Known,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    page(&app, &base, "/api/settings/repositories", &principal, &principal.account, query).await
}

/// The repositories of an organization, for its members.
pub async fn of_organization(
    State(app): State<App>,
    Base(base): Base,
    Path(name): Path<String>,
    Known(principal): Known,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let found = accounts::by_name(&mut *app.db.read().await?, &name).await?;
    let missing = || HubError::new(Code::NotFound, "This organization does not exist");
    let owner = found.ok_or_else(missing)?;
    if principal.role_in(&owner.id).is_none() {
        return Err(HubError::new(Code::Forbidden, "Only members of the organization see this"));
    }
    let path = format!("/api/organizations/{}/settings/repositories", owner.name);
    page(&app, &base, &path, &principal, &owner, query).await
}

/// The type of a tag by its prefix.
fn type_of<'a>(tag: &'a str, head: &Head) -> (&'static str, &'a str) {
    for prefix in ["license", "dataset", "base_model", "task_categories", "size_categories"] {
        if let Some(rest) = tag.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(':')) {
            return (prefix, rest);
        }
    }
    let is = |field: &str| head.text(field) == Some(tag);
    let language = || match head.card.as_ref().and_then(|card| card.get("language")) {
        Some(Value::String(text)) => text == tag,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(tag)),
        _ => false,
    };
    match () {
        () if is("library_name") => ("library", tag),
        () if is("pipeline_tag") => ("pipeline_tag", tag),
        () if language() => ("language", tag),
        () => ("other", tag),
    }
}

/// The tags of what anybody may see, by type.
async fn tags(app: &App, kind: Kind) -> Result<Json<Value>, HubError> {
    let mut all: BTreeMap<&str, BTreeSet<(String, String)>> = BTreeMap::new();
    let (mut before, mut looked_at) = (None, 0);
    while looked_at < MAX_LOOKED_AT {
        let from = before.as_ref().map(|(at, id): &(_, String)| (*at, id.as_str()));
        let page = store::page(&mut *app.db.read().await?, kind, from, 200).await?;
        let Some((last, _)) = page.last() else { break };
        before = Some((last.modified_at, last.id.clone()));
        looked_at += page.len();
        for (_, head) in page.iter().filter(|(repo, _)| repo.is_public()) {
            let head: Head = serde_json::from_str(head).unwrap_or_default();
            for tag in &head.tags {
                let (kind, label) = type_of(tag, &head);
                let of_type = all.entry(kind).or_default();
                if of_type.len() < MAX_TAGS {
                    of_type.insert((tag.clone(), label.to_owned()));
                }
            }
        }
    }
    let shown = all.into_iter().map(|(kind, tags)| {
        let tags = tags.into_iter().map(|(id, label)| json!({ "type": kind, "id": id, "label": label }));
        (kind.to_owned(), tags.collect::<Value>())
    });
    Ok(Json(Value::Object(shown.collect())))
}

/// Tags of models.
pub async fn model_tags(State(app): State<App>) -> Result<Json<Value>, HubError> {
    tags(&app, Kind::Model).await
}

/// Tags of datasets.
pub async fn dataset_tags(State(app): State<App>) -> Result<Json<Value>, HubError> {
    tags(&app, Kind::Dataset).await
}
