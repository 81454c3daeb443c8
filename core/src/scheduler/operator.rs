//! What operators do to nodes: cordon, drain, fence, purge.

use std::sync::Arc;
use std::time::Duration;

use crate::Key;
use crate::io::request::{RequestError, Response};
use crate::model::event::EventType;
use crate::model::id::{NodeId, RequestId, WorkloadId};
use crate::model::node::{ChangedBy, DrainState, NodeReason, NodeRecord, NodeStatus};
use crate::model::workload::{ActualState, DesiredState};
use crate::planted::{Bug, planted};

use super::Scheduler;
use super::commit::{Draft, Plan};
use super::node::{Node, NodeMutation};
use super::timers::Timer;

impl Scheduler {
    /// Takes an operator's change; it waits while the node's transaction is in flight.
    pub(super) fn queue_operation(&mut self, id: RequestId, node: &NodeId, mutation: NodeMutation) {
        let waiting_max = self.config.requests_waiting_max;
        if self.is_node_quarantined(node) {
            self.reply(id, Err(Self::unreadable_node(node)));
            return;
        }
        let purges = matches!(mutation, NodeMutation::Purge);
        if purges && !self.nodes.contains_key(node) && self.is_awaited(node) {
            // Somebody removed its record; what waits for it to come back goes.
            self.expect_node(node);
        }
        let Some(entity) = self
            .nodes
            .get_mut(node)
            .filter(|entity| entity.record.is_some() || purges)
        else {
            self.reply(id, Err(RequestError::NoSuchNode(node.clone())));
            return;
        };
        if entity.waiting.len() >= waiting_max {
            self.reply(id, Err(RequestError::Busy(format!("node {node}"))));
            return;
        }
        entity.waiting.push_back((id, mutation));
        self.dirty_nodes.insert(node.clone());
    }

    /// Carries a waiting change out.
    pub(super) fn operate(&mut self, id: &NodeId, request: RequestId, mutation: NodeMutation) {
        let now = self.nodes.get(id).and_then(|entity| entity.record.clone());
        if let NodeMutation::Register(_) = &mutation {
            // It is back: nothing of it is purged under a live agent.
            let purging = self
                .nodes
                .get_mut(id)
                .and_then(|entity| entity.purging.take());
            if let Some(purge) = purging {
                let text = format!("node {id} registered again; it was not purged");
                self.reply(purge, Err(RequestError::Refused(text)));
                self.doubt_purged(id);
            }
        }
        let planned = match (&mutation, now) {
            (NodeMutation::Register(registration), now) => {
                Ok(self.plan_registration(id, now, registration))
            }
            (NodeMutation::Purge, None) if self.is_awaited(id) => {
                match self.begin_purge(id, None, request) {
                    Ok(()) => return,
                    Err(error) => Err(error),
                }
            }
            (_, None) => Err(RequestError::NoSuchNode(id.clone())),
            (NodeMutation::SetSchedulable(on), Some(record)) => {
                Ok(Self::plan_schedulable(id, record, *on))
            }
            (
                NodeMutation::Drain {
                    deadline,
                    parallelism,
                },
                Some(record),
            ) => Ok(self.plan_drain(id, record, *deadline, *parallelism)),
            (NodeMutation::CancelDrain, Some(record)) => Ok(self.plan_drain_end(id, record)),
            (NodeMutation::Fence, Some(record)) => Ok(self.plan_fence(id, record)),
            (NodeMutation::Purge, Some(record)) => {
                match self.begin_purge(id, Some(&record), request) {
                    Ok(()) => return,
                    Err(error) => Err(error),
                }
            }
        };
        match planned {
            Ok((next, events)) => {
                self.stage_node(id, Some(next), events, Some((request, mutation)));
                self.dirty_nodes.insert(id.clone());
            }
            Err(error) => {
                self.reply(request, Err(error));
                // Who waits behind it has its turn.
                self.dirty_nodes.insert(id.clone());
            }
        }
    }

    fn plan_registration(
        &self,
        id: &NodeId,
        now: Option<NodeRecord>,
        registration: &crate::io::request::Registration,
    ) -> (NodeRecord, Vec<Draft>) {
        let next = self.registered(now.as_ref(), registration);
        let mut events = Vec::new();
        match now {
            None => events.push(Draft::new(
                EventType::NodeRegistered,
                Some(id),
                "first seen",
            )),
            Some(now)
                if now.status == NodeStatus::NotReady && next.status != NodeStatus::NotReady =>
            {
                events.push(Draft::new(
                    EventType::NodeReady,
                    Some(id),
                    "registered again",
                ));
            }
            Some(now) => {
                let (a, b) = (&now.resources, &next.resources);
                if (a.cpu_total, a.memory_total, a.disk_total)
                    != (b.cpu_total, b.memory_total, b.disk_total)
                {
                    let text = "registered with other capacity";
                    events.push(Draft::new(EventType::NodeRegistered, Some(id), text));
                }
            }
        }
        (next, events)
    }

    fn plan_schedulable(id: &NodeId, mut record: NodeRecord, on: bool) -> (NodeRecord, Vec<Draft>) {
        if record.schedulable == on {
            return (record, Vec::new());
        }
        record.schedulable = on;
        if planted(Bug::CordonEventMissing) {
            return (record, Vec::new());
        }
        let event = if on {
            EventType::NodeUncordoned
        } else {
            EventType::NodeCordoned
        };
        (record, vec![Draft::new(event, Some(id), "by an operator")])
    }

    fn plan_drain(
        &self,
        id: &NodeId,
        mut record: NodeRecord,
        deadline: Duration,
        parallelism: u32,
    ) -> (NodeRecord, Vec<Draft>) {
        if record.drain.is_some() {
            // The same again: how far it is.
            return (record, Vec::new());
        }
        record.schedulable = false;
        record.drain = Some(DrainState {
            started_at: self.now,
            deadline: self.now + deadline,
            parallelism: parallelism.max(1),
            completed_at: None,
        });
        if record.status == NodeStatus::Ready {
            record.status = NodeStatus::Draining;
            record.status_reason = NodeReason::DrainRequested;
            record.status_changed_by = ChangedBy::Operator;
            record.status_changed_at = self.now;
        }
        (
            record,
            vec![Draft::new(
                EventType::NodeDraining,
                Some(id),
                "by an operator",
            )],
        )
    }

    fn plan_drain_end(&self, id: &NodeId, mut record: NodeRecord) -> (NodeRecord, Vec<Draft>) {
        if record.drain.take().is_none() || record.status != NodeStatus::Draining {
            return (record, Vec::new());
        }
        record.status = NodeStatus::Ready;
        record.status_reason = NodeReason::DrainCancelled;
        record.status_changed_by = ChangedBy::Operator;
        record.status_changed_at = self.now;
        (
            record,
            vec![Draft::new(
                EventType::NodeReady,
                Some(id),
                "the drain was cancelled",
            )],
        )
    }

    fn plan_fence(&self, id: &NodeId, mut record: NodeRecord) -> (NodeRecord, Vec<Draft>) {
        if record.status_reason == NodeReason::Fenced {
            return (record, Vec::new());
        }
        record.status = NodeStatus::NotReady;
        record.status_reason = NodeReason::Fenced;
        record.status_changed_by = ChangedBy::Operator;
        record.status_changed_at = self.now;
        (
            record,
            vec![Draft::new(
                EventType::NodeFenced,
                Some(id),
                "declared dead by an operator",
            )],
        )
    }

    fn begin_purge(
        &mut self,
        id: &NodeId,
        record: Option<&NodeRecord>,
        request: RequestId,
    ) -> Result<(), RequestError> {
        let Some(entity) = self.nodes.get(id) else {
            return Err(RequestError::NoSuchNode(id.clone()));
        };
        if let Some(record) = record.filter(|record| record.status != NodeStatus::NotReady) {
            let text = format!(
                "node {id} is {:?}: stop its agent or fence it first",
                record.status
            );
            return Err(RequestError::Refused(text));
        }
        let alive = |workload: &&WorkloadId| {
            let desired = self.workloads.get(*workload).and_then(|w| w.desired());
            desired.is_some_and(|desired| desired != DesiredState::Deleted)
        };
        let hidden = entity.holds.values().filter(|hold| hold.hidden.is_some());
        let left = entity.assigned.iter().filter(alive).count() + hidden.count();
        if left > 0 {
            let text = format!(
                "{left} workloads are still assigned to node {id}: fence it, and wait until they \
                 are placed elsewhere"
            );
            return Err(RequestError::Refused(text));
        }
        if let Some(key) = self.unreadable_at(id) {
            return Err(Self::unreadable_there(id, &key));
        }
        if entity.purging.is_some() {
            return Err(RequestError::Refused(format!(
                "node {id} is being purged already"
            )));
        }
        let assigned: Vec<_> = entity.assigned.iter().cloned().collect();
        if let Some(entity) = self.nodes.get_mut(id) {
            entity.purging = Some(request);
        }
        self.dirty.extend(assigned);
        self.dirty_nodes.insert(id.clone());
        Ok(())
    }

    /// A record of what is on a node, or was, that cannot be read: what it stands for is not known.
    pub(super) fn unreadable_at(&self, id: &NodeId) -> Option<Key> {
        let entity = self.nodes.get(id)?;
        let keys = self.quarantined.keys();
        let mut there = keys.filter(|key| match key {
            Key::Workload(it) | Key::Assignment(it) => {
                entity.assigned.contains(it) || entity.tombstones.contains_key(it)
            }
            Key::Intent(it) | Key::Retry(it) => entity.assigned.contains(it),
            Key::Tombstone(node, _) => node == id,
            Key::Node(_) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => false,
        });
        there.next().cloned()
    }

    fn unreadable_there(id: &NodeId, key: &Key) -> RequestError {
        RequestError::Refused(format!(
            "{key} cannot be read, and what it says of node {id} is not known: repair it, or \
             remove it from the store"
        ))
    }

    /// A purge was given up: what it took for gone at the operator's word may be there.
    fn doubt_purged(&mut self, id: &NodeId) {
        let tombstones = self.nodes.get_mut(id).map(|node| &mut node.tombstones);
        for tombstone in tombstones.into_iter().flat_map(|all| all.values_mut()) {
            tombstone.confirmed = false;
        }
    }

    /// Goes on with a purge. True while one goes on.
    pub(super) fn continue_purge(&mut self, id: &NodeId) -> bool {
        let Some(entity) = self.nodes.get(id) else {
            return false;
        };
        if entity.purging.is_none() {
            return false;
        }
        if let Some(key) = self.unreadable_at(id) {
            // It would never be known to be empty.
            let request = entity.purging;
            if let Some(entity) = self.nodes.get_mut(id) {
                entity.purging = None;
            }
            self.doubt_purged(id);
            if let Some(request) = request {
                self.reply(request, Err(Self::unreadable_there(id, &key)));
            }
            return false;
        }
        let empty = entity.assigned.is_empty() && entity.tombstones.is_empty();
        if empty && (self.is_burying(id) || entity.awaits_commits()) {
            return true;
        }
        let strays_until = entity.strays_until;
        if empty && self.now < strays_until {
            // Without the record it would come back by a transaction that was given up.
            self.timers
                .set_at_latest(Timer::Node(id.clone()), strays_until);
            return true;
        }
        if empty && entity.record.is_none() {
            self.node_removed(id);
        } else if empty {
            let text = if entity.purging == Some(super::NOBODY) {
                "lost for long, and nothing is assigned to it"
            } else {
                "by an operator"
            };
            let events = vec![Draft::new(EventType::NodePurged, Some(id), text)];
            self.stage_node(id, None, events, None);
        } else if entity.tombstones.values().any(|t| !t.confirmed) {
            // At the operator's word nothing is left there: each goes in a transaction of its own.
            if let Some(entity) = self.nodes.get_mut(id) {
                for tombstone in entity.tombstones.values_mut() {
                    tombstone.confirmed = true;
                }
            }
            self.work_off_tombstones(id);
        }
        true
    }

    /// A drained node says so once every copy is confirmed gone (S20). True if that was staged.
    pub(super) fn continue_drain(&mut self, id: &NodeId, record: &NodeRecord) -> bool {
        let Some(drain) = &record.drain else {
            return false;
        };
        let Some(entity) = self.nodes.get(id) else {
            return false;
        };
        let looked = entity.listing.seen || planted(Bug::DrainedUnseen);
        let left = !looked
            || !entity.holds.is_empty()
            || !entity.tombstones.is_empty()
            || self.is_burying(id)
            || self.homes_are_unknown()
            || drain.completed_at.is_none() && self.is_named_alone(id);
        let empty = !left || planted(Bug::DrainedTooEarly) && entity.assigned.is_empty();
        if drain.completed_at.is_some() || !empty || record.status != NodeStatus::Draining {
            if record.status == NodeStatus::Draining && !empty {
                let assigned: Vec<_> = entity.assigned.iter().cloned().collect();
                // One that is still here, its move being of unknown fate, may be moved again.
                let away = entity.moving.difference(&entity.assigned).count();
                if away < drain.parallelism as usize || self.now >= drain.deadline {
                    self.dirty.extend(assigned);
                }
            }
            return false;
        }
        let mut next = record.clone();
        if let Some(drain) = &mut next.drain {
            drain.completed_at = Some(self.now);
        }
        let text = "every workload was confirmed gone";
        let events = vec![Draft::new(EventType::NodeDrained, Some(id), text)];
        self.stage_node(id, Some(next), events, None);
        true
    }

    /// What a drain does about one workload. True if something was staged.
    pub(super) fn drain_step(
        &mut self,
        id: &WorkloadId,
        node: &NodeId,
        desired: DesiredState,
    ) -> bool {
        let Some(entity) = self.nodes.get(node) else {
            return false;
        };
        let draining = entity.status() == NodeStatus::Draining;
        let drain = entity.record.as_ref().and_then(|record| record.drain);
        let Some(drain) = drain.filter(|_| draining) else {
            return false;
        };
        let overdue = self.now >= drain.deadline && !planted(Bug::DrainNeverEnds);
        // Its own move may have been tried before, and its fate be unknown: it has its turn.
        let others = entity.moving.iter().filter(|moving| *moving != id).count();
        match desired {
            DesiredState::Deleted => false,
            DesiredState::Running | DesiredState::Stopped
                if !overdue
                    && others >= drain.parallelism as usize
                    && !planted(Bug::ParallelismIgnored) =>
            {
                false
            }
            DesiredState::Running => {
                let moved = self.move_away(id, "its node is drained")
                    || (overdue && self.unplace(id, "its node is drained and no other fits"));
                self.note_moving(id, node, moved)
            }
            DesiredState::Stopped => {
                let moved = self.unplace(id, "its node is drained");
                self.note_moving(id, node, moved)
            }
        }
    }

    /// A change that the scheduler had given up came late: what it moved off a drained node is on
    /// the move all the same.
    pub(super) fn note_late_move(&mut self, id: &WorkloadId, from: &NodeId) {
        let is_draining = |node: &Node| node.record.as_ref().is_some_and(|r| r.drain.is_some());
        let drained = self.nodes.get(from).is_some_and(is_draining);
        let unsettled = self
            .workloads
            .get(id)
            .filter(|workload| workload.durable.node().is_some_and(|home| home != from))
            .and_then(|workload| workload.record())
            .is_some_and(|record| !record.status.actual_state.is_settled());
        self.note_moving(id, from, drained && unsettled);
    }

    /// Nothing drains a node any more: what it moved is on the way like anything else. What may still
    /// leave it keeps its turn, should it be drained again.
    pub(super) fn end_moves_from(&mut self, node: &NodeId) {
        let Some(entity) = self.nodes.get_mut(node) else {
            return;
        };
        let left = entity.moving.difference(&entity.assigned);
        let left: Vec<_> = left.cloned().collect();
        for id in left {
            entity.moving.remove(&id);
            if let Some(origins) = self.moves.get_mut(&id) {
                origins.remove(node);
                if origins.is_empty() {
                    self.moves.remove(&id);
                }
            }
        }
    }

    fn note_moving(&mut self, id: &WorkloadId, node: &NodeId, moved: bool) -> bool {
        if moved {
            if let Some(entity) = self.nodes.get_mut(node) {
                entity.moving.insert(id.clone());
            }
            self.moves
                .entry(id.clone())
                .or_default()
                .insert(node.clone());
        }
        moved
    }

    /// A workload that a drain moved is settled, or will never be: the next may go.
    pub(super) fn finish_move(&mut self, id: &WorkloadId) {
        let Some(origins) = self.moves.remove(id) else {
            return;
        };
        let workload = self.workloads.get(id);
        let home = workload.and_then(|w| w.durable.node().cloned());
        for from in origins {
            if Some(&from) == home.as_ref() {
                self.moves.entry(id.clone()).or_default().insert(from);
                continue;
            }
            if let Some(entity) = self.nodes.get_mut(&from) {
                entity.moving.remove(id);
            }
            self.dirty_nodes.insert(from);
        }
    }

    /// A move was not written: the workload is still at home, and its turn is over.
    pub(super) fn cancel_move(&mut self, id: &WorkloadId, home: Option<&NodeId>) {
        let Some((origins, home)) = self.moves.get_mut(id).zip(home) else {
            return;
        };
        if !origins.remove(home) {
            return;
        }
        if origins.is_empty() {
            self.moves.remove(id);
        }
        if let Some(entity) = self.nodes.get_mut(home) {
            entity.moving.remove(id);
        }
        self.dirty_nodes.insert(home.clone());
    }

    /// Takes a workload off its node without another.
    fn unplace(&mut self, id: &WorkloadId, reason: &str) -> bool {
        let Some(workload) = self.workloads.get(id) else {
            return false;
        };
        let mut next = workload.durable.clone();
        let Some(record) = next.record.clone() else {
            return false;
        };
        let tombstones: Vec<_> = self.leave_home(&mut next).into_iter().collect();
        let mut note = self.choose(id, &record);
        note.node = None;
        note.score_ppm = None;
        if let Some(record) = next.record.as_mut().map(Arc::make_mut) {
            record.status.placement = Some(note);
        }
        match record.desired_state {
            // Its tries are over: it waits for a client, not for room.
            DesiredState::Running if next.is_given_up() => {}
            DesiredState::Running => next.set_status(ActualState::Pending, reason, self.now),
            DesiredState::Stopped | DesiredState::Deleted => {
                next.set_status(ActualState::Stopped, "", self.now);
            }
        }
        let node = tombstones.first().map(|tombstone| &tombstone.node_id);
        let mut events = vec![Draft::new(EventType::Rescheduled, node, reason)];
        let now = next
            .record
            .as_ref()
            .map(|record| record.status.actual_state);
        if now == Some(ActualState::Stopped)
            && record.status.actual_state != ActualState::Stopped
            && !planted(Bug::StoppedInSilence)
        {
            events.push(Draft::new(EventType::WorkloadStopped, node, reason));
        }
        let (observed, phase) = (
            Some(crate::reconcile::Observed::Missing),
            Some(crate::reconcile::Phase::Idle),
        );
        self.stage_workload(
            id,
            Plan {
                next,
                tombstones,
                events,
                observed,
                phase,
                ..Plan::default()
            },
        );
        true
    }

    /// Answers who asked for a change of a node.
    pub(super) fn answer_node(&mut self, id: &NodeId, request: Option<(RequestId, NodeMutation)>) {
        let Some((request, mutation)) = request else {
            return;
        };
        let answer = match mutation {
            NodeMutation::Register(_) => Ok(Response::Registered {
                heartbeat_interval: self.config.heartbeat_interval,
                lease_expires_at: self.now + self.config.lease(),
            }),
            NodeMutation::Purge => Ok(Response::Purged),
            NodeMutation::SetSchedulable(_)
            | NodeMutation::Drain { .. }
            | NodeMutation::CancelDrain
            | NodeMutation::Fence => match self.node_view(id) {
                Some(view) => Ok(Response::Node(Box::new(view))),
                None => Err(RequestError::NoSuchNode(id.clone())),
            },
        };
        self.reply(request, answer);
    }
}
