//! S18: nothing leaves its node without a cause. Which causes there are is written down here, and found
//! in what the scheduler knows, not in what it says of its reasons.

use std::sync::Arc;

use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::units::Resources;
use berth_core::model::workload::{DesiredState, WorkloadRecord};
use berth_core::{Key, NodeId, Timestamp};

use super::avoidance::Avoided;
use super::image::{Commit, Image};
use super::rule::{Check, Finding};
use super::view::{Flight, View};

/// A scheduler asks for a commit. `clock`: its own time.
pub(crate) fn asked(view: &View, flight: &Flight, clock: Timestamp) -> Check {
    for (id, home) in &flight.homes {
        let Some(from) = view.assignments.get(id).map(|home| &home.node_id) else {
            continue;
        };
        let stays = home.as_ref().is_some_and(|home| home.node_id == *from);
        let (was, is) = (view.workloads.get(id), flight.workloads.get(id));
        let (Some(was), Some(is)) = (was, is.or(was)) else {
            continue;
        };
        // Less is reserved for it than it asks for, by somebody's edit: perhaps that does not fit.
        let reserved = view.assignments.get(id).map(|home| home.resources);
        let is_short = reserved.is_some_and(|it| was.resources - it != Resources::default());
        if stays || is_short || has_cause(view, flight, from, (was, is), clock) {
            continue;
        }
        let to = home.as_ref().map(|home| &home.node_id);
        let seen = format!("to {to:?}, from {:?}", view.nodes.get(from));
        let expected = format!("a cause to leave {from}");
        return Err(Finding::new(expected, seen).of(id).of(from));
    }
    Ok(())
}

/// A commit: of what no record tells that can be read, nobody says that it must go from where it was.
pub(crate) fn committed(commit: &Commit, image: &Image) -> Check {
    if commit.epoch().is_none() {
        return Ok(());
    }
    for ((node, id), pair) in &commit.tombstones {
        let is_new = pair.before.is_none() && pair.after.is_some();
        let record = Key::Workload(id.clone());
        let untold = image.unread.contains(&record) && image.unread_homes.get(id) == Some(node);
        if is_new && untold {
            let seen = "a tombstone, and neither its record nor its assignment can be read";
            let expected = "what cannot be read to be left alone";
            return Err(Finding::new(expected, seen).of(id).of(node));
        }
    }
    Ok(())
}

fn has_cause(
    view: &View,
    flight: &Flight,
    from: &NodeId,
    (was, is): (&WorkloadRecord, &WorkloadRecord),
    clock: Timestamp,
) -> bool {
    // A client wants something else, or no longer that it runs.
    let by_client = was.metadata.generation != is.metadata.generation
        || is.desired_state != DesiredState::Running;
    // What somebody edited is put right.
    let is_torn = was.assigned_node.as_ref() != Some(from);
    // Its node is gone, lost, fenced or drained; one of these may be on its way.
    let closed = |node: Option<&Arc<NodeRecord>>| {
        node.is_none_or(|node| node.status != NodeStatus::Ready || node.drain.is_some())
    };
    let on_their_way = view.flights.values().chain([flight]);
    let mut on_their_way = on_their_way.filter_map(|flight| flight.nodes.get(from));
    let node_is_closed = closed(view.nodes.get(from))
        || view.unreadable.contains(from)
        || on_their_way.any(|node| closed(node.as_ref()));
    // Its node has no runtime for it now.
    let avoided = view.avoidance.of(from, is.workload_type(), clock) != Avoided::No;
    by_client || is_torn || node_is_closed || avoided
}
