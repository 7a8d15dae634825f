//! The outbox: a journal of everything that leaves this node, written before it leaves.
//!
//! The connection to the hub sends nothing that its gate, this journal, has not listed. One file a day of JSON lines.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, RunId};
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::preview::Preview;
use crate::client::http::{Gate, Kind, Outgoing};
use crate::clock::Clock;

/// Longest line that is read back, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Why the journal failed. Nothing leaves then.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct OutboxError {
    path: PathBuf,
    source: std::io::Error,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// An update is made; what it holds can be looked at here.
    Prepared,
    /// It is about to leave.
    Planned,
    /// The hub answered, so it arrived.
    Sent,
    /// No answer came: it may have arrived or not.
    Unanswered,
    /// The owner's stop held it back.
    Held,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Joins the lines of one piece.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub at: Timestamp,
    /// What kind of bytes.
    pub kind: Kind,
    /// What became of it.
    pub state: Stage,
    /// Method and path of the request.
    pub what: String,
    /// For which run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Bytes of the body.
    pub bytes: u64,
    /// Rows of data in it: always 0, nothing in this program sends rows of a dataset.
    pub rows: u64,
    /// Digest of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What an update holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

/// Sums of what left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sum {
    /// Pieces.
    pub pieces: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Rows of data.
    pub rows: u64,
}

const OPEN: u8 = 0;
const FAREWELL: u8 = 1;
const CLOSED: u8 = 2;

struct Inner {
    day: String,
    file: Option<File>,
    next_id: u64,
    planned: BTreeMap<u64, Line>,
}

/// The journal of one node.
pub struct Outbox {
    dir: PathBuf,
    clock: Clock,
    gate: AtomicU8,
    inner: Mutex<Inner>,
}

impl Outbox {
    /// The journal in the folder `dir`, which is made when missing.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, OutboxError> {
        std::fs::create_dir_all(dir).map_err(|source| OutboxError { path: dir.into(), source })?;
        // Time in microseconds, counted up: unique across restarts, and still a safe integer.
        let next_id = u64::try_from(clock.now().0).unwrap_or(0).saturating_mul(1_000);
        let inner = Inner { day: String::new(), file: None, next_id, planned: BTreeMap::new() };
        Ok(Self { dir: dir.into(), clock, gate: AtomicU8::new(OPEN), inner: Mutex::new(inner) })
    }

    /// Lets only refusals of runs out from now on.
    pub fn farewell(&self) {
        self.gate.fetch_max(FAREWELL, Ordering::SeqCst);
    }

    /// Lets nothing out from now on.
    pub fn close(&self) {
        self.gate.store(CLOSED, Ordering::SeqCst);
    }

    /// Lists an update that was made and may leave, with what it holds.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn prepared(
        &self,
        collaboration: &CollaborationId,
        run: &RunId,
        digest: Digest,
        bytes: u64,
        preview: Preview,
    ) -> Result<(), OutboxError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let id = inner.next();
        let line = Line {
            id,
            at: self.clock.now(),
            kind: Kind::Update,
            state: Stage::Prepared,
            what: format!("update for {collaboration}"),
            run: Some(run.clone()),
            bytes,
            rows: 0,
            digest: Some(digest),
            preview: Some(preview),
        };
        self.write(&mut inner, &line, true)
    }

    fn write(&self, inner: &mut Inner, line: &Line, durable: bool) -> Result<(), OutboxError> {
        let day = line.at.date().to_string();
        let path = self.dir.join(format!("{day}.jsonl"));
        let fail = |source| OutboxError { path: path.clone(), source };
        if inner.day != day {
            inner.file = None;
        }
        let file = match &mut inner.file {
            Some(file) => file,
            empty => {
                inner.day = day;
                empty.insert(OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?)
            }
        };
        let mut text = serde_json::to_vec(line).map_err(|e| fail(e.into()))?;
        text.push(b'\n');
        file.write_all(&text).map_err(fail)?;
        // The page cache outlives this process; only what says something of the data must outlive the machine as well.
        if durable { file.sync_data().map_err(fail) } else { Ok(()) }
    }

    fn passes(&self, kind: Kind, what: &str) -> bool {
        match self.gate.load(Ordering::SeqCst) {
            OPEN => true,
            FAREWELL => match kind {
                Kind::Login | Kind::Request => true,
                Kind::Statement => what.ends_with("/statements"),
                _ => false,
            },
            _ => false,
        }
    }
}

impl Inner {
    fn next(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Gate for Outbox {
    fn leaving(&self, outgoing: &Outgoing<'_>) -> Result<u64, String> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = self.passes(outgoing.kind, outgoing.what);
        let line = Line {
            id: inner.next(),
            at: self.clock.now(),
            kind: outgoing.kind,
            state: if passes { Stage::Planned } else { Stage::Held },
            what: outgoing.what.to_owned(),
            run: outgoing.run.cloned(),
            bytes: outgoing.bytes,
            rows: 0,
            digest: outgoing.digest,
            preview: None,
        };
        let durable = matches!(outgoing.kind, Kind::Statement | Kind::Evaluation | Kind::Update);
        self.write(&mut inner, &line, durable).map_err(|e| e.to_string())?;
        if !passes {
            return Err("the owner stopped this node".to_owned());
        }
        let id = line.id;
        inner.planned.insert(id, line);
        Ok(id)
    }

    fn left(&self, entry: u64, arrived: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut line) = inner.planned.remove(&entry) else { return };
        line.state = if arrived { Stage::Sent } else { Stage::Unanswered };
        line.at = self.clock.now();
        if let Err(error) = self.write(&mut inner, &line, false) {
            // What left is listed as planned already.
            tracing::error!(%error, "the outbox could not be completed");
        }
    }
}

/// All lines of the journal in the folder `dir`, oldest first. A line that a crash cut off is left out.
///
/// # Errors
/// [`OutboxError`].
pub fn lines(dir: &Path) -> Result<Vec<Line>, OutboxError> {
    let fail = |path: &Path, source| OutboxError { path: path.into(), source };
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(fail(dir, source)),
        Ok(folder) => folder.filter_map(Result::ok).map(|f| f.path()).collect(),
    };
    paths.retain(|p| p.extension().is_some_and(|e| e == "jsonl"));
    paths.sort();
    let mut lines = Vec::new();
    for path in paths {
        let file = File::open(&path).map_err(|source| fail(&path, source))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|source| fail(&path, source))?;
            if line.len() <= MAX_LINE_BYTES
                && let Ok(line) = serde_json::from_str(&line)
            {
                lines.push(line);
            }
        }
    }
    Ok(lines)
}

/// What left, by kind: sent pieces, and those that may have arrived.
#[must_use]
pub fn sums(lines: &[Line]) -> BTreeMap<Kind, Sum> {
    let mut sums: BTreeMap<Kind, Sum> = BTreeMap::new();
    for line in lines.iter().filter(|l| matches!(l.state, Stage::Sent | Stage::Unanswered)) {
        let sum = sums.entry(line.kind).or_default();
        sum.pieces += 1;
        sum.bytes = sum.bytes.saturating_add(line.bytes);
        sum.rows = sum.rows.saturating_add(line.rows);
    }
    sums
}
