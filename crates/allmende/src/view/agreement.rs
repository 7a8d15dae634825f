//! Terms: where they stand, who signed, what each clause says and who gives it effect.

use allmende_core::agreement::prose;
use allmende_core::agreement::vocabulary::{Enforcer, Language};
use allmende_core::digest::Digest;
use allmende_core::state::{Agreement, AgreementStatus, State};
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::texts;

/// One of the terms in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgreementSummary {
    /// Digest of the canonical terms: their name for ever.
    pub digest: String,
    /// What they are called.
    pub title: String,
    /// `offered`, `in-force`, `replaced` or `ended`.
    pub status: String,
    /// Whether they hold today: in force, and within their days.
    pub in_force: bool,
    /// First day.
    pub starts: String,
    /// Last day, inclusive.
    pub ends: String,
    /// Who offered them.
    pub proposed_by: String,
    /// When, UTC.
    pub proposed_at: String,
    /// How many of the parties have signed.
    pub signed: u32,
    /// How many parties they name.
    pub parties: u32,
}

/// Terms in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgreementView {
    /// Where they stand.
    #[serde(flatten)]
    pub summary: AgreementSummary,
    /// Since when they are, or until when they were, what `status` says, UTC.
    pub status_at: Option<String>,
    /// The terms that they replace.
    pub replaces: Option<String>,
    /// The terms that replaced them.
    pub replaced_by: Option<String>,
    /// Last day of the offer.
    pub offer_expires: String,
    /// Three letters.
    pub currency: String,
    /// What the results are for.
    pub purpose: Vec<String>,
    /// Who signed and who did not.
    pub signatures: Vec<SignatureView>,
    /// For terms that replace others: whose signature is needed in every mode.
    pub consent_needed: Vec<String>,
    /// The clauses.
    pub clauses: Vec<ClauseView>,
    /// The language of the prose here.
    pub language: String,
    /// The language whose prose prevails.
    pub prevailing_language: String,
    /// The whole contract in words, as Markdown.
    pub prose: String,
}

/// A party of the terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignatureView {
    /// Which.
    pub party: String,
    /// Its governance key as the terms name it.
    pub key: String,
    /// In which office its representative signs.
    pub signatory: String,
    /// When it signed, UTC.
    pub signed_at: Option<String>,
    /// From when on it is out, if it withdrew, UTC.
    pub withdrawn_from: Option<String>,
}

/// A clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClauseView {
    /// Its number.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// What it says, as a paragraph of Markdown.
    pub prose: String,
    /// Who gives it effect.
    pub enforced_by: Vec<String>,
}

/// All terms ever proposed, newest first.
#[must_use]
pub fn agreements(state: &State, now: Timestamp) -> Vec<AgreementSummary> {
    let mut all: Vec<_> = state.agreements().iter().collect();
    all.sort_by_key(|(digest, a)| (std::cmp::Reverse(a.proposed_at), **digest));
    all.into_iter().map(|(digest, a)| summary(digest, a, now)).collect()
}

fn summary(digest: &Digest, agreement: &Agreement, now: Timestamp) -> AgreementSummary {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    AgreementSummary {
        digest: digest.to_string(),
        title: agreement.terms.title.clone(),
        status: agreement.status.code().to_owned(),
        in_force: agreement.is_in_force(now),
        starts: agreement.terms.starts.to_string(),
        ends: agreement.terms.ends.to_string(),
        proposed_by: agreement.proposed_by.to_string(),
        proposed_at: agreement.proposed_at.to_string(),
        signed: count(agreement.signatures.len()),
        parties: count(agreement.terms.parties.len()),
    }
}

/// The terms of this digest.
#[must_use]
pub fn agreement(state: &State, digest: &Digest, now: Timestamp, language: Language) -> Option<AgreementView> {
    let agreement = state.agreements().get(digest)?;
    let terms = &agreement.terms;
    let (status_at, replaced_by) = match agreement.status {
        AgreementStatus::Offered => (None, None),
        AgreementStatus::InForce { since } => (Some(since), None),
        AgreementStatus::Replaced { at, by } => (Some(at), Some(by)),
        AgreementStatus::Ended { at } => (Some(at), None),
    };
    let signatures = terms.parties.iter().map(|party| SignatureView {
        party: party.id.to_string(),
        key: party.key.to_string(),
        signatory: party.signatory.clone(),
        signed_at: agreement.signatures.get(&party.id).map(ToString::to_string),
        withdrawn_from: agreement.withdrawn.get(&party.id).map(ToString::to_string),
    });
    let clauses = terms.clause.iter().map(|clause| ClauseView {
        id: clause.id.to_string(),
        kind: clause.rule.kind().to_owned(),
        prose: prose::clause_prose(clause, language),
        enforced_by: clause.rule.enforced_by().iter().map(|e| e.code().to_owned()).collect(),
    });
    Some(AgreementView {
        summary: summary(digest, agreement, now),
        status_at: status_at.map(|at| at.to_string()),
        replaces: terms.replaces.map(|d| d.to_string()),
        replaced_by: replaced_by.map(|d| d.to_string()),
        offer_expires: terms.offer_expires.to_string(),
        currency: terms.currency.clone(),
        purpose: terms.purpose.iter().map(|p| p.code().to_owned()).collect(),
        signatures: signatures.collect(),
        consent_needed: texts(&agreement.consent),
        clauses: clauses.collect(),
        language: language.code().to_owned(),
        prevailing_language: terms.language.code().to_owned(),
        prose: prose::render(terms, language),
    })
}

/// An enforcer's code in words.
#[must_use]
pub fn enforcer_in_words(code: &str, language: Language) -> &'static str {
    match (code.parse::<Enforcer>(), language) {
        (Ok(Enforcer::Hub), Language::En) => "the hub",
        (Ok(Enforcer::Hub), Language::Zh) => "中心",
        (Ok(Enforcer::Node), Language::En) => "each member's node",
        (Ok(Enforcer::Node), Language::Zh) => "各成员节点",
        (Ok(Enforcer::Ledger), Language::En) => "the ledger",
        (Ok(Enforcer::Ledger), Language::Zh) => "账本",
        (Ok(Enforcer::Duty), Language::En) => "people, on notice",
        (Ok(Enforcer::Duty), Language::Zh) => "各方履行，系统提示",
        (Ok(Enforcer::Record) | Err(_), Language::En) => "record only",
        (Ok(Enforcer::Record) | Err(_), Language::Zh) => "仅作记载",
    }
}
