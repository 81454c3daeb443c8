//! The store as its users see it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_kv::{Limits, Model};
use etcd_client::{Channel, Client};
use futures::{Stream, TryStreamExt};
use hyper_util::rt::TokioIo;
use redb::StorageBackend;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Uri};

use crate::disk::Disk;
use crate::error::StoreError;
use crate::owner::{Handle, Owner};
use crate::service::Services;

/// Bytes in flight on an in-process connection before the writer waits.
const PIPE_BYTES: usize = 256 * 1024;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    pub limits: Limits,
    /// Bytes of log records beyond which a snapshot takes their place.
    pub log_bytes_max: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            limits: Limits::default(),
            log_bytes_max: 16 << 20,
        }
    }
}

/// A running store. Dropping it stops it without ceremony: as after a crash, what was
/// acknowledged is there when it is opened again.
pub struct EmbeddedStore {
    handle: Handle,
    pipes: mpsc::UnboundedSender<std::io::Result<DuplexStream>>,
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, creating it if needed, and recovers what it holds; every lease
    /// starts anew with its full time to live. `None`: in memory, gone when the store is dropped.
    ///
    /// Reads the whole log before it returns.
    ///
    /// # Errors
    /// When another process has the directory, or the log cannot be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(dir: Option<&Path>) -> Result<Self, StoreError> {
        Self::open_with(dir, StoreOptions::default())
    }

    /// Like [`EmbeddedStore::open`], with other limits.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(dir: Option<&Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let (model, disk) = match dir {
            None => (Model::new(options.limits), None),
            Some(dir) => {
                let (disk, model) = Disk::open(dir, options.limits, options.log_bytes_max)?;
                (model, Some(disk))
            }
        };
        Ok(Self::start(model, disk))
    }

    /// Like [`EmbeddedStore::open_with`], with the log on `backend` in place of a file: something
    /// that answers at once, such as a disk of a simulated world.
    ///
    /// # Errors
    /// When the log cannot be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open_on(
        backend: impl StorageBackend,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let (disk, model) = Disk::open_on(backend, options.limits, options.log_bytes_max)?;
        Ok(Self::start(model, Some(disk)))
    }

    fn start(model: Model, disk: Option<Disk>) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (owner, handle) = Owner::new(model, disk, stop.clone());
        tasks.spawn(owner.run());
        let (pipes, accepted) = mpsc::unbounded_channel();
        let store = EmbeddedStore {
            handle,
            pipes,
            addresses: Arc::default(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            tasks,
        };
        store.serve(UnboundedReceiverStream::new(accepted));
        store
    }

    /// Serves etcd's protocol on the connections of `incoming`, whatever they are made of, until
    /// the store stops or the stream ends.
    pub fn serve<I, IO, E>(&self, incoming: I) -> JoinHandle<()>
    where
        I: Stream<Item = Result<IO, E>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let services = Services::new(self.handle.clone(), self.addresses.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // Not a graceful end: streams of watches would never end by themselves.
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                served = services.router().serve_with_incoming(incoming) => {
                    if let Err(error) = served {
                        tracing::warn!(%error, "serving the embedded store ended");
                    }
                }
            }
        })
    }

    /// Serves etcd's protocol on a TCP address, so that `etcdctl` works on the store. Port 0
    /// chooses one; the answer is the address in use.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn serve_tcp(&self, address: SocketAddr) -> Result<SocketAddr, StoreError> {
        let failed = |source| StoreError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        self.addresses.lock().expect("no holder panics").push(bound);
        self.serve(TcpListenerStream::new(listener).inspect_ok(|stream| {
            let _ = stream.set_nodelay(true);
        }));
        Ok(bound)
    }

    /// A channel to the store through memory, for [`Client::from_channel`]. It connects when it
    /// is first used, and again if its connection breaks.
    pub fn channel(&self) -> Channel {
        let pipes = self.pipes.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let pipes = pipes.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
                let gone = |_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                pipes.send(Ok(theirs)).map_err(gone)?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        });
        let endpoint = Endpoint::from_static("http://embedded")
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        Channel::Tonic(endpoint.connect_with_connector_lazy(connect))
    }

    /// An etcd client connected through memory, without any port.
    ///
    /// # Errors
    /// None in practice: nothing is sent before the first request.
    pub async fn client(&self) -> Result<Client, StoreError> {
        Ok(Client::from_channel(self.channel(), None).await?)
    }

    /// Revokes every lease, with its keys; answers with how many there were. For an owner that
    /// has the store to itself: leases that a former process held would only delay its start.
    ///
    /// # Errors
    /// When the store has stopped.
    pub async fn revoke_all_leases(&self) -> Result<usize, StoreError> {
        self.handle.revoke_all_leases().await
    }

    /// The current revision.
    ///
    /// # Errors
    /// When the store has stopped.
    pub async fn revision(&self) -> Result<i64, StoreError> {
        Ok(self.handle.status().await?.revision)
    }

    /// Stops serving and closes the log; when this returns, the directory is free. Requests that
    /// were not answered fail, and were applied or not.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends when the store has stopped by itself because its log failed, or was shut down.
    pub async fn stopped(&self) {
        self.handle.stopped().await;
    }
}
