//! The list of repositories, by kind, owner, words and tag.

use allmende_core::time::Timestamp;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{bytes, kinds};
use crate::app::App;
use crate::console::format::{number, time};
use crate::console::pages::document;
use crate::console::prose::quoted;
use crate::console::session::Viewer;
use crate::console::web::{self, Asked, fault};
use crate::error::ApiError;
use crate::extract::Query;
use crate::repo::card::Head;
use crate::repo::find::{self, Filter, Found};
use crate::repo::{Gate, Kind, Repo};

/// Repositories on a page.
const PAGE: usize = 30;
/// Tags that are shown of each.
const MAX_TAGS: usize = 6;
/// Longest word of a filter, in characters.
const MAX_WORD_CHARS: usize = 200;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    kind: String,
    owner: String,
    search: String,
    tag: String,
    before: String,
}

impl Wanted {
    fn kind(&self) -> Kind {
        Kind::parse(&self.kind).unwrap_or(Kind::Model)
    }

    fn filter(&self) -> Filter {
        let word = |text: &str| {
            let text: String = text.trim().chars().take(MAX_WORD_CHARS).collect();
            Some(text).filter(|text| !text.is_empty())
        };
        Filter {
            author: word(&self.owner).map(|owner| owner.to_ascii_lowercase()),
            search: word(&self.search).map(|text| text.to_lowercase()),
            tags: word(&self.tag).into_iter().collect(),
            limit: PAGE,
            before: self.before.split_once('-').and_then(|(at, id)| Some((Timestamp(at.parse().ok()?), id.to_owned()))),
        }
    }

    /// The same question of another kind, from its beginning.
    fn of(&self, kind: Kind) -> String {
        let mut query = format!("?kind={}", kind.plural());
        for (name, value) in [("owner", &self.owner), ("search", &self.search), ("tag", &self.tag)] {
            if !value.trim().is_empty() {
                query.push_str(&format!("&{name}={}", quoted(value.trim())));
            }
        }
        query
    }
}

/// Repositories that the caller may see.
pub async fn page(
    State(app): State<App>,
    asked: Asked,
    viewer: Result<Viewer, ApiError>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let found = async {
        let Viewer(viewer) = viewer?;
        let found = find::list(&app, viewer.as_ref(), wanted.kind(), &wanted.filter()).await?;
        Ok::<_, ApiError>((viewer.map(|viewer| viewer.account.name.to_string()), found))
    };
    match found.await {
        Ok((viewer, found)) => web::page(StatusCode::OK, render(&asked, viewer.as_deref(), &wanted, &found)),
        Err(error) => fault(&asked, &error),
    }
}

fn render(asked: &Asked, viewer: Option<&str>, wanted: &Wanted, found: &Found) -> Markup {
    let (lang, kind) = (asked.lang, wanted.kind());
    let say = |en, zh| lang.say(en, zh);
    let fields = [
        ("search", say("Name holds", "名称包含"), &wanted.search),
        ("owner", say("Owner", "所有者"), &wanted.owner),
        ("tag", say("Tag", "标签"), &wanted.tag),
    ];
    let body = html! {
        p.eyebrow { @match viewer {
            Some(name) => { (say("Reading as ", "当前身份：")) strong { (name) } },
            None => (say("Public repositories; sign in to see those of your own", "公开仓库；登录后可见您自己的仓库")),
        } }
        h1 { (say("Repositories", "仓库")) }
        nav.tabs aria-label=(say("Kind", "类别")) { ul {
            @for of in Kind::ALL {
                @let current = (of == kind).then_some("page");
                li { a href=(wanted.of(of)) aria-current=[current] { (kinds(lang, of)) } }
            }
        } }
        form.filter method="get" action=(format!("/console/{}/r", lang.code())) {
            input type="hidden" name="kind" value=(kind.plural());
            @for (name, word, value) in fields {
                label { span { (word) } input name=(name) value=(value) maxlength=(MAX_WORD_CHARS); }
            }
            button type="submit" { (say("Show", "查看")) }
        }
        @if found.items.is_empty() { p.empty { (say("Nothing here that you may see.", "没有您可查看的内容。")) } }
        ul.cards.repositories { @for (repo, head) in &found.items { li { (item(asked, repo, head)) } } }
        @if let Some((at, id)) = &found.next {
            p.pager { a href=(format!("{}&before={}-{id}", wanted.of(kind), at.0)) { (say("More", "更多")) } }
        }
    };
    document(lang, &asked.path, say("Repositories", "仓库"), asked.signed_in, &html! {}, &body)
}

fn item(asked: &Asked, repo: &Repo, head: &Head) -> Markup {
    let lang = asked.lang;
    let say = |en, zh| lang.say(en, zh);
    let link = format!("/console/{}/r/{}/{}", lang.code(), repo.kind.plural(), repo.full_name());
    html! {
        h2 { a href=(link) { (repo.full_name()) } }
        p.labels {
            (marks(asked, repo))
            @for tag in head.tags.iter().take(MAX_TAGS) { span.tag { (cut(tag, 60)) } " " }
        }
        p.muted {
            (say("changed ", "更新于 ")) (time(&repo.modified_at.to_string())) " · "
            @if repo.kind.has_history() { (bytes(head.used_bytes)) " · " }
            (number(repo.likes)) " " (say("likes", "赞"))
        }
    }
}

/// Small labels for what keeps people out.
pub(super) fn marks(asked: &Asked, repo: &Repo) -> Markup {
    let say = |en, zh| asked.lang.say(en, zh);
    html! {
        @if let Some(collaboration) = &repo.collaboration { span.status.live { (say("under the terms of ", "受条款约束：")) (collaboration) } " " }
        @else if repo.private { span.status { (say("private", "私有")) } " " }
        @if repo.gate != Gate::Off { span.status { (say("on request", "需申请")) } " " }
    }
}

/// A text of at most so many characters.
pub(super) fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars).chain(['…']).collect()
}
