//! Records that cannot be read: they are left alone until somebody repairs or removes them, and
//! what they may stand for counts as if it were so.

use std::collections::{BTreeMap, BTreeSet};

use crate::io::request::RequestError;
use crate::model::id::{NodeId, StoreRevision, WorkloadId};
use crate::model::key::Key;
use crate::model::units::Resources;
use crate::planted::{Bug, planted};

use super::Scheduler;
use super::commit::group_of;
use super::node::{Node, Share};

impl Scheduler {
    /// Whether one of its records cannot be read: it is left alone, whatever else holds.
    pub(super) fn is_quarantined(&self, id: &WorkloadId) -> bool {
        !self.quarantined.is_empty()
            && [
                Key::Workload(id.clone()),
                Key::Assignment(id.clone()),
                Key::Intent(id.clone()),
                Key::Retry(id.clone()),
            ]
            .iter()
            .any(|key| self.quarantined.contains_key(key) && !is_left(key))
    }

    pub(super) fn refuse_waiting(&mut self, id: &WorkloadId) {
        let waiting = self
            .workloads
            .get_mut(id)
            .map(|w| (std::mem::take(&mut w.waiting), w.strays_until));
        let Some((waiting, strays_until)) = waiting else {
            return;
        };
        for (request, _) in waiting {
            let error = if self.now < strays_until && !planted(Bug::FirstTryDenied) {
                self.not_known("it cannot be read now, and an earlier try may still be carried out")
            } else {
                Self::unreadable_workload(id)
            };
            self.reply(request, Err(error));
        }
    }

    /// Refuses what would be answered "there is none" of a workload that only cannot be read
    /// (S15). What was known of it before is still told.
    pub(super) fn check_readable(&self, id: &WorkloadId) -> Result<(), RequestError> {
        let known = self.workloads.get(id).is_some_and(|w| w.record().is_some());
        if known || !self.quarantined.contains_key(&Key::Workload(id.clone())) {
            return Ok(());
        }
        Err(Self::unreadable_workload(id))
    }

    pub(super) fn unreadable_workload(id: &WorkloadId) -> RequestError {
        let problem = format!("a stored record of {id} cannot be read; repair or remove it");
        RequestError::Refused(problem)
    }

    /// Whether the record of a node cannot be read.
    pub(super) fn is_node_quarantined(&self, id: &NodeId) -> bool {
        !self.quarantined.is_empty() && self.quarantined.contains_key(&Key::Node(id.clone()))
    }

    /// A node gets nothing new while its record cannot be read, and is asked again when it can.
    pub(super) fn note_readable(&mut self, id: &NodeId) {
        let unreadable = self.is_node_quarantined(id);
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut node.unreadable, unreadable) && !unreadable {
            self.room.insert(id.clone());
        }
    }

    pub(super) fn unreadable_node(id: &NodeId) -> RequestError {
        let problem = format!("the stored record of node {id} cannot be read; repair or remove it");
        RequestError::Refused(problem)
    }

    /// What workloads whose assignments cannot be read take where their other records say that
    /// they are. Without it a replica that began to lead since would give their room away, call
    /// a drained node empty (S20), and take their copies for orphans.
    pub(super) fn reserve_hidden(&mut self) {
        if self.quarantined.is_empty() && self.hidden.is_empty() {
            return;
        }
        let mut hidden: BTreeSet<(NodeId, WorkloadId)> = BTreeSet::new();
        for key in self.quarantined.keys() {
            if let Key::Assignment(id) = key
                && let Some(node) = self.hidden_home(id)
            {
                hidden.insert((node.clone(), id.clone()));
            }
        }
        // Where somebody removed the last record that said so, it is still there.
        let gone = self.hidden.iter().filter(|(_, id)| {
            let key = Key::Assignment(id.clone());
            let said = self.workloads.get(id).map(|w| &w.durable);
            let says = said.is_some_and(|d| d.record.is_some() || d.assignment.is_some());
            !says && self.quarantined.contains_key(&key)
        });
        hidden.extend(gone.cloned().collect::<Vec<_>>());
        let before = std::mem::replace(&mut self.hidden, hidden.clone());
        for (node, id) in before.difference(&hidden) {
            self.change_hold(node, id, |hold| hold.hidden = None);
        }
        for (node, id) in &hidden {
            if let Some(share) = self.hidden_share(id) {
                self.change_hold(node, id, |hold| hold.hidden = Some(share));
            }
        }
    }

    /// Where a workload is whose assignment cannot be read, as its other records have it. What
    /// was known of the assignment before still counts, and is no such case.
    pub(super) fn hidden_home(&self, id: &WorkloadId) -> Option<&NodeId> {
        if !self.quarantined.contains_key(&Key::Assignment(id.clone())) {
            return None;
        }
        let durable = &self.workloads.get(id)?.durable;
        if durable.assignment.is_some() {
            return None;
        }
        let record = durable.record.as_ref()?;
        record.assigned_node.as_ref()
    }

    /// What such workloads take, and where. Of some of them nothing else says it any more.
    pub(super) fn hidden_shares(
        &self,
        nodes: &BTreeMap<NodeId, Node>,
    ) -> Vec<(NodeId, WorkloadId, Share)> {
        let share = |(node, id): &(NodeId, WorkloadId)| {
            let hold = nodes.get(node)?.holds.get(id)?;
            Some((node.clone(), id.clone(), hold.hidden.clone()?))
        };
        self.hidden.iter().filter_map(share).collect()
    }

    fn hidden_share(&self, id: &WorkloadId) -> Option<Share> {
        let durable = &self.workloads.get(id)?.durable;
        let record = durable.record.as_ref()?;
        Some(Share {
            resources: record.resources,
            group: group_of(durable),
        })
    }

    /// Somewhere is a workload of which no record says where: any node may be the one.
    pub(super) fn homes_are_unknown(&self) -> bool {
        let lost = |id: &WorkloadId| {
            let workload = self.workloads.get(id);
            workload.is_none_or(|w| w.durable.assignment.is_none() && w.durable.record.is_none())
        };
        let mut keys = self.quarantined.keys();
        keys.any(|key| matches!(key, Key::Assignment(id) if lost(id)))
    }

    /// A tombstone that cannot be read: what was known of it before still counts, and of one of
    /// which nothing was known this does, that a copy may be there. Nothing is done about it.
    pub(super) fn unreadable_tombstone(
        &mut self,
        node: &NodeId,
        id: &WorkloadId,
        revision: StoreRevision,
    ) {
        if planted(Bug::UnreadableTombstoneIsNone) {
            self.tombstone_removed(node, id);
            return;
        }
        let held = self
            .nodes
            .get_mut(node)
            .and_then(|n| n.tombstones.get_mut(id));
        let waits = self.stranded.get_mut(&(node.clone(), id.clone()));
        if let Some(known) = held
            .map(|held| &mut held.revision)
            .or_else(|| waits.map(|(_, known)| known))
        {
            // A later move writes it anew, over what is there now.
            *known = revision;
        } else {
            self.bury(node.clone(), id.clone(), Resources::default(), revision);
        }
    }

    pub(super) fn is_tombstone_quarantined(&self, node: &NodeId, id: &WorkloadId) -> bool {
        let key = || Key::Tombstone(node.clone(), id.clone());
        !self.quarantined.is_empty() && self.quarantined.contains_key(&key())
    }

    /// When a tombstone was written that counts at its node, or waits for it to come back.
    pub(super) fn tombstone_revision(
        &self,
        node: &NodeId,
        id: &WorkloadId,
    ) -> Option<StoreRevision> {
        let held = self.nodes.get(node).and_then(|n| n.tombstones.get(id));
        let waits = || self.stranded.get(&(node.clone(), id.clone()));
        held.map(|held| held.revision)
            .or_else(|| waits().map(|(_, revision)| *revision))
    }

    /// Whether a copy may be on a node that has no record.
    pub(super) fn is_awaited(&self, node: &NodeId) -> bool {
        let entity = self.nodes.get(node);
        entity.is_some_and(|n| n.record.is_none() && !n.tombstones.is_empty())
            || self.stranded.keys().any(|(at, _)| at == node)
    }

    /// The record of a node is gone, and tombstones there are not: they wait for it to come back.
    pub(super) fn strand(&mut self, node: &NodeId, entity: &Node) {
        for (id, tombstone) in &entity.tombstones {
            let hold = entity.holds.get(id);
            let share = hold.and_then(|hold| hold.tombstone.as_ref());
            let resources = share.map_or(Resources::default(), |share| share.resources);
            let key = (node.clone(), id.clone());
            self.stranded.insert(key, (resources, tombstone.revision));
        }
    }

    /// A node has a record, or will have one: what waited for it counts there.
    pub(super) fn land_stranded(&mut self, node: &NodeId) {
        let waited =
            |((at, _), _): &(&(NodeId, WorkloadId), &(Resources, StoreRevision))| at == node;
        let ids = self
            .stranded
            .iter()
            .filter(waited)
            .map(|((_, id), _)| id.clone());
        let ids: Vec<WorkloadId> = ids.collect();
        for id in ids {
            if let Some((resources, revision)) = self.stranded.remove(&(node.clone(), id.clone())) {
                self.bury(node.clone(), id, resources, revision);
            }
        }
    }
}

fn is_left(key: &Key) -> bool {
    planted(Bug::UnreadableHomeLeft) && matches!(key, Key::Assignment(_))
}
