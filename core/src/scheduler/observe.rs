//! What agents answer: evidence about workloads, and about the agents themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::io::agent::{AgentCall, AgentError, AgentOp, AgentReply, AgentState, AgentStatus};
use crate::io::{AgentCall as Call, Output};
use crate::model::id::{CallId, NodeId, WorkloadId};
use crate::model::key::Key;
use crate::model::node::NodeStatus;
use crate::model::units::Resources;
use crate::model::workload::{Action, DesiredState, FailureKind, IntentOutcome, TombstoneRecord};
use crate::planted::{Bug, chance_of_the_machine, planted};
use crate::reconcile::{Observed, Phase};

use super::Scheduler;
use super::timers::Timer;
use super::workload::Workload;

/// Workloads of others that are remembered for a node at most.
const STRANGERS_MAX: usize = 1_000;

impl Scheduler {
    /// Makes a call, unless what it is for has changed while it waited for its turn: the latest
    /// decision is the only one that may reach an agent.
    pub(super) fn send(&mut self, mut call: Call) {
        if !self.is_still_wanted(&call) && !planted(Bug::StaleCallSent) {
            if let Some(workload) = call.op.workload().cloned() {
                self.drop_call(&call, &workload);
            }
            return;
        }
        if let Some(endpoint) = self.endpoint_of(&call.node) {
            // It may have registered from another address while the call waited for its turn.
            call.endpoint = endpoint;
        }
        self.outputs.push_back(Output::Call(call.clone()));
        self.pool.start(call);
    }

    fn is_still_wanted(&self, call: &AgentCall) -> bool {
        let is_current = |id: &WorkloadId| {
            let workload = self.workloads.get(id);
            workload.filter(|w| w.call == Some(call.id) && w.durable.node() == Some(&call.node))
        };
        match &call.op {
            AgentOp::Apply {
                workload,
                revision,
                running,
                ..
            } => {
                let record = is_current(workload).and_then(|w| w.record());
                record.is_some_and(|record| {
                    let wanted = match record.desired_state {
                        DesiredState::Running => *running,
                        DesiredState::Stopped => !*running,
                        DesiredState::Deleted => false,
                    };
                    // The node of a former copy may have come back since (S13).
                    let gated = *running && self.blocked_by_tombstones(workload, &call.node);
                    wanted && record.revision_id == *revision && !gated
                })
            }
            // A delete that was meant for a former copy must not meet the present one.
            AgentOp::Delete { workload } => {
                let removes = |workload: &Workload| {
                    let intent = workload.durable.intent.as_ref();
                    intent.is_some_and(|intent| {
                        let action = matches!(intent.action, Action::Delete | Action::Recreate);
                        action && intent.outcome == IntentOutcome::Open
                    })
                };
                let wanted = is_current(workload)
                    .is_some_and(|it| removes(it) || planted(Bug::DeleteTakenBack));
                wanted || self.is_tombstone_call(&call.node, workload, call.id)
            }
            AgentOp::Status { .. } | AgentOp::List => true,
        }
    }

    fn drop_call(&mut self, call: &AgentCall, id: &WorkloadId) {
        if let Some(workload) = self.workloads.get_mut(id)
            && workload.call == Some(call.id)
        {
            workload.call = None;
        }
        self.dirty.insert(id.clone());
    }

    /// A call ended.
    pub(super) fn handle_agent(&mut self, id: CallId, result: Result<AgentReply, AgentError>) {
        let Some(call) = self.pool.finish(id) else {
            return;
        };
        let is_there = self.endpoint_of(&call.node).as_deref() == Some(&call.endpoint);
        if is_there {
            self.note_reachability(&call.node, &result);
        }
        if call.op.is_mutation() {
            // A tombstone may have waited for it.
            self.dirty_nodes.insert(call.node.clone());
        }
        match &call.op {
            AgentOp::List => self.handle_listing(&call, result),
            AgentOp::Status { workload } => {
                let workload = workload.clone();
                self.handle_status(&call, &workload, result);
            }
            AgentOp::Apply { workload, .. } | AgentOp::Delete { workload } => {
                let workload = workload.clone();
                if self.is_tombstone_call(&call.node, &workload, id) {
                    self.handle_tombstone_reply(&call.node, &workload, result);
                } else {
                    self.handle_mutation(&call, &workload, result);
                }
            }
        }
    }

    /// An agent that cannot be called is as good as lost for new work, whatever it heartbeats;
    /// several failures in a row say so, one success takes it back.
    fn note_reachability(&mut self, node: &NodeId, result: &Result<AgentReply, AgentError>) {
        let limit = self.config.unreachable_after_failures;
        let Some(entity) = self.nodes.get_mut(node) else {
            return;
        };
        match result {
            Ok(_) | Err(AgentError::Failed(_) | AgentError::StaleEpoch) => {
                entity.failures = 0;
                if entity.unreachable && !planted(Bug::UnreachableForEver) {
                    entity.unreachable = false;
                    self.dirty_nodes.insert(node.clone());
                }
            }
            Err(AgentError::Unreachable(_) | AgentError::Timeout) => {
                entity.failures = entity.failures.saturating_add(1);
                if entity.failures >= limit && !entity.unreachable {
                    entity.unreachable = true;
                    self.dirty_nodes.insert(node.clone());
                }
            }
        }
    }

    fn handle_mutation(
        &mut self,
        call: &AgentCall,
        id: &WorkloadId,
        result: Result<AgentReply, AgentError>,
    ) {
        let (now, newest) = (self.now, CallId(self.next_call));
        let pause = self.config.retry_backoff_min;
        let retry_delete = self.config.delete_timeout.saturating_sub(pause);
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        if workload.call != Some(call.id) {
            return;
        }
        workload.call = None;
        workload.evidence_from = newest;
        self.dirty.insert(id.clone());
        if workload.durable.node() != Some(&call.node) {
            // It was moved meanwhile; the tombstone there sees to what this call left.
            return;
        }
        let started = match &call.op {
            AgentOp::Apply { running: true, .. } => Phase::Applying(now),
            AgentOp::Apply { running: false, .. } => Phase::Stopping(now),
            AgentOp::Delete { .. } | AgentOp::Status { .. } | AgentOp::List => Phase::Deleting(now),
        };
        match result {
            Ok(AgentReply::Applied) => {
                workload.phase = started;
                workload.looked = false;
            }
            Ok(AgentReply::Deleting) if planted(Bug::AcceptedIsGone) => {
                workload.observed = Observed::Missing;
                workload.looked = true;
                workload.phase = started;
            }
            Ok(AgentReply::Deleting) => {
                workload.phase = started;
                // That it was missing before says nothing about what the delete met (S10).
                if workload.observed == Observed::Missing {
                    workload.observed = Observed::Nothing;
                }
            }
            Ok(AgentReply::Missing) => {
                workload.observed = Observed::Missing;
                workload.looked = true;
                workload.phase = started;
            }
            Ok(AgentReply::ApplyRefused { failure, message }) => {
                workload.phase = Phase::Idle;
                // A refusal of what is wanted no more is nobody's failure.
                let current = matches!(
                    (&call.op, workload.record()),
                    (AgentOp::Apply { revision, running: true, .. }, Some(record))
                        if record.revision_id == *revision
                            && record.desired_state == DesiredState::Running
                );
                if current && workload.staged.is_none() {
                    self.fail(id, failure, &message);
                    return;
                }
                workload.observed = Observed::Nothing;
                workload.not_before = workload.not_before.max(now + pause);
            }
            Ok(AgentReply::DeleteRefused { .. }) => {
                // Asked again soon rather than after the whole deadline.
                workload.stays_undeleted(now + pause, now - retry_delete);
            }
            Err(AgentError::Unreachable(_)) if planted(Bug::InfrastructureCounts) => {
                self.fail(id, FailureKind::NodeUnreachable, "its node is not reached");
                return;
            }
            Err(AgentError::Unreachable(_)) => {
                // It certainly did not arrive: nothing changed, and no attempt is used up (S7).
                workload.not_before = workload.not_before.max(now + pause);
                self.stats.infrastructure_failures += 1;
                return;
            }
            Ok(AgentReply::Status(_) | AgentReply::Listing(_))
            | Err(AgentError::Timeout | AgentError::Failed(_) | AgentError::StaleEpoch) => {
                // It may have been carried out: look before anything else is done. A delete may be
                // carried out twice: one that came to nothing is asked for again soon.
                match started {
                    Phase::Deleting(_) => {
                        workload.stays_undeleted(now + pause, now - retry_delete);
                    }
                    started => workload.phase = started,
                }
                workload.observed = Observed::Nothing;
                self.stats.infrastructure_failures += 1;
            }
        }
        self.confirm_soon(&call.node);
    }

    /// After an action was accepted the node is listed soon, then at growing intervals.
    fn confirm_soon(&mut self, node: &NodeId) {
        let mut first = self.config.confirm_interval_min;
        if planted(Bug::RandomPause) {
            first += Duration::from_millis(chance_of_the_machine(50));
        }
        if let Some(entity) = self.nodes.get_mut(node) {
            entity.listing.interval_ms = u64::try_from(first.as_millis()).unwrap_or(u64::MAX);
            if entity.listing.call.is_some() {
                entity.listing.again = true;
            }
        }
        self.timers
            .set_at_latest(Timer::Listing(node.clone()), self.now + first);
    }

    /// Wants a node listed now.
    pub(super) fn list_soon(&mut self, node: &NodeId) {
        match self.nodes.get_mut(node) {
            Some(entity) if entity.listing.call.is_some() => entity.listing.again = true,
            Some(_) => self
                .timers
                .set_at_latest(Timer::Listing(node.clone()), self.now),
            None => {}
        }
    }

    /// Wants to know how a workload does. A listing that is under way tells, if it began late enough.
    pub(super) fn look(&mut self, id: &WorkloadId, node: &NodeId) {
        let listing = self.nodes.get(node).and_then(|entity| entity.listing.call);
        let tells = |call: CallId| {
            let workload = self.workloads.get(id);
            workload.is_some_and(|w| w.call.is_none() && call > w.evidence_from)
        };
        if !listing.is_some_and(tells) {
            self.list_soon(node);
        }
    }

    /// The time of a node's listing has come.
    pub(super) fn list(&mut self, node: &NodeId) {
        let Some(entity) = self.nodes.get(node) else {
            return;
        };
        if entity.listing.call.is_some() || !self.is_leading() {
            return;
        }
        // A node that heartbeats and could not be called is tried again; a silent one is not.
        let probing = entity.unreachable && self.is_alive(entity);
        if !entity.callable() && !probing {
            return;
        }
        let Some(call) = self.new_call(node, AgentOp::List) else {
            return;
        };
        if let Some(entity) = self.nodes.get_mut(node) {
            entity.listing.call = Some(call.id);
            entity.listing.again = false;
        }
        self.pool.push(call);
    }

    fn handle_listing(&mut self, call: &AgentCall, result: Result<AgentReply, AgentError>) {
        let node = &call.node;
        let Some(entity) = self.nodes.get_mut(node) else {
            return;
        };
        if entity.listing.call != Some(call.id) {
            return;
        }
        entity.listing.call = None;
        let hinted = std::mem::take(&mut entity.listing.hinted);
        let result = match result {
            Err(_) if planted(Bug::FailedListingIsEmpty) => Ok(AgentReply::Listing([].into())),
            result => result,
        };
        let open = match result {
            Ok(AgentReply::Listing(statuses)) => {
                entity.listing.seen = true;
                // A drain may have waited for this look.
                self.dirty_nodes.insert(node.clone());
                let open = self.take_listing(call, &statuses);
                if hinted {
                    self.compare_hints(node);
                }
                open
            }
            Ok(_) | Err(_) => {
                let assigned = entity.assigned.iter();
                let mut assigned = assigned.filter_map(|id| self.workloads.get(id));
                assigned.any(Workload::is_unconfirmed)
            }
        };
        self.plan_next_listing(node, open);
    }

    /// Answers whether anything that is assigned there is still unconfirmed.
    fn take_listing(&mut self, call: &AgentCall, statuses: &[AgentStatus]) -> bool {
        let node = &call.node;
        let mut seen: BTreeMap<&WorkloadId, &AgentStatus> = BTreeMap::new();
        let mut strangers = BTreeSet::new();
        for status in statuses {
            match &status.workload {
                Some(id) => {
                    seen.insert(id, status);
                }
                None => {
                    strangers.insert(status.raw_id.clone());
                }
            }
        }
        let Some(entity) = self.nodes.get(node) else {
            return false;
        };
        let assigned: Vec<WorkloadId> = entity.assigned.iter().cloned().collect();
        let tombstones: BTreeSet<WorkloadId> = entity.tombstones.keys().cloned().collect();
        for id in &tombstones {
            self.check_tombstone(node, id, call.id, seen.contains_key(id));
        }
        let mut open = false;
        for id in &assigned {
            if !tombstones.contains(id) {
                self.take_evidence(call.id, id, seen.get(id).copied());
            }
            let workload = self.workloads.get(id);
            open = open || workload.is_some_and(Workload::is_unconfirmed);
        }
        let entity = self.nodes.get(node);
        let ours = |id: &WorkloadId| entity.is_some_and(|n| n.holds.contains_key(id));
        let others: Vec<&WorkloadId> = seen.keys().copied().filter(|id| !ours(id)).collect();
        for id in others {
            let known = self.workloads.get(id).is_some_and(|w| w.record().is_some());
            if known && planted(Bug::ReportOfStranger) {
                self.take_evidence(call.id, id, seen.get(id).copied());
                continue;
            }
            // Where it belongs cannot be read: it is nobody's orphan.
            let unread = self.quarantined.contains_key(&Key::Workload(id.clone()))
                || self.quarantined.contains_key(&Key::Assignment(id.clone()));
            let unread = unread && !known && !planted(Bug::UnreadOrphaned);
            if known || !unread && self.graves.holds(node, id) {
                self.bring_back_tombstone(node, id);
            } else {
                strangers.insert(id.as_str().to_owned());
            }
        }
        while strangers.len() > STRANGERS_MAX {
            strangers.pop_last();
        }
        if let Some(entity) = self.nodes.get_mut(node) {
            entity.strangers = strangers;
        }
        open
    }

    /// A copy of a workload runs where nobody assigned it now: a delayed command brought it back.
    fn bring_back_tombstone(&mut self, node: &NodeId, id: &WorkloadId) {
        self.stats.orphans_found += 1;
        if planted(Bug::CopyBroughtBack) {
            return;
        }
        self.stage_tombstone(TombstoneRecord {
            workload_id: id.clone(),
            node_id: node.clone(),
            resources: Resources::default(),
            since: self.now,
            extra: crate::model::Extra::new(),
        });
    }

    fn handle_status(
        &mut self,
        call: &AgentCall,
        id: &WorkloadId,
        result: Result<AgentReply, AgentError>,
    ) {
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        if workload.asking == Some(call.id) {
            workload.asking = None;
        }
        if workload.durable.node() != Some(&call.node) {
            return;
        }
        match result {
            Ok(AgentReply::Status(status)) => self.take_evidence(call.id, id, Some(&status)),
            Ok(AgentReply::Missing) => self.take_evidence(call.id, id, None),
            Ok(_) | Err(_) => {
                self.dirty.insert(id.clone());
            }
        }
    }

    /// Evidence from a call that began after the workload's last change at the agent ended.
    fn take_evidence(&mut self, call: CallId, id: &WorkloadId, status: Option<&AgentStatus>) {
        let now = self.now;
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let older = call <= workload.evidence_from && !planted(Bug::OlderListingBelieved);
        if workload.call.is_some() || older {
            return;
        }
        workload.looked = true;
        let observed = match status {
            None => Observed::Missing,
            Some(status) => match status.state {
                // The artifact is gone and the agent's record of it is not: the agent may make it
                // anew, so that a deletion is not done.
                AgentState::Missing if workload.desired() == Some(DesiredState::Deleted) => {
                    Observed::Stopped
                }
                AgentState::Missing => Observed::Missing,
                AgentState::Pending => match workload.observed {
                    Observed::Pending(since) => Observed::Pending(since),
                    _ => Observed::Pending(now),
                },
                AgentState::Unknown => match workload.observed {
                    Observed::Unknown(since) => Observed::Unknown(since),
                    _ => Observed::Unknown(now),
                },
                AgentState::Running => Observed::Running(status.revision.clone()),
                AgentState::Stopped => Observed::Stopped,
                AgentState::Failed => Observed::Failed {
                    revision: status.revision.clone(),
                    kind: status.failure.unwrap_or(FailureKind::RuntimeError),
                    message: status.message.clone(),
                },
            },
        };
        if workload.observed != observed || workload.phase != Phase::Idle {
            workload.observed = observed;
            self.dirty.insert(id.clone());
        }
    }

    /// When the node is listed next: soon while something on it is unconfirmed. `open`: something
    /// that is assigned there is.
    fn plan_next_listing(&mut self, node: &NodeId, open: bool) {
        let Some(entity) = self.nodes.get(node) else {
            return;
        };
        let mut tombstones = entity.tombstones.values();
        let busy = open || tombstones.any(|tombstone| !tombstone.confirmed);
        let max = u64::try_from(self.config.confirm_interval_max.as_millis()).unwrap_or(u64::MAX);
        let min = u64::try_from(self.config.confirm_interval_min.as_millis()).unwrap_or(1);
        let again = entity.listing.again;
        let interval = entity.listing.interval_ms.clamp(min, max.max(min));
        let wait = if again || planted(Bug::ListsAtOnce) {
            Duration::from_millis(min)
        } else if busy {
            Duration::from_millis(interval)
        } else if entity.unreachable {
            self.config.heartbeat_interval
        } else {
            self.config.list_interval
        };
        if let Some(entity) = self.nodes.get_mut(node) {
            entity.listing.again = false;
            entity.listing.interval_ms = if busy {
                interval.saturating_mul(2).min(max)
            } else {
                min
            };
        }
        self.timers
            .set(Timer::Listing(node.clone()), self.now + wait);
    }

    /// What a heartbeat says of workloads. It carries no revisions and may be old: where it
    /// differs from what is believed, the node is listed.
    pub(super) fn take_hints(&mut self, node: &NodeId, statuses: &[AgentStatus]) {
        let hints: BTreeMap<WorkloadId, AgentState> = statuses
            .iter()
            .filter_map(|status| Some((status.workload.clone()?, status.state)))
            .collect();
        let Some(entity) = self.nodes.get(node) else {
            return;
        };
        let is_listed = entity.listing.call.is_some();
        let mut hinted = false;
        let surprised = entity.assigned.iter().any(|id| {
            match self.workloads.get(id).map(|w| &w.observed) {
                // The listing that is under way tells; then the two are compared.
                Some(Observed::Nothing) if is_listed => {
                    hinted = true;
                    false
                }
                Some(observed) => !agrees(observed, hints.get(id).copied()),
                None => false,
            }
        }) || hints
            .keys()
            .any(|id| !entity.holds.contains_key(id) && !entity.strangers.contains(id.as_str()));
        let ready = entity.status() != NodeStatus::NotReady;
        if planted(Bug::SilenceBelieved) {
            let silent = |id: &&WorkloadId| !hints.contains_key(*id);
            for id in entity.assigned.iter().filter(silent) {
                if let Some(workload) = self.workloads.get_mut(id) {
                    (workload.observed, workload.looked) = (Observed::Missing, true);
                    self.dirty.insert(id.clone());
                }
            }
        }
        if let Some(entity) = self.nodes.get_mut(node) {
            entity.hints = hints;
            entity.listing.hinted |= hinted;
        }
        if surprised && ready {
            self.list_soon(node);
        }
    }

    /// A listing was answered that was under way when the last heartbeat came: which of the two is
    /// newer is not known, so where they differ the node is listed again.
    fn compare_hints(&mut self, node: &NodeId) {
        let Some(entity) = self.nodes.get_mut(node) else {
            return;
        };
        let differs = |id: &WorkloadId| {
            let believed = self.workloads.get(id).map(|w| &w.observed);
            let believed = believed.filter(|observed| **observed != Observed::Nothing);
            believed.is_some_and(|observed| !agrees(observed, entity.hints.get(id).copied()))
        };
        let again = entity.assigned.iter().any(differs);
        entity.listing.again |= again;
    }
}

/// Whether a hint is no news.
fn agrees(observed: &Observed, hint: Option<AgentState>) -> bool {
    match (observed, hint) {
        (Observed::Missing, None | Some(AgentState::Missing))
        | (Observed::Running(_), Some(AgentState::Running))
        | (Observed::Stopped, Some(AgentState::Stopped))
        | (Observed::Pending(_), Some(AgentState::Pending))
        | (Observed::Failed { .. }, Some(AgentState::Failed))
        | (Observed::Unknown(_), Some(AgentState::Unknown)) => true,
        (
            Observed::Nothing
            | Observed::Missing
            | Observed::Running(_)
            | Observed::Stopped
            | Observed::Pending(_)
            | Observed::Failed { .. }
            | Observed::Unknown(_),
            _,
        ) => false,
    }
}
