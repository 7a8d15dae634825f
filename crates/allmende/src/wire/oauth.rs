//! Sign-in of devices, RFC 8628, as `hf auth login` speaks it: `huggingface_hub/utils/_oauth_device.py`.
//!
//! There is one grant, the device's, and no refresh: a token lasts as long as `device_token_lifetime_s` says, and clients
//! tell their user to log in again.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::account::device::{self, Asking, INTERVAL_S, Key, Told, VALID_MS};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Base, Form};
use crate::transaction;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Answered within the time of a request.
pub fn routes() -> Router<App> {
    Router::new().route("/oauth/device", post(begin)).route("/oauth/token", post(token))
}

/// A refusal as RFC 6749 has it.
#[derive(Debug)]
struct Refusal(Response);

fn refuse(status: StatusCode, error: &str, description: &str) -> Refusal {
    Refusal((status, Json(json!({ "error": error, "error_description": description }))).into_response())
}

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let error: ApiError = error.into();
        let problem = error.problem();
        let code = match problem.status {
            429 | 500.. => "temporarily_unavailable",
            _ => "invalid_request",
        };
        let text = problem.hint.map_or(problem.detail.clone(), |hint| format!("{}; {hint}", problem.detail));
        // Headers say when to come back, and the log learns of faults.
        let mut response = error.into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        *response.body_mut() = json!({ "error": code, "error_description": text }).to_string().into();
        Self(response)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0
    }
}

#[derive(Debug, Deserialize)]
struct Beginning {
    client_id: String,
}

/// Gives a device its codes.
async fn begin(
    State(app): State<App>,
    Base(base): Base,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    form: Result<Form<Beginning>, ApiError>,
) -> Result<Response, Refusal> {
    let Form(Beginning { client_id }) = form?;
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let address = peer.map_or_else(String::new, |Extension(ConnectInfo(peer))| peer.ip().to_string());
    let asking = Asking::new(&client_id, agent, address);
    let (key, now) = (Key::of(&app.hub_key), app.clock.now());
    let begun = transaction!(app.db, tx => { device::begin(tx, &key, &asking, now).await })?;
    let page = format!("{base}/console/device");
    let answer = json!({
        "device_code": begun.device.as_str(), "user_code": begun.code.to_string(),
        "verification_uri": page, "verification_uri_complete": format!("{page}?code={}", begun.code),
        "expires_in": VALID_MS / 1_000, "interval": INTERVAL_S,
    });
    Ok(Json(answer).into_response())
}

#[derive(Debug, Deserialize)]
struct Asked {
    grant_type: String,
    #[serde(default)]
    device_code: String,
    #[serde(default)]
    client_id: String,
}

/// Says where a sign-in stands, and gives its token, once.
async fn token(State(app): State<App>, form: Result<Form<Asked>, ApiError>) -> Result<Response, Refusal> {
    let Form(asked) = form?;
    let refused = |error, description| Err(refuse(StatusCode::BAD_REQUEST, error, description));
    if asked.grant_type != GRANT {
        return refused("unsupported_grant_type", "this hub gives tokens to devices with a code, and renews none");
    }
    // As the client was kept when it began.
    let client = Asking::new(&asked.client_id, "", String::new()).client;
    let now = app.clock.now();
    let told = if device::is_known(&mut *app.db.read().await?, &asked.device_code).await? {
        transaction!(app.db, tx => { device::ask(tx, &asked.device_code, &client, now).await })?
    } else {
        Told::Unknown
    };
    match told {
        Told::Pending => refused("authorization_pending", "nobody has approved it yet"),
        Told::SlowDown => refused("slow_down", "asked too often: wait five seconds more from now on"),
        Told::Denied => refused("access_denied", "it was denied, or the token that it was approved with ended"),
        Told::Expired => refused("expired_token", "nobody approved it in time: begin again"),
        Told::Unknown => refused("invalid_grant", "this hub knows no such code, or its token was fetched already"),
        Told::Token(secret, ends_at) => {
            let left_s = ends_at.0.saturating_sub(now.0) / 1_000;
            let body = json!({ "access_token": secret.as_str(), "token_type": "bearer", "expires_in": left_s });
            Ok(Json(body).into_response())
        }
    }
}
