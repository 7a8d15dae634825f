//! `/v1/collaborations/{collaboration}/repositories`: which repositories stand under the terms. What there is, everybody
//! reads from the log.

use allmende_core::id::CollaborationId;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ops::{Seen, see};
use super::{Kind, RepoError, place};
use crate::account::{Principal, Role};
use crate::app::App;
use crate::collaboration::readable;
use crate::error::{ApiError, Problem};
use crate::extract::Path;
use crate::ledger::Log;

/// Routes of repositories under terms.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(put, delete))
}

type Named = (CollaborationId, String, String, String);

async fn found(
    app: &App,
    principal: &Principal,
    (collaboration, kind, space, name): &Named,
) -> Result<(std::sync::Arc<Log>, Seen), ApiError> {
    let mut log = Err(ApiError::not_found(format!("collaboration {collaboration}")));
    for party in principal.parties(Role::Admin) {
        log = readable(app, collaboration, party).await;
        if log.is_ok() {
            break;
        }
    }
    let kind = Kind::ALL.into_iter().find(|known| known.plural() == kind).ok_or(RepoError::NotFound)?;
    Ok((log?, see(app, Some(principal), kind, space, name).await?))
}

/// Put a repository of the caller's party under the terms. It is no longer public then, and others may do with it what the
/// terms permit. Done again it changes nothing.
#[utoipa::path(
    put, path = "/v1/collaborations/{collaboration}/repositories/{kind}/{space}/{name}", tag = "repositories",
    security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("kind" = String, Path, description = "`models`, `datasets` or `buckets`"),
        ("space" = String, Path, description = "The owner: the caller's party"),
        ("name" = String, Path, description = "The repository's name"),
    ),
    responses((status = 204, description = "It stands under the terms"), (status = "default", body = Problem))
)]
async fn put(State(app): State<App>, principal: Principal, Path(named): Path<Named>) -> Result<StatusCode, ApiError> {
    let (log, seen) = found(&app, &principal, &named).await?;
    place::place(&app, &seen, &log, &named.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a repository back, at once and without a vote. It stays private until its owner says otherwise.
#[utoipa::path(
    delete, path = "/v1/collaborations/{collaboration}/repositories/{kind}/{space}/{name}", tag = "repositories",
    security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("kind" = String, Path, description = "`models`, `datasets` or `buckets`"),
        ("space" = String, Path, description = "The owner: the caller's party"),
        ("name" = String, Path, description = "The repository's name"),
    ),
    responses((status = 204, description = "It stands under no terms"), (status = "default", body = Problem))
)]
async fn delete(
    State(app): State<App>,
    principal: Principal,
    Path(named): Path<Named>,
) -> Result<StatusCode, ApiError> {
    let (log, seen) = found(&app, &principal, &named).await?;
    if seen.repo.collaboration.as_ref() != Some(&named.0) {
        return Err(RepoError::Invalid("it does not stand under the terms of this collaboration").into());
    }
    place::withdraw(&app, &seen, &log).await?;
    Ok(StatusCode::NO_CONTENT)
}
