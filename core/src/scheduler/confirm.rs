//! What is as it should be is written down: running, stopped.

use std::sync::Arc;

use crate::Timestamp;
use crate::model::event::EventType;
use crate::model::id::WorkloadId;
use crate::model::workload::{ActualState, DesiredState, IntentOutcome};
use crate::planted::{Bug, planted};
use crate::reconcile::{Observed, Phase};

use super::Scheduler;
use super::commit::{Draft, Plan};
use super::timers::Timer;
use super::workload::Durable;

impl Scheduler {
    /// Everything is as it should be: the records say so too.
    pub(super) fn confirm(&mut self, id: &WorkloadId, desired: DesiredState) {
        match desired {
            DesiredState::Running => self.confirm_running(id),
            DesiredState::Stopped => self.confirm_stopped(id),
            DesiredState::Deleted => {}
        }
    }

    fn confirm_running(&mut self, id: &WorkloadId) {
        let (now, stable_after) = (self.now, self.config.stable_after);
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let wanted = workload.record().map(|record| &record.revision_id);
        // A former revision may run on where the wanted one failed.
        let runs = matches!(&workload.observed, Observed::Running(at) if at.as_ref() == wanted);
        if workload.phase == Phase::GivenUp && !runs {
            self.unsettled.remove(id);
            self.finish_move(id);
            return;
        }
        workload.phase = Phase::Idle;
        let unstable = workload.durable.retry.is_some() || workload.reapplied > 0;
        let repeats = workload.durable.repeats_tries();
        let says = workload.says(ActualState::Running) && repeats;
        if says && !unstable && !planted(Bug::StatusRewritten) {
            self.rest(id);
            return;
        }
        let mut next = workload.durable.clone();
        let Some(record) = next.record.as_mut().map(Arc::make_mut) else {
            return;
        };
        let was_running = record.status.actual_state == ActualState::Running;
        let since = record
            .status
            .running_since
            .filter(|_| was_running)
            .unwrap_or(now);
        let mut events = Vec::new();
        if !was_running {
            let revision = record.revision_id.clone();
            if !planted(Bug::EventMissing) {
                events.push(Draft::new(
                    EventType::WorkloadRunning,
                    next.node(),
                    format!("confirmed running at revision {revision}"),
                ));
            }
            if let Some(wanted) = workload.wanted_since.take() {
                self.stats.start_latency.observe(now.since(wanted));
            }
            next.set_status(ActualState::Running, "", now);
            if let Some(record) = next.record.as_mut().map(Arc::make_mut) {
                record.status.running_since = Some(now);
            }
        }
        next.close_intent(IntentOutcome::Done);
        let stable_at = if planted(Bug::StableAtOnce) {
            since
        } else {
            since + stable_after
        };
        if unstable && now >= stable_at {
            next.retry = None;
            workload.reapplied = 0;
            workload.not_before = Timestamp::ZERO;
        } else if unstable {
            self.timers.set(Timer::Workload(id.clone()), stable_at);
        } else {
            self.timers.clear(&Timer::Workload(id.clone()));
        }
        if planted(Bug::StatusRewritten) {
            next.touch_status(now);
        } else {
            self.unsettled.remove(id);
        }
        if !repeats {
            next.mirror();
        }
        self.settle_as(id, next, events);
    }

    pub(super) fn confirm_stopped(&mut self, id: &WorkloadId) {
        let now = self.now;
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        if !matches!(workload.phase, Phase::GivenUp) {
            workload.phase = Phase::Idle;
        }
        workload.wanted_since = None;
        let repeats = workload.durable.repeats_tries();
        if workload.says(ActualState::Stopped) && repeats {
            self.rest(id);
            return;
        }
        let mut next = workload.durable.clone();
        let stopped = next
            .record
            .as_ref()
            .is_some_and(|record| record.status.actual_state == ActualState::Stopped);
        let mut events = Vec::new();
        if !stopped {
            next.set_status(ActualState::Stopped, "", now);
            events.push(Draft::new(
                EventType::WorkloadStopped,
                next.node(),
                "confirmed stopped",
            ));
        }
        next.close_intent(IntentOutcome::Done);
        self.unsettled.remove(id);
        self.timers.clear(&Timer::Workload(id.clone()));
        if !repeats {
            next.mirror();
        }
        self.settle_as(id, next, events);
    }

    /// It is as it should be, and its records say so: after a listing the rule by far, and then no
    /// record is copied to find that out.
    fn rest(&mut self, id: &WorkloadId) {
        self.unsettled.remove(id);
        self.timers.clear(&Timer::Workload(id.clone()));
        self.finish_move(id);
    }

    /// Writes that it is as it should be. Its move is over when that is written, and not before:
    /// a drain whose next move overtakes it on the way to the store has two on their way (S16).
    fn settle_as(&mut self, id: &WorkloadId, next: Durable, events: Vec<Draft>) {
        let known = self.workloads.get(id).map(|workload| &workload.durable);
        let settled = known.is_none_or(|durable| *durable == next);
        if settled {
            self.finish_move(id);
        }
        if !settled {
            let plan = Plan {
                next,
                events,
                ..Plan::default()
            };
            self.stage_workload(id, plan);
        }
    }
}
