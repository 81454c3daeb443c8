//! How a request that was not granted is told over gRPC: in band, or as a status. A status is a
//! number, a text and when to come back; no library of gRPC's is needed to say so.

use std::time::Duration;

use prost::Message;

use super::WireError;
use super::bound::REQUEST_BYTES_MAX;
use crate::io::RequestError;
use crate::io::request::Effect;

/// The codes of gRPC that refusals have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The request is not well formed.
    InvalidArgument = 3,
    /// What it names does not exist.
    NotFound = 5,
    /// It cannot be done in the present state.
    FailedPrecondition = 9,
    /// The record has changed.
    Aborted = 10,
    /// Not now.
    Unavailable = 14,
}

/// When a client may ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Nothing is said of it.
    Unsaid,
    /// After this time.
    After(Duration),
    /// Not by itself: the request may have been carried out.
    Never,
}

/// A status other than `OK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// For people.
    pub message: String,
    /// When to come back.
    pub again: Again,
}

impl From<&RequestError> for Status {
    fn from(error: &RequestError) -> Self {
        let (code, again) = match error {
            RequestError::Invalid { .. } => (Code::InvalidArgument, Again::Unsaid),
            RequestError::NoSuchWorkload(_)
            | RequestError::NoSuchNode(_)
            | RequestError::RegisterAgain(_) => (Code::NotFound, Again::Unsaid),
            RequestError::Stale { .. } => (Code::Aborted, Again::Unsaid),
            RequestError::Refused(_) | RequestError::StoreRefused(_) => {
                (Code::FailedPrecondition, Again::Unsaid)
            }
            RequestError::Unavailable {
                effect: Effect::Unknown,
                ..
            } => (Code::Unavailable, Again::Never),
            RequestError::Unavailable { retry_after, .. } => {
                (Code::Unavailable, Again::After(*retry_after))
            }
            RequestError::Busy(_) => (Code::Unavailable, Again::After(Duration::from_secs(1))),
        };
        Self {
            code,
            message: error.to_string(),
            again,
        }
    }
}

/// What stands in the way of a mutation: in band, or as a status.
///
/// # Errors
/// A message that is not well formed.
pub fn in_band(error: WireError) -> Result<RequestError, Status> {
    match error {
        WireError::Malformed(error) => Err(Status::from(&error)),
        WireError::InvalidSpec(error) | WireError::NotAccepted(error) => Ok(error),
    }
}

/// The answer to a mutation: a refusal is told in band, because a client of the contract takes any
/// error code for a sick scheduler.
///
/// # Errors
/// Nobody leads now.
pub fn mutated<T>(answer: Result<T, RequestError>) -> Result<Result<T, RequestError>, Status> {
    match answer {
        Err(error @ RequestError::Unavailable { .. }) => Err(Status::from(&error)),
        answer => Ok(answer),
    }
}

/// Refuses what cannot be stored anyway. Only heartbeats may be larger.
///
/// # Errors
/// [`RequestError::Invalid`] with the bound; to be answered by its status.
pub fn bounded(message: &impl Message) -> Result<(), RequestError> {
    let size = message.encoded_len();
    if size <= REQUEST_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("has {size} bytes; at most {REQUEST_BYTES_MAX} are accepted");
    Err(RequestError::invalid("request", problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_proto::control::v1 as control;

    fn unavailable(effect: Effect) -> RequestError {
        RequestError::Unavailable {
            reason: "no leader".to_owned(),
            retry_after: Duration::from_secs(2),
            effect,
        }
    }

    #[test]
    fn only_who_does_not_lead_is_no_answer_to_a_mutation() {
        let status = mutated::<()>(Err(unavailable(Effect::None))).unwrap_err();
        assert_eq!(status.code, Code::Unavailable);
        assert_eq!(status.again, Again::After(Duration::from_secs(2)));
        let status = mutated::<()>(Err(unavailable(Effect::Unknown))).unwrap_err();
        assert_eq!(status.again, Again::Never);
        let busy = RequestError::Busy("w".to_owned());
        assert_eq!(mutated::<()>(Err(busy.clone())), Ok(Err(busy)));
        assert_eq!(mutated(Ok(7)), Ok(Ok(7)));
    }

    #[test]
    fn what_is_not_well_formed_is_a_status() {
        let wrong = RequestError::invalid("workload_id", "is empty");
        let status = in_band(WireError::Malformed(wrong.clone())).unwrap_err();
        assert_eq!(status.code, Code::InvalidArgument);
        assert_eq!(status.message, wrong.to_string());
        assert_eq!(in_band(WireError::InvalidSpec(wrong.clone())), Ok(wrong));
    }

    #[test]
    fn what_is_too_large_names_the_bound() {
        let of = |size: usize| control::RetryWorkloadRequest {
            workload_id: "x".repeat(size),
        };
        assert!(bounded(&of(100)).is_ok());
        let status = Status::from(&bounded(&of(REQUEST_BYTES_MAX)).unwrap_err());
        assert_eq!(status.code, Code::InvalidArgument);
        assert!(status.message.contains("4194304"), "{}", status.message);
    }
}
