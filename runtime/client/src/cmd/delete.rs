//! `berth delete`.

use std::time::Duration;

use berth_core::WorkloadId;
use berth_core::model::workload::DesiredState;
use clap::Args;
use reqwest::Method;

use super::{Session, wait};
use crate::api::Connection;
use crate::exit::{Exit, Failure};
use crate::manifest;

/// Arguments of `berth delete`.
#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// `workload` may stand before the ids; then the workloads
    #[arg(required_unless_present = "files", value_name = "[workload] ID")]
    pub ids: Vec<String>,
    /// Delete the workloads of these manifests instead
    #[arg(
        short,
        long = "filename",
        visible_alias = "file",
        value_name = "FILE",
        conflicts_with = "ids"
    )]
    pub files: Vec<String>,
    /// Wait until they are gone
    #[arg(short, long)]
    pub wait: bool,
    /// With --wait: for how long
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// What does not exist is no error
    #[arg(long)]
    pub ignore_not_found: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Runs `berth delete`.
///
/// # Errors
/// The first refusal, after the rest was asked for.
pub async fn run(session: &mut Session<'_>, args: &DeleteArgs) -> Result<(), Failure> {
    let ids = if args.files.is_empty() {
        workload_ids(&args.ids)?
    } else {
        let manifests = manifest::load(&manifest::sources(&args.files)?)?;
        manifests.into_iter().map(|m| m.wanted.id).collect()
    };
    let mut goals = Vec::new();
    let mut first: Option<Failure> = None;
    for id in ids {
        let path = ["workloads", id.as_str()];
        match session.api.send(Method::DELETE, &path, &[], None).await {
            Ok(_) => {
                session.console.line(&format!("workload/{id} deleting"))?;
                goals.push(wait::Goal {
                    id,
                    desired: DesiredState::Deleted,
                });
            }
            Err(failure) if failure.exit == Exit::NotFound && args.ignore_not_found => {}
            Err(failure) => {
                if let Some(first) = &first {
                    session.console.note(&format!("workload/{id}: {failure}"))?;
                    if first.exit == Exit::Unavailable {
                        break;
                    }
                } else {
                    first = Some(failure);
                }
            }
        }
    }
    if args.wait {
        wait::until(session, goals, args.timeout).await?;
    }
    first.map_or(Ok(()), Err)
}

/// The ids of a command line where the kind may stand in front, as in `delete workload web-1`.
///
/// # Errors
/// Ids against the rule; only the kind and no id.
pub(super) fn workload_ids(words: &[String]) -> Result<Vec<WorkloadId>, Failure> {
    let kinds = ["workload", "workloads", "wl"];
    let words = match words {
        [kind, rest @ ..] if kinds.contains(&kind.as_str()) && !rest.is_empty() => rest,
        [kind, rest @ ..] if ["node", "nodes"].contains(&kind.as_str()) && !rest.is_empty() => {
            let message = "nodes are not deleted but removed";
            return Err(Failure::new(Exit::Usage, message)
                .hint("`berth drain NODE --wait`, stop its agent, then `berth purge NODE`"));
        }
        words => words,
    };
    words
        .iter()
        .map(|word| {
            let id = word.strip_prefix("workload/").unwrap_or(word);
            id.parse()
                .map_err(|error| Failure::new(Exit::Usage, format!("the id {word:?} {error}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_may_stand_before_the_ids() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            let ids = workload_ids(&words)?;
            Ok::<_, Failure>(ids.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(of(&["workload", "a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(of(&["a"]).unwrap(), ["a"]);
        assert_eq!(of(&["workload/a"]).unwrap(), ["a"]);
        // A workload may be called so.
        assert_eq!(of(&["workload"]).unwrap(), ["workload"]);
        assert_eq!(of(&["A"]).unwrap_err().exit, Exit::Usage);
        assert_eq!(of(&["node", "a"]).unwrap_err().exit, Exit::Usage);
    }
}
