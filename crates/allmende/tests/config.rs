//! Settings: layers, errors that name the key, the generated reference.

use std::path::Path;

use allmende_core::digest::Digest;
use allmende_core::ledger::verifier::{Role, VerifierKey};
use allmende_core::signature::SecretKey;

use allmende::config::{Config, Flags, Layers, RegistrationMode, SETTINGS, TlsMode, env_name, reference_markdown};

fn refused(text: &str) -> String {
    match Layers::default().file(Path::new("hub.toml"), text).and_then(|l| l.build()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn later_layers_win_and_the_source_is_known() {
    let layers = Layers::default()
        .file(Path::new("hub.toml"), "name = \"a.example\"\nmax_members = 3\nmetrics = false")
        .unwrap()
        .env(|name| (name == "ALLMENDE_MAX_MEMBERS").then(|| "4".to_owned()))
        .flags(&Flags(vec![("listen", "127.0.0.1:1".to_owned())]));
    let config = layers.build().unwrap();
    assert_eq!((config.name.as_str(), config.max_members, config.metrics), ("a.example", 4, false));
    assert_eq!(config.listen.port(), 1);
    assert_eq!(layers.source("max_members").to_string(), "environment variable ALLMENDE_MAX_MEMBERS");
    assert_eq!(layers.source("listen").to_string(), "flag --listen");
    assert_eq!(layers.source("tls").to_string(), "default");
}

#[test]
fn errors_name_the_key_and_where_it_came_from() {
    assert_eq!(refused("max_member = 3"), "hub.toml: unknown setting 'max_member'; did you mean 'max_members'?");
    assert_eq!(refused("zzz = 3"), "hub.toml: unknown setting 'zzz'");
    assert_eq!(refused("max_members = \"x\""), "setting 'max_members' from hub.toml: \"x\" is not a whole number");
    assert_eq!(refused("max_members = -1"), "setting 'max_members' from hub.toml: \"-1\" is not a whole number");
    assert_eq!(refused("max_members = [1]"), "setting 'max_members' from hub.toml: expected a whole number, not array");
    assert!(refused("name = \"a/b\"").contains("like a host name"));
    assert!(refused("tls = \"off\"\nlisten = \"0.0.0.0:1\"").contains("loopback"));
    assert!(refused("tls = \"files\"").contains("tls_cert_path"));
    assert!(refused("= 1").starts_with("hub.toml: "));
}

#[test]
fn defaults_are_valid_and_derived_paths_follow_the_data_dir() {
    let config = Config::in_dir(Path::new("/srv/hub data")).unwrap();
    assert_eq!(config.database_url(), "sqlite:///srv/hub%20data/hub.db");
    assert_eq!(config.blob_store(), "/srv/hub data/blobs");
    assert_eq!(config.tls_mode(), TlsMode::Off);
    assert_eq!(config.shown().len(), SETTINGS.len());
}

#[test]
fn only_a_hub_on_loopback_is_open_to_everybody_by_itself() {
    let mode = |text: &str| Layers::default().file(Path::new("h"), text).unwrap().build().unwrap().registration_mode();
    assert_eq!(mode(""), RegistrationMode::Open);
    assert_eq!(mode("listen = \"[::1]:1\""), RegistrationMode::Open);
    assert_eq!(mode("listen = \"0.0.0.0:1\""), RegistrationMode::Invited);
    assert_eq!(mode("listen = \"0.0.0.0:1\"\nregistration = \"open\""), RegistrationMode::Open);
    assert_eq!(mode("registration = \"invited\""), RegistrationMode::Invited);
}

#[test]
fn passwords_are_not_shown() {
    let layers =
        Layers::default().env(|name| (name == env_name("database_url")).then(|| "postgres://u:secret@h/d".to_owned()));
    let shown = layers.build().unwrap().shown();
    assert!(shown.contains(&("database_url", "postgres://u:***@h/d".to_owned())));
}

#[test]
fn flags_are_generated() {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }
    let command: Command = clap::Parser::try_parse_from(["x", "--data-dir", "/d", "--metrics", "false"]).unwrap();
    assert_eq!(command.flags, Flags(vec![("data_dir", "/d".to_owned()), ("metrics", "false".to_owned())]));
    <Command as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn the_reference_page_is_current() {
    crate::snapshot("../../docs/reference/configuration.md", &reference_markdown());
}

#[test]
fn witnesses_are_listed_with_key_address_and_pin() {
    let key = |seed, role| {
        let (name, key) = ("w.example/1".parse().unwrap(), SecretKey::from_seed(&[seed; 32]).public());
        VerifierKey { name, key, role }.to_string()
    };
    let (a, b, log) = (key(1, Role::Witness), key(2, Role::Witness), key(3, Role::Log));
    let pin = Digest::of(b"").to_string();
    let text = format!("witnesses = [\"{a} https://w.example:8450/\", \"{b} https://b.example {pin}\"]");
    let config = Layers::default().file(Path::new("hub.toml"), &text).unwrap().build().unwrap();
    let found: Vec<_> = config.witnesses.0.iter().map(|w| (w.url.as_str(), w.pin.is_some())).collect();
    assert_eq!(found, [("https://w.example:8450", false), ("https://b.example", true)]);
    let shown = config.shown().into_iter().find(|(key, _)| *key == "witnesses").unwrap().1;
    let flags = Flags(vec![("witnesses", shown)]);
    assert_eq!(Layers::default().flags(&flags).build().unwrap().witnesses, config.witnesses);
    let twice = format!("{a} https://w.example, {a} https://v.example");
    for (bad, says) in [
        (a.as_str(), "VKEY URL"),
        (&format!("{log} https://w.example"), "the key of a log"),
        (&format!("{a} w.example"), "no URL"),
        (&format!("{a} https://w.example sha256:0"), "no pin"),
        (&format!("{a} https://w.example {pin} {pin}"), "a comma separates"),
        (&twice, "twice"),
        (&format!("{} https://w.example", a.replacen('+', "+0", 1)), "no verifier key"),
    ] {
        let refused = Layers::default().flags(&Flags(vec![("witnesses", bad.to_owned())])).build().unwrap_err();
        assert!(refused.to_string().contains(says), "{bad}: {refused}");
    }
}
