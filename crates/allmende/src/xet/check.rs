//! Looking through the whole store: every xorb, every file, every holding.

use allmende_core::digest::Hasher;
use allmende_formats::xet::tree::TreeHasher;
use allmende_formats::xet::xorb::{self as format, Validator};
use futures::TryStreamExt as _;
use serde::Serialize;

use super::read::{Tables, bytes};
use super::store::Listed;
use super::table::{Stored, encode_chunks};
use super::{XetError, store};
use crate::blobs::{BlobError, Blobs};
use crate::db::Db;
use crate::repo;

/// Rows that are read at once.
const PAGE: i64 = 64;

/// What was looked through, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Xorbs.
    pub xorbs: u64,
    /// Their bytes.
    pub xorb_bytes: u64,
    /// Files, each counted in every repository that holds it.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Xorbs that no file cites: what collecting them would free.
    pub uncited: u64,
    /// Their bytes.
    pub uncited_bytes: u64,
    /// What is wrong, for people.
    pub findings: Vec<String>,
}

/// Looks through everything. Memory: one xorb's list of chunks, and the hashes of xorbs.
///
/// # Errors
/// What kept it from looking; what is wrong stands in the report.
pub async fn check(db: &Db, blobs: &Blobs) -> Result<Report, XetError> {
    let mut report = Report::default();
    let mut sizes = std::collections::HashMap::new();
    let mut after = (String::new(), String::new());
    loop {
        let page = store::xorbs(&mut *db.read().await?, (&after.0, &after.1), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.domain.clone(), last.hash.to_string());
        for xorb in page {
            report.xorbs += 1;
            report.xorb_bytes += xorb.size;
            let checked = check_xorb(blobs, &xorb).await;
            // What was collected meanwhile is no damage.
            if let Err(error) = checked
                && store::xorb(&mut *db.read().await?, &xorb.domain, &xorb.hash).await?.is_some()
            {
                report.findings.push(format!("xorb {} in {}: {error}", xorb.hash, xorb.domain));
            }
            sizes.insert((xorb.domain, xorb.hash), xorb.size);
        }
    }
    let mut after = (String::new(), String::new());
    loop {
        let page = store::files(&mut *db.read().await?, (&after.0, &after.1), PAGE).await?;
        let Some((id, hash)) = page.last() else { break };
        after = (id.clone(), hash.to_string());
        for (id, hash) in page {
            // One that is being made, or that a crash left: it is collected.
            let Some(repo) = repo::store::by_id(&mut *db.read().await?, &id).await? else { continue };
            let Some(file) = store::file(&mut *db.read().await?, &repo, &hash).await? else { continue };
            report.files += 1;
            report.file_bytes += file.size;
            let tables = Tables::of(db, blobs, &repo).await?;
            for segment in &file.segments {
                sizes.remove(&(tables.domain().to_owned(), segment.xorb));
            }
            let held = repo::large::xet(&mut *db.read().await?, &repo, &file.sha256.hex()).await?;
            let checked = match held {
                Some(held) if held == hash => check_file(tables, file).await,
                _ => Err(XetError::NotFound("holding")),
            };
            if let Err(error) = checked {
                report.findings.push(format!("file {hash} in {}: {error}", repo.full_name()));
            }
        }
    }
    report.uncited = sizes.len() as u64;
    report.uncited_bytes = sizes.values().sum();
    for (repo, sha256) in store::holdings_without_file(&mut *db.read().await?, PAGE).await? {
        report.findings.push(format!("repository {repo} holds {sha256}, but nothing says what it is made of"));
    }
    for (repo, path) in repo::bucket::without_bytes(&mut *db.read().await?, PAGE).await? {
        report.findings.push(format!("bucket {repo} has a file {path:?}, but nothing says what it is made of"));
    }
    Ok(report)
}

async fn check_xorb(blobs: &Blobs, xorb: &Listed) -> Result<(), XetError> {
    let Listed { domain, hash, size, table, object } = xorb;
    let stored = Stored::read(domain, hash, table, object)?;
    let mut pieces = blobs.open_named(&stored.name, 0..*size).await?;
    let mut validator = Validator::new();
    while let Some(piece) = pieces.try_next().await? {
        validator = tokio::task::spawn_blocking(move || validator.push(&piece).map(|()| validator)).await??;
    }
    let found = validator.finish(Some(hash))?;
    if encode_chunks(&found.chunks) != *table { Err(format::Error::Stored.into()) } else { Ok(()) }
}

async fn check_file(mut tables: Tables, file: store::Held) -> Result<(), XetError> {
    let mut tree = TreeHasher::new();
    for segment in &file.segments {
        let stored = tables.get(&segment.xorb).await?;
        let own = stored.chunks.get(segment.chunk_start as usize..segment.chunk_end as usize);
        own.unwrap_or_default().iter().for_each(|c| tree.push(c.hash, c.unpacked_bytes.into()));
    }
    if tree.bytes() != file.size || tree.file_hash() != file.hash {
        return Err(XetError::False("its chunks make another file".to_owned()));
    }
    let hasher = bytes(tables, file.segments, 0..file.size).try_fold(Hasher::default(), async |mut hasher, piece| {
        Ok(tokio::task::spawn_blocking(move || {
            hasher.update(&piece);
            hasher
        })
        .await?)
    });
    let actual = hasher.await?.finish();
    if actual == file.sha256 { Ok(()) } else { Err(BlobError::DigestMismatch { expected: file.sha256, actual }.into()) }
}
