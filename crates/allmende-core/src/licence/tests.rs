//! The table's own rules, known cases, and what must hold for any input.

use proptest::prelude::*;

use super::*;

fn claim(ids: &[&str]) -> Claim {
    Claim(ids.iter().map(|id| (*id).to_owned()).collect())
}

fn source(id: &str, relation: Relation) -> Source {
    Source { name: format!("north/{id}"), relation, claim: claim(&[id]) }
}

fn answer(own: &str, id: &str, relation: Relation) -> Answer {
    judge(&claim(&[own]), &[source(id, relation)]).answer
}

#[test]
fn the_table_is_in_order_and_whole() {
    assert!(TABLE.windows(2).all(|pair| pair[0].id < pair[1].id), "by identifier, each once");
    for licence in TABLE {
        assert!(licence.origin.starts_with("http"), "{}", licence.id);
        assert_eq!(find(licence.id), Some(licence));
        if let Onward::Under(allowed) = licence.onward {
            assert!(allowed.contains(&licence.id), "{} allows itself", licence.id);
            assert!(allowed.iter().all(|id| find(id).is_some()), "{}", licence.id);
        }
        // What lets itself be passed on may always stand under itself.
        if !matches!(licence.onward, Onward::Never | Onward::Unread) {
            assert_eq!(answer(licence.id, licence.id, Relation::Changed), Answer::Compatible, "{}", licence.id);
        }
    }
    assert_eq!(find("GPL-3.0-only"), find("gpl-3.0"));
    assert_eq!(find("GPL-3.0-or-later"), find("gpl-3.0"));
    assert_eq!(find("PDDL-1.0"), find("pddl"));
    assert_eq!(find("other"), None);
}

#[test]
fn known_cases() {
    use Answer::{Compatible, Incompatible, Unknown};
    use Relation::{Changed, LearnedFrom};
    for (own, source, relation, wanted) in [
        ("mit", "apache-2.0", Changed, Compatible),
        ("gpl-3.0", "apache-2.0", Changed, Compatible),
        ("apache-2.0", "gpl-3.0", Changed, Incompatible),
        ("agpl-3.0", "gpl-3.0", Changed, Compatible),
        ("apache-2.0", "llama3.1", Changed, Incompatible),
        ("llama3.1", "llama3.1", Changed, Compatible),
        ("llama3.2", "llama3.1", Changed, Unknown),
        ("apache-2.0", "cc-by-nc-4.0", Changed, Incompatible),
        ("cc-by-nc-sa-4.0", "cc-by-nc-4.0", Changed, Compatible),
        ("mit", "cc-by-sa-4.0", LearnedFrom, Unknown),
        ("mit", "cc-by-sa-4.0", Changed, Incompatible),
        ("mit", "cc-by-nc-4.0", LearnedFrom, Incompatible),
        ("mit", "cc-by-nd-4.0", LearnedFrom, Unknown),
        ("cc-by-nd-4.0", "cc-by-nd-4.0", Changed, Incompatible),
        ("mit", "gfdl", Changed, Unknown),
        ("mit", "no such licence", Changed, Unknown),
        ("other", "mit", Changed, Unknown),
        ("other", "cc-by-nd-4.0", Changed, Incompatible),
        ("openrail", "creativeml-openrail-m", Changed, Unknown),
        ("mit", "cc0-1.0", LearnedFrom, Compatible),
    ] {
        assert_eq!(answer(own, source, relation), wanted, "{own} from {source}, {relation:?}");
    }
    let verdict = judge(&claim(&["llama3.1"]), &[source("llama3.1", Relation::Changed)]);
    let words: Vec<_> = verdict.obligations.keys().map(Obligation::as_str).collect();
    assert_eq!(words, ["attribution", "use-restrictions", "naming"]);
    assert_eq!(verdict.obligations[&Obligation::Attribution], ["north/llama3.1"]);
    let free = judge(&claim(&["mit"]), &[source("cc0-1.0", Relation::Changed)]);
    assert!(free.obligations.is_empty() && free.warnings().is_empty());
    assert_eq!(judge(&Claim::default(), &[]).answer, Answer::Unknown);
}

fn any_id() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(TABLE).prop_map(|licence| licence.id.to_owned()),
        1 => Just("other".to_owned()),
        1 => "[a-z0-9.-]{0,12}",
    ]
}

fn any_claim() -> impl Strategy<Value = Claim> {
    prop::collection::vec(any_id(), 0..3).prop_map(Claim)
}

fn any_source() -> impl Strategy<Value = Source> {
    let relation = prop_oneof![Just(Relation::Changed), Just(Relation::LearnedFrom)];
    ("[a-z]/[a-z]", relation, any_claim()).prop_map(|(name, relation, claim)| Source { name, relation, claim })
}

fn is_known(claim: &Claim) -> bool {
    !claim.0.is_empty() && claim.0.iter().all(|id| find(id).is_some())
}

proptest! {
    /// Whatever is not known, the answer is not yes.
    #[test]
    fn nothing_unknown_is_compatible(own in any_claim(), sources in prop::collection::vec(any_source(), 0..4)) {
        let verdict = judge(&own, &sources);
        if !is_known(&own) || sources.iter().any(|source| !is_known(&source.claim)) {
            prop_assert_ne!(verdict.answer, Answer::Compatible);
        }
        prop_assert_eq!(verdict.answer == Answer::Compatible, verdict.reasons.is_empty());
    }

    /// Another source never makes it better, and takes no obligation away.
    #[test]
    fn more_sources_never_help(own in any_claim(), sources in prop::collection::vec(any_source(), 0..4), one in any_source()) {
        let before = judge(&own, &sources);
        let more: Vec<Source> = sources.iter().cloned().chain([one]).collect();
        let after = judge(&own, &more);
        prop_assert!(after.answer >= before.answer);
        prop_assert!(before.obligations.keys().all(|owed| after.obligations.contains_key(owed)));
    }

    /// The order of sources says nothing.
    #[test]
    fn the_order_does_not_matter(own in any_claim(), mut sources in prop::collection::vec(any_source(), 0..4)) {
        let before = judge(&own, &sources);
        sources.reverse();
        let after = judge(&own, &sources);
        prop_assert_eq!(after.answer, before.answer);
        prop_assert!(before.obligations.keys().eq(after.obligations.keys()));
    }

    /// A model that only learned from data stands no worse than one that is the data changed.
    #[test]
    fn learning_is_no_worse_than_changing(own in any_claim(), source in any_source()) {
        let of = |relation| judge(&own, &[Source { relation, ..source.clone() }]).answer;
        prop_assert!(of(Relation::LearnedFrom) <= of(Relation::Changed));
    }
}
