//! `key`: the organization's own keys.

use allmende_core::statement::KeyClass;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use crate::client::home::Home;

/// Look at and replace keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Show the keys in this folder
    Show(Show),
}

impl Key {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show(command) => command.run(context),
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
