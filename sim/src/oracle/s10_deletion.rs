//! S10: a workload's record goes only after its node reported it gone, or its node was purged by
//! the operator; a tombstone goes only so, too.

use berth_core::NodeId;
use berth_core::model::node::NodeStatus;
use berth_core::model::workload::DesiredState;

use super::image::{Commit, Image, Writer};
use super::rule::{Check, Finding};
use super::{Has, Left};

/// `has`: whether anything of the workload is left on the node, in truth.
pub(crate) fn committed(commit: &Commit, image: &Image, has: Has<'_>) -> Check {
    if commit.writer == Writer::Stranger {
        return Ok(());
    }
    for (id, pair) in &commit.workloads {
        let (Some(before), None) = (&pair.before, &pair.after) else {
            continue;
        };
        if before.desired_state != DesiredState::Deleted {
            let expected = "only records of deleted workloads to go";
            let seen = format!("it went while {:?} was wanted", before.desired_state);
            return Err(Finding::new(expected, seen).of(id));
        }
        if let Some(node) = &before.assigned_node
            && image.nodes.contains_key(node)
            && has(node, id) == Left::On
        {
            let seen = "the record went while the node still has it";
            return Err(Finding::new("nothing left on its node", seen)
                .of(id)
                .of(node));
        }
    }
    for ((node, id), pair) in &commit.tombstones {
        let here = image
            .assignments
            .get(id)
            .is_some_and(|held| held.record.node_id == *node);
        let gone = pair.before.is_some() && pair.after.is_none();
        if gone
            && !here
            && image.nodes.contains_key(node)
            && !purged(commit, node)
            && !is_declared_dead(image, node)
            && has(node, id) == Left::On
        {
            let seen = "the tombstone went while the node still has it";
            return Err(Finding::new("nothing left on its node", seen)
                .of(id)
                .of(node));
        }
    }
    Ok(())
}

/// An operator gave it up, and purges it: each tombstone goes in a transaction of its own. That its machine
/// came back meanwhile, unheard, is the operator's fault.
fn is_declared_dead(image: &Image, node: &NodeId) -> bool {
    let held = image.nodes.get(node);
    held.is_some_and(|held| held.record.status == NodeStatus::NotReady)
}

fn purged(commit: &Commit, node: &NodeId) -> bool {
    commit
        .nodes
        .get(node)
        .is_some_and(|pair| pair.after.is_none())
}
