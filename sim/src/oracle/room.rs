//! The room on the nodes as one scheduler knows it, for one decision: what is stored, and what its
//! transactions on their way may add to it.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::units::Resources;
use berth_core::model::workload::WorkloadRecord;
use berth_core::{NodeId, WorkloadId};

use super::view::{Flight, View, most};

/// The room for one workload.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    view: &'a View,
    /// For whom: what it takes itself does not count.
    of: &'a WorkloadId,
    /// Where it takes something itself, as it is stored.
    own: BTreeMap<&'a NodeId, Resources>,
    /// What may be added on a node to what is stored of each workload.
    coming: BTreeMap<&'a NodeId, BTreeMap<&'a WorkloadId, Resources>>,
    /// Transactions on their way that change nodes.
    changes: Vec<&'a Flight>,
}

impl<'a> Room<'a> {
    pub(crate) fn new(view: &'a View, of: &'a WorkloadId) -> Self {
        let mut coming: BTreeMap<_, BTreeMap<_, Resources>> = BTreeMap::new();
        for flight in view.flights.values() {
            for (id, home) in flight.homes.iter().filter(|(id, _)| *id != of) {
                let Some(home) = home else { continue };
                let share = coming.entry(&home.node_id).or_default().entry(id);
                let share = share.or_default();
                *share = most(*share, home.resources);
            }
        }
        for (id, ghosts) in view.ghosts.iter().filter(|(id, _)| *id != of) {
            for ghost in ghosts {
                let share = coming.entry(&ghost.node).or_default().entry(id);
                let share = share.or_default();
                *share = most(*share, ghost.resources);
            }
        }
        let home = view.assignments.get(of).map(|home| &home.node_id);
        let buried = view.tombstones.keys().filter(|(_, id)| id == of);
        let own = home.into_iter().chain(buried.map(|(node, _)| node));
        let own = own.map(|node| (node, view.share(node, of)));
        let changes = view
            .flights
            .values()
            .filter(|flight| !flight.nodes.is_empty());
        Self {
            view,
            of,
            own: own.collect(),
            coming,
            changes: changes.collect(),
        }
    }

    /// What everybody else takes on a node, or may take, each counted once by its largest share.
    pub(crate) fn taken(&self, node: &NodeId) -> Resources {
        self.taken_of(node, self.view.sums.get(node).copied().unwrap_or_default())
    }

    /// The same, if it is known already what all that are stored there take together.
    pub(crate) fn taken_of(&self, node: &NodeId, sum: Resources) -> Resources {
        let others = sum - self.own.get(node).copied().unwrap_or_default();
        let coming = self.coming.get(node).into_iter().flatten();
        coming.fold(others, |sum, (id, coming)| {
            let share = self.view.share(node, id);
            sum + (most(share, *coming) - share)
        })
    }

    /// The anti-affinity groups of everybody else who is assigned to a node, or may be.
    pub(crate) fn groups(&self, node: &NodeId) -> BTreeSet<&'a str> {
        let view = self.view;
        let homes = view.homes.get(node).into_iter().flatten();
        let stored = homes.filter_map(|id| Some((id, view.workloads.get(id)?)));
        let flights = view.flights.values();
        let coming = flights.flat_map(|flight| {
            let touched = flight.workloads.keys().chain(flight.homes.keys());
            touched.filter_map(|id| {
                let home = match flight.homes.get(id) {
                    Some(home) => home.as_ref(),
                    None => view.assignments.get(id),
                };
                let record = flight.workloads.get(id).or(view.workloads.get(id))?;
                (home?.node_id == *node).then_some((id, record))
            })
        });
        let others = stored.chain(coming).filter(|(id, _)| *id != self.of);
        let groups = others.filter_map(|(_, record)| record.constraints.anti_affinity.as_deref());
        let ghosts = view.ghosts.iter().filter(|(id, _)| *id != self.of);
        let ghosts = ghosts.flat_map(|(_, ghosts)| ghosts);
        let ghosts = ghosts.filter(|ghost| ghost.node == *node);
        groups
            .chain(ghosts.filter_map(|ghost| ghost.group.as_deref()))
            .collect()
    }

    /// Whether a change of the node that is on its way leaves it open to new work: what it takes
    /// away counts already, what it gives does not yet.
    pub(crate) fn stays_open(&self, node: &NodeRecord) -> bool {
        let mut next = self
            .changes
            .iter()
            .filter_map(|flight| flight.nodes.get(&node.id));
        next.all(|next| {
            next.as_ref().is_some_and(|next| {
                let (had, has) = (&node.resources, &next.resources);
                let less_disk = match (had.disk_total, has.disk_total) {
                    (Some(had), Some(has)) => has < had,
                    (None, Some(_)) => true,
                    (Some(_) | None, None) => false,
                };
                next.status == NodeStatus::Ready
                    && next.schedulable
                    && has.cpu_total >= had.cpu_total
                    && has.memory_total >= had.memory_total
                    && !less_disk
                    && next.labels == node.labels
                    && next.supported_workload_types == node.supported_workload_types
                    && next.supported_storage_drivers == node.supported_storage_drivers
            })
        })
    }

    /// How many others of the same tenant are spread by this label, under each of its values;
    /// decisions on their way count as if they were made.
    pub(crate) fn spread(&self, record: &WorkloadRecord, label: &str) -> BTreeMap<&'a str, u32> {
        let mut counts = BTreeMap::new();
        for (id, peer, home) in self.view.planned() {
            let alike = id != self.of
                && peer.tenant == record.tenant
                && peer.constraints.spread_by.as_deref() == Some(label);
            let home = home.filter(|_| alike);
            let node = home.and_then(|home| self.view.nodes.get(home));
            if let Some(value) = node.and_then(|node| node.labels.get(label)) {
                *counts.entry(value.as_str()).or_default() += 1;
            }
        }
        counts
    }
}
