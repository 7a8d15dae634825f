//! Discussions and pull requests.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::list::cut;
use super::{Tab, Visit, difference};
use crate::account::Account;
use crate::app::App;
use crate::console::format::{number, short, time};
use crate::console::prose::{self, Links};
use crate::discussion::{Discussion, Event, Status, What, pulls, store};
use crate::error::ApiError;
use crate::extract::{Path, Query};

/// Discussions on a page.
const PAGE: u64 = 30;
/// The last page that can be asked for.
const MAX_PAGE: u64 = 1 << 32;
/// Events on a page.
const EVENTS: usize = 100;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    status: String,
    p: u64,
}

fn state(visit: &Visit, status: Status) -> Markup {
    let (tone, word) = match status {
        Status::Draft => ("calm", visit.say("draft", "草稿")),
        Status::Open => ("live", visit.say("open", "进行中")),
        Status::Closed => ("calm", visit.say("closed", "已关闭")),
        Status::Merged => ("good", visit.say("merged", "已合并")),
    };
    html! { span class={ "status " (tone) } { (word) } }
}

fn who(author: Option<&Account>) -> &str {
    author.map_or("–", |author| author.name.as_str())
}

/// A page of discussions, newest first.
pub async fn page(State(app): State<App>, visit: Visit, Query(wanted): Query<Wanted>) -> Response {
    visit.answer(list(&app, &visit, &wanted).await)
}

async fn list(app: &App, visit: &Visit, wanted: &Wanted) -> Result<Markup, ApiError> {
    let say = |en, zh| visit.say(en, zh);
    let open = match wanted.status.as_str() {
        "open" => Some(true),
        "closed" => Some(false),
        _ => None,
    };
    let status = if open.is_some() { wanted.status.as_str() } else { "all" };
    let page = wanted.p.min(MAX_PAGE);
    let filter = store::Filter { open, ..store::Filter::default() };
    let mut connection = app.db.read().await?;
    let (count, some) = store::page(&mut connection, visit.repo(), &filter, page * PAGE, PAGE).await?;
    drop(connection);
    let choices = [("all", say("All", "全部")), ("open", say("Open", "进行中")), ("closed", say("Closed", "已结束"))];
    let body = html! {
        p { @for (i, (word, shown)) in choices.iter().enumerate() {
            @if i > 0 { " · " }
            @if *word == status { strong { (shown) } } @else { a href=(format!("?status={word}")) { (shown) } }
        } }
        @if some.is_empty() { p.empty { (say("Nobody has opened one yet.", "尚无讨论。")) } }
        ul.cards { @for one in &some { li {
            h2 { a href=(visit.link(&format!("/discussions/{}", one.num))) { (one.title) } }
            p.muted {
                (state(visit, one.status)) " "
                (if one.pull_request { say("pull request", "合并请求") } else { say("discussion", "讨论") })
                " #" (one.num) " · " (who(one.author.as_ref())) " · " (time(&one.created_at.to_string()))
            }
        } } }
        p.pager {
            @if page > 0 { a href=(format!("?status={status}&p={}", page - 1)) { (say("Newer", "更新")) } }
            span.muted { (number(count)) " " (say("in all", "条")) }
            @if (page + 1).saturating_mul(PAGE) < count { a href=(format!("?status={status}&p={}", page + 1)) { (say("Older", "更早")) } }
        }
    };
    Ok(visit.page(Tab::Discussions, say("Discussions and pull requests", "讨论与合并请求"), &body))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Since {
    from: usize,
}

type OfNumber = Path<(String, String, String, String, u64)>;

/// A discussion with what happened in it; a pull request with what it changes.
pub async fn one(
    State(app): State<App>,
    Path((.., num)): OfNumber,
    visit: Visit,
    Query(since): Query<Since>,
) -> Response {
    let made = async {
        let found = store::find(&mut *app.db.read().await?, visit.repo(), num).await?;
        let found = found.ok_or_else(|| ApiError::not_found("this discussion"))?;
        let events = store::events(&mut *app.db.read().await?, visit.repo(), num).await?;
        let changes = if found.pull_request {
            changes(&app, &visit, &found).await?
        } else {
            html! {}
        };
        Ok(render(&visit, &found, &events, since.from, &changes))
    };
    visit.answer(made.await)
}

fn render(visit: &Visit, found: &Discussion, events: &[Event], from: usize, changes: &Markup) -> Markup {
    let say = |en, zh| visit.say(en, zh);
    let from = from.min(events.len());
    let next = (from + EVENTS).min(events.len());
    let body = html! {
        p.muted {
            (state(visit, found.status)) " "
            (if found.pull_request { say("pull request", "合并请求") } else { say("discussion", "讨论") })
            " #" (found.num) " · " (who(found.author.as_ref())) " · " (time(&found.created_at.to_string()))
            @if found.pull_request { " · " (say("for ", "目标 ")) code { (found.base.trim_start_matches("refs/heads/")) } }
        }
        ol.events { @for event in &events[from..next] { li { (happened(visit, event)) } } }
        @if next < events.len() { p.pager { a href=(format!("?from={next}")) { (say("More", "更多")) } } }
        (changes)
    };
    visit.page(Tab::Discussions, &found.title, &body)
}

fn happened(visit: &Visit, event: &Event) -> Markup {
    let say = |en, zh| visit.say(en, zh);
    let links = Links { files: None, below: 1, table: say("Table", "表格") };
    html! {
        p.muted {
            strong { (who(event.author.as_ref())) } " "
            @match &event.what {
                What::Comment { .. } => {},
                What::StatusChange { status } => { (say("made it ", "改为")) (state(visit, *status)) },
                What::TitleChange { from, to } => { (say("called it ", "改名为")) em { (to) } (say(" instead of ", "，原名")) em { (from) } },
                What::Commit { subject, oid } => { (say("added ", "添加")) a href=(visit.at("commit", oid, "")) { (short(oid)) } " " (cut(subject, 200)) },
            }
            " · " (time(&event.created_at.to_string()))
        }
        @if let What::Comment { text, edited, hidden } = &event.what {
            @if *hidden { p.empty { (say("This comment was taken back.", "此评论已撤回。")) } }
            @else { div.prose { (prose::render(text, links)) } }
            @if *edited { p.muted { (say("edited", "已编辑")) } }
        }
    }
}

async fn changes(app: &App, visit: &Visit, pull: &Discussion) -> Result<Markup, ApiError> {
    let say = |en, zh| visit.say(en, zh);
    let open = visit.may_read(app).await;
    let changes = pulls::changes(&visit.git(app), pull, open.is_ok()).await?;
    visit.note(app, changes.difference.len() as u64);
    let shown = match open {
        Ok(()) => difference::render(visit.asked.lang, &changes.difference),
        Err(error) => visit.closed(&error)?,
    };
    Ok(html! {
        @if !changes.conflicts.is_empty() {
            div.notice.bad {
                p { strong { (say("Both sides changed these files", "双方都改动了这些文件")) } }
                ul { @for path in changes.conflicts.iter().take(100) { li { code { (cut(path, 300)) } } } }
            }
        }
        h2 { (say("What it changes", "变动内容")) }
        (shown)
    })
}
