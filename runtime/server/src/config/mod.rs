//! Configuration: flags, the environment, a TOML file, defaults, in this order of precedence.
//!
//! Every setting stands once, in [`settings`]: its flag, its variable, its key in the file, its
//! line in `docs/configuration.md` and its check all come from there.

mod args;
mod draft;
mod error;
mod file;
mod form;
mod settings;
mod table;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use berth_core::Config;

use crate::api::ApiLimits;
use crate::tls::TlsFiles;

pub use args::{CoreArgs, ServerArgs, StoreArgs};
pub(crate) use draft::host_name;
pub use error::ConfigError;
pub use settings::{Setting, settings};
pub use table::table;

/// A server's configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The endpoints of etcd; at least one, except in `berth dev`.
    pub etcd: Vec<String>,
    /// How etcd is reached over TLS.
    pub etcd_tls: EtcdTls,
    /// In front of every key of the store; empty, or begins with `/`.
    pub prefix: String,
    /// Where gRPC listens; port 0: any that is free.
    pub grpc_addr: SocketAddr,
    /// Where REST listens; port 0: any that is free.
    pub http_addr: SocketAddr,
    /// Where other replicas reach gRPC, `host:port`; `None`: where it listens.
    pub advertise: Option<String>,
    /// Tells replicas apart.
    pub replica_id: String,
    /// Where it is remembered how far the store was seen.
    pub seen_file: Option<std::path::PathBuf>,
    /// Certificates of both ports and of calls to agents; `None`: in the clear.
    pub tls: Option<TlsFiles>,
    /// The leadership lease's time to live.
    pub lease_ttl: Duration,
    /// How long it goes on serving after its end was asked for, and says that it is not ready.
    pub shutdown_delay: Duration,
    /// How the log is written.
    pub log: Log,
    /// Bounds of the ports.
    pub limits: ApiLimits,
    /// The core's.
    pub core: Config,
}

/// The way to the store, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The endpoints of etcd; at least one, except in `berth dev`.
    pub etcd: Vec<String>,
    /// How etcd is reached over TLS.
    pub tls: EtcdTls,
    /// In front of every key of the store; empty, or begins with `/`.
    pub prefix: String,
}

/// Certificates for etcd, PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdTls {
    /// The authority that etcd's certificate is checked against; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, if etcd asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The shape of a line.
    pub format: LogFormat,
    /// What is left out.
    pub level: LogLevel,
}

/// The shape of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The least important lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl ServerConfig {
    /// In the clear, on loopback, on ports that the system chooses: for `berth dev` and tests.
    #[must_use]
    pub fn local() -> Self {
        draft::Draft::default().local()
    }

    /// The way to the store.
    #[must_use]
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            etcd: self.etcd.clone(),
            tls: self.etcd_tls.clone(),
            prefix: self.prefix.clone(),
        }
    }
}
