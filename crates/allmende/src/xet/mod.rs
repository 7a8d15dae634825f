//! The one store of large files behind every door: cut by content, each chunk kept once inside its deduplication domain.
//!
//! Bytes lie in xorbs, objects of many packed chunks; a file is a list of chunk ranges of xorbs. Both come in either from
//! clients, who cut files themselves and are believed nothing ([`xorb`], [`shard`]), or through [`ingest`], which cuts
//! what arrives whole; [`read`] puts files together again.
//!
//! Architecture invariant: a file cites only xorbs that came in through its own repository or through one in the same
//! domain that its sender may read then. Questions for xorbs, chunks and files are answered from those alone.

pub mod archive;
pub mod check;
pub mod collect;
pub mod copy;
pub mod ingest;
pub mod parts;
pub mod pass;
pub mod read;
pub mod shard;
mod store;
mod table;
pub mod xorb;

use allmende_formats::xet::XetHash;
use allmende_formats::xet::reconstruction::PlanError;
use allmende_formats::xet::{shard as shards, xorb as xorbs};

use crate::account::Principal;
use crate::app::App;
use crate::blobs::BlobError;
use crate::db::DbError;
use crate::error::{ApiError, Code};
use crate::repo::{self, Gate, Repo, RepoError, Right, ops};
use crate::transaction;

pub use store::Held;

/// Other repositories that are looked at for one xorb.
const MAX_HOLDERS: i64 = 64;

/// Why something could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum XetError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store of bytes failed, or the sender's stream.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// About the repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// About the account.
    #[error(transparent)]
    Account(#[from] ApiError),
    /// What was sent is no xorb, or another one.
    #[error("the xorb is refused: {0}")]
    Xorb(#[from] xorbs::Error),
    /// What was sent is no shard.
    #[error("the shard is refused: {0}")]
    Shard(#[from] shards::Error),
    /// What was sent is not what it says.
    #[error("{0}")]
    False(String),
    /// The token is missing, wrong, over, or another repository's.
    #[error("{0}")]
    Token(&'static str),
    /// Nothing there, or nothing that the caller may know of.
    #[error("no such {0} in this repository")]
    NotFound(&'static str),
    /// A part of a file that cannot be given.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A xorb was collected while a file was made of it.
    #[error("a part of the file was collected meanwhile: send the file again")]
    Collected,
    /// Work of this program broke off.
    #[error("the work broke off")]
    Broken(#[from] tokio::task::JoinError),
}

impl From<sqlx::Error> for XetError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl XetError {
    /// Whether the same may succeed later.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Db(_) | Self::Blob(_) | Self::Broken(_) | Self::Collected)
    }
}

impl From<XetError> for ApiError {
    fn from(error: XetError) -> Self {
        let text = error.to_string();
        match error {
            XetError::Db(inner) => inner.into(),
            XetError::Blob(inner) => inner.into(),
            XetError::Repo(inner) => inner.into(),
            XetError::Account(inner) => inner,
            XetError::Xorb(xorbs::Error::Hash { .. }) => Self::new(Code::DigestMismatch, text),
            XetError::Xorb(_) | XetError::Shard(_) | XetError::False(_) => Self::new(Code::BadRequest, text),
            XetError::Token(_) => Self::new(Code::Unauthenticated, text),
            XetError::NotFound(_) => Self::new(Code::NotFound, text),
            XetError::Plan(PlanError::OutOfRange { .. }) => Self::new(Code::RangeNotSatisfiable, text),
            XetError::Collected => Self::new(Code::Unavailable, text).retry_after_s(1),
            XetError::Plan(_) | XetError::Broken(_) => Self::internal(error),
        }
    }
}

/// A repository's part of the store, as somebody may use it.
#[derive(Debug, Clone)]
pub struct Session {
    /// The repository, and what they may do with it.
    pub seen: repo::ops::Seen,
    /// Who they are, if they said so.
    pub principal: Option<Principal>,
}

impl Session {
    const fn repo(&self) -> &Repo {
        &self.seen.repo
    }

    /// Whether a file of this repository may cite the xorb now, by who sends it.
    async fn may_cite(&self, app: &App, domain: &str, xorb: &XetHash) -> Result<bool, XetError> {
        let own = self.repo();
        let mut connection = app.db.read().await?;
        if store::holds(&mut connection, own, xorb).await? {
            return Ok(true);
        }
        // After moving to another owner a repository shares nothing with those that it left, nor with those it came to.
        if own.domain() != domain {
            return Ok(false);
        }
        let holders = store::holders(&mut connection, domain, xorb, MAX_HOLDERS).await?;
        drop(connection);
        for id in holders {
            let other = repo::store::by_id(&mut *app.db.read().await?, &id).await?;
            if let Some(other) = other.filter(|other| other.domain() == domain)
                && self.may_cite_from(app, other).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether what lies in another repository may be cited: its files may be read now, by right and by its terms.
    async fn may_cite_from(&self, app: &App, other: Repo) -> Result<bool, XetError> {
        let needed = if other.gate == Gate::Off { Right::Read } else { Right::Write };
        let principal = self.principal.as_ref();
        let seen = match ops::look(app, principal, other).await {
            Ok(seen) => seen.filter(|seen| seen.right >= needed),
            Err(RepoError::Denied(_)) => None,
            Err(other) => return Err(other.into()),
        };
        let Some(seen) = seen else { return Ok(false) };
        match repo::terms::may_read(app, principal, &seen.repo).await {
            Ok(()) => Ok(true),
            Err(RepoError::Denied(_) | RepoError::NotFound) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    /// The answer to a question for a chunk: a shard of a xorb that has it, with hashes under a key.
    ///
    /// # Errors
    /// [`XetError::NotFound`] when no xorb that may be cited has it.
    pub async fn chunk(&self, app: &App, chunk: &XetHash) -> Result<Vec<u8>, XetError> {
        let domain = store::domain(&mut *app.db.read().await?, self.repo()).await?;
        let candidates = store::with_chunk(&mut *app.db.read().await?, &domain, chunk, MAX_HOLDERS).await?;
        for xorb in candidates {
            if !self.may_cite(app, &domain, &xorb).await? {
                continue;
            }
            // Whoever hears of it cites it soon.
            if let Some(Some(_)) = store::loose_since(&mut *app.db.read().await?, &domain, &xorb).await? {
                transaction!(app.db, tx => { store::keep_xorb(tx, &domain, &xorb).await })?;
            }
            let Some(stored) = store::xorb(&mut *app.db.read().await?, &domain, &xorb).await? else { continue };
            let now_s = app.clock.now().0.div_euclid(1_000).unsigned_abs();
            // It is over at once: what may be cited now may not be tomorrow, and a client keeps it for its session anyhow.
            return Ok(shards::dedup_shard(&[stored.info()], pass::chunk_key(app, &domain), now_s, now_s)?);
        }
        Err(XetError::NotFound("chunk"))
    }
}
