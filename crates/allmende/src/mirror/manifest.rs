//! The manifest of a bundle: what is in it, signed by the hub that made it.

use allmende_core::canonical;
use allmende_core::digest::Digest;
use allmende_core::ledger::envelope::{Envelope, payload_type};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::time::Timestamp;
use allmende_formats::xet::XetHash;
use serde::{Deserialize, Serialize};

use super::MirrorError;
use crate::repo::Kind;

/// The kind of the envelope around a manifest: no statement of a log has it.
const KIND: &str = "repository.bundle";
/// The format that is written and read.
pub const FORMAT: u32 = 1;
/// Most commits that a bundle builds upon.
pub const MAX_SINCE: usize = 1_000;

/// Bytes and their digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: Digest,
}

impl Bytes {
    /// Of these.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: Digest::of(bytes) }
    }
}

/// A xorb of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentXorb {
    /// Its bytes as they are packed.
    pub bytes: u64,
    /// Its hash, which every chunk of it is in.
    pub hash: XetHash,
}

/// Which repository it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRepository {
    /// Its id on the hub that made the bundle: a name may come to mean another.
    pub id: String,
    /// What it holds, as in `model`.
    pub kind: String,
    /// `owner/name`.
    pub name: String,
}

/// What is in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The name of the hub that made it.
    pub hub: String,
    /// The repository.
    pub repository: SourceRepository,
    /// When, by that hub's clock.
    pub made_at: Timestamp,
    /// Whether its branches and tags are all that the repository has: others go then.
    pub whole: bool,
    /// The commits and tags that its reader must have, with all that they lead to.
    pub since: Vec<String>,
    /// Branches and tags.
    pub refs: Bytes,
    /// The pack.
    pub pack: Bytes,
    /// The list of large files.
    pub files: Bytes,
    /// How many large files there are in the list.
    pub large_files: u64,
    /// Their bytes, before any chunk is left out.
    pub large_bytes: u64,
    /// The xorbs, in their order.
    pub xorbs: Vec<SentXorb>,
}

impl Manifest {
    /// The signed bytes.
    ///
    /// # Errors
    /// [`MirrorError::Internal`] when it cannot be written.
    pub fn seal(&self, key: &SecretKey) -> Result<Vec<u8>, MirrorError> {
        let internal = |e: canonical::Error| MirrorError::Internal(e.to_string());
        let payload = canonical::to_bytes(self).map_err(internal)?;
        canonical::to_bytes(&Envelope::seal(KIND, &payload, key)).map_err(internal)
    }

    /// Reads signed bytes, and says who signed them. Whether that is whom one trusts is for the caller.
    ///
    /// # Errors
    /// [`MirrorError::Refused`].
    pub fn open(bytes: &[u8]) -> Result<(Self, PublicKey), MirrorError> {
        let no = |why: &dyn std::fmt::Display| MirrorError::Refused(format!("the bundle's manifest is refused: {why}"));
        let envelope: Envelope = canonical::from_bytes(bytes).map_err(|e| no(&e))?;
        let (payload, signer) = envelope.open().map_err(|e| no(&e))?;
        if envelope.payload_type != payload_type(KIND) {
            return Err(no(&"it is signed as something else"));
        }
        let manifest: Self = canonical::from_bytes(&payload).map_err(|e| no(&e))?;
        if manifest.format != FORMAT {
            return Err(no(&format!("it has format {}, only {FORMAT} is known", manifest.format)));
        }
        if manifest.since.len() > MAX_SINCE {
            return Err(no(&format!("it builds upon more than {MAX_SINCE} commits")));
        }
        manifest.kind().ok_or_else(|| no(&"it names no kind of repository with a history"))?;
        Ok((manifest, signer))
    }

    /// What the repository holds.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::parse(&self.repository.kind).filter(|kind| kind.has_history())
    }

    /// Bytes of the xorbs in it.
    #[must_use]
    pub fn xorb_bytes(&self) -> u64 {
        self.xorbs.iter().fold(0, |sum, xorb| sum.saturating_add(xorb.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            hub: "hub.example".to_owned(),
            repository: SourceRepository { id: "1".to_owned(), kind: "model".to_owned(), name: "ada/x".to_owned() },
            made_at: Timestamp(5),
            whole: true,
            since: Vec::new(),
            refs: Bytes::of(b"a"),
            pack: Bytes::of(b"b"),
            files: Bytes::of(b""),
            large_files: 0,
            large_bytes: 0,
            xorbs: vec![SentXorb { bytes: 7, hash: XetHash::from_bytes([3; 32]) }],
        }
    }

    #[test]
    fn a_changed_manifest_is_noticed() {
        let key = SecretKey::from_seed(&[4; 32]);
        let sealed = manifest().seal(&key).unwrap();
        assert_eq!(Manifest::open(&sealed).unwrap(), (manifest(), key.public()));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(Manifest::open(&changed).is_err(), "byte {at}");
        }
        let payload = canonical::to_bytes(&manifest()).unwrap();
        let other = canonical::to_bytes(&Envelope::seal("run.proposed", &payload, &key)).unwrap();
        assert!(Manifest::open(&other).is_err(), "signed for another purpose");
        for bad in [
            Manifest { format: 2, ..manifest() },
            Manifest {
                repository: SourceRepository { kind: "bucket".to_owned(), ..manifest().repository },
                ..manifest()
            },
            Manifest { since: vec![String::new(); MAX_SINCE + 1], ..manifest() },
        ] {
            assert!(Manifest::open(&bad.seal(&key).unwrap()).is_err());
        }
    }
}
