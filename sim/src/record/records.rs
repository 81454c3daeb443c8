//! What records say, and what a commit changed of them, in plain words.

use berth_core::model::node::NodeRecord;
use berth_core::model::workload::{
    ActualState, AssignmentRecord, DesiredState, RetryState, WorkloadRecord,
};

use crate::oracle::image::Commit;

use super::recorder::{Note, Recorder};
use super::words::{amount, clock};

/// What a workload's record says.
pub(super) fn workload_note(record: &WorkloadRecord, recorder: &Recorder) -> Note {
    let (state, desired) = (record.status.actual_state, record.desired_state);
    let mut text = match desired {
        DesiredState::Deleted => format!("shall go, {state:?}"),
        DesiredState::Stopped if state != ActualState::Stopped => format!("{state:?}, shall stop"),
        DesiredState::Running | DesiredState::Stopped => format!("{state:?}"),
    };
    if record.retry.attempts > 0 {
        let RetryState {
            attempts,
            max_attempts,
            ..
        } = record.retry;
        text.push_str(&format!(", failed {attempts} of {max_attempts} times"));
    }
    let mut detail = format!("desired: {desired:?}\nrevision: {}\n", record.revision_id);
    let home = record.assigned_node.as_ref();
    let home = home.map_or_else(|| "none".to_owned(), ToString::to_string);
    detail.push_str(&format!(
        "home: {home}\nasks for: {}\n",
        amount(&record.resources)
    ));
    if !record.status.failure_reason.is_empty() {
        detail.push_str(&format!("why: {}\n", record.status.failure_reason));
    }
    if !record.metadata.last_error.is_empty() {
        detail.push_str(&format!("last error: {}\n", record.metadata.last_error));
    }
    if let Some(next) = record.retry.next_retry_at {
        let next = clock(recorder.ms(next));
        detail.push_str(&format!("next try: {next} by the scheduler's clock\n"));
    }
    let bad = state == ActualState::Failed;
    Note::new(text).detail(detail).bad(bad)
}

/// What a node's record says.
pub(super) fn node_note(record: &NodeRecord, recorder: &Recorder) -> Note {
    let mut text = format!("{:?}", record.status);
    if !record.schedulable {
        text.push_str(", cordoned");
    }
    let has = &record.resources;
    let mut detail = format!(
        "why: {:?}, by {:?}\ncapacity: {}, {}, {} disk\n",
        record.status_reason,
        record.status_changed_by,
        has.cpu_total,
        has.memory_total,
        has.disk_total.unwrap_or_default(),
    );
    for (name, value) in &record.labels {
        detail.push_str(&format!("{name}: {value}\n"));
    }
    if let Some(drain) = &record.drain {
        detail.push_str(&format!(
            "drains since: {}, until {}, {} at once\n",
            clock(recorder.ms(drain.started_at)),
            clock(recorder.ms(drain.deadline)),
            drain.parallelism
        ));
        if let Some(done) = drain.completed_at {
            detail.push_str(&format!("drained: {}\n", clock(recorder.ms(done))));
            text.push_str(", drained");
        }
    }
    Note::new(text).detail(detail)
}

/// The keys that a commit without events wrote.
pub(super) fn touched(commit: &Commit) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut say = |what: &str, whom: &dyn std::fmt::Display| all.push(format!("{what} {whom}"));
    commit.workloads.keys().for_each(|id| say("workload", id));
    commit.assignments.keys().for_each(|id| say("home of", id));
    commit.intents.keys().for_each(|id| say("intent of", id));
    commit.retries.keys().for_each(|id| say("retries of", id));
    commit.nodes.keys().for_each(|id| say("node", id));
    for ((node, id), pair) in &commit.tombstones {
        match pair.after {
            Some(_) => say("a copy must go:", &format!("{id} from {node}")),
            None => say("a copy is gone:", &format!("{id} from {node}")),
        }
    }
    if !commit.events_removed.is_empty() {
        say("old events removed:", &commit.events_removed.len());
    }
    commit
        .unreadable
        .iter()
        .for_each(|key| say("unreadable:", key));
    if all.is_empty() {
        all.push("nothing of ours".to_owned());
    }
    all
}

/// What a commit changed, record by record.
pub(super) fn describe(commit: &Commit, recorder: &Recorder, into: &mut String) {
    let mut line = |text: String| {
        into.push_str(&text);
        into.push('\n');
    };
    for (id, pair) in &commit.workloads {
        let of = |side: Option<&WorkloadRecord>| {
            side.map_or_else(
                || "none".to_owned(),
                |record| {
                    let note = workload_note(record, recorder);
                    format!("{} (desired {:?})", note.text, record.desired_state)
                },
            )
        };
        line(arrow(
            "workload",
            id,
            &of(pair.before.as_deref()),
            &of(pair.after.as_deref()),
        ));
    }
    for (id, pair) in &commit.assignments {
        let of = |side: Option<&AssignmentRecord>| {
            side.map_or_else(|| "none".to_owned(), |home| home.node_id.to_string())
        };
        line(arrow(
            "home of",
            id,
            &of(pair.before.as_deref()),
            &of(pair.after.as_deref()),
        ));
    }
    for (id, pair) in &commit.intents {
        line(match &pair.after {
            Some(intent) => format!(
                "intent of {id}: {:?} on {}, {:?}: {}",
                intent.action, intent.node_id, intent.outcome, intent.reason
            ),
            None => format!("intent of {id}: none"),
        });
    }
    for (id, pair) in &commit.retries {
        line(match &pair.after {
            Some(retry) => format!(
                "retries of {id}: {} of {}, after {:?}",
                retry.state.attempts, retry.state.max_attempts, retry.last_failure
            ),
            None => format!("retries of {id}: none"),
        });
    }
    for (id, pair) in &commit.nodes {
        let of = |side: Option<&NodeRecord>| {
            side.map_or_else(|| "none".to_owned(), |node| node_note(node, recorder).text)
        };
        line(arrow(
            "node",
            id,
            &of(pair.before.as_deref()),
            &of(pair.after.as_deref()),
        ));
    }
    for ((node, id), pair) in &commit.tombstones {
        line(match pair.after {
            Some(_) => format!("tombstone: {id} must go from {node}"),
            None => format!("tombstone: {id} is gone from {node}"),
        });
    }
    for event in &commit.events {
        line(format!("event {}: {}", event.event_type, event.reason));
    }
    for text in &commit.unreadable {
        line(format!("unreadable: {text}"));
    }
    if !commit.events_removed.is_empty() {
        line(format!(
            "old events removed: {}",
            commit.events_removed.len()
        ));
    }
}

fn arrow(what: &str, whom: &dyn std::fmt::Display, before: &str, after: &str) -> String {
    if before == after {
        format!("{what} {whom}: {after}")
    } else {
        format!("{what} {whom}: {before} → {after}")
    }
}
