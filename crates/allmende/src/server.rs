//! Accepts connections, with or without TLS, and stops without dropping requests.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, header};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::metrics::Counter;
use crate::router::router;

/// Pause after a failure to accept, such as too many open files: trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client that was answered before it had sent everything is heard out, so that the answer reaches it.
const LINGER: Duration = Duration::from_secs(30);
/// Longest pause while it is heard out.
const LINGER_PAUSE: Duration = Duration::from_secs(2);
/// Most bytes that are heard and thrown away: one xorb or part in full, and some.
const LINGER_BYTES: usize = 80 << 20;

/// Ends when the process is told to stop, by SIGTERM or Ctrl-C.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Serves the hub until `shutdown` ends, then lets open requests finish for `drain_timeout_s` and closes the database.
///
/// `app.closing` is cancelled first, so long polls answer at once.
pub async fn serve(app: App, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let counted = app.clone();
    let door = Door {
        service: router(&app),
        tls: app.tls.as_ref().map(|tls| Arc::clone(&tls.config)),
        max_connections: app.config.max_connections,
        header_timeout_s: app.config.header_timeout_s,
        drain_timeout_s: app.config.drain_timeout_s,
        closing: app.closing.clone(),
        tasks: app.tasks.clone(),
        accepted: Box::new(move || counted.metrics.add(Counter::Connections, 1)),
    };
    door.serve(listener, shutdown).await;
    app.db.close().await;
}

/// The body of a request, which notes whether it was heard to its end.
struct Heard {
    body: Incoming,
    to_its_end: Arc<AtomicBool>,
}

impl Heard {
    fn new(request: hyper::Request<Incoming>) -> (hyper::Request<Self>, Arc<AtomicBool>) {
        let to_its_end = Arc::new(AtomicBool::new(request.body().is_end_stream()));
        let noted = Arc::clone(&to_its_end);
        (request.map(|body| Self { body, to_its_end }), noted)
    }
}

impl Body for Heard {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.to_its_end.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where connections come in, and what limits them.
pub struct Door {
    /// Answers the requests.
    pub service: Router,
    /// TLS, unless off.
    pub tls: Option<Arc<ServerConfig>>,
    /// Open connections; more wait to be accepted.
    pub max_connections: u64,
    /// Longest time for a client to send its request's head, or to agree on TLS, in seconds.
    pub header_timeout_s: u64,
    /// Time for open requests and tasks to finish, in seconds.
    pub drain_timeout_s: u64,
    /// Cancelled when it begins to close.
    pub closing: CancellationToken,
    /// Work beside the requests, awaited too.
    pub tasks: TaskTracker,
    /// Called for each connection.
    pub accepted: Box<dyn Fn() + Send + Sync>,
}

impl Door {
    /// Serves until `shutdown` ends, then lets what is open finish.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let acceptor = self.tls.clone().map(TlsAcceptor::from);
        let max = usize::try_from(self.max_connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(max));
        let connections = TaskTracker::new();
        let mut shutdown = std::pin::pin!(shutdown);
        let door = Arc::new(self);
        loop {
            let accepted = async {
                // The semaphore is never closed. Waiting here leaves further clients in the kernel's queue.
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                listener.accept().await.map(|(stream, peer)| (stream, peer, slot))
            };
            let (stream, peer, slot) = tokio::select! {
                () = &mut shutdown => break,
                accepted = accepted => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "no connection accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            (door.accepted)();
            let (door, acceptor) = (Arc::clone(&door), acceptor.clone());
            connections.spawn(async move {
                door.connection(stream, peer, acceptor).await;
                drop(slot);
            });
        }
        drop(listener);
        tracing::info!(open = connections.len(), "stopping: open requests may finish");
        door.closing.cancel();
        connections.close();
        door.tasks.close();
        let drained = async { tokio::join!(connections.wait(), door.tasks.wait()) };
        if tokio::time::timeout(Duration::from_secs(door.drain_timeout_s), drained).await.is_err() {
            tracing::warn!(open = connections.len(), tasks = door.tasks.len(), "stopped with work still open");
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, acceptor: Option<TlsAcceptor>) {
        // Small answers go out at once; failing to ask for that costs only time.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else { return self.http(stream, peer).await };
        match tokio::time::timeout(Duration::from_secs(self.header_timeout_s), acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send, peer: SocketAddr) {
        let service = TowerToHyperService::new(self.service.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (incoming, heard) = Heard::new(request);
            let mut request: Request = incoming.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = service.call(request);
            Box::pin(async move {
                let mut answer = answer.await?;
                // A client that does not know that the connection ends would send its next request into it.
                if !heard.load(Ordering::Relaxed) {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(self.header_timeout_s))
            .serve_connection(TokioIo::new(stream), service);
        let done = tokio::select! {
            done = poll_fn(|cx| connection.poll_without_shutdown(cx)) => done,
            () = self.closing.cancelled() => {
                Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|cx| connection.poll_without_shutdown(cx)).await
            }
        };
        match done {
            Ok(()) => self.linger(connection.into_parts().io.into_inner()).await,
            Err(error) => tracing::debug!(%error, "connection ended early"),
        }
    }

    /// Closes a connection in a way that the client reads the last answer: closing one with bytes unread resets it, and a
    /// reset throws away at the client what it has not read yet.
    async fn linger(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        if stream.shutdown().await.is_err() {
            return;
        }
        let heard = async {
            let (mut bytes, mut left) = (vec![0; 16 << 10], LINGER_BYTES);
            while let Ok(Ok(count @ 1..)) = tokio::time::timeout(LINGER_PAUSE, stream.read(&mut bytes)).await {
                match left.checked_sub(count) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(LINGER, heard) => {}
            () = self.closing.cancelled() => {}
        }
    }
}
