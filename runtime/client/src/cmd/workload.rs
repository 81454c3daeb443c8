//! `berth retry`, `start`, `stop`, `restart`.

use std::time::Duration;

use berth_core::WorkloadId;
use berth_core::model::workload::DesiredState;
use clap::Args;
use reqwest::Method;

use super::delete::workload_ids;
use super::{Session, wait};
use crate::api::Connection;
use crate::exit::Failure;

/// Arguments of `berth retry`.
#[derive(Debug, Clone, Args)]
pub struct RetryArgs {
    /// The workloads
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Arguments of `berth start` and `berth stop`.
#[derive(Debug, Clone, Args)]
pub struct SwitchArgs {
    /// The workloads
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Wait until it is so
    #[arg(short, long)]
    pub wait: bool,
    /// With --wait: for how long
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Arguments of `berth restart`.
#[derive(Debug, Clone, Args)]
pub struct RestartArgs {
    /// The workloads
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Wait until they run again
    #[arg(short, long)]
    pub wait: bool,
    /// How long stopping, and with --wait starting, may take
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// What `start` and `stop` want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// That it runs.
    Start,
    /// That it does not.
    Stop,
}

impl Switch {
    const fn route(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Start => "starting",
            Self::Stop => "stopping",
        }
    }

    const fn desired(self) -> DesiredState {
        match self {
            Self::Start => DesiredState::Running,
            Self::Stop => DesiredState::Stopped,
        }
    }
}

/// Runs `berth retry`.
///
/// # Errors
/// The first refusal.
pub async fn retry(session: &mut Session<'_>, args: &RetryArgs) -> Result<(), Failure> {
    for id in workload_ids(&args.ids)? {
        let path = ["workloads", id.as_str(), "retry"];
        session.api.send(Method::POST, &path, &[], None).await?;
        session
            .console
            .line(&format!("workload/{id} is tried anew"))?;
    }
    Ok(())
}

/// Runs `berth start` and `berth stop`.
///
/// # Errors
/// The first refusal, or a wait that failed.
pub async fn switch(
    session: &mut Session<'_>,
    args: &SwitchArgs,
    to: Switch,
) -> Result<(), Failure> {
    let ids = workload_ids(&args.ids)?;
    turn(session, &ids, to).await?;
    if args.wait {
        wait::until(session, goals(&ids, to), args.timeout).await?;
    }
    Ok(())
}

/// Runs `berth restart`: a stop that is waited for, then a start. When the stop takes too long,
/// the workloads are asked to run again, so that an impatient restart leaves nothing stopped.
///
/// # Errors
/// The first refusal, or a wait that failed.
pub async fn restart(session: &mut Session<'_>, args: &RestartArgs) -> Result<(), Failure> {
    let ids = workload_ids(&args.ids)?;
    turn(session, &ids, Switch::Stop).await?;
    let stopped = wait::until(session, goals(&ids, Switch::Stop), args.timeout).await;
    turn(session, &ids, Switch::Start).await?;
    stopped?;
    if args.wait {
        wait::until(session, goals(&ids, Switch::Start), args.timeout).await?;
    }
    Ok(())
}

async fn turn(session: &mut Session<'_>, ids: &[WorkloadId], to: Switch) -> Result<(), Failure> {
    for id in ids {
        let path = ["workloads", id.as_str(), to.route()];
        session.api.send(Method::POST, &path, &[], None).await?;
        session
            .console
            .line(&format!("workload/{id} {}", to.word()))?;
    }
    Ok(())
}

fn goals(ids: &[WorkloadId], to: Switch) -> Vec<wait::Goal> {
    let goal = |id: &WorkloadId| wait::Goal {
        id: id.clone(),
        desired: to.desired(),
    };
    ids.iter().map(goal).collect()
}
