//! Git's smart HTTP: clone, fetch and push by the unmodified program.
//!
//! What is read goes out through `git upload-pack`. What is pushed is taken by this program itself, so that it can be looked
//! at before anybody sees it, without hooks: `docs/decisions/0014-pushes-without-hooks.md`.

mod body;
mod fetch;
mod packet;
pub(super) mod push;

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::account::Principal;
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::exchange::access;
use crate::extract::{Path, Query};
use crate::git::GitError;
use crate::repo::ops::{Seen, may_propose, see};
use crate::repo::{Kind, RepoError, Right, reads};

/// Longest wait for others' fetches and pushes to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Whom passwords are asked for.
const ASK: HeaderValue = HeaderValue::from_static("Basic realm=\"Allmende\", charset=\"UTF-8\"");
const LFS_AUTHENTICATE: HeaderName = HeaderName::from_static("lfs-authenticate");

/// Clone, fetch and push. Models stand at the root, everything else below the word for its kind.
pub fn routes() -> Router<App> {
    let mut router = Router::new();
    for place in ["/{space}/{name}", "/{prefix}/{space}/{name}"] {
        router = router
            .route(&format!("{place}/info/refs"), get(refs))
            .route(&format!("{place}/git-upload-pack"), post(upload_pack))
            .route(&format!("{place}/git-receive-pack"), post(receive_pack));
    }
    // Each handler bounds what it reads.
    router.layer(DefaultBodyLimit::disable())
}

/// A refusal as git shows it: a line of text.
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
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        ask(problem.status, headers);
        let hint = problem.hint.map_or_else(String::new, |hint| format!("{hint}\n"));
        *response.body_mut() = format!("{}\n{hint}", problem.detail).into();
        response
    }
}

/// Where a token is missing or wrong, git and git-lfs ask their user for one.
pub(super) fn ask(status: u16, headers: &mut HeaderMap) {
    if status == StatusCode::UNAUTHORIZED.as_u16() {
        headers.insert(header::WWW_AUTHENTICATE, ASK);
        headers.insert(LFS_AUTHENTICATE, ASK);
    }
}

/// The repository that a path names: `/{space}/{name}` or `/{kind}/{space}/{name}`, with or without `.git`.
#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default)]
    prefix: Option<String>,
    space: String,
    name: String,
}

/// The caller and the repository that the path names, if they may see it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) principal: Option<Principal>,
    pub(super) seen: Seen,
}

impl Door {
    /// Refuses unless the caller may do as much.
    pub(super) fn require(&self, needed: Right) -> Result<(), ApiError> {
        if needed > Right::Read && self.principal.is_none() {
            return Err(ApiError::new(Code::Unauthenticated, "To write, give a token of yours as the password"));
        }
        Ok(self.seen.require(needed)?)
    }

    /// Refuses who may not read the files.
    pub(super) async fn may_read_files(&self, app: &App) -> Result<(), ApiError> {
        self.require(Right::Read)?;
        Ok(access::may_read_files(app, self.principal.as_ref(), &self.seen.repo).await?)
    }
}

/// Refuses who may neither write large files nor send them for a pull request: for that they need to read what stands there.
pub(super) async fn may_send(app: &App, principal: Option<&Principal>, seen: &Seen) -> Result<(), ApiError> {
    may_propose(app, principal, seen).await?;
    if seen.right < Right::Write {
        access::may_read_files(app, principal, &seen.repo).await?;
    }
    Ok(())
}

impl FromRequestParts<App> for Door {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        use axum::extract::OptionalFromRequestParts;
        let Path(Named { prefix, space, name }) = Path::<Named>::from_request_parts(parts, app).await?;
        let principal = <Principal as OptionalFromRequestParts<App>>::from_request_parts(parts, app).await?;
        let kind = match prefix {
            None => Some(Kind::Model),
            Some(prefix) => {
                Kind::WITH_HISTORY.into_iter().find(|kind| kind.prefix().strip_suffix('/') == Some(&prefix))
            }
        };
        let name = name.strip_suffix(".git").unwrap_or(&name);
        let seen = match kind {
            Some(kind) => see(app, principal.as_ref(), kind, &space, name).await,
            None => Err(RepoError::NotFound),
        };
        match seen {
            Ok(seen) => Ok(Self { principal, seen }),
            // To whoever has not said who they are, what is not there and what they may not see look the same.
            Err(RepoError::NotFound) if principal.is_none() => {
                let text = "Repository not found, or a token is needed: give yours as the password";
                Err(ApiError::new(Code::Unauthenticated, text))
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Service {
    #[serde(default)]
    service: String,
}

/// What refs there are.
async fn refs(
    State(app): State<App>,
    Query(Service { service }): Query<Service>,
    door: Result<Door, ApiError>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let door = door?;
    match service.as_str() {
        "git-upload-pack" => {
            door.may_read_files(&app).await?;
            let slot = slot(&app).await?;
            Ok(fetch::advertise(&app, &door.seen.git(&app), &headers, slot)?)
        }
        "git-receive-pack" => {
            door.require(Right::Write)?;
            Ok(push::advertise(&door.seen.git(&app)).await?)
        }
        _ => {
            let text = "This hub speaks the smart protocol only: use git, with a version of this decade";
            Err(ApiError::new(Code::Forbidden, text).into())
        }
    }
}

async fn upload_pack(
    State(app): State<App>,
    door: Result<Door, ApiError>,
    request: Request,
) -> Result<Response, Refusal> {
    let door = door?;
    door.may_read_files(&app).await?;
    require_type(request.headers(), "application/x-git-upload-pack-request")?;
    let slot = slot(&app).await?;
    // How much git packs is not known before.
    reads::note(&app, door.principal.as_ref(), &door.seen.repo, 0);
    Ok(fetch::serve(&app, &door.seen.git(&app), request, slot)?)
}

async fn receive_pack(
    State(app): State<App>,
    door: Result<Door, ApiError>,
    request: Request,
) -> Result<Response, Refusal> {
    let door = door?;
    door.require(Right::Write)?;
    require_type(request.headers(), "application/x-git-receive-pack-request")?;
    let _slot = slot(&app).await?;
    Ok(push::receive(&app, &door, request).await?)
}

fn require_type(headers: &HeaderMap, wanted: &str) -> Result<(), ApiError> {
    if headers.get(header::CONTENT_TYPE).is_some_and(|value| value == wanted) {
        return Ok(());
    }
    Err(ApiError::new(Code::UnsupportedMediaType, format!("the body is not declared as {wanted}")))
}

/// A place among the fetches and pushes.
async fn slot(app: &App) -> Result<OwnedSemaphorePermit, ApiError> {
    let waiting = std::sync::Arc::clone(&app.git_transfers).acquire_owned();
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(Ok(slot)) => Ok(slot),
        _ => {
            let text = format!("max_git_transfers = {} fetches and pushes are under way", app.config.max_git_transfers);
            Err(ApiError::new(Code::Unavailable, text).retry_after_s(30))
        }
    }
}

/// An answer of git's protocol.
fn answer(kind: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate")),
    ];
    (headers, body.into()).into_response()
}

/// What git's protocol has to say beside its own answers is for the log.
fn broken(what: &'static str) -> ApiError {
    GitError::Answer(what).into()
}
