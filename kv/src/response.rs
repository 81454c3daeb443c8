//! What the store answers.

use serde::{Deserialize, Serialize};

use crate::types::{Key, KeyValue, LeaseId, Revision, WatchId};

/// An answer. `revision` is always that of etcd's response header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteResponse),
    Txn(TxnResponse),
    Compact {
        revision: Revision,
    },
    LeaseGrant {
        revision: Revision,
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke {
        revision: Revision,
    },
    /// `ttl_s` 0: there is no such lease (any more).
    LeaseKeepAlive {
        revision: Revision,
        id: LeaseId,
        ttl_s: i64,
    },
    /// `None`: there is no such lease.
    LeaseTimeToLive {
        revision: Revision,
        id: LeaseId,
        lease: Option<LeaseInfo>,
    },
    /// In the order of expiry.
    LeaseList {
        revision: Revision,
        leases: Vec<LeaseId>,
    },
    /// Whether the alarm stands, or, for a change, stood or now stands.
    NoSpaceAlarm {
        revision: Revision,
        active: bool,
    },
    /// The watch that the request was about; its output is polled.
    Watch {
        id: WatchId,
    },
}

impl Response {
    /// The revision in etcd's response header (0 for watches, whose output carries its own).
    pub fn revision(&self) -> Revision {
        match self {
            Response::Range(range) => range.revision,
            Response::Put(put) => put.revision,
            Response::DeleteRange(delete) => delete.revision,
            Response::Txn(txn) => txn.revision,
            Response::Compact { revision }
            | Response::LeaseGrant { revision, .. }
            | Response::LeaseRevoke { revision }
            | Response::LeaseKeepAlive { revision, .. }
            | Response::LeaseTimeToLive { revision, .. }
            | Response::LeaseList { revision, .. }
            | Response::NoSpaceAlarm { revision, .. } => *revision,
            Response::Watch { .. } => 0,
        }
    }
}

/// Records of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResponse {
    pub revision: Revision,
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut records off.
    pub more: bool,
    /// Keys in the range, before filters and limit.
    pub count: i64,
}

/// The outcome of a put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutResponse {
    pub revision: Revision,
    pub prev_kv: Option<KeyValue>,
}

/// The outcome of a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteResponse {
    pub revision: Revision,
    pub deleted: i64,
    pub prev_kvs: Vec<KeyValue>,
}

/// The outcome of a transaction. In a nested one the revision is 0, as in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnResponse {
    pub revision: Revision,
    pub succeeded: bool,
    pub responses: Vec<TxnOpResponse>,
}

/// The outcome of one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOpResponse {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteResponse),
    Txn(TxnResponse),
}

/// A lease as its holder sees it. Times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    pub remaining_s: i64,
    pub granted_s: i64,
    /// The attached keys in their order, when asked for.
    pub keys: Vec<Key>,
}
