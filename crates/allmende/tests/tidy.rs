//! The order of the source tree, as tests: what may import what, forgotten files, sizes, names, dependencies, links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use allmende_core::agreement::kinds::KINDS;
use allmende_core::canonical::forbidden_character;

mod dependencies;
mod imports;
mod reach;
pub mod source;

use source::{File, files, root};

/// Longest source file, in lines.
const MAX_FILE_LINES: usize = 500;
/// Longest `main.rs`, in lines.
const MAX_MAIN_LINES: usize = 50;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["common", "utils", "util", "types", "helpers", "misc"];
/// Folders of crates whose code may print: the command line's one writer, the demo, and what only developers run.
const MAY_PRINT: &[&str] = &["allmende/src/cli/", "allmende/src/demo/", "/examples/", "/tests/"];

/// Fails with all findings at once.
fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn rust() -> Vec<File> {
    files(&["rs"])
}

#[test]
fn files_are_short_enough_to_read() {
    let long = rust().into_iter().filter(|f| f.text.lines().count() > MAX_FILE_LINES);
    none(
        &long
            .map(|f| format!("{}: {} lines, at most {MAX_FILE_LINES}", f.path, f.text.lines().count()))
            .collect::<Vec<_>>(),
    );
    let main = fs::read_to_string(root().join("crates/allmende/src/main.rs")).unwrap();
    assert!(main.lines().count() <= MAX_MAIN_LINES, "main.rs only starts the library");
}

#[test]
fn every_file_says_what_it_is() {
    let silent = rust().into_iter().filter(|f| !f.text.starts_with("//! "));
    none(&silent.map(|f| format!("{}: begin with a line '//! …'", f.path)).collect::<Vec<_>>());
}

#[test]
fn names_say_something() {
    let findings = rust().into_iter().filter(|f| {
        let path = Path::new(&f.path);
        path.components().any(|c| EMPTY_NAMES.contains(&c.as_os_str().to_string_lossy().trim_end_matches(".rs")))
    });
    none(&findings.map(|f| format!("{}: name it after what it does", f.path)).collect::<Vec<_>>());
}

#[test]
fn no_file_is_forgotten() {
    let reached = reach::reached();
    let forgotten = rust().into_iter().filter(|f| f.path.starts_with("crates/") && !reached.contains(&f.path));
    none(&forgotten.map(|f| format!("{}: no 'mod' leads here", f.path)).collect::<Vec<_>>());
}

#[test]
fn nothing_unfinished_or_printed() {
    let mut findings = Vec::new();
    for file in rust().iter().filter(|f| !f.path.ends_with("tests/tidy.rs")) {
        for (number, line) in file.code() {
            let says = |word: &str| findings_at(line, word);
            for word in ["todo!", "unimplemented!", "dbg!"] {
                if says(word) {
                    findings.push(format!("{}:{number}: {word}", file.path));
                }
            }
            let prints = ["println!", "eprintln!", "print!", "eprint!"].iter().any(|m| says(m));
            if prints && !MAY_PRINT.iter().any(|folder| file.path.contains(folder)) {
                findings.push(format!("{}:{number}: only the command line prints; use tracing", file.path));
            }
        }
    }
    none(&findings);
}

fn findings_at(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn no_invisible_characters() {
    let mut findings = Vec::new();
    for file in files(&["rs", "md", "toml", "py", "sql", "html", "css", "js"]) {
        for (line, text) in file.text.lines().enumerate() {
            if let Some(c) = forbidden_character(text) {
                findings.push(format!(
                    "{}:{}: {c:?} can make text read differently from what it says",
                    file.path,
                    line + 1
                ));
            }
        }
    }
    none(&findings);
}

#[test]
fn imports_follow_the_order_of_the_nouns() {
    none(&imports::against_the_order());
}

#[test]
fn every_exception_to_the_order_is_needed() {
    none(&imports::needless_exceptions());
}

#[test]
fn the_pure_crates_stay_pure() {
    none(&imports::impurities());
    none(&dependencies::impurities());
}

#[test]
fn every_dependency_is_used() {
    none(&dependencies::unused());
}

#[test]
fn the_tests_named_in_the_table_of_clauses_exist() {
    let all: String = rust().into_iter().map(|f| f.text).collect();
    let missing = KINDS.iter().filter(|kind| {
        let name = kind.test.rsplit("::").next().unwrap();
        !all.contains(&format!("fn {name}()"))
    });
    none(&missing.map(|k| format!("{}: no test {}", k.kind, k.test)).collect::<Vec<_>>());
}

#[test]
fn the_tests_named_in_the_table_of_threats_exist() {
    let all: String = rust().into_iter().map(|f| f.text).collect();
    let security = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let names: Vec<_> = security.split('`').skip(1).step_by(2).filter(|word| word.contains("::")).collect();
    assert!(names.len() > 20, "{names:?}");
    let exists = |name: &str| {
        let last = name.rsplit("::").next().unwrap();
        [format!("fn {last}("), format!("mod {last};")].iter().any(|text| all.contains(text))
    };
    none(
        &names
            .into_iter()
            .filter(|name| !exists(name))
            .map(|n| format!("SECURITY.md: no test {n}"))
            .collect::<Vec<_>>(),
    );
}

/// Settings that are read through a method of [`Config`](allmende::config::Config), and its name.
const READ_THROUGH: &[(&str, &str)] = &[
    ("blob_store", "blob_store()"),
    ("database_url", "database_url()"),
    ("registration", "registration_mode()"),
    ("tls", "tls_mode()"),
];

/// A setting that nothing reads promises what nothing keeps. That the hub does with it what it says is for other tests.
#[test]
fn every_setting_is_read_by_what_it_sets() {
    let inside = |f: &File| f.path.starts_with("crates/allmende/src/") && !f.path.contains("/src/config");
    let code: String = rust().iter().filter(|f| inside(f)).map(File::code_text).collect();
    let read = |key: &str| {
        let through = READ_THROUGH.iter().find(|(name, _)| *name == key).map_or(key, |(_, method)| method);
        let name = format!("config.{through}");
        let whole = |at: usize| !code[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        code.match_indices(&name).any(|(at, _)| whole(at))
    };
    let unread = allmende::config::SETTINGS.iter().filter(|setting| !read(setting.key));
    none(&unread.map(|s| format!("{}: nothing reads it", s.key)).collect::<Vec<_>>());
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for file in files(&["md"]) {
        let folder = root().join(&file.path).parent().unwrap().to_path_buf();
        for link in links(&file.text) {
            let target = link.split('#').next().unwrap();
            if !target.is_empty()
                && !link.contains("://")
                && !link.starts_with("mailto:")
                && !folder.join(target).exists()
            {
                findings.push(format!("{}: {link} does not exist", file.path));
            }
        }
    }
    none(&findings);
}

/// Targets of `[text](target)` outside code blocks.
fn links(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            if let Some(end) = line[at..].find(')') {
                found.push(line[at + 2..at + end].to_owned());
            }
        }
    }
    found
}

#[test]
fn each_fuzz_target_has_a_body_and_seeds() {
    let folder = root().join("fuzz");
    let names = |path: PathBuf| -> BTreeSet<String> {
        let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        entries.map(|e| e.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let bodies: BTreeSet<String> = crate::fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(folder.join("targets")), bodies, "fuzz/targets and the bodies");
    assert_eq!(names(folder.join("seeds")), bodies, "fuzz/seeds and the bodies");
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    let declared: BTreeSet<String> =
        manifest["bin"].as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(declared, bodies, "fuzz/Cargo.toml and the bodies");
}
