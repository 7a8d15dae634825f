//! Secrets of others that the hub has to say again later, such as tokens for other hubs: how they lie in the database.
//!
//! Each opens with the hub's key, for one purpose and one row alone: a copy of the database gives none of them away.

use allmende_core::digest::Digest;
use allmende_core::signature::SecretKey;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use zeroize::Zeroizing;

/// Bytes of the nonce, which stands in front.
const NONCE_BYTES: usize = 24;

/// What a secret is for: none of one purpose opens as another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What webhooks sign with.
    Webhook,
    /// What mirrors show their source.
    Mirror,
}

/// The operating system gave no randomness, or a secret does not open with this hub's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret cannot be sealed, or does not open with this hub's key")]
pub struct SecretError;

fn cipher(hub_key: &SecretKey, purpose: Purpose) -> XChaCha20Poly1305 {
    let label: &[u8] = match purpose {
        Purpose::Webhook => b"allmende: secrets of webhooks\n",
        Purpose::Mirror => b"allmende: tokens of mirrors\n",
    };
    let seed = Zeroizing::new(hub_key.seed());
    let key = Zeroizing::new(Digest::of_parts(&[label, &*seed]).0);
    XChaCha20Poly1305::new(&(*key).into())
}

/// The secret as it may lie in the row of this id; nothing stays nothing.
///
/// # Errors
/// [`SecretError`] without randomness.
pub fn close(hub_key: &SecretKey, purpose: Purpose, id: &str, secret: &str) -> Result<Vec<u8>, SecretError> {
    if secret.is_empty() {
        return Ok(Vec::new());
    }
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| SecretError)?;
    let payload = Payload { msg: secret.as_bytes(), aad: id.as_bytes() };
    let closed = cipher(hub_key, purpose).encrypt(&nonce.into(), payload).map_err(|_| SecretError)?;
    Ok([&nonce[..], &closed].concat())
}

/// What was closed.
///
/// # Errors
/// [`SecretError`] when it was closed otherwise.
pub fn open(hub_key: &SecretKey, purpose: Purpose, id: &str, kept: &[u8]) -> Result<Zeroizing<String>, SecretError> {
    if kept.is_empty() {
        return Ok(Zeroizing::default());
    }
    let (nonce, msg) = kept.split_first_chunk::<NONCE_BYTES>().ok_or(SecretError)?;
    let payload = Payload { msg, aad: id.as_bytes() };
    let text = cipher(hub_key, purpose).decrypt(&(*nonce).into(), payload).map_err(|_| SecretError)?;
    String::from_utf8(text).map(Zeroizing::new).map_err(|_| SecretError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_open_in_their_own_place_alone() {
        let (key, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let closed = close(&key, Purpose::Mirror, "a", "hf_x").unwrap();
        assert!(!closed.windows(4).any(|w| w == b"hf_x"));
        assert_eq!(open(&key, Purpose::Mirror, "a", &closed).unwrap().as_str(), "hf_x");
        assert!(open(&key, Purpose::Mirror, "b", &closed).is_err());
        assert!(open(&key, Purpose::Webhook, "a", &closed).is_err());
        assert!(open(&other, Purpose::Mirror, "a", &closed).is_err());
        assert_eq!(open(&key, Purpose::Mirror, "a", b"").unwrap().as_str(), "");
    }
}
