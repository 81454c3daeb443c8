//! What operators do to nodes: drain, cordon, uncordon, fence, purge.

use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

use berth_core::NodeId;
use berth_core::io::view::NodeView;
use berth_core::model::node::NodeStatus;
use clap::Args;
use reqwest::Method;
use serde::Serialize;

use super::Session;
use crate::api::Connection;
use crate::exit::{Exit, Failure};

/// Arguments of `berth cordon`, `uncordon` and `purge`.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: NodeId,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Arguments of `berth fence`.
#[derive(Debug, Clone, Args)]
pub struct FenceArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: NodeId,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Arguments of `berth drain`.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: NodeId,
    /// What is left after this is moved at once [default: the server's]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub deadline: Option<Duration>,
    /// How many workloads may be on the move at once [default: the server's]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub parallelism: Option<u32>,
    /// Wait until nothing is left on the node
    #[arg(short, long)]
    pub wait: bool,
    /// With --wait: for how long
    #[arg(long, default_value = "15m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// The body of a drain; the server fills in what is not given.
#[derive(Debug, Serialize)]
struct DrainBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallelism: Option<u32>,
}

/// Runs `berth cordon`.
///
/// # Errors
/// A refusal.
pub async fn cordon(session: &mut Session<'_>, args: &NodeArgs) -> Result<(), Failure> {
    let node = &args.node;
    let next = format!(
        "what runs there stays, and nothing new comes (`berth get nodes`); `berth uncordon {node}` \
         ends it"
    );
    post(session, args, "cordon", ("cordoned", &next)).await
}

/// Runs `berth uncordon`.
///
/// # Errors
/// A refusal.
pub async fn uncordon(session: &mut Session<'_>, args: &NodeArgs) -> Result<(), Failure> {
    let next = "it takes workloads again once it is ready; `berth get nodes` shows it";
    post(session, args, "uncordon", ("uncordoned", next)).await
}

/// Posts to a route of a node that takes no body, and says what was done and what happens next.
async fn post(
    session: &mut Session<'_>,
    args: &NodeArgs,
    route: &str,
    (done, next): (&str, &str),
) -> Result<(), Failure> {
    let node = &args.node;
    let path = ["nodes", node.as_str(), route];
    session.api.send(Method::POST, &path, &[], None).await?;
    session.console.line(&format!("node/{node} {done}"))?;
    hint(session, next)
}

/// What happens now, and what shows it.
fn hint(session: &mut Session<'_>, next: &str) -> Result<(), Failure> {
    session.console.note(&format!("hint: {next}"))?;
    Ok(())
}

/// Runs `berth purge`.
///
/// # Errors
/// A refusal: the node is alive, or something is assigned to it.
pub async fn purge(session: &mut Session<'_>, args: &NodeArgs) -> Result<(), Failure> {
    let node = &args.node;
    let path = ["nodes", node.as_str()];
    session.api.send(Method::DELETE, &path, &[], None).await?;
    session.console.line(&format!("node/{node} purged"))?;
    let next =
        "an agent that still runs there registers it anew; `berth get nodes` shows what is left";
    hint(session, next)
}

/// Runs `berth fence`. Asks first: a node that is fenced and alive runs what runs elsewhere too.
///
/// # Errors
/// A refusal, by the person too.
pub async fn fence(session: &mut Session<'_>, args: &FenceArgs) -> Result<(), Failure> {
    let node = &args.node;
    if !args.yes && !confirmed(session, node)? {
        let message = "fencing was not confirmed; nothing was done";
        return Err(Failure::new(Exit::Usage, message).hint("--yes confirms without a question"));
    }
    let path = ["nodes", node.as_str(), "fence"];
    session.api.send(Method::POST, &path, &[], None).await?;
    session.console.line(&format!("node/{node} fenced"))?;
    let next = format!(
        "its workloads are placed elsewhere at once; when `berth get workloads --node {node}` \
         shows none, `berth purge {node}` removes its record"
    );
    hint(session, &next)
}

fn confirmed(session: &mut Session<'_>, node: &NodeId) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(false);
    }
    session.console.note(&format!(
        "Fencing declares that {node} is off and will not come back as it is. If it still runs, \
         its workloads will run twice.\nType the node's id to go on:"
    ))?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim() == node.as_str())
}

/// Runs `berth drain`.
///
/// # Errors
/// A refusal; [`Exit::Timeout`].
pub async fn drain(session: &mut Session<'_>, args: &DrainArgs) -> Result<(), Failure> {
    let node = &args.node;
    let body = DrainBody {
        deadline_seconds: args.deadline.map(|time| time.as_secs()),
        parallelism: args.parallelism,
    };
    let body = serde_json::to_string(&body)
        .map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    let path = ["nodes", node.as_str(), "drain"];
    session
        .api
        .send(Method::POST, &path, &[], Some(body))
        .await?;
    session.console.line(&format!("node/{node} draining"))?;
    let next = if args.wait {
        wait_drained(session, node, args.timeout).await?;
        format!(
            "nothing is left on it; stop its agent, then `berth fence {node}` and \
             `berth purge {node}` remove it, or `berth uncordon {node}` takes it back"
        )
    } else {
        format!(
            "its workloads move elsewhere, few at a time; `berth describe node {node}` shows how \
             far it is, and `berth uncordon {node}` ends it"
        )
    };
    hint(session, &next)
}

async fn wait_drained(
    session: &mut Session<'_>,
    node: &NodeId,
    timeout: Duration,
) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut said = None;
    loop {
        match session
            .api
            .read::<NodeView>(&["nodes", node.as_str()], &[])
            .await
        {
            Ok(view) => {
                let drain = view.record.drain;
                if drain.is_some_and(|drain| drain.completed_at.is_some()) {
                    session.console.line(&format!("node/{node} drained"))?;
                    return Ok(());
                }
                if drain.is_none() && view.record.status != NodeStatus::Draining {
                    let message = format!("the drain of {node} was ended by somebody else");
                    return Err(Failure::new(Exit::Error, message));
                }
                let left = view.workloads + view.tombstones;
                session.console.counter(&format!("{left} left on {node}"))?;
                if !session.console.live() && said != Some(left) {
                    session.console.note(&format!("node/{node} {left} left"))?;
                }
                said = Some(left);
            }
            Err(failure) if failure.exit == Exit::Unavailable => {
                session.console.counter(&failure.message)?;
            }
            Err(failure) => return Err(failure),
        }
        let waited = begin.elapsed();
        if waited >= timeout {
            let left = said.map_or_else(String::new, |left| format!("; {left} left"));
            let time = humantime::format_duration(timeout);
            let message = format!("node {node} is not drained after {time}{left}");
            let hint = format!("`berth get workloads --node {node}` shows what is left");
            return Err(Failure::new(Exit::Timeout, message).hint(hint));
        }
        tokio::time::sleep(Duration::from_millis(250).min(timeout - waited)).await;
    }
}
