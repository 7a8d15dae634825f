//! The frozen corpus of vocabulary 1: what was decided once is decided so for ever. Add cases; never change one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;
use crate::agreement::check::{Decision, Request, check};

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corpus {
    pub terms: BTreeMap<String, Terms>,
    pub cases: Vec<Case>,
}

/// One decision.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub terms: Vec<String>,
    pub request: Request,
    pub decision: Decision,
}

#[test]
fn every_frozen_decision_is_decided_so_again() {
    let corpus: Corpus = serde_json::from_str(include_str!("../corpus.json")).expect("the corpus is valid");
    assert!(corpus.cases.len() >= 60, "{} cases", corpus.cases.len());
    for case in &corpus.cases {
        let terms: Vec<_> = case.terms.iter().map(|name| &corpus.terms[name]).collect();
        assert_eq!(check(&terms, &case.request), case.decision, "{}", case.name);
    }
    let allowed = corpus.cases.iter().filter(|c| c.decision.is_allowed()).count();
    assert!(allowed >= 20 && corpus.cases.len() - allowed >= 20, "both answers are well covered");
}
