//! What processes say to each other. Calls of the wire contracts travel in their own encoding.

use std::fmt;

use berth_core::io::request::Request;
use berth_core::{CallId, Epoch, NodeId};
use berth_kv as kv;
use bytes::Bytes;

use crate::process::Process;
use crate::trace::{Line, Mixer};

use super::door::{ClientAnswer, ClientMessage};

/// Which call to an agent, with the bytes of its message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AgentMessage {
    Apply(Vec<u8>),
    Delete(Vec<u8>),
    Status(Vec<u8>),
    List(Bytes),
}

/// An agent's answer: the bytes of its message, or a gRPC status.
pub(super) type AgentAnswer = Result<AgentMessage, (i32, String)>;

/// Which call of an agent to a scheduler, with the bytes of its message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ControlMessage {
    Register(Vec<u8>),
    /// One message in two parts, the second of which is often the same again.
    Heartbeat {
        head: Vec<u8>,
        statuses: Bytes,
    },
}

/// The answer to such a call, with the bytes of its message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ControlReply {
    Registered(Vec<u8>),
    Heartbeat(Vec<u8>),
}

/// What a message says.
#[derive(Debug, Clone)]
pub(super) enum Body {
    StoreCall {
        call: u64,
        request: Box<berth_kv::Request>,
    },
    StoreAnswer {
        call: u64,
        result: Box<Result<berth_kv::Response, berth_kv::KvError>>,
    },
    Watched {
        output: Box<berth_kv::WatchOutput>,
    },
    AgentCall {
        node: NodeId,
        call: CallId,
        epoch: Epoch,
        message: AgentMessage,
    },
    AgentAnswered {
        call: CallId,
        answer: AgentAnswer,
    },
    ControlCall {
        call: u64,
        message: ControlMessage,
    },
    ControlAnswered {
        call: u64,
        answer: Result<ControlReply, (i32, String)>,
    },
    ClientCall {
        call: u64,
        message: ClientMessage,
        /// What it is to say: for the oracle and the recording, not for the scheduler.
        meant: Box<Request>,
    },
    ClientAnswered {
        call: u64,
        answer: Box<ClientAnswer>,
    },
    /// Nobody listens there: what a connection to a dead process is told.
    Refused {
        call: RefusedCall,
    },
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

impl Line for Envelope {
    fn digest(&self, into: &mut Mixer) {
        self.from.digest(into);
        self.to.digest(into);
        self.body.digest(into);
    }
}

impl Process {
    pub(super) fn digest(self, into: &mut Mixer) {
        into.word(match self {
            Self::Store => 0,
            Self::Replica(at) => 1 + 4 * at as u64,
            Self::Agent(at) => 2 + 4 * at as u64,
            Self::Client(at) => 3 + 4 * at as u64,
        });
    }
}

impl Body {
    /// What tells one message from another. What follows from what was digested before (an
    /// answer's records follow from the requests) is left out.
    fn digest(&self, into: &mut Mixer) {
        let mut head = |kind: u64, call: u64| {
            into.word(kind);
            into.word(call);
        };
        match self {
            Self::StoreCall { call, request } => {
                head(1, *call);
                digest_request(request, into);
            }
            Self::StoreAnswer { call, result } => {
                head(2, *call);
                digest_response(result, into);
            }
            Self::Watched { output } => {
                head(3, output.stream.0);
                into.word(output.revision.unsigned_abs());
                if let kv::WatchOutputKind::Events(events) = &output.kind {
                    into.word(events.len() as u64);
                }
            }
            Self::AgentCall {
                node: _,
                call,
                epoch,
                message,
            } => {
                head(4, call.0);
                into.word(epoch.0.unsigned_abs());
                into.bytes(message.bytes());
            }
            Self::AgentAnswered { call, answer } => {
                head(5, call.0);
                match answer {
                    Ok(message) => into.bytes(message.bytes()),
                    Err((code, text)) => {
                        into.word(u64::from(code.unsigned_abs()));
                        into.bytes(text.as_bytes());
                    }
                }
            }
            Self::ControlCall { call, message } => {
                head(6, *call);
                match message {
                    ControlMessage::Register(bytes) => into.bytes(bytes),
                    ControlMessage::Heartbeat { head, statuses } => {
                        into.bytes(head);
                        into.bytes(statuses);
                    }
                }
            }
            Self::ControlAnswered { call, answer } => {
                head(7, *call);
                match answer {
                    Ok(message) => into.bytes(message.bytes()),
                    Err((code, text)) => {
                        into.word(u64::from(code.unsigned_abs()));
                        into.bytes(text.as_bytes());
                    }
                }
            }
            Self::ClientCall { call, message, .. } => {
                head(8, *call);
                message.digest(into);
            }
            Self::ClientAnswered { call, answer } => {
                head(9, *call);
                answer.digest(into);
            }
            Self::Refused { call } => match call {
                RefusedCall::Store => head(10, 0),
                RefusedCall::Agent(call) => head(11, call.0),
                RefusedCall::Control(call) => head(12, *call),
                RefusedCall::Client(call) => head(13, *call),
            },
        }
    }
}

fn digest_request(request: &kv::Request, into: &mut Mixer) {
    match request {
        kv::Request::Txn(txn) => {
            for op in &txn.success {
                match op {
                    kv::TxnOp::Put(put) => {
                        into.bytes(&put.key);
                        into.bytes(&put.value);
                    }
                    kv::TxnOp::DeleteRange(delete) => into.bytes(delete.range.start()),
                    kv::TxnOp::Range(range) => into.bytes(range.range.start()),
                    kv::TxnOp::Txn(_) => into.word(1),
                }
            }
        }
        kv::Request::Range(range) => into.bytes(range.range.start()),
        kv::Request::Put(put) => {
            into.bytes(&put.key);
            into.bytes(&put.value);
        }
        kv::Request::LeaseGrant { id, .. }
        | kv::Request::LeaseRevoke { id }
        | kv::Request::LeaseKeepAlive { id }
        | kv::Request::LeaseTimeToLive { id, .. } => into.word(id.0.unsigned_abs()),
        kv::Request::DeleteRange(delete) => into.bytes(delete.range.start()),
        kv::Request::Compact { revision } => into.word(revision.unsigned_abs()),
        kv::Request::LeaseList | kv::Request::NoSpaceAlarm(_) | kv::Request::Watch(_) => {
            into.word(2);
        }
    }
}

fn digest_response(result: &Result<kv::Response, kv::KvError>, into: &mut Mixer) {
    match result {
        Ok(kv::Response::Txn(answer)) => {
            into.word(answer.revision.unsigned_abs());
            into.word(u64::from(answer.succeeded));
        }
        Ok(kv::Response::Range(range)) => {
            into.word(range.revision.unsigned_abs());
            into.word(range.kvs.len() as u64);
        }
        Ok(_) => into.word(0),
        Err(error) => into.bytes(error.to_string().as_bytes()),
    }
}

impl AgentMessage {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Apply(bytes) | Self::Delete(bytes) | Self::Status(bytes) => bytes,
            Self::List(bytes) => bytes,
        }
    }
}

impl ControlReply {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Registered(bytes) | Self::Heartbeat(bytes) => bytes,
        }
    }
}
