//! A scheduler that does not lead: it loads the store, and its watch keeps its image up.

use berth_core::StoreRevision;
use berth_core::io::{Deposed, Input, Snapshot};
use berth_kv as kv;

use crate::marks::Mark;
use crate::world::World;

use super::{LEASE, Next, Purpose, Standing};

impl World {
    /// Somebody else leads.
    pub(super) fn begin_to_follow(&mut self, at: usize) {
        self.replicas[at].standing = Standing::Loading {
            follows: true,
            led: false,
            revision: 0,
            records: Vec::new(),
            strangers: Vec::new(),
        };
        self.load_page(at, "/".to_owned(), 0);
    }

    pub(super) fn follows(&mut self, at: usize, snapshot: Snapshot) {
        let StoreRevision(revision) = snapshot.revision;
        let replica = &mut self.replicas[at];
        replica.standing = Standing::Following;
        replica.seen = StoreRevision(revision);
        self.mark(Mark::Follows);
        self.watch_from(at, revision + 1);
        self.feed(at, vec![Input::Follow { snapshot }]);
    }

    /// Nobody leads any more, or changes were missed: it begins anew. Its image stays.
    pub(super) fn nobody_leads(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        replica.standing = Standing::Idle;
        replica.next_campaign = self.now;
        let stream = replica.stream(at);
        let close = kv::Request::Watch(kv::WatchRequest::Close { stream });
        self.ask_store(at, close, Purpose::Watch);
        self.schedule_wake(at);
    }

    /// Asks now and then how far its watch is, and notices silence.
    pub(super) fn ask_for_progress(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if !matches!(replica.standing, Standing::Following) || self.now < replica.next_progress {
            return;
        }
        if self.now.since(replica.heard_at) > LEASE * 2 {
            self.depose(at, Deposed::StoreUnavailable);
            return;
        }
        replica.next_progress = self.now + LEASE / 2;
        let stream = replica.stream(at);
        let progress = kv::Request::Watch(kv::WatchRequest::Progress { stream });
        self.ask_store(at, progress, Purpose::Watch);
    }

    /// The store was away: its watch goes on if it is still the same.
    pub(super) fn resume_watch(&mut self, at: usize, from: i64) {
        if self.replicas[at].up && self.replicas[at].is_watching() {
            self.verify(at, Next::Watch(from));
        }
    }
}
