//! The routes by which a collaboration's log is read, and the hub's own log of parties and keys, which is public so that
//! anyone can check a key before trusting it.

use std::sync::Arc;

use allmende_core::id::CollaborationId;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::readable;
use crate::api::Entries;
use crate::app::App;
use crate::auth::{ReadCaller, RequireScope};
use crate::error::{ApiError, Problem};
use crate::extract::{Json, Path, Query};
use crate::ledger::{Log, read};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_checkpoint))
        .routes(routes!(get_entries))
        .routes(routes!(get_tile))
        .routes(routes!(get_proof))
        .routes(routes!(get_hub_checkpoint))
        .routes(routes!(get_hub_entries))
        .routes(routes!(get_hub_tile))
        .routes(routes!(get_hub_proof))
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    limit: Option<u64>,
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

async fn checkpoint(app: &App, log: &Log) -> Result<Response, ApiError> {
    // A log that was restored may lack what its readers have seen: better no checkpoint than one that takes entries back.
    log.require_open().await?;
    Ok(text(read::checkpoint(&app.db, log).await?.to_string()))
}

async fn entries(app: &App, log: &Log, range: &Range) -> Result<Json<Entries>, ApiError> {
    let limit = range.limit.unwrap_or(u64::MAX).min(app.config.max_page_items);
    let records = read::records(&app.db, log.name(), range.from, limit).await?;
    Ok(Json(Entries { from: range.from, records }))
}

async fn tile(app: &App, log: &Log, path: &str) -> Result<Response, ApiError> {
    let bytes = read::tile(&app.db, log, path).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

async fn proof(app: &App, log: &Log, index: u64) -> Result<Response, ApiError> {
    Ok(text(read::receipt(&app.db, log, index).await?.to_string()))
}

async fn registry(app: &App) -> Result<Arc<Log>, ApiError> {
    Ok(app.logs.registry().await?)
}

/// The newest signed checkpoint.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/log/checkpoint", tag = "log", security(("token" = [])),
    params(("collaboration" = String, Path, description = "Its name")),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = Problem))
)]
async fn get_checkpoint(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path(collaboration): Path<CollaborationId>,
) -> Result<Response, ApiError> {
    checkpoint(&app, &*readable(&app, &collaboration, &caller.party).await?).await
}

/// Consecutive records of the log, as many as fit a page.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/log/entries", tag = "log", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("from" = Option<u64>, Query, description = "Index of the first, 0 if not given"),
        ("limit" = Option<u64>, Query, description = "At most so many"),
    ),
    responses((status = 200, body = Entries), (status = "default", body = Problem))
)]
async fn get_entries(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path(collaboration): Path<CollaborationId>,
    Query(range): Query<Range>,
) -> Result<Json<Entries>, ApiError> {
    entries(&app, &*readable(&app, &collaboration, &caller.party).await?, &range).await
}

/// A tile or an entry bundle, by its path as C2SP tlog-tiles writes it.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/log/tile/{*path}", tag = "log", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("path" = String, Path, description = "For instance `0/x001/067` or `entries/000.p/5`"),
    ),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = "default", body = Problem))
)]
async fn get_tile(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path((collaboration, path)): Path<(CollaborationId, String)>,
) -> Result<Response, ApiError> {
    tile(&app, &*readable(&app, &collaboration, &caller.party).await?, &path).await
}

/// A receipt that an entry stands in the log: record, inclusion proof and checkpoint, as a C2SP tlog-proof.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/log/proof/{index}", tag = "log", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("index" = u64, Path, description = "Index of the entry"),
    ),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = Problem))
)]
async fn get_proof(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path((collaboration, index)): Path<(CollaborationId, u64)>,
) -> Result<Response, ApiError> {
    proof(&app, &*readable(&app, &collaboration, &caller.party).await?, index).await
}

/// The newest signed checkpoint of the hub's log of parties and keys.
#[utoipa::path(
    get, path = "/v1/hub/log/checkpoint", tag = "log",
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = Problem))
)]
async fn get_hub_checkpoint(State(app): State<App>) -> Result<Response, ApiError> {
    checkpoint(&app, &*registry(&app).await?).await
}

/// Consecutive records of the hub's log of parties and keys.
#[utoipa::path(
    get, path = "/v1/hub/log/entries", tag = "log",
    params(
        ("from" = Option<u64>, Query, description = "Index of the first, 0 if not given"),
        ("limit" = Option<u64>, Query, description = "At most so many"),
    ),
    responses((status = 200, body = Entries), (status = "default", body = Problem))
)]
async fn get_hub_entries(State(app): State<App>, Query(range): Query<Range>) -> Result<Json<Entries>, ApiError> {
    entries(&app, &*registry(&app).await?, &range).await
}

/// A tile or an entry bundle of the hub's log of parties and keys.
#[utoipa::path(
    get, path = "/v1/hub/log/tile/{*path}", tag = "log",
    params(("path" = String, Path, description = "For instance `0/000.p/5`")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = "default", body = Problem))
)]
async fn get_hub_tile(State(app): State<App>, Path(path): Path<String>) -> Result<Response, ApiError> {
    tile(&app, &*registry(&app).await?, &path).await
}

/// A receipt that an entry stands in the hub's log of parties and keys.
#[utoipa::path(
    get, path = "/v1/hub/log/proof/{index}", tag = "log",
    params(("index" = u64, Path, description = "Index of the entry")),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = Problem))
)]
async fn get_hub_proof(State(app): State<App>, Path(index): Path<u64>) -> Result<Response, ApiError> {
    proof(&app, &*registry(&app).await?, index).await
}
