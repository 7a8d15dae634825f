//! Bytes by their SHA-256: written once, durable when acknowledged, never held in memory as a whole.
//!
//! Architecture invariant: a digest opens bytes here without asking anybody; callers authorize through a repository or
//! a run first.

mod error;
mod named;
mod parts;
mod s3;
mod transport;
mod upload;

use std::error::Error as StdError;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use allmende_core::digest::{Digest, Hasher, to_hex};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt as _};

use crate::config::Config;

pub use error::BlobError;
use error::{disk_error, store_error};
pub use named::{Name, Staged};
use s3::Remote;
use upload::Upload;

/// Bytes of one read, and of one write to a folder. Several of these are a transfer's whole memory.
const CHUNK_BYTES: usize = 1 << 20;

/// What the sender announced. Whatever is given is checked before the bytes become visible.
#[derive(Debug, Clone, Copy)]
pub struct Expect {
    /// The digest.
    pub digest: Option<Digest>,
    /// The exact size.
    pub size_bytes: Option<u64>,
    /// The most that is taken.
    pub max_bytes: u64,
}

/// Stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// By which they are found.
    pub digest: Digest,
    /// How many.
    pub size_bytes: u64,
}

/// Bytes on their way out.
pub struct Reader {
    /// Size of the whole object.
    pub size_bytes: u64,
    /// What the stream gives.
    pub range: Range<u64>,
    /// The bytes. When the whole object is read, it ends with [`BlobError::Damaged`] if the digest does not hold.
    pub stream: BoxStream<'static, Result<Bytes, BlobError>>,
}

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    local: Option<PathBuf>,
    remote: Option<Arc<Remote>>,
    copy_bytes: u64,
}

fn path_of(digest: &Digest) -> Path {
    let hex = digest.hex();
    Path::from_iter(["sha256", &hex[..2], &hex])
}

impl Blobs {
    /// Opens the store that the settings name. One in S3 is asked for its bucket first.
    ///
    /// # Errors
    /// [`BlobError::Unusable`] says what is in the way of an S3 store; else as [`Blobs::open`].
    pub async fn of(config: &Config) -> Result<Self, BlobError> {
        let place = config.blob_store();
        if !place.starts_with("s3://") {
            return Self::open(&place);
        }
        let remote = Arc::new(Remote::of(config)?);
        remote.look().await?;
        Ok(Self { store: remote.store(), local: None, remote: Some(remote), copy_bytes: s3::COPY_BYTES })
    }

    /// Opens the store at `place`, a folder (made when missing) or `memory:///`.
    ///
    /// # Errors
    /// [`BlobError::UnknownScheme`] or the failure of the folder.
    pub fn open(place: &str) -> Result<Self, BlobError> {
        if place == "memory:///" {
            return Ok(Self {
                store: Arc::new(InMemory::new()),
                local: None,
                remote: None,
                copy_bytes: s3::COPY_BYTES,
            });
        }
        if place.contains("://") {
            return Err(BlobError::UnknownScheme);
        }
        let root = FsPath::new(place);
        prepare(root).map_err(disk_error)?;
        // With fsync, a finished upload has its file and folder synced before it is acknowledged, and a rename both
        // folders (object_store's documentation and source, 0.14.2).
        let store = LocalFileSystem::new_with_prefix(root).map_err(store_error)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), local: Some(root.to_path_buf()), remote: None, copy_bytes: s3::COPY_BYTES })
    }

    /// Lets one request copy at most so many bytes inside an S3 store, instead of 512 MiB. More are copied in pieces, which
    /// are at least 5 MiB, or a store refuses them.
    #[must_use]
    pub fn with_copies_of(self, bytes: u64) -> Self {
        Self { copy_bytes: bytes, ..self }
    }

    /// Takes a stream to its end, checks it against `expect` and stores it durably. Storing the same bytes again is
    /// harmless. Nobody learns whether they were there before.
    ///
    /// # Errors
    /// [`BlobError`]; nothing becomes visible then.
    pub async fn put<E: Into<Box<dyn StdError + Send + Sync>>>(
        &self,
        bytes: impl Stream<Item = Result<Bytes, E>>,
        expect: &Expect,
    ) -> Result<Stored, BlobError> {
        let to = expect.digest.map(|digest| path_of(&digest));
        let mut upload = Upload::begin(self, to, expect.size_bytes).await?;
        match receive(&mut upload, bytes, expect).await {
            Ok(stored) => upload.publish(&path_of(&stored.digest)).await.map(|()| stored),
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    /// Stores bytes that are in memory already.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn put_bytes(&self, bytes: Bytes) -> Result<Stored, BlobError> {
        let expect = Expect { digest: None, size_bytes: None, max_bytes: u64::MAX };
        self.put(stream::iter([Ok::<_, BlobError>(bytes)]), &expect).await
    }

    /// Joins stored parts, in order, into one object.
    ///
    /// # Errors
    /// [`BlobError`]; nothing becomes visible then.
    pub async fn join(&self, parts: Vec<Digest>, expect: &Expect) -> Result<Stored, BlobError> {
        let store = self.clone();
        let bytes = stream::iter(parts)
            .then(move |part| {
                let store = store.clone();
                async move { store.open_range(&part, None).await.map(|reader| reader.stream) }
            })
            .flat_map(|part| match part {
                Ok(stream) => stream,
                Err(error) => stream::iter([Err(error)]).boxed(),
            });
        self.put(bytes, expect).await.map_err(|error| match error {
            // A part that is missing or damaged is no fault of a sender.
            BlobError::Input(inner) => match inner.downcast::<BlobError>() {
                Ok(own) => *own,
                Err(other) => BlobError::Input(other),
            },
            other => other,
        })
    }

    /// Opens the bytes, or a range of them that must lie inside.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::RangeOutside`], or the store's failure.
    pub async fn open_range(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Reader, BlobError> {
        let size_bytes = self.size(digest).await?;
        let whole = range.is_none();
        let range = range.unwrap_or(0..size_bytes);
        if range.start > range.end || range.end > size_bytes {
            return Err(BlobError::RangeOutside { size_bytes });
        }
        if range.is_empty() {
            return Ok(Reader { size_bytes, range, stream: stream::empty().boxed() });
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let got = self.store.get_opts(&path_of(digest), options).await.map_err(|e| not_found(e, digest))?;
        let bytes = match got.payload {
            // The store's own stream reads 8 KiB at a time, each through another thread.
            GetResultPayload::File(file, _) => read_file(file, range.clone()),
            GetResultPayload::Stream(stream) => stream.map(|piece| piece.map_err(store_error)).boxed(),
        };
        let stream = if whole { verified(bytes, *digest) } else { bytes };
        Ok(Reader { size_bytes, range, stream })
    }

    /// How many bytes there are.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] or the store's failure.
    pub async fn size(&self, digest: &Digest) -> Result<u64, BlobError> {
        Ok(self.store.head(&path_of(digest)).await.map_err(|e| not_found(e, digest))?.size)
    }

    /// Whether the bytes are there.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn exists(&self, digest: &Digest) -> Result<bool, BlobError> {
        match self.size(digest).await {
            Ok(_) => Ok(true),
            Err(BlobError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes the bytes; that they are not there is no error.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        match self.store.delete(&path_of(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Deletes what crashes left behind and is older than `age`. Gives the number of files, or of objects and unfinished
    /// uploads.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn sweep_unfinished(&self, age: Duration) -> Result<u64, BlobError> {
        match (&self.local, &self.remote) {
            (Some(root), _) => {
                let folder = root.join(upload::FOLDER);
                blocking(move || sweep(&folder, age)).await
            }
            (None, Some(remote)) => {
                Ok(self.delete_below(Path::from(upload::FOLDER), age).await? + remote.sweep_uploads(age).await?)
            }
            (None, None) => Ok(0),
        }
    }

    /// Whether the store holds nothing.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn is_empty(&self) -> Result<bool, BlobError> {
        for folder in ["sha256", "xet"] {
            if let Some(found) = self.store.list(Some(&Path::from(folder))).next().await {
                return found.map(|_| false).map_err(store_error);
            }
        }
        Ok(true)
    }

    /// Asks the store for a sign of life.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn ping(&self) -> Result<(), BlobError> {
        match self.local.clone() {
            Some(root) => blocking(move || std::fs::metadata(root.join(upload::FOLDER))).await.map(drop),
            None => match &self.remote {
                Some(remote) => remote.ping().await,
                None => Ok(()),
            },
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| BlobError::Store(e.into()))?.map_err(disk_error)
}

/// Makes the folders once and durably, so that a write syncs only the one it touches.
fn prepare(root: &FsPath) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let make = |path: &FsPath| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(&root.join(upload::FOLDER))?;
    for shard in 0..=u8::MAX {
        make(&root.join("sha256").join(to_hex(&[shard])))?;
    }
    for made in [root.join("sha256"), root.to_path_buf()] {
        std::fs::File::open(made)?.sync_all()?;
    }
    if let Some(parent) = root.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Whether something of this time is older than `age`.
fn is_old(at: SystemTime, age: Duration) -> bool {
    at.elapsed().is_ok_and(|elapsed| elapsed >= age)
}

fn sweep(folder: &FsPath, age: Duration) -> std::io::Result<u64> {
    let mut swept = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| is_old(at, age))
            && std::fs::remove_file(entry.path()).is_ok()
        {
            swept += 1;
        }
    }
    Ok(swept)
}

async fn receive<E: Into<Box<dyn StdError + Send + Sync>>>(
    upload: &mut Upload,
    bytes: impl Stream<Item = Result<Bytes, E>>,
    expect: &Expect,
) -> Result<Stored, BlobError> {
    let mut bytes = std::pin::pin!(bytes);
    let (mut hasher, mut size_bytes) = (Hasher::default(), 0_u64);
    while let Some(piece) = bytes.next().await {
        let piece = piece.map_err(|e| BlobError::Input(e.into()))?;
        size_bytes += piece.len() as u64;
        if size_bytes > expect.max_bytes {
            return Err(BlobError::TooLarge { max_bytes: expect.max_bytes });
        }
        if let Some(expected) = expect.size_bytes.filter(|&expected| size_bytes > expected) {
            return Err(BlobError::SizeMismatch { expected, actual: expected + 1 });
        }
        hasher.update(&piece);
        upload.write(piece).await?;
    }
    let digest = hasher.finish();
    match expect {
        Expect { size_bytes: Some(expected), .. } if *expected != size_bytes => {
            Err(BlobError::SizeMismatch { expected: *expected, actual: size_bytes })
        }
        Expect { digest: Some(expected), .. } if *expected != digest => {
            Err(BlobError::DigestMismatch { expected: *expected, actual: digest })
        }
        _ => Ok(Stored { digest, size_bytes }),
    }
}

fn read_file(file: std::fs::File, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
    use std::os::unix::fs::FileExt as _;
    stream::try_unfold((Arc::new(file), range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let length = (range.end - range.start).min(CHUNK_BYTES as u64);
        let (reading, start) = (Arc::clone(&file), range.start);
        let bytes = blocking(move || {
            // At most CHUNK_BYTES, so the cast keeps the value.
            let mut buffer = vec![0; length as usize];
            reading.read_exact_at(&mut buffer, start)?;
            Ok(Bytes::from(buffer))
        })
        .await?;
        Ok(Some((bytes, (file, start + length..range.end))))
    })
    .boxed()
}

fn verified(
    bytes: BoxStream<'static, Result<Bytes, BlobError>>,
    digest: Digest,
) -> BoxStream<'static, Result<Bytes, BlobError>> {
    stream::try_unfold((bytes, Some(Hasher::default())), move |(mut bytes, hasher)| async move {
        let Some(mut hasher) = hasher else { return Ok(None) };
        match bytes.next().await {
            Some(piece) => {
                let piece = piece?;
                hasher.update(&piece);
                Ok(Some((piece, (bytes, Some(hasher)))))
            }
            None if hasher.finish() == digest => Ok(None),
            None => Err(BlobError::Damaged { digest }),
        }
    })
    .boxed()
}

fn not_found(error: object_store::Error, digest: &Digest) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::NotFound { digest: *digest },
        other => store_error(other),
    }
}
