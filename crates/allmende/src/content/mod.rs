//! What the hub understands of the files in a repository: tensors, pickles, licences, rows of datasets.
//!
//! Files are read in ranges through the repository that holds them, as [`crate::xet::read`] gives them out: checked, and
//! never more at once than a bound. Whoever calls has made sure that the files may be read.

pub mod compare;
pub mod dataset;
pub mod file;
pub mod licence;
pub mod pickle;
pub mod store;
pub mod tensors;

use crate::blobs::BlobError;
use crate::db::DbError;
use crate::error::{ApiError, Code};
use crate::git::GitError;
use crate::repo::RepoError;
use crate::xet::XetError;

/// Why a file is not understood.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// About git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// About the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// About a large file.
    #[error(transparent)]
    Xet(#[from] XetError),
    /// The store of bytes failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The file is not what its name says, or larger than what is looked at.
    #[error("{0}")]
    NotUnderstood(String),
    /// No such thing in the repository.
    #[error("{0}")]
    NotFound(String),
}

impl From<ContentError> for ApiError {
    fn from(error: ContentError) -> Self {
        let text = error.to_string();
        match error {
            ContentError::Db(inner) => inner.into(),
            ContentError::Git(inner) => inner.into(),
            ContentError::Repo(inner) => inner.into(),
            ContentError::Xet(inner) => inner.into(),
            ContentError::Blob(inner) => inner.into(),
            ContentError::NotUnderstood(_) => Self::new(Code::Unprocessable, text),
            ContentError::NotFound(_) => Self::new(Code::NotFound, text),
        }
    }
}
