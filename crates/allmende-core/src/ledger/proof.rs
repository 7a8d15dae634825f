//! A receipt: one file that proves offline that an entry stands in a log. C2SP tlog-proof (<https://c2sp.org/tlog-proof>).
//!
//! The optional `extra` field carries the entry's bytes here. The format does not authenticate that field, but
//! verification hashes it into the tree, so a changed entry is noticed like any other change.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::id::Origin;
use crate::ledger::checkpoint::{CheckpointError, MAX_NOTE_BYTES, SignedCheckpoint};
use crate::ledger::merkle::{self, Hash, MerkleError};
use crate::ledger::tile::MAX_ENTRY_BYTES;
use crate::signature::PublicKey;

/// The first line of every proof.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Most hashes in a proof: the height of the tallest tree that a 64-bit size allows.
pub const MAX_PROOF_HASHES: usize = 63;
/// Largest receipt, in bytes: the entry in base64, the hashes, the checkpoint and the short lines between.
pub const MAX_RECEIPT_BYTES: usize = MAX_ENTRY_BYTES.div_ceil(3) * 4 + MAX_PROOF_HASHES * 45 + MAX_NOTE_BYTES + 128;

/// Proof that an entry stands at an index of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's bytes, where the receipt carries them.
    pub entry: Option<Vec<u8>>,
    /// Its place in the log, from 0.
    pub index: u64,
    /// The audit path, sibling first.
    pub hashes: Vec<Hash>,
    /// The checkpoint that the path leads to, with the signatures of log and witnesses.
    pub checkpoint: SignedCheckpoint,
}

/// Why a receipt was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Past [`MAX_RECEIPT_BYTES`].
    #[error("a receipt of {size_bytes} bytes; at most {MAX_RECEIPT_BYTES}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// A line is not as the format asks; the text says which.
    #[error("malformed receipt: {0}")]
    Malformed(&'static str),
    /// The checkpoint in it is malformed or not signed by the log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not where the receipt says.
    #[error(transparent)]
    Merkle(#[from] MerkleError),
    /// The checkpoint is of another log.
    #[error("the receipt is of the log {got}, not of {expected}")]
    Origin {
        /// The log asked about.
        expected: Origin,
        /// The log that the receipt names.
        got: Origin,
    },
    /// The receipt carries no entry, or another one than was given.
    #[error("the receipt does not carry this entry")]
    Entry,
}

use ReceiptError::Malformed;

impl Receipt {
    /// Reads a receipt.
    ///
    /// # Errors
    /// [`ReceiptError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        if text.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::TooLarge { size_bytes: text.len() });
        }
        let (head, note) = text.split_once("\n\n").ok_or(Malformed("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(Malformed("the first line is not c2sp.org/tlog-proof@v1"));
        }
        let entry = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            Some(base64) => {
                lines.next();
                Some(STANDARD.decode(base64).map_err(|_| Malformed("the extra line is not base64"))?)
            }
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or(Malformed("the index line"))?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == MAX_PROOF_HASHES {
                return Err(Malformed("more than 63 hashes"));
            }
            let hash = STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            hashes.push(Digest(hash.ok_or(Malformed("a hash is not 32 bytes in base64"))?));
        }
        Ok(Self { entry, index, hashes, checkpoint: SignedCheckpoint::parse(note)? })
    }

    /// Checks that `entry` stands at the index of the log `origin`, whose key is `key`. How many witnesses must have
    /// cosigned is for the caller to ask of [`SignedCheckpoint::cosignatures`].
    ///
    /// # Errors
    /// [`ReceiptError`] names the first thing that is wrong.
    pub fn verify(&self, entry: &[u8], origin: &Origin, key: &PublicKey) -> Result<(), ReceiptError> {
        if self.entry.as_deref().is_some_and(|own| own != entry) {
            return Err(ReceiptError::Entry);
        }
        let checkpoint = &self.checkpoint.checkpoint;
        if checkpoint.origin != *origin {
            return Err(ReceiptError::Origin { expected: origin.clone(), got: checkpoint.origin.clone() });
        }
        self.checkpoint.verify_log_signature(origin, key)?;
        let leaf = merkle::leaf_hash(entry);
        Ok(merkle::verify_inclusion(&leaf, self.index, checkpoint.size, &self.hashes, &checkpoint.root)?)
    }

    /// Like [`Self::verify`] for the entry that the receipt itself carries, which it returns.
    ///
    /// # Errors
    /// [`ReceiptError`], [`ReceiptError::Entry`] when it carries none.
    pub fn verify_own(&self, origin: &Origin, key: &PublicKey) -> Result<&[u8], ReceiptError> {
        let entry = self.entry.as_deref().ok_or(ReceiptError::Entry)?;
        self.verify(entry, origin, key)?;
        Ok(entry)
    }
}

/// An unsigned decimal number without sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(entry) = &self.entry {
            writeln!(f, "extra {}", STANDARD.encode(entry))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;
    fn from_str(text: &str) -> Result<Self, ReceiptError> {
        Self::parse(text)
    }
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::checkpoint::Checkpoint;
    use crate::signature::SecretKey;

    fn origin() -> Origin {
        "hub.example/handwriting".parse().expect("valid")
    }

    fn key() -> SecretKey {
        SecretKey::from_seed(&[9; 32])
    }

    fn entry(i: u64) -> Vec<u8> {
        format!("entry {i}").into_bytes()
    }

    fn receipt(index: u64, size: u64, carry: bool) -> Receipt {
        let leaves: Vec<Hash> = (0..size).map(|i| merkle::leaf_hash(&entry(i))).collect();
        let checkpoint = Checkpoint { origin: origin(), size, root: merkle::root_of(&leaves) };
        Receipt {
            entry: carry.then(|| entry(index)),
            index,
            hashes: merkle::inclusion_proof(index, size, merkle::leaves_source(&leaves)).expect("in range"),
            checkpoint: SignedCheckpoint::sign(checkpoint, &origin(), &key()),
        }
    }

    #[test]
    fn the_format_is_the_specification_s() {
        let text = receipt(2, 3, false).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["c2sp.org/tlog-proof@v1", "index 2"]);
        assert_eq!((lines[2].len(), lines[3], lines[4], lines[5]), (44, "", "hub.example/handwriting", "3"));
        let carried = receipt(0, 1, true).to_string();
        assert!(carried.starts_with("c2sp.org/tlog-proof@v1\nextra ZW50cnkgMA==\nindex 0\n\nhub.example/"));
        assert_eq!(carried.parse(), Ok(receipt(0, 1, true)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = receipt(2, 5, true);
        let public = key().public();
        assert_eq!(good.verify_own(&origin(), &public), Ok(entry(2).as_slice()));
        assert_eq!(good.verify(&entry(3), &origin(), &public), Err(ReceiptError::Entry));
        let without = Receipt { entry: None, ..good.clone() };
        assert_eq!(without.verify(&entry(2), &origin(), &public), Ok(()));
        assert_eq!(without.verify(&entry(3), &origin(), &public), Err(MerkleError::Root.into()));
        assert_eq!(without.verify_own(&origin(), &public), Err(ReceiptError::Entry));
        let other: Origin = "elsewhere".parse().expect("valid");
        assert!(matches!(good.verify(&entry(2), &other, &public), Err(ReceiptError::Origin { .. })));
        let stranger = SecretKey::from_seed(&[1; 32]).public();
        assert!(matches!(good.verify(&entry(2), &origin(), &stranger), Err(ReceiptError::Checkpoint(_))));
    }

    #[test]
    fn loose_text_is_refused() {
        let text = receipt(2, 5, true).to_string();
        for bad in [
            text.replace("@v1", "@v2"),
            text.replace("index 2", "index 02"),
            text.replace("index 2", "index +2"),
            text.replace("index 2\n", ""),
            text.replace("extra ", "extra  "),
            text.replace("\n\nhub", "\n\n\nhub"),
            text.replacen("\nindex 2", "\nextra AA==\nindex 2", 1),
            text.replacen(
                "index 2\n",
                &format!("index 2\n{}", format!("{}\n", STANDARD.encode([0; 32])).repeat(64)),
                1,
            ),
            text.replacen("index 2\n", "index 2\nAAAA\n", 1),
            format!("{text}\n"),
            text.replace("c2sp", "\nc2sp"),
            String::new(),
        ] {
            assert!(bad.parse::<Receipt>().is_err(), "{bad}");
        }
        assert!(matches!("x".repeat(1 << 20).parse::<Receipt>(), Err(ReceiptError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(size in 1_u64..40, index: u64, at: usize, bit in 0_u8..8) {
            let good = receipt(index % size, size, true);
            let text = good.to_string();
            prop_assert_eq!(text.parse::<Receipt>(), Ok(good));
            let mut bytes = text.into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let holds = String::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<Receipt>().ok())
                .is_some_and(|receipt| receipt.verify_own(&origin(), &key().public()).is_ok());
            prop_assert!(!holds);
        }
    }
}
