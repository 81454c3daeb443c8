//! A scheduler that does not lead: it loads the store, and its watch keeps its image up.

use berth_core::StoreRevision;
use berth_core::io::{Deposed, Input, Snapshot};
use berth_core::planted::{Bug, planted};
use berth_kv as kv;

use crate::marks::Mark;
use crate::world::World;

use super::{LEASE, MARGIN, Next, Purpose, Standing};

impl World {
    /// Somebody else leads, by the key that was made at that revision.
    pub(super) fn begin_to_follow(&mut self, at: usize, made: i64) {
        let replica = &mut self.replicas[at];
        if replica.follows && replica.key_gone > made {
            // And went again meanwhile.
            replica.standing = Standing::Idle;
            replica.next_campaign = self.now;
            self.schedule_wake(at);
            return;
        }
        if replica.follows {
            replica.standing = Standing::Following;
            self.schedule_wake(at);
            return;
        }
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
        replica.follows = true;
        (replica.key_made, replica.key_gone) = (0, 0);
        replica.seen = StoreRevision(revision);
        self.mark(Mark::Follows);
        self.watch_from(at, revision + 1);
        self.feed(at, vec![Input::Follow { snapshot }]);
    }

    /// The leadership key went: it campaigns, and its watch goes on meanwhile.
    pub(super) fn key_went(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if matches!(replica.standing, Standing::Following) {
            replica.standing = Standing::Idle;
            replica.next_campaign = self.now;
            self.schedule_wake(at);
        }
    }

    /// It leads by the key that it made just now. Who followed has everything that was written
    /// before as soon as its watch tells of the key; who did not reads the store.
    pub(super) fn begin_to_lead(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if replica.follows {
            replica.standing = Standing::Awaiting(self.now + LEASE / 4);
            self.take_over(at);
            self.schedule_wake(at);
            return;
        }
        self.load_to_lead(at);
    }

    fn load_to_lead(&mut self, at: usize) {
        self.replicas[at].standing = Standing::Loading {
            follows: false,
            led: false,
            revision: 0,
            records: Vec::new(),
            strangers: Vec::new(),
        };
        self.load_page(at, "/".to_owned(), 0);
    }

    /// Its watch is late or broken.
    pub(super) fn await_no_longer(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if matches!(replica.standing, Standing::Awaiting(until) if self.now >= until) {
            self.stop_following(at);
            self.load_to_lead(at);
        }
    }

    /// Leads over the image that it followed, if that is far enough.
    pub(super) fn take_over(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let epoch = replica.epoch;
        let made = epoch.create_revision();
        let told = replica.key_made == made || planted(Bug::TakesOverTooSoon);
        if !matches!(replica.standing, Standing::Awaiting(_)) || !told {
            return;
        }
        if replica.clock(self.now) >= replica.lease_until - MARGIN {
            self.depose(at, Deposed::StoreUnavailable);
            return;
        }
        let held = replica.core.records_held();
        let unchecked = planted(Bug::CountUnchecked) || planted(Bug::TakesOverTooSoon);
        let counts = held == replica.records || unchecked;
        let is_exact = replica.core.follows_as_far_as(StoreRevision(made));
        if is_exact && !counts {
            // Some versions of etcd keep a removal to themselves (etcd-io/etcd#18089).
            self.mark(Mark::ImageDiffers);
        }
        if !is_exact || !counts {
            self.stop_following(at);
            self.load_to_lead(at);
            return;
        }
        self.takes_over_over(at, made);
        self.mark(Mark::TookOver);
        self.leads_now(at);
        self.feed(at, vec![Input::TakeOver { epoch }]);
    }

    /// Changes were missed: its image is no more what the store holds.
    pub(super) fn missed_changes(&mut self, at: usize) {
        match self.replicas[at].standing {
            Standing::Following => self.nobody_leads(at),
            Standing::Awaiting(_) => {
                self.stop_following(at);
                self.load_to_lead(at);
            }
            Standing::Idle
            | Standing::Looking
            | Standing::Granting
            | Standing::Campaigning
            | Standing::Loading { .. }
            | Standing::Leading => self.stop_following(at),
        }
    }

    /// What its watch tells is of no use any more.
    fn stop_following(&mut self, at: usize) {
        self.replicas[at].follows = false;
        let stream = self.replicas[at].stream(at);
        let close = kv::Request::Watch(kv::WatchRequest::Close { stream });
        self.ask_store(at, close, Purpose::Watch);
    }

    /// Nobody leads any more, or changes were missed: it begins anew. Its image stays.
    pub(super) fn nobody_leads(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        replica.follows = false;
        replica.unled = false;
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
        self.verify(at, Next::Follow);
    }

    /// The store was away: its watch goes on if it is still the same.
    pub(super) fn resume_watch(&mut self, at: usize, from: i64) {
        if self.replicas[at].up && self.replicas[at].is_watching() {
            self.verify(at, Next::Watch(from));
        }
    }
}
