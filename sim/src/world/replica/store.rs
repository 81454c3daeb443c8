//! What a scheduler asks the store, and what becomes of that.

use std::time::Duration;

use berth_core::StoreRevision;
use berth_core::io::{Deposed, Fate, Input};
use berth_core::planted::{Bug, planted};
use berth_kv as kv;

use crate::marks::Mark;
use crate::process::Process;
use crate::world::World;
use crate::world::message::Body;
use crate::world::twist::StoreTwist;

use super::LEASE;
use super::codec::gets;
use super::standing::{Next, Purpose};

const STORE_TIMEOUT: Duration = Duration::from_secs(2);

impl World {
    pub(super) fn ask_store(&mut self, at: usize, request: kv::Request, purpose: Purpose) {
        let twists = match purpose {
            Purpose::Look => self.twist_read(true),
            Purpose::Load(_) => self.twist_read(false),
            Purpose::Commit(..) => self.twist_commit(),
            _ => StoreTwist::None,
        };
        let replica = &mut self.replicas[at];
        let call = replica.next_call;
        replica.next_call += 1;
        replica.calls.insert(call, purpose);
        let life = replica.life;
        let overdue = crate::world::Happening::StoreOverdue {
            replica: at,
            life,
            call,
        };
        self.queue.push(self.now + STORE_TIMEOUT, overdue);
        let from = Process::Replica(at);
        match twists {
            StoreTwist::None => {}
            StoreTwist::Stale(back) => {
                self.store.stale.insert((from, call), back);
            }
            StoreTwist::Mute => {
                self.store.mute.insert((from, call));
            }
            StoreTwist::Lost => return,
        }
        let body = Body::StoreCall {
            call,
            request: Box::new(request),
        };
        self.send(from, Process::Store, body);
    }

    pub(in crate::world) fn replica_overdue(&mut self, at: usize, call: u64) {
        let Some(purpose) = self.replicas[at].calls.remove(&call) else {
            return;
        };
        match purpose {
            Purpose::Commit(txn, ..) => {
                self.mark(Mark::CommitUnknown);
                self.feed(
                    at,
                    vec![Input::Commit {
                        txn,
                        fate: Fate::Unknown,
                    }],
                );
            }
            Purpose::ReadBack(txn, keys, _) => {
                self.read_back(at, txn, keys);
            }
            Purpose::Verify(_, Next::Watch(from)) => self.resume_watch(at, from),
            Purpose::KeepAlive { .. }
            | Purpose::Watch
            | Purpose::Hold
            | Purpose::Verify(_, Next::Follow) => {}
            Purpose::Look
            | Purpose::Verify(_, Next::Begin)
            | Purpose::Grant { .. }
            | Purpose::Campaign
            | Purpose::Load(_) => {
                self.depose(at, Deposed::StoreUnavailable);
            }
        }
    }

    pub(super) fn store_answered(
        &mut self,
        at: usize,
        call: u64,
        result: Result<kv::Response, kv::KvError>,
    ) {
        let Some(purpose) = self.replicas[at].calls.remove(&call) else {
            return;
        };
        match (purpose, result) {
            // Who leads may be told by a member that is behind: it is asked again before it counts.
            (Purpose::Look, Ok(kv::Response::Range(_))) => self.verify(at, Next::Begin),
            (Purpose::Verify(before, next), Ok(kv::Response::Txn(found))) => {
                self.verified(at, before, next, &found);
            }
            (Purpose::Verify(_, Next::Watch(from)), _) => self.resume_watch(at, from),
            (Purpose::Grant { asked_at }, Ok(kv::Response::LeaseGrant { .. })) => {
                self.campaign(at, asked_at);
            }
            (Purpose::Campaign, Ok(kv::Response::Txn(answer))) => self.campaigned(at, &answer),
            (Purpose::Load(before), Ok(kv::Response::Range(page))) => {
                self.loaded(at, before, page);
            }
            (Purpose::KeepAlive { asked_at }, Ok(kv::Response::LeaseKeepAlive { ttl_s, .. })) => {
                if ttl_s > 0 {
                    self.replicas[at].lease_until = asked_at + LEASE;
                    self.schedule_wake(at);
                } else {
                    self.depose(at, Deposed::LostLeadership);
                }
            }
            (Purpose::Commit(txn, keys, before), result) => {
                if planted(Bug::LeaderUnverified) || !self.is_other_store(at, before, &result) {
                    self.commit_answered(at, txn, &keys, result);
                }
            }
            (Purpose::ReadBack(txn, keys, before), Ok(kv::Response::Txn(answer))) => {
                if !self.is_believed(at, before, answer.revision) {
                    return;
                }
                let revision = StoreRevision(answer.revision);
                let records = gets(&mut self.texts, &keys, &answer.responses);
                self.feed(
                    at,
                    vec![Input::ReadBack {
                        txn,
                        revision,
                        records,
                    }],
                );
            }
            (Purpose::Watch | Purpose::Hold | Purpose::Verify(_, Next::Follow), _) => {}
            (
                Purpose::Look
                | Purpose::Grant { .. }
                | Purpose::Campaign
                | Purpose::Verify(..)
                | Purpose::Load(_)
                | Purpose::KeepAlive { .. }
                | Purpose::ReadBack(..),
                _,
            ) => self.depose(at, Deposed::LostLeadership),
        }
    }
}
