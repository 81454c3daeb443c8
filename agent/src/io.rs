//! The machine's whole interface: what comes in, what goes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::spec::WorkloadType;
use berth_core::{Epoch, Timestamp, WorkloadId};
use berth_proto::{agent::v1 as agent, control::v1 as control};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::record::{LaunchId, Record, SpecBlob};

/// Names a request until it is answered; chosen by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a write until it is durable; chosen by the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Names a call to the scheduler until its outcome is known; chosen by the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlCallId(pub u64);

/// Names a command to the runtime until it is answered; chosen by the machine.
///
/// A runtime may outlive the agent, and so may the commands that it has under way: the life keeps
/// the completion of an earlier agent's command from being taken for an answer to this one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId {
    /// The life of the agent that gave it; see [`Restored::life`].
    pub life: u64,
    /// Counts the commands of that life.
    pub number: u64,
}

/// What a caller says of itself in the metadata of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The node that it means. Optional: with it, a call that is meant for another node is refused.
    pub node: Option<berth_core::NodeId>,
    /// The leader's epoch; `None`: a caller that knows no epochs, who is always heard.
    pub epoch: Option<Epoch>,
    /// The number that this leader gave to the call. Optional: with it, a call that was overtaken
    /// by a later one is refused.
    pub call: Option<u64>,
}

/// What can happen to an agent.
#[allow(
    clippy::large_enum_variant,
    reason = "lives for one call; a box would be one more allocation"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum AgentInput {
    /// Somebody calls.
    Request {
        /// Names the call in [`AgentOutput::Reply`].
        id: RequestId,
        /// Who calls.
        caller: Caller,
        /// What is asked.
        request: AgentRequest,
    },
    /// A write came to its end.
    Written {
        /// Which.
        id: WriteId,
        /// Durable; or not, and why. The machine tries again.
        result: Result<(), String>,
    },
    /// The runtime did something, or something happened in it.
    Runtime(RuntimeNews),
    /// A call to the scheduler came to its end.
    Control {
        /// Which.
        id: ControlCallId,
        /// The answer; or none, and why.
        result: Result<ControlAnswer, String>,
    },
    /// The host's utilisation, as the next heartbeats tell it.
    Usage(control::NodeUsage),
    /// Time passed: a deadline of [`crate::AgentMachine::poll_deadline`], or any other moment.
    Tick,
}

/// What can be asked of an agent. Health is the host's to answer.
#[allow(
    clippy::large_enum_variant,
    reason = "lives for one call; a box would be one more allocation"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum AgentRequest {
    /// Make a workload be what the request says.
    Apply(agent::ApplyWorkloadRequest),
    /// Remove a workload.
    Delete(agent::DeleteWorkloadRequest),
    /// The state of one workload.
    Status(agent::GetWorkloadStatusRequest),
    /// The state of all.
    List(agent::ListWorkloadsRequest),
    /// What the agent was told to do since it started.
    Actions(agent::ListActionsRequest),
}

/// An answer to an [`AgentRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum AgentReply {
    /// To an apply.
    Apply(Box<agent::ApplyWorkloadResponse>),
    /// To a delete.
    Delete(agent::DeleteWorkloadResponse),
    /// To a status.
    Status(Box<agent::GetWorkloadStatusResponse>),
    /// To a list.
    List(Arc<agent::ListWorkloadsResponse>),
    /// To a list of actions.
    Actions(agent::ListActionsResponse),
    /// To any: an error of gRPC.
    Refused(Refusal),
}

/// Why a request got an error of gRPC instead of an answer in band.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `FAILED_PRECONDITION`: a later leader has spoken (S2).
    #[error("stale epoch {got}: epoch {highest} has spoken to this agent")]
    StaleEpoch {
        /// The caller's.
        got: Epoch,
        /// The highest that was seen.
        highest: Epoch,
    },
    /// `FAILED_PRECONDITION`: a later call of the same leader has spoken of this workload.
    #[error("stale call {got}: call {latest} has spoken of this workload")]
    StaleCall {
        /// The caller's.
        got: u64,
        /// The latest that was seen.
        latest: u64,
    },
    /// `FAILED_PRECONDITION`: another node is meant, which is not here any more, or not yet.
    #[error("another node is meant: this is {this}, not {meant}")]
    AnotherNode {
        /// The caller's.
        meant: berth_core::NodeId,
        /// The agent's own.
        this: berth_core::NodeId,
    },
    /// `NOT_FOUND`.
    #[error("workload not found")]
    NotFound,
    /// `RESOURCE_EXHAUSTED`: the agent keeps as many workloads as it may.
    #[error("the agent already keeps {0} workloads")]
    Full(usize),
    /// `UNAVAILABLE`: the state could not be written; whether the call has an effect is open.
    #[error("the agent's state is not durable: {0}")]
    NotDurable(String),
}

/// What an agent wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentOutput {
    /// Write something. Writes are carried out in the order in which they come out, and each
    /// is answered by [`AgentInput::Written`].
    Write {
        /// Names it.
        id: WriteId,
        /// What to write.
        write: Write,
    },
    /// Tell the runtime to do something. Answered by news that names it; per workload, never more
    /// than one of this life is under way. A `CutShort` has no answer, and comes beside a start.
    Runtime {
        /// Names it.
        id: CommandId,
        /// What to do.
        command: RuntimeCommand,
    },
    /// Answer a request.
    Reply {
        /// Which.
        id: RequestId,
        /// The answer.
        reply: AgentReply,
    },
    /// Call the scheduler. Answered by [`AgentInput::Control`]; never more than one is under way.
    Control {
        /// Names it.
        id: ControlCallId,
        /// The call.
        call: ControlCall,
    },
}

/// Something to make durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The highest epoch that was seen.
    Epoch(Epoch),
    /// A workload's record, in place of its former one.
    Record(Box<Record>),
    /// A workload's record goes.
    Forget(WorkloadId),
}

/// Something for the runtime to do. All are idempotent: carried out twice, they come to the same.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeCommand {
    /// Make the artifact exist and run. Answered by `Started` or `StartFailed`. When this very
    /// start was carried out before, it is not done again.
    Start(Box<StartCommand>),
    /// Nobody wants what this start makes any more: if it is under way, whoever gave it, it ends
    /// now, and is answered by `StartFailed`. Has no answer of its own; what runs already is left
    /// alone.
    CutShort(LaunchId),
    /// Make the artifact not run, and keep it. Answered by `Stopped` or `CommandFailed`.
    Stop(LaunchId),
    /// Make the artifact not exist, whatever state it is in. Answered by `Removed` or
    /// `CommandFailed`.
    Remove(LaunchId),
    /// Find out what this start came to; the agent was not there. Answered by `Probed`. From now
    /// on its end is told by `Exited`.
    Probe(LaunchId),
}

impl RuntimeCommand {
    /// The start that it speaks of.
    #[must_use]
    pub fn launch(&self) -> &LaunchId {
        match self {
            Self::Start(start) => &start.launch,
            Self::CutShort(launch)
            | Self::Stop(launch)
            | Self::Remove(launch)
            | Self::Probe(launch) => launch,
        }
    }
}

/// What to start.
#[derive(Debug, Clone, PartialEq)]
pub struct StartCommand {
    /// Which start of which artifact.
    pub launch: LaunchId,
    /// The revision that it is.
    pub revision: berth_core::Revision,
    /// What to run.
    pub spec: SpecBlob,
}

/// What the runtime says, in the order in which things happened: the end of what a start or a
/// probe speaks of is told after the answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeNews {
    /// The command that it answers; `None`: it happened by itself. The machine believes an answer
    /// to a command of its own; that one of another life came to its end only makes it look again.
    pub answers: Option<CommandId>,
    /// What happened.
    pub event: RuntimeEvent,
}

/// Something that happened in the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// It runs.
    Started {
        /// Which start.
        launch: LaunchId,
        /// For people.
        message: String,
        /// By key.
        details: BTreeMap<String, String>,
    },
    /// It could not be started; nothing of it runs.
    StartFailed {
        /// Which start.
        launch: LaunchId,
        /// Why.
        failure: Failure,
    },
    /// It ended by itself.
    Exited {
        /// Which start.
        launch: LaunchId,
        /// How.
        exit: Exit,
    },
    /// It does not run any more.
    Stopped {
        /// Which start.
        launch: LaunchId,
    },
    /// It does not exist any more.
    Removed {
        /// Which start.
        launch: LaunchId,
    },
    /// A stop or a remove was not possible now. The machine tries again.
    CommandFailed {
        /// Which start.
        launch: LaunchId,
        /// Why.
        message: String,
    },
    /// What a start came to.
    Probed {
        /// Which start.
        launch: LaunchId,
        /// What it came to.
        found: Found,
    },
}

impl RuntimeEvent {
    /// The start that it speaks of.
    #[must_use]
    pub fn launch(&self) -> &LaunchId {
        match self {
            Self::Started { launch, .. }
            | Self::StartFailed { launch, .. }
            | Self::Exited { launch, .. }
            | Self::Stopped { launch }
            | Self::Removed { launch }
            | Self::CommandFailed { launch, .. }
            | Self::Probed { launch, .. } => launch,
        }
    }
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; `None`: a signal ended it, or nobody knows.
    pub code: Option<i32>,
    /// For people.
    pub message: String,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It runs.
    Running {
        /// For people.
        message: String,
        /// By key.
        details: BTreeMap<String, String>,
    },
    /// It was begun and has not come to its end. The machine asks again.
    Starting,
    /// It ran and ended.
    Exited(Exit),
    /// It exists and was stopped by a command.
    Stopped,
    /// There is no trace of this start: it did not happen, or what it made is gone.
    Absent,
    /// The runtime cannot tell now, and why. The machine asks again.
    Unclear(String),
}

/// What a heartbeat says. What it says of workloads is the same again and again, and shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// All but `workload_statuses`.
    pub head: Box<control::HeartbeatRequest>,
    /// What it says of workloads.
    pub statuses: Arc<Vec<control::WorkloadStatus>>,
}

impl Heartbeat {
    /// The message of the contract.
    #[must_use]
    pub fn into_message(self) -> control::HeartbeatRequest {
        control::HeartbeatRequest {
            workload_statuses: Arc::unwrap_or_clone(self.statuses),
            ..*self.head
        }
    }
}

/// A call to the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub enum ControlCall {
    /// `RegisterNode`.
    Register(Box<control::RegisterNodeRequest>),
    /// `Heartbeat`.
    Heartbeat(Heartbeat),
}

/// An answer of the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub enum ControlAnswer {
    /// To `RegisterNode`.
    Registered(control::RegisterNodeResponse),
    /// To `Heartbeat`.
    Heartbeat(control::HeartbeatResponse),
}

/// What the agent is and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// The node's id.
    pub node_id: berth_core::NodeId,
    /// `host:port` at which the scheduler reaches the agent.
    pub grpc_endpoint: String,
    /// The agent's version, as it is reported.
    pub version: String,
    /// The node's labels; `os` and `arch` are the host's to add.
    pub labels: BTreeMap<String, String>,
    /// The node's totals.
    pub capacity: berth_core::model::units::Resources,
    /// The kinds of workload that the runtime can run.
    pub supported_types: Vec<WorkloadType>,
    /// The storage drivers that the runtime has.
    pub storage_drivers: Vec<String>,
    /// Whether there is a scheduler to register with.
    pub has_scheduler: bool,
    /// Between heartbeats; `None`: as the scheduler says.
    pub heartbeat_interval: Option<Duration>,
    /// Between heartbeats that tell of changes, at least.
    pub heartbeat_gap_min: Duration,
    /// A call to the scheduler that takes longer has failed.
    pub control_timeout: Duration,
    /// How long a deleted workload's stamp is remembered.
    pub tombstone_ttl: Duration,
    /// How many workloads the agent keeps, tombstones included.
    pub workloads_max: usize,
}

impl AgentConfig {
    /// A node of this id that answers at this endpoint: 4 cores, 8 GiB, 100 GiB, all kinds of
    /// workload, the times of the reference agent.
    #[must_use]
    pub fn new(node_id: berth_core::NodeId, grpc_endpoint: impl Into<String>) -> Self {
        Self {
            node_id,
            grpc_endpoint: grpc_endpoint.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: BTreeMap::new(),
            capacity: berth_core::model::units::Resources::new(4_000, 8_192, 100),
            supported_types: WorkloadType::ALL.to_vec(),
            storage_drivers: vec!["local".to_owned()],
            has_scheduler: true,
            heartbeat_interval: None,
            heartbeat_gap_min: Duration::from_millis(100),
            control_timeout: Duration::from_secs(10),
            tombstone_ttl: Duration::from_secs(600),
            workloads_max: 10_000,
        }
    }
}

/// What an agent finds on its disk when it starts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restored {
    /// The highest epoch that was seen.
    pub epoch: Option<Epoch>,
    /// The records.
    pub records: Vec<Record>,
    /// When the agent starts.
    pub now: Timestamp,
    /// Which life of the agent begins: no earlier one whose commands may still be under way in the
    /// runtime had this number. How often it was started is such a number.
    pub life: u64,
}
