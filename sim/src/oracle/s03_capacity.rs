//! S3: at every committed revision, what is assigned to a node is within its capacity. A node that
//! came back smaller keeps what it has, and gets nothing more.

use std::collections::BTreeMap;

use berth_core::model::units::Resources;
use berth_core::{NodeId, WorkloadId};

use super::image::{Commit, Image, Writer};
use super::rule::{Check, Finding};

/// What is assigned to each node.
#[derive(Debug, Default)]
pub(crate) struct Capacity {
    assigned: BTreeMap<NodeId, Resources>,
    /// What somebody else assigned, until the scheduler writes of it.
    by_strangers: BTreeMap<WorkloadId, (NodeId, Resources)>,
}

impl Capacity {
    /// `told`: whether the scheduler that wrote this knew that the workload is assigned to the node.
    pub(crate) fn committed(
        &mut self,
        commit: &Commit,
        image: &Image,
        told: &dyn Fn(&WorkloadId, &NodeId) -> bool,
    ) -> Check {
        let mut grown = BTreeMap::new();
        for (id, pair) in &commit.assignments {
            self.by_strangers.remove(id);
            if let (Some(after), Writer::Stranger) = (&pair.after, &commit.writer) {
                let home = (after.node_id.clone(), after.resources);
                self.by_strangers.insert(id.clone(), home);
            }
            if let Some(before) = &pair.before {
                let sum = self.assigned.entry(before.node_id.clone()).or_default();
                *sum = *sum - before.resources;
            }
            if let Some(after) = &pair.after {
                *self.assigned.entry(after.node_id.clone()).or_default() += after.resources;
                let held = pair
                    .before
                    .as_ref()
                    .filter(|before| before.node_id == after.node_id);
                let held = held.map_or(Resources::default(), |before| before.resources);
                let new = after.resources - held;
                if new != Resources::default() {
                    grown.insert(after.node_id.clone(), (id, new));
                }
            }
        }
        if commit.writer == Writer::Stranger {
            return Ok(());
        }
        for (node, (id, asked)) in grown {
            let Some(record) = image.nodes.get(&node).map(|held| &held.record) else {
                continue;
            };
            let (mut sum, total) = (self.assigned[&node], &record.resources);
            // What somebody else put there a moment ago the scheduler could not know.
            for (other, (home, resources)) in &self.by_strangers {
                if *home == node && !told(other, home) {
                    sum = sum - *resources;
                }
            }
            // What asks for nothing more of a resource takes none that is not there.
            let fits = (asked.cpu.0 == 0 || sum.cpu <= total.cpu_total)
                && (asked.memory_mb.0 == 0 || sum.memory_mb <= total.memory_total)
                && (asked.disk_gb.0 == 0 || total.disk_total.is_none_or(|it| sum.disk_gb <= it));
            if !fits {
                let expected = format!("at most {total:?}");
                let seen = format!("{sum:?} assigned, {asked:?} of that new");
                return Err(Finding::new(expected, seen).of(&node).of(id));
            }
        }
        Ok(())
    }
}
