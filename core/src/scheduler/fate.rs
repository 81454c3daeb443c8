//! What becomes of a transaction: carried out, taken back, or read back when nobody knows.

use crate::io::request::RequestError;
use crate::io::{Fate, Output, Stored};
use crate::model::id::{CallId, NodeId, RequestId, StoreRevision, TxnId, WorkloadId};
use crate::model::key::Key;
use crate::model::time::Timestamp;
use crate::planted::{Bug, planted};
use crate::reconcile::{Observed, Phase};

use super::Scheduler;
use super::commit::{InFlight, Plan, Staged, share_of};
use super::node::NodeMutation;
use super::timers::Timer;
use super::workload::{Durable, Workload};

/// Why a transaction is not in the store.
#[derive(Debug)]
enum Undone {
    /// Something else was written first.
    Overtaken,
    /// Its fate was unknown, and it was not there when it was read back. It may still come.
    Unseen,
    /// The store will not have it, because of this.
    Refused(String),
}

impl Scheduler {
    /// The fate of a transaction is known.
    pub(super) fn handle_fate(&mut self, txn: TxnId, fate: Fate) {
        match fate {
            Fate::Committed(revision) => self.committed(txn, revision, &[]),
            Fate::Conflict { .. } if !self.in_flight.contains_key(&txn) => {}
            Fate::Conflict { revision, current } => {
                self.stats.commit_conflicts += 1;
                self.revision = self.revision.max(revision);
                self.take_back(txn, &Undone::Overtaken);
                self.adopt_read(revision, current);
            }
            Fate::Refused(why) => {
                self.stats.commits_refused += 1;
                self.take_back(txn, &Undone::Refused(why));
            }
            Fate::Unknown if planted(Bug::UnknownIsCommitted) => {
                self.committed(txn, self.revision, &[]);
            }
            Fate::Unknown if planted(Bug::UnknownIsFailed) => {
                self.take_back(txn, &Undone::Overtaken);
            }
            Fate::Unknown => {
                self.stats.commits_unknown += 1;
                let Some(in_flight) = self.in_flight.get(&txn) else {
                    return;
                };
                let written = in_flight.writes.iter().map(|(key, _)| key);
                let keys: Vec<Key> = written.chain(&in_flight.beside).cloned().collect();
                if keys.is_empty() {
                    // Only events were concerned: nothing is decided by them.
                    self.take_back(txn, &Undone::Overtaken);
                } else {
                    self.outputs.push_back(Output::ReadBack { txn, keys });
                }
            }
        }
    }

    /// The keys of a transaction of unknown fate were read: it is committed if the store holds
    /// what it would have written, and decided again on what is there otherwise. Should it still
    /// arrive late, its compares fail or those of the new decision do.
    pub(super) fn handle_read_back(
        &mut self,
        txn: TxnId,
        revision: StoreRevision,
        records: Vec<Stored>,
    ) {
        let Some(in_flight) = self.in_flight.get(&txn) else {
            return;
        };
        let holds = |(key, value): &(Key, Option<String>)| {
            records
                .iter()
                .any(|stored| stored.key == *key && stored.value.as_deref() == value.as_deref())
        };
        if in_flight.writes.iter().all(holds) {
            // What is absent says no revision. It was not written again before it was read.
            let written = records.iter().filter(|stored| stored.value.is_some());
            let written = written.map(|stored| stored.mod_revision).max();
            let at = written.unwrap_or(revision);
            self.committed(txn, at, &records);
            self.revision = self.revision.max(revision);
        } else {
            self.revision = self.revision.max(revision);
            self.take_back(txn, &Undone::Unseen);
            self.adopt_read(revision, records);
        }
    }

    /// A transaction is in the store. `read`: what was read back, if its fate was unknown.
    fn committed(&mut self, txn: TxnId, revision: StoreRevision, read: &[Stored]) {
        let Some(InFlight {
            staged,
            writes,
            events,
            ..
        }) = self.in_flight.remove(&txn)
        else {
            return;
        };
        self.revision = self.revision.max(revision);
        let written = |key: &Key| -> Option<StoreRevision> {
            let (_, value) = writes.iter().find(|(written, _)| written == key)?;
            let read = read.iter().find(|stored| stored.key == *key);
            let at = read.map_or(revision, |stored| stored.mod_revision);
            Some(if value.is_some() {
                at
            } else {
                StoreRevision(0)
            })
        };
        for (key, _) in writes.iter().filter(|(_, value)| value.is_none()) {
            self.remember_removed(key.clone(), revision);
        }
        for (key, _) in &writes {
            // What could not be read has another value now.
            self.quarantined.remove(key);
        }
        self.close_events(events, true);
        match staged {
            Staged::Workload { id, plan } => self.workload_committed(&id, *plan, &written),
            Staged::Node { id, next, request } => {
                let at = written(&Key::Node(id.clone()));
                self.node_committed(&id, next.map(|next| *next), at, request);
            }
            Staged::Tombstone { node, workload } => {
                // The watch may have told of it before, and another one may be there by now.
                let held = self.nodes.get(&node);
                let held = held.and_then(|held| held.tombstones.get(&workload));
                let key = (node, workload);
                let waits = self.stranded.get(&key);
                if held.is_some_and(|held| held.staged == Some(txn))
                    || waits.is_some_and(|(_, written)| *written < revision)
                {
                    self.tombstone_removed(&key.0, &key.1);
                }
            }
            Staged::NewTombstone { record } => {
                let key = Key::Tombstone(record.node_id.clone(), record.workload_id.clone());
                let at = written(&key).unwrap_or_default();
                // The watch may have told of it, and of its removal, before this.
                let told = self.nodes.get(&record.node_id).is_some_and(|node| {
                    let known = node.tombstones.get(&record.workload_id);
                    known.is_some_and(|known| known.revision >= at)
                });
                if !told && self.removed.get(&key).is_none_or(|removed| *removed < at) {
                    self.add_tombstone(&record, at);
                }
            }
            Staged::Retention { before } => self.events = self.events.split_off(&before),
            Staged::Event => {}
        }
    }

    fn workload_committed(
        &mut self,
        id: &WorkloadId,
        mut plan: Plan,
        written: &dyn Fn(&Key) -> Option<StoreRevision>,
    ) {
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        workload.staged = None;
        let before = workload.durable.node().cloned();
        let at = &mut workload.revisions;
        at.record = written(&Key::Workload(id.clone())).unwrap_or(at.record);
        at.assignment = written(&Key::Assignment(id.clone())).unwrap_or(at.assignment);
        at.intent = written(&Key::Intent(id.clone())).unwrap_or(at.intent);
        at.retry = written(&Key::Retry(id.clone())).unwrap_or(at.retry);
        let missed = std::mem::take(&mut workload.missed);
        let record_written = written(&Key::Workload(id.clone())).is_some();
        self.forget_waiting(id);
        for tombstone in std::mem::take(&mut plan.tombstones) {
            let key = Key::Tombstone(tombstone.node_id.clone(), id.clone());
            let revision = written(&key).unwrap_or_default();
            self.add_tombstone(&tombstone, revision);
        }
        if before.as_ref() != plan.next.node() {
            self.change_home(id, before.as_ref(), &mut plan);
        }
        if record_written || planted(Bug::GhostsLaidByAny) {
            // Back where it was moved from, or there still, and what would have moved it cannot come.
            self.cancel_move(id, plan.next.node());
            self.lay_ghosts(id);
        }
        if let (Some(node), Some(share)) = (plan.next.node().cloned(), share_of(&plan.next)) {
            self.change_hold(&node, id, |hold| {
                hold.staged = None;
                hold.assigned = Some(share);
            });
        }
        self.carry_out(id, plan);
        for stored in missed {
            self.handle_change(stored);
        }
    }

    /// A workload has another home, or none: what was seen and done at the former one concerns
    /// the tombstone there and nothing here.
    fn change_home(&mut self, id: &WorkloadId, before: Option<&NodeId>, plan: &mut Plan) {
        if let Some(node) = before {
            self.change_hold(node, id, |hold| hold.assigned = None);
        }
        plan.observed.get_or_insert(Observed::Missing);
        plan.phase.get_or_insert(plan.next.resting_phase(self.now));
        let newest = CallId(self.next_call);
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.call = None;
            workload.looked = false;
            workload.asking = None;
            workload.evidence_from = newest;
        }
    }

    /// The workload's canonical record was written: every transaction compares it, so those of unknown
    /// fate cannot come any more. What writes its other records alone stops none of them.
    pub(super) fn lay_ghosts(&mut self, id: &WorkloadId) {
        let ghosts = self.workloads.get_mut(id).map(|workload| {
            (workload.may_have_moved, workload.half_told) = (false, false);
            std::mem::take(&mut workload.ghosts)
        });
        for node in ghosts.into_iter().flatten() {
            self.change_hold(&node, id, |hold| hold.ghosts.clear());
        }
    }

    /// It may be that nothing is ever written that would take the place of a workload's transactions
    /// of unknown fate. They are too old to be carried out in the end.
    pub(super) fn lay_old_ghosts(&mut self, id: &WorkloadId) {
        let old = self.workloads.get(id).is_some_and(|workload| {
            let waits = workload.durable.record.is_some() && planted(Bug::OldGhostsKept);
            self.now >= workload.strays_until && !waits
        });
        if old {
            self.lay_ghosts(id);
            self.cancel_move_of_old(id);
            self.forget_if_empty(id);
        }
    }

    /// What would have moved it cannot come any more. A move that is on its way is another one.
    pub(super) fn cancel_move_of_old(&mut self, id: &WorkloadId) {
        let workload = self.workloads.get(id).filter(|it| it.staged.is_none());
        let home = workload.and_then(|it| it.durable.node().cloned());
        self.cancel_move(id, home.as_ref());
    }

    /// What follows once a plan is durable.
    pub(super) fn carry_out(&mut self, id: &WorkloadId, plan: Plan) {
        let Plan {
            next,
            then,
            phase,
            observed,
            fresh_start,
            request,
            ..
        } = plan;
        self.dirty.insert(id.clone());
        let removed = next.record.is_none();
        let now = self.now;
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        // The last words about a workload whose record is gone are what it was.
        let last = if removed {
            workload.durable.record.as_deref().cloned()
        } else {
            None
        };
        workload.durable = next;
        workload.refresh();
        if fresh_start {
            workload.not_before = Timestamp::ZERO;
            workload.reapplied = 0;
            workload.wanted_since = Some(now);
            if let Observed::Pending(since) | Observed::Unknown(since) = &mut workload.observed {
                // What is wanted now has not waited yet.
                *since = now;
            }
            let failed = matches!(workload.phase, Phase::BackingOff(_) | Phase::GivenUp)
                || matches!(workload.observed, Observed::Failed { .. });
            if failed {
                // What failed before is made anew at once, and costs nothing.
                workload.phase = Phase::BackingOff(now);
            }
        }
        if let Some(phase) = phase {
            workload.phase = phase;
        }
        if let Some(observed) = observed {
            workload.observed = observed;
        }
        if let Some((request, _)) = request {
            self.answer_workload(request, id, last);
        }
        let may_come = self
            .workloads
            .get(id)
            .is_some_and(|it| !it.ghosts.is_empty() || self.now < it.strays_until);
        if removed && may_come {
            // The room that it may still take would be kept by nobody's word: it is forgotten with that.
            if let Some(workload) = self.workloads.get_mut(id) {
                (workload.phase, workload.observed) = (Phase::Idle, Observed::Nothing);
            }
            self.finish_move(id);
            self.dirty.insert(id.clone());
        } else if removed {
            self.forget_workload(id);
        } else {
            self.note_waiting(id);
            if let Some(action) = then {
                self.call_for(id, action);
            }
        }
    }

    /// A transaction is not in the store. Its decision is made anew; when the store will not have
    /// it, who asked for it is told so, and nothing is decided for a while.
    fn take_back(&mut self, txn: TxnId, undone: &Undone) {
        let Some(InFlight {
            staged,
            events,
            writes,
            ..
        }) = self.in_flight.remove(&txn)
        else {
            return;
        };
        self.close_events(events, false);
        match staged {
            Staged::Workload { id, plan } => {
                let takes = |key: &Key| matches!(key, Key::Workload(_) | Key::Assignment(_));
                let takes_room = writes.iter().any(|(key, _)| takes(key));
                self.take_back_workload(&id, *plan, undone, takes_room);
            }
            Staged::Node { id, request, .. } => self.take_back_node(id, request, undone),
            Staged::Tombstone { node, workload } => {
                let pause = self.now + self.config.reconcile_interval;
                if let Some(tombstone) = self
                    .nodes
                    .get_mut(&node)
                    .and_then(|node| node.tombstones.get_mut(&workload))
                    .filter(|tombstone| tombstone.staged == Some(txn))
                {
                    tombstone.staged = None;
                }
                self.timers.set_at_latest(Timer::Node(node), pause);
            }
            Staged::NewTombstone { record } => {
                // The copy was seen, and nothing tells of it: until the next look all is open.
                let soon = self.now + self.config.reconcile_interval;
                let strays_until = self.now + self.config.stray_commit_max;
                if let Some(node) = self.nodes.get_mut(&record.node_id) {
                    if matches!(undone, Undone::Unseen) {
                        let strays = &mut node.stray_tombstones;
                        strays.retain(|_, until| self.now < *until);
                        strays.insert(record.workload_id.clone(), strays_until);
                    }
                    node.listing.seen = false;
                    self.timers
                        .set_at_latest(Timer::Listing(record.node_id), soon);
                }
            }
            // Old events are removed by the next pass.
            Staged::Retention { .. } | Staged::Event => {}
        }
    }

    fn take_back_node(
        &mut self,
        id: NodeId,
        request: Option<(RequestId, NodeMutation)>,
        undone: &Undone,
    ) {
        let pause = self.now + self.config.reconcile_interval;
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.expect_nothing();
        let missed = std::mem::take(&mut node.missed);
        let may_come = self.now < node.strays_until && !planted(Bug::FirstTryDenied);
        if matches!(undone, Undone::Unseen) {
            node.strays_until = self.now + self.config.stray_commit_max;
        }
        match (request, undone) {
            (Some((request, _)), Undone::Refused(_)) if may_come => {
                let error =
                    self.not_known("an earlier try may still be carried out: read it again");
                self.reply(request, Err(error));
            }
            (Some((request, _)), Undone::Refused(why)) => {
                self.reply(request, Err(RequestError::StoreRefused(why.clone())));
            }
            (Some(request), Undone::Overtaken | Undone::Unseen) => node.waiting.push_front(request),
            (None, Undone::Refused(_)) => node.refused_until = pause,
            (None, Undone::Overtaken | Undone::Unseen) => {}
        }
        // What the change would have taken away was offered to nobody while it was in flight.
        self.room.insert(id.clone());
        self.dirty_nodes.insert(id);
        for stored in missed {
            self.handle_change(stored);
        }
    }

    /// `takes_room`: it writes what says where the workload is, or beside whom it may be.
    fn take_back_workload(
        &mut self,
        id: &WorkloadId,
        plan: Plan,
        undone: &Undone,
        takes_room: bool,
    ) {
        let target = plan.next.node().cloned();
        let home = self
            .workloads
            .get(id)
            .and_then(|w| w.durable.node().cloned());
        let unseen = matches!(undone, Undone::Unseen);
        if let Some(node) = &target {
            self.change_hold(node, id, |hold| {
                if unseen && takes_room && !planted(Bug::UnseenReleased) {
                    hold.leave_ghost();
                } else {
                    hold.staged = None;
                }
            });
        }
        let earlier = self.workloads.get(id).map(|w| w.strays_until);
        let may_come = earlier.is_some_and(|until| self.now < until);
        if !unseen && !may_come || planted(Bug::UnseenMoveForgotten) {
            self.cancel_move(id, home.as_ref());
        }
        let pause = self.now + self.config.reconcile_interval;
        let strays_until = self.now + self.config.stray_commit_max;
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        workload.staged = None;
        if unseen {
            workload.strays_until = strays_until;
            // Perhaps nothing else is ever written of it: then its ghosts go when they are too old.
            self.timers.set(Timer::Ghosts(id.clone()), strays_until);
        }
        workload.may_have_moved |= unseen && takes_room;
        workload.half_told &= !unseen;
        workload
            .ghosts
            .extend(target.filter(|_| unseen && takes_room));
        let missed = std::mem::take(&mut workload.missed);
        match (plan.request, undone) {
            (Some((request, _)), Undone::Refused(_))
                if may_come && !planted(Bug::FirstTryDenied) =>
            {
                let error =
                    self.not_known("an earlier try may still be carried out: read it again");
                self.reply(request, Err(error));
            }
            (Some((request, _)), Undone::Refused(why)) => {
                self.reply(request, Err(RequestError::StoreRefused(why.clone())));
            }
            // It may still be written; asked again, it would seem to conflict with itself (S15).
            (Some((request, mutation)), Undone::Unseen) if mutation.is_conditional() => {
                let error = self.not_known("the outcome is not known: read the record again");
                self.reply(request, Err(error));
            }
            (Some(request), Undone::Overtaken | Undone::Unseen) => {
                workload.waiting.push_front(request);
            }
            (None, Undone::Refused(_)) => workload.refused_until = pause,
            (None, Undone::Overtaken | Undone::Unseen) => {}
        }
        self.forget_if_empty(id);
        self.dirty.insert(id.clone());
        for stored in missed {
            self.handle_change(stored);
        }
    }

    /// Drops the image of a workload that was never stored and that nobody waits for.
    pub(super) fn forget_if_empty(&mut self, id: &WorkloadId) {
        let empty = self.workloads.get(id).is_some_and(|workload: &Workload| {
            workload.durable == Durable::default()
                && workload.staged.is_none()
                && workload.waiting.is_empty()
                && workload.ghosts.is_empty()
                && (self.now >= workload.strays_until || planted(Bug::CreationForgotten))
        });
        if empty {
            self.forget_workload(id);
        }
    }
}
