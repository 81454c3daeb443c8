//! The lanes of all workloads. Whoever may change one is counted, so that what is said of all of them
//! need not be made anew while nothing changed.

use std::collections::{BTreeMap, btree_map};

use berth_core::WorkloadId;

use crate::lane::Lane;

/// The lanes, in the order of their ids.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    of: BTreeMap<WorkloadId, Lane>,
    changes: u64,
}

impl Lanes {
    /// Grows whenever a lane may have changed.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    pub(crate) fn get(&self, id: &WorkloadId) -> Option<&Lane> {
        self.of.get(id)
    }

    pub(crate) fn values(&self) -> btree_map::Values<'_, WorkloadId, Lane> {
        self.of.values()
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, WorkloadId, Lane> {
        self.of.iter()
    }

    /// A lane that may change.
    pub(crate) fn get_mut(&mut self, id: &WorkloadId) -> Option<&mut Lane> {
        self.changes += 1;
        self.of.get_mut(id)
    }

    /// A lane that may change, new if there was none.
    pub(crate) fn get_or_default(&mut self, id: &WorkloadId) -> &mut Lane {
        self.changes += 1;
        self.of.entry(id.clone()).or_default()
    }

    pub(crate) fn remove(&mut self, id: &WorkloadId) {
        self.changes += 1;
        self.of.remove(id);
    }
}

impl FromIterator<(WorkloadId, Lane)> for Lanes {
    fn from_iter<I: IntoIterator<Item = (WorkloadId, Lane)>>(lanes: I) -> Self {
        Self {
            of: lanes.into_iter().collect(),
            changes: 0,
        }
    }
}
