//! How a scheduler comes to lead: a lease, the key, the store read page by page.

use std::time::Duration;

use berth_core::io::{Input, Snapshot};
use berth_core::lineage::Sight;
use berth_core::planted::{Bug, planted};
use berth_core::{Epoch, Key, StoreRevision, Timestamp};
use berth_kv as kv;
use berth_kv::{
    Compare, CompareOp, CompareTarget, KeyRange, LeaseId, PutRequest, RangeRequest, TxnOp,
    TxnOpResponse, TxnRequest,
};

use crate::marks::Mark;
use crate::process::Process;
use crate::world::World;

use super::{LEADER_KEY, LEASE, PAGE, Purpose, Standing};

/// What is counted when the leadership key is made, as in production: records of workloads and
/// nodes, and tombstones.
const RECORDS: [&str; 6] = [
    "/assignments/",
    "/meta/tombstones/",
    "/nodes/",
    "/reconciliation/",
    "/retries/",
    "/workloads/",
];

impl World {
    pub(super) fn ask_for_lease(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let asked_at = replica.clock(self.now);
        replica.standing = Standing::Granting;
        replica.lease = LeaseId(replica.lease.0 + 1);
        let (id, ttl_s) = (replica.lease, LEASE.as_secs() as i64);
        let purpose = Purpose::Grant { asked_at };
        self.ask_store(at, kv::Request::LeaseGrant { id, ttl_s }, purpose);
    }

    pub(super) fn campaign(&mut self, at: usize, asked_at: Timestamp) {
        let replica = &mut self.replicas[at];
        replica.standing = Standing::Campaigning;
        replica.lease_until = asked_at + LEASE;
        let mut put = PutRequest::new(LEADER_KEY, format!("scheduler-{at}"));
        put.lease = replica.lease;
        let absent = Compare {
            range: KeyRange::Single(LEADER_KEY.into()),
            op: CompareOp::Equal,
            target: CompareTarget::Create(0),
        };
        let mut success = vec![TxnOp::Put(put)];
        success.extend(RECORDS.map(|prefix| {
            let mut count = RangeRequest::range(KeyRange::prefix(prefix));
            count.count_only = true;
            TxnOp::Range(count)
        }));
        let request = TxnRequest {
            compare: vec![absent],
            success,
            failure: Vec::new(),
        };
        self.ask_store(at, kv::Request::Txn(request), Purpose::Campaign);
    }

    /// The answer to its campaign.
    pub(super) fn campaigned(&mut self, at: usize, answer: &kv::TxnResponse) {
        let replica = &mut self.replicas[at];
        if !answer.succeeded {
            replica.standing = Standing::Idle;
            replica.next_campaign = self.now + Duration::from_secs(1);
            self.schedule_wake(at);
            return;
        }
        let first = replica.epoch == Epoch(0);
        if first || !planted(Bug::EpochReused) {
            replica.epoch = Epoch(answer.revision);
        }
        let counts = answer.responses.iter().map(|answer| match answer {
            TxnOpResponse::Range(counted) => usize::try_from(counted.count).unwrap_or(0),
            TxnOpResponse::Put(_) | TxnOpResponse::DeleteRange(_) | TxnOpResponse::Txn(_) => 0,
        });
        replica.records = counts.sum();
        self.mark(Mark::LeaderElected);
        self.begin_to_lead(at);
    }

    pub(super) fn load_page(&mut self, at: usize, from: String, revision: i64) {
        let KeyRange::Span { end, .. } = KeyRange::prefix("/") else {
            return;
        };
        let range = KeyRange::Span {
            start: from.into(),
            end,
        };
        let mut request = RangeRequest::range(range);
        request.limit = PAGE;
        request.revision = revision;
        let purpose = Purpose::Load(self.replicas[at].lineage.seen());
        self.ask_store(at, kv::Request::Range(request), purpose);
    }

    pub(super) fn loaded(&mut self, at: usize, before: Option<Sight>, page: kv::RangeResponse) {
        if !self.is_believed(at, before, page.revision) {
            return;
        }
        let replica = &mut self.replicas[at];
        let Standing::Loading {
            follows,
            led,
            revision,
            records,
            strangers,
        } = &mut replica.standing
        else {
            return;
        };
        if *revision == 0 {
            *revision = page.revision;
        }
        if records.is_empty() {
            records.reserve(usize::try_from(page.count).unwrap_or_default());
        }
        let last = page.kvs.last().map(|kv| kv.key.clone());
        for (kv, stored) in page.kvs.iter().zip(self.texts.page(&page.kvs)) {
            match stored {
                Some(stored) if matches!(stored.key, Key::Leader(_)) => *led = true,
                Some(stored) => records.push(stored),
                None => strangers.push(String::from_utf8_lossy(&kv.key).into_owned()),
            }
        }
        let (revision, follows, led) = (*revision, *follows, *led);
        if let (true, Some(last)) = (page.more, last) {
            let next = format!("{}\0", String::from_utf8_lossy(&last));
            self.load_page(at, next, revision);
            return;
        }
        let snapshot = Snapshot {
            revision: StoreRevision(revision),
            records: std::mem::take(records),
            strangers: std::mem::take(strangers),
        };
        if follows && !led {
            // The leader went while the store was read: its watch would never tell.
            self.nobody_leads(at);
            return;
        }
        if follows {
            self.follows(at, snapshot);
            return;
        }
        self.leads_over(at, page.revision);
        let replica = &mut self.replicas[at];
        let epoch = replica.epoch;
        replica.seen = StoreRevision(revision);
        self.watch_from(at, revision + 1);
        self.leads_now(at);
        self.feed(at, vec![Input::Lead { epoch, snapshot }]);
    }

    /// Its core is about to be told that it leads.
    pub(super) fn leads_now(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        replica.follows = false;
        replica.standing = Standing::Leading;
        replica.next_keep_alive = self.now;
        let (epoch, clock) = (replica.epoch, replica.clock(self.now));
        let grace = replica.config.eviction_grace;
        self.oracle.leads(at, epoch, clock, grace);
        self.wake(Process::Replica(at), self.now);
    }
}
