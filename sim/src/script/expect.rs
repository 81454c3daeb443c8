//! What a scenario expects, beside all the rules.

use std::collections::BTreeMap;

use berth_core::WorkloadId;
use berth_core::model::node::NodeStatus;
use berth_core::model::workload::{ActualState, FailureKind};
use berth_core::placement::Filter;
use serde::{Deserialize, Serialize};

use crate::process::Process;

use super::said::Said;
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
#[serde(untagged, try_from = "Said")]
pub enum That {
    /// Of a workload.
    Workload(WorkloadIs),
    /// Of a node.
    Node(NodeIs),
    /// Of the whole run so far: this mark was reached, by its name.
    Reached {
        /// Which mark.
        reached: String,
        /// So often, and no more; at least once, if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        times: Option<u64>,
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
    /// Of the schedulers: this one leads and no other does, as far as they know.
    Leader {
        /// Which.
        leader: Leader,
    },
    /// Of the whole run so far: so often somebody began to lead.
    Elections {
        /// How often.
        elections: u64,
    },
}

/// Who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Leader {
    /// None of them: `nobody`.
    Nobody,
    /// This one: `scheduler-0`.
    Is(Process),
}

impl From<Leader> for String {
    fn from(leader: Leader) -> Self {
        match leader {
            Leader::Nobody => "nobody".to_owned(),
            Leader::Is(process) => process.to_string(),
        }
    }
}

impl TryFrom<String> for Leader {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(process @ Process::Replica(_)) => Ok(Self::Is(process)),
            _ if text == "nobody" => Ok(Self::Nobody),
            _ => Err(format!(
                "expected `scheduler-N` or `nobody`, found `{text}`"
            )),
        }
    }
}

/// What is expected of a workload: all that is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkloadIs {
    /// Which.
    pub workload: WorkloadId,
    /// Its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Its home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Process>,
    /// Not its home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_on: Option<Process>,
    /// Failures counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Part of what people are told of why it is not running, or of its last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The kind of its last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// It has no home, and so many nodes were refused, each by the first filter that it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<BTreeMap<Filter, u32>>,
    /// The tag of the image that its home runs, in truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs_image: Option<u64>,
}

/// What is expected of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeIs {
    /// Which.
    pub node: Process,
    /// Its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<NodeState>,
    /// How many artifacts are live on it, in truth.
    #[serde(skip_serializing_if = "Option::is_none")]
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

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Stopped,
        Self::Failed,
        Self::Unknown,
        Self::Gone,
    ];
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

impl NodeState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ready, Self::NotReady, Self::Draining, Self::Gone];
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
