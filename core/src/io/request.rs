//! Requests of clients and agents, and their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::AgentStatus;
use super::view::{
    ClusterSummary, EventPage, Explanation, NodeView, SchedulerStatus, WorkloadView,
};
use crate::model::id::{EventId, NodeId, Revision, StoreRevision, TenantId, WorkloadId};
use crate::model::node::NodeUsage;
use crate::model::spec::{Constraints, Spec, WorkloadType};
use crate::model::time::Timestamp;
use crate::model::units::{Gibibytes, Mebibytes, Millicores, Resources};
use crate::model::workload::{ActualState, DesiredState};

/// What can be asked of the scheduler.
// One is alive at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// An agent announces its node.
    Register(Registration),
    /// An agent is alive.
    Heartbeat(Heartbeat),
    /// Create a workload, change its spec, or (without a spec) its desired state only.
    Apply(ApplyWorkload),
    /// Set the desired state to `Deleted`.
    Delete {
        /// The workload.
        workload: WorkloadId,
        /// Only if its record was last written at this revision.
        if_match: Option<StoreRevision>,
    },
    /// Start the tries anew.
    Retry {
        /// The workload.
        workload: WorkloadId,
    },
    /// Forbid or allow new placements on a node.
    SetSchedulable {
        /// The node.
        node: NodeId,
        /// Whether placements are allowed.
        schedulable: bool,
    },
    /// Move everything off a node.
    Drain {
        /// The node.
        node: NodeId,
        /// What is left after this is moved at once.
        deadline: Duration,
        /// How many workloads may be on the move at once; at least 1.
        parallelism: u32,
    },
    /// End a drain; the node stays cordoned.
    CancelDrain {
        /// The node.
        node: NodeId,
    },
    /// Declare a node dead: its grace ends at once.
    Fence {
        /// The node.
        node: NodeId,
    },
    /// Remove a node's record. Only when it is not ready and nothing is assigned to it.
    Purge {
        /// The node.
        node: NodeId,
    },
    /// A suggestion of an automation service.
    Suggest(Suggestion),
    /// Read something.
    Read(Query),
}

/// An agent announces its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The node.
    pub node: NodeId,
    /// Where its agent answers: `host:port`.
    pub endpoint: String,
    /// All CPU.
    pub cpu_total: Millicores,
    /// All memory.
    pub memory_total: Mebibytes,
    /// The sum of its storage pools; `None`: none reported, unknown.
    pub disk_total: Option<Gibibytes>,
    /// What it can run.
    pub supported_workload_types: BTreeSet<WorkloadType>,
    /// Its storage drivers.
    pub supported_storage_drivers: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The agent's version; may be empty.
    pub agent_version: String,
    /// Changes with every boot of the machine; may be empty.
    pub boot_id: String,
    /// Changes with every process of the agent; may be empty.
    pub incarnation: String,
}

/// An agent is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The node.
    pub node: NodeId,
    /// What its host uses.
    pub usage: NodeUsage,
    /// What it says of its workloads. Without revisions: hints, never evidence.
    pub statuses: Arc<[AgentStatus]>,
}

/// Create or change a workload. Built by [`crate::admission`], which checks every field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyWorkload {
    /// The workload.
    pub workload: WorkloadId,
    /// The whole new spec; `None`: change the desired state only.
    pub spec: Option<NewSpec>,
    /// The client's label of the spec.
    pub revision: Option<Revision>,
    /// What the client wants: `Running` or `Stopped`. `None`: as it is, `Running` for a new one.
    pub desired_state: Option<DesiredState>,
    /// Only if the record was last written at this revision; 0: only if there is none.
    pub if_match: Option<StoreRevision>,
    /// Change nothing; answer what would be.
    pub dry_run: bool,
}

/// A spec with everything that belongs to it. Replaces the former one as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSpec {
    /// What to run.
    pub spec: Spec,
    /// What it asks for.
    pub resources: Resources,
    /// Where it may run.
    pub constraints: Constraints,
    /// Whose quota it counts against.
    pub tenant: Option<TenantId>,
    /// Higher is placed first.
    pub priority: i32,
    /// After this many failures it is `Failed`; `None`: the configured default.
    pub max_attempts: Option<u32>,
    /// The user's own metadata.
    pub labels: BTreeMap<String, String>,
}

/// What an automation service suggests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The policy that it comes from.
    pub policy: String,
    /// The workload.
    pub workload: WorkloadId,
    /// What to do.
    pub action: SuggestedAction,
    /// Why, bounded.
    pub reason: String,
}

/// What an automation service can suggest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SuggestedAction {
    /// Set the desired state.
    SetDesiredState(DesiredState),
    /// Start the tries anew.
    Retry,
    /// Delete it.
    Delete,
    /// Change the number of replicas; always refused, workloads are single instances.
    Scale,
}

/// What can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One workload.
    Workload(WorkloadId),
    /// Workloads in the order of ids.
    Workloads(WorkloadFilter),
    /// One node.
    Node(NodeId),
    /// Nodes in the order of ids.
    Nodes(NodeFilter),
    /// Counts.
    Summary,
    /// Why a workload is where it is, or nowhere.
    Explain(WorkloadId),
    /// Events in the order of ids.
    Events {
        /// Only those after this one.
        after: Option<EventId>,
        /// Only those of this workload.
        workload: Option<WorkloadId>,
        /// Only those of this node.
        node: Option<NodeId>,
        /// At most this many; the newest of those that match when `after` is `None`.
        limit: usize,
    },
    /// The scheduler's own state.
    Status,
}

/// Which workloads, and which page of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadFilter {
    /// Assigned to this node.
    pub node: Option<NodeId>,
    /// Whose displayed status is this, in any case of letters.
    pub status: Option<String>,
    /// In this actual state.
    pub actual_state: Option<ActualState>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Ids after this one.
    pub after: Option<WorkloadId>,
    /// At most this many; 0: all.
    pub limit: usize,
}

/// Which nodes, and which page of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFilter {
    /// Whose status is this, in any case of letters.
    pub status: Option<String>,
    /// Ids after this one.
    pub after: Option<NodeId>,
    /// At most this many; 0: all.
    pub limit: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// To a registration.
    Registered {
        /// How often to heartbeat.
        heartbeat_interval: Duration,
        /// Until when the node is trusted without another heartbeat.
        lease_expires_at: Timestamp,
    },
    /// To a heartbeat.
    HeartbeatAck {
        /// The node is draining.
        drain: bool,
        /// Until when the node is trusted without another heartbeat.
        lease_expires_at: Timestamp,
    },
    /// To an apply, a delete or a retry: the workload after the commit.
    Workload(Box<WorkloadView>),
    /// To workloads.
    Workloads {
        /// The page.
        workloads: Vec<WorkloadView>,
        /// More follow after the last of these.
        more: bool,
        /// How old this is.
        freshness: Freshness,
    },
    /// To everything about one node: its state after the commit.
    Node(Box<NodeView>),
    /// To nodes.
    Nodes {
        /// The page.
        nodes: Vec<NodeView>,
        /// More follow after the last of these.
        more: bool,
        /// How old this is.
        freshness: Freshness,
    },
    /// To a purge.
    Purged,
    /// To a suggestion: whether it was taken up.
    Suggestion {
        /// Whether it was taken up.
        accepted: bool,
        /// Why or why not, for people.
        reason: String,
        /// When it was decided.
        decided_at: Timestamp,
    },
    /// To a summary.
    Summary(ClusterSummary),
    /// To an explain.
    Explanation(Box<Explanation>),
    /// To events.
    Events(EventPage),
    /// To a status.
    Status(Box<SchedulerStatus>),
}

/// How old an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// The newest revision of the store that it reflects.
    pub revision: StoreRevision,
    /// The store is out of reach, or this replica does not lead: it may be old.
    pub stale: bool,
    /// How long ago it was known to be the newest, milliseconds; 0 from the leader.
    #[serde(default)]
    pub age_ms: u64,
}

/// What became of a request that was not answered as it was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It was not carried out, and will not be.
    #[default]
    None,
    /// It may have been carried out, or may still be.
    Unknown,
}

/// Why a request was not granted. Shown to people as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RequestError {
    /// A field is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which, as a path in the request.
        field: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// There is no such workload.
    #[error("workload {0} does not exist")]
    NoSuchWorkload(WorkloadId),
    /// There is no such node.
    #[error("node {0} does not exist")]
    NoSuchNode(NodeId),
    /// The node heartbeats and takes no calls where it said it would: its agent must say again
    /// where it answers.
    #[error("node {0} is not reached at the endpoint that it registered: it must register again")]
    RegisterAgain(NodeId),
    /// The record changed since the client read it.
    #[error("the record is at revision {current}, not at {expected}: read it again")]
    Stale {
        /// What the client expected.
        expected: StoreRevision,
        /// What is.
        current: StoreRevision,
    },
    /// It cannot be done in the present state.
    #[error("{0}")]
    Refused(String),
    /// This replica does not lead, or the store is out of reach: try again.
    #[error("{reason}; try again in {} s", retry_after.as_secs().max(1))]
    Unavailable {
        /// Why.
        reason: String,
        /// When to try again.
        retry_after: Duration,
        /// Whether it may have happened all the same.
        #[serde(default)]
        effect: Effect,
    },
    /// Too much is asked of this workload at once: try again.
    #[error("{0} has too many requests waiting; try again in 1 s")]
    Busy(String),
    /// The store refused the write for good, for instance because it is too large.
    #[error("the store refused the write: {0}")]
    StoreRefused(String),
}

impl RequestError {
    /// A wrong field.
    #[must_use]
    pub fn invalid(field: impl Into<String>, problem: impl ToString) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.to_string(),
        }
    }
}
