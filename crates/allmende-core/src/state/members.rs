//! Founding a collaboration and joining it.

use super::{Checked, Context, Refusal, State};
use crate::collaboration::charter::MAX_MEMBERS;
use crate::id::PartyId;
use crate::statement::{CollaborationJoined, CollaborationProposed};

impl State {
    pub(super) fn collaboration_proposed(&mut self, context: &Context<'_>, body: &CollaborationProposed) -> Checked {
        if self.charter.is_some() {
            return Err(Refusal::CollaborationExists {});
        }
        body.charter.validate().map_err(|source| Refusal::BadCharter { source })?;
        if !body.charter.invited.contains(context.party()) {
            return Err(Refusal::NotInvited { party: context.party().clone() });
        }
        self.charter = Some(body.charter.clone());
        self.members.insert(context.party().clone(), context.at);
        Ok(())
    }

    pub(super) fn collaboration_joined(&mut self, context: &Context<'_>, body: &CollaborationJoined) -> Checked {
        let charter = self.charter.as_ref().ok_or(Refusal::NoCollaboration {})?;
        let party = context.party();
        if body.charter != charter.digest() {
            return Err(Refusal::OtherCharter { expected: charter.digest(), got: body.charter });
        }
        if self.members.contains_key(party) {
            return Err(Refusal::MemberExists { party: party.clone() });
        }
        if !self.may_join(party) {
            return Err(Refusal::NotInvited { party: party.clone() });
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(Refusal::Limit { what: "members of one collaboration", limit: MAX_MEMBERS as u64 });
        }
        self.admitted.remove(party);
        self.members.insert(party.clone(), context.at);
        Ok(())
    }

    /// Whether `party` is invited or admitted and has not joined yet.
    #[must_use]
    pub fn may_join(&self, party: &PartyId) -> bool {
        let invited =
            self.charter.as_ref().is_some_and(|c| c.invited.contains(party)) && !self.excluded.contains(party);
        (invited || self.admitted.contains(party)) && !self.members.contains_key(party)
    }

    pub(super) fn require_member(&self, party: &PartyId) -> Checked {
        if self.members.contains_key(party) { Ok(()) } else { Err(Refusal::NotMember { party: party.clone() }) }
    }
}
