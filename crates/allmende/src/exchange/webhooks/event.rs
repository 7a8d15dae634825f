//! From what happened to what is sent: the payload in the form of the public hub's third version.

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use serde_json::{Map, Value, json};

use super::store::{self, Delivery, State};
use crate::account::store as accounts;
use crate::account::token::TokenInfo;
use crate::account::{Principal, Rights, new_id};
use crate::app::App;
use crate::db::DbError;
use crate::exchange::ExchangeError;
use crate::repo::card::Head;
use crate::repo::event::{self, Action, Discussed, Event, RefUpdate, Said, Waiting};
use crate::repo::ops::is_visible;
use crate::repo::{Kind, Repo};
use crate::transaction;

/// Most webhooks that one event reaches.
const MAX_REACHED: i64 = 1_000;
/// Most that wait for one webhook; what comes on top is dropped.
const MAX_WAITING: i64 = 1_000;
/// Largest payload, in bytes: a comment's text is bounded where it is taken.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// Hands on what happened: queues it for every webhook that watches the repository and whose owner could see it then. An
/// event and what is queued of it change places in one transaction.
pub(super) async fn gather(app: &App) -> Result<(), ExchangeError> {
    let waiting = event::waiting(&mut *app.db.read().await?).await?;
    for Waiting { id, repo, event, at } in waiting {
        let new = match &repo {
            Some(repo) => match deliveries(app, repo, &event, at).await {
                Err(ExchangeError::Db(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::error!(repo = repo.id, %error, "an event could not be told to webhooks");
                    Vec::new()
                }
                Ok(new) => new,
            },
            None => Vec::new(),
        };
        let dropped: Result<u64, DbError> = transaction!(app.db, tx => {
            let mut dropped = 0;
            if !event::take(tx, &id).await? {
                return Ok(0);
            }
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
            tracing::warn!(dropped, "webhooks with too much to send miss an event");
        }
    }
    Ok(())
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

async fn deliveries(app: &App, repo: &Repo, event: &Event, at: Timestamp) -> Result<Vec<Delivery>, ExchangeError> {
    let account = format!("account:{}", repo.owner.name.key());
    let named = format!("{}:{}/{}", repo.kind.as_str(), repo.owner.name.key(), repo.name.key());
    let domain = if matches!(event, Event::Discussion(..) | Event::Comment(..)) { "discussion" } else { "repo" };
    let found = store::watching(&mut *app.db.read().await?, [&account, &named], domain, MAX_REACHED).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let head = crate::repo::store::head(&mut *app.db.read().await?, &repo.id).await?;
    let (what, mut payload) = payload(&base(app), repo, &serde_json::from_str(&head).unwrap_or_default(), event);
    let mut new = Vec::new();
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
            return Ok(Vec::new());
        }
        new.push(Delivery {
            id: new_id()?,
            webhook,
            repo: repo.id.clone(),
            event: what.to_owned(),
            payload: body,
            state: State::Pending,
            attempts: 0,
            next_at: at,
            status: 0,
            error: String::new(),
            created_at: at,
        });
    }
    Ok(new)
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

/// An id that a discussion has everywhere, which here is a number in its repository.
fn id_of(repo: &Repo, discussion: &Discussed) -> String {
    Digest::of_parts(&[repo.id.as_bytes(), b"\n", discussion.num.to_string().as_bytes()])
        .hex()
        .chars()
        .take(24)
        .collect()
}

fn discussion(base: &str, repo: &Repo, discussion: &Discussed) -> Value {
    let (name, num) = (repo.full_name(), discussion.num);
    let mut value = json!({
        "id": id_of(repo, discussion), "num": num, "author": { "id": discussion.author }, "title": discussion.title,
        "isPullRequest": discussion.base.is_some(), "status": discussion.status, "pinned": false,
        "url": {
            "web": format!("{base}/{}{name}/discussions/{num}", repo.kind.prefix()),
            "api": format!("{base}/api/{}/{name}/discussions/{num}", repo.kind.plural()),
        },
    });
    if let (Some(branch), Some(map)) = (&discussion.base, value.as_object_mut()) {
        map.insert("changes".to_owned(), json!({ "base": branch, "mergeCommitId": discussion.merge_commit }));
    }
    value
}

fn comment(base: &str, repo: &Repo, discussion: &Discussed, said: &Said) -> Value {
    let web = format!("{base}/{}{}/discussions/{}#{}", repo.kind.prefix(), repo.full_name(), discussion.num, said.id);
    let mut value = json!({
        "id": said.id, "author": { "id": said.author }, "hidden": said.hidden, "url": { "web": web },
    });
    // What was taken back is not told.
    if let (false, Some(map)) = (said.hidden, value.as_object_mut()) {
        map.insert("content".to_owned(), said.text.clone().into());
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
        Event::Refs(_) | Event::Files { .. } => "repo.content:update",
        Event::Discussion(Action::Create, ..) => "discussion:create",
        Event::Discussion(Action::Update, ..) => "discussion:update",
        Event::Comment(Action::Create, ..) => "discussion.comment:create",
        Event::Comment(Action::Update, ..) => "discussion.comment:update",
    };
    let (scope, action) = what.split_once(':').unwrap_or((what, "update"));
    map.insert("event".to_owned(), json!({ "action": action, "scope": scope }));
    map.insert("repo".to_owned(), shown(base, repo, head));
    match event {
        Event::Moved { name, owner } => {
            map.insert("movedTo".to_owned(), json!({ "name": name, "owner": { "id": owner } }));
        }
        Event::Refs(updates) => {
            let one = |RefUpdate { name, old, new }: &RefUpdate| json!({ "ref": name, "oldSha": old, "newSha": new });
            map.insert("updatedRefs".to_owned(), updates.iter().map(one).collect());
        }
        Event::Files { some, count } => {
            let one = |(path, there): &(String, bool)| json!({ "path": path, "action": if *there { "update" } else { "remove" } });
            map.insert("updatedFiles".to_owned(), some.iter().map(one).collect());
            map.insert("updatedFilesCount".to_owned(), (*count).into());
        }
        Event::Discussion(_, of, first) => {
            map.insert("discussion".to_owned(), discussion(base, repo, of));
            if let Some(first) = first {
                map.insert("comment".to_owned(), comment(base, repo, of, first));
            }
        }
        Event::Comment(_, of, said) => {
            map.insert("discussion".to_owned(), discussion(base, repo, of));
            map.insert("comment".to_owned(), comment(base, repo, of, said));
        }
        Event::Created | Event::Removed | Event::Configured => {}
    }
    (what, map)
}
