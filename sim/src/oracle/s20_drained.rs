//! S20: a drain is reported complete only when every workload was confirmed gone from the node.

use berth_core::{NodeId, WorkloadId};

use super::image::{Commit, Image};
use super::rule::{Check, Finding};

/// `left`: what of the scheduler's own is left on the node, in truth.
pub(crate) fn committed(
    commit: &Commit,
    image: &Image,
    left: &dyn Fn(&NodeId) -> Vec<WorkloadId>,
) -> Check {
    for (node, pair) in &commit.nodes {
        let done = |record: &berth_core::model::node::NodeRecord| {
            record
                .drain
                .is_some_and(|drain| drain.completed_at.is_some())
        };
        let now = pair.after.as_deref().is_some_and(done);
        if !now || pair.before.as_deref().is_some_and(done) {
            continue;
        }
        let assigned = image
            .assignments
            .values()
            .find(|held| held.record.node_id == *node);
        let buried = image.tombstones.keys().find(|(at, _)| at == node);
        let left = left(node);
        if assigned.is_some() || buried.is_some() || !left.is_empty() {
            let seen = format!("assigned {assigned:?}, tombstone {buried:?}, runs {left:?}");
            let finding = Finding::new("an empty node", seen).of(node);
            // What somebody else put there may not be told yet.
            let put = assigned.map(|held| &held.record.workload_id);
            let put = put.into_iter().chain(buried.map(|(_, id)| id));
            return Err(left.iter().chain(put).fold(finding, Finding::of));
        }
    }
    Ok(())
}
