//! Xorbs: taken from clients once every chunk was checked, or written by [`ingest`](super::ingest).

use allmende_formats::xet::XetHash;
use allmende_formats::xet::xorb::{Error, MAX_XORB_BYTES, Validator, Xorb};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::pass::Ticket;
use super::{Session, XetError, store, table};
use crate::account::new_id;
use crate::app::App;
use crate::blobs::{BlobError, Name, Staged};
use crate::error::ApiError;
use crate::repo::{Repo, RepoError, quota};
use crate::transaction;

/// Bytes that are gathered before they are checked.
const BATCH_BYTES: usize = 1 << 20;

impl Session {
    /// Takes a xorb that must have this hash. Says whether the repository did not hold it before.
    ///
    /// # Errors
    /// [`XetError::Xorb`] as soon as the bytes cannot be it; nothing is stored then.
    pub async fn take_xorb<E: std::error::Error + Send + Sync + 'static>(
        &self,
        app: &App,
        expected: &XetHash,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<bool, XetError> {
        // Before anything is taken: how much it will be is known at its end alone, and asked again then.
        quota::require_in(&mut *app.db.read().await?, self.repo(), 0, app.config.default_quota_bytes).await?;
        let mut body = std::pin::pin!(body);
        let place = Place::new(app, self.repo(), expected).await?;
        let mut staged = place.stage(app).await?;
        let mut validator = Validator::new();
        let (mut pieces, mut gathered, mut total) = (Vec::new(), 0, 0_u64);
        loop {
            let piece = body.next().await.transpose().map_err(|e| BlobError::Input(e.into()))?;
            let ended = piece.is_none();
            if let Some(piece) = piece {
                gathered += piece.len();
                total += piece.len() as u64;
                pieces.push(piece);
            }
            if total > MAX_XORB_BYTES {
                return Err(Error::TooLarge.into());
            }
            if gathered >= BATCH_BYTES || ended {
                gathered = 0;
                let batch = std::mem::take(&mut pieces);
                let (checked, batch) = tokio::task::spawn_blocking(move || {
                    batch.iter().try_for_each(|piece| validator.push(piece))?;
                    Ok::<_, Error>((validator, batch))
                })
                .await??;
                validator = checked;
                for piece in batch {
                    staged.write(piece).await?;
                }
            }
            if ended {
                break;
            }
        }
        let xorb = validator.finish(Some(expected))?;
        keep(app, self.repo(), &xorb, (place, staged)).await
    }

    /// The bytes of a range that was offered to this session.
    ///
    /// # Errors
    /// [`XetError::NotFound`] when the xorb is gone.
    pub async fn fetch(
        &self,
        app: &App,
        ticket: &Ticket,
        range: std::ops::Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, XetError> {
        let mut connection = app.db.read().await?;
        let domain = store::domain(&mut connection, self.repo()).await?;
        let stored = store::xorb(&mut connection, &domain, &ticket.xorb).await?;
        drop(connection);
        let stored = stored.ok_or(XetError::NotFound("xorb"))?;
        Ok(app.blobs.open_named(&stored.name, range).await?)
    }
}

/// Where a xorb will lie. It is chosen before the bytes come, so that they are sent there.
pub(super) struct Place {
    domain: String,
    object: String,
    name: Name,
}

impl Place {
    /// A place of its own in the repository's domain.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn new(app: &App, repo: &Repo, hash: &XetHash) -> Result<Self, XetError> {
        let domain = store::domain(&mut *app.db.read().await?, repo).await?;
        let object = new_id().map_err(ApiError::from)?;
        let name = table::name(&domain, hash, &[], &object);
        Ok(Self { domain, object, name })
    }

    /// Begins the object.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn stage(&self, app: &App) -> Result<Staged, XetError> {
        Ok(app.blobs.stage(self.name.clone()).await?)
    }
}

/// Gives a checked xorb its name and records that `repo` holds it. Says whether it did not before.
pub(super) async fn keep(
    app: &App,
    repo: &Repo,
    xorb: &Xorb,
    (place, staged): (Place, Staged),
) -> Result<bool, XetError> {
    let Place { domain, object, name } = place;
    let table = table::encode_chunks(&xorb.chunks);
    let (now, quota) = (app.clock.now(), app.config.default_quota_bytes);
    staged.publish().await?;
    let put: Result<store::Put, XetError> = transaction!(app.db, tx => {
        let settled = store::settle(tx, repo).await?;
        if settled != domain {
            return Err(XetError::False("the repository moved meanwhile: send it again".to_owned()));
        }
        Ok(store::put_xorb(tx, &domain, repo, xorb, (&table, &object), quota, now).await?)
    });
    match &put {
        // Another sender's object stands; a reader of ours does not exist.
        Ok(put) if put.object != object => app.blobs.delete_named(&name).await?,
        // Whether something was written is known of these errors alone. What stays otherwise is collected later.
        Err(XetError::Repo(RepoError::Quota(_)) | XetError::False(_)) => app.blobs.delete_named(&name).await?,
        _ => {}
    }
    put.map(|put| put.is_new)
}
