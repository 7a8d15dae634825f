//! The storage of Xet, as `hf_xet` speaks to it. Paths, requests and retries: `allmende_formats::xet::wire`.
//!
//! Everything of a repository lies below `/xet/{its id}`, which is the `casUrl` of its tokens: clients keep what they
//! know of a storage by its address, so that no upload cites what another repository was told.

mod down;
mod up;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::app::App;
use crate::error::{ApiError, Code};
use crate::extract::Path;
use crate::repo::Repo;
use crate::xet::{Session, XetError, pass};

/// The storage's address of a repository, below that of the hub.
#[must_use]
pub fn address(base: &str, repo: &Repo) -> String {
    format!("{base}/xet/{}", repo.id)
}

/// All routes. Bodies of bytes.
pub fn transfers() -> Router<App> {
    let mut router = Router::new()
        .route("/xet/{repo}/fetch/{ticket}", get(down::fetch))
        .route("/xet/{repo}/v2/reconstructions/{file}", get(down::plan_v2))
        .route("/xet/{repo}/v1/reconstructions", get(down::batch))
        .route("/xet/{repo}/v2/shards", post(up::shard_v2));
    for (version, xorb, shard, chunk, reconstruction) in [
        ("/v1", "xorbs", "shards", "chunks", "reconstructions"),
        ("", "xorbs", "shards", "chunks", "reconstructions"),
        // Up to hf_xet 1.1.9, with the hash of the shard in its path.
        ("", "xorb", "shard/{prefix}/{hash}", "chunk", "reconstruction"),
    ] {
        let at = |rest: String| format!("/xet/{{repo}}{version}/{rest}");
        router = router
            .route(&at(format!("{xorb}/{{prefix}}/{{hash}}")), post(up::xorb))
            .route(&at(shard.to_owned()), post(up::shard_v1))
            .route(&at(format!("{chunk}/{{prefix}}/{{hash}}")), get(down::chunk))
            .route(&at(format!("{reconstruction}/{{file}}")), get(down::plan_v1));
    }
    for path in ["/xet/{repo}/telemetry", "/xet/{repo}/v1/telemetry"] {
        router = router.route(path, post(async || StatusCode::OK));
    }
    router
}

#[derive(Debug, Deserialize)]
struct Named {
    repo: String,
}

/// Who brings a transfer token of the repository in the path.
struct Reader(Session);

/// The same, to write.
struct Writer(Session);

async fn session(parts: &mut Parts, app: &App, write: bool) -> Result<Session, ApiError> {
    let Path(Named { repo }) = Path::from_request_parts(parts, app).await?;
    let value = parts.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = value.and_then(|v| v.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or(XetError::Token("a transfer token is needed"))?;
    Ok(pass::open(app, &repo, token.trim(), write).await?)
}

impl FromRequestParts<App> for Reader {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        session(parts, app, false).await.map(Self)
    }
}

impl FromRequestParts<App> for Writer {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        session(parts, app, true).await.map(Self)
    }
}

/// A hash in a path.
fn hash(text: &str) -> Result<allmende_formats::xet::XetHash, ApiError> {
    text.parse().map_err(|e| ApiError::new(Code::BadRequest, format!("{e}")))
}
