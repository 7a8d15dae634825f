//! A hub that registers parties by invitation, and those who come to its door.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::crash::process::{HubProcess, program};
use crate::crash::world::{client, hub_name};

struct Door {
    dir: tempfile::TempDir,
    hub: HubProcess,
    key: String,
}

impl Door {
    fn run(&self, args: &[&str]) -> (i32, Value) {
        let mut all = vec!["--json"];
        all.extend(args);
        let mut command = program(&all, &self.dir.path().join("commands.log"));
        let output = command.stdout(Stdio::piped()).output().unwrap();
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }

    fn invitation(&self, args: &[&str]) -> Value {
        let data_dir = self.hub.dir.display().to_string();
        let (code, value) = self.run(&[&["invitation"], args, &["--data-dir", &data_dir]].concat());
        assert_eq!(code, 0, "{args:?}: {value}");
        value
    }

    fn home(&self, party: &str) -> String {
        let home = self.dir.path().join(party).display().to_string();
        if !Path::new(&home).exists() {
            assert_eq!(self.run(&["--home", &home, "init", "--party", party, "--no-passphrase"]).0, 0);
        }
        home
    }

    fn join(&self, party: &str, invitation: Option<&str>) -> (i32, Value) {
        let (home, url) = (self.home(party), self.hub.url());
        let mut args = vec!["--home", &home, "join", &url, "--hub-key", &self.key];
        args.extend(invitation.into_iter().flat_map(|code| ["--invitation", code]));
        self.run(&args)
    }

    fn refused(&self, party: &str, invitation: Option<&str>, code: &str) -> Value {
        let (exit, said) = self.join(party, invitation);
        assert_eq!((exit, said["error"]["code"].as_str()), (3, Some(code)), "{said}");
        said["error"].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_party_comes_in_with_a_code_and_needs_none_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = HubProcess::new(dir.path()).with(&["--registration", "invited"]);
    hub.start(None);
    let anybody = allmende::client::http::HubClient::connect(
        &hub.url(),
        &allmende::tls::Trust::System,
        None,
        allmende::clock::Clock::system(),
    );
    let key = anybody.unwrap().hub().await.unwrap().key;
    let door = Door { dir, hub, key: key.to_string() };

    let said = door.refused("north", None, "invitation_needed");
    let next = said["next"].as_str().unwrap();
    assert!(next.contains("operator") && next.contains("--invitation"), "{next}");
    door.refused("north", Some("inv_00000000000000000000000000000000"), "invitation_refused");
    let made = door.invitation(&["create", "--party", "north"]);
    let code = made["code"].as_str().unwrap();
    door.refused("east", Some(code), "invitation_refused");
    let (exit, joined) = door.join("north", Some(code));
    assert_eq!((exit, joined["registered"].as_bool()), (0, Some(true)), "{joined}");
    assert_eq!(door.join("north", None).0, 0, "who is registered already needs none");
    assert_eq!(
        door.run(&["--home", &door.home("north"), "key", "rotate", "governance", "--no-passphrase", "--yes"]).0,
        0,
        "nor do new keys"
    );
    let listed = door.invitation(&["list"]);
    assert_eq!((listed[0]["id"].as_str(), &listed[0]["used_by"][0]), (made["id"].as_str(), &Value::from("north")));

    // No other door leads in.
    let east = allmende::client::home::Home::open(Path::new(&door.home("east"))).unwrap();
    let registry = allmende::client::submit::RemoteLog::in_memory(
        std::sync::Arc::new(client(&door.hub.url(), key)),
        &hub_name(),
        &allmende::client::routes::LogName::Hub,
    );
    let registry = registry.unwrap();
    registry.catch_up().await.unwrap();
    let secret = |class| {
        east.key(class, || Err(allmende::client::home::HomeError::NotJoined { party: "east".parse().unwrap() }))
            .unwrap()
    };
    use allmende_core::statement::{KeyClass, PartyRegistered};
    let (root, governance) = (secret(KeyClass::Root), secret(KeyClass::Governance));
    let body = PartyRegistered {
        party: "east".parse().unwrap(),
        root: root.public(),
        governance: governance.public(),
        recovery: None,
    };
    let signer = allmende::client::http::Signer {
        party: "east".parse().unwrap(),
        class: KeyClass::Root,
        key: std::sync::Arc::new(root),
    };
    use allmende::client::submit::Route;
    let through_keys = registry.submit_by(Route::Key, &signer, &body.into(), None).await.unwrap_err();
    assert_eq!(through_keys.code(), "unprocessable", "{through_keys}");

    let open = door.invitation(&["create", "--uses", "2", "--valid-for", "1h"]);
    let (id, code) = (open["id"].as_str().unwrap(), open["code"].as_str().unwrap());
    assert_eq!(door.join("east", Some(code)).0, 0);
    door.invitation(&["revoke", id]);
    door.refused("west", Some(code), "invitation_refused");
    let elsewhere = door.dir.path().display().to_string();
    let (exit, said) = door.run(&["invitation", "list", "--data-dir", &elsewhere]);
    assert_eq!((exit, said["error"]["code"].as_str()), (2, Some("hub.missing")), "{said}");
    assert!(!door.dir.path().join("hub.db").exists(), "no database is made by asking");
}
