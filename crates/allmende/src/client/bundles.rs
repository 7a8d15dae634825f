//! Bundles and mirrors of repositories, as clients ask for them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use allmende_core::signature::PublicKey;
use bytes::Bytes;
use reqwest::Method;
use serde::{Serialize, Serializer};
use tokio::io::AsyncWriteExt as _;

use super::error::ClientError;
use super::http::{Call, HubClient, Kind, REQUEST_TIMEOUT_S, TRANSFER_TIMEOUT_S, next_chunk};
use crate::api::Page;
use crate::mirror::export::Wanted;
use crate::mirror::view::{BundleTaken, MirrorView, MirrorWanted};
use crate::repo;

/// A repository with a history: `models/owner/name` and its like; `owner/name` is a model's, as the Hugging Face tools have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPath {
    /// What it holds.
    pub kind: repo::Kind,
    space: String,
    name: String,
}

/// A text that names no repository with a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a repository is models/OWNER/NAME, datasets/OWNER/NAME, spaces/OWNER/NAME or codes/OWNER/NAME: {0:?} is not")]
pub struct InvalidHistoryPath(String);

impl FromStr for HistoryPath {
    type Err = InvalidHistoryPath;
    fn from_str(text: &str) -> Result<Self, InvalidHistoryPath> {
        let invalid = || InvalidHistoryPath(text.chars().take(200).collect());
        let kinds = repo::Kind::WITH_HISTORY.into_iter();
        let of = |kind: repo::Kind| Some((kind, text.strip_prefix(kind.plural())?.strip_prefix('/')?));
        let prefixed = kinds.filter_map(of).find(|(_, rest)| rest.contains('/'));
        let (kind, rest) = prefixed.unwrap_or((repo::Kind::Model, text));
        let (space, name) = rest.split_once('/').ok_or_else(invalid)?;
        let fits = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if !fits(space) || !fits(name) {
            return Err(invalid());
        }
        Ok(Self { kind, space: space.to_owned(), name: name.to_owned() })
    }
}

impl HistoryPath {
    /// `owner/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.space, self.name)
    }

    /// The same name for another kind.
    #[must_use]
    pub fn of_kind(self, kind: repo::Kind) -> Self {
        Self { kind, ..self }
    }

    fn route(&self, rest: &str) -> String {
        format!("/v1/repositories/{self}/{rest}")
    }
}

impl fmt::Display for HistoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind.plural(), self.space, self.name)
    }
}

impl Serialize for HistoryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl HubClient {
    /// Downloads a bundle into a new file at `to`, and says how far it is: bytes, and all of them. Gives the bytes. Nothing is
    /// left where it breaks off.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn export_bundle(
        &self,
        repository: &HistoryPath,
        wanted: &Wanted,
        to: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<u64, ClientError> {
        let io = |e| ClientError::file(to, e);
        let call = Call::post(repository.route("bundle"), Kind::Request, wanted)?;
        let call = Call { timeout_s: TRANSFER_TIMEOUT_S, authorized: self.can_sign_in(), ..call };
        let what = format!("POST {}", call.path);
        let mut response = self.open(call).await?;
        let total = response.content_length().unwrap_or(0);
        let mut file =
            tokio::fs::OpenOptions::new().create(true).write(true).truncate(true).open(to).await.map_err(io)?;
        let mut have = 0;
        while let Some(piece) = next_chunk(&mut response).await? {
            have += piece.len() as u64;
            file.write_all(&piece).await.map_err(io)?;
            progress(have, total);
        }
        file.sync_all().await.map_err(io)?;
        if have == total && have > 0 {
            return Ok(have);
        }
        Err(ClientError::Answer { what, reason: format!("{have} of {total} bytes came") })
    }

    /// Brings a bundle.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn import_bundle(
        &self,
        repository: &HistoryPath,
        signer: &PublicKey,
        pickles: bool,
        file: &Path,
    ) -> Result<BundleTaken, ClientError> {
        // A key has no character that a query could not.
        let path = format!("{}?signer={signer}&pickles={pickles}", repository.route("bundle"));
        self.put_file(path, Kind::OpenData, file).await
    }

    /// How a mirror stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mirror(&self, repository: &HistoryPath) -> Result<MirrorView, ClientError> {
        self.json(Call { authorized: self.can_sign_in(), ..Call::get(repository.route("mirror")) }).await
    }

    /// Adds a mirror, or changes what was said of one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_mirror(&self, repository: &HistoryPath, wanted: &MirrorWanted) -> Result<MirrorView, ClientError> {
        let call = Call::post(repository.route("mirror"), Kind::Request, wanted)?;
        self.json(Call { method: Method::PUT, ..call }).await
    }

    /// Lets a mirror stand on its own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_mirror(&self, repository: &HistoryPath) -> Result<(), ClientError> {
        let call = Call::put(repository.route("mirror"), Kind::Request, Bytes::new());
        self.open(Call { method: Method::DELETE, timeout_s: REQUEST_TIMEOUT_S, ..call }).await.map(drop)
    }

    /// Asks for a look at its source now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync_mirror(&self, repository: &HistoryPath) -> Result<(), ClientError> {
        let call = Call::put(repository.route("mirror/sync"), Kind::Request, Bytes::new());
        self.open(Call { method: Method::POST, timeout_s: REQUEST_TIMEOUT_S, ..call }).await.map(drop)
    }

    /// A page of the mirrors that the caller administrates.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mirrors(&self, after: &str) -> Result<Page<MirrorView>, ClientError> {
        // What goes on is the id of a repository.
        let after: String = after.chars().filter(char::is_ascii_alphanumeric).collect();
        self.json(Call::get(format!("/v1/mirrors?after={after}"))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_named() {
        let of = |text: &str| text.parse::<HistoryPath>().map(|path| path.to_string());
        for (text, path) in [
            ("ada/model", "models/ada/model"),
            ("models/model", "models/models/model"),
            ("models/ada/model", "models/ada/model"),
            ("datasets/ada/x.y_z-1", "datasets/ada/x.y_z-1"),
            ("codes/ada/x", "codes/ada/x"),
        ] {
            assert_eq!(of(text).as_deref(), Ok(path));
        }
        for bad in
            ["", "ada", "ada/", "/x", "ada/../x", "buckets/ada/x", "ada/x?y", "models/ada/x/y", "ada/.x", "a b/c"]
        {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
