//! The only test binary: one link for all tests of the program.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::needless_pass_by_value, reason = "tests may")]

mod agent;
mod cli;
mod config;
mod console;
mod content;
mod crash;
mod demo;
mod device;
mod exchange;
mod fuzz;
mod housekeeping;
mod http;
mod limits;
mod mirror;
mod reference;
mod repo;
mod stores;
mod story;
mod terms;
mod tidy;
mod tls;
mod verify;
mod wire_git;
mod witness;
mod xet;

/// Compares `text` with the file at `path` beside this crate's manifest; `UPDATE_SNAPSHOTS=1` rewrites the file.
fn snapshot(path: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{} is not current: run with UPDATE_SNAPSHOTS=1 and look at the difference", path.display());
}
