//! What stands in a bucket: folders and files with their sizes and times, a page at a time.

use axum::extract::FromRequestParts;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::list::marks;
use super::{Tab, Visit, bytes};
use crate::app::App;
use crate::bucket::tree::{self, Line};
use crate::console::format::{number, table, time};
use crate::console::prose::quoted;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::repo::bucket::{self, Sums};
use crate::repo::{Gate, Kind};

/// Files and folders on a page.
const PAGE: usize = 200;
/// Longest folder or place that is asked for, in bytes: no path is longer.
const MAX_ASKED_BYTES: usize = 8_192;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    folder: String,
    from: String,
}

/// A request for the page of a bucket that the caller may see.
pub struct Bucket(Visit);

#[derive(Deserialize)]
struct Named {
    space: String,
    name: String,
}

impl FromRequestParts<App> for Bucket {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let named = Path::<Named>::from_request_parts(parts, app).await;
        let named = named.map(|Path(Named { space, name })| (Some(Kind::Bucket), space, name));
        Visit::find(parts, app, named).await.map(Self)
    }
}

/// A folder of a bucket; its root where none is named.
pub async fn page(State(app): State<App>, Bucket(visit): Bucket, Query(wanted): Query<Wanted>) -> Response {
    visit.answer(render(&app, &visit, &wanted).await)
}

async fn render(app: &App, visit: &Visit, wanted: &Wanted) -> Result<Markup, ApiError> {
    if wanted.folder.len() > MAX_ASKED_BYTES || wanted.from.len() > MAX_ASKED_BYTES {
        return Err(ApiError::not_found("this folder"));
    }
    let folder = wanted.folder.trim_matches('/');
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut connection = app.db.read().await?;
    let asked = tree::Wanted { prefix: &prefix, recursive: false, from: &wanted.from, limit: PAGE };
    let found = tree::page(&mut connection, visit.repo(), asked).await?;
    let sums = bucket::sums(&mut connection, visit.repo()).await?;
    drop(connection);
    let say = |en, zh| visit.say(en, zh);
    let body = html! {
        p.labels { (marks(&visit.asked, visit.repo())) }
        (figures(visit, sums))
        (crumbs(visit, folder))
        @if found.lines.is_empty() { p.empty { (say("Nothing stands here.", "此处没有文件。")) } }
        @else { (table(say("Files and folders", "文件与文件夹"),
            &html! { th scope="col" { (say("Name", "名称")) } th.num scope="col" { (say("Size", "大小")) } th scope="col" { (say("Put there", "存入时间")) } },
            &html! { @for line in &found.lines { (row(visit, &prefix, line)) } })) }
        @if let Some(next) = &found.next {
            p.pager { a href=(format!("{}&from={}", at(visit, folder), quoted(next))) { (say("More", "更多")) } }
        }
        h2 { (say("Fetch it", "获取")) }
        pre tabindex="0" { code { "HF_ENDPOINT=" (visit.base) " hf buckets sync hf://buckets/" (visit.repo().full_name()) (if folder.is_empty() { "" } else { "/" }) (folder) " ./" (visit.repo().name) } }
        @if !visit.repo().is_public() || visit.repo().gate != Gate::Off {
            p.muted { (say("It needs a token that may read it, in HF_TOKEN.", "需要可读取它的令牌，置于 HF_TOKEN。")) }
        }
    };
    Ok(visit.page(Tab::Files, &visit.repo().full_name(), &body))
}

fn at(visit: &Visit, folder: &str) -> String {
    visit.link(&format!("?folder={}", quoted(folder)))
}

fn figures(visit: &Visit, sums: Sums) -> Markup {
    html! {
        div.figures {
            div { span.big { (number(sums.files)) } span.label { (visit.say("files", "文件")) } }
            div { span.big { (bytes(sums.bytes)) } span.label { (visit.say("each file counted whole", "按每个文件完整计")) } }
        }
    }
}

/// The way from the root to a folder, each part a link.
fn crumbs(visit: &Visit, folder: &str) -> Markup {
    let ends = folder.match_indices('/').map(|(end, _)| end).chain((!folder.is_empty()).then_some(folder.len()));
    let ends: Vec<usize> = ends.collect();
    html! {
        nav.crumbs aria-label=(visit.say("Path", "路径")) {
            a href=(visit.link("")) { (visit.repo().name) }
            @for (i, end) in ends.iter().enumerate() {
                @let name = folder[..*end].rsplit('/').next().unwrap_or_default();
                " / "
                @if i + 1 == ends.len() { span aria-current="page" { (name) } } @else { a href=(at(visit, &folder[..*end])) { (name) } }
            }
        }
    }
}

fn row(visit: &Visit, prefix: &str, line: &Line) -> Markup {
    let name = |path: &str| path.strip_prefix(prefix).unwrap_or(path).to_owned();
    html! { tr { @match line {
        Line::Folder { path, uploaded_at } => {
            th scope="row" { a href=(at(visit, path)) { (name(path)) "/" } }
            td.num {}
            td { @if let Some(at) = uploaded_at { (time(&at.to_string())) } }
        }
        Line::File(file) => {
            th scope="row" { (name(&file.path)) }
            td.num { (bytes(file.size)) }
            td { (time(&file.uploaded_at.to_string())) }
        }
    } } }
}
