//! Gated repositories: asking, and answering who asks.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::page::Page;
use super::repos::url_pairs;
use super::{Base, HubError, Known, There, iso};
use crate::account::Principal;
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::exchange::ExchangeError;
use crate::exchange::access::{self, Request, Status, Whose};
use crate::extract::{self, Body, Path};
use crate::repo::{Kind, Right, reads};

/// Requests in one page.
const PAGE: usize = 100;

impl From<ExchangeError> for HubError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Repo(inner) => inner.into(),
            ExchangeError::Restricted { .. } => Self::from(ApiError::from(error)).short("GatedRepo"),
            error => ApiError::from(error).into(),
        }
    }
}

impl There {
    /// Refuses who may not read the files.
    pub(super) async fn may_read_files(&self, app: &App) -> Result<(), HubError> {
        Ok(access::may_read_files(app, self.principal.as_ref(), &self.seen.repo).await?)
    }

    /// Notes that so many bytes of what stands in the files were shown.
    pub(super) fn note(&self, app: &App, bytes: u64) {
        reads::note(app, self.principal.as_ref(), &self.seen.repo, bytes);
    }

    /// Refuses who may not decide who reads them.
    fn may_decide(&self) -> Result<(), HubError> {
        self.who(Right::Read)?;
        Ok(access::may_decide(self.seen.right)?)
    }
}

/// Whether the caller may write to the repository.
pub async fn auth_check_write(there: There) -> Result<Json<Value>, HubError> {
    there.who(Right::Write)?;
    Ok(Json(json!({})))
}

fn shown(request: &Request) -> Value {
    let mut value = json!({
        "requestId": request.id, "status": request.status.as_str(), "timestamp": iso(request.asked_at),
        "user": {
            "_id": request.account.id, "user": request.account.name.as_str(), "fullname": request.account.full_name,
            "avatarUrl": "", "isPro": false, "type": "user",
        },
    });
    if let Some(map) = value.as_object_mut() {
        if request.fields.as_object().is_some_and(|fields| !fields.is_empty()) {
            map.insert("fields".to_owned(), request.fields.clone());
        }
        if !request.reason.is_empty() {
            map.insert("rejectionReason".to_owned(), request.reason.clone().into());
        }
    }
    value
}

/// The requests of a status.
pub async fn list(
    State(app): State<App>,
    Path((.., status)): Path<(String, String, String, String)>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    there.may_decide()?;
    let status = Status::parse(&status).ok_or_else(|| HubError::new(Code::NotFound, "this path does not exist"))?;
    let (repo, page) = (&there.seen.repo, Page::of(query, PAGE, PAGE));
    let mut found = access::list(&mut *app.db.read().await?, repo, status, page.before.as_ref(), page.rows()).await?;
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|request| (request.asked_at, request.id.clone()));
    let path = format!("/api/{}/{}/user-access-request/{}", repo.kind.plural(), repo.full_name(), status.as_str());
    Ok((page.headers(&base, &path, next.as_ref()), Json(found.iter().map(shown).collect())))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handle {
    user: Option<String>,
    user_id: Option<String>,
    request_id: Option<String>,
    status: String,
    rejection_reason: Option<String>,
}

/// Answers a request.
pub async fn handle(
    State(app): State<App>,
    there: There,
    extract::Json(body): extract::Json<Handle>,
) -> Result<Json<Value>, HubError> {
    there.may_decide()?;
    let bad = |detail: &str| HubError::new(Code::BadRequest, detail);
    let whose = match (body.user, body.user_id, body.request_id) {
        (Some(name), None, None) => Whose::Name(name),
        (None, Some(id), None) => Whose::Account(id),
        (None, None, Some(id)) => Whose::Request(id),
        _ => return Err(bad("name one of user, userId and requestId")),
    };
    let status = Status::parse(&body.status).ok_or_else(|| bad("the status is pending, accepted or rejected"))?;
    access::answer(&app, &there.seen.repo, &whose, status, body.rejection_reason.as_deref()).await?;
    Ok(Json(json!({ "success": true })))
}

#[derive(Debug, Deserialize)]
pub struct Grant {
    user: String,
}

/// Lets somebody in.
pub async fn grant(
    State(app): State<App>,
    there: There,
    extract::Json(body): extract::Json<Grant>,
) -> Result<Json<Value>, HubError> {
    there.may_decide()?;
    access::grant(&app, &there.seen.repo, &body.user).await?;
    Ok(Json(json!({ "success": true })))
}

async fn ask(
    app: &App,
    principal: Principal,
    kind: Option<Kind>,
    (space, name): (&str, &str),
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Json<Value>, HubError> {
    let bad = |detail: &str| HubError::new(Code::BadRequest, detail);
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    let fields = if body.iter().all(u8::is_ascii_whitespace) {
        Value::Object(Map::new())
    } else if is_json {
        let value: Value = serde_json::from_slice(body).map_err(|_| bad("the body is no JSON"))?;
        if !value.is_object() {
            return Err(bad("the body is no JSON object"));
        }
        value
    } else {
        let text = std::str::from_utf8(body).map_err(|_| bad("the body is no form"))?;
        Value::Object(url_pairs(text).into_iter().map(|(key, value)| (key, Value::String(value))).collect())
    };
    let there = There::find(app, Some(principal), kind, space, name).await?;
    let status = access::ask(app, there.who(Right::Read)?, &there.seen.repo, &fields).await?;
    Ok(Json(json!({ "status": status.as_str() })))
}

/// Asks for the files of a model, as its page does.
pub async fn ask_model(
    State(app): State<App>,
    Path((space, name)): Path<(String, String)>,
    Known(principal): Known,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Value>, HubError> {
    ask(&app, principal, Some(Kind::Model), (&space, &name), &headers, &body).await
}

/// The same for `/datasets/…`, and so on.
pub async fn ask_other(
    State(app): State<App>,
    Path((prefix, space, name)): Path<(String, String, String)>,
    Known(principal): Known,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Value>, HubError> {
    let kind = Kind::WITH_HISTORY.into_iter().find(|kind| kind.plural() == prefix);
    ask(&app, principal, kind, (&space, &name), &headers, &body).await
}
