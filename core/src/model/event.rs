//! Events: immutable, append-only, one for every transition (S11).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Extra;
use super::id::{EventId, NodeId, Revision, WorkloadId};
use super::time::Timestamp;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// A client created a workload.
    WorkloadCreated,
    /// A client changed its spec or desired state.
    WorkloadUpdated,
    /// A node was chosen.
    WorkloadScheduled,
    /// No node fits; the reason says why.
    WorkloadUnschedulable,
    /// Confirmed running at its revision.
    WorkloadRunning,
    /// Confirmed stopped.
    WorkloadStopped,
    /// It failed.
    WorkloadFailed,
    /// A client asked for its deletion.
    WorkloadDeleting,
    /// Confirmed gone; the record goes too.
    WorkloadDeleted,
    /// It is tried again.
    RetryTriggered,
    /// The tries are used up, or cannot help.
    RetriesExhausted,
    /// Its node was lost or drained; another was chosen.
    Rescheduled,
    /// The node runs something that differs from what should be there.
    DriftDetected,
    /// A node registered for the first time, or with other capacity.
    NodeRegistered,
    /// A node is ready again.
    NodeReady,
    /// A node missed its heartbeats or cannot be called.
    NodeLost,
    /// An operator cordoned a node.
    NodeCordoned,
    /// An operator uncordoned a node.
    NodeUncordoned,
    /// An operator drains a node.
    NodeDraining,
    /// Every workload was confirmed gone from a draining node.
    NodeDrained,
    /// An operator declared a node dead.
    NodeFenced,
    /// An operator removed a node's record.
    NodePurged,
    /// Many nodes vanished at once: the observer is the likelier fault.
    EvictionPaused,
    /// Evictions go on.
    EvictionResumed,
    /// A record in the store cannot be read; it is left alone.
    RecordQuarantined,
    /// Somebody else changed a record; the change was adopted.
    RecordAdopted,
    /// An automation suggestion was accepted or refused.
    AutomationDecided,
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// `/events/<event-id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its id; sorts by time.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Which workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_id: Option<WorkloadId>,
    /// Which node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// Which revision of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_id: Option<Revision>,
    /// Why, for people.
    pub reason: String,
    /// When.
    pub timestamp: Timestamp,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}
