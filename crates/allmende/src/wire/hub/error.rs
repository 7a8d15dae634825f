//! Errors as the clients of the Hugging Face Hub read them: a short code and a message in headers, JSON in the body.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::account::AccountError;
use crate::content::ContentError;
use crate::db::DbError;
use crate::error::{ApiError, Code};
use crate::git::{GitError, InvalidPath};
use crate::repo::RepoError;

const X_ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const X_ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");

/// An error on its way to a client.
#[derive(Debug)]
pub struct HubError {
    inner: ApiError,
    /// What clients decide by.
    short: Option<&'static str>,
    /// Where clients look for another one than the code's.
    status: Option<StatusCode>,
    /// What else stands in the body.
    more: Option<(&'static str, String)>,
}

impl HubError {
    /// An error with what happened.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        ApiError::new(code, detail).into()
    }

    /// Adds the code that clients decide by.
    #[must_use]
    pub const fn short(mut self, short: &'static str) -> Self {
        self.short = Some(short);
        self
    }

    /// Gives it another status.
    #[must_use]
    pub const fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Puts another field into the body.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: String) -> Self {
        self.more = Some((field, value));
        self
    }

    /// To somebody without a token, what they may not know of looks like a token missing: clients then say both.
    #[must_use]
    pub fn to_anyone(mut self, anonymous: bool) -> Self {
        if anonymous && self.short == Some("RepoNotFound") {
            self.status = Some(StatusCode::UNAUTHORIZED);
        }
        self
    }
}

impl From<ApiError> for HubError {
    fn from(inner: ApiError) -> Self {
        Self { inner, short: None, status: None, more: None }
    }
}

impl From<DbError> for HubError {
    fn from(error: DbError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<AccountError> for HubError {
    fn from(error: AccountError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<InvalidPath> for HubError {
    fn from(error: InvalidPath) -> Self {
        GitError::from(error).into()
    }
}

impl From<GitError> for HubError {
    fn from(error: GitError) -> Self {
        let short = match &error {
            GitError::NoRevision(_) => Some("RevisionNotFound"),
            GitError::NoEntry(_) => Some("EntryNotFound"),
            _ => None,
        };
        Self { short, ..ApiError::from(error).into() }
    }
}

impl From<RepoError> for HubError {
    fn from(error: RepoError) -> Self {
        match error {
            RepoError::NotFound => Self { short: Some("RepoNotFound"), ..ApiError::from(error).into() },
            RepoError::Git(inner) => inner.into(),
            error => ApiError::from(error).into(),
        }
    }
}

impl From<ContentError> for HubError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Git(inner) => inner.into(),
            ContentError::Repo(inner) => inner.into(),
            ContentError::NotFound(_) => Self { short: Some("EntryNotFound"), ..ApiError::from(error).into() },
            error => ApiError::from(error).into(),
        }
    }
}

impl IntoResponse for HubError {
    fn into_response(self) -> Response {
        let problem = self.inner.problem();
        let mut response = self.inner.into_response();
        let status = self.status.unwrap_or(response.status());
        let mut body = serde_json::json!({ "error": problem.detail });
        if let (Some(body), Some((field, value))) = (body.as_object_mut(), self.more) {
            body.insert(field.to_owned(), value.into());
        }
        let mut headers = std::mem::take(response.headers_mut());
        headers.remove(axum::http::header::CONTENT_TYPE);
        headers.remove(axum::http::header::CONTENT_LENGTH);
        if let Some(short) = self.short {
            headers.insert(X_ERROR_CODE, HeaderValue::from_static(short));
        }
        // A header takes printable ASCII alone.
        let line: String = problem
            .detail
            .chars()
            .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
            .take(1_000)
            .collect();
        if let Ok(value) = HeaderValue::from_str(&line) {
            headers.insert(X_ERROR_MESSAGE, value);
        }
        (status, headers, axum::Json(body)).into_response()
    }
}
