//! Rows of a dataset.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::list::cut;
use super::{Tab, Visit};
use crate::app::App;
use crate::console::format::{number, table};
use crate::console::prose::quoted;
use crate::content::ContentError;
use crate::content::dataset::{Config, Opened, Split};
use crate::error::{ApiError, Code};
use crate::extract::Query;
use crate::repo::Kind;

/// Rows on a page.
const PAGE: u64 = 50;
/// Longest cell, in characters.
const MAX_CELL_CHARS: usize = 200;
/// Most columns that are shown.
const MAX_COLUMNS: usize = 60;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    config: Option<String>,
    split: Option<String>,
    from: u64,
}

/// Some rows of a part of a dataset.
pub async fn page(State(app): State<App>, visit: Visit, Query(wanted): Query<Wanted>) -> Response {
    visit.answer(render(&app, &visit, &wanted).await)
}

fn link(config: &Config, split: &Split, from: u64) -> String {
    format!("?config={}&split={}&from={from}", quoted(&config.name), quoted(&split.name))
}

async fn render(app: &App, visit: &Visit, wanted: &Wanted) -> Result<Markup, ApiError> {
    let say = |en, zh| visit.say(en, zh);
    if visit.repo().kind != Kind::Dataset {
        return Err(ApiError::not_found("this page"));
    }
    visit.may_read(app).await?;
    let set = Opened::of(app, visit.repo()).await?;
    let parts = set.configs.iter().flat_map(|config| config.splits.iter().map(move |split| (config, split)));
    let body = match set.find(wanted.config.as_deref(), wanted.split.as_deref()) {
        Ok((config, split)) => html! {
            details.choice open[wanted.config.is_none()] {
                summary { (say("Part ", "部分 ")) strong { (config.name) " / " (split.name) } }
                p { @for (i, (of, part)) in parts.enumerate() { @if i > 0 { ", " } a href=(link(of, part, 0)) { (of.name) " / " (part.name) } } }
            }
            (rows(app, visit, &set, (config, split), wanted.from).await?)
        },
        Err(_) if set.configs.is_empty() => {
            html! { p.empty { (say("No file here is read as rows.", "没有可按行读取的文件。")) } }
        }
        Err(what) => return Err(ApiError::new(Code::NotFound, format!("the dataset has no such {what}"))),
    };
    Ok(visit.page(Tab::Rows, say("Rows", "数据行"), &body))
}

async fn rows(
    app: &App,
    visit: &Visit,
    set: &Opened,
    (config, split): (&Config, &Split),
    from: u64,
) -> Result<Markup, ApiError> {
    let say = |en, zh| visit.say(en, zh);
    let read = async {
        let rows = set.table(app, visit.repo(), split).await?;
        Ok((rows.page(from, PAGE).await?, rows.count().await?, rows.features().await?))
    };
    let (page, count, features) = match read.await {
        Ok(read) => read,
        Err(ContentError::NotUnderstood(why)) => {
            return Ok(html! { div.notice.bad { p lang="en" { (cut(&why, 500)) } } });
        }
        Err(error) => return Err(ApiError::from(error)),
    };
    let names: Vec<&String> = features.iter().map(|(name, _)| name).take(MAX_COLUMNS).collect();
    let shown: Vec<Vec<String>> =
        page.rows.iter().map(|row| names.iter().map(|name| cell(row.get(*name))).collect()).collect();
    visit.note(app, shown.iter().flatten().map(|cell| cell.len() as u64).sum());
    let next = from.saturating_add(page.rows.len() as u64);
    let caption = format!("{} / {}", config.name, split.name);
    Ok(html! {
        (table(&caption,
            &html! { th.num scope="col" { "#" } @for name in &names { th scope="col" { (cut(name, 60)) } } },
            &html! { @for (i, row) in (from..).zip(&shown) { tr { th.num scope="row" { (i) } @for cell in row { td.cell { (cell) } } } } }))
        @if features.len() > MAX_COLUMNS { p.muted { (features.len() - MAX_COLUMNS) " " (say("more columns are not shown", "列未显示")) } }
        p.pager {
            @if from > 0 { a href=(link(config, split, from.saturating_sub(PAGE))) { (say("Before", "上一页")) } }
            span.muted { @if count.partial { (say("at least ", "至少 ")) } (number(count.rows)) " " (say("rows", "行")) }
            @if next < count.rows && !page.rows.is_empty() { a href=(link(config, split, next)) { (say("Next", "下一页")) } }
        }
    })
}

/// A value as it stands in a cell.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cut(text, MAX_CELL_CHARS),
        Some(other) => cut(&other.to_string(), MAX_CELL_CHARS),
    }
}
