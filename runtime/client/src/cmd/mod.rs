//! The commands: one file each, its arguments beside what it does.

pub mod apply;
pub mod delete;
pub mod describe;
pub mod events;
pub mod explain;
pub mod freshness;
pub mod get;
pub mod list;
pub mod node;
#[cfg(test)]
mod sample;
pub mod status;
pub mod top;
pub mod wait;
pub mod workload;

use clap::{Subcommand, ValueEnum};

use crate::api::{Api, Connection};
use crate::exit::Failure;
use crate::output::Console;

/// Everything that a client can ask for.
#[derive(Debug, Clone, Subcommand)]
pub enum ClientCommand {
    /// Create or change workloads from manifests
    Apply(apply::ApplyArgs),
    /// List workloads, nodes or events, or show one
    Get(get::GetArgs),
    /// Show everything about a workload or a node
    Describe(describe::DescribeArgs),
    /// Say why a workload is where it is, or nowhere
    Explain(explain::ExplainArgs),
    /// Delete workloads
    Delete(delete::DeleteArgs),
    /// Start a workload's tries anew
    Retry(workload::RetryArgs),
    /// Let stopped workloads run
    Start(workload::SwitchArgs),
    /// Stop workloads and keep their records
    Stop(workload::SwitchArgs),
    /// Stop workloads, wait until they stopped, and start them
    Restart(workload::RestartArgs),
    /// Show the state of the cluster, its leader and its store
    Status(status::StatusArgs),
    /// Show what happened, or follow it
    Events(events::EventsArgs),
    /// Show how full nodes are
    Top(top::TopArgs),
    /// Move everything off a node
    Drain(node::DrainArgs),
    /// Forbid new placements on a node
    Cordon(node::NodeArgs),
    /// Allow new placements on a node; ends a drain
    Uncordon(node::NodeArgs),
    /// Declare a node dead: its workloads are placed elsewhere at once
    Fence(node::FenceArgs),
    /// Remove the record of a node that is gone
    Purge(node::NodeArgs),
}

/// What `get` can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// What runs
    #[value(name = "workloads", alias = "workload", alias = "wl")]
    Workloads,
    /// Where it runs
    #[value(name = "nodes", alias = "node", alias = "no")]
    Nodes,
    /// What happened
    #[value(name = "events", alias = "event", alias = "ev")]
    Events,
}

/// How to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// The server's JSON
    Json,
    /// The server's JSON as YAML
    Yaml,
}

/// What a command works with.
#[derive(Debug)]
pub struct Session<'a> {
    /// The scheduler.
    pub api: Api,
    /// Where to write.
    pub console: &'a mut Console,
}

impl<'a> Session<'a> {
    fn open(connection: &Connection, console: &'a mut Console) -> Result<Self, Failure> {
        let api = Api::new(connection)?;
        Ok(Self { api, console })
    }
}

/// Runs a command.
///
/// # Errors
/// Whatever kept it from doing what was asked.
pub async fn dispatch(command: ClientCommand, console: &mut Console) -> Result<(), Failure> {
    use ClientCommand as C;
    let mut session = Session::open(command.connection(), console)?;
    let session = &mut session;
    match command {
        C::Apply(args) => apply::run(session, &args).await,
        C::Get(args) => get::run(session, &args).await,
        C::Describe(args) => describe::run(session, &args).await,
        C::Explain(args) => explain::run(session, &args).await,
        C::Delete(args) => delete::run(session, &args).await,
        C::Retry(args) => workload::retry(session, &args).await,
        C::Start(args) => workload::switch(session, &args, workload::Switch::Start).await,
        C::Stop(args) => workload::switch(session, &args, workload::Switch::Stop).await,
        C::Restart(args) => workload::restart(session, &args).await,
        C::Status(args) => status::run(session, &args).await,
        C::Events(args) => events::run(session, &args).await,
        C::Top(args) => top::run(session, &args).await,
        C::Drain(args) => node::drain(session, &args).await,
        C::Cordon(args) => node::cordon(session, &args).await,
        C::Uncordon(args) => node::uncordon(session, &args).await,
        C::Fence(args) => node::fence(session, &args).await,
        C::Purge(args) => node::purge(session, &args).await,
    }
}

impl ClientCommand {
    /// Which scheduler to ask.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        match self {
            Self::Apply(args) => &args.connection,
            Self::Get(args) => &args.connection,
            Self::Describe(args) => &args.connection,
            Self::Explain(args) => &args.connection,
            Self::Delete(args) => &args.connection,
            Self::Retry(args) => &args.connection,
            Self::Start(args) | Self::Stop(args) => &args.connection,
            Self::Restart(args) => &args.connection,
            Self::Status(args) => &args.connection,
            Self::Events(args) => &args.connection,
            Self::Top(args) => &args.connection,
            Self::Drain(args) => &args.connection,
            Self::Cordon(args) | Self::Uncordon(args) | Self::Purge(args) => &args.connection,
            Self::Fence(args) => &args.connection,
        }
    }
}
