//! Node health: registrations, heartbeats, and one look at one node.

use crate::Key;
use crate::io::request::{Heartbeat, Registration, RequestError, Response};
use crate::model::Extra;
use crate::model::event::EventType;
use crate::model::id::{NodeId, RequestId, StoreRevision};
use crate::model::node::{ChangedBy, NodeReason, NodeRecord, NodeResources, NodeStatus};
use crate::model::time::Timestamp;
use crate::planted::{Bug, planted};
use crate::reconcile::Phase;

use super::Scheduler;
use super::commit::Draft;
use super::node::{Node, NodeMutation};
use super::timers::Timer;

impl Scheduler {
    /// An agent announces its node. Called often: idempotent, and it resets no accounting.
    pub(super) fn register(&mut self, request: RequestId, registration: Registration) {
        let (now, id) = (self.now, registration.node.clone());
        if self.is_node_quarantined(&id) {
            self.reply(request, Err(Self::unreadable_node(&id)));
            return;
        }
        self.expect_node(&id);
        let Some(entity) = self.nodes.get_mut(&id) else {
            return;
        };
        if entity.waiting.len() >= self.config.requests_waiting_max {
            self.reply(request, Err(RequestError::Busy(format!("node {id}"))));
            return;
        }
        (entity.heard_at, entity.heard) = (now, true);
        let another = entity.record.as_ref().is_none_or(|record| {
            record.agent_endpoint != registration.endpoint
                || record.incarnation != registration.incarnation
        });
        // One that was declared dead is called by nobody: only its registration takes it back.
        let fenced = entity.record.as_ref().is_some_and(|record| {
            record.status_reason == NodeReason::Fenced && !planted(Bug::FencedStaysUnreachable)
        });
        if another || fenced {
            entity.failures = 0;
            entity.unreachable = false;
        }
        if another {
            // Nobody has looked at what this one runs.
            entity.listing.seen = false;
        }
        entity
            .waiting
            .push_back((request, NodeMutation::Register(registration)));
        self.dirty_nodes.insert(id.clone());
        self.ask_again_for_deletes(&id);
        self.list_soon(&id);
    }

    /// A process that registers may be another one than the one that accepted deletes, and knows
    /// nothing of them: they are asked for again soon. Twice does no harm.
    fn ask_again_for_deletes(&mut self, node: &NodeId) {
        let soon = (self.now + self.config.retry_backoff_min) - self.config.delete_timeout;
        let Some(entity) = self.nodes.get_mut(node) else {
            return;
        };
        for tombstone in entity.tombstones.values_mut() {
            if let Some((asked, _)) = &mut tombstone.deleted {
                *asked = soon.min(*asked);
            }
        }
        for id in &entity.assigned {
            if let Some(workload) = self.workloads.get_mut(id)
                && let Phase::Deleting(since) = &mut workload.phase
            {
                *since = soon.min(*since);
                self.dirty.insert(id.clone());
            }
        }
    }

    /// The record that a registration leads to.
    pub(super) fn registered(&self, now: Option<&NodeRecord>, from: &Registration) -> NodeRecord {
        let mut record = now.cloned().unwrap_or_else(|| NodeRecord {
            id: from.node.clone(),
            status: NodeStatus::Ready,
            status_reason: NodeReason::Registered,
            status_changed_by: ChangedBy::Register,
            status_changed_at: self.now,
            resources: NodeResources::default(),
            last_heartbeat: self.now,
            labels: std::collections::BTreeMap::new(),
            agent_endpoint: String::new(),
            agent_version: String::new(),
            supported_workload_types: std::collections::BTreeSet::new(),
            supported_storage_drivers: std::collections::BTreeSet::new(),
            schedulable: true,
            drain: None,
            created_at: self.now,
            boot_id: String::new(),
            incarnation: String::new(),
            extra: Extra::new(),
        });
        if now.is_none() || !planted(Bug::CapacityUnrecorded) {
            record.resources.cpu_total = from.cpu_total;
            record.resources.memory_total = from.memory_total;
            record.resources.disk_total = from.disk_total;
        }
        record.schedulable |= planted(Bug::CordonUndone);
        record.labels.clone_from(&from.labels);
        record.agent_endpoint.clone_from(&from.endpoint);
        record.agent_version.clone_from(&from.agent_version);
        record
            .supported_workload_types
            .clone_from(&from.supported_workload_types);
        record
            .supported_storage_drivers
            .clone_from(&from.supported_storage_drivers);
        record.boot_id.clone_from(&from.boot_id);
        record.incarnation.clone_from(&from.incarnation);
        let unreachable = self.nodes.get(&from.node).is_some_and(|n| n.unreachable);
        if record.status == NodeStatus::NotReady && !unreachable {
            self.set_node_status(&mut record, NodeReason::Registered, ChangedBy::Register);
        }
        record
    }

    /// Makes room in the image for a node. What is assigned to it is reserved from the first.
    pub(super) fn expect_node(&mut self, id: &NodeId) {
        if self.nodes.contains_key(id) {
            return;
        }
        self.nodes.insert(id.clone(), Node::unknown(self.now));
        let assigned = self
            .workloads
            .iter()
            .filter(|(_, w)| w.durable.node() == Some(id));
        let assigned: Vec<_> = assigned.map(|(workload, _)| workload.clone()).collect();
        for workload in assigned {
            self.reserve_assigned(&workload);
        }
        self.reserve_hidden();
        self.land_stranded(id);
    }

    /// An agent is alive. Nothing is written unless this changes something.
    pub(super) fn heartbeat(&mut self, request: RequestId, heartbeat: Heartbeat) {
        let (now, id) = (self.now, heartbeat.node);
        self.stats.heartbeats += 1;
        let lease = self.config.lease();
        if planted(Bug::OneForAll) {
            self.nodes
                .values_mut()
                .for_each(|entity| entity.heard_at = now);
        }
        let known = self.nodes.get_mut(&id).filter(|entity| {
            // One that was declared dead must register as a new process does.
            entity
                .record
                .as_ref()
                .is_some_and(|r| r.status_reason != NodeReason::Fenced)
        });
        let Some(entity) = known else {
            self.reply(request, Err(RequestError::NoSuchNode(id)));
            return;
        };
        (entity.heard_at, entity.heard) = (now, true);
        entity.usage = heartbeat.usage;
        let lost = entity.status() == NodeStatus::NotReady;
        let drain = entity.status() == NodeStatus::Draining;
        if lost {
            self.dirty_nodes.insert(id.clone());
            if entity.unreachable && entity.listing.call.is_none() {
                // Only a call that works takes it back; while it was silent none was made.
                self.timers.set_at_latest(Timer::Listing(id.clone()), now);
            }
        }
        // Another process may have registered in its place, and be gone: only the agent knows
        // where it answers. Asked for once a lease; an agent that is told so at each heartbeat
        // would do nothing but register.
        let ask = lost && entity.unreachable && now >= entity.register_again_at;
        if ask {
            entity.register_again_at = now + lease;
        }
        self.take_hints(&id, &heartbeat.statuses);
        if ask {
            self.reply(request, Err(RequestError::RegisterAgain(id)));
            return;
        }
        let lease_expires_at = now + lease;
        self.reply(
            request,
            Ok(Response::HeartbeatAck {
                drain,
                lease_expires_at,
            }),
        );
    }

    /// Whether a node was heard within its lease.
    pub(super) fn is_alive(&self, entity: &Node) -> bool {
        let fenced = entity
            .record
            .as_ref()
            .is_some_and(|r| r.status_reason == NodeReason::Fenced);
        !fenced && self.now < entity.heard_at + self.config.lease()
    }

    fn set_node_status(&self, record: &mut NodeRecord, reason: NodeReason, by: ChangedBy) {
        let status = match reason {
            NodeReason::HeartbeatMissed | NodeReason::AgentUnreachable | NodeReason::Fenced => {
                NodeStatus::NotReady
            }
            NodeReason::DrainRequested => NodeStatus::Draining,
            NodeReason::Registered
            | NodeReason::HeartbeatResumed
            | NodeReason::AgentReachable
            | NodeReason::DrainCancelled => {
                if record.drain.is_some() {
                    NodeStatus::Draining
                } else {
                    NodeStatus::Ready
                }
            }
        };
        record.status = status;
        record.status_reason = reason;
        record.status_changed_by = by;
        record.status_changed_at = self.now;
    }

    /// Looks at a node and takes at most one step. A transaction in flight is waited for.
    pub(super) fn evaluate_node(&mut self, id: &NodeId) {
        self.work_off_tombstones(id);
        self.end_avoidance(id);
        self.note_silence(id);
        let Some(entity) = self.nodes.get_mut(id) else {
            return;
        };
        if entity.staged.is_some() {
            return;
        }
        if self.quarantined.contains_key(&Key::Node(id.clone())) {
            let waiting = std::mem::take(&mut entity.waiting);
            for (request, _) in waiting {
                self.reply(request, Err(Self::unreadable_node(id)));
            }
            return;
        }
        if let Some((request, mutation)) = entity.waiting.pop_front() {
            self.operate(id, request, mutation);
            return;
        }
        if self.now < entity.refused_until {
            let at = entity.refused_until;
            self.timers.set_at_latest(Timer::Node(id.clone()), at);
            return;
        }
        let Some(record) = &entity.record else {
            if entity.awaits_commits() && !planted(Bug::GoneWithItsRoom) {
                // What may still come is waited for: nobody would remember the room that it takes.
                self.dirty.extend(entity.assigned.iter().cloned());
            } else if !self.continue_purge(id) {
                self.node_removed(id);
            }
            return;
        };
        let drained = record.drain.is_some().then(|| record.clone());
        if self.continue_purge(id) || drained.is_some_and(|record| self.continue_drain(id, &record))
        {
            return;
        }
        let Some(entity) = self.nodes.get(id) else {
            return;
        };
        let Some(record) = &entity.record else {
            return;
        };
        let alive =
            self.is_alive(entity) && (entity.heard || record.status != NodeStatus::NotReady);
        let (next, event) = match (record.status, alive, entity.unreachable) {
            (NodeStatus::Ready | NodeStatus::Draining, false, _) => {
                (Some(NodeReason::HeartbeatMissed), EventType::NodeLost)
            }
            (NodeStatus::Ready | NodeStatus::Draining, true, true) => {
                (Some(NodeReason::AgentUnreachable), EventType::NodeLost)
            }
            (NodeStatus::NotReady, true, false) => {
                let reason = match record.status_reason {
                    NodeReason::AgentUnreachable => NodeReason::AgentReachable,
                    _ => NodeReason::HeartbeatResumed,
                };
                (Some(reason), EventType::NodeReady)
            }
            (NodeStatus::Ready | NodeStatus::Draining, true, false)
            | (NodeStatus::NotReady, false, _)
            | (NodeStatus::NotReady, true, true) => (None, EventType::NodeReady),
        };
        let Some(reason) = next else {
            self.keep_up(id);
            return;
        };
        let mut changed = record.clone();
        if event == EventType::NodeLost {
            self.stats.nodes_lost += 1;
        }
        let by = match reason {
            NodeReason::AgentUnreachable | NodeReason::AgentReachable => ChangedBy::Reconciler,
            NodeReason::HeartbeatResumed => ChangedBy::Heartbeat,
            _ => ChangedBy::Monitor,
        };
        self.set_node_status(&mut changed, reason, by);
        let mut events = vec![Draft::new(event, Some(id), format!("{reason:?}"))];
        if planted(Bug::NodeEventMissing) && event == EventType::NodeLost {
            events.clear();
        }
        self.stage_node(id, Some(changed), events, None);
    }

    /// A node that could not be called may have fallen silent since, or be heard again: its record does
    /// not change by that, and may not be writable.
    fn note_silence(&mut self, id: &NodeId) {
        let unreachable = |entity: &&Node| {
            let record = entity.record.as_ref();
            record.is_some_and(|record| record.status_reason == NodeReason::AgentUnreachable)
        };
        let Some(entity) = self.nodes.get(id).filter(unreachable) else {
            return;
        };
        if self.is_alive(entity) {
            let until = entity.heard_at + self.config.lease();
            self.timers.set_at_latest(Timer::Node(id.clone()), until);
        }
        self.note_cluster_health();
    }

    fn end_avoidance(&mut self, id: &NodeId) {
        let now = self.now;
        let Some(entity) = self.nodes.get_mut(id) else {
            return;
        };
        let over: Vec<_> = entity
            .avoided_until
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(workload_type, _)| *workload_type)
            .collect();
        for workload_type in over {
            entity.avoided_until.remove(&workload_type);
            entity.avoided.remove(&workload_type);
            self.room.insert(id.clone());
        }
    }

    /// Nothing changed: figures that may lag are written coarsely, and the next deadline is set.
    fn keep_up(&mut self, id: &NodeId) {
        let Some(entity) = self.nodes.get(id) else {
            return;
        };
        let Some(record) = &entity.record else {
            return;
        };
        let (now, heard) = (self.now, entity.heard_at);
        let lease_end = heard + self.config.lease();
        let flush_at = if planted(Bug::HeartbeatsWritten) {
            record.last_heartbeat
        } else {
            record.last_heartbeat + self.config.heartbeat_flush_interval
        };
        let mut deadline: Option<Timestamp> = None;
        let mut at = |when: Timestamp| {
            if when > now {
                deadline = Some(deadline.map_or(when, |d| d.min(when)));
            }
        };
        at(lease_end);
        if let Some(since) = entity.lost_since {
            at(since + self.config.eviction_grace);
            at(since + self.config.forget_node_after);
        }
        if let Some(drain) = &record.drain {
            at(drain.deadline);
        }
        for until in entity.avoided_until.values() {
            at(*until);
        }
        for tombstone in entity.tombstones.values() {
            if let Some((asked, _)) = tombstone.deleted {
                at(asked + self.config.delete_timeout);
            }
        }
        let allocated = self.allocated(entity);
        let alive = self.is_alive(entity);
        // When a leader begins it counts as heard, and has not been.
        let flush = alive && entity.heard && heard > record.last_heartbeat && now >= flush_at;
        if alive {
            at(flush_at);
        }
        // For people: the live figures are computed. Written once a burst of changes is over.
        let lagging = record.resources.allocated() != allocated;
        let due = lagging.then(|| {
            entity
                .figures_due
                .unwrap_or(now + self.config.reconcile_interval)
        });
        let settled_figures = due.is_some_and(|due| now >= due);
        if let Some(due) = due {
            at(due);
        }
        let lost_for = entity.lost_since.map(|since| now.since(since));
        let empty = entity.assigned.is_empty()
            && self.unreadable_at(id).is_none()
            && !entity.awaits_commits()
            && entity.holds.values().all(|hold| hold.hidden.is_none());
        // What an operator said of it would be forgotten with it; and who is heard is not gone.
        let closed = !record.schedulable || record.drain.is_some();
        let forgettable = empty && !alive && !closed;
        let next = (flush || settled_figures).then(|| {
            let mut next = record.clone();
            if flush {
                next.last_heartbeat = heard;
            }
            next.resources.set_allocated(allocated);
            next
        });
        if let Some(at) = deadline {
            self.timers.set(Timer::Node(id.clone()), at);
        }
        if let Some(entity) = self.nodes.get_mut(id) {
            entity.figures_due = due.filter(|_| !settled_figures);
        }
        if forgettable && lost_for.is_some_and(|lost| lost >= self.config.forget_node_after) {
            // Nothing is assigned to it: it is purged, with what it may still have held.
            if let Some(entity) = self.nodes.get_mut(id) {
                entity.purging = Some(super::NOBODY);
            }
            self.dirty_nodes.insert(id.clone());
        } else if next.is_some() {
            self.stage_node(id, next, Vec::new(), None);
        }
    }

    /// What is assigned to a node.
    pub(super) fn allocated(&self, entity: &Node) -> crate::model::units::Resources {
        let shares = entity
            .holds
            .values()
            .filter_map(|hold| hold.assigned.as_ref());
        shares.fold(Default::default(), |sum, share| sum + share.resources)
    }

    /// A node's record is durable.
    pub(super) fn node_committed(
        &mut self,
        id: &NodeId,
        next: Option<NodeRecord>,
        revision: Option<StoreRevision>,
        request: Option<(RequestId, NodeMutation)>,
    ) {
        let Some(entity) = self.nodes.get_mut(id) else {
            return;
        };
        entity.expect_nothing();
        let missed = std::mem::take(&mut entity.missed);
        self.dirty_nodes.insert(id.clone());
        let Some(next) = next else {
            self.node_removed(id);
            for stored in missed {
                self.handle_change(stored);
            }
            return;
        };
        let was = entity.record.replace(next);
        if let Some(revision) = revision {
            entity.revision = revision;
        }
        self.node_changed(id, was.as_ref());
        self.answer_node(id, request);
        for stored in missed {
            self.handle_change(stored);
        }
    }

    /// What follows when a node's record is another one, whoever wrote it.
    pub(super) fn node_changed(&mut self, id: &NodeId, was: Option<&NodeRecord>) {
        let now = self.now;
        let Some(entity) = self.nodes.get_mut(id) else {
            return;
        };
        let Some(is) = entity.record.clone() else {
            return;
        };
        match is.status {
            NodeStatus::NotReady => {
                entity.lost_since.get_or_insert(now);
            }
            NodeStatus::Ready | NodeStatus::Draining => entity.lost_since = None,
        }
        if is.drain.is_none() {
            self.end_moves_from(id);
        }
        let Some(entity) = self.nodes.get_mut(id) else {
            return;
        };
        let process = |record: &NodeRecord| {
            let endpoint = record.agent_endpoint.clone();
            (endpoint, record.incarnation.clone())
        };
        if was.is_some_and(|was| process(was) != process(&is)) {
            // What the former process answers still is no look at this one.
            entity.listing.seen = false;
            entity.listing.call = None;
            self.list_soon(id);
        }
        let Some(entity) = self.nodes.get_mut(id) else {
            return;
        };
        let state = |record: &NodeRecord| (record.status, record.status_reason);
        if was.map(state) != Some(state(&is)) {
            // What waited for this node to answer, or to be given up, is looked at again.
            self.dirty.extend(entity.assigned.iter().cloned());
            self.dirty.extend(entity.tombstones.keys().cloned());
            if is.status != NodeStatus::NotReady {
                self.list_soon(id);
            }
            self.note_cluster_health();
        }
        let changed = was.is_none_or(|was| offers(was) != offers(&is));
        if changed && !planted(Bug::RoomUnnoticed) {
            self.room.insert(id.clone());
        }
        self.dirty_nodes.insert(id.clone());
    }

    pub(super) fn node_removed(&mut self, id: &NodeId) {
        let Some(entity) = self.nodes.remove(id) else {
            return;
        };
        self.dirty_nodes.remove(id);
        self.timers.clear(&Timer::Node(id.clone()));
        self.timers.clear(&Timer::Listing(id.clone()));
        self.strand(id, &entity);
        self.dirty.extend(entity.tombstones.keys().cloned());
        self.dirty.extend(entity.assigned);
        if let Some(request) = entity.purging {
            self.reply(request, Ok(Response::Purged));
        }
        for (request, _) in entity.waiting {
            self.reply(request, Err(RequestError::NoSuchNode(id.clone())));
        }
        self.moves.retain(|_, origins| {
            origins.remove(id);
            !origins.is_empty()
        });
        self.note_cluster_health();
    }
}

/// What placement reads of a record.
fn offers(record: &NodeRecord) -> impl PartialEq + '_ {
    (
        (record.status, record.schedulable),
        (
            record.resources.cpu_total,
            record.resources.memory_total,
            record.resources.disk_total,
        ),
        &record.labels,
        &record.supported_workload_types,
        &record.supported_storage_drivers,
    )
}
