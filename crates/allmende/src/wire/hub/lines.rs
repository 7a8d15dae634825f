//! Bodies of one JSON object on each line, read as they arrive and never as a whole.

use axum::body::{Body, BodyDataStream};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::HubError;
use crate::error::Code;

/// How much is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// What the body is, in messages.
    pub what: &'static str,
    /// Bytes of the longest line.
    pub line_bytes: usize,
    /// Bytes of the whole body.
    pub body_bytes: u64,
}

/// The lines of a body, each bounded. Empty ones are passed over.
pub(super) struct Lines {
    body: BodyDataStream,
    limits: Limits,
    rest: Vec<u8>,
    read: u64,
    ended: bool,
}

impl Lines {
    /// The lines of `body`, of which nothing was read.
    pub fn of(body: Body, limits: Limits) -> Self {
        Self { body: body.into_data_stream(), limits, rest: Vec::new(), read: 0, ended: false }
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// [`Code::BadRequest`] or [`Code::TooLarge`].
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, HubError> {
        let what = self.limits.what;
        let mut searched = 0;
        loop {
            if let Some(at) = self.rest[searched..].iter().position(|&c| c == b'\n') {
                let tail = self.rest.split_off(searched + at + 1);
                let line = std::mem::replace(&mut self.rest, tail);
                searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.parse(&line).map(Some);
            }
            searched = self.rest.len();
            if self.rest.len() > self.limits.line_bytes {
                return Err(HubError::new(Code::TooLarge, format!("a line of the {what} is too long")));
            }
            if self.ended {
                let line = std::mem::take(&mut self.rest);
                return if line.iter().all(u8::is_ascii_whitespace) { Ok(None) } else { self.parse(&line).map(Some) };
            }
            match self.body.next().await {
                None => self.ended = true,
                Some(piece) => {
                    let broke = |e| HubError::new(Code::BadRequest, format!("the {what} broke off: {e}"));
                    let piece = piece.map_err(broke)?;
                    self.read += piece.len() as u64;
                    if self.read > self.limits.body_bytes {
                        return Err(HubError::new(Code::TooLarge, format!("the {what} is too large")));
                    }
                    self.rest.extend_from_slice(&piece);
                }
            }
        }
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, HubError> {
        let unread =
            |e| HubError::new(Code::BadRequest, format!("a line of the {} cannot be read: {e}", self.limits.what));
        serde_json::from_slice(line).map_err(unread)
    }
}
