//! Refusals as gRPC statuses, with the codes of etcd.

use berth_kv::KvError;
use tonic::{Code, Status};

use crate::error::StoreError;

/// The status with which etcd refuses.
pub(crate) fn refused(error: KvError) -> Status {
    let code = match error {
        KvError::EmptyKey
        | KvError::KeyNotFound
        | KvError::ValueProvided
        | KvError::LeaseProvided
        | KvError::TooManyOps
        | KvError::DuplicateKey
        | KvError::RequestTooLarge => Code::InvalidArgument,
        KvError::Compacted | KvError::FutureRevision | KvError::LeaseTtlTooLarge => {
            Code::OutOfRange
        }
        KvError::NoSpace => Code::ResourceExhausted,
        KvError::LeaseNotFound => Code::NotFound,
        KvError::LeaseExists => Code::FailedPrecondition,
    };
    Status::new(code, error.to_string())
}

/// A store that has stopped may have applied the request or not.
pub(crate) fn failed(error: StoreError) -> Status {
    tracing::debug!(%error, "request failed");
    Status::unavailable("etcdserver: server stopped")
}

/// A message that no client of etcd's protocol sends.
pub(crate) fn malformed(field: &str) -> Status {
    Status::invalid_argument(format!("etcdserver: unknown value of {field}"))
}
