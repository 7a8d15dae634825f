//! Buckets: `/api/buckets/…`, and `/buckets/{space}/{name}/resolve/{path}` for their files.

use axum::extract::{FromRequestParts, RawQuery, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::lines::{Limits, Lines};
use super::page::Page;
use super::repos::{address, exists, url_pairs, visibility};
use super::resolve::{self, Content, Found};
use super::tree::quoted;
use super::{Base, HubError, Known, Perhaps, There, iso, principal, xet};
use crate::account::store as accounts;
use crate::app::App;
use crate::bucket::tree::{self, Line, Wanted as Listing};
use crate::bucket::{self, Change, Failure, Source};
use crate::error::{ApiError, Code};
use crate::extract::{self, Path};
use crate::git::{GitError, RepoPath};
use crate::repo::bucket as rows;
use crate::repo::ops::{self, Wanted};
use crate::repo::{Kind, Repo, RepoError, Right, Settings, owned};
use crate::xet::pass::Need;

/// Buckets in one page, rows that are read at once for it, and how often: others' private ones are passed over.
const PAGE: usize = 100;
const ROWS: usize = 200;
const MAX_ROUNDS: usize = 50;
/// Lines in one page of files.
const FILES: usize = 1_000;
/// Most paths in one question.
const MAX_PATHS: usize = 1_000;
/// Most changes in one request, as many as clients send.
const MAX_CHANGES: usize = 1_000;
/// Longest line of changes: the longest path with every character escaped, names and a hash.
const MAX_LINE_BYTES: usize = 32 << 10;
/// Longest place to go on from: the longest path and a character.
const MAX_CURSOR_BYTES: usize = 4_100;

/// Answered within the time of a request.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/buckets/{space}", get(list).merge(delete(nothing).post(nothing)))
        .route("/api/buckets/{space}/{name}", get(info).post(create).delete(remove))
        .route("/api/buckets/{space}/{name}/settings", put(settings))
        .route("/api/buckets/{space}/{name}/tree", get(root))
        .route("/api/buckets/{space}/{name}/tree/{*prefix}", get(below))
        .route("/api/buckets/{space}/{name}/paths-info", post(paths))
        .route("/api/buckets/{space}/{name}/xet-read-token", get(read_token))
        .route("/api/buckets/{space}/{name}/xet-write-token", get(write_token))
}

/// Bodies of bytes, and what copies them.
pub(super) fn transfers() -> Router<App> {
    Router::new()
        .route("/api/buckets/{space}/{name}/batch", post(batch))
        .route("/buckets/{space}/{name}/resolve/{*path}", get(file))
}

/// The caller and the bucket that the path names, if they may see it.
struct Bucket(There);

#[derive(Debug, Deserialize)]
struct Named {
    space: String,
    name: String,
}

impl FromRequestParts<App> for Bucket {
    type Rejection = HubError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HubError> {
        let Path(Named { space, name }) = Path::from_request_parts(parts, app).await?;
        let who = principal(parts, app).await?;
        There::find(app, who, Some(Kind::Bucket), &space, &name).await.map(Self)
    }
}

/// A name without a space before it names no bucket.
async fn nothing(Perhaps(principal): Perhaps) -> HubError {
    HubError::from(RepoError::NotFound).to_anyone(principal.is_none())
}

async fn shown(app: &App, repo: &Repo) -> Result<Value, HubError> {
    let sums = rows::sums(&mut *app.db.read().await?, repo).await?;
    Ok(json!({
        "_id": repo.id, "id": repo.full_name(), "author": repo.owner.name.as_str(), "private": repo.private,
        "createdAt": iso(repo.created_at), "updatedAt": iso(repo.modified_at), "size": sums.bytes,
        "totalFiles": sums.files,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Create {
    visibility: Option<String>,
    private: Option<bool>,
    resource_group_id: Option<String>,
    region: Option<String>,
}

/// Creates a bucket; one that is there already is refused with its address.
async fn create(
    State(app): State<App>,
    Base(base): Base,
    Known(principal): Known,
    Path((space, name)): Path<(String, String)>,
    extract::Json(asked): extract::Json<Create>,
) -> Result<Json<Value>, HubError> {
    if asked.resource_group_id.is_some() || asked.region.is_some() {
        // Both are promises about who sees it and where it lies: passing over them would break them.
        return Err(HubError::new(Code::BadRequest, "this hub has neither resource groups nor regions"));
    }
    let space = Some(space.as_str()).filter(|space| *space != "me");
    let owner = ops::owner(&app, &principal, space, &name).await?;
    let bad = |e: crate::repo::InvalidRepoName| HubError::new(Code::BadRequest, e.to_string());
    let name = name.parse().map_err(bad)?;
    let private = visibility(asked.visibility.as_deref(), asked.private)?;
    let wanted = Wanted { kind: Kind::Bucket, owner, name, private, settings: Settings::default() };
    match ops::create(&app, &principal, wanted).await {
        Ok(repo) => Ok(Json(json!({ "url": address(&base, &repo), "name": repo.full_name(), "id": repo.id }))),
        Err(RepoError::Exists(repo)) => Err(exists(&base, &repo)),
        Err(other) => Err(other.into()),
    }
}

/// What a bucket is, and how much stands in it.
async fn info(State(app): State<App>, Bucket(there): Bucket) -> Result<Json<Value>, HubError> {
    shown(&app, &there.seen.repo).await.map(Json)
}

/// Removes a bucket with all that stands in it.
async fn remove(State(app): State<App>, Bucket(there): Bucket) -> Result<StatusCode, HubError> {
    there.who(Right::Admin)?;
    ops::remove(&app, &there.seen.repo).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Deserialize)]
pub struct NewSettings {
    visibility: Option<String>,
    private: Option<bool>,
}

/// Changes who sees it.
async fn settings(
    State(app): State<App>,
    Bucket(there): Bucket,
    extract::Json(new): extract::Json<NewSettings>,
) -> Result<Json<Value>, HubError> {
    there.who(Right::Admin)?;
    let mut repo = there.seen.repo.clone();
    if let Some(private) = visibility(new.visibility.as_deref(), new.private)? {
        repo.private = private;
    }
    ops::configure(&app, &repo).await?;
    Ok(Json(json!({ "private": repo.private })))
}

/// The buckets of an account that the caller may see, newest first.
async fn list(
    State(app): State<App>,
    Base(base): Base,
    Path(space): Path<String>,
    Perhaps(principal): Perhaps,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let owner = match (space.as_str(), &principal) {
        ("me", Some(principal)) => principal.account.clone(),
        ("me", None) => return Err(HubError::new(Code::Unauthenticated, "Invalid username or password.")),
        (name, _) => accounts::by_name(&mut *app.db.read().await?, name)
            .await?
            .ok_or_else(|| HubError::new(Code::NotFound, "This user or organization does not exist"))?,
    };
    let page = Page::of(query, PAGE, PAGE);
    let search = page.all("search").next().map(str::to_lowercase);
    let (mut before, mut shown_ones) = (page.before.clone(), Vec::new());
    let mut more = true;
    'rounds: for _ in 0..MAX_ROUNDS {
        let mut connection = app.db.read().await?;
        let found = owned::page(&mut connection, &owner, Some(Kind::Bucket), before.as_ref(), ROWS as i64).await?;
        drop(connection);
        let is_last = found.len() < ROWS;
        for repo in found {
            if shown_ones.len() == page.limit {
                break 'rounds;
            }
            before = Some((repo.created_at, repo.id.clone()));
            let named = search.as_ref().is_none_or(|text| repo.full_name().to_lowercase().contains(text));
            if named && ops::is_visible(&app, principal.as_ref(), &repo).await? {
                shown_ones.push(shown(&app, &repo).await?);
            }
        }
        if is_last {
            more = false;
            break;
        }
    }
    let headers = page.headers(&base, &format!("/api/buckets/{space}"), before.as_ref().filter(|_| more));
    Ok((headers, Json(shown_ones.into())))
}

fn shown_file(file: &rows::File) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("type", "file".into());
    put("path", file.path.clone().into());
    put("size", file.size.into());
    put("xetHash", file.xet.to_string().into());
    put("uploadedAt", iso(file.uploaded_at).into());
    if let Some(at) = file.mtime {
        put("mtime", iso(at).into());
    }
    if let Some(text) = &file.content_type {
        put("contentType", text.clone().into());
    }
    map.into()
}

fn shown_line(line: &Line) -> Value {
    match line {
        Line::File(file) => shown_file(file),
        Line::Folder { path, uploaded_at } => {
            json!({ "type": "directory", "path": path, "uploadedAt": uploaded_at.map(iso) })
        }
    }
}

async fn listed(
    app: &App,
    there: &There,
    prefix: &str,
    base: &str,
    query: Option<String>,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let pairs = url_pairs(&query.unwrap_or_default());
    let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    // Whoever says nothing gets everything.
    let recursive = get("recursive").is_none_or(|word| matches!(word, "true" | "True" | "1"));
    let limit = get("limit").and_then(|text| text.parse().ok()).unwrap_or(FILES).clamp(1, FILES);
    let from = get("cursor").unwrap_or_default();
    if prefix.len() > MAX_CURSOR_BYTES || from.len() > MAX_CURSOR_BYTES {
        return Err(HubError::new(Code::BadRequest, "no path is as long as this prefix or cursor"));
    }
    let repo = &there.seen.repo;
    let found = tree::page(&mut *app.db.read().await?, repo, Listing { prefix, recursive, from, limit }).await?;
    let mut headers = HeaderMap::new();
    if let Some(next) = found.next {
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{}", one_segment(prefix)) };
        let (name, cursor) = (repo.full_name(), one_segment(&next));
        let next = format!(
            "<{base}/api/buckets/{name}/tree{prefix}?recursive={recursive}&limit={limit}&cursor={cursor}>; rel=\"next\""
        );
        if let Ok(value) = next.parse() {
            headers.insert(header::LINK, value);
        }
    }
    Ok((headers, Json(found.lines.iter().map(shown_line).collect())))
}

/// A path as one part of an address.
fn one_segment(path: &str) -> String {
    quoted(path).replace('/', "%2F")
}

/// What stands in the bucket.
async fn root(
    State(app): State<App>,
    Base(base): Base,
    Bucket(there): Bucket,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    listed(&app, &there, "", &base, query).await
}

/// What begins with a prefix.
async fn below(
    State(app): State<App>,
    Path((.., prefix)): Path<(String, String, String)>,
    Base(base): Base,
    Bucket(there): Bucket,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    listed(&app, &there, &prefix, &base, query).await
}

#[derive(Debug, Deserialize)]
pub struct Paths {
    paths: Vec<String>,
}

/// The files at these paths; those that are not there are left out.
async fn paths(
    State(app): State<App>,
    Bucket(there): Bucket,
    extract::Json(Paths { paths }): extract::Json<Paths>,
) -> Result<Json<Value>, HubError> {
    if paths.len() > MAX_PATHS {
        return Err(HubError::new(Code::BadRequest, format!("more than {MAX_PATHS} paths")));
    }
    let mut connection = app.db.read().await?;
    let mut found = Vec::new();
    // What cannot stand in a bucket is not there.
    for path in paths.iter().filter_map(|path| path.parse().ok()) {
        found.extend(rows::find(&mut connection, &there.seen.repo, &path).await?.as_ref().map(shown_file));
    }
    Ok(Json(found.into()))
}

/// For reading in chunks.
async fn read_token(State(app): State<App>, Base(base): Base, Bucket(there): Bucket) -> Result<xet::Answer, HubError> {
    xet::to_read(&app, &base, there).await
}

/// For writing in chunks.
async fn write_token(State(app): State<App>, Base(base): Base, Bucket(there): Bucket) -> Result<xet::Answer, HubError> {
    xet::to_write(&app, &base, there, Need::Write).await
}

/// One change, as clients write it. What a client adds beside this is passed over.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum Asked {
    #[serde(rename = "addFile")]
    Add { path: String, xet_hash: String, mtime: Option<i64>, content_type: Option<String> },
    #[serde(rename = "copyFile")]
    Copy {
        path: String,
        xet_hash: String,
        mtime: Option<i64>,
        content_type: Option<String>,
        source_repo_type: String,
        source_repo_id: String,
    },
    #[serde(rename = "deleteFile")]
    Delete { path: String },
}

impl Asked {
    /// The change, or what is wrong with it.
    fn change(self) -> Result<Change, Failure> {
        let failed = |path: &str, error| Failure { path: path.chars().take(200).collect(), error };
        match self {
            Self::Add { path, xet_hash, mtime, content_type } => {
                let file = bucket::new_file(&path, &xet_hash, mtime, content_type);
                file.map(Change::Add).map_err(|error| failed(&path, error))
            }
            Self::Copy { path, xet_hash, mtime, content_type, source_repo_type, source_repo_id } => {
                let file = bucket::new_file(&path, &xet_hash, mtime, content_type);
                let source = Kind::parse(&source_repo_type).zip(source_repo_id.split_once('/'));
                let source =
                    source.map(|(kind, (space, name))| Source { kind, space: space.to_owned(), name: name.to_owned() });
                let unnamed = || "the source is a type of repository and owner/name".to_owned();
                let change = file.and_then(|file| Ok(Change::Copy(file, source.ok_or_else(unnamed)?)));
                change.map_err(|error| failed(&path, error))
            }
            Self::Delete { path } => bucket::new_path(&path).map(Change::Delete).map_err(|error| failed(&path, error)),
        }
    }
}

/// Puts, copies and deletes files, one JSON object on each line. All lines are read before the first is followed; what
/// cannot be done is said of each.
async fn batch(
    State(app): State<App>,
    Bucket(there): Bucket,
    request: Request,
) -> Result<(StatusCode, Json<Value>), HubError> {
    let principal = there.who(Right::Write)?;
    let body_bytes = (MAX_CHANGES * MAX_LINE_BYTES) as u64;
    let limits = Limits { what: "batch", line_bytes: MAX_LINE_BYTES, body_bytes };
    let mut lines = Lines::of(request.into_body(), limits);
    let (mut changes, mut failures, mut count) = (Vec::new(), Vec::new(), 0);
    while let Some(asked) = lines.next::<Asked>().await? {
        count += 1;
        if count > MAX_CHANGES {
            return Err(HubError::new(Code::BadRequest, format!("more than {MAX_CHANGES} changes in one batch")));
        }
        match asked.change() {
            Ok(change) => changes.push(change),
            Err(failure) => failures.push(failure),
        }
    }
    let refused = bucket::change(&app, principal, &there.seen.repo, changes).await;
    failures.extend(refused.map_err(ApiError::from)?);
    let failed: Vec<Value> =
        failures.iter().map(|failure| json!({ "path": failure.path, "error": failure.error })).collect();
    let all_failed = count > 0 && failed.len() == count;
    let status = if all_failed { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let answer = json!({
        "success": failed.is_empty(), "processed": count, "succeeded": count - failed.len(), "failed": failed,
    });
    Ok((status, Json(answer)))
}

/// The bytes of a file, or what a client wants to know of them first.
async fn file(
    State(app): State<App>,
    Path((.., path)): Path<(String, String, String)>,
    Base(base): Base,
    Bucket(there): Bucket,
    request: Request,
) -> Result<Response, HubError> {
    there.may_read_files(&app).await?;
    let missing = || HubError::from(GitError::NoEntry(path.chars().take(200).collect()));
    let path: RepoPath = path.parse().map_err(|_| missing())?;
    let repo = &there.seen.repo;
    let file = rows::find(&mut *app.db.read().await?, repo, &path).await?.ok_or_else(missing)?;
    let found = Found {
        there: &there,
        path: &path,
        size: file.size,
        etag: file.xet.to_string(),
        xet: Some((file.xet, xet::link(&base, repo, None))),
        content: Content::Chunks(file.xet),
    };
    resolve::send(&app, found, request.method(), request.headers()).await
}
