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

#[test]
fn a_secret_is_never_shown_and_comes_from_a_file_or_the_environment() {
    let s3 = "blob_store = \"s3://bucket/a/b\"\ns3_access_key_id = \"id\"\n";
    let shown = |layers: Layers| {
        let config = layers.build().unwrap();
        assert!(!format!("{config:?}").contains("hush") && !format!("{:?}", config.shown()).contains("hush"));
        assert_eq!(config.s3_secret_access_key.reveal(), "hush");
        config.shown().into_iter().find(|(key, _)| *key == "s3_secret_access_key").unwrap().1
    };
    let file = |text: &str| Layers::default().file(Path::new("hub.toml"), &format!("{s3}{text}")).unwrap();
    assert_eq!(shown(file("s3_secret_access_key = \"hush\"")), "***");
    let aws = |name: &str| match name {
        "AWS_SECRET_ACCESS_KEY" => Some("hush".to_owned()),
        "AWS_ACCESS_KEY_ID" => Some("other".to_owned()),
        "AWS_ENDPOINT_URL" => Some("https://s3.example".to_owned()),
        "AWS_REGION" => Some(String::new()),
        _ => None,
    };
    let layers = file("").env(aws);
    assert_eq!(layers.source("s3_secret_access_key").to_string(), "environment variable AWS_SECRET_ACCESS_KEY");
    let config = layers.build().unwrap();
    // What is said of this hub goes before what is said of all programs, and nothing is no region.
    assert_eq!((config.s3_access_key_id.as_str(), config.s3_region.as_str()), ("id", "us-east-1"));
    assert_eq!(config.s3_endpoint, "https://s3.example");
    assert_eq!(shown(layers), "***");
    assert_eq!(Config::in_dir(Path::new("/d")).unwrap().s3_secret_access_key.reveal(), "");
}

#[test]
fn a_place_in_s3_is_checked_before_anything_is_asked() {
    let key = "s3_access_key_id = \"id\"\ns3_secret_access_key = \"x\"\n";
    let with = |text: &str| format!("{key}{text}");
    assert!(refused("blob_store = \"s3://bucket\"").contains("s3_access_key_id"));
    assert!(refused("blob_store = \"s3://bucket\"\ns3_access_key_id = \"id\"").contains("s3_secret_access_key_path"));
    for place in
        ["s3://", "s3://ab", "s3://a_b/c d", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/x?y", "s3://u@h"]
    {
        assert!(refused(&with(&format!("blob_store = \"{place}\""))).contains("blob_store"), "{place}");
    }
    let at = |endpoint: &str| with(&format!("blob_store = \"s3://bucket\"\ns3_endpoint = \"{endpoint}\""));
    for endpoint in ["s3.example", "ftp://s3.example", "https://s3.example/path", "https://u:p@s3.example", "https://"]
    {
        assert!(refused(&at(endpoint)).contains("is not a URL of the form"), "{endpoint}");
    }
    assert!(refused(&at("http://10.0.0.1:9000")).contains("s3_allow_http"));
    let good = |text: &str| Layers::default().file(Path::new("h"), text).unwrap().build().unwrap();
    for endpoint in
        ["", "https://s3.example:9000", "http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000/"]
    {
        good(&at(endpoint));
    }
    good(&format!("{}\ns3_allow_http = true", at("http://10.0.0.1:9000")));
    good(&with("blob_store = \"s3://bucket/a/b.c/\""));
}
