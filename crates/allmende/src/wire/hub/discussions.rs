//! Discussions and pull requests.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::repos::url_pairs;
use super::{HubError, There, iso};
use crate::account::{Account, store as accounts};
use crate::app::App;
use crate::discussion::{self, Discussion, Event, Status, What, pulls, store, told};
use crate::error::Code;
use crate::extract::{self, Body, Path};
use crate::repo::event::Action;
use crate::repo::ops::MAIN;
use crate::repo::{RepoError, Right};
use crate::transaction;

/// Discussions in one page.
const PAGE: u64 = 50;

fn person(account: Option<&Account>) -> Value {
    match account {
        Some(account) => {
            json!({ "name": account.name.as_str(), "fullname": account.full_name, "avatarUrl": "", "type": "user" })
        }
        None => json!({}),
    }
}

fn event(event: &Event) -> Value {
    let data = match &event.what {
        What::Comment { text, edited, hidden } => json!({
            "edited": edited, "hidden": hidden,
            "latest": { "raw": text, "updatedAt": iso(event.created_at), "author": person(event.author.as_ref()) },
        }),
        What::StatusChange { status } => json!({ "status": status.as_str() }),
        What::TitleChange { from, to } => json!({ "from": from, "to": to }),
        What::Commit { subject, oid } => json!({ "subject": subject, "oid": oid }),
    };
    json!({
        "id": event.id, "type": event.what.kind(), "createdAt": iso(event.created_at), "author": person(event.author.as_ref()),
        "data": data,
    })
}

fn shown(there: &There, discussion: &Discussion) -> Value {
    let repo = &there.seen.repo;
    json!({
        "num": discussion.num, "title": discussion.title, "status": discussion.status.as_str(),
        "author": person(discussion.author.as_ref()), "createdAt": iso(discussion.created_at),
        "isPullRequest": discussion.pull_request, "pinned": false,
        "repo": { "name": repo.full_name(), "type": repo.kind.as_str() },
        "repoOwner": { "name": repo.owner.name.as_str() },
    })
}

async fn found(app: &App, there: &There, num: &str) -> Result<Discussion, HubError> {
    let missing = || HubError::new(Code::NotFound, format!("Discussion {num} does not exist"));
    let num: u64 = num.parse().map_err(|_| missing())?;
    store::find(&mut *app.db.read().await?, &there.seen.repo, num).await?.ok_or_else(missing)
}

/// A page of discussions, newest first.
pub async fn list(State(app): State<App>, there: There, RawQuery(query): RawQuery) -> Result<Json<Value>, HubError> {
    let mut filter = store::Filter::default();
    let mut page: u64 = 0;
    for (key, value) in url_pairs(&query.unwrap_or_default()) {
        match (key.as_str(), value.as_str()) {
            ("p", text) => page = text.parse().unwrap_or(0).min(1 << 32),
            ("type", "pull_request") => filter.pull_request = Some(true),
            ("type", "discussion") => filter.pull_request = Some(false),
            ("status", "open") => filter.open = Some(true),
            ("status", "closed") => filter.open = Some(false),
            ("author", name) => {
                let author = accounts::by_name(&mut *app.db.read().await?, name).await?;
                filter.author = Some(author.map_or_else(String::new, |author| author.id));
            }
            _ => {}
        }
    }
    let mut connection = app.db.read().await?;
    let (count, some) = store::page(&mut connection, &there.seen.repo, &filter, page * PAGE, PAGE).await?;
    let some: Vec<Value> = some.iter().map(|discussion| shown(&there, discussion)).collect();
    Ok(Json(json!({ "count": count, "start": page * PAGE, "numClosedDiscussions": 0, "discussions": some })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct New {
    title: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    pull_request: bool,
}

/// Opens a discussion or a pull request, which begins as a draft. Whoever may read the repository may.
pub async fn create(
    State(app): State<App>,
    there: There,
    extract::Json(new): extract::Json<New>,
) -> Result<Json<Value>, HubError> {
    let principal = there.who(Right::Read)?;
    let text = new.description.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| new.title.clone());
    let draft = || pulls::Start { status: Status::Draft, base: MAIN.to_owned(), from: None };
    let pull = new.pull_request.then(draft);
    let num = pulls::open(&app, &there.seen, principal, &new.title, &text, pull).await?;
    Ok(Json(json!({ "num": num, "pullRequest": new.pull_request })))
}

/// A discussion with all that happened in it; a pull request with what it changes.
pub async fn details(
    State(app): State<App>,
    Path((.., num)): Path<(String, String, String, String)>,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, HubError> {
    let discussion = found(&app, &there, &num).await?;
    let events = store::events(&mut *app.db.read().await?, &there.seen.repo, discussion.num).await?;
    let mut all = shown(&there, &discussion);
    let Some(map) = all.as_object_mut() else { return Ok(Json(all)) };
    map.insert("events".to_owned(), events.iter().map(event).collect());
    if discussion.pull_request {
        let git = there.git(&app);
        map.insert("changes".to_owned(), json!({ "base": discussion.base, "mergeCommitId": discussion.merge_commit }));
        // A difference shows what stands in files.
        let asked = url_pairs(&query.unwrap_or_default()).iter().any(|(key, _)| key == "diff");
        let differs = asked && there.may_read_files(&app).await.is_ok();
        let changes = pulls::changes(&git, &discussion, differs).await?;
        if differs {
            there.note(&app, changes.difference.len() as u64);
        }
        map.insert("filesWithConflicts".to_owned(), changes.conflicts.into());
        map.insert("diff".to_owned(), changes.difference.into());
    }
    Ok(Json(all))
}

#[derive(Debug, Deserialize)]
pub struct Comment {
    comment: String,
}

/// Says something.
pub async fn comment(
    State(app): State<App>,
    Path((.., num)): Path<(String, String, String, String)>,
    there: There,
    extract::Json(new): extract::Json<Comment>,
) -> Result<Json<Value>, HubError> {
    let principal = there.who(Right::Read)?;
    let discussion = found(&app, &there, &num).await?;
    let what = What::Comment { text: discussion::comment(&new.comment)?, edited: false, hidden: false };
    let now = app.clock.now();
    let added = transaction!(app.db, tx => {
        let added = store::add(tx, &there.seen.repo, discussion.num, &principal.account, &what, now).await?;
        told::commented(tx, &there.seen.repo, &discussion, Action::Create, &added, now).await?;
        Ok::<_, RepoError>(added)
    })?;
    Ok(Json(json!({ "newMessage": event(&added) })))
}

#[derive(Debug, Deserialize)]
pub struct Title {
    title: String,
}

/// Gives it another title.
pub async fn rename(
    State(app): State<App>,
    Path((.., num)): Path<(String, String, String, String)>,
    there: There,
    extract::Json(new): extract::Json<Title>,
) -> Result<Json<Value>, HubError> {
    let principal = there.who(Right::Read)?;
    let mut discussion = found(&app, &there, &num).await?;
    discussion::require_steward(&there.seen, &discussion, principal)?;
    let to = discussion::title(&new.title)?;
    let what = What::TitleChange { from: std::mem::replace(&mut discussion.title, to.clone()), to };
    let now = app.clock.now();
    let added = transaction!(app.db, tx => {
        store::change(tx, &discussion).await?;
        told::changed(tx, &there.seen.repo, &discussion, now).await?;
        store::add(tx, &there.seen.repo, discussion.num, &principal.account, &what, now).await
    })?;
    Ok(Json(json!({ "newTitle": event(&added) })))
}

#[derive(Debug, Deserialize)]
pub struct NewStatus {
    status: String,
    #[serde(default)]
    comment: Option<String>,
}

/// Opens or closes it.
pub async fn status(
    State(app): State<App>,
    Path((.., num)): Path<(String, String, String, String)>,
    there: There,
    extract::Json(new): extract::Json<NewStatus>,
) -> Result<Json<Value>, HubError> {
    let principal = there.who(Right::Read)?;
    let mut discussion = found(&app, &there, &num).await?;
    discussion::require_steward(&there.seen, &discussion, principal)?;
    let status = Status::parse(&new.status).filter(|s| matches!(s, Status::Open | Status::Closed));
    let status = status.ok_or_else(|| HubError::new(Code::BadRequest, "a status is open or closed"))?;
    if discussion.status == Status::Merged {
        return Err(HubError::new(Code::Forbidden, "This pull request was merged"));
    }
    discussion.status = status;
    let text = new.comment.filter(|text| !text.trim().is_empty()).map(|text| discussion::comment(&text)).transpose()?;
    let now = app.clock.now();
    let added = transaction!(app.db, tx => {
        if let Some(text) = &text {
            let what = What::Comment { text: text.clone(), edited: false, hidden: false };
            let comment = store::add(tx, &there.seen.repo, discussion.num, &principal.account, &what, now).await?;
            told::commented(tx, &there.seen.repo, &discussion, Action::Create, &comment, now).await?;
        }
        store::change(tx, &discussion).await?;
        told::changed(tx, &there.seen.repo, &discussion, now).await?;
        store::add(tx, &there.seen.repo, discussion.num, &principal.account, &What::StatusChange { status }, now).await
    })?;
    Ok(Json(json!({ "newStatus": event(&added) })))
}

#[derive(Debug, Default, Deserialize)]
struct MergeWith {
    #[serde(default)]
    comment: Option<String>,
}

/// Merges a pull request.
pub async fn merge(
    State(app): State<App>,
    Path((.., num)): Path<(String, String, String, String)>,
    there: There,
    Body(body): Body,
) -> Result<StatusCode, HubError> {
    let principal = there.who(Right::Write)?;
    let pull = found(&app, &there, &num).await?;
    if !pull.pull_request {
        return Err(HubError::new(Code::BadRequest, "This discussion is no pull request"));
    }
    let with: Option<MergeWith> =
        if body.is_empty() { None } else { serde_json::from_slice(&body).unwrap_or_default() };
    let text = with.and_then(|with| with.comment).filter(|text| !text.trim().is_empty());
    pulls::merge(&app, &there.seen, principal, pull, text.as_deref()).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Deserialize)]
pub struct Content {
    content: String,
}

type CommentPath = Path<(String, String, String, String, String)>;

async fn rewrite(
    app: &App,
    there: &There,
    num: &str,
    id: &str,
    steward: bool,
    to: impl Fn(String) -> What,
) -> Result<Json<Value>, HubError> {
    let principal = there.who(Right::Read)?;
    let discussion = found(app, there, num).await?;
    let events = store::events(&mut *app.db.read().await?, &there.seen.repo, discussion.num).await?;
    let missing = || HubError::new(Code::NotFound, "This comment does not exist");
    let mut comment = events.into_iter().find(|e| e.id.eq_ignore_ascii_case(id)).ok_or_else(missing)?;
    let What::Comment { text, hidden, .. } = comment.what else { return Err(missing()) };
    let own = comment.author.as_ref().is_some_and(|author| author.id == principal.account.id);
    if hidden {
        return Err(RepoError::Forbidden("This comment was taken back").into());
    }
    if !own && !steward {
        return Err(RepoError::Forbidden("Only its author can change a comment").into());
    }
    if !own {
        there.seen.require(Right::Write)?;
    }
    comment.what = to(text);
    let now = app.clock.now();
    transaction!(app.db, tx => {
        store::rewrite(tx, &comment.id, &comment.what).await?;
        told::commented(tx, &there.seen.repo, &discussion, Action::Update, &comment, now).await.map_err(RepoError::from)
    })?;
    Ok(Json(json!({ "updatedComment": event(&comment) })))
}

/// Changes one's own comment.
pub async fn edit(
    State(app): State<App>,
    Path((.., num, id)): CommentPath,
    there: There,
    extract::Json(new): extract::Json<Content>,
) -> Result<Json<Value>, HubError> {
    let text = discussion::comment(&new.content)?;
    let to = |_| What::Comment { text: text.clone(), edited: true, hidden: false };
    rewrite(&app, &there, &num, &id, false, to).await
}

/// Takes a comment back, for good: its author, or whoever may write to the repository.
pub async fn hide(
    State(app): State<App>,
    Path((.., num, id)): CommentPath,
    there: There,
) -> Result<Json<Value>, HubError> {
    let to = |_| What::Comment { text: String::new(), edited: false, hidden: true };
    rewrite(&app, &there, &num, &id, true, to).await
}
