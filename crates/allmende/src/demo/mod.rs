//! The demonstration: one whole collaboration on this machine, with real processes, keys, sockets and data.
//!
//! One hub and three nodes run as processes of their own; each organization has its own folder with its own keys. Every
//! step is a command that a person could have typed, and is shown as such. Only the pooled training at the end looks into
//! all organizations' files: the terms forbid it, and only the demonstration holds all of them.

mod case;
pub mod cheat;
mod pooled;
mod report;
mod stage;
mod story;

use std::path::PathBuf;

pub use case::Case;
pub use report::Report;
pub use stage::{Failed, Stage};

/// How the demonstration speaks. The command line implements it; the library writes nowhere.
pub trait Narrator: Send + Sync {
    /// A new act begins.
    fn act(&self, title: &str);
    /// Somebody runs a command.
    fn command(&self, party: &str, line: &str);
    /// What came of it.
    fn tell(&self, text: &str);
    /// Long work is so far; `total` of 0 means unknown.
    fn progress(&self, done: u64, total: u64, what: &str);
}

/// What to play.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which data and network.
    pub case: Case,
    /// Seeds splits, initialization and shuffling: the same seed gives the same model and amounts on the same build.
    pub seed: u64,
    /// Leave everything running afterwards.
    pub keep: bool,
    /// Where to play; a new temporary folder if none.
    pub dir: Option<PathBuf>,
    /// The hub's database; SQLite in its folder if none.
    pub database_url: Option<String>,
    /// The program to run as hub, nodes and commands.
    pub program: PathBuf,
}

/// Plays the collaboration.
///
/// # Errors
/// [`Failed`] says which step went wrong and how.
pub async fn play(options: &Options, narrator: &dyn Narrator) -> Result<Report, Failed> {
    let mut stage = Stage::set(options, narrator).await?;
    let played = story::play(&mut stage, options).await;
    match played {
        Ok(report) if options.keep => {
            stage.leave_running();
            Ok(report)
        }
        other => {
            stage.clear().await;
            other
        }
    }
}
