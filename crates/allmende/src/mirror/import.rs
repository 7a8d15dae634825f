//! A bundle that somebody brought: it makes a repository, or brings one that a bundle made further.

use allmende_core::signature::PublicKey;
use tokio::io::AsyncRead;

use super::MirrorError;
use super::apply::{Applied, Opened, apply};
use super::manifest::Manifest;
use super::store::{self, Mirror, Rewritten};
use crate::account::{Principal, new_id};
use crate::app::App;
use crate::git::refs::Change;
use crate::repo::ops::{self, MAIN};
use crate::repo::store::NewRepo;
use crate::repo::{Gate, Kind, Repo, RepoError, Right, Settings, card, history};
use crate::transaction;

/// Where a bundle is to go, and whose it must be.
#[derive(Debug, Clone)]
pub struct Target {
    /// What the repository holds.
    pub kind: Kind,
    /// Its owner.
    pub space: String,
    /// Its name.
    pub name: String,
    /// Who must have signed.
    pub signer: PublicKey,
    /// Whether files that run code may stand in it, where it is new.
    pub pickles_allowed: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Brought {
    /// The repository.
    pub repo: Repo,
    /// Whether it is new.
    pub created: bool,
    /// What was in the bundle.
    pub manifest: Manifest,
    /// What changed.
    pub applied: Applied,
}

/// The refs of `applied` that went elsewhere than onward, for the mirror's memory.
pub(super) fn noted(changes: &[Change], at: i64) -> impl Iterator<Item = Rewritten> + use<'_> {
    let one = move |c: &Change| Rewritten { at, name: c.name.clone(), old: c.old.to_string(), new: c.new.to_string() };
    changes.iter().map(one)
}

/// Refuses what is not from whom it should be, of another repository, or older than what stands here.
pub(super) fn fits(manifest: &Manifest, signer: PublicKey, mirror: &Mirror) -> Result<(), MirrorError> {
    if let Some(expected) = mirror.signer.filter(|expected| *expected != signer) {
        return Err(MirrorError::OtherSigner { found: signer, expected });
    }
    let other = !mirror.source_id.is_empty() && mirror.source_id != manifest.repository.id;
    if other {
        let text =
            format!("the bundle is of another repository, {}, than the one that stands here", manifest.repository.name);
        return Err(MirrorError::Refused(text));
    }
    if manifest.made_at < mirror.made_at {
        let (made, standing) = (manifest.made_at, mirror.made_at);
        return Err(MirrorError::Refused(format!(
            "the bundle was made at {made}, before what stands here ({standing})"
        )));
    }
    Ok(())
}

/// Takes a bundle into a repository of that name: a new one, private and read-only, or one that a bundle of the same source
/// made. Taken again it changes nothing.
///
/// # Errors
/// [`MirrorError`]; what stands there stands as it stood then.
pub async fn bring<R>(app: &App, principal: &Principal, target: Target, input: R) -> Result<Brought, MirrorError>
where
    R: AsyncRead + Unpin + Send,
{
    let Target { kind, space, name, signer, pickles_allowed } = target;
    let standing = match ops::see(app, Some(principal), kind, &space, &name).await {
        Ok(seen) => {
            seen.require(Right::Admin)?;
            let mirror = store::of(&mut *app.db.read().await?, &seen.repo.id).await?;
            let brought = mirror.filter(|mirror| mirror.url.is_empty());
            let taken = MirrorError::Taken("a repository stands there that no bundle made: choose another name");
            Some((seen.repo, brought.ok_or(taken)?))
        }
        Err(RepoError::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let owner = match &standing {
        Some((repo, _)) => repo.owner.clone(),
        None => ops::owner(app, principal, Some(&space), &name).await?,
    };
    let opened = Opened::read(input).await?;
    if opened.signer != signer {
        return Err(MirrorError::OtherSigner { found: opened.signer, expected: signer });
    }
    if opened.manifest.kind() != Some(kind) {
        return Err(MirrorError::Refused(format!("the bundle holds a {}", opened.manifest.repository.kind)));
    }
    let manifest = opened.manifest.clone();
    let now = app.clock.now();
    if let Some((repo, mut mirror)) = standing {
        fits(&manifest, signer, &mirror)?;
        let applied = apply(app, opened, &repo).await?;
        mirror.made_at = manifest.made_at;
        mirror.rewritten.extend(noted(&applied.rewritten, now.0));
        after(&mut mirror, &manifest, &applied, app.clock.now());
        let put: Result<(), MirrorError> = transaction!(app.db, tx => { Ok(store::put(tx, &mirror, None).await?) });
        put?;
        return Ok(Brought { repo, created: false, manifest, applied });
    }
    let settings = Settings { mirror: true, pickles_allowed, ..Settings::default() };
    let repo = Repo {
        id: new_id()?,
        kind,
        owner,
        name: name.parse().map_err(|_| MirrorError::Bad(format!("Invalid repository name: {name}")))?,
        creator: principal.account.id.clone(),
        private: true,
        gate: Gate::Off,
        disabled: false,
        collaboration: None,
        settings,
        created_at: now,
        modified_at: now,
        downloads: 0,
        likes: 0,
    };
    let git = app.git.repo(&repo.id);
    git.create().await?;
    let made = async {
        let applied = apply(app, opened, &repo).await?;
        // A long transfer may outlive the right to bring it.
        let again = Principal::again(app, &principal.account.id, &principal.token.id).await;
        let again = again.map_err(|e| MirrorError::Internal(e.to_string()))?.ok_or(RepoError::NotFound)?;
        ops::owner(app, &again, Some(&space), &name).await?;
        let mut mirror = blank(&repo.id);
        (mirror.source, mirror.source_id) = (manifest.repository.name.clone(), manifest.repository.id.clone());
        (mirror.signer, mirror.made_at) = (Some(signer), manifest.made_at);
        after(&mut mirror, &manifest, &applied, app.clock.now());
        let Repo { id, kind, owner, name, creator, private, settings, .. } = repo.clone();
        let new = NewRepo { kind, owner, name, creator, private, collaboration: None, settings };
        let head = match git.resolve(MAIN).await {
            Ok(commit) => Some(card::head(&git, commit).await?),
            Err(_) => None,
        };
        let created: Result<Repo, MirrorError> = transaction!(app.db, tx => {
            let created = ops::begin(tx, &id, &new, head.as_ref(), now).await?;
            store::put(tx, &mirror, Some(&[])).await?;
            Ok(created)
        });
        Ok::<_, MirrorError>((created?, applied))
    };
    let (repo, applied) = match made.await {
        Ok(made) => made,
        Err(error) => {
            git.remove().await?;
            return Err(error);
        }
    };
    history::measure(&app.db, &repo, &git).await?;
    Ok(Brought { repo, created: true, manifest, applied })
}

/// A mirror of which nothing is known.
pub(super) fn blank(repo: &str) -> Mirror {
    let never = allmende_core::time::Timestamp(0);
    Mirror {
        repo: repo.to_owned(),
        url: String::new(),
        tls_pin: None,
        source: String::new(),
        source_id: String::new(),
        signer: None,
        every_s: 0,
        next_at: None,
        busy_until: never,
        failures: 0,
        error: String::new(),
        made_at: never,
        synced_at: None,
        fetched_bytes: 0,
        stored_bytes: 0,
        lacking: 0,
        rewritten: Vec::new(),
    }
}

fn after(mirror: &mut Mirror, manifest: &Manifest, applied: &Applied, now: allmende_core::time::Timestamp) {
    mirror.synced_at = Some(now);
    mirror.lacking = applied.lacking;
    mirror.stored_bytes = applied.stored_bytes;
    mirror.fetched_bytes = manifest.pack.bytes + manifest.xorb_bytes();
}
