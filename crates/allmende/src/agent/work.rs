//! The work itself: answer, train, evaluate. Computes on a thread of its own, and says nothing about rows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use allmende_core::digest::Digest;
use allmende_core::id::AssetId;
use allmende_core::run::plan::{Coalition, MAX_MODEL_BYTES, Plan};
use allmende_core::state::State;
use allmende_core::state::runs::Run;
use allmende_core::statement::{Confusion, EvaluationReported, RefusalCode, RunAccepted};
use allmende_train::evaluate::evaluate;
use allmende_train::local::{Round, TrainError, train_round};
use allmende_train::metrics::SMALL_CELL;
use allmende_train::model::initial_model;
use allmende_train::prepare::normalized;
use allmende_train::stream::StreamKey;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::checks::Job;
use super::data::{self, Dataset};
use super::outbox::Outbox;
use super::preview::Preview;
use super::settings::Settings;
use crate::api::UploadOpening;
use crate::client::error::ClientError;
use crate::client::http::Signer;
use crate::client::store::write_durably;
use crate::client::submit::{RemoteLog, SubmitError};
use crate::client::upload::upload;

/// Most models kept on disk.
const MAX_CACHED_MODELS: usize = 64;
/// Room for the header of a model's file, in bytes.
const HEADER_BYTES: u64 = 1 << 20;

/// Why a piece of work came to nothing. These texts stay on this machine.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The hub, the log or the mirror.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The computation failed; it would fail again.
    #[error("{0}")]
    Compute(String),
    /// A local file failed.
    #[error("{0}")]
    File(String),
    /// Stopped.
    #[error("stopped")]
    Cancelled,
    /// A check after the computation no longer holds.
    #[error("the work is void by now: {0}")]
    Void(&'static str),
}

impl WorkError {
    /// Whether doing it again could help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Compute(_))
    }
}

impl From<ClientError> for WorkError {
    fn from(error: ClientError) -> Self {
        Self::Submit(error.into())
    }
}

/// Where a file stood when it was read.
type Seen = (u64, Option<SystemTime>);

/// The node's datasets and models.
pub struct Desk {
    dir: PathBuf,
    datasets: Mutex<BTreeMap<AssetId, (Seen, Arc<Dataset>)>>,
}

/// Everything a job needs beside itself.
#[derive(Clone)]
pub struct Tools {
    /// Datasets and models.
    pub desk: Arc<Desk>,
    /// The owner's settings.
    pub settings: Arc<Settings>,
    /// The journal of what leaves.
    pub outbox: Arc<Outbox>,
    /// Who signs.
    pub signer: Signer,
    /// Stops everything.
    pub cancel: CancellationToken,
}

impl Desk {
    /// A desk in the node's folder `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), datasets: Mutex::default() }
    }

    /// The dataset, read anew when its file changed; none unless it is exactly what was registered.
    fn dataset(&self, settings: &Settings, state: &State, asset: &AssetId) -> Option<Arc<Dataset>> {
        let offered = settings.dataset.get(asset)?;
        let registered = state.asset(asset)?;
        let meta = std::fs::metadata(&offered.path)
            .inspect_err(|error| tracing::warn!(%asset, %error, "the dataset's file cannot be read"))
            .ok()?;
        let seen = (meta.len(), meta.modified().ok());
        let kept = self.datasets.lock().unwrap_or_else(PoisonError::into_inner).get(asset).cloned();
        let dataset = match kept.filter(|(at, _)| *at == seen) {
            Some((_, dataset)) => dataset,
            None => {
                let loaded = data::load(&offered.path, offered.classes, &offered.salt)
                    .inspect_err(|error| tracing::warn!(%asset, %error, "the dataset cannot be used"));
                let dataset = Arc::new(loaded.ok()?);
                let mut kept = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
                kept.insert(asset.clone(), (seen, Arc::clone(&dataset)));
                dataset
            }
        };
        let same = dataset.commitment == registered.commitment
            && dataset.schema_digest == registered.schema
            && dataset.train.rows() as u64 == registered.train_rows
            && dataset.held_out.rows() as u64 == registered.held_out_rows;
        if !same {
            tracing::warn!(%asset, "the dataset is not the one that was registered");
        }
        same.then_some(dataset)
    }

    /// The bytes of a model: made here when it is the initial one, else from the cache or the hub.
    async fn model(&self, log: &RemoteLog, run: &Run, digest: Digest) -> Result<Vec<u8>, WorkError> {
        if digest == run.plan.base_model {
            let plan = run.plan.clone();
            return blocking(move || initial(&plan)).await;
        }
        let folder = self.dir.join("models");
        let path = folder.join(format!("{}.safetensors", digest.hex()));
        if let Ok(bytes) = tokio::fs::read(&path).await
            && Digest::of(&bytes) == digest
        {
            return Ok(bytes);
        }
        let id = log.name().collaboration().ok_or(WorkError::Void("no collaboration"))?;
        let file = |e: std::io::Error| WorkError::File(e.to_string());
        tokio::fs::create_dir_all(&folder).await.map_err(file)?;
        prune(&folder);
        let limit_bytes = (run.plan.model.parameters() * 4 + HEADER_BYTES).min(MAX_MODEL_BYTES + HEADER_BYTES);
        log.client().model(id, &run.id, &digest, limit_bytes, &path).await?;
        tokio::fs::read(&path).await.map_err(file)
    }
}

/// Removes the oldest models of a full cache.
fn prune(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|f| f.path().extension().is_some_and(|e| e == "safetensors"))
        .filter_map(|f| Some((f.metadata().ok()?.modified().ok()?, f.path())))
        .collect();
    files.sort();
    let surplus = (files.len() + 1).saturating_sub(MAX_CACHED_MODELS);
    for (_, path) in files.into_iter().take(surplus) {
        // One that stays only takes room.
        let _ = std::fs::remove_file(path);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkError> + Send + 'static,
) -> Result<T, WorkError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(WorkError::Compute(e.to_string())))
}

fn initial(plan: &Plan) -> Result<Vec<u8>, WorkError> {
    initial_model(&plan.model, plan.seed).map_err(|e| WorkError::Compute(e.to_string()))
}

/// Checks what needs data or computation before a run is accepted: the initial model follows from the plan, and the
/// dataset is here and is the one that was registered.
///
/// # Errors
/// [`WorkError`] when it could not be checked.
pub async fn examine(tools: &Tools, state: Arc<State>, run: &Run, job: &Job) -> Result<Option<RefusalCode>, WorkError> {
    let (tools, plan, slot) = (tools.clone(), run.plan.clone(), job.slot);
    blocking(move || {
        if initial(&plan).ok().map(|bytes| Digest::of(&bytes)) != Some(plan.base_model) {
            return Ok(Some(RefusalCode::Mismatch));
        }
        let asset = plan.slots.get(slot as usize).map(|s| s.asset.clone());
        let here = asset.is_some_and(|asset| tools.desk.dataset(&tools.settings, &state, &asset).is_some());
        Ok((!here).then_some(RefusalCode::Data))
    })
    .await
}

/// Accepts the run.
///
/// # Errors
/// [`WorkError::Submit`].
pub async fn accept(tools: &Tools, log: &RemoteLog, run: &Run, log_size: u64) -> Result<(), WorkError> {
    let body = RunAccepted { run: run.id.clone(), plan: run.plan_digest, log_size };
    log.submit(&tools.signer, body, Some(run.plan.agreement)).await?;
    Ok(())
}

/// A finished update, kept on disk until it counts, so that a restart sends it and does not train again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Finished {
    opening: UploadOpening,
    expires_at: allmende_core::time::Timestamp,
}

/// A finished update, and where it is kept until it counts.
pub struct Update {
    opening: UploadOpening,
    bytes: Bytes,
    kept: [PathBuf; 2],
}

impl Update {
    /// Uploads it. May be called again after any failure.
    ///
    /// # Errors
    /// [`WorkError::Submit`].
    pub async fn send(self, tools: &Tools, log: &RemoteLog) -> Result<(), WorkError> {
        upload(log, &tools.signer, &self.opening, &self.bytes, &tools.cancel).await?;
        for path in &self.kept {
            // A left-over is found to be done when it is met again.
            let _ = tokio::fs::remove_file(path).await;
        }
        Ok(())
    }
}

/// Trains a round, or finds the update that an earlier process finished. Nothing of it leaves here.
///
/// # Errors
/// [`WorkError`].
pub async fn train(
    tools: &Tools,
    log: &RemoteLog,
    state: Arc<State>,
    run: &Run,
    job: &Job,
    (coalition, round, base): (Coalition, u32, Digest),
) -> Result<Update, WorkError> {
    let id = log.name().collaboration().ok_or(WorkError::Void("no collaboration"))?;
    let folder = tools.desk.dir.join("work").join(id.as_str()).join(run.id.as_str());
    let stem = format!("{:04x}-{round}-{}", coalition.0, base.short());
    let (model_path, note_path) = (folder.join(format!("{stem}.safetensors")), folder.join(format!("{stem}.json")));
    let now = log.client().clock().now();
    let (opening, bytes) = match kept(&model_path, &note_path, job, now) {
        Some(kept) => kept,
        None => {
            let base_bytes = tools.desk.model(log, run, base).await?;
            let made = compute(tools, state, run, job, (coalition, round), base_bytes).await?;
            let opening = UploadOpening {
                run: run.id.clone(),
                coalition,
                round,
                slot: job.slot,
                offer: job.digest,
                base,
                update: Digest::of(&made.update),
                size_bytes: made.update.len() as u64,
                weight: made.weight,
            };
            let finished = Finished { opening: opening.clone(), expires_at: job.offer.expires_at };
            let note = serde_json::to_vec(&finished).map_err(|e| WorkError::File(e.to_string()))?;
            let file = |e: crate::client::store::StoreError| WorkError::File(e.to_string());
            write_durably(&model_path, &made.update).map_err(file)?;
            write_durably(&note_path, &note).map_err(file)?;
            let listed = tools.outbox.prepared(id, &run.id, opening.update, opening.size_bytes, made.preview);
            listed.map_err(|e| WorkError::File(e.to_string()))?;
            (opening, made.update)
        }
    };
    Ok(Update { opening, bytes, kept: [note_path, model_path] })
}

/// An update that an earlier process finished for the same piece of work. Its offer is kept while it holds, so that a
/// half-done upload goes on.
fn kept(model: &Path, note: &Path, job: &Job, now: allmende_core::time::Timestamp) -> Option<(UploadOpening, Bytes)> {
    let Finished { mut opening, expires_at } = serde_json::from_slice(&std::fs::read(note).ok()?).ok()?;
    let update = Bytes::from(std::fs::read(model).ok()?);
    if Digest::of(&update) != opening.update || opening.slot != job.slot {
        return None;
    }
    if expires_at <= now {
        opening.offer = job.digest;
    }
    Some((opening, update))
}

struct Made {
    update: Bytes,
    weight: u64,
    preview: Preview,
}

async fn compute(
    tools: &Tools,
    state: Arc<State>,
    run: &Run,
    job: &Job,
    (coalition, round): (Coalition, u32),
    base: Vec<u8>,
) -> Result<Made, WorkError> {
    let (tools, plan, slot) = (tools.clone(), run.plan.clone(), job.slot);
    blocking(move || {
        let table = {
            let dataset = dataset_of(&tools, &state, &plan, slot)?;
            normalized(&dataset.train, &plan.normalization).map_err(|e| WorkError::Compute(e.to_string()))?
        };
        let key = StreamKey::round(plan.seed, coalition, round, slot as usize);
        let work = Round { spec: &plan.model, training: &plan.training, table: &table, base: &base, key };
        let cancel = tools.cancel.clone();
        let outcome = train_round(&work, &mut |_| {
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let outcome = outcome.map_err(|e| match e {
            TrainError::Cancelled => WorkError::Cancelled,
            other => WorkError::Compute(other.to_string()),
        })?;
        let preview = Preview::of(&plan.model, &base, &outcome.model).map_err(|e| WorkError::Compute(e.to_string()))?;
        Ok(Made { update: outcome.model.into(), weight: table.rows() as u64, preview })
    })
    .await
}

fn dataset_of(tools: &Tools, state: &State, plan: &Plan, slot: u32) -> Result<Arc<Dataset>, WorkError> {
    let asset = plan.slots.get(slot as usize).map(|s| &s.asset).ok_or(WorkError::Void("no such place"))?;
    tools.desk.dataset(&tools.settings, state, asset).ok_or(WorkError::Void("the dataset is not here"))
}

/// Evaluates a model on the held-out rows: the counts, and for the whole coalition only the confusion matrix, its small
/// cells merged.
///
/// # Errors
/// [`WorkError`].
pub async fn count(
    tools: &Tools,
    log: &RemoteLog,
    state: Arc<State>,
    run: &Run,
    job: &Job,
    (coalition, round, model): (Coalition, u32, Digest),
) -> Result<EvaluationReported, WorkError> {
    let bytes = tools.desk.model(log, run, model).await?;
    let (shared, plan, slot, whole) = (tools.clone(), run.plan.clone(), job.slot, coalition == run.whole());
    let (correct, total, confusion) = blocking(move || {
        let dataset = dataset_of(&shared, &state, &plan, slot)?;
        let compute = |e: &dyn std::fmt::Display| WorkError::Compute(e.to_string());
        let table = normalized(&dataset.held_out, &plan.normalization).map_err(|e| compute(&e))?;
        let counts = evaluate(&plan.model, &bytes, &table).map_err(|e| compute(&e))?.confusion;
        Ok((counts.correct(), counts.total(), whole.then(|| told(&counts))))
    })
    .await?;
    if tools.cancel.is_cancelled() {
        return Err(WorkError::Cancelled);
    }
    Ok(EvaluationReported { run: run.id.clone(), coalition, round, slot: job.slot, model, correct, total, confusion })
}

/// Reports counts.
///
/// # Errors
/// [`WorkError::Submit`].
pub async fn report(
    tools: &Tools,
    log: &RemoteLog,
    counts: EvaluationReported,
    agreement: Digest,
) -> Result<(), WorkError> {
    log.submit(&tools.signer, counts, Some(agreement)).await?;
    Ok(())
}

/// What may be told of a confusion matrix.
fn told(counts: &allmende_train::metrics::Confusion) -> Confusion {
    let mut cells = Vec::new();
    let mut merged = 0_u64;
    for (i, &rows) in (0_u32..).zip(&counts.counts) {
        if rows >= SMALL_CELL {
            cells.push((i / counts.classes, i % counts.classes, rows));
        } else {
            merged = merged.saturating_add(rows);
        }
    }
    Confusion { cells, merged }
}
