//! A configuration while it is put together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use berth_core::Config;

use super::{ConfigError, EtcdTls, Log, LogFormat, LogLevel, ServerConfig, StoreConfig};
use crate::api::ApiLimits;
use crate::tls::TlsFiles;

/// Settings one by one; what goes together is checked by [`Draft::finish`].
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) etcd: Vec<String>,
    pub(super) insecure: bool,
    pub(super) prefix: String,
    pub(super) grpc_addr: SocketAddr,
    pub(super) http_addr: SocketAddr,
    pub(super) advertise: String,
    pub(super) replica_id: String,
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) etcd_ca: Option<PathBuf>,
    pub(super) etcd_cert: Option<PathBuf>,
    pub(super) etcd_key: Option<PathBuf>,
    pub(super) lease_ttl: Duration,
    pub(super) shutdown_delay: Duration,
    pub(super) seen_file: Option<PathBuf>,
    pub(super) log: Log,
    pub(super) limits: ApiLimits,
    pub(super) core: Config,
}

impl Default for Draft {
    fn default() -> Self {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self {
            etcd: Vec::new(),
            insecure: false,
            prefix: String::new(),
            grpc_addr: any(8085),
            http_addr: any(8084),
            advertise: String::new(),
            replica_id: String::new(),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            etcd_ca: None,
            etcd_cert: None,
            etcd_key: None,
            lease_ttl: Duration::from_secs(5),
            shutdown_delay: Duration::from_secs(1),
            seen_file: None,
            log: Log {
                format: LogFormat::Text,
                level: LogLevel::Info,
            },
            limits: ApiLimits::default(),
            core: Config::default(),
        }
    }
}

fn together<T>(problem: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Together(problem.into()))
}

impl Draft {
    /// In the clear, on loopback, on ports that the system chooses.
    pub(super) fn local(self) -> ServerConfig {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let here = Self {
            grpc_addr: loopback,
            http_addr: loopback,
            replica_id: "local".to_owned(),
            // Nobody sends clients to it by its readiness.
            shutdown_delay: Duration::ZERO,
            ..self
        };
        here.with_tls(None, EtcdTls::default())
    }

    /// Checks what goes together.
    pub(super) fn finish(self) -> Result<ServerConfig, ConfigError> {
        self.check_core()?;
        let store = self.store()?;
        if self.grpc_addr == self.http_addr && self.grpc_addr.port() != 0 {
            return together("--grpc-addr and --http-addr are the same");
        }
        let tls = self.tls()?;
        Ok(self.with_tls(tls, store.tls))
    }

    /// The way to the store, checked.
    pub(super) fn store(&self) -> Result<StoreConfig, ConfigError> {
        if self.etcd.is_empty() {
            return together(
                "--etcd is missing: the addresses of etcd, such as --etcd http://10.0.0.1:2379. \
                 To try Berth without etcd, use berth dev",
            );
        }
        let identity = match (self.etcd_cert.clone(), self.etcd_key.clone()) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => return together("--etcd-cert needs --etcd-key"),
            (None, Some(_)) => return together("--etcd-key needs --etcd-cert"),
        };
        let tls = EtcdTls {
            ca: self.etcd_ca.clone(),
            identity,
        };
        let secure = self
            .etcd
            .iter()
            .filter(|url| url.starts_with("https://"))
            .count();
        if secure != 0 && secure != self.etcd.len() {
            return together("--etcd mixes http:// and https://");
        }
        if secure == 0 && tls != EtcdTls::default() {
            return together("--etcd-ca, --etcd-cert and --etcd-key need https:// in --etcd");
        }
        Ok(StoreConfig {
            etcd: self.etcd.clone(),
            tls,
            prefix: self.prefix.clone(),
        })
    }

    fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        match (
            self.insecure,
            self.tls_ca.clone(),
            self.tls_cert.clone(),
            self.tls_key.clone(),
        ) {
            (false, Some(ca), Some(cert), Some(key)) => Ok(Some(TlsFiles { ca, cert, key })),
            (true, None, None, None) => Ok(None),
            (true, ..) => {
                together("--insecure and --tls-ca, --tls-cert, --tls-key exclude each other")
            }
            (false, None, None, None) => together(
                "no certificates: give --tls-ca, --tls-cert and --tls-key (files in PEM), so that \
                 only peers with a certificate of that authority are heard; or, for a test on a \
                 network that nobody else can reach, give --insecure",
            ),
            (false, ..) => {
                together("--tls-ca, --tls-cert and --tls-key belong together: one is missing")
            }
        }
    }

    /// Checks the core's settings that go together.
    pub(super) fn check_core(&self) -> Result<(), ConfigError> {
        let core = &self.core;
        if core.retry_backoff_min > core.retry_backoff_max {
            return together("--retry-backoff-min is longer than --retry-backoff-max");
        }
        if core.confirm_interval_min > core.confirm_interval_max {
            return together("--confirm-interval-min is longer than --confirm-interval-max");
        }
        if core.calls_per_node_max > core.calls_max {
            return together("--calls-per-node-max is more than --calls-max");
        }
        Ok(())
    }

    fn with_tls(self, tls: Option<TlsFiles>, etcd_tls: EtcdTls) -> ServerConfig {
        let replica_id = match self.replica_id.is_empty() {
            true => format!("{}:{}", host_name(), self.grpc_addr.port()),
            false => self.replica_id,
        };
        ServerConfig {
            etcd: self.etcd,
            etcd_tls,
            prefix: self.prefix,
            grpc_addr: self.grpc_addr,
            http_addr: self.http_addr,
            advertise: (!self.advertise.is_empty()).then_some(self.advertise),
            replica_id,
            seen_file: self.seen_file,
            tls,
            lease_ttl: self.lease_ttl,
            shutdown_delay: self.shutdown_delay,
            log: self.log,
            limits: self.limits,
            core: self.core,
        }
    }
}

/// The machine's name, as far as it can be told.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "berth".to_owned(),
        name => name.to_owned(),
    }
}
