//! What a scheduler is told by its watch of the store.

use berth_core::StoreRevision;
use berth_core::io::{Deposed, Input, Stored};
use berth_core::lineage::Sight;
use berth_kv as kv;
use berth_kv::KeyRange;

use crate::marks::Mark;
use crate::world::World;

use super::codec::stored_of_event;
use super::{LEADER_KEY, LEASE, Purpose};

impl World {
    /// The connection to the store was made anew: the watch goes on from what was seen last.
    pub(in crate::world) fn reset_store_connection(&mut self, at: usize) {
        let replica = &self.replicas[at];
        if !replica.up || !replica.is_watching() {
            return;
        }
        let stream = replica.stream(at);
        // Some versions of etcd forget a removal in the very revision that is compacted, so the watch
        // begins with the last one that was told, as in production: that one is known.
        let from = replica.seen.0.max(1);
        let close = kv::WatchRequest::Close { stream };
        self.ask_store(at, kv::Request::Watch(close), Purpose::Watch);
        // What comes by the old connection still is read by nobody: something before it may be lost.
        self.replicas[at].round += 1;
        self.resume_watch(at, from);
    }

    /// Nobody reads this stream any more, and whoever told it to close was not heard: what arrives
    /// is refused by the machine, so the store tells it no more.
    pub(super) fn refuse_watch(&mut self, stream: kv::StreamId) {
        self.store_watch_request(kv::WatchRequest::Close { stream });
    }

    pub(super) fn watch_from(&mut self, at: usize, start_revision: i64) {
        let now = self.now;
        let replica = &mut self.replicas[at];
        replica.round += 1;
        replica.heard_at = now;
        replica.next_progress = now + LEASE / 2;
        let watch = kv::WatchRequest::Create {
            stream: self.replicas[at].stream(at),
            id: kv::WatchId::AUTO,
            range: KeyRange::prefix("/"),
            start_revision,
            prev_kv: false,
            progress_notify: false,
            filters: Vec::new(),
        };
        self.ask_store(at, kv::Request::Watch(watch), Purpose::Watch);
    }

    pub(super) fn watched(&mut self, at: usize, output: kv::WatchOutput) {
        let replica = &self.replicas[at];
        if output.stream != replica.stream(at) || !replica.is_watching() {
            self.refuse_watch(output.stream);
            return;
        }
        let leads = replica.is_leading();
        self.replicas[at].heard_at = self.now;
        match output.kind {
            kv::WatchOutputKind::Events(events) => {
                let texts = &mut self.texts;
                let records = events.iter().filter_map(|it| stored_of_event(texts, it));
                let records: Vec<Stored> = records.collect();
                let lost = events.iter().any(|event| {
                    event.kv.key == LEADER_KEY.as_bytes() && event.kind == kv::EventKind::Delete
                });
                if lost && leads {
                    self.depose(at, Deposed::LostLeadership);
                    return;
                }
                let revision = StoreRevision(output.revision);
                self.is_told_of(at, output.revision);
                let replica = &mut self.replicas[at];
                replica.seen = replica.seen.max(revision);
                if let Some(seen) = replica.lineage.seen() {
                    replica.lineage.heard(Sight { revision, ..seen });
                }
                for event in &events {
                    if event.kv.key == LEADER_KEY.as_bytes() {
                        match event.kind {
                            kv::EventKind::Put => replica.key_made = event.kv.create_revision,
                            kv::EventKind::Delete => replica.key_gone = event.kv.mod_revision,
                        }
                    }
                }
                self.feed(at, vec![Input::Changed { revision, records }]);
                if lost {
                    self.key_went(at);
                }
                self.take_over(at);
            }
            kv::WatchOutputKind::Compacted { .. } => {
                self.mark(Mark::WatchCompacted);
                if leads {
                    self.depose(at, Deposed::LostLeadership);
                } else {
                    self.missed_changes(at);
                }
            }
            kv::WatchOutputKind::Progress if !leads => {
                // Nothing changed: its image is as old as this.
                let (revision, records) = (StoreRevision(0), Vec::new());
                self.feed(at, vec![Input::Changed { revision, records }]);
            }
            kv::WatchOutputKind::Created
            | kv::WatchOutputKind::Refused(_)
            | kv::WatchOutputKind::Progress
            | kv::WatchOutputKind::Canceled => {}
        }
    }
}
