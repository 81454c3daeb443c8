//! S4: a workload has at most one assignment, to a node that exists. That the node passed every
//! filter is checked with the decision (S5). And a home that is left is not forgotten: while a copy
//! is there, in truth, a tombstone says so.

use std::collections::BTreeSet;

use berth_core::{Key, NodeId, WorkloadId};

use super::image::{Commit, Image, Writer};
use super::rule::{Check, Finding};

pub(crate) fn committed(commit: &Commit, image: &Image) -> Check {
    if commit.writer == Writer::Stranger {
        return Ok(());
    }
    for (id, pair) in &commit.assignments {
        let home = pair.after.as_ref().map(|assignment| &assignment.node_id);
        let record = image.workloads.get(id).map(|held| &held.record);
        let said = record.and_then(|record| record.assigned_node.as_ref());
        if home != said {
            let expected = "record and assignment to name one node";
            let seen = format!("the record says {said:?}, the assignment {home:?}");
            return Err(Finding::new(expected, seen).of(id));
        }
        let moved = pair.before.as_ref().map(|before| &before.node_id) != home;
        if let Some(node) = home.filter(|node| moved && !image.nodes.contains_key(*node)) {
            let seen = "an assignment to a node without a record";
            return Err(Finding::new("a home that exists", seen).of(id).of(node));
        }
    }
    Ok(())
}

/// A scheduler takes a workload off a node that still runs it, and nothing in the store says so any
/// more. Somebody else's edit is no excuse. `runs`: whether anything of it is left there, in truth.
pub(crate) fn forgotten(
    commit: &Commit,
    image: &Image,
    runs: &dyn Fn(&NodeId, &WorkloadId) -> bool,
) -> Check {
    if commit.writer == Writer::Stranger {
        return Ok(());
    }
    let mut left: BTreeSet<(&NodeId, &WorkloadId)> = BTreeSet::new();
    for (id, pair) in &commit.workloads {
        let home = pair
            .before
            .as_ref()
            .and_then(|it| it.assigned_node.as_ref());
        // A record that goes while its node is there is another rule's (S10).
        let stays = |node: &&NodeId| pair.after.is_some() || !image.nodes.contains_key(*node);
        let says = pair.after.as_ref().and_then(|it| it.assigned_node.as_ref());
        let leaves = home.filter(|node| says != Some(*node));
        left.extend(leaves.filter(stays).map(|node| (node, id)));
    }
    for (id, pair) in &commit.assignments {
        let moves = image.workloads.contains_key(id);
        let home = pair.before.as_ref().filter(|_| moves);
        left.extend(home.map(|home| (&home.node_id, id)));
    }
    for (node, id) in left {
        let home = image.assignments.get(id).map(|held| &held.record.node_id);
        // A tombstone that cannot be read is left alone: it may say so.
        let tombstone = Key::Tombstone(node.clone(), id.clone());
        let says = home == Some(node)
            || image.tombstones.contains_key(&(node.clone(), id.clone()))
            || image.unread.contains(&tombstone);
        if !says && runs(node, id) {
            let seen = format!("its home is {home:?}, and {node} runs it");
            let expected = "a tombstone for a copy that is left behind";
            return Err(Finding::new(expected, seen).of(id).of(node));
        }
    }
    Ok(())
}
