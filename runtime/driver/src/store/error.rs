//! What can go wrong with the store, and what it means for a transaction.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use berth_core::lineage::{Break, Hold};
use berth_core::schema::TooOld;
use etcd_client::Error as EtcdError;
use tonic::Code;

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The client or the store says so.
    #[error("{}", plain(.0))]
    Etcd(#[from] EtcdError),
    /// No answer in time.
    #[error("{0}: no answer within {1:?}")]
    Timeout(&'static str, Duration),
    /// The store's answer is not one to the question.
    #[error("{0}: the store's answer makes no sense")]
    Nonsense(&'static str),
    /// Leadership went to somebody else meanwhile.
    #[error("somebody else leads")]
    NotLeader,
    /// The store answers, and is not to be used.
    #[error("{0}")]
    Refused(Refusal),
}

/// Why a store that answers is not used.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not the one that was seen before.
    Broken(Break),
    /// Another replica says so.
    Held(Option<Box<Hold>>),
    /// Its records are of a version that this one does not know.
    TooOld(TooOld),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => broken.fmt(f),
            Self::TooOld(too_old) => too_old.fmt(f),
            Self::Held(Some(hold)) => write!(f, "{} says: {}", hold.by, hold.why),
            Self::Held(None) => f.write_str(
                "the store is closed to schedulers, by a record that cannot be read; `berth store \
                 accept-restore` opens it",
            ),
        }
    }
}

/// An error of the client in words for logs and health: its own are nested dumps of structures.
fn plain(error: &EtcdError) -> String {
    match error {
        EtcdError::GRpcStatus(status) => match root_cause(status) {
            // The status was made here: nothing was heard of the store.
            Some(cause) if status.code() == Code::Unavailable => {
                format!("the store cannot be reached: {cause}")
            }
            _ if status.message().is_empty() => format!("the store says {:?}", status.code()),
            _ => format!("the store says {:?}: {}", status.code(), status.message()),
        },
        EtcdError::TransportError(error) => {
            let cause = root_cause(error).unwrap_or_else(|| error.to_string());
            format!("the store cannot be reached: {cause}")
        }
        EtcdError::IoError(error) => format!("the store cannot be reached: {error}"),
        other => other.to_string(),
    }
}

/// What lies below an error at the very bottom; `None`: nothing.
fn root_cause(error: &dyn std::error::Error) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(below) = cause.source() {
        cause = below;
    }
    Some(cause.to_string())
}

/// Waits for an answer of the store, but not for ever.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &'static str,
    answer: impl Future<Output = Result<T, EtcdError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Timeout(what, limit)),
    }
}

/// What an error says about a transaction that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was certainly not written: another try of the same would end the same.
    Refused {
        /// Why.
        text: String,
        /// It is the store that is at fault (out of space, no permission), not this transaction.
        store_wide: bool,
    },
    /// It may have been written.
    Unknown(String),
}

/// Judges an error. In doubt, the transaction may have been written: the core reads back.
pub(crate) fn judge(error: &StoreError) -> Verdict {
    let text = error.to_string();
    let definite = match error {
        StoreError::Etcd(EtcdError::GRpcStatus(status)) => match status.code() {
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented => true,
            // Out of space, or larger than the server receives. Too many requests heals by itself.
            Code::ResourceExhausted => !status.message().contains("too many requests"),
            // How a server made with tonic says the same. Our own limit for answers is out of
            // reach of a transaction's.
            Code::OutOfRange => status.message().contains("message length too large"),
            // A timeout of tonic arrives as Cancelled.
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Aborted
            | Code::Ok
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::DataLoss => false,
        },
        StoreError::Etcd(EtcdError::InvalidArgs(_)) => true,
        StoreError::Etcd(_)
        | StoreError::Timeout(..)
        | StoreError::Nonsense(_)
        | StoreError::NotLeader
        | StoreError::Refused(_) => false,
    };
    if definite {
        let store_wide = ["space exceeded", "permission denied", "auth"]
            .iter()
            .any(|cause| text.contains(cause));
        Verdict::Refused { text, store_wide }
    } else {
        Verdict::Unknown(text)
    }
}

/// Whether a read failed because its revision was compacted away.
pub(crate) fn is_compacted(error: &StoreError) -> bool {
    match error {
        StoreError::Etcd(EtcdError::GRpcStatus(status)) => {
            status.code() == Code::OutOfRange && status.message().contains("compacted")
        }
        StoreError::Etcd(_)
        | StoreError::Timeout(..)
        | StoreError::Nonsense(_)
        | StoreError::NotLeader
        | StoreError::Refused(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    fn verdict(status: Status) -> Verdict {
        judge(&StoreError::Etcd(EtcdError::GRpcStatus(status)))
    }

    #[test]
    fn refusals_are_definite() {
        for (status, expected) in [
            (
                Status::invalid_argument("etcdserver: too many operations in txn request"),
                false,
            ),
            (
                Status::invalid_argument("etcdserver: request is too large"),
                false,
            ),
            (
                Status::resource_exhausted("grpc: received message larger than max"),
                false,
            ),
            (
                Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
                true,
            ),
            (
                Status::permission_denied("etcdserver: permission denied"),
                true,
            ),
        ] {
            let Verdict::Refused { store_wide, .. } = verdict(status) else {
                panic!("not refused");
            };
            assert_eq!(store_wide, expected);
        }
    }

    #[test]
    fn errors_are_words() {
        let said = |status| StoreError::from(EtcdError::GRpcStatus(status)).to_string();
        assert_eq!(
            said(Status::unavailable("etcdserver: no leader")),
            "the store says Unavailable: etcdserver: no leader"
        );
        assert_eq!(said(Status::aborted("")), "the store says Aborted");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let mut status = Status::unavailable("tcp connect error");
        status.set_source(std::sync::Arc::new(refused));
        assert_eq!(
            said(status),
            "the store cannot be reached: connection refused"
        );
    }

    #[test]
    fn everything_else_may_have_been_written() {
        for status in [
            Status::cancelled("Timeout expired"),
            Status::deadline_exceeded(""),
            Status::unavailable("etcdserver: request timed out"),
            Status::unavailable("transport error"),
            Status::unknown("h2 protocol error: broken pipe"),
            Status::resource_exhausted("etcdserver: too many requests"),
            Status::internal("stream closed"),
        ] {
            assert!(matches!(verdict(status), Verdict::Unknown(_)));
        }
        let timeout = StoreError::Timeout("commit", Duration::from_secs(5));
        assert!(matches!(judge(&timeout), Verdict::Unknown(_)));
    }
}
