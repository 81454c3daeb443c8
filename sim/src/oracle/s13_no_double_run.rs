//! S13: no double run. Nobody can stop a copy on a node that is out of reach, so what is judged
//! is the gate before the second copy: an apply leaves for a node only when every other node that
//! has a live copy, in truth, was given up: it was declared dead by an operator, it was removed,
//! or it has not been ready for the whole grace as the caller knows it. A node that is ready, that
//! is lost for a shorter time, or that is coming back keeps the apply waiting. What the caller was
//! not told yet does not count against it. Who purges a node answers for what was on its way there,
//! until the caller knows of it: then it waits for that copy as for any other.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::io::{AgentCall, AgentOp};
use berth_core::model::node::NodeStatus;
use berth_core::{NodeId, WorkloadId};

use super::image::{Commit, Writer};
use super::rule::{Check, Finding};
use super::s18_eviction::Grace;
use super::view::View;

/// Nodes that an operator had purged, and what was applied there since.
#[derive(Debug, Default)]
pub(crate) struct Purged(BTreeMap<NodeId, BTreeSet<WorkloadId>>);

impl Purged {
    pub(crate) fn committed(&mut self, commit: &Commit) {
        if matches!(commit.writer, Writer::Scheduler { .. }) {
            let gone = commit.nodes.iter().filter(|(_, pair)| pair.after.is_none());
            self.0
                .extend(gone.map(|(node, _)| (node.clone(), BTreeSet::new())));
        }
    }

    /// A call leaves a scheduler.
    pub(crate) fn applied(&mut self, call: &AgentCall) {
        if let AgentOp::Apply { workload, .. } = &call.op
            && let Some(since) = self.0.get_mut(&call.node)
        {
            since.insert(workload.clone());
        }
    }

    fn covers(&self, node: &NodeId, workload: &WorkloadId) -> bool {
        let since = self.0.get(node);
        since.is_some_and(|since| !since.contains(workload))
    }
}

/// A call leaves a scheduler. `copies`: the nodes where a copy of the call's workload is live, in
/// truth.
pub(crate) fn call_leaves(
    view: &View,
    grace: &Grace<'_>,
    purged: &Purged,
    call: &AgentCall,
    copies: &[NodeId],
) -> Check {
    let AgentOp::Apply {
        workload,
        running: true,
        ..
    } = &call.op
    else {
        return Ok(());
    };
    for node in copies.iter().filter(|node| **node != call.node) {
        let Some(record) = view.nodes.get(node) else {
            continue;
        };
        let returning = view.flights.values().any(|flight| {
            let next = flight.nodes.get(node).and_then(Option::as_ref);
            next.is_some_and(|next| next.status != NodeStatus::NotReady)
        });
        let known = view
            .tombstones
            .contains_key(&(node.clone(), workload.clone()));
        let excused = purged.covers(node, workload) && !known;
        if grace.is_over(record) && !returning || excused {
            continue;
        }
        let expected = "no second copy before the node of the first is given up";
        let seen = format!(
            "an apply leaves for {} while {node} has a live copy; it is {:?} since {} ({:?})",
            call.node, record.status, record.status_changed_at, record.status_reason
        );
        return Err(Finding::new(expected, seen)
            .of(workload)
            .of(node)
            .of(&call.node));
    }
    Ok(())
}
