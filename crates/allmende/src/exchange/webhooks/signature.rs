//! Secrets of webhooks: what is signed with them, and how they lie in the database.

use allmende_core::digest::{Digest, to_hex};
use allmende_core::signature::SecretKey;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::Webhook;
use crate::account::AccountError;
use crate::db::DbError;
use crate::hmac;

/// The header with the signature: `t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA256 under the secret of the seconds, a dot,
/// and the body.
pub const HEADER: &str = "x-allmende-signature";
/// Bytes of a sealed secret's nonce, which stands in front of it.
const NONCE_BYTES: usize = 24;

/// The value of the header for a body that is sent at `at_s`.
#[must_use]
pub fn sign(secret: &str, at_s: i64, body: &[u8]) -> String {
    let digest = hmac::sha256(secret.as_bytes(), &[at_s.to_string().as_bytes(), b".", body]);
    format!("t={at_s},v1={}", to_hex(&digest.0))
}

fn cipher(hub_key: &SecretKey) -> XChaCha20Poly1305 {
    let seed = Zeroizing::new(hub_key.seed());
    let key = Zeroizing::new(Digest::of_parts(&[b"allmende: secrets of webhooks\n", &*seed]).0);
    XChaCha20Poly1305::new(&(*key).into())
}

fn broken() -> DbError {
    DbError::Corrupt { column: "webhooks.secret", message: "it does not open with this hub's key".to_owned() }
}

/// The secret as it may lie in the database: it opens with the hub's key, for this webhook alone.
pub(super) fn close(hub_key: &SecretKey, webhook: &Webhook) -> Result<Vec<u8>, AccountError> {
    if webhook.secret.is_empty() {
        return Ok(Vec::new());
    }
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| AccountError::Randomness)?;
    let payload = Payload { msg: webhook.secret.as_bytes(), aad: webhook.id.as_bytes() };
    let closed = cipher(hub_key).encrypt(&nonce.into(), payload).map_err(|_| broken())?;
    Ok([&nonce[..], &closed].concat())
}

/// What was closed.
pub(super) fn open(hub_key: &SecretKey, id: &str, kept: &[u8]) -> Result<Zeroizing<String>, DbError> {
    if kept.is_empty() {
        return Ok(Zeroizing::default());
    }
    let (nonce, msg) = kept.split_first_chunk::<NONCE_BYTES>().ok_or_else(broken)?;
    let payload = Payload { msg, aad: id.as_bytes() };
    let text = cipher(hub_key).decrypt(&(*nonce).into(), payload).map_err(|_| broken())?;
    String::from_utf8(text).map(Zeroizing::new).map_err(|_| broken())
}
