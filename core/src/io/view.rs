//! What readers see: records with what is computed beside them.

use serde::{Deserialize, Serialize};

use super::request::Freshness;
use crate::model::event::EventRecord;
use crate::model::id::{Epoch, StoreRevision};
use crate::model::node::{NodeRecord, NodeUsage};
use crate::model::time::Timestamp;
use crate::model::units::Resources;
use crate::model::workload::WorkloadRecord;
pub use crate::placement::Explanation;

/// The state of a workload in one word, as clients of the wire contract expect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DisplayStatus {
    /// No node yet.
    Pending,
    /// A node is chosen; nothing was confirmed yet.
    Scheduled,
    /// A new revision is on its way.
    Updating,
    /// Confirmed running.
    Running,
    /// Confirmed stopped.
    Stopped,
    /// Failed for good.
    Failed,
    /// Nothing recent is known.
    Unknown,
    /// Waiting for the next try.
    RetryPending,
    /// Being deleted.
    Deleting,
}

impl DisplayStatus {
    /// All, in order.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Scheduled,
        Self::Updating,
        Self::Running,
        Self::Stopped,
        Self::Failed,
        Self::Unknown,
        Self::RetryPending,
        Self::Deleting,
    ];

    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Scheduled => "Scheduled",
            Self::Updating => "Updating",
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
            Self::RetryPending => "RetryPending",
            Self::Deleting => "Deleting",
        }
    }
}

/// A workload as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadView {
    /// The record.
    #[serde(flatten)]
    pub record: WorkloadRecord,
    /// The state in one word.
    pub display_status: DisplayStatus,
    /// The revision of the store that wrote the record; what `If-Match` compares. 0 in a dry run.
    pub resource_version: StoreRevision,
    /// How old this is.
    pub freshness: Freshness,
}

/// A node as readers see it: the record with live figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// The record; its allocation and last heartbeat are the live ones.
    #[serde(flatten)]
    pub record: NodeRecord,
    /// Capacity less what is allocated.
    pub available: Resources,
    /// What the host uses, as its agent reports it.
    pub usage: NodeUsage,
    /// How many workloads are assigned to it.
    pub workloads: u32,
    /// Copies that must still be confirmed gone.
    pub tombstones: u32,
    /// Workloads that it runs and this scheduler never assigned; left alone. `None`: not known, since
    /// only who leads is told by the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strangers: Option<u32>,
    /// The revision of the store that wrote the record.
    pub resource_version: StoreRevision,
    /// How old this is.
    pub freshness: Freshness,
}

/// Counts over the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSummary {
    /// All nodes.
    pub total_nodes: u32,
    /// Of these, ready.
    pub ready_nodes: u32,
    /// Of these, not ready.
    pub not_ready_nodes: u32,
    /// Of these, draining.
    pub draining_nodes: u32,
    /// All workloads, those being deleted too.
    pub total_workloads: u32,
    /// Of these, confirmed running.
    pub running_workloads: u32,
    /// Of these, pending, unknown or on their way.
    pub pending_workloads: u32,
    /// Of these, failed.
    pub failed_workloads: u32,
    /// Of these, stopped.
    pub stopped_workloads: u32,
    /// Of these, being deleted.
    pub deleted_workloads: u32,
    /// Capacity of all nodes, unknown disks counted as none.
    pub capacity: Resources,
    /// Allocated on all nodes.
    pub allocated: Resources,
    /// When this was counted.
    pub generated_at: Timestamp,
    /// How old this is.
    pub freshness: Freshness,
}

/// Events in the order of ids.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventRecord>,
    /// Events between `after` and the first of these may have left by retention.
    pub gap: bool,
    /// How old this is.
    pub freshness: Freshness,
}

/// The scheduler's own state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchedulerStatus {
    /// It leads and the store answers.
    pub leading: bool,
    /// Its epoch; 0 when it has not led.
    pub epoch: Epoch,
    /// Why it does not lead.
    pub deposed: Option<super::Deposed>,
    /// Evictions are paused because many nodes vanished at once.
    pub eviction_paused: bool,
    /// The newest revision of the store that it knows.
    pub revision: StoreRevision,
    /// Workloads that wait for a node.
    pub pending: u32,
    /// Transactions in flight.
    pub commits_in_flight: u32,
    /// Agent calls in flight.
    pub calls_in_flight: u32,
    /// Agent calls that wait for a place in the pool.
    pub calls_queued: u32,
    /// Records that cannot be read and are left alone.
    pub quarantined: u32,
}
