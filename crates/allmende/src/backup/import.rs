//! Taking a log from tiles into the database: all of it into an empty one, or what the database's own log lacks.

use std::path::{Path, PathBuf};

use allmende_core::canonical;
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::merkle::{Frontier, Hash, Subtree, leaf_hash};
use allmende_core::ledger::tile::{Tile, decode_bundle};
use allmende_core::state::State;
use allmende_core::statement::{HUB, Opened};
use allmende_core::time::Timestamp;
use serde::Serialize;

use super::{BackupError, Parts, in_order};
use crate::db::Tx;
use crate::ledger::fold::is_stored;
use crate::ledger::hold;
use crate::ledger::read::root_at;
use crate::ledger::store::{self, Head, NewEntry};
use crate::projection::project;
use crate::transaction;
use crate::verify::{self, CHECKPOINT, DirSource, Finding, Options, Source as _};

/// Entries written at once.
const PAGE: usize = 512;

/// What was taken of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The log.
    pub log: String,
    /// Entries that it has now.
    pub entries: u64,
    /// Entries that it did not have before.
    pub added: u64,
}

/// Takes the log in the folder `dir`. It is judged first; then either the database has no such log, or the one that it has
/// is a beginning of this one, or the other way round. Where entries came in, the log waits for its witnesses.
///
/// # Errors
/// [`BackupError::Judged`], [`BackupError::Forked`], [`BackupError::OtherKey`], or the database's.
pub async fn import(parts: &Parts, dir: &Path, now: Timestamp) -> Result<Imported, BackupError> {
    let source = DirSource::new(dir);
    let unnamed = |finding: Finding| BackupError::Judged { log: dir.display().to_string(), finding: Box::new(finding) };
    let signed = verify::checkpoint(&source).map_err(unnamed)?;
    let origin = signed.checkpoint.origin.clone();
    let (hub, log) = origin.as_str().rsplit_once('/').unwrap_or(("", origin.as_str()));
    if hub != parts.config.name {
        return Err(BackupError::OtherHub { theirs: hub.to_owned(), ours: parts.config.name.clone() });
    }
    let judged = tokio::task::spawn_blocking({
        let (source, options) = (source.clone(), (origin.clone(), parts.hub_key));
        move || {
            let options = Options { origin: Some(options.0), hub_key: Some(options.1), ..Options::default() };
            verify::verify(&source, &options).map(drop)
        }
    });
    let judged = judged.await.map_err(|e| BackupError::File { path: dir.into(), source: std::io::Error::other(e) })?;
    judged.map_err(|finding| match finding {
        Finding::HubKey { got, .. } => {
            let path = parts.config.hub_key_path();
            BackupError::OtherKey { path, here: parts.hub_key, signed: got }
        }
        finding => BackupError::Judged { log: log.to_owned(), finding: Box::new(finding) },
    })?;
    let size = signed.checkpoint.size;
    let before = store::head(&mut *parts.db.read().await?, log).await?.map_or(0, |h| h.size);
    if size <= before {
        if root_at(&parts.db, log, size).await? != signed.checkpoint.root {
            return Err(BackupError::Forked { log: log.to_owned(), dir: dir.into(), size });
        }
        return Ok(Imported { log: log.to_owned(), entries: before, added: 0 });
    }
    let empty = || {
        let collaboration = if log == HUB { None } else { Some(log.parse().ok()?) };
        Some(State::new(origin.clone(), collaboration))
    };
    let taken: Result<u64, BackupError> = transaction!(parts.db, tx => {
        let wrong = |index, reason: String| BackupError::Entry { log: log.to_owned(), index, reason };
        let state = empty().ok_or_else(|| wrong(0, "not a name of a log".to_owned()))?;
        let before = store::head(tx, log).await?;
        let had = before.as_ref().map_or(0, |h| h.size);
        let mut taking = Taking { log, had, written: had, state, frontier: Frontier::new(), page: Page::default() };
        let mut index = 0;
        while index < size {
            let tile = Tile::of_entry(index, size).ok_or_else(|| wrong(index, "past the end".to_owned()))?;
            let path = tile.to_string();
            let bytes = source.read(&path).map_err(|e| wrong(index, e.to_string()))?;
            let bytes = bytes.ok_or_else(|| wrong(index, format!("{path} is missing")))?;
            let entries = decode_bundle(&bytes, tile.width).map_err(|e| wrong(index, e.to_string()))?;
            for leaf in entries {
                taking.take(leaf).map_err(|reason| wrong(index, reason))?;
                index += 1;
                if index == had && before.as_ref().is_some_and(|h| h.root != taking.frontier.root().0) {
                    return Err(BackupError::Forked { log: log.to_owned(), dir: dir.into(), size: had });
                }
                if taking.page.entries.len() >= PAGE && index < size {
                    taking.write(tx, "").await?;
                }
            }
        }
        if taking.frontier.root() != signed.checkpoint.root {
            return Err(wrong(size, "another root than was signed".to_owned()));
        }
        taking.write(tx, &signed.to_string()).await?;
        if hold::of(tx, log).await?.is_none() {
            hold::put(tx, log, size, now).await?;
        }
        Ok(size - had)
    });
    Ok(Imported { log: log.to_owned(), entries: size, added: taken? })
}

#[derive(Default)]
struct Page {
    entries: Vec<(Vec<u8>, Hash, Timestamp)>,
    opened: Vec<Opened>,
    nodes: Vec<(Subtree, Hash)>,
}

struct Taking<'a> {
    log: &'a str,
    /// Entries that the database had before.
    had: u64,
    /// Entries that it has by now.
    written: u64,
    state: State,
    frontier: Frontier,
    page: Page,
}

impl Taking<'_> {
    fn take(&mut self, leaf: &[u8]) -> Result<(), String> {
        let record = Record::from_bytes(leaf).map_err(|e| e.to_string())?;
        let opened = self.state.apply(&record).map_err(|e| e.to_string())?;
        let (hash, page) = (leaf_hash(leaf), &mut self.page);
        self.frontier.push_with(hash, |subtree, hash| {
            if is_stored(subtree.level) {
                page.nodes.push((subtree, hash));
            }
        });
        if self.frontier.size() > self.had {
            page.entries.push((leaf.to_vec(), hash, record.arrived_at));
            page.opened.push(opened);
        }
        Ok(())
    }

    async fn write(&mut self, tx: &mut Tx, checkpoint: &str) -> Result<(), BackupError> {
        let page = std::mem::take(&mut self.page);
        let signers: Vec<String> = page.opened.iter().map(|o| o.key.to_string()).collect();
        let entry = |i: usize| NewEntry {
            leaf: &page.entries[i].0,
            leaf_hash: &page.entries[i].1.0,
            payload_digest: &page.opened[i].digest,
            kind: page.opened[i].statement.body.kind(),
            signer: &signers[i],
            arrived_at: page.entries[i].2,
        };
        let entries: Vec<_> = (0..page.entries.len()).map(entry).collect();
        let frontier = canonical::to_bytes(&self.frontier);
        let head = Head {
            origin: self.state.origin().to_string(),
            size: self.frontier.size(),
            root: self.frontier.root().0,
            frontier: frontier.map_err(|e| BackupError::Entry {
                log: self.log.to_owned(),
                index: self.written,
                reason: e.to_string(),
            })?,
            checkpoint: checkpoint.to_owned(),
            arrived_at: self.state.last_arrival(),
        };
        store::append(tx, self.log, self.written, &entries, &head).await?;
        store::put_nodes(tx, self.log, &page.nodes).await?;
        project(tx, &self.state, &page.opened).await?;
        self.written = head.size;
        Ok(())
    }
}

/// Takes every log in `from`: the folder of one log, or a folder of such folders, for instance `data_dir/export` or a
/// node's `mirror`. `progress` hears of each.
///
/// # Errors
/// [`BackupError::NoLog`], and as [`import`]; logs taken before the failing one stay.
pub async fn rebuild(
    parts: &Parts,
    from: &Path,
    now: Timestamp,
    progress: &dyn Fn(&Imported),
) -> Result<Vec<Imported>, BackupError> {
    let mut imported = Vec::new();
    for dir in logs_in(from)? {
        let one = import(parts, &dir, now).await?;
        progress(&one);
        imported.push(one);
    }
    settle(parts).await?;
    Ok(imported)
}

fn logs_in(from: &Path) -> Result<Vec<PathBuf>, BackupError> {
    if from.join(CHECKPOINT).is_file() {
        return Ok(vec![from.into()]);
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(from).map_err(super::file(from))? {
        let entry = entry.map_err(super::file(from))?;
        if entry.path().join(CHECKPOINT).is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if names.is_empty() {
        return Err(BackupError::NoLog { dir: from.into() });
    }
    Ok(in_order(names).into_iter().map(|name| from.join(name)).collect())
}

/// The hub's own log has no witnesses of its own: it opens with the last of the others, or at once when there are none.
pub(super) async fn settle(parts: &Parts) -> Result<(), BackupError> {
    let done: Result<(), BackupError> = transaction!(parts.db, tx => {
        let held = hold::all(tx).await?;
        if held.iter().all(|log| log == HUB) {
            hold::release(tx, HUB).await?;
        }
        Ok(())
    });
    done
}

/// Lets held logs go on although not every witness was heard: the operator answers for what is then missing. Gives the
/// logs that were held, of those named, or of all.
///
/// # Errors
/// The database's.
pub async fn resume(parts: &Parts, only: Option<&str>) -> Result<Vec<String>, BackupError> {
    let released: Result<Vec<String>, BackupError> = transaction!(parts.db, tx => {
        let mut held = hold::all(tx).await?;
        held.retain(|log| only.is_none_or(|only| only == log));
        for log in &held {
            hold::release(tx, log).await?;
        }
        Ok(held)
    });
    released
}
