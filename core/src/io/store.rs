//! Transactions and what becomes of them.

use serde::{Deserialize, Serialize};

use super::Value;
use crate::Key;
use crate::model::id::{Epoch, StoreRevision, TxnId};

/// One record of the store, or its absence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its key.
    pub key: Key,
    /// Its value, canonical JSON; `None`: the key is absent.
    pub value: Option<Value>,
    /// The revision that wrote it, or, in a change, that removed it; 0 when it was read and is absent.
    pub mod_revision: StoreRevision,
}

/// The whole store below the prefix, read at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The revision.
    pub revision: StoreRevision,
    /// Every record, in the order of keys.
    pub records: Vec<Stored>,
    /// Keys below the prefix that are not of the layout, or whose value is not UTF-8.
    pub strangers: Vec<String>,
}

/// One change of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Write a value.
    Put {
        /// The key.
        key: Key,
        /// The value, canonical JSON.
        value: String,
    },
    /// Remove a key.
    Delete {
        /// The key.
        key: Key,
    },
    /// Remove all events before this one. Never compared: events do not change.
    DeleteEventsBefore {
        /// The first that stays.
        before: crate::EventId,
    },
}

/// A fenced optimistic transaction: all of it or nothing, and only while the leadership key was
/// created at `epoch` (S2) and every compared key was last written at the revision given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// Names it.
    pub id: TxnId,
    /// The fence.
    pub epoch: Epoch,
    /// Expected modification revisions; 0: the key must be absent.
    pub compares: Vec<(Key, StoreRevision)>,
    /// At most a dozen changes: one decision.
    pub ops: Vec<Op>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It is in the store, at this revision.
    Committed(StoreRevision),
    /// A compare failed: nothing was written. The current value of every compared key.
    Conflict {
        /// The revision of the store that these are from.
        revision: StoreRevision,
        /// One entry for each compared key.
        current: Vec<Stored>,
    },
    /// It was certainly not written, because of this (refused by the store, never sent).
    Refused(String),
    /// Nobody knows: it timed out, or the connection or the leadership was lost meanwhile.
    Unknown,
}
