//! Branches and tags.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HubError, There};
use crate::app::App;
use crate::error::Code;
use crate::extract::{Body, Path};
use crate::git::refs::{Change, is_valid_name};
use crate::git::{GitError, GitRepo, Oid};
use crate::repo::moving::move_refs;
use crate::repo::ops::{MAIN, author};
use crate::repo::{RepoError, Right};

/// All branches and tags; pull requests' refs on demand.
pub async fn list(
    State(app): State<App>,
    there: There,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Result<Json<Value>, HubError> {
    let git = there.git(&app);
    let with_pulls = query.unwrap_or_default().contains("include_prs");
    let all = git.refs("refs/").await?;
    let of = |prefix: &str| {
        let named = all.iter().filter_map(|r| Some((r, r.name.strip_prefix(prefix)?)));
        named
            .map(|(r, name)| json!({ "name": name, "ref": r.name, "targetCommit": r.commit.to_string() }))
            .collect::<Vec<_>>()
    };
    let mut shown = json!({ "branches": of("refs/heads/"), "converts": of("refs/convert/"), "tags": of("refs/tags/") });
    if let (true, Some(map)) = (with_pulls, shown.as_object_mut()) {
        map.insert("pullRequests".to_owned(), of("refs/pr/").into());
    }
    Ok(Json(shown))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NewBranch {
    starting_point: Option<String>,
    overwrite: bool,
}

/// A body that may be missing.
fn optional<T: serde::de::DeserializeOwned + Default>(body: &[u8]) -> Result<T, HubError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|e| HubError::new(Code::BadRequest, format!("the body: {e}")))
}

/// The commit of a revision that a ref may be given: one that another leads to. What none leads to may have lost files.
pub(super) async fn led_to(git: &GitRepo, revision: &str) -> Result<Oid, GitError> {
    let commit = git.resolve(revision).await?;
    if git.is_led_to(commit).await? { Ok(commit) } else { Err(GitError::NoRevision(revision.to_owned())) }
}

/// Begins a branch.
pub async fn branch(
    State(app): State<App>,
    Path((.., name)): Path<(String, String, String, String)>,
    there: There,
    Body(body): Body,
) -> Result<StatusCode, HubError> {
    there.who(Right::Write)?;
    let new: NewBranch = optional(&body)?;
    let full = format!("refs/heads/{name}");
    if name.starts_with("refs/") || !is_valid_name(&full) {
        return Err(HubError::new(Code::BadRequest, format!("Invalid reference for a branch: {name}")));
    }
    let git = there.git(&app);
    let to = led_to(&git, new.starting_point.as_deref().unwrap_or("main")).await?;
    let old = if new.overwrite { git.resolve(&full).await.unwrap_or(Oid::ZERO) } else { Oid::ZERO };
    moved(&app, &there, Change { name: full, old, new: to }).await
}

/// Moves a ref that must not be there already, or not be elsewhere than it was a moment ago.
async fn moved(app: &App, there: &There, change: Change) -> Result<StatusCode, HubError> {
    let name = change.name.clone();
    match move_refs(app, &there.seen.repo.id, vec![change]).await {
        Err(RepoError::Git(GitError::Moved(_))) => Err(GitError::RefExists(name).into()),
        other => Ok(other.map(|()| StatusCode::OK)?),
    }
}

async fn remove(app: &App, there: &There, full: String) -> Result<StatusCode, HubError> {
    let git = there.git(app);
    // The ref's own object, which for a tag with a message is not its commit.
    let Some(old) = git.values(&[&full]).await?.remove(&full) else {
        let name = full.rsplit('/').next().unwrap_or_default();
        return Err(HubError::from(GitError::NoRevision(name.to_owned())));
    };
    move_refs(app, &there.seen.repo.id, vec![Change { name: full, old, new: Oid::ZERO }]).await?;
    Ok(StatusCode::OK)
}

/// Ends a branch.
pub async fn remove_branch(
    State(app): State<App>,
    Path((.., name)): Path<(String, String, String, String)>,
    there: There,
) -> Result<StatusCode, HubError> {
    there.who(Right::Write)?;
    let full = format!("refs/heads/{name}");
    if full == MAIN {
        return Err(HubError::new(Code::Forbidden, "Cannot delete refs/heads/main"));
    }
    remove(&app, &there, full).await
}

#[derive(Debug, Deserialize)]
struct NewTag {
    tag: String,
    message: Option<String>,
}

/// Tags a revision.
pub async fn tag(
    State(app): State<App>,
    Path((.., revision)): Path<(String, String, String, String)>,
    there: There,
    Body(body): Body,
) -> Result<StatusCode, HubError> {
    let principal = there.who(Right::Write)?;
    let new: NewTag =
        serde_json::from_slice(&body).map_err(|e| HubError::new(Code::BadRequest, format!("the body: {e}")))?;
    let git = there.git(&app);
    let commit = led_to(&git, &revision).await?;
    let message = new.message.as_deref().filter(|message| !message.trim().is_empty());
    let to = git.tag(&new.tag, commit, message, &author(principal).line(app.clock.now())).await?;
    moved(&app, &there, Change { name: format!("refs/tags/{}", new.tag), old: Oid::ZERO, new: to }).await
}

/// Removes a tag.
pub async fn remove_tag(
    State(app): State<App>,
    Path((.., name)): Path<(String, String, String, String)>,
    there: There,
) -> Result<StatusCode, HubError> {
    there.who(Right::Write)?;
    remove(&app, &there, format!("refs/tags/{name}")).await
}
