//! tonic over turmoil's network.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{Stream, unfold};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};

/// An accepted connection, as tonic's servers take it.
#[derive(Debug)]
pub(crate) struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Listens at a port of the present host: its address, as others reach it, and what is accepted.
pub(crate) async fn listen(
    name: &str,
    port: u16,
) -> io::Result<(
    SocketAddr,
    impl Stream<Item = io::Result<Accepted>> + Send + use<>,
)> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    let incoming = unfold(listener, |listener| async move {
        let accepted = listener.accept().await;
        Some((accepted.map(|(stream, _)| Accepted(stream)), listener))
    });
    Ok((SocketAddr::new(turmoil::lookup(name), port), incoming))
}

/// A channel that connects when it is first used, and again after it broke.
pub(crate) fn dial(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(service_fn(|uri: Uri| async move {
        let host = uri.host().unwrap_or_default().to_owned();
        let port = uri.port_u16().unwrap_or(80);
        TcpStream::connect((host, port)).await.map(TokioIo::new)
    }))
}
