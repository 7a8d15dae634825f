//! An update on its way to the hub: announced, sent part by part, sealed. It counts once or not at all, and a break at any
//! point costs at most the part that was under way.

use std::time::Duration;

use allmende_core::digest::Digest;
use allmende_core::statement::{Body, UpdateSubmitted};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::error::ClientError;
use super::http::{Signer, pause};
use super::submit::{RemoteLog, Route, SubmitError};
use crate::api::{Placed, UploadOpening, UploadStanding};

/// Largest part that a hub may ask for, in bytes.
pub const MAX_PART_BYTES: u64 = 64 << 20;
/// How often an upload goes on after a break before its failure is reported.
const ATTEMPTS: u32 = 12;

/// The statement that seals an upload.
#[must_use]
pub fn seal_of(opening: &UploadOpening) -> UpdateSubmitted {
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

/// Uploads `update` as `opening` announces it, and seals it with the signer's statement. May be called again after any
/// failure, in another process too: what the hub has is not sent twice.
///
/// # Errors
/// [`SubmitError`]; [`ClientError::Cancelled`] as soon as `cancel` says so.
pub async fn upload(
    log: &RemoteLog,
    signer: &Signer,
    opening: &UploadOpening,
    update: &Bytes,
    cancel: &CancellationToken,
) -> Result<Placed, SubmitError> {
    if Digest::of(update) != opening.update || update.len() as u64 != opening.size_bytes {
        let reason = "the bytes are not those that were announced".to_owned();
        return Err(ClientError::Answer { what: "upload".to_owned(), reason }.into());
    }
    let mut attempt = 1;
    loop {
        let tried = tokio::select! {
            () = cancel.cancelled() => return Err(ClientError::Cancelled.into()),
            tried = try_upload(log, signer, opening, update) => tried,
        };
        match tried {
            Err(error) if attempt < ATTEMPTS && (error.is_passing() || is_lost(&error)) => {
                tracing::debug!(attempt, code = error.code(), "upload broke off, going on");
                wait(pause(attempt), cancel).await?;
                attempt += 1;
            }
            // The hub may refuse to begin again what an earlier attempt, whose answer was lost, had finished.
            Err(error @ SubmitError::Client(ClientError::Problem(_))) => {
                return placed_already(log, opening, signer).await?.ok_or(error);
            }
            other => return other,
        }
    }
}

async fn wait(pause: Duration, cancel: &CancellationToken) -> Result<(), SubmitError> {
    tokio::select! {
        () = cancel.cancelled() => Err(ClientError::Cancelled.into()),
        () = tokio::time::sleep(pause) => Ok(()),
    }
}

/// The hub does not know the upload any more: it is announced anew.
fn is_lost(error: &SubmitError) -> bool {
    matches!(error, SubmitError::Client(e) if e.code() == "not_found" || e.code() == "digest_mismatch")
}

async fn try_upload(
    log: &RemoteLog,
    signer: &Signer,
    opening: &UploadOpening,
    update: &Bytes,
) -> Result<Placed, SubmitError> {
    let id = log.name().collaboration().ok_or(SubmitError::WrongLog("update.submitted"))?;
    let client = log.client();
    let mut standing = client.open_upload(id, opening).await?;
    check(&standing, opening)?;
    while let Some(part) = next_missing(&standing) {
        let from = (part * standing.part_bytes) as usize;
        let bytes = update.slice(from..update.len().min(from + standing.part_bytes as usize));
        let next = client.put_part(id, &opening.run, &standing.id, part, bytes).await?;
        check(&next, opening)?;
        if next.id != standing.id || next.part_bytes != standing.part_bytes || !next.parts.contains(&part) {
            return Err(bad("it does not acknowledge the part that it took"));
        }
        standing = next;
    }
    let body = Body::from(seal_of(opening));
    if standing.sealed {
        // An earlier attempt's answer was lost.
        if let Some(placed) = placed_already(log, opening, signer).await? {
            return Ok(placed);
        }
    }
    log.submit_by(Route::Seal { upload: &standing.id }, signer, &body, None).await
}

/// Where the log says that this very upload was sealed, if it was.
async fn placed_already(
    log: &RemoteLog,
    opening: &UploadOpening,
    signer: &Signer,
) -> Result<Option<Placed>, SubmitError> {
    log.catch_up().await?;
    let digest = sealed_in_log(log, opening, signer)?;
    Ok(digest.and_then(|digest| log.standing(&digest)))
}

/// Payload digest of the signer's statement that sealed this very upload, if the mirror holds it. A seal is young, so the
/// search goes back from the end, and not far.
fn sealed_in_log(log: &RemoteLog, opening: &UploadOpening, signer: &Signer) -> Result<Option<Digest>, SubmitError> {
    const LOOK_BACK: u64 = 4_096;
    let mirror = log.mirror();
    let (size, wanted) = (mirror.entries(), Body::from(seal_of(opening)));
    let mut at = size.saturating_sub(LOOK_BACK);
    while at < size {
        let records = mirror.read(at)?;
        for record in &records {
            let Ok(opened) = allmende_core::statement::Statement::open(&record.envelope) else { continue };
            if opened.key == signer.key.public() && opened.statement.body == wanted {
                return Ok(Some(opened.digest));
            }
        }
        at += (records.len() as u64).max(1);
    }
    Ok(None)
}

fn bad(reason: &str) -> SubmitError {
    ClientError::Answer { what: "upload".to_owned(), reason: reason.to_owned() }.into()
}

/// What the hub says of an upload must fit the bytes: part numbers decide what is sent next.
fn check(standing: &UploadStanding, opening: &UploadOpening) -> Result<(), SubmitError> {
    if standing.part_bytes == 0 || standing.part_bytes > MAX_PART_BYTES {
        return Err(bad("the size of a part is beyond its limit"));
    }
    if standing.parts_total != opening.size_bytes.div_ceil(standing.part_bytes) {
        return Err(bad("the number of parts does not fit the size"));
    }
    if standing.parts.len() as u64 > standing.parts_total || standing.parts.iter().any(|&p| p >= standing.parts_total) {
        return Err(bad("it names parts that do not exist"));
    }
    Ok(())
}

fn next_missing(standing: &UploadStanding) -> Option<u64> {
    if standing.sealed {
        return None;
    }
    let have: std::collections::BTreeSet<u64> = standing.parts.iter().copied().collect();
    (0..standing.parts_total).find(|part| !have.contains(part))
}
