//! What opens a repository's part of the store for minutes: transfer tokens, and addresses of ranges of xorbs.
//!
//! Both are sealed with a key that follows from the hub's and stand nowhere. They carry who asked for them, and what they
//! give is asked again at each use: whoever lost a right, or whose token was revoked, has lost it here too.

use allmende_core::time::Timestamp;
use allmende_formats::xet::XetHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Session, XetError};
use crate::account::Principal;
use crate::app::App;
use crate::auth::constant_time_eq;
use crate::hmac;
use crate::repo::ops::{look, may_propose};
use crate::repo::{self, Right};

/// How long a transfer token holds, in milliseconds. Clients ask for another one in time.
pub const TOKEN_MS: i64 = 15 * 60 * 1_000;
/// How long the address of a range holds, in milliseconds. Clients ask again after it.
const TICKET_MS: i64 = 5 * 60 * 1_000;

/// For whom something was sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bearer {
    /// The repository's id.
    #[serde(rename = "r")]
    repo: String,
    /// The account's id and the public id of its token; none for whoever did not say who they are.
    #[serde(rename = "a")]
    who: Option<(String, String)>,
    /// Until when, in milliseconds since 1970.
    #[serde(rename = "e")]
    expires_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    #[serde(flatten)]
    bearer: Bearer,
    #[serde(rename = "w")]
    write: bool,
    /// To write for a pull request alone.
    #[serde(rename = "p", default)]
    propose: bool,
}

/// What a transfer token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To read.
    Read,
    /// To write, and read.
    Write,
    /// To send what a pull request will cite.
    Propose,
}

/// A range of a xorb that may be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The xorb.
    #[serde(rename = "x")]
    pub xorb: XetHash,
    /// First byte.
    #[serde(rename = "f")]
    pub first: u64,
    /// Last byte.
    #[serde(rename = "l")]
    pub last: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    bearer: Bearer,
    #[serde(flatten)]
    ticket: Ticket,
}

/// What a seal is good for: no seal of one use passes for another's.
#[derive(Debug, Clone, Copy)]
enum Use {
    Token,
    Ticket,
    ChunkKey,
}

fn key(app: &App, purpose: Use) -> [u8; 32] {
    let label: &[u8] = match purpose {
        Use::Token => b"allmende: transfer tokens\n",
        Use::Ticket => b"allmende: addresses of ranges of xorbs\n",
        Use::ChunkKey => b"allmende: hashes of chunks in answers\n",
    };
    hmac::sha256(&app.hub_key.seed(), &[label]).0
}

/// The key that stands over hashes of chunks in answers.
pub(super) fn chunk_key(app: &App, domain: &str) -> [u8; 32] {
    hmac::sha256(&key(app, Use::ChunkKey), &[domain.as_bytes()]).0
}

fn seal(app: &App, purpose: Use, content: &impl Serialize) -> String {
    // Texts and numbers are always written.
    let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(content).unwrap_or_default());
    let mac = hmac::sha256(&key(app, purpose), &[text.as_bytes()]).0;
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac))
}

fn unseal<T: DeserializeOwned>(app: &App, purpose: Use, sealed: &str) -> Option<T> {
    let (text, mac) = sealed.split_once('.')?;
    let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
    if !constant_time_eq(&mac, &hmac::sha256(&key(app, purpose), &[text.as_bytes()]).0) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

impl Session {
    /// Refuses whom the terms do not let read any more.
    async fn may_read(&self, app: &App) -> Result<(), XetError> {
        self.seen.require(Right::Read)?;
        Ok(repo::terms::may_read(app, self.principal.as_ref(), &self.seen.repo).await?)
    }

    fn bearer(&self, expires_at: Timestamp) -> Bearer {
        let who = self.principal.as_ref().map(|p| (p.account.id.clone(), p.token.id.clone()));
        Bearer { repo: self.repo().id.clone(), who, expires_at: expires_at.0 }
    }

    /// A transfer token, and until when it holds.
    ///
    /// # Errors
    /// [`XetError::Repo`] when the session may not do as much.
    pub async fn token(&self, app: &App, need: Need) -> Result<(String, Timestamp), XetError> {
        match need {
            Need::Read => self.seen.require(Right::Read)?,
            Need::Write => self.seen.require(Right::Write)?,
            Need::Propose => may_propose(app, self.principal.as_ref(), &self.seen).await?,
        }
        let (write, propose) = (need != Need::Read, need == Need::Propose);
        let expires_at = app.clock.now().plus_ms(TOKEN_MS);
        Ok((seal(app, Use::Token, &Token { bearer: self.bearer(expires_at), write, propose }), expires_at))
    }

    /// What to ask for a range of a xorb with, until the time in it.
    #[must_use]
    pub fn ticket(&self, app: &App, ticket: Ticket) -> String {
        let expires_at = app.clock.now().plus_ms(TICKET_MS);
        seal(app, Use::Ticket, &Sealed { bearer: self.bearer(expires_at), ticket })
    }
}

async fn session(app: &App, bearer: &Bearer, repo: &str) -> Result<Session, XetError> {
    if bearer.repo != repo {
        return Err(XetError::Token("the token is another repository's"));
    }
    if bearer.expires_at <= app.clock.now().0 {
        return Err(XetError::Token("the token is over: ask the hub for another one"));
    }
    let principal = match &bearer.who {
        None => None,
        Some((account, token)) => {
            let gone = XetError::Token("the account's token ended");
            let found = Principal::again(app, account, token).await?;
            Some(found.ok_or(gone)?)
        }
    };
    let found = repo::store::by_id(&mut *app.db.read().await?, repo).await?;
    let repo = found.ok_or(XetError::NotFound("repository"))?;
    let seen = look(app, principal.as_ref(), repo).await?.ok_or(XetError::NotFound("repository"))?;
    Ok(Session { seen, principal })
}

/// What a transfer token opens now, in the repository of this id; to write there if `write`.
///
/// # Errors
/// [`XetError::Token`], or [`XetError::Repo`] when the right is gone.
pub async fn open(app: &App, repo: &str, token: &str, write: bool) -> Result<Session, XetError> {
    let token: Token =
        unseal(app, Use::Token, token).ok_or(XetError::Token("this is no transfer token of this hub"))?;
    let session = session(app, &token.bearer, repo).await?;
    if write && !token.write {
        return Err(repo::RepoError::Forbidden("this transfer token can only read").into());
    }
    if write {
        if token.propose {
            may_propose(app, session.principal.as_ref(), &session.seen).await?;
        } else {
            session.seen.require(Right::Write)?;
        }
    } else {
        session.may_read(app).await?;
    }
    Ok(session)
}

/// What a ticket opens now, in the repository of this id.
///
/// # Errors
/// [`XetError::Token`].
pub async fn redeem(app: &App, repo: &str, ticket: &str) -> Result<(Session, Ticket), XetError> {
    let sealed: Sealed = unseal(app, Use::Ticket, ticket).ok_or(XetError::Token("this is no address of this hub"))?;
    let session = session(app, &sealed.bearer, repo).await?;
    session.may_read(app).await?;
    Ok((session, sealed.ticket))
}
