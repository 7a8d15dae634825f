//! Copies of large files, and of whole repositories with them. Inside a domain a copy is a row; into another domain the
//! bytes themselves are read, cut and stored anew, as if they came from outside: nothing is told of what that domain has.

use std::collections::HashMap;

use allmende_core::digest::Digest;
use futures::StreamExt as _;

use super::ingest::Ingest;
use super::store::{self, settle};
use super::{XetError, read};
use crate::account::{Principal, new_id};
use crate::app::App;
use crate::error::ApiError;
use crate::git::reach::History;
use crate::git::{GitError, GitRepo};
use crate::repo::card::{self, Head};
use crate::repo::history::measure;
use crate::repo::ops::{MAIN, Wanted, begin};
use crate::repo::store::{NewRepo, find};
use crate::repo::{Gate, Repo, RepoError, large, quota, terms};
use crate::transaction;

/// Bytes that wait between the call that makes a pack and the one that reads it.
const PIPE_BYTES: usize = 1 << 18;

/// Makes `to` hold a large file that `from` holds. That the caller may read the one and write the other was asked before.
///
/// # Errors
/// [`XetError::NotFound`] when `from` does not hold it, [`RepoError::Quota`] when `to` has no room for it.
pub async fn file(app: &App, from: &Repo, to: &Repo, sha256: &Digest) -> Result<(), XetError> {
    let default = app.config.default_quota_bytes;
    let mut connection = app.db.read().await?;
    let missing = || XetError::NotFound("large file");
    let size = large::held(&mut connection, from, sha256).await?.ok_or_else(missing)?;
    let hash = large::xet(&mut connection, from, &sha256.hex()).await?;
    let (source, target) = (store::domain(&mut connection, from).await?, store::domain(&mut connection, to).await?);
    let file = match hash {
        Some(hash) if source == target => store::file(&mut connection, from, &hash).await?,
        _ => None,
    };
    drop(connection);
    if let Some(file) = file {
        let now = app.clock.now();
        return transaction!(app.db, tx => {
            if settle(tx, to).await? != target {
                return Err(XetError::False("the repository moved meanwhile: copy again".to_owned()));
            }
            quota::require(tx, &target, 0, default).await?;
            store::put_file(tx, to, &target, &file).await?;
            Ok(large::hold(tx, to, sha256, file.size, Some(&file.hash), now).await?)
        });
    }
    if large::cite(&app.db, to, sha256).await? == Some(size) {
        return Ok(());
    }
    quota::require(&mut *app.db.read().await?, &target, size, default).await?;
    let mut stream = read::read(app, from, sha256, None).await?.stream;
    let mut ingest = Ingest::begin(app, to).await?;
    while let Some(piece) = stream.next().await {
        ingest.push(&piece?).await?;
    }
    ingest.finish_as(Some(sha256)).await.map(drop)
}

/// Makes a copy of a repository: all branches and tags with their history, and the large files that they cite. That the
/// caller may read its files, and create what is wanted, was asked before. Nobody sees the copy before it is whole; a crash
/// leaves rows and a folder that are collected.
///
/// # Errors
/// [`RepoError::Exists`]; [`RepoError::Quota`].
pub async fn repository(app: &App, principal: &Principal, from: &Repo, wanted: Wanted) -> Result<Repo, XetError> {
    terms::may_leave(app, principal, from, None).await?;
    let (space, name) = (wanted.owner.name.as_str(), wanted.name.as_str());
    let standing = find(&mut *app.db.read().await?, wanted.kind, space, name).await?;
    if let Some(standing) = standing.filter(|repo| repo.owner.id == wanted.owner.id && repo.name == wanted.name) {
        return Err(RepoError::Exists(Box::new(standing)).into());
    }
    let now = app.clock.now();
    // What was not for everybody is not for everybody unless somebody says so.
    let private = wanted.private.unwrap_or(from.private || from.gate != Gate::Off || wanted.owner.private_default);
    let to = Repo {
        id: new_id().map_err(ApiError::from)?,
        kind: wanted.kind,
        owner: wanted.owner,
        name: wanted.name,
        creator: principal.account.id.clone(),
        private,
        gate: Gate::Off,
        disabled: false,
        collaboration: None,
        settings: wanted.settings,
        created_at: now,
        modified_at: now,
        downloads: 0,
        likes: 0,
    };
    let git = app.git.repo(&to.id);
    let copied = contents(app, from, &to, &git).await;
    let Repo { id, kind, owner, name, creator, settings, .. } = to;
    let new = NewRepo { kind, owner, name, creator, private, collaboration: None, settings };
    let made = match copied {
        Ok(head) => {
            transaction!(app.db, tx => { begin(tx, &id, &new, head.as_ref(), now).await }).map_err(XetError::from)
        }
        Err(error) => Err(error),
    };
    let repo = match made {
        Ok(repo) => repo,
        Err(error) => {
            git.remove().await.map_err(RepoError::from)?;
            return Err(error);
        }
    };
    measure(&app.db, &repo, &git).await?;
    Ok(repo)
}

/// Copies everything; gives the index of the head of main, if there is one.
async fn contents(app: &App, from: &Repo, to: &Repo, git: &GitRepo) -> Result<Option<Head>, XetError> {
    let source = app.git.repo(&from.id);
    let bytes = source.size_bytes().await.map_err(RepoError::from)?;
    quota::require_in(&mut *app.db.read().await?, to, bytes, app.config.default_quota_bytes).await?;
    history(&source, git).await.map_err(RepoError::from)?;
    let mut cited = HashMap::new();
    let note = |found: crate::git::reach::Cited| {
        cited.insert(found.pointer.sha256, found.pointer.size);
    };
    git.cited(History::Whole, note).await.map_err(RepoError::from)?;
    for (sha256, size) in cited {
        let Ok(sha256) = format!("sha256:{sha256}").parse() else { continue };
        // What the first one does not have the second one does not get: deleted files whose pointers were left.
        if large::held(&mut *app.db.read().await?, from, &sha256).await? == Some(size) {
            file(app, from, to, &sha256).await?;
        }
    }
    match git.resolve(MAIN).await {
        Ok(commit) => Ok(Some(card::head(git, commit).await.map_err(RepoError::from)?)),
        Err(_) => Ok(None),
    }
}

/// Copies branches and tags, and what they lead to: nothing that only pull requests have, or that was left behind.
async fn history(from: &GitRepo, to: &GitRepo) -> Result<(), GitError> {
    to.create().await?;
    let tips = from.tips(&["refs/heads", "refs/tags"]).await?;
    let (mut into, out) = tokio::io::duplex(PIPE_BYTES);
    let packed = async {
        let packed = from.pack(&tips).await?.write(&mut into).await;
        drop(into);
        packed
    };
    let (packed, unpacked) = tokio::join!(packed, to.unpack(out, &tips));
    packed?;
    unpacked
}
