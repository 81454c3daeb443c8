//! The record of a node.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Extra;
use super::id::NodeId;
use super::spec::WorkloadType;
use super::time::Timestamp;
use super::units::{Gibibytes, Mebibytes, Millicores, Resources};

/// Whether a node can be trusted with work.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum NodeStatus {
    /// It heartbeats and can be called.
    #[default]
    Ready,
    /// It missed heartbeats, or cannot be called.
    NotReady,
    /// Its workloads are being moved off.
    Draining,
}

impl NodeStatus {
    /// All states, in order.
    pub const ALL: [Self; 3] = [Self::Ready, Self::NotReady, Self::Draining];
}

/// Why a node's status is what it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeReason {
    /// Its agent registered.
    #[default]
    Registered,
    /// Its agent was heard again.
    HeartbeatResumed,
    /// Its agent missed its heartbeats.
    HeartbeatMissed,
    /// It heartbeats, but its agent cannot be called.
    AgentUnreachable,
    /// It can be called again.
    AgentReachable,
    /// An operator drains it.
    DrainRequested,
    /// An operator ended the drain.
    DrainCancelled,
    /// An operator declared it dead.
    Fenced,
}

/// Who changed a node's status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangedBy {
    /// A registration.
    #[default]
    Register,
    /// A heartbeat.
    Heartbeat,
    /// The health machine.
    Monitor,
    /// A call to the agent.
    Reconciler,
    /// A person.
    Operator,
}

/// `/nodes/<id>`: the canonical record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// Whether it can be trusted with work.
    pub status: NodeStatus,
    /// Why, by whom, since when.
    pub status_reason: NodeReason,
    /// Who changed the status.
    pub status_changed_by: ChangedBy,
    /// Since when it has its status.
    pub status_changed_at: Timestamp,
    /// Its capacity, and what was allocated when the record was written. The live figure of
    /// allocation is always computed from assignments.
    pub resources: NodeResources,
    /// The last heartbeat that was flushed; coarse.
    pub last_heartbeat: Timestamp,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where its agent answers: `host:port`.
    pub agent_endpoint: String,
    /// The agent's version, if it says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent_version: String,
    /// What it can run; empty: nothing.
    #[serde(default)]
    pub supported_workload_types: BTreeSet<WorkloadType>,
    /// The storage drivers that it offers.
    #[serde(default)]
    pub supported_storage_drivers: BTreeSet<String>,
    /// False: cordoned, no new placements.
    #[serde(default = "yes")]
    pub schedulable: bool,
    /// Set while the node drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainState>,
    /// When it registered first.
    pub created_at: Timestamp,
    /// Changes with every boot of the machine, where the agent reports it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// Changes with every process of the agent, where the agent reports it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incarnation: String,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}

fn yes() -> bool {
    true
}

/// A drain that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainState {
    /// When it began.
    pub started_at: Timestamp,
    /// What is left then is moved at once.
    pub deadline: Timestamp,
    /// How many workloads may be on the move at once.
    pub parallelism: u32,
    /// Every workload was confirmed gone (S20).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

/// Capacity of a node, and what is allocated of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeResources {
    /// All CPU.
    pub cpu_total: Millicores,
    /// CPU of assigned workloads.
    pub cpu_allocated: Millicores,
    /// All memory, MiB.
    pub memory_total: Mebibytes,
    /// Memory of assigned workloads, MiB.
    pub memory_allocated: Mebibytes,
    /// All disk, GiB; absent: unknown, and disk is not filtered.
    #[serde(default)]
    pub disk_total: Option<Gibibytes>,
    /// Disk of assigned workloads, GiB.
    pub disk_allocated: Gibibytes,
}

impl NodeResources {
    /// What is allocated, as one amount.
    #[must_use]
    pub const fn allocated(&self) -> Resources {
        Resources {
            cpu: self.cpu_allocated,
            memory_mb: self.memory_allocated,
            disk_gb: self.disk_allocated,
        }
    }

    /// Writes what is allocated.
    pub const fn set_allocated(&mut self, allocated: Resources) {
        self.cpu_allocated = allocated.cpu;
        self.memory_allocated = allocated.memory_mb;
        self.disk_allocated = allocated.disk_gb;
    }
}

/// What the host of a node uses, as its agent reports it. Shown and fed to rules; never placement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUsage {
    /// CPU in use.
    pub cpu_used: Millicores,
    /// Memory in use, MiB.
    pub memory_used: Mebibytes,
    /// Disk in use, GiB.
    pub disk_used: Gibibytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_does_not_say_so_is_not_cordoned() {
        let since = "2026-02-17T00:00:00.000Z";
        let record = serde_json::json!({
            "id": "n", "status": "Ready", "status_reason": "Registered",
            "status_changed_by": "register", "status_changed_at": since,
            "resources": {
                "cpu_total": 1, "cpu_allocated": 0, "memory_total": 1, "memory_allocated": 0,
                "disk_allocated": 0,
            },
            "last_heartbeat": since, "agent_endpoint": "n:1", "created_at": since,
        });
        let record: NodeRecord = serde_json::from_value(record).unwrap();
        assert!(record.schedulable);
        assert_eq!(record.resources.disk_total, None);
    }
}
