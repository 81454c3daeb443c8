//! What a lane shows to the rest of the machine: writes, replies, its task, its news, its timer.

use std::time::Duration;

use berth_core::{Timestamp, WorkloadId};

use crate::io::{AgentReply, Refusal, Write};
use crate::lane::{Lane, Waiter};
use crate::status::control_status;
use crate::tasks::{TaskLog, TaskState};

impl Lane {
    /// When nothing is left of a deleted workload: its record goes, or becomes a tombstone, which
    /// goes later.
    pub(crate) fn drop_what_is_gone(&mut self, now: Timestamp, tombstone_ttl: Duration) {
        let Some(record) = self.record.as_ref().filter(|record| record.is_tombstone()) else {
            return;
        };
        let remembered = record.stamp.is_some() && now < record.updated_at + tombstone_ttl;
        if !remembered {
            self.record = None;
            self.touch(now);
        }
    }

    /// The write that is due, if none is under way.
    pub(crate) fn write_due(&self, id: &WorkloadId) -> Option<Write> {
        if self.is_durable() || self.writing.is_some() || self.retry_at.is_some() {
            return None;
        }
        Some(match &self.record {
            Some(record) => Write::Record(Box::new(record.clone())),
            None => Write::Forget(id.clone()),
        })
    }

    /// The replies whose version is durable.
    pub(crate) fn replies_due(&mut self) -> Vec<Waiter> {
        let durable = self.durable;
        let due = self
            .waiters
            .extract_if(.., |waiter| waiter.version <= durable);
        due.collect()
    }

    /// A write failed: whoever waited for it does not know what will come of the call.
    pub(crate) fn refuse_waiters(&mut self, version: u64, reason: &str) -> Vec<Waiter> {
        let refused = self
            .waiters
            .extract_if(.., |waiter| waiter.version <= version);
        let refusal = Refusal::NotDurable(reason.to_owned());
        refused
            .map(|waiter| Waiter {
                reply: AgentReply::Refused(refusal.clone()),
                ..waiter
            })
            .collect()
    }

    /// Moves the task on with what became of the workload.
    pub(crate) fn update_task(&mut self, now: Timestamp, tasks: &mut TaskLog) {
        let Some(task) = self.task else {
            return;
        };
        if !self.is_durable() {
            return;
        }
        if !self.rests() {
            tasks.set(now, task, TaskState::Running);
            return;
        }
        let failure = crate::status::observe(self).and_then(|observed| observed.failure);
        let state = failure.map_or(TaskState::Completed, |failure| {
            TaskState::Failed(failure.to_string())
        });
        tasks.set(now, task, state);
    }

    /// Whether the scheduler should hear of it: what a heartbeat would say has changed.
    pub(crate) fn has_news(&mut self) -> bool {
        let seen = control_status(self).map(|status| {
            (
                status.failure_reason,
                format!("{} {}", status.state, status.message),
            )
        });
        if seen == self.reported {
            return false;
        }
        self.reported = seen;
        true
    }

    /// When this lane has something to do by itself.
    pub(crate) fn deadline(&self, tombstone_ttl: Duration) -> Option<Timestamp> {
        let tombstone = self.record.as_ref().filter(|record| record.is_tombstone());
        let expiry = tombstone.map(|record| record.updated_at + tombstone_ttl);
        // While something is to be tried again, nothing else goes on.
        self.retry_at
            .or_else(|| [self.restart_at, expiry].into_iter().flatten().min())
    }
}
