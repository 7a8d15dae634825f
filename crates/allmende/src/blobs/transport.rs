//! How requests reach an S3 store: over the HTTP client and the TLS that the program has anyway.

use std::error::Error as StdError;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::redirect::Policy;

use crate::tls;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a request to be sent and answered, and between two pieces of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Servers close idle connections after about this time; a request on a closed one has to be sent again.
const IDLE: Duration = Duration::from_secs(15);

/// A client without proxies and redirects: it reaches the store of the settings and nothing else.
pub(super) fn client(https_only: bool) -> Result<reqwest::Client, reqwest::Error> {
    tls::install_provider();
    reqwest::Client::builder()
        .https_only(https_only)
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ANSWER_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("allmende/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Hands the client to `object_store`.
#[derive(Debug, Clone)]
pub(super) struct Transport(pub reqwest::Client);

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

// Written as the macro of async traits would, which is not worth a dependency.
impl HttpService for Transport {
    fn call<'s, 'a>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap)).map_err(failed)?;
            let response: axum::http::Response<reqwest::Body> = self.0.execute(request).await.map_err(failed)?.into();
            Ok(response.map(|body| HttpResponseBody::new(body.map_err(failed))))
        })
    }
}

/// What failed, and so whether it is tried again. The address is left out: it may be signed.
fn failed(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else {
        std::iter::successors(error.source(), |&e| e.source()).find_map(cause).unwrap_or(HttpErrorKind::Unknown)
    };
    HttpError::new(kind, error.without_url())
}

fn cause(error: &(dyn StdError + 'static)) -> Option<HttpErrorKind> {
    use std::io::ErrorKind;
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        if error.is_closed() || error.is_incomplete_message() || error.is_body_write_aborted() {
            return Some(HttpErrorKind::Request);
        }
        return error.is_timeout().then_some(HttpErrorKind::Timeout);
    }
    match error.downcast_ref::<std::io::Error>()?.kind() {
        ErrorKind::TimedOut => Some(HttpErrorKind::Timeout),
        ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Some(HttpErrorKind::Interrupted),
        _ => None,
    }
}
