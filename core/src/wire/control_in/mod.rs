//! What clients and agents ask of the scheduler: `persys.control.v1` to the core's requests.

mod apply;
mod metadata;
mod node;
mod spec;
mod suggestion;

pub use apply::{
    apply_request, delete_request, desired_state, node_id, retry_request, workload_id,
};
pub use metadata::{
    ANTI_AFFINITY_KEY, LABEL_PREFIX, MAX_ATTEMPTS_KEY, PRIORITY_KEY, SPREAD_BY_KEY, TENANT_KEY,
};
pub use node::{heartbeat_request, hints, register_request};
pub(super) use spec::storage_driver;
pub use suggestion::suggestion;

use crate::io::RequestError;

/// Why a message did not become a request. The three kinds are answered in different ways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message is not well formed: gRPC `INVALID_ARGUMENT`.
    #[error(transparent)]
    Malformed(RequestError),
    /// It is well formed, and what it asks for is refused: in band, `INVALID_SPEC`.
    #[error(transparent)]
    InvalidSpec(RequestError),
    /// A registration that cannot be accepted as it is: in band, `accepted=false`. The agent backs
    /// off and tries again.
    #[error(transparent)]
    NotAccepted(RequestError),
}

impl WireError {
    /// What is wrong, whichever way it is answered.
    #[must_use]
    pub const fn request_error(&self) -> &RequestError {
        match self {
            Self::Malformed(error) | Self::InvalidSpec(error) | Self::NotAccepted(error) => error,
        }
    }
}

fn malformed(field: impl Into<String>, problem: impl ToString) -> WireError {
    WireError::Malformed(RequestError::invalid(field, problem))
}

fn invalid(field: impl Into<String>, problem: impl ToString) -> WireError {
    WireError::InvalidSpec(RequestError::invalid(field, problem))
}
