//! The image of the store: kept up by own commits, and corrected by what somebody else changes.

use std::sync::Arc;

use crate::io::request::{Effect, RequestError};
use crate::io::value::Kind;
use crate::io::{Deposed, Output, Stored, Value};
use crate::model::event::{EventRecord, EventType};
use crate::model::id::{NodeId, StoreRevision, WorkloadId};
use crate::model::key::Key;
use crate::model::units::Resources;
use crate::model::workload::{DesiredState, IntentOutcome, IntentRecord, TombstoneRecord};
use crate::planted::{Bug, planted};
use crate::reconcile::{Observed, Phase};

use super::commit::{InFlight, Staged, share_of};
use super::node::{Hold, Share, Tombstone};
use super::pool::CallPool;
use super::workload::{Durable, Part, Workload};
use super::{Leadership, Scheduler};

impl Scheduler {
    pub(super) fn reserve_assigned(&mut self, id: &WorkloadId) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        if let (Some(node), Some(share)) = (
            workload.durable.node().cloned(),
            share_of(&workload.durable),
        ) {
            self.change_hold(&node, id, |hold| hold.assigned = Some(share));
        }
    }

    /// Leads no more. The image stays for readers; what was in flight is forgotten, and who
    /// waited for it is told that its outcome is not known.
    pub(super) fn give_up(&mut self, reason: Deposed) {
        for (_, in_flight) in std::mem::take(&mut self.in_flight) {
            let request = match in_flight.staged {
                Staged::Workload { plan, .. } => plan.request.map(|(request, _)| request),
                Staged::Node { request, .. } => request.map(|(request, _)| request),
                Staged::Tombstone { .. }
                | Staged::NewTombstone { .. }
                | Staged::Retention { .. }
                | Staged::Event => None,
            };
            if let Some(request) = request {
                let error = self.not_known("leadership was lost before the outcome was known");
                self.reply(request, Err(error));
            }
        }
        self.open_events.clear();
        self.close_events(Vec::new(), true);
        let (mut waiting, mut begun) = (Vec::new(), Vec::new());
        for workload in self.workloads.values_mut() {
            workload.staged = None;
            workload.call = None;
            workload.asking = None;
            workload.missed.clear();
            waiting.extend(workload.waiting.drain(..).map(|(request, _)| request));
        }
        for node in self.nodes.values_mut() {
            node.expect_nothing();
            node.missed.clear();
            waiting.extend(node.waiting.drain(..).map(|(request, _)| request));
            begun.extend(node.purging.take());
        }
        for request in begun {
            let error = self.not_known("leadership was lost while the node was purged");
            self.reply(request, Err(error));
        }
        for request in waiting {
            let error = self.unavailable("this replica does not lead");
            self.reply(request, Err(error));
        }
        self.workloads
            .retain(|_, workload| workload.durable != Durable::default());
        self.nodes.retain(|_, node| node.record.is_some());
        self.pool = CallPool::default();
        self.timers.clear_all();
        self.dirty.clear();
        self.dirty_nodes.clear();
        // The image was kept up until now; from now on it grows old.
        if self.is_leading() {
            self.current_at = self.now;
        }
        if reason != Deposed::LostLeadership {
            self.mirrors = false;
        }
        self.leadership = Leadership::Following { reason };
    }

    /// A record changed in the store; echoes of our own writes are no news.
    pub(super) fn handle_change(&mut self, stored: Stored) {
        if planted(Bug::WatchIgnored) {
            return;
        }
        match &stored.key {
            // A tombstone is written by its workload's transaction: its echo may come first.
            Key::Workload(id)
            | Key::Assignment(id)
            | Key::Intent(id)
            | Key::Retry(id)
            | Key::Tombstone(_, id) => {
                let revived =
                    planted(Bug::TombstoneRevived) && matches!(stored.key, Key::Tombstone(..));
                if let Some(workload) = self.workloads.get_mut(id)
                    && workload.staged.is_some()
                    && !revived
                {
                    workload.missed.push(stored);
                    return;
                }
            }
            Key::Node(id) => {
                if let Some(node) = self.nodes.get_mut(id)
                    && node.staged.is_some()
                {
                    node.missed.push(stored);
                    return;
                }
            }
            Key::Event(_) | Key::Meta(_) | Key::Leader(_) => {}
        }
        self.adopt(stored);
    }

    /// Takes up what was read at this revision. What is not there was not there then, whatever the watch
    /// has still to tell of it.
    pub(super) fn adopt_read(&mut self, at: StoreRevision, records: Vec<Stored>) {
        for mut stored in records {
            if stored.value.is_none() {
                stored.mod_revision = at;
            }
            self.adopt(stored);
        }
    }

    /// Takes up the current value of a record if it is newer than what the image holds.
    pub(super) fn adopt(&mut self, stored: Stored) {
        let is_news = self.is_news(&stored);
        let kept = !matches!(stored.key, Key::Event(_) | Key::Meta(_) | Key::Leader(_));
        if kept && stored.value.is_none() {
            // The answer to what wrote it may still come, or a watch that lags behind it.
            self.remember_removed(stored.key.clone(), stored.mod_revision);
        }
        if !is_news {
            return;
        }
        if self.is_own_removal(&stored) {
            // Its echo came before its answer: the copy is gone, and nobody else did anything.
            if let Key::Tombstone(node, id) = &stored.key {
                self.tombstone_removed(node, id);
            }
            return;
        }
        if self.is_own_tombstone(&stored) && self.take(&stored).is_ok() {
            // The echo of its creation, for the same reason.
            return;
        }
        self.stats.records_adopted += 1;
        let was = match &stored.key {
            Key::Node(id) => self.nodes.get(id).and_then(|node| node.record.clone()),
            _ => None,
        };
        let before = self.home_before(&stored.key);
        let (event_type, reason) = match self.take(&stored) {
            Ok(()) => {
                if !planted(Bug::QuarantineForEver) {
                    self.quarantined.remove(&stored.key);
                }
                (
                    EventType::RecordAdopted,
                    "a write that was not decided here was adopted".to_owned(),
                )
            }
            Err(problem) => {
                let reason = format!("it cannot be read and is left alone: {problem}");
                self.quarantined.insert(stored.key.clone(), problem);
                (EventType::RecordQuarantined, reason)
            }
        };
        self.announce(event_type, format!("{}: {reason}", stored.key));
        match &stored.key {
            Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) => {
                let id = id.clone();
                let is_record = matches!(stored.key, Key::Workload(_));
                self.readopt_workload(&id, before, is_record);
            }
            Key::Node(id) => {
                let id = id.clone();
                self.note_readable(&id);
                self.node_changed(&id, was.as_ref());
                self.dirty_nodes.insert(id);
            }
            Key::Tombstone(id, _) => {
                self.dirty_nodes.insert(id.clone());
            }
            Key::Event(_) | Key::Meta(_) | Key::Leader(_) => {}
        }
    }

    /// The home of the workload that a record is of. Only there it is held as assigned.
    pub(super) fn home_before(&self, key: &Key) -> Option<NodeId> {
        let workload = match key {
            Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) => {
                self.workloads.get(id)?
            }
            Key::Node(_) | Key::Tombstone(..) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => {
                return None;
            }
        };
        workload.durable.node().cloned()
    }

    /// A former home holds a workload no more, unless it is its home still.
    pub(super) fn leave_hold(&mut self, id: &WorkloadId, before: Option<NodeId>) {
        let home = self.workloads.get(id).and_then(|w| w.durable.node());
        if let Some(before) = before.filter(|before| Some(before) != home) {
            self.change_hold(&before, id, |hold| hold.assigned = None);
        }
    }

    /// After somebody else changed a workload: reservations follow, and it is looked at afresh.
    /// `before`: its home until now; `is_record`: it is its canonical record that was changed.
    fn readopt_workload(&mut self, id: &WorkloadId, before: Option<NodeId>, is_record: bool) {
        self.leave_hold(id, before.clone());
        let home = self
            .workloads
            .get(id)
            .and_then(|w| w.durable.node().cloned());
        // A large change is told in parts: the room that it takes elsewhere is known with its assignment.
        let whole = self.workloads.get_mut(id).map_or(is_record, |workload| {
            let named = workload.record().map(|record| &record.assigned_node);
            let agrees = named.is_none_or(|named| named.as_ref() == workload.durable.node());
            workload.half_told |= is_record && workload.may_have_moved;
            agrees && (std::mem::take(&mut workload.half_told) || is_record)
        });
        if whole || planted(Bug::GhostsLaidByAny) {
            self.lay_ghosts(id);
            self.cancel_move_of_old(id);
        }
        if let Some(before) = before {
            self.note_late_move(id, &before);
        }
        self.reserve_assigned(id);
        self.reserve_hidden();
        self.forget_waiting(id);
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.refresh();
            workload.observed = Observed::Nothing;
            // A failure that was counted is not counted again because somebody touched a record.
            let counted = workload.durable.retry.is_some()
                && workload.desired() == Some(DesiredState::Running);
            let rests = matches!(workload.phase, Phase::GivenUp | Phase::BackingOff(_));
            // What is under way without a record of it is decided anew; and what failed by the record,
            // for instance in a transaction that had been given up and came late, fails once.
            let is_over = |intent: &Arc<IntentRecord>| intent.outcome != IntentOutcome::Open;
            let unrecorded = workload.durable.intent.as_ref().is_none_or(is_over)
                && workload.call.is_none()
                && workload.phase.is_under_way();
            let revived = workload.phase == Phase::GivenUp && !workload.durable.is_given_up();
            if (unrecorded || revived) && counted {
                workload.phase = workload.durable.resting_phase(self.now);
            } else if rests && !counted || unrecorded && workload.durable.intent.is_none() {
                workload.phase = Phase::Idle;
            }
        }
        self.note_waiting(id);
        self.dirty.insert(id.clone());
        self.forget_if_empty(id);
        if let Some(home) = home {
            self.list_soon(&home);
        }
    }

    pub(super) fn is_news(&self, stored: &Stored) -> bool {
        let known = match &stored.key {
            Key::Workload(id) => self.workloads.get(id).map(|w| w.revisions.record),
            Key::Assignment(id) => self.workloads.get(id).map(|w| w.revisions.assignment),
            Key::Intent(id) => self.workloads.get(id).map(|w| w.revisions.intent),
            Key::Retry(id) => self.workloads.get(id).map(|w| w.revisions.retry),
            Key::Node(id) => self.nodes.get(id).map(|node| node.revision),
            Key::Tombstone(node, id) => self.tombstone_revision(node, id),
            // Ours alone: nobody else's events or settings are read.
            Key::Event(_) | Key::Meta(_) | Key::Leader(_) => return false,
        };
        let known = known.unwrap_or_default();
        match stored.value {
            Some(_) if planted(Bug::OldValueAdopted) => true,
            Some(_) => stored.mod_revision > known && !self.is_outdated(stored),
            // What could not be read and is gone stands in nobody's way any more.
            None if self.quarantined.contains_key(&stored.key) => true,
            // Gone: news only about what we hold and did not write later.
            None => known > StoreRevision(0) && stored.mod_revision > known,
        }
    }

    /// The watch tells that a tombstone is gone while our transaction that removes it has no answer
    /// yet. What it takes on the node is free from now on, as for every other reader (S5).
    fn is_own_removal(&self, stored: &Stored) -> bool {
        let Key::Tombstone(node, id) = &stored.key else {
            return false;
        };
        let tombstone = self.nodes.get(node).and_then(|n| n.tombstones.get(id));
        stored.value.is_none() && tombstone.is_some_and(|t| t.staged.is_some())
    }

    /// The watch tells of a tombstone while our transaction that adds it by itself has no answer yet.
    fn is_own_tombstone(&self, stored: &Stored) -> bool {
        let writes = |in_flight: &InFlight| {
            let mut writes = in_flight.writes.iter();
            writes.any(|(key, value)| {
                *key == stored.key && value.as_deref() == stored.value.as_deref()
            })
        };
        matches!(stored.key, Key::Tombstone(..))
            && stored.value.is_some()
            && self.in_flight.values().any(writes)
    }

    /// A value that we removed since: the watch may tell of a write after the commit of its
    /// removal was known.
    fn is_outdated(&self, stored: &Stored) -> bool {
        self.removed
            .get(&stored.key)
            .is_some_and(|at| stored.mod_revision <= *at)
    }

    /// Puts one record into the image.
    pub(super) fn take(&mut self, stored: &Stored) -> Result<(), String> {
        let revision = written_at(stored);
        let value = stored.value.as_ref();
        match &stored.key {
            Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) => {
                let part = Part::read(&stored.key, value)?;
                let workloads = self.workloads.entry(id.clone());
                workloads
                    .or_insert_with(Workload::unknown)
                    .put(part, revision);
            }
            Key::Node(id) => {
                let record = decode(value)?;
                self.expect_node(id);
                if let Some(node) = self.nodes.get_mut(id) {
                    node.record = record.map(Arc::unwrap_or_clone);
                    node.revision = revision;
                }
            }
            Key::Tombstone(node, id) => {
                let record: Option<Arc<TombstoneRecord>> =
                    decode(value).inspect_err(|_| self.unreadable_tombstone(node, id, revision))?;
                match record {
                    Some(record) => self.add_tombstone(&record, revision),
                    None => self.tombstone_removed(node, id),
                }
            }
            Key::Event(id) => {
                let record: Option<Arc<EventRecord>> = decode(value)?;
                if let Some(record) = record {
                    self.events.insert(id.clone(), record);
                }
            }
            Key::Meta(_) | Key::Leader(_) => {}
        }
        Ok(())
    }

    /// A copy must be confirmed gone from a node.
    pub(super) fn add_tombstone(&mut self, record: &TombstoneRecord, revision: StoreRevision) {
        let (node, id) = (record.node_id.clone(), record.workload_id.clone());
        self.bury(node, id, record.resources, revision);
    }

    /// A copy that takes this must be confirmed gone from a node, once that has a record.
    pub(super) fn bury(
        &mut self,
        node: NodeId,
        id: WorkloadId,
        resources: Resources,
        revision: StoreRevision,
    ) {
        if !self.nodes.contains_key(&node) {
            let nodes = self.tombs.entry(id.clone()).or_default();
            nodes.insert(node.clone());
            self.stranded.insert((node, id), (resources, revision));
            return;
        }
        let share = Share {
            resources,
            group: None,
        };
        self.change_hold(&node, &id, |hold: &mut Hold| hold.tombstone = Some(share));
        self.tombs
            .entry(id.clone())
            .or_default()
            .insert(node.clone());
        let tombstone = Tombstone {
            revision,
            call: None,
            deleted: None,
            confirmed: false,
            staged: None,
        };
        if let Some(entity) = self.nodes.get_mut(&node) {
            entity.tombstones.insert(id, tombstone);
        }
        self.dirty_nodes.insert(node);
    }

    /// Nobody waits any more for a copy to go.
    pub(super) fn tombstone_removed(&mut self, node: &NodeId, id: &WorkloadId) {
        if let Some(nodes) = self.tombs.get_mut(id) {
            nodes.remove(node);
            if nodes.is_empty() {
                self.tombs.remove(id);
            }
        }
        let stranded = self.stranded.remove(&(node.clone(), id.clone()));
        if let Some(entity) = self.nodes.get_mut(node)
            && entity.tombstones.remove(id).is_none()
            && stranded.is_none()
        {
            return;
        }
        self.graves.bury(node, id, self.now);
        self.change_hold(node, id, |hold| hold.tombstone = None);
        self.dirty.insert(id.clone());
        self.dirty_nodes.insert(node.clone());
    }

    /// Notes that a key was removed by us: echoes of older writes may still arrive.
    pub(super) fn remember_removed(&mut self, key: Key, at: StoreRevision) {
        if let Some(known) = self.removed.get_mut(&key) {
            *known = at.max(*known);
            return;
        }
        self.removed_order.push_back(key.clone());
        // The watch is never this far behind: what it still has to tell is newer.
        if self.removed_order.len() > super::REMOVED_MAX
            && let Some(oldest) = self.removed_order.pop_front()
        {
            self.removed.remove(&oldest);
        }
        self.removed.insert(key, at);
    }

    /// Why nothing can be written now.
    pub(super) fn unavailable(&self, reason: &str) -> RequestError {
        RequestError::Unavailable {
            reason: reason.to_owned(),
            retry_after: std::time::Duration::from_secs(1),
            effect: Effect::None,
        }
    }

    /// The same for what may have been carried out.
    pub(super) fn not_known(&self, reason: &str) -> RequestError {
        RequestError::Unavailable {
            reason: reason.to_owned(),
            retry_after: std::time::Duration::from_secs(1),
            effect: Effect::Unknown,
        }
    }

    /// Answers a request.
    pub(super) fn reply(
        &mut self,
        request: crate::RequestId,
        result: Result<crate::io::Response, RequestError>,
    ) {
        if request == super::NOBODY {
            return;
        }
        self.outputs.push_back(Output::Reply {
            request,
            result: Box::new(result),
        });
    }
}

/// The revision that wrote what is there; 0: nothing is.
pub(super) fn written_at(stored: &Stored) -> StoreRevision {
    match stored.value {
        Some(_) => stored.mod_revision,
        None => StoreRevision(0),
    }
}

/// What a record says; `None`: it is absent.
pub(super) fn decode<T: Kind>(value: Option<&Value>) -> Result<Option<Arc<T>>, String> {
    value.map(Value::read).transpose()
}
