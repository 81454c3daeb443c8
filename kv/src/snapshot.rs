//! The whole durable state as a value: for a host's snapshot file, and to compare two stores.

use serde::{Deserialize, Serialize};

use crate::index::{Change, Index};
use crate::lease::Leases;
use crate::limits::Limits;
use crate::model::Model;
use crate::types::{Key, KeyValue, LeaseId, Revision};

/// Everything of a [`Model`] but its watches, which end with the process, and the times at which
/// leases end, which start anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub revision: Revision,
    pub compacted: Revision,
    pub mutations: u64,
    pub no_space: bool,
    /// How many lease ids the store has chosen.
    pub leases_chosen: i64,
    /// By key, then in the order of changes.
    pub entries: Vec<SnapshotEntry>,
    pub leases: Vec<SnapshotLease>,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEntry {
    pub revision: Revision,
    /// The place of the change within its transaction.
    pub order: u32,
    /// Whether a watch can still see this change.
    pub event: bool,
    pub key: Key,
    /// `None`: the key was deleted.
    pub kv: Option<KeyValue>,
}

/// One lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotLease {
    pub id: LeaseId,
    pub ttl_s: i64,
}

impl Model {
    /// The durable state. Values are shared, not copied.
    pub fn snapshot(&self) -> Snapshot {
        let entries = self.index.versions().map(|(at, key, kv)| SnapshotEntry {
            revision: at.main,
            order: at.sub,
            event: self.index.is_event(at),
            key: key.clone(),
            kv: kv.cloned(),
        });
        Snapshot {
            revision: self.revision,
            compacted: self.compacted,
            mutations: self.mutations,
            no_space: self.no_space,
            leases_chosen: self.leases.chosen(),
            entries: entries.collect(),
            leases: self
                .leases
                .granted()
                .map(|(id, ttl_s)| SnapshotLease { id, ttl_s })
                .collect(),
        }
    }

    /// A store with that state, without watches; every lease has its full time to live from
    /// `now_ms` on. Expects what [`Model::snapshot`] made.
    pub fn restore(limits: Limits, now_ms: u64, snapshot: Snapshot) -> Self {
        let mut leases = Leases::default();
        leases.set_chosen(snapshot.leases_chosen);
        for lease in &snapshot.leases {
            leases.restore(now_ms, lease.id, lease.ttl_s);
        }
        let mut index = Index::default();
        for entry in snapshot.entries {
            let at = Change {
                main: entry.revision,
                sub: entry.order,
            };
            if entry.event {
                index.insert(at, entry.key, entry.kv);
            } else {
                index.insert_settled(at, entry.key, entry.kv);
            }
        }
        index.sort_changes();
        for kv in index.range(&crate::types::KeyRange::all(), snapshot.revision) {
            leases.attach(kv.lease, kv.key.clone());
        }
        Model {
            index,
            leases,
            revision: snapshot.revision,
            compacted: snapshot.compacted,
            no_space: snapshot.no_space,
            mutations: snapshot.mutations,
            ..Model::new(limits)
        }
    }
}
