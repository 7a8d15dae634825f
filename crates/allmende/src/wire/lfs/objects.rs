//! The bytes themselves, at addresses that a batch has given.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::link::{Act, Link, LinkKey};
use super::{Refusal, answer, batch, bytes, read};
use crate::account::Principal;
use crate::app::App;
use crate::blobs::Expect;
use crate::error::{ApiError, Code};
use crate::exchange::access;
use crate::extract::{Path, Query, range};
use crate::repo::ops::{Seen, look};
use crate::repo::{RepoError, reads, store};
use crate::wire::git::may_send;

#[derive(Debug, Deserialize)]
pub struct Signed {
    size: u64,
    part: u32,
    upload: String,
    token: String,
    until: i64,
    mac: String,
}

type Address = (Path<(String, String)>, Query<Signed>);

/// The repository that an address opens, and for whom.
struct Opened {
    seen: Seen,
    principal: Option<Principal>,
}

/// The address, if this hub made it, and the repository, if whoever it was made for may still do so.
async fn open(app: &App, act: Act, (Path((repo, oid)), Query(signed)): Address) -> Result<(Link, Opened), ApiError> {
    let Signed { size, part, upload, token, until, mac } = signed;
    let link = Link { act, repo, oid, size, part, upload, token, until };
    link.check(&mac, &LinkKey::of(&app.hub_key), app.clock.now())?;
    let principal = match link.token.as_str() {
        "" => None,
        id => Some(Principal::of_token_id(app, id).await?.ok_or(RepoError::NotFound)?),
    };
    let repo = store::by_id(&mut *app.db.read().await?, &link.repo).await?.ok_or(RepoError::NotFound)?;
    let seen = look(app, principal.as_ref(), repo).await?.ok_or(RepoError::NotFound)?;
    match act {
        Act::Get => access::may_read_files(app, principal.as_ref(), &seen.repo).await?,
        _ => may_send(app, principal.as_ref(), &seen).await?,
    }
    Ok((link, Opened { seen, principal }))
}

/// The object, or a range of it.
pub async fn get(
    State(app): State<App>,
    path: Path<(String, String)>,
    query: Query<Signed>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (link, Opened { seen, principal }) = open(&app, Act::Get, (path, query)).await?;
    let (sha256, size) = (link.sha256()?, link.size);
    if bytes::held(&app, &seen.repo, &sha256).await? != Some(size) {
        return Err(ApiError::not_found("this object in this repository").into());
    }
    let part = range(&headers, size)?;
    let (status, part) = match part {
        Some(part) => (StatusCode::PARTIAL_CONTENT, part),
        None => (StatusCode::OK, 0..size),
    };
    let mut headers = HeaderMap::new();
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    put(header::ETAG, format!("\"{}\"", link.oid));
    put(header::ACCEPT_RANGES, "bytes".to_owned());
    put(header::CONTENT_LENGTH, (part.end - part.start).to_string());
    // Whatever it says it is, it runs nothing here.
    put(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    put(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned());
    put(header::CONTENT_DISPOSITION, "attachment".to_owned());
    if status == StatusCode::PARTIAL_CONTENT {
        put(header::CONTENT_RANGE, format!("bytes {}-{}/{size}", part.start, part.end - 1));
    }
    reads::note(&app, principal.as_ref(), &seen.repo, part.end - part.start);
    let stream = bytes::read(&app, &seen.repo, &sha256, part).await?;
    Ok((status, headers, Body::from_stream(stream)).into_response())
}

fn slot(app: &App) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
    app.parts_in_flight.try_acquire().map_err(|_| {
        let text = format!("max_parts_in_flight = {} parts are under way", app.config.max_parts_in_flight);
        ApiError::new(Code::Unavailable, text).retry_after_s(1)
    })
}

/// Takes the object whole.
pub async fn put(
    State(app): State<App>,
    path: Path<(String, String)>,
    query: Query<Signed>,
    request: Request,
) -> Result<Response, Refusal> {
    let (link, Opened { seen, .. }) = open(&app, Act::Put, (path, query)).await?;
    let _slot = slot(&app)?;
    let body = request.into_body().into_data_stream();
    bytes::put(&app, &seen.repo, body, link.sha256()?, link.size).await?;
    Ok(([(header::ETAG, format!("\"{}\"", link.oid))], StatusCode::OK).into_response())
}

/// Takes one part of the object.
pub async fn part(
    State(app): State<App>,
    path: Path<(String, String)>,
    query: Query<Signed>,
    request: Request,
) -> Result<Response, Refusal> {
    let (link, Opened { seen, .. }) = open(&app, Act::Part, (path, query)).await?;
    let _slot = slot(&app)?;
    bytes::room(&app, &seen.repo, link.size).await?;
    let size = part_size(&app, &link, link.part).ok_or_else(|| ApiError::not_found("this part"))?;
    let expect = Expect { digest: None, size_bytes: Some(size), max_bytes: size };
    let stored = app.blobs.put_part(&link.upload, link.part, request.into_body().into_data_stream(), &expect).await?;
    Ok(([(header::ETAG, format!("\"{}\"", stored.digest.hex()))], StatusCode::OK).into_response())
}

/// How many bytes the part of this number has.
fn part_size(app: &App, link: &Link, number: u32) -> Option<u64> {
    let (each, count) = batch::parts(link.size, app.config.max_part_bytes);
    let before = u64::from(number.checked_sub(1)?);
    (before < count).then(|| each.min(link.size - before * each))
}

#[derive(Debug, Deserialize)]
struct Said {
    oid: String,
    size: u64,
}

/// Whether the object has arrived.
pub async fn verify(
    State(app): State<App>,
    path: Path<(String, String)>,
    query: Query<Signed>,
    request: Request,
) -> Result<Response, Refusal> {
    let (link, Opened { seen, .. }) = open(&app, Act::Verify, (path, query)).await?;
    let said: Said = read(&app, request).await?;
    if (&said.oid, said.size) != (&link.oid, link.size) {
        return Err(ApiError::new(Code::Unprocessable, "this address is for another object").into());
    }
    match bytes::held(&app, &seen.repo, &link.sha256()?).await? {
        Some(size) if size == link.size => Ok(answer(&json!({ "oid": link.oid, "size": size }))),
        _ => Err(ApiError::not_found("this object in this repository").into()),
    }
}

#[derive(Debug, Deserialize)]
struct Joined {
    oid: String,
    parts: Vec<Joining>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Joining {
    part_number: u32,
}

/// Joins the parts into the object. What is joined is judged by the object's own digest.
pub async fn join(
    State(app): State<App>,
    path: Path<(String, String)>,
    query: Query<Signed>,
    request: Request,
) -> Result<Response, Refusal> {
    let (link, Opened { seen, .. }) = open(&app, Act::Join, (path, query)).await?;
    let joined: Joined = read(&app, request).await?;
    let numbers = joined.parts.iter().map(|part| part.part_number);
    if joined.oid != link.oid || !numbers.eq(1..=link.part) {
        return Err(ApiError::new(Code::Unprocessable, "these are not all parts of this object, in order").into());
    }
    let sha256 = link.sha256()?;
    // Said again after an answer that got lost.
    if bytes::held(&app, &seen.repo, &sha256).await? != Some(link.size) {
        for number in 1..=link.part {
            if app.blobs.part_size(&link.upload, number).await? != part_size(&app, &link, number) {
                return Err(ApiError::new(Code::Unprocessable, format!("part {number} has not arrived")).into());
            }
        }
        let _slot = slot(&app)?;
        bytes::put(&app, &seen.repo, app.blobs.parts(&link.upload, link.part), sha256, link.size).await?;
    }
    if let Err(error) = app.blobs.drop_parts(&link.upload).await {
        // They are swept later.
        tracing::warn!(%error, "parts of a finished upload were not deleted");
    }
    Ok(answer(&json!({ "success": true })))
}
