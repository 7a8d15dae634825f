//! The generated pages of `docs/reference/` are current, and every command that a document shows exists.

use std::fmt::Write as _;

use allmende::cli::failure::Exit;
use allmende::error::Code;
use allmende_core::agreement::kinds;
use allmende_core::digest::Digest;
use allmende_core::ledger::verifier::{Role, VerifierKey};
use allmende_core::signature::SecretKey;
use allmende_core::state::refusal::REASONS;
use allmende_core::statement::{Scope, TABLE};

use crate::snapshot;
use crate::tidy::source::files;

fn page(title: &str, from: &str, text: &str) -> String {
    format!("# {title}\n\n<!-- Generated from {from}; do not edit. -->\n\n{text}")
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|")
}

#[test]
fn the_page_of_clauses_is_current() {
    let intro = "What a clause of each kind says, who gives it effect, and the test that proves it. `hub` and `node` refuse what \
                 a clause forbids; `ledger` computes by it, and everyone can compute it again; `duty` is recorded and shown, \
                 and people act on it; `record` only stands in the record. A kind that is not here cannot be signed.\n\n";
    let text = page(
        "Kinds of clauses",
        "crates/allmende-core/src/agreement/kinds.rs",
        &(intro.to_owned() + &kinds::markdown()),
    );
    snapshot("../../docs/reference/clauses.md", &text);
}

#[test]
fn the_page_of_statements_is_current() {
    let mut text = String::from(
        "Every kind of statement that can stand in a log, the classes of keys that may sign it, and where it stands: the \
         closed table. A kind that is not here is refused, and so is a signature by a key of another class.\n\n\
         | kind | says | signed by | stands |\n|---|---|---|---|\n",
    );
    for row in TABLE {
        let classes: Vec<_> = row.classes.iter().map(|c| c.code()).collect();
        let stands = match row.scope {
            Scope::Keys => "in the hub's log of parties, copied into each collaboration the party joins",
            Scope::Opening => "first in any log",
            Scope::Collaboration => "in one collaboration",
            Scope::Agreement => "in one collaboration, under an agreement in force",
        };
        writeln!(text, "| `{}` | {} | {} | {stands} |", row.kind, cell(row.says), classes.join(", ")).unwrap();
    }
    snapshot("../../docs/reference/statements.md", &page("Statements", "crates/allmende-core/src/statement.rs", &text));
}

#[test]
fn the_page_of_errors_is_current() {
    let mut text = String::from(
        "Three lists: how a hub answers a request, why the rules refuse a statement, and how a command ends. Codes are \
         stable: programs may match on them.\n\n## A hub's answers\n\nErrors are `application/problem+json` (RFC 9457) with \
         `code`, `detail`, where it helps `hint`, the `clauses` that forbid it, and the `request_id` under which the hub's \
         log has the rest.\n\n| code | status | when |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        writeln!(text, "| `{}` | {} | {} |", code.as_str(), code.status(), cell(code.says())).unwrap();
    }
    text.push_str(
        "\n## Why the rules refuse a statement\n\nThe same on hub, node and in `allmende ledger verify`. The reason's code \
         stands in front of a hub's `detail`. Names in braces are facts of the case.\n\n| code | when | text | hint \
         |\n|---|---|---|---|\n",
    );
    for reason in REASONS {
        let hint = reason.hint.map_or_else(|| "—".to_owned(), cell);
        writeln!(text, "| `{}` | {} | {} | {hint} |", reason.code, cell(reason.says), cell(reason.text)).unwrap();
    }
    text.push_str("\n## How a command ends\n\n| exit code | name | meaning |\n|---|---|---|\n");
    for (code, word, says) in Exit::TABLE {
        writeln!(text, "| {code} | {word} | {} |", cell(says)).unwrap();
    }
    let from = "crates/allmende/src/error.rs, crates/allmende-core/src/state/refusal.rs and crates/allmende/src/cli/failure.rs";
    snapshot("../../docs/reference/errors.md", &page("Errors", from, &text));
}

#[test]
fn codes_of_reasons_are_unique() {
    let mut codes: Vec<_> = REASONS.iter().map(|r| r.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), REASONS.len());
}

#[test]
fn the_page_of_commands_is_current() {
    snapshot("../../docs/reference/cli.md", &allmende::cli::reference::markdown());
}

/// Lines of code blocks that call the program, each as its words.
fn shown_commands(text: &str) -> Vec<String> {
    let mut fenced = false;
    let inside = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        fenced && !fence
    };
    commands(text.lines().filter(inside))
}

/// The lines that call the program; a backslash joins one with the next.
pub fn commands<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in lines {
        let line = line.trim().trim_start_matches("$ ");
        let line = match open.take() {
            Some(before) => format!("{before} {line}"),
            None if line.starts_with("allmende ") => line.to_owned(),
            None => continue,
        };
        match line.strip_suffix('\\') {
            Some(more) => open = Some(more.trim_end().to_owned()),
            None => found.push(line),
        }
    }
    found
}

/// The words of a command line: quotes join, a comment or a pipe ends it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut started) = (String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') => (quote, started) = (Some(c), true),
            (None, '#' | '>' | '|' | '&' | ';') if word.is_empty() => break,
            (None, ' ') => {
                if started || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            (None, c) => word.push(c),
        }
    }
    if started || !word.is_empty() {
        words.push(word);
    }
    words
}

/// Keys and digests are cut short with '…' in documents.
fn whole(word: String) -> String {
    if word.starts_with("ed25519:") && word.ends_with('…') {
        return SecretKey::from_seed(&[1; 32]).public().to_string();
    }
    if word.starts_with("sha256:") && word.ends_with('…') {
        return Digest::of(b"").to_string();
    }
    if let Some((name, _)) = word.split_once('+').filter(|_| word.ends_with('…')) {
        let key = SecretKey::from_seed(&[1; 32]).public();
        return VerifierKey { name: name.parse().unwrap(), key, role: Role::Log }.to_string();
    }
    word
}

/// Whether the program takes this command line; why not.
pub fn parses(line: &str) -> Result<(), String> {
    match allmende::cli::command().try_get_matches_from(words(line).into_iter().map(whole)) {
        Err(error) if error.use_stderr() => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        _ => Ok(()),
    }
}

#[test]
fn every_command_that_a_document_shows_exists() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in files(&["md"]) {
        for line in shown_commands(&file.text) {
            seen += 1;
            if let Err(why) = parses(&line) {
                wrong.push(format!("{}: {line}\n  {why}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {seen} commands:\n{}", wrong.len(), wrong.join("\n"));
}
