//! Making a backup, also beside a running hub: the sizes of all logs are taken first, in one instant; what they name was
//! durable before they named it. Repositories follow, each later than the logs.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use allmende_core::digest::Digest;
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::merkle::{Frontier, leaf_hash};
use allmende_core::ledger::tile::tiles;
use allmende_core::statement::Statement;
use allmende_core::time::Timestamp;
use futures::StreamExt as _;
use serde::Serialize;

use super::archive::{Sealer, end, member, pad};
use super::{
    BackupError, BlobListed, FORMAT, LogListed, MANIFEST, Manifest, Parts, file, in_order, named, repos, tables,
};
use crate::blobs::BlobError;
use crate::client::home::sealed::{Effort, Passphrase};
use crate::db::Snapshot;
use crate::ledger::read;
use crate::ledger::store::{self, Head};
use crate::verify::CHECKPOINT;

/// Entries read at once.
const PAGE: u64 = 1_000;

/// What was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// The archive.
    pub archive: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Number of logs.
    pub logs: u64,
    /// Number of entries in all of them.
    pub entries: u64,
    /// Number of blobs.
    pub blobs: u64,
    /// Number of repositories.
    pub repositories: u64,
    /// Bytes of their large files as they are stored: each chunk once, packed.
    pub large_bytes: u64,
    /// Xorbs that files cite and that are not in the hub's store as they should be.
    pub lost_xorbs: u64,
    /// Bytes that a log names and the hub has not, for instance those of an asset that were never uploaded.
    pub missing: Vec<Digest>,
}

/// Writes the encrypted archive `archive`, which must not exist. `progress` hears how many bytes of how many are in it.
///
/// # Errors
/// [`BackupError`]; no file is left then.
pub async fn backup(
    parts: &Parts,
    archive: &Path,
    passphrase: &Passphrase,
    effort: Effort,
    now: Timestamp,
    progress: &dyn Fn(u64, u64),
) -> Result<Made, BackupError> {
    let failed = file(archive);
    if archive.exists() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let mut snapshot = parts.db.snapshot().await?;
    let heads = heads(&mut snapshot).await?;
    let mut digests = BTreeSet::new();
    let (mut logs, mut total) = (Vec::new(), 0);
    for (log, head) in &heads {
        total += read_through(&mut snapshot, log, head, &mut digests).await?;
        let files = tiles(head.size).count() as u64 + 1;
        logs.push(LogListed { log: log.clone(), size: head.size, root: Digest(head.root), files });
    }
    // Entries never change, and the sizes are known: the database need not keep this instant while bytes are copied.
    drop(snapshot);
    let (mut blobs, mut missing) = (Vec::new(), Vec::new());
    total += tables::xorb_bytes(&mut *parts.db.read().await?).await?;
    for digest in digests {
        match parts.blobs.size(&digest).await {
            Ok(size_bytes) => {
                total += size_bytes;
                blobs.push(BlobListed { digest, size_bytes });
            }
            Err(BlobError::NotFound { .. }) => missing.push(digest),
            Err(error) => return Err(error.into()),
        }
    }
    let manifest = Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        hub: parts.config.name.clone(),
        hub_key: parts.hub_key,
        made_at: now,
        logs,
        blobs,
        missing,
    };
    let folder = archive.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable by its owner only, and gone if this fails.
    let staged = tempfile::NamedTempFile::new_in(folder).map_err(&failed)?;
    let sealer = Sealer::begin(BufWriter::new(staged), passphrase, effort)?;
    let mut out = Counted { out: sealer, done: 0, total, progress };
    write(parts, &manifest, &heads, &mut out, &failed).await?;
    let written = repos::histories(parts, &mut out).await?;
    let repos = repos::rows_and_xorbs(parts, &written, &mut out).await?;
    end(&mut out).map_err(&failed)?;
    let staged = out
        .out
        .finish()
        .and_then(|out| out.into_inner().map_err(std::io::IntoInnerError::into_error))
        .map_err(&failed)?;
    staged.as_file().sync_all().map_err(&failed)?;
    let kept = staged.persist_noclobber(archive).map_err(|e| failed(e.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(&failed)?;
    Ok(Made {
        archive: archive.into(),
        bytes: kept.metadata().map_err(&failed)?.len(),
        logs: manifest.logs.len() as u64,
        entries: manifest.logs.iter().map(|l| l.size).sum(),
        blobs: manifest.blobs.len() as u64,
        repositories: repos.repositories,
        large_bytes: repos.bytes,
        lost_xorbs: repos.lost,
        missing: manifest.missing,
    })
}

async fn heads(snapshot: &mut Snapshot) -> Result<Vec<(String, Head)>, BackupError> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let after = names.last().cloned().unwrap_or_default();
        let page = store::logs(snapshot, &after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        names.extend(page);
    }
    let mut heads = Vec::new();
    for name in in_order(names) {
        if let Some(head) = store::head(snapshot, &name).await? {
            heads.push((name, head));
        }
    }
    Ok(heads)
}

/// Notes what the entries name, and makes sure that they have the root that was signed: a damaged log must be noticed now,
/// not at the restore. Gives their bytes.
async fn read_through(
    snapshot: &mut Snapshot,
    log: &str,
    head: &Head,
    digests: &mut BTreeSet<Digest>,
) -> Result<u64, BackupError> {
    let wrong = |index, reason: String| BackupError::Entry { log: log.to_owned(), index, reason };
    let mut frontier = Frontier::new();
    let mut bytes = 0;
    while frontier.size() < head.size {
        let limit = PAGE.min(head.size - frontier.size());
        for entry in store::entries(snapshot, log, frontier.size(), limit).await? {
            let record = Record::from_bytes(&entry.leaf).map_err(|e| wrong(entry.index, e.to_string()))?;
            let opened = Statement::open(&record.envelope).map_err(|e| wrong(entry.index, e.to_string()))?;
            named(&opened.statement.body, digests);
            frontier.push(leaf_hash(&entry.leaf));
            bytes += entry.leaf.len() as u64;
        }
    }
    if frontier.root().0 == head.root {
        Ok(bytes)
    } else {
        Err(wrong(head.size, "another root than was signed".into()))
    }
}

async fn write(
    parts: &Parts,
    manifest: &Manifest,
    heads: &[(String, Head)],
    out: &mut impl Write,
    failed: &impl Fn(std::io::Error) -> BackupError,
) -> Result<(), BackupError> {
    let text = serde_json::to_vec_pretty(manifest).map_err(|e| failed(e.into()))?;
    whole(out, MANIFEST, &text).map_err(failed)?;
    for (log, head) in heads {
        whole(out, &format!("logs/{log}/{CHECKPOINT}"), head.checkpoint.as_bytes()).map_err(failed)?;
        let mut connection = parts.db.read().await?;
        for tile in tiles(head.size) {
            let bytes = read::tile_of(&mut connection, log, &tile, head.size).await?;
            whole(out, &format!("logs/{log}/{tile}"), &bytes).map_err(failed)?;
        }
    }
    for BlobListed { digest, size_bytes } in &manifest.blobs {
        member(out, &format!("blobs/{}", digest.hex()), *size_bytes).map_err(failed)?;
        let mut reader = parts.blobs.open_range(digest, None).await?;
        while let Some(piece) = reader.stream.next().await {
            out.write_all(&piece?).map_err(failed)?;
        }
        pad(out, *size_bytes).map_err(failed)?;
    }
    Ok(())
}

/// Writes a member that is in memory.
pub(super) fn whole(out: &mut impl Write, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    member(out, path, bytes.len() as u64)?;
    out.write_all(bytes)?;
    pad(out, bytes.len() as u64)
}

/// Counts what goes through it.
struct Counted<'a, W> {
    out: W,
    done: u64,
    total: u64,
    progress: &'a dyn Fn(u64, u64),
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.done += written as u64;
        // How long histories and rows get is known when they are written.
        self.total = self.total.max(self.done);
        (self.progress)(self.done, self.total);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
