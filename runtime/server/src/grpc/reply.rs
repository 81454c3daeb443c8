//! Answers and errors of the core as gRPC has them.

use std::time::Duration;

use berth_core::io::request::{Freshness, RequestError};
use berth_core::wire::status;
use berth_proto::metadata::{REVISION, STALE};
use tonic::metadata::{AsciiMetadataKey, MetadataValue};
use tonic::{Code, Response, Status};

use crate::api::AskError;

/// On `UNAVAILABLE`: after how many milliseconds to try again, in decimal.
pub(crate) const RETRY_AFTER_MS: &str = "retry-after-ms";
/// The same for the retries that gRPC's libraries make by themselves; negative: none.
const PUSHBACK_MS: &str = "grpc-retry-pushback-ms";

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
    hinted(Status::unavailable(message), retry_after)
}

/// The status that says when to come back.
fn hinted(mut status: Status, retry_after: Duration) -> Status {
    let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    for key in [RETRY_AFTER_MS, PUSHBACK_MS] {
        let key = AsciiMetadataKey::from_static(key);
        let value = MetadataValue::from(millis);
        status.metadata_mut().insert(key, value);
    }
    status
}

/// The status of a request that may have been carried out: libraries must not repeat it by
/// themselves.
fn not_known(message: String) -> Status {
    let mut status = Status::unavailable(message);
    let never = MetadataValue::from_static("-1");
    let key = AsciiMetadataKey::from_static(PUSHBACK_MS);
    status.metadata_mut().insert(key, never);
    status
}

/// A core's refusal as a status.
pub(crate) fn status_of(error: &RequestError) -> Status {
    said(status::Status::from(error))
}

/// The core's status as tonic has it.
pub(crate) fn said(status: status::Status) -> Status {
    match status.again {
        status::Again::Never => not_known(status.message),
        status::Again::After(time) => hinted(bare(status), time),
        status::Again::Unsaid => bare(status),
    }
}

fn bare(status: status::Status) -> Status {
    Status::new(Code::from_i32(status.code as i32), status.message)
}

impl From<AskError> for Status {
    fn from(error: AskError) -> Self {
        match &error {
            AskError::Core(error) => status_of(error),
            AskError::Timeout(_) => Self::deadline_exceeded(error.to_string()),
            AskError::NotKnown(_) => not_known(error.to_string()),
            AskError::TooManyForwarded => hinted(
                Self::resource_exhausted(error.to_string()),
                Duration::from_secs(1),
            ),
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
