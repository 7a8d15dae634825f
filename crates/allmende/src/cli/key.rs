//! `key`: the organization's own keys.

use std::path::PathBuf;

use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::statement::{KeyClass, KeyDelegated, KeyRevoked, KeyRotated};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::join::{registered, registry, submit};
use super::member::plain_client;
use super::table::Table;
use crate::client::home::sealed::{Effort, Protection};
use crate::client::home::{Home, HomeError, make_key, read_key};

/// Look at and replace keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Show the keys in this folder
    Show(Show),
    /// Replace a key by a new one
    Rotate(Rotate),
    /// Take a key's power away
    Revoke(Revoke),
}

impl Key {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show(command) => command.run(context),
            Self::Rotate(command) => command.run(context).await,
            Self::Revoke(command) => command.run(context).await,
        }
    }
}

/// A key file.
#[derive(Debug, Clone, Serialize)]
pub struct KeyView {
    class: String,
    public: Option<String>,
    encrypted: Option<bool>,
    path: String,
    problem: Option<String>,
}

/// The key files of a folder, present or not.
#[must_use]
pub fn local(home: &Home) -> Vec<KeyView> {
    let view = |class| {
        let file = home.key_file(class);
        KeyView {
            class: ToString::to_string(&class),
            public: file.as_ref().ok().map(|f| f.public.to_string()),
            encrypted: file.as_ref().ok().map(crate::client::home::sealed::KeyFile::is_encrypted),
            path: home.key_path(class).display().to_string(),
            problem: file.err().map(|e| match e {
                // Taking root and recovery keys off the machine is what we ask for.
                crate::client::home::HomeError::NoKey { .. } => "not on this machine".to_owned(),
                other => other.to_string(),
            }),
        }
    };
    [KeyClass::Root, KeyClass::Governance, KeyClass::Recovery, KeyClass::Node].map(view).into()
}

/// The keys as a table.
#[must_use]
pub fn table(keys: &[KeyView]) -> String {
    let mut table = Table::new(&["class", "public key", "protection"]);
    for key in keys {
        let protection = match (&key.problem, key.encrypted) {
            (Some(problem), _) => problem.clone(),
            (None, Some(true)) => "passphrase".to_owned(),
            _ => "file permissions only".to_owned(),
        };
        table.row([key.class.clone(), key.public.clone().unwrap_or_else(|| "–".to_owned()), protection]);
    }
    table.to_string()
}

/// Show the keys in this folder: their public halves and how they are protected.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende key show")]
pub struct Show {}

impl Show {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let keys = local(&context.home()?);
        context.out.result(&keys, || table(&keys))
    }
}

/// A class of key that can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Replaceable {
    /// Replaced by the recovery key, once
    Root,
    /// Replaced by the root key
    Governance,
    /// Replaced by the governance key; the old one is revoked
    Node,
}

/// Replace a key by a new one.
///
/// The old file stays beside the new one. Terms name governance keys: after a rotation, terms in force stay in force, and
/// the next ones must name the new key. The command can be repeated after a break; it goes on where it stopped.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende key rotate governance --key-file /media/safe/root.key")]
pub struct Rotate {
    /// Which
    class: Replaceable,
    /// The file of the key that signs, if it is not in this folder
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Leave the new key unencrypted: for tests and demos only
    #[arg(long)]
    no_passphrase: bool,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

/// Opens the key that signs: a file given, or the one in the folder.
fn signing(context: &Context, home: &Home, class: KeyClass, file: Option<&PathBuf>) -> Result<SecretKey, Failure> {
    let Some(path) = file else { return context.key(home, class) };
    let sealed = read_key(path, class)?;
    let encrypted = sealed.is_encrypted();
    let passphrase = if encrypted { Some(context.passphrase().existing(&context.out, class)?) } else { None };
    Ok(sealed.open(passphrase.as_ref()).map_err(|source| HomeError::Sealed { path: path.clone(), source })?)
}

impl Rotate {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let (class, by) = match self.class {
            Replaceable::Root => (KeyClass::Root, KeyClass::Recovery),
            Replaceable::Governance => (KeyClass::Governance, KeyClass::Root),
            Replaceable::Node => (KeyClass::Node, KeyClass::Governance),
        };
        if !self.yes && !context.out.confirm(&format!("Replace the {class} key of {}?", home.party()))? {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        let log = registry(context, &home, plain_client(context, home.hub()?)?)?;
        log.catch_up().await?;
        // The new key is durable before anybody hears of it; a break leaves it here for the next attempt.
        let staged = home.key_path(class).with_extension("new");
        let new = match read_key(&staged, class) {
            Ok(file) => file.public,
            Err(HomeError::NoKey { .. }) => {
                let plain = self.no_passphrase || class == KeyClass::Node;
                let protection = if plain {
                    Protection::None
                } else {
                    Protection::Passphrase(context.passphrase().new_one(&context.out)?, Effort::default())
                };
                make_key(&staged, class, &protection)?.public()
            }
            Err(error) => return Err(error.into()),
        };
        let old = home.key_file(class).ok().map(|file| file.public);
        let party = registered(&log, home.party())?;
        if !party.holds(class, &new) {
            let sign = || signing(context, &home, by, self.key_file.as_ref());
            if class == KeyClass::Node {
                let body = KeyDelegated { key: new, node: home.settings().node.clone() };
                submit(&home, &log, by, sign()?, body).await?;
            } else {
                submit(&home, &log, by, sign()?, KeyRotated { class, new }).await?;
            }
        }
        if let Some(old) = old.filter(|old| class == KeyClass::Node && party.nodes.contains_key(old)) {
            submit(&home, &log, by, signing(context, &home, by, self.key_file.as_ref())?, KeyRevoked { key: old })
                .await?;
        }
        home.replace_key(class, &staged)?;
        let value = serde_json::json!({ "class": class.code(), "old": old, "new": new });
        context.out.result(&value, || format!("The {class} key of {} is now {new}.", home.party()))
    }
}

/// Take a key's power away, from its place in the log on. A node's key is revoked by the governance key, the governance
/// key by the root key; it then has to be rotated before terms can be signed again.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende key revoke ed25519:3b6a…")]
pub struct Revoke {
    /// The key
    key: PublicKey,
    /// The file of the key that signs, if it is not in this folder
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let log = registry(context, &home, plain_client(context, home.hub()?)?)?;
        log.catch_up().await?;
        let party = registered(&log, home.party())?;
        let by = if party.nodes.contains_key(&self.key) {
            KeyClass::Governance
        } else if party.governance == Some(self.key) {
            KeyClass::Root
        } else {
            return Err(Failure::usage(format!("{} is no node or governance key of {} now", self.key, party.id))
                .code("key.unknown")
                .next("see 'allmende key show', and 'allmende collaboration show' for what the log says"));
        };
        if !self.yes && !context.out.confirm(&format!("Revoke {}? It never comes back.", self.key))? {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        let key = signing(context, &home, by, self.key_file.as_ref())?;
        submit(&home, &log, by, key, KeyRevoked { key: self.key }).await?;
        context.out.result(&serde_json::json!({ "revoked": self.key }), || format!("{} is revoked", self.key))
    }
}
