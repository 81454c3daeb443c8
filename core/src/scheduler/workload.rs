//! A workload as the scheduler holds it: its records, and what it knows beside them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::Config;
use crate::io::request::ApplyWorkload;
use crate::io::view::DisplayStatus;
use crate::io::{Stored, Value};
use crate::model::id::{CallId, NodeId, RequestId, StoreRevision, TxnId, WorkloadId};
use crate::model::key::Key;
use crate::model::time::Timestamp;
use crate::model::workload::{
    Action, ActualState, AssignmentRecord, DesiredState, IntentOutcome, IntentRecord, RetryRecord,
    RetryState, WorkloadRecord,
};
use crate::planted::{Bug, planted};
use crate::reconcile::{Observed, Phase};

use super::image::decode;

/// The order of those that wait for room: priority, age, id.
pub(super) type WaitingKey = (Reverse<i32>, Timestamp, WorkloadId);

/// The records of a workload. One transaction takes it from one value of this to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Durable {
    pub(super) record: Option<Arc<WorkloadRecord>>,
    pub(super) assignment: Option<Arc<AssignmentRecord>>,
    pub(super) intent: Option<Arc<IntentRecord>>,
    pub(super) retry: Option<Arc<RetryRecord>>,
}

impl Durable {
    /// Where it is assigned.
    pub(super) fn node(&self) -> Option<&NodeId> {
        self.assignment
            .as_ref()
            .map(|assignment| &assignment.node_id)
    }

    /// Whether what is reserved is what the record asks for.
    pub(super) fn reserves_what_is_asked(&self) -> bool {
        self.record
            .as_ref()
            .zip(self.assignment.as_ref())
            .is_none_or(|(record, home)| {
                home.resources == record.resources && home.revision_id == record.revision_id
            })
    }

    /// What is due for a workload at a home where nothing has been done yet: the retry law goes
    /// on wherever it is (S7).
    pub(super) fn resting_phase(&self, now: Timestamp) -> Phase {
        let Some(retry) = self.retry.as_ref().map(|retry| retry.state) else {
            return Phase::Idle;
        };
        match retry.next_retry_at {
            _ if self.is_given_up() => Phase::GivenUp,
            Some(at) if at > now && !planted(Bug::MoveSkipsBackoff) => Phase::BackingOff(at),
            Some(_) | None => Phase::Idle,
        }
    }

    /// No try is left, and the last one failed. One that runs by its last try, or that a client left
    /// fewer tries than it had, has not failed for good: it is started where it moves, and tried.
    pub(super) fn is_given_up(&self) -> bool {
        let exhausted = self
            .retry
            .as_ref()
            .is_some_and(|retry| retry.state.exhausted);
        let record = self.record.as_ref();
        exhausted && record.is_some_and(|it| it.status.actual_state == ActualState::Failed)
    }

    /// What it runs, if anything, is not what is wanted.
    fn is_failing(&self) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|record| record.status.actual_state != ActualState::Running)
    }

    /// One that a drain moved and that has not settled since is still on its way, whatever gives it
    /// another home or another revision (S16).
    pub(super) fn hand_on_origins(&self, next: &mut Self) {
        let record = self.record.as_ref();
        let settled = record.is_none_or(|it| it.status.actual_state.is_settled());
        if let (Some(old), Some(new), false) = (&self.assignment, &next.assignment, settled)
            && new.moved_from.is_empty()
            && !old.moved_from.is_empty()
            && let Some(new) = next.assignment.as_mut().map(Arc::make_mut)
        {
            let origins = old.moved_from.iter();
            let origins = origins.filter(|origin| **origin != new.node_id);
            new.moved_from = origins.cloned().collect();
        }
    }

    /// Writes what the canonical record repeats of the other records.
    pub(super) fn mirror(&mut self) {
        let node = self.node().cloned();
        if let Some(record) = self.record.as_mut().map(Arc::make_mut) {
            if node.is_some() || !planted(Bug::RecordKeepsHome) {
                record.assigned_node = node;
            }
            let max = record.retry.max_attempts;
            record.retry = self
                .retry
                .as_ref()
                .map_or(RetryState::fresh(max), |retry| retry.state);
        }
    }

    /// Whether the canonical record repeats the tries as they are: somebody else may have removed
    /// their record.
    pub(super) fn repeats_tries(&self) -> bool {
        let tries = self.retry.as_ref().map(|retry| retry.state);
        self.record.as_ref().is_none_or(|record| {
            planted(Bug::TriesRepeatedAsBefore)
                || record.retry == tries.unwrap_or(RetryState::fresh(record.retry.max_attempts))
        })
    }

    /// Sets the status; its time changes only with it.
    pub(super) fn set_status(&mut self, state: ActualState, reason: &str, now: Timestamp) {
        if let Some(record) = self.record.as_mut().map(Arc::make_mut) {
            let status = &mut record.status;
            if status.actual_state != state || status.failure_reason != reason {
                status.actual_state = state;
                reason.clone_into(&mut status.failure_reason);
                status.last_updated = now;
            }
            if state != ActualState::Running {
                status.running_since = None;
            }
            let over = state != ActualState::Failed && state != ActualState::Pending;
            if over && !planted(Bug::FailureStays) {
                status.failure = None;
            }
        }
    }

    /// A bug to plant: the status is as of now, every few seconds.
    pub(super) fn touch_status(&mut self, now: Timestamp) {
        let pause = std::time::Duration::from_secs(4);
        if let Some(record) = self.record.as_mut().map(Arc::make_mut)
            && now >= record.status.last_updated + pause
        {
            record.status.last_updated = now;
        }
    }

    /// Notes what became of an open intent.
    pub(super) fn close_intent(&mut self, outcome: IntentOutcome) {
        if let Some(intent) = &mut self.intent
            && intent.outcome == IntentOutcome::Open
        {
            Arc::make_mut(intent).outcome = outcome;
        }
    }
}

/// One of a workload's records, read; `None`: it is absent.
#[derive(Debug)]
pub(super) enum Part {
    Record(Option<Arc<WorkloadRecord>>),
    Assignment(Option<Arc<AssignmentRecord>>),
    Intent(Option<Arc<IntentRecord>>),
    Retry(Option<Arc<RetryRecord>>),
}

impl Part {
    /// Reads what is stored at a workload's key.
    pub(super) fn read(key: &Key, value: Option<&Value>) -> Result<Self, String> {
        match key {
            Key::Workload(_) => decode(value).map(Self::Record),
            Key::Assignment(_) => decode(value).map(Self::Assignment),
            Key::Intent(_) => decode(value).map(Self::Intent),
            Key::Retry(_) => decode(value).map(Self::Retry),
            Key::Node(_) | Key::Tombstone(..) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => {
                Err(format!("{key} is no record of a workload"))
            }
        }
    }
}

/// The revisions that wrote the records; what the next transaction compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Revisions {
    pub(super) record: StoreRevision,
    pub(super) assignment: StoreRevision,
    pub(super) intent: StoreRevision,
    pub(super) retry: StoreRevision,
}

/// A client's change that waits for the workload's transaction.
// Applies are the rule; few wait at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub(super) enum Mutation {
    Apply(ApplyWorkload),
    Delete { if_match: Option<StoreRevision> },
    Retry,
}

impl Mutation {
    /// Whether it depends on what the record was.
    pub(super) fn is_conditional(&self) -> bool {
        match self {
            Self::Apply(apply) => apply.if_match.is_some(),
            Self::Delete { if_match } => if_match.is_some(),
            Self::Retry => false,
        }
    }
}

/// A workload.
#[derive(Debug)]
pub(super) struct Workload {
    /// Its records as the store has them.
    pub(super) durable: Durable,
    /// What wrote them.
    pub(super) revisions: Revisions,
    /// The newest evidence.
    pub(super) observed: Observed,
    /// The evidence is from a call that began after the last mutation here ended; otherwise it
    /// is what was assumed when this home was chosen.
    pub(super) looked: bool,
    /// What is being done.
    pub(super) phase: Phase,
    /// Its transaction in flight: at most one.
    pub(super) staged: Option<TxnId>,
    /// Its agent mutation in flight or queued: at most one.
    pub(super) call: Option<CallId>,
    /// Evidence from calls before this one is too old.
    pub(super) evidence_from: CallId,
    /// A single status question in flight.
    pub(super) asking: Option<CallId>,
    /// When a single status question may be asked again.
    pub(super) ask_after: Timestamp,
    /// Changes that wait.
    pub(super) waiting: VecDeque<(RequestId, Mutation)>,
    /// Changes of the store that were seen while a transaction was in flight.
    pub(super) missed: Vec<Stored>,
    /// No action before this instant: the last one failed for the infrastructure, or the same
    /// action was needed again and again.
    pub(super) not_before: Timestamp,
    /// The store refused its last decision: nothing is decided before this instant.
    pub(super) refused_until: Timestamp,
    /// Where transactions of unknown fate, which were not there when they were read back, may
    /// still assign it: the room stays reserved until another one makes that impossible.
    pub(super) ghosts: Vec<NodeId>,
    /// Until then such a transaction may still be carried out. All that stands against one that
    /// creates the records is that they are there.
    pub(super) strays_until: Timestamp,
    /// One of them may have changed it, or moved it, as far as is told.
    pub(super) may_have_moved: bool,
    /// Its record was told since, and its assignment does not agree with it yet.
    pub(super) half_told: bool,
    /// Its place among those that wait for room.
    pub(super) waits_as: Option<WaitingKey>,
    /// How often the same apply was needed again since the workload last ran stably.
    pub(super) reapplied: u32,
    /// When the client asked for what is not yet so; feeds the histogram of start latency.
    pub(super) wanted_since: Option<Timestamp>,
    /// The storage drivers of its managed volumes.
    pub(super) drivers: BTreeSet<String>,
}

impl Workload {
    /// One of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self {
            durable: Durable::default(),
            revisions: Revisions::default(),
            observed: Observed::Nothing,
            looked: false,
            phase: Phase::Idle,
            staged: None,
            call: None,
            evidence_from: CallId(0),
            asking: None,
            ask_after: Timestamp::ZERO,
            waiting: VecDeque::new(),
            missed: Vec::new(),
            not_before: Timestamp::ZERO,
            refused_until: Timestamp::ZERO,
            ghosts: Vec::new(),
            strays_until: Timestamp::ZERO,
            may_have_moved: false,
            half_told: false,
            waits_as: None,
            reapplied: 0,
            wanted_since: None,
            drivers: BTreeSet::new(),
        }
    }

    /// Its canonical record, once it is stored.
    pub(super) fn record(&self) -> Option<&WorkloadRecord> {
        self.durable.record.as_deref()
    }

    /// What the client wants.
    pub(super) fn desired(&self) -> Option<DesiredState> {
        self.record().map(|record| record.desired_state)
    }

    /// Whether its records say that it is in this state, and of nothing that goes on.
    pub(super) fn says(&self, state: ActualState) -> bool {
        let is_open = |intent: &Arc<IntentRecord>| intent.outcome == IntentOutcome::Open;
        let open = self.durable.intent.as_ref().is_some_and(is_open);
        let record = self.record();
        !open && record.is_some_and(|record| record.status.actual_state == state)
    }

    /// What is being done about it, or how it does, is not known before its node is listed.
    pub(super) fn is_unconfirmed(&self) -> bool {
        match self.phase {
            Phase::Applying(_) | Phase::Stopping(_) | Phase::Deleting(_) => true,
            Phase::Idle | Phase::BackingOff(_) | Phase::GivenUp => {
                self.observed == Observed::Nothing && self.call.is_none()
            }
        }
    }

    /// Nothing is left of it but its records.
    pub(super) fn renew(&mut self) {
        let old = std::mem::replace(self, Self::unknown());
        (self.durable, self.revisions) = (old.durable, old.revisions);
    }

    /// Its place among those that wait for room, if it should run and has no home.
    pub(super) fn place_in_line(&self, id: &WorkloadId) -> Option<WaitingKey> {
        let record = self.record().filter(|record| {
            record.desired_state == DesiredState::Running && record.assigned_node.is_none()
        })?;
        let since = record.metadata.created_at;
        Some((Reverse(record.priority), since, id.clone()))
    }

    /// One of its records is now this, written at that revision.
    pub(super) fn put(&mut self, part: Part, revision: StoreRevision) {
        match part {
            Part::Record(record) => {
                self.durable.record = record;
                self.revisions.record = revision;
            }
            Part::Assignment(record) => {
                self.durable.assignment = record;
                self.revisions.assignment = revision;
            }
            Part::Intent(record) => {
                self.durable.intent = record;
                self.revisions.intent = revision;
            }
            Part::Retry(record) => {
                self.durable.retry = record;
                self.revisions.retry = revision;
            }
        }
    }

    /// Takes up what depends on the records after they changed.
    pub(super) fn refresh(&mut self) {
        self.drivers = self
            .durable
            .record
            .as_ref()
            .map_or_else(BTreeSet::new, |record| {
                let volumes = record.spec.managed_volumes().iter();
                volumes.map(|volume| volume.driver.clone()).collect()
            });
    }

    /// A delete was not taken, or that is not known; it is asked for again then. An apply that may
    /// be on its way still was not overtaken by it: only the answer to a delete says that the agent
    /// refuses what was sent before (S10). `since`: when one that was taken would have had to be
    /// asked for, to be asked for again then.
    pub(super) fn stays_undeleted(&mut self, then: Timestamp, since: Timestamp) {
        match self.phase {
            Phase::Applying(_) | Phase::Stopping(_) => {
                self.not_before = self.not_before.max(then);
            }
            Phase::Idle | Phase::Deleting(_) | Phase::BackingOff(_) | Phase::GivenUp => {
                self.phase = Phase::Deleting(since);
            }
        }
    }

    /// Where the retry record and an open intent leave a workload that a new leader takes over:
    /// what may have been sent is looked at before it is sent again.
    pub(super) fn resume(&mut self, now: Timestamp, config: &Config) {
        self.refresh();
        let open = self
            .durable
            .intent
            .as_ref()
            .filter(|i| i.outcome == IntentOutcome::Open);
        self.phase = match (open, self.durable.retry.as_ref()) {
            (Some(intent), _) => match intent.action {
                Action::Apply => Phase::Applying(now),
                Action::ApplyStopped => Phase::Stopping(now),
                // Deletes are idempotent: what is still there is soon asked for again.
                Action::Recreate | Action::Delete => {
                    Phase::Deleting((now + config.retry_backoff_min) - config.delete_timeout)
                }
            },
            (None, Some(_)) if self.durable.is_given_up() => Phase::GivenUp,
            (None, Some(retry)) => match retry.state.next_retry_at {
                Some(at) if at > retry.last_failure_at && self.durable.is_failing() => {
                    Phase::BackingOff(at)
                }
                Some(_) | None => Phase::Idle,
            },
            (None, None) => Phase::Idle,
        };
    }

    /// The state in one word. `node_lost`: its node is not ready.
    pub(super) fn display(&self, node_lost: bool) -> DisplayStatus {
        let Some(record) = self.record() else {
            return DisplayStatus::Pending;
        };
        if record.desired_state == DesiredState::Deleted {
            return DisplayStatus::Deleting;
        }
        if node_lost && record.assigned_node.is_some() {
            return DisplayStatus::Unknown;
        }
        match record.status.actual_state {
            ActualState::Running if record.desired_state == DesiredState::Stopped => {
                DisplayStatus::Updating
            }
            ActualState::Running => DisplayStatus::Running,
            ActualState::Stopped if record.desired_state == DesiredState::Running => {
                DisplayStatus::Updating
            }
            ActualState::Stopped => DisplayStatus::Stopped,
            ActualState::Failed => DisplayStatus::Failed,
            ActualState::Unknown => DisplayStatus::Unknown,
            ActualState::Pending if record.assigned_node.is_none() => DisplayStatus::Pending,
            ActualState::Pending if record.retry.next_retry_at.is_some() => {
                DisplayStatus::RetryPending
            }
            ActualState::Pending if record.metadata.generation > 1 => DisplayStatus::Updating,
            ActualState::Pending => DisplayStatus::Scheduled,
        }
    }
}
