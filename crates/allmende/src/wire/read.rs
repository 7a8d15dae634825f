//! What strangers send, read from bytes alone: the same code as at the doors, for whoever tries to break it.

use allmende_core::digest::Digest;
use axum::body::Body;
use bytes::Bytes;
use futures::{FutureExt as _, stream};

use super::git::push::Asked;
use super::hub::commit::Lines;
use super::lfs;
use super::lfs::batch::Question;
use crate::error::{ApiError, Code};
use crate::git::refs::Change as RefChange;
use crate::repo::changes::Change;

fn refused() -> ApiError {
    ApiError::new(Code::BadRequest, "refused")
}

/// The refs that a push asks to move, and the bytes that follow: the pack.
///
/// # Errors
/// As the door answers.
pub fn push(mut bytes: &[u8]) -> Result<(Vec<RefChange>, &[u8]), ApiError> {
    // What is in memory is never waited for.
    let asked = Asked::read(&mut bytes).now_or_never().ok_or_else(refused)??;
    Ok((asked.changes, bytes))
}

/// The objects that a question of git-lfs names; none for a name that is no digest.
///
/// # Errors
/// As the door answers.
pub fn large_files(bytes: &[u8]) -> Result<Vec<Option<Digest>>, ApiError> {
    let question: Question = lfs::parse(bytes)?;
    question.check()?;
    Ok(question.objects.iter().map(lfs::batch::Object::sha256).collect())
}

/// The message and the changes of a commit that arrives in pieces of so many bytes.
///
/// # Errors
/// As the door answers, though without its words.
pub fn commit(bytes: &[u8], piece: usize) -> Result<(String, Vec<Change>), ApiError> {
    let pieces: Vec<_> =
        bytes.chunks(piece.max(1)).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    let mut lines = Lines::of(Body::from_stream(stream::iter(pieces)));
    let read = async {
        let message = lines.header().await?.message()?;
        let mut changes = Vec::new();
        while let Some(change) = lines.change().await? {
            changes.push(change);
        }
        Ok::<_, super::hub::HubError>((message, changes))
    };
    read.now_or_never().ok_or_else(refused)?.map_err(|_| refused())
}
