//! The records of a workload: what it should be, where it is, what is being done about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Extra;
use super::id::{NodeId, Revision, TenantId, WorkloadId};
use super::spec::{Constraints, Spec};
use super::time::Timestamp;
use super::units::Resources;
use crate::placement::PlacementNote;

/// What a client wants of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DesiredState {
    /// It runs.
    Running,
    /// It exists and does not run.
    Stopped,
    /// It goes away, then its record.
    Deleted,
}

/// What is known of a workload.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum ActualState {
    /// Accepted; not running yet.
    #[default]
    Pending,
    /// Confirmed running at the wanted revision by the node it is assigned to.
    Running,
    /// Confirmed stopped.
    Stopped,
    /// It failed, and no further try is due.
    Failed,
    /// Nothing recent is known, for instance because its node is lost.
    Unknown,
}

impl ActualState {
    /// All states, in order.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Running,
        Self::Stopped,
        Self::Failed,
        Self::Unknown,
    ];

    /// Whether it says where the workload has come to rest since it was placed. One that has not
    /// is still on the move from where its assignment came from (S16). `Unknown` counts as not
    /// settled: whether it ever ran there is not told, and a drain that waits for it errs on the
    /// careful side.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Running | Self::Stopped | Self::Failed => true,
            Self::Pending | Self::Unknown => false,
        }
    }
}

/// `/workloads/<id>`: the canonical record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    /// Its id.
    pub id: WorkloadId,
    /// The revision of `spec`.
    pub revision_id: Revision,
    /// What the client wants.
    pub desired_state: DesiredState,
    /// Where it is assigned; the same as its assignment record says.
    pub assigned_node: Option<NodeId>,
    /// What to run: `type` and `spec` in JSON.
    #[serde(flatten)]
    pub spec: Arc<Spec>,
    /// What it asks for.
    pub resources: Resources,
    /// Where it may run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub constraints: Constraints,
    /// Whose quota it counts against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Higher is placed first when room appears.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// The user's own metadata; reaches the agent as labels, unchanged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Copy of the retry record, for readers of the canonical shape.
    pub retry: RetryState,
    /// What is known of it.
    pub status: WorkloadStatus,
    /// Who did what last.
    pub metadata: WorkloadMetadata,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl WorkloadRecord {
    /// Its kind.
    #[must_use]
    pub fn workload_type(&self) -> super::spec::WorkloadType {
        self.spec.workload_type()
    }
}

/// The retry machine's state, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryState {
    /// Failures since the last fresh start.
    pub attempts: u32,
    /// At this many the workload is `Failed`.
    pub max_attempts: u32,
    /// No action starts before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Timestamp>,
    /// A failure that cannot heal ended the tries, or `attempts` reached the maximum.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exhausted: bool,
}

/// What is known of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    /// The state.
    pub actual_state: ActualState,
    /// When the state or its reason last changed.
    pub last_updated: Timestamp,
    /// Why it is `Failed` or still `Pending`, for people; empty otherwise.
    #[serde(default)]
    pub failure_reason: String,
    /// The kind of failure, typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// Since when it has run without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Timestamp>,
    /// Why it is where it is, or nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementNote>,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Who did what last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadMetadata {
    /// When a client created it.
    pub created_at: Timestamp,
    /// The last action that the scheduler decided.
    #[serde(default)]
    pub last_action: Option<Action>,
    /// The last error that an agent reported, for people.
    #[serde(default)]
    pub last_error: String,
    /// Counts changes of the spec and the desired state.
    #[serde(default)]
    pub generation: u64,
    /// The label that the client gave to the spec; differs from `revision_id` when the client
    /// used it for another spec before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_label: Option<Revision>,
    /// Hash of the canonical spec, hexadecimal.
    #[serde(default)]
    pub spec_hash: String,
    /// Labels that earlier specs had, with the hashes of those, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels_used: Vec<(Revision, String)>,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What the reconciler can do about a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Make it exist and run at the wanted revision.
    Apply,
    /// Make it exist and not run.
    ApplyStopped,
    /// Delete, confirm missing, then apply the same revision.
    Recreate,
    /// Make it not exist.
    Delete,
}

impl Action {
    /// All actions, in order.
    pub const ALL: [Self; 4] = [
        Self::Apply,
        Self::ApplyStopped,
        Self::Recreate,
        Self::Delete,
    ];
}

/// The kinds of failure, as agents and the scheduler tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The image could not be pulled now.
    ImagePullFailed,
    /// The image does not exist. Permanent.
    ImageNotFound,
    /// The node has too little of something.
    InsufficientResources,
    /// The agent refuses the spec. Permanent.
    InvalidSpec,
    /// The runtime failed, or the workload ended by itself.
    RuntimeError,
    /// The node's runtime for this kind of workload is not there. Of the infrastructure.
    RuntimeUnavailable,
    /// A network of the workload.
    NetworkError,
    /// A volume of the workload.
    StorageError,
    /// The virtual machine does not boot.
    VmBootFailed,
    /// The node does not answer. Of the infrastructure.
    NodeUnreachable,
    /// It did not start in time.
    StartTimeout,
}

/// How a failure bears on the retry law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureClass {
    /// Counts as an attempt.
    Workload,
    /// Does not count.
    Infrastructure,
    /// Ends the tries at once.
    Permanent,
}

impl FailureKind {
    /// How it bears on the retry law (S7).
    #[must_use]
    pub const fn class(self) -> FailureClass {
        match self {
            Self::ImageNotFound | Self::InvalidSpec => FailureClass::Permanent,
            Self::NodeUnreachable | Self::RuntimeUnavailable => FailureClass::Infrastructure,
            Self::ImagePullFailed
            | Self::InsufficientResources
            | Self::RuntimeError
            | Self::NetworkError
            | Self::StorageError
            | Self::VmBootFailed
            | Self::StartTimeout => FailureClass::Workload,
        }
    }
}

/// `/assignments/<workload-id>`: its home, and what is reserved there (S3, S4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignmentRecord {
    /// The workload.
    pub workload_id: WorkloadId,
    /// Its node.
    pub node_id: NodeId,
    /// What is reserved for it there.
    pub resources: Resources,
    /// The revision that it was decided for.
    pub revision_id: Revision,
    /// When.
    pub assigned_at: Timestamp,
    /// Whose decision it was.
    pub epoch: super::id::Epoch,
    /// The nodes that it was moved from since it was last settled, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_from: Vec<NodeId>,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `/reconciliation/<workload-id>`: the intent. Committed before the agent is called (S1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentRecord {
    /// The workload.
    pub workload_id: WorkloadId,
    /// What is to be done.
    pub action: Action,
    /// For which revision.
    pub revision_id: Revision,
    /// Where.
    pub node_id: NodeId,
    /// Why, for people.
    pub reason: String,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// What became of it.
    pub outcome: IntentOutcome,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What became of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntentOutcome {
    /// Nothing is known yet: a new leader observes before it acts.
    Open,
    /// The agent's state equals what was wanted.
    Done,
    /// It failed.
    Failed,
    /// Another decision took its place.
    Superseded,
}

/// `/retries/<workload-id>`: the retry machine's state. Present only while it says something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRecord {
    /// The workload.
    pub workload_id: WorkloadId,
    /// The revision that failed.
    pub revision_id: Revision,
    /// The state.
    #[serde(flatten)]
    pub state: RetryState,
    /// When it last failed.
    pub last_failure_at: Timestamp,
    /// How.
    pub last_failure: FailureKind,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `/meta/tombstones/<node-id>/<workload-id>`: a copy that must be confirmed gone from a node
/// where the workload was once assigned. Its resources stay reserved there until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// The workload.
    pub workload_id: WorkloadId,
    /// Where a copy may still be.
    pub node_id: NodeId,
    /// What it may still use there.
    pub resources: Resources,
    /// Since when.
    pub since: Timestamp,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}
