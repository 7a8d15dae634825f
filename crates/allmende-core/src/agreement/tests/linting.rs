//! Contradictions that lint finds.

use super::*;
use crate::agreement::lint::{Finding, Severity, lint, may_propose};

fn draft_but(from: &str, to: &str) -> Vec<Finding> {
    let draft = template(&inputs());
    let text = draft.replacen(from, to, 1);
    assert_ne!(text, draft, "{from}");
    lint(&Terms::from_toml(&text).expect("valid, if unwise"))
}

fn says(findings: &[Finding], severity: Severity, text: &str) {
    assert!(findings.iter().any(|f| f.severity == severity && f.text.contains(text)), "{text}: {findings:#?}");
    assert_eq!(may_propose(findings), findings.iter().all(|f| f.severity != Severity::Error));
}

#[test]
fn drafts_are_clean() {
    for language in [Language::En, Language::Zh] {
        for purpose in Purpose::ALL {
            for count in 1..=3 {
                for reference in [None, inputs().reference] {
                    let mut inputs = inputs();
                    inputs.parties.truncate(count);
                    inputs.min_parties = 1;
                    (inputs.language, inputs.purpose, inputs.reference) = (language, vec![*purpose], reference);
                    let text = template(&inputs);
                    let findings = lint(&Terms::from_toml(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
                    let errors: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
                    assert!(errors.is_empty() || count == 1, "{errors:?}\n{text}");
                }
            }
        }
    }
    let findings = lint(&terms());
    assert!(findings.iter().all(|f| f.severity == Severity::Info), "{findings:?}");
}

#[test]
fn shapley_needs_measuring() {
    let without = |id: &str| lint(&changed(|t| t.clause.retain(|c| c.id.as_str() != id)));
    says(&without("2.3"), Severity::Error, "permit to measure");
    says(&without("2.2"), Severity::Error, "permits to evaluate");
    // Measuring what is not trained on does not help.
    let elsewhere = draft_but(
        "action = \"measure\"\nassets = [\"north/digits\", \"east/digits\", \"west/digits\"]",
        "action = \"measure\"\nassets = [\"north/digits\", \"east/digits\"]",
    );
    says(&elsewhere, Severity::Error, "measure west/digits");
}

#[test]
fn clauses_that_cannot_apply_are_errors() {
    says(&draft_but("min_parties = 3", "min_parties = 4"), Severity::Error, "needs 4 parties");
    says(&draft_but("coalitions = [1, 2]", "coalitions = [1, 2, 3]"), Severity::Error, "not smaller than all 3");
    says(&draft_but("min_parties = 3", "until = 2026-11-30"), Severity::Error, "before the agreement starts");
    says(&draft_but("min_parties = 3", "until = 2028-01-01"), Severity::Warning, "after the end");
    says(
        &draft_but(
            "data = [\"record\"]\nexcept = [\"north/reference\"]",
            "assets = [\"north/*\"]\nexcept = [\"north/*\"]",
        ),
        Severity::Error,
        "is excepted",
    );
    let dead = draft_but(
        "action = \"disclose\"\ndata = [\"record\"]\nexcept = [\"north/reference\"]",
        "action = \"train\"\nassets = [\"*/digits\"]",
    );
    says(&dead, Severity::Error, "clause 2.4 forbids all of it");
    assert_eq!(dead[0].clauses.len(), 2);
    says(&draft_but("except = [\"north/reference\"]", "except = [\"*/reference\"]"), Severity::Warning, "is a pattern");
}

#[test]
fn contradictions_are_found() {
    says(&draft_but("CC-BY-NC-4.0", "Apache-2.0"), Severity::Warning, "commercially");
    says(&draft_but("coalitions = [1, 2]", "coalitions = [1]"), Severity::Warning, "in size 2");
}

#[test]
fn missing_clauses_are_found() {
    let findings = lint(&with_clauses(""));
    for text in [
        "withdraws",
        "whose the results",
        "how benefits",
        "nothing is permitted",
        "decided together",
        "may use nothing",
    ] {
        says(&findings, Severity::Warning, text);
    }
}
