//! Commits of a revision, and what one of them changed.

use allmende_core::time::Timestamp;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::list::cut;
use super::{Tab, Visit, difference};
use crate::app::App;
use crate::console::format::{full, number, short, table, time};
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::git::history::Commit;
use crate::repo::Kind;

/// Commits on a page.
const PAGE: u64 = 50;
/// The last page that can be asked for.
const MAX_PAGE: u64 = 1 << 32;
/// Longest message that is shown, in characters.
const MAX_MESSAGE_CHARS: usize = 20_000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Which {
    p: u64,
}

type OfRevision = Path<(String, String, String, String, String)>;

/// When a commit says that it was made.
fn when(commit: &Commit) -> Markup {
    time(&Timestamp(commit.at_s.saturating_mul(1_000)).to_string())
}

/// A page of commits, newest first.
pub async fn page(
    State(app): State<App>,
    Path((.., revision)): OfRevision,
    visit: Visit,
    Query(which): Query<Which>,
) -> Response {
    visit.answer(commits(&app, &visit, &revision, which.p.min(MAX_PAGE)).await)
}

async fn commits(app: &App, visit: &Visit, revision: &str, page: u64) -> Result<Markup, ApiError> {
    let say = |en, zh| visit.say(en, zh);
    let git = visit.git(app);
    let commit = git.resolve(revision).await?;
    let (found, total) = (git.history(commit, page * PAGE, PAGE).await?, git.count(commit).await?);
    let more = (page + 1).saturating_mul(PAGE) < total;
    let body = html! {
        (visit.choice(app, "history", revision).await?)
        (table(say("Commits, newest first", "提交，新者在前"),
            &html! { th scope="col" { (say("What", "内容")) } th scope="col" { (say("By", "作者")) } th scope="col" { (say("When (UTC)", "时间（UTC）")) } th scope="col" { (say("Commit", "提交")) } },
            &html! { @for one in &found { tr {
                th.wrap scope="row" { a href=(visit.at("commit", &one.oid.to_string(), "")) { @if one.title.is_empty() { "–" } @else { (cut(&one.title, 200)) } } }
                td { (cut(&one.author, 60)) } td { (when(one)) } td { (short(&one.oid.to_string())) }
            } } }))
        p.pager {
            @if page > 0 { a href=(format!("?p={}", page - 1)) { (say("Newer", "更新")) } }
            span.muted { (number(total)) " " (say("commits", "次提交")) }
            @if more { a href=(format!("?p={}", page + 1)) { (say("Older", "更早")) } }
        }
    };
    Ok(visit.page(Tab::History, say("History", "历史"), &body))
}

/// A commit and its difference to the one before.
pub async fn commit(State(app): State<App>, Path((.., revision)): OfRevision, visit: Visit) -> Response {
    visit.answer(one(&app, &visit, &revision).await)
}

async fn one(app: &App, visit: &Visit, revision: &str) -> Result<Markup, ApiError> {
    let say = |en, zh| visit.say(en, zh);
    let git = visit.git(app);
    let oid = git.resolve(revision).await?;
    let commit = git.history(oid, 0, 1).await?.pop().ok_or_else(|| ApiError::not_found("this commit"))?;
    let shown = match visit.may_read(app).await {
        Ok(()) => {
            let text = git.change(oid).await?;
            visit.note(app, text.len() as u64);
            difference::render(visit.asked.lang, &text)
        }
        Err(error) => visit.closed(&error)?,
    };
    let id = oid.to_string();
    let body = html! {
        @if !commit.message.is_empty() { pre.message tabindex="0" { (cut(&commit.message, MAX_MESSAGE_CHARS)) } }
        dl.facts {
            div { dt { (say("By", "作者")) } dd { (cut(&commit.author, 200)) } }
            div { dt { (say("When", "时间")) } dd { (when(&commit)) " UTC" } }
            div { dt { (say("Commit", "提交")) } dd { (full(&id)) } }
            @if !commit.parents.is_empty() { div { dt { (say("Upon", "基于")) } dd {
                @for parent in commit.parents.iter().take(20) { a href=(visit.at("commit", &parent.to_string(), "")) { (short(&parent.to_string())) } " " }
            } } }
        }
        p { a href=(visit.at("tree", &id, "")) { (say("Files at this commit", "此提交的文件")) }
            @if let (Kind::Model, Some(parent)) = (visit.repo().kind, commit.parents.first()) {
                " · " a href=(visit.link(&format!("/compare?base={parent}&head={id}"))) { (say("Difference of tensors", "张量差异")) }
            } }
        h2 { (say("What it changes", "变动内容")) }
        (shown)
    };
    let title = if commit.title.is_empty() { id.clone() } else { cut(&commit.title, 200) };
    Ok(visit.page(Tab::History, &title, &body))
}
