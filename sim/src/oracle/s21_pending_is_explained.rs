//! S21: a workload that is pending carries typed reasons with numbers, and they add up.

use berth_core::model::workload::{ActualState, DesiredState};

use super::image::{Commit, Writer};
use super::rule::{Check, Finding};

pub(crate) fn committed(commit: &Commit) -> Check {
    if commit.writer == Writer::Stranger {
        return Ok(());
    }
    for (id, pair) in &commit.workloads {
        let Some(record) = &pair.after else { continue };
        let pending = record.desired_state == DesiredState::Running
            && record.status.actual_state == ActualState::Pending
            && record.assigned_node.is_none();
        if !pending {
            continue;
        }
        // Somebody else removed its assignment, maybe long ago: that its record names no home any more
        // is written first, and why it waits with the next step (L2).
        let repaired = pair
            .before
            .as_ref()
            .is_some_and(|before| before.assigned_node.is_some() && before.status == record.status);
        if repaired && !commit.assignments.contains_key(id) {
            continue;
        }
        let Some(note) = &record.status.placement else {
            return Err(Finding::new("a reason", format!("none: {record:?}")).of(id));
        };
        let refused: u32 = note.refused.values().sum();
        let adds_up = note.candidates + refused == note.examined && note.examined <= note.nodes;
        if note.node.is_some() || !adds_up || record.status.failure_reason.is_empty() {
            let expected = "figures that add up, and a text";
            return Err(Finding::new(expected, format!("{:?}", record.status)).of(id));
        }
    }
    Ok(())
}
