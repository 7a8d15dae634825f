//! Sign-in: a client proves that it holds a party's key and gets a token.
//!
//! The claim is a DSSE envelope of type `application/vnd.allmende.login.v1+json`, so its signature can never be taken
//! for a statement's. It names the hub's key, so that another hub cannot replay it, and a nonce that works once.

use allmende_core::canonical;
use allmende_core::digest::Digest;
use allmende_core::id::PartyId;
use allmende_core::ledger::envelope::{Envelope, payload_type};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::time::Timestamp;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;

use super::{AuthError, NewToken, Scopes, Token, issue};
use crate::config::Config;
use crate::db::{Db, DbError, Tx};
use crate::transaction;

const KIND: &str = "login";
/// Bounds of a nonce's length, in characters: long enough not to repeat by chance.
const NONCE_CHARACTERS: std::ops::RangeInclusive<usize> = 22..=64;
/// Longest label of a token, in bytes.
const MAX_LABEL_BYTES: usize = 100;

/// Says which key may sign in for which party. The party module answers; this one knows no parties.
pub trait KeyDirectory: Send + Sync + 'static {
    /// The most that `key` may claim for `party`, or nothing when it is not (or no longer) the party's.
    fn login_scopes<'a>(
        &'a self,
        connection: &'a mut AnyConnection,
        party: &'a PartyId,
        key: &'a PublicKey,
    ) -> BoxFuture<'a, Result<Option<Scopes>, DbError>>;
}

/// A directory without keys: nobody signs in.
#[derive(Debug, Clone, Copy)]
pub struct NoKeys;

impl KeyDirectory for NoKeys {
    fn login_scopes<'a>(
        &'a self,
        _: &'a mut AnyConnection,
        _: &'a PartyId,
        _: &'a PublicKey,
    ) -> BoxFuture<'a, Result<Option<Scopes>, DbError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What a client signs to get a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginClaim {
    /// The hub's key: the claim is good there only.
    pub audience: PublicKey,
    /// For the owner to recognize the token.
    pub label: String,
    /// How long the token shall live, in seconds; 0 asks for the hub's default.
    pub lifetime_s: i64,
    /// Chosen by chance, used once: 22 to 64 letters, digits, `-` and `_`.
    pub nonce: String,
    /// Who signs in.
    pub party: PartyId,
    /// What the token shall be good for, as names with a space between.
    pub scopes: String,
    /// The client's clock.
    pub timestamp: Timestamp,
}

impl LoginClaim {
    /// Signs the claim.
    ///
    /// # Errors
    /// When the label holds a forbidden character.
    pub fn seal(&self, key: &SecretKey) -> Result<Envelope, canonical::Error> {
        Ok(Envelope::seal(KIND, &canonical::to_bytes(self)?, key))
    }
}

/// A token as sign-in gives it.
#[derive(Debug)]
pub struct Login {
    /// The secret.
    pub token: Token,
    /// Its public id.
    pub id: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Checks a claim and issues the token, in one transaction with the nonce.
///
/// # Errors
/// [`AuthError::Refused`] says what is wrong with the claim, but does not tell an unknown party from a foreign key.
pub async fn login(
    db: &Db,
    keys: &dyn KeyDirectory,
    config: &Config,
    hub_key: &PublicKey,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Login, AuthError> {
    let checked = Checked::new(config, hub_key, envelope, now)?;
    transaction!(*db, tx => {
        checked.authorize(tx, keys).await?;
        checked.issue(tx, config, now).await
    })
}

/// A claim that is well made, of now, and for this hub. Whether its key may make it is not known yet.
#[derive(Debug)]
pub struct Checked {
    claim: LoginClaim,
    key: PublicKey,
    scopes: Scopes,
    expires_at: Timestamp,
    nonce_ends: Timestamp,
}

impl Checked {
    /// Checks everything about a claim that needs no database.
    ///
    /// # Errors
    /// [`AuthError::Refused`].
    pub fn new(config: &Config, hub_key: &PublicKey, envelope: &Envelope, now: Timestamp) -> Result<Self, AuthError> {
        if envelope.payload_type != payload_type(KIND) {
            return Err(AuthError::Refused("the envelope is not a sign-in claim"));
        }
        let (payload, key) = envelope.open().map_err(|_| AuthError::Refused("the signature does not hold"))?;
        let claim: LoginClaim = canonical::from_bytes(&payload)
            .map_err(|_| AuthError::Refused("the claim is not a canonical sign-in claim"))?;
        if claim.audience != *hub_key {
            return Err(AuthError::Refused("the claim is meant for another hub"));
        }
        let skew_ms = seconds_ms(config.clock_skew_max_s);
        if claim.timestamp.0.abs_diff(now.0) > skew_ms.unsigned_abs() {
            return Err(AuthError::Refused("the claim's time differs too much from the hub's: check the clock"));
        }
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !NONCE_CHARACTERS.contains(&claim.nonce.len()) || !claim.nonce.bytes().all(word) {
            return Err(AuthError::Refused("the nonce is not 22 to 64 letters, digits, '-' and '_'"));
        }
        if claim.label.len() > MAX_LABEL_BYTES {
            return Err(AuthError::Refused("the label is longer than 100 bytes"));
        }
        let scopes =
            Scopes::parse(&claim.scopes).filter(|s| !s.is_empty()).ok_or(AuthError::Refused("unknown scopes"))?;
        let lifetime_s = match u64::try_from(claim.lifetime_s) {
            Ok(0) => config.login_token_lifetime_s,
            Ok(wanted) if wanted <= config.token_max_lifetime_s => wanted,
            _ => return Err(AuthError::Refused("the token would live longer than the hub permits")),
        };
        let expires_at = now.plus_ms(seconds_ms(lifetime_s));
        // After this instant the claim is refused for its age, so the nonce need not be remembered longer.
        let nonce_ends = claim.timestamp.plus_ms(skew_ms.saturating_add(1));
        Ok(Self { claim, key, scopes, expires_at, nonce_ends })
    }

    /// Who claims.
    #[must_use]
    pub const fn party(&self) -> &PartyId {
        &self.claim.party
    }

    /// Refuses unless the key may claim this for its party now.
    ///
    /// # Errors
    /// [`AuthError::Refused`], which does not tell an unknown party from a foreign key.
    pub async fn authorize(&self, tx: &mut Tx, keys: &dyn KeyDirectory) -> Result<(), AuthError> {
        match keys.login_scopes(tx, &self.claim.party, &self.key).await? {
            Some(most) if self.scopes.within(most) => Ok(()),
            Some(_) => Err(AuthError::Refused("this key may not claim these scopes")),
            None => Err(AuthError::Refused("this key may not sign in for this party")),
        }
    }

    /// Uses up the nonce and makes the token, in one transaction.
    ///
    /// # Errors
    /// [`AuthError::Refused`] when the nonce was used before.
    pub async fn issue(&self, tx: &mut Tx, config: &Config, now: Timestamp) -> Result<Login, AuthError> {
        use_nonce(tx, &self.key, &self.claim.nonce, self.nonce_ends, now).await?;
        let new = NewToken {
            party: self.claim.party.clone(),
            scopes: self.scopes,
            label: self.claim.label.clone(),
            expires_at: self.expires_at,
        };
        let (id, token) = issue(tx, &new, config.max_tokens, now).await?;
        Ok(Login { token, id, scopes: self.scopes, expires_at: self.expires_at })
    }
}

async fn use_nonce(
    tx: &mut Tx,
    key: &PublicKey,
    nonce: &str,
    ends: Timestamp,
    now: Timestamp,
) -> Result<(), AuthError> {
    sqlx::query("DELETE FROM nonces WHERE expires_at < $1").bind(now.0).execute(&mut **tx).await?;
    // Bound to the key, so that nobody can use up another's nonce.
    let bound = Digest::of_parts(&[key.as_bytes(), nonce.as_bytes()]).hex();
    let fresh = sqlx::query("INSERT INTO nonces (nonce, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(bound)
        .bind(ends.0)
        .execute(&mut **tx)
        .await?
        .rows_affected();
    if fresh == 1 { Ok(()) } else { Err(AuthError::Refused("the nonce was used before")) }
}

fn seconds_ms(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)
}
