//! One way to accept connections, for both ports: bounded, with or without TLS, and with an end
//! that lets what is in flight finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How long a TLS handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// HTTP/1: how long a connection may be without a request, and the head of one may take.
const HEAD_TIME_MAX: Duration = Duration::from_secs(75);
/// HTTP/2: an idle peer is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/2: streams of one connection.
const STREAMS_MAX: u32 = 1024;
/// After a failed accept (too many open files): not in a loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    places: Arc<Semaphore>,
    protocol: Protocol,
}

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 only.
    Grpc,
    /// HTTP/1.1 or HTTP/2.
    Http,
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// The address cannot be bound; the message names it.
    pub async fn bind(
        address: SocketAddr,
        protocol: Protocol,
        tls: Option<Arc<rustls::ServerConfig>>,
        connections_max: usize,
    ) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        Ok(Self {
            socket,
            tls,
            places: Arc::new(Semaphore::new(connections_max)),
            protocol,
        })
    }

    /// Where it listens; tells the port that the system chose.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Serves `router` until `shutdown`, then waits at most `patience` for what is in flight.
    pub async fn serve(self, router: Router, shutdown: CancellationToken, patience: Duration) {
        let graceful = GracefulShutdown::new();
        let server = Arc::new(builder(self.protocol));
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, _peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Beyond the bound: closed at once, which peers take for a refusal.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                continue;
            };
            // Small answers must not wait for one another's acknowledgements.
            let _ = stream.set_nodelay(true);
            let (watcher, server, router) =
                (graceful.watcher(), Arc::clone(&server), router.clone());
            let tls = self.tls.clone().map(TlsAcceptor::from);
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                let _place = place;
                // During a handshake nothing is in flight yet: it may be cut.
                let stream = tokio::select! {
                    stream = secure(stream, tls) => stream,
                    () = shutdown.cancelled() => None,
                };
                let Some(stream) = stream else { return };
                let service = TowerToHyperService::new(router);
                let connection = server.serve_connection(TokioIo::new(stream), service);
                if let Err(error) = watcher.watch(connection.into_owned()).await {
                    tracing::debug!(error, "a connection ended");
                }
            });
        }
        drop(self.socket);
        if tokio::time::timeout(patience, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("connections did not finish in time and are cut");
        }
    }
}

/// A connection, whatever is below it.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn secure(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn Stream>> {
    let Some(acceptor) = tls else {
        return Some(Box::new(stream));
    };
    match tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

fn builder(protocol: Protocol) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .adaptive_window(true)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match protocol {
        Protocol::Grpc => builder.http2_only(),
        Protocol::Http => builder,
    }
}
