//! An S3 store: what it is opened with, and what `object_store` has no words for.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::signer::{SignedUrlOptions, Signer as _};
use object_store::{BackoffConfig, Error, HeaderValue, ObjectStore, ObjectStoreExt as _, RetryConfig};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{BlobError, status_of, store_error};
use super::transport::{self, Transport};
use crate::config::Config;

/// The most bytes that one request copies. S3 takes 5 GiB; less is answered before anybody grows impatient.
pub(super) const COPY_BYTES: u64 = 512 << 20;
/// How many uploads at a time gather a part while another is sent.
const AHEAD: usize = 2;
/// How long a signed address of a single request is good.
const SIGNED_FOR: Duration = Duration::from_secs(600);
/// How often a request of this module is sent before its failure counts.
const ATTEMPTS: u32 = 4;
/// Most bytes of an answer: a list of a thousand uploads is a third of it.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The folders whose unfinished uploads are this program's. Others may use the same bucket.
const OWN: &[&str] = &["sha256", "xet", "parts", "tmp"];

/// A bucket, or what lies below a prefix in it.
#[derive(Debug)]
pub(super) struct Remote {
    s3: AmazonS3,
    http: reqwest::Client,
    bucket: String,
    prefix: Path,
    /// As the settings name it, with the address.
    place: String,
    /// Who may gather a part while another is sent.
    ahead: Arc<Semaphore>,
}

#[derive(Debug, Default, Deserialize)]
struct CopyPartResult {
    #[serde(rename = "ETag")]
    e_tag: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ListMultipartUploadsResult {
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
    upload: Vec<Unfinished>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Unfinished {
    key: String,
    upload_id: String,
    initiated: String,
}

impl Remote {
    /// What the settings name; nothing is asked yet.
    pub fn of(config: &Config) -> Result<Self, BlobError> {
        let place = config.blob_store();
        let unusable = |why: String| BlobError::Unusable { place: place.clone(), why };
        let (bucket, prefix) = place.trim_start_matches("s3://").split_once('/').unwrap_or((&place[5..], ""));
        let secret = if config.s3_secret_access_key_path.as_os_str().is_empty() {
            config.s3_secret_access_key.reveal().to_owned()
        } else {
            let path = &config.s3_secret_access_key_path;
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|e| unusable(format!("s3_secret_access_key_path {}: {e}", path.display())))?;
            text.trim().to_owned()
        };
        if secret.is_empty() {
            return Err(unusable("the secret of the access key is empty".to_owned()));
        }
        // The settings permit http:// on loopback, and elsewhere only if it is said.
        let in_clear = config.s3_allow_http || config.s3_endpoint.starts_with("http://");
        let http = transport::client(!in_clear).map_err(|e| BlobError::Store(e.into()))?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&config.s3_region)
            .with_access_key_id(&config.s3_access_key_id)
            .with_secret_access_key(secret)
            .with_virtual_hosted_style_request(!config.s3_path_style)
            .with_allow_http(in_clear)
            // Every store knows how to delete one object.
            .with_disable_bulk_delete(true)
            .with_http_connector(Transport(http.clone()))
            .with_retry(RetryConfig {
                backoff: BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() },
                max_retries: 6,
                retry_timeout: Duration::from_secs(60),
            });
        let endpoint = config.s3_endpoint.trim_end_matches('/');
        if !endpoint.is_empty() {
            // object_store wants the bucket in an address that is to have it before the host's name.
            builder = builder.with_endpoint(match endpoint.split_once("://") {
                Some((scheme, host)) if !config.s3_path_style => format!("{scheme}://{bucket}.{host}"),
                _ => endpoint.to_owned(),
            });
        }
        let s3 = builder.build().map_err(|e| unusable(e.to_string()))?;
        let place = format!("{place} at {}", if endpoint.is_empty() { "AWS" } else { endpoint });
        Ok(Self {
            s3,
            http,
            bucket: bucket.to_owned(),
            prefix: Path::from(prefix),
            place,
            ahead: Arc::new(Semaphore::new(AHEAD)),
        })
    }

    /// The objects, without the prefix.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(self.s3.clone(), self.prefix.clone()))
    }

    /// The right to gather a part while another is sent, until it is dropped.
    pub fn ahead(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.ahead).try_acquire_owned().ok()
    }

    fn inside(&self, path: &Path) -> Path {
        self.prefix.parts().chain(path.parts()).collect()
    }

    /// Asks for one name of the bucket, whichever.
    pub async fn ping(&self) -> Result<(), BlobError> {
        let one = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
        self.s3.list_paginated(Some(self.prefix.as_ref()), one).await.map(drop).map_err(store_error)
    }

    /// Finds out at the start whether the bucket is there and the key opens it.
    pub async fn look(&self) -> Result<(), BlobError> {
        let one = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
        let Err(error) = self.s3.list_paginated(Some(self.prefix.as_ref()), one).await else { return Ok(()) };
        let why = match status_of(&error) {
            Some(404) => format!("there is no bucket {}: make it first, or correct the name", self.bucket),
            Some(401 | 403) => format!(
                "the store refuses the key: look at s3_access_key_id, its secret, s3_region, this machine's clock, and \
                 whether the key may list, read, write and delete in the bucket ({error})"
            ),
            _ => format!("the store does not answer as an S3 store does: look at s3_endpoint and s3_region ({error})"),
        };
        Err(BlobError::Unusable { place: self.place.clone(), why })
    }

    /// Copies an object inside the store, at most `most` bytes with one request. The copy appears when it is whole.
    pub async fn copy(&self, from: &Path, to: &Path, size_bytes: u64, most: u64) -> Result<(), BlobError> {
        let (from, to) = (self.inside(from), self.inside(to));
        if size_bytes <= most {
            return self.s3.copy(&from, &to).await.map_err(store_error);
        }
        let id = self.s3.create_multipart(&to).await.map_err(store_error)?;
        let copied = self.copy_parts(&from, &to, &id, (size_bytes, most)).await;
        let completed = match copied {
            Ok(parts) => self.s3.complete_multipart(&to, &id, parts).await.map(drop).map_err(store_error),
            Err(error) => Err(error),
        };
        if completed.is_err() {
            // The first error is what counts, and what stays is swept.
            let _ = self.s3.abort_multipart(&to, &id).await;
        }
        completed
    }

    async fn copy_parts(
        &self,
        from: &Path,
        to: &Path,
        id: &str,
        (size, most): (u64, u64),
    ) -> Result<Vec<PartId>, BlobError> {
        let source = header(&format!("/{}/{from}", self.bucket))?;
        let mut parts = Vec::new();
        for (number, start) in (1_u32..).zip((0..size).step_by(usize::try_from(most).unwrap_or(usize::MAX))) {
            let last = size.min(start + most) - 1;
            let mut options = SignedUrlOptions::default()
                .with_query([("partNumber".to_owned(), number.to_string()), ("uploadId".to_owned(), id.to_owned())]);
            options.signed_headers.insert("x-amz-copy-source", source.clone());
            options.signed_headers.insert("x-amz-copy-source-range", header(&format!("bytes={start}-{last}"))?);
            let answer: CopyPartResult = self.ask(Method::PUT, to, &options).await?.1;
            parts.push(PartId { content_id: answer.e_tag });
        }
        Ok(parts)
    }

    /// Gives up the uploads of this store that were begun longer ago than `age`. Gives how many.
    pub async fn sweep_uploads(&self, age: Duration) -> Result<u64, BlobError> {
        let (mut swept, mut key, mut upload) = (0, String::new(), String::new());
        let prefix = if self.prefix.as_ref().is_empty() { String::new() } else { format!("{}/", self.prefix) };
        loop {
            let mut query = vec![("uploads".to_owned(), String::new()), ("max-uploads".to_owned(), "1000".to_owned())];
            let given = [("prefix", &prefix), ("key-marker", &key), ("upload-id-marker", &upload)];
            query.extend(given.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.clone())));
            let options = SignedUrlOptions::default().with_query(query);
            let (status, page) =
                self.ask::<ListMultipartUploadsResult>(Method::GET, &Path::default(), &options).await?;
            if status == StatusCode::NOT_IMPLEMENTED {
                tracing::debug!("the store lists no unfinished uploads: a rule of its own has to remove them");
                return Ok(swept);
            }
            for found in page.upload {
                let own = found.key.strip_prefix(&prefix).and_then(|rest| rest.split('/').next());
                let begun = found.initiated.parse::<jiff::Timestamp>().ok();
                let old = begun.is_some_and(|at| super::is_old(at.into(), age));
                if old && own.is_some_and(|folder| OWN.contains(&folder)) {
                    let path = Path::parse(&found.key).map_err(|e| store_error(e.into()))?;
                    match self.s3.abort_multipart(&path, &found.upload_id).await {
                        Ok(()) | Err(Error::NotFound { .. }) => swept += 1,
                        Err(error) => return Err(store_error(error)),
                    }
                }
            }
            // A store that says there is more and not where would be asked the same for ever.
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if !page.is_truncated || next.0.is_empty() || next == (key, upload) {
                return Ok(swept);
            }
            (key, upload) = next;
        }
    }

    /// Sends a request without a body, and reads its answer in XML. What cannot be done now is tried again.
    async fn ask<T: DeserializeOwned + Default>(
        &self,
        method: Method,
        path: &Path,
        options: &SignedUrlOptions,
    ) -> Result<(StatusCode, T), BlobError> {
        let mut attempt = 1;
        loop {
            let url = self.s3.signed_url_opts(method.clone(), path, SIGNED_FOR, options).await.map_err(store_error)?;
            let request = self.http.request(method.clone(), url).headers(options.signed_headers.clone());
            let failure = match answered(request).await {
                Ok((status, _)) if status == StatusCode::NOT_IMPLEMENTED => return Ok((status, T::default())),
                Ok((status, text)) if status.is_success() => match quick_xml::de::from_str(&text) {
                    Ok(answer) => return Ok((status, answer)),
                    // An error may come after the head said that all is well.
                    Err(error) => BlobError::Away(format!("{error}: {}", shortened(&text)).into()),
                },
                Ok((status, text)) => {
                    let error = format!("{status}: {}", shortened(&text));
                    if !status.is_server_error() {
                        return Err(BlobError::Store(error.into()));
                    }
                    BlobError::Away(error.into())
                }
                Err(error) => error,
            };
            if attempt == ATTEMPTS {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
            attempt += 1;
        }
    }
}

fn header(text: &str) -> Result<HeaderValue, BlobError> {
    HeaderValue::from_str(text).map_err(|e| BlobError::Store(e.into()))
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}

async fn answered(request: reqwest::RequestBuilder) -> Result<(StatusCode, String), BlobError> {
    let away = |error: reqwest::Error| BlobError::Away(error.without_url().into());
    let mut response = request.send().await.map_err(away)?;
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(away)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(BlobError::Store("the store's answer does not end".into()));
        }
    }
    Ok((response.status(), String::from_utf8_lossy(&bytes).into_owned()))
}
