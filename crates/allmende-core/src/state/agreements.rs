//! Terms: offered, signed, in force, replaced, left, ended; and the judgement by those in force.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checked, Context, Refusal, State};
use crate::agreement::check::{self, Decision, Outcome, Request};
use crate::agreement::clause::ClauseKind;
use crate::agreement::diff::consent_needed;
use crate::agreement::lint::{Severity, lint};
use crate::agreement::missing::Missing;
use crate::agreement::terms::Terms;
use crate::agreement::vocabulary::Matter;
use crate::digest::Digest;
use crate::id::PartyId;
use crate::statement::{AgreementProposed, AgreementSigned, AgreementWithdrawn};
use crate::time::Timestamp;

/// Most terms ever proposed in one collaboration.
const MAX_AGREEMENTS: usize = 1_000;
const DAY_MS: i64 = 86_400_000;

/// Where terms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgreementStatus {
    /// Waiting for signatures, and for the members' decision if they replace others.
    Offered,
    /// In force since then, on the days that the terms name.
    InForce {
        /// Since when.
        since: Timestamp,
    },
    /// Replaced by newer terms.
    Replaced {
        /// When.
        at: Timestamp,
        /// By which.
        by: Digest,
    },
    /// Ended by a decision.
    Ended {
        /// When.
        at: Timestamp,
    },
}

impl AgreementStatus {
    /// One word for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::InForce { .. } => "in-force",
            Self::Replaced { .. } => "replaced",
            Self::Ended { .. } => "ended",
        }
    }
}

/// Terms and what became of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// The terms.
    pub terms: Terms,
    /// Who offered them.
    pub proposed_by: PartyId,
    /// When.
    pub proposed_at: Timestamp,
    /// Who signed, when.
    pub signatures: BTreeMap<PartyId, Timestamp>,
    /// For terms that replace others: who must sign in every mode.
    pub consent: BTreeSet<PartyId>,
    /// Whether the members decided for the amendment.
    pub decided: bool,
    /// Who withdrew, and from when on it no longer binds or serves them.
    pub withdrawn: BTreeMap<PartyId, Timestamp>,
    /// Where they stand.
    pub status: AgreementStatus,
}

impl Agreement {
    /// Whether the terms hold at this time.
    #[must_use]
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        matches!(self.status, AgreementStatus::InForce { .. })
            && (self.terms.starts..=self.terms.ends).contains(&at.date())
    }

    /// Whether `party` has left by this time.
    #[must_use]
    pub fn has_left(&self, party: &PartyId, at: Timestamp) -> bool {
        self.withdrawn.get(party).is_some_and(|&from| from <= at)
    }

    /// Whether all that is needed is there. Whoever was put out since cannot hold up an amendment.
    fn is_complete(&self, members: &BTreeMap<PartyId, Timestamp>) -> bool {
        let signed = |party: &PartyId| self.signatures.contains_key(party);
        match self.terms.replaces {
            None => self.terms.parties.iter().all(|p| signed(&p.id)),
            Some(_) => self.decided && self.consent.iter().filter(|p| members.contains_key(p)).all(signed),
        }
    }
}

impl State {
    /// The agreement of this digest, if it is in force at `at`.
    #[must_use]
    pub fn in_force(&self, terms: &Digest, at: Timestamp) -> Option<&Agreement> {
        self.agreements.get(terms).filter(|a| a.is_in_force(at))
    }

    /// What the terms in force say about `request`. Pure and total: what cannot be judged is denied.
    #[must_use]
    pub fn judge(&self, request: &Request) -> Decision {
        let owner = request.asset.owner();
        // Joint results stand under the collaboration's own name.
        let joint = self.collaboration.as_ref().is_some_and(|c| c.as_str() == owner.as_str());
        let gone = |party: &PartyId| !self.members.contains_key(party) || self.terms_left(party, request.at);
        let denied = |missing| Decision { outcome: Outcome::Deny, clauses: Vec::new(), missing: vec![missing] };
        if let Some(party) = [&request.actor, &owner].into_iter().find(|p| gone(p) && !(joint && **p == owner)) {
            return denied(Missing::NotBound { party: party.clone() });
        }
        if self.assets.get(&request.asset).is_some_and(|asset| asset.revoked_at.is_some()) {
            return denied(Missing::TakenBack { asset: request.asset.clone() });
        }
        let terms: Vec<&Terms> = self.terms_in_force(request.at).map(|(_, terms)| terms).collect();
        check::check(&terms, request)
    }

    /// Whether `party` has left terms that still hold for the others. Terms that are over no longer speak of anybody.
    fn terms_left(&self, party: &PartyId, at: Timestamp) -> bool {
        self.agreements.values().any(|a| a.is_in_force(at) && a.has_left(party, at))
    }

    /// As [`Self::judge`], with a refusal for a denial.
    ///
    /// # Errors
    /// [`Refusal::Denied`] with the clauses and what is missing.
    pub fn require(&self, request: &Request) -> Result<Decision, Refusal> {
        let decision = self.judge(request);
        match decision.outcome {
            Outcome::Allow => Ok(decision),
            Outcome::Deny => Err(Refusal::Denied { decision: Box::new(decision) }),
        }
    }

    pub(super) fn agreement_proposed(&mut self, context: &Context<'_>, body: &AgreementProposed) -> Checked {
        self.require_member(context.party())?;
        if self.agreements.len() >= MAX_AGREEMENTS {
            return Err(Refusal::Limit { what: "terms in one collaboration", limit: MAX_AGREEMENTS as u64 });
        }
        let terms = &body.terms;
        let digest = terms.digest();
        if self.agreements.contains_key(&digest) {
            return Err(Refusal::TermsExist { terms: digest });
        }
        self.check_bindings(terms)?;
        let errors: Vec<_> =
            lint(terms).into_iter().filter(|f| f.severity == Severity::Error).map(|f| f.text).collect();
        if !errors.is_empty() {
            return Err(Refusal::BadTerms { findings: errors.join("; ") });
        }
        if context.at.date() > terms.offer_expires {
            return Err(Refusal::OfferExpired { terms: digest, at: context.at });
        }
        let consent = match terms.replaces {
            None => BTreeSet::new(),
            Some(old) => {
                let current = self.in_force(&old, context.at).ok_or(Refusal::NotInForce { agreement: Some(old) })?;
                consent_needed(&current.terms, terms)
            }
        };
        let agreement = Agreement {
            terms: terms.clone(),
            proposed_by: context.party().clone(),
            proposed_at: context.at,
            signatures: BTreeMap::new(),
            consent,
            decided: false,
            withdrawn: BTreeMap::new(),
            status: AgreementStatus::Offered,
        };
        self.agreements.insert(digest, agreement);
        Ok(())
    }

    /// The terms must name this log, this hub and the parties' own keys, so that a hub cannot swap any of them.
    fn check_bindings(&self, terms: &Terms) -> Checked {
        let mismatch = |field, detail| Err(Refusal::TermsMismatch { field, detail });
        if terms.origin != self.origin {
            return mismatch("origin", format!("this log is {}", self.origin));
        }
        if Some(terms.hub_key) != self.hub_key {
            return mismatch("hub_key", "not the key of this log's hub".to_owned());
        }
        if Some(&terms.collaboration) != self.collaboration.as_ref() {
            return mismatch("collaboration", "another collaboration".to_owned());
        }
        for signatory in &terms.parties {
            self.require_member(&signatory.id)?;
            let key = self.parties.get(&signatory.id).and_then(|p| p.governance);
            if key != Some(signatory.key) {
                return mismatch("parties", format!("{} is not {}'s governance key", signatory.key, signatory.id));
            }
        }
        Ok(())
    }

    pub(super) fn agreement_signed(&mut self, context: &Context<'_>, body: &AgreementSigned) -> Checked {
        let party = context.party();
        self.require_member(party)?;
        let agreement = self.agreements.get(&body.terms).ok_or(Refusal::UnknownTerms { terms: body.terms })?;
        let named = agreement.terms.parties.iter().find(|p| p.id == *party);
        if named.is_none_or(|p| p.key != context.key()) {
            return Err(Refusal::TermsMismatch {
                field: "parties",
                detail: format!("they do not name {party} with this key"),
            });
        }
        if agreement.signatures.contains_key(party) {
            return Err(Refusal::AlreadySigned { party: party.clone() });
        }
        let over = context.at.date() > agreement.terms.offer_expires;
        if over || matches!(agreement.status, AgreementStatus::Replaced { .. } | AgreementStatus::Ended { .. }) {
            return Err(Refusal::OfferExpired { terms: body.terms, at: context.at });
        }
        if let Some(agreement) = self.agreements.get_mut(&body.terms) {
            agreement.signatures.insert(party.clone(), context.at);
        }
        self.bring_into_force(body.terms, context.at);
        Ok(())
    }

    /// Puts offered terms into force once all that is needed is there.
    pub(super) fn bring_into_force(&mut self, digest: Digest, at: Timestamp) {
        let Some(agreement) = self.agreements.get_mut(&digest) else { return };
        if agreement.status != AgreementStatus::Offered || !agreement.is_complete(&self.members) {
            return;
        }
        // Offers expire, also while the members decide. And only one successor can replace terms: had another offer replaced
        // them since, both would be in force.
        let (old, expires) = (agreement.terms.replaces, agreement.terms.offer_expires);
        let replaceable = old.is_none_or(|old| {
            matches!(self.agreements.get(&old).map(|a| a.status), Some(AgreementStatus::InForce { .. }))
        });
        if at.date() > expires || !replaceable {
            return;
        }
        let Some(agreement) = self.agreements.get_mut(&digest) else { return };
        agreement.status = AgreementStatus::InForce { since: at };
        if let Some(old) = old.and_then(|old| self.agreements.get_mut(&old)) {
            let withdrawn = std::mem::take(&mut old.withdrawn);
            old.status = AgreementStatus::Replaced { at, by: digest };
            // Whoever was leaving the old terms is still leaving.
            if let Some(new) = self.agreements.get_mut(&digest) {
                new.withdrawn = withdrawn;
            }
        }
    }

    pub(super) fn agreement_withdrawn(&mut self, context: &Context<'_>, body: &AgreementWithdrawn) -> Checked {
        let party = context.party();
        let agreement = self.agreements.get_mut(&body.terms).ok_or(Refusal::UnknownTerms { terms: body.terms })?;
        if !agreement.is_in_force(context.at) || !agreement.terms.parties.iter().any(|p| p.id == *party) {
            return Err(Refusal::NotInForce { agreement: Some(body.terms) });
        }
        if agreement.withdrawn.contains_key(party) {
            return Err(Refusal::AlreadyWithdrawn { party: party.clone() });
        }
        // Without an exit clause nothing obliges a party to stay.
        let notice_days = agreement.terms.clause.iter().find_map(|c| match &c.rule {
            ClauseKind::Exit(exit) => Some(i64::from(exit.notice_days)),
            _ => None,
        });
        let from = context.at.plus_ms(notice_days.unwrap_or(0) * DAY_MS);
        agreement.withdrawn.insert(party.clone(), from);
        Ok(())
    }

    /// Whether the terms in force, if any, let the members decide about `matter`.
    pub(super) fn require_decidable(&self, matter: Matter, at: Timestamp) -> Checked {
        let mut terms = self.terms_in_force(at).peekable();
        // Before any terms are in force the charter alone says how members decide.
        if terms.peek().is_none() {
            return Ok(());
        }
        let decidable = terms.all(|(_, terms)| {
            terms.clause.iter().any(|c| matches!(&c.rule, ClauseKind::Decide(decide) if decide.what.contains(&matter)))
        });
        if decidable { Ok(()) } else { Err(Refusal::NotDecidable { matter }) }
    }
}
