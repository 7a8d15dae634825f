//! Checkpoints: what a log commits to, signed by the log and cosigned by its witnesses.
//!
//! Formats: C2SP signed-note, tlog-checkpoint and tlog-cosignature (<https://c2sp.org/signed-note> and its neighbours).
//! Extension lines are refused: nobody audits them, so nobody should be asked to sign them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::id::Origin;
use crate::ledger::merkle::MAX_SIZE;
use crate::signature::{PublicKey, SecretKey, Signature};

/// Largest signed checkpoint, in bytes.
pub const MAX_NOTE_BYTES: usize = 64 << 10;
/// Most signatures on one checkpoint.
pub const MAX_NOTE_SIGNATURES: usize = 64;

/// Signature type byte of a plain Ed25519 note signature.
pub(super) const TYPE_ED25519: u8 = 0x01;
/// Signature type byte of a timestamped Ed25519 cosignature.
pub(super) const TYPE_COSIGNATURE_V1: u8 = 0x04;

/// Why a checkpoint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Past [`MAX_NOTE_BYTES`].
    #[error("a signed checkpoint of {size_bytes} bytes; at most {MAX_NOTE_BYTES}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// Past [`MAX_NOTE_SIGNATURES`].
    #[error("a checkpoint carries at most {MAX_NOTE_SIGNATURES} signatures")]
    TooManySignatures,
    /// A line is not as the format asks; the text says which.
    #[error("malformed checkpoint: {0}")]
    Malformed(&'static str),
    /// The log's own signature is not on it.
    #[error("no signature of {name} with the expected key")]
    Unsigned {
        /// The log's name.
        name: Origin,
    },
    /// A signature that names the log's key does not match.
    #[error("the signature of {name} does not match")]
    BadSignature {
        /// The log's name.
        name: Origin,
    },
}

use CheckpointError::Malformed;

/// What a log commits to: at this size its Merkle tree has this root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The note's text, the bytes that are signed: origin, size and base64 root, a line each.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    fn parse_text(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split_terminator('\n');
        let mut line = |what| lines.next().ok_or(Malformed(what));
        let origin = line("no origin")?.parse().map_err(|_| Malformed("the origin's form"))?;
        let size: u64 = line("no size")?.parse().map_err(|_| Malformed("the size is no number"))?;
        let root = STANDARD.decode(line("no root")?).ok().and_then(|root| root.try_into().ok());
        let root = Digest(root.ok_or(Malformed("the root is not 32 bytes in base64"))?);
        if size > MAX_SIZE {
            return Err(Malformed("the size is beyond what a log may hold"));
        }
        let checkpoint = Self { origin, size, root };
        // One spelling only: no leading zeros or signs, no extension lines.
        if checkpoint.text() == text { Ok(checkpoint) } else { Err(Malformed("not exactly origin, size and root")) }
    }

    /// The log's signature, as a note signature of type 0x01.
    #[must_use]
    pub fn sign(&self, name: &Origin, key: &SecretKey) -> NoteSignature {
        let signature = key.sign(self.text().as_bytes());
        NoteSignature {
            name: name.to_string(),
            key_id: key_id(name, TYPE_ED25519, &key.public()),
            blob: signature.as_bytes().to_vec(),
        }
    }

    /// A witness's cosignature/v1: at `time_s` (Unix seconds) this is the largest consistent tree that it has seen.
    /// A time beyond 2^63 − 1 is held there, as the format demands.
    ///
    /// The signed message does not name the witness, so a key must cosign under one name only.
    #[must_use]
    pub fn cosign(&self, name: &Origin, key: &SecretKey, time_s: u64) -> NoteSignature {
        let time_s = time_s.min(i64::MAX as u64);
        let signature = key.sign(&cosigned_message(time_s, &self.text()));
        NoteSignature {
            name: name.to_string(),
            key_id: key_id(name, TYPE_COSIGNATURE_V1, &key.public()),
            blob: [time_s.to_be_bytes().as_slice(), signature.as_bytes()].concat(),
        }
    }
}

fn cosigned_message(time_s: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{text}").into_bytes()
}

/// `SHA-256(name ‖ 0x0A ‖ type ‖ key)[:4]`.
pub(super) fn key_id(name: &Origin, signature_type: u8, key: &PublicKey) -> [u8; 4] {
    let digest = Digest::of_parts(&[name.as_str().as_bytes(), b"\n", &[signature_type], key.as_bytes()]).0;
    [digest[0], digest[1], digest[2], digest[3]]
}

/// One signature line of a note, of whatever type: `— name base64(key id ‖ blob)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; 4],
    blob: Vec<u8>,
}

impl NoteSignature {
    /// Who is said to have signed. Means nothing until verified.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn is_by(&self, name: &Origin, key_id: [u8; 4]) -> bool {
        self.name == name.as_str() && self.key_id == key_id
    }

    /// The time (Unix seconds) of a valid cosignature by this witness over `checkpoint`; `None` when it is anything else.
    #[must_use]
    pub fn cosigned_at_s(&self, checkpoint: &Checkpoint, name: &Origin, key: &PublicKey) -> Option<u64> {
        if !self.is_by(name, key_id(name, TYPE_COSIGNATURE_V1, key)) {
            return None;
        }
        let (time, signature) = self.blob.split_first_chunk::<8>()?;
        let time_s = u64::from_be_bytes(*time);
        let signature = Signature::from_bytes(signature.try_into().ok()?);
        let valid =
            time_s <= i64::MAX as u64 && key.verify(&cosigned_message(time_s, &checkpoint.text()), &signature).is_ok();
        valid.then_some(time_s)
    }
}

impl fmt::Display for NoteSignature {
    /// The line without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.as_slice(), &self.blob].concat();
        write!(f, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for NoteSignature {
    type Err = CheckpointError;

    fn from_str(line: &str) -> Result<Self, CheckpointError> {
        if line.len() > MAX_NOTE_BYTES {
            return Err(CheckpointError::TooLarge { size_bytes: line.len() });
        }
        let (name, base64) = line
            .strip_prefix("— ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or(Malformed("a signature line reads '— name base64'"))?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(Malformed("the name in a signature line"));
        }
        let bytes = STANDARD.decode(base64).map_err(|_| Malformed("a signature is not base64"))?;
        match bytes.split_first_chunk::<4>() {
            Some((key_id, blob)) if !blob.is_empty() => {
                Ok(Self { name: name.to_owned(), key_id: *key_id, blob: blob.to_vec() })
            }
            _ => Err(Malformed("a signature is shorter than 5 bytes")),
        }
    }
}

/// A checkpoint with signatures. Written as the note itself. Nothing in it is to be believed before
/// [`Self::verify_log_signature`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What is signed.
    pub checkpoint: Checkpoint,
    signatures: Vec<NoteSignature>,
}

impl SignedCheckpoint {
    /// A checkpoint with the log's signature on it.
    #[must_use]
    pub fn sign(checkpoint: Checkpoint, name: &Origin, key: &SecretKey) -> Self {
        let signatures = vec![checkpoint.sign(name, key)];
        Self { checkpoint, signatures }
    }

    /// Reads a note: at most [`MAX_NOTE_BYTES`] and [`MAX_NOTE_SIGNATURES`], at least one signature, nothing left over.
    ///
    /// # Errors
    /// [`CheckpointError`] names what is wrong.
    pub fn parse(note: &str) -> Result<Self, CheckpointError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(CheckpointError::TooLarge { size_bytes: note.len() });
        }
        // The text holds no empty line, so the first one ends it.
        let (text, lines) = note.split_once("\n\n").ok_or(Malformed("no empty line before the signatures"))?;
        let checkpoint = Checkpoint::parse_text(&note[..=text.len()])?;
        let lines = lines.strip_suffix('\n').ok_or(Malformed("the last line does not end"))?;
        if lines.split('\n').nth(MAX_NOTE_SIGNATURES).is_some() {
            return Err(CheckpointError::TooManySignatures);
        }
        let signatures = lines.split('\n').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { checkpoint, signatures })
    }

    /// The note's text, the bytes that are signed.
    #[must_use]
    pub fn text(&self) -> String {
        self.checkpoint.text()
    }

    /// The signature lines in the note's order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature line, in place of an older one of the same name and key.
    ///
    /// # Errors
    /// [`CheckpointError::TooManySignatures`] or [`CheckpointError::TooLarge`] past the limits.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), CheckpointError> {
        let same = |s: &NoteSignature| s.name == signature.name && s.key_id == signature.key_id;
        let kept: Vec<NoteSignature> = self.signatures.iter().filter(|s| !same(s)).cloned().collect();
        let mut next = Self { checkpoint: self.checkpoint.clone(), signatures: kept };
        next.signatures.push(signature);
        if next.signatures.len() > MAX_NOTE_SIGNATURES {
            return Err(CheckpointError::TooManySignatures);
        }
        let size_bytes = next.to_string().len();
        if size_bytes > MAX_NOTE_BYTES {
            return Err(CheckpointError::TooLarge { size_bytes });
        }
        *self = next;
        Ok(())
    }

    /// Checks that the log `name` signed this with `key`. Lines of unknown keys are ignored, as the format demands.
    ///
    /// # Errors
    /// [`CheckpointError::Unsigned`] when no line names this key, [`CheckpointError::BadSignature`] when one does and is false.
    pub fn verify_log_signature(&self, name: &Origin, key: &PublicKey) -> Result<(), CheckpointError> {
        let id = key_id(name, TYPE_ED25519, key);
        let text = self.text();
        let mut found = false;
        for line in self.signatures.iter().filter(|line| line.is_by(name, id)) {
            let signature = line.blob.as_slice().try_into().map(Signature::from_bytes);
            if !signature.is_ok_and(|signature| key.verify(text.as_bytes(), &signature).is_ok()) {
                return Err(CheckpointError::BadSignature { name: name.clone() });
            }
            found = true;
        }
        if found { Ok(()) } else { Err(CheckpointError::Unsigned { name: name.clone() }) }
    }

    /// The witnesses with a valid cosignature on this checkpoint, in the order given, each with its latest time in Unix
    /// seconds. A false or unknown line counts for nothing, and a key counts once, whatever names it is listed under.
    #[must_use]
    pub fn cosignatures(&self, witnesses: &[(Origin, PublicKey)]) -> Vec<(Origin, u64)> {
        let mut out = Vec::new();
        let mut counted: Vec<&PublicKey> = Vec::new();
        for (name, key) in witnesses.iter() {
            let times = self.signatures.iter().filter_map(|line| line.cosigned_at_s(&self.checkpoint, name, key));
            if let Some(time_s) = times.max().filter(|_| !counted.contains(&key)) {
                counted.push(key);
                out.push((name.clone(), time_s));
            }
        }
        out
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text())?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl FromStr for SignedCheckpoint {
    type Err = CheckpointError;
    fn from_str(note: &str) -> Result<Self, CheckpointError> {
        Self::parse(note)
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
as_text!(NoteSignature, SignedCheckpoint);

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
