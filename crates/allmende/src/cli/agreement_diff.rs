//! `agreement diff`: what other terms would change.

use std::path::Path;

use allmende_core::agreement::diff::{self, consent_needed};
use allmende_core::agreement::terms::Terms;
use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::member::Member;

/// Say what terms B allow, forbid or move that terms A did not, and who must consent in every mode.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende agreement diff current terms-v2.toml")]
pub struct Diff {
    /// 'current', 'offered', the first digits of a digest, or a file
    a: String,
    /// The same
    b: String,
}

#[derive(Serialize)]
struct Compared {
    a: String,
    b: String,
    same: bool,
    consent_needed: Vec<String>,
    diff: diff::Diff,
}

impl Diff {
    /// Runs the command.
    ///
    /// # Errors
    /// When one of the two cannot be read.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let is_file = |text: &str| Path::new(text).extension().is_some() || Path::new(text).is_file();
        // Two files need no hub.
        let member = if is_file(&self.a) && is_file(&self.b) { None } else { Some(Member::open(context).await?) };
        let load = |text: &str| -> Result<Terms, Failure> {
            match &member {
                Some(member) if !is_file(text) => Ok(member.agreement(text)?.1.terms.clone()),
                _ => super::agreement::read(Path::new(text)),
            }
        };
        let (a, b) = (load(&self.a)?, load(&self.b)?);
        let diff = diff::diff(&a, &b);
        let consent: Vec<_> = consent_needed(&a, &b).iter().map(ToString::to_string).collect();
        let compared = Compared {
            a: a.digest().to_string(),
            b: b.digest().to_string(),
            same: diff.is_empty(),
            consent_needed: consent,
            diff,
        };
        context.out.result(&compared, || {
            if compared.same {
                return "Both mean the same.\n".to_owned();
            }
            let consent = compared.consent_needed.join(", ");
            let consent = if consent.is_empty() { "nobody; the members decide as the charter says" } else { &consent };
            format!("{}\nMust sign in every mode: {consent}\n", in_words(&compared.diff))
        })
    }
}

fn in_words(diff: &diff::Diff) -> String {
    let mut text = String::new();
    let mut list = |head: &str, items: Vec<String>| {
        if !items.is_empty() {
            text.push_str(&format!("{head}\n"));
            items.iter().for_each(|item| text.push_str(&format!("  {item}\n")));
        }
    };
    let ids = |clauses: &[allmende_core::id::ClauseId]| clauses.iter().map(ToString::to_string).collect::<Vec<_>>();
    list("New clauses:", ids(&diff.added));
    list("Changed clauses:", ids(&diff.changed));
    list("Clauses left out:", ids(&diff.removed));
    list("Allowed from then on:", diff.allows.iter().map(ToString::to_string).collect());
    list("Forbidden from then on:", diff.forbids.iter().map(ToString::to_string).collect());
    let moved = |m: &diff::Move| {
        let whose = m.party.as_ref().map_or(String::new(), |p| format!(" of {p}"));
        format!("{}{whose}: {} % → {} %", m.of, m.from, m.to)
    };
    list("Shares that move:", diff.moves.iter().map(moved).collect());
    let effect = |e: &diff::Effect| {
        let mark = if e.consent { " (must sign)" } else { "" };
        format!("{}: {}{mark}", e.party, e.what)
    };
    list("What this means:", diff.effects.iter().map(effect).collect());
    text
}
