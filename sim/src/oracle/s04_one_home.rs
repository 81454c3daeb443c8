//! S4: a workload has at most one assignment, to a node that exists. That the node passed every
//! filter is checked with the decision (S5).

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
