//! The nodes that one scheduler avoids for a while, because an agent told it that its runtime is not
//! there. That is in no record; but what the scheduler decides when it is told so says it.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::io::Op;
use berth_core::model::spec::WorkloadType;
use berth_core::model::workload::{FailureKind, RetryRecord, WorkloadRecord};
use berth_core::{EventRecord, EventType, Key, NodeId, Timestamp, WorkloadId};

use super::view::{Flight, View};

/// So long after the end a scheduler may not have noticed it: it looks when it looks at the node.
const NOTICED_IN: Duration = Duration::from_secs(60);

/// Who avoids a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Avoided {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It may still do.
    Perhaps,
}

/// Until when each node is avoided for each kind of workload, by one scheduler's clock.
#[derive(Debug, Default)]
pub(crate) struct Avoidance {
    until: BTreeMap<(NodeId, WorkloadType), Timestamp>,
    /// Nodes whose records went meanwhile: they may have been forgotten with them.
    doubtful: std::collections::BTreeSet<NodeId>,
}

impl Avoidance {
    /// Whether a node is avoided for a kind of workload.
    pub(crate) fn of(&self, node: &NodeId, kind: WorkloadType, clock: Timestamp) -> Avoided {
        if self.until.is_empty() {
            return Avoided::No;
        }
        match self.until.get(&(node.clone(), kind)) {
            None => Avoided::No,
            Some(until) if clock >= *until + NOTICED_IN => Avoided::No,
            Some(until) if clock >= *until || self.doubtful.contains(node) => Avoided::Perhaps,
            Some(_) => Avoided::Yes,
        }
    }

    /// The record of a node is gone.
    pub(crate) fn removed(&mut self, node: &NodeId) {
        if !self.until.is_empty() {
            self.doubtful.insert(node.clone());
        }
    }
}

/// What a transaction that is asked for at `clock` says about nodes that are avoided from now on.
pub(crate) fn learn(view: &mut View, flight: &Flight, clock: Timestamp, exclusion: Duration) {
    for op in &flight.txn.ops {
        let Op::Put { key, value } = op else { continue };
        let told = match key {
            Key::Retry(id) => refused(value, clock).then_some(id.clone()),
            Key::Event(_) => moved(value),
            _ => None,
        };
        let record = told.and_then(|id| view.workloads.get(&id));
        let home = record.and_then(|record| home_of(record));
        if let Some((node, kind)) = home {
            view.avoidance.doubtful.remove(&node);
            let until = clock + exclusion;
            view.avoidance.until.insert((node, kind), until);
        }
    }
}

fn home_of(record: &WorkloadRecord) -> Option<(NodeId, WorkloadType)> {
    Some((record.assigned_node.clone()?, record.workload_type()))
}

/// It failed just now because a runtime is not there.
fn refused(retry: &str, clock: Timestamp) -> bool {
    let retry = serde_json::from_str::<RetryRecord>(retry);
    retry.is_ok_and(|retry| {
        retry.last_failure == FailureKind::RuntimeUnavailable && retry.last_failure_at == clock
    })
}

/// It moves for that reason.
fn moved(event: &str) -> Option<WorkloadId> {
    if !event.contains("runtime is not available") {
        return None;
    }
    let event: EventRecord = serde_json::from_str(event).ok()?;
    let moves = event.event_type == EventType::Rescheduled;
    event.workload_id.filter(|_| moves)
}
