//! Homes: choosing a node for a workload, and placing those that wait when room appears.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::io::agent::AgentState;
use crate::model::Extra;
use crate::model::event::EventType;
use crate::model::id::{NodeId, WorkloadId};
use crate::model::workload::{
    Action, ActualState, AssignmentRecord, IntentOutcome, IntentRecord, TombstoneRecord,
    WorkloadRecord,
};
use crate::placement::{self, Demand, PlacementNote, Strategy};
use crate::planted::{Bug, planted};
use crate::reconcile::Phase;

use super::Scheduler;
use super::commit::{Draft, InFlight, Plan, Staged};
use super::node::Node;
use super::workload::Durable;

/// How many former homes an assignment remembers.
const ORIGINS_MAX: usize = 8;

impl Scheduler {
    /// The exhaustive definition of placement, on the image as it is with every decision that is
    /// in flight. What the workload takes already does not stand in its own way.
    pub(super) fn choose(&self, id: &WorkloadId, record: &WorkloadRecord) -> PlacementNote {
        let drivers = record
            .spec
            .managed_volumes()
            .iter()
            .map(|volume| volume.driver.clone())
            .collect();
        let demand = Demand {
            workload: id,
            resources: record.resources,
            workload_type: record.workload_type(),
            drivers: &drivers,
            constraints: &record.constraints,
        };
        let nodes = self
            .nodes
            .iter()
            .filter_map(|(node, entity)| entity.candidate(node, Some(id)));
        let spread = self.spread_counts(id, record);
        placement::place(
            Strategy::LeastUtilized,
            nodes,
            &demand,
            &spread,
            self.revision,
            self.now,
        )
    }

    /// How many workloads that are spread alike are held under each value of the label.
    fn spread_counts(&self, id: &WorkloadId, record: &WorkloadRecord) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        let Some(label) = &record.constraints.spread_by else {
            return counts;
        };
        for (other, workload) in &self.workloads {
            // A decision in flight counts as if it were made.
            let durable = match workload.staged.and_then(|txn| self.in_flight.get(&txn)) {
                Some(InFlight {
                    staged: Staged::Workload { plan, .. },
                    ..
                }) => &plan.next,
                Some(_) | None => &workload.durable,
            };
            let Some(peer) = &durable.record else {
                continue;
            };
            if other == id || peer.tenant != record.tenant {
                continue;
            }
            if peer.constraints.spread_by.as_ref() != Some(label) {
                continue;
            }
            let home = match durable.node() {
                None if !self.hidden.is_empty() => self.hidden_home(other),
                home => home,
            };
            let home = home.and_then(|node| self.nodes.get(node));
            let value = home
                .and_then(|n| n.record.as_ref())
                .and_then(|n| n.labels.get(label));
            if let Some(value) = value {
                *counts.entry(value.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// Chooses a home for a workload that has none and should run. With one, the intent to apply
    /// there is part of the same decision, unless a copy elsewhere must go first; without one, it
    /// is pending and says why. `leaving`: this very decision leaves a copy behind.
    pub(super) fn plan_home(
        &self,
        id: &WorkloadId,
        next: &mut Durable,
        leaving: bool,
        events: &mut Vec<Draft>,
    ) -> Option<Action> {
        let record = next.record.as_ref()?;
        let note = self.choose(id, record);
        let text = placement::summary(&note);
        let Some(node) = note.node.clone() else {
            if next.resting_phase(self.now) == Phase::GivenUp {
                // Its tries are over: it waits for a client, not for room.
                if let Some(record) = next.record.as_mut().map(Arc::make_mut) {
                    record.status.placement = Some(note);
                }
                return None;
            }
            let known = record.status.placement.as_ref();
            let told = planted(Bug::PendingInSilence) || !record.status.failure_reason.is_empty();
            let anyway = planted(Bug::PendingRewritten);
            if anyway || !told || !known.is_some_and(|known| says_the_same(known, &note)) {
                let never = known.is_none_or(|known| known.node.is_some());
                if never || record.status.failure_reason != text {
                    events.push(Draft::new(EventType::WorkloadUnschedulable, None, &*text));
                }
                if let Some(record) = next.record.as_mut().map(Arc::make_mut)
                    && !planted(Bug::PendingWithoutFigures)
                {
                    record.status.placement = Some(note);
                }
                next.set_status(ActualState::Pending, &text, self.now);
            }
            return None;
        };
        let node = if planted(Bug::HomeBesideNote) {
            let mut others = self.nodes.iter().rev().filter(|(_, node)| node.callable());
            others.next().map_or(node, |(id, _)| id.clone())
        } else {
            node
        };
        self.settle_in(next, &node, note);
        if !planted(Bug::ScheduledEventMissing) {
            let event = EventType::WorkloadScheduled;
            events.push(Draft::new(event, Some(&node), &*text));
        }
        let resting = next.resting_phase(self.now);
        if leaving || resting != Phase::Idle || self.blocked_by_tombstones(id, &node) {
            return None;
        }
        self.intend(next, Action::Apply, "placed");
        Some(Action::Apply)
    }

    /// Writes the assignment to `node` into the records.
    pub(super) fn settle_in(&self, next: &mut Durable, node: &NodeId, note: PlacementNote) {
        let (now, epoch) = (self.now, self.epoch());
        let Some(record) = next.record.as_mut().map(Arc::make_mut) else {
            return;
        };
        next.assignment = Some(Arc::new(AssignmentRecord {
            workload_id: record.id.clone(),
            node_id: node.clone(),
            resources: record.resources,
            revision_id: record.revision_id.clone(),
            assigned_at: now,
            epoch,
            moved_from: Vec::new(),
            extra: Extra::new(),
        }));
        record.status.placement = Some(note);
        if !next.is_given_up() {
            next.set_status(ActualState::Pending, "", now);
        }
    }

    /// Writes the intent to do `action` at the assigned node into the records.
    pub(super) fn intend(&self, next: &mut Durable, action: Action, reason: &str) {
        let Some(node) = next.node().cloned() else {
            return;
        };
        let Some(record) = next.record.as_mut().map(Arc::make_mut) else {
            return;
        };
        record.metadata.last_action = Some(action);
        next.intent = Some(Arc::new(IntentRecord {
            workload_id: record.id.clone(),
            action,
            revision_id: record.revision_id.clone(),
            node_id: node,
            reason: reason.to_owned(),
            decided_at: self.now,
            outcome: IntentOutcome::Open,
            extra: Extra::new(),
        }));
    }

    /// Takes a workload off its node: the copy there must be confirmed gone.
    pub(super) fn leave_home(&self, next: &mut Durable) -> Option<TombstoneRecord> {
        let assignment = next.assignment.take()?;
        next.close_intent(IntentOutcome::Superseded);
        if planted(Bug::TombstoneForgotten) {
            return None;
        }
        Some(TombstoneRecord {
            workload_id: assignment.workload_id.clone(),
            node_id: assignment.node_id.clone(),
            resources: assignment.resources,
            since: self.now,
            extra: Extra::new(),
        })
    }

    /// After the spec of a placed workload changed: its reservation follows where it fits, and it
    /// moves where it does not.
    pub(super) fn rehome_after_change(
        &self,
        id: &WorkloadId,
        next: &mut Durable,
        events: &mut Vec<Draft>,
        tombstones: &mut Vec<TombstoneRecord>,
    ) {
        let (Some(record), Some(node)) = (&next.record, next.node().cloned()) else {
            return;
        };
        if self.fits_at(id, record, &node) {
            let (resources, revision) = (record.resources, record.revision_id.clone());
            if let Some(assignment) = next.assignment.as_mut().map(Arc::make_mut) {
                assignment.resources = resources;
                assignment.revision_id = revision;
            }
            return;
        }
        tombstones.extend(self.leave_home(next));
        let reason = "what it asks for now does not fit there";
        events.push(Draft::new(EventType::Rescheduled, Some(&node), reason));
    }

    /// Whether a workload may stay where it is: only what its own change can break is asked.
    fn fits_at(&self, id: &WorkloadId, record: &WorkloadRecord, node: &NodeId) -> bool {
        let Some(candidate) = self
            .nodes
            .get(node)
            .and_then(|n| n.candidate(node, Some(id)))
        else {
            return false;
        };
        let drivers = record
            .spec
            .managed_volumes()
            .iter()
            .map(|volume| volume.driver.clone())
            .collect();
        let demand = Demand {
            workload: id,
            resources: record.resources,
            workload_type: record.workload_type(),
            drivers: &drivers,
            constraints: &record.constraints,
        };
        placement::refusals(&candidate, &demand)
            .iter()
            .all(|refusal| {
                use placement::Filter;
                match refusal.filter() {
                    Filter::Ready
                    | Filter::NotDraining
                    | Filter::Schedulable
                    | Filter::RuntimeAvailable => true,
                    Filter::Cpu if planted(Bug::GrowthUnchecked) => true,
                    Filter::WorkloadType
                    | Filter::StorageDrivers
                    | Filter::Labels
                    | Filter::AntiAffinity
                    | Filter::Cpu
                    | Filter::Memory
                    | Filter::Disk => false,
                }
            })
    }

    /// Places what waits, in order of priority and age, on the nodes where room appeared.
    pub(super) fn place_waiting(&mut self) {
        let room: Vec<NodeId> = std::mem::take(&mut self.room).into_iter().collect();
        let waiting: Vec<WorkloadId> = self
            .waiting_for_room
            .iter()
            .map(|(_, _, id)| id.clone())
            .collect();
        for id in waiting {
            let Some(record) = self.workloads.get(&id).and_then(|w| w.record()) else {
                continue;
            };
            if room.iter().any(|node| self.could_take(&id, record, node)) {
                self.evaluate(&id);
            }
        }
    }

    fn could_take(&self, id: &WorkloadId, record: &WorkloadRecord, node: &NodeId) -> bool {
        let Some(workload) = self.workloads.get(id) else {
            return false;
        };
        let Some(candidate) = self
            .nodes
            .get(node)
            .and_then(|n| n.candidate(node, Some(id)))
        else {
            return false;
        };
        let demand = Demand {
            workload: id,
            resources: record.resources,
            workload_type: record.workload_type(),
            drivers: &workload.drivers,
            constraints: &record.constraints,
        };
        placement::first_refusing(&candidate, &demand).is_none()
    }

    /// The periodic pass asks for everything that waits; what it places, an event should have
    /// placed, and is counted (L2). Room that appeared in this very step is an event that was not
    /// missed: what waits for it is placed before the step ends. So is what is looked at anyway.
    pub(super) fn rescue_pending(&mut self) {
        let waiting: Vec<WorkloadId> = self
            .waiting_for_room
            .iter()
            .map(|(_, _, id)| id.clone())
            .collect();
        for id in waiting {
            let Some(workload) = self.workloads.get(&id) else {
                continue;
            };
            let Some(record) = workload.record() else {
                continue;
            };
            let rests = workload.durable.resting_phase(self.now) == Phase::GivenUp;
            if rests || self.now < workload.refused_until || self.is_quarantined(&id) {
                continue;
            }
            if workload.staged.is_some() || self.dirty.contains(&id) {
                continue;
            }
            let demand = Demand {
                workload: &id,
                resources: record.resources,
                workload_type: record.workload_type(),
                drivers: &workload.drivers,
                constraints: &record.constraints,
            };
            let takes = |(node, entity): (&NodeId, &Node)| {
                let candidate = entity.candidate(node, Some(&id));
                candidate.is_some_and(|it| placement::first_refusing(&it, &demand).is_none())
            };
            // Where room appeared in this step, what waits is placed after this.
            let known = |(node, _): &(&NodeId, &Node)| !self.room.contains(*node);
            if self.nodes.iter().filter(known).any(takes) {
                self.stats.rescued_by_pass += 1;
                self.dirty.insert(id);
            }
        }
    }

    /// Keeps the list of those that wait for room: those that should run and have no home.
    pub(super) fn note_waiting(&mut self, id: &WorkloadId) {
        self.forget_waiting(id);
        if planted(Bug::WaitingForgotten) {
            return;
        }
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        if let Some(entry) = workload.place_in_line(id) {
            workload.waits_as = Some(entry.clone());
            self.waiting_for_room.insert(entry);
        }
    }

    /// Takes a workload off that list.
    pub(super) fn forget_waiting(&mut self, id: &WorkloadId) {
        if let Some(entry) = self.workloads.get_mut(id).and_then(|w| w.waits_as.take()) {
            self.waiting_for_room.remove(&entry);
        }
    }

    /// Whether a copy of the workload must go before it may be applied at `target`: one that is
    /// at the target itself, or one on a node that still answers. A lost node is waited for until
    /// its grace is over.
    pub(super) fn blocked_by_tombstones(&self, id: &WorkloadId, target: &NodeId) -> bool {
        let Some(nodes) = self.tombs.get(id) else {
            return false;
        };
        if planted(Bug::TombstoneIgnored) {
            return false;
        }
        nodes.iter().any(|node| {
            node == target
                || match self.nodes.get(node) {
                    Some(entity) if planted(Bug::FoundCopyIgnored) && entity.has_found(id) => false,
                    Some(entity) if entity.record.is_some() => {
                        !entity.evictable(self.now, self.config.eviction_grace)
                            || self.is_said_to_run(id, node) && !planted(Bug::HeardIsLeft)
                    }
                    // Nobody gave up a node whose record only cannot be read (S13).
                    Some(_) | None => self.is_node_quarantined(node),
                }
        })
    }

    /// Whether a copy on the node itself must go first.
    pub(super) fn is_buried_at(&self, id: &WorkloadId, node: &NodeId) -> bool {
        let nodes = self.tombs.get(id);
        nodes.is_some_and(|nodes| nodes.contains(node)) && !planted(Bug::TombstoneIgnored)
    }

    /// Whether a node that cannot be called says in its heartbeats that it runs a workload. One that was
    /// declared dead is not asked.
    pub(super) fn is_said_to_run(&self, id: &WorkloadId, node: &NodeId) -> bool {
        let runs = |entity: &Node| {
            self.is_alive(entity) && entity.hints.get(id) == Some(&AgentState::Running)
        };
        self.nodes.get(node).is_some_and(runs) && !self.is_fenced(node)
    }

    /// Moves a workload to another node if one fits. False: none does, and nothing was done.
    pub(super) fn move_away(&mut self, id: &WorkloadId, reason: &str) -> bool {
        let Some(workload) = self.workloads.get(id) else {
            return false;
        };
        let mut next = workload.durable.clone();
        let Some(record) = next.record.clone() else {
            return false;
        };
        let note = self.choose(id, &record);
        let Some(target) = note.node.clone() else {
            return false;
        };
        let from = next.node().cloned();
        if from.as_ref() == Some(&target) {
            return false;
        }
        let before = next.assignment.clone();
        let tombstones: Vec<_> = self.leave_home(&mut next).into_iter().collect();
        if planted(Bug::RetryLostByMove) {
            next.retry = None;
        }
        self.settle_in(&mut next, &target, note);
        // One that has not settled since it was moved is still on the move from where that began.
        let earlier = before
            .filter(|_| !record.status.actual_state.is_settled())
            .map(|assignment| assignment.moved_from.clone());
        let mut origins = earlier.unwrap_or_default();
        // Back where it was moved from, that move is over.
        origins.retain(|node| Some(node) != from.as_ref() && *node != target);
        origins.extend(from.clone());
        if origins.len() > ORIGINS_MAX {
            origins.remove(0);
        }
        if let Some(assignment) = next.assignment.as_mut().map(Arc::make_mut) {
            assignment.moved_from = origins;
        }
        let origin = from.as_ref().map_or("nowhere", NodeId::as_str);
        let events = vec![Draft::new(
            EventType::Rescheduled,
            Some(&target),
            format!("moved from {origin}: {reason}"),
        )];
        let plan = Plan {
            next,
            tombstones,
            events,
            ..Plan::default()
        };
        self.stats.rescheduled += 1;
        self.stage_workload(id, plan);
        true
    }
}

/// Whether two notes of a pending workload tell people the same: figures of what is free change
/// all the time, and an explanation computes them when it is asked for.
fn says_the_same(known: &PlacementNote, note: &PlacementNote) -> bool {
    known.node == note.node
        && known.requested == note.requested
        && known.refused.keys().eq(note.refused.keys())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Filter;

    #[test]
    fn figures_of_what_is_free_are_no_news() {
        let note = PlacementNote {
            refused: [(Filter::Cpu, 3)].into(),
            ..PlacementNote::default()
        };
        let changed = |change: fn(&mut PlacementNote)| {
            let mut other = note.clone();
            change(&mut other);
            says_the_same(&note, &other)
        };
        assert!(changed(|_| {}));
        assert!(changed(|n| n.refused = [(Filter::Cpu, 4)].into()));
        assert!(!changed(|n| n.refused = [(Filter::Disk, 3)].into()));
        assert!(!changed(|n| n.node = Some("n".parse().unwrap())));
        assert!(!changed(|n| n.requested.cpu.0 += 1));
    }
}
