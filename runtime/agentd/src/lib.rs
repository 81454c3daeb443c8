//! The reference node agent on tokio.
//!
//! [`berth_agent::AgentMachine`] decides; this crate carries out: it serves the agent's gRPC
//! service, keeps the state on disk, runs processes, and talks to the scheduler.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use berth_agentd::{AgentdConfig, start};
//! use tokio_util::sync::CancellationToken;
//!
//! let mut config = AgentdConfig::new("node-1".parse()?, "/var/lib/berth-agent");
//! config.schedulers.push("127.0.0.1:8085".to_owned());
//! let agent = start(config, CancellationToken::new()).await?;
//! println!("listening on {}", agent.local_addr());
//! agent.stop().await?;
//! # Ok(())
//! # }
//! ```

mod args;
mod clock;
mod config;
mod disk;
mod driver;
mod exec;
mod host;
mod leftovers;
mod runtime;
mod scheduler;
mod service;
mod start;
mod surroundings;
mod tls;

pub use args::AgentArgs;
pub use clock::Clock;
pub use config::{AgentdConfig, CapacityOverride, RuntimeKind, TlsPaths};
pub use host::default_node_id;
pub use leftovers::{forget_workloads, leftovers, stop_leftovers};
pub use runtime::SharedFake;
pub use scheduler::Dial;
pub use start::{AgentdHandle, run, start, start_in};
pub use surroundings::Surroundings;
