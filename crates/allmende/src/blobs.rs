//! Bytes by their SHA-256: written once, durable when acknowledged, never held in memory as a whole.
//!
//! Architecture invariant: a digest opens bytes here without asking anybody; callers authorize through a repository or
//! a run first.

mod parts;

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
use object_store::{
    GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload,
};

use crate::faults;

mod named;

pub use named::{Name, Staged};

/// Bytes gathered before they go to the store, and bytes of one read. Several of these are a transfer's whole memory.
const CHUNK_BYTES: usize = 1 << 20;

/// Why bytes were not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Not a store that this program speaks.
    #[error("blob_store must be a folder or memory:///")]
    UnknownScheme,
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

fn store_error(error: impl StdError + Send + Sync + 'static) -> BlobError {
    if is_full(&error) { BlobError::StorageFull(error.into()) } else { BlobError::Store(error.into()) }
}

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
}

fn path_of(digest: &Digest) -> Path {
    let hex = digest.hex();
    Path::from_iter(["sha256", &hex[..2], &hex])
}

impl Blobs {
    /// Opens the store at `place`, a folder (made when missing) or `memory:///`.
    ///
    /// # Errors
    /// [`BlobError::UnknownScheme`] or the failure of the folder.
    pub fn open(place: &str) -> Result<Self, BlobError> {
        if place == "memory:///" {
            return Ok(Self { store: Arc::new(InMemory::new()), local: None });
        }
        if place.contains("://") {
            return Err(BlobError::UnknownScheme);
        }
        let root = FsPath::new(place);
        prepare(root).map_err(store_error)?;
        // With fsync, a finished upload has its file and folder synced before it is acknowledged, and a rename both
        // folders (object_store's documentation and source, 0.14.2).
        let store = LocalFileSystem::new_with_prefix(root).map_err(store_error)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), local: Some(root.to_path_buf()) })
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
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| BlobError::Store(e.to_string().into()))?;
        let staged = Path::from_iter(["tmp", &to_hex(&random)]);
        // Dropping a local upload deletes its file, so a cancelled request leaves nothing; a crash leaves it to
        // `sweep_unfinished`.
        let mut upload = self.store.put_multipart(&staged).await.map_err(store_error)?;
        match receive(&mut upload, bytes, expect).await {
            Ok(stored) => {
                faults::point("blob.before_sync");
                upload.complete().await.map_err(store_error)?;
                faults::point("blob.before_publish");
                self.store.rename(&staged, &path_of(&stored.digest)).await.map_err(store_error)?;
                faults::point("blob.after_publish");
                Ok(stored)
            }
            Err(error) => {
                // The first error is what counts.
                let _ = upload.abort().await;
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

    /// Deletes what crashes left behind and is older than `age`. Gives the number of files.
    ///
    /// # Errors
    /// The folder's failure.
    pub async fn sweep_unfinished(&self, age: Duration) -> Result<u64, BlobError> {
        let Some(root) = self.local.clone() else { return Ok(0) };
        blocking(move || sweep(&root.join("tmp"), age)).await
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
            Some(root) => blocking(move || std::fs::metadata(root.join("tmp"))).await.map(drop),
            None => self.exists(&Digest::of(b"")).await.map(drop),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| BlobError::Store(e.into()))?.map_err(store_error)
}

/// Makes the folders once and durably, so that a write syncs only the one it touches.
fn prepare(root: &FsPath) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let make = |path: &FsPath| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(&root.join("tmp"))?;
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

fn sweep(folder: &FsPath, age: Duration) -> std::io::Result<u64> {
    let mut swept = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let old = |at: SystemTime| at.elapsed().is_ok_and(|elapsed| elapsed >= age);
        if entry.metadata().and_then(|m| m.modified()).is_ok_and(old) && std::fs::remove_file(entry.path()).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

async fn receive<E: Into<Box<dyn StdError + Send + Sync>>>(
    upload: &mut Box<dyn MultipartUpload>,
    bytes: impl Stream<Item = Result<Bytes, E>>,
    expect: &Expect,
) -> Result<Stored, BlobError> {
    let mut bytes = std::pin::pin!(bytes);
    let (mut hasher, mut size_bytes) = (Hasher::default(), 0_u64);
    let (mut gathered, mut gathered_bytes) = (Vec::new(), 0);
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
        gathered_bytes += piece.len();
        gathered.push(piece);
        if gathered_bytes >= CHUNK_BYTES {
            gathered_bytes = 0;
            upload.put_part(PutPayload::from_iter(gathered.drain(..))).await.map_err(store_error)?;
        }
    }
    if gathered_bytes > 0 {
        upload.put_part(PutPayload::from_iter(gathered)).await.map_err(store_error)?;
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
