//! Prose in two languages, and the draft.

use super::judging::request;
use super::*;
use crate::agreement::check::check;
use crate::agreement::clause::Clause;
use crate::agreement::explain::explain;
use crate::agreement::kinds::{KINDS, markdown};
use crate::agreement::prose::{clause_prose, render};
use crate::agreement::vocabulary::{Action, Enforcer};

#[test]
fn the_contract_names_everything_that_binds() {
    let terms = terms();
    for language in Language::ALL {
        let text = render(&terms, *language);
        for party in &terms.parties {
            assert!(text.contains(&party.key.to_string()) && text.contains(&party.signatory));
        }
        for clause in &terms.clause {
            assert!(text.contains(&format!("**{} ", clause.id)), "{}", clause.id);
        }
        for needle in [terms.digest().to_string(), terms.hub_key.to_string(), terms.origin.to_string()] {
            assert!(text.contains(&needle), "{needle}");
        }
        for day in [terms.starts, terms.ends, terms.offer_expires] {
            assert!(text.contains(&day.to_string()));
        }
        assert!(!text.contains("  ") && !text.contains("。。") && !text.contains(".."), "{text}");
    }
    let english = render(&terms, Language::En);
    assert!(english.contains("provided that at least 3 parties take part"));
    assert!(english.contains("No party, the owner included, may let rows of data of the class record"));
    // "May not change every asset" would forbid less than what the check forbids.
    let forbid = with_clauses("[[clause]]\nid='1'\nkind='forbid'\naction='write'\nassets=['north/*']\nby=['north']\n");
    assert!(render(&forbid, Language::En).contains("may not change any asset of north."));
    assert!(render(&forbid, Language::Zh).contains("不得修改 north 的任何资产。"));
    assert!(render(&terms, Language::Zh).contains("以英文文本为准"));
}

#[test]
fn record_only_clauses_are_marked() {
    let terms = changed(|t| {
        let json = format!(
            r#"{{"id":"9.1","kind":"incorporate","name":"Data plan","digest":"{}"}}"#,
            crate::digest::Digest::of(b"plan")
        );
        t.clause.push(serde_json::from_str::<Clause>(&json).expect("clause"));
    });
    for id in ["8.1", "9.1"] {
        let clause = terms.find(&id.parse().expect("id")).expect("clause");
        assert!(clause_prose(clause, Language::En).contains("not enforced by software"));
        assert!(clause_prose(clause, Language::Zh).contains("软件不执行"));
    }
}

#[test]
fn free_text_cannot_pass_for_a_clause() {
    let terms = changed(|t| {
        t.title = "A *title* <b>".into();
        t.clause[0].note = Some("first\n\n**9.9 Permission.** Everybody may read <script>".into());
    });
    let text = render(&terms, Language::En);
    assert!(text.contains("# A \\*title\\* \\<b\\>"));
    assert!(text.contains("> first\n>\n> \\*\\*9.9 Permission.\\*\\* Everybody may read \\<script\\>"));
    assert!(text.contains("Free text of the parties (not enforced by software)"));
}

#[test]
fn decisions_are_explained_with_their_clauses() {
    let terms = terms();
    let mut ask = request("east", Action::Train, "north/digits#train");
    let words =
        |ask: &crate::agreement::check::Request, language| explain(&check(&[&terms], ask), &[&terms], ask, language);
    let text = words(&ask, Language::En);
    assert!(text.contains("ALLOWED by:") && text.contains("**2.1 Permission to train.**"), "{text}");
    ask.parties = 1;
    let text = words(&ask, Language::En);
    assert!(text.contains("DENIED:\n- clause 2.1: min_parties 3: 1 takes part"), "{text}");
    assert!(words(&ask, Language::Zh).contains("至少须有 3 方参与，现有 1 方"));
    let disclose = request("north", Action::Disclose, "north/digits");
    assert!(words(&disclose, Language::En).contains("**2.4 Prohibition to disclose.**"));
    let own = request("north", Action::Read, "north/digits");
    assert!(words(&own, Language::En).contains("needs no permit"));
}

#[test]
fn every_kind_is_in_the_table_and_its_test_exists() {
    let sources = [
        include_str!("judging.rs"),
        include_str!("parsing.rs"),
        include_str!("linting.rs"),
        include_str!("comparing.rs"),
        include_str!("writing.rs"),
        include_str!("../../../tests/story.rs"),
        include_str!("../../../tests/story_changes.rs"),
    ];
    for kind in KINDS {
        let name = kind.test.rsplit("::").next().expect("name");
        assert!(sources.iter().any(|s| s.contains(&format!("fn {name}()"))), "{}", kind.test);
        assert!(markdown().contains(&format!("| `{}` |", kind.kind)));
    }
    assert!(terms().clause.iter().all(|c| KINDS.iter().any(|k| k.kind == c.rule.kind())));
}

/// The state refuses work after a withdrawal's notice (see the test that its row names): the table must say so, and leave
/// to people only what nothing checks.
#[test]
fn the_end_of_a_notice_is_enforced_and_what_others_keep_is_a_duty() {
    let exit = KINDS.iter().find(|kind| kind.kind == "exit").expect("in the table");
    assert_eq!(exit.enforced_by, [Enforcer::Hub, Enforcer::Node, Enforcer::Duty]);
    let terms = terms();
    let clause = terms.clause.iter().find(|c| c.rule.kind() == "exit").expect("in the draft");
    assert!(clause_prose(clause, Language::En).contains("Hub and node enforce the notice"));
    assert!(clause_prose(clause, Language::Zh).contains("通知期由中心和节点执行"));
}
