//! What somebody else wrote beside the scheduler: records that contradict each other are made one again.

use std::sync::Arc;

use crate::Key;
use crate::model::id::WorkloadId;
use crate::model::units::Resources;
use crate::model::workload::{DesiredState, TombstoneRecord};
use crate::planted::{Bug, planted};
use crate::reconcile::Observed;

use super::Scheduler;
use super::commit::Plan;
use super::workload::Durable;

impl Scheduler {
    /// The record names another home than the assignment: somebody else wrote one of them. The
    /// assignment counts, and a copy may be where the record says.
    pub(super) fn repair_home(&mut self, id: &WorkloadId) -> bool {
        let Some(workload) = self.workloads.get(id) else {
            return false;
        };
        let named = workload.record().map(|record| &record.assigned_node);
        if named.is_some_and(|named| named.as_ref() == workload.durable.node()) {
            return false;
        }
        if self.unsaid_home(id).is_none() && !self.says_no_home(id) {
            return false;
        }
        let mut next = workload.durable.clone();
        self.note_home(id, &mut next);
        let plan = Plan {
            next,
            observed: Some(Observed::Nothing),
            ..Plan::default()
        };
        self.stage_workload(id, plan);
        true
    }

    /// The note of where it was placed names its home, which nobody chose.
    pub(super) fn note_home(&self, id: &WorkloadId, next: &mut Durable) {
        let home = next.node().cloned();
        if let Some(record) = next.record.as_mut().map(Arc::make_mut)
            && let Some(home) = home
        {
            let named = record.status.placement.as_ref();
            if named.is_some_and(|note| note.node.as_ref() != Some(&home)) {
                let mut note = self.choose(id, record);
                note.score_ppm = note.score_ppm.filter(|_| note.node.as_ref() == Some(&home));
                note.node = Some(home);
                record.status.placement = Some(note);
            }
        }
    }

    /// It has a home, and its record does not say so.
    fn says_no_home(&self, id: &WorkloadId) -> bool {
        let workload = self
            .workloads
            .get(id)
            .filter(|w| w.durable.node().is_some());
        let record = workload.and_then(|workload| workload.record());
        record.is_some_and(|record| record.assigned_node.is_none()) && !planted(Bug::RepairSkipped)
    }

    /// The tombstone for a home that only the record names. A node without a record, or with one
    /// that cannot be read, may come back with a copy.
    pub(super) fn unsaid_home(&self, id: &WorkloadId) -> Option<TombstoneRecord> {
        let workload = self.workloads.get(id)?;
        let record = workload.record()?;
        let named = record.assigned_node.clone();
        let node_id = named.filter(|named| Some(named) != workload.durable.node())?;
        let left = planted(Bug::UnreadableHomeLeft)
            && self.quarantined.contains_key(&Key::Assignment(id.clone()));
        (!planted(Bug::RepairSkipped) && !left).then(|| TombstoneRecord {
            workload_id: id.clone(),
            node_id,
            resources: record.resources,
            since: self.now,
            extra: crate::model::Extra::new(),
        })
    }

    /// Its assignment is of another revision than its record, or of other amounts: somebody else
    /// put one of them back. What is reserved follows the record where that fits, and the workload
    /// moves where it does not.
    pub(super) fn repair_reservation(&mut self, id: &WorkloadId, desired: DesiredState) -> bool {
        let Some(durable) = self.workloads.get(id).map(|workload| &workload.durable) else {
            return false;
        };
        let (Some(record), Some(home)) = (&durable.record, &durable.assignment) else {
            return false;
        };
        if durable.reserves_what_is_asked() || planted(Bug::ReservationUnrepaired) {
            return false;
        }
        let asks_more = record.resources - home.resources != Resources::default();
        let (resources, revision_id) = (record.resources, record.revision_id.clone());
        let mut plan = Plan {
            next: durable.clone(),
            ..Plan::default()
        };
        if asks_more {
            self.rehome_after_change(id, &mut plan.next, &mut plan.events, &mut plan.tombstones);
        } else if let Some(home) = plan.next.assignment.as_mut().map(Arc::make_mut) {
            // It may stay where it is: nothing new is asked of its node.
            (home.resources, home.revision_id) = (resources, revision_id);
        }
        if plan.next.assignment.is_none() && desired == DesiredState::Running {
            plan.then = self.plan_home(id, &mut plan.next, true, &mut plan.events);
        }
        self.stage_workload(id, plan);
        true
    }

    /// Somebody else removed its canonical record: what was left of it goes too.
    pub(super) fn clear_remains(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let mut next = workload.durable.clone();
        if next == Durable::default() {
            return;
        }
        let tombstones = self.leave_home(&mut next).into_iter().collect();
        let plan = Plan {
            tombstones,
            ..Plan::default()
        };
        self.stage_workload(id, plan);
    }
}
