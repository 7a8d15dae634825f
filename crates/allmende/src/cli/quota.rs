//! `account list`, `account show`, `account quota`: who there is, what they occupy, and how much they may.

use clap::Args;
use serde::Serialize;

use super::account::named;
use super::config::SettingsArgs;
use super::context::Context;
use super::failure::Failure;
use super::invitation::database;
use super::table::{Table, fields};
use crate::account::{Account, store};
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::repo::quota;
use crate::transaction;

/// Accounts that are read at once.
const PAGE: i64 = 500;

#[derive(Serialize)]
struct Shown {
    name: String,
    kind: &'static str,
    full_name: String,
    /// What it occupies: both of the following.
    used_bytes: u64,
    /// What its large files occupy, each chunk counted once, packed.
    large_bytes: u64,
    /// What the histories of its repositories occupy.
    history_bytes: u64,
    /// The most that they may; none is no limit.
    quota_bytes: Option<u64>,
    /// Whether that is the hub's default.
    default_quota: bool,
}

async fn shown(db: &Db, config: &Config, account: &Account) -> Result<Shown, DbError> {
    let mut connection = db.read().await?;
    let domain = quota::domain_of(&mut connection, account).await?;
    let usage = quota::usage(&mut connection, &domain, config.default_quota_bytes).await?;
    let given = quota::given(&mut connection, &account.id).await?;
    Ok(Shown {
        name: account.name.to_string(),
        kind: account.kind.as_str(),
        full_name: account.full_name.clone(),
        used_bytes: usage.used_bytes(),
        large_bytes: usage.large_bytes,
        history_bytes: usage.history_bytes,
        quota_bytes: usage.limit_bytes,
        default_quota: given.is_none(),
    })
}

impl Shown {
    fn quota(&self) -> String {
        let bytes = self.quota_bytes.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
        if self.default_quota { format!("{bytes} (default)") } else { bytes }
    }

    fn text(&self) -> String {
        fields([
            ("name", self.name.clone()),
            ("kind", self.kind.to_owned()),
            ("full name", self.full_name.clone()),
            ("used bytes", self.used_bytes.to_string()),
            ("of large files", self.large_bytes.to_string()),
            ("of histories", self.history_bytes.to_string()),
            ("quota in bytes", self.quota()),
        ])
    }
}

/// List all accounts with what their large files and histories occupy.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende account list --data-dir /srv/allmende")]
pub struct List {
    #[command(flatten)]
    settings: SettingsArgs,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = self.settings.layers()?.build()?;
        let db = database(&self.settings, context).await?;
        let mut found: Vec<Shown> = Vec::new();
        let listed: Result<(), DbError> = async {
            loop {
                let after = found.last().map_or(String::new(), |one| one.name.to_ascii_lowercase());
                let page = store::page(&mut *db.read().await?, &after, PAGE).await?;
                if page.is_empty() {
                    return Ok(());
                }
                for account in &page {
                    found.push(shown(&db, &config, account).await?);
                }
            }
        }
        .await;
        db.close().await;
        listed.map_err(Failure::internal)?;
        context.out.result(&found, || {
            let mut table = Table::new(&["name", "kind", ">used bytes", ">quota in bytes"]);
            for one in &found {
                table.row([one.name.clone(), one.kind.to_owned(), one.used_bytes.to_string(), one.quota()]);
            }
            table.render_or("no accounts")
        })
    }
}

/// Show an account and what its large files and histories occupy.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende account show north --data-dir /srv/allmende")]
pub struct Show {
    /// Which
    name: String,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = self.settings.layers()?.build()?;
        let db = database(&self.settings, context).await?;
        let account = named(&db, &self.name).await?;
        let found = shown(&db, &config, &account).await;
        db.close().await;
        let found = found.map_err(Failure::internal)?;
        context.out.result(&found, || found.text())
    }
}

/// Show how many bytes an account occupies and may occupy; with --bytes or --default, change the limit. Each chunk of large
/// files counts once, packed, and histories as they lie in git; what was deleted counts until it is collected.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende account quota north --bytes 500000000000 --data-dir /srv/allmende")]
pub struct Quota {
    /// Whose
    name: String,
    /// The most that they may occupy
    #[arg(long, value_name = "N", conflicts_with = "default")]
    bytes: Option<u64>,
    /// As much as the hub's setting `default_quota_bytes` says
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Quota {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = self.settings.layers()?.build()?;
        let db = database(&self.settings, context).await?;
        let account = named(&db, &self.name).await?;
        let done: Result<Shown, DbError> = async {
            if self.default || self.bytes.is_some() {
                transaction!(db, tx => { quota::give(tx, &account, self.bytes).await })?;
            }
            shown(&db, &config, &account).await
        }
        .await;
        db.close().await;
        let done = done.map_err(Failure::internal)?;
        context.out.result(&done, || done.text())
    }
}
