//! `invitation`: who may register on a hub. For its operator, on the hub's own machine.

use allmende_core::id::PartyId;
use allmende_core::time::Timestamp;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::config::SettingsArgs;
use super::context::Context;
use super::failure::Failure;
use super::table::{Table, fields};
use super::words::parse_duration_ms;
use crate::db::{Db, DbError, DbOptions};
use crate::invitations::{self, InvitationError, NewInvitation};
use crate::{keyfile, transaction};

/// Say who may register on a hub, on its own machine.
#[derive(Debug, Subcommand)]
pub enum Invitation {
    /// Make a code with which an organization may join; it is shown once
    Create(Create),
    /// List the invitations
    List(List),
    /// Revoke an invitation
    Revoke(Revoke),
}

impl Invitation {
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

/// The database of the hub that the settings name, which has to be there.
pub(super) async fn database(settings: &SettingsArgs, context: &Context) -> Result<Db, Failure> {
    let config = settings.layers()?.build()?;
    if keyfile::load(&config.hub_key_path())?.is_none() {
        return Err(Failure::usage(format!("{} is no hub's folder: it has no hub.key", config.data_dir.display()))
            .code("hub.missing")
            .next("run this where the hub runs, with its --data-dir and --database-url"));
    }
    Db::open(&DbOptions::from(&config), context.now()).await.map_err(Failure::internal)
}

impl From<InvitationError> for Failure {
    fn from(error: InvitationError) -> Self {
        match error {
            InvitationError::Bounds(_) => Self::usage(error.to_string()).code("invitation.bounds"),
            error => Self::internal(error),
        }
    }
}

/// Make a code with which an organization may join. It is shown once; the hub keeps only its hash.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende invitation create --party north --valid-for 7d --data-dir /srv/allmende"
)]
pub struct Create {
    /// The only party that may use it [default: whoever has it]
    #[arg(long, value_name = "NAME")]
    party: Option<PartyId>,
    /// How long it is good, such as 12h or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ms, default_value = "7d")]
    valid_for: u64,
    /// How many parties may use it
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    uses: u64,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Serialize)]
struct Made {
    code: String,
    id: String,
    party: Option<PartyId>,
    uses: u64,
    expires_at: Timestamp,
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let db = database(&self.settings, context).await?;
        let now = context.now();
        let expires_at = now.plus_ms(i64::try_from(self.valid_for).unwrap_or(i64::MAX));
        let new = NewInvitation { party: self.party, uses: self.uses, expires_at };
        let made: Result<_, InvitationError> = transaction!(db, tx => { invitations::create(tx, &new, now).await });
        let (id, code) = made?;
        db.close().await;
        let made = Made { code: code.secret().to_owned(), id, party: new.party, uses: new.uses, expires_at };
        context.out.result(&made, || {
            fields([
                ("invitation", made.code.clone()),
                ("id", made.id.clone()),
                ("for", made.party.as_ref().map_or("whoever has it".to_owned(), ToString::to_string)),
                ("uses", made.uses.to_string()),
                ("until", made.expires_at.to_string()),
            ]) + "\nIt is not shown again. Its holder adds '--invitation CODE' to the line that 'allmende serve' prints.\n"
        })
    }
}

/// List the invitations of a hub: who may use them, and who has.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende invitation list --data-dir /srv/allmende")]
pub struct List {
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    party: Option<PartyId>,
    uses: u64,
    used_by: Vec<PartyId>,
    created_at: Timestamp,
    expires_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let db = database(&self.settings, context).await?;
        let found = async { invitations::list(&mut *db.read().await?).await }.await.map_err(Failure::internal)?;
        db.close().await;
        let listed = |i: invitations::Invitation| Listed {
            id: i.id,
            party: i.party,
            uses: i.uses,
            used_by: i.used_by,
            created_at: i.created_at,
            expires_at: i.expires_at,
            revoked_at: i.revoked_at,
        };
        let found: Vec<_> = found.into_iter().map(listed).collect();
        context.out.result(&found, || {
            let mut table = Table::new(&["id", "for", "used", "by", "state"]);
            for i in &found {
                let state = match i.revoked_at {
                    Some(at) => format!("revoked {at}"),
                    None if i.used_by.len() as u64 >= i.uses => "used up".to_owned(),
                    None if i.expires_at <= context.now() => "over".to_owned(),
                    None => format!("until {}", i.expires_at),
                };
                let by: Vec<_> = i.used_by.iter().map(PartyId::as_str).collect();
                table.row([
                    i.id.clone(),
                    i.party.as_ref().map_or("anyone".to_owned(), ToString::to_string),
                    format!("{} of {}", by.len(), i.uses),
                    by.join(", "),
                    state,
                ]);
            }
            table.render_or("no invitations")
        })
    }
}

/// Revoke an invitation at once. Parties that have used it stay.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende invitation revoke 3f2a90c14b77 --data-dir /srv/allmende")]
pub struct Revoke {
    /// Its id
    id: String,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let db = database(&self.settings, context).await?;
        let now = context.now();
        let revoked: Result<bool, DbError> = transaction!(db, tx => { invitations::revoke(tx, &self.id, now).await });
        let revoked = revoked.map_err(Failure::internal)?;
        db.close().await;
        if !revoked {
            return Err(Failure::usage(format!("there is no open invitation '{}'", self.id))
                .next("see 'allmende invitation list'"));
        }
        context.out.result(&serde_json::json!({ "revoked": self.id }), || format!("invitation {} is revoked", self.id))
    }
}
