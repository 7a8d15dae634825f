//! What clients and a storage server say to each other beside xorbs, shards and reconstructions.
//!
//! Read from `xet-client` 1.8.0 and the releases of `xet-core` before it; paths are below the `casUrl` of [`Token`].
//!
//! # Paths
//!
//! | `hf_xet` | paths |
//! |---|---|
//! | up to 1.1.9 | `/xorb/{prefix}/{hash}`, `/shard/{prefix}/{hash}`, `/chunk/{prefix}/{hash}`, `/reconstruction/{file}` |
//! | 1.1.10 to 1.2 | `/xorbs/{prefix}/{hash}`, `/shards`, `/chunks/{prefix}/{hash}`, `/reconstructions/{file}` |
//! | since 1.3 | the same below `/v1` |
//! | since 1.5 | `/v2/reconstructions/{file}` first; 404 or 501 send a client back to `/v1`, which it remembers |
//! | since 1.6 | `/v2/shards` first, in the same way |
//! | since 1.8 | before each `POST /v1/xorbs/…` a `POST /v1/xorb-grants/…` |
//!
//! The prefix is `default`, for chunks, too; clients in browsers say `default-merkledb` for chunks.
//!
//! # What is sent
//!
//! - Xorbs have a footer (version 1) up to `hf_xet` 1.1.2, and none afterwards. They are filled up to 64 MiB of *unpacked*
//!   bytes, so those of noise are longer than 64 MiB: see [`MAX_CONTENT_BYTES`](super::xorb::MAX_CONTENT_BYTES).
//! - Shards have tables and a footer up to 1.1.5. From 1.1.6 they end after their sections; up to 1.2 their header says
//!   200 bytes of footer nevertheless, then 0. All files have range hashes; all but those of buckets a SHA-256. Xorbs say 0
//!   bytes on disk, and the offsets of chunks count unpacked bytes.
//! - All xorbs of a session are sent before its shards. A shard may name xorbs that other shards brought.
//!
//! # Requests
//!
//! All carry `Authorization: Bearer …` and [`SESSION_HEADER`], except those to a `url` in an answer, which carry no token:
//! such a URL has to be worth one itself. HTTP/1.1 only. The token is renewed 30 s before [`Token::exp`] by the
//! client's clock, never because of a 401.
//!
//! - `POST /v1/xorbs/{prefix}/{hash}`, body with its length → 200 [`XorbUploaded`].
//! - `POST /v1/xorb-grants/{prefix}/{hash}` with [`GrantRequest`] → 201 [`Grant`]; 200 with any body: the xorb is there,
//!   nothing is sent; 404: none are given, and the client sends `POST /v1/xorbs/…` (it asks again for the next xorb).
//!   Any other success is an error. Then the method, URL and headers of the grant, and only those, with the body: 2xx or
//!   412 are success, 409 is tried again, 400 and 403 ask for a new grant (3 in all), anything else falls back to
//!   `POST /v1/xorbs/…`. Then `POST /v1/xorb-commits/{prefix}/{hash}/grant/{id}` without a body → 2xx, or 404: nothing was
//!   sent under the grant, a new one is asked for.
//! - `POST /v1/shards` → 200 [`ShardUploaded`]; the client waits without limit.
//! - `POST /v2/shards` → 200, `application/x-ndjson`, [`ShardEvent`]s. Nothing for 300 s is a failure, so a line (the last
//!   one again) is due every 20 s. Empty lines and unknown types are skipped. An end without [`ShardEvent::Result`] or
//!   [`ShardEvent::Error`] is fatal; an error that is retryable sends the whole shard again.
//! - `GET /v1/chunks/{prefix}/{hash}` → 200 with the bytes of a shard ([`dedup_shard`](super::shard::dedup_shard)), 404 if
//!   none is known. Asked for the first chunk of each file and for eligible hashes, not more often than every 4 MiB or so.
//!   Any status but success is a miss, and 429 is not tried again.
//! - `GET /v2/reconstructions/{file}` and `/v1/…`, with `Range: bytes=first-last` over the file (windows of 256 MiB and
//!   more) → 200 with the JSON of [`reconstruction`](super::reconstruction); 416 behind the end of the file, which is how
//!   a download ends. A file of 0 bytes has no terms and is no 416 from byte 0.
//! - `GET` of a URL in it with `Range: bytes=first-last`, exactly as listed → 2xx with these bytes and no others. 403: the
//!   client asks for the reconstruction again. With several ranges in one request the answer is `multipart/byteranges`,
//!   each part with `Content-Range`.
//! - `GET /v1/reconstructions?file_id=…&file_id=…` → 200 [`BatchReconstruction`](super::reconstruction::BatchReconstruction).
//! - `GET /v2/file-chunk-hashes/{file}` with [`DIRTY_RANGES_HEADER`]: for writing into the middle of a file of a bucket
//!   only; not described here.
//! - `POST /v1/telemetry`: whatever is answered is ignored.
//!
//! # Retries
//!
//! 5xx except 501, 408, 429 and broken connections are tried again, five times, after at most 3, 9, 27, 81 and 243 s (a
//! random part of it). Other 4xx end the transfer at once. So refuse for good with 4xx, and say 503 for what passes.

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
