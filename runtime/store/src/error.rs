//! What can go wrong with a store as a whole.

use std::path::PathBuf;

/// Why a store could not be opened, served or used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the data directory.
    #[error("the store in {} is in use by another process", dir.display())]
    InUse { dir: PathBuf },
    /// The data directory cannot be read or written.
    #[error("cannot use the data directory {}: {source}", dir.display())]
    Directory {
        dir: PathBuf,
        source: std::io::Error,
    },
    /// The log database failed.
    #[error("the store's log failed: {0}")]
    Log(#[source] Box<redb::Error>),
    /// The log holds what this version cannot read.
    #[error("the store's log is damaged or of another version: {0}")]
    Corrupt(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    /// The client could not be set up.
    #[error("cannot connect to the embedded store: {0}")]
    Connect(#[from] etcd_client::Error),
    /// The store was shut down, or stopped because its log failed.
    #[error("the store has stopped")]
    Stopped,
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        StoreError::Log(Box::new(error))
    }
}
