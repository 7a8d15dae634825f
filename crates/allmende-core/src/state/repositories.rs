//! Repositories of the hub that stand under the terms: each is an asset by its full name, `owner/name`.
//!
//! The hub attests what it did at their doors; whether a door opens is [`State::judge_repository`]'s word alone.

use std::collections::BTreeSet;

use super::{Checked, Context, Refusal, State};
use crate::agreement::check::{Decision, Request};
use crate::agreement::vocabulary::{Action, DataClass, Place, Purpose};
use crate::id::{AssetId, PartyId};
use crate::statement::{AccessGranted, ReadsCounted, RepositoryPlaced, RepositoryWithdrawn};
use crate::time::Timestamp;

/// Most repositories in one collaboration.
const MAX_REPOSITORIES: usize = 10_000;

/// A repository under the terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// What it holds: data shared openly, or a model.
    pub class: DataClass,
    /// Since when it stands under them.
    pub placed_at: Timestamp,
    /// Since when it no longer does, if so.
    pub withdrawn_at: Option<Timestamp>,
    /// Whom its owner let in, where readers have to ask.
    pub granted: BTreeSet<PartyId>,
    /// Up to when its reads were counted.
    pub counted_until: Timestamp,
}

impl State {
    /// All repositories that were ever placed, with the releases of runs.
    #[must_use]
    pub const fn repositories(&self) -> &std::collections::BTreeMap<AssetId, Repository> {
        &self.repositories
    }

    /// The repository, if it stands under the terms now.
    #[must_use]
    pub fn repository(&self, id: &AssetId) -> Option<&Repository> {
        self.repositories.get(id).filter(|r| r.withdrawn_at.is_none())
    }

    /// What the terms in force say about `action` on a repository. A released model is built upon rather than read: what
    /// the terms call *derive*. Nothing if it does not stand under them.
    #[must_use]
    pub fn judge_repository(
        &self,
        actor: &PartyId,
        repository: &AssetId,
        action: Action,
        at: Timestamp,
    ) -> Option<Decision> {
        let placed = self.repository(repository)?;
        let released = self.runs.values().find(|run| run.released.is_some() && self.model_asset(run) == *repository);
        let request = match released {
            Some(run) => {
                let action = if action == Action::Read { Action::Derive } else { action };
                self.model_request(run, actor, action, at)
            }
            None => Request {
                actor: actor.clone(),
                action,
                asset: repository.clone(),
                part: None,
                class: placed.class,
                // With no terms in force the purpose decides nothing.
                purpose: self
                    .terms_in_force(at)
                    .find_map(|(_, terms)| terms.purpose.first().copied())
                    .unwrap_or(Purpose::Research),
                place: Place::Anywhere,
                parties: 1,
                at,
            },
        };
        Some(self.judge(&request))
    }

    pub(super) fn repository_placed(&mut self, context: &Context<'_>, body: &RepositoryPlaced) -> Checked {
        self.require_member(&body.repository.owner())?;
        if !matches!(body.class, DataClass::Reference | DataClass::Model) {
            return Err(Refusal::BadAsset {
                detail: "a repository holds data that its owner shares openly, or a model: records never leave their owner's node",
            });
        }
        let shared_otherwise = self.asset(&body.repository).is_some_and(|a| a.class != body.class);
        if self.repository(&body.repository).is_some() || shared_otherwise {
            return Err(Refusal::AssetExists { asset: body.repository.clone() });
        }
        self.place(body.repository.clone(), body.class, context.at)
    }

    /// Puts a repository under the terms. One that comes back begins anew, but no read is counted twice.
    pub(super) fn place(&mut self, id: AssetId, class: DataClass, at: Timestamp) -> Checked {
        if self.repositories.len() >= MAX_REPOSITORIES && !self.repositories.contains_key(&id) {
            return Err(Refusal::Limit { what: "repositories in one collaboration", limit: MAX_REPOSITORIES as u64 });
        }
        let repository =
            Repository { class, placed_at: at, withdrawn_at: None, granted: BTreeSet::new(), counted_until: at };
        self.repositories.insert(id, repository);
        Ok(())
    }

    pub(super) fn repository_withdrawn(&mut self, context: &Context<'_>, body: &RepositoryWithdrawn) -> Checked {
        if self.repository(&body.repository).is_none() || self.is_joint(&body.repository) {
            return Err(Refusal::UnknownAsset { asset: body.repository.clone() });
        }
        if let Some(repository) = self.repositories.get_mut(&body.repository) {
            repository.withdrawn_at = Some(context.at);
        }
        Ok(())
    }

    pub(super) fn access_granted(&mut self, context: &Context<'_>, body: &AccessGranted) -> Checked {
        self.require_member(&body.party)?;
        let unknown = || Refusal::UnknownAsset { asset: body.repository.clone() };
        let decision = self.judge_repository(&body.party, &body.repository, Action::Read, context.at);
        let decision = decision.ok_or_else(unknown)?;
        if !decision.is_allowed() {
            return Err(Refusal::Denied { decision: Box::new(decision) });
        }
        let repository = self.repositories.get_mut(&body.repository).ok_or_else(unknown)?;
        if !repository.granted.insert(body.party.clone()) {
            return Err(Refusal::AlreadyDone { what: "this party was let in" });
        }
        Ok(())
    }

    pub(super) fn reads_counted(&mut self, context: &Context<'_>, body: &ReadsCounted) -> Checked {
        let wrong =
            |expected: &str| Err(Refusal::WrongResult { what: "the count of reads", expected: expected.to_owned() });
        let unknown = || Refusal::UnknownAsset { asset: body.repository.clone() };
        // Also after it was withdrawn: what was read before is still to be counted.
        let repository = self.repositories.get(&body.repository).ok_or_else(unknown)?;
        if body.from < repository.counted_until || body.until <= body.from || body.until > context.at {
            return wrong("periods follow each other and are over");
        }
        if body.readers.is_empty() || !body.readers.windows(2).all(|w| w[0].party < w[1].party) {
            return wrong("readers ascend and stand once");
        }
        if body.readers.iter().any(|r| r.requests == 0) {
            return wrong("each reader read something");
        }
        for reader in &body.readers {
            if !self.parties.contains_key(&reader.party) {
                return Err(Refusal::UnknownParty { party: reader.party.clone() });
            }
        }
        if let Some(repository) = self.repositories.get_mut(&body.repository) {
            repository.counted_until = body.until;
        }
        Ok(())
    }

    /// Whether it is a joint result, under the collaboration's own name.
    fn is_joint(&self, id: &AssetId) -> bool {
        self.collaboration.as_ref().is_some_and(|c| c.as_str() == id.owner().as_str())
    }
}
