//! The agent's command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use berth_core::NodeId;
use berth_core::model::spec::WorkloadType;
use clap::Args;

use crate::config::{AgentdConfig, CapacityOverride, RuntimeKind, TlsPaths};
use crate::host::default_node_id;

/// Flags of `berth agent`; each has an environment variable.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// The scheduler, as host:port or URL; several, separated by commas, are tried in turn
    #[arg(
        long = "scheduler",
        env = "BERTH_AGENT_SCHEDULER",
        value_delimiter = ',',
        default_value = "127.0.0.1:8085"
    )]
    pub schedulers: Vec<String>,
    /// Answer calls only; register with no scheduler
    #[arg(long, env = "BERTH_AGENT_STANDALONE")]
    pub standalone: bool,
    /// The node's id [default: the host's name, made to fit]
    #[arg(long, env = "BERTH_AGENT_NODE_ID")]
    pub node_id: Option<NodeId>,
    /// What runs the workloads
    #[arg(long, env = "BERTH_AGENT_RUNTIME", value_enum, default_value = "exec")]
    pub runtime: RuntimeKind,
    /// State, logs and working folders; one agent per folder
    #[arg(
        long,
        env = "BERTH_AGENT_DATA_DIR",
        default_value = "./berth-agent-data"
    )]
    pub data_dir: PathBuf,
    /// Where the agent listens; port 0: any
    #[arg(long, env = "BERTH_AGENT_GRPC_ADDR", default_value = "127.0.0.1:0")]
    pub grpc_addr: SocketAddr,
    /// host:port at which the scheduler reaches the agent [default: where it listens]
    #[arg(long, env = "BERTH_AGENT_ADVERTISE")]
    pub advertise: Option<String>,
    /// CPU cores to offer, as a decimal [default: the host's]
    #[arg(long, env = "BERTH_AGENT_CPU", value_parser = parse_cores)]
    pub cpu: Option<u64>,
    /// Memory to offer, MiB [default: the host's]
    #[arg(long, env = "BERTH_AGENT_MEMORY_MB")]
    pub memory_mb: Option<u64>,
    /// Disk to offer, GiB [default: the data folder's file system]
    #[arg(long, env = "BERTH_AGENT_DISK_GB")]
    pub disk_gb: Option<u64>,
    /// A label of the node, KEY=VALUE; may be repeated
    #[arg(long = "label", env = "BERTH_AGENT_LABELS", value_delimiter = ',', value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Kinds of workload to take: container, compose, vm [default: all that the runtime runs]
    #[arg(long = "type", env = "BERTH_AGENT_TYPES", value_delimiter = ',', value_parser = parse_type)]
    pub types: Vec<WorkloadType>,
    /// Between heartbeats, such as 5s [default: as the scheduler says]
    #[arg(long, env = "BERTH_AGENT_HEARTBEAT", value_parser = humantime::parse_duration)]
    pub heartbeat: Option<Duration>,
    /// Between SIGTERM and SIGKILL when a process is stopped
    #[arg(long, env = "BERTH_AGENT_STOP_GRACE", value_parser = humantime::parse_duration,
          default_value = "5s")]
    pub stop_grace: Duration,
    /// The authority's certificate, PEM; with it all connections use mutual TLS
    #[arg(long, env = "BERTH_AGENT_TLS_CA", requires_all = ["tls_cert", "tls_key"])]
    pub tls_ca: Option<PathBuf>,
    /// The agent's certificate, PEM
    #[arg(long, env = "BERTH_AGENT_TLS_CERT", requires = "tls_ca")]
    pub tls_cert: Option<PathBuf>,
    /// The agent's key, PEM
    #[arg(long, env = "BERTH_AGENT_TLS_KEY", requires = "tls_ca")]
    pub tls_key: Option<PathBuf>,
}

impl AgentArgs {
    /// The configuration that the flags make.
    #[must_use]
    pub fn into_config(self) -> AgentdConfig {
        let tls = match (self.tls_ca, self.tls_cert, self.tls_key) {
            (Some(ca), Some(cert), Some(key)) => Some(TlsPaths { ca, cert, key }),
            // The flags require each other: there is none or all of them.
            (_, _, _) => None,
        };
        AgentdConfig {
            schedulers: if self.standalone {
                Vec::new()
            } else {
                self.schedulers
            },
            grpc_addr: self.grpc_addr,
            advertise: self.advertise,
            runtime: self.runtime,
            labels: self.labels.into_iter().collect::<BTreeMap<_, _>>(),
            capacity: CapacityOverride {
                cpu_millicores: self.cpu,
                memory_mb: self.memory_mb,
                disk_gb: self.disk_gb,
            },
            supported_types: (!self.types.is_empty()).then_some(self.types),
            tls,
            heartbeat: self.heartbeat,
            stop_grace: self.stop_grace,
            ..AgentdConfig::new(self.node_id.unwrap_or_else(default_node_id), self.data_dir)
        }
    }
}

/// Cores as a decimal, to thousandths.
fn parse_cores(text: &str) -> Result<u64, String> {
    let rule = "expected cores as a decimal with at most 3 places, such as 2 or 0.5";
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(rule.to_owned());
    }
    let whole: u64 = whole.parse().map_err(|_| rule)?;
    let part: u64 = format!("{part:0<3}").parse().map_err(|_| rule)?;
    let cores = whole.checked_mul(1_000).ok_or(rule)? + part;
    if cores == 0 {
        Err("a node without CPU is of no use".to_owned())
    } else {
        Ok(cores)
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected KEY=VALUE".to_owned()),
    }
}

fn parse_type(text: &str) -> Result<WorkloadType, String> {
    let found = WorkloadType::ALL
        .into_iter()
        .find(|kind| kind.name() == text);
    found.ok_or_else(|| "expected container, compose or vm".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        agent: AgentArgs,
    }

    fn parse(line: &[&str]) -> Result<AgentdConfig, clap::Error> {
        let line = ["berth"].iter().chain(line);
        Line::try_parse_from(line).map(|line| line.agent.into_config())
    }

    #[test]
    fn flags_make_a_configuration() {
        let config = parse(&[
            "--scheduler",
            "a:1,b:2",
            "--node-id",
            "n1",
            "--runtime",
            "fake",
            "--cpu",
            "2.5",
            "--label",
            "zone=a",
            "--label",
            "disk=ssd",
            "--heartbeat",
            "500ms",
        ]);
        let config = config.unwrap();
        assert_eq!(config.schedulers, ["a:1", "b:2"]);
        assert_eq!(config.node_id.as_str(), "n1");
        assert_eq!(config.capacity.cpu_millicores, Some(2_500));
        assert_eq!(config.labels.len(), 2);
        assert_eq!(config.heartbeat, Some(Duration::from_millis(500)));
        assert!(parse(&["--standalone"]).unwrap().schedulers.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            ["--node-id", "No Id"],
            ["--cpu", "0"],
            ["--cpu", "1.2345"],
            ["--cpu", "-1"],
            ["--label", "novalue"],
            ["--type", "pod"],
            ["--tls-ca", "ca.pem"],
            ["--heartbeat", "soon"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
