//! The connection to one hub: one fixed destination, a pinned key, sign-in, limits on every answer, retries.

use std::sync::Arc;
use std::time::Duration;

use allmende_core::digest::Digest;
use allmende_core::id::{PartyId, RunId};
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::statement::KeyClass;
use allmende_core::time::Timestamp;
use bytes::{Bytes, BytesMut};
use reqwest::{Method, Response, Url, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::error::{ClientError, plain, plain_problem};
use crate::auth::api::LoginAnswer;
use crate::auth::{Scope, Scopes};
use crate::clock::Clock;
use crate::error::Problem;
use crate::idempotency;
use crate::tls::{self, Trust};

/// Longest wait for a short answer, in seconds.
pub const REQUEST_TIMEOUT_S: u64 = 60;
/// Longest wait for the next piece of a long answer, in seconds.
pub const IDLE_TIMEOUT_S: u64 = 60;
/// Longest transfer of one body, in seconds.
pub const TRANSFER_TIMEOUT_S: u64 = 3_600;
/// Largest JSON answer, in bytes: a page of the largest records.
pub const MAX_JSON_BYTES: u64 = 80 << 20;
/// Largest body of an error, in bytes.
pub(super) const MAX_PROBLEM_BYTES: u64 = 64 << 10;
/// How often a repeatable request is sent before its failure is reported.
const ATTEMPTS: u32 = 5;
/// First pause between attempts, in milliseconds; doubled each time.
const FIRST_PAUSE_MS: u64 = 200;
/// Longest pause between attempts, in milliseconds.
const MAX_PAUSE_MS: u64 = 10_000;
/// A token is renewed this long before it ends, in milliseconds.
const RENEW_BEFORE_MS: i64 = 60_000;
/// A token is kept at least this long, in milliseconds, whatever the hub says about its end.
const KEEP_AT_LEAST_MS: i64 = 30_000;

/// What kind of bytes leave in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Proof of a key, for a token.
    Login,
    /// A question that carries nothing of ours.
    Request,
    /// A witness's signature on a checkpoint.
    Cosignature,
    /// A signed statement.
    Statement,
    /// Counts over held-out rows, in a signed statement.
    Evaluation,
    /// A piece of a model update.
    Update,
    /// Bytes of an openly shared asset.
    OpenData,
    /// Rows to classify with a released model.
    Prediction,
}

/// A request that is about to leave.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// What kind of bytes.
    pub kind: Kind,
    /// For which run, if for one.
    pub run: Option<&'a RunId>,
    /// Method and path.
    pub what: &'a str,
    /// Bytes of the body.
    pub bytes: u64,
    /// Digest of the body.
    pub digest: Option<Digest>,
}

/// Sees every request before it leaves, and may hold it back.
pub trait Gate: Send + Sync {
    /// Lists what is about to leave; an error keeps it here.
    ///
    /// # Errors
    /// The reason, for the log of this machine.
    fn leaving(&self, outgoing: &Outgoing<'_>) -> Result<u64, String>;

    /// Says what became of it.
    fn left(&self, entry: u64, arrived: bool);
}

/// Who signs, statements and sign-ins alike.
#[derive(Clone)]
pub struct Signer {
    /// The party.
    pub party: PartyId,
    /// In which capacity.
    pub class: KeyClass,
    /// With which key.
    pub key: Arc<SecretKey>,
}

impl Signer {
    /// What a token for this key should be good for: nothing that its class has no use for.
    fn scopes(&self) -> Scopes {
        match self.class {
            KeyClass::Node => Scopes::of(&[Scope::Read, Scope::Node]),
            _ => Scopes::of(&[Scope::Read, Scope::Write]),
        }
    }
}

struct Held {
    token: String,
    renew_at: Timestamp,
}

/// A client of one hub.
pub struct HubClient {
    http: reqwest::Client,
    base: Url,
    hub_key: Option<PublicKey>,
    pub(super) identity: Option<Signer>,
    gate: Option<Arc<dyn Gate>>,
    clock: Clock,
    attempts: u32,
    token_lifetime_s: i64,
    token: Mutex<Option<Held>>,
    /// A token that somebody gave, in place of a sign-in.
    given: Option<String>,
}

/// One request.
pub(super) struct Call<'a> {
    pub method: Method,
    pub path: String,
    pub kind: Kind,
    pub run: Option<&'a RunId>,
    pub json: bool,
    pub body: Option<Bytes>,
    pub timeout_s: u64,
    pub repeatable: bool,
    pub authorized: bool,
    pub from_byte: u64,
    pub idempotency_key: Option<String>,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            kind: Kind::Request,
            run: None,
            json: false,
            body: None,
            timeout_s: REQUEST_TIMEOUT_S,
            repeatable: true,
            authorized: true,
            from_byte: 0,
            idempotency_key: None,
        }
    }

    pub(super) fn post<B: Serialize>(path: String, kind: Kind, body: &B) -> Result<Self, ClientError> {
        let refuse = |e: serde_json::Error| ClientError::Answer { what: path.clone(), reason: e.to_string() };
        let body = Bytes::from(serde_json::to_vec(body).map_err(refuse)?);
        Ok(Self { method: Method::POST, kind, json: true, body: Some(body), ..Self::get(path) })
    }

    pub(super) fn put(path: String, kind: Kind, body: Bytes) -> Self {
        Self { method: Method::PUT, kind, body: Some(body), timeout_s: TRANSFER_TIMEOUT_S, ..Self::get(path) }
    }

    pub(super) fn for_run(mut self, run: &'a RunId) -> Self {
        self.run = Some(run);
        self
    }
}

impl HubClient {
    /// A client of the hub at `url`: TLS 1.3 as `trust` says, plain HTTP on this machine only, no redirects. With `hub_key`
    /// the hub is held to that key.
    ///
    /// # Errors
    /// [`ClientError::Build`] or [`ClientError::Url`].
    pub fn connect(url: &str, trust: &Trust, hub_key: Option<PublicKey>, clock: Clock) -> Result<Self, ClientError> {
        let http = tls::client(url, trust).map_err(|e| ClientError::Build(e.to_string()))?;
        Self::new(http, url, hub_key, clock)
    }

    /// A client of the hub at `url` that speaks through `http`. With `hub_key` the hub is held to that key.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn new(
        http: reqwest::Client,
        url: &str,
        hub_key: Option<PublicKey>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let refuse = || ClientError::Url(url.chars().take(200).collect());
        let mut base = Url::parse(url).map_err(|_| refuse())?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() || !base.username().is_empty() {
            return Err(refuse());
        }
        base.set_query(None);
        base.set_fragment(None);
        Ok(Self {
            http,
            base,
            hub_key,
            identity: None,
            gate: None,
            clock,
            attempts: ATTEMPTS,
            token_lifetime_s: 0,
            token: Mutex::new(None),
            given: None,
        })
    }

    /// Signs in as `identity` where a route needs it.
    #[must_use]
    pub fn signed_in_as(mut self, identity: Signer) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Shows this token where a route needs one.
    #[must_use]
    pub fn bearing(mut self, token: String) -> Self {
        self.given = Some(token);
        self
    }

    /// Whether there is a key or a token to say who one is with.
    #[must_use]
    pub const fn can_sign_in(&self) -> bool {
        self.identity.is_some() || self.given.is_some()
    }

    /// Lets nothing leave but through `gate`.
    #[must_use]
    pub fn through(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Signs in for so many seconds at a time, instead of the hub's default. A program that runs for moments leaves no token
    /// behind that way; one that runs longer signs in again.
    #[must_use]
    pub const fn token_lifetime_s(mut self, seconds: i64) -> Self {
        self.token_lifetime_s = seconds;
        self
    }

    /// Sends a repeatable request at most so often.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The pinned key of the hub.
    #[must_use]
    pub const fn hub_key(&self) -> Option<PublicKey> {
        self.hub_key
    }

    /// The clock that this client goes by.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where the hub is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// Sends a call and reads its JSON answer.
    pub(super) async fn json<A: DeserializeOwned>(&self, call: Call<'_>) -> Result<A, ClientError> {
        let what = format!("{} {}", call.method, call.path);
        let bytes = self.bytes(call, MAX_JSON_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Answer { what, reason: plain(&e.to_string()) })
    }

    /// Sends a call and reads its answer as text.
    pub(super) async fn text(&self, call: Call<'_>, limit_bytes: u64) -> Result<String, ClientError> {
        let what = format!("{} {}", call.method, call.path);
        let bytes = self.bytes(call, limit_bytes).await?;
        String::from_utf8(bytes.into()).map_err(|_| ClientError::Answer { what, reason: "not UTF-8".to_owned() })
    }

    /// Sends a call and reads the bytes of its answer.
    pub(super) async fn bytes(&self, call: Call<'_>, limit_bytes: u64) -> Result<Bytes, ClientError> {
        let mut attempt = 1;
        loop {
            let answer = match self.send(&call).await {
                Ok(response) => read(response, limit_bytes).await,
                Err(error) => Err(error),
            };
            match answer {
                // A connection that breaks within the answer is as good as none.
                Err(error) if self.again(&call, &error, attempt).await => attempt += 1,
                other => return other,
            }
        }
    }

    /// Sends a call, again where that is safe, and gives the answer with its body unread.
    pub(super) async fn open(&self, call: Call<'_>) -> Result<Response, ClientError> {
        let mut attempt = 1;
        loop {
            match self.send(&call).await {
                Err(error) if self.again(&call, &error, attempt).await => attempt += 1,
                other => return other,
            }
        }
    }

    /// Whether to try again; waits before it says yes.
    pub(super) async fn again(&self, call: &Call<'_>, error: &ClientError, attempt: u32) -> bool {
        let again = call.repeatable && error.is_passing() && attempt < self.attempts;
        if again {
            tracing::debug!(path = call.path, attempt, code = error.code(), "request failed, trying again");
            tokio::time::sleep(pause(attempt)).await;
        }
        again
    }

    /// Sends a call once; a token that the hub no longer takes is renewed once.
    async fn send(&self, call: &Call<'_>) -> Result<Response, ClientError> {
        if !call.authorized {
            return self.send_once(call, None).await;
        }
        let token = self.token().await?;
        match self.send_once(call, Some(&token)).await {
            Err(ClientError::Problem(problem)) if problem.code == "unauthenticated" && self.given.is_none() => {
                self.forget(&token).await;
                let token = self.token().await?;
                self.send_once(call, Some(&token)).await
            }
            other => other,
        }
    }

    pub(super) async fn send_once(&self, call: &Call<'_>, token: Option<&str>) -> Result<Response, ClientError> {
        let what = format!("{} {}", call.method, call.path);
        let body_bytes = call.body.as_ref().map_or(0, |b| b.len() as u64);
        let entry = match &self.gate {
            None => None,
            Some(gate) => {
                let digest = call.body.as_ref().map(|b| Digest::of(b));
                let outgoing = Outgoing { kind: call.kind, run: call.run, what: &what, bytes: body_bytes, digest };
                Some(gate.leaving(&outgoing).map_err(ClientError::Gate)?)
            }
        };
        let result = self.transmit(call, token).await;
        if let (Some(gate), Some(entry)) = (&self.gate, entry) {
            gate.left(entry, !matches!(result, Err(ref error) if error.is_unheard()));
        }
        let response = result?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn transmit(&self, call: &Call<'_>, token: Option<&str>) -> Result<Response, ClientError> {
        let url = self.target(&call.path)?;
        let mut request = self.http.request(call.method.clone(), url).timeout(Duration::from_secs(call.timeout_s));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if call.from_byte > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", call.from_byte));
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header(idempotency::HEADER, key);
        }
        if let Some(body) = &call.body {
            let media = if call.json { "application/json" } else { "application/octet-stream" };
            request = request.header(header::CONTENT_TYPE, media).body(body.clone());
        }
        request.send().await.map_err(|e| ClientError::from_reqwest(&e, call.timeout_s))
    }

    /// Sends a file as it is, once, and reads the JSON answer. A gate has to list what leaves by its digest, which nobody knows
    /// before: nothing leaves through one.
    pub(super) async fn put_file<A: DeserializeOwned>(
        &self,
        path: String,
        kind: Kind,
        file: &std::path::Path,
    ) -> Result<A, ClientError> {
        if self.gate.is_some() {
            return Err(ClientError::Gate(format!("files of the kind {kind:?} are not sent from here")));
        }
        let io = |e| ClientError::file(file, e);
        let opened = tokio::fs::File::open(file).await.map_err(io)?;
        let bytes = opened.metadata().await.map_err(io)?.len();
        let (url, token, what) = (self.target(&path)?, self.token().await?, format!("PUT {path}"));
        let body = reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::with_capacity(opened, 1 << 18));
        let request = self.http.put(url).bearer_auth(token).timeout(Duration::from_secs(TRANSFER_TIMEOUT_S));
        let request =
            request.header(header::CONTENT_TYPE, "application/octet-stream").header(header::CONTENT_LENGTH, bytes);
        let sent = request.body(body).send().await;
        let response = sent.map_err(|e| ClientError::from_reqwest(&e, TRANSFER_TIMEOUT_S))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let answer = read(response, MAX_JSON_BYTES).await?;
        serde_json::from_slice(&answer).map_err(|e| ClientError::Answer { what, reason: plain(&e.to_string()) })
    }

    /// The URL of `path`, below the hub's own and nowhere else.
    fn target(&self, path: &str) -> Result<Url, ClientError> {
        let refuse = || ClientError::Url(path.chars().take(200).collect());
        let url = Url::parse(&format!("{}{path}", self.base.as_str().trim_end_matches('/'))).map_err(|_| refuse())?;
        let same = url.scheme() == self.base.scheme()
            && url.host_str() == self.base.host_str()
            && url.port_or_known_default() == self.base.port_or_known_default();
        if same { Ok(url) } else { Err(refuse()) }
    }

    async fn forget(&self, token: &str) {
        let mut held = self.token.lock().await;
        if held.as_ref().is_some_and(|h| h.token == token) {
            *held = None;
        }
    }

    /// A token that holds for a while yet; signs in when there is none.
    async fn token(&self) -> Result<String, ClientError> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let mut held = self.token.lock().await;
        if let Some(held) = held.as_ref().filter(|h| self.clock.now() < h.renew_at) {
            return Ok(held.token.clone());
        }
        let token = self.sign_in().await?;
        let now = self.clock.now();
        let renew_at = Timestamp(token.expires_at).plus_ms(-RENEW_BEFORE_MS).max(now.plus_ms(KEEP_AT_LEAST_MS));
        *held = Some(Held { token: token.token.clone(), renew_at });
        Ok(token.token)
    }

    async fn sign_in(&self) -> Result<LoginAnswer, ClientError> {
        let identity = self.identity.as_ref().ok_or(ClientError::NoIdentity)?;
        // Once: whoever needs the token tries the whole of it again.
        self.claim_token(identity.class.code(), self.token_lifetime_s, identity.scopes(), false).await
    }
}

/// How long to wait after the `attempt`-th failure: doubled each time, with a random part so that many nodes do not come
/// back at once.
#[must_use]
pub fn pause(attempt: u32) -> Duration {
    let ceiling = FIRST_PAUSE_MS.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(MAX_PAUSE_MS);
    let mut random = [0; 2];
    // Without chance all wait equally long, which is no fault.
    let _ = getrandom::fill(&mut random);
    let share = u64::from(u16::from_le_bytes(random));
    Duration::from_millis(ceiling / 2 + ceiling * share / (2 * u64::from(u16::MAX)))
}

/// The next piece of a body, within the time for one.
pub(super) async fn next_chunk(response: &mut Response) -> Result<Option<Bytes>, ClientError> {
    match tokio::time::timeout(Duration::from_secs(IDLE_TIMEOUT_S), response.chunk()).await {
        Ok(chunk) => chunk.map_err(|e| ClientError::from_reqwest(&e, IDLE_TIMEOUT_S)),
        Err(_) => Err(ClientError::Timeout { seconds: IDLE_TIMEOUT_S }),
    }
}

pub(super) async fn read(mut response: Response, limit_bytes: u64) -> Result<Bytes, ClientError> {
    let mut all = BytesMut::new();
    while let Some(chunk) = next_chunk(&mut response).await? {
        if all.len() as u64 + chunk.len() as u64 > limit_bytes {
            return Err(ClientError::TooLarge { limit_bytes });
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

async fn refusal(response: Response) -> ClientError {
    let status = response.status().as_u16();
    match read(response, MAX_PROBLEM_BYTES).await.ok().and_then(|b| serde_json::from_slice::<Problem>(&b).ok()) {
        Some(problem) => ClientError::Problem(Box::new(plain_problem(problem, status))),
        None => ClientError::Status { status },
    }
}
