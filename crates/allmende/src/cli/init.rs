//! `init` and `whoami`: an organization's folder.

use std::path::PathBuf;

use allmende_core::id::{Label, PartyId};
use allmende_core::statement::KeyClass;
use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::table::fields;
use crate::client::home::sealed::{Effort, Protection};
use crate::client::home::{Home, MadeKeys, PartyFile};

/// Make an organization's folder and keys.
///
/// Four keys are made. The root key replaces the others and belongs offline once you have joined; the recovery key
/// replaces a lost root key and belongs in another safe; the governance key signs terms, votes, releases and payouts; the
/// node key is narrow, revocable and lies unencrypted, so that a node can start by itself. Nothing is ever overwritten.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende init --party north --hub https://hub.example:8440")]
pub struct Init {
    /// The organization's name on the hub: 1 to 40 of a-z, 0-9 and '-'
    #[arg(long, value_name = "NAME")]
    party: PartyId,
    /// The hub you are going to join; 'join' can name it too
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// The name of the node on this machine
    #[arg(long, value_name = "NAME", default_value = "node-1")]
    node: Label,
    /// Leave all keys unencrypted: for tests and demos only
    #[arg(long)]
    no_passphrase: bool,
}

#[derive(Serialize)]
struct Made<'a> {
    party: &'a PartyId,
    home: PathBuf,
    keys: MadeKeys,
}

impl Init {
    /// Runs the command.
    ///
    /// # Errors
    /// When the folder exists or cannot be made.
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let out = &context.out;
        let dir = context.home_dir()?;
        // Asked before a passphrase is, so that nobody types one in vain.
        if Home::open(&dir).is_ok() {
            return Err(crate::client::home::HomeError::Exists { path: dir.join("party.toml") }.into());
        }
        let protection = if self.no_passphrase {
            out.warn(
                "the keys are not encrypted: anybody who reads these files can sign for you. Use this for tests only",
            );
            Protection::None
        } else {
            Protection::Passphrase(context.passphrase().new_one(out)?, Effort::default())
        };
        let (home, keys) = Home::create(&dir, PartyFile::new(self.party, self.node, self.hub), &protection)?;
        out.result(&Made { party: home.party(), home: dir, keys }, || {
            let mut text = fields([
                ("party", home.party().to_string()),
                ("folder", home.dir().display().to_string()),
                ("root key", keys.root.to_string()),
                ("governance key", keys.governance.to_string()),
                ("recovery key", keys.recovery.to_string()),
                ("node key", keys.node.to_string()),
            ]);
            text.push_str(&format!(
                "\nNext: allmende join URL --hub-key ed25519:…   (the hub's operator tells you both)\n\
                 After that, move {} and {} to two safe places off this machine.\n",
                home.key_path(KeyClass::Root).display(),
                home.key_path(KeyClass::Recovery).display()
            ));
            text
        })
    }
}

/// Show who this folder belongs to, its hub and its keys.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende whoami --json")]
pub struct Whoami {}

#[derive(Serialize)]
struct Identity {
    party: String,
    home: PathBuf,
    node: String,
    hub: Option<crate::client::home::HubPin>,
    keys: Vec<super::key::KeyView>,
}

impl Whoami {
    /// Runs the command.
    ///
    /// # Errors
    /// When there is no organization here.
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let identity = Identity {
            party: home.party().to_string(),
            home: home.dir().to_owned(),
            node: home.settings().node.to_string(),
            hub: home.hub().ok().cloned(),
            keys: super::key::local(&home),
        };
        context.out.result(&identity, || {
            let hub = identity.hub.as_ref();
            let mut text = fields([
                ("party", identity.party.clone()),
                ("folder", identity.home.display().to_string()),
                ("node", identity.node.clone()),
                ("hub", hub.map_or("none joined yet".to_owned(), |hub| hub.url.clone())),
                ("hub key", hub.map_or("–".to_owned(), |hub| hub.key.to_string())),
            ]);
            text.push('\n');
            text.push_str(&super::key::table(&identity.keys));
            text
        })
    }
}
