//! `config show`: the hub's settings and where each comes from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use crate::config::{Flags, Layers, SETTINGS};

/// Where a hub's settings are given.
#[derive(Debug, Clone, Args)]
pub struct SettingsArgs {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE", env = "ALLMENDE_CONFIG", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// One flag for each setting.
    #[command(flatten)]
    flags: Flags,
}

impl SettingsArgs {
    /// All layers: file, environment, flags.
    ///
    /// # Errors
    /// When the file is not readable or names an unknown setting.
    pub fn layers(&self) -> Result<Layers, Failure> {
        let mut layers = Layers::default();
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
            layers = layers.file(path, &text)?;
        }
        Ok(layers.env(|name| std::env::var(name).ok()).flags(&self.flags))
    }
}

/// Look at the hub's settings.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Show every setting of a hub, its value and where that comes from
    Show(Show),
}

impl Config {
    /// Runs the command.
    ///
    /// # Errors
    /// When a setting is wrong.
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show(command) => command.run(context),
        }
    }
}

/// Show every setting of a hub, its value and where that comes from. Secrets are blanked.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende config show --config hub.toml\n  ALLMENDE_LISTEN=0.0.0.0:8440 allmende config show"
)]
pub struct Show {
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Serialize)]
struct Shown {
    key: &'static str,
    value: String,
    source: String,
    doc: &'static str,
}

impl Show {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let layers = self.settings.layers()?;
        let config = layers.build()?;
        let shown = config.shown().into_iter().map(|(key, value)| Shown {
            key,
            value,
            source: layers.source(key).to_string(),
            doc: SETTINGS.iter().find(|s| s.key == key).map_or("", |s| s.doc.trim()),
        });
        let shown: Vec<_> = shown.collect();
        context.out.result(&shown, || {
            let mut table = Table::new(&["setting", "value", "from"]);
            for setting in &shown {
                table.row([setting.key, &setting.value, &setting.source]);
            }
            table.to_string()
        })
    }
}
