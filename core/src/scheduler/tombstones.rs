//! Copies that must go: asked for until the node confirms it, however long it was away.

use crate::io::agent::{AgentError, AgentOp, AgentReply};
use crate::model::id::{CallId, NodeId, WorkloadId};
use crate::model::workload::{ActualState, TombstoneRecord};
use crate::planted::{Bug, planted};

use super::Scheduler;
use super::commit::Staged;
use super::timers::Timer;

impl Scheduler {
    /// Asks a node that answers for the deletion of what must go there.
    pub(super) fn work_off_tombstones(&mut self, node: &NodeId) {
        let Some(entity) = self.nodes.get(node) else {
            return;
        };
        let callable = entity.callable();
        let (now, timeout) = (self.now, self.config.delete_timeout);
        let mut ask = Vec::new();
        let mut remove = Vec::new();
        let mut wake = None;
        for (id, tombstone) in &entity.tombstones {
            if tombstone.staged.is_some() || self.is_tombstone_quarantined(node, id) {
                continue;
            }
            if tombstone.confirmed
                && let Some(until) = entity.stray_tombstones.get(id)
                && now < *until
            {
                // Removed, it would come back by a transaction that was given up, and delete what is there.
                wake = Some(wake.map_or(*until, |wake: crate::Timestamp| wake.min(*until)));
                continue;
            }
            if tombstone.confirmed {
                if !planted(Bug::TombstoneKept) || !self.runs_elsewhere(id) {
                    remove.push(id.clone());
                }
                continue;
            }
            if !callable || tombstone.call.is_some() {
                continue;
            }
            // One mutation of a workload at a time: an apply that is on its way ends first.
            if self.pool.mutates(node, id) {
                continue;
            }
            match tombstone.deleted {
                Some((at, _)) if now < at + timeout && !planted(Bug::DeletesWithoutPause) => {
                    let next = at + timeout;
                    wake = Some(wake.map_or(next, |wake: crate::Timestamp| wake.min(next)));
                }
                Some(_) | None => ask.push(id.clone()),
            }
        }
        for id in remove {
            self.stage_tombstone_removal(node, &id);
        }
        for id in ask {
            let Some(call) = self.new_call(
                node,
                AgentOp::Delete {
                    workload: id.clone(),
                },
            ) else {
                return;
            };
            if let Some(tombstone) = self
                .nodes
                .get_mut(node)
                .and_then(|entity| entity.tombstones.get_mut(&id))
            {
                tombstone.call = Some(call.id);
            }
            self.stats
                .note_action(crate::model::workload::Action::Delete);
            self.pool.push(call);
        }
        if let Some(at) = wake {
            self.timers.set_at_latest(Timer::Node(node.clone()), at);
        }
    }

    /// A tombstone there is on its way: a copy was found, or a workload leaves.
    pub(super) fn is_burying(&self, node: &NodeId) -> bool {
        let there = |record: &TombstoneRecord| record.node_id == *node;
        self.in_flight
            .values()
            .any(|in_flight| match &in_flight.staged {
                Staged::NewTombstone { record } => there(record),
                Staged::Workload { plan, .. } => plan.tombstones.iter().any(there),
                Staged::Node { .. }
                | Staged::Tombstone { .. }
                | Staged::Retention { .. }
                | Staged::Event => false,
            })
    }

    /// Only the record of a workload names this node: somebody changed its assignment, and the tombstone for
    /// the copy that may be there comes next.
    pub(super) fn is_named_alone(&self, node: &NodeId) -> bool {
        let named = |id: &WorkloadId| {
            let home = self.unsaid_home(id);
            home.is_some_and(|home| home.node_id == *node)
        };
        self.workloads.keys().any(named)
    }

    /// Whether the records say that a workload runs.
    fn runs_elsewhere(&self, id: &WorkloadId) -> bool {
        let record = self
            .workloads
            .get(id)
            .and_then(|workload| workload.record());
        record.is_some_and(|record| record.status.actual_state == ActualState::Running)
    }

    pub(super) fn is_tombstone_call(&self, node: &NodeId, id: &WorkloadId, call: CallId) -> bool {
        let tombstone = self
            .nodes
            .get(node)
            .and_then(|entity| entity.tombstones.get(id));
        tombstone.is_some_and(|tombstone| tombstone.call == Some(call))
    }

    pub(super) fn handle_tombstone_reply(
        &mut self,
        node: &NodeId,
        id: &WorkloadId,
        result: Result<AgentReply, AgentError>,
    ) {
        let (now, newest) = (self.now, CallId(self.next_call));
        let pause = self.config.retry_backoff_min;
        // As if it had been asked for so long ago that it is asked again after a short pause.
        let soon = (now + pause) - self.config.delete_timeout;
        let Some(tombstone) = self
            .nodes
            .get_mut(node)
            .and_then(|entity| entity.tombstones.get_mut(id))
        else {
            return;
        };
        tombstone.call = None;
        match result {
            Ok(AgentReply::Missing) => tombstone.confirmed = true,
            Ok(AgentReply::Deleting) if planted(Bug::AcceptedIsGone) => tombstone.confirmed = true,
            Ok(AgentReply::Deleting) => tombstone.deleted = Some((now, newest)),
            Ok(_) | Err(_) => tombstone.deleted = Some((soon, CallId(u64::MAX))),
        }
        self.dirty_nodes.insert(node.clone());
        self.list_soon(node);
    }

    /// A listing that began after the delete was accepted does not show the copy: it is gone.
    pub(super) fn check_tombstone(
        &mut self,
        node: &NodeId,
        id: &WorkloadId,
        listing: CallId,
        present: bool,
    ) {
        let Some(tombstone) = self
            .nodes
            .get_mut(node)
            .and_then(|entity| entity.tombstones.get_mut(id))
        else {
            return;
        };
        let after = |call| listing > call || planted(Bug::OlderListingBelieved);
        let after_delete = tombstone.deleted.is_some_and(|(_, call)| after(call));
        if !present && after_delete && tombstone.call.is_none() && !tombstone.confirmed {
            tombstone.confirmed = true;
            self.dirty_nodes.insert(node.clone());
        }
    }
}
