//! Who somebody is.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{HubError, Known, iso};
use crate::account::{Account, Kind, Role, store};
use crate::app::App;
use crate::error::Code;
use crate::extract::Path;

/// Most members of an organization in one answer.
const MAX_MEMBERS: i64 = 1_000;

fn role(role: Role) -> &'static str {
    role.as_str()
}

/// The caller, its organizations and its token.
pub async fn whoami(Known(principal): Known) -> Json<Value> {
    let orgs: Vec<Value> = principal
        .memberships
        .iter()
        .map(|m| {
            json!({
                "type": "org", "id": m.organization.id, "name": m.organization.name.as_str(),
                "fullname": m.organization.full_name, "avatarUrl": "", "roleInOrg": role(m.role), "isEnterprise": false,
            })
        })
        .collect();
    let kind = if principal.account.kind == Kind::User { "user" } else { "org" };
    Json(json!({
        "type": kind, "id": principal.account.id, "name": principal.account.name.as_str(),
        "fullname": principal.account.full_name, "isPro": false, "canPay": false, "periodEnd": null, "avatarUrl": "",
        "orgs": orgs,
        "auth": {
            "type": "access_token",
            "accessToken": {
                "displayName": principal.token.label, "role": principal.token.rights.as_str(),
                "createdAt": iso(principal.token.created_at),
            },
        },
    }))
}

async fn named(app: &App, name: &str, kind: Kind) -> Result<Account, HubError> {
    let found = store::by_name(&mut *app.db.read().await?, name).await?;
    found.filter(|account| account.kind == kind).ok_or_else(|| {
        let what = if kind == Kind::User { "This user" } else { "This organization" };
        HubError::new(Code::NotFound, format!("{what} does not exist"))
    })
}

/// A user as others see it.
pub async fn user(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, HubError> {
    let account = named(&app, &name, Kind::User).await?;
    let memberships = store::memberships(&mut *app.db.read().await?, &account).await?;
    let orgs: Vec<Value> = memberships
        .iter()
        .map(|m| json!({ "name": m.organization.name.as_str(), "fullname": m.organization.full_name, "avatarUrl": "" }))
        .collect();
    Ok(Json(json!({
        "_id": account.id, "user": account.name.as_str(), "fullname": account.full_name, "avatarUrl": "", "isPro": false,
        "type": "user", "orgs": orgs, "createdAt": iso(account.created_at),
    })))
}

/// An organization as others see it.
pub async fn organization(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, HubError> {
    let account = named(&app, &name, Kind::Organization).await?;
    let members = store::members(&mut *app.db.read().await?, &account, "", MAX_MEMBERS).await?;
    Ok(Json(json!({
        "_id": account.id, "name": account.name.as_str(), "fullname": account.full_name, "avatarUrl": "", "type": "org",
        "isEnterprise": false, "numUsers": members.len(), "createdAt": iso(account.created_at),
    })))
}

/// The members of an organization.
pub async fn members(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, HubError> {
    let account = named(&app, &name, Kind::Organization).await?;
    let members = store::members(&mut *app.db.read().await?, &account, "", MAX_MEMBERS).await?;
    let shown = members.iter().map(|(member, _)| {
        json!({
            "_id": member.id, "user": member.name.as_str(), "fullname": member.full_name, "avatarUrl": "", "isPro": false,
            "type": "user",
        })
    });
    Ok(Json(shown.collect()))
}
