//! Lost nodes: what they ran is placed elsewhere, with care. The rate is bounded, and when a large
//! share of the cluster vanishes at once the observer is the likelier fault (S18).

use std::sync::Arc;

use crate::model::event::{EventRecord, EventType};
use crate::model::id::{NodeId, WorkloadId};
use crate::model::node::{NodeReason, NodeStatus};
use crate::model::time::Timestamp;
use crate::model::workload::{ActualState, DesiredState, WorkloadRecord};
use crate::placement;
use crate::planted::{Bug, planted};

use super::Scheduler;
use super::commit::Plan;
use super::node::Node;
use super::timers::Timer;

/// The allowance of evictions.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    /// Evictions left in this second.
    allowance: u32,
    /// When the second began.
    window: Timestamp,
    /// Too many nodes are lost.
    pub(super) paused: bool,
    /// Enough of them are back. What made so many silent may keep the others from being heard for
    /// as long as a heartbeat may be late: nothing is evicted before this.
    settles_at: Timestamp,
    /// Workloads that wait for the allowance.
    waiting: std::collections::BTreeSet<WorkloadId>,
}

impl Eviction {
    pub(super) fn restart(&mut self, now: Timestamp) {
        *self = Self {
            window: now,
            ..Self::default()
        };
    }
}

impl Scheduler {
    /// The grace of a lost node is over.
    pub(super) fn leave_lost_node(
        &mut self,
        id: &WorkloadId,
        node: &NodeId,
        desired: DesiredState,
    ) {
        match desired {
            // Its node must say so, or be purged (S10).
            DesiredState::Deleted if planted(Bug::LostMeansGone) => self.remove(id),
            DesiredState::Deleted => {}
            DesiredState::Stopped | DesiredState::Running => self.evict(id, node, desired),
        }
    }

    /// A stopped workload of a lost node needs no home; its copy there must go.
    fn confirm_at_rest(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let mut next = workload.durable.clone();
        let tombstones: Vec<_> = self.leave_home(&mut next).into_iter().collect();
        let is_stopped =
            |record: &Arc<WorkloadRecord>| record.status.actual_state == ActualState::Stopped;
        let mut events = Vec::new();
        if !next.record.as_ref().is_some_and(is_stopped) || planted(Bug::StoppedTwice) {
            events.push(super::commit::Draft::new(
                EventType::WorkloadStopped,
                tombstones.first().map(|tombstone| &tombstone.node_id),
                "its node was lost while it was to be stopped",
            ));
        }
        next.set_status(ActualState::Stopped, "", self.now);
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

    fn evict(&mut self, id: &WorkloadId, node: &NodeId, desired: DesiredState) {
        let fenced = self.is_fenced(node);
        if self.eviction.paused && !fenced && !planted(Bug::PauseIgnored) {
            return;
        }
        let settles_at = self.eviction.settles_at;
        if self.now < settles_at && !fenced {
            self.eviction.waiting.insert(id.clone());
            self.timers.set_at_latest(Timer::Evictions, settles_at);
            return;
        }
        // A node that still heartbeats and only cannot be called keeps what it says it runs.
        if self.is_said_to_run(id, node) && !planted(Bug::HeardIsLeft) {
            return;
        }
        if self.now >= self.eviction.window + std::time::Duration::from_secs(1) {
            self.eviction.window = self.now;
            self.eviction.allowance = self.config.evictions_per_second_max;
        }
        if self.eviction.allowance == 0 && !planted(Bug::RateIgnored) {
            self.eviction.waiting.insert(id.clone());
            let next = self.eviction.window + std::time::Duration::from_secs(1);
            self.timers.set_at_latest(Timer::Evictions, next);
            return;
        }
        if desired == DesiredState::Stopped {
            self.eviction.allowance = self.eviction.allowance.saturating_sub(1);
            self.confirm_at_rest(id);
        } else if self.move_away(id, "its node was lost") {
            self.eviction.allowance = self.eviction.allowance.saturating_sub(1);
            self.stats.evictions += 1;
        } else {
            self.explain_stranded(id);
        }
    }

    /// No other node fits: it stays assigned, in case its node returns, and says so.
    fn explain_stranded(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let Some(record) = workload.record() else {
            return;
        };
        if workload.durable.is_given_up() {
            // It has failed, wherever it is: no node that returns changes that.
            return;
        }
        let status = &record.status;
        let told = status.actual_state == ActualState::Unknown && !status.failure_reason.is_empty();
        if told && !planted(Bug::StrandedRewritten) {
            // Figures of what is free change all the time, and are computed when they are asked for.
            return;
        }
        let note = self.choose(id, record);
        let text = format!("its node was lost; {}", placement::summary(&note));
        let mut next = workload.durable.clone();
        next.set_status(ActualState::Unknown, &text, self.now);
        if next != workload.durable {
            self.stage_workload(
                id,
                Plan {
                    next,
                    ..Plan::default()
                },
            );
        }
    }

    pub(super) fn is_fenced(&self, node: &NodeId) -> bool {
        let record = self
            .nodes
            .get(node)
            .and_then(|entity| entity.record.as_ref());
        record.is_some_and(|record| record.status_reason == NodeReason::Fenced)
    }

    /// The next second of evictions.
    pub(super) fn resume_evictions(&mut self) {
        let waiting = std::mem::take(&mut self.eviction.waiting);
        self.dirty.extend(waiting);
    }

    /// After a node was lost or came back: whether so many are lost that evictions pause.
    pub(super) fn note_cluster_health(&mut self) {
        // One that is kept for what may still come, without a record, is no node.
        let counts =
            |entity: &&Node| entity.record.is_some() || matches!(&entity.next, Some(Some(_)));
        let total = self.nodes.values().filter(counts).count();
        let silent = |entity: &&Node| {
            let record = entity.record.as_ref();
            let reason = record.map(|record| record.status_reason);
            match reason.filter(|_| entity.status() == NodeStatus::NotReady) {
                Some(NodeReason::HeartbeatMissed) => true,
                // It could not be called before it fell silent.
                Some(NodeReason::AgentUnreachable) => {
                    !self.is_alive(entity) && !planted(Bug::UnreachableNotLost)
                }
                _ => false,
            }
        };
        let lost = self.nodes.values().filter(silent).count();
        let many = lost >= self.config.eviction_pause_nodes_min as usize
            && lost * 100 > total * self.config.eviction_pause_percent as usize;
        if many == self.eviction.paused {
            return;
        }
        self.eviction.paused = many;
        let (event_type, reason) = if many {
            let text = format!("{lost} of {total} nodes are lost at once");
            (EventType::EvictionPaused, text)
        } else {
            (
                EventType::EvictionResumed,
                format!("{lost} of {total} nodes are lost"),
            )
        };
        self.announce(event_type, reason);
        if !many {
            if !planted(Bug::EvictsAtResume) {
                self.eviction.settles_at = self.now + self.config.lease();
            }
            self.dirty.extend(self.unsettled.iter().cloned());
            let lost: Vec<WorkloadId> = self
                .nodes
                .values()
                .filter(|entity| entity.status() == NodeStatus::NotReady)
                .flat_map(|entity| entity.assigned.iter().cloned())
                .collect();
            self.dirty.extend(lost);
        }
    }

    /// Writes an event that belongs to no decision.
    pub(super) fn announce(&mut self, event_type: EventType, reason: String) {
        let event = EventRecord {
            id: self.next_event_id(),
            event_type,
            workload_id: None,
            node_id: None,
            revision_id: None,
            reason,
            timestamp: self.now,
            extra: crate::model::Extra::new(),
        };
        self.stage_event(event);
    }
}
