//! What the agent's host is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use berth_core::NodeId;
use berth_core::model::spec::WorkloadType;

/// The configuration of one agent. Several may run in one process, each with its own `data_dir`.
#[derive(Debug, Clone)]
pub struct AgentdConfig {
    /// The node's id.
    pub node_id: NodeId,
    /// The schedulers, as `host:port` or a URL; they are tried in turn. Empty: the agent stands
    /// alone and answers calls only.
    pub schedulers: Vec<String>,
    /// Where the agent listens; port 0: any, see [`crate::AgentdHandle::local_addr`].
    pub grpc_addr: SocketAddr,
    /// `host:port` at which the scheduler reaches the agent; `None`: where it listens, with an
    /// address of this host in place of a wildcard.
    pub advertise: Option<String>,
    /// Where state, logs and working folders are kept. One agent at a time.
    pub data_dir: PathBuf,
    /// What runs the workloads.
    pub runtime: RuntimeKind,
    /// The node's labels; `os` and `arch` are added.
    pub labels: BTreeMap<String, String>,
    /// Totals that are reported in place of the host's own.
    pub capacity: CapacityOverride,
    /// The kinds of workload to take; `None`: all that the runtime can run.
    pub supported_types: Option<Vec<WorkloadType>>,
    /// Certificates; `None`: plain text.
    pub tls: Option<TlsPaths>,
    /// Between heartbeats; `None`: as the scheduler says.
    pub heartbeat: Option<Duration>,
    /// Between the polite and the impolite signal when a process is stopped.
    pub stop_grace: Duration,
}

impl AgentdConfig {
    /// An agent of this id with its state in this folder: exec runtime, loopback, any port, no
    /// scheduler, everything else measured or default.
    #[must_use]
    pub fn new(node_id: NodeId, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_id,
            schedulers: Vec::new(),
            grpc_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            data_dir: data_dir.into(),
            runtime: RuntimeKind::Exec,
            labels: BTreeMap::new(),
            capacity: CapacityOverride::default(),
            supported_types: None,
            tls: None,
            heartbeat: None,
            stop_grace: Duration::from_secs(5),
        }
    }
}

/// What runs the workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RuntimeKind {
    /// The command of a container, as a process of this host.
    Exec,
    /// Nothing but memory, scripted by the workloads' labels.
    Fake,
}

impl RuntimeKind {
    /// The kinds of workload that it can run.
    #[must_use]
    pub fn supported_types(self) -> Vec<WorkloadType> {
        match self {
            Self::Exec => vec![WorkloadType::Container],
            Self::Fake => WorkloadType::ALL.to_vec(),
        }
    }
}

/// Totals that are reported in place of the host's own; `None`: measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapacityOverride {
    /// Thousandths of a core.
    pub cpu_millicores: Option<u64>,
    /// MiB.
    pub memory_mb: Option<u64>,
    /// GiB.
    pub disk_gb: Option<u64>,
}

/// Certificates in PEM files, for both directions: the agent shows its own and wants one of the
/// same authority from whoever calls or is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPaths {
    /// The authority.
    pub ca: PathBuf,
    /// The agent's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}
