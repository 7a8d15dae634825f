//! What is said of bundles and mirrors, and asked of them: REST, command line and console share it.

use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::import::Brought;
use super::store::{Mirror, Rewritten};
use crate::repo::Repo;

/// What came of a bundle that was brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleTaken {
    /// The repository here, as in `models/owner/name`.
    pub repository: String,
    /// Whether it is new.
    pub created: bool,
    /// Who signed the bundle.
    pub signer: String,
    /// The repository that it was made of, `owner/name` on the hub of that name.
    pub source: String,
    /// That hub.
    pub hub: String,
    /// Branches and tags that moved.
    pub refs_moved: u64,
    /// Those that went elsewhere than onward, or away.
    pub refs_rewritten: u64,
    /// Large files that came, whole or in part.
    pub large_files: u64,
    /// Bytes of chunks in the bundle.
    pub chunk_bytes: u64,
    /// Bytes that were stored of them.
    pub stored_bytes: u64,
    /// Large files that the history names and the source does not have.
    pub lacking: u64,
}

/// A repository as the command line and the API say it.
#[must_use]
pub fn path(repo: &Repo) -> String {
    format!("{}/{}", repo.kind.plural(), repo.full_name())
}

impl From<&Brought> for BundleTaken {
    fn from(brought: &Brought) -> Self {
        let Brought { repo, created, manifest, applied } = brought;
        Self {
            repository: path(repo),
            created: *created,
            signer: String::new(),
            source: manifest.repository.name.clone(),
            hub: manifest.hub.clone(),
            refs_moved: applied.moved.len() as u64,
            refs_rewritten: applied.rewritten.len() as u64,
            large_files: manifest.large_files,
            chunk_bytes: manifest.xorb_bytes(),
            stored_bytes: applied.stored_bytes,
            lacking: applied.lacking,
        }
    }
}

/// A mirror to be, or a change of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MirrorWanted {
    /// The other hub's address, `https://…`.
    pub url: String,
    /// The repository there, `owner/name`; it is of the same kind.
    pub source: String,
    /// A token of the other hub that may read it. Without one the mirror keeps the token that it has; with an empty one it
    /// has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Seconds between two looks; 0 is when asked alone.
    #[serde(default = "hourly")]
    pub every_s: u64,
    /// The key that signs what comes, `ed25519:…`; without it the first that comes is kept to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// SHA-256 of the other hub's TLS public key, `sha256:…`, where its certificate is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_pin: Option<String>,
    /// Whether files that run code may stand in it, where it is new.
    #[serde(default)]
    pub pickles_allowed: bool,
}

const fn hourly() -> u64 {
    3_600
}

/// How a mirror stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MirrorState {
    /// Nothing came yet.
    Waiting,
    /// Something is on its way.
    Syncing,
    /// It stands as its source stood at `synced_at`.
    Current,
    /// The last look failed; it stands as it stood before.
    Failed,
}

/// A mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirrorView {
    /// The repository here, as in `models/owner/name`.
    pub repository: String,
    /// The other hub's address; empty where bundles are brought.
    pub url: String,
    /// `owner/name` there.
    pub source: String,
    /// The key that signs what comes; empty until something came.
    pub signer: String,
    /// How it stands.
    pub state: MirrorState,
    /// Why the last look failed; for those who administrate it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Seconds between two looks; 0 is when asked alone.
    pub every_s: u64,
    /// When it is looked at next, in milliseconds since 1970.
    pub next_at: Option<i64>,
    /// When it was last known to be all there is, in milliseconds since 1970.
    pub synced_at: Option<i64>,
    /// When what stands here was made there, in milliseconds since 1970.
    pub made_at: Option<i64>,
    /// Bytes on the wire, of what is under way or came last.
    pub fetched_bytes: u64,
    /// Bytes of chunks that were stored of it.
    pub stored_bytes: u64,
    /// Large files that the history names and the source does not have.
    pub lacking: u64,
    /// Branches and tags that went elsewhere than onward, latest last.
    pub rewritten: Vec<Rewritten>,
}

impl MirrorView {
    /// A mirror at this time, for one who administrates it or not.
    #[must_use]
    pub fn of(repo: &Repo, mirror: &Mirror, now: Timestamp, administrates: bool) -> Self {
        let state = if mirror.busy_until > now {
            MirrorState::Syncing
        } else if !mirror.error.is_empty() {
            MirrorState::Failed
        } else if mirror.synced_at.is_some() {
            MirrorState::Current
        } else {
            MirrorState::Waiting
        };
        Self {
            repository: path(repo),
            url: mirror.url.clone(),
            source: mirror.source.clone(),
            signer: mirror.signer.map_or_else(String::new, |key| key.to_string()),
            state,
            error: Some(mirror.error.clone()).filter(|error| administrates && !error.is_empty()),
            every_s: mirror.every_s,
            next_at: mirror.next_at.map(|at| at.0),
            synced_at: mirror.synced_at.map(|at| at.0),
            made_at: Some(mirror.made_at.0).filter(|at| *at > 0),
            fetched_bytes: mirror.fetched_bytes,
            stored_bytes: mirror.stored_bytes,
            lacking: mirror.lacking,
            rewritten: mirror.rewritten.clone(),
        }
    }
}
