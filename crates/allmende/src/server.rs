//! Accepts connections, with or without TLS, and stops without dropping requests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::metrics::Counter;
use crate::router::router;

/// Pause after a failure to accept, such as too many open files: trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// Serves until `shutdown` ends, then lets open requests finish for `drain_timeout_s` and closes the database.
///
/// `app.closing` is cancelled first, so long polls answer at once.
pub async fn serve(app: App, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let service = router(&app);
    let acceptor = app.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.config)));
    let max = usize::try_from(app.config.max_connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let slots = Arc::new(Semaphore::new(max));
    let connections = TaskTracker::new();
    let mut shutdown = std::pin::pin!(shutdown);
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
        app.metrics.add(Counter::Connections, 1);
        let (app, service, acceptor) = (app.clone(), service.clone(), acceptor.clone());
        connections.spawn(async move {
            connection(&app, stream, peer, acceptor, service).await;
            drop(slot);
        });
    }
    drop(listener);
    tracing::info!(open = connections.len(), "stopping: open requests may finish");
    app.closing.cancel();
    connections.close();
    app.tasks.close();
    let drain = Duration::from_secs(app.config.drain_timeout_s);
    let drained = async { tokio::join!(connections.wait(), app.tasks.wait()) };
    if tokio::time::timeout(drain, drained).await.is_err() {
        tracing::warn!(open = connections.len(), tasks = app.tasks.len(), "stopped with work still open");
    }
    app.db.close().await;
}

async fn connection(app: &App, stream: TcpStream, peer: SocketAddr, acceptor: Option<TlsAcceptor>, service: Router) {
    // Small answers go out at once; failing to ask for that costs only time.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else { return http(app, stream, peer, service).await };
    let limit = Duration::from_secs(app.config.header_timeout_s);
    match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => http(app, stream, peer, service).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn http(app: &App, stream: impl AsyncRead + AsyncWrite + Unpin + Send, peer: SocketAddr, service: Router) {
    let service = TowerToHyperService::new(service);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        service.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(app.config.header_timeout_s))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = app.closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "connection ended early");
    }
}
