//! One typed method for each route of the hub.

use std::path::Path;

use allmende_core::digest::{Digest, Hasher, InvalidDigest};
use allmende_core::id::{AssetId, CollaborationId, InvalidId, Origin, PartyId, RunId};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::ledger::proof::MAX_RECEIPT_BYTES;
use allmende_core::ledger::tile::Tile;
use allmende_core::signature::PublicKey;
use allmende_core::statement::PROTOCOL;
use bytes::Bytes;
use reqwest::StatusCode;
use tokio::io::AsyncWriteExt as _;

use super::error::{ClientError, plain};
use super::http::{Call, HubClient, Kind, REQUEST_TIMEOUT_S, TRANSFER_TIMEOUT_S, next_chunk, pause};
use crate::api::{
    CollaborationSummary, Entries, Founding, Page, PartyView, Placed, PredictAnswer, PredictRequest, Registration,
    Submission, SyncAnswer, SyncRequest, UploadOpening, UploadStanding,
};
use crate::router::HubInfo;

/// Largest checkpoint, in bytes.
const MAX_CHECKPOINT_BYTES: u64 = allmende_core::ledger::checkpoint::MAX_NOTE_BYTES as u64;
/// Largest file of a log, in bytes: a bundle of 256 of the longest entries.
const MAX_TILE_BYTES: u64 = 256 * (2 + u16::MAX as u64);
/// How often a download goes on after a break before its failure is reported.
const DOWNLOAD_ATTEMPTS: u32 = 8;

/// Which log of the hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogName {
    /// The hub's log of parties and keys.
    Hub,
    /// The log of a collaboration.
    Collaboration(CollaborationId),
}

impl LogName {
    /// The name, `hub` or the collaboration's.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Hub => "hub",
            Self::Collaboration(id) => id.as_str(),
        }
    }

    /// The collaboration, if it is one's.
    #[must_use]
    pub const fn collaboration(&self) -> Option<&CollaborationId> {
        match self {
            Self::Hub => None,
            Self::Collaboration(id) => Some(id),
        }
    }

    fn path(&self, rest: &str) -> String {
        match self {
            Self::Hub => format!("/v1/hub/log/{rest}"),
            Self::Collaboration(id) => format!("/v1/collaborations/{id}/log/{rest}"),
        }
    }
}

/// Who a hub says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// The name with which origins of its logs begin.
    pub name: Origin,
    /// The key that signs checkpoints and attestations.
    pub key: PublicKey,
    /// SHA-256 of its TLS public key, where TLS is on.
    pub tls_pin: Option<Digest>,
    /// The program's version.
    pub version: String,
}

impl HubClient {
    /// Who the hub is. It is held to the pinned key, if there is one, and must speak our protocol.
    ///
    /// # Errors
    /// [`ClientError::OtherHub`], [`ClientError::Protocol`], or that the request failed.
    pub async fn hub(&self) -> Result<Hub, ClientError> {
        let call = Call { authorized: false, ..Call::get("/v1/hub".to_owned()) };
        let info: HubInfo = self.json(call).await?;
        let bad = |reason: String| ClientError::Answer { what: "GET /v1/hub".to_owned(), reason };
        let key = info.key.parse().map_err(|_| bad("its key is none".to_owned()))?;
        if let Some(pinned) = self.hub_key().filter(|&pinned| pinned != key) {
            return Err(ClientError::OtherHub { pinned, got: key });
        }
        if !(info.protocol_min..=info.protocol_max).contains(&PROTOCOL) {
            return Err(ClientError::Protocol { min: info.protocol_min, max: info.protocol_max, ours: PROTOCOL });
        }
        let name = info.name.parse().map_err(|e: InvalidId| bad(e.to_string()))?;
        let tls_pin = info.tls_pin.map(|pin| pin.parse()).transpose().map_err(|e: InvalidDigest| bad(e.to_string()))?;
        Ok(Hub { name, key, tls_pin, version: plain(&info.version) })
    }

    /// Registers a party with its signed `party.registered`, and an invitation where the hub asks for one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register_party(&self, statement: Envelope, invitation: Option<&str>) -> Result<Placed, ClientError> {
        let registration = Registration { statement, invitation: invitation.map(str::to_owned) };
        let call = Call::post("/v1/parties".to_owned(), Kind::Statement, &registration)?;
        self.json(Call { authorized: false, ..call }).await
    }

    /// A party in the hub's registry.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn party(&self, party: &PartyId) -> Result<PartyView, ClientError> {
        self.json(Call::get(format!("/v1/parties/{party}"))).await
    }

    /// Sends a signed statement about the signer's keys. Its signature is all the authority it needs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn submit_key(&self, statement: Envelope) -> Result<Placed, ClientError> {
        let call = Call::post("/v1/keys".to_owned(), Kind::Statement, &Submission { statement })?;
        self.json(Call { authorized: false, ..call }).await
    }

    /// A page of the collaborations that the caller may see.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn collaborations(&self, after: Option<&str>) -> Result<Page<CollaborationSummary>, ClientError> {
        let path = match after {
            None => "/v1/collaborations".to_owned(),
            Some(after) => format!("/v1/collaborations?after={}", segment(after)?),
        };
        self.json(Call::get(path)).await
    }

    /// Opens a log and founds a collaboration in it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn found(&self, founding: &Founding) -> Result<Placed, ClientError> {
        self.json(Call::post("/v1/collaborations".to_owned(), Kind::Statement, founding)?).await
    }

    /// Sends a signed statement to a collaboration's log. Sending it twice places it once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn submit(
        &self,
        collaboration: &CollaborationId,
        kind: Kind,
        run: Option<&RunId>,
        statement: Envelope,
    ) -> Result<Placed, ClientError> {
        let path = format!("/v1/collaborations/{collaboration}/statements");
        let call = Call::post(path, kind, &Submission { statement })?;
        self.json(Call { run, ..call }).await
    }

    /// The newest signed checkpoint of a log, unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn checkpoint(&self, log: &LogName) -> Result<String, ClientError> {
        let call = Call { authorized: log.collaboration().is_some(), ..Call::get(log.path("checkpoint")) };
        self.text(call, MAX_CHECKPOINT_BYTES).await
    }

    /// Consecutive records of a log, unverified, but no more than asked for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn entries(&self, log: &LogName, from: u64, limit: u64) -> Result<Entries, ClientError> {
        let path = log.path(&format!("entries?from={from}&limit={limit}"));
        let call = Call { authorized: log.collaboration().is_some(), ..Call::get(path) };
        let entries: Entries = self.json(call).await?;
        if entries.from != from || entries.records.len() as u64 > limit {
            let reason = "other entries than asked for".to_owned();
            return Err(ClientError::Answer { what: "log/entries".to_owned(), reason });
        }
        Ok(entries)
    }

    /// A file of a log in the tlog-tiles layout, unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tile(&self, log: &LogName, tile: &Tile) -> Result<Bytes, ClientError> {
        let call = Call { authorized: log.collaboration().is_some(), ..Call::get(log.path(&tile.to_string())) };
        self.bytes(call, MAX_TILE_BYTES).await
    }

    /// A receipt for one entry, unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn receipt(&self, log: &LogName, index: u64) -> Result<String, ClientError> {
        let call = Call { authorized: log.collaboration().is_some(), ..Call::get(log.path(&format!("proof/{index}"))) };
        self.text(call, MAX_RECEIPT_BYTES as u64).await
    }

    /// A node's heartbeat; waits for news.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync(
        &self,
        collaboration: &CollaborationId,
        request: &SyncRequest,
    ) -> Result<SyncAnswer, ClientError> {
        let kind = if request.cosignature.is_some() { Kind::Cosignature } else { Kind::Request };
        let call = Call::post(format!("/v1/collaborations/{collaboration}/sync"), kind, request)?;
        // Not repeated here: by the time of a second attempt the cosignature would be old.
        let timeout_s = REQUEST_TIMEOUT_S + u64::from(request.wait_s);
        self.json(Call { timeout_s, repeatable: false, ..call }).await
    }

    /// Downloads the model of this digest to `to`; goes on where it broke off.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn model(
        &self,
        collaboration: &CollaborationId,
        run: &RunId,
        digest: &Digest,
        limit_bytes: u64,
        to: &Path,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/collaborations/{collaboration}/runs/{run}/models/{digest}");
        self.download(&path, Some(run), digest, limit_bytes, to).await
    }

    /// Announces an update. The same announcement again finds the same upload.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_upload(
        &self,
        collaboration: &CollaborationId,
        opening: &UploadOpening,
    ) -> Result<UploadStanding, ClientError> {
        let call = Call::post(format!("/v1/collaborations/{collaboration}/uploads"), Kind::Request, opening)?;
        self.json(call.for_run(&opening.run)).await
    }

    /// Where an upload stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn upload_standing(
        &self,
        collaboration: &CollaborationId,
        id: &str,
    ) -> Result<UploadStanding, ClientError> {
        self.json(Call::get(format!("/v1/collaborations/{collaboration}/uploads/{}", segment(id)?))).await
    }

    /// Sends one part of an update.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_part(
        &self,
        collaboration: &CollaborationId,
        run: &RunId,
        id: &str,
        part: u64,
        bytes: Bytes,
    ) -> Result<UploadStanding, ClientError> {
        let path = format!("/v1/collaborations/{collaboration}/uploads/{}/parts/{part}", segment(id)?);
        self.json(Call::put(path, Kind::Update, bytes).for_run(run)).await
    }

    /// Seals an upload with its signed `update.submitted`; from then on it counts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn seal_upload(
        &self,
        collaboration: &CollaborationId,
        run: &RunId,
        id: &str,
        statement: Envelope,
    ) -> Result<Placed, ClientError> {
        let path = format!("/v1/collaborations/{collaboration}/uploads/{}/seal", segment(id)?);
        self.json(Call::post(path, Kind::Statement, &Submission { statement })?.for_run(run)).await
    }

    /// Uploads the bytes of an openly shared asset.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_asset(
        &self,
        collaboration: &CollaborationId,
        asset: &AssetId,
        bytes: Bytes,
    ) -> Result<(), ClientError> {
        let path = asset_path(collaboration, asset);
        self.open(Call::put(path, Kind::OpenData, bytes)).await.map(drop)
    }

    /// Downloads the bytes of an openly shared asset.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn asset(
        &self,
        collaboration: &CollaborationId,
        asset: &AssetId,
        digest: &Digest,
        limit_bytes: u64,
        to: &Path,
    ) -> Result<(), ClientError> {
        self.download(&asset_path(collaboration, asset), None, digest, limit_bytes, to).await
    }

    /// Classifies rows with a run's released model.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn predict(
        &self,
        collaboration: &CollaborationId,
        run: &RunId,
        request: &PredictRequest,
    ) -> Result<PredictAnswer, ClientError> {
        let path = format!("/v1/collaborations/{collaboration}/runs/{run}/predict");
        self.json(Call::post(path, Kind::Prediction, request)?.for_run(run)).await
    }

    /// A published file of a released model, at most `limit_bytes`, unverified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn run_file(
        &self,
        collaboration: &CollaborationId,
        run: &RunId,
        name: &str,
        limit_bytes: u64,
    ) -> Result<Bytes, ClientError> {
        let name: Vec<&str> = name.split('/').map(segment).collect::<Result<_, _>>()?;
        let path = format!("/v1/collaborations/{collaboration}/runs/{run}/files/{}", name.join("/"));
        self.bytes(Call { timeout_s: TRANSFER_TIMEOUT_S, ..Call::get(path) }, limit_bytes).await
    }

    /// Downloads bytes of a known digest to the file `to`, which appears only when all of them are there and right.
    async fn download(
        &self,
        path: &str,
        run: Option<&RunId>,
        digest: &Digest,
        limit_bytes: u64,
        to: &Path,
    ) -> Result<(), ClientError> {
        let staged = to.with_extension("part");
        let mut attempt = 1;
        loop {
            match self.download_once(path, run, digest, limit_bytes, &staged).await {
                Ok(()) => return tokio::fs::rename(&staged, to).await.map_err(|e| ClientError::file(to, e)),
                Err(error) if error.is_passing() && attempt < DOWNLOAD_ATTEMPTS => {
                    tokio::time::sleep(pause(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn download_once(
        &self,
        path: &str,
        run: Option<&RunId>,
        digest: &Digest,
        limit_bytes: u64,
        staged: &Path,
    ) -> Result<(), ClientError> {
        let io = |e| ClientError::file(staged, e);
        let from_byte = tokio::fs::metadata(staged).await.map_or(0, |m| m.len()).min(limit_bytes);
        let call = Call { run, from_byte, timeout_s: TRANSFER_TIMEOUT_S, ..Call::get(path.to_owned()) };
        let answer = self.open(call).await;
        // All of it may be here already: then no range is left to ask for.
        if !matches!(&answer, Err(e) if e.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE.as_u16())) {
            let mut response = answer?;
            let resumed = response.status() == StatusCode::PARTIAL_CONTENT && from_byte > 0;
            let options =
                tokio::fs::OpenOptions::new().create(true).write(true).truncate(!resumed).append(false).clone();
            let mut file = options.open(staged).await.map_err(io)?;
            let mut have = if resumed { from_byte } else { 0 };
            file.set_len(have).await.map_err(io)?;
            tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::End(0)).await.map_err(io)?;
            while let Some(chunk) = next_chunk(&mut response).await? {
                have += chunk.len() as u64;
                if have > limit_bytes {
                    drop(file);
                    discard(staged).await;
                    return Err(ClientError::TooLarge { limit_bytes });
                }
                file.write_all(&chunk).await.map_err(io)?;
            }
            file.sync_all().await.map_err(io)?;
        }
        if digest_of(staged).await? == *digest {
            return Ok(());
        }
        discard(staged).await;
        Err(ClientError::OtherBytes { what: path.to_owned(), digest: *digest })
    }
}

async fn discard(path: &Path) {
    // If it stays, the next attempt finds out by its digest.
    let _ = tokio::fs::remove_file(path).await;
}

async fn digest_of(path: &Path) -> Result<Digest, ClientError> {
    let owned = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(&owned)?;
        let mut hasher = Hasher::default();
        let mut piece = vec![0; 64 << 10];
        loop {
            match std::io::Read::read(&mut file, &mut piece)? {
                0 => return Ok(hasher.finish()),
                n => hasher.update(&piece[..n]),
            }
        }
    });
    let digest = hashing.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    digest.map_err(|e| ClientError::file(path, e))
}

fn asset_path(collaboration: &CollaborationId, asset: &AssetId) -> String {
    format!("/v1/collaborations/{collaboration}/assets/{}/{}/bytes", asset.owner(), asset.name())
}

/// A text that is one segment of a path and nothing else.
fn segment(text: &str) -> Result<&str, ClientError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let dots = text.bytes().all(|b| b == b'.');
    if !dots && text.len() <= 200 && text.bytes().all(good) {
        Ok(text)
    } else {
        Err(ClientError::Name(text.chars().take(80).collect()))
    }
}
