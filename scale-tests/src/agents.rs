//! The process that hosts the agents.

use std::time::Duration;

use anyhow::Result;
use berth_tests::{FakeAgent, FakeAgentOptions};
use clap::Args;

/// Cores of each node, in millicores.
const CPU_MILLICORES: i64 = 32_000;
/// Memory of each node, MiB.
const MEMORY_MB: i64 = 65_536;

/// How many agents, and whose.
#[derive(Debug, Args)]
pub(crate) struct Agents {
    /// The scheduler's gRPC address
    #[arg(long)]
    scheduler: String,
    /// How many
    #[arg(long)]
    nodes: usize,
    /// How long one takes to start a workload
    #[arg(long, value_parser = humantime::parse_duration)]
    start_delay: Duration,
}

impl Agents {
    /// Serves until the process is ended.
    pub(crate) async fn run(&self) -> Result<()> {
        let mut agents = Vec::with_capacity(self.nodes);
        for number in 0..self.nodes {
            let node = format!("node-{number:05}");
            let mut options = FakeAgentOptions::new(&node, CPU_MILLICORES, MEMORY_MB);
            options.start_delay = self.start_delay;
            agents.push(FakeAgent::start(&self.scheduler, options).await);
        }
        std::future::pending::<()>().await;
        drop(agents);
        Ok(())
    }
}
