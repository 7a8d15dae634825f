//! `/v1/collaborations`: founding, listing, and the one door for members' statements.

use allmende_core::id::CollaborationId;
use allmende_core::statement::Body;
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{may_read, readable};
use crate::api::{CollaborationSummary, Founding, Page, Placed, Submission};
use crate::app::App;
use crate::auth::{Caller, ReadCaller, RequireScope};
use crate::error::{ApiError, Code, Problem};
use crate::extract::{Json, Path, Query};
use crate::ledger::Item;
use crate::party::api::{open, placed};
use crate::{party, projection};

/// Routes of collaborations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, found)).routes(routes!(submit)).merge(super::log_api::routes())
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: String,
}

/// The collaborations in which the caller's party is a member or invited.
#[utoipa::path(
    get, path = "/v1/collaborations", tag = "collaborations", security(("token" = [])),
    params(("after" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = Page<CollaborationSummary>), (status = "default", body = Problem))
)]
async fn list(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Query(query): Query<After>,
) -> Result<Json<Page<CollaborationSummary>>, ApiError> {
    let limit = app.config.max_page_items;
    let names = projection::collaborations_of(&app.db, &caller.party, &query.after, limit).await?;
    let mut items = Vec::with_capacity(names.len());
    for name in &names {
        let Ok(id) = name.parse::<CollaborationId>() else { continue };
        let Some(log) = app.logs.get(&id).await? else { continue };
        let state = log.state().await?;
        if !may_read(&state, &caller.party) {
            continue;
        }
        items.push(CollaborationSummary {
            id,
            origin: state.origin().clone(),
            title: state.charter().map_or(String::new(), |c| c.title.clone()),
            members: state.members().keys().cloned().collect(),
            size: state.size(),
        });
    }
    let next = (names.len() as u64 == limit).then(|| names.last().cloned()).flatten();
    Ok(Json(Page { items, next }))
}

/// Found a collaboration: a signed `collaboration.proposed`. Opens its log.
#[utoipa::path(
    post, path = "/v1/collaborations", tag = "collaborations", security(("token" = [])), request_body = Founding,
    responses((status = 200, body = Placed), (status = "default", body = Problem))
)]
async fn found(
    State(app): State<App>,
    caller: Caller,
    Json(founding): Json<Founding>,
) -> Result<Json<Placed>, ApiError> {
    let submission = Submission { statement: founding.statement };
    let opened = open(&submission)?;
    let by = &opened.statement.header.by.party;
    require_own(&caller, by)?;
    let Body::CollaborationProposed(body) = &opened.statement.body else {
        return Err(ApiError::new(Code::Unprocessable, "a collaboration is founded by collaboration.proposed"));
    };
    if body.charter.invited.len() as u64 > app.config.max_members {
        let detail = format!("more than max_members = {} parties are invited", app.config.max_members);
        return Err(ApiError::new(Code::Unprocessable, detail));
    }
    if let Some(log) = app.logs.get(&founding.collaboration).await? {
        // The same founding again is answered with its place; another one is refused by the rules.
        let appended = log.append(vec![Item::Signed(submission.statement)]).await?;
        return placed(&log, appended.first().ok_or_else(aborted)?).await;
    }
    let mut items: Vec<Item> = party::key_history(&app, by).await?.into_iter().map(Item::Signed).collect();
    items.push(Item::Signed(submission.statement));
    let (log, appended) = app.logs.found(&founding.collaboration, items).await?;
    (app.nouns.conduct)(&app, &log);
    placed(&log, appended.last().ok_or_else(aborted)?).await
}

/// Submit a signed statement to a collaboration's log. It is durable when this answers; the same one again is answered
/// with its place.
#[utoipa::path(
    post, path = "/v1/collaborations/{collaboration}/statements", tag = "collaborations", security(("token" = [])),
    params(("collaboration" = String, Path, description = "Its name")), request_body = Submission,
    responses((status = 200, body = Placed), (status = "default", body = Problem))
)]
async fn submit(
    State(app): State<App>,
    caller: Caller,
    Path(collaboration): Path<CollaborationId>,
    Json(submission): Json<Submission>,
) -> Result<Json<Placed>, ApiError> {
    let opened = open(&submission)?;
    let by = &opened.statement.header.by.party;
    require_own(&caller, by)?;
    let log = readable(&app, &collaboration, &caller.party).await?;
    if let Body::CollaborationJoined(_) = &opened.statement.body {
        if log.state().await?.members().len() as u64 >= app.config.max_members {
            let detail = format!("the collaboration has max_members = {} members", app.config.max_members);
            return Err(ApiError::new(Code::Forbidden, detail));
        }
        party::copy_keys(&app, &log, by).await?;
    }
    (app.nouns.prepare)(&app, &log, &opened.statement.body).await?;
    let appended = log.append(vec![Item::Signed(submission.statement)]).await?;
    placed(&log, appended.first().ok_or_else(aborted)?).await
}

/// A token speaks for one party only, and only its keys can sign; this keeps a stolen token from even delivering another's.
pub(crate) fn require_own(caller: &Caller, by: &allmende_core::id::PartyId) -> Result<(), ApiError> {
    if caller.party == *by {
        return Ok(());
    }
    let detail = format!("the token is {}'s, the statement {by}'s", caller.party);
    Err(ApiError::new(Code::Forbidden, detail))
}

pub(crate) fn aborted() -> ApiError {
    ApiError::new(Code::Unavailable, "nothing was written; send it again").retry_after_s(1)
}
