//! `/v1/repositories/{kind}/{space}/{name}/bundle` and `…/mirror`: repositories on their way from hub to hub.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio_util::io::StreamReader;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::export::{Wanted, make};
use super::import::{Target, bring};
use super::store::{self, Mirror};
use super::sync;
use super::view::{BundleTaken, MirrorView, MirrorWanted};
use crate::account::Principal;
use crate::api::Page;
use crate::app::App;
use crate::error::{ApiError, Code, Problem};
use crate::exchange::access;
use crate::extract::{Json, Path, Query};
use crate::repo::ops::{Seen, look, see};
use crate::repo::{Kind, RepoError, Right, reads, terms};

/// The media type of a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.allmende.bundle";
/// Mirrors in one page.
const PAGE: i64 = 100;

/// Routes of mirrors.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_mirror, put_mirror, delete_mirror))
        .routes(routes!(sync_now))
        .routes(routes!(list))
}

/// Routes of bytes, which may take long.
pub fn transfers() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export, import))
}

type Named = (String, String, String);

fn kind(word: &str) -> Result<Kind, ApiError> {
    let found = Kind::WITH_HISTORY.into_iter().find(|known| known.plural() == word);
    found.ok_or_else(|| ApiError::from(RepoError::NotFound).hint("the kind is models, datasets, spaces or codes"))
}

async fn found(app: &App, principal: Option<&Principal>, (word, space, name): &Named) -> Result<Seen, ApiError> {
    match see(app, principal, kind(word)?, space, name).await {
        // To whoever has not said who they are, what is not there and what they may not see look the same.
        Err(RepoError::NotFound) if principal.is_none() => {
            Err(ApiError::new(Code::Unauthenticated, "Repository not found, or a token is needed"))
        }
        other => Ok(other?),
    }
}

/// Download a repository as a signed bundle: its branches and tags with their history, and its large files chunk by chunk,
/// less what the receiver has. For whoever may read all of it and, where it stands under terms, may take it out of them.
#[utoipa::path(
    post, path = "/v1/repositories/{kind}/{space}/{name}/bundle", tag = "repositories",
    security((), ("token" = [])), request_body = Wanted,
    params(
        ("kind" = String, Path, description = "`models`, `datasets`, `spaces` or `codes`"),
        ("space" = String, Path, description = "The owner"),
        ("name" = String, Path, description = "The repository's name"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/vnd.allmende.bundle"),
        (status = 204, description = "The receiver has all there is"),
        (status = "default", body = Problem),
    )
)]
async fn export(
    State(app): State<App>,
    principal: Option<Principal>,
    Path(named): Path<Named>,
    Json(wanted): Json<Wanted>,
) -> Result<Response, ApiError> {
    let principal = principal.as_ref();
    let seen = found(&app, principal, &named).await?;
    seen.require(Right::Read)?;
    access::may_read_files(&app, principal, &seen.repo).await?;
    match principal {
        Some(principal) => terms::may_leave(&app, principal, &seen.repo, None).await?,
        None if seen.repo.collaboration.is_some() => return Err(RepoError::NotFound.into()),
        None => {}
    }
    let slots = std::sync::Arc::clone(&app.git_transfers);
    let busy = || ApiError::new(Code::Unavailable, "too many transfers are under way").retry_after_s(30);
    let slot = slots.try_acquire_owned().map_err(|_| busy())?;
    let Some(bundle) = make(&app, &seen, &wanted).await? else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let bytes = bundle.bytes();
    reads::note(&app, principal, &seen.repo, bytes);
    let file = format!("attachment; filename=\"{}.bundle\"", seen.repo.name);
    let headers = [
        (header::CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, file),
    ];
    Ok((headers, Body::from_stream(bundle.stream(&app, slot))).into_response())
}

#[derive(Debug, Deserialize)]
struct Whose {
    signer: String,
    #[serde(default)]
    pickles: bool,
}

/// Bring a bundle: it makes a repository of that name, private and read-only, or brings one that a bundle of the same source
/// made further. Nothing is seen of it before all of it was checked, and brought again it changes nothing.
#[utoipa::path(
    put, path = "/v1/repositories/{kind}/{space}/{name}/bundle", tag = "repositories",
    security(("token" = [])), request_body(content = Vec<u8>, content_type = "application/vnd.allmende.bundle"),
    params(
        ("kind" = String, Path, description = "`models`, `datasets`, `spaces` or `codes`: what the bundle holds"),
        ("space" = String, Path, description = "The owner here"),
        ("name" = String, Path, description = "The repository's name here"),
        ("signer" = String, Query, description = "The key that must have signed it, `ed25519:…`"),
        ("pickles" = Option<bool>, Query, description = "Whether files that run code may stand in it, where it is new"),
    ),
    responses((status = 200, body = BundleTaken), (status = "default", body = Problem))
)]
async fn import(
    State(app): State<App>,
    principal: Principal,
    Path((word, space, name)): Path<Named>,
    Query(whose): Query<Whose>,
    request: Request,
) -> Result<Json<BundleTaken>, ApiError> {
    let signer = whose.signer.parse();
    let signer = signer
        .map_err(|e: allmende_core::signature::InvalidSignature| ApiError::new(Code::BadRequest, e.to_string()))?;
    let target = Target { kind: kind(&word)?, space, name, signer, pickles_allowed: whose.pickles };
    let mut input = StreamReader::new(request.into_body().into_data_stream().map_err(std::io::Error::other).boxed());
    match bring(&app, &principal, target, &mut input).await {
        Ok(brought) => Ok(Json(BundleTaken { signer: whose.signer, ..BundleTaken::from(&brought) })),
        Err(error) => {
            // What was refused early is read all the same: clients hear why only once they have sent everything.
            let _ = tokio::io::copy(&mut input, &mut tokio::io::sink()).await;
            Err(error.into())
        }
    }
}

async fn mirror(app: &App, principal: Option<&Principal>, named: &Named) -> Result<(Seen, Mirror), ApiError> {
    let seen = found(app, principal, named).await?;
    let mirror = store::of(&mut *app.db.read().await?, &seen.repo.id).await?;
    let none = || ApiError::new(Code::NotFound, "the repository is no mirror");
    Ok((seen, mirror.ok_or_else(none)?))
}

/// How a mirror stands: what it follows, as of when, and what came last.
#[utoipa::path(
    get, path = "/v1/repositories/{kind}/{space}/{name}/mirror", tag = "repositories", security((), ("token" = [])),
    params(
        ("kind" = String, Path, description = "`models`, `datasets`, `spaces` or `codes`"),
        ("space" = String, Path, description = "The owner"),
        ("name" = String, Path, description = "The repository's name"),
    ),
    responses((status = 200, body = MirrorView), (status = "default", body = Problem))
)]
async fn get_mirror(
    State(app): State<App>,
    principal: Option<Principal>,
    Path(named): Path<Named>,
) -> Result<Json<MirrorView>, ApiError> {
    let (seen, mirror) = mirror(&app, principal.as_ref(), &named).await?;
    Ok(Json(MirrorView::of(&seen.repo, &mirror, app.clock.now(), seen.right >= Right::Admin)))
}

/// Add a mirror of another hub's repository, or change what was said of one. It is private, nobody writes to it, and it is
/// looked at soon.
#[utoipa::path(
    put, path = "/v1/repositories/{kind}/{space}/{name}/mirror", tag = "repositories",
    security(("token" = [])), request_body = MirrorWanted,
    params(
        ("kind" = String, Path, description = "`models`, `datasets`, `spaces` or `codes`, as on the other hub"),
        ("space" = String, Path, description = "The owner here"),
        ("name" = String, Path, description = "The repository's name here"),
    ),
    responses((status = 200, body = MirrorView), (status = "default", body = Problem))
)]
async fn put_mirror(
    State(app): State<App>,
    principal: Principal,
    Path((word, space, name)): Path<Named>,
    Json(wanted): Json<MirrorWanted>,
) -> Result<Json<MirrorView>, ApiError> {
    let (repo, mirror) = sync::add(&app, &principal, kind(&word)?, &space, &name, &wanted).await?;
    Ok(Json(MirrorView::of(&repo, &mirror, app.clock.now(), true)))
}

/// Let a mirror stand on its own: it follows no more, and may be written to from now on. Its files stay.
#[utoipa::path(
    delete, path = "/v1/repositories/{kind}/{space}/{name}/mirror", tag = "repositories", security(("token" = [])),
    params(
        ("kind" = String, Path, description = "`models`, `datasets`, `spaces` or `codes`"),
        ("space" = String, Path, description = "The owner"),
        ("name" = String, Path, description = "The repository's name"),
    ),
    responses((status = 204, description = "It follows nothing"), (status = "default", body = Problem))
)]
async fn delete_mirror(
    State(app): State<App>,
    principal: Principal,
    Path(named): Path<Named>,
) -> Result<StatusCode, ApiError> {
    let (seen, _) = mirror(&app, Some(&principal), &named).await?;
    sync::remove(&app, &seen).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask for a look at a mirror's source now. How it goes says the mirror itself.
#[utoipa::path(
    post, path = "/v1/repositories/{kind}/{space}/{name}/mirror/sync", tag = "repositories", security(("token" = [])),
    params(
        ("kind" = String, Path, description = "`models`, `datasets`, `spaces` or `codes`"),
        ("space" = String, Path, description = "The owner"),
        ("name" = String, Path, description = "The repository's name"),
    ),
    responses((status = 202, description = "It is looked at soon"), (status = "default", body = Problem))
)]
async fn sync_now(
    State(app): State<App>,
    principal: Principal,
    Path(named): Path<Named>,
) -> Result<StatusCode, ApiError> {
    let (seen, mirror) = mirror(&app, Some(&principal), &named).await?;
    sync::ask(&app, &seen, &mirror).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Debug, Deserialize)]
struct After {
    #[serde(default)]
    after: String,
}

/// The mirrors that the caller administrates.
#[utoipa::path(
    get, path = "/v1/mirrors", tag = "repositories", security(("token" = [])),
    params(("after" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = Page<MirrorView>), (status = "default", body = Problem))
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(After { after }): Query<After>,
) -> Result<Json<Page<MirrorView>>, ApiError> {
    let page = store::page(&mut *app.db.read().await?, &after, PAGE).await?;
    let next = page.last().filter(|_| page.len() as i64 == PAGE).map(|mirror| mirror.repo.clone());
    let mut items = Vec::new();
    for mirror in &page {
        let repo = crate::repo::store::by_id(&mut *app.db.read().await?, &mirror.repo).await?;
        let Some(repo) = repo else { continue };
        let seen = match look(&app, Some(&principal), repo).await {
            Err(RepoError::Denied(_)) => None,
            other => other?,
        };
        if let Some(seen) = seen.filter(|seen| seen.right >= Right::Admin) {
            items.push(MirrorView::of(&seen.repo, mirror, app.clock.now(), true));
        }
    }
    Ok(Json(Page { items, next }))
}
