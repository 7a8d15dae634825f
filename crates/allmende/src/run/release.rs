//! Releases: the statement binds a manifest; the files are then given out.

use std::sync::Arc;

use allmende_core::digest::Digest;
use allmende_core::id::RunId;
use allmende_core::statement::ModelReleased;
use bytes::Bytes;

use super::card::{self, Files};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::ledger::Log;

/// The files of a finished run as the hub writes them.
///
/// # Errors
/// [`Code::NotFound`] before the run's end.
pub async fn files(app: &App, log: &Log, run: &RunId) -> Result<(Files, Digest), ApiError> {
    let missing = || ApiError::not_found(format!("a model of run {run}")).hint("the run has to finish first");
    let model = log.state().await?.run(run)?.final_model.ok_or_else(missing)?;
    let size = app.blobs.size(&model).await?;
    let state = log.state().await?;
    Ok((card::files(&state, state.run(run)?, size).ok_or_else(missing)?, model))
}

/// Checks that a release binds the manifest of exactly the files that will be given out, and stores them first.
///
/// # Errors
/// [`Code::Unprocessable`] when it is another one.
pub async fn check(app: &App, log: &Arc<Log>, body: &ModelReleased) -> Result<(), ApiError> {
    let (files, _) = files(app, log, &body.run).await?;
    let digest = Digest::of(&files.manifest);
    if digest != body.manifest {
        let detail = format!("the manifest of these files is {digest}, not {}", body.manifest);
        return Err(ApiError::new(Code::Unprocessable, detail).hint("fetch …/files/manifest.json and sign its digest"));
    }
    for bytes in [files.card, files.config, files.manifest] {
        app.blobs.put_bytes(Bytes::from(bytes)).await?;
    }
    Ok(())
}
