//! Idempotency keys: a client that saw no answer may send its request again and gets the first answer.
//!
//! Only what is not idempotent by itself takes a key: sign-in, which makes a token each time. Statements, uploads and
//! bytes are known by their digests, so sending them again finds them; a prediction changes nothing.
//!
//! An answer that holds a secret is kept [sealed](Seal). Not keeping it would leave a client without the token that was
//! made for it; keeping it readable would hand every token of a day to whoever reads the database.

use allmende_core::digest::Digest;
use allmende_core::id::PartyId;
use allmende_core::signature::SecretKey;
use allmende_core::time::Timestamp;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use serde::Serialize;
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;

use crate::db::{DbError, Tx};
use crate::error::{ApiError, Code};

/// The header that carries the key.
pub const HEADER: &str = "idempotency-key";
/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 100;
/// Bytes of a sealed answer's nonce, which stands in front of it.
const NONCE_BYTES: usize = 24;

/// A client's key as it came with a request, before it is known who the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    text: String,
    request: Digest,
}

impl Key {
    /// Reads the key from the headers, if there is one.
    ///
    /// # Errors
    /// [`Code::BadRequest`] when it is not 1 to 100 visible ASCII characters.
    pub fn read(headers: &HeaderMap, method: &str, path: &str, body: &[u8]) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get(HEADER) else { return Ok(None) };
        let valid = |key: &&str| (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        let text = value.to_str().ok().filter(valid).ok_or_else(|| {
            ApiError::new(Code::BadRequest, "Idempotency-Key is not 1 to 100 visible ASCII characters")
        })?;
        let request = Digest::of_parts(&[method.as_bytes(), b"\n", path.as_bytes(), b"\n", body]);
        Ok(Some(Self { text: text.to_owned(), request }))
    }

    /// The request, now that it is known whose it is.
    #[must_use]
    pub fn by(self, party: &PartyId) -> Idempotent {
        Idempotent { party: party.clone(), key: self.text, request: self.request }
    }
}

/// One request, recognizable when it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotent {
    /// Whose key it is: parties do not see each other's.
    pub party: PartyId,
    /// The client's key.
    pub key: String,
    /// Over method, path and body.
    pub request: Digest,
}

/// An answer that can be stored: JSON with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON text.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer of `value`.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(value).map_err(ApiError::internal)?;
        Ok(Self { status: status.as_u16(), body })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], self.body).into_response()
    }
}

/// Seals answers that hold a secret, with a key that follows from the hub's: who has the database alone cannot read them,
/// and every process of the same hub can.
pub struct Seal(Zeroizing<[u8; 32]>);

impl Seal {
    /// The seal of the hub with this key.
    #[must_use]
    pub fn of(hub_key: &SecretKey) -> Self {
        let seed = Zeroizing::new(hub_key.seed());
        Self(Zeroizing::new(Digest::of_parts(&[b"allmende: answers kept for idempotency keys\n", &*seed]).0))
    }

    /// The answer as it may lie in the database. It opens for this request only.
    ///
    /// # Errors
    /// [`Code::Internal`] when the operating system gives no randomness.
    pub fn close(&self, request: &Idempotent, answer: &Answer) -> Result<Answer, ApiError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| ApiError::from(crate::auth::AuthError::Randomness))?;
        let bound = request.bound();
        let payload = Payload { msg: &answer.body, aad: &bound.0 };
        let closed = self.cipher().encrypt(&nonce.into(), payload).map_err(|_| broken("cannot be sealed"))?;
        Ok(Answer { status: answer.status, body: [&nonce[..], &closed].concat() })
    }

    /// What was closed.
    ///
    /// # Errors
    /// [`Code::Internal`] when somebody altered it.
    pub fn open(&self, request: &Idempotent, kept: &Answer) -> Result<Answer, ApiError> {
        let bound = request.bound();
        let (nonce, msg) = kept.body.split_first_chunk::<NONCE_BYTES>().ok_or_else(|| broken("is cut short"))?;
        let payload = Payload { msg, aad: &bound.0 };
        let body = self.cipher().decrypt(&(*nonce).into(), payload).map_err(|_| broken("does not open"))?;
        Ok(Answer { status: kept.status, body })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.0).into())
    }
}

fn broken(how: &str) -> ApiError {
    ApiError::internal(DbError::Corrupt { column: "idempotency.body", message: format!("the answer {how}") })
}

impl Idempotent {
    /// What a sealed answer is bound to.
    fn bound(&self) -> Digest {
        Digest::of_parts(&[self.party.as_str().as_bytes(), b"\n", self.key.as_bytes(), b"\n", &self.request.0])
    }
}

/// The answer that this request got before, if any: return it at once. Without a key there is none.
///
/// Inside a [`transaction!`](crate::transaction): `replay` first, then the work, then [`remember`]; so the work and its
/// answer become durable together and happen once. Errors are not remembered: the request may be tried again.
///
/// # Errors
/// [`Code::IdempotencyKeyReused`] when the key stands for another request.
pub async fn replay(connection: &mut AnyConnection, request: Option<&Idempotent>) -> Result<Option<Answer>, ApiError> {
    let Some(request) = request else { return Ok(None) };
    let row = sqlx::query("SELECT request_digest, status, body FROM idempotency WHERE party = $1 AND key = $2")
        .bind(request.party.as_str())
        .bind(&request.key)
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get::<String, _>(0)? != request.request.to_string() {
        return Err(ApiError::new(
            Code::IdempotencyKeyReused,
            format!("the key '{}' answered another request", request.key),
        )
        .hint("use a new key for each request"));
    }
    let corrupt = |_| DbError::Corrupt { column: "idempotency.status", message: "not an HTTP status".to_owned() };
    let status = u16::try_from(row.try_get::<i64, _>(1)?).map_err(corrupt)?;
    Ok(Some(Answer { status, body: row.try_get(2)? }))
}

/// Remembers the answer, in the transaction that did the work. Without a key it does nothing.
///
/// # Errors
/// [`DbError`].
pub async fn remember(
    tx: &mut Tx,
    request: Option<&Idempotent>,
    answer: &Answer,
    now: Timestamp,
) -> Result<(), DbError> {
    let Some(request) = request else { return Ok(()) };
    sqlx::query(
        "INSERT INTO idempotency (party, key, request_digest, status, body, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(request.party.as_str())
    .bind(&request.key)
    .bind(request.request.to_string())
    .bind(i64::from(answer.status))
    .bind(answer.body.as_slice())
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets answers stored before `before`. Gives their number.
///
/// # Errors
/// [`DbError`].
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64, DbError> {
    let done = sqlx::query("DELETE FROM idempotency WHERE created_at < $1").bind(before.0).execute(&mut **tx).await?;
    Ok(done.rows_affected())
}
