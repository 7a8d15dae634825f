//! What the hub understands of a repository's files: tensors and their number, pickles, licences.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Map, Value, json};

use super::repos::url_pairs;
use super::{Base, HubError, There, commit_of};
use crate::app::App;
use crate::content::compare::{self, Fate, MAX_PAGE, Pair, Placed};
use crate::content::file::File;
use crate::content::{ContentError, licence, pickle, tensors};
use crate::error::Code;
use crate::extract::Path;
use crate::git::GitRepo;
use crate::git::tree::Entry;
use crate::repo::Kind;
use crate::repo::card::Head;
use allmende_formats::safetensors::{Summary, TensorInfo};

/// Tensors in one page, unless something else is asked for.
const PAGE: usize = 100;

/// The routes of this group.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/{kind}/{space}/{name}/tensors/{revision}/{*path}", get(listing))
        .route("/api/{kind}/{space}/{name}/tensors-diff/{range}", get(difference))
        .route("/api/{kind}/{space}/{name}/safetensors-metadata/{*path}", get(sharded))
}

fn shown(summary: &Summary) -> Value {
    json!({ "parameters": summary.parameters, "total": summary.total() })
}

/// How many parameters a model has, for whoever may read its files.
pub(super) async fn parameters(
    app: &App,
    there: &There,
    git: &GitRepo,
    entries: &[Entry],
) -> Result<Option<Value>, HubError> {
    let repo = &there.seen.repo;
    let counts = entries.iter().any(|entry| matches!(entry.path.as_str(), tensors::SINGLE | tensors::INDEX));
    if repo.kind != Kind::Model || !counts || there.may_read_files(app).await.is_err() {
        return Ok(None);
    }
    Ok(tensors::parameters(app, repo, git, entries).await?.as_ref().map(shown))
}

/// What stands under our own key: files that run code, and what the licences say to each other.
pub(super) async fn own(app: &App, there: &There, head: &Head, entries: &[Entry]) -> Result<Value, HubError> {
    let repo = &there.seen.repo;
    let files = pickle::among(app, repo, entries).await?;
    let files: Vec<Value> = files.into_iter().map(|(path, why)| json!({ "path": path, "why": why })).collect();
    let mut own = json!({ "pickles": { "allowed": repo.settings.pickles_allowed, "files": files } });
    if let (Some(card), Some(map)) = (&head.card, own.as_object_mut()) {
        let verdict = licence::of(app, there.principal.as_ref(), repo.kind, card).await?;
        let owed = verdict.obligations.iter().map(|(obligation, sources)| {
            json!({ "obligation": obligation.as_str(), "text": obligation.text(), "sources": sources })
        });
        let owed: Vec<Value> = owed.collect();
        map.insert(
            "licence".to_owned(),
            json!({ "answer": verdict.answer.as_str(), "reasons": verdict.reasons, "obligations": owed }),
        );
    }
    Ok(own)
}

/// What a query asks of a list of tensors.
struct Page {
    limit: usize,
    start: usize,
    pairs: Vec<(String, String)>,
}

impl Page {
    fn of(query: Option<String>) -> Self {
        let pairs = url_pairs(&query.unwrap_or_default());
        let find = |name: &str| pairs.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.parse().ok());
        Self { limit: find("limit").unwrap_or(PAGE).clamp(1, MAX_PAGE), start: find("cursor").unwrap_or(0), pairs }
    }

    fn flag(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, value)| key == name && matches!(value.as_str(), "true" | "True" | "1"))
    }

    /// The header that leads to what comes from `next` on.
    fn headers(&self, base: &str, path: &str, next: Option<usize>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(next) = next else { return headers };
        let all = if self.flag("all") { "&all=true" } else { "" };
        let link = format!("<{base}{path}?limit={}{all}&cursor={next}>; rel=\"next\"", self.limit);
        if let Ok(value) = link.parse() {
            headers.insert(header::LINK, value);
        }
        headers
    }
}

fn tensor(tensor: &TensorInfo) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("dtype".to_owned(), tensor.dtype.as_str().into());
    map.insert("shape".to_owned(), tensor.shape.clone().into());
    map.insert("parameters".to_owned(), tensor.elements().into());
    map.insert("size".to_owned(), tensor.size_bytes().into());
    map
}

/// The tensors of one safetensors file, in the order of its payload, a page at a time.
async fn listing(
    State(app): State<App>,
    Path((_, _, _, revision, path)): Path<(String, String, String, String, String)>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
    uri: axum::http::Uri,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    there.may_read_files(&app).await?;
    let git = there.git(&app);
    let commit = commit_of(&git, &revision).await?;
    let file = File::at(&app, &there.seen.repo, &git, commit, &path).await?;
    let layout = tensors::layout(&app, &file).await?;
    there.note(&app, layout.header_bytes);
    let page = Page::of(query);
    let mut whole = Summary::default();
    whole.add(&layout);
    let shown_tensors = layout.tensors.iter().skip(page.start).take(page.limit).map(|info| {
        let mut map = tensor(info);
        map.insert("name".to_owned(), info.name.clone().into());
        map.insert("offsets".to_owned(), json!([info.start, info.end]));
        Value::Object(map)
    });
    let shown_tensors: Vec<Value> = shown_tensors.collect();
    let next = page.start.saturating_add(page.limit);
    let next = (next < layout.tensors.len()).then_some(next);
    let metadata: Map<String, Value> = layout.metadata.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
    let answer = json!({
        "path": file.path, "commit": commit.to_string(), "size": file.size, "headerSize": layout.header_bytes,
        "metadata": metadata, "parameters": whole.parameters, "total": whole.total(), "count": layout.tensors.len(),
        "tensors": shown_tensors,
    });
    Ok((page.headers(&base, uri.path(), next), Json(answer)))
}

fn side(files: &[(File, u64)], placed: Option<&Placed>) -> Option<Value> {
    let placed = placed?;
    let mut map = tensor(&placed.tensor);
    let path = files.get(placed.file).map(|(file, _)| file.path.clone());
    map.insert("file".to_owned(), path.into());
    Some(Value::Object(map))
}

/// What became of the tensors between two revisions, a page at a time: added, removed, reshaped, or with so many bytes
/// changed. Tensors whose bytes are equal are counted, and shown with `all=true`.
async fn difference(
    State(app): State<App>,
    Path((.., range)): Path<(String, String, String, String)>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
    uri: axum::http::Uri,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    there.may_read_files(&app).await?;
    let two = || HubError::new(Code::BadRequest, "name two revisions, with three points between them");
    let (old, new) = range.split_once("...").ok_or_else(two)?;
    let git = there.git(&app);
    let (old, new) = (commit_of(&git, old).await?, commit_of(&git, new).await?);
    let compared = compare::headers(&app, &there.seen.repo, &git, old, new).await?;
    let page = Page::of(query);
    let found = compared.page(&app, page.start, page.limit, page.flag("all")).await?;
    there.note(&app, found.compared_bytes());
    let tensors: Vec<Value> = found.tensors.iter().map(|(pair, fate)| changed(&compared, pair, *fate)).collect();
    let paths = |files: &[(File, u64)]| files.iter().map(|(file, _)| file.path.clone()).collect::<Vec<_>>();
    let answer = json!({
        "base": old.to_string(), "head": new.to_string(),
        "files": { "base": paths(&compared.base), "head": paths(&compared.head), "unchanged": compared.unchanged_files },
        "count": compared.pairs.len(), "equalHere": found.equal, "tensors": tensors, "partial": found.next.is_some(),
    });
    Ok((page.headers(&base, uri.path(), found.next), Json(answer)))
}

fn changed(compared: &compare::Compared, pair: &Pair, fate: Fate) -> Value {
    let (base, head) = (side(&compared.base, pair.base.as_ref()), side(&compared.head, pair.head.as_ref()));
    let placed = pair.head.as_ref().or(pair.base.as_ref());
    let name = placed.map(|placed| placed.tensor.name.as_str());
    let size = placed.map_or(0, |placed| placed.tensor.size_bytes());
    let bytes = fate
        .bytes()
        .map(|b| json!({ "compared": b.compared, "differing": b.differing, "partial": b.compared != size }));
    json!({ "name": name, "status": fate.as_str(), "base": base, "head": head, "bytes": bytes })
}

/// Every header of a sharded model on the main branch, as the files have them, one after the other.
async fn sharded(
    State(app): State<App>,
    Path((.., path)): Path<(String, String, String, String)>,
    there: There,
) -> Result<Response, HubError> {
    there.may_read_files(&app).await?;
    let git = there.git(&app);
    let commit = commit_of(&git, "main").await?;
    let (index, files) = tensors::shards(&app, &there.seen.repo, &git, commit, &path).await?;
    let mut first = format!("{{\"index\":{},\"headers\":{{", json!({ "metadata": index.metadata })).into_bytes();
    // The first header is read before the answer begins: what is no model is refused, and not broken off.
    let mut files = files.into_iter();
    if let Some(file) = files.next() {
        first.extend(header(&app, &there, &file, true).await?);
    }
    let there = Arc::new(there);
    let rest = futures::stream::iter(files).then(move |file| {
        let (app, there) = (app.clone(), Arc::clone(&there));
        async move { header(&app, &there, &file, false).await.map(Bytes::from) }
    });
    let body = futures::stream::iter([Ok(Bytes::from(first))])
        .chain(rest)
        .chain(futures::stream::iter([Ok(Bytes::from_static(b"}}"))]));
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

/// A file's name and its header, as a member of an object.
async fn header(app: &App, there: &There, file: &File, first: bool) -> Result<Vec<u8>, ContentError> {
    let layout = tensors::layout(app, file).await?;
    let json = file.bytes(app, tensors::header_range(&layout)).await?;
    there.note(app, json.len() as u64);
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let mut all = format!("{}{}:", if first { "" } else { "," }, Value::from(name)).into_bytes();
    all.extend(json);
    Ok(all)
}
