//! Copies that were confirmed gone lately. A command that was delayed in the network may bring one
//! back; it is told from a stranger by this.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::id::{NodeId, WorkloadId};
use crate::model::time::Timestamp;

/// How many are remembered at most.
const GRAVES_MAX: usize = 20_000;
/// For how long: far beyond any deadline of a call.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// Where copies were confirmed gone, and when.
#[derive(Debug, Default)]
pub(super) struct Graves {
    at: BTreeMap<(NodeId, WorkloadId), Timestamp>,
    order: BTreeSet<(Timestamp, NodeId, WorkloadId)>,
}

impl Graves {
    pub(super) fn bury(&mut self, node: &NodeId, workload: &WorkloadId, now: Timestamp) {
        let key = (node.clone(), workload.clone());
        if let Some(before) = self.at.insert(key, now) {
            self.order.remove(&(before, node.clone(), workload.clone()));
        }
        self.order.insert((now, node.clone(), workload.clone()));
        while let Some((at, node, workload)) = self.order.first().cloned() {
            if self.order.len() <= GRAVES_MAX && now.since(at) <= REMEMBERED_FOR {
                break;
            }
            self.order.pop_first();
            self.at.remove(&(node, workload));
        }
    }

    pub(super) fn holds(&self, node: &NodeId, workload: &WorkloadId) -> bool {
        self.at.contains_key(&(node.clone(), workload.clone()))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
