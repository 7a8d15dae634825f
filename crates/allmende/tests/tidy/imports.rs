//! What may import what.

use super::source::{File, files, paths};

/// The nouns and what is built of them: a slice imports only from slices to its left.
const ORDER: &[&str] = &[
    "ledger",
    "party",
    "account",
    "collaboration",
    "agreement",
    "asset",
    "repo",
    "discussion",
    "xet",
    "content",
    "exchange",
    "bucket",
    "mirror",
    "node",
    "run",
    "contribution",
    "risk",
    "wire",
    "view",
    "verify",
    "console",
    "client",
    "backup",
    "agent",
    "witness",
    "demo",
    "cli",
];

/// The composition root: the modules that put all nouns together.
const ROOTS: &[&str] = &["lib", "main", "hub", "router"];

/// What else may be imported against the order: by whom, what, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("app", "ledger", "the hub's state holds its open logs"),
    ("app", "repo", "hands on what happens to repositories, by value"),
    ("error", "ledger", "maps each module's errors to what clients see"),
    ("projection", "ledger", "rebuilds its tables from the entries"),
];

/// What a pure crate may not name. Time, randomness and identity come in as values.
const IMPURE: &[&str] = &[
    "fs",
    "net",
    "env",
    "process",
    "thread",
    "time::SystemTime",
    "time::Instant",
    "os",
    "io::stdin",
    "io::stdout",
    "io::stderr",
];
const PURE_CRATES: &[&str] = &["allmende-core", "allmende-formats", "allmende-train"];

struct Import {
    file: String,
    from: String,
    to: String,
}

fn module_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("crates/allmende/src/")?;
    Some(inside.split(['/', '.']).next()?.to_owned())
}

fn position(module: &str) -> Option<usize> {
    ORDER.iter().position(|slice| *slice == module)
}

/// All imports between slices, and from the modules below them, that the order does not allow.
fn crossings() -> Vec<Import> {
    let mut found = Vec::new();
    for file in files(&["rs"]) {
        let Some(from) = module_of(&file.path) else { continue };
        if ROOTS.contains(&from.as_str()) {
            continue;
        }
        for path in paths(&file.code_text(), "crate") {
            let to = path.split("::").next().unwrap().to_owned();
            let Some(right) = position(&to) else { continue };
            // A module that is no slice lies below all of them.
            if position(&from).is_none_or(|left| right > left) {
                found.push(Import { file: file.path.clone(), from: from.clone(), to });
            }
        }
    }
    found
}

fn is_exception(import: &Import, exception: &(&str, &str, &str)) -> bool {
    (import.from.as_str(), import.to.as_str()) == (exception.0, exception.1)
}

pub fn against_the_order() -> Vec<String> {
    let crossings = crossings();
    let forbidden = crossings.iter().filter(|import| !EXCEPTIONS.iter().any(|e| is_exception(import, e)));
    forbidden.map(|i| format!("{}: {} may not import {}", i.file, i.from, i.to)).collect()
}

pub fn needless_exceptions() -> Vec<String> {
    let crossings = crossings();
    let needless = EXCEPTIONS.iter().filter(|e| !crossings.iter().any(|import| is_exception(import, e)));
    needless.map(|(from, to, _)| format!("{from} does not import {to} any more")).collect()
}

pub fn impurities() -> Vec<String> {
    let mut found = Vec::new();
    let inside = |f: &File, name: &str| f.path.starts_with(&format!("crates/{name}/src/"));
    for file in files(&["rs"]).iter().filter(|f| PURE_CRATES.iter().any(|name| inside(f, name))) {
        let code = file.code_text();
        let names = paths(&code, "std");
        let impure = |name: &String| IMPURE.iter().any(|bad| name == bad || name.starts_with(&format!("{bad}::")));
        found.extend(names.iter().filter(|n| impure(n)).map(|n| format!("{}: std::{n}", file.path)));
        if code.contains("async fn") || code.contains(".await") {
            found.push(format!("{}: async", file.path));
        }
    }
    found
}
