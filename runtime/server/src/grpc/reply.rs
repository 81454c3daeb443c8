//! Answers and errors of the core as gRPC has them.

use std::time::Duration;

use berth_core::io::request::{Freshness, RequestError};
use berth_proto::metadata::{REVISION, STALE};
use tonic::metadata::{AsciiMetadataKey, MetadataValue};
use tonic::{Code, Response, Status};

use crate::api::AskError;

/// On `UNAVAILABLE`: after how many milliseconds to try again, in decimal.
pub(crate) const RETRY_AFTER_MS: &str = "retry-after-ms";

/// An answer that says how old it is.
pub(crate) fn dated<T>(message: T, freshness: Freshness) -> Response<T> {
    let mut response = Response::new(message);
    let metadata = response.metadata_mut();
    metadata.insert(
        AsciiMetadataKey::from_static(REVISION),
        MetadataValue::from(freshness.revision.0),
    );
    if freshness.stale {
        let key = AsciiMetadataKey::from_static(STALE);
        metadata.insert(key, MetadataValue::from_static("true"));
    }
    response
}

/// The status that tells a client to come back.
pub(crate) fn unavailable(message: impl Into<String>, retry_after: Duration) -> Status {
    let mut status = Status::unavailable(message);
    let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    status.metadata_mut().insert(
        AsciiMetadataKey::from_static(RETRY_AFTER_MS),
        MetadataValue::from(millis),
    );
    status
}

/// A core's refusal as a status.
pub(crate) fn status_of(error: &RequestError) -> Status {
    let message = error.to_string();
    match error {
        RequestError::Invalid { .. } => Status::invalid_argument(message),
        RequestError::NoSuchWorkload(_) | RequestError::NoSuchNode(_) => Status::not_found(message),
        RequestError::Stale { .. } => Status::aborted(message),
        RequestError::Refused(_) | RequestError::StoreRefused(_) => {
            Status::failed_precondition(message)
        }
        RequestError::Unavailable { retry_after, .. } => unavailable(message, *retry_after),
        RequestError::Busy(_) => unavailable(message, Duration::from_secs(1)),
    }
}

impl From<AskError> for Status {
    fn from(error: AskError) -> Self {
        match &error {
            AskError::Core(error) => status_of(error),
            AskError::Timeout(_) => Self::deadline_exceeded(error.to_string()),
            AskError::WrongAnswer => Self::internal(error.to_string()),
        }
    }
}

/// How Go's gRPC writes a code; dashboards of the predecessor read it.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
