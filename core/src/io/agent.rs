//! Calls to agents, as typed values. The conversions to the wire are in [`crate::wire`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::id::{CallId, Epoch, NodeId, Revision, WorkloadId};
use crate::model::spec::{Spec, WorkloadType};
use crate::model::units::Resources;
use crate::model::workload::FailureKind;

/// A call to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentCall {
    /// Names it in [`crate::Input::Agent`].
    pub id: CallId,
    /// The node.
    pub node: NodeId,
    /// Where its agent answers: `host:port`.
    pub endpoint: String,
    /// Whose call it is; travels as metadata, and agents refuse older ones (S2).
    pub epoch: Epoch,
    /// How long to wait for the answer.
    pub timeout: Duration,
    /// What to call.
    pub op: AgentOp,
}

/// What can be asked of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AgentOp {
    /// Make a workload exist at this revision, running or stopped.
    Apply {
        /// The workload.
        workload: WorkloadId,
        /// The revision.
        revision: Revision,
        /// Running or stopped.
        running: bool,
        /// What to run.
        spec: Arc<Spec>,
        /// Its limits.
        resources: Resources,
        /// The user's metadata: labels of the artifact.
        labels: BTreeMap<String, String>,
    },
    /// Make a workload not exist.
    Delete {
        /// The workload.
        workload: WorkloadId,
    },
    /// Ask for the state of one workload.
    Status {
        /// The workload.
        workload: WorkloadId,
    },
    /// Ask for the state of all.
    List,
}

impl AgentOp {
    /// The workload that it concerns.
    #[must_use]
    pub const fn workload(&self) -> Option<&WorkloadId> {
        match self {
            Self::Apply { workload, .. }
            | Self::Delete { workload }
            | Self::Status { workload } => Some(workload),
            Self::List => None,
        }
    }

    /// Whether it changes anything on the node.
    #[must_use]
    pub const fn is_mutation(&self) -> bool {
        match self {
            Self::Apply { .. } | Self::Delete { .. } => true,
            Self::Status { .. } | Self::List => false,
        }
    }
}

/// What an agent says of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AgentState {
    /// The agent does not have it (never on the wire: its absence).
    Missing,
    /// It is being worked on.
    Pending,
    /// It runs.
    Running,
    /// It exists and does not run.
    Stopped,
    /// It failed.
    Failed,
    /// The agent cannot tell.
    Unknown,
}

/// An agent's word on one workload, bounded and typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The workload; `None`: not an id of ours.
    pub workload: Option<WorkloadId>,
    /// The id as the agent wrote it.
    pub raw_id: String,
    /// Its kind, if the agent says so.
    pub workload_type: Option<WorkloadType>,
    /// The revision; heartbeats and tasks carry none.
    pub revision: Option<Revision>,
    /// The state.
    pub state: AgentState,
    /// The kind of failure when it failed.
    pub failure: Option<FailureKind>,
    /// The agent's text, bounded.
    pub message: String,
}

/// An answer of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentReply {
    /// To an apply: accepted (it goes on by itself) or, when an old agent was full, done.
    Applied,
    /// To an apply: refused, with the agent's reason.
    ApplyRefused {
        /// The kind of failure.
        failure: FailureKind,
        /// The agent's text, bounded.
        message: String,
    },
    /// To a delete: accepted.
    Deleting,
    /// To a delete or a status: the agent does not have the workload.
    Missing,
    /// To a delete: refused, with the agent's reason.
    DeleteRefused {
        /// The agent's text, bounded.
        message: String,
    },
    /// To a status.
    Status(AgentStatus),
    /// To a list.
    Listing(Arc<[AgentStatus]>),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentError {
    /// No connection: the call certainly did not arrive.
    Unreachable(String),
    /// No answer in time: the call may have been carried out.
    Timeout,
    /// The agent knows a later epoch: this replica is not the leader any more.
    StaleEpoch,
    /// The agent answered with another error, bounded; the call may have been carried out.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_changes_something_and_a_question_does_not() {
        let workload: WorkloadId = "w".parse().unwrap();
        let delete = AgentOp::Delete {
            workload: workload.clone(),
        };
        let status = AgentOp::Status { workload };
        assert!(delete.is_mutation() && delete.workload().is_some());
        assert!(!status.is_mutation() && status.workload().is_some());
        assert!(!AgentOp::List.is_mutation() && AgentOp::List.workload().is_none());
    }
}
