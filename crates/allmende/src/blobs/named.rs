//! Objects under a name that callers give them, seen only when their bytes were checked.

use std::ops::Range;

use super::*;

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Path);

impl Name {
    /// The name of these parts; whatever is in them, it stays below the store.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        Self(Path::from_iter(parts.iter().copied()))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes that nobody sees yet. Dropping them deletes them; what a crash leaves is swept.
#[derive(Debug)]
pub struct Staged {
    upload: Upload,
    name: Name,
}

impl Blobs {
    /// Begins an object that will have this name.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn stage(&self, name: Name) -> Result<Staged, BlobError> {
        let upload = Upload::begin(self, Some(name.0.clone()), None).await?;
        Ok(Staged { upload, name })
    }

    /// Bytes of an object, all at once: the caller bounds the range.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or the store's failure.
    pub async fn read_named(&self, name: &Name, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.store.get_range(&name.0, range).await.map_err(|e| missing(e, name))
    }

    /// Bytes of an object as a stream.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or the store's failure.
    pub async fn open_named(
        &self,
        name: &Name,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let got = self.store.get_opts(&name.0, options).await.map_err(|e| missing(e, name))?;
        Ok(match got.payload {
            GetResultPayload::File(file, _) => read_file(file, range),
            GetResultPayload::Stream(stream) => stream.map(|piece| piece.map_err(store_error)).boxed(),
        })
    }

    /// The size of an object, if it is there.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn size_named(&self, name: &Name) -> Result<Option<u64>, BlobError> {
        match self.store.head(&name.0).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    /// The objects below a folder that are older than `age`, with their sizes.
    pub fn list_named(&self, folder: &str, age: Duration) -> BoxStream<'_, Result<(Name, u64), BlobError>> {
        let found = self.store.list(Some(&Path::from(folder))).filter_map(move |found| async move {
            match found {
                Ok(meta) if !is_old(meta.last_modified.into(), age) => None,
                Ok(meta) => Some(Ok((Name(meta.location), meta.size))),
                Err(error) => Some(Err(store_error(error))),
            }
        });
        found.boxed()
    }

    /// Deletes an object; that it is not there is no error.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn delete_named(&self, name: &Name) -> Result<(), BlobError> {
        match self.store.delete(&name.0).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(error)),
        }
    }
}

impl Staged {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        self.upload.write(piece).await
    }

    /// Makes the bytes durable and gives them their name; another object of that name is gone then.
    ///
    /// # Errors
    /// The store's failure; nothing becomes visible then.
    pub async fn publish(self) -> Result<Name, BlobError> {
        self.upload.publish(&self.name.0).await?;
        Ok(self.name)
    }
}

fn missing(error: object_store::Error, name: &Name) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::Missing { name: name.to_string() },
        other => store_error(other),
    }
}
