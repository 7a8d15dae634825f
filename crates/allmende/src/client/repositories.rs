//! Repositories under terms, as their owners put them there.

use std::fmt;
use std::str::FromStr;

use allmende_core::id::{AssetId, CollaborationId};
use bytes::Bytes;
use reqwest::Method;
use serde::{Serialize, Serializer};

use super::error::ClientError;
use super::http::{Call, HubClient, Kind, REQUEST_TIMEOUT_S};
use crate::repo;

/// A repository that can stand under terms: `models/owner/name`, `datasets/owner/name` or `buckets/owner/name`;
/// `owner/name` is a model's, as the Hugging Face tools have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPath {
    kind: repo::Kind,
    asset: AssetId,
}

/// Why a text names no repository that can stand under terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a repository under terms is models/OWNER/NAME, datasets/OWNER/NAME or buckets/OWNER/NAME, in lower case letters, digits and '-': {0:?} is not"
)]
pub struct InvalidRepositoryPath(String);

impl FromStr for RepositoryPath {
    type Err = InvalidRepositoryPath;
    fn from_str(text: &str) -> Result<Self, InvalidRepositoryPath> {
        let invalid = || InvalidRepositoryPath(text.chars().take(200).collect());
        let (kind, name) = match text.split_once('/') {
            Some(("models", name)) => (repo::Kind::Model, name),
            Some(("buckets", name)) => (repo::Kind::Bucket, name),
            Some(("datasets", name)) => (repo::Kind::Dataset, name),
            _ => (repo::Kind::Model, text),
        };
        Ok(Self { kind, asset: name.parse().map_err(|_| invalid())? })
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.plural(), self.asset)
    }
}

impl Serialize for RepositoryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl HubClient {
    async fn put_under(
        &self,
        method: Method,
        collaboration: &CollaborationId,
        repository: &RepositoryPath,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/collaborations/{collaboration}/repositories/{repository}");
        let call = Call { method, timeout_s: REQUEST_TIMEOUT_S, ..Call::put(path, Kind::Request, Bytes::new()) };
        self.open(call).await.map(drop)
    }

    /// Puts a repository of the caller's party under the terms.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn place_repository(
        &self,
        collaboration: &CollaborationId,
        repository: &RepositoryPath,
    ) -> Result<(), ClientError> {
        self.put_under(Method::PUT, collaboration, repository).await
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn withdraw_repository(
        &self,
        collaboration: &CollaborationId,
        repository: &RepositoryPath,
    ) -> Result<(), ClientError> {
        self.put_under(Method::DELETE, collaboration, repository).await
    }
}
