//! Every version of every key since the last compaction, by key and by revision.

use std::collections::BTreeMap;

use crate::types::{Event, EventKind, Key, KeyRange, KeyValue, Revision};

/// What is counted for the bookkeeping of one version, besides its key and value.
const VERSION_OVERHEAD_BYTES: u64 = 64;

/// The place of one change: its transaction's revision, then its order within the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) main: Revision,
    pub(crate) sub: u32,
}

/// One version of a key; no record: the key was deleted here.
#[derive(Clone, Debug)]
struct Version {
    at: Change,
    kv: Option<KeyValue>,
}

/// The versions of all keys in both orders. Its size is proportional to what is alive plus what
/// changed since the last compaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// Versions of each key in the order of changes; never empty.
    keys: BTreeMap<Key, Vec<Version>>,
    /// The keys changed by each transaction in the order of its operations.
    changes: BTreeMap<Revision, Vec<(u32, Key)>>,
    bytes: u64,
}

impl Index {
    /// The key as it was right after the transaction of this revision.
    pub(crate) fn get(&self, key: &[u8], revision: Revision) -> Option<&KeyValue> {
        visible(self.keys.get(key)?, revision)
    }

    /// The keys of a range as they were right after this revision, in their order.
    pub(crate) fn range<'a>(
        &'a self,
        range: &'a KeyRange,
        revision: Revision,
    ) -> impl Iterator<Item = &'a KeyValue> + 'a {
        range
            .bounds()
            .into_iter()
            .flat_map(|bounds| self.keys.range::<[u8], _>(bounds))
            .filter_map(move |(_, versions)| visible(versions, revision))
    }

    /// Records a new version of `kv.key`.
    pub(crate) fn put(&mut self, at: Change, kv: KeyValue) {
        self.insert(at, kv.key.clone(), Some(kv));
    }

    /// Records that the key was deleted.
    pub(crate) fn delete(&mut self, at: Change, key: Key) {
        self.insert(at, key, None);
    }

    pub(crate) fn insert(&mut self, at: Change, key: Key, kv: Option<KeyValue>) {
        self.bytes += version_bytes(&key, kv.as_ref());
        self.changes
            .entry(at.main)
            .or_default()
            .push((at.sub, key.clone()));
        self.keys.entry(key).or_default().push(Version { at, kv });
    }

    /// Restores a version that a compaction had kept; it is not an event any more.
    pub(crate) fn insert_settled(&mut self, at: Change, key: Key, kv: Option<KeyValue>) {
        self.bytes += version_bytes(&key, kv.as_ref());
        self.keys.entry(key).or_default().push(Version { at, kv });
    }

    /// The events of one transaction in their order, without previous versions.
    pub(crate) fn events_at(&self, revision: Revision) -> Vec<Event> {
        let Some(changed) = self.changes.get(&revision) else {
            return Vec::new();
        };
        changed
            .iter()
            .filter_map(|(sub, key)| self.event(revision, *sub, key))
            .collect()
    }

    /// The revisions from `first` on at which something changed.
    pub(crate) fn revisions_from(&self, first: Revision) -> impl Iterator<Item = Revision> + '_ {
        self.changes.range(first..).map(|(revision, _)| *revision)
    }

    fn event(&self, main: Revision, sub: u32, key: &Key) -> Option<Event> {
        let versions = self.keys.get(key)?;
        let found = versions.binary_search_by_key(&Change { main, sub }, |version| version.at);
        let version = &versions[found.ok()?];
        let (kind, kv) = match &version.kv {
            Some(kv) => (EventKind::Put, kv.clone()),
            None => {
                let gone = KeyValue {
                    key: key.clone(),
                    mod_revision: main,
                    ..KeyValue::default()
                };
                (EventKind::Delete, gone)
            }
        };
        Some(Event {
            kind,
            kv,
            prev_kv: None,
        })
    }

    /// Forgets every version that no read at or after `revision` can see. A deletion at
    /// `revision` itself is forgotten too, as in etcd 3.4: a watch from there does not see it.
    pub(crate) fn compact(&mut self, revision: Revision) {
        let later = self.changes.split_off(&(revision + 1));
        let settled = std::mem::replace(&mut self.changes, later);
        let mut kept_at_revision = Vec::new();
        for (main, changed) in settled {
            for (sub, key) in changed {
                self.compact_key(&key, revision);
                if main == revision && self.event(main, sub, &key).is_some() {
                    kept_at_revision.push((sub, key));
                }
            }
        }
        if !kept_at_revision.is_empty() {
            self.changes.insert(revision, kept_at_revision);
        }
    }

    fn compact_key(&mut self, key: &Key, revision: Revision) {
        let Some(versions) = self.keys.get_mut(key) else {
            return;
        };
        let seen = versions.partition_point(|version| version.at.main <= revision);
        if seen == 0 {
            return;
        }
        let keep_last = versions[seen - 1].kv.is_some();
        for dropped in versions.drain(..seen - usize::from(keep_last)) {
            self.bytes -= version_bytes(key, dropped.kv.as_ref());
        }
        if versions.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Every version, by key and then in the order of changes, for a snapshot.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (Change, &Key, Option<&KeyValue>)> {
        self.keys.iter().flat_map(|(key, versions)| {
            versions
                .iter()
                .map(move |version| (version.at, key, version.kv.as_ref()))
        })
    }

    /// Whether a watch could still see this change.
    pub(crate) fn is_event(&self, at: Change) -> bool {
        self.changes
            .get(&at.main)
            .is_some_and(|list| list.iter().any(|(sub, _)| *sub == at.sub))
    }

    /// Puts the events of each transaction in their order, after versions were inserted by key.
    pub(crate) fn sort_changes(&mut self) {
        for changed in self.changes.values_mut() {
            changed.sort_by_key(|(sub, _)| *sub);
        }
    }

    /// An estimate of the memory that keys, values and their versions take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Versions held, deletions included.
    pub(crate) fn version_count(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }
}

fn visible(versions: &[Version], revision: Revision) -> Option<&KeyValue> {
    // Most reads are of the present: look at the last version first.
    let last = versions.last()?;
    if last.at.main <= revision {
        return last.kv.as_ref();
    }
    let seen = versions.partition_point(|version| version.at.main <= revision);
    versions[..seen].last()?.kv.as_ref()
}

fn version_bytes(key: &Key, kv: Option<&KeyValue>) -> u64 {
    let value = kv.map_or(0, |kv| kv.value.len());
    VERSION_OVERHEAD_BYTES + key.len() as u64 + value as u64
}
