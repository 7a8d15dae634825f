//! Commits of a revision, and folding them into one.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::repos::url_pairs;
use super::{Base, HubError, There, iso_s};
use crate::app::App;
use crate::discussion::pulls;
use crate::error::Code;
use crate::extract::{self, Path};
use crate::repo::{Right, changes};

/// Commits in one page.
const PAGE: u64 = 50;
/// Most that a page may ask for.
const MAX_PAGE: u64 = 1_000;

/// A page of commits, newest first.
pub async fn commits(
    State(app): State<App>,
    Path((.., revision)): Path<(String, String, String, String)>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let git = there.git(&app);
    let commit = git.resolve(&revision).await?;
    let pairs = url_pairs(&query.unwrap_or_default());
    let number =
        |name: &str| pairs.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.parse::<u64>().ok());
    let formatted = pairs.iter().any(|(key, value)| (key == "expand" || key == "expand[]") && value == "formatted");
    let limit = number("limit").unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let page = number("p").unwrap_or(0).min(1 << 32);
    let (found, total) = (git.history(commit, page * limit, limit).await?, git.count(commit).await?);
    let shown = found.iter().map(|commit| {
        let mut one = json!({
            "id": commit.oid.to_string(), "title": commit.title, "message": commit.message, "date": iso_s(commit.at_s),
            "authors": [{ "user": commit.author, "avatar": "" }],
        });
        if let (true, Some(map)) = (formatted, one.as_object_mut()) {
            // Formatted is text that cannot be taken for anything else.
            let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            map.insert(
                "formatted".to_owned(),
                json!({ "title": safe(&commit.title), "message": safe(&commit.message) }),
            );
        }
        one
    });
    let shown: Vec<Value> = shown.collect();
    let mut headers = HeaderMap::new();
    if let Ok(value) = total.to_string().parse() {
        headers.insert("x-total-count", value);
    }
    if (page + 1) * limit < total {
        let repo = &there.seen.repo;
        let expand = if formatted { "&expand[]=formatted" } else { "" };
        let path = format!("{base}/api/{}/{}/commits/{commit}", repo.kind.plural(), repo.full_name());
        if let Ok(value) = format!("<{path}?p={}&limit={limit}{expand}>; rel=\"next\"", page + 1).parse() {
            headers.insert(header::LINK, value);
        }
    }
    Ok((headers, Json(shown.into())))
}

#[derive(Debug, Deserialize)]
pub struct Squash {
    message: Option<String>,
}

/// Makes one commit of all that a branch has.
pub async fn squash(
    State(app): State<App>,
    Path((.., branch)): Path<(String, String, String, String)>,
    there: There,
    extract::Json(squash): extract::Json<Squash>,
) -> Result<StatusCode, HubError> {
    let principal = there.who(Right::Read)?;
    if pulls::of_ref(&app, &there.seen, principal, &branch).await?.is_none() {
        there.who(Right::Write)?;
        let git = there.git(&app);
        if git.resolve(&format!("refs/heads/{branch}")).await.is_err() {
            // A tag or a commit has no history of its own to fold.
            git.resolve(&branch).await?;
            return Err(HubError::new(Code::BadRequest, format!("Invalid reference for a branch: {branch}")));
        }
    }
    let message = squash.message.unwrap_or_else(|| format!("Super-squash branch '{branch}' using huggingface_hub"));
    changes::squash(&app, &there.seen, principal, &branch, &message).await?;
    Ok(StatusCode::OK)
}
