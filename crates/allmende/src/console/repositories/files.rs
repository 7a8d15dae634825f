//! Files and folders of a revision, and what stands in a file.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{Tab, Visit, bytes, tensors};
use crate::app::App;
use crate::console::format::table;
use crate::console::prose::quoted;
use crate::content::file::File;
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::git::RepoPath;
use crate::git::tree::{Entry, EntryKind};
use crate::repo::{Gate, Kind};

/// Entries on a page.
const PAGE: usize = 500;
/// Most bytes of a text that are shown.
const MAX_TEXT_BYTES: u64 = 256 << 10;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct From {
    from: usize,
}

type RootPath = Path<(String, String, String, String, String)>;
type InnerPath = Path<(String, String, String, String, String, String)>;

/// The root of a revision.
pub async fn root(
    State(app): State<App>,
    Path((.., revision)): RootPath,
    visit: Visit,
    Query(from): Query<From>,
) -> Response {
    visit.answer(tree(&app, &visit, &revision, None, from.from).await)
}

/// A folder of a revision.
pub async fn folder(
    State(app): State<App>,
    Path((.., revision, path)): InnerPath,
    visit: Visit,
    Query(from): Query<From>,
) -> Response {
    let made = async {
        let folder = match path.trim_matches('/') {
            "" => None,
            path => Some(path.parse().map_err(|_| ApiError::not_found("this folder"))?),
        };
        tree(&app, &visit, &revision, folder, from.from).await
    };
    visit.answer(made.await)
}

async fn tree(
    app: &App,
    visit: &Visit,
    revision: &str,
    folder: Option<RepoPath>,
    from: usize,
) -> Result<Markup, ApiError> {
    let git = visit.git(app);
    let commit = git.resolve(revision).await?;
    let mut entries = git.tree(commit, folder.as_ref(), false).await?;
    // Folders first, as people look for them; the names are sorted already.
    entries.sort_by_key(|entry| entry.kind != EntryKind::Folder);
    let count = entries.len();
    let from = from.min(count);
    let mut some: Vec<Entry> = entries.into_iter().skip(from).take(PAGE).collect();
    git.pointers(&mut some).await?;
    let path = folder.as_ref().map_or("", RepoPath::as_str);
    let next = from + some.len();
    let body = html! {
        (visit.choice(app, "tree", revision).await?)
        (crumbs(visit, revision, path))
        (table(visit.say("Files and folders", "文件与文件夹"),
            &html! { th scope="col" { (visit.say("Name", "名称")) } th.num scope="col" { (visit.say("Size", "大小")) } th scope="col" { span.sr { (visit.say("Kept as", "存储方式")) } } },
            &html! { @for entry in &some { (row(visit, revision, entry)) } }))
        @if next < count { p.pager { a href=(format!("?from={next}")) { (visit.say("More", "更多")) } " " span.muted { (next) " / " (count) } } }
    };
    Ok(visit.page(Tab::Files, visit.say("Files", "文件"), &body))
}

fn row(visit: &Visit, revision: &str, entry: &Entry) -> Markup {
    let name = entry.path.rsplit('/').next().unwrap_or_default();
    html! { tr {
        th scope="row" { @match entry.kind {
            EntryKind::Folder => a href=(visit.at("tree", revision, &entry.path)) { (name) "/" },
            EntryKind::File => a href=(visit.at("file", revision, &entry.path)) { (name) },
            EntryKind::Link | EntryKind::Module => (name),
        } }
        td.num { @if entry.kind == EntryKind::File { (bytes(entry.file_size())) } }
        td { @match entry.kind {
            EntryKind::File if entry.pointer.is_some() => span.status { (visit.say("large file", "大文件")) },
            EntryKind::Link => span.muted { (visit.say("link", "链接")) },
            EntryKind::Module => span.muted { (visit.say("other repository", "其他仓库")) },
            EntryKind::File | EntryKind::Folder => {},
        } }
    } }
}

/// The way from the root to a path, each part a link to its folder.
fn crumbs(visit: &Visit, revision: &str, path: &str) -> Markup {
    let parts: Vec<(usize, &str)> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .scan(0, |at, part| {
            let end = *at + part.len();
            *at = end + 1;
            Some((end, part))
        })
        .collect();
    html! {
        nav.crumbs aria-label=(visit.say("Path", "路径")) {
            a href=(visit.at("tree", revision, "")) { (visit.repo().name) }
            @for (i, (end, part)) in parts.iter().enumerate() {
                " / "
                @if i + 1 == parts.len() { span aria-current="page" { (part) } } @else { a href=(visit.at("tree", revision, &path[..*end])) { (part) } }
            }
        }
    }
}

/// A file: text as text, tensors as a table, anything else to fetch.
pub async fn file(
    State(app): State<App>,
    Path((.., revision, path)): InnerPath,
    visit: Visit,
    Query(from): Query<From>,
) -> Response {
    let made = async {
        visit.may_read(&app).await?;
        let git = visit.git(&app);
        let commit = git.resolve(&revision).await?;
        let file = File::at(&app, visit.repo(), &git, commit, &path).await?;
        let content = if path.ends_with(".safetensors") {
            tensors::render(&app, &visit, &file, from.from).await?
        } else {
            text(&app, &visit, &file).await?
        };
        let body = html! {
            (crumbs(&visit, &revision, &file.path))
            p { (bytes(file.size)) " · " (visit.say("Revision ", "版本 ")) a href=(visit.at("tree", &revision, "")) { (revision) } }
            (fetch(&visit, &revision, &file.path))
            (content)
        };
        let name = file.path.rsplit('/').next().unwrap_or_default();
        Ok(visit.page(Tab::Files, name, &body))
    };
    visit.answer(made.await)
}

async fn text(app: &App, visit: &Visit, file: &File) -> Result<Markup, ApiError> {
    let shown = file.size.min(MAX_TEXT_BYTES);
    let bytes = file.bytes(app, 0..shown).await?;
    visit.note(app, shown);
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => Some(text),
        // Cut inside a character.
        Err(error) if error.error_len().is_none() && shown < file.size => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    let Some(text) = text.filter(|text| text.chars().all(plain)) else {
        return Ok(
            html! { p.empty { (visit.say("This is no text: fetch it to look at it.", "非文本文件：请下载查看。")) } },
        );
    };
    Ok(html! {
        pre.text tabindex="0" { code { (text) } }
        @if shown < file.size { p.muted { (visit.say("Only the beginning is shown.", "仅显示开头部分。")) } }
    })
}

/// How to fetch a file. What needs a token cannot be fetched by a link: the pages' cookie opens pages and nothing else.
fn fetch(visit: &Visit, revision: &str, path: &str) -> Markup {
    let (repo, base) = (visit.repo(), &visit.base);
    let revision = quoted(revision).replace('/', "%2F");
    let address = format!("/{}{}/resolve/{revision}/{}", repo.kind.prefix(), repo.full_name(), quoted(path));
    if repo.is_public() && repo.gate == Gate::Off {
        return html! { p { a href=(address) download { (visit.say("Download", "下载")) } } };
    }
    html! {
        details {
            summary { (visit.say("Download with a token", "用令牌下载")) }
            pre tabindex="0" { code {
                @if repo.kind == Kind::Model { "HF_ENDPOINT=" (base) " hf download " (repo.full_name()) " '" (path.replace('\'', "'\\''")) "'\n" }
                "curl -L -O -H \"Authorization: Bearer $HF_TOKEN\" '" (base) (address) "'"
            } }
        }
    }
}
