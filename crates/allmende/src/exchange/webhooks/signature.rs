//! Secrets of webhooks: what is signed with them, and how they lie in the database.

use allmende_core::digest::to_hex;
use allmende_core::signature::SecretKey;
use zeroize::Zeroizing;

use super::Webhook;
use crate::account::AccountError;
use crate::db::DbError;
use crate::hmac;
use crate::secret::{self, Purpose};

/// The header with the signature: `t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA256 under the secret of the seconds, a dot,
/// and the body.
pub const HEADER: &str = "x-allmende-signature";

/// The value of the header for a body that is sent at `at_s`.
#[must_use]
pub fn sign(secret: &str, at_s: i64, body: &[u8]) -> String {
    let digest = hmac::sha256(secret.as_bytes(), &[at_s.to_string().as_bytes(), b".", body]);
    format!("t={at_s},v1={}", to_hex(&digest.0))
}

/// The secret as it may lie in the database: it opens with the hub's key, for this webhook alone.
pub(super) fn close(hub_key: &SecretKey, webhook: &Webhook) -> Result<Vec<u8>, AccountError> {
    let closed = secret::close(hub_key, Purpose::Webhook, &webhook.id, &webhook.secret);
    closed.map_err(|_| AccountError::Randomness)
}

/// What was closed.
pub(super) fn open(hub_key: &SecretKey, id: &str, kept: &[u8]) -> Result<Zeroizing<String>, DbError> {
    let opened = secret::open(hub_key, Purpose::Webhook, id, kept);
    opened.map_err(|e| DbError::Corrupt { column: "webhooks.secret", message: e.to_string() })
}
