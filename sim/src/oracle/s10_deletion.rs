//! S10: a workload's record goes only after its node reported it gone, or its node was purged by
//! the operator; a tombstone goes only so, too.

use std::collections::BTreeSet;

use berth_core::NodeId;
use berth_core::io::request::Request;
use berth_core::model::workload::DesiredState;

use super::image::{Commit, Image, Writer};
use super::rule::{Check, Finding};
use super::{Has, Left};

/// Nodes that an operator asked to purge, until they register again. Each tombstone there goes in a
/// transaction of its own; that the machine came back meanwhile, unheard, is the operator's fault.
#[derive(Debug, Default)]
pub(crate) struct Purges(BTreeSet<NodeId>);

impl Purges {
    /// A scheduler is asked for something.
    pub(crate) fn asked(&mut self, request: &Request) {
        match request {
            Request::Purge { node } => {
                self.0.insert(node.clone());
            }
            Request::Register(registration) => {
                self.0.remove(&registration.node);
            }
            _ => {}
        }
    }

    /// `has`: what of a workload is left on a node, in truth.
    pub(crate) fn committed(&self, commit: &Commit, image: &Image, has: Has<'_>) -> Check {
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
                && !self.0.contains(node)
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
}

fn purged(commit: &Commit, node: &NodeId) -> bool {
    commit
        .nodes
        .get(node)
        .is_some_and(|pair| pair.after.is_none())
}
