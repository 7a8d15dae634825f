//! Parts of a request as handlers receive them, refused with problem+json instead of axum's plain text.

use std::convert::Infallible;
use std::ops::Range;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::blobs::BlobError;
use crate::error::{ApiError, Code};
use crate::idempotency::Key;

/// Most bytes of a form.
const MAX_FORM_BYTES: usize = 16 << 10;

/// A JSON body of a request (limited to `max_body_bytes`, `application/json` only), or of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(
    /// The value.
    pub T,
);

/// A JSON body as [`Json`] takes it, and the idempotency key that came with it, if one did.
#[derive(Debug, Clone)]
pub struct Keyed<T> {
    /// The key.
    pub key: Option<Key>,
    /// The value.
    pub body: T,
}

/// The raw bytes of a request's body, limited to `max_body_bytes`.
#[derive(Debug, Clone)]
pub struct Body(
    /// The bytes.
    pub Bytes,
);

/// A form's fields, `application/x-www-form-urlencoded`, of a few KiB.
#[derive(Debug, Clone, Copy)]
pub struct Form<T>(
    /// The fields.
    pub T,
);

/// The query of the URL.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(
    /// The value.
    pub T,
);

/// The parameters of the path.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(
    /// The value.
    pub T,
);

/// The address that the client knows this hub by, without a slash at its end.
#[derive(Debug, Clone)]
pub struct Base(
    /// The address.
    pub String,
);

impl FromRequestParts<App> for Base {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let host = parts.headers.get(header::HOST).and_then(|v| v.to_str().ok()).filter(|host| host.chars().all(fits));
        let scheme = if app.tls.is_some() { "https" } else { "http" };
        Ok(Self(format!("{scheme}://{}", host.map_or_else(|| app.config.listen.to_string(), str::to_owned))))
    }
}

/// The one range of bytes that a request asks for, of a file of `size` bytes; none for all. What is not understood, several
/// ranges too, is answered with everything, as HTTP has it.
///
/// # Errors
/// [`Code::RangeNotSatisfiable`] when it begins behind the end.
pub fn range(headers: &HeaderMap, size: u64) -> Result<Option<Range<u64>>, ApiError> {
    let Some(text) = headers.get(header::RANGE).and_then(|v| v.to_str().ok()) else { return Ok(None) };
    let Some((from, to)) = text.strip_prefix("bytes=").and_then(|text| text.split_once('-')) else { return Ok(None) };
    let (from, to) = (from.trim(), to.trim());
    let range = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => from..to.saturating_add(1).min(size),
        (Ok(from), Err(_)) if to.is_empty() => from..size,
        (Err(_), Ok(last)) if from.is_empty() => size.saturating_sub(last)..size,
        _ => return Ok(None),
    };
    match size {
        // Of nothing there is no part.
        0 => Ok(None),
        _ if range.start >= size => Err(BlobError::RangeOutside { size_bytes: size }.into()),
        _ => Ok(Some(range)),
    }
}

async fn read(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let max_bytes = app.config.max_body_bytes;
    let too_large = || ApiError::new(Code::TooLarge, format!("the body is larger than max_body_bytes = {max_bytes}"));
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(too_large());
    }
    let mut pieces = request.into_body().into_data_stream();
    let mut body = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| ApiError::new(Code::BadRequest, format!("the body broke off: {e}")))?;
        if (body.len() + piece.len()) as u64 > max_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else { return false };
    let (media_type, parameter) = value.split_once(';').unwrap_or((value, "charset=utf-8"));
    media_type.trim().eq_ignore_ascii_case("application/json") && parameter.trim().eq_ignore_ascii_case("charset=utf-8")
}

/// The bytes of a body that is declared as JSON.
async fn read_json(request: Request, app: &App) -> Result<Bytes, ApiError> {
    if !is_json(request.headers()) {
        let error = ApiError::new(Code::UnsupportedMediaType, "the body is not declared as JSON");
        return Err(error.hint("send 'Content-Type: application/json'"));
    }
    read(request, app).await
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // serde_json's messages quote the client's own input and our field names, nothing else.
    serde_json::from_slice(body).map_err(|e| ApiError::new(Code::BadRequest, format!("the body: {e}")))
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        parse(&read_json(request, app).await?).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Keyed<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let headers = request.headers().clone();
        let body = read_json(request, app).await?;
        let key = Key::read(&headers, method.as_str(), &path, &body)?;
        Ok(Self { key, body: parse(&body)? })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl FromRequest<App> for Body {
    type Rejection = ApiError;
    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        read(request, app).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Form<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let error = ApiError::new(Code::UnsupportedMediaType, "the body is not declared as a form");
            return Err(error.hint("send 'Content-Type: application/x-www-form-urlencoded'"));
        }
        let body = read(request, app).await?;
        if body.len() > MAX_FORM_BYTES {
            return Err(ApiError::new(Code::TooLarge, format!("a form has at most {MAX_FORM_BYTES} bytes")));
        }
        let wrong = || ApiError::new(Code::BadRequest, "the form cannot be read");
        // A form is written as a query is, and read by the same reader.
        let uri = Uri::builder().path_and_query([b"/?", &*body].concat()).build().map_err(|_| wrong())?;
        axum::extract::Query::try_from_uri(&uri).map(|form| Self(form.0)).map_err(|_| wrong())
    }
}

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, app).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(Code::BadRequest, rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, app).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(Code::BadRequest, rejection.body_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_as_http_has_them() {
        let asked = |text: &str, size| {
            let headers = HeaderMap::from_iter([(header::RANGE, text.parse().unwrap())]);
            range(&headers, size).map_err(|e| e.code())
        };
        assert_eq!(range(&HeaderMap::new(), 9).unwrap(), None);
        for (text, expected) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-", Some(2..9)),
            ("bytes=2-100", Some(2..9)),
            ("bytes= 2 - 4 ", Some(2..5)),
            ("bytes=-3", Some(6..9)),
            ("bytes=-100", Some(0..9)),
            ("bytes=0-18446744073709551615", Some(0..9)),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("bytes=a-b", None),
            ("bytes=-", None),
            ("lines=1-2", None),
            ("", None),
        ] {
            assert_eq!(asked(text, 9), Ok(expected), "{text}");
        }
        for outside in ["bytes=9-", "bytes=9-9", "bytes=-0", "bytes=18446744073709551615-"] {
            assert_eq!(asked(outside, 9), Err(Code::RangeNotSatisfiable), "{outside}");
        }
        assert_eq!(asked("bytes=0-", 0), Ok(None));
    }
}
