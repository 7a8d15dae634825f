//! The Hugging Face Hub, as its unmodified clients speak to it.
//!
//! Facts read from `huggingface_hub` 2.4.0 and `hf_xet` 1.8.0. Which of the client's own tests pass stands in
//! `docs/reference/hub-conformance.md`.

mod access;
mod account;
mod buckets;
mod collections;
pub(super) mod commit;
mod discussions;
mod duplicate;
mod error;
mod history;
mod info;
mod lfs_files;
mod likes;
mod lines;
mod page;
mod refs;
mod repos;
mod resolve;
mod settings;
mod tree;
mod understood;
mod viewer;
mod webhooks;
mod xet;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::routing::{delete, get, patch, post, put};
use serde::Deserialize;

pub use error::HubError;

use crate::account::Principal;
use crate::app::App;
pub(crate) use crate::extract::Base;
use crate::extract::Path;
use crate::git::{GitRepo, Oid};
use crate::repo::ops::{Seen, see};
use crate::repo::{Kind, Right};

/// Answered within the time of a request.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/api/whoami-v2", get(account::whoami))
        .route("/api/users/{name}/overview", get(account::user))
        .route("/api/organizations/{name}/overview", get(account::organization))
        .route("/api/organizations/{name}/members", get(account::members))
        .route("/api/repos/create", post(repos::create))
        .route("/api/repos/delete", delete(repos::remove))
        .route("/api/repos/move", post(repos::rename))
        .route("/api/validate-yaml", post(repos::validate_yaml))
        .route("/api/{kind}", get(repos::list))
        .route("/api/{kind}/{space}/{name}", get(info::head))
        .route("/api/{kind}/{space}/{name}/revision/{revision}", get(info::revision))
        .route("/api/{kind}/{space}/{name}/settings", put(repos::settings))
        .route("/api/{kind}/{space}/{name}/auth-check", get(repos::auth_check))
        .route("/api/{kind}/{space}/{name}/tree/{revision}", get(tree::root))
        .route("/api/{kind}/{space}/{name}/tree/{revision}/{*path}", get(tree::folder))
        .route("/api/{kind}/{space}/{name}/paths-info/{revision}", post(tree::paths))
        .route("/api/{kind}/{space}/{name}/refs", get(refs::list))
        .route("/api/{kind}/{space}/{name}/branch/{*branch}", post(refs::branch).delete(refs::remove_branch))
        .route("/api/{kind}/{space}/{name}/tag/{*tag}", post(refs::tag).delete(refs::remove_tag))
        .route("/api/{kind}/{space}/{name}/commits/{revision}", get(history::commits))
        .route("/api/{kind}/{space}/{name}/super-squash/{branch}", post(history::squash))
        .route("/api/{kind}/{space}/{name}/preupload/{revision}", post(commit::preupload))
        .route("/api/{kind}/{space}/{name}/discussions", get(discussions::list).post(discussions::create))
        .route("/api/{kind}/{space}/{name}/discussions/{num}", get(discussions::details))
        .route("/api/{kind}/{space}/{name}/discussions/{num}/comment", post(discussions::comment))
        .route("/api/{kind}/{space}/{name}/discussions/{num}/title", post(discussions::rename))
        .route("/api/{kind}/{space}/{name}/discussions/{num}/status", post(discussions::status))
        .route("/api/{kind}/{space}/{name}/discussions/{num}/merge", post(discussions::merge))
        .route("/api/{kind}/{space}/{name}/discussions/{num}/comment/{id}/edit", post(discussions::edit))
        .route("/api/{kind}/{space}/{name}/discussions/{num}/comment/{id}/hide", post(discussions::hide))
        .route("/api/{kind}/{space}/{name}/lfs-files", get(lfs_files::list))
        .route("/api/{kind}/{space}/{name}/xet-read-token/{revision}", get(xet::read_token))
        .route("/api/{kind}/{space}/{name}/xet-write-token/{revision}", get(xet::write_token))
        .merge(buckets::routes())
        .merge(missing())
        .merge(exchange())
        .merge(understood::routes())
        .merge(viewer::routes())
}

/// Names without a space before them, as old repositories of the public hub have them: there are none here, and clients
/// should hear that in the words that they know.
fn missing() -> Router<App> {
    async fn none(Perhaps(principal): Perhaps) -> HubError {
        HubError::from(crate::repo::RepoError::NotFound).to_anyone(principal.is_none())
    }
    Router::new()
        .route("/api/{kind}/{name}", get(none))
        .route("/api/{kind}/{name}/revision/{revision}", get(none))
        .route("/api/{kind}/{name}/commits/{revision}", get(none))
        .route("/api/{kind}/{name}/refs", get(none))
        .route("/api/{kind}/{name}/tree/{revision}", get(none))
        .route("/{name}/resolve/{revision}/{*path}", get(none))
}

/// What people do with repositories beside changing them.
fn exchange() -> Router<App> {
    Router::new()
        .route("/api/{kind}/{space}/{name}", delete(likes::nobodys).post(likes::nobodys))
        .route("/api/{kind}/{space}/{name}/like", post(likes::like).delete(likes::unlike))
        .route("/api/{kind}/{space}/{name}/likers", get(likes::likers))
        .route("/api/{kind}/{space}/{name}/auth-check/write", get(access::auth_check_write))
        .route("/api/{kind}/{space}/{name}/user-access-request/{status}", get(access::list))
        .route("/api/{kind}/{space}/{name}/user-access-request/handle", post(access::handle))
        .route("/api/{kind}/{space}/{name}/user-access-request/grant", post(access::grant))
        .route("/{space}/{name}/ask-access", post(access::ask_model))
        .route("/{prefix}/{space}/{name}/ask-access", post(access::ask_other))
        .route("/api/users/{name}/likes", get(likes::of_user))
        .route("/api/users/{name}/followers", get(likes::followers))
        .route("/api/users/{name}/following", get(likes::followers))
        .route("/api/organizations/{name}/followers", get(likes::followers))
        .route("/api/organizations/{name}/settings/repositories", get(settings::of_organization))
        .route("/api/settings/repositories", get(settings::own))
        .route("/api/models-tags-by-type", get(settings::model_tags))
        .route("/api/datasets-tags-by-type", get(settings::dataset_tags))
        .route("/api/collections", get(collections::list).post(collections::create))
        .route(
            "/api/collections/{space}/{slug}",
            get(collections::get).patch(collections::update).delete(collections::remove),
        )
        .route("/api/collections/{space}/{slug}/items", post(collections::add))
        .route(
            "/api/collections/{space}/{slug}/items/{item}",
            patch(collections::update_item).delete(collections::remove_item),
        )
        .route("/api/settings/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/api/settings/webhooks/{id}", get(webhooks::get).post(webhooks::update).delete(webhooks::remove))
        .route("/api/settings/webhooks/{id}/{action}", post(webhooks::switch))
        .route("/api/settings/webhooks/{id}/deliveries", get(webhooks::deliveries))
}

/// Bodies of bytes.
pub fn transfers() -> Router<App> {
    Router::new()
        .route("/api/{kind}/{space}/{name}/commit/{revision}", post(commit::commit))
        .route("/api/{kind}/{space}/{name}/duplicate", post(duplicate::duplicate))
        .route("/api/{kind}/{space}/{name}/lfs-files/batch", post(lfs_files::batch))
        .route("/api/{kind}/{space}/{name}/lfs-files/duplicate", post(lfs_files::duplicate))
        .route("/{space}/{name}/resolve/{revision}/{*path}", get(resolve::model))
        .route("/{prefix}/{space}/{name}/resolve/{revision}/{*path}", get(resolve::other))
        .merge(buckets::transfers())
}

/// The repository that a path names: `/api/{kind}/{space}/{name}/…`.
#[derive(Debug, Deserialize)]
struct Named {
    kind: String,
    space: String,
    name: String,
}

/// Whether a request is made for a new pull request, by its query.
fn proposes(query: Option<&str>) -> bool {
    query.is_some_and(|q| q.split('&').any(|pair| matches!(pair, "create_pr=1" | "create_pr=true")))
}

/// The caller and the repository that the path names, if they may see it.
#[derive(Debug)]
pub(crate) struct There {
    pub principal: Option<Principal>,
    pub seen: Seen,
}

impl There {
    /// Finds it.
    pub async fn find(
        app: &App,
        principal: Option<Principal>,
        kind: Option<Kind>,
        space: &str,
        name: &str,
    ) -> Result<Self, HubError> {
        let anonymous = principal.is_none();
        let missing = || crate::repo::RepoError::NotFound;
        let seen = match kind {
            Some(kind) => see(app, principal.as_ref(), kind, space, name).await,
            None => Err(missing()),
        };
        let seen = seen.map_err(|e| HubError::from(e).to_anyone(anonymous))?;
        Ok(Self { principal, seen })
    }

    /// Its history.
    pub fn git(&self, app: &App) -> GitRepo {
        self.seen.git(app)
    }

    /// The caller, who may do as much.
    pub fn who(&self, needed: Right) -> Result<&Principal, HubError> {
        let anonymous = || HubError::new(crate::error::Code::Unauthenticated, "Invalid username or password.");
        let principal = self.principal.as_ref().ok_or_else(anonymous)?;
        self.seen.require(needed)?;
        Ok(principal)
    }
}

impl FromRequestParts<App> for There {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HubError> {
        let Path(named): Path<Named> = Path::from_request_parts(parts, app).await?;
        let principal = principal(parts, app).await?;
        // Buckets have doors of their own: these here lead to histories.
        let kind = Kind::parse(&named.kind).filter(|kind| kind.has_history());
        Self::find(app, principal, kind, &named.space, &named.name).await
    }
}

/// Who calls, if they say.
async fn principal(parts: &mut Parts, app: &App) -> Result<Option<Principal>, HubError> {
    use axum::extract::OptionalFromRequestParts;
    Ok(<Principal as OptionalFromRequestParts<App>>::from_request_parts(parts, app).await?)
}

/// A caller who has said who they are.
#[derive(Debug)]
pub(crate) struct Known(pub Principal);

impl FromRequestParts<App> for Known {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HubError> {
        let refuse = || HubError::new(crate::error::Code::Unauthenticated, "Invalid username or password.");
        principal(parts, app).await?.map(Self).ok_or_else(refuse)
    }
}

/// The caller, if they have said who they are.
#[derive(Debug)]
pub(crate) struct Perhaps(pub Option<Principal>);

impl FromRequestParts<App> for Perhaps {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HubError> {
        principal(parts, app).await.map(Self)
    }
}

/// The time as clients read it.
fn iso(at: allmende_core::time::Timestamp) -> String {
    at.to_string()
}

/// The same for seconds.
fn iso_s(at_s: i64) -> String {
    iso(allmende_core::time::Timestamp(at_s.saturating_mul(1_000)))
}

/// The commit of a revision as it stands in a path.
async fn commit_of(git: &GitRepo, revision: &str) -> Result<Oid, HubError> {
    Ok(git.resolve(revision).await?)
}
