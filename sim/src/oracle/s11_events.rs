//! S11: events are never changed; every state transition has exactly one; their order agrees with
//! the revisions.

use std::collections::BTreeMap;

use berth_core::model::node::{NodeReason, NodeStatus};
use berth_core::model::workload::{ActualState, WorkloadRecord};
use berth_core::{EventId, EventType, WorkloadId};

use super::image::{Commit, Pair, Writer};
use super::rule::{Check, Finding};

/// The last event of each workload.
#[derive(Debug, Default)]
pub(crate) struct Events {
    last: BTreeMap<WorkloadId, EventId>,
}

impl Events {
    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        self.last.len()
    }

    pub(crate) fn committed(&mut self, commit: &Commit) -> Check {
        if let Some(key) = commit.events_changed.first() {
            return Err(Finding::new(
                "events that never change",
                format!("{key} was changed"),
            ));
        }
        if commit.writer == Writer::Stranger {
            return Ok(());
        }
        let mut newest: Vec<(&WorkloadId, &EventId)> = Vec::new();
        for event in &commit.events {
            let Some(id) = &event.workload_id else {
                continue;
            };
            if let Some(last) = self.last.get(id).filter(|last| **last >= event.id) {
                let expected = format!("an event after {}", last.as_str());
                let seen = format!("{} came later", event.id.as_str());
                return Err(Finding::new(expected, seen).of(id));
            }
            newest.push((id, &event.id));
        }
        for (id, event) in newest {
            let last = self.last.entry(id.clone()).or_insert_with(|| event.clone());
            *last = last.clone().max(event.clone());
        }
        workloads(commit)?;
        nodes(commit)
    }
}

fn workloads(commit: &Commit) -> Check {
    for (id, pair) in &commit.workloads {
        let count = |event_type: EventType| {
            let of = |event: &&berth_core::EventRecord| {
                event.workload_id.as_ref() == Some(id) && event.event_type == event_type
            };
            commit.events.iter().filter(of).count()
        };
        for (event_type, due) in transitions(pair) {
            let seen = count(event_type);
            if seen != usize::from(due) {
                let expected = format!("{} {event_type}", u8::from(due));
                return Err(Finding::new(expected, format!("{seen} of them: {pair:?}")).of(id));
            }
        }
    }
    Ok(())
}

/// The events that a change of a workload's record must have, or must not.
fn transitions(pair: &Pair<WorkloadRecord>) -> Vec<(EventType, bool)> {
    let state = |record: &WorkloadRecord| record.status.actual_state;
    let became = |wanted| match (&pair.before, &pair.after) {
        (Some(before), Some(after)) => state(before) != wanted && state(after) == wanted,
        (None, Some(_)) | (Some(_) | None, None) => false,
    };
    vec![
        (
            EventType::WorkloadCreated,
            pair.before.is_none() && pair.after.is_some(),
        ),
        (
            EventType::WorkloadDeleted,
            pair.before.is_some() && pair.after.is_none(),
        ),
        (EventType::WorkloadRunning, became(ActualState::Running)),
        (EventType::RetriesExhausted, became(ActualState::Failed)),
    ]
}

fn nodes(commit: &Commit) -> Check {
    for (id, pair) in &commit.nodes {
        let (Some(before), Some(after)) = (&pair.before, &pair.after) else {
            continue;
        };
        if before.status == after.status {
            continue;
        }
        let due = match after.status {
            NodeStatus::NotReady if after.status_reason == NodeReason::Fenced => {
                EventType::NodeFenced
            }
            NodeStatus::NotReady => EventType::NodeLost,
            NodeStatus::Ready => EventType::NodeReady,
            NodeStatus::Draining if before.status == NodeStatus::Ready => EventType::NodeDraining,
            NodeStatus::Draining => EventType::NodeReady,
        };
        let of = |event: &&berth_core::EventRecord| {
            event.node_id.as_ref() == Some(id) && event.event_type == due
        };
        let seen = commit.events.iter().filter(of).count();
        if seen != 1 {
            let expected = format!("one {due} for {:?} to {:?}", before.status, after.status);
            return Err(Finding::new(expected, format!("{seen} of them")).of(id));
        }
    }
    Ok(())
}
