//! Webhooks: whoever wants to be told of what happens to repositories that they may see.
//!
//! An event is queued in the database after it happened. That refs moved is told also when the process dies in between
//! ([`crate::repo::moving`]); what else happened, and nobody was answered, may be lost with it. From then on it is sent at least
//! once, or its log says why not.

mod event;
mod send;
mod signature;
mod store;

use allmende_core::time::Timestamp;
use zeroize::Zeroizing;

pub use event::happened;
pub use send::{keep, round};
pub use signature::{HEADER as SIGNATURE_HEADER, sign};
pub use store::{Delivery, State, deliveries};

use super::ExchangeError;
use crate::account::{Principal, new_id};
use crate::app::App;
use crate::db::DbError;
use crate::outbound::{self, OutboundError};
use crate::transaction;

/// Most webhooks of one account.
const MAX_WEBHOOKS: i64 = 100;
/// Most that one webhook watches.
const MAX_WATCHED: usize = 100;
/// Longest secret.
const MAX_SECRET_BYTES: usize = 256;
/// Types of what can be watched: accounts, and repositories.
const ACCOUNTS: [&str; 2] = ["user", "org"];
const REPOS: [&str; 5] = ["model", "dataset", "space", "code", "bucket"];

/// What is to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// `user`, `org`, or a kind of repository.
    pub kind: String,
    /// The account's name, or `owner/name`. It need not exist yet.
    pub name: String,
}

impl Watched {
    /// How it is looked up.
    fn key(&self) -> String {
        let kind = if ACCOUNTS.contains(&self.kind.as_str()) { "account" } else { &self.kind };
        format!("{kind}:{}", self.name.to_ascii_lowercase())
    }

    fn check(&self) -> Result<(), ExchangeError> {
        let of_repo = REPOS.contains(&self.kind.as_str());
        if !of_repo && !ACCOUNTS.contains(&self.kind.as_str()) {
            let all = [&ACCOUNTS[..], &REPOS[..]].concat().join(", ");
            return Err(ExchangeError::Bad(format!("what is watched has one of the types {all}")));
        }
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let parts: Vec<&str> = self.name.split('/').collect();
        let fits = parts.iter().all(|p| !p.is_empty() && p.chars().all(part)) && self.name.len() <= 200;
        if fits && parts.len() <= if of_repo { 2 } else { 1 } {
            return Ok(());
        }
        Err(ExchangeError::Bad(format!("'{}' is no name of a {}", self.name, self.kind)))
    }
}

/// What a webhook hears of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domains {
    /// Changes of repositories.
    pub repo: bool,
    /// Discussions, pull requests and their comments.
    pub discussion: bool,
}

impl Domains {
    /// The words for them.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        [(self.repo, "repo"), (self.discussion, "discussion")].into_iter().filter(|d| d.0).map(|d| d.1).collect()
    }

    /// The domains of these words.
    ///
    /// # Errors
    /// [`ExchangeError::Bad`] for none, or others.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, ExchangeError> {
        let mut domains = Self { repo: false, discussion: false };
        for word in words {
            match word {
                "repo" => domains.repo = true,
                "discussion" => domains.discussion = true,
                other => return Err(ExchangeError::Bad(format!("'{other}' is no domain: use repo and discussion"))),
            }
        }
        if domains.words().is_empty() {
            return Err(ExchangeError::Bad("a webhook has a domain: repo, discussion, or both".to_owned()));
        }
        Ok(domains)
    }
}

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To an address.
    Url(String),
    /// To a job, which this hub does not run.
    Job(String),
}

/// A webhook.
#[derive(Clone)]
pub struct Webhook {
    /// 24 hexadecimal digits.
    pub id: String,
    /// The account that is told.
    pub owner: String,
    /// Where it goes.
    pub target: Target,
    /// What is watched.
    pub watched: Vec<Watched>,
    /// What it hears of.
    pub domains: Domains,
    /// What its receiver knows it by; may be empty.
    pub secret: Zeroizing<String>,
    /// Whether nothing is sent.
    pub disabled: bool,
    /// Since when.
    pub created_at: Timestamp,
}

/// What somebody wants, or wants changed: what is missing stays as it is.
#[derive(Default)]
pub struct Wanted {
    /// Where it goes.
    pub target: Option<Target>,
    /// What is watched; when changed, nothing named changes nothing.
    pub watched: Vec<Watched>,
    /// What it hears of.
    pub domains: Option<Domains>,
    /// What its receiver knows it by.
    pub secret: Option<Zeroizing<String>>,
}

impl From<OutboundError> for ExchangeError {
    fn from(error: OutboundError) -> Self {
        Self::Bad(error.to_string())
    }
}

fn check(app: &App, wanted: &Wanted) -> Result<(), ExchangeError> {
    match &wanted.target {
        Some(Target::Url(url)) => {
            outbound::check(url, &app.config.outbound_networks)?;
        }
        Some(Target::Job(job)) => {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '.');
            if !(1..=200).contains(&job.len()) || !job.chars().all(fits) {
                return Err(ExchangeError::Bad("this is no job's id".to_owned()));
            }
        }
        None => {}
    }
    if wanted.watched.len() > MAX_WATCHED {
        return Err(ExchangeError::Bad(format!("a webhook watches at most {MAX_WATCHED}")));
    }
    wanted.watched.iter().try_for_each(Watched::check)?;
    let secret = wanted.secret.as_ref().map_or("", |secret| secret.as_str());
    if secret.len() > MAX_SECRET_BYTES || !secret.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ExchangeError::Bad(format!("a secret has at most {MAX_SECRET_BYTES} visible ASCII characters")));
    }
    Ok(())
}

/// Makes a webhook of `principal`'s account.
///
/// # Errors
/// [`ExchangeError`].
pub async fn create(app: &App, principal: &Principal, wanted: Wanted) -> Result<Webhook, ExchangeError> {
    super::whole(principal)?;
    check(app, &wanted)?;
    let missing = || ExchangeError::Bad("a webhook has a url, or a job".to_owned());
    if wanted.watched.is_empty() {
        return Err(ExchangeError::Bad("a webhook watches something".to_owned()));
    }
    let made = Webhook {
        id: new_id()?,
        owner: principal.account.id.clone(),
        target: wanted.target.ok_or_else(missing)?,
        watched: wanted.watched,
        domains: wanted.domains.unwrap_or(Domains { repo: true, discussion: true }),
        secret: wanted.secret.unwrap_or_default(),
        disabled: false,
        created_at: app.clock.now(),
    };
    let secret = signature::close(&app.hub_key, &made)?;
    transaction!(app.db, tx => {
        if store::count(tx, &made.owner).await? >= MAX_WEBHOOKS {
            return Err(ExchangeError::TooMany(format!("an account has at most {MAX_WEBHOOKS} webhooks")));
        }
        store::insert(tx, &made, &secret).await?;
        Ok(())
    })?;
    Ok(made)
}

/// A webhook of `principal`'s account.
///
/// # Errors
/// [`ExchangeError::Missing`].
pub async fn get(app: &App, principal: &Principal, id: &str) -> Result<Webhook, ExchangeError> {
    super::whole(principal)?;
    let found = store::by_id(&mut *app.db.read().await?, &app.hub_key, id).await?;
    found.filter(|webhook| webhook.owner == principal.account.id).ok_or(ExchangeError::Missing("Webhook"))
}

/// All webhooks of `principal`'s account, oldest first.
///
/// # Errors
/// [`ExchangeError`].
pub async fn list(app: &App, principal: &Principal) -> Result<Vec<Webhook>, ExchangeError> {
    super::whole(principal)?;
    Ok(store::of(&mut *app.db.read().await?, &app.hub_key, &principal.account.id).await?)
}

/// Changes a webhook.
///
/// # Errors
/// [`ExchangeError`].
pub async fn update(app: &App, webhook: Webhook, wanted: Wanted) -> Result<Webhook, ExchangeError> {
    check(app, &wanted)?;
    let mut changed = webhook;
    changed.target = wanted.target.unwrap_or(changed.target);
    changed.domains = wanted.domains.unwrap_or(changed.domains);
    changed.secret = wanted.secret.unwrap_or(changed.secret);
    if !wanted.watched.is_empty() {
        changed.watched = wanted.watched;
    }
    write(app, &changed).await?;
    Ok(changed)
}

/// Lets a webhook rest, or wakes it. What happens meanwhile is not queued.
///
/// # Errors
/// [`ExchangeError`].
pub async fn set_disabled(app: &App, webhook: Webhook, disabled: bool) -> Result<Webhook, ExchangeError> {
    let changed = Webhook { disabled, ..webhook };
    write(app, &changed).await?;
    Ok(changed)
}

async fn write(app: &App, changed: &Webhook) -> Result<(), ExchangeError> {
    let (secret, now) = (signature::close(&app.hub_key, changed)?, app.clock.now());
    let done: Result<(), DbError> = transaction!(app.db, tx => { store::update(tx, changed, &secret, now).await });
    Ok(done?)
}

/// Removes a webhook and what it had still to send.
///
/// # Errors
/// [`ExchangeError`].
pub async fn remove(app: &App, webhook: &Webhook) -> Result<(), ExchangeError> {
    let done: Result<(), DbError> = transaction!(app.db, tx => { store::delete(tx, &webhook.id).await });
    Ok(done?)
}
