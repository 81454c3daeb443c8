//! `berth agent`.

use std::net::IpAddr;

use berth_agentd::{AgentArgs, AgentdConfig};
use clap::Args;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use crate::Usage;
use crate::logging::{self, LogArgs};
use crate::signals::Signals;

/// Arguments of `berth agent`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentCommand {
    #[command(flatten)]
    agent: AgentArgs,
    /// Talk to other machines without certificates: whoever reaches the port can start processes
    #[arg(long, env = "BERTH_AGENT_INSECURE", conflicts_with = "tls_ca")]
    insecure: bool,
}

/// Runs an agent until a signal ends it. Its workloads go on.
///
/// # Errors
/// It cannot start, or its server failed.
pub(crate) async fn run(command: AgentCommand, log: &LogArgs) -> anyhow::Result<()> {
    logging::init(log, LevelFilter::INFO)?;
    let insecure = command.insecure;
    let config = command.agent.into_config();
    check(&config, insecure)?;
    let mut signals = Signals::take()?;
    let shutdown = CancellationToken::new();
    let agent = berth_agentd::start(config, shutdown.clone()).await?;
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "ending; workloads go on");
        shutdown.cancel();
        signals.no_patience();
    });
    agent.wait().await
}

/// An agent starts processes for whoever can call it, or be taken for its scheduler.
fn check(config: &AgentdConfig, insecure: bool) -> anyhow::Result<()> {
    if config.tls.is_some() || insecure {
        return Ok(());
    }
    let what = if !config.grpc_addr.ip().is_loopback() {
        format!("--grpc-addr {} can be reached by others", config.grpc_addr)
    } else if let Some(far) = config.schedulers.iter().find(|to| !is_local(to)) {
        format!("--scheduler {far} is not on this machine")
    } else {
        return Ok(());
    };
    let message = format!(
        "{what}, and there are no certificates: give --tls-ca, --tls-cert and --tls-key, or, for \
         tests on a network that nobody else can reach, give --insecure"
    );
    Err(Usage(message).into())
}

/// Whether an address, `host:port` or a URL, is certainly one of this machine.
fn is_local(address: &str) -> bool {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.split('/').next().unwrap_or_default();
    let host = match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => address,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_goes_without_certificates() {
        let node = "node-1".parse().unwrap();
        let mut config = AgentdConfig::new(node, "nowhere");
        assert!(check(&config, false).is_ok());
        config.grpc_addr = "0.0.0.0:7000".parse().unwrap();
        assert!(check(&config, false).unwrap_err().is::<Usage>());
        assert!(check(&config, true).is_ok());
    }

    #[test]
    fn schedulers_elsewhere_want_certificates_too() {
        let mut config = AgentdConfig::new("node-1".parse().unwrap(), "nowhere");
        for local in ["127.0.0.1:1", "http://localhost:8085/", "[::1]:1"] {
            config.schedulers = vec![local.to_owned()];
            assert!(check(&config, false).is_ok(), "{local}");
        }
        for far in [
            "10.0.0.1:1",
            "berth:8085",
            "http://[fd00::1]:1",
            "127.0.0.1.example:1",
        ] {
            config.schedulers = vec!["127.0.0.1:1".to_owned(), far.to_owned()];
            assert!(check(&config, false).unwrap_err().is::<Usage>(), "{far}");
            assert!(check(&config, true).is_ok());
        }
    }
}
