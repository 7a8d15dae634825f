//! A witness's one route, `POST /add-checkpoint`, with the answers of C2SP tlog-witness.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use allmende_core::ledger::witness::{AddCheckpoint, MAX_REQUEST_BYTES, Refusal};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::{Witness, WitnessError};

/// The type of an answer that tells the size that was cosigned last.
const SIZE: HeaderValue = HeaderValue::from_static("text/x.tlog.size");
/// Longest time from a request to its answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The service of a witness.
pub fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .layer(middleware::from_fn(limit_time))
        .with_state(witness)
}

async fn limit_time(request: Request, next: Next) -> Result<Response, Infallible> {
    let answered = tokio::time::timeout(TIMEOUT, next.run(request)).await;
    Ok(answered.unwrap_or_else(|_| (StatusCode::REQUEST_TIMEOUT, "no answer in time\n").into_response()))
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: String) -> Response {
    let request = match AddCheckpoint::parse(&body) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    // It waits for the disk.
    match tokio::task::spawn_blocking(move || witness.add(&request)).await {
        Ok(Ok(cosignature)) => format!("{cosignature}\n").into_response(),
        Ok(Err(WitnessError::Refused(refusal))) => refused(&refusal),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        // The one answer that a log needs to go on: from here it makes the next proof.
        Refusal::OtherSize { size } => {
            return (StatusCode::CONFLICT, [(header::CONTENT_TYPE, SIZE)], format!("{size}\n")).into_response();
        }
        Refusal::UnknownLog(_) => StatusCode::NOT_FOUND,
        Refusal::Unsigned => StatusCode::FORBIDDEN,
        Refusal::Shrinks { .. } => StatusCode::BAD_REQUEST,
        Refusal::Forked { .. } => StatusCode::CONFLICT,
        Refusal::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, format!("{refusal}\n")).into_response()
}

fn failed(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "a checkpoint was not cosigned");
    (StatusCode::SERVICE_UNAVAILABLE, "the checkpoint could not be kept, so it was not cosigned\n").into_response()
}
