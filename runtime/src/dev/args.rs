//! The command line of `berth dev`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use berth_agentd::RuntimeKind;
use berth_core::NodeId;
use berth_server::{CoreArgs, ServerConfig};
use clap::{Args, Subcommand, ValueEnum};

use crate::Usage;
use crate::logging::LogArgs;

/// Nobody competes for leadership here: a machine that stands still for some seconds must not cost
/// it. A lease of a former run is revoked at the start, so nobody waits for its end.
const LEASE_TTL: Duration = Duration::from_secs(15);

/// Where data is kept unless told otherwise.
const DATA_DIR: &str = "./berth-data";

/// Arguments of `berth dev`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What can be done to a `berth dev` that runs.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DevCommand {
    /// Stop or start one agent of a running `berth dev`, as if its machine had died
    Agent(AgentControlArgs),
}

/// Arguments of `berth dev agent`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentControlArgs {
    #[command(subcommand)]
    pub(crate) action: AgentAction,
    /// The data folder of the `berth dev` that runs
    #[arg(long, global = true, env = "BERTH_DEV_DATA_DIR", value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
}

/// What can be done to an agent.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AgentAction {
    /// List the agents
    List,
    /// Stop an agent and kill its processes
    Stop {
        /// The node
        node: NodeId,
        /// Leave its processes running, as if only the agent had died
        #[arg(long)]
        keep_workloads: bool,
    },
    /// Start an agent that was stopped
    Start {
        /// The node
        node: NodeId,
    },
}

/// How `berth dev` says that it is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A guide for people.
    #[default]
    Text,
    /// One line of JSON with the addresses in use.
    Json,
}

/// Arguments of a run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// How many agents [default: 3, or as many as the data folder has]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) agents: Option<u16>,
    /// What the agents do with workloads: exec starts containers' commands as real processes,
    /// fake keeps workloads of all kinds in memory
    #[arg(long, value_enum, default_value = "exec")]
    pub(crate) runtime: RuntimeKind,
    /// Where data is kept between runs [default: ./berth-data]
    #[arg(long, env = "BERTH_DEV_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where REST listens; port 0: any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8084")]
    pub(crate) http_addr: SocketAddr,
    /// Where gRPC listens; port 0: any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8085")]
    pub(crate) grpc_addr: SocketAddr,
    /// Show the store to etcdctl at this address
    #[arg(long, value_name = "ADDR")]
    pub(crate) etcd_addr: Option<SocketAddr>,
    /// Keep nothing: a temporary folder, and every process is stopped at the end
    #[arg(long, conflicts_with_all = ["data_dir", "stop"])]
    pub(crate) ephemeral: bool,
    /// Stop what runs on the data folder: `berth dev` itself and the processes of its workloads
    #[arg(long)]
    pub(crate) stop: bool,
    /// How to say that it is ready
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    core: CoreArgs,
}

impl RunArgs {
    /// The data folder. Of an ephemeral run it is another one.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| DATA_DIR.into())
    }

    /// Nothing of `berth dev` asks who is calling: it is for this machine only.
    ///
    /// # Errors
    /// An address that others can reach.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let addresses = [
            ("--http-addr", Some(self.http_addr)),
            ("--grpc-addr", Some(self.grpc_addr)),
            ("--etcd-addr", self.etcd_addr),
        ];
        for (flag, address) in addresses {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                let message = format!(
                    "{flag} {address}: `berth dev` serves this machine only, without certificates; \
                     expected a loopback address such as 127.0.0.1:{}. For a network there is \
                     `berth server`",
                    address.port()
                );
                return Err(Usage(message).into());
            }
        }
        Ok(())
    }

    /// The server's configuration: that of every scheduler, on loopback and in the clear.
    ///
    /// # Errors
    /// A setting of the core that cannot be read.
    pub(crate) fn server_config(&self) -> anyhow::Result<ServerConfig> {
        Ok(ServerConfig {
            http_addr: self.http_addr,
            grpc_addr: self.grpc_addr,
            replica_id: "dev".to_owned(),
            lease_ttl: LEASE_TTL,
            core: self.core.clone().resolve()?,
            ..ServerConfig::local()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        dev: DevArgs,
    }

    fn parse(line: &str) -> Result<DevArgs, clap::Error> {
        let words = std::iter::once("dev").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.dev)
    }

    #[test]
    fn only_loopback_is_served() {
        assert!(parse("").unwrap().run.check().is_ok());
        for line in [
            "--http-addr 0.0.0.0:8084",
            "--grpc-addr 10.0.0.1:1",
            "--etcd-addr [::]:1",
        ] {
            assert!(
                parse(line).unwrap().run.check().unwrap_err().is::<Usage>(),
                "{line}"
            );
        }
    }

    #[test]
    fn times_of_the_core_can_be_shortened() {
        let args = parse("--heartbeat-interval 1s --eviction-grace 2s").unwrap();
        let config = args.run.server_config().unwrap();
        assert_eq!(config.core.heartbeat_interval.as_secs(), 1);
        assert_eq!(config.core.eviction_grace.as_secs(), 2);
        assert_eq!(config.http_addr.port(), 8084);
    }

    #[test]
    fn agents_are_commanded_by_name() {
        let args = parse("agent stop node-2 --keep-workloads --data-dir d").unwrap();
        let Some(DevCommand::Agent(command)) = args.command else {
            panic!("{args:?}")
        };
        assert_eq!(command.data_dir, PathBuf::from("d"));
        assert!(matches!(
            command.action,
            AgentAction::Stop {
                keep_workloads: true,
                ..
            }
        ));
        assert!(parse("--ephemeral --data-dir d").is_err());
        assert!(parse("--agents 0").is_err());
    }
}
