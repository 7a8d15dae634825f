//! Dependencies: each is used, and the pure crates have few.

use std::collections::BTreeSet;
use std::fs;

use super::source::{files, root};

/// All that the rules may depend on. Nothing here reads a clock, a file, a socket or chance.
const CORE_MAY_USE: &[&str] = &["base64", "ed25519-dalek", "jiff", "serde", "serde_json", "sha2", "thiserror", "toml"];
/// All that the parsers of foreign bytes may depend on.
const FORMATS_MAY_USE: &[&str] = &["allmende-core", "blake3", "flate2", "lz4_flex", "serde", "serde_json", "thiserror"];
/// Named for their features alone, with the reason in the manifest.
const UNNAMED: &[&str] = &["burn-flex", "hashbrown"];

fn manifest(path: &str) -> toml::Table {
    fs::read_to_string(root().join(path)).unwrap().parse().unwrap()
}

fn names(manifest: &toml::Table, section: &str) -> BTreeSet<String> {
    manifest.get(section).and_then(toml::Value::as_table).map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

fn packages() -> Vec<String> {
    fs::read_dir(root().join("crates")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

pub fn impurities() -> Vec<String> {
    let mut found = Vec::new();
    for (package, allowed) in [("allmende-core", CORE_MAY_USE), ("allmende-formats", FORMATS_MAY_USE)] {
        let used = names(&manifest(&format!("crates/{package}/Cargo.toml")), "dependencies");
        let extra = used.iter().filter(|name| !allowed.contains(&name.as_str()));
        found.extend(extra.map(|name| format!("{package} may not depend on {name}")));
    }
    found
}

pub fn unused() -> Vec<String> {
    let mut found = Vec::new();
    let mut used_anywhere = BTreeSet::new();
    let all = files(&["rs"]);
    for package in packages() {
        let manifest = manifest(&format!("crates/{package}/Cargo.toml"));
        let code = |folders: &[&str]| -> String {
            let inside = |path: &str| folders.iter().any(|f| path.starts_with(&format!("crates/{package}/{f}/")));
            all.iter().filter(|f| inside(&f.path)).map(super::source::File::code_text).collect()
        };
        let (source, everything) = (code(&["src"]), code(&["src", "tests", "examples", "benches"]));
        for (section, text) in [("dependencies", &source), ("dev-dependencies", &everything)] {
            for name in names(&manifest, section) {
                if !names_crate(text, &name) && !UNNAMED.contains(&name.as_str()) {
                    found.push(format!("{package}: {name} in [{section}] is not used"));
                }
                used_anywhere.insert(name);
            }
        }
    }
    let workspace = manifest("Cargo.toml");
    let shared = workspace["workspace"]["dependencies"].as_table().unwrap();
    let forgotten = shared.keys().filter(|name| !used_anywhere.contains(*name));
    found.extend(forgotten.map(|name| format!("Cargo.toml: {name} is used by no crate")));
    found
}

fn names_crate(code: &str, package: &str) -> bool {
    let name = package.replace('-', "_");
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&name).any(|(at, _)| {
        let after = &code[at + name.len()..];
        !code[..at].ends_with(word) && (after.starts_with("::") || after.starts_with(';') || after.starts_with(" as "))
    })
}
