//! Files: their bytes, and what a client wants to know of them first.

use allmende_core::digest::Digest;
use allmende_formats::xet::XetHash;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Base, HubError, There, principal};
use crate::app::App;
use crate::extract::{Path, range};
use crate::git::{GitRepo, Oid, RepoPath};
use crate::repo::{Kind, large, reads};

/// `/{space}/{name}/resolve/{revision}/{path}`.
pub async fn model(
    State(app): State<App>,
    Path((space, name, revision, path)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, HubError> {
    file(&app, Some(Kind::Model), &space, &name, &revision, &path, request).await
}

/// `/datasets/{space}/{name}/resolve/{revision}/{path}`, and so on.
pub async fn other(
    State(app): State<App>,
    Path((prefix, space, name, revision, path)): Path<(String, String, String, String, String)>,
    request: Request,
) -> Result<Response, HubError> {
    let kind = Kind::WITH_HISTORY.into_iter().find(|kind| kind.plural() == prefix);
    file(&app, kind, &space, &name, &revision, &path, request).await
}

async fn file(
    app: &App,
    kind: Option<Kind>,
    space: &str,
    name: &str,
    revision: &str,
    path: &str,
    request: Request,
) -> Result<Response, HubError> {
    let (mut parts, _) = request.into_parts();
    let Ok(Base(base)) = Base::from_request_parts(&mut parts, app).await;
    let who = principal(&mut parts, app).await?;
    let there = There::find(app, who, kind, space, name).await?;
    there.may_read_files(app).await?;
    let git = there.git(app);
    let commit = git.resolve(revision).await?;
    let answer = at(app, &there, commit, path, &base, &parts.method, &parts.headers).await;
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    // Also with what is not there: a client then knows that the revision is.
    if let Ok(value) = commit.to_string().parse() {
        response.headers_mut().insert("x-repo-commit", value);
    }
    Ok(response)
}

/// A file that was found.
pub(super) struct Found<'a> {
    pub there: &'a There,
    pub path: &'a RepoPath,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    /// The hash by which it is fetched in chunks, and the link to where a token for it is given.
    pub xet: Option<(XetHash, String)>,
    pub content: Content<'a>,
}

/// Where the bytes of a file are.
pub(super) enum Content<'a> {
    /// In git.
    Blob(&'a GitRepo, Oid),
    /// Beside git, of which git has a pointer.
    Large(Digest),
    /// In the chunks of the file of this hash.
    Chunks(XetHash),
}

async fn at(
    app: &App,
    there: &There,
    commit: Oid,
    path: &str,
    base: &str,
    method: &Method,
    asked: &HeaderMap,
) -> Result<Response, HubError> {
    let path: RepoPath = path.parse().map_err(|_| missing(path))?;
    let git = there.git(app);
    let entry = git.file(commit, &path).await?;
    let (repo, size) = (&there.seen.repo, entry.file_size());
    let (etag, xet, content) = match &entry.pointer {
        None => (entry.oid.to_string(), None, Content::Blob(&git, entry.oid)),
        Some(pointer) => {
            let hash = large::xet(&mut *app.db.read().await?, repo, &pointer.sha256).await?;
            let xet = hash.map(|hash| (hash, super::xet::link(base, repo, Some(commit))));
            let sha256 = format!("sha256:{}", pointer.sha256).parse().map_err(|_| missing(path.as_str()))?;
            (pointer.sha256.clone(), xet, Content::Large(sha256))
        }
    };
    send(app, Found { there, path: &path, size, etag, xet, content }, method, asked).await
}

fn missing(path: &str) -> HubError {
    crate::git::GitError::NoEntry(path.chars().take(200).collect()).into()
}

/// Answers with a file whose reader was asked for the right to it.
pub(super) async fn send(
    app: &App,
    found: Found<'_>,
    method: &Method,
    asked: &HeaderMap,
) -> Result<Response, HubError> {
    let Found { there, path, size, etag, xet, content } = found;
    let repo = &there.seen.repo;
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    put("etag", format!("\"{etag}\""));
    put("accept-ranges", "bytes".to_owned());
    if !matches!(content, Content::Blob(..)) {
        put("x-linked-etag", format!("\"{etag}\""));
        put("x-linked-size", size.to_string());
    }
    if let Some((hash, link)) = xet {
        put("x-xet-hash", hash.to_string());
        put("link", link);
    }
    // Whatever it says it is, it runs nothing here.
    put("content-type", "application/octet-stream".to_owned());
    put("content-security-policy", "default-src 'none'; sandbox".to_owned());
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    put("content-disposition", format!("inline; filename*=UTF-8''{}", super::tree::quoted(name).replace('/', "%2F")));
    if asked.get(header::IF_NONE_MATCH).is_some_and(|v| v.to_str().is_ok_and(|v| v.contains(&etag))) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let range = range(asked, size)?;
    let (status, range) = match range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        None => (StatusCode::OK, 0..size),
    };
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(
            header::CONTENT_RANGE,
            HeaderValue::from_str(&format!("bytes {}-{}/{size}", range.start, range.end - 1))
                .unwrap_or(HeaderValue::from_static("bytes */*")),
        );
    }
    let length = range.end - range.start;
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if method == Method::HEAD {
        return Ok((status, headers, Body::empty()).into_response());
    }
    let part = (status == StatusCode::PARTIAL_CONTENT).then(|| range.clone());
    let reader = match content {
        Content::Blob(git, oid) => {
            let bytes = bytes::Bytes::from(git.blob(oid).await?);
            let (from, to) = (usize::try_from(range.start), usize::try_from(range.end));
            let part = from.ok().zip(to.ok()).filter(|(_, to)| *to <= bytes.len());
            let part = part.map(|(from, to)| bytes.slice(from..to)).ok_or_else(|| missing(path.as_str()))?;
            reads::note(app, there.principal.as_ref(), repo, length);
            return Ok((status, headers, Body::from(part)).into_response());
        }
        Content::Large(sha256) => {
            if large::held(&mut *app.db.read().await?, repo, &sha256).await? != Some(size) {
                // A pointer to bytes that were never uploaded here opens nothing.
                return Err(missing(path.as_str()));
            }
            crate::xet::read::read(app, repo, &sha256, part).await
        }
        Content::Chunks(hash) => crate::xet::read::read_by_hash(app, repo, &hash, part).await,
    };
    let body = Body::from_stream(reader.map_err(crate::error::ApiError::from)?.stream);
    reads::note(app, there.principal.as_ref(), repo, length);
    Ok((status, headers, body).into_response())
}
