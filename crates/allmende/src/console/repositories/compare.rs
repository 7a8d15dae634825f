//! What became of the tensors between two revisions.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::tensors::form;
use super::{Tab, Visit};
use crate::app::App;
use crate::console::format::{number, short, table};
use crate::console::prose::quoted;
use crate::content::compare::{self, Fate, Pair, Placed};
use crate::error::ApiError;
use crate::extract::Query;

/// Tensors on a page.
const PAGE: usize = 200;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    base: String,
    head: String,
    from: usize,
}

/// The difference of two revisions, tensor by tensor.
pub async fn page(State(app): State<App>, visit: Visit, Query(wanted): Query<Wanted>) -> Response {
    visit.answer(render(&app, &visit, &wanted).await)
}

async fn render(app: &App, visit: &Visit, wanted: &Wanted) -> Result<Markup, ApiError> {
    visit.may_read(app).await?;
    let say = |en, zh| visit.say(en, zh);
    let git = visit.git(app);
    let head_name = if wanted.head.is_empty() { "main" } else { &wanted.head };
    let (old, new) = (git.resolve(&wanted.base).await?, git.resolve(head_name).await?);
    let compared = compare::headers(app, visit.repo(), &git, old, new).await?;
    let page = compared.page(app, wanted.from, PAGE, false).await?;
    visit.note(app, page.compared_bytes());
    let link = |revision: &str| visit.at("commit", revision, "");
    let (old, new) = (old.to_string(), new.to_string());
    let body = html! {
        p { (say("From ", "从 ")) a href=(link(&old)) { (short(&old)) } (say(" to ", " 到 ")) a href=(link(&new)) { (short(&new)) } " · "
            (number(page.equal)) " " (say("tensors on this page are equal", "个张量相同")) " · "
            (number(compared.unchanged_files)) " " (say("files are the same", "个文件相同")) }
        @if page.tensors.is_empty() { p.empty { (say("No tensor differs here.", "此处没有张量变动。")) } }
        @else { (table(say("Tensors that differ", "有变动的张量"),
            &html! { th scope="col" { (say("Name", "名称")) } th scope="col" { (say("What", "变动")) } th scope="col" { (say("Before", "之前")) } th scope="col" { (say("After", "之后")) } th.num scope="col" { (say("Bytes that differ", "变动字节")) } },
            &html! { @for (pair, fate) in &page.tensors { (row(visit, pair, *fate)) } })) }
        @if let Some(next) = page.next {
            p.pager { a href=(format!("?base={}&head={}&from={next}", quoted(&old), quoted(&new))) { (say("More", "更多")) } }
        }
    };
    Ok(visit.page(Tab::History, say("Difference of tensors", "张量差异"), &body))
}

fn row(visit: &Visit, pair: &Pair, fate: Fate) -> Markup {
    let say = |en, zh| visit.say(en, zh);
    let (tone, word) = match fate {
        Fate::Added => ("good", say("added", "新增")),
        Fate::Removed => ("bad", say("removed", "删除")),
        Fate::Reshaped => ("live", say("reshaped", "形状改变")),
        Fate::Changed(_) => ("live", say("changed", "已改变")),
        Fate::Equal(_) => ("calm", say("equal", "相同")),
        Fate::Unknown(_) => ("calm", say("equal as far as compared", "已比较部分相同")),
    };
    let side = |placed: Option<&Placed>| placed.map_or_else(String::new, |placed| form(&placed.tensor));
    let name = pair.head.as_ref().or(pair.base.as_ref()).map_or("", |placed| placed.tensor.name.as_str());
    html! { tr {
        th scope="row" { code { (name) } }
        td { span class={ "status " (tone) } { (word) } }
        td { (side(pair.base.as_ref())) } td { (side(pair.head.as_ref())) }
        td.num { @if let Some(bytes) = fate.bytes() { (number(bytes.differing)) " / " (number(bytes.compared)) } }
    } }
}
