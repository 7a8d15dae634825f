//! The lines that git's protocol is made of: four hexadecimal digits say how long each is.
//!
//! <https://git-scm.com/docs/protocol-common>

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::error::{ApiError, Code};

/// Ends a list of lines.
pub const FLUSH: &[u8] = b"0000";
/// Most bytes that a line carries.
const MAX_BYTES: usize = 65_516;
/// Most bytes of a line of the side band, less its channel.
const MAX_BAND_BYTES: usize = MAX_BYTES - 1;

/// Where a line of the side band goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Band {
    /// To the program.
    Data,
    /// To whoever sits before it.
    Words,
}

/// Appends a line.
pub fn put(out: &mut Vec<u8>, line: &[u8]) {
    let line = &line[..line.len().min(MAX_BYTES)];
    out.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
    out.extend_from_slice(line);
}

/// Appends bytes on a channel of the side band.
pub fn put_band(out: &mut Vec<u8>, band: Band, bytes: &[u8]) {
    for piece in bytes.chunks(MAX_BAND_BYTES) {
        out.extend_from_slice(format!("{:04x}", piece.len() + 5).as_bytes());
        out.push(match band {
            Band::Data => 1,
            Band::Words => 2,
        });
        out.extend_from_slice(piece);
    }
}

/// Reads a line; none where a list ends.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, ApiError> {
    let bad = |text: &str| ApiError::new(Code::BadRequest, text);
    let mut digits = [0; 4];
    from.read_exact(&mut digits).await.map_err(|_| bad("the request is cut off"))?;
    let text = std::str::from_utf8(&digits).ok().filter(|text| text.bytes().all(|c| c.is_ascii_hexdigit()));
    let length = text.and_then(|text| usize::from_str_radix(text, 16).ok());
    match length {
        Some(0) => Ok(None),
        Some(length @ 5..) if length <= MAX_BYTES + 4 => {
            let mut line = vec![0; length - 4];
            from.read_exact(&mut line).await.map_err(|_| bad("the request is cut off"))?;
            Ok(Some(line))
        }
        _ => Err(bad("the request has a line of a length that none has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_go_out_and_come_in() {
        let mut out = Vec::new();
        put(&mut out, b"hello\n");
        out.extend_from_slice(FLUSH);
        assert_eq!(out, b"000ahello\n0000");
        let mut from = out.as_slice();
        assert_eq!(read(&mut from).await.unwrap(), Some(b"hello\n".to_vec()));
        assert_eq!(read(&mut from).await.unwrap(), None);
        for bad in ["", "00", "0004", "0001", "zzzz", "+00a", "0006x", "ffffx"] {
            assert!(read(&mut bad.as_bytes()).await.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bands_are_cut() {
        let mut out = Vec::new();
        put_band(&mut out, Band::Words, b"hi");
        assert_eq!(out, b"0007\x02hi");
        out.clear();
        put_band(&mut out, Band::Data, &vec![b'x'; 70_000]);
        assert_eq!((out.len(), &out[..5]), (70_010, &b"fff0\x01"[..]));
    }
}
