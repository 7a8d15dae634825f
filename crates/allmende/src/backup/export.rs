//! The folder of tiles that a hub keeps beside its database: what auditors' tools read, and what a lost database is
//! rebuilt from. Written after the appends, many of them at once; a crash only leaves it behind.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use allmende_core::statement::HUB;

use super::EXPORT;
use crate::app::{App, StartError};
use crate::ledger::{AppendError, LedgerError, Log, hold, store};
use crate::transaction;
use crate::verify::{self, DirSource, ExportError, Exporter};

/// How long to gather appends before the files are written.
const GATHER: Duration = Duration::from_secs(1);
/// How long to wait after a failure of the disk.
const PAUSE: Duration = Duration::from_secs(10);
/// Entries read at once.
const PAGE: u64 = 1_000;

/// Keeps the folder current until the hub stops.
pub async fn keep(app: App) {
    let mut grown = app.logs.watch();
    let mut exporters = HashMap::new();
    loop {
        grown.mark_unchanged();
        let done = all(&app, &mut exporters).await;
        if let Err(error) = &done {
            tracing::warn!(%error, "the logs' tiles were not written; the logs themselves are whole");
        }
        if app.closing.is_cancelled() {
            return;
        }
        let wait = async {
            if done.is_err() {
                tokio::time::sleep(PAUSE).await;
            } else {
                tokio::time::sleep(GATHER).await;
                let _ = grown.changed().await;
            }
        };
        tokio::select! {
            () = wait => {}
            // Once more: a hub that stops leaves nothing behind.
            () = app.closing.cancelled() => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("the export task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("the tiles of {log} reach to {exported} entries, the log only to {size}")]
    Ahead { log: String, exported: u64, size: u64 },
}

impl From<crate::db::DbError> for KeepError {
    fn from(error: crate::db::DbError) -> Self {
        Self::Ledger(error.into())
    }
}

async fn all(app: &App, exporters: &mut HashMap<String, Exporter>) -> Result<(), KeepError> {
    one(app, &app.logs.registry().await?, exporters).await?;
    for name in app.logs.all().await? {
        if let Some(log) = app.logs.get(&name).await? {
            one(app, &log, exporters).await?;
        }
    }
    Ok(())
}

async fn one(app: &App, log: &Arc<Log>, exporters: &mut HashMap<String, Exporter>) -> Result<(), KeepError> {
    let (size, checkpoint) = {
        let state = log.state().await?;
        let Some(checkpoint) = state.checkpoint() else { return Ok(()) };
        (state.size(), checkpoint.clone())
    };
    let mut exporter = match exporters.remove(log.name()) {
        Some(exporter) => exporter,
        None => {
            let dir = app.config.data_dir.join(EXPORT).join(log.name());
            tokio::task::spawn_blocking(move || Exporter::resume(dir)).await??
        }
    };
    if exporter.size() > size {
        return Err(KeepError::Ahead { log: log.name().to_owned(), exported: exporter.size(), size });
    }
    if exporter.size() < size {
        while exporter.size() < size {
            let limit = PAGE.min(size - exporter.size());
            let entries = store::entries(&mut *app.db.read().await?, log.name(), exporter.size(), limit).await?;
            exporter = tokio::task::spawn_blocking(move || {
                entries.iter().try_for_each(|entry| exporter.push(&entry.leaf)).map(|()| exporter)
            })
            .await??;
        }
        exporter = tokio::task::spawn_blocking(move || exporter.finish(&checkpoint).map(|()| exporter)).await??;
    }
    exporters.insert(log.name().to_owned(), exporter);
    Ok(())
}

/// Before a hub starts: tiles that reach further than the database say that the database lost entries. Such a log is held,
/// and a hub whose database is empty beside a full folder does not start: it would begin its logs anew.
///
/// # Errors
/// [`StartError::LostDatabase`].
pub async fn look(app: &App) -> Result<(), StartError> {
    let folder = app.config.data_dir.join(EXPORT);
    let names: Vec<String> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    for name in super::in_order(names) {
        let Some(exported) = signed_size(app, &folder.join(&name), &name) else { continue };
        let here = store::head(&mut *app.db.read().await?, &name).await?.map_or(0, |head| head.size);
        if exported <= here {
            continue;
        }
        if name == HUB && here == 0 {
            return Err(StartError::LostDatabase { dir: folder });
        }
        tracing::error!(
            log = name,
            exported,
            here,
            "the database lost entries that were exported: bring them back with 'allmende ledger rebuild --from'"
        );
        let now = app.clock.now();
        let held: Result<(), LedgerError> = transaction!(app.db, tx => {
            if hold::of(tx, &name).await?.is_none() {
                hold::put(tx, &name, here, now).await?;
            }
            Ok(())
        });
        held?;
    }
    Ok(())
}

/// The size that the checkpoint in a log's folder states, if this hub signed it.
fn signed_size(app: &App, dir: &Path, name: &str) -> Option<u64> {
    let signed = verify::checkpoint(&DirSource::new(dir)).ok()?;
    let origin = app.logs.origin(name)?;
    let ours =
        signed.checkpoint.origin == origin && signed.verify_log_signature(&origin, &app.hub_key.public()).is_ok();
    ours.then_some(signed.checkpoint.size)
}
