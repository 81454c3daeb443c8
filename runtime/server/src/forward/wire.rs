//! Requests of the core and its answers between two replicas.

use berth_core::io::request::{Request, RequestError, Response};
use berth_proto::replica::v1 as proto;
use berth_proto::replica::v1::forward_response::Outcome;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{lost, unavailable};
use crate::api::AskError;
use crate::call::Caller;

/// Bytes of a text about the caller that are believed.
const CALLER_TEXT_MAX: usize = 512;

/// JSON, which replicas of different versions can read.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, AskError> {
    serde_json::to_vec(value).map_err(|_| AskError::WrongAnswer)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The request, or why it cannot be read.
pub(super) fn request_in(bytes: &[u8]) -> Result<Request, String> {
    decode(bytes)
}

pub(super) fn caller_out(caller: &Caller) -> proto::Caller {
    proto::Caller {
        address: caller.address.clone(),
        subject: caller.subject.clone(),
    }
}

pub(super) fn caller_in(caller: Option<proto::Caller>) -> Caller {
    let caller = caller.unwrap_or_default();
    let bounded = |text: String| match text.len() > CALLER_TEXT_MAX {
        true => String::new(),
        false => text,
    };
    Caller {
        address: bounded(caller.address),
        subject: bounded(caller.subject),
    }
}

/// The leader's side of an outcome.
pub(super) fn outcome_out(answer: Result<Response, AskError>) -> Result<Outcome, AskError> {
    Ok(match answer {
        Ok(answer) => Outcome::Answer(encode(&answer)?),
        Err(AskError::Core(refusal)) => Outcome::Refusal(encode(&refusal)?),
        Err(AskError::TooManyForwarded) => not_done("it does not lead".to_owned()),
        Err(error @ (AskError::Timeout(_) | AskError::NotKnown(_) | AskError::WrongAnswer)) => {
            Outcome::NotKnown(proto::NotKnown {
                reason: error.to_string(),
            })
        }
    })
}

pub(super) const fn not_done(reason: String) -> Outcome {
    Outcome::NotDone(proto::NotDone { reason })
}

/// The other side of it.
pub(super) fn outcome(answer: proto::ForwardResponse, read: bool) -> Result<Response, AskError> {
    // An answer that cannot be read tells nothing of what was done.
    let unreadable = |why| lost(read, format!("the leader's answer cannot be read: {why}"));
    match answer.outcome {
        Some(Outcome::Answer(bytes)) => decode(&bytes).map_err(unreadable),
        Some(Outcome::Refusal(bytes)) => {
            let refusal: RequestError = decode(&bytes).map_err(unreadable)?;
            Err(AskError::Core(refusal))
        }
        Some(Outcome::NotDone(not_done)) => Err(unavailable(not_done.reason)),
        Some(Outcome::NotKnown(not_known)) => Err(lost(read, not_known.reason)),
        None => Err(unreadable("it is empty".to_owned())),
    }
}
