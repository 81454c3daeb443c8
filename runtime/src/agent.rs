//! `berth agent`.

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
    /// Serve other machines without certificates: whoever reaches the port can start processes
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

/// An agent starts processes for whoever can call it.
fn check(config: &AgentdConfig, insecure: bool) -> anyhow::Result<()> {
    if config.tls.is_none() && !insecure && !config.grpc_addr.ip().is_loopback() {
        let message = format!(
            "--grpc-addr {} can be reached by other machines, and there are no certificates: give \
             --tls-ca, --tls-cert and --tls-key, or --insecure for a test",
            config.grpc_addr
        );
        return Err(Usage(message).into());
    }
    Ok(())
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
}
