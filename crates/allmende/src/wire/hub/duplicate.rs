//! Copies of whole repositories.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::repos::{address, exists, visibility};
use super::{Base, HubError, There};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::extract;
use crate::repo::ops::{self, Wanted};
use crate::repo::{RepoError, Right, Settings};
use crate::xet::{XetError, copy};

#[derive(Debug, Deserialize)]
pub struct Duplicate {
    repository: String,
    visibility: Option<String>,
    private: Option<bool>,
}

/// Copies a repository whose files the caller may read to a new one in a place of theirs. What a space is to run on is
/// passed over: spaces do not run here.
pub async fn duplicate(
    State(app): State<App>,
    Base(base): Base,
    there: There,
    extract::Json(asked): extract::Json<Duplicate>,
) -> Result<Json<Value>, HubError> {
    let principal = there.who(Right::Read)?;
    there.may_read_files(&app).await?;
    let from = &there.seen.repo;
    let bad = || HubError::new(Code::BadRequest, format!("Invalid repository name: {}", asked.repository));
    let (space, name) = asked.repository.split_once('/').ok_or_else(bad)?;
    let owner = ops::owner(&app, principal, Some(space), name).await?;
    let wanted = Wanted {
        kind: from.kind,
        owner,
        name: name.parse().map_err(|_| bad())?,
        private: visibility(asked.visibility.as_deref(), asked.private)?,
        // What its owner let in stands in the copy too, and is warned of there.
        settings: Settings {
            sdk: from.settings.sdk.clone(),
            pickles_allowed: from.settings.pickles_allowed,
            ..Settings::default()
        },
    };
    match copy::repository(&app, principal, from, wanted).await {
        Ok(repo) => Ok(Json(json!({
            "url": address(&base, &repo), "name": repo.full_name(), "id": repo.id, "filesCopyPending": false,
        }))),
        Err(XetError::Repo(RepoError::Exists(repo))) => Err(exists(&base, &repo)),
        Err(error) => Err(ApiError::from(error).into()),
    }
}
