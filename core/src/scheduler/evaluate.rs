//! One look at one workload: what is waiting, where it lives, what the reconciler says, and the
//! one step that follows.

use std::sync::Arc;

use crate::io::AgentOp;
use crate::model::event::EventType;
use crate::model::id::{NodeId, WorkloadId};
use crate::model::spec::WorkloadType;
use crate::model::workload::{
    Action, ActualState, DesiredState, FailureClass, FailureKind, IntentOutcome, RetryRecord,
    RetryState, TombstoneRecord,
};
use crate::planted::{Bug, planted};
use crate::reconcile::{Observed, Phase, Situation, Verdict, reconcile};
use crate::retry::backoff;
use crate::{Key, Timestamp};

use super::Scheduler;
use super::call::starts;
use super::commit::{Draft, Plan};
use super::timers::Timer;
use super::workload::Durable;

impl Scheduler {
    /// Looks at a workload and takes at most one step. A transaction in flight is waited for.
    pub(super) fn evaluate(&mut self, id: &WorkloadId) {
        self.stats.looks += 1;
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        if workload.staged.is_some() {
            return;
        }
        if self.is_quarantined(id) {
            self.refuse_waiting(id);
            return;
        }
        if !workload.waiting.is_empty() && self.mutate_next(id) {
            return;
        }
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let refused_until = workload.refused_until;
        if self.now < refused_until {
            self.unsettled.insert(id.clone());
            self.timers
                .set_at_latest(Timer::Workload(id.clone()), refused_until);
            return;
        }
        let Some(desired) = workload.desired() else {
            self.clear_remains(id);
            return;
        };
        self.unsettled.insert(id.clone());
        if self.repair_home(id) {
            return;
        }
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        match (workload.durable.node().cloned(), desired) {
            (None, DesiredState::Deleted) if planted(Bug::HomelessStays) => {}
            (None, DesiredState::Deleted) => self.remove(id),
            (None, DesiredState::Stopped) => self.confirm_stopped(id),
            (None, DesiredState::Running) => self.find_home(id),
            (Some(node), _) => self.evaluate_at(id, &node, desired),
        }
    }

    fn find_home(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        if workload.durable.resting_phase(self.now) == Phase::GivenUp {
            self.unsettled.remove(id);
            // It goes nowhere: what took it off its node has its next turn.
            self.finish_move(id);
            return;
        }
        let mut plan = Plan {
            next: workload.durable.clone(),
            ..Plan::default()
        };
        self.stats.scheduling_attempts += 1;
        plan.then = self.plan_home(id, &mut plan.next, false, &mut plan.events);
        if plan.next.assignment.is_none() {
            // Woken when room appears.
            self.unsettled.remove(id);
            self.stats.note_unschedulable(&plan.next);
            if plan.next == workload.durable {
                return;
            }
        }
        self.stage_workload(id, plan);
    }

    fn evaluate_at(&mut self, id: &WorkloadId, node: &NodeId, desired: DesiredState) {
        let (now, grace) = (self.now, self.config.eviction_grace);
        if self.quarantined.contains_key(&Key::Node(node.clone())) {
            return;
        }
        let Some(entity) = self
            .nodes
            .get(node)
            .filter(|n| n.record.is_some() && n.purging.is_none())
        else {
            self.without_node(id, node, desired);
            return;
        };
        if entity.evictable(now, grace) {
            self.leave_lost_node(id, node, desired);
            return;
        }
        if !entity.callable() {
            return;
        }
        let crowded = entity.assigned.len() > 2;
        if desired != DesiredState::Deleted && self.repair_reservation(id, desired) {
            return;
        }
        if self.drain_step(id, node, desired) {
            return;
        }
        if planted(Bug::MovesForNoReason)
            && crowded
            && self
                .workloads
                .get(id)
                .is_some_and(|w| w.says(ActualState::Running))
            && self.move_away(id, "there are better nodes")
        {
            return;
        }
        if self.workloads.get(id).is_none_or(|w| w.call.is_some()) {
            return;
        }
        // What is there and goes is no evidence of what is to be there.
        if desired != DesiredState::Deleted && self.is_buried_at(id, node) {
            return;
        }
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let Some(record) = workload.record() else {
            return;
        };
        // What was assumed proves no deletion (S10).
        let assumed =
            desired == DesiredState::Deleted && !workload.looked && !planted(Bug::GoneWithoutLook);
        let observed = if assumed {
            &Observed::Nothing
        } else {
            &workload.observed
        };
        let situation = Situation {
            desired,
            wanted: &record.revision_id,
            workload_type: record.workload_type(),
            observed,
            phase: workload.phase,
            applied: workload.durable.intent.as_ref().is_some_and(|intent| {
                intent.action == Action::Apply
                    && intent.revision_id == record.revision_id
                    && intent.node_id == *node
                    && intent.outcome != IntentOutcome::Superseded
            }),
        };
        match reconcile(&situation, now, &self.config) {
            Verdict::Settled => self.confirm(id, desired),
            Verdict::Observe => self.look(id, node),
            Verdict::Wait(until) => self.wait(id, node, until),
            Verdict::Act(action) => self.act(id, action),
            Verdict::Fail(kind, message) => self.fail(id, kind, &message),
            Verdict::Gone => self.remove(id),
        }
    }

    /// Its node's record is gone: there is nobody to ask. At an operator's word nothing is left
    /// there; where somebody else removed the record a copy may come back with its node.
    fn without_node(&mut self, id: &WorkloadId, node: &NodeId, desired: DesiredState) {
        let purging = self.nodes.get(node).is_some_and(|n| n.purging.is_some());
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let mut next = workload.durable.clone();
        let left = self.leave_home(&mut next);
        let tombstones: Vec<_> = left.clone().into_iter().filter(|_| !purging).collect();
        if desired == DesiredState::Deleted {
            self.remove_leaving(id, tombstones);
            return;
        }
        let mut events = vec![Draft::new(
            EventType::Rescheduled,
            left.as_ref().map(|t| &t.node_id),
            "its node was removed",
        )];
        let mut then = None;
        if desired == DesiredState::Running {
            then = self.plan_home(id, &mut next, false, &mut events);
        }
        self.stage_workload(
            id,
            Plan {
                next,
                tombstones,
                events,
                then,
                ..Plan::default()
            },
        );
    }

    fn wait(&mut self, id: &WorkloadId, node: &NodeId, until: Timestamp) {
        self.timers.set(Timer::Workload(id.clone()), until);
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        // An apply that left no trace: existing agents tell why only when asked for the one.
        if let (Phase::Applying(since), Observed::Missing) = (workload.phase, &workload.observed) {
            let patience = std::time::Duration::from_secs(2);
            if self.now >= since + patience
                && workload.asking.is_none()
                && self.now >= workload.ask_after
            {
                self.ask(id, node);
            } else {
                let at = (since + patience).max(workload.ask_after);
                if workload.asking.is_none() && at < until {
                    self.timers.set(Timer::Workload(id.clone()), at);
                }
            }
        }
    }

    fn ask(&mut self, id: &WorkloadId, node: &NodeId) {
        let Some(call) = self.new_call(
            node,
            AgentOp::Status {
                workload: id.clone(),
            },
        ) else {
            return;
        };
        let pause = self.config.confirm_interval_max;
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.asking = Some(call.id);
            workload.ask_after = self.now + pause;
        }
        self.pool.push(call);
    }

    /// The record goes: its node reported it gone, or there is no node.
    pub(super) fn remove(&mut self, id: &WorkloadId) {
        self.remove_leaving(id, Vec::new());
    }

    fn remove_leaving(&mut self, id: &WorkloadId, tombstones: Vec<TombstoneRecord>) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let strays_until = workload.strays_until;
        if self.now < strays_until {
            // Without the record it would come back to life by a transaction that was given up.
            self.timers.set(Timer::Workload(id.clone()), strays_until);
            return;
        }
        let node = workload.durable.node().cloned();
        let events = vec![Draft::new(
            EventType::WorkloadDeleted,
            node.as_ref(),
            "confirmed gone",
        )];
        let mut next = Durable::default();
        if planted(Bug::IntentLeftBehind) {
            next.intent.clone_from(&workload.durable.intent);
        }
        if let Some(node) = node {
            self.graves.bury(&node, id, self.now);
        }
        self.stage_workload(
            id,
            Plan {
                next,
                tombstones,
                events,
                ..Plan::default()
            },
        );
    }

    /// Persists the intent; the call follows its commit (S1).
    fn act(&mut self, id: &WorkloadId, action: Action) {
        let now = self.now;
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let law = workload
            .durable
            .retry
            .as_ref()
            .and_then(|r| r.state.next_retry_at);
        let waits = |at: &Timestamp| now < *at && starts(action) && !planted(Bug::MoveSkipsBackoff);
        if let Some(at) = law.filter(waits) {
            self.timers.set(Timer::Workload(id.clone()), at);
            return;
        }
        if now < workload.not_before {
            let at = workload.not_before;
            self.timers.set(Timer::Workload(id.clone()), at);
            return;
        }
        let home = workload.durable.node().cloned();
        if starts(action) && home.is_some_and(|home| self.blocked_by_tombstones(id, &home)) {
            return;
        }
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let mut next = workload.durable.clone();
        let Some(record) = next.record.as_mut().map(Arc::make_mut) else {
            return;
        };
        let again = next.intent.as_ref().is_some_and(|intent| {
            intent.action == action
                && intent.revision_id == record.revision_id
                && intent.node_id.as_str()
                    == record.assigned_node.as_ref().map_or("", |n| n.as_str())
                && intent.outcome != IntentOutcome::Superseded
        });
        if again && action != Action::Delete {
            workload.reapplied = workload.reapplied.saturating_add(1);
            workload.not_before = now + backoff(workload.reapplied, &self.config);
        }
        let reason = describe(&workload.observed);
        let node = record.assigned_node.clone();
        let mut events = Vec::new();
        let was_running = record.status.actual_state == ActualState::Running;
        let retry = next.retry.clone();
        let last = next.intent.as_ref().map(|intent| intent.action);
        match action {
            Action::Recreate => events.push(Draft::new(
                EventType::RetryTriggered,
                node.as_ref(),
                format!(
                    "attempt {} of {}",
                    record.retry.attempts + 1,
                    record.retry.max_attempts
                ),
            )),
            Action::Apply if was_running => {
                events.push(Draft::new(EventType::DriftDetected, node.as_ref(), reason));
            }
            // A recreate told of the try already, and so did the first of several applies.
            Action::Apply
                if !again
                    && last != Some(Action::Recreate)
                    && retry
                        .as_ref()
                        .is_some_and(|r| r.state.next_retry_at.is_some()) =>
            {
                events.push(Draft::new(EventType::RetryTriggered, node.as_ref(), reason));
            }
            Action::Apply | Action::ApplyStopped | Action::Delete => {}
        }
        if action == Action::Recreate {
            self.stats.retries += 1;
        }
        if was_running && matches!(action, Action::Apply | Action::Recreate) {
            next.set_status(ActualState::Pending, "", now);
        }
        next.close_intent(IntentOutcome::Superseded);
        self.intend(&mut next, action, reason);
        self.stage_workload(
            id,
            Plan {
                next,
                events,
                then: Some(action),
                ..Plan::default()
            },
        );
        if planted(Bug::CallBeforeCommit) {
            self.call_for(id, action);
        }
    }

    /// It failed: the retry machine says what follows.
    pub(super) fn fail(&mut self, id: &WorkloadId, kind: FailureKind, message: &str) {
        let now = self.now;
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let mut next = workload.durable.clone();
        let Some(record) = next.record.as_mut().map(Arc::make_mut) else {
            return;
        };
        let node = record.assigned_node.clone();
        if let (FailureKind::RuntimeUnavailable, Some(node)) = (kind, &node) {
            let workload_type = record.workload_type();
            self.avoid(node, workload_type);
            if self.move_away(id, "the node's runtime is not available") {
                return;
            }
        }
        let max = record.retry.max_attempts;
        let before = next
            .retry
            .as_ref()
            .map_or(RetryState::fresh(max), |retry| retry.state);
        let mut state = before.after_failure(kind.class(), now, &self.config);
        if kind.class() == FailureClass::Infrastructure {
            // It costs no attempt, and is not tried every few seconds for ever.
            let repeated = self.workloads.get_mut(id).map_or(1, |workload| {
                workload.reapplied = workload.reapplied.saturating_add(1);
                workload.reapplied
            });
            state.next_retry_at = Some(now + backoff(repeated, &self.config));
        }
        message.clone_into(&mut record.metadata.last_error);
        let revision_id = record.revision_id.clone();
        next.retry = Some(Arc::new(RetryRecord {
            workload_id: id.clone(),
            revision_id,
            state,
            last_failure_at: now,
            last_failure: kind,
            extra: next
                .retry
                .take()
                .map_or_else(crate::model::Extra::new, |retry| retry.extra.clone()),
        }));
        if let (true, Some(retry)) = (
            planted(Bug::BackoffInMemory),
            next.retry.as_mut().map(Arc::make_mut),
        ) {
            retry.state.next_retry_at = None;
        }
        let mut events = Vec::new();
        if kind.class() != FailureClass::Infrastructure {
            self.stats.workload_failures += 1;
            events.push(Draft::new(
                EventType::WorkloadFailed,
                node.as_ref(),
                message,
            ));
        }
        let phase = if state.exhausted {
            if planted(Bug::EventTwice) {
                let event = EventType::RetriesExhausted;
                events.push(Draft::new(event, node.as_ref(), message));
            }
            let reason = format!("attempt {} of {max} failed: {message}", state.attempts);
            events.push(Draft::new(
                EventType::RetriesExhausted,
                node.as_ref(),
                reason,
            ));
            next.set_status(ActualState::Failed, message, now);
            Phase::GivenUp
        } else {
            next.set_status(ActualState::Pending, message, now);
            state.next_retry_at.map_or(Phase::Idle, Phase::BackingOff)
        };
        if let Some(record) = next.record.as_mut().map(Arc::make_mut) {
            record.status.failure = Some(kind);
        }
        next.close_intent(IntentOutcome::Failed);
        let phase = Some(phase);
        self.stage_workload(
            id,
            Plan {
                next,
                events,
                phase,
                ..Plan::default()
            },
        );
    }

    /// A node is avoided for a kind of workload for a while.
    fn avoid(&mut self, node: &NodeId, workload_type: WorkloadType) {
        if planted(Bug::AvoidanceIgnored) {
            return;
        }
        let until = self.now + self.config.runtime_exclusion;
        if let Some(entity) = self.nodes.get_mut(node) {
            entity.avoided_until.insert(workload_type, until);
            entity.avoided.insert(workload_type);
        }
        self.timers.set_at_latest(Timer::Node(node.clone()), until);
    }
}

fn describe(observed: &Observed) -> &'static str {
    match observed {
        Observed::Nothing => "not observed yet",
        Observed::Missing => "the node does not have it",
        Observed::Pending(_) => "it has been pending for too long",
        Observed::Running(_) => "it runs at another revision or should not run",
        Observed::Stopped => "it is stopped",
        Observed::Failed { .. } => "it failed",
        Observed::Unknown(_) => "its state has been unknown for too long",
    }
}
