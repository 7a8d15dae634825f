//! The source tree as the tidy tests read it.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are not ours, or not source.
const SKIPPED: &[&str] = &["target", ".git", ".venv", "node_modules", "golden", "corpus", "artifacts"];

/// A source file.
pub struct File {
    /// From the root of the repository, with slashes.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl File {
    /// The lines that are not comments, numbered from 1.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Those lines as one text.
    pub fn code_text(&self) -> String {
        self.code().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// All files with one of these extensions, in order.
pub fn files(extensions: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), extensions, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "there is source to look at");
    found
}

fn walk(folder: &Path, extensions: &[&str], found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(&path, extensions, found);
            }
        } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
            let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{relative}: {e}"));
            found.push(File { path: relative, text });
        }
    }
}

/// The paths below `start` (such as `crate` or `std`) that `code` names, groups written out: `crate::{a, b::c}` gives
/// `a` and `b::c`.
pub fn paths(code: &str, start: &str) -> Vec<String> {
    let prefix = format!("{start}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&prefix) {
        if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            expand(&code[at + prefix.len()..], "", &mut found);
        }
    }
    found
}

/// Reads one path or group at the start of `text`; returns how many bytes it took.
fn expand(text: &str, before: &str, found: &mut Vec<String>) -> usize {
    let word = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let path = format!("{before}{}", &text[..word]);
    if !text[word..].starts_with('{') {
        found.push(path.trim_end_matches(':').to_owned());
        return word;
    }
    let mut at = word + 1;
    loop {
        at += text[at..].find(|c: char| !c.is_whitespace() && c != ',').unwrap_or(text.len() - at);
        if at >= text.len() || text[at..].starts_with('}') {
            return at + 1;
        }
        let read = expand(&text[at..], &path, found);
        at += read;
        // Past 'as name' or anything else up to the next item.
        at += text[at..].find([',', '}']).unwrap_or(text.len() - at);
    }
}

#[test]
fn groups_are_written_out() {
    let code = "use crate::{a, b::{c, d::e as f}, g};\nlet x = crate::h::i(1); $crate::no; mycrate::no;";
    assert_eq!(paths(code, "crate"), ["a", "b::c", "b::d::e", "g", "h::i"]);
}
