//! A collaboration's log as auditors and mirrors read it: checkpoint, tiles and entry bundles (C2SP tlog-tiles), pages of
//! records, receipts.

use std::collections::HashMap;

use allmende_core::digest::Digest;
use allmende_core::id::CollaborationId;
use allmende_core::ledger::checkpoint::SignedCheckpoint;
use allmende_core::ledger::merkle::{Frontier, Subtree, inclusion_proof, inclusion_subtrees};
use allmende_core::ledger::proof::Receipt;
use allmende_core::ledger::tile::{self, Tile, TileKind};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::readable;
use crate::api::Entries;
use crate::app::App;
use crate::auth::{ReadCaller, RequireScope};
use crate::error::{ApiError, Code, Problem};
use crate::extract::{Json, Path, Query};
use crate::ledger::store;
use crate::party::api::checkpoint;

/// Most bytes of records in one page; a page has one record at least.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_checkpoint))
        .routes(routes!(get_entries))
        .routes(routes!(get_tile))
        .routes(routes!(get_proof))
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// The newest signed checkpoint.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/log/checkpoint", tag = "log", security(("token" = [])),
    params(("collaboration" = String, Path, description = "Its name")),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = Problem))
)]
async fn get_checkpoint(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path(collaboration): Path<CollaborationId>,
) -> Result<Response, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let mut note: SignedCheckpoint = {
        let state = log.state().await?;
        state.checkpoint().cloned().ok_or_else(|| ApiError::not_found("a checkpoint of an empty log"))?
    };
    for cosignature in store::cosignatures(&mut *app.db.read().await?, log.name()).await? {
        if cosignature.size == note.checkpoint.size
            && let Ok(line) = cosignature.line.parse()
        {
            // A line that does not fit any more is left out; the note stands without it.
            let _ = note.add(line);
        }
    }
    Ok(text(note.to_string()))
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    limit: Option<u64>,
}

/// Consecutive records of the log, as many as fit a page.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/log/entries", tag = "log", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("from" = Option<u64>, Query, description = "Index of the first, 0 if not given"),
        ("limit" = Option<u64>, Query, description = "At most so many"),
    ),
    responses((status = 200, body = Entries), (status = "default", body = Problem))
)]
async fn get_entries(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path(collaboration): Path<CollaborationId>,
    Query(range): Query<Range>,
) -> Result<Json<Entries>, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let limit = range.limit.unwrap_or(u64::MAX).min(app.config.max_page_items);
    let records = records(&app, log.name(), range.from, limit).await?;
    Ok(Json(Entries { from: range.from, records }))
}

/// Records from index `from` on, at most `limit` and about [`MAX_PAGE_BYTES`].
///
/// # Errors
/// The database's.
pub(crate) async fn records(app: &App, log: &str, from: u64, limit: u64) -> Result<Vec<String>, ApiError> {
    let entries = store::entries(&mut *app.db.read().await?, log, from, limit).await?;
    let mut bytes = 0;
    let mut records = Vec::with_capacity(entries.len());
    for entry in entries {
        bytes += entry.leaf.len();
        if bytes > MAX_PAGE_BYTES && !records.is_empty() {
            break;
        }
        records.push(String::from_utf8(entry.leaf).map_err(ApiError::internal)?);
    }
    Ok(records)
}

/// A tile or an entry bundle, by its path as C2SP tlog-tiles writes it without the leading `tile/`.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/log/tile/{*path}", tag = "log", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("path" = String, Path, description = "For instance `0/x001/067`, `entries/000.p/5`"),
    ),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = "default", body = Problem))
)]
async fn get_tile(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path((collaboration, path)): Path<(CollaborationId, String)>,
) -> Result<Response, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let tile: Tile =
        format!("tile/{path}").parse().map_err(|e: tile::TileError| ApiError::new(Code::BadRequest, e.to_string()))?;
    let size = log.state().await?.size();
    let missing = || ApiError::not_found(format!("{tile} of a log of {size} entries"));
    let items = tile.items();
    let bytes = match tile.kind {
        TileKind::Entries => {
            if items.end > size {
                return Err(missing());
            }
            let entries =
                store::entries(&mut *app.db.read().await?, log.name(), items.start, items.end - items.start).await?;
            let leaves: Vec<_> = entries.into_iter().map(|e| e.leaf).collect();
            tile::encode_bundle(&leaves).map_err(ApiError::internal)?
        }
        TileKind::Hashes { level } => {
            let mut hashes = Vec::new();
            for index in items {
                let subtree = Subtree { level: level * tile::TILE_HEIGHT, index };
                hashes.push(subtree_of(&app, log.name(), subtree, size).await?.ok_or_else(missing)?);
            }
            tile::encode_tile(&hashes).map_err(ApiError::internal)?
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// The root of a complete subtree, from the hashes of its leaves; none when the log does not reach so far.
async fn subtree_of(app: &App, log: &str, subtree: Subtree, size: u64) -> Result<Option<Digest>, ApiError> {
    let outside = || (subtree.index + 1).checked_shl(u32::from(subtree.level)).is_none_or(|end| end > size);
    if subtree.level > 40 || subtree.index >= size || outside() {
        return Ok(None);
    }
    let from = subtree.index << subtree.level;
    let to = (subtree.index + 1) << subtree.level;
    // Read in pieces and folded, so that a subtree of any height needs the memory of its peaks only.
    let mut frontier = Frontier::new();
    let mut next = from;
    while next < to {
        let end = to.min(next + 65_536);
        for hash in store::leaf_hashes(&mut *app.db.read().await?, log, next, end).await? {
            frontier.push(Digest(hash));
        }
        next = end;
    }
    Ok(Some(frontier.root()))
}

/// A receipt that an entry stands in the log: record, inclusion proof and checkpoint, as a C2SP tlog-proof.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/log/proof/{index}", tag = "log", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("index" = u64, Path, description = "Index of the entry"),
    ),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = Problem))
)]
async fn get_proof(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path((collaboration, index)): Path<(CollaborationId, u64)>,
) -> Result<Response, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let note: SignedCheckpoint = checkpoint(&log.state().await?)?.parse().map_err(ApiError::internal)?;
    let receipt = receipt(&app, log.name(), index, note).await?;
    Ok(text(receipt.to_string()))
}

/// The receipt of entry `index` against `note`.
///
/// # Errors
/// [`Code::NotFound`] past the checkpoint's size.
pub(crate) async fn receipt(app: &App, log: &str, index: u64, note: SignedCheckpoint) -> Result<Receipt, ApiError> {
    let size = note.checkpoint.size;
    let missing = || ApiError::not_found(format!("entry {index} of a log of {size} entries"));
    if index >= size {
        return Err(missing());
    }
    let entry = store::entries(&mut *app.db.read().await?, log, index, 1).await?.pop().ok_or_else(missing)?;
    let mut known = HashMap::new();
    for subtree in inclusion_subtrees(index, size).map_err(ApiError::internal)? {
        known.insert((subtree.level, subtree.index), subtree_of(app, log, subtree, size).await?.ok_or_else(missing)?);
    }
    let hashes =
        inclusion_proof(index, size, |s| known.get(&(s.level, s.index)).copied()).map_err(ApiError::internal)?;
    Ok(Receipt { entry: Some(entry.leaf), index, hashes, checkpoint: note })
}
