//! L1, the end of it: what has been at rest for long enough says what it would say in a cluster that
//! was given the last specs alone, whatever led there. Nothing is left of failures, moves and former
//! specs but what is kept as history on purpose: the last error, the last action, the labels that
//! revisions had.

use std::time::Duration;

use berth_core::model::workload::{ActualState, DesiredState, RetryState, WorkloadRecord};

use super::Oracle;
use super::rule::{Check, Finding};

/// What runs stably has its tries forgotten so soon after.
const FORGOTTEN_SOON: Duration = Duration::from_secs(90);

impl Oracle {
    /// Whether a workload that is as it should be is also as if it had never been otherwise.
    pub(super) fn is_as_fresh(&self, record: &WorkloadRecord) -> Check {
        let home = self.image.assignments.get(&record.id);
        let leftover = match (record.desired_state, record.status.actual_state) {
            (DesiredState::Running, ActualState::Running) => {
                let Some(since) = record.status.running_since else {
                    return fresh("it does not say since when it runs".to_owned());
                };
                if self.now.since(since) < self.stable_after() + FORGOTTEN_SOON {
                    return Ok(());
                }
                let note = record.status.placement.as_ref();
                let noted = note.and_then(|note| note.node.as_ref());
                let stands = home.is_some_and(|held| {
                    held.record.resources == record.resources
                        && held.record.revision_id == record.revision_id
                });
                if noted != record.assigned_node.as_ref() {
                    Some(format!("a note that it was placed on {noted:?}"))
                } else if !stands {
                    Some(format!("an assignment of something else: {home:?}"))
                } else {
                    None
                }
            }
            // It keeps its home, to be started there again, and its tries with it.
            (DesiredState::Stopped, ActualState::Stopped) => None,
            _ => return Ok(()),
        };
        let tries = self.image.retries.get(&record.id);
        let leftover = leftover.or_else(|| {
            let runs = record.desired_state == DesiredState::Running;
            let kept = tries.map(|held| held.record.state);
            let none = RetryState::fresh(record.retry.max_attempts);
            if !record.status.failure_reason.is_empty() || record.status.failure.is_some() {
                Some("a reason why it failed".to_owned())
            } else if record.retry != kept.unwrap_or(none) {
                Some(format!("{:?} is repeated of {kept:?}", record.retry))
            } else if runs && kept.is_some() {
                Some(format!("{kept:?}"))
            } else {
                None
            }
        });
        leftover.map_or(Ok(()), fresh)
    }
}

fn fresh(left: String) -> Check {
    Err(Finding::new(
        "what has been at rest to be as if it had never been otherwise",
        left,
    ))
}
