//! The cluster's own events: items of whom they are about, and chapters if they are important.

use berth_core::EventRecord;
use berth_core::model::event::EventType;
use berth_core::model::workload::AssignmentRecord;

use crate::oracle::image::Commit;

use super::recorder::{Note, Recorder};
use super::words::event_words;
use super::{Group, Kind, Tone};

/// An event as an item of whom it is about, and for the story if it is important.
pub(super) fn tell_event(recorder: &mut Recorder, at: u64, event: &EventRecord, commit: &Commit) {
    use EventType as E;
    let words = event_words(event);
    let (lane, kind) = match (&event.workload_id, &event.node_id) {
        (Some(id), _) => (
            recorder.lane(Group::Workloads, id.as_str()),
            Kind::WorkloadEvent,
        ),
        (None, Some(id)) => (recorder.lane(Group::Nodes, id.as_str()), Kind::NodeEvent),
        (None, None) => (recorder.lane(Group::Store, "commits"), Kind::StoreMark),
    };
    let detail = format!(
        "event: {}\nwhy: {}\nrevision of the store: {}\n",
        event.event_type, event.reason, commit.revision
    );
    let bad = matches!(
        event.event_type,
        E::WorkloadFailed | E::RetriesExhausted | E::NodeLost | E::DriftDetected
    );
    let note = Note::new(&words).detail(detail).bad(bad);
    recorder.point(lane, kind, at, &note);
    let because = |words: String| match event.reason.is_empty() {
        true => words,
        false => format!("{words}: {}", spaced(&event.reason)),
    };
    match event.event_type {
        E::Rescheduled => {
            let moved = event.workload_id.as_ref().and_then(|id| {
                let pair = commit.assignments.get(id)?;
                let name = |side: &Option<_>| {
                    let side: Option<&std::sync::Arc<AssignmentRecord>> = side.as_ref();
                    side.map_or_else(|| "nowhere".to_owned(), |home| home.node_id.to_string())
                };
                let (from, to) = (name(&pair.before), name(&pair.after));
                Some(format!("{id} ({from} → {to})"))
            });
            let whom = moved.unwrap_or(words);
            let why = match event.reason.strip_prefix("moved ") {
                Some(rest) => format!("Moved {rest}"),
                None => format!("Moved: {}", event.reason),
            };
            recorder.tell_of(at, Tone::Moved, lane, &why, whom);
        }
        E::RetriesExhausted => recorder.tell(at, Tone::Failed, Some(lane), because(words)),
        E::NodeFenced | E::NodePurged | E::NodeDraining | E::NodeCordoned | E::NodeUncordoned => {
            recorder.tell(at, Tone::Operator, Some(lane), because(words))
        }
        E::NodeLost | E::NodeReady => {
            let whom = event.node_id.as_ref().map_or(words, ToString::to_string);
            let what = match event.event_type {
                E::NodeLost => "Lost",
                _ => "Ready",
            };
            recorder.tell_of(at, Tone::Node, lane, &because(what.to_owned()), whom);
        }
        E::NodeDrained
        | E::EvictionPaused
        | E::EvictionResumed
        | E::RecordQuarantined
        | E::RecordAdopted => recorder.tell(at, Tone::Node, Some(lane), because(words)),
        E::NodeRegistered => {
            let whom = event.node_id.as_ref().map_or(words, ToString::to_string);
            recorder.tell_of(at, Tone::Node, lane, "Registered", whom);
        }
        E::WorkloadCreated
        | E::WorkloadUpdated
        | E::WorkloadScheduled
        | E::WorkloadUnschedulable
        | E::WorkloadRunning
        | E::WorkloadStopped
        | E::WorkloadFailed
        | E::WorkloadDeleting
        | E::WorkloadDeleted
        | E::RetryTriggered
        | E::DriftDetected
        | E::AutomationDecided => {}
    }
}

/// A typed reason as words: `HeartbeatMissed` is "heartbeat missed". Others stay as they are.
fn spaced(reason: &str) -> String {
    if !reason.chars().all(char::is_alphanumeric) {
        return reason.to_owned();
    }
    let mut words = String::new();
    for letter in reason.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}
