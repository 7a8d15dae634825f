//! Folding the updates of a round into the next model, slice by slice: memory is a few slices, whatever the size of the
//! model and the number of members.

use allmende_core::digest::Digest;
use allmende_core::run::aggregate::SliceAggregator;
use allmende_core::run::plan::Outer;
use allmende_core::statement::Counted;
use allmende_formats::safetensors::{self, Layout, MAX_HEADER_BYTES};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::blobs::{BlobError, Blobs, Expect};

/// Bytes of one slice: a whole number of values.
const SLICE_BYTES: usize = 1 << 20;

/// Why a round was not folded.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// The bytes are not there or not whole.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A stored file is no model.
    #[error("stored model {digest}: {source}")]
    Format {
        /// Which.
        digest: Digest,
        /// Why.
        source: safetensors::Error,
    },
    /// The arithmetic refuses, for instance because the mean is not finite.
    #[error(transparent)]
    Rule(#[from] allmende_core::run::aggregate::AggregateError),
    /// The store stopped taking the next model.
    #[error("the store stopped taking the next model")]
    Broken,
}

/// The result of a round.
#[derive(Debug, Clone, Copy)]
pub struct Folded {
    /// The next model.
    pub model: Digest,
    /// State of the outer optimizer, if it has one.
    pub velocity: Option<Digest>,
}

/// A stored file that is read in pieces of the caller's choice.
struct Pieces {
    stream: BoxStream<'static, Result<Bytes, BlobError>>,
    rest: BytesMut,
}

impl Pieces {
    async fn open(blobs: &Blobs, digest: &Digest) -> Result<(Self, u64), BlobError> {
        let reader = blobs.open_range(digest, None).await?;
        Ok((Self { stream: reader.stream, rest: BytesMut::new() }, reader.size_bytes))
    }

    /// The next `len` bytes; fewer only at the end.
    async fn take(&mut self, len: usize) -> Result<Bytes, BlobError> {
        while self.rest.len() < len {
            match self.stream.next().await {
                Some(piece) => self.rest.extend_from_slice(&piece?),
                None => break,
            }
        }
        let len = len.min(self.rest.len());
        Ok(self.rest.split_to(len).freeze())
    }

    /// Reads over the header and gives it back, with the layout.
    async fn header(&mut self, digest: Digest, size_bytes: u64) -> Result<(Bytes, Layout), AggregateError> {
        let format = |source| AggregateError::Format { digest, source };
        let most = usize::try_from(MAX_HEADER_BYTES + safetensors::LENGTH_BYTES).unwrap_or(usize::MAX);
        let prefix = self.take(most).await?;
        let layout = safetensors::parse_header(&prefix, size_bytes).map_err(format)?;
        let header = usize::try_from(layout.header_bytes).unwrap_or(usize::MAX).min(prefix.len());
        let mut rest = BytesMut::from(&prefix[header..]);
        rest.extend_from_slice(&self.rest);
        self.rest = rest;
        Ok((prefix.slice(..header), layout))
    }

    /// Reads to the end, so that the store can check the digest of the whole.
    async fn finish(&mut self) -> Result<(), BlobError> {
        while let Some(piece) = self.stream.next().await {
            piece?;
        }
        Ok(())
    }
}

/// Checks that a stored file is a model of exactly `header`'s layout with finite values only.
///
/// # Errors
/// `None` inside when the layout is another one or a value is not finite, with the reason.
pub async fn check_model(blobs: &Blobs, digest: Digest, header: &[u8]) -> Result<Result<(), String>, BlobError> {
    let (mut pieces, size_bytes) = Pieces::open(blobs, &digest).await?;
    match pieces.header(digest, size_bytes).await {
        Ok((found, _)) if found == header => {}
        Ok(_) => return Ok(Err("its tensors are not exactly those of the plan's network".to_owned())),
        Err(AggregateError::Blob(error)) => return Err(error),
        Err(error) => return Ok(Err(error.to_string())),
    }
    let mut index = 0_u64;
    loop {
        let slice = pieces.take(SLICE_BYTES).await?;
        if slice.is_empty() {
            return Ok(Ok(()));
        }
        let (values, rest) = slice.as_chunks::<4>();
        if !rest.is_empty() {
            return Ok(Err("its payload is no whole number of values".to_owned()));
        }
        if let Some(i) = values.iter().position(|v| !f32::from_le_bytes(*v).is_finite()) {
            return Ok(Err(format!("value {} is not finite", index + i as u64)));
        }
        index += values.len() as u64;
    }
}

/// Folds `counted`, in their order, onto `base` and stores the next model and the outer optimizer's state.
///
/// # Errors
/// [`AggregateError::Rule`] when the mean is not finite; else the store's failure.
pub async fn fold(
    app: &App,
    outer: &Outer,
    base: Digest,
    velocity: Option<Digest>,
    counted: &[Counted],
) -> Result<Folded, AggregateError> {
    let (models, model_out) = mpsc::channel::<Bytes>(2);
    let (velocities, velocity_out) = mpsc::channel::<Bytes>(2);
    let given_up = CancellationToken::new();
    let wants_velocity = !matches!(outer, Outer::Average);
    let produce = async {
        let done = produce(&app.blobs, outer, base, velocity, counted, models, velocities.clone()).await;
        if done.is_err() {
            given_up.cancel();
        }
        drop(velocities);
        done
    };
    let store_velocity =
        async { if wants_velocity { store(&app.blobs, velocity_out, &given_up).await.map(Some) } else { Ok(None) } };
    let (produced, model, velocity) = tokio::join!(produce, store(&app.blobs, model_out, &given_up), store_velocity);
    produced?;
    Ok(Folded { model: model?, velocity: velocity? })
}

async fn store(
    blobs: &Blobs,
    pieces: mpsc::Receiver<Bytes>,
    given_up: &CancellationToken,
) -> Result<Digest, BlobError> {
    let stream = futures::stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
    // A half-written model must not be taken for a whole one: the stream ends with an error when the producer failed.
    let checked = stream.map(Ok).chain(futures::stream::once(async {
        if given_up.is_cancelled() { Err(std::io::Error::other("the fold was given up")) } else { Ok(Bytes::new()) }
    }));
    let expect = Expect { digest: None, size_bytes: None, max_bytes: u64::MAX };
    Ok(blobs.put(checked.boxed(), &expect).await?.digest)
}

async fn produce(
    blobs: &Blobs,
    outer: &Outer,
    base: Digest,
    velocity: Option<Digest>,
    counted: &[Counted],
    models: mpsc::Sender<Bytes>,
    velocities: mpsc::Sender<Bytes>,
) -> Result<(), AggregateError> {
    let weights: Vec<u64> = counted.iter().map(|c| c.weight).collect();
    let mut aggregator = SliceAggregator::new(outer, &weights)?;
    let (mut base_pieces, size_bytes) = Pieces::open(blobs, &base).await?;
    let (header, layout) = base_pieces.header(base, size_bytes).await?;
    let mut updates = Vec::with_capacity(counted.len());
    for update in counted {
        updates.push(open_behind_header(blobs, update.update).await?);
    }
    let mut velocity_pieces = match velocity {
        Some(digest) => Some(open_behind_header(blobs, digest).await?),
        None => None,
    };
    let wants_velocity = !matches!(outer, Outer::Average);
    send(&models, header.clone()).await?;
    if wants_velocity {
        send(&velocities, header).await?;
    }
    let mut left = layout.payload_bytes();
    while left > 0 {
        let len = usize::try_from(left.min(SLICE_BYTES as u64)).unwrap_or(SLICE_BYTES);
        aggregator.begin(&base_pieces.take(len).await?)?;
        for update in &mut updates {
            aggregator.fold(&update.take(len).await?)?;
        }
        let before = match &mut velocity_pieces {
            Some(pieces) => pieces.take(len).await?,
            None => Bytes::new(),
        };
        let next = aggregator.finish(&before)?;
        send(&models, next.model.into()).await?;
        if wants_velocity {
            send(&velocities, next.velocity.into()).await?;
        }
        left -= len as u64;
    }
    for pieces in updates.iter_mut().chain(&mut velocity_pieces).chain([&mut base_pieces]) {
        pieces.finish().await?;
    }
    Ok(())
}

async fn open_behind_header(blobs: &Blobs, digest: Digest) -> Result<Pieces, AggregateError> {
    let (mut pieces, size_bytes) = Pieces::open(blobs, &digest).await?;
    pieces.header(digest, size_bytes).await?;
    Ok(pieces)
}

async fn send(to: &mpsc::Sender<Bytes>, bytes: Bytes) -> Result<(), AggregateError> {
    to.send(bytes).await.map_err(|_| AggregateError::Broken)
}
