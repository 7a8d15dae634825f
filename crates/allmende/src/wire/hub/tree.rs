//! Files and folders of a revision.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use super::repos::url_pairs;
use super::{Base, HubError, There, commit_of, info, iso_s};
use crate::app::App;
use crate::error::Code;
use crate::extract::{Body, Path};
use crate::git::tree::{Entry, EntryKind};
use crate::git::{GitRepo, Oid, RepoPath};

/// Entries in one page, and with what last changed each.
const PAGE: usize = 1_000;
const EXPANDED_PAGE: usize = 50;
/// Most paths in one question.
const MAX_PATHS: usize = 1_000;

async fn shown(git: &GitRepo, commit: Oid, entries: &mut [Entry], expand: bool) -> Result<Vec<Value>, HubError> {
    git.pointers(entries).await?;
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries.iter() {
        let kind = if entry.kind == EntryKind::Folder { "directory" } else { "file" };
        let mut value =
            json!({ "type": kind, "oid": entry.oid.to_string(), "size": entry.file_size(), "path": entry.path });
        if let Some(map) = value.as_object_mut() {
            if let Some(lfs) = info::lfs(entry) {
                map.insert("lfs".to_owned(), lfs);
            }
            if expand && let Some(last) = git.last_change(commit, &entry.path).await? {
                let last = json!({ "id": last.oid.to_string(), "title": last.title, "date": iso_s(last.at_s) });
                map.insert("lastCommit".to_owned(), last);
                if kind == "file" {
                    map.insert("securityFileStatus".to_owned(), Value::Null);
                }
            }
        }
        all.push(value);
    }
    Ok(all)
}

async fn page(
    app: &App,
    there: &There,
    revision: &str,
    folder: Option<RepoPath>,
    base: &str,
    query: &str,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let git = there.git(app);
    let pairs = url_pairs(query);
    let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let flag = |name: &str| matches!(get(name), Some("true" | "True" | "1"));
    let (recursive, expand) = (flag("recursive"), flag("expand"));
    let commit = commit_of(&git, revision).await?;
    let entries = git.tree(commit, folder.as_ref(), recursive).await?;
    let from: usize = get("cursor").and_then(|text| text.parse().ok()).unwrap_or(0).min(entries.len());
    let most = if expand { EXPANDED_PAGE } else { PAGE };
    let limit = get("limit").and_then(|text| text.parse().ok()).unwrap_or(most).clamp(1, most);
    let to = (from + limit).min(entries.len());
    let mut headers = HeaderMap::new();
    if to < entries.len() {
        let repo = &there.seen.repo;
        let path = folder.as_ref().map_or_else(String::new, |folder| format!("/{}", quoted(folder.as_str())));
        // Later pages are of the very same commit, whatever the branch does meanwhile.
        let next = format!(
            "<{base}/api/{}/{}/tree/{commit}{path}?recursive={recursive}&expand={expand}&limit={limit}&cursor={to}>; rel=\"next\"",
            repo.kind.plural(),
            repo.full_name(),
        );
        if let Ok(value) = next.parse() {
            headers.insert(header::LINK, value);
        }
    }
    let mut some = entries[from..to].to_vec();
    let mut files = shown(&git, commit, &mut some, expand).await?;
    super::xet::add_hashes(app, &there.seen.repo, &mut files).await?;
    Ok((headers, Json(files.into())))
}

/// A path in an address.
pub fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The root.
pub async fn root(
    State(app): State<App>,
    Path((.., revision)): Path<(String, String, String, String)>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    page(&app, &there, &revision, None, &base, &query.unwrap_or_default()).await
}

/// A folder.
pub async fn folder(
    State(app): State<App>,
    Path((.., revision, path)): Path<(String, String, String, String, String)>,
    Base(base): Base,
    there: There,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let folder = match path.trim_matches('/') {
        "" => None,
        path => Some(path.parse()?),
    };
    page(&app, &there, &revision, folder, &base, &query.unwrap_or_default()).await
}

/// The entries at these paths; those that are not there are left out.
pub async fn paths(
    State(app): State<App>,
    Path((.., revision)): Path<(String, String, String, String)>,
    there: There,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Value>, HubError> {
    let bad = |detail: &str| HubError::new(Code::BadRequest, detail);
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    let (mut paths, mut expand) = (Vec::new(), false);
    if json {
        let value: Value = serde_json::from_slice(&body).map_err(|_| bad("the body is no JSON"))?;
        expand = value.get("expand").and_then(Value::as_bool).unwrap_or(false);
        let list = value.get("paths").and_then(Value::as_array).ok_or_else(|| bad("paths are missing"))?;
        paths.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
    } else {
        let text = std::str::from_utf8(&body).map_err(|_| bad("the body is no form"))?;
        for (key, value) in url_pairs(text) {
            match key.as_str() {
                "paths" | "paths[]" => paths.push(value),
                "expand" => expand = matches!(value.as_str(), "true" | "True" | "1"),
                _ => {}
            }
        }
    }
    if paths.len() > MAX_PATHS {
        return Err(bad("more than 1000 paths"));
    }
    let git = there.git(&app);
    let commit = commit_of(&git, &revision).await?;
    // What cannot stand in a repository is not there.
    let paths: Vec<RepoPath> = paths.iter().filter_map(|path| path.trim_end_matches('/').parse().ok()).collect();
    let mut entries = git.entries(commit, &paths).await?;
    let mut files = shown(&git, commit, &mut entries, expand).await?;
    super::xet::add_hashes(&app, &there.seen.repo, &mut files).await?;
    Ok(Json(files.into()))
}
