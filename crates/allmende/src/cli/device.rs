//! `device`: who waits to sign in with a code, as `hf auth login` does. For the hub's operator, on the hub's own machine;
//! people who are signed in to the console use its page `/console/device`.

use allmende_core::time::Timestamp;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::account::named;
use super::config::SettingsArgs;
use super::context::Context;
use super::failure::Failure;
use super::invitation::database;
use super::table::fields;
use super::words::parse_duration_ms;
use crate::account::device::{self, DeviceError, Key, Loan, UserCode, Waiting};
use crate::account::{Kind, Rights};
use crate::db::Db;
use crate::{keyfile, transaction};

/// Let a device sign in that shows a code, on the hub's own machine.
#[derive(Debug, Subcommand)]
pub enum Device {
    /// Show who waits with a code
    Show(Show),
    /// Let who waits with a code sign in as a person
    Approve(Approve),
    /// Refuse who waits with a code
    Deny(Deny),
}

impl Device {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show(command) => command.run(context).await,
            Self::Approve(command) => command.run(context).await,
            Self::Deny(command) => command.run(context).await,
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let text = error.to_string();
        match error {
            DeviceError::Account(inner) => inner.into(),
            DeviceError::Unknown => Self::usage(text)
                .code("device.unknown")
                .next("codes hold 15 minutes and are good once: start the login again"),
            DeviceError::Guessing | DeviceError::TooMany => Self::usage(text).code("device.too-many"),
        }
    }
}

/// The hub's database, its key over codes, and its longest lifetime of such a token, in seconds.
async fn hub(settings: &SettingsArgs, context: &Context) -> Result<(Db, Key, u64), Failure> {
    let config = settings.layers()?.build()?;
    // Before the key: a folder that is no hub's gets none.
    let db = database(settings, context).await?;
    let key = Key::of(&keyfile::signing_key(&config.hub_key_path())?);
    Ok((db, key, config.device_token_lifetime_s.min(config.token_max_lifetime_s)))
}

async fn waiting(db: &Db, key: &Key, code: &str, now: Timestamp) -> Result<(UserCode, Waiting), Failure> {
    let found: Result<_, DeviceError> = transaction!(*db, tx => { device::look_up(tx, key, None, code, now).await });
    Ok(found?.ok_or(DeviceError::Unknown)?)
}

#[derive(Serialize)]
struct Shown {
    code: String,
    client: String,
    program: String,
    address: String,
    asked_at: Timestamp,
    until: Timestamp,
}

/// Show who waits with a code: what it says of itself, and where it asked from.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende device show BCDF-GHJK --data-dir /srv/allmende")]
pub struct Show {
    /// The code that the device shows
    code: String,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let (db, key, _) = hub(&self.settings, context).await?;
        let found = waiting(&db, &key, &self.code, context.now()).await;
        db.close().await;
        let (code, Waiting { asking, created_at, expires_at }) = found?;
        let shown = Shown {
            code: code.to_string(),
            client: asking.client,
            program: asking.agent,
            address: asking.address,
            asked_at: created_at,
            until: expires_at,
        };
        context.out.result(&shown, || {
            fields([
                ("code", shown.code.clone()),
                ("client, by its own word", shown.client.clone()),
                ("program, by its own word", shown.program.clone()),
                ("asked from", shown.address.clone()),
                ("asked at", shown.asked_at.to_string()),
                ("good until", shown.until.to_string()),
            ])
        })
    }
}

/// Let who waits with a code sign in as a person. Ask the person first whether they see this code.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende device approve BCDF-GHJK --account ada --read-only --data-dir /srv/allmende"
)]
pub struct Approve {
    /// The code that the device shows
    code: String,
    /// Whose token it gets
    #[arg(long, value_name = "NAME")]
    account: String,
    /// It may read, and nothing else
    #[arg(long)]
    read_only: bool,
    /// How long the token is good, such as 12h or 7d [default: as the hub says]
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ms)]
    valid_for: Option<u64>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Approve {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let (db, key, longest_s) = hub(&self.settings, context).await?;
        let done = self.approve(&db, &key, longest_s, context.now()).await;
        db.close().await;
        let (code, name, loan) = done?;
        let value = serde_json::json!({
            "approved": code.to_string(), "account": name, "role": loan.rights.as_str(), "expires_at": loan.ends_at,
        });
        context.out.result(&value, || {
            let may = if self.read_only { "to read" } else { "to read and write" };
            format!("{code} signs in as {name}, {may}, until {}\n", loan.ends_at)
        })
    }

    async fn approve(
        &self,
        db: &Db,
        key: &Key,
        longest_s: u64,
        now: Timestamp,
    ) -> Result<(UserCode, String, Loan), Failure> {
        let account = named(db, &self.account).await?;
        if account.kind != Kind::User {
            return Err(Failure::usage(format!("{} is an organization: devices sign in as people", account.name)));
        }
        let longest_ms = longest_s.saturating_mul(1_000);
        let valid_ms = self.valid_for.unwrap_or(longest_ms);
        if valid_ms == 0 || valid_ms > longest_ms {
            return Err(Failure::usage("--valid-for is longer than device_token_lifetime_s, or nothing"));
        }
        let (code, _) = waiting(db, key, &self.code, now).await?;
        let loan = Loan {
            account: account.id.clone(),
            rights: if self.read_only { Rights::Read } else { Rights::Write },
            ends_at: now.plus_ms(i64::try_from(valid_ms).unwrap_or(i64::MAX)),
            approver: None,
        };
        let done: Result<(), DeviceError> =
            transaction!(*db, tx => { device::decide(tx, key, &code, Some(&loan), now).await });
        done?;
        Ok((code, account.name.to_string(), loan))
    }
}

/// Refuse who waits with a code: the device is told so.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende device deny BCDF-GHJK --data-dir /srv/allmende")]
pub struct Deny {
    /// The code that the device shows
    code: String,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Deny {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let (db, key, _) = hub(&self.settings, context).await?;
        let now = context.now();
        let done = async {
            let (code, _) = waiting(&db, &key, &self.code, now).await?;
            let done: Result<(), DeviceError> =
                transaction!(db, tx => { device::decide(tx, &key, &code, None, now).await });
            done?;
            Ok::<_, Failure>(code)
        };
        let done = done.await;
        db.close().await;
        let code = done?.to_string();
        context.out.result(&serde_json::json!({ "denied": code }), || format!("{code} is denied\n"))
    }
}
