//! The caller as handlers receive it.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::header;
use axum::http::request::Parts;

use super::{Caller, Scope, authenticate, note_use};
use crate::app::App;
use crate::db::DbError;
use crate::error::{ApiError, Code};
use crate::transaction;

impl Caller {
    /// Refuses unless the token carries `scope`.
    ///
    /// # Errors
    /// [`Code::MissingScope`].
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.allows(scope) {
            return Ok(());
        }
        let detail = format!("this needs the scope '{}', the token carries '{}'", scope.as_str(), self.scopes);
        Err(ApiError::new(Code::MissingScope, detail).hint("sign in again and ask for the scope"))
    }
}

async fn caller(parts: &Parts, app: &App) -> Result<Option<Caller>, ApiError> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refuse =
        |detail: &str| ApiError::new(Code::Unauthenticated, detail).hint("make another token: allmende token create");
    let secret = match (value.to_str().ok().and_then(|v| v.split_once(' ')), values.next()) {
        (Some((scheme, secret)), None) if scheme.eq_ignore_ascii_case("bearer") => secret.trim(),
        _ => return Err(refuse("the Authorization header is not one bearer token")),
    };
    let now = app.clock.now();
    let found = authenticate(&mut *app.db.read().await?, secret, now).await?;
    let Some((caller, stale)) = found else { return Err(refuse("the token is unknown, expired or revoked")) };
    if stale {
        let noted: Result<(), DbError> = transaction!(app.db, tx => { note_use(tx, &caller.token_id, now).await });
        if let Err(error) = noted {
            // A full disk must not keep readers out.
            tracing::warn!(%error, "last use of a token not noted");
        }
    }
    Ok(Some(caller))
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        caller(parts, app).await?.ok_or_else(|| {
            ApiError::new(Code::Unauthenticated, "no token was sent").hint("send 'Authorization: Bearer alm_…'")
        })
    }
}

impl OptionalFromRequestParts<App> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, ApiError> {
        caller(parts, app).await
    }
}

/// A caller whose token carries the scope with this number.
#[derive(Debug, Clone)]
pub struct RequireScope<const SCOPE: u8>(
    /// Who calls.
    pub Caller,
);

/// A caller who may read.
pub type ReadCaller = RequireScope<{ Scope::Read as u8 }>;
/// A caller who may write.
pub type WriteCaller = RequireScope<{ Scope::Write as u8 }>;
/// A node.
pub type NodeCaller = RequireScope<{ Scope::Node as u8 }>;
/// An operator of the hub.
pub type AdminCaller = RequireScope<{ Scope::Admin as u8 }>;

impl<const SCOPE: u8> FromRequestParts<App> for RequireScope<SCOPE> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        let Some(scope) = Scope::ALL.into_iter().find(|&s| s as u8 == SCOPE) else {
            return Err(ApiError::new(Code::Internal, "a handler asks for a scope that does not exist"));
        };
        caller.require(scope)?;
        Ok(Self(caller))
    }
}
