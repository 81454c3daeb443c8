//! S11: events are never changed; every state transition has exactly one; their order agrees with
//! the revisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::model::node::{NodeReason, NodeRecord, NodeStatus};
use berth_core::model::workload::{ActualState, AssignmentRecord, DesiredState, WorkloadRecord};
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
        let home = commit.assignments.get(id);
        for (event_type, due) in transitions(pair).into_iter().chain(moves(pair, home)) {
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
        // What has no home is stopped by the client's word alone.
        (
            EventType::WorkloadStopped,
            became(ActualState::Stopped) && !is_updated(pair),
        ),
    ]
    .into_iter()
    .chain(by_client(pair))
    .collect()
}

/// A client changed it.
fn is_updated(pair: &Pair<WorkloadRecord>) -> bool {
    let generation = |record: &Arc<WorkloadRecord>| record.metadata.generation;
    let (before, after) = (&pair.before, &pair.after);
    let both = before.as_ref().zip(after.as_ref());
    both.is_some_and(|(before, after)| generation(before) != generation(after))
}

/// What a client changed.
fn by_client(pair: &Pair<WorkloadRecord>) -> [(EventType, bool); 2] {
    let is_deleted = |record: &Option<Arc<WorkloadRecord>>| {
        let desired = record.as_ref().map(|record| record.desired_state);
        desired == Some(DesiredState::Deleted)
    };
    let (was, is) = (is_deleted(&pair.before), is_deleted(&pair.after));
    let changed = is_updated(pair);
    [
        (EventType::WorkloadUpdated, changed && !is),
        (EventType::WorkloadDeleting, changed && !was && is),
    ]
}

/// Where it goes.
fn moves(
    pair: &Pair<WorkloadRecord>,
    home: Option<&Pair<AssignmentRecord>>,
) -> Vec<(EventType, bool)> {
    let runs = |record: &WorkloadRecord| record.desired_state == DesiredState::Running;
    let (Some(home), Some(record)) = (home, &pair.after) else {
        return Vec::new();
    };
    let of = |it: &Option<Arc<AssignmentRecord>>| it.as_ref().map(|it| it.node_id.clone());
    let (from, to) = (of(&home.before), of(&home.after));
    if !runs(record) || from == to {
        return Vec::new();
    }
    // Whoever loses its home may get the next one in the same decision, or later.
    let placed = from.is_none() || to.is_none();
    let placed = placed.then_some((EventType::WorkloadScheduled, from.is_none()));
    let moved = (EventType::Rescheduled, from.is_some());
    placed.into_iter().chain([moved]).collect()
}

fn nodes(commit: &Commit) -> Check {
    for (id, pair) in &commit.nodes {
        for (event_type, due) in node_transitions(pair) {
            let of = |event: &&berth_core::EventRecord| {
                event.node_id.as_ref() == Some(id) && event.event_type == event_type
            };
            let seen = commit.events.iter().filter(of).count();
            if seen != usize::from(due) {
                let expected = format!("{} {event_type}", u8::from(due));
                let seen = format!("{seen} of them: {pair:?}");
                return Err(Finding::new(expected, seen).of(id));
            }
        }
    }
    Ok(())
}

/// The events that a change of a node's record must have, or must not.
fn node_transitions(pair: &Pair<NodeRecord>) -> Vec<(EventType, bool)> {
    let (before, after) = match (&pair.before, &pair.after) {
        (None, Some(_)) => return vec![(EventType::NodeRegistered, true)],
        (Some(_), None) => return vec![(EventType::NodePurged, true)],
        (None, None) => return Vec::new(),
        (Some(before), Some(after)) => (before, after),
    };
    let completed = |record: &NodeRecord| {
        record
            .drain
            .as_ref()
            .is_some_and(|it| it.completed_at.is_some())
    };
    let drains = before.drain.is_none() && after.drain.is_some();
    let mut due = vec![
        (
            EventType::NodeCordoned,
            before.schedulable && !after.schedulable && !drains,
        ),
        (
            EventType::NodeUncordoned,
            !before.schedulable && after.schedulable,
        ),
        (
            EventType::NodeDrained,
            !completed(before) && completed(after),
        ),
    ];
    if before.status != after.status {
        let event = match after.status {
            NodeStatus::NotReady if after.status_reason == NodeReason::Fenced => {
                EventType::NodeFenced
            }
            NodeStatus::NotReady => EventType::NodeLost,
            NodeStatus::Ready => EventType::NodeReady,
            NodeStatus::Draining if before.status == NodeStatus::Ready => EventType::NodeDraining,
            NodeStatus::Draining => EventType::NodeReady,
        };
        due.push((event, true));
    }
    due
}
