//! What the licences of a run's sources say to the release of its model.
//!
//! An asset of which no licence was stated is its owner's own: the terms that its owner signed let models learn from it and
//! name the licence of what comes of it. A stated licence is that of others, and is judged.

use std::collections::BTreeMap;

use super::runs::Run;
use super::{Checked, Refusal, State};
use crate::agreement::clause::ClauseKind;
use crate::agreement::vocabulary::Licence;
use crate::id::AssetId;
use crate::licence::{Answer, Claim, Relation, Source, Verdict, judge};
use crate::time::Timestamp;

/// The judgement on a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// The answer, its reasons, and what is owed.
    pub verdict: Verdict,
    /// The sources whose licences leave it open, ascending. Where the answer is unknown, whoever decides for the release
    /// accepts exactly these.
    pub open: Vec<AssetId>,
    /// The licences of the vocabulary under which nothing would stand against it.
    pub passing: Vec<Licence>,
}

impl State {
    /// The licences that the terms in force name for results; each holds.
    fn results_claim(&self, at: Timestamp) -> Claim {
        let mut ids: Vec<String> = Vec::new();
        for clause in self.terms_in_force(at).flat_map(|(_, terms)| &terms.clause) {
            if let ClauseKind::Results(results) = &clause.rule {
                ids.push(results.licence.code().to_owned());
            }
        }
        ids.sort();
        ids.dedup();
        Claim(ids)
    }

    /// The assets that a run learns from of which a licence of others was stated.
    fn licensed_sources(&self, run: &Run) -> Vec<(AssetId, Source)> {
        let stated = |asset: &AssetId| self.assets.get(asset).and_then(|found| found.registered.licence);
        let mut sources: Vec<(AssetId, Source)> = run
            .plan
            .slots
            .iter()
            .filter_map(|slot| {
                let claim = stated(&slot.asset)?.claim();
                let source = Source { name: slot.asset.to_string(), relation: Relation::LearnedFrom, claim };
                Some((slot.asset.clone(), source))
            })
            .collect();
        sources.sort_by(|a, b| a.0.cmp(&b.0));
        sources
    }

    /// Judges a release of the run's model under the licences of `own`.
    #[must_use]
    pub fn clear_under(&self, run: &Run, own: &Claim) -> Cleared {
        let sources = self.licensed_sources(run);
        if sources.is_empty() {
            // Everything is the members' own, and the terms that they signed are the licence.
            let verdict = Verdict { answer: Answer::Compatible, reasons: Vec::new(), obligations: BTreeMap::new() };
            return Cleared { verdict, open: Vec::new(), passing: Licence::ALL.to_vec() };
        }
        let alone = |source: &Source| judge(own, std::slice::from_ref(source)).answer;
        let open = sources.iter().filter(|(_, s)| alone(s) == Answer::Unknown).map(|(id, _)| id.clone()).collect();
        let sources: Vec<Source> = sources.into_iter().map(|(_, source)| source).collect();
        let passes =
            |licence: &Licence| judge(&Claim(vec![licence.code().to_owned()]), &sources).answer == Answer::Compatible;
        let passing = Licence::ALL.iter().copied().filter(passes).collect();
        Cleared { verdict: judge(own, &sources), open, passing }
    }

    /// Judges a release of the run's model under the terms in force.
    #[must_use]
    pub fn clear_release(&self, run: &Run, at: Timestamp) -> Cleared {
        self.clear_under(run, &self.results_claim(at))
    }

    /// Refuses a release that a licence forbids, or that leaves open what is not among `accepted`. Whoever accepts more
    /// than is open has judged by something else, and is refused as well.
    pub(super) fn require_cleared(&self, run: &Run, accepted: &[AssetId], at: Timestamp) -> Checked {
        let cleared = self.clear_release(run, at);
        let reasons = cleared.verdict.reasons.join("; ");
        match cleared.verdict.answer {
            Answer::Incompatible => {
                let passing: Vec<&str> = cleared.passing.iter().map(|licence| licence.code()).collect();
                let passing = if passing.is_empty() { "none of the vocabulary".to_owned() } else { passing.join(", ") };
                Err(Refusal::LicenceForbids { reasons, passing })
            }
            _ if cleared.open == accepted => Ok(()),
            _ => {
                let list = |assets: &[AssetId]| {
                    let names: Vec<String> = assets.iter().map(ToString::to_string).collect();
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                };
                Err(Refusal::LicenceOpen { open: list(&cleared.open), accepted: list(accepted), reasons })
            }
        }
    }
}
