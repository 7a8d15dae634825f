//! Bodies of requests: packed or not, never more than a limit once unpacked.

use std::io::{Error, ErrorKind, Write as _};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use crate::error::{ApiError, Code};

/// Packed bytes that are unpacked at once: they become at most about a thousand times as many.
const STEP_BYTES: usize = 2 << 10;

/// The bytes of a body, at most `max_bytes`.
pub type Bytestream = BoxStream<'static, Result<Bytes, Error>>;

/// Reads a body in whatever packing it came.
///
/// # Errors
/// [`Code::UnsupportedMediaType`] for a packing that git does not use.
pub fn open(headers: &HeaderMap, body: Body, max_bytes: u64) -> Result<Bytestream, ApiError> {
    let packing = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    let raw = body.into_data_stream().map_err(Error::other);
    let plain = match packing {
        None | Some("identity") => raw.boxed(),
        Some("gzip" | "x-gzip") => unpacked(raw.boxed()),
        Some(_) => {
            return Err(ApiError::new(
                Code::UnsupportedMediaType,
                "the body may be packed with gzip, and not otherwise",
            ));
        }
    };
    Ok(limited(plain, max_bytes))
}

fn limited(bytes: Bytestream, max_bytes: u64) -> Bytestream {
    let mut left = max_bytes;
    bytes
        .map(move |piece| {
            let piece = piece?;
            left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
                Error::new(ErrorKind::FileTooLarge, format!("the request has more than {max_bytes} bytes"))
            })?;
            Ok(piece)
        })
        .boxed()
}

/// One step of unpacking: what is left of the piece, and the decoder until it is at its end.
struct Unpacking {
    packed: Bytestream,
    piece: Bytes,
    decoder: Option<GzDecoder<Vec<u8>>>,
}

fn unpacked(packed: Bytestream) -> Bytestream {
    let start = Unpacking { packed, piece: Bytes::new(), decoder: Some(GzDecoder::new(Vec::new())) };
    stream::try_unfold(start, |mut state| async move {
        loop {
            let Some(decoder) = &mut state.decoder else { return Ok(None) };
            if state.piece.is_empty() {
                match state.packed.next().await {
                    Some(piece) => state.piece = piece?,
                    None => {
                        let Some(decoder) = state.decoder.take() else { return Ok(None) };
                        let rest = decoder.finish()?;
                        return Ok((!rest.is_empty()).then(|| (Bytes::from(rest), state)));
                    }
                }
                continue;
            }
            let step = state.piece.split_to(state.piece.len().min(STEP_BYTES));
            decoder.write_all(&step)?;
            let out = std::mem::take(decoder.get_mut());
            if !out.is_empty() {
                return Ok(Some((Bytes::from(out), state)));
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn read(body: Vec<u8>, packing: &'static str, max_bytes: u64) -> Result<Vec<u8>, String> {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(packing))]);
        let pieces: Vec<_> = body.chunks(700).map(|piece| Ok::<_, Error>(Bytes::copy_from_slice(piece))).collect();
        let stream =
            open(&headers, Body::from_stream(stream::iter(pieces)), max_bytes).map_err(|e| e.problem().detail)?;
        stream
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await
            .map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn what_is_packed_is_unpacked_up_to_a_limit() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(read(packed(&bytes), "gzip", 400_000).await.unwrap(), bytes);
        assert_eq!(read(bytes.clone(), "identity", 400_000).await.unwrap(), bytes);
        assert!(read(packed(&bytes), "gzip", 399_999).await.unwrap_err().contains("399999"));
        // 64 MiB of nothing in 64 KiB.
        assert!(read(packed(&vec![0; 64 << 20]), "gzip", 1 << 20).await.is_err());
        let cut = packed(&bytes);
        assert!(read(cut[..cut.len() / 2].to_vec(), "gzip", 400_000).await.is_err());
        assert!(read(b"no gzip".to_vec(), "gzip", 100).await.is_err());
        assert!(read(bytes, "br", 400_000).await.is_err());
    }
}
