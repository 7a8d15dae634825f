//! `hub`: what an operator asks of the hub's data, on its own machine.

use clap::{Args, Subcommand};

use super::config::SettingsArgs;
use super::context::Context;
use super::failure::{Exit, Failure};
use super::table::fields;
use crate::blobs::Blobs;
use crate::db::{Db, DbOptions};
use crate::xet::check;

/// Look after the data of a hub, on its own machine.
#[derive(Debug, Subcommand)]
pub enum Hub {
    /// Read every large file and say what is damaged
    Fsck(Fsck),
}

impl Hub {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Fsck(command) => command.run(context).await,
        }
    }
}

/// Read every large file of every repository and say what is damaged, also while the hub runs. It changes nothing. What is
/// said of xorbs that no file cites may belong to uploads that are under way.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende hub fsck --data-dir /srv/allmende")]
pub struct Fsck {
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Fsck {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = self.settings.layers()?.build()?;
        let db = Db::open(&DbOptions::from(&config), context.now()).await.map_err(Failure::internal)?;
        let blobs = Blobs::open(&config.blob_store()).map_err(Failure::internal)?;
        let report = check::check(&db, &blobs).await.map_err(Failure::internal)?;
        db.close().await;
        context.out.result(&report, || {
            let rows = fields([
                ("xorbs", format!("{} with {} bytes", report.xorbs, report.xorb_bytes)),
                ("files", format!("{} with {} bytes", report.files, report.file_bytes)),
                ("cited by no file", format!("{} xorbs with {} bytes", report.uncited, report.uncited_bytes)),
                ("damaged", report.findings.len().to_string()),
            ]);
            report.findings.iter().fold(rows, |text, finding| text + finding + "\n")
        })?;
        if report.findings.is_empty() {
            return Ok(());
        }
        let text = format!("{} things are damaged", report.findings.len());
        Err(Failure::new(Exit::Wrong, text).code("hub.damaged").next("bring the files back from where they came from"))
    }
}
