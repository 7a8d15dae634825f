//! Who calls: bearer tokens bound to a party, their scopes, and sign-in with a party's key.
//!
//! Architecture invariant: a token never stands for a signature. It can read, upload and cause attestations of the hub;
//! terms, votes and releases are signed by keys. This module knows no party: who may sign in is asked of
//! [`KeyDirectory`].

use std::fmt;

use allmende_core::digest::{Digest, to_hex};
use allmende_core::id::PartyId;
use allmende_core::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;

use crate::db::{DbError, Tx, to_i64};

pub mod api;
mod extract;
pub mod login;

pub use extract::{AdminCaller, NodeCaller, ReadCaller, RequireScope, WriteCaller};
pub use login::{KeyDirectory, LoginClaim, NoKeys};

/// How stale `last_used_at` may be, in milliseconds: a write for each request would cost more than it tells.
const LAST_USED_GRAIN_MS: i64 = 60_000;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Scope {
    /// Read what the party may read.
    Read = 1,
    /// Upload bytes and post statements that are signed already.
    Write = 2,
    /// Fetch work and deliver updates as a node.
    Node = 4,
    /// Operate the hub: metrics, other parties' tokens.
    Admin = 8,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Node, Self::Admin];

    /// The name as it stands in tokens and claims.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Node => "node",
            Self::Admin => "admin",
        }
    }
}

/// A set of scopes, written as names with a space between.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// The set of these scopes.
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, &s| bits | s as u8))
    }

    /// Whether the set carries `scope`. Writing includes reading, administration both; a node's scope stands alone.
    #[must_use]
    pub const fn allows(self, scope: Scope) -> bool {
        let enough = match scope {
            Scope::Read => Scope::Read as u8 | Scope::Write as u8 | Scope::Admin as u8,
            Scope::Write => Scope::Write as u8 | Scope::Admin as u8,
            Scope::Node => Scope::Node as u8,
            Scope::Admin => Scope::Admin as u8,
        };
        self.0 & enough != 0
    }

    /// Whether every scope here is also in `other`.
    #[must_use]
    pub fn within(self, other: Self) -> bool {
        Scope::ALL.into_iter().all(|s| self.0 & s as u8 == 0 || other.allows(s))
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |&s| self.0 & s as u8 != 0)
    }

    /// Reads names with a space between.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let named = |name| Scope::ALL.into_iter().find(|s| s.as_str() == name);
        text.split(' ').try_fold(Self(0), |set, name| named(name).map(|s| Self(set.0 | s as u8)))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&names.join(" "))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

/// A token's secret text, `alm_` and 43 characters. Shown once; never printed by `Debug`, wiped on drop.
pub struct Token(Zeroizing<String>);

impl Token {
    /// The text to hand to its owner.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A token to issue.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose it is.
    pub party: PartyId,
    /// What it is good for.
    pub scopes: Scopes,
    /// For its owner to recognize.
    pub label: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its public id.
    pub id: String,
    /// Whose it is.
    pub party: PartyId,
    /// What it is good for.
    pub scopes: Scopes,
    /// For its owner to recognize.
    pub label: String,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The party that the token is bound to.
    pub party: PartyId,
    /// What the token is good for.
    pub scopes: Scopes,
    /// The token's public id, for the log.
    pub token_id: String,
}

/// Why issuing failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness,
    /// The party holds as many tokens as it may.
    #[error("a party may hold {max_tokens} tokens")]
    TooManyTokens {
        /// The limit.
        max_tokens: u64,
    },
    /// The claim breaks a rule; the text says which, without telling what is secret.
    #[error("sign-in refused: {0}")]
    Refused(&'static str),
}

impl From<sqlx::Error> for AuthError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// 256 random bits need no slow hash. The id is the beginning of the hash: it finds the row without telling the token.
fn identify(secret: &str) -> (String, Digest) {
    let hash = Digest::of(secret.as_bytes());
    (to_hex(&hash.0[..8]), hash)
}

/// Issues a token. Its secret exists only in the answer.
///
/// # Errors
/// [`AuthError`].
pub async fn issue(tx: &mut Tx, new: &NewToken, max_tokens: u64, now: Timestamp) -> Result<(String, Token), AuthError> {
    let held: i64 =
        sqlx::query("SELECT COUNT(*) FROM tokens WHERE party = $1 AND revoked_at IS NULL AND expires_at > $2")
            .bind(new.party.as_str())
            .bind(now.0)
            .fetch_one(&mut **tx)
            .await?
            .try_get(0)?;
    if held >= to_i64(max_tokens)? {
        return Err(AuthError::TooManyTokens { max_tokens });
    }
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *random).map_err(|_| AuthError::Randomness)?;
    let token = Token(Zeroizing::new(format!("alm_{}", URL_SAFE_NO_PAD.encode(*random))));
    let (id, hash) = identify(token.secret());
    sqlx::query(
        "INSERT INTO tokens (id, party, scope, hash, label, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&id)
    .bind(new.party.as_str())
    .bind(new.scopes.to_string())
    .bind(hash.0.as_slice())
    .bind(&new.label)
    .bind(now.0)
    .bind(new.expires_at.0)
    .execute(&mut **tx)
    .await?;
    Ok((id, token))
}

fn info(row: &AnyRow) -> Result<TokenInfo, DbError> {
    let corrupt = |column, message: String| DbError::Corrupt { column, message };
    let (party, scope): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    Ok(TokenInfo {
        id: row.try_get(0)?,
        party: party.parse().map_err(|e| corrupt("tokens.party", format!("{e}")))?,
        scopes: Scopes::parse(&scope).ok_or_else(|| corrupt("tokens.scope", scope))?,
        label: row.try_get(3)?,
        created_at: Timestamp(row.try_get(4)?),
        expires_at: Timestamp(row.try_get(5)?),
        revoked_at: row.try_get::<Option<i64>, _>(6)?.map(Timestamp),
        last_used_at: row.try_get::<Option<i64>, _>(7)?.map(Timestamp),
    })
}

/// The token's owner, if it is known, not expired and not revoked; and whether its last use should be noted.
///
/// # Errors
/// [`DbError`].
pub async fn authenticate(
    connection: &mut AnyConnection,
    secret: &str,
    now: Timestamp,
) -> Result<Option<(Caller, bool)>, DbError> {
    if secret.len() != 47 || !secret.starts_with("alm_") {
        return Ok(None);
    }
    let (id, hash) = identify(secret);
    let row = sqlx::query(
        "SELECT id, party, scope, label, created_at, expires_at, revoked_at, last_used_at, hash FROM tokens WHERE id = $1",
    )
    .bind(&id)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let token = info(&row)?;
    let kept: Vec<u8> = row.try_get(8)?;
    if !constant_time_eq(&kept, &hash.0) || token.revoked_at.is_some() || token.expires_at <= now {
        return Ok(None);
    }
    let stale = token.last_used_at.is_none_or(|at| at.plus_ms(LAST_USED_GRAIN_MS) <= now);
    Ok(Some((Caller { party: token.party, scopes: token.scopes, token_id: id }, stale)))
}

/// The owner of the token of this id, if it still works. An id is no proof of anything: callers have one that this hub signed.
///
/// # Errors
/// [`DbError`].
pub async fn by_id(connection: &mut AnyConnection, id: &str, now: Timestamp) -> Result<Option<Caller>, DbError> {
    let row = sqlx::query(
        "SELECT id, party, scope, label, created_at, expires_at, revoked_at, last_used_at FROM tokens WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    let token = row.as_ref().map(info).transpose()?;
    let works = token.filter(|token| token.revoked_at.is_none() && token.expires_at > now);
    Ok(works.map(|token| Caller { party: token.party, scopes: token.scopes, token_id: token.id }))
}

/// Compares without telling by its duration where the first difference is.
pub(crate) fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y))) == 0
}

/// Notes that the token was used.
///
/// # Errors
/// [`DbError`].
pub async fn note_use(tx: &mut Tx, id: &str, now: Timestamp) -> Result<(), DbError> {
    sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1").bind(id).bind(now.0).execute(&mut **tx).await?;
    Ok(())
}

/// Revokes a token; with a party, only if it is that party's. Says whether there was one to revoke.
///
/// # Errors
/// [`DbError`].
pub async fn revoke(tx: &mut Tx, id: &str, party: Option<&PartyId>, now: Timestamp) -> Result<bool, DbError> {
    let revoked = sqlx::query(
        "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL AND ($3 = '' OR party = $3)",
    )
    .bind(id)
    .bind(now.0)
    .bind(party.map_or("", PartyId::as_str))
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(revoked == 1)
}

/// Revokes every token, as after a restore from a backup.
///
/// # Errors
/// [`DbError`].
pub async fn revoke_all(tx: &mut Tx, now: Timestamp) -> Result<u64, DbError> {
    let done = sqlx::query("UPDATE tokens SET revoked_at = $1 WHERE revoked_at IS NULL").bind(now.0).execute(&mut **tx);
    Ok(done.await?.rows_affected())
}

/// Forgets tokens that ended before `before`, revoked or expired. Gives their number.
///
/// # Errors
/// [`DbError`].
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64, DbError> {
    let done = sqlx::query("DELETE FROM tokens WHERE expires_at < $1 OR revoked_at < $1").bind(before.0);
    Ok(done.execute(&mut **tx).await?.rows_affected())
}

/// A party's tokens, oldest first.
///
/// # Errors
/// [`DbError`].
pub async fn tokens(connection: &mut AnyConnection, party: &PartyId, limit: u64) -> Result<Vec<TokenInfo>, DbError> {
    let rows = sqlx::query(
        "SELECT id, party, scope, label, created_at, expires_at, revoked_at, last_used_at FROM tokens
         WHERE party = $1 ORDER BY created_at, id LIMIT $2",
    )
    .bind(party.as_str())
    .bind(to_i64(limit)?)
    .fetch_all(connection)
    .await?;
    rows.iter().map(info).collect()
}
