//! Errors as clients see them: RFC 9457 `application/problem+json` with a stable code.
//!
//! Each noun has its own error enum; only the conversions to [`ApiError`] decide code, status and hint. What went wrong
//! inside goes to the log under the request's id and never to the client.

use std::error::Error as StdError;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::auth::AuthError;
use crate::blobs::BlobError;
use allmende_core::state::Refusal;

use crate::db::DbError;
use crate::invitations::InvitationError;
use crate::ledger::read::ReadError;
use crate::ledger::{AppendError, LedgerError};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:literal $code:literal $title:literal;)+) => {
        /// What went wrong, for programs. Codes are stable: clients may match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// All codes, in the order of the reference.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code as it stands in the answer.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// A short title, the same for every error of this code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// When it is given.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

codes! {
    /// The request cannot be read.
    BadRequest = 400 "bad_request" "The request cannot be read";
    /// A signature or a statement breaks a rule of form.
    InvalidStatement = 400 "invalid_statement" "The statement is not valid";
    /// No token, or one that is unknown, expired or revoked.
    Unauthenticated = 401 "unauthenticated" "A valid token is needed";
    /// The proof of possession at sign-in does not hold.
    LoginRefused = 401 "login_refused" "The sign-in was refused";
    /// The token does not carry the scope.
    MissingScope = 403 "missing_scope" "The token lacks a scope";
    /// The agreement or a rule forbids it; `clauses` says which.
    Forbidden = 403 "forbidden" "The rules forbid this";
    /// The hub registers parties by invitation, and none was sent.
    InvitationNeeded = 403 "invitation_needed" "An invitation is needed";
    /// The invitation is unknown, used, over, revoked, or another party's.
    InvitationRefused = 403 "invitation_refused" "The invitation was refused";
    /// It does not exist, or the caller may not know that it does.
    NotFound = 404 "not_found" "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = 405 "method_not_allowed" "This method does not exist here";
    /// The request took too long to arrive or to be answered.
    Timeout = 408 "timeout" "The request took too long";
    /// Somebody else was first: read again and retry.
    Conflict = 409 "conflict" "Somebody else was first";
    /// The very same is there already.
    Duplicate = 409 "duplicate" "This exists already";
    /// Larger than a limit; the detail names the limit.
    TooLarge = 413 "too_large" "Larger than the limit";
    /// The account keeps as many bytes of large files as it may; the detail says what to do.
    QuotaExceeded = 413 "quota_exceeded" "The quota of the account is used up";
    /// Not `application/json`.
    UnsupportedMediaType = 415 "unsupported_media_type" "Unsupported media type";
    /// No such range in the bytes.
    RangeNotSatisfiable = 416 "range_not_satisfiable" "The range lies outside the bytes";
    /// The bytes do not have the digest that was announced.
    DigestMismatch = 422 "digest_mismatch" "The bytes do not match their digest";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = 422 "idempotency_key_reused" "The idempotency key was used for another request";
    /// Well-formed, but it asks for something that cannot be.
    Unprocessable = 422 "unprocessable" "The request cannot be carried out";
    /// A limit on rate or number was reached; come back later.
    TooMany = 429 "too_many" "Too many at the same time";
    /// A fault of the hub; the log has it under the request id.
    Internal = 500 "internal" "The hub failed";
    /// The hub is busy or stopping; come back later.
    Unavailable = 503 "unavailable" "The hub cannot answer now";
    /// The log has as many entries as the hub permits.
    LogFull = 507 "log_full" "The log is full";
    /// The hub's disk is full.
    StorageFull = 507 "storage_full" "The hub's storage is full";
}

tokio::task_local! {
    /// The id of the request that this task answers; the router sets it.
    pub(crate) static REQUEST_ID: String;
}

/// The body of an error's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:allmende:error:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// Stable, for programs.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// The same for every error of this code.
    pub title: String,
    /// What happened here.
    pub detail: String,
    /// What would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The clauses of the agreement that forbid it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<String>,
    /// Under which the hub's log has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An error on its way to the client.
#[derive(Debug)]
pub struct ApiError {
    code: Code,
    detail: String,
    hint: Option<String>,
    clauses: Vec<String>,
    retry_after_s: Option<u32>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ApiError {
    /// An error with its code and what happened here.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), hint: None, clauses: Vec::new(), retry_after_s: None, source: None }
    }

    /// Adds what would help.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the clauses that forbid it.
    #[must_use]
    pub fn clauses<T: ToString>(mut self, clauses: impl IntoIterator<Item = T>) -> Self {
        self.clauses = clauses.into_iter().map(|c| c.to_string()).collect();
        self
    }

    /// Adds when to come back, in seconds.
    #[must_use]
    pub const fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Keeps the inner error, for the log only.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// A fault of the hub: the client learns nothing but the request id.
    #[must_use]
    pub fn internal(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(Code::Internal, "an internal error; the hub's log has it under the request id").because(source)
    }

    /// `what` does not exist, or the caller may not know.
    #[must_use]
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("{what} does not exist"))
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The body of the answer.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem {
            kind: format!("urn:allmende:error:{}", self.code.as_str()),
            code: self.code.as_str().to_owned(),
            status: self.code.status(),
            title: self.code.title().to_owned(),
            detail: self.detail.clone(),
            hint: self.hint.clone(),
            clauses: self.clauses.clone(),
            request_id: REQUEST_ID.try_with(Clone::clone).ok(),
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl StdError for ApiError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Some(source) = &self.source {
            let chain: Vec<String> = std::iter::successors(Some(&**source as &dyn StdError), |&e| e.source())
                .map(ToString::to_string)
                .collect();
            tracing::error!(code = self.code.as_str(), error = chain.join(": "), "request failed");
        }
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn storage_full(source: impl StdError + Send + Sync + 'static) -> ApiError {
    ApiError::new(Code::StorageFull, "nothing was stored").hint("the operator has to free space").because(source)
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::StorageFull(_) => storage_full(error),
            DbError::Sql(sqlx::Error::PoolTimedOut) => {
                Self::new(Code::Unavailable, "the database is busy").retry_after_s(1).because(error)
            }
            error if crate::db::is_retryable(&error) => {
                Self::new(Code::Unavailable, "too many writers at once").retry_after_s(1).because(error)
            }
            error => Self::internal(error),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        DbError::from(error).into()
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::Conflict { .. } => {
                Self::new(Code::Conflict, error.to_string()).hint("read the log's head again")
            }
            LedgerError::Duplicate { .. } => Self::new(Code::Duplicate, error.to_string()),
            LedgerError::OriginTaken { .. } => Self::new(Code::Conflict, error.to_string()).hint("choose another name"),
            LedgerError::Misuse(_) => Self::internal(error),
            LedgerError::Db(_) => match error {
                LedgerError::Db(inner) => inner.into(),
                other => Self::internal(other),
            },
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        let text = error.to_string();
        match error {
            BlobError::NotFound { .. } => Self::new(Code::NotFound, text),
            BlobError::DigestMismatch { .. } => Self::new(Code::DigestMismatch, text).hint("send the bytes again"),
            BlobError::SizeMismatch { .. } => {
                Self::new(Code::Unprocessable, text).hint("send exactly the bytes announced")
            }
            BlobError::TooLarge { .. } => Self::new(Code::TooLarge, text),
            BlobError::RangeOutside { .. } => Self::new(Code::RangeNotSatisfiable, text),
            BlobError::Input(_) => Self::new(Code::BadRequest, "the bytes stopped coming").hint("send them again"),
            BlobError::StorageFull(_) => storage_full(error),
            BlobError::Away(_) => {
                Self::new(Code::Unavailable, "the store of bytes does not answer").retry_after_s(5).because(error)
            }
            BlobError::Damaged { .. }
            | BlobError::Missing { .. }
            | BlobError::Store(_)
            | BlobError::Unusable { .. }
            | BlobError::UnknownScheme => Self::internal(error),
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Db(inner) => inner.into(),
            AuthError::Randomness => Self::internal(error),
            AuthError::TooManyTokens { .. } => {
                Self::new(Code::TooMany, error.to_string()).hint("revoke tokens that are not needed")
            }
            AuthError::Refused(why) => Self::new(Code::LoginRefused, why),
        }
    }
}

impl From<InvitationError> for ApiError {
    fn from(error: InvitationError) -> Self {
        let text = error.to_string();
        match error {
            InvitationError::Db(inner) => inner.into(),
            InvitationError::Needed => Self::new(Code::InvitationNeeded, text)
                .hint("ask the hub's operator for one ('allmende invitation create'), and join with --invitation CODE"),
            InvitationError::Refused(_) => {
                Self::new(Code::InvitationRefused, text).hint("ask the hub's operator for another one")
            }
            InvitationError::Randomness | InvitationError::Bounds(_) => Self::internal(error),
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(refusal) => refusal.into(),
            AppendError::Ledger(inner) => inner.into(),
            AppendError::Encoding(detail) => Self::new(Code::InvalidStatement, detail),
            AppendError::Aborted => Self::new(Code::Unavailable, "nothing was written; send it again").retry_after_s(1),
            restored @ AppendError::Restored { .. } => Self::new(Code::Unavailable, restored.to_string())
                .hint("the operator brings missing entries back with 'allmende ledger rebuild --from'")
                .retry_after_s(5),
            full @ AppendError::Full { .. } => Self::new(Code::LogFull, full.to_string())
                .hint("ask the hub's operator to raise max_log_entries, or go on in a new collaboration"),
            corrupt @ AppendError::Corrupt { .. } => Self::internal(corrupt),
        }
    }
}

impl From<Refusal> for ApiError {
    /// The refusal's own code stands in front of the detail: programs may match on it.
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Malformed { .. } => Code::InvalidStatement,
            Refusal::Sequence { .. } | Refusal::Previous {} => Code::Conflict,
            _ => Code::Forbidden,
        };
        let clauses = match &refusal {
            Refusal::Denied { decision } => decision.clauses.iter().map(|c| c.clause.clone()).collect(),
            _ => Vec::new(),
        };
        let error = Self::new(code, format!("{}: {refusal}", refusal.code())).clauses(clauses);
        match refusal.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Missing { .. } => Self::not_found(error),
            ReadError::Tile(error) => Self::new(Code::BadRequest, error.to_string()),
            ReadError::Append(error) => error.into(),
            ReadError::Ledger(error) => error.into(),
            damaged @ (ReadError::Merkle(_) | ReadError::Damaged(_)) => Self::internal(damaged),
        }
    }
}
