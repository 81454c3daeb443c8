//! The embedded store: [`berth_kv::Model`] behind etcd's own gRPC protocol, with a durable log
//! below it.
//!
//! ```no_run
//! # async fn example() -> Result<(), berth_store::StoreError> {
//! use berth_store::EmbeddedStore;
//!
//! let store = EmbeddedStore::open(Some("data".as_ref()))?;
//! let mut client = store.client().await?; // an ordinary etcd client, without any port
//! # let _ = &mut client;
//! let address = store.serve_tcp("127.0.0.1:0".parse().unwrap()).await?; // for etcdctl
//! println!("etcdctl --endpoints {address} get --prefix /");
//! store.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! What was acknowledged is on disk: requests that arrive together are applied together, their
//! changes become durable in one transaction of the log, and only then is any of them answered.

mod disk;
mod error;
mod owner;
mod record;
mod service;
mod snapshot;
mod store;
mod streams;
mod wire;

pub use error::StoreError;
/// What a log can be kept on: see [`EmbeddedStore::open_on`].
pub use redb::StorageBackend;
pub use store::{EmbeddedStore, StoreOptions};
