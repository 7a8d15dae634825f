//! The repository of a release: what members download with the tools that they have.
//!
//! The statement in the log is the commit point. The files follow from it and are written once: bytes first, then the commit,
//! then the branch, so that a crash leaves nothing half seen and doing it again ends where it would have ended.

use std::sync::Arc;

use allmende_core::id::{CollaborationId, RunId};
use allmende_core::state::runs::Released;
use futures::TryStreamExt as _;

use super::card::{CARD, CONFIG, Files, MANIFEST, WEIGHTS};
use super::release;
use crate::account::{self, Account, AccountError, AccountName};
use crate::app::App;
use crate::error::ApiError;
use crate::faults;
use crate::git::commit::{Author, Builder};
use crate::git::objects::Pointer;
use crate::git::refs::Change;
use crate::git::{GitError, Oid};
use crate::ledger::Log;
use crate::repo::event::{Event, tell};
use crate::repo::moving::move_refs;
use crate::repo::ops::MAIN;
use crate::repo::{Kind, Repo, RepoError, Settings, attributes, history, store};
use crate::transaction;
use crate::xet::ingest::Ingest;

/// Who wrote the commit.
const AUTHOR: &str = "allmende";

/// Publishes the releases of `log` that are not yet repositories. Those in `known` are passed over, and all that it looked
/// at stand there afterwards.
///
/// # Errors
/// The store's failure; what was published stays.
pub async fn due(app: &App, log: &Arc<Log>, known: &mut std::collections::HashSet<RunId>) -> Result<(), ApiError> {
    let found: Option<(CollaborationId, Vec<(RunId, Released)>)> = {
        let state = log.state().await?;
        let released = |run: &allmende_core::state::runs::Run| run.released.clone().map(|r| (run.id.clone(), r));
        state.collaboration().map(|collaboration| {
            let new = state.runs().values().filter(|run| !known.contains(&run.id)).filter_map(released);
            (collaboration.clone(), new.collect())
        })
    };
    let Some((collaboration, released)) = found else { return Ok(()) };
    for (run, released) in released {
        publish(app, log, &collaboration, &run, &released).await?;
        known.insert(run);
    }
    Ok(())
}

/// The organization under whose name the results of a collaboration stand: its own name, if nobody had that before.
async fn organization(app: &App, collaboration: &CollaborationId) -> Result<Account, ApiError> {
    let now = app.clock.now();
    let names = [collaboration.to_string(), format!("{collaboration}-results"), format!("c-{collaboration}")];
    for name in names {
        let Ok(name) = name.parse::<AccountName>() else { continue };
        let made = transaction!(app.db, tx => {
            account::store::of_collaboration(tx, collaboration, &name, now).await
        });
        match made {
            Ok(account) => return Ok(account),
            Err(AccountError::Taken(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(AccountError::Unknown(collaboration.to_string()).into())
}

/// The repository's row, with its folder.
async fn repository(app: &App, collaboration: &CollaborationId, run: &RunId) -> Result<Repo, ApiError> {
    let owner = organization(app, collaboration).await?;
    let name = run.as_str().parse().map_err(|e: crate::repo::InvalidRepoName| ApiError::internal(e))?;
    let standing = store::find(&mut *app.db.read().await?, Kind::Model, owner.name.as_str(), run.as_str()).await?;
    if let Some(repo) = standing {
        return Ok(repo);
    }
    let id = account::new_id()?;
    let creator = owner.id.clone();
    let collaboration = Some(collaboration.clone());
    // What members signed is not written again.
    let settings = Settings { frozen: true, ..Settings::default() };
    let new = store::NewRepo { kind: Kind::Model, owner, name, creator, private: true, collaboration, settings };
    app.git.repo(&id).create().await?;
    let now = app.clock.now();
    let created = transaction!(app.db, tx => { store::create(tx, &id, &new, None, now).await });
    match created {
        Ok(repo) => Ok(repo),
        // Another process of the hub was first.
        Err(RepoError::Exists(repo)) => {
            app.git.repo(&id).remove().await?;
            Ok(*repo)
        }
        Err(other) => Err(other.into()),
    }
}

async fn publish(
    app: &App,
    log: &Arc<Log>,
    collaboration: &CollaborationId,
    run: &RunId,
    released: &Released,
) -> Result<(), ApiError> {
    let repo = repository(app, collaboration, run).await?;
    let git = app.git.repo(&repo.id);
    match git.resolve(MAIN).await {
        Ok(_) => return Ok(()),
        Err(GitError::NoRevision(_)) => {}
        Err(other) => return Err(other.into()),
    }
    let (Files { card, config, manifest }, model) = release::files(app, log, run).await?;
    let mut weights = app.blobs.open_range(&model, None).await?.stream;
    let mut ingest = Ingest::begin(app, &repo).await?;
    while let Some(bytes) = weights.try_next().await? {
        ingest.push(&bytes).await?;
    }
    let stored = ingest.finish_as(Some(&model)).await?;
    faults::point("release.before_commit");
    let author = Author { name: AUTHOR.to_owned(), email: format!("{AUTHOR}@users.noreply.allmende") };
    let message = format!("Release of run {run}\n\nManifest: {}\nLicence: {}", released.manifest, released.licence);
    let mut builder = Builder::start(&git, &[], &author, &message, released.at).await?;
    let pointer = Pointer { sha256: stored.sha256.hex(), size: stored.size }.to_bytes();
    let attributes = attributes::initial(Kind::Model).into_bytes();
    for (path, bytes) in
        [(attributes::PATH, &attributes), (CARD, &card), (CONFIG, &config), (MANIFEST, &manifest), (WEIGHTS, &pointer)]
    {
        builder.put(&path.parse().map_err(GitError::from)?, bytes).await?;
    }
    let commit = builder.finish().await?;
    faults::point("release.before_ref");
    match move_refs(app, &repo.id, vec![Change { name: MAIN.to_owned(), old: Oid::ZERO, new: commit }]).await {
        Ok(()) => {}
        // Another process of the hub was first; the commit is the same.
        Err(_) if git.resolve(MAIN).await.is_ok_and(|standing| standing == commit) => {}
        Err(other) => return Err(other.into()),
    }
    history::measure(&app.db, &repo, &git).await?;
    tell(app, &repo, Event::Created).await;
    tracing::info!(%run, repository = repo.full_name(), "the release can be downloaded");
    Ok(())
}
