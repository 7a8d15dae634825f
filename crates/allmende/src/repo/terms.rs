//! The terms at the doors of repositories: one that belongs to a collaboration is an asset by its full name, and opens as
//! the agreement in force says. Asked at each use, so that whoever left or was put out is out at once.
//!
//! Architecture invariant: nothing is decided here. [`State::judge_repository`] decides; this says for whom it is asked.

use std::sync::Arc;

use allmende_core::agreement::check::Decision;
use allmende_core::agreement::vocabulary::Action;
use allmende_core::id::{AssetId, CollaborationId, PartyId};
use allmende_core::state::{Refusal, State};
use allmende_core::statement::{AccessGranted, Body};
use allmende_core::time::Timestamp;

use super::ops::Seen;
use super::{Kind, Repo, RepoError, Right, right};
use crate::account::{Account, Principal, Role, store as accounts};
use crate::app::App;
use crate::ledger::{AppendError, Item, Log};

/// The name under which the terms speak of a repository.
///
/// # Errors
/// [`RepoError::Invalid`] when it is none: the terms know lower case, digits and dashes.
pub fn asset(repo: &Repo) -> Result<AssetId, RepoError> {
    let invalid =
        "the terms name assets as 'party/name' in lower case letters, digits and '-': rename the repository first";
    // A release stands under the collaboration's own name, whatever its organization had to be called.
    let name = match (&repo.owner.party, &repo.collaboration) {
        (None, Some(collaboration)) => format!("{collaboration}/{}", repo.name),
        _ => repo.full_name(),
    };
    name.parse().map_err(|_| RepoError::Invalid(invalid))
}

/// Puts into the log what the hub did at the door of a repository.
pub(super) async fn attest(log: &Arc<Log>, body: impl Into<Body>) -> Result<(), AppendError> {
    log.append(vec![Item::Attest(Box::new(body.into()), None)]).await.map(|_| ())
}

/// What the log of a repository's collaboration says, asked for one caller.
struct Asked<'a> {
    state: &'a State,
    asset: AssetId,
    at: Timestamp,
    principal: &'a Principal,
}

impl Asked<'_> {
    /// The members that the caller acts for with at least this role.
    fn members(&self, role: Role) -> impl Iterator<Item = &PartyId> {
        self.principal.parties(role).filter(|party| self.state.members().contains_key(party))
    }

    fn is_member(&self) -> bool {
        self.members(Role::Read).next().is_some()
    }

    /// Whether the terms let one of the caller's parties do it; otherwise their word to the one that comes nearest, if
    /// there is one at all.
    fn judge(&self, action: Action, role: Role) -> Result<(), Option<Box<Decision>>> {
        let judge = |party| self.state.judge_repository(party, &self.asset, action, self.at);
        let decisions: Vec<Decision> = self.members(role).filter_map(judge).collect();
        if decisions.iter().any(Decision::is_allowed) {
            return Ok(());
        }
        Err(decisions.into_iter().min_by_key(|decision| decision.missing.len()).map(Box::new))
    }
}

/// The repository as `principal` sees it under the terms of `collaboration`; nothing to those who are not of it.
pub(super) async fn look(
    app: &App,
    principal: Option<&Principal>,
    repo: Repo,
    collaboration: &CollaborationId,
) -> Result<Option<Seen>, RepoError> {
    let Some(principal) = principal else { return Ok(None) };
    let (space, name) = (repo.owner.name.as_str(), repo.name.as_str());
    let reach = |write| principal.token.rights.reach(space, name, write);
    if !reach(false) || repo.disabled {
        return Ok(None);
    }
    // Under terms nothing is public: whoever has a right here has it by their role.
    let house = right(Some(principal), &repo);
    let Some(log) = app.logs.get(collaboration).await? else {
        return Ok(house.map(|right| Seen { repo, right, denied: None }));
    };
    let state = log.state().await?;
    let asked = Asked { state: &state, asset: asset(&repo)?, at: app.clock.now(), principal };
    if !asked.is_member() {
        // What is its own stays its own, whoever left or was put out.
        return Ok(house.map(|right| Seen { repo, right, denied: None }));
    }
    if house.is_none()
        && let Err(Some(decision)) = asked.judge(Action::See, Role::Read)
    {
        return Err(RepoError::Denied(decision));
    }
    let write = asked.judge(Action::Write, Role::Write);
    let by_terms = if write.is_ok() && reach(true) { Right::Write } else { Right::Read };
    let right = house.map_or(by_terms, |right| right.max(by_terms));
    let denied = write.err().flatten();
    drop(state);
    Ok(Some(Seen { repo, right, denied }))
}

/// What the terms say to `principal` about each thing that is done with a repository; nothing to those who are no members,
/// or where the log does not know it.
///
/// # Errors
/// [`RepoError`] of the log.
pub async fn said(
    app: &App,
    principal: Option<&Principal>,
    repo: &Repo,
) -> Result<Vec<(Action, Result<(), Box<Decision>>)>, RepoError> {
    let (Some(collaboration), Some(principal)) = (&repo.collaboration, principal) else { return Ok(Vec::new()) };
    let Some(log) = app.logs.get(collaboration).await? else { return Ok(Vec::new()) };
    let state = log.state().await?;
    let asked = Asked { state: &state, asset: asset(repo)?, at: app.clock.now(), principal };
    let outward = if repo.kind == Kind::Model { Action::Release } else { Action::Disclose };
    let all =
        [(Action::See, Role::Read), (Action::Read, Role::Read), (Action::Write, Role::Write), (outward, Role::Write)];
    let heard = all.into_iter().filter_map(|(action, role)| match asked.judge(action, role) {
        Ok(()) => Some((action, Ok(()))),
        Err(Some(decision)) => Some((action, Err(decision))),
        Err(None) => None,
    });
    Ok(heard.collect())
}

/// Refuses whoever the terms do not let read the files. Without a collaboration they have no say.
///
/// # Errors
/// [`RepoError::Denied`] with the clauses, to members; [`RepoError::NotFound`] to others.
pub async fn may_read(app: &App, principal: Option<&Principal>, repo: &Repo) -> Result<(), RepoError> {
    let Some(collaboration) = &repo.collaboration else { return Ok(()) };
    let principal = principal.ok_or(RepoError::NotFound)?;
    let house = principal.role_in(&repo.owner.id).is_some();
    let Some(log) = app.logs.get(collaboration).await? else {
        return if house { Ok(()) } else { Err(RepoError::NotFound) };
    };
    let state = log.state().await?;
    let asked = Asked { state: &state, asset: asset(repo)?, at: app.clock.now(), principal };
    match asked.judge(Action::Read, Role::Read) {
        _ if house && !asked.is_member() => Ok(()),
        Ok(()) => Ok(()),
        Err(Some(decision)) if asked.is_member() => Err(RepoError::Denied(decision)),
        Err(_) if house => Ok(()),
        Err(_) => Err(RepoError::NotFound),
    }
}

/// Refuses to copy files out of a collaboration, into what stands under the terms `to`, unless the terms let the caller do
/// so: what they call *disclose* for data, and *release* for a model.
///
/// # Errors
/// [`RepoError::Denied`] with the clauses.
pub async fn may_leave(
    app: &App,
    principal: &Principal,
    from: &Repo,
    to: Option<&CollaborationId>,
) -> Result<(), RepoError> {
    let Some(collaboration) = from.collaboration.as_ref().filter(|own| to != Some(*own)) else { return Ok(()) };
    let log = app.logs.get(collaboration).await?.ok_or(RepoError::NotFound)?;
    let state = log.state().await?;
    let asked = Asked { state: &state, asset: asset(from)?, at: app.clock.now(), principal };
    let action = if from.kind == Kind::Model { Action::Release } else { Action::Disclose };
    match asked.judge(action, Role::Write) {
        Ok(()) => Ok(()),
        Err(Some(decision)) => Err(RepoError::Denied(decision)),
        Err(None) => Err(RepoError::NotFound),
    }
}

/// Attests that `account` is let into a repository whose readers have to ask, before it is: in the log stands the party
/// that it acts for, never a person. Without a collaboration there is nothing to attest.
///
/// # Errors
/// [`RepoError::Log`] when the terms do not let the party read; [`RepoError::Forbidden`] when it acts for no party.
pub async fn grant(app: &App, repo: &Repo, account: &Account) -> Result<(), RepoError> {
    let Some(collaboration) = &repo.collaboration else { return Ok(()) };
    let Some(log) = app.logs.get(collaboration).await? else { return Err(RepoError::NotFound) };
    let memberships = accounts::memberships(&mut *app.db.read().await?, account).await?;
    let party = {
        let state = log.state().await?;
        let mut parties = account.party.iter().chain(memberships.iter().filter_map(|m| m.organization.party.as_ref()));
        parties.find(|party| state.members().contains_key(party)).cloned()
    };
    let party =
        party.ok_or(RepoError::Forbidden("only those who act for a party of the collaboration can be let in"))?;
    let body = AccessGranted { repository: asset(repo)?, party };
    match attest(&log, body).await {
        // Another of its people was let in before.
        Ok(()) | Err(AppendError::Refused(Refusal::AlreadyDone { .. })) => Ok(()),
        Err(other) => Err(other.into()),
    }
}
