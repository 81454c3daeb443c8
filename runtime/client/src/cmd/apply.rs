//! `berth apply`: manifests become workloads.

use std::time::Duration;

use berth_core::io::view::WorkloadView;
use berth_core::model::workload::DesiredState;
use clap::Args;
use futures::{StreamExt, stream};
use reqwest::Method;

use super::{Session, wait};
use crate::api::{Connection, Reply};
use crate::exit::{Exit, Failure};
use crate::manifest::{self, Manifest};

/// Requests in flight at once.
const AT_ONCE: usize = 16;

/// Arguments of `berth apply`.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// A manifest in YAML or JSON, a folder of them, or - for standard input; may be repeated
    #[arg(
        short,
        long = "filename",
        visible_alias = "file",
        required = true,
        value_name = "FILE"
    )]
    pub files: Vec<String>,
    /// Wait until every workload is as wanted; fail at once when one fails for good
    #[arg(short, long)]
    pub wait: bool,
    /// With --wait: for how long
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Change nothing; say what would be
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Runs `berth apply`.
///
/// # Errors
/// Manifests that are wrong (then nothing was sent); refusals, after the rest was accepted.
pub async fn run(session: &mut Session<'_>, args: &ApplyArgs) -> Result<(), Failure> {
    let manifests = manifest::load(&manifest::sources(&args.files)?)?;
    let accepted = send_all(session, &manifests, args.dry_run).await?;
    let failed = accepted.failed;
    if args.wait {
        let wanted = accepted.manifests.iter().map(|m| wait::Goal::of(&m.wanted));
        let waited = wait::until(session, wanted.collect(), args.timeout).await;
        // What was refused matters more than what it took to start the rest.
        return failed.map_or(waited, Err);
    }
    failed.map_or(Ok(()), Err)
}

struct Accepted<'a> {
    manifests: Vec<&'a Manifest>,
    /// The end of the command, if some were refused.
    failed: Option<Failure>,
}

async fn send_all<'a>(
    session: &mut Session<'_>,
    manifests: &'a [Manifest],
    dry_run: bool,
) -> Result<Accepted<'a>, Failure> {
    let api = session.api.clone();
    let query = if dry_run {
        vec![("dry_run", "true".to_owned())]
    } else {
        vec![]
    };
    let send = |manifest: &'a Manifest| {
        let (api, query) = (&api, &query);
        async move {
            let body = Some(manifest.body.clone());
            let reply = api.send(Method::POST, &["workloads"], query, body).await;
            (manifest, reply)
        }
    };
    let mut replies = stream::iter(manifests).map(send).buffered(AT_ONCE);
    let mut accepted = Vec::new();
    let mut first: Option<Failure> = None;
    while let Some((manifest, reply)) = replies.next().await {
        match reply {
            Ok(reply) => {
                session.console.line(&outcome(manifest, &reply, dry_run))?;
                accepted.push(manifest);
            }
            Err(failure) => {
                let id = &manifest.wanted.id;
                let said = format!("workload/{id} refused: {failure} ({})", manifest.origin);
                session.console.note(&said)?;
                let unreachable = failure.exit == Exit::Unavailable;
                first.get_or_insert(failure);
                if unreachable && accepted.is_empty() {
                    // Nobody there: the same would be said once for every manifest.
                    break;
                }
            }
        }
    }
    let failed = first.map(|first| Failure {
        message: summary(accepted.len(), manifests.len(), dry_run),
        ..first
    });
    Ok(Accepted {
        manifests: accepted,
        failed,
    })
}

fn outcome(manifest: &Manifest, reply: &Reply, dry_run: bool) -> String {
    let id = &manifest.wanted.id;
    let view = reply.decode::<WorkloadView>().ok();
    let revision = view.as_ref().map_or_else(String::new, |view| {
        format!(", revision {}", view.record.revision_id)
    });
    if dry_run {
        let node = view.and_then(|view| view.record.assigned_node);
        let wanted = manifest.wanted.desired == DesiredState::Running;
        let place = match node {
            Some(node) => format!(", on {node}"),
            None if wanted => ", pending: no node fits now".to_owned(),
            None => String::new(),
        };
        return format!("workload/{id} would be accepted{revision}{place} (dry run)");
    }
    let word = if reply.created { "created" } else { "accepted" };
    format!("workload/{id} {word}{revision}")
}

fn summary(accepted: usize, all: usize, dry_run: bool) -> String {
    let verb = if dry_run { "would be" } else { "were" };
    if accepted == 0 {
        return format!(
            "none of {all} manifests {} accepted",
            if dry_run { "would be" } else { "was" }
        );
    }
    format!(
        "{accepted} of {all} manifests {verb} accepted; the others are named above, and applying \
         the same files again is safe"
    )
}
