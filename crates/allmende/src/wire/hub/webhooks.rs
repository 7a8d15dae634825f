//! Webhooks of the caller, and what became of what they sent.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::page::Page;
use super::{Base, HubError, Known, iso};
use crate::app::App;
use crate::error::Code;
use crate::exchange::webhooks::{self, Delivery, Domains, State as Sent, Target, Wanted, Watched, Webhook};
use crate::extract::{self, Path};

/// Deliveries in one page.
const PAGE: usize = 100;

fn shown(webhook: &Webhook) -> Value {
    let (url, job) = match &webhook.target {
        Target::Url(url) => (Some(url.as_str()), None),
        // Said where the client shows it: what it would start does not start here.
        Target::Job(job) => (None, Some(json!({ "sourceId": job, "labels": { "allmende": "this hub runs no jobs" } }))),
    };
    let watched = webhook.watched.iter().map(|watched| json!({ "type": watched.kind, "name": watched.name }));
    let secret = (!webhook.secret.is_empty()).then(|| webhook.secret.to_string());
    json!({
        "id": webhook.id, "url": url, "job": job, "watched": watched.collect::<Vec<_>>(),
        "domains": webhook.domains.words(), "secret": secret, "disabled": webhook.disabled,
        "createdAt": iso(webhook.created_at),
    })
}

fn answer(webhook: &Webhook) -> Json<Value> {
    Json(json!({ "webhook": shown(webhook) }))
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    url: Option<String>,
    job_source_id: Option<String>,
    #[serde(default)]
    watched: Vec<Item>,
    domains: Option<Vec<String>>,
    secret: Option<String>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
}

impl Body {
    fn wanted(self) -> Result<Wanted, HubError> {
        let bad = |detail: &str| HubError::new(Code::BadRequest, detail);
        if !self.secrets.is_empty() {
            return Err(bad("this hub runs no jobs, and keeps no secrets for them"));
        }
        let target = match (self.url, self.job_source_id) {
            (Some(_), Some(_)) => return Err(bad("a webhook has a url or a job, not both")),
            (Some(url), None) => Some(Target::Url(url)),
            (None, job) => job.map(Target::Job),
        };
        let domains =
            self.domains.as_ref().map(|words| Domains::parse(words.iter().map(String::as_str))).transpose()?;
        let watched = self.watched.into_iter().map(|item| Watched { kind: item.kind, name: item.name }).collect();
        Ok(Wanted { target, watched, domains, secret: self.secret.map(Zeroizing::new) })
    }
}

/// All of the caller's.
pub async fn list(State(app): State<App>, Known(principal): Known) -> Result<Json<Value>, HubError> {
    Ok(Json(webhooks::list(&app, &principal).await?.iter().map(shown).collect()))
}

/// Makes one.
pub async fn create(
    State(app): State<App>,
    Known(principal): Known,
    extract::Json(body): extract::Json<Body>,
) -> Result<Json<Value>, HubError> {
    Ok(answer(&webhooks::create(&app, &principal, body.wanted()?).await?))
}

/// One of them.
pub async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
    Known(principal): Known,
) -> Result<Json<Value>, HubError> {
    Ok(answer(&webhooks::get(&app, &principal, &id).await?))
}

/// Changes one.
pub async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    Known(principal): Known,
    extract::Json(body): extract::Json<Body>,
) -> Result<Json<Value>, HubError> {
    let webhook = webhooks::get(&app, &principal, &id).await?;
    Ok(answer(&webhooks::update(&app, webhook, body.wanted()?).await?))
}

/// Removes one.
pub async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    Known(principal): Known,
) -> Result<Json<Value>, HubError> {
    let webhook = webhooks::get(&app, &principal, &id).await?;
    webhooks::remove(&app, &webhook).await?;
    Ok(Json(json!({ "success": true })))
}

/// Wakes one, or lets it rest.
pub async fn switch(
    State(app): State<App>,
    Path((id, action)): Path<(String, String)>,
    Known(principal): Known,
) -> Result<Json<Value>, HubError> {
    let disabled = match action.as_str() {
        "enable" => false,
        "disable" => true,
        _ => return Err(HubError::new(Code::NotFound, "this path does not exist")),
    };
    let webhook = webhooks::get(&app, &principal, &id).await?;
    Ok(answer(&webhooks::set_disabled(&app, webhook, disabled).await?))
}

fn sent(delivery: &Delivery) -> Value {
    let waits = delivery.state == Sent::Pending;
    json!({
        "id": delivery.id, "event": delivery.event, "repo": delivery.repo, "state": delivery.state.as_str(),
        "attempts": delivery.attempts, "nextAttemptAt": waits.then(|| iso(delivery.next_at)),
        "statusCode": (delivery.status != 0).then_some(delivery.status),
        "error": (!delivery.error.is_empty()).then_some(delivery.error.as_str()), "createdAt": iso(delivery.created_at),
    })
}

/// What one has sent and has to send; ours, not the public hub's.
pub async fn deliveries(
    State(app): State<App>,
    Path(id): Path<String>,
    Base(base): Base,
    Known(principal): Known,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let webhook = webhooks::get(&app, &principal, &id).await?;
    let page = Page::of(query, PAGE, PAGE);
    let mut found =
        webhooks::deliveries(&mut *app.db.read().await?, &webhook.id, page.before.as_ref(), page.rows()).await?;
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|delivery| (delivery.created_at, delivery.id.clone()));
    let path = format!("/api/settings/webhooks/{}/deliveries", webhook.id);
    Ok((page.headers(&base, &path, next.as_ref()), Json(found.iter().map(sent).collect())))
}
