//! Invitations: codes with which parties register on a hub that is not open to everybody.
//!
//! A code is shown once and kept as a hash. It is good until it expires, for a number of parties, and for one party alone
//! if it names that. It is used up before the party stands in the log, bound to the party and its root key: after a crash
//! in between, the same party with the same key uses it again, and nobody else can.

use allmende_core::digest::{Digest, to_hex};
use allmende_core::id::PartyId;
use allmende_core::signature::PublicKey;
use allmende_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;

use crate::db::{DbError, Tx, to_i64, to_u64};

/// Most parties that one code may register.
pub const MAX_USES: u64 = 1_000;
/// Longest validity of a code, in milliseconds: a year.
pub const MAX_VALID_MS: u64 = 365 * 86_400_000;
/// Most codes that may be open at the same time.
const MAX_OPEN: i64 = 1_000;
/// How a code begins.
const PREFIX: &str = "inv_";

/// A code's secret text, `inv_` and 32 hexadecimal digits: people read it to each other. Never printed by `Debug`.
pub struct InvitationCode(Zeroizing<String>);

impl InvitationCode {
    /// The text to hand to whoever is invited.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for InvitationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InvitationCode(…)")
    }
}

/// An invitation to make.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// The only party that may use it, if it is for one.
    pub party: Option<PartyId>,
    /// How many parties may use it.
    pub uses: u64,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// An invitation as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its public id.
    pub id: String,
    /// The only party that may use it, if it is for one.
    pub party: Option<PartyId>,
    /// How many parties may use it.
    pub uses: u64,
    /// Who has used it, in order.
    pub used_by: Vec<PartyId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Why an invitation was not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness,
    /// Outside the bounds.
    #[error("{0}")]
    Bounds(String),
    /// The hub asks for one, and none was sent.
    #[error("this hub registers parties by invitation, and none was sent")]
    Needed,
    /// The code is not good for this party now.
    #[error("the invitation {0}")]
    Refused(&'static str),
}

impl From<sqlx::Error> for InvitationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// 128 random bits need no slow hash. The id is the beginning of the hash, and does not tell the code.
fn identify(secret: &str) -> (String, Digest) {
    let hash = Digest::of(secret.as_bytes());
    (to_hex(&hash.0[..6]), hash)
}

/// Makes an invitation. Its code exists only in the answer.
///
/// # Errors
/// [`InvitationError::Bounds`] names the bound that it breaks.
pub async fn create(
    tx: &mut Tx,
    new: &NewInvitation,
    now: Timestamp,
) -> Result<(String, InvitationCode), InvitationError> {
    let bounds = |text: String| Err(InvitationError::Bounds(text));
    if !(1..=MAX_USES).contains(&new.uses) {
        return bounds(format!("an invitation is for 1 to {MAX_USES} parties"));
    }
    if new.party.is_some() && new.uses != 1 {
        return bounds("an invitation for one party is used once".to_owned());
    }
    let valid_ms = new.expires_at.0.saturating_sub(now.0);
    if !(1..=MAX_VALID_MS).contains(&u64::try_from(valid_ms).unwrap_or(0)) {
        return bounds("an invitation is valid for a year at most".to_owned());
    }
    let open: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM invitations WHERE revoked_at IS NULL AND expires_at > $1
         AND uses > (SELECT COUNT(*) FROM invitation_uses WHERE invitation = invitations.id)",
    )
    .bind(now.0)
    .fetch_one(&mut **tx)
    .await?;
    if open >= MAX_OPEN {
        return bounds(format!("{MAX_OPEN} invitations are open: revoke those that are not needed"));
    }
    let mut random = Zeroizing::new([0; 16]);
    getrandom::fill(&mut *random).map_err(|_| InvitationError::Randomness)?;
    let code = InvitationCode(Zeroizing::new(format!("{PREFIX}{}", to_hex(&*random))));
    let (id, hash) = identify(code.secret());
    sqlx::query(
        "INSERT INTO invitations (id, hash, party, uses, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&id)
    .bind(hash.0.as_slice())
    .bind(new.party.as_ref().map(PartyId::as_str))
    .bind(to_i64(new.uses)?)
    .bind(now.0)
    .bind(new.expires_at.0)
    .execute(&mut **tx)
    .await?;
    Ok((id, code))
}

fn party(column: &'static str, text: String) -> Result<PartyId, DbError> {
    text.parse().map_err(|_| DbError::Corrupt { column, message: text })
}

fn invitation(row: &AnyRow) -> Result<Invitation, DbError> {
    Ok(Invitation {
        id: row.try_get(0)?,
        party: row.try_get::<Option<String>, _>(1)?.map(|text| party("invitations.party", text)).transpose()?,
        uses: to_u64("invitations.uses", row.try_get(2)?)?,
        used_by: Vec::new(),
        created_at: Timestamp(row.try_get(3)?),
        expires_at: Timestamp(row.try_get(4)?),
        revoked_at: row.try_get::<Option<i64>, _>(5)?.map(Timestamp),
    })
}

async fn used_by(connection: &mut AnyConnection, id: &str) -> Result<Vec<(PartyId, String)>, DbError> {
    let rows = sqlx::query("SELECT party, root FROM invitation_uses WHERE invitation = $1 ORDER BY used_at, party")
        .bind(id)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((party("invitation_uses.party", row.try_get(0)?)?, row.try_get(1)?))).collect()
}

/// All invitations, oldest first.
///
/// # Errors
/// [`DbError`].
pub async fn list(connection: &mut AnyConnection) -> Result<Vec<Invitation>, DbError> {
    let rows = sqlx::query(
        "SELECT id, party, uses, created_at, expires_at, revoked_at FROM invitations ORDER BY created_at, id",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut found = rows.iter().map(invitation).collect::<Result<Vec<_>, _>>()?;
    for one in &mut found {
        one.used_by = used_by(connection, &one.id).await?.into_iter().map(|(party, _)| party).collect();
    }
    Ok(found)
}

/// Revokes an invitation. Says whether there was one to revoke.
///
/// # Errors
/// [`DbError`].
pub async fn revoke(tx: &mut Tx, id: &str, now: Timestamp) -> Result<bool, DbError> {
    let done = sqlx::query("UPDATE invitations SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Uses `code` up for a party with this root key. The same party with the same key may do so again.
///
/// # Errors
/// [`InvitationError::Refused`] says why it is not good; whoever holds a code may know.
pub async fn take(
    tx: &mut Tx,
    code: &str,
    party: &PartyId,
    root: &PublicKey,
    now: Timestamp,
) -> Result<(), InvitationError> {
    let refused = |why| Err(InvitationError::Refused(why));
    let row =
        sqlx::query("SELECT id, party, uses, created_at, expires_at, revoked_at FROM invitations WHERE hash = $1")
            .bind(identify(code).1.0.as_slice())
            .fetch_optional(&mut **tx)
            .await?;
    let Some(row) = row else { return refused("is unknown to this hub") };
    let found = invitation(&row)?;
    if found.revoked_at.is_some() {
        return refused("was revoked");
    }
    let used = used_by(tx, &found.id).await?;
    let root = root.to_string();
    if used.iter().any(|(who, key)| who == party && *key == root) {
        return Ok(());
    }
    if found.expires_at <= now {
        return refused("has expired");
    }
    if found.party.as_ref().is_some_and(|only| only != party) {
        return refused("is for another party");
    }
    if used.len() as u64 >= found.uses || used.iter().any(|(who, _)| who == party) {
        return refused("was used already");
    }
    sqlx::query("INSERT INTO invitation_uses (invitation, party, root, used_at) VALUES ($1, $2, $3, $4)")
        .bind(&found.id)
        .bind(party.as_str())
        .bind(root)
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Forgets invitations that ended before `before`. Gives their number.
///
/// # Errors
/// [`DbError`].
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64, DbError> {
    let done = sqlx::query("DELETE FROM invitations WHERE expires_at < $1 OR revoked_at < $1").bind(before.0);
    let forgotten = done.execute(&mut **tx).await?.rows_affected();
    sqlx::query("DELETE FROM invitation_uses WHERE invitation NOT IN (SELECT id FROM invitations)")
        .execute(&mut **tx)
        .await?;
    Ok(forgotten)
}
