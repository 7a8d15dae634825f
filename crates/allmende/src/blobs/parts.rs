//! Parts of an upload, until they are joined. They lie apart from the bytes that digests open: nobody reads or cites them
//! but the upload that they belong to.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::{BlobError, Blobs, Expect, Name, Stored, Upload, is_old, receive, store_error};

/// The folder of all parts.
const FOLDER: &str = "parts";

/// Where a part lies. The names are this program's own.
fn path_of(upload: &str, number: u32) -> Path {
    Path::from_iter([FOLDER, upload, &number.to_string()])
}

impl Blobs {
    /// Takes a part to its end and stores it durably; sent again, it takes the place of the first.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is stored then.
    pub async fn put_part<E: Into<Box<dyn StdError + Send + Sync>>>(
        &self,
        upload: &str,
        number: u32,
        bytes: impl Stream<Item = Result<Bytes, E>>,
        expect: &Expect,
    ) -> Result<Stored, BlobError> {
        let path = path_of(upload, number);
        let mut upload = Upload::straight(self, path.clone(), expect.size_bytes).await?;
        match receive(&mut upload, bytes, expect).await {
            Ok(stored) => upload.publish(&path).await.map(|()| stored),
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    /// The parts of an upload from the first to the one of this number, as one stream.
    #[must_use]
    pub fn parts(&self, upload: &str, last: u32) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let (store, upload) = (self.clone(), upload.to_owned());
        stream::iter(1..=last)
            .then(move |number| {
                let (store, path) = (store.clone(), path_of(&upload, number));
                async move {
                    let got = store.store.get(&path).await.map_err(store_error)?;
                    Ok::<_, BlobError>(got.into_stream().map_err(store_error))
                }
            })
            .try_flatten()
            .boxed()
    }

    /// The size of a part, if it is there.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn part_size(&self, upload: &str, number: u32) -> Result<Option<u64>, BlobError> {
        match self.store.head(&path_of(upload, number)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Deletes the parts of an upload.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn drop_parts(&self, upload: &str) -> Result<(), BlobError> {
        self.delete_below(Path::from_iter([FOLDER, upload]), Duration::ZERO).await.map(drop)
    }

    /// Deletes the parts that are older than `age`. Gives how many.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn sweep_parts(&self, age: Duration) -> Result<u64, BlobError> {
        self.delete_below(Path::from(FOLDER), age).await
    }

    /// The parts that are older than `age`, with their sizes.
    pub fn list_parts(&self, age: Duration) -> BoxStream<'_, Result<(Name, u64), BlobError>> {
        self.list_named(FOLDER, age)
    }

    /// Deletes what lies below a folder and is older than `age`. Gives how many.
    pub(super) async fn delete_below(&self, folder: Path, age: Duration) -> Result<u64, BlobError> {
        let mut deleted = 0;
        let mut found = self.store.list(Some(&folder));
        while let Some(object) = found.try_next().await.map_err(store_error)? {
            // Clocks differ: what is to go at any age goes also when the store's is ahead.
            if age.is_zero() || is_old(object.last_modified.into(), age) {
                match self.store.delete(&object.location).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                    Err(error) => return Err(store_error(error)),
                }
            }
        }
        Ok(deleted)
    }
}
