//! The way to the store.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, TlsOptions};

/// A client that is being made.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Client, Error>> + Send>>;

/// Makes clients of the store: a new one whenever the last one failed.
///
/// Any `Fn() -> Future<Output = Result<Client, Error>>` is one; [`Endpoints`] is the usual one.
pub trait StoreFactory: Send + Sync + 'static {
    /// Makes a client. It may connect lazily.
    fn connect(&self) -> Connecting;
}

impl<F, C> StoreFactory for F
where
    F: Fn() -> C + Send + Sync + 'static,
    C: Future<Output = Result<Client, Error>> + Send + 'static,
{
    fn connect(&self) -> Connecting {
        Box::pin(self())
    }
}

/// An etcd cluster over the network.
#[derive(Clone)]
pub struct Endpoints {
    /// `http://host:port` or `https://host:port`, at least one.
    pub endpoints: Vec<String>,
    /// Certificates, for `https`.
    pub tls: Option<TlsOptions>,
    /// Name and password, when the store asks for them.
    pub user: Option<(String, String)>,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("endpoints", &self.endpoints)
            .field("tls", &self.tls.is_some())
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .finish()
    }
}

/// Deadline of a connection to the store.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a connection that carries requests is checked, and how long an answer may take. etcd
/// tears down connections that are pinged more often than every 5 s. A silent connection is found
/// by the lease's renewal much earlier.
pub const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(3));

impl StoreFactory for Endpoints {
    fn connect(&self) -> Connecting {
        let this = self.clone();
        Box::pin(async move {
            let mut options = ConnectOptions::new()
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
                .with_keep_alive_while_idle(false)
                .with_tcp_keepalive(Duration::from_secs(30))
                .with_require_leader(true)
                .with_auto_token_refresh(this.user.is_some());
            if let Some(tls) = this.tls {
                options = options.with_tls(tls);
            }
            if let Some((name, password)) = this.user {
                options = options.with_user(name, password);
            }
            Client::connect(&this.endpoints, Some(options)).await
        })
    }
}
