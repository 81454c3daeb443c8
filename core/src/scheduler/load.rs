//! The image from a snapshot: of a replica that begins to follow, or that leads without having
//! followed. All at once, because there may be a hundred thousand workloads, and nobody leads meanwhile.

use std::collections::BTreeMap;

use crate::io::{Snapshot, Stored};
use crate::model::id::WorkloadId;
use crate::model::key::Key;
use crate::planted::{Bug, planted};

use super::Scheduler;
use super::commit::share_of;
use super::image::{decode, written_at};
use super::workload::{Part, Workload};

impl Scheduler {
    /// The image is what the snapshot says, and nothing else.
    pub(super) fn load_image(&mut self, snapshot: &Snapshot) {
        let newest = snapshot
            .records
            .iter()
            .rev()
            .find_map(|stored| match &stored.key {
                Key::Event(id) => id.time(),
                _ => None,
            });
        self.event_floor = newest.unwrap_or_default();
        (self.revision, self.told) = (snapshot.revision, snapshot.revision);
        self.quarantined.clear();
        self.clear_image();
        for stranger in &snapshot.strangers {
            self.quarantined.insert(
                Key::Meta(stranger.clone()),
                "not a key of the layout".into(),
            );
        }
        // Nodes first: who is assigned to each is not looked for among all workloads, but reserved
        // when every record is in. Tombstones last: they need both.
        let of = |kind: fn(&Key) -> bool| {
            let records = snapshot.records.iter();
            records.filter(move |stored| kind(&stored.key))
        };
        for stored in of(|key| matches!(key, Key::Node(_))) {
            self.load(stored);
        }
        self.load_workloads(snapshot);
        self.load_events(snapshot);
        for stored in of(|key| matches!(key, Key::Tombstone(..))) {
            self.load(stored);
        }
    }

    /// Nothing is known of workloads and nodes, and nothing is left of what was to be done.
    pub(super) fn clear_image(&mut self) {
        self.workloads.clear();
        self.nodes.clear();
        self.tombs.clear();
        self.graves.clear();
        self.hidden.clear();
        self.stranded.clear();
        self.unsettled.clear();
        self.waiting_for_room.clear();
        self.suggestions.clear();
        self.moves.clear();
        self.room.clear();
        // Whatever is told from now on is newer than the image.
        self.removed.clear();
        self.removed_order.clear();
    }

    /// Takes one record of a snapshot.
    fn load(&mut self, stored: &Stored) {
        if let Err(problem) = self.take(stored) {
            self.quarantined.insert(stored.key.clone(), problem);
        }
    }

    /// The records of each workload lie far apart in a snapshot: they are brought together first, and
    /// the map is built of what is in order.
    fn load_workloads(&mut self, snapshot: &Snapshot) {
        let records = snapshot.records.iter();
        let mut parts: Vec<(&WorkloadId, &Stored)> = records
            .filter(|it| !(matches!(it.key, Key::Retry(_)) && planted(Bug::RetryLostAtTakeover)))
            .filter_map(|stored| Some((workload_of(&stored.key)?, stored)))
            .collect();
        parts.sort_by_key(|(id, _)| *id);
        let mut workloads = Vec::with_capacity(parts.len());
        for parts in parts.chunk_by(|(a, _), (b, _)| a == b) {
            let mut workload = None;
            for (_, stored) in parts {
                match Part::read(&stored.key, stored.value.as_ref()) {
                    Ok(part) => workload
                        .get_or_insert_with(Workload::unknown)
                        .put(part, written_at(stored)),
                    Err(problem) => {
                        self.quarantined.insert(stored.key.clone(), problem);
                    }
                }
            }
            let id = parts.first().map(|(id, _)| (*id).clone());
            workloads.extend(id.zip(workload));
        }
        self.workloads = workloads.into_iter().collect();
    }

    fn load_events(&mut self, snapshot: &Snapshot) {
        let mut events = Vec::new();
        for stored in &snapshot.records {
            let Key::Event(id) = &stored.key else {
                continue;
            };
            match decode(stored.value.as_ref()) {
                Ok(event) => events.extend(event.map(|event| (id.clone(), event))),
                Err(problem) => {
                    self.quarantined.insert(stored.key.clone(), problem);
                }
            }
        }
        self.events = events.into_iter().collect::<BTreeMap<_, _>>();
    }

    /// Once every record is in: what each workload takes at its home, and who waits for room.
    pub(super) fn reserve_all(&mut self) {
        for (id, workload) in &mut self.workloads {
            if let Some(share) = share_of(&workload.durable)
                && let Some(node) = workload.durable.node().and_then(|n| self.nodes.get_mut(n))
            {
                node.hold(id, |hold| hold.assigned = Some(share));
            }
            if let Some(entry) = workload
                .place_in_line(id)
                .filter(|_| !planted(Bug::WaitingForgotten))
            {
                workload.waits_as = Some(entry.clone());
                self.waiting_for_room.insert(entry);
            }
        }
    }
}

/// Whose record this is one of four of.
fn workload_of(key: &Key) -> Option<&WorkloadId> {
    match key {
        Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) => Some(id),
        Key::Node(_) | Key::Tombstone(..) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => None,
    }
}
