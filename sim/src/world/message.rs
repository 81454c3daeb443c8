//! What processes say to each other. Calls of the wire contracts travel in their own encoding.

use std::fmt;

use berth_core::io::request::{Request, RequestError, Response};
use berth_core::{CallId, Epoch};

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Process {
    Store,
    Replica(usize),
    Agent(usize),
    Client(usize),
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => write!(f, "store"),
            Self::Replica(at) => write!(f, "scheduler-{at}"),
            Self::Agent(at) => write!(f, "node-{at}"),
            Self::Client(at) => write!(f, "client-{at}"),
        }
    }
}

/// Which call to an agent, with the bytes of its message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AgentMessage {
    Apply(Vec<u8>),
    Delete(Vec<u8>),
    Status(Vec<u8>),
    List(Vec<u8>),
}

/// An agent's answer: the bytes of its message, or a gRPC status.
pub(super) type AgentAnswer = Result<AgentMessage, (i32, String)>;

/// Which call of an agent to a scheduler, with the bytes of its message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ControlMessage {
    Register(Vec<u8>),
    Heartbeat(Vec<u8>),
}

/// What a message says.
#[derive(Debug, Clone)]
pub(super) enum Body {
    StoreCall { call: u64, request: Box<berth_kv::Request> },
    StoreAnswer { call: u64, result: Box<Result<berth_kv::Response, berth_kv::KvError>> },
    Watched { output: Box<berth_kv::WatchOutput> },
    AgentCall { call: CallId, epoch: Epoch, message: AgentMessage },
    AgentAnswered { call: CallId, answer: AgentAnswer },
    ControlCall { call: u64, message: ControlMessage },
    ControlAnswered { call: u64, answer: Result<ControlMessage, (i32, String)> },
    ClientCall { call: u64, request: Box<Request> },
    ClientAnswered { call: u64, answer: Box<Result<Response, RequestError>> },
    /// Nobody listens there: what a connection to a dead process is told.
    Refused { call: RefusedCall },
}

/// The call that was refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum RefusedCall {
    Store,
    Agent(CallId),
    Control(u64),
    Client(u64),
}

impl Body {
    /// What the caller is told when nobody listens.
    pub(super) fn refused(&self) -> Option<Self> {
        let call = match self {
            Self::StoreCall { .. } => RefusedCall::Store,
            Self::AgentCall { call, .. } => RefusedCall::Agent(*call),
            Self::ControlCall { call, .. } => RefusedCall::Control(*call),
            Self::ClientCall { call, .. } => RefusedCall::Client(*call),
            Self::StoreAnswer { .. }
            | Self::Watched { .. }
            | Self::AgentAnswered { .. }
            | Self::ControlAnswered { .. }
            | Self::ClientAnswered { .. }
            | Self::Refused { .. } => return None,
        };
        Some(Self::Refused { call })
    }
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) from: Process,
    pub(super) to: Process,
    pub(super) body: Body,
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {:?}", self.from, self.to, self.body)
    }
}
