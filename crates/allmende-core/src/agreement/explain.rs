//! Why a request passes or does not, in words, with the clauses.

use super::check::{Decision, Request};
use super::prose::{self, en, zh};
use super::terms::Terms;
use super::vocabulary::Language;

/// The decision for people: what was asked, the answer, the reasons and the prose of every clause concerned.
#[must_use]
pub fn explain(decision: &Decision, terms: &[&Terms], request: &Request, language: Language) -> String {
    let mut text = match language {
        Language::En => english(decision, request),
        Language::Zh => chinese(decision, request),
    };
    for reference in &decision.clauses {
        let clause = terms.iter().find(|t| t.digest() == reference.terms).and_then(|t| t.find(&reference.clause));
        match clause {
            Some(clause) => {
                text.push('\n');
                text.push_str(&prose::clause_prose(clause, language));
            }
            // The decision was made by terms that the caller did not bring; say so rather than nothing.
            None => text.push_str(&format!("\n{} ({})\n", reference.clause, reference.terms)),
        }
    }
    text
}

fn asset(request: &Request) -> String {
    match request.part {
        Some(part) => format!("{}#{part}", request.asset),
        None => request.asset.to_string(),
    }
}

fn english(decision: &Decision, request: &Request) -> String {
    let parties =
        if request.parties == 1 { "1 party takes".to_owned() } else { format!("{} parties take", request.parties) };
    let mut text = format!(
        "{} asks to {} {} ({} data) for {}, {}, on {}; {parties} part.\n",
        request.actor,
        en::action(request.action),
        asset(request),
        request.class,
        en::purpose(request.purpose),
        en::place(request.place),
        request.at.date(),
    );
    if decision.is_allowed() {
        text.push_str(if decision.clauses.is_empty() {
            "ALLOWED: a party's use of its own asset needs no permit, and nothing forbids it.\n"
        } else {
            "ALLOWED by:\n"
        });
    } else {
        text.push_str("DENIED:\n");
        for missing in &decision.missing {
            text.push_str(&format!("- {missing}\n"));
        }
    }
    text
}

fn chinese(decision: &Decision, request: &Request) -> String {
    let mut text = format!(
        "{} 请求{} {}（{} 类），目的：{}，{}，日期 {}，参与方 {} 个。\n",
        request.actor,
        zh::action(request.action),
        asset(request),
        request.class,
        zh::purpose(request.purpose),
        zh::place(request.place),
        request.at.date(),
        request.parties,
    );
    if decision.is_allowed() {
        text.push_str(if decision.clauses.is_empty() {
            "允许：一方使用自己的资产无须许可，且无条款禁止。\n"
        } else {
            "允许，依据：\n"
        });
    } else {
        text.push_str("拒绝：\n");
        for missing in &decision.missing {
            text.push_str(&format!("- {}\n", missing.zh()));
        }
    }
    text
}
