//! Restoring a backup into an empty folder and an empty database.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use allmende_core::digest::Digest;
use allmende_core::time::Timestamp;
use serde::Serialize;

use super::archive::{Members, Opener};
use super::import::{import, settle};
use super::repos::{self, Taking};
use super::{BackupError, EXPORT, FORMAT, LogListed, MANIFEST, Manifest, Parts, file};
use crate::blobs::Expect;
use crate::client::home::sealed::Passphrase;
use crate::keyfile::private_dir;
use crate::ledger::{hold, store};
use crate::transaction;
use crate::verify::CHECKPOINT;

/// Largest list of what an archive holds, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The name of the hub.
    pub hub: String,
    /// When the backup was made.
    pub made_at: Timestamp,
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
    /// Bytes that were missing when the backup was made.
    pub missing: Vec<Digest>,
    /// Logs that wait for their witnesses before they take an entry.
    pub waiting: Vec<String>,
}

/// An archive that is read.
pub(super) type Archive = Members<Opener<BufReader<std::fs::File>>>;

/// Restores `archive` into the empty place that `parts` opened, where the hub's key must lie already. Cut short, it is run
/// again; until it is done no hub starts there. `progress` hears how many of how many items came back.
///
/// # Errors
/// [`BackupError::NotEmpty`]; [`BackupError::Judged`] when a log in the archive is wrong.
pub async fn restore(
    parts: &Parts,
    archive: &Path,
    passphrase: &Passphrase,
    now: Timestamp,
    progress: &dyn Fn(u64, u64),
) -> Result<Restored, BackupError> {
    let failed = file(archive);
    let from = std::fs::File::open(archive).map_err(&failed)?;
    let mut members = Members::new(Opener::begin(BufReader::new(from), passphrase)?);
    let manifest = manifest(&mut members, &failed)?;
    if manifest.hub_key != parts.hub_key {
        let (path, here, signed) = (parts.config.hub_key_path(), parts.hub_key, manifest.hub_key);
        return Err(BackupError::OtherKey { path, here, signed });
    }
    if manifest.hub != parts.config.name {
        return Err(BackupError::OtherHub { theirs: manifest.hub, ours: parts.config.name.clone() });
    }
    require_empty(parts).await?;
    let begun: Result<(), BackupError> = transaction!(parts.db, tx => { Ok(hold::begin_restore(tx, now).await?) });
    begun?;
    let staging = parts.config.data_dir.join("restoring");
    let _ = std::fs::remove_dir_all(&staging);
    private_dir(&staging)?;
    let total = (manifest.logs.len() + manifest.blobs.len()) as u64;
    let mut work = Work { parts, now, staging: staging.clone(), failed: &failed, done: 0, total, progress };
    let mut logs: BTreeMap<&str, &LogListed> = manifest.logs.iter().map(|l| (l.log.as_str(), l)).collect();
    let mut blobs: BTreeSet<Digest> = manifest.blobs.iter().map(|b| b.digest).collect();
    let mut repos = Taking::default();
    while let Some((path, size)) = members.next_member().map_err(&failed)? {
        if let Some(name) = path.strip_prefix("blobs/") {
            let digest: Digest = format!("sha256:{name}").parse().map_err(|_| work.lacks(&path))?;
            work.blob(&mut members, digest, size).await?;
            blobs.remove(&digest);
        } else if let Some(rest) = path.strip_prefix("logs/") {
            let (log, first) = rest.split_once('/').ok_or_else(|| work.lacks(&path))?;
            let listed = logs.remove(log).ok_or_else(|| work.lacks(&path))?;
            work.log(&mut members, listed, first, size).await?;
        } else if repos.take(parts, &mut members, &path, size).await? {
            work.total += 1;
            work.done();
        } else {
            return Err(BackupError::Lacks { what: format!("a place for {path}") });
        }
    }
    if let Some(log) = logs.keys().next() {
        return Err(BackupError::Lacks { what: format!("log {log}") });
    }
    if let Some(digest) = blobs.first() {
        return Err(BackupError::Lacks { what: digest.to_string() });
    }
    repos::require_all(parts, repos.count).await?;
    // The tiles of the logs are the export that a hub keeps. What lies there is from an earlier try.
    let export = parts.config.data_dir.join(EXPORT);
    let _ = std::fs::remove_dir_all(&export);
    std::fs::rename(&staging, &export).map_err(&failed)?;
    settle(parts).await?;
    let finished: Result<Vec<String>, BackupError> = transaction!(parts.db, tx => {
        hold::finish_restore(tx, now).await?;
        Ok(hold::all(tx).await?)
    });
    Ok(Restored {
        hub: manifest.hub,
        made_at: manifest.made_at,
        logs: manifest.logs.len() as u64,
        entries: manifest.logs.iter().map(|l| l.size).sum(),
        blobs: manifest.blobs.len() as u64,
        repositories: repos.count.repositories,
        large_bytes: repos.count.bytes,
        missing: manifest.missing,
        waiting: finished?,
    })
}

/// The one field that every version has.
#[derive(serde::Deserialize)]
struct Version {
    format: u32,
}

fn manifest<R: Read>(
    members: &mut Members<R>,
    failed: &impl Fn(std::io::Error) -> BackupError,
) -> Result<Manifest, BackupError> {
    let lacks = || BackupError::Lacks { what: format!("its list of contents, {MANIFEST}") };
    let (path, size) = members.next_member().map_err(failed)?.ok_or_else(lacks)?;
    if path != MANIFEST || size > MAX_MANIFEST_BYTES {
        return Err(lacks());
    }
    let mut text = Vec::new();
    members.take(size).read_to_end(&mut text).map_err(failed)?;
    // Before anything else is read of it: another version may have other fields.
    let version: Version = serde_json::from_slice(&text).map_err(|_| lacks())?;
    if version.format != FORMAT {
        return Err(BackupError::Format { found: version.format, known: FORMAT });
    }
    serde_json::from_slice(&text).map_err(|_| lacks())
}

/// Restores only into nothing, or into what an earlier try of the same left.
async fn require_empty(parts: &Parts) -> Result<(), BackupError> {
    let mut connection = parts.db.read().await?;
    if hold::unfinished(&mut connection).await? {
        return Ok(());
    }
    let not_empty = |what: String| Err(BackupError::NotEmpty { what });
    if !store::logs(&mut connection, "", 1).await?.is_empty() {
        return not_empty("the database".to_owned());
    }
    if !parts.blobs.is_empty().await? {
        return not_empty(format!("the store of bytes {}", parts.config.blob_store()));
    }
    repos::require_none(parts).await?;
    let export = parts.config.data_dir.join(EXPORT);
    if std::fs::read_dir(&export).is_ok_and(|mut entries| entries.next().is_some()) {
        return not_empty(export.display().to_string());
    }
    Ok(())
}

struct Work<'a, F> {
    parts: &'a Parts,
    now: Timestamp,
    staging: PathBuf,
    failed: &'a F,
    done: u64,
    total: u64,
    progress: &'a dyn Fn(u64, u64),
}

impl<F: Fn(std::io::Error) -> BackupError> Work<'_, F> {
    fn lacks(&self, path: &str) -> BackupError {
        BackupError::Lacks { what: format!("{path} in its list of contents") }
    }

    fn done(&mut self) {
        self.done += 1;
        (self.progress)(self.done, self.total);
    }

    /// Takes one blob; its digest is checked before it has a name.
    async fn blob(&mut self, members: &mut Archive, digest: Digest, size: u64) -> Result<(), BackupError> {
        let expect = Expect { digest: Some(digest), size_bytes: Some(size), max_bytes: size };
        self.parts.blobs.put(repos::pieces(members, size), &expect).await?;
        self.done();
        Ok(())
    }

    /// Takes all files of one log, whose first has begun, judges it and takes it into the database.
    async fn log(
        &mut self,
        members: &mut Archive,
        listed: &LogListed,
        first: &str,
        size: u64,
    ) -> Result<(), BackupError> {
        let dir = self.staging.join(&listed.log);
        if first != CHECKPOINT {
            return Err(self.lacks(first));
        }
        self.file(members, &dir.join(first), size)?;
        for _ in 1..listed.files {
            let lacks = || BackupError::Lacks { what: format!("files of log {}", listed.log) };
            let (path, size) = members.next_member().map_err(self.failed)?.ok_or_else(lacks)?;
            let path = path.strip_prefix(&format!("logs/{}/", listed.log)).ok_or_else(lacks)?.to_owned();
            // Only names that a log's files have: nothing is written elsewhere.
            path.parse::<allmende_core::ledger::tile::Tile>().map_err(|_| lacks())?;
            self.file(members, &dir.join(path), size)?;
        }
        let imported = import(self.parts, &dir, self.now).await?;
        if imported.log != listed.log || imported.entries != listed.size {
            return Err(BackupError::Lacks { what: format!("{} entries of log {}", listed.size, listed.log) });
        }
        self.done();
        Ok(())
    }

    fn file(&self, members: &mut Archive, path: &Path, size: u64) -> Result<(), BackupError> {
        let failed = file(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(&failed)?;
        }
        let mut out = std::fs::File::create(path).map_err(&failed)?;
        if std::io::copy(&mut members.take(size), &mut out).map_err(self.failed)? != size {
            return Err((self.failed)(std::io::ErrorKind::UnexpectedEof.into()));
        }
        out.sync_all().map_err(&failed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::{end, member, pad};
    use super::*;

    fn read(list: &[u8]) -> Result<Manifest, String> {
        let mut bytes = Vec::new();
        member(&mut bytes, MANIFEST, list.len() as u64).unwrap();
        bytes.extend_from_slice(list);
        pad(&mut bytes, list.len() as u64).unwrap();
        end(&mut bytes).unwrap();
        let failed = file(Path::new("x"));
        manifest(&mut Members::new(bytes.as_slice()), &failed).map_err(|e| e.to_string())
    }

    /// Whatever else another version says: what it is comes first.
    #[test]
    fn an_archive_of_another_format_is_told_apart_from_a_damaged_one() {
        for format in [0, 1, FORMAT + 1] {
            let list = format!("{{\"format\":{format},\"something\":\"else\"}}");
            let words = format!("the archive has format {format}, and this program reads {FORMAT}");
            assert_eq!(read(list.as_bytes()).unwrap_err(), words);
        }
        for bad in [&b"{}"[..], b"", b"{\"format\":2}", b"{\"format\":\"2\"}"] {
            assert!(read(bad).unwrap_err().contains("its list of contents"));
        }
    }
}
