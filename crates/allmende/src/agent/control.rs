//! How an owner speaks to a running node: small files in the node's folder. No port is open, no process has to be found.
//!
//! `stop` stops it at once; `waiting/…` holds what it asks its owner; `answers/…` holds what the owner said.

use std::path::{Path, PathBuf};
use std::time::Duration;

use allmende_core::agreement::vocabulary::Purpose;
use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, PartyId, RunId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::store::write_durably;

const STOP: &str = "stop";
/// How often the stop file is looked for.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Why a file between owner and node failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The file system failed.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The node asked nothing about this run.
    #[error("this node does not wait for an answer about {run}")]
    NotAsked {
        /// Which run.
        run: RunId,
    },
}

fn fail(path: &Path, reason: &dyn std::fmt::Display) -> ControlError {
    ControlError::File { path: path.display().to_string(), reason: reason.to_string() }
}

/// How a node stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Nothing at all is sent any more, not even that the owner stopped.
    pub silent: bool,
}

/// What the node asks its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// In which collaboration.
    pub collaboration: CollaborationId,
    /// About which run.
    pub run: RunId,
    /// Digest of its plan: the answer is good for this plan only.
    pub plan: Digest,
    /// Who proposed it.
    pub proposed_by: PartyId,
    /// What for.
    pub purpose: Purpose,
    /// How many rounds.
    pub rounds: u32,
}

/// What the owner said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// To the run with this plan.
    pub plan: Digest,
    /// Yes or no.
    pub approved: bool,
}

/// The node's folder, as owner and node share it.
#[derive(Debug, Clone)]
pub struct Control {
    dir: PathBuf,
}

impl Control {
    /// The files in the node's folder `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    /// Stops the node at once, and keeps it from starting.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn stop(&self, stop: Stop) -> Result<(), ControlError> {
        let path = self.dir.join(STOP);
        let text = serde_json::to_vec(&stop).map_err(|e| fail(&path, &e))?;
        write_durably(&path, &text).map_err(|e| fail(&path, &e))
    }

    /// How the node was stopped, if it was. A stop file that cannot be read is a silent stop: `touch stop` is enough.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        let path = self.dir.join(STOP);
        match path.try_exists() {
            Ok(false) => None,
            _ => Some(read(&path).ok().flatten().unwrap_or(Stop { silent: true })),
        }
    }

    /// Lets the node start again.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn resume(&self) -> Result<(), ControlError> {
        remove(&self.dir.join(STOP))
    }

    /// Returns as soon as the owner stops the node.
    pub async fn watch(&self) -> Stop {
        loop {
            if let Some(stop) = self.stopped() {
                return stop;
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    fn path(&self, folder: &str, collaboration: &CollaborationId, run: &RunId) -> PathBuf {
        self.dir.join(folder).join(collaboration.as_str()).join(format!("{run}.json"))
    }

    /// Asks the owner, unless it was asked already.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn ask(&self, question: &Question) -> Result<(), ControlError> {
        let path = self.path("waiting", &question.collaboration, &question.run);
        if read::<Question>(&path)?.as_ref() == Some(question) {
            return Ok(());
        }
        let text = serde_json::to_vec(question).map_err(|e| fail(&path, &e))?;
        write_durably(&path, &text).map_err(|e| fail(&path, &e))
    }

    /// All questions without an answer.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn questions(&self) -> Result<Vec<Question>, ControlError> {
        let mut questions = Vec::new();
        for folder in list(&self.dir.join("waiting"))? {
            for path in list(&folder)? {
                questions.extend(read::<Question>(&path)?);
            }
        }
        Ok(questions)
    }

    /// The owner's answer to what the node asked about a run.
    ///
    /// # Errors
    /// [`ControlError::NotAsked`] when it asked nothing.
    pub fn answer(&self, collaboration: &CollaborationId, run: &RunId, approved: bool) -> Result<(), ControlError> {
        let asked = self.path("waiting", collaboration, run);
        let question = read::<Question>(&asked)?.ok_or_else(|| ControlError::NotAsked { run: run.clone() })?;
        let path = self.path("answers", collaboration, run);
        let text = serde_json::to_vec(&Reply { plan: question.plan, approved }).map_err(|e| fail(&path, &e))?;
        write_durably(&path, &text).map_err(|e| fail(&path, &e))?;
        remove(&asked)
    }

    /// What the owner said to the run with this plan, if anything.
    #[must_use]
    pub fn reply(&self, collaboration: &CollaborationId, run: &RunId, plan: &Digest) -> Option<bool> {
        let reply: Reply = read(&self.path("answers", collaboration, run)).ok()??;
        (reply.plan == *plan).then_some(reply.approved)
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, ControlError> {
    match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(fail(folder, &e)),
        Ok(entries) => {
            let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|f| f.path()).collect();
            paths.sort();
            Ok(paths)
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ControlError> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(path, &e)),
        Ok(meta) if meta.len() > MAX_BYTES => return Err(fail(path, &"larger than its limit")),
        Ok(_) => {}
    }
    let bytes = std::fs::read(path).map_err(|e| fail(path, &e))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| fail(path, &e))
}

fn remove(path: &Path) -> Result<(), ControlError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(fail(path, &e)),
        _ => Ok(()),
    }
}
