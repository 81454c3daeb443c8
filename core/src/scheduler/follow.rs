//! A replica that does not lead: its image follows the store, for readers. Nothing is decided.

use crate::io::{Deposed, Snapshot, Stored};
use crate::model::id::{NodeId, StoreRevision, WorkloadId};
use crate::model::key::Key;

use super::Scheduler;

impl Scheduler {
    /// The image is what the snapshot says. A leader knows better.
    pub(super) fn follow(&mut self, snapshot: Snapshot) {
        if self.is_leading() {
            return;
        }
        self.give_up(Deposed::LostLeadership);
        self.load_image(&snapshot);
        self.reserve_all();
        self.reserve_hidden();
        self.mirrors = true;
        self.current_at = self.now;
        self.forget_what_to_do();
    }

    /// What changed in the store changes here.
    pub(super) fn mirror(&mut self, revision: StoreRevision, records: &[Stored]) {
        // The watch may tell again what is known.
        self.revision = self.revision.max(revision);
        self.current_at = self.now;
        for stored in records {
            if matches!(stored.key, Key::Event(_)) || self.is_news(stored) {
                self.mirror_one(stored);
            }
        }
        self.forget_what_to_do();
    }

    fn mirror_one(&mut self, stored: &Stored) {
        let before = self.home_before(&stored.key);
        match self.take(stored) {
            Ok(()) => {
                self.quarantined.remove(&stored.key);
            }
            Err(problem) => {
                self.quarantined.insert(stored.key.clone(), problem);
            }
        }
        match &stored.key {
            Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) => {
                self.mirror_holds(id, before);
            }
            Key::Event(id) if stored.value.is_none() => {
                self.events.remove(id);
            }
            Key::Node(id) => {
                self.note_readable(id);
                let gone = self.nodes.get(id).is_some_and(|n| n.record.is_none());
                if gone && let Some(node) = self.nodes.remove(id) {
                    self.strand(id, &node);
                }
            }
            Key::Tombstone(..) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => {}
        }
    }

    /// What a workload takes, and where, follows its records. `before`: its home until now.
    fn mirror_holds(&mut self, id: &WorkloadId, before: Option<NodeId>) {
        self.leave_hold(id, before);
        self.reserve_assigned(id);
        self.reserve_hidden();
        self.forget_waiting(id);
        self.note_waiting(id);
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.refresh();
        }
        self.forget_if_empty(id);
    }

    /// What would be looked at next, if this replica decided anything.
    fn forget_what_to_do(&mut self) {
        self.dirty.clear();
        self.dirty_nodes.clear();
        self.room.clear();
        self.unsettled.clear();
        self.timers.clear_all();
    }
}
