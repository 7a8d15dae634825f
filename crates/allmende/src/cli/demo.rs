//! `demo`: the whole story on this machine.

use std::path::PathBuf;
use std::sync::Mutex;

use clap::Args;
use indicatif::ProgressBar;

use super::context::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use crate::demo::{Case, Failed, Narrator, Options, cheat, play};

/// Play one whole collaboration on this machine: three organizations, one hub, real keys, real data.
///
/// Every step is a command that you could have typed yourself, and is shown as such.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende demo --keep\n  allmende demo clinic\n  allmende demo cheat")]
pub struct Demo {
    /// What is played: 'cheat' is the digits with a dishonest operator and a dishonest member [default: digits]
    #[arg(value_parser = ["digits", "clinic", "cheat"])]
    case: Option<String>,
    /// The same seed gives the same model and amounts on the same build
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave everything running afterwards, and say how to look around
    #[arg(long)]
    keep: bool,
    /// Play in this new folder instead of a temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// An empty database for the hub, such as postgres://user@host/database [default: SQLite in its folder]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

impl Demo {
    /// Runs the command.
    ///
    /// # Errors
    /// When a step of the story fails.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let case = if self.case.as_deref() == Some("clinic") { Case::Clinic } else { Case::Digits };
        let program = std::env::current_exe().map_err(Failure::internal)?;
        let options =
            Options { case, seed: self.seed, keep: self.keep, dir: self.dir, database_url: self.database_url, program };
        let teller = Teller { out: context.out, bar: Mutex::new(None) };
        if self.case.as_deref() == Some("cheat") {
            let report = cheat::play(&options, &teller).await?;
            teller.clear();
            context.out.result(&report, || report.tables())?;
            let missed: Vec<&str> = report.attempts.iter().filter(|a| !a.caught).map(|a| a.name).collect();
            if report.all_caught() {
                return Ok(());
            }
            return Err(Failure::new(Exit::Failure, format!("not caught: {}", missed.join(", "))).code("demo.missed"));
        }
        let report = play(&options, &teller).await?;
        teller.clear();
        let around = if options.keep { report.around() } else { String::new() };
        context.out.result(&report, || report.tables() + &around)
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::new(Exit::Failure, failed.to_string())
            .code("demo")
            .next("run it again with --dir DIR and look at the logs in there")
    }
}

/// Tells the story on standard error.
struct Teller {
    out: Output,
    bar: Mutex<Option<ProgressBar>>,
}

impl Teller {
    fn clear(&self) {
        let bar = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

impl Narrator for Teller {
    fn act(&self, title: &str) {
        self.clear();
        self.out.heading(&format!("\n{title}"));
    }

    fn command(&self, party: &str, line: &str) {
        self.clear();
        self.out.note(&format!("  {party:>5} $ {line}"));
    }

    fn tell(&self, text: &str) {
        self.clear();
        self.out.note(&format!("        {text}"));
    }

    fn progress(&self, done: u64, total: u64, what: &str) {
        let mut bar = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| self.out.bar(what, total));
        bar.set_length(total);
        bar.set_position(done);
    }
}
