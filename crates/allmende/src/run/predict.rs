//! Serving: predictions of a released model.

use allmende_core::agreement::vocabulary::Action;
use allmende_core::id::{CollaborationId, RunId};
use axum::extract::State;
use futures::TryStreamExt as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{PredictAnswer, PredictRequest};
use crate::app::App;
use crate::auth::{ReadCaller, RequireScope};
use crate::collaboration::readable;
use crate::error::{ApiError, Code, Problem};
use crate::extract::{Json, Path};

/// Most rows of one request.
pub const MAX_ROWS: usize = 1_000;

/// Routes of serving.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(predict))
}

/// Classify rows with a run's released model. The terms must permit the caller to be served.
#[utoipa::path(
    post, path = "/v1/collaborations/{collaboration}/runs/{run}/predict", tag = "runs", security(("token" = [])),
    params(("collaboration" = String, Path, description = "Its name"), ("run" = String, Path, description = "The run")),
    request_body = PredictRequest,
    responses((status = 200, body = PredictAnswer), (status = "default", body = Problem))
)]
async fn predict(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path((collaboration, run)): Path<(CollaborationId, RunId)>,
    Json(request): Json<PredictRequest>,
) -> Result<Json<PredictAnswer>, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let (plan, model) = {
        let state = log.state().await?;
        let found = state.run(&run)?;
        let model = found.released.as_ref().and(found.final_model).ok_or_else(|| {
            ApiError::new(Code::Forbidden, format!("the model of run {run} is not released"))
                .hint("allmende model release")
        })?;
        state.require(&state.model_request(found, &caller.party, Action::Serve, app.clock.now()))?;
        (found.plan.clone(), model)
    };
    let widths = plan.model.widths();
    let (inputs, outputs) = (widths[0] as usize, widths[widths.len() - 1] as usize);
    if request.rows.is_empty() || request.rows.len() > MAX_ROWS {
        return Err(ApiError::new(Code::Unprocessable, format!("1 to {MAX_ROWS} rows")));
    }
    for (i, row) in request.rows.iter().enumerate() {
        if row.len() != inputs {
            return Err(ApiError::new(
                Code::Unprocessable,
                format!("row {i} has {} features, not {inputs}", row.len()),
            ));
        }
        if row.iter().any(|v| !v.is_finite()) {
            return Err(ApiError::new(Code::Unprocessable, format!("row {i} holds a value that is not finite")));
        }
    }
    let bytes: Vec<u8> = app
        .blobs
        .open_range(&model, None)
        .await?
        .stream
        .try_fold(Vec::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await?;
    let probabilities = tokio::task::spawn_blocking(move || {
        let rows: Vec<f32> = request.rows.into_iter().flatten().collect();
        allmende_train::evaluate::predict(&plan.model, &bytes, &plan.normalization, &rows)
    })
    .await
    .map_err(ApiError::internal)?
    .map_err(ApiError::internal)?;
    let probabilities: Vec<Vec<f32>> = probabilities.chunks(outputs).map(<[f32]>::to_vec).collect();
    let classes = probabilities.iter().map(|row| likeliest(row)).collect();
    Ok(Json(PredictAnswer { model, classes, probabilities }))
}

/// The class with the highest probability; of equal ones the first.
fn likeliest(row: &[f32]) -> u32 {
    let best =
        row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &p)| if p > best.1 { (i, p) } else { best });
    u32::try_from(best.0).unwrap_or(0)
}
