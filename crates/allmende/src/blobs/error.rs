//! Why bytes were not stored or read.

use std::error::Error as StdError;

use allmende_core::digest::Digest;

/// Why bytes were not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Not a store that this program speaks.
    #[error("blob_store must be a folder, s3://bucket or memory:///")]
    UnknownScheme,
    /// The S3 store cannot be used with these settings.
    #[error("blob_store {place}: {why}")]
    Unusable {
        /// The setting.
        place: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// No such bytes.
    #[error("no bytes with digest {digest}")]
    NotFound {
        /// What was asked for.
        digest: Digest,
    },
    /// The bytes are not those announced.
    #[error("the bytes have the digest {actual}, not {expected}")]
    DigestMismatch {
        /// As announced.
        expected: Digest,
        /// As received.
        actual: Digest,
    },
    /// No object of this name, though something says that there is.
    #[error("the object {name} is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// More or fewer bytes than announced.
    #[error("{actual} bytes arrived, not {expected}")]
    SizeMismatch {
        /// As announced.
        expected: u64,
        /// As received, or one past the announced size when more came.
        actual: u64,
    },
    /// More bytes than the caller admits.
    #[error("more than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// The range lies outside.
    #[error("the range lies outside the {size_bytes} bytes")]
    RangeOutside {
        /// The object's size.
        size_bytes: u64,
    },
    /// The stored bytes changed on disk.
    #[error("the stored bytes of {digest} are damaged")]
    Damaged {
        /// Whose.
        digest: Digest,
    },
    /// No space left, or a quota reached.
    #[error("no space left in the store of bytes")]
    StorageFull(#[source] Box<dyn StdError + Send + Sync>),
    /// The S3 store does not answer, or says that it cannot now; asked again it may.
    #[error("the store of bytes does not answer: {0}")]
    Away(#[source] Box<dyn StdError + Send + Sync>),
    /// The sender's stream broke.
    #[error("the bytes stopped coming: {0}")]
    Input(#[source] Box<dyn StdError + Send + Sync>),
    /// The store failed.
    #[error("store of bytes: {0}")]
    Store(#[source] Box<dyn StdError + Send + Sync>),
}

fn is_full(error: &(dyn StdError + 'static)) -> bool {
    std::iter::successors(Some(error), |&e| e.source()).any(|e| {
        e.downcast_ref::<std::io::Error>()
            .is_some_and(|e| matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
    })
}

/// What S3 stores say of space: there is no common word for it.
const FULL: &[&str] = &["507 Insufficient Storage", "StorageFull", "QuotaExceeded", "InsufficientCapacity"];

/// The status that an S3 store answered with, where `object_store` has no error of its own for it: it stands in the text.
pub(super) fn status_of(error: &object_store::Error) -> Option<u16> {
    let text = error.to_string();
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

/// The error of a call to the store.
pub(super) fn store_error(error: object_store::Error) -> BlobError {
    match error {
        object_store::Error::Generic { store: "S3", .. } => match (status_of(&error), error.to_string()) {
            (_, text) if FULL.iter().any(|word| text.contains(word)) => BlobError::StorageFull(error.into()),
            // What is refused will be refused again; "too many requests" alone passes.
            (Some(status), _) if (400..500).contains(&status) && status != 429 => BlobError::Store(error.into()),
            _ => BlobError::Away(error.into()),
        },
        error if is_full(&error) => BlobError::StorageFull(error.into()),
        error => BlobError::Store(error.into()),
    }
}

/// The error of a call to the disk.
pub(super) fn disk_error(error: std::io::Error) -> BlobError {
    if is_full(&error) { BlobError::StorageFull(error.into()) } else { BlobError::Store(error.into()) }
}
