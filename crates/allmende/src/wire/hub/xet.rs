//! Where the large files of a repository are sent to and fetched from in chunks, and the tokens for it.

use allmende_formats::xet::wire::Token;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use serde_json::Value;

use super::{Base, HubError, There, proposes};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::extract::Path;
use crate::git::Oid;
use crate::repo::{Repo, Right, large, quota};
use crate::wire::xet::address;
use crate::xet::Session;
use crate::xet::pass::Need;

/// A token, in headers and in the body.
pub(super) type Answer = (HeaderMap, Json<Token>);

async fn token(app: &App, there: There, base: &str, need: Need) -> Result<Answer, HubError> {
    let There { principal, seen } = there;
    if need != Need::Read && principal.is_none() {
        return Err(HubError::new(Code::Unauthenticated, "Invalid username or password."));
    }
    let session = Session { seen, principal };
    let (access_token, expires_at) = session.token(app, need).await.map_err(ApiError::from)?;
    let exp = expires_at.0.div_euclid(1_000).unsigned_abs();
    let token = Token { cas_url: address(base, &session.seen.repo), exp, access_token };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-xet-cas-url", &token.cas_url),
        ("x-xet-access-token", &token.access_token),
        ("x-xet-token-expiration", &exp.to_string()),
    ] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    Ok((headers, Json(token)))
}

/// For reading. The revision is of no account: a token is good for all that the repository holds.
pub async fn read_token(
    State(app): State<App>,
    Path(_): Path<(String, String, String, String)>,
    Base(base): Base,
    there: There,
) -> Result<Answer, HubError> {
    to_read(&app, &base, there).await
}

/// The same, once the repository was found.
pub(super) async fn to_read(app: &App, base: &str, there: There) -> Result<Answer, HubError> {
    there.may_read_files(app).await?;
    token(app, there, base, Need::Read).await
}

/// For writing, or for a pull request.
pub async fn write_token(
    State(app): State<App>,
    Path(_): Path<(String, String, String, String)>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<Answer, HubError> {
    let need = if proposes(query.as_deref()) { Need::Propose } else { Need::Write };
    to_write(&app, &base, there, need).await
}

/// The same, once the repository was found.
pub(super) async fn to_write(app: &App, base: &str, there: There, need: Need) -> Result<Answer, HubError> {
    if need == Need::Propose && there.seen.right < Right::Write {
        there.may_read_files(app).await?;
    }
    if there.principal.is_some() && (need == Need::Propose || there.seen.right >= Right::Write) {
        // In words that clients show, which they do of few answers later.
        let mut connection = app.db.read().await?;
        quota::require_in(&mut connection, &there.seen.repo, 1, app.config.default_quota_bytes).await?;
    }
    token(app, there, base, need).await
}

/// Adds to files as clients read them the hashes by which large ones are fetched in chunks.
pub async fn add_hashes(app: &App, repo: &Repo, files: &mut [Value]) -> Result<(), HubError> {
    let mut connection = app.db.read().await?;
    for file in files.iter_mut().filter_map(Value::as_object_mut) {
        let Some(sha256) = file.get("lfs").and_then(|lfs| lfs.get("sha256")).and_then(Value::as_str) else { continue };
        if let Some(hash) = large::xet(&mut connection, repo, sha256).await? {
            file.insert("xetHash".to_owned(), hash.to_string().into());
        }
    }
    Ok(())
}

/// Where a client that finds a large file asks for a token; buckets have no revisions.
pub fn link(base: &str, repo: &Repo, commit: Option<Oid>) -> String {
    let (kind, name) = (repo.kind.plural(), repo.full_name());
    let revision = commit.map_or_else(String::new, |commit| format!("/{commit}"));
    format!("<{base}/api/{kind}/{name}/xet-read-token{revision}>; rel=\"xet-auth\"")
}
