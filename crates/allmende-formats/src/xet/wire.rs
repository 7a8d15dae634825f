//! What clients and a storage server say to each other beside xorbs, shards and reconstructions.
//!
//! Which requests there are, in which order, and what clients make of each status stands in
//! `docs/decisions/0012-xet-formats-of-our-own.md`. (As in `xet-client` 1.8.0.)

use serde::{Deserialize, Serialize};

use super::hash::XetHash;

/// The header of clients that groups the requests of one transfer.
pub const SESSION_HEADER: &str = "x-xet-session-id";
/// The header of servers that names a request in clients' logs.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// The header of clients that names the parts of a file about to change, as `bytes=first-last,…`.
pub const DIRTY_RANGES_HEADER: &str = "x-range-dirty";
/// Longest line of an answer to `POST /v2/shards` that clients read, in bytes.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// The answer of the hub's `GET …/xet-read-token/{rev}` and `…/xet-write-token/{rev}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Where the storage is, without a `/` at the end.
    pub cas_url: String,
    /// Until when the token holds, in seconds since 1970. Clients ask for another 30 s before.
    pub exp: u64,
    /// The bearer token for the storage.
    pub access_token: String,
}

/// The answer of `POST /v1/xorbs/{prefix}/{hash}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct XorbUploaded {
    /// Whether the xorb was not there before. Clients only log it.
    pub was_inserted: bool,
}

/// The checksum of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "algo", content = "value", rename_all = "lowercase")]
pub enum Checksum {
    /// CRC-64/NVME in decimal digits.
    Crc64Nvme(String),
}

/// What `POST /v1/xorb-grants/{prefix}/{hash}` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// Bytes of the xorb as it will be sent.
    pub length: u64,
    /// Their checksum.
    pub checksum: Checksum,
}

/// The answer with status 201: how to send the xorb to a store directly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The name to commit it by; not empty, `.` or `..`.
    pub id: String,
    /// HTTP's method.
    pub method: String,
    /// Where to.
    pub url: String,
    /// All headers to send, exactly. No token goes with them.
    pub headers: std::collections::BTreeMap<String, String>,
}

/// The answer of `POST /v1/shards`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardUploaded {
    /// Whether something was registered.
    pub result: ShardResult,
    /// The hash under which the server keeps the shard, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_hash: Option<XetHash>,
}

/// Whether a shard was known. A number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum ShardResult {
    /// It was: 0.
    Exists,
    /// It was registered: 1.
    Registered,
}

impl From<ShardResult> for u8 {
    fn from(result: ShardResult) -> Self {
        match result {
            ShardResult::Exists => 0,
            ShardResult::Registered => 1,
        }
    }
}

impl TryFrom<u8> for ShardResult {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::Exists),
            1 => Ok(Self::Registered),
            _ => Err("the result of a shard is 0 or 1"),
        }
    }
}

/// One line of the answer of `POST /v2/shards`, which ends with [`Self::Result`] or [`Self::Error`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ShardEvent {
    /// The shard is being checked.
    Validating {
        /// Checks done.
        verified: u64,
        /// Checks known of so far.
        total: u64,
    },
    /// The shard is being kept.
    Committing {
        /// What is being done.
        stage: CommitStage,
    },
    /// It was registered. Nothing else is read afterwards.
    Result,
    /// It was not. The status of the answer was 200 before.
    Error {
        /// What the user is shown.
        message: String,
        /// Whether the client should send the whole shard again.
        #[serde(default)]
        retryable: bool,
    },
}

/// What is being done to keep a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitStage {
    /// Its bytes are written.
    Uploading,
    /// Its files and chunks are registered.
    Syncing,
}

impl ShardEvent {
    /// The line, with its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        // A struct of texts and numbers is always written.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}
