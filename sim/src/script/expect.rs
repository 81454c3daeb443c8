//! What a scenario expects, beside all the rules.

use berth_core::WorkloadId;
use berth_core::model::node::NodeStatus;
use berth_core::model::workload::ActualState;
use serde::{Deserialize, Serialize};

use crate::process::Process;

use super::span::Span;

/// Something that holds at an instant, or at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// When; at the end, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Span>,
    /// What.
    pub that: That,
}

/// What holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum That {
    /// Of a workload.
    Workload(WorkloadIs),
    /// Of a node.
    Node(NodeIs),
    /// Of the whole run so far: this mark was reached, by its name.
    Reached {
        /// Which mark.
        reached: String,
    },
    /// Of the whole run so far: this mark was not reached.
    Never {
        /// Which mark.
        never: String,
    },
    /// Of the cluster: so many workloads are in a state.
    Count {
        /// Which state.
        state: State,
        /// How many.
        count: usize,
    },
}

/// What is expected of a workload: all that is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadIs {
    /// Which.
    pub workload: WorkloadId,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Its home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Process>,
    /// Not its home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_on: Option<Process>,
    /// Failures counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Part of the text that says why it is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The tag of the image that its home runs, in truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_image: Option<u64>,
}

/// What is expected of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeIs {
    /// Which.
    pub node: Process,
    /// Its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<NodeState>,
    /// How many artifacts are live on it, in truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<usize>,
}

/// The state of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Accepted; not running yet.
    Pending,
    /// Confirmed.
    Running,
    /// Confirmed stopped.
    Stopped,
    /// No further try is due.
    Failed,
    /// Its node is lost.
    Unknown,
    /// The store has no record of it.
    Gone,
}

impl From<ActualState> for State {
    fn from(state: ActualState) -> Self {
        match state {
            ActualState::Pending => Self::Pending,
            ActualState::Running => Self::Running,
            ActualState::Stopped => Self::Stopped,
            ActualState::Failed => Self::Failed,
            ActualState::Unknown => Self::Unknown,
        }
    }
}

/// The status of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It can be used.
    Ready,
    /// It is lost.
    NotReady,
    /// It is being drained.
    Draining,
    /// The store has no record of it.
    Gone,
}

impl From<NodeStatus> for NodeState {
    fn from(status: NodeStatus) -> Self {
        match status {
            NodeStatus::Ready => Self::Ready,
            NodeStatus::NotReady => Self::NotReady,
            NodeStatus::Draining => Self::Draining,
        }
    }
}
