//! Updates on their way in: announced, received in parts, sealed. Nothing of one counts before its statement stands in the
//! log, and that stands there only when all bytes are durable and are what was announced.

use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, PartyId, RunId};
use allmende_core::run::plan::{Coalition, ModelSpec};
use allmende_core::statement::{Body, UpdateSubmitted};
use allmende_formats::safetensors::canonical_header;
use axum::extract::{Request, State};
use sqlx::Row as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::aggregate::check_model;
use crate::api::{Placed, Submission, UploadOpening, UploadStanding};
use crate::app::App;
use crate::auth::{NodeCaller, RequireScope};
use crate::blobs::{BlobError, Expect};
use crate::collaboration::api::{aborted, require_own};
use crate::collaboration::readable;
use crate::db::{DbError, to_i64, to_u64};
use crate::error::{ApiError, Code, Problem};
use crate::extract::{Json, Path};
use crate::faults;
use crate::ledger::{Item, Log};
use crate::party::api::{open, placed};
use crate::transaction;

/// Routes that answer soon.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(open_upload)).routes(routes!(get_upload))
}

/// Routes of bytes, which may take long.
pub fn transfers() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(put_part)).routes(routes!(seal))
}

struct Upload {
    id: String,
    log: String,
    body: UpdateSubmitted,
    sealed: bool,
}

fn body_of(opening: &UploadOpening) -> UpdateSubmitted {
    UpdateSubmitted {
        run: opening.run.clone(),
        coalition: opening.coalition,
        round: opening.round,
        slot: opening.slot,
        offer: opening.offer,
        base: opening.base,
        update: opening.update,
        size_bytes: opening.size_bytes,
        weight: opening.weight,
    }
}

/// An upload is known by what it announces: announcing the same again finds it, whatever happened in between. The offer is
/// left out, because a node that comes back answers a newer offer of the same work.
fn id_of(log: &str, party: &PartyId, body: &UpdateSubmitted) -> String {
    let text = format!(
        "{log}\n{party}\n{}\n{}\n{}\n{}\n{}\n{}\n{}",
        body.run, body.coalition.0, body.round, body.slot, body.update, body.size_bytes, body.weight
    );
    Digest::of(text.as_bytes()).hex()
}

/// Announce an update. Checked against the rules at once; announcing the same again tells where it stands.
#[utoipa::path(
    post, path = "/v1/collaborations/{collaboration}/uploads", tag = "runs", security(("token" = [])),
    params(("collaboration" = String, Path, description = "Its name")), request_body = UploadOpening,
    responses((status = 200, body = UploadStanding), (status = "default", body = Problem))
)]
async fn open_upload(
    State(app): State<App>,
    RequireScope(caller): NodeCaller,
    Path(collaboration): Path<CollaborationId>,
    Json(opening): Json<UploadOpening>,
) -> Result<Json<UploadStanding>, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let body = body_of(&opening);
    let id = id_of(log.name(), &caller.party, &body);
    if let Some(known) = find(&app, &log, &id).await? {
        return standing(&app, &known).await;
    }
    log.state().await?.check_update(&caller.party, &body, app.clock.now())?;
    if body.size_bytes > app.config.max_update_bytes {
        let detail = format!("an update has at most max_update_bytes = {} bytes", app.config.max_update_bytes);
        return Err(ApiError::new(Code::TooLarge, detail));
    }
    let (now, max_open) = (app.clock.now(), to_i64(app.config.max_open_uploads)?);
    let (size, weight) = (to_i64(body.size_bytes)?, to_i64(body.weight)?);
    let party = &caller.party;
    let opened: Result<bool, DbError> = transaction!(app.db, tx => {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM uploads WHERE statement = $1 AND state = 'open'")
            .bind(party.as_str())
            .fetch_one(&mut **tx)
            .await?;
        if count >= max_open {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO uploads (id, log, run, coalition, round, slot, digest, size_bytes, weight, offer, statement,
             state, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'open', $12) ON CONFLICT DO NOTHING",
        )
        .bind(&id)
        .bind(log.name())
        .bind(body.run.as_str())
        .bind(i64::from(body.coalition.0))
        .bind(i64::from(body.round))
        .bind(i64::from(body.slot))
        .bind(body.update.to_string())
        .bind(size)
        .bind(weight)
        .bind(format!("{} {}", body.offer, body.base))
        .bind(party.as_str())
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
        Ok(true)
    });
    if !opened? {
        let detail = format!("{party} has max_open_uploads = {max_open} uploads under way");
        return Err(ApiError::new(Code::TooMany, detail).hint("seal them, or wait until they are swept"));
    }
    let upload = Upload { id, log: log.name().to_owned(), body, sealed: false };
    standing(&app, &upload).await
}

/// Where an upload stands.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/uploads/{id}", tag = "runs", security(("token" = [])),
    params(("collaboration" = String, Path, description = "Its name"), ("id" = String, Path, description = "The upload's id")),
    responses((status = 200, body = UploadStanding), (status = "default", body = Problem))
)]
async fn get_upload(
    State(app): State<App>,
    RequireScope(caller): NodeCaller,
    Path((collaboration, id)): Path<(CollaborationId, String)>,
) -> Result<Json<UploadStanding>, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    standing(&app, &own(&app, &log, &caller.party, &id).await?).await
}

/// Send one part, from 0. Sending it again replaces it.
#[utoipa::path(
    put, path = "/v1/collaborations/{collaboration}/uploads/{id}/parts/{part}", tag = "runs", security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("id" = String, Path, description = "The upload's id"),
        ("part" = u64, Path, description = "Which part, from 0"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = UploadStanding), (status = "default", body = Problem))
)]
async fn put_part(
    State(app): State<App>,
    RequireScope(caller): NodeCaller,
    Path((collaboration, id, part)): Path<(CollaborationId, String, u64)>,
    request: Request,
) -> Result<Json<UploadStanding>, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let upload = own(&app, &log, &caller.party, &id).await?;
    let part_bytes = app.config.max_part_bytes;
    let total = upload.body.size_bytes.div_ceil(part_bytes);
    if part >= total {
        return Err(ApiError::new(Code::Unprocessable, format!("the upload has {total} parts")));
    }
    let size = part_bytes.min(upload.body.size_bytes - part * part_bytes);
    let _slot = app.parts_in_flight.try_acquire().map_err(|_| {
        let detail = format!("max_parts_in_flight = {} parts are under way", app.config.max_parts_in_flight);
        ApiError::new(Code::Unavailable, detail).retry_after_s(1)
    })?;
    let expect = Expect { digest: None, size_bytes: Some(size), max_bytes: size };
    let stored = app.blobs.put(request.into_body().into_data_stream(), &expect).await?;
    faults::point("upload.before_note");
    let (number, size) = (to_i64(part)?, to_i64(size)?);
    let noted: Result<(), DbError> = transaction!(app.db, tx => {
        sqlx::query(
            "INSERT INTO upload_parts (upload, part, size_bytes, digest) VALUES ($1, $2, $3, $4)
             ON CONFLICT (upload, part) DO UPDATE SET size_bytes = excluded.size_bytes, digest = excluded.digest",
        )
        .bind(&id)
        .bind(number)
        .bind(size)
        .bind(stored.digest.to_string())
        .execute(&mut **tx)
        .await?;
        Ok(())
    });
    noted?;
    faults::point("upload.after_note");
    standing(&app, &upload).await
}

/// Seal an upload with the node's signed `update.submitted`. When this answers, the update counts and is durable.
#[utoipa::path(
    post, path = "/v1/collaborations/{collaboration}/uploads/{id}/seal", tag = "runs", security(("token" = [])),
    params(("collaboration" = String, Path, description = "Its name"), ("id" = String, Path, description = "The upload's id")),
    request_body = Submission,
    responses((status = 200, body = Placed), (status = "default", body = Problem))
)]
async fn seal(
    State(app): State<App>,
    RequireScope(caller): NodeCaller,
    Path((collaboration, id)): Path<(CollaborationId, String)>,
    Json(submission): Json<Submission>,
) -> Result<Json<Placed>, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let opened = open(&submission)?;
    require_own(&caller, &opened.statement.header.by.party)?;
    let upload = own(&app, &log, &caller.party, &id).await?;
    let Body::UpdateSubmitted(body) = &opened.statement.body else {
        return Err(ApiError::new(Code::Unprocessable, "an upload is sealed by update.submitted"));
    };
    if id_of(log.name(), &caller.party, body) != id {
        return Err(ApiError::new(Code::Unprocessable, "the statement is not about this upload"));
    }
    if !upload.sealed {
        assemble(&app, &log, &upload).await?;
    }
    faults::point("seal.before_append");
    let appended = log.append(vec![Item::Signed(submission.statement)]).await?;
    faults::point("seal.after_append");
    let sealed: Result<(), DbError> = transaction!(app.db, tx => {
        sqlx::query("UPDATE uploads SET state = 'sealed' WHERE id = $1").bind(&id).execute(&mut **tx).await?;
        sqlx::query("DELETE FROM upload_parts WHERE upload = $1").bind(&id).execute(&mut **tx).await?;
        Ok(())
    });
    sealed?;
    placed(&log, appended.first().ok_or_else(aborted)?).await
}

/// Joins the parts, and checks digest, size, layout and values.
async fn assemble(app: &App, log: &Log, upload: &Upload) -> Result<(), ApiError> {
    let spec = log.state().await?.run(&upload.body.run)?.plan.model.clone();
    let parts = parts(app, &upload.id).await?;
    let total = upload.body.size_bytes.div_ceil(app.config.max_part_bytes);
    if parts.len() as u64 != total {
        let detail = format!("{} of {total} parts are here", parts.len());
        return Err(ApiError::new(Code::Unprocessable, detail).hint("send the missing parts first"));
    }
    let (update, size) = (upload.body.update, upload.body.size_bytes);
    // Also when the store has these bytes already: somebody else may have sent them, and only who holds an update may
    // hand it in. Its digest stands in the log for all members to read.
    let expect = Expect { digest: Some(update), size_bytes: Some(size), max_bytes: size };
    app.blobs.join(parts.iter().map(|(_, digest)| *digest).collect(), &expect).await?;
    let header = header_of(&spec)?;
    check_model(&app.blobs, update, &header)
        .await?
        .map_err(|why| ApiError::new(Code::Unprocessable, format!("the update is refused: {why}")))
}

fn header_of(spec: &ModelSpec) -> Result<Vec<u8>, ApiError> {
    canonical_header(&spec.tensors()).map_err(ApiError::internal)
}

async fn standing(app: &App, upload: &Upload) -> Result<Json<UploadStanding>, ApiError> {
    let part_bytes = app.config.max_part_bytes;
    let parts = parts(app, &upload.id).await?.into_iter().map(|(part, _)| part).collect();
    Ok(Json(UploadStanding {
        id: upload.id.clone(),
        part_bytes,
        parts,
        parts_total: upload.body.size_bytes.div_ceil(part_bytes),
        sealed: upload.sealed,
    }))
}

async fn parts(app: &App, id: &str) -> Result<Vec<(u64, Digest)>, ApiError> {
    let rows = sqlx::query("SELECT part, digest FROM upload_parts WHERE upload = $1 ORDER BY part")
        .bind(id)
        .fetch_all(&mut *app.db.read().await?)
        .await?;
    rows.iter()
        .map(|row| {
            let part = to_u64("upload_parts.part", row.try_get(0)?)?;
            Ok((part, digest("upload_parts.digest", &row.try_get::<String, _>(1)?)?))
        })
        .collect()
}

fn digest(column: &'static str, text: &str) -> Result<Digest, DbError> {
    text.parse().map_err(|e| DbError::Corrupt { column, message: format!("{text}: {e}") })
}

/// An upload of the caller's own party.
async fn own(app: &App, log: &Log, party: &PartyId, id: &str) -> Result<Upload, ApiError> {
    let missing = || ApiError::not_found("this upload");
    let upload = find(app, log, id).await?.ok_or_else(missing)?;
    // The id binds the party.
    if id_of(&upload.log, party, &upload.body) == id { Ok(upload) } else { Err(missing()) }
}

async fn find(app: &App, log: &Log, id: &str) -> Result<Option<Upload>, ApiError> {
    let row = sqlx::query(
        "SELECT run, coalition, round, slot, digest, size_bytes, weight, offer, state FROM uploads WHERE id = $1 AND log = $2",
    )
    .bind(id)
    .bind(log.name())
    .fetch_optional(&mut *app.db.read().await?)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let corrupt = |column, message: String| DbError::Corrupt { column, message };
    let run: RunId = row
        .try_get::<String, _>(0)?
        .parse()
        .map_err(|e: allmende_core::id::InvalidId| corrupt("uploads.run", e.to_string()))?;
    let small = |column, value: i64| u32::try_from(value).map_err(|e| corrupt(column, e.to_string()));
    let coalition =
        u16::try_from(row.try_get::<i64, _>(1)?).map_err(|e| corrupt("uploads.coalition", e.to_string()))?;
    let offer: String = row.try_get(7)?;
    let (offer, base) = offer.split_once(' ').ok_or_else(|| corrupt("uploads.offer", offer.clone()))?;
    let body = UpdateSubmitted {
        run,
        coalition: Coalition(coalition),
        round: small("uploads.round", row.try_get(2)?)?,
        slot: small("uploads.slot", row.try_get(3)?)?,
        offer: digest("uploads.offer", offer)?,
        base: digest("uploads.offer", base)?,
        update: digest("uploads.digest", &row.try_get::<String, _>(4)?)?,
        size_bytes: to_u64("uploads.size_bytes", row.try_get(5)?)?,
        weight: to_u64("uploads.weight", row.try_get(6)?)?,
    };
    let sealed = row.try_get::<String, _>(8)? == "sealed";
    Ok(Some(Upload { id: id.to_owned(), log: log.name().to_owned(), body, sealed }))
}

/// Removes uploads that were never sealed, and the bytes of their parts. Parts whose bytes a sealed update shares stay.
///
/// # Errors
/// The store's.
pub async fn sweep(app: &App) -> Result<u64, ApiError> {
    let before =
        app.clock.now().plus_ms(-i64::try_from(app.config.upload_max_age_s).unwrap_or(i64::MAX).saturating_mul(1_000));
    let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM uploads WHERE state = 'open' AND created_at < $1")
        .bind(before.0)
        .fetch_all(&mut *app.db.read().await?)
        .await?;
    let mut swept = 0;
    for id in ids {
        let parts = parts(app, &id).await?;
        let removed: Result<(), DbError> = transaction!(app.db, tx => {
            sqlx::query("DELETE FROM upload_parts WHERE upload = $1").bind(&id).execute(&mut **tx).await?;
            sqlx::query("DELETE FROM uploads WHERE id = $1").bind(&id).execute(&mut **tx).await?;
            Ok(())
        });
        removed?;
        for (_, digest) in parts {
            let shared: i64 = sqlx::query_scalar(
                "SELECT (SELECT COUNT(*) FROM upload_parts WHERE digest = $1) + (SELECT COUNT(*) FROM uploads WHERE digest = $1)",
            )
            .bind(digest.to_string())
            .fetch_one(&mut *app.db.read().await?)
            .await?;
            if shared == 0 {
                match app.blobs.delete(&digest).await {
                    Ok(()) | Err(BlobError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        swept += 1;
    }
    Ok(swept)
}
