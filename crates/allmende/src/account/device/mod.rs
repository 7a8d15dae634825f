//! Sign-in of a device that has no browser, RFC 8628: the device asks for a code, a person who is signed in types it on a
//! page, or the operator in a command, and the device fetches a token of that person's account.
//!
//! Both codes are good once and for minutes, and the database alone gives neither away. A token that comes of it may no more
//! than the token that it was approved with, lasts no longer, and is none at all if that one ended meanwhile.

mod store;

use allmende_core::digest::Digest;
use allmende_core::signature::SecretKey;
use allmende_core::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::AnyConnection;
use zeroize::Zeroizing;

use super::token::{self, TokenInfo};
use super::{Account, AccountError, Grant, Rights};
use crate::db::{DbError, Tx};
use crate::error::{ApiError, Code};
use crate::hmac;

pub use store::forget;

/// How long the codes are good, in milliseconds.
pub const VALID_MS: i64 = 15 * 60 * 1_000;
/// How often a device may ask whether it was approved, in seconds; whoever asks more often has to wait longer.
pub const INTERVAL_S: i64 = 5;
/// Most sign-ins that wait at the same time, of all, and of one address.
const MAX_WAITING: i64 = 1_000;
const MAX_WAITING_OF_ADDRESS: i64 = 20;
/// Most unknown codes that an account may type within [`MISSES_MS`].
const MAX_MISSES: i64 = 10;
const MISSES_MS: i64 = 10 * 60 * 1_000;
/// Letters of a code: no vowels, so that no words come of it, and none that are mistaken for another.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LETTERS: usize = 8;
/// Most characters that are kept of what a device says of itself.
const MAX_SAID_CHARS: usize = 200;

/// Why a sign-in did not go on.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The account, the token or the database.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Nothing that waits has this code.
    #[error("no sign-in waits with this code: it is mistyped, over, or was decided already")]
    Unknown,
    /// Too many codes were mistyped.
    #[error("too many codes that nobody has: wait some minutes")]
    Guessing,
    /// Too many wait.
    #[error("too many sign-ins wait: finish or drop some, or come back in some minutes")]
    TooMany,
}

impl From<DbError> for DeviceError {
    fn from(error: DbError) -> Self {
        Self::Account(error.into())
    }
}

impl From<sqlx::Error> for DeviceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Account(error.into())
    }
}

impl From<DeviceError> for ApiError {
    fn from(error: DeviceError) -> Self {
        let text = error.to_string();
        match error {
            DeviceError::Account(inner) => inner.into(),
            DeviceError::Unknown => {
                Self::new(Code::NotFound, text).hint("codes hold 15 minutes: start the login again")
            }
            DeviceError::Guessing => Self::new(Code::TooMany, text).retry_after_s(600),
            DeviceError::TooMany => Self::new(Code::TooMany, text).retry_after_s(60),
        }
    }
}

/// The key over codes that people type, and over the forms in which they decide. It follows from the hub's.
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// The key of the hub with this key.
    #[must_use]
    pub fn of(hub_key: &SecretKey) -> Self {
        let seed = Zeroizing::new(hub_key.seed());
        Self(Zeroizing::new(Digest::of_parts(&[b"allmende: sign-in of devices\n", &*seed]).0))
    }

    fn code(&self, code: &UserCode) -> Digest {
        hmac::sha256(&*self.0, &[b"code\n", code.0.as_bytes()])
    }

    /// What a form carries that was shown to the holder of this token for this code: no other site knows it.
    #[must_use]
    pub fn seal(&self, token: &str, code: &UserCode) -> Digest {
        hmac::sha256(&*self.0, &[b"form\n", token.as_bytes(), b"\n", code.0.as_bytes()])
    }
}

/// A code as a person types it: eight letters, shown as `BCDF-GHJK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCode(String);

impl UserCode {
    /// Reads what somebody typed: letters of either case; dashes and spaces are of no account.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let typed = text.chars().filter(|c| *c != '-' && !c.is_whitespace()).map(|c| c.to_ascii_uppercase());
        let code: String = typed.collect();
        let fits = code.len() == CODE_LETTERS && code.bytes().all(|b| LETTERS.contains(&b));
        fits.then_some(Self(code))
    }

    fn new() -> Result<Self, AccountError> {
        let mut code = String::with_capacity(CODE_LETTERS);
        while code.len() < CODE_LETTERS {
            let mut random = [0; 16];
            getrandom::fill(&mut random).map_err(|_| AccountError::Randomness)?;
            // Each letter as likely as the others: 240 is twelve times 20.
            let letters =
                random.iter().filter(|byte| **byte < 240).map(|byte| char::from(LETTERS[usize::from(byte % 20)]));
            code.extend(letters.take(CODE_LETTERS - code.len()));
        }
        Ok(Self(code))
    }
}

impl std::fmt::Display for UserCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, second) = self.0.split_at(CODE_LETTERS / 2);
        write!(f, "{first}-{second}")
    }
}

/// What is known of a device that asks: its own word, and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// The client's id.
    pub client: String,
    /// The program, as it calls itself.
    pub agent: String,
    /// Where the request came from.
    pub address: String,
}

impl Asking {
    /// With texts that can be shown: short, on one line, of visible characters.
    #[must_use]
    pub fn new(client: &str, agent: &str, address: String) -> Self {
        let plain = |text: &str| {
            text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_SAID_CHARS).collect::<String>()
        };
        Self { client: plain(client), agent: plain(agent), address }
    }
}

/// A sign-in that was begun. The codes exist only here.
pub struct Begun {
    /// What the device asks again with.
    pub device: Zeroizing<String>,
    /// What the person types.
    pub code: UserCode,
}

/// A sign-in that waits for a person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who asks.
    pub asking: Asking,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What is lent to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// Whose token it will be.
    pub account: String,
    /// What it may do.
    pub rights: Rights,
    /// When it ends.
    pub ends_at: Timestamp,
    /// The id of the token that it is lent by; none for the operator.
    pub approver: Option<String>,
}

impl Loan {
    /// What the holder of `token` can lend: no more than it may, to read alone if `read_only`, and no longer than it lasts.
    #[must_use]
    pub fn of(account: &Account, token: &TokenInfo, read_only: bool, ends_at: Timestamp) -> Self {
        let rights = match (&token.rights, read_only) {
            (Rights::Read | Rights::Write, true) => Rights::Read,
            (Rights::FineGrained { grants }, true) => {
                let reading = grants.iter().map(|grant| Grant { place: grant.place.clone(), write: false });
                Rights::FineGrained { grants: reading.collect() }
            }
            (rights, false) => rights.clone(),
        };
        let ends_at = token.expires_at.map_or(ends_at, |end| end.min(ends_at));
        Self { account: account.id.clone(), rights, ends_at, approver: Some(token.id.clone()) }
    }
}

/// What a device is told that asks again.
#[derive(Debug)]
pub enum Told {
    /// Nobody has decided.
    Pending,
    /// It asks too often.
    SlowDown,
    /// A person said no, or the token that was lent by ended.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// This hub knows no such code, or its token was fetched already.
    Unknown,
    /// The token, and when it ends.
    Token(Zeroizing<String>, Timestamp),
}

/// Begins a sign-in.
///
/// # Errors
/// [`DeviceError::TooMany`].
pub async fn begin(tx: &mut Tx, key: &Key, asking: &Asking, now: Timestamp) -> Result<Begun, DeviceError> {
    if store::waiting(tx, None, now).await? >= MAX_WAITING
        || store::waiting(tx, Some(&asking.address), now).await? >= MAX_WAITING_OF_ADDRESS
    {
        return Err(DeviceError::TooMany);
    }
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *random).map_err(|_| AccountError::Randomness)?;
    let device = Zeroizing::new(URL_SAFE_NO_PAD.encode(*random));
    loop {
        let code = UserCode::new()?;
        if store::insert(tx, &Digest::of(device.as_bytes()), &key.code(&code), asking, now).await? {
            return Ok(Begun { device, code });
        }
    }
}

/// The sign-in that waits with this code. `typist` is the account that typed it: it may miss a few times only.
///
/// # Errors
/// [`DeviceError::Unknown`], [`DeviceError::Guessing`].
pub async fn look_up(
    tx: &mut Tx,
    key: &Key,
    typist: Option<&str>,
    code: &str,
    now: Timestamp,
) -> Result<Option<(UserCode, Waiting)>, DeviceError> {
    if let Some(typist) = typist
        && store::misses(tx, typist, now.plus_ms(-MISSES_MS)).await? >= MAX_MISSES
    {
        return Err(DeviceError::Guessing);
    }
    if let Some(code) = UserCode::parse(code)
        && let Some(waiting) = store::find(tx, &key.code(&code), now).await?
    {
        return Ok(Some((code, waiting)));
    }
    if let Some(typist) = typist {
        store::miss(tx, typist, now, now.plus_ms(-MISSES_MS)).await?;
    }
    Ok(None)
}

/// Writes what a person decided of a code: what they lend, or nothing.
///
/// # Errors
/// [`DeviceError::Unknown`] when it was decided already or is over.
pub async fn decide(
    tx: &mut Tx,
    key: &Key,
    code: &UserCode,
    loan: Option<&Loan>,
    now: Timestamp,
) -> Result<(), DeviceError> {
    if store::decide(tx, &key.code(code), loan, now).await? { Ok(()) } else { Err(DeviceError::Unknown) }
}

/// Whether somebody began a sign-in with this code: who asks with another one is not worth a transaction.
///
/// # Errors
/// [`DbError`].
pub async fn is_known(connection: &mut AnyConnection, device: &str) -> Result<bool, DbError> {
    Ok(store::kept(connection, &Digest::of(device.as_bytes())).await?.is_some())
}

/// Answers a device that asks again; once it was approved, with a token that nobody has seen before.
///
/// # Errors
/// [`DeviceError::Account`].
pub async fn ask(tx: &mut Tx, device: &str, client: &str, now: Timestamp) -> Result<Told, DeviceError> {
    let device = Digest::of(device.as_bytes());
    let Some(kept) = store::kept(tx, &device).await?.filter(|kept| kept.client == client) else {
        return Ok(Told::Unknown);
    };
    match (kept.state.as_str(), kept.loan) {
        ("denied", _) => Ok(Told::Denied),
        ("approved" | "pending", _) if kept.expires_at <= now => Ok(Told::Expired),
        ("pending", _) => {
            let next = kept.polled_at.map(|at| at.plus_ms(kept.interval_s.saturating_mul(1_000)));
            let early = next.is_some_and(|next| now < next);
            store::polled(tx, &device, kept.interval_s + if early { INTERVAL_S } else { 0 }, now).await?;
            Ok(if early { Told::SlowDown } else { Told::Pending })
        }
        ("approved", Some(loan)) => {
            let account = super::store::by_id(tx, &loan.account).await?;
            let lent = match &loan.approver {
                None => true,
                Some(id) => token::by_id(tx, id, now).await?.is_some_and(|(account, _)| account.id == loan.account),
            };
            let Some(account) = account.filter(|_| lent && loan.ends_at > now) else { return Ok(Told::Denied) };
            if !store::fetched(tx, &device).await? {
                return Ok(Told::Unknown);
            }
            let secret = token::new_secret()?;
            let label = format!("device login {}", now.to_string().chars().take(16).collect::<String>());
            token::issue(tx, &account, &secret, &label, &loan.rights, Some(loan.ends_at), now).await?;
            Ok(Told::Token(secret, loan.ends_at))
        }
        _ => Ok(Told::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_people_type_them() {
        let code = UserCode("BCDFGHJK".to_owned());
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "b-c-d-f-g-h-j-k"] {
            assert_eq!(UserCode::parse(typed).as_ref(), Some(&code), "{typed}");
        }
        for wrong in ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF-GHJ0", "ßCDFGHJ", &"-".repeat(100)] {
            assert_eq!(UserCode::parse(wrong), None, "{wrong}");
        }
        assert_eq!(code.to_string(), "BCDF-GHJK");
        let some: Vec<_> = (0..100).map(|_| UserCode::new().unwrap().to_string()).collect();
        assert!(some.iter().all(|code| UserCode::parse(code).is_some()));
        assert!(some.iter().any(|code| *code != some[0]));
    }

    #[test]
    fn what_a_device_says_of_itself_can_be_shown() {
        let asking = Asking::new("a\u{202e}b\n", &"x".repeat(1_000), String::new());
        assert_eq!((asking.client.as_str(), asking.agent.len()), ("ab", MAX_SAID_CHARS));
    }
}
