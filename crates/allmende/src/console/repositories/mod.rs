//! Pages of repositories: lists, cards, files, histories, discussions, rows and tensors.
//!
//! To see a repository is asked of [`see`], and to read what stands in its files of
//! [`access::may_read_files`], as at every other door; what is read is noted.

mod bucket;
mod compare;
mod data;
mod difference;
mod discussions;
mod files;
mod front;
mod history;
mod list;
mod tensors;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;

use super::pages::document;
use super::prose::quoted;
use super::session::Viewer;
use super::text::Lang;
use super::web::{Asked, fault, page};
use crate::account::Principal;
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::exchange::access;
use crate::extract::{Base, Path};
use crate::git::GitRepo;
use crate::git::refs::Ref;
use crate::repo::ops::{Seen, see};
use crate::repo::{Gate, Kind, Repo, RepoError, reads};

/// Branches and tags that are offered to choose from.
const MAX_REFS: usize = 200;

/// Routes of this group, below `/console/{lang}/r`.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/console/{lang}/r", get(list::page))
        .route("/console/{lang}/r/buckets/{space}/{name}", get(bucket::page))
        .route("/console/{lang}/r/{kind}/{space}/{name}", get(front::page))
        .route("/console/{lang}/r/{kind}/{space}/{name}/tree/{revision}", get(files::root))
        .route("/console/{lang}/r/{kind}/{space}/{name}/tree/{revision}/{*path}", get(files::folder))
        .route("/console/{lang}/r/{kind}/{space}/{name}/file/{revision}/{*path}", get(files::file))
        .route("/console/{lang}/r/{kind}/{space}/{name}/history/{revision}", get(history::page))
        .route("/console/{lang}/r/{kind}/{space}/{name}/commit/{revision}", get(history::commit))
        .route("/console/{lang}/r/{kind}/{space}/{name}/compare", get(compare::page))
        .route("/console/{lang}/r/{kind}/{space}/{name}/discussions", get(discussions::page))
        .route("/console/{lang}/r/{kind}/{space}/{name}/discussions/{num}", get(discussions::one))
        .route("/console/{lang}/r/{kind}/{space}/{name}/rows", get(data::page))
}

/// The words of a kind, for many.
const fn kinds(lang: Lang, kind: Kind) -> &'static str {
    match kind {
        Kind::Model => lang.say("Models", "模型"),
        Kind::Dataset => lang.say("Datasets", "数据集"),
        Kind::Space => lang.say("Spaces", "空间"),
        Kind::Code => lang.say("Code", "代码"),
        Kind::Kernel => lang.say("Kernels", "内核"),
        Kind::Bucket => lang.say("Buckets", "存储桶"),
    }
}

/// A part of a repository's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Card,
    Files,
    History,
    Discussions,
    Rows,
}

/// A request for a page of a repository that the caller may see.
struct Visit {
    asked: Asked,
    viewer: Option<Principal>,
    seen: Seen,
    /// The address that the reader knows this hub by.
    base: String,
}

#[derive(Deserialize)]
struct Named {
    kind: String,
    space: String,
    name: String,
}

impl FromRequestParts<App> for Visit {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let named = Path::<Named>::from_request_parts(parts, app).await;
        let named = named
            .map(|Path(named)| (Kind::parse(&named.kind).filter(|kind| kind.has_history()), named.space, named.name));
        Self::find(parts, app, named).await
    }
}

impl Visit {
    /// The repository of this kind and name, for whoever may see it.
    async fn find(
        parts: &mut Parts,
        app: &App,
        named: Result<(Option<Kind>, String, String), ApiError>,
    ) -> Result<Self, Response> {
        let asked = Asked::from_request_parts(parts, app).await?;
        let Ok(Base(base)) = Base::from_request_parts(parts, app).await;
        let found = async {
            let Viewer(viewer) = Viewer::from_request_parts(parts, app).await?;
            let (kind, space, name) = named?;
            let seen = match kind {
                Some(kind) => see(app, viewer.as_ref(), kind, &space, &name).await,
                None => Err(RepoError::NotFound),
            };
            match (seen, viewer) {
                (Ok(seen), viewer) => Ok((viewer, seen)),
                // Nobody learns what is there before they say who they are.
                (Err(RepoError::NotFound), None) => Err(ApiError::new(Code::Unauthenticated, "not signed in")),
                (Err(error), _) => Err(error.into()),
            }
        };
        match found.await {
            Ok((viewer, seen)) => Ok(Self { asked, viewer, seen, base }),
            Err(error) => Err(fault(&asked, &error)),
        }
    }

    const fn repo(&self) -> &Repo {
        &self.seen.repo
    }

    const fn say<'a>(&self, en: &'a str, zh: &'a str) -> &'a str {
        self.asked.lang.say(en, zh)
    }

    fn git(&self, app: &App) -> GitRepo {
        self.seen.git(app)
    }

    /// Refuses whoever may not read what stands in the files.
    async fn may_read(&self, app: &App) -> Result<(), ApiError> {
        Ok(access::may_read_files(app, self.viewer.as_ref(), self.repo()).await?)
    }

    /// Notes that so many bytes of files were shown.
    fn note(&self, app: &App, bytes: u64) {
        reads::note(app, self.viewer.as_ref(), self.repo(), bytes);
    }

    /// An address below this repository's.
    fn link(&self, rest: &str) -> String {
        let repo = self.repo();
        format!("/console/{}/r/{}/{}{rest}", self.asked.lang.code(), repo.kind.plural(), repo.full_name())
    }

    /// The address of a page of a revision, and of a path there.
    fn at(&self, what: &str, revision: &str, path: &str) -> String {
        let slash = if path.is_empty() { "" } else { "/" };
        self.link(&format!("/{what}/{}{slash}{}", quoted(revision).replace('/', "%2F"), quoted(path)))
    }

    /// The answer to the request: the page, or what went wrong as one.
    fn answer(&self, made: Result<Markup, ApiError>) -> Response {
        match made {
            Ok(markup) => page(StatusCode::OK, markup),
            Err(error) => fault(&self.asked, &error),
        }
    }

    /// The whole page around `body`.
    fn page(&self, tab: Tab, heading: &str, body: &Markup) -> Markup {
        let (lang, repo) = (self.asked.lang, self.repo());
        let mut tabs = vec![
            (Tab::Card, String::new(), self.say("Card", "卡片")),
            (Tab::Files, "/tree/main".to_owned(), self.say("Files", "文件")),
            (Tab::History, "/history/main".to_owned(), self.say("History", "历史")),
            (Tab::Discussions, "/discussions".to_owned(), self.say("Discussions", "讨论")),
        ];
        if !repo.kind.has_history() {
            tabs = vec![(Tab::Files, String::new(), self.say("Files", "文件"))];
        }
        if repo.kind == Kind::Dataset {
            tabs.insert(1, (Tab::Rows, "/rows".to_owned(), self.say("Rows", "数据行")));
        }
        let all = format!("/console/{}/r", lang.code());
        let above = html! {
            p.of {
                a href=(format!("{all}?kind={}", repo.kind.plural())) { (kinds(lang, repo.kind)) } " / "
                a href=(format!("{all}?kind={}&owner={}", repo.kind.plural(), repo.owner.name)) { (repo.owner.name) } " / "
                a href=(self.link("")) { (repo.name) }
            }
            nav.tabs aria-label=(self.say("Repository", "仓库")) {
                ul {
                    @for (of, path, word) in &tabs {
                        @let current = (*of == tab).then_some("page");
                        li { a href=(self.link(path)) aria-current=[current] { (word) } }
                    }
                }
            }
        };
        let title = format!("{heading} – {}", repo.full_name());
        let body = html! { h1 { (heading) } (body) };
        document(lang, &self.asked.path, &title, self.asked.signed_in, &above, &body)
    }

    /// What is said where the files may not be read: to members which clauses deny it, to others how to ask.
    fn closed(&self, error: &ApiError) -> Result<Markup, ApiError> {
        let problem = error.problem();
        if problem.status >= 500 {
            // A fault of the hub's is no word about rights.
            return Err(ApiError::new(error.code(), problem.detail));
        }
        let login = format!("/console/{}/login", self.asked.lang.code());
        let repo = self.repo();
        // Asking does not help against the terms.
        let asks = repo.gate != Gate::Off && self.viewer.is_some() && problem.clauses.is_empty();
        Ok(html! {
            div.notice {
                p { strong { (self.say("You may not read what stands in the files of this repository.", "您无权读取此仓库的文件内容。")) } }
                @if problem.status != 404 { p lang="en" { (problem.detail) } }
                @if !problem.clauses.is_empty() { p { (self.say("Clauses: ", "条款：")) (problem.clauses.join(self.say(", ", "、"))) } }
                @if let Some(hint) = &problem.hint { p lang="en" { (hint) } }
                @if asks {
                    p { (self.say("To ask for access:", "申请访问：")) }
                    pre tabindex="0" { code { "curl -X POST -H \"Authorization: Bearer $HF_TOKEN\" " (self.base) "/" (repo.kind.prefix()) (repo.full_name()) "/ask-access" } }
                }
                @if self.viewer.is_none() { p { a href=(login) { (self.say("Sign in", "登录")) } } }
            }
        })
    }

    /// Branches and tags to choose from, as links to the same page of each.
    async fn choice(&self, app: &App, what: &str, revision: &str) -> Result<Markup, ApiError> {
        let all = self.git(app).refs("refs/").await?;
        let of = |prefix: &'static str| {
            all.iter().filter_map(move |r: &Ref| r.name.strip_prefix(prefix)).take(MAX_REFS).collect::<Vec<_>>()
        };
        let groups = [(self.say("Branches", "分支"), of("refs/heads/")), (self.say("Tags", "标签"), of("refs/tags/"))];
        Ok(html! {
            details.choice {
                summary { (self.say("Revision ", "版本 ")) strong { (revision) } }
                @for (word, names) in groups.iter().filter(|(_, names)| !names.is_empty()) {
                    p { (word) ": " @for (i, name) in names.iter().enumerate() { @if i > 0 { ", " } a href=(self.at(what, name, "")) { (name) } } }
                }
            }
        })
    }
}

/// A number of bytes as people read it.
fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if value < 1_000 {
        return format!("{value} B");
    }
    let (mut unit, mut whole) = (0, value);
    while whole >= 1_000_000 && unit + 1 < UNITS.len() {
        whole /= 1_000;
        unit += 1;
    }
    format!("{}.{} {}", whole / 1_000, whole % 1_000 / 100, UNITS[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_read_well() {
        let cases = [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (999_999, "999.9 kB"), (1_000_000, "1.0 MB")];
        for (value, text) in cases {
            assert_eq!(super::bytes(value), text);
        }
        assert_eq!(super::bytes(u64::MAX), "18446.7 PB");
    }
}
