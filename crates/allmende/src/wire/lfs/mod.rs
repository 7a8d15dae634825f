//! Git-lfs: large files beside git, as git-lfs and the clients of the Hub send and fetch them.
//!
//! <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>, and for `multipart` the `lfs.py` of `huggingface_hub`.

pub(super) mod batch;
mod bytes;
mod link;
mod objects;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::error::{ApiError, Code};

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.git-lfs+json");

/// Answered within the time of a request.
pub fn routes() -> Router<App> {
    let mut router = Router::new();
    for place in ["/{space}/{name}/info/lfs", "/{prefix}/{space}/{name}/info/lfs"] {
        router = router
            .route(&format!("{place}/objects/batch"), post(batch::batch))
            .route(&format!("{place}/locks"), get(batch::locks).post(batch::lock))
            .route(&format!("{place}/locks/verify"), post(batch::verify_locks))
            .route(&format!("{place}/locks/{{id}}/unlock"), post(batch::lock));
    }
    router
}

/// Bodies of bytes. The word `lfs` is no account's name.
pub fn transfers() -> Router<App> {
    Router::new()
        .route("/lfs/get/{repo}/{oid}", get(objects::get))
        .route("/lfs/put/{repo}/{oid}", put(objects::put))
        .route("/lfs/part/{repo}/{oid}", put(objects::part))
        .route("/lfs/join/{repo}/{oid}", post(objects::join))
        .route("/lfs/verify/{repo}/{oid}", post(objects::verify))
        .layer(DefaultBodyLimit::disable())
}

/// A refusal as git-lfs reads it.
#[derive(Debug)]
pub struct Refusal(ApiError);

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = self.0.problem();
        let mut response = self.0.into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
        super::git::ask(problem.status, headers);
        let message = problem.hint.map_or(problem.detail.clone(), |hint| format!("{}; {hint}", problem.detail));
        let body = serde_json::json!({ "message": message, "request_id": problem.request_id });
        *response.body_mut() = body.to_string().into();
        response
    }
}

/// A JSON body, whatever it is declared as: clients differ.
async fn read<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, ApiError> {
    let max = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    let too_large = |_| ApiError::new(Code::TooLarge, format!("the body is larger than max_body_bytes = {max}"));
    parse(&axum::body::to_bytes(request.into_body(), max).await.map_err(too_large)?)
}

/// The same of bytes.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::new(Code::BadRequest, format!("the body: {e}")))
}

/// A JSON answer.
fn answer(body: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], body.to_string()).into_response()
}
