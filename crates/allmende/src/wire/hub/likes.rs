//! Likes, and lists of people that this hub keeps empty.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::page::Page;
use super::{Base, HubError, Perhaps, There, iso};
use crate::account::{Account, Kind, store};
use crate::app::App;
use crate::error::Code;
use crate::exchange::likes;
use crate::extract::Path;
use crate::repo::{RepoError, Right};

/// Likes in one page.
const PAGE: usize = 200;

/// Likes a repository.
pub async fn like(State(app): State<App>, there: There) -> Result<StatusCode, HubError> {
    likes::set(&app, there.who(Right::Read)?, &there.seen.repo, true).await?;
    Ok(StatusCode::OK)
}

/// Likes it no longer.
pub async fn unlike(State(app): State<App>, there: There) -> Result<StatusCode, HubError> {
    likes::set(&app, there.who(Right::Read)?, &there.seen.repo, false).await?;
    Ok(StatusCode::OK)
}

/// `/api/models/{name}/like`: repositories without an owner are none of ours.
pub async fn nobodys() -> HubError {
    RepoError::NotFound.into()
}

/// Who likes a repository.
pub async fn likers(
    State(app): State<App>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let (repo, page) = (&there.seen.repo, Page::of(query, PAGE, PAGE));
    let mut found = likes::of_repo(&mut *app.db.read().await?, repo, page.before.as_ref(), page.rows()).await?;
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|(_, cursor)| cursor);
    let path = format!("/api/{}/{}/likers", repo.kind.plural(), repo.full_name());
    let shown = found.iter().map(|(account, _)| {
        json!({
            "_id": account.id, "user": account.name.as_str(), "fullname": account.full_name, "avatarUrl": "",
            "isPro": false, "type": if account.kind == Kind::User { "user" } else { "org" },
        })
    });
    Ok((page.headers(&base, &path, next), Json(shown.collect())))
}

async fn account(app: &App, name: &str) -> Result<Account, HubError> {
    let found = store::by_name(&mut *app.db.read().await?, name).await?;
    found.ok_or_else(|| HubError::new(Code::NotFound, "This user does not exist"))
}

/// What somebody likes, of what the caller may see.
pub async fn of_user(
    State(app): State<App>,
    Path(name): Path<String>,
    Base(base): Base,
    Perhaps(principal): Perhaps,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let (account, page) = (account(&app, &name).await?, Page::of(query, PAGE, PAGE));
    let (found, next) = likes::of_account(&app, principal.as_ref(), &account, page.before.clone(), page.limit).await?;
    let shown = found.iter().map(
        |(repo, at)| json!({ "createdAt": iso(*at), "repo": { "name": repo.full_name(), "type": repo.kind.as_str() } }),
    );
    let path = format!("/api/users/{}/likes", account.name);
    Ok((page.headers(&base, &path, next.as_ref()), Json(shown.collect())))
}

/// Nobody follows anybody here.
pub async fn followers(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, HubError> {
    account(&app, &name).await?;
    Ok(Json(json!([])))
}
