//! One way to accept connections, for both ports: bounded, with or without TLS, and with an end
//! that lets what is in flight finish.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use futures::stream::{BoxStream, StreamExt, unfold};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::call::Caller;
use crate::tls::subject_of;

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
pub struct Listener {
    address: SocketAddr,
    incoming: Incoming,
    tls: Option<Arc<rustls::ServerConfig>>,
    places: Arc<Semaphore>,
    protocol: Protocol,
}

/// A connection, whatever is below it.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A connection that was accepted, and where it comes from, if that is known.
pub type Accepted = (Box<dyn Connection>, Option<SocketAddr>);

/// The connections of a port as they are accepted; dropping it closes the port.
pub type Incoming = BoxStream<'static, io::Result<Accepted>>;

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
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
        let failed = || format!("cannot listen on {address}");
        let socket = TcpListener::bind(address).await.with_context(failed)?;
        let bound = socket.local_addr().with_context(failed)?;
        let incoming = unfold(socket, async |socket| {
            let accepted = socket.accept().await.map(|(stream, peer)| {
                // Small answers must not wait for one another's acknowledgements.
                let _ = stream.set_nodelay(true);
                (Box::new(stream) as Box<dyn Connection>, Some(peer))
            });
            Some((accepted, socket))
        });
        let incoming = incoming.boxed();
        Ok(Self::over(bound, incoming, protocol, tls, connections_max))
    }

    /// A port that was bound already to `address`, on whatever network.
    #[must_use]
    pub fn over(
        address: SocketAddr,
        incoming: Incoming,
        protocol: Protocol,
        tls: Option<Arc<rustls::ServerConfig>>,
        connections_max: usize,
    ) -> Self {
        Self {
            address,
            incoming,
            tls,
            places: Arc::new(Semaphore::new(connections_max)),
            protocol,
        }
    }

    /// Where it listens; tells the port that the system chose.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `shutdown`, then waits at most `patience` for what is in flight.
    pub async fn serve(mut self, router: Router, shutdown: CancellationToken, patience: Duration) {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let server = Arc::new(builder(self.protocol));
        loop {
            // Biased, here and below: what happens at one instant is seen in one order, so that a
            // simulated world is the same in every run.
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.incoming.next() => accepted,
            };
            let (stream, peer) = match accepted {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
                None => break,
            };
            // Beyond the bound: closed at once, which peers take for a refusal.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                continue;
            };
            let (server, router) = (Arc::clone(&server), router.clone());
            let tls = self.tls.clone().map(TlsAcceptor::from);
            let (shutdown, cut) = (shutdown.clone(), cut.clone());
            connections.spawn(async move {
                let _place = place;
                // During a handshake nothing is in flight yet: it may be cut.
                let stream = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => None,
                    stream = secure(stream, tls) => stream,
                };
                let Some((stream, subject)) = stream else {
                    return;
                };
                let caller = Caller {
                    subject,
                    ..Caller::at(peer)
                };
                let service = router.map_request(move |mut request: Request<_>| {
                    request.extensions_mut().insert(caller.clone());
                    request
                });
                let service = TowerToHyperService::new(service);
                let served = server.serve_connection(TokioIo::new(stream), service);
                let mut served = pin!(served);
                let ended = tokio::select! {
                    biased;
                    ended = served.as_mut() => Some(ended),
                    () = shutdown.cancelled() => {
                        served.as_mut().graceful_shutdown();
                        tokio::select! {
                            biased;
                            ended = served => Some(ended),
                            () = cut.cancelled() => None,
                        }
                    }
                };
                if let Some(Err(error)) = ended {
                    tracing::debug!(error, "a connection ended");
                }
            });
        }
        drop(self.incoming);
        connections.close();
        let finished = tokio::time::timeout(patience, connections.wait()).await;
        if finished.is_err() {
            tracing::warn!("connections did not finish in time and are cut");
            cut.cancel();
        }
    }
}

/// The connection as it is spoken on, and the subject of the peer's certificate.
async fn secure(
    stream: Box<dyn Connection>,
    tls: Option<TlsAcceptor>,
) -> Option<(Box<dyn Connection>, String)> {
    let Some(acceptor) = tls else {
        return Some((stream, String::new()));
    };
    match tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates();
            let subject = shown.and_then(|chain| chain.first()).map(subject_of);
            Some((Box::new(stream), subject.unwrap_or_default()))
        }
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
        Protocol::Grpc => {
            // No caller of gRPC reads it.
            builder.http2().auto_date_header(false);
            builder.http2_only()
        }
        Protocol::Http => builder,
    }
}
