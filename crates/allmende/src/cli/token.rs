//! `token`: bearer tokens for other programs. A token can read and upload; it can never sign, vote or release.

use std::sync::Arc;

use allmende_core::statement::KeyClass;
use allmende_core::time::Timestamp;
use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::{Exit, Failure};
use super::member::{plain_client, reading_client};
use super::table::{Table, fields};
use super::words::parse_duration_ms;
use crate::auth::Scopes;
use crate::client::http::Signer;

/// Make, list and revoke tokens for other programs.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; it is shown once
    Create(Create),
    /// List your party's tokens
    List(List),
    /// Revoke a token
    Revoke(Revoke),
}

impl Token {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Revoke(command) => command.run(context).await,
        }
    }
}

/// Make a token for another program. It is shown once; the hub keeps only its hash.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende token create --label dashboard --scopes read --lifetime 30d")]
pub struct Create {
    /// For you to recognize it
    #[arg(long)]
    label: String,
    /// What it may do: read, write
    #[arg(long, value_name = "SCOPE,…", default_value = "read")]
    scopes: String,
    /// How long it lives, such as 12h or 30d [default: as the hub says]
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ms)]
    lifetime: Option<u64>,
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let scopes = Scopes::parse(&self.scopes.replace(',', " "))
            .ok_or_else(|| Failure::usage(format!("--scopes {:?} is read, write, or both", self.scopes)))?;
        let lifetime_s = i64::try_from(self.lifetime.unwrap_or(0).div_ceil(1_000)).unwrap_or(i64::MAX);
        let home = context.home()?;
        let key = Arc::new(context.key(&home, KeyClass::Governance)?);
        let signer = Signer { party: home.party().clone(), class: KeyClass::Governance, key };
        let hub = plain_client(context, home.hub()?)?.signed_in_as(signer);
        let made = hub.issue_token(&self.label, lifetime_s, scopes).await?;
        context.out.result(&made, || {
            fields([
                ("token", made.token.clone()),
                ("id", made.id.clone()),
                ("may", made.scopes.clone()),
                ("until", Timestamp(made.expires_at).to_string()),
            ]) + "\nIt is not shown again.\n"
        })
    }
}

/// List your party's tokens, sign-ins of nodes and commands included.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende token list")]
pub struct List {}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let tokens = reading_client(context, &home)?.tokens().await?;
        context.out.result(&tokens, || {
            let mut table = Table::new(&["id", "label", "may", "made", "state"]);
            for t in &tokens {
                let state = match t.revoked_at {
                    Some(at) => format!("revoked {}", Timestamp(at)),
                    None if t.expires_at <= context.now().0 => "over".to_owned(),
                    None => format!("until {}", Timestamp(t.expires_at)),
                };
                table.row([
                    t.id.clone(),
                    t.label.clone(),
                    t.scopes.clone(),
                    Timestamp(t.created_at).to_string(),
                    state,
                ]);
            }
            table.render_or("no tokens")
        })
    }
}

/// Revoke a token at once.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende token revoke 7f3a9c")]
pub struct Revoke {
    /// Its id
    id: String,
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let done = reading_client(context, &home)?.revoke_token(&self.id).await;
        done.map_err(|error| match error.status() {
            Some(404) => {
                Failure::new(Exit::Usage, format!("you have no token '{}'", self.id)).next("see 'allmende token list'")
            }
            _ => error.into(),
        })?;
        context.out.result(&serde_json::json!({ "revoked": self.id }), || format!("token {} is revoked", self.id))
    }
}
