//! Common wrong turns: each ends with an exit code that means something, and says what to do next.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn allmende(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_allmende"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ALLMENDE_")) {
        command.env_remove(name);
    }
    command.arg("--home").arg(home).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs and compares the exit code; gives what was said to people.
fn ends_with(home: &Path, args: &[&str], code: i32) -> String {
    let output = allmende(home, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

fn init(home: &Path) {
    ends_with(home, &["init", "--party", "north", "--no-passphrase", "--quiet"], 0);
}

#[test]
fn no_home() {
    let dir = tempfile::tempdir().unwrap();
    let said = ends_with(dir.path(), &["whoami"], 2);
    assert!(
        said.contains("holds no organization") && said.contains("next: ") && said.contains("allmende init"),
        "{said}"
    );
    let output = allmende(dir.path(), &["whoami", "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["error"]["code"], "home.missing");
    assert_eq!(value["error"]["exit"], "usage");
}

#[test]
fn twice_the_same_home() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let said = ends_with(dir.path(), &["init", "--party", "north", "--no-passphrase"], 2);
    assert!(said.contains("never overwritten"), "{said}");
    let output = allmende(dir.path(), &["whoami", "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((value["party"].as_str(), value["hub"].is_null()), (Some("north"), true));
}

#[test]
fn no_passphrase_and_nobody_to_ask() {
    let dir = tempfile::tempdir().unwrap();
    let said = ends_with(dir.path(), &["init", "--party", "north"], 2);
    assert!(said.contains("--passphrase-file"), "{said}");
    let file = dir.path().join("short");
    std::fs::write(&file, "short\n").unwrap();
    let said =
        ends_with(dir.path(), &["init", "--party", "north", "--passphrase-file", &file.display().to_string()], 2);
    assert!(said.contains("at least 8 characters"), "{said}");
    assert!(!dir.path().join("keys").exists());
}

#[test]
fn no_hub() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let said = ends_with(dir.path(), &["collaboration", "list"], 2);
    assert!(said.contains("allmende join"), "{said}");
    // A port that was just free.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let key = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let said = ends_with(dir.path(), &["join", &url, "--hub-key", key], 5);
    assert!(said.contains("cannot be reached"), "{said}");
    // Tokens never travel in clear.
    ends_with(dir.path(), &["join", "http://hub.example:1", "--hub-key", key], 2);
    assert_eq!(allmende(dir.path(), &["join", "--hub-key", "ed25519:00"]).status.code(), Some(2));
}

#[test]
fn wrong_command_lines() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["frobnicate"][..],
        &["run"],
        &["init"],
        &["settle", "--run", "r", "--pool", "1,5", "--name", "x"],
        &["--c", "x"],
    ] {
        ends_with(dir.path(), args, 2);
    }
    ends_with(dir.path(), &["--version"], 0);
    ends_with(dir.path(), &["run", "propose", "--help"], 0);
}

#[test]
fn bad_drafts_and_settings() {
    let dir = tempfile::tempdir().unwrap();
    let draft = dir.path().join("terms.toml");
    std::fs::write(&draft, "vocabulary = 1\nsurprise = true\n").unwrap();
    let said = ends_with(dir.path(), &["agreement", "lint", &draft.display().to_string()], 2);
    assert!(said.contains("terms.toml"), "{said}");
    let settings = dir.path().join("hub.toml");
    std::fs::write(&settings, "max_member = 3\n").unwrap();
    let said = ends_with(dir.path(), &["config", "show", "--config", &settings.display().to_string()], 2);
    assert!(said.contains("did you mean 'max_members'"), "{said}");
    let output = allmende(dir.path(), &["config", "show", "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value.as_array().unwrap().iter().any(|s| s["key"] == "listen" && s["source"] == "default"));
}

#[test]
fn a_log_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let said = ends_with(dir.path(), &["ledger", "verify", &dir.path().display().to_string()], 4);
    assert!(said.contains("checkpoint"), "{said}");
    ends_with(dir.path(), &["ledger", "verify", "nowhere"], 2);
}

#[test]
fn completions_and_reference_are_written() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = allmende(dir.path(), &["completions", shell]);
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains("collaboration"),
            "{shell}"
        );
    }
    let output = allmende(dir.path(), &["reference"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("# Commands"));
}
