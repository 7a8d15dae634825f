//! `ledger key`: the key by which others verify a log.

use allmende_core::ledger::verifier::{Role, VerifierKey};
use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::member::{choose, reading_client};
use super::table::fields;
use crate::client::routes::LogName;
use crate::client::submit::origin_of;

/// Show the key of a log, for witnesses outside and other tools.
///
/// It names the log's origin and the hub's key, as this folder pinned it.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende ledger key --collaboration handwriting\n  allmende ledger key --hub")]
pub struct LogKey {
    /// The hub's own log of parties and keys
    #[arg(long)]
    hub: bool,
}

impl LogKey {
    /// Runs the command.
    ///
    /// # Errors
    /// When the folder has joined no hub, or nothing says which collaboration.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let log = if self.hub {
            LogName::Hub
        } else {
            LogName::Collaboration(choose(context, &home, &reading_client(context, &home)?).await?)
        };
        let hub = home.hub()?;
        let key = VerifierKey { name: origin_of(&hub.name, &log)?, key: hub.key, role: Role::Log };
        let shown = serde_json::json!({ "verifier_key": key.to_string(), "origin": key.name, "key": key.key });
        context.out.result(&shown, || fields([("log", key.name.to_string()), ("verifier key", key.to_string())]))
    }
}
