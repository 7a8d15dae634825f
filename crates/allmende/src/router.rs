//! All routes of the hub, and what surrounds every request: id, limits, time, trace, metrics.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{self, Caller, Scope};
use crate::error::{ApiError, Code, Problem, REQUEST_ID};
use crate::extract::Json;
use crate::metrics::Counter;
use crate::{asset, collaboration, mirror, node, party, repo, run};

/// Oldest protocol between hub and clients that this program speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Newest protocol between hub and clients that this program speaks.
pub const PROTOCOL_MAX: u32 = 1;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where clients of the public hub put theirs.
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Allmende hub"), modifiers(&TokenScheme))]
struct Doc;

struct TokenScheme;

impl utoipa::Modify for TokenScheme {
    fn modify(&self, doc: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        doc.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// Routes by how long they may take.
struct Routes {
    /// Answered within `request_timeout_s`.
    short: OpenApiRouter<App>,
    /// Bodies of bytes, within `transfer_timeout_s`.
    transfers: OpenApiRouter<App>,
}

/// The one list of all routes. A noun adds its `api::routes()` here.
fn all() -> Routes {
    Routes {
        short: OpenApiRouter::with_openapi(Doc::openapi())
            .routes(routes!(get_health))
            .routes(routes!(get_hub))
            .routes(routes!(get_metrics))
            .merge(auth::api::routes())
            .merge(party::api::routes())
            .merge(collaboration::api::routes())
            .merge(repo::api::routes())
            .merge(mirror::api::routes())
            .merge(node::api::routes())
            .merge(run::upload::routes())
            .merge(run::predict::routes()),
        transfers: OpenApiRouter::new()
            .merge(asset::api::transfers())
            .merge(mirror::api::transfers())
            .merge(run::api::transfers()),
    }
}

/// The description of the API, as served at `/v1/openapi.json`.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let Routes { short, transfers } = all();
    short.merge(transfers).into_openapi()
}

/// The service of a hub.
pub fn router(app: &App) -> Router {
    let Routes { short, transfers } = all();
    let timed = |seconds: u64| middleware::from_fn_with_state(Duration::from_secs(seconds), limit_time);
    let doc = openapi();
    short
        .layer(timed(app.config.request_timeout_s))
        .merge(transfers.layer(timed(app.config.transfer_timeout_s)))
        .split_for_parts()
        .0
        .merge(crate::wire::hub::routes().layer(timed(app.config.request_timeout_s)))
        .merge(crate::wire::hub::transfers().layer(timed(app.config.transfer_timeout_s)))
        .merge(crate::wire::git::routes().layer(timed(app.config.transfer_timeout_s)))
        .merge(crate::wire::lfs::routes().layer(timed(app.config.request_timeout_s)))
        .merge(crate::wire::lfs::transfers().layer(timed(app.config.transfer_timeout_s)))
        .merge(crate::wire::oauth::routes().layer(timed(app.config.request_timeout_s)))
        .merge(crate::wire::xet::transfers().layer(timed(app.config.transfer_timeout_s)))
        .merge(crate::console::routes().layer(timed(app.config.request_timeout_s)))
        .route("/v1/openapi.json", axum::routing::get(async move || axum::Json(doc.clone())))
        .fallback(crate::console::lead)
        .method_not_allowed_fallback(async || ApiError::new(Code::MethodNotAllowed, "this path has other methods"))
        .layer(middleware::from_fn_with_state(app.clone(), surround))
        .with_state(app.clone())
}

async fn limit_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(Code::Timeout, format!("no answer within {} s", limit.as_secs())).into_response(),
    }
}

/// The id that a client gave its request: the public hub's client looks for it in the answer, and people in both logs.
/// None that does not look like one.
fn own_id(headers: &HeaderMap) -> Option<&str> {
    let fits = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    [X_REQUEST_ID, TRACE_ID].iter().find_map(|name| headers.get(name)?.to_str().ok().filter(fits))
}

/// Gives each request an id, a span without secrets (route, never path, query, headers or body), metrics, and an answer
/// even when its handler panics.
async fn surround(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = own_id(request.headers()).map_or_else(
        || {
            let mut random = [0; 8];
            // A request without chance in its id is still a request.
            let _ = getrandom::fill(&mut random);
            allmende_core::digest::to_hex(&random)
        },
        str::to_owned,
    );
    let method = request.method().as_str().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id, method, route);
    let answer = async {
        let caught = std::panic::AssertUnwindSafe(next.run(request)).catch_unwind().await;
        caught.unwrap_or_else(|_| {
            app.metrics.add(Counter::Panics, 1);
            tracing::error!("a handler panicked");
            ApiError::new(Code::Internal, "an internal error; the hub's log has it under the request id")
                .into_response()
        })
    };
    let answer = async {
        let response = answer.await;
        let (status, took) = (response.status().as_u16(), start.elapsed());
        tracing::info!(status, took_ms = took.as_millis() as u64, "answered");
        app.metrics.request(&method, &route, status, took);
        response
    };
    let mut response = REQUEST_ID.scope(id.clone(), answer.instrument(span)).await;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(X_REQUEST_ID, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Health of the hub's parts.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Health {
    /// Whether the database answers.
    pub database: bool,
    /// Whether the store of bytes answers.
    pub blobs: bool,
}

/// Whether the hub can serve: database and store of bytes answer.
#[utoipa::path(
    get, path = "/healthz", tag = "hub",
    responses((status = 200, body = Health), (status = 503, body = Problem))
)]
async fn get_health(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    let (database, blobs) = tokio::join!(app.db.ping(), app.blobs.ping());
    let down = |what: &str| ApiError::new(Code::Unavailable, format!("{what} does not answer")).retry_after_s(5);
    database.map_err(|e| down("the database").because(e))?;
    blobs.map_err(|e| down("the store of bytes").because(e))?;
    Ok(Json(Health { database: true, blobs: true }))
}

/// What a client has to know before it joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HubInfo {
    /// The name with which origins of its logs begin.
    pub name: String,
    /// The hub's public key, `ed25519:…`. Compare it with what the operator told you by another way.
    pub key: String,
    /// Oldest protocol it speaks.
    pub protocol_min: u32,
    /// Newest protocol it speaks.
    pub protocol_max: u32,
    /// SHA-256 of its TLS public key, for pinning; absent without TLS.
    pub tls_pin: Option<String>,
    /// Its program's version.
    pub version: String,
}

/// Who this hub is and what it speaks.
#[utoipa::path(get, path = "/v1/hub", tag = "hub", responses((status = 200, body = HubInfo)))]
async fn get_hub(State(app): State<App>) -> Json<HubInfo> {
    Json(HubInfo {
        name: app.config.name.clone(),
        key: app.hub_key.public().to_string(),
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        tls_pin: app.tls.as_ref().map(|tls| tls.pin.to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Metrics in Prometheus' text format, for callers on the hub's machine and tokens with the scope `admin`.
#[utoipa::path(
    get, path = "/metrics", tag = "hub", security((), ("token" = [])),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = Problem))
)]
async fn get_metrics(
    State(app): State<App>,
    caller: Option<Caller>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
) -> Result<Response, ApiError> {
    if !app.config.metrics {
        return Err(ApiError::not_found("this path"));
    }
    let local = peer.is_some_and(|axum::Extension(ConnectInfo(address))| address.ip().is_loopback());
    match caller {
        Some(caller) => caller.require(Scope::Admin)?,
        None if local => {}
        None => return Err(ApiError::new(Code::Unauthenticated, "metrics need a token with the scope 'admin'")),
    }
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    Ok(([(header::CONTENT_TYPE, kind)], app.metrics.render()).into_response())
}
