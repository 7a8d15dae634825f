//! The bytes of runs: models for the nodes that work on them, files of releases.

use allmende_core::agreement::vocabulary::Action;
use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, RunId};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::card::{CARD, CONFIG, MANIFEST, WEIGHTS};
use crate::app::App;
use crate::asset::api::download;
use crate::auth::{NodeCaller, ReadCaller, RequireScope};
use crate::collaboration::readable;
use crate::error::{ApiError, Problem};
use crate::extract::Path;

/// Routes of bytes, which may take long.
pub fn transfers() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_model)).routes(routes!(get_file)).merge(super::upload::transfers())
}

/// A model that a round of the run begins from or ended with. For nodes that take part in it only.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/runs/{run}/models/{digest}", tag = "runs", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("run" = String, Path, description = "The run"),
        ("digest" = String, Path, description = "Digest of the model"),
    ),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = "default", body = Problem))
)]
async fn get_model(
    State(app): State<App>,
    RequireScope(caller): NodeCaller,
    Path((collaboration, run, digest)): Path<(CollaborationId, RunId, Digest)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    {
        let state = log.state().await?;
        let missing = || ApiError::not_found(format!("model {digest} of run {run}"));
        let found = state.run(&run)?;
        // A node sees the models of the tracks it trains on, and those it is asked to evaluate.
        let takes_part = found.plan.slot_of(&caller.party).is_some();
        let known = found.tracks.iter().any(|t| t.models.contains(&digest));
        if !takes_part || !known {
            return Err(missing());
        }
        state.still_allowed(found, app.clock.now())?;
    }
    download(&app, &digest, &headers).await
}

/// A file of a finished run: `manifest.json`, `README.md`, `config.json`, `model.safetensors`. Before the release the
/// members may read what they are asked to release; afterwards whoever the terms let build on the model.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/runs/{run}/files/{name}", tag = "runs", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("run" = String, Path, description = "The run"),
        ("name" = String, Path, description = "The file's name"),
    ),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = "default", body = Problem))
)]
async fn get_file(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path((collaboration, run, name)): Path<(CollaborationId, RunId, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let (files, model) = super::release::files(&app, &log, &run).await?;
    let (kind, bytes) = match name.as_str() {
        MANIFEST => ("application/json", files.manifest),
        CARD => ("text/markdown; charset=utf-8", files.card),
        CONFIG => ("application/json", files.config),
        WEIGHTS => {
            let state = log.state().await?;
            let found = state.run(&run)?;
            if found.released.is_none() {
                return Err(ApiError::not_found("a released model").hint("allmende model release"));
            }
            state.require(&state.model_request(found, &caller.party, Action::Derive, app.clock.now()))?;
            drop(state);
            return download(&app, &model, &headers).await;
        }
        _ => return Err(ApiError::not_found(format!("file {name}"))),
    };
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}
