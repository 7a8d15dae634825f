//! `/v1/parties` and `/v1/keys`.

use allmende_core::id::PartyId;
use allmende_core::statement::{Body, Opened, Scope, Statement, row};
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{PartyView, Placed, Registration, Submission};
use crate::app::App;
use crate::error::{ApiError, Code, Problem};
use crate::extract::{Json, Path};
use crate::ledger::log::StateGuard;
use crate::ledger::{Appended, Log};

/// Routes of parties and keys.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(get_party)).routes(routes!(record_key))
}

/// Opens a submitted statement: its form and its signature.
///
/// # Errors
/// [`Code::InvalidStatement`].
pub fn open(submission: &Submission) -> Result<Opened, ApiError> {
    Statement::open(&submission.statement).map_err(|e| ApiError::new(Code::InvalidStatement, e.to_string()))
}

/// The answer for an appended statement.
///
/// # Errors
/// [`Code::Internal`] when the log has no checkpoint, which an appended statement excludes.
pub async fn placed(log: &Log, appended: &Appended) -> Result<Json<Placed>, ApiError> {
    let state = log.state().await?;
    let checkpoint = checkpoint(&state)?;
    Ok(Json(Placed { index: appended.index, digest: appended.digest, arrived_at: appended.arrived_at, checkpoint }))
}

/// The signed checkpoint's text.
///
/// # Errors
/// [`Code::NotFound`] while the log is empty.
pub fn checkpoint(state: &StateGuard<'_>) -> Result<String, ApiError> {
    state.checkpoint().map(ToString::to_string).ok_or_else(|| ApiError::not_found("a checkpoint of an empty log"))
}

/// Register a party: a `party.registered` statement signed by its root key. No token is needed; the keys speak. A hub that is
/// not open to everybody asks for an invitation of its operator; a party that is registered already needs none.
#[utoipa::path(
    post, path = "/v1/parties", tag = "parties", request_body = Registration,
    responses((status = 200, body = Placed), (status = "default", body = Problem))
)]
async fn register(State(app): State<App>, Json(registration): Json<Registration>) -> Result<Json<Placed>, ApiError> {
    let Registration { statement, invitation } = registration;
    let submission = Submission { statement };
    let opened = open(&submission)?;
    let (log, appended) = super::register(&app, &opened, submission.statement, invitation.as_deref()).await?;
    placed(&log, &appended).await
}

/// Record a statement about keys: delegated, rotated or revoked. No token is needed; the keys speak.
#[utoipa::path(
    post, path = "/v1/keys", tag = "parties", request_body = Submission,
    responses((status = 200, body = Placed), (status = "default", body = Problem))
)]
async fn record_key(State(app): State<App>, Json(submission): Json<Submission>) -> Result<Json<Placed>, ApiError> {
    let opened = open(&submission)?;
    if row(opened.statement.body.kind()).is_none_or(|row| row.scope != Scope::Keys) {
        return Err(ApiError::new(Code::Unprocessable, "only statements about keys are taken here"));
    }
    if matches!(opened.statement.body, Body::PartyRegistered(_)) {
        return Err(ApiError::new(Code::Unprocessable, "a party registers at POST /v1/parties"));
    }
    let party = opened.statement.header.by.party;
    let (log, appended) = super::record(&app, &party, submission.statement).await?;
    placed(&log, &appended).await
}

/// A party's keys and how they came about. Public like the log they stand in.
#[utoipa::path(
    get, path = "/v1/parties/{party}", tag = "parties",
    params(("party" = String, Path, description = "The party's name")),
    responses((status = 200, body = PartyView), (status = "default", body = Problem))
)]
async fn get_party(State(app): State<App>, Path(party): Path<PartyId>) -> Result<Json<PartyView>, ApiError> {
    let history = super::key_history(&app, &party).await?;
    let registry = app.logs.registry().await?;
    let state = registry.state().await?;
    let found = state.parties().get(&party).ok_or_else(|| ApiError::not_found(format!("party {party}")))?;
    Ok(Json(PartyView {
        id: found.id.clone(),
        root: found.root,
        governance: found.governance,
        nodes: found.nodes.clone(),
        history,
    }))
}
