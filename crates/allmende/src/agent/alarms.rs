//! Alarms: what this node saw that should not be, with the evidence, kept for the owner. A node that saw a log misbehave
//! does not act for that collaboration any more, also after a restart, until its owner clears the alarm.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use allmende_core::id::CollaborationId;
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::client::mirror::Alarm;
use crate::client::store::write_durably;

const FILE: &str = "alarms.jsonl";
const HALTED: &str = "halted";
/// Longest line that is read back, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Why an alarm could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct AlarmsError {
    path: String,
    reason: String,
}

fn fail(path: &Path, reason: &dyn std::fmt::Display) -> AlarmsError {
    AlarmsError { path: path.display().to_string(), reason: reason.to_string() }
}

/// An alarm as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When it was seen, in milliseconds since 1970.
    pub at: Timestamp,
    /// In which collaboration.
    pub collaboration: CollaborationId,
    /// Stable, for programs.
    pub code: String,
    /// For people.
    pub text: String,
    /// Whether the node stopped acting for the collaboration.
    pub halts: bool,
    /// What proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Alarm>,
}

/// The alarms of one node.
#[derive(Debug, Clone)]
pub struct Alarms {
    dir: PathBuf,
}

impl Alarms {
    /// The alarms in the node's folder `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    fn halted_path(&self, collaboration: &CollaborationId) -> PathBuf {
        self.dir.join(HALTED).join(format!("{collaboration}.json"))
    }

    /// Keeps an alarm; one that halts is durable, and holds the collaboration up from now on.
    ///
    /// # Errors
    /// [`AlarmsError`].
    pub fn raise(&self, event: &Event) -> Result<(), AlarmsError> {
        let path = self.dir.join(FILE);
        let mut text = serde_json::to_vec(event).map_err(|e| fail(&path, &e))?;
        if event.halts {
            let halted = self.halted_path(&event.collaboration);
            write_durably(&halted, &text).map_err(|e| fail(&halted, &e))?;
        }
        text.push(b'\n');
        std::fs::create_dir_all(&self.dir).map_err(|e| fail(&path, &e))?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| fail(&path, &e))?;
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(|e| fail(&path, &e))
    }

    /// Whether the collaboration is held up by an alarm.
    #[must_use]
    pub fn is_halted(&self, collaboration: &CollaborationId) -> bool {
        // What cannot be looked at counts as an alarm.
        self.halted_path(collaboration).try_exists().unwrap_or(true)
    }

    /// The owner has looked into it: the node may act for the collaboration again.
    ///
    /// # Errors
    /// [`AlarmsError`].
    pub fn clear(&self, collaboration: &CollaborationId) -> Result<(), AlarmsError> {
        let path = self.halted_path(collaboration);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(fail(&path, &e)),
            _ => Ok(()),
        }
    }

    /// All alarms, oldest first.
    ///
    /// # Errors
    /// [`AlarmsError`].
    pub fn all(&self) -> Result<Vec<Event>, AlarmsError> {
        let path = self.dir.join(FILE);
        let file = match std::fs::File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| fail(&path, &e))?,
        };
        let mut events = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|e| fail(&path, &e))?;
            if line.len() <= MAX_LINE_BYTES
                && let Ok(event) = serde_json::from_str(&line)
            {
                events.push(event);
            }
        }
        Ok(events)
    }
}
