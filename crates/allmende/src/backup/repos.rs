//! Repositories in an archive: histories, then rows, then large files.
//!
//! In that order they are read while the hub works on. A history that was read cites only files whose rows were there
//! before its refs were, and those are in the rows that are read after it; a row cites only xorbs that were there before
//! it, and what a file cites is not collected within the time that a backup takes. What came to be in between is left out
//! with all that belongs to it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read as _, Seek as _, Write};

use allmende_formats::xet::XetHash;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde_json::Value;

use super::archive::{member, pad};
use super::restore::Archive;
use super::tables::{self, TABLES, Table};
use super::{BackupError, Parts, file};
use crate::git::copy::Tip;
use crate::repo::store;
use crate::transaction;
use crate::xet::XetError;
use crate::xet::archive::{self as xorbs, Object};

/// Ids that are read at once.
const PAGE: i64 = 256;
/// Longest list of a repository's refs, in bytes.
const MAX_REFS_BYTES: u64 = 256 << 20;
/// Longest batch of rows, in bytes.
const MAX_ROWS_BYTES: u64 = 64 << 20;
/// Bytes of a xorb that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// What was written of repositories, or came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    pub repositories: u64,
    pub xorbs: u64,
    pub bytes: u64,
    /// Xorbs that are cited and not there.
    pub lost: u64,
}

/// Writes the histories of all repositories. Gives the ids of those whose history is in the archive.
pub(super) async fn histories(parts: &Parts, out: &mut impl Write) -> Result<HashSet<String>, BackupError> {
    let failed = file(&parts.config.data_dir);
    let (mut written, mut after) = (HashSet::new(), String::new());
    loop {
        let ids = store::ids(&mut *parts.db.read().await?, &after, PAGE).await?;
        let Some(last) = ids.last() else { return Ok(written) };
        after.clone_from(last);
        for id in ids {
            let found = store::by_id(&mut *parts.db.read().await?, &id).await?;
            let Some(repo) = found else { continue };
            if !repo.kind.has_history() {
                // All that it has are rows.
                written.insert(id);
                continue;
            }
            match history(parts, &id, out).await {
                Ok(()) => drop(written.insert(id)),
                // Deleted while it was read: then its rows are gone as well.
                Err(BackupError::Git(error)) => {
                    if store::by_id(&mut *parts.db.read().await?, &id).await?.is_some() {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        out.flush().map_err(&failed)?;
    }
}

async fn history(parts: &Parts, id: &str, out: &mut impl Write) -> Result<(), BackupError> {
    let failed = file(&parts.config.data_dir);
    let git = parts.git.repo(id);
    let tips = git.tips(&["refs/heads", "refs/tags", "refs/pr"]).await?;
    // How long it gets is known at its end. Where the repositories lie, it is as safe as they are.
    let staged = tempfile::tempfile_in(&parts.config.data_dir).map_err(&failed)?;
    let mut pack = tokio::fs::File::from_std(staged.try_clone().map_err(&failed)?);
    let size = if tips.is_empty() { 0 } else { git.pack(&tips).await?.write(&mut pack).await? };
    tokio::io::AsyncWriteExt::flush(&mut pack).await.map_err(&failed)?;
    let refs: String = tips.iter().map(|tip| format!("{} {}\n", tip.oid, tip.name)).collect();
    super::make::whole(out, &format!("git/{id}.refs"), refs.as_bytes()).map_err(&failed)?;
    member(out, &format!("git/{id}.pack"), size).map_err(&failed)?;
    let mut staged = staged;
    staged.rewind().map_err(&failed)?;
    std::io::copy(&mut staged.take(size), out).map_err(&failed)?;
    pad(out, size).map_err(&failed)
}

/// Writes the rows, of repositories those of `written` alone, and then the xorbs that their files cite.
pub(super) async fn rows_and_xorbs(
    parts: &Parts,
    written: &HashSet<String>,
    out: &mut impl Write,
) -> Result<Count, BackupError> {
    let failed = file(&parts.config.data_dir);
    let mut snapshot = parts.db.snapshot().await?;
    let mut count = Count::default();
    let mut there: BTreeMap<String, HashMap<XetHash, Object>> = BTreeMap::new();
    for (domain, hashes) in xorbs::cited(&mut snapshot, written).await? {
        let mut own = HashMap::new();
        for hash in hashes {
            // What is damaged already is no reason to save nothing of the rest.
            match xorbs::object(&mut snapshot, &domain, &hash).await {
                Ok(object) if parts.blobs.size_named(&object.name).await? == Some(object.size) => {
                    own.insert(hash, object);
                }
                Ok(_) | Err(XetError::NotFound(_)) => count.lost += 1,
                Err(error) => return Err(error.into()),
            }
        }
        there.insert(domain, own);
    }
    for table in TABLES {
        let mut number = 0;
        let repo = if table.name == "repos" { "id" } else { "repo" };
        let hash = if table.name == "xorbs" { "hash" } else { "xorb" };
        let wanted = |row: &[Value]| {
            let of_repo = table.text(row, repo).is_none_or(|id| written.contains(id));
            let of_xorb = table.text(row, hash).is_none_or(|hash| {
                let hash = hash.parse::<XetHash>();
                let domain = table.text(row, "domain").and_then(|domain| there.get(domain));
                hash.is_ok_and(|hash| match domain {
                    Some(own) => own.contains_key(&hash),
                    None => there.values().any(|own| own.contains_key(&hash)),
                })
            });
            let wanted = of_repo && of_xorb;
            count.repositories += u64::from(wanted && table.name == "repos");
            wanted
        };
        let batch = |lines: &[u8]| {
            number += 1;
            let path = format!("tables/{}/{number}", table.name);
            super::make::whole(out, &path, lines).map_err(&failed)
        };
        table.dump(&mut snapshot, wanted, batch).await?;
    }
    drop(snapshot);
    for (domain, own) in &there {
        for (hash, object) in own {
            member(out, &format!("xorbs/{domain}/{hash}"), object.size).map_err(&failed)?;
            let mut bytes = parts.blobs.open_named(&object.name, 0..object.size).await?;
            while let Some(piece) = bytes.next().await {
                out.write_all(&piece?).map_err(&failed)?;
            }
            pad(out, object.size).map_err(&failed)?;
            count.xorbs += 1;
            count.bytes += object.size;
        }
    }
    Ok(count)
}

/// Takes repositories out of an archive, member by member.
#[derive(Debug, Default)]
pub(super) struct Taking {
    /// The refs of the repository whose pack comes next.
    refs: Option<(String, Vec<Tip>)>,
    pub count: Count,
}

impl Taking {
    /// Takes the next member. Says whether it was one of a repository's.
    pub async fn take(
        &mut self,
        parts: &Parts,
        members: &mut Archive,
        path: &str,
        size: u64,
    ) -> Result<bool, BackupError> {
        let lacks = || BackupError::Lacks { what: format!("a place for {path}") };
        if let Some(id) = path.strip_prefix("git/").and_then(|rest| rest.strip_suffix(".refs")) {
            let text = text(parts, members, size, MAX_REFS_BYTES)?;
            let tip = |line: &str| {
                let (oid, name) = line.split_once(' ')?;
                Some(Tip { oid: oid.parse().ok()?, name: name.to_owned() })
            };
            let text = String::from_utf8(text).map_err(|_| lacks())?;
            let tips = text.lines().map(tip).collect::<Option<_>>().ok_or_else(lacks)?;
            // Only names that folders of repositories have: nothing is written elsewhere.
            if id.len() != 24 || !id.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(lacks());
            }
            self.refs = Some((id.to_owned(), tips));
        } else if let Some(id) = path.strip_prefix("git/").and_then(|rest| rest.strip_suffix(".pack")) {
            let (own, tips) = self.refs.take().filter(|(own, _)| own == id).ok_or_else(lacks)?;
            self.history(parts, members, &own, &tips, size).await?;
        } else if let Some(rest) = path.strip_prefix("tables/") {
            let table = rest.split_once('/').and_then(|(name, _)| Table::named(name)).ok_or_else(lacks)?;
            let lines = text(parts, members, size, MAX_ROWS_BYTES)?;
            let filled: Result<u64, BackupError> = transaction!(parts.db, tx => { Ok(table.fill(tx, &lines).await?) });
            let filled = filled?;
            self.count.repositories += if table.name == "repos" { filled } else { 0 };
        } else if let Some(rest) = path.strip_prefix("xorbs/") {
            let (domain, hash) = rest.split_once('/').ok_or_else(lacks)?;
            let hash = hash.parse().map_err(|_| lacks())?;
            xorbs::put(&parts.db, &parts.blobs, domain, &hash, pieces(members, size)).await?;
            self.count.xorbs += 1;
            self.count.bytes += size;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    async fn history(
        &self,
        parts: &Parts,
        members: &mut Archive,
        id: &str,
        tips: &[Tip],
        size: u64,
    ) -> Result<(), BackupError> {
        let failed = file(&parts.config.data_dir);
        let mut staged = tempfile::tempfile_in(&parts.config.data_dir).map_err(&failed)?;
        if std::io::copy(&mut members.take(size), &mut staged).map_err(&failed)? != size {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        staged.rewind().map_err(&failed)?;
        let git = parts.git.repo(id);
        // What lies there is from an earlier try.
        git.remove().await?;
        git.create().await?;
        Ok(git.unpack(tokio::fs::File::from_std(staged), tips).await?)
    }
}

fn text(parts: &Parts, members: &mut Archive, size: u64, most: u64) -> Result<Vec<u8>, BackupError> {
    let failed = file(&parts.config.data_dir);
    if size > most {
        return Err(failed(std::io::ErrorKind::InvalidData.into()));
    }
    let mut text = Vec::new();
    members.take(size).read_to_end(&mut text).map_err(&failed)?;
    if text.len() as u64 == size { Ok(text) } else { Err(failed(std::io::ErrorKind::UnexpectedEof.into())) }
}

/// The bytes of a member, piece by piece.
pub(super) fn pieces(members: &mut Archive, size: u64) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::unfold((members, size), |(members, left)| async move {
        if left == 0 {
            return None;
        }
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES))];
        let read = members.read_exact(&mut piece).map(|()| Bytes::from(piece));
        let left = read.as_ref().map_or(0, |piece| left - piece.len() as u64);
        Some((read, (members, left)))
    })
}

/// Refuses a place that has accounts or repositories.
pub(super) async fn require_none(parts: &Parts) -> Result<(), BackupError> {
    let not_empty = |what: String| Err(BackupError::NotEmpty { what });
    if tables::accounts(&mut *parts.db.read().await?).await? > 0 {
        return not_empty("the database".to_owned());
    }
    if !parts.git.folders(std::time::Duration::ZERO).await?.is_empty() {
        return not_empty(parts.config.git_dir().display().to_string());
    }
    Ok(())
}

/// Makes sure that every xorb that a row names came back.
pub(super) async fn require_all(parts: &Parts, count: Count) -> Result<(), BackupError> {
    let rows = tables::xorbs(&mut *parts.db.read().await?).await?;
    if u64::try_from(rows).is_ok_and(|rows| rows == count.xorbs) {
        return Ok(());
    }
    Err(BackupError::Lacks {
        what: format!("{} of {rows} parts of large files", rows.abs_diff(count.xorbs.cast_signed())),
    })
}
