//! What clients and the operator say to schedulers, as it travels: messages of `persys.control.v1`
//! where that contract has words for it, requests of the REST API otherwise, and the core's own value
//! where one request of the core is only a part of what either can say.
//!
//! ```text
//!   client                              scheduler
//!   Request ─ sent ─► ClientMessage ─ read ─► Request ─► core
//!   answer  ◄ heard ─ ClientAnswer  ◄─ say ── answer  ◄─ core
//! ```
//!
//! What is read is read by the functions that the server reads with (`berth_core::wire`,
//! `berth_core::admission`), and what is answered is put into words by those of the server.

mod heard;
mod sent;
mod served;
#[cfg(test)]
mod tests;

use std::time::Duration;

use berth_core::io::request::{Request, RequestError, Response};
use berth_core::wire::status::Again;

use crate::trace::Mixer;

/// gRPC's code for what should not happen.
const INTERNAL: i32 = 13;

/// A request on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClientMessage {
    /// `ApplyWorkload`, encoded.
    Apply(Vec<u8>),
    /// `DeleteWorkload`, encoded.
    Delete(Vec<u8>),
    /// `RetryWorkload`, encoded.
    Retry(Vec<u8>),
    /// `GetWorkload`, encoded.
    Get(Vec<u8>),
    /// A request of the REST API.
    Rest(RestCall),
    /// The core's own value: neither has words for exactly this.
    Plain(Box<Request>),
}

/// A request of the REST API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RestCall {
    method: &'static str,
    /// The path, and the query if there is one.
    target: String,
    /// The header.
    if_match: Option<String>,
    /// JSON, or nothing.
    body: Vec<u8>,
}

/// How the answer to a request is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Apply,
    Delete,
    Retry,
    Get,
    /// With this code if it succeeds.
    Rest(u16),
    Plain,
}

/// An answer on its way.
#[derive(Debug, Clone)]
pub(super) struct ClientAnswer {
    reply: Reply,
    /// The core's own. The contract tells less than it says (of an accepted apply: nothing), and the
    /// oracle judges all of it. What can be read of the reply must agree with it.
    pub(super) value: Result<Response, RequestError>,
}

/// What travels of an answer.
#[derive(Debug, Clone)]
enum Reply {
    /// `ApplyWorkloadResponse`, encoded.
    Applied(Vec<u8>),
    /// `DeleteWorkloadResponse`, encoded.
    Deleted(Vec<u8>),
    /// `RetryWorkloadResponse`, encoded.
    Retried(Vec<u8>),
    /// `GetWorkloadResponse`, encoded, with the metadata that says how old it is.
    Got(Vec<u8>, Vec<(&'static str, String)>),
    /// A status of gRPC, with the metadata that says when to come back.
    Status {
        code: i32,
        message: String,
        again: Again,
    },
    /// An answer of the REST API: its code, a record or a problem document in JSON, `Retry-After`.
    Http(u16, Vec<u8>, Option<Duration>),
    /// Nothing but the core's own value.
    Plain,
}

impl ClientMessage {
    /// What tells one message from another.
    pub(super) fn digest(&self, into: &mut Mixer) {
        let (kind, bytes) = match self {
            Self::Apply(bytes) => (1, bytes),
            Self::Delete(bytes) => (2, bytes),
            Self::Retry(bytes) => (3, bytes),
            Self::Get(bytes) => (4, bytes),
            Self::Rest(call) => {
                into.bytes(call.method.as_bytes());
                into.bytes(call.target.as_bytes());
                into.bytes(call.if_match.as_deref().unwrap_or_default().as_bytes());
                (5, &call.body)
            }
            Self::Plain(request) => {
                into.word(6);
                into.bytes(format!("{request:?}").as_bytes());
                return;
            }
        };
        into.word(kind);
        into.bytes(bytes);
    }
}

impl ClientAnswer {
    /// What tells one answer from another.
    pub(super) fn digest(&self, into: &mut Mixer) {
        match &self.reply {
            Reply::Applied(bytes) | Reply::Deleted(bytes) | Reply::Retried(bytes) => {
                into.bytes(bytes);
            }
            Reply::Got(bytes, metadata) => {
                into.bytes(bytes);
                for (_, text) in metadata {
                    into.bytes(text.as_bytes());
                }
            }
            Reply::Status {
                code,
                message,
                again,
            } => {
                into.word(match again {
                    Again::Unsaid => 0,
                    Again::Never => 1,
                    Again::After(time) => 2 + time.as_secs(),
                });
                into.word(u64::from(code.unsigned_abs()));
                into.bytes(message.as_bytes());
            }
            Reply::Http(code, body, again) => {
                into.word(again.map_or(0, |time| 1 + time.as_secs()));
                into.word(u64::from(*code));
                into.bytes(body);
            }
            Reply::Plain => into.word(0),
        }
        match &self.value {
            Ok(Response::Workload(view)) => into.word(view.resource_version.0.unsigned_abs()),
            Ok(_) => into.word(0),
            Err(error) => into.bytes(error.to_string().as_bytes()),
        }
    }
}
