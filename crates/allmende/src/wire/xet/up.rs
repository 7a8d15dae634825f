//! Xorbs and shards on their way in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use allmende_formats::xet::wire::{CommitStage, ShardEvent, ShardResult, ShardUploaded, XorbUploaded};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio_util::task::AbortOnDropHandle;

use super::{Writer, hash};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::Path;
use crate::xet::XetError;
use crate::xet::shard::Claims;

/// How often a client that waits for a shard hears of it; it gives up after 300 s.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Takes a xorb.
pub async fn xorb(
    State(app): State<App>,
    Path((_, _, name)): Path<(String, String, String)>,
    Writer(session): Writer,
    request: Request,
) -> Result<Json<XorbUploaded>, ApiError> {
    let expected = hash(&name)?;
    let was_inserted = session.take_xorb(&app, &expected, request.into_body().into_data_stream()).await?;
    Ok(Json(XorbUploaded { was_inserted }))
}

/// Takes a shard and answers when all of it was checked.
pub async fn shard_v1(
    State(app): State<App>,
    Writer(session): Writer,
    request: Request,
) -> Result<Json<ShardUploaded>, ApiError> {
    let claims = Claims::read(request.into_body().into_data_stream()).await?;
    let is_new = session.register(&app, claims, || {}).await?;
    let result = if is_new { ShardResult::Registered } else { ShardResult::Exists };
    Ok(Json(ShardUploaded { result, shard_hash: None }))
}

/// Takes a shard and tells how far it is.
pub async fn shard_v2(State(app): State<App>, Writer(session): Writer, request: Request) -> Result<Response, ApiError> {
    let claims = Claims::read(request.into_body().into_data_stream()).await?;
    let (total, verified) = (claims.len() as u64, Arc::new(AtomicU64::new(0)));
    let limit = Duration::from_secs(app.config.transfer_timeout_s);
    let count = Arc::clone(&verified);
    // Whoever goes away has to send it again: then nothing is checked in vain.
    let tasks = app.tasks.clone();
    let work = AbortOnDropHandle::new(tasks.spawn(async move {
        let registered = session.register(&app, claims, || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        tokio::time::timeout(limit, registered).await
    }));
    let lines = stream::unfold(Some(work), move |work| {
        let verified = Arc::clone(&verified);
        async move {
            let mut work = work?;
            let line = match tokio::time::timeout(HEARTBEAT, &mut work).await {
                Err(_) => {
                    let event = ShardEvent::Validating { verified: verified.load(Ordering::Relaxed), total };
                    return Some((event.to_line(), Some(work)));
                }
                Ok(Ok(Ok(Ok(_)))) => {
                    ShardEvent::Committing { stage: CommitStage::Syncing }.to_line() + &ShardEvent::Result.to_line()
                }
                Ok(Ok(Ok(Err(error)))) => failed(error).to_line(),
                Ok(Ok(Err(_)) | Err(_)) => {
                    ShardEvent::Error { message: "the hub did not finish".to_owned(), retryable: true }.to_line()
                }
            };
            Some((line, None))
        }
    });
    let lines = futures::StreamExt::map(lines, Ok::<_, std::convert::Infallible>);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

fn failed(error: XetError) -> ShardEvent {
    let retryable = error.passes();
    // The log learns what a client must not.
    let error = ApiError::from(error);
    let message = error.problem().detail;
    if retryable {
        tracing::error!(%error, "a shard could not be registered");
    }
    ShardEvent::Error { message, retryable }
}
