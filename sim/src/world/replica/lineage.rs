//! Whether the store is the one that was seen before: the same decision as in production
//! (`berth_core::lineage`), and what follows from it.

use std::time::Duration;

use berth_core::StoreRevision;
use berth_core::io::Deposed;
use berth_core::lineage::{Break, GENERATION, HOLD, Hold, Look, Sight};
use berth_core::planted::{Bug, planted};
use berth_kv as kv;
use berth_kv::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, PutRequest, RangeRequest, TxnOp,
    TxnOpResponse, TxnRequest, TxnResponse,
};

use crate::marks::Mark;
use crate::oracle::Rule;
use crate::world::World;

use super::{LEADER_KEY, LEASE, Next, Purpose, Standing};

/// How long a store that is not believed is left alone.
const PAUSE: Duration = Duration::from_secs(2);

fn meta(name: &str) -> String {
    format!("/meta/{name}")
}

impl World {
    /// Asks who leads, and whether it is the store that it was; linearizably.
    pub(super) fn verify(&mut self, at: usize, next: Next) {
        let keys = [LEADER_KEY.to_owned(), meta(GENERATION), meta(HOLD)];
        let reads = keys.map(|key| TxnOp::Range(RangeRequest::key(key)));
        let request = TxnRequest {
            success: reads.into(),
            ..TxnRequest::default()
        };
        let purpose = Purpose::Verify(self.replicas[at].lineage.seen(), next);
        self.ask_store(at, kv::Request::Txn(request), purpose);
    }

    pub(super) fn verified(
        &mut self,
        at: usize,
        before: Option<Sight>,
        next: Next,
        found: &TxnResponse,
    ) {
        let unverified = planted(Bug::LeaderUnverified) && matches!(next, Next::Watch(_));
        if !unverified && let Err(broken) = self.judge_store(at, before, found.revision) {
            self.close_store(at, &broken);
            return;
        }
        let is_there = |at: usize| matches!(found.responses.get(at), Some(TxnOpResponse::Range(it)) if !it.kvs.is_empty());
        let look = Look {
            cluster: 0,
            generation: before.map_or(0, |seen| seen.generation),
            revision: StoreRevision(found.revision),
            held: None,
        };
        let held = match found.responses.get(2) {
            Some(TxnOpResponse::Range(found)) => found.kvs.first().is_some_and(|kv| {
                let hold = serde_json::from_slice::<Hold>(&kv.value).ok();
                hold.is_none_or(|hold| hold.stands(StoreRevision(kv.mod_revision), look))
            }),
            _ => false,
        };
        if held && !planted(Bug::RestoreUnnoticed) {
            self.mark(Mark::StoreClosed);
            self.leave_alone(at);
            return;
        }
        match next {
            Next::Follow => {
                let replica = &mut self.replicas[at];
                let unled = !is_there(0) && matches!(replica.standing, Standing::Following);
                // The watch may be about to tell; it is asked once more.
                if unled && std::mem::replace(&mut replica.unled, unled) {
                    self.nobody_leads(at);
                }
                self.replicas[at].unled &= unled;
            }
            Next::Watch(from) => {
                if self.replicas[at].is_watching() {
                    self.watch_from(at, from);
                    self.schedule_wake(at);
                }
            }
            Next::Begin if is_there(0) => {
                let made = match found.responses.first() {
                    Some(TxnOpResponse::Range(found)) => found.kvs.first(),
                    _ => None,
                };
                let made = made.map_or(0, |kv| kv.create_revision);
                self.begin_to_follow(at, made);
            }
            Next::Begin => self.ask_for_lease(at),
        }
    }

    /// Holds an answer against what was known when it was asked for. As in production a term or a
    /// round ends with what is not believed; the next look at who leads closes the store to those
    /// who cannot know.
    pub(super) fn is_believed(&mut self, at: usize, before: Option<Sight>, revision: i64) -> bool {
        self.judge_store(at, before, revision).is_ok()
    }

    fn judge_store(
        &mut self,
        at: usize,
        before: Option<Sight>,
        revision: i64,
    ) -> Result<(), Break> {
        let look = Look {
            cluster: 0,
            generation: before.map_or(0, |seen| seen.generation),
            revision: StoreRevision(revision),
            held: None,
        };
        let Err(broken) = self.replicas[at].lineage.judge(before, look) else {
            self.is_told_of(at, revision);
            return Ok(());
        };
        self.mark(Mark::StoreNotBelieved);
        self.leave_alone(at);
        Err(broken)
    }

    /// It is told of a revision; those of a store that will not have been are of no account.
    pub(super) fn is_told_of(&mut self, at: usize, revision: i64) {
        if self.store.right_one.is_none() {
            let replica = &mut self.replicas[at];
            replica.told_of = replica.told_of.max(revision);
        }
    }

    /// Whether the answer to a transaction is of another store than the one that was loaded.
    pub(super) fn is_other_store(
        &mut self,
        at: usize,
        before: Option<Sight>,
        result: &Result<kv::Response, kv::KvError>,
    ) -> bool {
        match result {
            Ok(kv::Response::Txn(answer)) => !self.is_believed(at, before, answer.revision),
            Ok(_) | Err(_) => false,
        }
    }

    fn leave_alone(&mut self, at: usize) {
        self.depose(at, Deposed::StoreRefused);
        self.replicas[at].next_campaign = self.now + PAUSE;
        self.schedule_wake(at);
    }

    fn close_store(&mut self, at: usize, broken: &Break) {
        let hold = Hold {
            by: format!("scheduler-{at}"),
            what: *broken,
            why: broken.to_string(),
        };
        let absent = Compare {
            range: KeyRange::Single(meta(HOLD).into()),
            op: CompareOp::Equal,
            target: CompareTarget::Create(0),
        };
        let value = serde_json::to_string(&hold).unwrap_or_default();
        let request = TxnRequest {
            compare: vec![absent],
            success: vec![
                TxnOp::Put(PutRequest::new(meta(HOLD), value)),
                TxnOp::DeleteRange(DeleteRequest {
                    range: KeyRange::Single(LEADER_KEY.into()),
                    prev_kv: false,
                }),
            ],
            failure: Vec::new(),
        };
        self.ask_store(at, kv::Request::Txn(request), Purpose::Hold);
    }

    /// It begins to lead: not over a store that, as it told itself, is behind what the replica was
    /// told of, in this life or another.
    /// What was answered before the store was restored, and comes only now, tells of the right one;
    /// a look at the store, or the leadership key, ends such a term.
    pub(super) fn leads_over(&mut self, at: usize, told: i64) {
        let knows = self.replicas[at].told_of;
        if told < knows {
            let seen = format!("scheduler-{at} leads over a store at {told}; it knew {knows}");
            self.violate(
                Rule::S8,
                "nobody leads over a store that was restored",
                seen,
            );
        }
    }

    /// The same of one that leads by what its watch told. The key that it made is in the store that
    /// it asked.
    pub(super) fn takes_over_over(&mut self, at: usize, made: i64) {
        let range = RangeRequest::key(LEADER_KEY);
        let now = self.now.as_millis();
        let found = self.store.model.apply(now, kv::Request::Range(range));
        let is_here = matches!(found, Ok(kv::Response::Range(found))
            if found.kvs.iter().any(|kv| kv.create_revision == made));
        if self.store.right_one.is_some() && is_here {
            self.leads_over(at, made);
        }
    }

    /// It calls an agent. Who led already when the store was restored finds that out within its lease.
    pub(super) fn acts_over(&mut self, at: usize) {
        let (store, knows) = (&self.store, self.replicas[at].told_of);
        let now = store.model.revision();
        let noticed = self.now >= store.restored_at + 2 * LEASE;
        if store.right_one.is_some() && noticed && now < knows {
            let seen = format!("scheduler-{at} acts over a store at {now}; it knew {knows}");
            let expected = "nobody acts on for long over a store that was restored";
            self.violate(Rule::S8, expected, seen);
        }
    }
}
