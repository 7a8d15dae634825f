//! The network between a member and the hub, in the hand of a dishonest operator: it passes everything on, until it is told
//! to lie to this member.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use allmende_core::id::PartyId;
use allmende_core::ledger::envelope::Envelope;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::task::JoinHandle;

use super::forge::Forged;
use crate::api::{Entries, SyncAnswer, SyncRequest, Witnessed};
use crate::demo::Failed;
use crate::tls::{self, Trust};

/// Largest body that is passed on, in bytes.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Pause before a lie is repeated to a node that asks for news.
const PACE: Duration = Duration::from_millis(400);

/// What the member is shown instead of the truth.
#[derive(Clone)]
pub enum Lie {
    /// Another log, wherever the member asks for it.
    Log(Arc<Forged>),
    /// The log as it once was, with work that was due then; nothing that the node sends gets through.
    Frozen(Arc<Forged>),
    /// The truth, but nothing that the node sends gets through.
    Held,
    /// The truth, with more offers.
    Offers(Vec<Envelope>),
    /// The truth, but no offers: a member keeps its own node from working, while it goes on to cosign.
    NoWork,
    /// Other bytes as any model.
    Model(Bytes),
}

/// What the operator saw of a member.
#[derive(Debug, Default)]
struct Seen {
    token: Option<String>,
    nodes_token: Option<String>,
    size: u64,
    syncs: u64,
    sent: u64,
}

/// The cosignatures that came by, newest of each party: an operator passes them on as it likes.
pub type Board = Arc<Mutex<BTreeMap<PartyId, Witnessed>>>;

struct Shared {
    party: PartyId,
    hub: String,
    http: reqwest::Client,
    lie: RwLock<Option<Lie>>,
    seen: Mutex<Seen>,
    board: Board,
}

/// The door through which one member reaches the hub.
pub struct Proxy {
    /// What the member takes for the hub's address.
    pub url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// Opens a door for `party` to the hub at `hub`.
    ///
    /// # Errors
    /// [`Failed`] when no port is free.
    pub async fn open(party: &PartyId, hub: &str, board: Board) -> Result<Self, Failed> {
        let fail = |e: &dyn std::fmt::Display| Failed::new("open the operator's network", e);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|e| fail(&e))?;
        let url = format!("http://{}", listener.local_addr().map_err(|e| fail(&e))?);
        let shared = Arc::new(Shared {
            party: party.clone(),
            hub: hub.to_owned(),
            http: tls::client(hub, &Trust::System).map_err(|e| fail(&e))?,
            lie: RwLock::new(None),
            seen: Mutex::default(),
            board,
        });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            // It ends with the demonstration.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, shared, serving })
    }

    /// Lies from now on, or tells the truth again.
    pub fn tell(&self, lie: Option<Lie>) {
        *self.shared.lie.write().unwrap_or_else(PoisonError::into_inner) = lie;
    }

    fn seen<T>(&self, of: impl FnOnce(&Seen) -> T) -> T {
        of(&self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last bearer token that went by.
    #[must_use]
    pub fn token(&self) -> Option<String> {
        self.seen(|seen| seen.token.clone())
    }

    /// How much of the log the member's node had when it last asked for news, and how often it has asked.
    #[must_use]
    pub fn asked(&self) -> (u64, u64) {
        self.seen(|seen| (seen.size, seen.syncs))
    }

    /// The largest size that the member's node cosigned.
    #[must_use]
    pub fn cosigned(&self) -> u64 {
        let board = self.shared.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(&self.shared.party).map_or(0, |line| line.size)
    }

    /// How often the member's node tried to send an update or a statement.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.seen(|seen| seen.sent)
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else { return StatusCode::BAD_REQUEST.into_response() };
    let path = parts.uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str).to_owned();
    let sync: Option<SyncRequest> = path.ends_with("/sync").then(|| serde_json::from_slice(&body).ok()).flatten();
    let from_node = watch(&shared, &parts.method, &path, &parts.headers, sync.as_ref());
    let lie = shared.lie.read().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(answer) = lie_about(&shared, lie.as_ref(), (&parts.method, &path, from_node), sync.as_ref()).await {
        return answer;
    }
    let (status, headers, bytes) = match forward(&shared, parts.method, &path, parts.headers, body).await {
        Ok(answer) => answer,
        Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
    };
    let bytes = match (&lie, sync.is_some()) {
        (Some(Lie::Offers(more)), true) => {
            with_offers(&bytes, |offers| offers.extend_from_slice(more)).unwrap_or(bytes)
        }
        (Some(Lie::NoWork), true) => with_offers(&bytes, Vec::clear).unwrap_or(bytes),
        _ => bytes,
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    for name in [header::CONTENT_TYPE, header::CONTENT_RANGE, header::RETRY_AFTER] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// Whether a request carries something of the member's: an update, or a statement.
fn is_sending(method: &Method, path: &str) -> bool {
    *method != Method::GET && (path.contains("/uploads") || path.ends_with("/statements"))
}

/// Takes down what goes by; says whether it comes from the member's node, and not from its owner's commands.
fn watch(shared: &Shared, method: &Method, path: &str, headers: &HeaderMap, sync: Option<&SyncRequest>) -> bool {
    let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let Some(token) = token else { return false };
    let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.token = Some(token.to_owned());
    if let Some(sync) = sync {
        // Only nodes ask for news.
        seen.nodes_token = Some(token.to_owned());
        seen.size = sync.size;
        seen.syncs += 1;
        if let Some(line) = &sync.cosignature {
            let party = shared.party.clone();
            let witnessed =
                Witnessed { party: Some(party.clone()), key: sync.node, size: sync.size, line: line.clone() };
            shared.board.lock().unwrap_or_else(PoisonError::into_inner).insert(party, witnessed);
        }
    }
    let from_node = seen.nodes_token.as_deref() == Some(token);
    if from_node && is_sending(method, path) {
        seen.sent += 1;
    }
    from_node
}

/// The answer of a liar, where this lie is about this request.
async fn lie_about(
    shared: &Shared,
    lie: Option<&Lie>,
    (method, path, from_node): (&Method, &str, bool),
    sync: Option<&SyncRequest>,
) -> Option<Response> {
    match (lie?, sync) {
        // Its owner's commands see the truth: only the node, which nobody watches, is kept in the dark.
        (Lie::Log(log) | Lie::Frozen(log), None) if from_node && path.ends_with("/log/checkpoint") => {
            Some(log.checkpoint(log.size()).into_response())
        }
        (Lie::Log(log) | Lie::Frozen(log), None) if from_node && path.contains("/log/entries?") => {
            let from = number(path, "from=").unwrap_or(0);
            Some(axum::Json(Entries { from, records: log.from(from) }).into_response())
        }
        (Lie::Log(log), Some(sync)) => Some(news(shared, log, sync, Vec::new()).await),
        (Lie::Frozen(log), Some(sync)) => {
            let offers = log.offers(&shared.party, &sync.node);
            Some(news(shared, log, sync, offers).await)
        }
        (Lie::Frozen(_) | Lie::Held, None) if from_node && is_sending(method, path) => {
            Some(StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
        (Lie::Model(bytes), None) if path.contains("/models/") => Some(bytes.clone().into_response()),
        _ => None,
    }
}

/// A forged log's answer to a node that asks for news. All cosignatures that the operator ever saw go along.
async fn news(shared: &Shared, log: &Forged, sync: &SyncRequest, offers: Vec<Envelope>) -> Response {
    tokio::time::sleep(PACE).await;
    let board = shared.board.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = SyncAnswer {
        seen: sync.seen,
        checkpoint: log.checkpoint(log.size()),
        records: log.from(sync.size),
        witnesses: board.values().cloned().collect(),
        offers,
    };
    axum::Json(answer).into_response()
}

fn with_offers(bytes: &[u8], change: impl FnOnce(&mut Vec<Envelope>)) -> Option<Bytes> {
    let mut answer: SyncAnswer = serde_json::from_slice(bytes).ok()?;
    change(&mut answer.offers);
    serde_json::to_vec(&answer).ok().map(Bytes::from)
}

fn number(path: &str, name: &str) -> Option<u64> {
    let rest = &path[path.find(name)? + name.len()..];
    rest.split('&').next()?.parse().ok()
}

async fn forward(
    shared: &Shared,
    method: Method,
    path: &str,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, HeaderMap, Bytes), reqwest::Error> {
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let request = shared.http.request(method, format!("{}{path}", shared.hub)).headers(headers).body(body);
    let answer = request.send().await?;
    Ok((answer.status(), answer.headers().clone(), answer.bytes().await?))
}
