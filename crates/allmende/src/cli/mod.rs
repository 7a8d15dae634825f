//! The command line: one file per group of commands.
//!
//! Each command parses its arguments, asks the library, and hands a value to [`output`]: a person reads it as text, a
//! program as JSON with `--json`. What a member reads of a collaboration is computed here from its own verified copy of
//! the log, never from what the hub claims.
//!
//! Architecture invariant: only this module reads the terminal, the environment and the home folder, and only [`output`]
//! writes to the terminal.

use std::path::PathBuf;
use std::process::ExitCode;

use allmende_core::id::CollaborationId;
use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand};

mod account;
pub mod agreement;
pub mod agreement_diff;
pub mod agreement_draft;
pub mod asset;
pub mod backup;
pub mod bundle;
pub mod collaboration;
pub mod config;
pub mod context;
pub mod decision;
pub mod demo;
mod device;
pub mod failure;
pub mod hub;
pub mod init;
pub mod invitation;
pub mod join;
pub mod key;
pub mod ledger;
pub mod log_key;
pub mod member;
pub mod mirror;
pub mod model;
pub mod node;
pub mod output;
pub mod passphrase;
pub mod plan;
mod quota;
pub mod reference;
mod reindex;
pub mod repository;
pub mod run;
pub mod serve;
pub mod settle;
pub mod table;
pub mod token;
pub mod witness;
pub mod words;

use context::Context;
use failure::{Exit, Failure};
use output::Output;

/// Organizations build AI models together under terms they all signed: hub, node and command line in one program.
#[derive(Debug, Parser)]
#[command(name = "allmende", version, propagate_version = true, after_long_help = Exit::help())]
#[command(after_help = "'allmende help COMMAND' shows an example of each command.")]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The organization's folder: its keys, settings and verified copies of logs [default: ~/.allmende]
    #[arg(long, global = true, value_name = "DIR", env = "ALLMENDE_HOME")]
    pub home: Option<PathBuf>,
    /// The collaboration; not needed while there is only one
    #[arg(long, short, global = true, value_name = "NAME", env = "ALLMENDE_COLLABORATION")]
    pub collaboration: Option<CollaborationId>,
    /// A file whose first line is the passphrase of the keys; without it $ALLMENDE_PASSPHRASE, or a question
    #[arg(long, global = true, value_name = "FILE", env = "ALLMENDE_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// The result as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress and no notes on standard error
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// No colours; NO_COLOR does the same
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    pub no_color: bool,
}

/// All commands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value per process")]
pub enum Command {
    /// Run a hub
    Serve(serve::Serve),
    /// Make an organization's folder and keys
    Init(init::Init),
    /// Join a hub: pin its keys, register the organization
    Join(join::Join),
    /// Show who this folder belongs to
    Whoami(init::Whoami),
    /// Look at and replace keys
    #[command(subcommand)]
    Key(key::Key),
    /// Found, join and look at collaborations
    #[command(subcommand)]
    Collaboration(collaboration::Collaboration),
    /// Put matters to the members, and vote
    #[command(subcommand)]
    Decision(decision::Decision),
    /// Draft, propose, sign and read terms
    #[command(subcommand)]
    Agreement(agreement::Agreement),
    /// Offer, list and fetch assets
    #[command(subcommand)]
    Asset(asset::Asset),
    /// Put repositories under the terms, carry them from hub to hub
    #[command(subcommand)]
    Repository(repository::Repository),
    /// Run this member's node, and look at what it does
    #[command(subcommand)]
    Node(node::Node),
    /// Propose, approve and follow runs
    #[command(subcommand)]
    Run(run::Run),
    /// Publish models
    #[command(subcommand)]
    Model(model::Model),
    /// Classify rows with a released model
    Predict(model::Predict),
    /// Show who gave what
    #[command(subcommand)]
    Contribution(settle::Contribution),
    /// Divide money by the contributions to a run
    Settle(settle::Settle),
    /// Check a log, and prove its entries
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Run a witness for logs of others
    #[command(subcommand)]
    Witness(witness::Witness),
    /// Make, list and revoke tokens for other programs
    #[command(subcommand)]
    Token(token::Token),
    /// Say who may register on a hub, on its own machine
    #[command(subcommand)]
    Invitation(invitation::Invitation),
    /// Manage people and organizations that own repositories, on the hub's own machine
    #[command(subcommand)]
    Account(account::Account),
    /// Let a device sign in that shows a code, on the hub's own machine
    #[command(subcommand)]
    Device(device::Device),
    /// Look after the data of a hub
    #[command(subcommand)]
    Hub(hub::Hub),
    /// Back up a hub into one encrypted file
    Backup(backup::Backup),
    /// Restore a hub from a backup
    Restore(backup::Restore),
    /// Play one whole collaboration on this machine
    Demo(demo::Demo),
    /// Look at the hub's settings
    #[command(subcommand)]
    Config(config::Config),
    /// Write completions for a shell
    Completions(reference::Completions),
    /// Write the reference of all commands as Markdown
    #[command(hide = true)]
    Reference(reference::Reference),
}

impl Command {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Serve(command) => command.run(context).await,
            Self::Init(command) => command.run(context),
            Self::Join(command) => command.run(context).await,
            Self::Collaboration(command) => command.run(context).await,
            Self::Decision(command) => command.run(context).await,
            Self::Agreement(command) => command.run(context).await,
            Self::Run(command) => command.run(context).await,
            Self::Asset(command) => command.run(context).await,
            Self::Repository(command) => command.run(context).await,
            Self::Node(command) => command.run(context).await,
            Self::Model(command) => command.run(context).await,
            Self::Predict(command) => command.run(context).await,
            Self::Contribution(command) => command.run(context).await,
            Self::Settle(command) => command.run(context).await,
            Self::Ledger(command) => command.run(context).await,
            Self::Token(command) => command.run(context).await,
            Self::Invitation(command) => command.run(context).await,
            Self::Account(command) => command.run(context).await,
            Self::Device(command) => command.run(context).await,
            Self::Hub(command) => command.run(context).await,
            Self::Witness(command) => command.run(context).await,
            Self::Backup(command) => command.run(context).await,
            Self::Restore(command) => command.run(context).await,
            Self::Demo(command) => command.run(context).await,
            Self::Whoami(command) => command.run(context),
            Self::Key(command) => command.run(context).await,
            Self::Config(command) => command.run(context),
            Self::Completions(command) => command.run(context),
            Self::Reference(command) => command.run(context),
        }
    }
}

/// The definition of all commands, for help, completions and the reference.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; anything else is a mistake on the command line. clap uses 2 for that too.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return ExitCode::from(exit.code());
        }
    };
    let no_color = cli.global.no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let out = Output::new(cli.global.json, cli.global.quiet, no_color);
    match run(cli, out) {
        Ok(()) => ExitCode::from(Exit::Ok.code()),
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

fn run(cli: Cli, out: Output) -> Result<(), Failure> {
    let context = Context::new(cli.global, out);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::internal)?;
    // Long-running commands stop by themselves on Ctrl-C and end well.
    let graceful = matches!(
        cli.command,
        Command::Serve(_) | Command::Node(node::Node::Run(_)) | Command::Witness(witness::Witness::Run(_))
    );
    runtime.block_on(async {
        let work = cli.command.run(&context);
        if graceful {
            return work.await;
        }
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        }
    })
}
