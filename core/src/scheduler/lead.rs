//! Beginning to lead: over a snapshot, or over the image that was followed.

use std::collections::{BTreeMap, BTreeSet};

use crate::io::{Deposed, Snapshot};
use crate::model::id::{Epoch, EventId, NodeId, StoreRevision, WorkloadId};
use crate::model::key::Key;
use crate::model::node::NodeStatus;
use crate::model::workload::DesiredState;
use crate::planted::{Bug, planted};

use super::node::Node;
use super::timers::Timer;
use super::workload::Workload;
use super::{Leadership, Scheduler};

impl Scheduler {
    /// Begins to lead: the image is what the snapshot says, and every node gets a full window.
    pub(super) fn lead(&mut self, epoch: Epoch, snapshot: Snapshot) {
        self.give_up(Deposed::LostLeadership);
        self.leadership = Leadership::Leading { epoch };
        self.mirrors = false;
        self.current_at = self.now;
        self.next_event = 0;
        self.load_image(&snapshot);
        self.settle_image();
    }

    /// Begins to lead over the image that was followed, as if it had been loaded at this instant.
    pub(super) fn take_over(&mut self, epoch: Epoch) {
        if !self.follows_as_far_as(StoreRevision(epoch.create_revision())) {
            return;
        }
        self.give_up(Deposed::LostLeadership);
        self.leadership = Leadership::Leading { epoch };
        self.mirrors = false;
        self.current_at = self.now;
        self.next_event = 0;
        let quarantined = self.quarantined.keys().rev();
        let unread = quarantined.filter_map(|key| match key {
            Key::Event(id) => id.time(),
            _ => None,
        });
        let newest = self.events.keys().rev().filter_map(EventId::time);
        self.event_floor = newest.take(1).chain(unread).max().unwrap_or_default();
        self.renew_image();
        self.settle_image();
    }

    /// How many records of workloads, of nodes and of tombstones there are, as far as the image knows;
    /// those that cannot be read count. Compared with what the store counts, it tells a removal that
    /// a watch kept to itself.
    #[must_use]
    pub fn records_held(&self) -> usize {
        let zero = StoreRevision(0);
        let of_workloads = self.workloads.values().map(|workload| {
            let known = &workload.revisions;
            let all = [known.record, known.assignment, known.intent, known.retry];
            all.iter().filter(|revision| **revision > zero).count()
        });
        let of_nodes = self.nodes.values().map(|node| {
            let record = usize::from(node.record.is_some());
            record + node.tombstones.len()
        });
        let unread = self.quarantined.keys().filter(|key| match key {
            Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) => {
                let known = self.workloads.get(id).map(|workload| workload.revisions);
                known.is_none_or(|known| match key {
                    Key::Workload(_) => known.record == zero,
                    Key::Assignment(_) => known.assignment == zero,
                    Key::Intent(_) => known.intent == zero,
                    _ => known.retry == zero,
                })
            }
            Key::Node(id) => self.nodes.get(id).is_none_or(|node| node.record.is_none()),
            // Those that cannot be read count as what they stand for.
            Key::Tombstone(..) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => false,
        });
        let unread = unread.count();
        of_workloads.sum::<usize>() + of_nodes.sum::<usize>() + self.stranded.len() + unread
    }

    /// The image anew from its own records: of what was only believed nothing is left.
    fn renew_image(&mut self) {
        let mut workloads = std::mem::take(&mut self.workloads);
        let nodes = std::mem::take(&mut self.nodes);
        let mut tombstones = std::mem::take(&mut self.stranded);
        for (id, node) in &nodes {
            self.strand(id, node);
        }
        tombstones.append(&mut self.stranded);
        let hidden = self.hidden_shares(&nodes);
        self.clear_image();
        // In the order of a load: nodes, workloads, tombstones.
        for (id, old) in nodes {
            let unreadable = self.is_node_quarantined(&id);
            let mut node = Node::unknown(self.now);
            (node.record, node.revision, node.unreadable) = (old.record, old.revision, unreadable);
            self.nodes.insert(id, node);
        }
        for workload in workloads.values_mut() {
            workload.renew();
            if planted(Bug::RetryLostAtTakeover) {
                workload.durable.retry = None;
            }
        }
        self.workloads = workloads;
        for ((node, id), (resources, revision)) in tombstones {
            self.bury(node, id, resources, revision);
        }
        for (node, id, share) in hidden {
            self.change_hold(&node, &id, |hold| hold.hidden = Some(share));
            self.hidden.insert((node, id));
        }
    }

    /// After all records are in: reservations, timers, and the first look at everything.
    fn settle_image(&mut self) {
        let now = self.now;
        self.settle_workloads();
        self.reserve_hidden();
        let nodes: Vec<NodeId> = self.nodes.keys().cloned().collect();
        for id in nodes {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.heard_at = match &node.record {
                    Some(record) if planted(Bug::NoFreshWindow) => record.last_heartbeat,
                    Some(_) | None => now,
                };
                if node.status() == NodeStatus::NotReady {
                    node.lost_since = Some(now);
                }
            }
            self.room.insert(id.clone());
            self.dirty_nodes.insert(id.clone());
            self.timers.set(Timer::Listing(id), now);
        }
        self.timers
            .set(Timer::Pass, now + self.config.reconcile_interval);
        self.eviction.restart(now);
        self.remember_graves();
        self.restore_moves();
        self.note_cluster_health();
        // Before anybody is given what an assignment that somebody put back leaves free.
        let short = self.workloads.iter();
        let short = short.filter(|(_, workload)| !workload.durable.reserves_what_is_asked());
        let short: Vec<_> = short.map(|(id, _)| id.clone()).collect();
        for id in short {
            self.evaluate(&id);
        }
    }

    /// What was somewhere once, as the events tell, is no stranger there: a node that was purged may
    /// come back with it when another one leads.
    fn remember_graves(&mut self) {
        if planted(Bug::GravesForgotten) {
            return;
        }
        for event in self.events.values() {
            if let (Some(node), Some(workload)) = (&event.node_id, &event.workload_id) {
                self.graves.bury(node, workload, event.timestamp);
            }
        }
    }

    /// There may be many workloads, and nobody leads meanwhile.
    fn settle_workloads(&mut self) {
        for workload in self.workloads.values_mut() {
            workload.resume(self.now, &self.config);
        }
        self.reserve_all();
        self.unsettled = self.workloads.keys().cloned().collect();
        let to_look_at = self
            .workloads
            .iter()
            .filter(|(id, workload)| !self.only_a_listing_helps(id, workload));
        let to_look_at: Vec<_> = to_look_at.map(|(id, _)| id.clone()).collect();
        self.dirty.extend(to_look_at);
    }

    /// A look at it would say no more than that its node is to be listed, and that is done anyway.
    fn only_a_listing_helps(&self, id: &WorkloadId, workload: &Workload) -> bool {
        let Some((record, home)) = workload.record().zip(workload.durable.node()) else {
            return false;
        };
        let is_ready = |node: &Node| node.status() == NodeStatus::Ready;
        self.quarantined.is_empty()
            && record.assigned_node.as_ref() == Some(home)
            && record.desired_state != DesiredState::Deleted
            && self.nodes.get(home).is_some_and(is_ready)
            && !self.tombs.contains_key(id)
            && workload.durable.reserves_what_is_asked()
    }

    /// Drains go on where they were: what left a draining node and is not gone there counts.
    fn restore_moves(&mut self) {
        if planted(Bug::MovesForgotten) {
            return;
        }
        let is_draining = |node: &Node| node.record.as_ref().is_some_and(|r| r.drain.is_some());
        let draining = self.nodes.iter().filter(|(_, node)| is_draining(node));
        let mut moving: BTreeMap<NodeId, BTreeSet<WorkloadId>> = draining
            .map(|(id, node)| {
                let gone = node.tombstones.keys();
                let is_away = |w: &Workload| w.durable.node() != Some(id);
                let gone = gone.filter(|w| self.workloads.get(*w).is_some_and(is_away));
                (id.clone(), gone.cloned().collect())
            })
            .collect();
        if moving.is_empty() {
            return;
        }
        let is_unsettled = |w: &Workload| {
            w.record()
                .is_some_and(|record| !record.status.actual_state.is_settled())
        };
        for (id, workload) in self.workloads.iter().filter(|(_, w)| is_unsettled(w)) {
            let assignment = workload.durable.assignment.as_ref();
            for origin in assignment.iter().flat_map(|a| &a.moved_from) {
                let is_back = assignment.is_some_and(|home| home.node_id == *origin);
                if let Some(moving) = moving.get_mut(origin).filter(|_| !is_back) {
                    moving.insert(id.clone());
                }
            }
        }
        for (id, workloads) in moving {
            for workload in &workloads {
                let origins = self.moves.entry(workload.clone()).or_default();
                origins.insert(id.clone());
            }
            if let Some(node) = self.nodes.get_mut(&id) {
                node.moving.extend(workloads);
            }
        }
    }
}
