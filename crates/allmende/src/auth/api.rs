//! Sign-in and tokens over HTTP.

use allmende_core::ledger::envelope::Envelope;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::login::{self, Login};
use super::{Caller, Scope, TokenInfo};
use crate::app::App;
use crate::db::DbError;
use crate::error::{ApiError, Problem};
use crate::extract::{Json, Keyed, Path};
use crate::idempotency::{self, Answer, Seal};
use crate::transaction;

/// The answer to a sign-in.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LoginAnswer {
    /// The bearer token. It is shown here and never again.
    pub token: String,
    /// Its public id, for listing and revoking.
    pub id: String,
    /// What it is good for, as names with a space between.
    pub scopes: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_at: i64,
}

impl From<&Login> for LoginAnswer {
    fn from(done: &Login) -> Self {
        Self {
            token: done.token.secret().to_owned(),
            id: done.id.clone(),
            scopes: done.scopes.to_string(),
            expires_at: done.expires_at.0,
        }
    }
}

/// A token without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenAnswer {
    /// Its public id.
    pub id: String,
    /// What it is good for, as names with a space between.
    pub scopes: String,
    /// For its owner to recognize.
    pub label: String,
    /// When it was issued, in milliseconds since 1970.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// When it was revoked, if it was.
    pub revoked_at: Option<i64>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<i64>,
}

impl From<TokenInfo> for TokenAnswer {
    fn from(info: TokenInfo) -> Self {
        Self {
            id: info.id,
            scopes: info.scopes.to_string(),
            label: info.label,
            created_at: info.created_at.0,
            expires_at: info.expires_at.0,
            revoked_at: info.revoked_at.map(|t| t.0),
            last_used_at: info.last_used_at.map(|t| t.0),
        }
    }
}

/// Routes of sign-in and tokens.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_login)).routes(routes!(get_tokens)).routes(routes!(delete_token))
}

/// Sign in with a party's key: a DSSE envelope of a sign-in claim for this hub.
///
/// Each claim works once. With an idempotency key the very same request gets the very same answer again, while the claim is
/// of now: a client that saw no answer is not left with a token that nobody has.
#[utoipa::path(
    post, path = "/v1/login", tag = "tokens", request_body = Object,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 100 visible ASCII characters, new for each claim. The same key with another body is refused")),
    responses((status = 200, body = LoginAnswer), (status = "default", body = Problem))
)]
async fn post_login(State(app): State<App>, Keyed { key, body }: Keyed<Envelope>) -> Result<Answer, ApiError> {
    let now = app.clock.now();
    let claim = login::Checked::new(&app.config, &app.hub_key.public(), &body, now)?;
    let request = key.map(|key| key.by(claim.party()));
    let seal = Seal::of(&app.hub_key);
    transaction!(app.db, tx => {
        // Also before an answer is given again: the key may have been revoked since.
        claim.authorize(tx, &*app.nouns.keys).await?;
        if let (Some(request), Some(kept)) = (&request, idempotency::replay(tx, request.as_ref()).await?) {
            return seal.open(request, &kept);
        }
        let done = claim.issue(tx, &app.config, now).await?;
        let answer = Answer::json(StatusCode::OK, &LoginAnswer::from(&done))?;
        if let Some(request) = &request {
            idempotency::remember(tx, Some(request), &seal.close(request, &answer)?, now).await?;
        }
        Ok(answer)
    })
}

/// The caller's tokens.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", security(("token" = [])),
    responses((status = 200, body = Vec<TokenAnswer>), (status = "default", body = Problem))
)]
async fn get_tokens(State(app): State<App>, caller: Caller) -> Result<Json<Vec<TokenAnswer>>, ApiError> {
    let tokens = super::tokens(&mut *app.db.read().await?, &caller.party, app.config.max_page_items).await?;
    Ok(Json(tokens.into_iter().map(Into::into).collect()))
}

/// Revoke one of the caller's tokens; with the scope `admin`, anyone's.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens", security(("token" = [])),
    params(("id" = String, Path, description = "The token's public id")),
    responses((status = 204, description = "Revoked"), (status = "default", body = Problem))
)]
async fn delete_token(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let party = if caller.scopes.allows(Scope::Admin) { None } else { Some(&caller.party) };
    let now = app.clock.now();
    let revoked: Result<bool, DbError> = transaction!(app.db, tx => { super::revoke(tx, &id, party, now).await });
    if revoked? { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found("this token")) }
}
