//! What a scheduler is told by its watch of the store.

use berth_core::StoreRevision;
use berth_core::io::{Deposed, Input, Stored};
use berth_kv as kv;
use berth_kv::KeyRange;

use crate::marks::Mark;
use crate::world::World;
use crate::world::store::stream_of;

use super::codec::stored_of_event;
use super::{LEADER_KEY, Purpose};

impl World {
    /// The connection to the store was made anew: the watch goes on from what was seen last.
    pub(in crate::world) fn reset_store_connection(&mut self, at: usize) {
        let replica = &self.replicas[at];
        if !replica.up || !replica.is_leading() {
            return;
        }
        let stream = stream_of(at, replica.life);
        let from = replica.seen.0 + 1;
        let close = kv::WatchRequest::Close { stream };
        self.ask_store(at, kv::Request::Watch(close), Purpose::Watch);
        self.watch_from(at, from);
    }

    pub(super) fn watch_from(&mut self, at: usize, start_revision: i64) {
        let watch = kv::WatchRequest::Create {
            stream: stream_of(at, self.replicas[at].life),
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
        if output.stream != stream_of(at, replica.life) || !replica.is_leading() {
            return;
        }
        match output.kind {
            kv::WatchOutputKind::Events(events) => {
                let records: Vec<Stored> = events.iter().filter_map(stored_of_event).collect();
                let lost = events.iter().any(|event| {
                    event.kv.key == LEADER_KEY.as_bytes() && event.kind == kv::EventKind::Delete
                });
                if lost {
                    self.depose(at, Deposed::LostLeadership);
                    return;
                }
                let revision = StoreRevision(output.revision);
                self.replicas[at].seen = self.replicas[at].seen.max(revision);
                self.feed(at, vec![Input::Changed { revision, records }]);
            }
            kv::WatchOutputKind::Compacted { .. } => {
                self.mark(Mark::WatchCompacted);
                self.depose(at, Deposed::LostLeadership);
            }
            kv::WatchOutputKind::Created
            | kv::WatchOutputKind::Refused(_)
            | kv::WatchOutputKind::Progress
            | kv::WatchOutputKind::Canceled => {}
        }
    }
}
