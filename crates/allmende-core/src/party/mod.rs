//! Parties and their keys: who may sign what, at this position of the log.
//!
//! A party has one root and one governance key at a time, any number of node keys, and perhaps a recovery key known by its
//! digest. A key is valid by log position, never by a claimed time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{Label, PartyId};
use crate::signature::PublicKey;
use crate::statement::KeyClass;

/// Most node keys of one party.
pub const MAX_NODES: usize = 64;

/// A party as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Its name.
    pub id: PartyId,
    /// The root key.
    pub root: PublicKey,
    /// The governance key; none after it was revoked and before it is rotated.
    pub governance: Option<PublicKey>,
    /// SHA-256 of the recovery key.
    pub recovery: Option<Digest>,
    /// Node keys that hold now, with the node's name.
    pub nodes: BTreeMap<PublicKey, Label>,
}

impl Party {
    /// Whether `key` is this party's key of class `class` now.
    #[must_use]
    pub fn holds(&self, class: KeyClass, key: &PublicKey) -> bool {
        match class {
            KeyClass::Root => self.root == *key,
            KeyClass::Governance => self.governance == Some(*key),
            KeyClass::Node => self.nodes.contains_key(key),
            KeyClass::Recovery => self.recovery == Some(Digest::of(key.as_bytes())),
            KeyClass::Hub => false,
        }
    }

    /// Whether `key` already serves this party in any class.
    #[must_use]
    pub fn uses(&self, key: &PublicKey) -> bool {
        KeyClass::ALL.iter().any(|&class| self.holds(class, key))
    }
}
