//! A signed statement on the wire and in the log: a DSSE envelope with exactly one Ed25519 signature, over strict canonical JSON.
//!
//! DSSE: <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>. What is signed is
//! `PAE(type, payload) = "DSSEv1" SP len(type) SP type SP len(payload) SP payload`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::digest::Digest;
use crate::signature::{PublicKey, SecretKey, Signature};
use crate::time::Timestamp;

/// Largest log record, in bytes: the length prefix of a tlog-tiles entry bundle is 16 bits.
pub const MAX_RECORD_BYTES: usize = u16::MAX as usize;

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// The signer's public key: the text of the key is its id.
    pub keyid: PublicKey,
    /// Over the pre-authentication encoding of type and payload.
    pub sig: Signature,
}

/// The envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The statement's canonical JSON in standard base64.
    pub payload: String,
    /// `application/vnd.allmende.<kind>.v1+json`.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// Exactly one.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One entry of a log: an envelope and when the hub took it. The bytes of its canonical JSON are the leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The hub's clock at arrival, never earlier than the entry before.
    pub arrived_at: Timestamp,
    /// What was signed.
    pub envelope: Envelope,
}

/// Why an envelope was refused before its statement was even read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Its JSON or its payload's JSON breaks a rule.
    #[error(transparent)]
    Json(#[from] canonical::Error),
    /// Not exactly one signature.
    #[error("an envelope carries exactly one signature, this one {0}")]
    SignatureCount(usize),
    /// The payload is not strict base64.
    #[error("the payload is not standard base64 with padding")]
    Base64,
    /// The signature does not match.
    #[error("signature of {keyid}: {source}")]
    Signature {
        /// The key named.
        keyid: PublicKey,
        /// Why.
        source: crate::signature::InvalidSignature,
    },
    /// Larger than a log record may be.
    #[error("{size_bytes} bytes; a log record holds at most {MAX_RECORD_BYTES}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
}

/// The media type of a statement kind.
#[must_use]
pub fn payload_type(kind: &str) -> String {
    format!("application/vnd.allmende.{kind}.v1+json")
}

fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Envelope {
    /// Signs `payload`, the canonical bytes of a statement of kind `kind`.
    #[must_use]
    pub fn seal(kind: &str, payload: &[u8], key: &SecretKey) -> Self {
        let payload_type = payload_type(kind);
        let sig = key.sign(&pre_authentication_encoding(&payload_type, payload));
        Self {
            payload: STANDARD.encode(payload),
            payload_type,
            signatures: vec![EnvelopeSignature { keyid: key.public(), sig }],
        }
    }

    /// Checks form and signature, and gives the payload's bytes and the key that signed. Whether that key may sign such
    /// a statement is for the state to say.
    ///
    /// # Errors
    /// [`EnvelopeError`] names what is wrong.
    pub fn open(&self) -> Result<(Vec<u8>, PublicKey), EnvelopeError> {
        let [signature] = self.signatures.as_slice() else {
            return Err(EnvelopeError::SignatureCount(self.signatures.len()));
        };
        let payload = self.payload_bytes()?;
        signature
            .keyid
            .verify(&pre_authentication_encoding(&self.payload_type, &payload), &signature.sig)
            .map_err(|source| EnvelopeError::Signature { keyid: signature.keyid, source })?;
        Ok((payload, signature.keyid))
    }

    /// The payload's bytes without checking the signature.
    ///
    /// # Errors
    /// [`EnvelopeError::Base64`].
    pub fn payload_bytes(&self) -> Result<Vec<u8>, EnvelopeError> {
        STANDARD.decode(&self.payload).map_err(|_| EnvelopeError::Base64)
    }
}

impl Record {
    /// The leaf bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`] past [`MAX_RECORD_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, EnvelopeError> {
        let bytes = canonical::to_bytes(self)?;
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(EnvelopeError::TooLarge { size_bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// Reads leaf bytes, which must be canonical.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(EnvelopeError::TooLarge { size_bytes: bytes.len() });
        }
        Ok(canonical::from_bytes(bytes)?)
    }

    /// The digest of the payload, by which statements refer to each other and repeat at most once.
    ///
    /// # Errors
    /// [`EnvelopeError::Base64`].
    pub fn payload_digest(&self) -> Result<Digest, EnvelopeError> {
        Ok(Digest::of(&self.envelope.payload_bytes()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dsse_known_answer() {
        // The protocol document's own example of the encoding.
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn any_change_is_noticed() {
        let key = SecretKey::from_seed(&[1; 32]);
        let envelope = Envelope::seal("test", b"{}", &key);
        assert_eq!(envelope.open(), Ok((b"{}".to_vec(), key.public())));
        let mut other = envelope.clone();
        other.payload_type = payload_type("other");
        assert!(matches!(other.open(), Err(EnvelopeError::Signature { .. })));
        let mut twice = envelope.clone();
        twice.signatures.push(twice.signatures[0].clone());
        assert_eq!(twice.open(), Err(EnvelopeError::SignatureCount(2)));
        let mut none = envelope.clone();
        none.signatures.clear();
        assert_eq!(none.open(), Err(EnvelopeError::SignatureCount(0)));
        let record = Record { arrived_at: Timestamp(5), envelope };
        let bytes = record.to_bytes().expect("small");
        assert_eq!(Record::from_bytes(&bytes), Ok(record));
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1;
            let same =
                Record::from_bytes(&flipped).is_ok_and(|r| r.envelope.open().is_ok() && r.arrived_at == Timestamp(5));
            assert!(!same, "byte {i}");
        }
    }
}
