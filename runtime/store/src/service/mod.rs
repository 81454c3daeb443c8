//! etcd's gRPC services over the owner.

mod cluster;
mod kv;
mod lease;
mod maintenance;
mod watch;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use berth_kv::{Request, Response, StreamId};
use etcd_client::proto::{
    PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer,
};
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::owner::Handle;
use crate::record::Record;
use crate::wire::status::{failed, refused};

/// The largest message that etcd reads: its request limit and some room.
const MAX_MESSAGE_BYTES: usize = 2 << 20;

/// Numbers the streams of watches of the whole process.
static NEXT_STREAM: AtomicU64 = AtomicU64::new(1);

/// All services; clones share the store.
#[derive(Clone)]
pub(crate) struct Services {
    owner: Handle,
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Services {
    /// `addresses` are listed as those of the only member.
    pub(crate) fn new(owner: Handle, addresses: Arc<Mutex<Vec<SocketAddr>>>) -> Self {
        Services { owner, addresses }
    }

    pub(crate) fn router(self) -> Router {
        Server::builder()
            .add_service(PbKvServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
            .add_service(PbLeaseServer::new(self.clone()))
            .add_service(PbWatchServer::new(self.clone()))
            .add_service(PbMaintenanceServer::new(self.clone()))
            .add_service(PbClusterServer::new(self))
    }

    /// Applies a request that changes nothing durable.
    async fn ask(&self, request: Request) -> Result<Response, Status> {
        self.owner
            .apply(request, None)
            .await
            .map_err(failed)?
            .map_err(refused)
    }

    /// Applies a request that may change something, and answers when that is durable.
    async fn write(&self, request: Request, record: Record) -> Result<Response, Status> {
        self.owner
            .apply(request, Some(record))
            .await
            .map_err(failed)?
            .map_err(refused)
    }

    async fn revision(&self) -> Result<i64, Status> {
        Ok(self.owner.status().await.map_err(failed)?.revision)
    }

    fn next_stream() -> StreamId {
        StreamId(NEXT_STREAM.fetch_add(1, Ordering::Relaxed))
    }
}

/// The model answered with another kind than the request's.
fn unexpected(response: &Response) -> Status {
    Status::internal(format!(
        "unexpected answer of the store at revision {}",
        response.revision()
    ))
}

/// What this store does not have.
fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("the embedded store has no {what}"))
}
