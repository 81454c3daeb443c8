//! A view from a snapshot, all at once.

use std::sync::Arc;

use berth_core::io::Stored;
use berth_core::model::Extra;
use berth_core::model::workload::AssignmentRecord;
use berth_core::{Epoch, Key, Timestamp};

use super::super::memo::Memo;
use super::{Known, View, most};

impl View {
    /// What records say that are all that is there, in the order of their keys. The same as to take
    /// one after another; a large store is told again and again.
    pub(super) fn of(records: &[Stored], memo: &mut Memo) -> Self {
        let mut view = Self::default();
        let is_kept = |stored: &&Stored| !matches!(stored.key, Key::Event(_));
        let known = records.iter().filter(is_kept).map(|stored| {
            let is_there = stored.value.is_some();
            let at = stored.mod_revision;
            (stored.key.clone(), Known { at, is_there })
        });
        view.known = known.collect();
        view.present = view.known.values().filter(|known| known.is_there).count();
        let (mut workloads, mut homes) = (Vec::new(), Vec::new());
        for stored in records {
            let text = stored.value.as_deref();
            match &stored.key {
                Key::Workload(id) => {
                    let read = |text: &str| memo.workloads.read(id, text.as_bytes()).ok();
                    workloads.extend(text.and_then(read).map(|record| (id.clone(), record)));
                }
                Key::Assignment(id) => {
                    let read = |text: &str| memo.assignments.read(id, text.as_bytes()).ok();
                    homes.extend(text.and_then(read).map(|home| (id.clone(), home)));
                }
                Key::Event(_) => {}
                key => view.put(key, text, memo),
            }
        }
        view.workloads = workloads.into_iter().collect();
        for (id, home) in &homes {
            let before = view.share(&home.node_id, id);
            let of_node = view.homes.entry(home.node_id.clone()).or_default();
            of_node.insert(id.clone());
            let sum = view.sums.entry(home.node_id.clone()).or_default();
            *sum = *sum - before + most(before, home.resources);
        }
        view.assignments = homes.into_iter().collect();
        records.iter().for_each(|stored| view.guess(stored));
        view
    }

    /// An assignment that cannot be read, and of which nothing was known before, counts as the
    /// workload's own record has it.
    fn guess(&mut self, stored: &Stored) {
        let Key::Assignment(id) = &stored.key else {
            return;
        };
        let unread = stored.value.is_some() && !self.assignments.contains_key(id);
        if unread {
            self.unread_homes.insert(id.clone());
        }
        let record = self.workloads.get(id).filter(|_| unread);
        let home = record.and_then(|record| {
            Some(AssignmentRecord {
                workload_id: id.clone(),
                node_id: record.assigned_node.clone()?,
                resources: record.resources,
                revision_id: record.revision_id.clone(),
                assigned_at: Timestamp::ZERO,
                epoch: Epoch(0),
                moved_from: Vec::new(),
                extra: Extra::new(),
            })
        });
        if home.is_some() {
            self.assign(id, home.map(Arc::new));
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_core::StoreRevision;

    use super::*;

    fn stored(key: &str, text: &str, at: i64) -> Stored {
        Stored {
            key: Key::parse(key).unwrap(),
            value: Some(text.to_owned().into()),
            mod_revision: StoreRevision(at),
        }
    }

    #[test]
    fn all_at_once_is_the_same_as_one_after_another() {
        let home = |id: &str, node: &str| {
            let text = format!(
                r#"{{"workload_id":"{id}","node_id":"{node}","resources":{{"cpu":2,"memory_mb":1,"disk_gb":1}},"revision_id":"r","assigned_at":"2026-02-17T00:00:00.000Z","epoch":1}}"#
            );
            (format!("/assignments/{id}"), text)
        };
        let tombstone = |node: &str, id: &str| {
            let text = format!(
                r#"{{"workload_id":"{id}","node_id":"{node}","resources":{{"cpu":1,"memory_mb":2,"disk_gb":3}},"since":"2026-02-17T00:00:00.000Z"}}"#
            );
            (format!("/meta/tombstones/{node}/{id}"), text)
        };
        let unreadable = |key: &str| (key.to_owned(), "what is this".to_owned());
        let texts = [
            home("a", "n1"),
            home("b", "n1"),
            home("c", "n2"),
            unreadable("/assignments/d"),
            tombstone("n1", "a"),
            tombstone("n2", "b"),
            unreadable("/meta/tombstones/n2/c"),
            unreadable("/nodes/n1"),
            unreadable("/reconciliation/a"),
            unreadable("/retries/b"),
            unreadable("/workloads/c"),
        ];
        let records = texts.iter().zip(2..);
        let records: Vec<_> = records
            .map(|((key, text), at)| stored(key, text, at))
            .collect();
        let (mut memo, mut one_by_one) = (Memo::default(), View::default());
        for stored in &records {
            one_by_one.take(stored, &mut memo);
        }
        let view = View::of(&records, &mut Memo::default());
        assert_eq!(format!("{view:?}"), format!("{one_by_one:?}"));
        assert_eq!((view.assignments.len(), view.tombstones.len()), (3, 2));
        assert_eq!(view.unreadable.len(), 1);
    }
}
