//! L1, the end of it: what has been at rest for long enough says what it would say in a cluster that
//! was given the last specs alone, whatever led there. Nothing is left of failures, moves and former
//! specs but what is kept as history on purpose: the last error, the last action, the labels that
//! revisions had.

use std::time::Duration;

use berth_core::model::workload::{ActualState, DesiredState, WorkloadRecord};

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
                let since = record.status.running_since.unwrap_or(self.now);
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
            // It keeps its home, to be started there again.
            (DesiredState::Stopped, ActualState::Stopped) => None,
            _ => return Ok(()),
        };
        let retry = &record.retry;
        let leftover = leftover.or_else(|| {
            if !record.status.failure_reason.is_empty() || record.status.failure.is_some() {
                Some("a reason why it failed".to_owned())
            } else if record.desired_state == DesiredState::Running
                && (retry.attempts > 0 || retry.next_retry_at.is_some() || retry.exhausted)
            {
                Some(format!("{retry:?}"))
            } else if self.image.retries.contains_key(&record.id)
                && record.desired_state == DesiredState::Running
            {
                Some("a record of tries".to_owned())
            } else {
                None
            }
        });
        match leftover {
            None => Ok(()),
            Some(left) => Err(Finding::new(
                "what has been at rest to be as if it had never been otherwise",
                left,
            )),
        }
    }
}
