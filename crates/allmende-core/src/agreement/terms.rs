//! The terms: the one text that every party signs.
//!
//! Written in TOML, signed as canonical JSON. [`Terms`] is valid from the moment it exists and cannot be changed, so its
//! digest is computed once and everything downstream may rely on its rules.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::clause::Clause;
use super::vocabulary::{Language, Purpose};
use crate::canonical;
use crate::digest::Digest;
use crate::id::{ClauseId, CollaborationId, Origin, PartyId};
use crate::signature::PublicKey;
use crate::time::Date;

mod validate;

/// The vocabulary that this program writes. Older ones stay judged for ever.
pub const VOCABULARY: u32 = 1;
/// Largest TOML text, in bytes.
pub const MAX_TOML_BYTES: usize = 64 * 1024;
/// Largest canonical JSON, in bytes: it must fit into a log record after two rounds of base64 and JSON.
pub const MAX_CANONICAL_BYTES: usize = 36 * 1024;
/// Most clauses.
pub const MAX_CLAUSES: usize = 200;
/// Most parties.
pub const MAX_PARTIES: usize = 64;
/// Most assets, parties or sizes in one list of a clause.
pub const MAX_LIST: usize = 64;
/// Longest title, signatory or name of a document, in bytes.
pub const MAX_LINE_BYTES: usize = 200;
/// Longest free text, in bytes.
pub const MAX_NOTE_BYTES: usize = 4_000;
/// Longest notice of withdrawal, in days.
pub const MAX_NOTICE_DAYS: u32 = 3_650;

/// A party of the terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatory {
    /// Which party.
    pub id: PartyId,
    /// Its governance key; the text of the key is its fingerprint.
    pub key: PublicKey,
    /// In which office its representative signs: a title such as "managing director", by default no person's name,
    /// because a log never forgets.
    pub signatory: String,
}

/// Everything that the terms say, before it is validated by [`TermsText::seal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsText {
    /// Which closed vocabulary the clauses are written in.
    pub vocabulary: u32,
    /// What the agreement is called.
    pub title: String,
    /// What the results may be for.
    pub purpose: Vec<Purpose>,
    /// First day, UTC.
    pub starts: Date,
    /// Last day, UTC, inclusive.
    pub ends: Date,
    /// Three capital letters of ISO 4217.
    pub currency: String,
    /// The language whose prose prevails over the other's.
    pub language: Language,
    /// The collaboration.
    pub collaboration: CollaborationId,
    /// The log that signatures and everything later stand in.
    pub origin: Origin,
    /// The hub's key, so that no hub can be swapped for another.
    pub hub_key: PublicKey,
    /// Last day on which the offer can be accepted.
    pub offer_expires: Date,
    /// The paper contract that these terms annex; it prevails where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Digest>,
    /// The terms that these replace once in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Digest>,
    /// Free text about the whole. Not enforced by software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who signs.
    pub parties: Vec<Signatory>,
    /// What is agreed.
    #[serde(default)]
    pub clause: Vec<Clause>,
}

/// Valid terms. Reads like a [`TermsText`], whose fields it dereferences to.
#[derive(Clone, PartialEq, Eq)]
pub struct Terms {
    text: TermsText,
    canonical: Vec<u8>,
    digest: Digest,
}

/// Why terms cannot be proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTerms {
    /// Larger than terms may be.
    #[error("{what}: {got}, the limit is {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// Not TOML; the text says where.
    #[error("not TOML: {0}")]
    Toml(String),
    /// A field is missing, unknown or of another type; the text names the field and the clause.
    #[error("{0}")]
    Shape(String),
    /// Not strict canonical JSON.
    #[error(transparent)]
    Json(#[from] canonical::Error),
    /// JSON that says the same but is not how these terms are written, for instance with a default left out.
    #[error("the JSON is not exactly what these terms are written as: every default stands in it and no null does")]
    NotExact,
    /// The vocabulary is not one that this program knows.
    #[error("vocabulary {0} is not known; this program knows {VOCABULARY}")]
    Vocabulary(u32),
    /// A text holds a character that can make a contract read differently from what it says.
    #[error("{at}: the character {character:?} may not stand here")]
    Character {
        /// The field, with the clause if in one.
        at: String,
        /// The first such character.
        character: char,
    },
    /// A clause breaks a rule.
    #[error("clause {clause}, {field}: {rule}")]
    Clause {
        /// The clause.
        clause: ClauseId,
        /// The field at fault.
        field: &'static str,
        /// The rule it broke.
        rule: String,
    },
    /// A field outside the clauses breaks a rule.
    #[error("{field}: {rule}")]
    Field {
        /// The field at fault.
        field: &'static str,
        /// The rule it broke.
        rule: String,
    },
}

impl TermsText {
    /// Validates the text and makes terms of it.
    ///
    /// # Errors
    /// [`InvalidTerms`] names the first rule that is broken and where.
    pub fn seal(self) -> Result<Terms, InvalidTerms> {
        validate::validate(&self)?;
        let canonical = canonical::to_bytes(&self)?;
        if canonical.len() > MAX_CANONICAL_BYTES {
            return Err(InvalidTerms::TooLarge {
                what: "bytes of canonical JSON",
                got: canonical.len(),
                limit: MAX_CANONICAL_BYTES,
            });
        }
        let digest = Digest::of(&canonical);
        Ok(Terms { text: self, canonical, digest })
    }

    /// The party's entry, if it is one of the terms.
    #[must_use]
    pub fn party(&self, id: &PartyId) -> Option<&Signatory> {
        self.parties.iter().find(|p| &p.id == id)
    }

    /// Whether assets under this owner's name fall under the terms: a party's own, or the collaboration's joint results.
    #[must_use]
    pub fn is_owner(&self, owner: &PartyId) -> bool {
        self.party(owner).is_some() || owner.as_str() == self.collaboration.as_str()
    }

    /// The clause with this number.
    #[must_use]
    pub fn find(&self, id: &ClauseId) -> Option<&Clause> {
        self.clause.iter().find(|c| &c.id == id)
    }
}

impl Terms {
    /// Reads what people write.
    ///
    /// # Errors
    /// [`InvalidTerms`] names the first rule that is broken and where.
    pub fn from_toml(text: &str) -> Result<Self, InvalidTerms> {
        if text.len() > MAX_TOML_BYTES {
            return Err(InvalidTerms::TooLarge { what: "bytes of TOML", got: text.len(), limit: MAX_TOML_BYTES });
        }
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| InvalidTerms::Toml(e.to_string()))?;
        let value = from_toml_value(toml::Value::Table(table), 0)?;
        read(value)?.seal()
    }

    /// Reads the bytes that are signed.
    ///
    /// # Errors
    /// [`InvalidTerms`] names the first rule that is broken; bytes in any other spelling are refused.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, InvalidTerms> {
        if bytes.len() > MAX_CANONICAL_BYTES {
            return Err(InvalidTerms::TooLarge {
                what: "bytes of canonical JSON",
                got: bytes.len(),
                limit: MAX_CANONICAL_BYTES,
            });
        }
        Self::from_json(canonical::from_bytes(bytes)?)
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The digest of the bytes that are signed: the name of these terms for ever.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The text, to write an amended version from.
    #[must_use]
    pub const fn text(&self) -> &TermsText {
        &self.text
    }

    fn from_json(value: Value) -> Result<Self, InvalidTerms> {
        let given = canonical::to_bytes(&value)?;
        let terms = read(value)?.seal()?;
        // What was signed and what is judged by must be the same to the byte.
        if terms.canonical == given { Ok(terms) } else { Err(InvalidTerms::NotExact) }
    }
}

impl Deref for Terms {
    type Target = TermsText;
    fn deref(&self) -> &TermsText {
        &self.text
    }
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Terms({:?} {:?})", self.text.title, self.digest)
    }
}

impl Serialize for Terms {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Terms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(value).map_err(serde::de::Error::custom)
    }
}

/// The vocabulary is looked at first: fields of a later one must not be reported as mistakes.
fn read(value: Value) -> Result<TermsText, InvalidTerms> {
    if let Some(version) = value.get("vocabulary").and_then(Value::as_u64)
        && version != u64::from(VOCABULARY)
    {
        return Err(InvalidTerms::Vocabulary(u32::try_from(version).unwrap_or(u32::MAX)));
    }
    serde_json::from_value(value).map_err(|e| InvalidTerms::Shape(e.to_string()))
}

fn from_toml_value(value: toml::Value, depth: usize) -> Result<Value, InvalidTerms> {
    if depth > canonical::MAX_DEPTH {
        return Err(InvalidTerms::Toml(format!("nested deeper than {} levels", canonical::MAX_DEPTH)));
    }
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Boolean(flag) => Value::Bool(flag),
        toml::Value::Datetime(day) => Value::String(day.to_string()),
        toml::Value::Float(number) => {
            return Err(InvalidTerms::Toml(format!("{number} is not a whole number; signed terms carry no others")));
        }
        toml::Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| from_toml_value(item, depth + 1)).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(key, item)| Ok((key, from_toml_value(item, depth + 1)?)))
                .collect::<Result<_, InvalidTerms>>()?,
        ),
    })
}
