//! `account`: people and organizations that own repositories on a hub, and their tokens. For its operator, on the hub's
//! own machine.

use std::io::BufRead as _;

use allmende_core::time::Timestamp;
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use super::config::SettingsArgs;
use super::context::Context;
use super::failure::Failure;
use super::invitation::database;
use super::quota::{List, Quota, Show};
use super::table::{Table, fields};
use super::words::parse_duration_ms;
use crate::account::{Account as Row, AccountError, AccountName, Grant, Kind, Rights, Role, store, token};
use crate::db::Db;
use crate::transaction;

/// Manage the people and organizations that own repositories, on the hub's own machine.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Make an account for a person, or for an organization
    Create(Create),
    /// List all accounts with what their large files occupy
    List(List),
    /// Show an account and what its large files occupy
    Show(Show),
    /// Show or change how many bytes an account's large files may occupy
    Quota(Quota),
    /// Make a person belong to an organization, or change their role
    Member(Member),
    /// Make a token with which a person's tools sign in; it is shown once
    Token(Token),
    /// List an account's tokens
    Tokens(Tokens),
    /// Revoke a token at once
    Revoke(Revoke),
}

impl Account {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Quota(command) => command.run(context).await,
            Self::Member(command) => command.run(context).await,
            Self::Token(command) => command.run(context).await,
            Self::Tokens(command) => command.run(context).await,
            Self::Revoke(command) => command.run(context).await,
        }
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        let text = error.to_string();
        match error {
            AccountError::Db(inner) => Self::internal(inner),
            AccountError::Randomness => Self::internal(error),
            AccountError::Taken(_) => Self::usage(text).code("account.taken").next("choose another name"),
            AccountError::Unknown(_) => {
                Self::usage(text).code("account.unknown").next("make it with 'allmende account create'")
            }
            AccountError::NotAMember(_) | AccountError::BadToken => Self::usage(text).code("account.bad"),
        }
    }
}

pub(super) async fn named(db: &Db, name: &str) -> Result<Row, Failure> {
    let found = async { store::by_name(&mut *db.read().await?, name).await }.await.map_err(Failure::internal)?;
    found.ok_or_else(|| AccountError::Unknown(name.to_owned()).into())
}

/// Make an account for a person, or with --organization for an organization. Its repositories stand under its name.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende account create ada --full-name 'Ada Lovelace' --data-dir /srv/allmende"
)]
pub struct Create {
    /// Its name, as it stands in the addresses of its repositories
    name: AccountName,
    /// What people call it [default: the name]
    #[arg(long, value_name = "TEXT")]
    full_name: Option<String>,
    /// An organization, to which people belong
    #[arg(long)]
    organization: bool,
    /// Its new repositories are private unless something else is asked for
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Serialize)]
struct Created {
    id: String,
    name: String,
    kind: &'static str,
    full_name: String,
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let db = database(&self.settings, context).await?;
        let kind = if self.organization { Kind::Organization } else { Kind::User };
        let full_name = self.full_name.unwrap_or_else(|| self.name.to_string());
        let now = context.now();
        let made: Result<Row, AccountError> = transaction!(db, tx => {
            store::create(tx, kind, &self.name, &full_name, None, self.private, now).await
        });
        db.close().await;
        let made = made?;
        let shown = Created { id: made.id, name: made.name.to_string(), kind: kind.as_str(), full_name };
        context.out.result(&shown, || fields([("name", shown.name.clone()), ("kind", shown.kind.to_owned())]))
    }
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "read, contributor, write or admin".to_owned())
}

/// Make a person belong to an organization, or change their role there; with --remove, end it.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende account member north ada --role write --data-dir /srv/allmende")]
pub struct Member {
    /// The organization
    organization: String,
    /// The person
    user: String,
    /// What they may do: read, contributor, write or admin
    #[arg(long, value_parser = parse_role, default_value = "write")]
    role: Role,
    /// They belong to it no more
    #[arg(long, conflicts_with = "role")]
    remove: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Member {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let db = database(&self.settings, context).await?;
        let (organization, user) = (named(&db, &self.organization).await?, named(&db, &self.user).await?);
        let done: Result<bool, AccountError> = transaction!(db, tx => {
            if self.remove {
                return Ok(store::remove_member(tx, &organization, &user).await?);
            }
            store::set_member(tx, &organization, &user, self.role).await?;
            Ok(true)
        });
        db.close().await;
        if !done? {
            return Err(Failure::usage(format!("{} does not belong to {}", user.name, organization.name)));
        }
        let role = (!self.remove).then(|| self.role.as_str());
        let value =
            serde_json::json!({ "organization": organization.name.as_str(), "user": user.name.as_str(), "role": role });
        context.out.result(&value, || match role {
            Some(role) => format!("{} is {role} of {}\n", user.name, organization.name),
            None => format!("{} does not belong to {} any more\n", user.name, organization.name),
        })
    }
}

fn parse_grant(text: &str) -> Result<Grant, String> {
    let (place, right) = text.rsplit_once(':').unwrap_or((text, "read"));
    match right {
        "read" | "write" if !place.is_empty() => Ok(Grant { place: place.to_owned(), write: right == "write" }),
        _ => Err("write it like north:read or north/model:write".to_owned()),
    }
}

/// Make a token with which a person's tools sign in. It is shown once; the hub keeps only its hash.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende account token ada --label laptop --data-dir /srv/allmende\n\n\
                       Then, on ada's machine:\n  export HF_ENDPOINT=https://hub.example HF_TOKEN=hf_…")]
pub struct Token {
    /// Whose
    name: String,
    /// For its owner to recognize
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
    /// It may read, and nothing else
    #[arg(long)]
    read_only: bool,
    /// It may do only this, such as north:read or north/model:write; may be repeated
    #[arg(long, value_name = "PLACE:RIGHT", value_parser = parse_grant, conflicts_with = "read_only")]
    grant: Vec<Grant>,
    /// How long it is good, such as 90d [default: until revoked]
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ms)]
    valid_for: Option<u64>,
    /// Take the token's text from the first line of the standard input instead of making one
    #[arg(long)]
    secret_stdin: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Serialize)]
struct Issued {
    token: Option<String>,
    id: String,
    account: String,
    role: &'static str,
    expires_at: Option<Timestamp>,
}

impl Token {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let db = database(&self.settings, context).await?;
        let account = named(&db, &self.name).await?;
        let secret = if self.secret_stdin {
            let mut line = Zeroizing::new(String::new());
            std::io::stdin().lock().read_line(&mut line).map_err(Failure::internal)?;
            Zeroizing::new(line.trim().to_owned())
        } else {
            token::new_secret()?
        };
        let rights = match (self.read_only, self.grant) {
            (true, _) => Rights::Read,
            (false, grants) if grants.is_empty() => Rights::Write,
            (false, grants) => Rights::FineGrained { grants },
        };
        let now = context.now();
        let expires_at = self.valid_for.map(|ms| now.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX)));
        let issued: Result<String, AccountError> = transaction!(db, tx => {
            token::issue(tx, &account, &secret, &self.label, &rights, expires_at, now).await
        });
        db.close().await;
        let shown = Issued {
            token: (!self.secret_stdin).then(|| secret.as_str().to_owned()),
            id: issued?,
            account: account.name.to_string(),
            role: rights.as_str(),
            expires_at,
        };
        context.out.result(&shown, || {
            let until = shown.expires_at.map_or("revoked".to_owned(), |at| at.to_string());
            let secret = shown.token.clone().unwrap_or_else(|| "as given".to_owned());
            fields([("token", secret), ("id", shown.id.clone()), ("may", shown.role.to_owned()), ("until", until)])
        })
    }
}

/// List the tokens of an account that still work.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende account tokens ada --data-dir /srv/allmende")]
pub struct Tokens {
    /// Whose
    name: String,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    label: String,
    rights: Rights,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Tokens {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let db = database(&self.settings, context).await?;
        let account = named(&db, &self.name).await?;
        let now = context.now();
        let found = async { token::list(&mut *db.read().await?, &account, now, 1_000).await }.await;
        db.close().await;
        let listed = |t: token::TokenInfo| Listed {
            id: t.id,
            label: t.label,
            rights: t.rights,
            created_at: t.created_at,
            expires_at: t.expires_at,
        };
        let found: Vec<_> = found.map_err(Failure::internal)?.into_iter().map(listed).collect();
        context.out.result(&found, || {
            let mut table = Table::new(&["id", "label", "may", "made", "until"]);
            for t in &found {
                let until = t.expires_at.map_or("revoked".to_owned(), |at| at.to_string());
                table.row([
                    t.id.clone(),
                    t.label.clone(),
                    t.rights.as_str().to_owned(),
                    t.created_at.to_string(),
                    until,
                ]);
            }
            table.render_or("no tokens")
        })
    }
}

/// Revoke a token of an account at once.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende account revoke ada 3f2a90c14b771122 --data-dir /srv/allmende")]
pub struct Revoke {
    /// Whose
    name: String,
    /// The token's id
    id: String,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let db = database(&self.settings, context).await?;
        let account = named(&db, &self.name).await?;
        let now = context.now();
        let revoked: Result<bool, AccountError> =
            transaction!(db, tx => { Ok(token::revoke(tx, &account, &self.id, now).await?) });
        db.close().await;
        if !revoked? {
            return Err(Failure::usage(format!("{} has no token '{}'", account.name, self.id))
                .next(format!("see 'allmende account tokens {}'", account.name)));
        }
        context.out.result(&serde_json::json!({ "revoked": self.id }), || format!("token {} is revoked\n", self.id))
    }
}
