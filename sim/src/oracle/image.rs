//! The store as it is, decoded, and each commit as what it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::model::node::NodeRecord;
use berth_core::model::workload::{
    AssignmentRecord, IntentRecord, RetryRecord, TombstoneRecord, WorkloadRecord,
};
use berth_core::{EventId, EventRecord, Key, NodeId, WorkloadId};
use berth_kv as kv;

use super::memo::Memo;

/// A record with the revision that last wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Held<T> {
    pub(crate) record: Arc<T>,
    pub(crate) revision: i64,
}

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A scheduler, under the epoch that its transaction compares.
    Scheduler { replica: usize, epoch: i64 },
    /// An election, or a lease that ran out.
    Election,
    /// Somebody else: the adversary.
    Stranger,
}

/// One record before and after a commit.
#[derive(Debug, Clone)]
pub(crate) struct Pair<T> {
    pub(crate) before: Option<Arc<T>>,
    pub(crate) after: Option<Arc<T>>,
}

/// What one revision changed.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) revision: i64,
    pub(crate) writer: Writer,
    pub(crate) workloads: BTreeMap<WorkloadId, Pair<WorkloadRecord>>,
    pub(crate) assignments: BTreeMap<WorkloadId, Pair<AssignmentRecord>>,
    pub(crate) intents: BTreeMap<WorkloadId, Pair<IntentRecord>>,
    pub(crate) retries: BTreeMap<WorkloadId, Pair<RetryRecord>>,
    pub(crate) nodes: BTreeMap<NodeId, Pair<NodeRecord>>,
    pub(crate) tombstones: BTreeMap<(NodeId, WorkloadId), Pair<TombstoneRecord>>,
    pub(crate) events: Vec<EventRecord>,
    pub(crate) events_changed: Vec<String>,
    pub(crate) events_removed: Vec<EventId>,
    pub(crate) unreadable: Vec<String>,
}

impl Commit {
    fn new(revision: i64, writer: Writer) -> Self {
        Self {
            revision,
            writer,
            workloads: BTreeMap::new(),
            assignments: BTreeMap::new(),
            intents: BTreeMap::new(),
            retries: BTreeMap::new(),
            nodes: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            events: Vec::new(),
            events_changed: Vec::new(),
            events_removed: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// The epoch that a scheduler wrote under.
    pub(crate) const fn epoch(&self) -> Option<i64> {
        match self.writer {
            Writer::Scheduler { epoch, .. } => Some(epoch),
            Writer::Election | Writer::Stranger => None,
        }
    }
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) workloads: BTreeMap<WorkloadId, Held<WorkloadRecord>>,
    pub(crate) assignments: BTreeMap<WorkloadId, Held<AssignmentRecord>>,
    pub(crate) intents: BTreeMap<WorkloadId, Held<IntentRecord>>,
    pub(crate) retries: BTreeMap<WorkloadId, Held<RetryRecord>>,
    pub(crate) nodes: BTreeMap<NodeId, Held<NodeRecord>>,
    pub(crate) tombstones: BTreeMap<(NodeId, WorkloadId), Held<TombstoneRecord>>,
    pub(crate) events: BTreeSet<EventId>,
    /// Records of workloads and nodes that are there and cannot be read.
    pub(crate) unread: BTreeSet<Key>,
    /// Where workloads were, by their last assignments, whose assignments cannot be read now.
    pub(crate) unread_homes: BTreeMap<WorkloadId, NodeId>,
    /// The create revision of the leadership key; 0: nobody leads.
    pub(crate) leader: i64,
}

impl Image {
    /// Takes up what one revision changed.
    pub(crate) fn take(
        &mut self,
        revision: i64,
        writer: Writer,
        events: &[kv::Event],
        memo: &mut Memo,
    ) -> Commit {
        let mut commit = Commit::new(revision, writer);
        for event in events {
            self.take_one(event, &mut commit, memo);
        }
        commit
    }

    fn take_one(&mut self, event: &kv::Event, commit: &mut Commit, memo: &mut Memo) {
        let text = String::from_utf8_lossy(&event.kv.key).into_owned();
        let put = match event.kind {
            kv::EventKind::Put => Some(&event.kv),
            kv::EventKind::Delete => None,
        };
        let bad = &mut commit.unreadable;
        let (key, bad_before) = (Key::parse(&text), bad.len());
        match key.clone() {
            Some(Key::Workload(id)) => {
                let last = &mut memo.workloads;
                let read = |id: &_, text: &[u8]| last.read(id, text);
                let (image, pairs) = (&mut self.workloads, &mut commit.workloads);
                change(image, pairs, id.clone(), put, &text, bad, read);
                if put.is_none() {
                    last.forget(&id);
                }
            }
            Some(Key::Assignment(id)) => {
                let last = &mut memo.assignments;
                let read = |id: &_, text: &[u8]| last.read(id, text);
                let (image, pairs) = (&mut self.assignments, &mut commit.assignments);
                change(image, pairs, id.clone(), put, &text, bad, read);
                if put.is_none() {
                    last.forget(&id);
                }
            }
            Some(Key::Node(id)) => {
                let last = &mut memo.nodes;
                let read = |id: &_, text: &[u8]| last.read(id, text);
                let (image, pairs) = (&mut self.nodes, &mut commit.nodes);
                change(image, pairs, id.clone(), put, &text, bad, read);
                if put.is_none() {
                    last.forget(&id);
                }
            }
            Some(Key::Intent(id)) => {
                let (image, pairs) = (&mut self.intents, &mut commit.intents);
                change(image, pairs, id, put, &text, bad, once);
            }
            Some(Key::Retry(id)) => {
                let (image, pairs) = (&mut self.retries, &mut commit.retries);
                change(image, pairs, id, put, &text, bad, once);
            }
            Some(Key::Tombstone(node, id)) => {
                let (image, pairs) = (&mut self.tombstones, &mut commit.tombstones);
                change(image, pairs, (node, id), put, &text, bad, once);
            }
            Some(Key::Event(id)) => self.take_event(id, put, &text, commit),
            Some(Key::Leader(_)) => self.leader = put.map_or(0, |kv| kv.create_revision),
            Some(Key::Meta(_)) => {}
            None => bad.push(format!("{text} is not of the layout")),
        }
        if let Some(Key::Assignment(id)) = &key {
            let was = commit.assignments.get(id);
            let was = was.and_then(|pair| pair.before.as_ref());
            if commit.unreadable.len() == bad_before {
                self.unread_homes.remove(id);
            } else if let Some(was) = was {
                self.unread_homes.insert(id.clone(), was.node_id.clone());
            }
        }
        match key {
            Some(Key::Event(_)) | None => {}
            Some(key) if commit.unreadable.len() > bad_before => {
                self.unread.insert(key);
            }
            Some(key) => {
                self.unread.remove(&key);
            }
        }
    }

    fn take_event(
        &mut self,
        id: EventId,
        put: Option<&kv::KeyValue>,
        text: &str,
        commit: &mut Commit,
    ) {
        let Some(kv) = put else {
            self.events.remove(&id);
            commit.events_removed.push(id);
            return;
        };
        if kv.version > 1 {
            commit.events_changed.push(text.to_owned());
        }
        self.events.insert(id);
        match serde_json::from_slice(&kv.value) {
            Ok(record) => commit.events.push(record),
            Err(problem) => commit.unreadable.push(format!("{text}: {problem}")),
        }
    }
}

/// Reads what is not worth to be remembered.
fn once<K, T: serde::de::DeserializeOwned>(_: &K, text: &[u8]) -> serde_json::Result<Arc<T>> {
    serde_json::from_slice(text).map(Arc::new)
}

fn change<K: Ord + Clone, T>(
    image: &mut BTreeMap<K, Held<T>>,
    pairs: &mut BTreeMap<K, Pair<T>>,
    key: K,
    put: Option<&kv::KeyValue>,
    text: &str,
    unreadable: &mut Vec<String>,
    mut read: impl FnMut(&K, &[u8]) -> serde_json::Result<Arc<T>>,
) {
    let before = image.get(&key).map(|held| held.record.clone());
    let decoded = put.map(|kv| (read(&key, &kv.value), kv));
    let after = match decoded {
        Some((Ok(record), kv)) => {
            let revision = kv.mod_revision;
            image.insert(
                key.clone(),
                Held {
                    record: record.clone(),
                    revision,
                },
            );
            Some(record)
        }
        Some((Err(problem), _)) => {
            unreadable.push(format!("{text}: {problem}"));
            image.remove(&key);
            None
        }
        None => {
            image.remove(&key);
            None
        }
    };
    pairs.insert(key, Pair { before, after });
}
