//! Ed25519 keys and signatures. Verification is strict: no small-order keys, one encoding for each signature.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{from_hex, to_hex};

/// A public key, written `ed25519:` and 64 lower-case hexadecimal digits. The text is its own fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A detached signature, written in standard base64 with padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// A private key. Made from 32 bytes that the caller takes from the operating system; never printed, wiped on drop.
pub struct SecretKey(SigningKey);

/// Why a key or a signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// The key's text is malformed or not a point of the curve's main group.
    #[error("a public key is written 'ed25519:' and 64 lower-case hexadecimal digits of a valid point")]
    Key,
    /// The signature's text is not 64 bytes in strict base64.
    #[error("a signature is 64 bytes in standard base64 with padding")]
    Encoding,
    /// The signature does not belong to this key and message.
    #[error("the signature does not match")]
    Mismatch,
}

impl PublicKey {
    /// Takes the 32 bytes of a key.
    ///
    /// # Errors
    /// [`InvalidSignature::Key`] when they are no usable point.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidSignature> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            _ => Err(InvalidSignature::Key),
        }
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks that `signature` is this key's over `message`.
    ///
    /// # Errors
    /// [`InvalidSignature::Mismatch`] when it is not.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| InvalidSignature::Key)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature).map_err(|_| InvalidSignature::Mismatch)
    }

    /// The first twelve hexadecimal digits, for people to recognize.
    #[must_use]
    pub fn short(&self) -> String {
        to_hex(&self.0[..6])
    }
}

impl SecretKey {
    /// The key that these 32 random bytes make.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32 bytes to keep, encrypted or with owner-only permission.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().short())
    }
}

impl Signature {
    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Takes 64 bytes as they are; verification judges them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", to_hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}…", self.short())
    }
}

impl FromStr for PublicKey {
    type Err = InvalidSignature;
    fn from_str(text: &str) -> Result<Self, InvalidSignature> {
        let bytes = text.strip_prefix("ed25519:").and_then(from_hex).ok_or(InvalidSignature::Key)?;
        Self::from_bytes(bytes)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = InvalidSignature;
    fn from_str(text: &str) -> Result<Self, InvalidSignature> {
        let bytes = STANDARD.decode(text).map_err(|_| InvalidSignature::Encoding)?;
        bytes.try_into().map(Self).map_err(|_| InvalidSignature::Encoding)
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(PublicKey, Signature);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_1() {
        let seed = from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").expect("hex");
        let key = SecretKey::from_seed(&seed);
        assert_eq!(
            key.public().to_string(),
            "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let signature = key.sign(b"");
        assert_eq!(
            to_hex(signature.as_bytes()),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        );
        assert_eq!(key.public().verify(b"", &signature), Ok(()));
        assert_eq!(key.public().verify(b"x", &signature), Err(InvalidSignature::Mismatch));
    }

    #[test]
    fn weak_keys_and_loose_text_are_refused() {
        assert_eq!(PublicKey::from_bytes([0; 32]), Err(InvalidSignature::Key));
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(identity), Err(InvalidSignature::Key));
        let signature = SecretKey::from_seed(&[7; 32]).sign(b"m").to_string();
        assert!(signature.parse::<Signature>().is_ok());
        assert!(signature.trim_end_matches('=').parse::<Signature>().is_err());
        assert!(signature.replace('=', "==").parse::<Signature>().is_err());
    }
}
