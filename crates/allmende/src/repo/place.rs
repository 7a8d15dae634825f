//! Putting a repository under the terms of a collaboration, and taking it back. The log is the commit point: a crash after
//! the statement leaves a row to set, and doing it again sets it.

use std::sync::Arc;

use allmende_core::agreement::vocabulary::DataClass;
use allmende_core::id::{AssetId, CollaborationId};
use allmende_core::state::Refusal;
use allmende_core::statement::{RepositoryPlaced, RepositoryWithdrawn};

use super::event::{Event, note};
use super::{Kind, Repo, RepoError, Right, ops::Seen, store, terms};
use crate::app::App;
use crate::ledger::{AppendError, Log};
use crate::transaction;

/// What the terms call the content of a repository.
///
/// # Errors
/// [`RepoError::Invalid`] for kinds that the vocabulary has no word for.
pub const fn class(kind: Kind) -> Result<DataClass, RepoError> {
    match kind {
        Kind::Model => Ok(DataClass::Model),
        Kind::Dataset | Kind::Bucket => Ok(DataClass::Reference),
        Kind::Space | Kind::Code | Kind::Kernel => {
            Err(RepoError::Invalid("the terms speak of models and data: other repositories stand under no terms"))
        }
    }
}

/// Puts a repository of a member under the terms. It is no longer public then: what the terms permit is all that others
/// may. Doing it twice changes nothing.
///
/// # Errors
/// [`RepoError::Forbidden`] unless the caller administrates it, or its owner is no party; [`RepoError::Log`] unless the
/// owner is a member.
pub async fn place(app: &App, seen: &Seen, log: &Arc<Log>, collaboration: &CollaborationId) -> Result<Repo, RepoError> {
    seen.require(Right::Admin)?;
    let mut repo = seen.repo.clone();
    if repo.owner.party.is_none() {
        return Err(RepoError::Forbidden("only a party's own repositories can stand under the terms that it signed"));
    }
    if repo.collaboration.as_ref().is_some_and(|standing| standing != collaboration) {
        return Err(RepoError::Forbidden("it stands under the terms of another collaboration: take it back first"));
    }
    let (asset, class) = (terms::asset(&repo)?, class(repo.kind)?);
    require_only(app, &repo, &asset, class, collaboration).await?;
    let standing = log.state().await?.repository(&asset).map(|placed| placed.class);
    match standing {
        Some(placed) if placed == class => {}
        // A model and a dataset of one name are two repositories and one asset. Two of one class: see `require_only`.
        Some(_) => return Err(AppendError::Refused(Refusal::AssetExists { asset }).into()),
        None => terms::attest(log, RepositoryPlaced { repository: asset, class }).await?,
    }
    repo.private = true;
    repo.collaboration = Some(collaboration.clone());
    put_under(app, &repo).await?;
    Ok(repo)
}

async fn put_under(app: &App, repo: &Repo) -> Result<(), RepoError> {
    let now = app.clock.now();
    transaction!(app.db, tx => {
        store::put_under(tx, repo).await?;
        note(tx, repo, &Event::Configured, now).await.map_err(RepoError::from)
    })
}

/// Refuses when another kind of repository of the same name and class stands under these terms: the log could not tell
/// them apart.
async fn require_only(
    app: &App,
    repo: &Repo,
    asset: &AssetId,
    own: DataClass,
    collaboration: &CollaborationId,
) -> Result<(), RepoError> {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != repo.kind && class(*kind).is_ok_and(|class| class == own))
    {
        let (space, name) = (repo.owner.name.as_str(), repo.name.as_str());
        let other = store::find(&mut *app.db.read().await?, kind, space, name).await?;
        let other = other.filter(|other| other.collaboration.as_ref() == Some(collaboration));
        if other.is_some_and(|other| terms::asset(&other).is_ok_and(|standing| standing == *asset)) {
            return Err(AppendError::Refused(Refusal::AssetExists { asset: asset.clone() }).into());
        }
    }
    Ok(())
}

/// Takes a repository back, at once and without a vote. It stays private until its owner says otherwise.
///
/// # Errors
/// [`RepoError::Forbidden`] unless the caller administrates it; [`RepoError::Log`] when the log does not take it.
pub async fn withdraw(app: &App, seen: &Seen, log: &Arc<Log>) -> Result<Repo, RepoError> {
    seen.require(Right::Admin)?;
    let mut repo = seen.repo.clone();
    let asset = terms::asset(&repo)?;
    if log.state().await?.repository(&asset).is_some() {
        terms::attest(log, RepositoryWithdrawn { repository: asset }).await?;
    }
    repo.collaboration = None;
    put_under(app, &repo).await?;
    Ok(repo)
}

/// Refuses what would take a repository out of its terms, or call it otherwise than they do.
///
/// # Errors
/// [`RepoError::Forbidden`] while it stands under terms.
pub const fn require_free(repo: &Repo) -> Result<(), RepoError> {
    if repo.collaboration.is_none() {
        return Ok(());
    }
    Err(RepoError::Forbidden(
        "this repository stands under the terms of a collaboration: take it back first ('allmende repository withdraw')",
    ))
}
