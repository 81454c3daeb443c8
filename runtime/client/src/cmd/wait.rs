//! Waiting until workloads are as wanted, with progress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use berth_core::WorkloadId;
use berth_core::io::view::{DisplayStatus, WorkloadView};
use berth_core::model::workload::DesiredState;
use futures::{StreamExt, stream};

use super::{Session, list};
use crate::exit::{Exit, Failure};
use crate::manifest::Wanted;
use crate::output::text;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Up to so many workloads are asked for one by one, more of them as lists.
const ONE_BY_ONE_MAX: usize = 24;
/// Lines of an error that names workloads.
const NAMED_MAX: usize = 10;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The workload.
    pub id: WorkloadId,
    /// What it shall become; `Deleted`: that its record is gone.
    pub desired: DesiredState,
}

impl Goal {
    /// What a manifest wants.
    #[must_use]
    pub fn of(wanted: &Wanted) -> Self {
        Self {
            id: wanted.id.clone(),
            desired: wanted.desired,
        }
    }
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Reached,
    Waiting(String),
    Hopeless(String),
}

/// Judges a workload (`None`: there is none) against what is wanted of it.
fn judge(desired: DesiredState, view: Option<&WorkloadView>) -> Progress {
    let Some(view) = view else {
        return match desired {
            DesiredState::Deleted => Progress::Reached,
            DesiredState::Running | DesiredState::Stopped => {
                Progress::Hopeless("was deleted meanwhile".to_owned())
            }
        };
    };
    let status = view.display_status;
    let reached = match desired {
        DesiredState::Running => status == DisplayStatus::Running,
        DesiredState::Stopped => status == DisplayStatus::Stopped,
        DesiredState::Deleted => false,
    };
    if reached {
        return Progress::Reached;
    }
    let reason = match view.record.status.failure_reason.as_str() {
        "" => view.record.metadata.last_error.as_str(),
        reason => reason,
    };
    let mut said = status.name().to_owned();
    if !reason.is_empty() {
        said = format!("{said}: {}", text::short(reason, 160));
    }
    if status == DisplayStatus::Failed && desired == DesiredState::Running {
        Progress::Hopeless(said)
    } else {
        Progress::Waiting(said)
    }
}

/// Waits until every goal is reached.
///
/// # Errors
/// [`Exit::Timeout`] when it takes longer than `timeout`, [`Exit::Error`] as soon as one failed
/// for good. A scheduler that does not answer for a while is waited for.
pub async fn until(
    session: &mut Session<'_>,
    goals: Vec<Goal>,
    timeout: Duration,
) -> Result<(), Failure> {
    let begin = Instant::now();
    let all = goals.len();
    let mut open: BTreeMap<WorkloadId, (DesiredState, String)> = goals
        .into_iter()
        .map(|goal| (goal.id, (goal.desired, String::new())))
        .collect();
    loop {
        let away = match look(session, &open).await {
            Ok(found) => {
                settle(session, &mut open, &found)?;
                None
            }
            Err(failure) if failure.exit == Exit::Unavailable => Some(failure),
            Err(failure) => return Err(failure),
        };
        if open.is_empty() {
            return Ok(());
        }
        let waited = begin.elapsed();
        if waited >= timeout {
            return Err(too_late(&open, timeout, away));
        }
        let note = away
            .as_ref()
            .map_or_else(String::new, |away| format!("; {away}"));
        let done = all - open.len();
        let line = format!(
            "{done} of {all} done after {}{note}",
            text::duration(waited)
        );
        session.console.counter(&line)?;
        tokio::time::sleep(LOOK_EVERY.min(timeout - waited)).await;
    }
}

/// Takes out what is reached and tells what changed.
fn settle(
    session: &mut Session<'_>,
    open: &mut BTreeMap<WorkloadId, (DesiredState, String)>,
    found: &BTreeMap<WorkloadId, WorkloadView>,
) -> Result<(), Failure> {
    let mut hopeless = Vec::new();
    let mut reached = Vec::new();
    for (id, (desired, said)) in open.iter_mut() {
        match judge(*desired, found.get(id)) {
            Progress::Reached => reached.push((id.clone(), *desired)),
            Progress::Waiting(now) if now == *said => {}
            Progress::Waiting(now) => {
                if !session.console.live() {
                    session.console.note(&format!("workload/{id} {now}"))?;
                }
                *said = now;
            }
            Progress::Hopeless(why) => hopeless.push(format!("workload/{id} {why}")),
        }
    }
    for (id, desired) in reached {
        open.remove(&id);
        let word = match desired {
            DesiredState::Running => "Running",
            DesiredState::Stopped => "Stopped",
            DesiredState::Deleted => "deleted",
        };
        let node = found
            .get(&id)
            .and_then(|view| view.record.assigned_node.as_ref());
        let place = match (desired, node) {
            (DesiredState::Running, Some(node)) => format!(" on {node}"),
            _ => String::new(),
        };
        session
            .console
            .line(&format!("workload/{id} {word}{place}"))?;
    }
    if hopeless.is_empty() {
        return Ok(());
    }
    let hint = "`berth describe workload ID` tells more; `berth retry ID` starts the tries anew";
    Err(Failure::new(Exit::Error, lines(hopeless)).hint(hint))
}

fn too_late(
    open: &BTreeMap<WorkloadId, (DesiredState, String)>,
    timeout: Duration,
    away: Option<Failure>,
) -> Failure {
    let rest = open.iter().map(|(id, (_, said))| {
        let said = if said.is_empty() {
            "nothing known"
        } else {
            said
        };
        format!("workload/{id} {said}")
    });
    let mut message = format!(
        "{} not as wanted after {}:\n{}",
        open.len(),
        humantime::format_duration(timeout),
        lines(rest.collect())
    );
    if let Some(away) = away {
        message = format!("{message}\n{away}");
    }
    let hint = match open.keys().next() {
        Some(id) => format!("`berth explain {id}` says what is in the way; --timeout waits longer"),
        None => "--timeout waits longer".to_owned(),
    };
    Failure::new(Exit::Timeout, message).hint(hint)
}

fn lines(mut all: Vec<String>) -> String {
    if all.len() > NAMED_MAX {
        let more = all.len() - NAMED_MAX;
        all.truncate(NAMED_MAX);
        all.push(format!("… and {more} more"));
    }
    all.join("\n")
}

/// The present state of what is still open; what does not exist is left out.
async fn look(
    session: &Session<'_>,
    open: &BTreeMap<WorkloadId, (DesiredState, String)>,
) -> Result<BTreeMap<WorkloadId, WorkloadView>, Failure> {
    let ids: BTreeSet<&WorkloadId> = open.keys().collect();
    if ids.len() > ONE_BY_ONE_MAX {
        let page: list::Page<WorkloadView> = list::all(session, "workloads", &[], None).await?;
        let wanted = |view: &WorkloadView| ids.contains(&view.record.id);
        let found = page.items.into_iter().filter(wanted);
        return Ok(found.map(|view| (view.record.id.clone(), view)).collect());
    }
    let one = |id: &WorkloadId| {
        let (api, id) = (session.api.clone(), id.clone());
        async move {
            match api
                .read::<WorkloadView>(&["workloads", id.as_str()], &[])
                .await
            {
                Ok(view) => Ok(Some((id, view))),
                Err(failure) if failure.exit == Exit::NotFound => Ok(None),
                Err(failure) => Err(failure),
            }
        }
    };
    let mut found = BTreeMap::new();
    let requests: Vec<_> = ids.into_iter().map(one).collect();
    let mut replies = stream::iter(requests).buffer_unordered(8);
    while let Some(reply) = replies.next().await {
        found.extend(reply?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::sample;

    #[test]
    fn what_counts_as_reached() {
        use DesiredState::{Deleted, Running, Stopped};
        let mut view = sample::workload("a");
        view.display_status = DisplayStatus::Running;
        assert_eq!(judge(Running, Some(&view)), Progress::Reached);
        assert_eq!(
            judge(Stopped, Some(&view)),
            Progress::Waiting("Running".into())
        );
        assert_eq!(
            judge(Deleted, Some(&view)),
            Progress::Waiting("Running".into())
        );
        assert_eq!(judge(Deleted, None), Progress::Reached);
        assert!(matches!(judge(Running, None), Progress::Hopeless(_)));
        view.display_status = DisplayStatus::Stopped;
        assert_eq!(judge(Stopped, Some(&view)), Progress::Reached);
    }

    #[test]
    fn only_a_failure_for_good_ends_the_wait() {
        let mut view = sample::workload("a");
        view.record.status.failure_reason = "exit code 1".into();
        view.display_status = DisplayStatus::RetryPending;
        let waiting = Progress::Waiting("RetryPending: exit code 1".into());
        assert_eq!(judge(DesiredState::Running, Some(&view)), waiting);
        view.display_status = DisplayStatus::Failed;
        let hopeless = Progress::Hopeless("Failed: exit code 1".into());
        assert_eq!(judge(DesiredState::Running, Some(&view)), hopeless);
    }

    #[test]
    fn long_lists_are_cut() {
        let said = lines((0..12).map(|n| n.to_string()).collect());
        assert_eq!(said.lines().count(), 11);
        assert!(said.ends_with("… and 2 more"));
    }
}
