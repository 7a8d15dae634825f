//! `hub`: what an operator asks of the hub's data, on its own machine.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::config::SettingsArgs;
use super::context::Context;
use super::failure::{Exit, Failure};
use super::table::{Table, fields};
use crate::blobs::Blobs;
use crate::db::{Db, DbOptions};
use crate::git::Git;
use crate::repo::RepoError;
use crate::xet::XetError;
use crate::xet::check;
use crate::xet::collect::{self, How, Place};

pub use super::reindex::Reindex;

/// Look after the data of a hub, on its own machine.
#[derive(Debug, Subcommand)]
pub enum Hub {
    /// Read every large file and say what is damaged
    Fsck(Fsck),
    /// Remove large files, and parts of them, that nothing needs
    Gc(Gc),
    /// Write anew what the database says of histories and git says too
    Reindex(Reindex),
}

impl Hub {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Fsck(command) => command.run(context).await,
            Self::Gc(command) => command.run(context).await,
            Self::Reindex(command) => command.run(context).await,
        }
    }
}

/// Remove large files, and parts of them, that nothing needs, also while the hub runs, which does the same once a day. A file
/// is needed while a commit that any branch, tag or pull request leads to cites it. What nothing needs is noted first, and
/// goes when it was not needed for `gc_min_age_s`.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende hub gc --dry-run --data-dir /srv/allmende")]
pub struct Gc {
    /// Only say what would go, and why
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Gc {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = self.settings.layers()?.build()?;
        let db = Db::open(&DbOptions::from(&config), context.now()).await.map_err(Failure::internal)?;
        let blobs = Blobs::of(&config).await.map_err(Failure::internal)?;
        let git = Git::open(&config.git_dir()).await.map_err(Failure::internal)?;
        let place = Place { db: &db, blobs: &blobs, git: &git };
        let min_age = Duration::from_secs(config.gc_min_age_s);
        let how = How { min_age, dry_run: self.dry_run, now: &|| context.now() };
        let report = collect::collect(place, how).await;
        db.close().await;
        let report = report.map_err(|error| match error {
            XetError::Repo(RepoError::Invalid(why)) => {
                Failure::usage(why).code("hub.other").next("give the hub's --database-url, or its --config")
            }
            error => Failure::internal(error),
        })?;
        context.out.result(&report, || {
            let mut text = String::new();
            for (title, items) in
                [(if self.dry_run { "would go" } else { "gone" }, &report.items), ("later", &report.later)]
            {
                if !items.is_empty() {
                    let mut table = Table::new(&[title, "name", "of", ">bytes", "why", "since"]);
                    for i in items {
                        let since = i.since.map_or_else(String::new, |at| at.to_string());
                        let (kind, why) = (i.kind.to_owned(), i.why.to_owned());
                        table.row([kind, i.name.clone(), i.of.clone(), i.bytes.to_string(), why, since]);
                    }
                    text += &format!("{table}\n");
                }
            }
            let sum = |sum: collect::Sum| format!("{} with {} bytes on disk", sum.count, sum.bytes);
            text += &fields([
                (if self.dry_run { "would go" } else { "removed" }, sum(report.removed)),
                ("not needed, but not for long enough", sum(report.waiting)),
            ]);
            report.skipped.iter().fold(text, |text, skipped| text + "left alone: " + skipped + "\n")
        })?;
        all_looked_through(&report.skipped)
    }
}

/// Fails for repositories that could not be looked through.
pub(super) fn all_looked_through(skipped: &[String]) -> Result<(), Failure> {
    if skipped.is_empty() {
        return Ok(());
    }
    let text = format!("{} repositories cannot be looked through", skipped.len());
    Err(Failure::new(Exit::Wrong, text).code("hub.damaged").next("look at them with git; nothing of them was touched"))
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
        let blobs = Blobs::of(&config).await.map_err(Failure::internal)?;
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
