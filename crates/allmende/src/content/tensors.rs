//! The tensors of a model, from the headers of its safetensors files.

use std::ops::Range;

use allmende_formats::safetensors::{
    Error, Index, Layout, MAX_FOREIGN_HEADER_BYTES, MAX_INDEX_BYTES, Summary, parse_header_within, parse_index,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::file::File;
use super::store::{self, What};
use super::{ContentError, file};
use crate::app::App;
use crate::git::tree::Entry;
use crate::git::{GitRepo, Oid};
use crate::repo::Repo;

/// The file of a model in one piece.
pub const SINGLE: &str = "model.safetensors";
/// The index of a model in several.
pub const INDEX: &str = "model.safetensors.index.json";
/// Bytes that are read at first: nearly every header fits.
const FIRST_BYTES: u64 = 100 << 10;
/// Headers that are in memory at once, in the whole program.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

fn not_understood(file: &File, error: impl std::fmt::Display) -> ContentError {
    ContentError::NotUnderstood(format!("{} is no safetensors file that can be read: {error}", file.path))
}

/// Reads the header of a file, and nothing else of it.
///
/// # Errors
/// [`ContentError::NotUnderstood`] when it is no safetensors file.
pub async fn layout(app: &App, file: &File) -> Result<Layout, ContentError> {
    // A closed semaphore does not exist here.
    let _permit = AT_ONCE.acquire().await;
    let mut wanted = FIRST_BYTES.min(file.size);
    loop {
        let head = file.bytes(app, 0..wanted).await?;
        match parse_header_within(&head, file.size, MAX_FOREIGN_HEADER_BYTES) {
            Ok(layout) => return Ok(layout),
            // It never asks for more than the header may have, nor for what it was given.
            Err(Error::Incomplete { bytes }) if bytes > wanted && bytes <= file::MAX_RANGE_BYTES => wanted = bytes,
            Err(error) => return Err(not_understood(file, error)),
        }
    }
}

/// Where the JSON of a header lies in its file.
#[must_use]
pub const fn header_range(layout: &Layout) -> Range<u64> {
    allmende_formats::safetensors::LENGTH_BYTES..layout.header_bytes
}

/// Reads an index.
///
/// # Errors
/// [`ContentError::NotUnderstood`].
pub async fn index(app: &App, file: &File) -> Result<Index, ContentError> {
    if file.size > MAX_INDEX_BYTES {
        return Err(ContentError::NotUnderstood(format!("{} has more than {MAX_INDEX_BYTES} bytes", file.path)));
    }
    let _permit = AT_ONCE.acquire().await;
    let bytes = file.bytes(app, 0..file.size).await?;
    parse_index(&bytes).map_err(|e| ContentError::NotUnderstood(format!("{}: {e}", file.path)))
}

/// What is kept of a file that was read.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept<T> {
    Found(T),
    /// It is not what its name says.
    Not(String),
}

/// What is known of an entry of a tree, or is found by reading it: once.
async fn once<T: Serialize + serde::de::DeserializeOwned>(
    app: &App,
    repo: &Repo,
    git: &GitRepo,
    entry: &Entry,
    what: What,
    find: impl AsyncFnOnce(&File) -> Result<T, ContentError>,
) -> Result<Option<T>, ContentError> {
    let known = store::get(&mut *app.db.read().await?, repo, entry.oid, what).await?;
    if let Some(kept) = known.and_then(|text| serde_json::from_str::<Kept<T>>(&text).ok()) {
        return Ok(match kept {
            Kept::Found(found) => Some(found),
            Kept::Not(_) => None,
        });
    }
    let mut entry = [entry.clone()];
    git.pointers(&mut entry).await?;
    let [entry] = entry;
    // What is not held yet may come.
    let Some(file) = File::of(app, repo, git, &entry).await? else { return Ok(None) };
    let kept = match find(&file).await {
        Ok(found) => Kept::Found(found),
        Err(ContentError::NotUnderstood(text)) => Kept::Not(text),
        Err(error) => return Err(error),
    };
    let text = serde_json::to_string(&kept).map_err(|e| ContentError::NotUnderstood(e.to_string()))?;
    store::keep(app, repo, &[(entry.oid, text)], what).await?;
    Ok(match kept {
        Kept::Found(found) => Some(found),
        Kept::Not(_) => None,
    })
}

async fn counted(app: &App, repo: &Repo, git: &GitRepo, entry: &Entry) -> Result<Option<Summary>, ContentError> {
    let count = async |file: &File| {
        let mut summary = Summary::default();
        summary.add(&layout(app, file).await?);
        Ok(summary)
    };
    once(app, repo, git, entry, What::Tensors, count).await
}

/// How many parameters the model has whose files `entries` are: that of `model.safetensors`, or of the files that its index
/// names. None if it has neither, or they cannot be read.
///
/// # Errors
/// [`ContentError`] when something else fails.
pub async fn parameters(
    app: &App,
    repo: &Repo,
    git: &GitRepo,
    entries: &[Entry],
) -> Result<Option<Summary>, ContentError> {
    let find = |path: &str| entries.iter().find(|entry| entry.path == path);
    if let Some(single) = find(SINGLE) {
        return counted(app, repo, git, single).await;
    }
    let Some(entry) = find(INDEX) else { return Ok(None) };
    let named = async |file: &File| Ok(index(app, file).await?.shards);
    let Some(shards) = once(app, repo, git, entry, What::Shards, named).await? else { return Ok(None) };
    let mut whole = Summary::default();
    for shard in &shards {
        // A model of which a file is missing has no number of parameters.
        let Some(entry) = find(shard) else { return Ok(None) };
        let Some(part) = counted(app, repo, git, entry).await? else { return Ok(None) };
        whole.merge(&part);
    }
    Ok(Some(whole))
}

/// The files of the sharded model whose index stands at `path`, in the order of their names.
///
/// # Errors
/// [`ContentError::NotUnderstood`] when the index is none, and as [`File::at`] when a file is missing.
pub async fn shards(
    app: &App,
    repo: &Repo,
    git: &GitRepo,
    commit: Oid,
    path: &str,
) -> Result<(Index, Vec<File>), ContentError> {
    let found = index(app, &File::at(app, repo, git, commit, path).await?).await?;
    let folder = path.rsplit_once('/').map_or_else(String::new, |(folder, _)| format!("{folder}/"));
    let mut files = Vec::with_capacity(found.shards.len());
    for shard in &found.shards {
        files.push(File::at(app, repo, git, commit, &format!("{folder}{shard}")).await?);
    }
    Ok((found, files))
}
