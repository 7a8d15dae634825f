//! The key of a log or of a witness as tools are configured with it (C2SP signed-note, "verifier key"):
//! `name+hexadecimal key id+base64(type ‖ key)`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{TYPE_COSIGNATURE_V1, TYPE_ED25519, key_id};
use crate::digest::{from_hex, to_hex};
use crate::id::Origin;
use crate::signature::PublicKey;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Checkpoints of its own log, whose origin is the key's name.
    Log,
    /// Cosignatures on the checkpoints of others.
    Witness,
}

impl Role {
    const fn signature_type(self) -> u8 {
        match self {
            Self::Log => TYPE_ED25519,
            Self::Witness => TYPE_COSIGNATURE_V1,
        }
    }
}

/// Why a text is no verifier key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no verifier key: {0}; write it as name+key id+base64, like its owner published it")]
pub struct InvalidVerifierKey(&'static str);

/// A key with its name and what it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    /// The name under which it signs; for a log its origin.
    pub name: Origin,
    /// The key.
    pub key: PublicKey,
    /// What it signs.
    pub role: Role,
}

impl VerifierKey {
    fn id(&self) -> [u8; 4] {
        key_id(&self.name, self.role.signature_type(), &self.key)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.role.signature_type()], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, to_hex(&self.id()), STANDARD.encode(typed))
    }
}

impl FromStr for VerifierKey {
    type Err = InvalidVerifierKey;

    fn from_str(text: &str) -> Result<Self, InvalidVerifierKey> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(typed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidVerifierKey("it has not three parts"));
        };
        let name = name.parse().map_err(|_| InvalidVerifierKey("the form of its name"))?;
        let typed = STANDARD.decode(typed).map_err(|_| InvalidVerifierKey("the key is not base64"))?;
        let (role, key) = match typed.split_first() {
            Some((&TYPE_ED25519, key)) => (Role::Log, key),
            Some((&TYPE_COSIGNATURE_V1, key)) => (Role::Witness, key),
            _ => return Err(InvalidVerifierKey("neither an Ed25519 log's nor a cosignature/v1 witness's key")),
        };
        let key = key.try_into().map_err(|_| InvalidVerifierKey("the key is not 32 bytes"))?;
        let key = PublicKey::from_bytes(key).map_err(|_| InvalidVerifierKey("the bytes are no key"))?;
        let verifier = Self { name, key, role };
        if from_hex::<4>(id) == Some(verifier.id()) {
            Ok(verifier)
        } else {
            Err(InvalidVerifierKey("its key id does not belong to name and key"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::SecretKey;

    /// The example of the Go reference implementation's documentation (golang.org/x/mod/sumdb/note).
    #[test]
    fn the_reference_s_key() {
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let read: VerifierKey = text.parse().expect("the reference's own");
        assert_eq!((read.name.as_str(), read.role, read.to_string().as_str()), ("PeterNeumann", Role::Log, text));
    }

    #[test]
    fn keys_have_one_spelling_and_say_what_they_sign() {
        for role in [Role::Log, Role::Witness] {
            let key = VerifierKey {
                name: "w.example/1".parse().expect("valid"),
                key: SecretKey::from_seed(&[3; 32]).public(),
                role,
            };
            let text = key.to_string();
            assert_eq!(text.parse(), Ok(key));
            for bad in [
                text.replacen("w.", "v.", 1),
                text.replacen('+', " ", 1),
                text.to_uppercase(),
                text[..text.len() - 4].to_owned(),
                format!("{text}AAAA"),
                format!("{text}\n"),
                String::new(),
            ] {
                assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
            }
        }
    }
}
