//! What is done with repositories as a whole: find, create, move, remove.

use allmende_core::agreement::check::Decision;
use allmende_core::time::Timestamp;

use super::card::{self, Head};
use super::event::{Event, note};
use super::store::{self, NewRepo};
use super::{Kind, Repo, RepoError, RepoName, Right, Settings, place, right, terms};
use crate::account::store as accounts;
use crate::account::{Account, Kind as AccountKind, Principal, Role, new_id};
use crate::app::App;
use crate::db::Tx;
use crate::git::commit::{Author, Builder};
use crate::git::refs::Change;
use crate::git::{GitRepo, Oid};
use crate::transaction;

/// The branch that a repository begins with and that its card is read from.
pub const MAIN: &str = "refs/heads/main";

/// Why nobody writes to a mirror.
pub const FOLLOWS: &str = "This repository is a mirror and changes only when its source does: change it there, or let it stand \
                           on its own ('allmende repository mirror remove')";

/// A repository as somebody sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The repository.
    pub repo: Repo,
    /// What they may do with it.
    pub right: Right,
    /// The terms' word against writing, where they deny it whatever the right.
    pub denied: Option<Box<Decision>>,
}

impl Seen {
    /// Refuses unless they may do as much.
    ///
    /// # Errors
    /// [`RepoError::Forbidden`], or [`RepoError::Denied`] by the terms.
    pub fn require(&self, needed: Right) -> Result<(), RepoError> {
        if needed == Right::Write
            && let Some(decision) = &self.denied
        {
            return Err(RepoError::Denied(decision.clone()));
        }
        if self.right < needed {
            return Err(RepoError::Forbidden(match needed {
                Right::Read => "You may not read this repository",
                Right::Write => {
                    "You may not write to this repository: it needs the role 'write' and a token that may write"
                }
                Right::Admin => {
                    "You may not administrate this repository: it needs the role 'admin' and a token that may write"
                }
            }));
        }
        if needed == Right::Write && self.repo.settings.frozen {
            return Err(RepoError::Forbidden("Nobody can write to this repository any more: its owner has frozen it"));
        }
        if needed == Right::Write && self.repo.settings.mirror {
            return Err(RepoError::Forbidden(FOLLOWS));
        }
        Ok(())
    }

    /// Its history.
    #[must_use]
    pub fn git(&self, app: &App) -> GitRepo {
        app.git.repo(&self.repo.id)
    }
}

/// The repository as `principal` sees it.
///
/// # Errors
/// [`RepoError::NotFound`] when there is none, or none that they may know of.
pub async fn see(
    app: &App,
    principal: Option<&Principal>,
    kind: Kind,
    space: &str,
    name: &str,
) -> Result<Seen, RepoError> {
    let found = store::find(&mut *app.db.read().await?, kind, space, name).await?;
    let repo = found.ok_or(RepoError::NotFound)?;
    look(app, principal, repo).await?.ok_or(RepoError::NotFound)
}

/// `repo` as `principal` sees it, by ownership and by the terms it stands under: the one question of every door. Nothing
/// if they may not know of it.
///
/// # Errors
/// [`RepoError::Denied`] to a member whom the terms forbid to see it.
pub async fn look(app: &App, principal: Option<&Principal>, repo: Repo) -> Result<Option<Seen>, RepoError> {
    match repo.collaboration.clone() {
        Some(collaboration) => terms::look(app, principal, repo, &collaboration).await,
        None => Ok(right(principal, &repo).map(|right| Seen { repo, right, denied: None })),
    }
}

/// Whether `principal` sees it at all, as lists ask.
///
/// # Errors
/// [`RepoError`] of the database or the log.
pub async fn is_visible(app: &App, principal: Option<&Principal>, repo: &Repo) -> Result<bool, RepoError> {
    match look(app, principal, repo.clone()).await {
        Ok(seen) => Ok(seen.is_some()),
        Err(RepoError::Denied(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Refuses whoever may not send large files for a pull request, about which others decide. Who may not write needs a token
/// that may, files that they may read, and open discussions. The gate of a repository is asked for apart.
///
/// # Errors
/// As [`Seen::require`] for writing, or [`RepoError::Denied`] when the terms keep the files from the caller.
pub async fn may_propose(app: &App, principal: Option<&Principal>, seen: &Seen) -> Result<(), RepoError> {
    let repo = &seen.repo;
    let (space, name) = (repo.owner.name.as_str(), repo.name.as_str());
    let proposes = principal.is_some_and(|principal| principal.token.rights.reach(space, name, true))
        && !repo.settings.discussions_disabled
        && repo.kind.has_history();
    match seen.require(Right::Write) {
        Err(RepoError::Forbidden(_) | RepoError::Denied(_))
            if proposes && !repo.settings.frozen && !repo.settings.mirror =>
        {
            terms::may_read(app, principal, repo).await
        }
        other => other,
    }
}

/// The account that `principal` may create repositories for: its own, or the organization `space`.
///
/// # Errors
/// [`RepoError::Forbidden`] or [`crate::account::AccountError::Unknown`].
pub async fn owner(app: &App, principal: &Principal, space: Option<&str>, name: &str) -> Result<Account, RepoError> {
    let owner = match space {
        None => principal.account.clone(),
        Some(space) => accounts::by_name(&mut *app.db.read().await?, space)
            .await?
            .ok_or_else(|| crate::account::AccountError::Unknown(space.to_owned()))?,
    };
    let role = principal.role_in(&owner.id);
    if role.is_none_or(|role| role < Role::Contributor) {
        return Err(RepoError::Forbidden("You don't have the rights to create a repository under this namespace"));
    }
    if !principal.token.rights.reach(owner.name.as_str(), name, true) {
        return Err(RepoError::Forbidden("This token may not create repositories under this namespace"));
    }
    Ok(owner)
}

/// What somebody wants to create.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it will hold.
    pub kind: Kind,
    /// Its owner, from [`owner`].
    pub owner: Account,
    /// Its name.
    pub name: RepoName,
    /// Whether only its owner's people see it; the owner's default if nothing is said.
    pub private: Option<bool>,
    /// Everything else.
    pub settings: Settings,
}

/// Creates a repository with a first commit that says which files are large; a bucket has none and begins empty.
///
/// # Errors
/// [`RepoError::Exists`].
pub async fn create(app: &App, principal: &Principal, wanted: Wanted) -> Result<Repo, RepoError> {
    let now = app.clock.now();
    let private = wanted.private.unwrap_or(match wanted.owner.kind {
        AccountKind::Organization => wanted.owner.private_default,
        AccountKind::User => false,
    });
    let Wanted { kind, owner, name, settings, .. } = wanted;
    let new =
        NewRepo { kind, owner, name, creator: principal.account.id.clone(), private, collaboration: None, settings };
    let id = new_id()?;
    if !kind.has_history() {
        return transaction!(app.db, tx => { begin(tx, &id, &new, None, now).await });
    }
    // The folder first: a crash in between leaves a folder that nobody knows, never a repository without one.
    let git = app.git.repo(&id);
    git.create().await?;
    let mut builder = Builder::start(&git, &[], &author(principal), "initial commit", now).await?;
    if let Ok(path) = super::attributes::PATH.parse() {
        builder.put(&path, super::attributes::initial(new.kind).as_bytes()).await?;
    }
    // A space says in its card what it is made with: clients look for it there and make none themselves.
    if new.kind == Kind::Space
        && let Ok(path) = super::card::PATH.parse()
    {
        builder.put(&path, super::card::of_space(&new.name, new.settings.sdk.as_deref()).as_bytes()).await?;
    }
    let first = builder.finish().await?;
    git.change_refs(&[Change { name: MAIN.to_owned(), old: Oid::ZERO, new: first }]).await?;
    let head = card::head(&git, first).await?;
    let created = transaction!(app.db, tx => { begin(tx, &id, &new, Some(&head), now).await });
    match &created {
        Ok(_) => {}
        Err(_) => git.remove().await?,
    }
    created
}

/// Records a repository, and that it is new.
///
/// # Errors
/// [`RepoError::Exists`].
pub async fn begin(
    tx: &mut Tx,
    id: &str,
    new: &NewRepo,
    head: Option<&Head>,
    now: Timestamp,
) -> Result<Repo, RepoError> {
    let repo = store::create(tx, id, new, head, now).await?;
    note(tx, &repo, &Event::Created, now).await?;
    Ok(repo)
}

/// How `principal` stands in a history.
#[must_use]
pub fn author(principal: &Principal) -> Author {
    let name = principal.account.name.as_str();
    Author { name: name.to_owned(), email: format!("{name}@users.noreply.allmende") }
}

/// Removes a repository with its history.
///
/// # Errors
/// [`RepoError`].
pub async fn remove(app: &App, repo: &Repo) -> Result<(), RepoError> {
    place::require_free(repo)?;
    let now = app.clock.now();
    transaction!(app.db, tx => {
        store::delete(tx, repo).await?;
        note(tx, repo, &Event::Removed, now).await.map_err(RepoError::from)
    })?;
    // A crash in between leaves a folder that nobody knows.
    app.git.repo(&repo.id).remove().await?;
    Ok(())
}

/// Gives a repository another name or owner.
///
/// # Errors
/// [`RepoError::Exists`].
pub async fn rename(app: &App, repo: &Repo, owner: &Account, name: &RepoName) -> Result<(), RepoError> {
    place::require_free(repo)?;
    let now = app.clock.now();
    let moved = Event::Moved { name: format!("{}/{name}", owner.name), owner: owner.id.clone() };
    transaction!(app.db, tx => {
        store::rename(tx, repo, owner, name).await?;
        note(tx, repo, &moved, now).await.map_err(RepoError::from)
    })
}

/// Writes what the owner has set.
///
/// # Errors
/// [`RepoError::Forbidden`] when one under terms would become public.
pub async fn configure(app: &App, repo: &Repo) -> Result<(), RepoError> {
    if !repo.private {
        place::require_free(repo)?;
    }
    let now = app.clock.now();
    transaction!(app.db, tx => {
        store::configure(tx, repo).await?;
        note(tx, repo, &Event::Configured, now).await.map_err(RepoError::from)
    })
}
