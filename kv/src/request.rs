//! What can be asked of the store.

use serde::{Deserialize, Serialize};

use crate::types::{Key, KeyRange, LeaseId, Revision, StreamId, Value, WatchId};

/// The one way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRequest),
    Txn(TxnRequest),
    /// Forget all versions that are not visible at or after this revision.
    Compact {
        revision: Revision,
    },
    /// `id` 0 lets the store choose. Times in seconds.
    LeaseGrant {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke {
        id: LeaseId,
    },
    LeaseKeepAlive {
        id: LeaseId,
    },
    LeaseTimeToLive {
        id: LeaseId,
        keys: bool,
    },
    LeaseList,
    /// About the alarm that stands when the quota was used up.
    NoSpaceAlarm(AlarmAction),
    Watch(WatchRequest),
}

/// What to do about an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmAction {
    Get,
    Activate,
    Deactivate,
}

/// Reads keys, now or at an earlier revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    pub range: KeyRange,
    /// At most this many records; 0 or less: all.
    pub limit: i64,
    /// Read as of this revision; 0 or less: now.
    pub revision: Revision,
    pub sort_order: SortOrder,
    pub sort_target: SortTarget,
    /// Leave out the values.
    pub keys_only: bool,
    /// Leave out the records.
    pub count_only: bool,
    pub filter: RevisionFilter,
}

impl RangeRequest {
    /// Reads one key.
    pub fn key(key: impl Into<Key>) -> Self {
        Self::range(KeyRange::Single(key.into()))
    }

    /// Reads all keys with this prefix.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        Self::range(KeyRange::prefix(prefix))
    }

    /// Reads a range of keys.
    pub fn range(range: KeyRange) -> Self {
        RangeRequest {
            range,
            limit: 0,
            revision: 0,
            sort_order: SortOrder::None,
            sort_target: SortTarget::Key,
            keys_only: false,
            count_only: false,
            filter: RevisionFilter::default(),
        }
    }
}

/// Leaves out records by their revisions, after counting and before the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionFilter {
    pub min_mod: Option<Revision>,
    pub max_mod: Option<Revision>,
    pub min_create: Option<Revision>,
    pub max_create: Option<Revision>,
}

/// The direction in which records are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortOrder {
    None,
    Ascend,
    Descend,
}

/// What records are ordered by. Ties stay in the order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortTarget {
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// Writes one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    pub key: Key,
    pub value: Value,
    pub lease: LeaseId,
    /// Answer with the version before.
    pub prev_kv: bool,
    /// Keep the value that the key has.
    pub ignore_value: bool,
    /// Keep the lease that the key has.
    pub ignore_lease: bool,
}

impl PutRequest {
    /// A plain put.
    pub fn new(key: impl Into<Key>, value: impl Into<Value>) -> Self {
        PutRequest {
            key: key.into(),
            value: value.into(),
            ..PutRequest::default()
        }
    }
}

/// Deletes keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    pub range: KeyRange,
    /// Answer with the versions before.
    pub prev_kv: bool,
}

/// Compares, then does one of two lists of operations, all at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnRequest {
    /// All must hold for `success` to be chosen.
    pub compare: Vec<Compare>,
    pub success: Vec<TxnOp>,
    pub failure: Vec<TxnOp>,
}

/// One operation of a transaction. The compares of nested transactions are evaluated before any
/// operation of the outermost one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnOp {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRequest),
    Txn(TxnRequest),
}

/// A condition on all keys of a range. A key that does not exist has version, revisions and lease
/// 0, and no value: every compare of its value fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    pub range: KeyRange,
    pub op: CompareOp,
    pub target: CompareTarget,
}

/// The relation between what is stored and what the compare names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareOp {
    Equal,
    NotEqual,
    Greater,
    Less,
}

/// What is compared, with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareTarget {
    Version(i64),
    Create(Revision),
    Mod(Revision),
    Value(Value),
    Lease(LeaseId),
}

/// Kinds of events that a watch leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchFilter {
    NoPut,
    NoDelete,
}

/// Requests on a stream of watches. Their effects come out of
/// [`crate::Model::poll_watch_output`], in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchRequest {
    Create {
        stream: StreamId,
        id: WatchId,
        /// An empty start key means the smallest key.
        range: KeyRange,
        /// The first revision to see; 0: what comes next.
        start_revision: Revision,
        prev_kv: bool,
        progress_notify: bool,
        filters: Vec<WatchFilter>,
    },
    Cancel {
        stream: StreamId,
        id: WatchId,
    },
    /// Asks for the store's revision on the stream.
    Progress {
        stream: StreamId,
    },
    /// Tells every watch that asked for it, and has missed nothing, how far it is.
    NotifyProgress,
    /// A consumer that does not keep up: the watch sees nothing until it resumes, then catches up
    /// from where it was (or learns that it was compacted).
    Pause {
        stream: StreamId,
        id: WatchId,
    },
    Resume {
        stream: StreamId,
        id: WatchId,
    },
    /// The stream is gone with all its watches and undelivered output.
    Close {
        stream: StreamId,
    },
}
