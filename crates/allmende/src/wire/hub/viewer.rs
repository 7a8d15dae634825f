//! Datasets looked into: what the public datasets-server answers, of the dataset repositories that are here.
//!
//! The same paths stand under `/datasets-server` and at the root, where clients look for them on a host of that name.

use axum::Json;
use axum::Router;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Base, HubError, There, principal};
use crate::app::App;
use crate::content::dataset::{Config, Format, Opened, Split, Table};
use crate::error::Code;
use crate::extract::Path;
use crate::repo::{Kind, RepoError};

/// Rows of a first look, and most rows of one answer.
const PAGE: u64 = 100;
/// Longest text of a first look, in characters.
const MAX_CELL_CHARS: usize = 10_000;

/// The routes of this group.
pub(super) fn routes() -> Router<App> {
    let all = || {
        Router::new()
            .route("/is-valid", get(is_valid))
            .route("/splits", get(splits))
            .route("/first-rows", get(first_rows))
            .route("/rows", get(rows))
            .route("/size", get(size))
            .route("/info", get(info))
            .route("/parquet", get(parquet))
    };
    Router::new()
        .nest("/datasets-server", all())
        .merge(all())
        .route("/api/{kind}/{space}/{name}/parquet", get(parquet_of))
        .route("/api/{kind}/{space}/{name}/parquet/{config}", get(parquet_of_config))
        .route("/api/{kind}/{space}/{name}/parquet/{config}/{split}", get(parquet_of_split))
}

/// A dataset whose files the caller may read, as its main branch is now.
struct Open {
    there: There,
    set: Opened,
}

impl Open {
    async fn of(app: &App, there: There) -> Result<Self, HubError> {
        there.may_read_files(app).await?;
        let set = Opened::of(app, &there.seen.repo).await?;
        Ok(Self { there, set })
    }

    fn name(&self) -> String {
        self.there.seen.repo.full_name()
    }

    async fn table<'a>(&'a self, app: &'a App, split: &Split) -> Result<Table<'a>, HubError> {
        Ok(self.set.table(app, &self.there.seen.repo, split).await?)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&self.set.commit.to_string()) {
            headers.insert("x-revision", value);
        }
        headers
    }

    fn find(&self, wanted: &Wanted) -> Result<(&Config, &Split), HubError> {
        self.set.find(wanted.config.as_deref(), wanted.split.as_deref()).map_err(|what| {
            HubError::new(Code::NotFound, format!("The {what} does not exist in the dataset."))
                .short("ResponseNotFound")
        })
    }

    /// All parts, of one configuration if it is named.
    fn parts(&self, config: Option<&str>) -> impl Iterator<Item = (&Config, &Split)> {
        let wanted = config.map(str::to_owned);
        let configs = self.set.configs.iter().filter(move |c| wanted.as_ref().is_none_or(|name| c.name == *name));
        configs.flat_map(|config| config.splits.iter().map(move |split| (config, split)))
    }
}

#[derive(Debug, Deserialize)]
struct Wanted {
    dataset: String,
    config: Option<String>,
    split: Option<String>,
    offset: Option<u64>,
    length: Option<u64>,
}

/// A question about a dataset, by its query.
struct Asked {
    open: Open,
    wanted: Wanted,
}

impl FromRequestParts<App> for Asked {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HubError> {
        let query = Query::<Wanted>::try_from_uri(&parts.uri);
        let Query(wanted) = query.map_err(|_| {
            HubError::new(Code::Unprocessable, "Parameter 'dataset' is required, and numbers are numbers")
        })?;
        let who = principal(parts, app).await?;
        let anonymous = who.is_none();
        let missing = || HubError::from(RepoError::NotFound).to_anyone(anonymous);
        let (space, name) = wanted.dataset.split_once('/').ok_or_else(missing)?;
        let there = There::find(app, who, Some(Kind::Dataset), space, name).await?;
        Ok(Self { open: Open::of(app, there).await?, wanted })
    }
}

async fn is_valid(asked: Asked) -> (HeaderMap, Json<Value>) {
    let any = !asked.open.set.configs.is_empty();
    let answer = json!({ "preview": any, "viewer": any, "search": false, "filter": false, "statistics": false });
    (asked.open.headers(), Json(answer))
}

async fn splits(asked: Asked) -> (HeaderMap, Json<Value>) {
    let Asked { open, wanted } = asked;
    let parts = open.parts(wanted.config.as_deref());
    let shown = parts.map(|(c, s)| json!({ "dataset": open.name(), "config": c.name, "split": s.name }));
    let shown: Vec<Value> = shown.collect();
    (open.headers(), Json(json!({ "splits": shown, "pending": [], "failed": [] })))
}

fn features(all: Vec<(String, Value)>) -> Vec<Value> {
    let one = |(i, (name, kind))| json!({ "feature_idx": i, "name": name, "type": kind });
    all.into_iter().enumerate().map(one).collect()
}

/// Cuts long texts, and says whether it did.
fn cut(value: &mut Value) -> bool {
    match value {
        Value::String(text) if text.len() > MAX_CELL_CHARS => {
            *text = text.chars().take(MAX_CELL_CHARS).collect();
            true
        }
        Value::Array(values) => values.iter_mut().fold(false, |any, value| cut(value) | any),
        Value::Object(map) => map.values_mut().fold(false, |any, value| cut(value) | any),
        _ => false,
    }
}

fn shown_rows(rows: Vec<Map<String, Value>>, offset: u64, short: bool) -> Vec<Value> {
    let one = |(i, mut row): (u64, Map<String, Value>)| {
        let mut truncated = Vec::new();
        if short {
            for (name, value) in &mut row {
                if cut(value) {
                    truncated.push(name.clone());
                }
            }
        }
        json!({ "row_idx": i, "row": row, "truncated_cells": truncated })
    };
    (offset..).zip(rows).map(one).collect()
}

/// The beginning of a part, and what its columns hold.
async fn first_rows(State(app): State<App>, asked: Asked) -> Result<(HeaderMap, Json<Value>), HubError> {
    let Asked { open, wanted } = asked;
    let (config, split) = open.find(&wanted)?;
    let table = open.table(&app, split).await?;
    let page = table.page(0, PAGE).await?;
    let count = table.count().await?;
    open.there.note(&app, page.size_bytes);
    let truncated = page.partial || count.partial || count.rows > page.rows.len() as u64;
    let answer = json!({
        "dataset": open.name(), "config": config.name, "split": split.name,
        "features": features(table.features().await?), "rows": shown_rows(page.rows, 0, true), "truncated": truncated,
    });
    Ok((open.headers(), Json(answer)))
}

/// Some rows of a part.
async fn rows(State(app): State<App>, asked: Asked) -> Result<(HeaderMap, Json<Value>), HubError> {
    let Asked { open, wanted } = asked;
    let (offset, length) = (wanted.offset.unwrap_or(0), wanted.length.unwrap_or(PAGE));
    if length > PAGE {
        return Err(HubError::new(Code::Unprocessable, format!("Parameter 'length' must not be greater than {PAGE}")));
    }
    let (_, split) = open.find(&wanted)?;
    let table = open.table(&app, split).await?;
    let page = table.page(offset, length).await?;
    let count = table.count().await?;
    open.there.note(&app, page.size_bytes);
    let answer = json!({
        "features": features(table.features().await?), "rows": shown_rows(page.rows, offset, false),
        "num_rows_total": count.rows, "num_rows_per_page": PAGE, "partial": page.partial || count.partial,
    });
    Ok((open.headers(), Json(answer)))
}

/// What a part amounts to.
struct Sized {
    config: String,
    split: String,
    bytes: u64,
    parquet_bytes: u64,
    rows: u64,
    columns: usize,
    partial: bool,
}

async fn sized(app: &App, open: &Open, config: Option<&str>) -> Result<Vec<Sized>, HubError> {
    let mut all = Vec::new();
    for (config, split) in open.parts(config) {
        let table = open.table(app, split).await?;
        let (count, columns) = (table.count().await?, table.features().await?.len());
        let bytes = open.set.size_of(split);
        let parquet_bytes = if split.format == Format::Parquet { bytes } else { 0 };
        let (config, split) = (config.name.clone(), split.name.clone());
        all.push(Sized { config, split, bytes, parquet_bytes, rows: count.rows, columns, partial: count.partial });
    }
    Ok(all)
}

/// Bytes and rows of a dataset, of its configurations, and of their parts.
async fn size(State(app): State<App>, asked: Asked) -> Result<(HeaderMap, Json<Value>), HubError> {
    let Asked { open, wanted } = asked;
    let all = sized(&app, &open, wanted.config.as_deref()).await?;
    let name = open.name();
    let of = |parts: &[&Sized]| {
        let sum = |of: &dyn Fn(&Sized) -> u64| parts.iter().map(|part| of(part)).sum::<u64>();
        json!({
            "dataset": name, "num_bytes_original_files": sum(&|p| p.bytes), "num_bytes_memory": sum(&|p| p.bytes),
            "num_bytes_parquet_files": sum(&|p| p.parquet_bytes), "num_rows": sum(&|p| p.rows),
            "estimated_num_rows": null,
        })
    };
    let with = |mut value: Value, more: Value| {
        if let (Some(map), Value::Object(more)) = (value.as_object_mut(), more) {
            map.extend(more);
        }
        value
    };
    let mut names: Vec<&str> = all.iter().map(|part| part.config.as_str()).collect();
    names.dedup();
    let by_config = names.iter().map(|config| {
        let parts: Vec<&Sized> = all.iter().filter(|part| part.config == *config).collect();
        let columns = parts.first().map_or(0, |part| part.columns);
        with(of(&parts), json!({ "config": config, "num_columns": columns }))
    });
    let by_split = all.iter().map(|part| {
        with(of(&[part]), json!({ "config": part.config, "split": part.split, "num_columns": part.columns }))
    });
    let (by_config, by_split): (Vec<Value>, Vec<Value>) = (by_config.collect(), by_split.collect());
    let whole = of(&all.iter().collect::<Vec<_>>());
    let partial = all.iter().any(|part| part.partial);
    let answer = json!({
        "size": { "dataset": whole, "configs": by_config, "splits": by_split },
        "pending": [], "failed": [], "partial": partial,
    });
    Ok((open.headers(), Json(answer)))
}

/// What `datasets` wants to know of a dataset's configurations; of one alone if it is named.
async fn info(State(app): State<App>, asked: Asked) -> Result<(HeaderMap, Json<Value>), HubError> {
    let Asked { open, wanted } = asked;
    let (mut infos, mut partial) = (Map::new(), false);
    for config in open.set.configs.iter().filter(|c| wanted.config.as_ref().is_none_or(|name| c.name == *name)) {
        let all = sized(&app, &open, Some(&config.name)).await?;
        partial |= all.iter().any(|part| part.partial);
        let Some(first) = config.splits.first() else { continue };
        let columns: Map<String, Value> = open.table(&app, first).await?.features().await?.into_iter().collect();
        let name = open.there.seen.repo.name.as_str();
        let splits: Map<String, Value> = all
            .iter()
            .map(|p| {
                let split =
                    json!({ "name": p.split, "num_bytes": p.bytes, "num_examples": p.rows, "dataset_name": name });
                (p.split.clone(), split)
            })
            .collect();
        let bytes: u64 = all.iter().map(|part| part.bytes).sum();
        let shown = json!({
            "description": "", "citation": "", "homepage": "", "license": "", "features": columns,
            "builder_name": first.format.builder(), "dataset_name": name, "config_name": config.name,
            "version": { "version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0 }, "splits": splits,
            "download_size": bytes, "dataset_size": bytes,
        });
        infos.insert(config.name.clone(), shown);
    }
    let infos = match &wanted.config {
        Some(name) => infos.remove(name).unwrap_or(Value::Null),
        None => Value::Object(infos),
    };
    let answer = json!({ "dataset_info": infos, "pending": [], "failed": [], "partial": partial });
    Ok((open.headers(), Json(answer)))
}

fn address(base: &str, open: &Open, path: &str) -> String {
    format!("{base}/datasets/{}/resolve/main/{}", open.name(), super::tree::quoted(path))
}

/// The parquet files of a dataset. What is written in another way has none: nothing is written anew here.
async fn parquet(Base(base): Base, asked: Asked) -> (HeaderMap, Json<Value>) {
    let Asked { open, wanted } = asked;
    let mut files = Vec::new();
    for (config, split) in open.parts(wanted.config.as_deref()).filter(|(_, s)| s.format == Format::Parquet) {
        for path in &split.files {
            let size = open.set.sizes.iter().find(|(known, _)| known == path).map(|(_, size)| *size);
            files.push(json!({
                "dataset": open.name(), "config": config.name, "split": split.name,
                "url": address(&base, &open, path), "filename": path.rsplit('/').next(), "size": size,
            }));
        }
    }
    (open.headers(), Json(json!({ "parquet_files": files, "pending": [], "failed": [], "partial": false })))
}

/// The addresses of parquet files by configuration and part.
fn listed(base: &str, open: &Open) -> Map<String, Value> {
    let mut all = Map::new();
    for (config, split) in open.parts(None).filter(|(_, split)| split.format == Format::Parquet) {
        let urls: Vec<Value> = split.files.iter().map(|path| address(base, open, path).into()).collect();
        let of = all.entry(config.name.clone()).or_insert_with(|| Value::Object(Map::new()));
        if let Some(map) = of.as_object_mut() {
            map.insert(split.name.clone(), urls.into());
        }
    }
    all
}

/// What stands under these names in the list of parquet files.
async fn part_of(app: &App, there: There, base: &str, names: &[&str]) -> Result<Json<Value>, HubError> {
    let missing = || HubError::new(Code::NotFound, "no parquet files of this name").short("EntryNotFound");
    if there.seen.repo.kind != Kind::Dataset {
        return Err(missing());
    }
    let open = Open::of(app, there).await?;
    let mut found = Value::Object(listed(base, &open));
    for name in names {
        found = found.get_mut(*name).map(Value::take).ok_or_else(missing)?;
    }
    Ok(Json(found))
}

async fn parquet_of(State(app): State<App>, Base(base): Base, there: There) -> Result<Json<Value>, HubError> {
    part_of(&app, there, &base, &[]).await
}

async fn parquet_of_config(
    State(app): State<App>,
    Path((_, _, _, config)): Path<(String, String, String, String)>,
    Base(base): Base,
    there: There,
) -> Result<Json<Value>, HubError> {
    part_of(&app, there, &base, &[&config]).await
}

async fn parquet_of_split(
    State(app): State<App>,
    Path((_, _, _, config, split)): Path<(String, String, String, String, String)>,
    Base(base): Base,
    there: There,
) -> Result<Json<Value>, HubError> {
    part_of(&app, there, &base, &[&config, &split]).await
}
