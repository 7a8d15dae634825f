//! Files on their way out: plans, ranges of xorbs, answers to questions for chunks.

use std::collections::BTreeMap;

use allmende_formats::xet::XetHash;
use allmende_formats::xet::reconstruction::{
    BatchReconstruction, Fetch, HttpRange, Plan, ReconstructionV1, ReconstructionV2,
};
use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Reader, address, hash};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::extract::Path;
use crate::repo::reads;
use crate::wire::hub::Base;
use crate::xet::pass::{self, Ticket};
use crate::xet::{Session, XetError};

/// Most files in one question.
const MAX_FILES: usize = 100;

/// The range that a request asks for: first and last byte.
fn range(headers: &HeaderMap) -> Result<Option<(u64, Option<u64>)>, ApiError> {
    let Some(value) = headers.get(header::RANGE) else { return Ok(None) };
    let bad = || ApiError::new(Code::BadRequest, "the range is not 'bytes=first-last'");
    let (first, last) = value.to_str().ok().and_then(|v| v.strip_prefix("bytes=")?.split_once('-')).ok_or_else(bad)?;
    let first = first.parse().map_err(|_| bad())?;
    let last = if last.is_empty() { None } else { Some(last.parse().map_err(|_| bad())?) };
    if last.is_some_and(|last| last < first) { Err(bad()) } else { Ok(Some((first, last))) }
}

async fn plan(app: &App, session: &Session, file: &str, headers: &HeaderMap) -> Result<Plan, ApiError> {
    let range = range(headers)?.map(|(first, last)| (first, last.map_or(u64::MAX, |last| last.saturating_add(1))));
    let file = session.file(app, &hash(file)?).await?;
    Ok(session.plan(app, &file, range).await?)
}

fn url(app: &App, session: &Session, base: &str, xorb: &XetHash, fetch: &Fetch) -> String {
    let HttpRange { start: first, end: last } = fetch.bytes;
    let ticket = session.ticket(app, Ticket { xorb: *xorb, first, last });
    format!("{}/fetch/{ticket}", address(base, &session.seen.repo))
}

/// How to get a file or a range of it.
pub async fn plan_v1(
    State(app): State<App>,
    Path((_, file)): Path<(String, String)>,
    Base(base): Base,
    Reader(session): Reader,
    headers: HeaderMap,
) -> Result<Json<ReconstructionV1>, ApiError> {
    let plan = plan(&app, &session, &file, &headers).await?;
    Ok(Json(plan.to_v1(|xorb, fetch| url(&app, &session, &base, xorb, fetch))))
}

/// The same in the newer form. Each range has an address of its own, which is good for it alone.
pub async fn plan_v2(
    State(app): State<App>,
    Path((_, file)): Path<(String, String)>,
    Base(base): Base,
    Reader(session): Reader,
    headers: HeaderMap,
) -> Result<Json<ReconstructionV2>, ApiError> {
    let plan = plan(&app, &session, &file, &headers).await?;
    // A list of one range is never empty.
    Ok(Json(plan.to_v2(1, |xorb, fetches| {
        fetches.first().map(|fetch| url(&app, &session, &base, xorb, fetch)).unwrap_or_default()
    })))
}

/// How to get several whole files.
pub async fn batch(
    State(app): State<App>,
    Base(base): Base,
    Reader(session): Reader,
    RawQuery(query): RawQuery,
) -> Result<Json<BatchReconstruction>, ApiError> {
    let query = query.unwrap_or_default();
    let ids: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("file_id=")).collect();
    if ids.len() > MAX_FILES {
        return Err(ApiError::new(Code::BadRequest, format!("more than {MAX_FILES} files in one question")));
    }
    let mut all = BatchReconstruction { files: BTreeMap::new(), fetch_info: BTreeMap::new() };
    for id in ids {
        let plan = plan(&app, &session, id, &HeaderMap::new()).await?;
        let one = plan.to_v1(|xorb, fetch| url(&app, &session, &base, xorb, fetch));
        all.files.insert(hash(id)?, one.terms);
        for (xorb, fetches) in one.fetch_info {
            all.fetch_info.entry(xorb).or_default().extend(fetches);
        }
    }
    Ok(Json(all))
}

/// The range of a xorb that a ticket is good for, or a part of it.
pub async fn fetch(
    State(app): State<App>,
    Path((repo, ticket)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // Clients ask for another address when this one is refused with 403.
    let (session, ticket) = pass::redeem(&app, &repo, &ticket).await.map_err(|error| match error {
        XetError::Token(why) => ApiError::new(Code::Forbidden, why),
        error => error.into(),
    })?;
    let (first, last) = range(&headers)?.unwrap_or((ticket.first, None));
    let last = last.unwrap_or(ticket.last);
    if first < ticket.first || last > ticket.last || first > last {
        return Err(ApiError::new(Code::Forbidden, "this address is good for another range"));
    }
    let bytes = session.fetch(&app, &ticket, first..last + 1).await?;
    reads::note(&app, session.principal.as_ref(), &session.seen.repo, last - first + 1);
    let headers = [
        (header::CONTENT_RANGE, format!("bytes {first}-{last}/*")),
        (header::CONTENT_LENGTH, (last - first + 1).to_string()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
    ];
    Ok((StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(bytes)).into_response())
}

/// A shard of a xorb that has the chunk.
pub async fn chunk(
    State(app): State<App>,
    Path((_, _, name)): Path<(String, String, String)>,
    Reader(session): Reader,
) -> Result<Response, ApiError> {
    let shard = session.chunk(&app, &hash(&name)?).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], shard).into_response())
}
