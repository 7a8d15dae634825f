//! Witnesses outside: the hub brings each new checkpoint of every log to those that its operator configured, by the C2SP
//! tlog-witness protocol, and keeps their cosignatures where those of the members' nodes are.
//!
//! One task for each witness. It keeps nothing that the witness cannot tell it again: the size that it cosigned last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use allmende_core::ledger::checkpoint::{NoteSignature, SignedCheckpoint};
use allmende_core::ledger::witness::AddCheckpoint;
use reqwest::{StatusCode, header};
use tokio::time::Instant;

use crate::app::App;
use crate::config::Witness;
use crate::db::DbError;
use crate::ledger::read::{self, ReadError};
use crate::ledger::store::{self, Cosignature, LedgerError};
use crate::ledger::{AppendError, Log};
use crate::tls::{self, TlsError, Trust};
use crate::transaction;

/// The type of an answer that tells the size that the witness cosigned last.
const SIZE: &str = "text/x.tlog.size";
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// What arrives within this time goes out as one checkpoint.
const GATHER: Duration = Duration::from_millis(50);
/// First pause after a failure; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Begins to bring checkpoints to every witness of the settings.
///
/// # Errors
/// [`TlsError`] when a witness's address cannot be used.
pub fn ask_all(app: &App) -> Result<(), TlsError> {
    for witness in &app.config.witnesses.0 {
        let trust = witness.pin.map_or(Trust::System, Trust::Pin);
        let http = tls::client(&witness.url, &trust)?;
        let errand = Errand { app: app.clone(), witness: witness.clone(), http, logs: HashMap::new(), failures: 0 };
        app.tasks.spawn(errand.run());
    }
    Ok(())
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum OutsideError {
    #[error("it does not answer: {0}")]
    Connection(#[from] reqwest::Error),
    #[error("it answers {status}: {text}")]
    Refused { status: StatusCode, text: String },
    #[error(
        "it has cosigned {theirs} entries of this log, which has {ours}: entries were lost, or another hub uses this key"
    )]
    Ahead { ours: u64, theirs: u64 },
    #[error("its answer holds no valid cosignature by the configured key")]
    NoCosignature,
    #[error("its answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl OutsideError {
    /// A witness watches what its own operator chose.
    fn is_unwatched(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

impl From<DbError> for OutsideError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

/// Where a witness stands with one log.
struct Told {
    /// The size that it cosigned last.
    size: u64,
    /// When to ask again, although the log did not grow.
    again_at: Instant,
    /// Failures since it last cosigned: until `again_at` it is left alone.
    failures: u32,
}

/// All that one witness is asked.
struct Errand {
    app: App,
    witness: Witness,
    http: reqwest::Client,
    logs: HashMap<String, Told>,
    /// How often in a row it did not answer at all.
    failures: u32,
}

impl Errand {
    async fn run(mut self) {
        let (app, refresh) = (self.app.clone(), Duration::from_secs(self.app.config.witness_refresh_s));
        let mut grown = app.logs.watch();
        while !app.closing.is_cancelled() {
            grown.mark_unchanged();
            let now = Instant::now();
            let round = tokio::select! {
                round = self.round(refresh) => round,
                () = app.closing.cancelled() => return,
            };
            let wake_at = match round {
                Ok(wake_at) => wake_at,
                Err(error) => {
                    self.failures += 1;
                    tracing::warn!(witness = %self.witness.key.name, %error, failures = self.failures, "no cosignatures");
                    tokio::select! {
                        () = tokio::time::sleep(pause(self.failures)) => continue,
                        () = app.closing.cancelled() => return,
                    }
                }
            };
            tokio::select! {
                _ = grown.changed() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep_until(wake_at.max(now + GATHER)) => {}
                () = app.closing.cancelled() => {}
            }
        }
    }

    /// Brings what is due of every log; says when something is due again. A witness that does not answer ends the round.
    async fn round(&mut self, refresh: Duration) -> Result<Instant, OutsideError> {
        let mut logs = vec![self.app.logs.registry().await?];
        for name in self.app.logs.all().await? {
            logs.extend(self.app.logs.get(&name).await?);
        }
        let mut wake_at = Instant::now() + refresh;
        for log in logs {
            if self.app.closing.is_cancelled() {
                break;
            }
            if let Some(note) = self.due(&log).await? {
                self.ask(&log, &note, refresh).await?;
            }
            if let Some(told) = self.logs.get(log.name()) {
                wake_at = wake_at.min(told.again_at);
            }
        }
        Ok(wake_at)
    }

    /// The checkpoint to bring, if one is due.
    async fn due(&mut self, log: &Log) -> Result<Option<SignedCheckpoint>, OutsideError> {
        // What a restored log lacks, a witness may have cosigned: not before its members were heard.
        if log.held().await?.is_some() {
            return Ok(None);
        }
        let Some(note) = log.state().await?.checkpoint().cloned() else { return Ok(None) };
        if !self.logs.contains_key(log.name()) {
            let key = self.witness.key.key.to_string();
            let kept = store::cosignatures(&mut *self.app.db.read().await?, log.name()).await?;
            let size = kept.iter().find(|c| c.key == key).map_or(0, |c| c.size);
            self.logs.insert(log.name().to_owned(), Told { size, again_at: Instant::now(), failures: 0 });
        }
        let told = &self.logs[log.name()];
        let due = Instant::now() >= told.again_at || (told.failures == 0 && note.checkpoint.size > told.size);
        Ok(due.then_some(note))
    }

    /// Brings a checkpoint and keeps the cosignature. Fails only where no other log would fare better.
    async fn ask(&mut self, log: &Arc<Log>, note: &SignedCheckpoint, refresh: Duration) -> Result<(), OutsideError> {
        let told_size = self.logs.get(log.name()).map_or(0, |told| told.size);
        let asked = self.cosigned(log, note, told_size).await;
        let Some(told) = self.logs.get_mut(log.name()) else { return Ok(()) };
        match asked {
            Ok(()) => {
                self.failures = 0;
                *told = Told { size: note.checkpoint.size, again_at: Instant::now() + refresh, failures: 0 };
                Ok(())
            }
            Err(error @ OutsideError::Connection(_)) => Err(error),
            Err(error) => {
                told.failures += 1;
                told.again_at = Instant::now() + pause(told.failures).max(refresh.min(MAX_PAUSE));
                let (log, witness, size) = (log.name(), &self.witness.key.name, note.checkpoint.size);
                match (error.is_unwatched(), told.failures) {
                    (true, 1) => tracing::info!(log, %witness, "the witness does not watch this log"),
                    (true, _) => {}
                    (false, _) => tracing::error!(log, %witness, size, %error, "a witness did not cosign"),
                }
                Ok(())
            }
        }
    }

    async fn cosigned(&self, log: &Log, note: &SignedCheckpoint, told_size: u64) -> Result<(), OutsideError> {
        let size = note.checkpoint.size;
        let (status, kind, text) = match self.send(log, note, told_size.min(size)).await? {
            // It tells the size from which it needs the proof.
            (StatusCode::CONFLICT, kind, text) if kind == SIZE => match text.trim_end().parse() {
                Ok(theirs) if theirs <= size => self.send(log, note, theirs).await?,
                Ok(theirs) => return Err(OutsideError::Ahead { ours: size, theirs }),
                Err(_) => (StatusCode::CONFLICT, kind, text),
            },
            answer => answer,
        };
        if status != StatusCode::OK {
            tracing::debug!(kind, "refused");
            let text = text.chars().filter(|c| !c.is_control()).take(200).collect();
            return Err(OutsideError::Refused { status, text });
        }
        let key = &self.witness.key;
        let line = text.lines().filter_map(|line| line.parse::<NoteSignature>().ok());
        let mut valid =
            line.filter_map(|line| Some((line.cosigned_at_s(&note.checkpoint, &key.name, &key.key)?, line)));
        let (timestamp_s, line) = valid.next().ok_or(OutsideError::NoCosignature)?;
        let kept = Cosignature { key: key.key.to_string(), size, timestamp_s, line: line.to_string() };
        let kept: Result<bool, LedgerError> =
            transaction!(self.app.db, tx => { store::put_cosignature(tx, log.name(), &kept).await });
        if kept? {
            self.app.witnessed.notify(log.name());
        }
        Ok(())
    }

    /// Sends the checkpoint with the proof from `old_size`; gives status, type and text of the answer.
    async fn send(
        &self,
        log: &Log,
        note: &SignedCheckpoint,
        old_size: u64,
    ) -> Result<(StatusCode, String, String), OutsideError> {
        let proof = read::consistency(&self.app.db, log.name(), old_size, note.checkpoint.size).await?;
        let body = AddCheckpoint { old_size, proof, checkpoint: note.clone() }.to_string();
        let url = format!("{}/add-checkpoint", self.witness.url);
        let mut answer = self.http.post(url).timeout(TIMEOUT).body(body).send().await?;
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(OutsideError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((answer.status(), kind, String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// How long to leave a witness alone after so many failures.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(MAX_PAUSE)
}
