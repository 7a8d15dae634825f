//! Which files a `mod` leads to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::source::root;

/// All files that are a crate's root or that a `mod` leads to, from the root of the repository.
pub fn reached() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for member in fs::read_dir(root().join("crates")).unwrap() {
        for start in roots(&member.unwrap().path()) {
            follow(&start, true, &mut found);
        }
    }
    found
}

/// The files at which a package's targets begin.
fn roots(package: &Path) -> Vec<PathBuf> {
    let manifest: toml::Table = fs::read_to_string(package.join("Cargo.toml")).unwrap().parse().unwrap();
    let mut found: Vec<PathBuf> = ["src/lib.rs", "src/main.rs", "build.rs"].iter().map(|f| package.join(f)).collect();
    let discovers = |key: &str| manifest["package"].get(key).and_then(toml::Value::as_bool).unwrap_or(true);
    for (folder, key) in [("tests", "autotests"), ("examples", "autoexamples"), ("benches", "autobenches")] {
        if discovers(key)
            && let Ok(entries) = fs::read_dir(package.join(folder))
        {
            found.extend(entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "rs")));
        }
    }
    for kind in ["test", "bench", "example", "bin"] {
        let targets = manifest.get(kind).and_then(toml::Value::as_array).into_iter().flatten();
        found.extend(targets.filter_map(|t| t.get("path")?.as_str()).map(|path| package.join(path)));
    }
    found.retain(|path| path.exists());
    found
}

fn follow(file: &Path, is_root: bool, found: &mut BTreeSet<String>) {
    let Ok(text) = fs::read_to_string(file) else { return };
    let relative = file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    if !found.insert(relative) {
        return;
    }
    let folder = file.parent().unwrap();
    let stem = file.file_stem().unwrap();
    let below = if is_root || stem == "mod" { folder.to_path_buf() } else { folder.join(stem) };
    let mut named_path = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            named_path = rest.split('"').next().map(|path| normal(&folder.join(path)));
        } else if let Some(name) = module(line) {
            match named_path.take() {
                Some(path) => follow(&path, false, found),
                None => {
                    follow(&below.join(format!("{name}.rs")), false, found);
                    follow(&below.join(name).join("mod.rs"), false, found);
                }
            }
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            named_path = None;
        }
    }
}

/// The name in `mod name;`, whatever its visibility.
fn module(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("mod ")?;
    let visible = before.is_empty() || before == "pub " || (before.starts_with("pub(") && before.ends_with(") "));
    let name = rest.strip_suffix(';')?;
    (visible && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}
