//! Files: their bytes, and what a client wants to know of them first.

use allmende_core::digest::Digest;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Base, HubError, There, principal};
use crate::app::App;
use crate::error::Code;
use crate::extract::Path;
use crate::git::{Oid, RepoPath};
use crate::repo::{Kind, reads};

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
    let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == prefix);
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

/// The range of bytes that a request asks for, of `size`; none for all.
fn range(headers: &HeaderMap, size: u64) -> Result<Option<std::ops::Range<u64>>, HubError> {
    let Some(text) = headers.get(header::RANGE).and_then(|v| v.to_str().ok()) else { return Ok(None) };
    // What is not understood is answered with everything, as HTTP has it.
    let Some((from, to)) = text.strip_prefix("bytes=").and_then(|text| text.split_once('-')) else { return Ok(None) };
    let range = match (from.trim().parse::<u64>(), to.trim().parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => from..to.saturating_add(1).min(size),
        (Ok(from), Err(_)) if to.trim().is_empty() => from..size,
        (Err(_), Ok(last)) if from.trim().is_empty() => size.saturating_sub(last)..size,
        _ => return Ok(None),
    };
    if range.start >= size {
        let outside = HubError::new(Code::RangeNotSatisfiable, format!("the file has {size} bytes"));
        return Err(outside);
    }
    Ok(Some(range))
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
    let missing = || HubError::from(crate::git::GitError::NoEntry(path.chars().take(200).collect()));
    let path: RepoPath = path.parse().map_err(|_| missing())?;
    let git = there.git(app);
    let entry = git.file(commit, &path).await?;
    let size = entry.file_size();
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    let etag = entry.pointer.as_ref().map_or_else(|| entry.oid.to_string(), |pointer| pointer.sha256.clone());
    put("etag", format!("\"{etag}\""));
    put("accept-ranges", "bytes".to_owned());
    if let Some(pointer) = &entry.pointer {
        put("x-linked-etag", format!("\"{}\"", pointer.sha256));
        put("x-linked-size", pointer.size.to_string());
        let hash = crate::repo::large::xet(&mut *app.db.read().await?, &there.seen.repo, &pointer.sha256).await?;
        if let Some(hash) = hash {
            put("x-xet-hash", hash.to_string());
            put("link", super::xet::link(base, &there.seen.repo, commit));
        }
    }
    // Whatever it says it is, it runs nothing here.
    put("content-type", "application/octet-stream".to_owned());
    put("content-security-policy", "default-src 'none'; sandbox".to_owned());
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    put("content-disposition", format!("inline; filename*=UTF-8''{}", super::tree::quoted(name).replace('/', "%2F")));
    if asked.get(header::IF_NONE_MATCH).is_some_and(|v| v.to_str().is_ok_and(|v| v.contains(&etag))) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let range = if size == 0 { None } else { range(asked, size)? };
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
    let body = match &entry.pointer {
        None => {
            let bytes = bytes::Bytes::from(git.blob(entry.oid).await?);
            let (from, to) = (usize::try_from(range.start), usize::try_from(range.end));
            let part = from.ok().zip(to.ok()).filter(|(_, to)| *to <= bytes.len());
            Body::from(part.map(|(from, to)| bytes.slice(from..to)).ok_or_else(missing)?)
        }
        Some(pointer) => {
            let sha256: Digest = format!("sha256:{}", pointer.sha256).parse().map_err(|_| missing())?;
            let held = crate::repo::large::held(&mut *app.db.read().await?, &there.seen.repo, &sha256).await?;
            if held != Some(pointer.size) {
                // A pointer to bytes that were never uploaded here opens nothing.
                return Err(missing());
            }
            let part = (status == StatusCode::PARTIAL_CONTENT).then_some(range);
            let reader = crate::xet::read::read(app, &there.seen.repo, &sha256, part).await;
            Body::from_stream(reader.map_err(crate::error::ApiError::from)?.stream)
        }
    };
    reads::note(app, there.principal.as_ref(), &there.seen.repo, length);
    Ok((status, headers, body).into_response())
}
