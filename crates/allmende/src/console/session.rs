//! Who reads: a token in a cookie that only these pages see.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use crate::account::{PARTY, Principal};
use crate::app::App;
use crate::auth::{Caller, Scope, authenticate};
use crate::config::Config;
use crate::error::{ApiError, Code};

const COOKIE: &str = "allmende_console";
/// Longest token worth looking at, in bytes.
const MAX_TOKEN_BYTES: usize = 200;

/// A reader who has signed in, with a token that may read.
pub struct Reader(pub Caller);

/// Whoever looks at repositories: a party or an account by its token, or anybody.
pub struct Viewer(pub Option<Principal>);

/// The token in the request's cookies.
fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|value| value.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
        .filter(|token| token.len() <= MAX_TOKEN_BYTES)
}

/// The owner of `token`.
///
/// # Errors
/// [`Code::Unauthenticated`] or [`Code::MissingScope`]; [`Code::Forbidden`] for an account's token.
async fn reader(app: &App, token: &str) -> Result<Reader, ApiError> {
    let refuse = || ApiError::new(Code::Unauthenticated, "the token is unknown, expired or revoked");
    if token.len() > MAX_TOKEN_BYTES {
        return Err(refuse());
    }
    if !token.starts_with(PARTY) && Principal::of_secret(app, token).await.is_ok() {
        let text = "Collaborations are shown to their parties: this token is an account's";
        return Err(ApiError::new(Code::Forbidden, text).hint("sign out, and sign in with a token of your party"));
    }
    let found = authenticate(&mut *app.db.read().await?, token, app.clock.now()).await?;
    // Reading here does not note the token's last use: pages must not write.
    let (caller, _) = found.ok_or_else(refuse)?;
    caller.require(Scope::Read)?;
    Ok(Reader(caller))
}

impl FromRequestParts<App> for Reader {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = token(&parts.headers).ok_or_else(|| ApiError::new(Code::Unauthenticated, "not signed in"))?;
        reader(app, token).await
    }
}

impl FromRequestParts<App> for Viewer {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Some(token) = token(&parts.headers) else { return Ok(Self(None)) };
        match Principal::of_secret(app, token).await {
            Ok(principal) => Ok(Self(Some(principal))),
            // Whose token ended is anybody: they are asked to sign in where that does not do.
            Err(error) if error.code() == Code::Unauthenticated => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }
}

/// Whether a request brings a token, good or not.
#[must_use]
pub fn is_signed_in(headers: &HeaderMap) -> bool {
    token(headers).is_some_and(|token| !token.is_empty())
}

/// Whether `token` opens any pages, and if so whether those of collaborations: an account's shows repositories only.
///
/// # Errors
/// [`Code::Unauthenticated`] or [`Code::MissingScope`].
pub async fn recognize(app: &App, token: &str) -> Result<bool, ApiError> {
    if token.starts_with(PARTY) {
        return reader(app, token).await.map(|_| true);
    }
    Principal::of_secret(app, token).await.map(|_| false)
}

/// The cookie that keeps `token`, or with none that forgets it. It ends with the browser's session; other sites cannot
/// cause it to be sent, scripts cannot read it, and `/v1` never looks at it.
#[must_use]
pub fn cookie(config: &Config, token: Option<&str>) -> Option<HeaderValue> {
    let secure = if config.listen.ip().is_loopback() { "" } else { "; Secure" };
    let (value, age) = token.map_or(("", "; Max-Age=0"), |token| (token, ""));
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let text = format!("{COOKIE}={value}; Path=/console; HttpOnly; SameSite=Strict{secure}{age}");
    HeaderValue::from_str(&text).ok().filter(|_| plain)
}

/// Whether a form came from these pages and not from another site's.
#[must_use]
pub fn is_own_form(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
    site.is_none_or(|site| site == "same-origin" || site == "none")
}
