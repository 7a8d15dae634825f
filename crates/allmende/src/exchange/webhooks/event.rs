//! From what happened to what is sent: the payload in the form of the public hub's third version.

use allmende_core::digest::Digest;
use serde_json::{Map, Value, json};

use super::store::{self, Delivery, State};
use crate::account::store as accounts;
use crate::account::token::TokenInfo;
use crate::account::{Principal, Rights, new_id};
use crate::app::App;
use crate::db::DbError;
use crate::exchange::ExchangeError;
use crate::repo::card::Head;
use crate::repo::event::{Action, Event, RefUpdate};
use crate::repo::ops::is_visible;
use crate::repo::{Kind, Repo};
use crate::transaction;

/// Most webhooks that one event reaches.
const MAX_REACHED: i64 = 1_000;
/// Most that wait for one webhook; what comes on top is dropped.
const MAX_WAITING: i64 = 1_000;
/// Largest payload, in bytes: a comment's text is bounded where it is taken.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// Queues an event for every webhook that watches the repository and whose owner may see it, and gives whether it could. It
/// fails nobody: what happened has happened.
pub async fn happened(app: &App, repo: &Repo, event: Event) -> bool {
    let queued = queue(app, repo, &event).await;
    if let Err(error) = &queued {
        tracing::error!(repo = repo.id, %error, "an event was not queued for webhooks");
    }
    queued.is_ok()
}

/// The account as whoever its webhooks speak for: it reads what it may read.
pub(super) async fn owner(app: &App, id: &str) -> Result<Option<Principal>, DbError> {
    let mut connection = app.db.read().await?;
    let Some(account) = accounts::by_id(&mut connection, id).await? else { return Ok(None) };
    let memberships = accounts::memberships(&mut connection, &account).await?;
    let (rights, created_at) = (Rights::Read, account.created_at);
    let token = TokenInfo { id: String::new(), label: String::new(), rights, created_at, expires_at: None };
    Ok(Some(Principal { account, memberships, token }))
}

async fn queue(app: &App, repo: &Repo, event: &Event) -> Result<(), ExchangeError> {
    let account = format!("account:{}", repo.owner.name.key());
    let named = format!("{}:{}/{}", repo.kind.as_str(), repo.owner.name.key(), repo.name.key());
    let domain = if matches!(event, Event::Discussion { .. }) { "discussion" } else { "repo" };
    let found = store::watching(&mut *app.db.read().await?, [&account, &named], domain, MAX_REACHED).await?;
    if found.is_empty() {
        return Ok(());
    }
    let head = crate::repo::store::head(&mut *app.db.read().await?, &repo.id).await?;
    let (what, mut payload) = payload(&base(app), repo, &serde_json::from_str(&head).unwrap_or_default(), event);
    let (now, mut new) = (app.clock.now(), Vec::new());
    let mut judged: Vec<(String, bool)> = Vec::new();
    for (webhook, account) in found {
        let known = judged.iter().find(|(id, _)| *id == account).map(|(_, may)| *may);
        let may = match known {
            Some(may) => may,
            None => {
                let may = match owner(app, &account).await? {
                    Some(principal) => is_visible(app, Some(&principal), repo).await?,
                    None => false,
                };
                judged.push((account, may));
                may
            }
        };
        if !may {
            continue;
        }
        payload.insert("webhook".to_owned(), json!({ "id": webhook, "version": 3 }));
        let body = Value::Object(payload.clone()).to_string();
        if body.len() > MAX_PAYLOAD_BYTES {
            tracing::warn!(repo = repo.id, "an event is too large for webhooks");
            return Ok(());
        }
        new.push(Delivery {
            id: id_of(event, &webhook)?,
            webhook,
            repo: repo.id.clone(),
            event: what.to_owned(),
            payload: body,
            state: State::Pending,
            attempts: 0,
            next_at: now,
            status: 0,
            error: String::new(),
            created_at: now,
        });
    }
    let dropped: Result<u64, DbError> = transaction!(app.db, tx => {
        let mut dropped = 0;
        for delivery in &new {
            if store::waiting(tx, &delivery.webhook).await? >= MAX_WAITING {
                dropped += 1;
            } else {
                store::queue(tx, delivery).await?;
            }
        }
        Ok(dropped)
    });
    let dropped = dropped?;
    if dropped > 0 {
        tracing::warn!(repo = repo.id, dropped, "webhooks with too much to send miss an event");
    }
    Ok(())
}

/// The id of a delivery. What may be told twice, by whoever did it and by whoever cleared up after them, gets the same.
fn id_of(event: &Event, webhook: &str) -> Result<String, ExchangeError> {
    match event {
        Event::Refs { id, .. } => {
            Ok(Digest::of_parts(&[id.as_bytes(), b"\n", webhook.as_bytes()]).hex()[..24].to_owned())
        }
        _ => Ok(new_id()?),
    }
}

/// The address of this hub where no request says by which name it is known.
fn base(app: &App) -> String {
    let scheme = if app.tls.is_some() { "https" } else { "http" };
    let name = &app.config.name;
    if name == "localhost" { format!("{scheme}://{}", app.config.listen) } else { format!("{scheme}://{name}") }
}

fn shown(base: &str, repo: &Repo, head: &Head) -> Value {
    let name = repo.full_name();
    let mut value = json!({
        "type": repo.kind.as_str(), "name": name, "id": repo.id, "private": repo.private,
        "url": {
            "web": format!("{base}/{}{name}", repo.kind.prefix()),
            "api": format!("{base}/api/{}/{name}", repo.kind.plural()),
        },
        "owner": { "id": repo.owner.id },
    });
    if let Some(map) = value.as_object_mut() {
        if !head.sha.is_empty() {
            map.insert("headSha".to_owned(), head.sha.clone().into());
            map.insert("tags".to_owned(), head.tags.clone().into());
        }
        if repo.kind == Kind::Space {
            map.insert("subdomain".to_owned(), name.replace(['/', '_', '.'], "-").to_lowercase().into());
        }
    }
    value
}

/// `scope:action`, and the body but for the webhook.
fn payload(base: &str, repo: &Repo, head: &Head, event: &Event) -> (&'static str, Map<String, Value>) {
    let mut map = Map::new();
    let what = match event {
        Event::Created => "repo:create",
        Event::Removed => "repo:delete",
        Event::Moved { .. } => "repo:move",
        Event::Configured => "repo.config:update",
        Event::Refs { .. } => "repo.content:update",
        Event::Discussion { action, comment: None, .. } => match action {
            Action::Create => "discussion:create",
            Action::Update => "discussion:update",
            Action::Delete => "discussion:delete",
        },
        Event::Discussion { action, comment: Some(_), .. } => match action {
            Action::Create => "discussion.comment:create",
            Action::Update => "discussion.comment:update",
            Action::Delete => "discussion.comment:delete",
        },
    };
    let (scope, action) = what.split_once(':').unwrap_or((what, "update"));
    map.insert("event".to_owned(), json!({ "action": action, "scope": scope }));
    map.insert("repo".to_owned(), shown(base, repo, head));
    match event {
        Event::Moved { name, owner } => {
            map.insert("movedTo".to_owned(), json!({ "name": name, "owner": { "id": owner } }));
        }
        Event::Refs { updates, .. } => {
            let text = |oid: &Option<crate::git::Oid>| oid.map(|oid| oid.to_string());
            let one = |RefUpdate { name, old, new }: &RefUpdate| json!({ "ref": name, "oldSha": text(old), "newSha": text(new) });
            map.insert("updatedRefs".to_owned(), updates.iter().map(one).collect());
        }
        Event::Discussion { discussion, comment, .. } => {
            map.insert("discussion".to_owned(), discussion.clone());
            if let Some(comment) = comment {
                map.insert("comment".to_owned(), comment.clone());
            }
        }
        Event::Created | Event::Removed | Event::Configured => {}
    }
    (what, map)
}
