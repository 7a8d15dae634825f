//! Tests of the terms and of every function that judges by them.

mod comparing;
mod corpus;
mod judging;
mod linting;
mod parsing;
mod writing;

use super::draft::{DraftInputs, DraftParty, template};
use super::terms::{Terms, TermsText};
use super::vocabulary::{Language, Purpose};
use crate::signature::SecretKey;

/// Three parties, a reference set, joint models: the draft of the demo.
pub fn inputs() -> DraftInputs {
    let party = |(i, id): (usize, &str)| DraftParty {
        id: id.parse().expect("id"),
        key: SecretKey::from_seed(&[i as u8 + 1; 32]).public(),
        signatory: "managing director".into(),
        assets: vec![format!("{id}/digits").parse().expect("asset")],
    };
    DraftInputs {
        title: "Handwriting consortium, first model".into(),
        collaboration: "handwriting".parse().expect("id"),
        origin: "hub.example/handwriting".parse().expect("origin"),
        hub_key: SecretKey::from_seed(&[9; 32]).public(),
        starts: "2026-12-01".parse().expect("day"),
        ends: "2027-11-30".parse().expect("day"),
        offer_expires: "2026-12-31".parse().expect("day"),
        currency: "EUR".into(),
        language: Language::En,
        purpose: vec![Purpose::Research],
        parties: ["north", "east", "west"].into_iter().enumerate().map(party).collect(),
        reference: Some("north/reference".parse().expect("asset")),
        min_parties: 3,
        coordinator: None,
    }
}

/// Terms of the draft.
pub fn terms() -> Terms {
    Terms::from_toml(&template(&inputs())).expect("the draft is valid")
}

/// The draft's terms with these clauses, in TOML, instead.
pub fn with_clauses(clauses: &str) -> Terms {
    let draft = template(&inputs());
    let head = draft.split("\n[[clause]]").next().expect("head");
    Terms::from_toml(&format!("{head}\n{clauses}")).expect("valid clauses")
}

/// The draft's terms after a change.
pub fn changed(change: impl FnOnce(&mut TermsText)) -> Terms {
    let mut text = terms().text().clone();
    change(&mut text);
    text.seal().expect("still valid")
}
