//! Refusals, with the texts of etcd.

use serde::{Deserialize, Serialize};

/// Why a request was refused. A refused request changes nothing (except that running out of
/// space raises the alarm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum KvError {
    /// A request names no key.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// More operations or compares than [`crate::Limits::max_txn_ops`].
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// A transaction that could change one key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// A read or compaction at or below what was compacted.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// A read or compaction at a revision that has not been.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// The quota is used up, or its alarm still stands.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// A write larger than [`crate::Limits::max_request_bytes`].
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// The lease does not exist (any more).
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A lease with this id exists already.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// A time to live beyond [`crate::MAX_LEASE_TTL_S`].
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
}
