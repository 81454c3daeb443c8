//! What clients ask of workloads: create, change, delete, retry. Answered after the commit.

use std::sync::Arc;

use crate::admission::{Previous, resolve_revision, spec_hash};
use crate::io::request::{
    ApplyWorkload, NewSpec, RequestError, Response, SuggestedAction, Suggestion,
};
use crate::model::Extra;
use crate::model::event::EventType;
use crate::model::id::{RequestId, Revision, StoreRevision, WorkloadId};
use crate::model::text::forget_aside;
use crate::model::workload::{
    ActualState, DesiredState, IntentOutcome, RetryState, WorkloadMetadata, WorkloadRecord,
    WorkloadStatus,
};
use crate::planted::{Bug, planted};
use crate::reconcile::Observed;

use super::Scheduler;
use super::commit::{Draft, Plan};
use super::workload::{Durable, Mutation, Workload};

/// How many former labels of a workload are remembered.
const LABELS_USED_MAX: usize = 32;

impl Scheduler {
    /// Takes a client's change; it waits while the workload's transaction is in flight.
    pub(super) fn queue_mutation(
        &mut self,
        id: RequestId,
        workload: &WorkloadId,
        mutation: Mutation,
    ) {
        if self.is_quarantined(workload) {
            self.reply(id, Err(Self::unreadable_workload(workload)));
            return;
        }
        let waiting_max = self.config.requests_waiting_max;
        let entity = self
            .workloads
            .entry(workload.clone())
            .or_insert_with(Workload::unknown);
        if entity.waiting.len() >= waiting_max {
            self.reply(id, Err(RequestError::Busy(format!("workload {workload}"))));
            return;
        }
        entity.waiting.push_back((id, mutation));
        self.dirty.insert(workload.clone());
    }

    /// Decides the next waiting change. True if a transaction was staged.
    pub(super) fn mutate_next(&mut self, id: &WorkloadId) -> bool {
        loop {
            let Some(workload) = self.workloads.get_mut(id) else {
                return false;
            };
            let Some((request, mutation)) = workload.waiting.pop_front() else {
                self.forget_if_empty(id);
                return false;
            };
            let planned = match &mutation {
                Mutation::Apply(apply) => self.plan_apply(id, apply),
                Mutation::Delete { if_match } => self.plan_delete(id, *if_match),
                Mutation::Retry => self.plan_retry(id),
            };
            let dry_run = matches!(&mutation, Mutation::Apply(apply) if apply.dry_run)
                && !planted(Bug::DryRunWritten);
            match planned {
                Err(error) => self.reply(request, Err(error)),
                Ok(plan) if dry_run => self.answer_dry_run(request, plan),
                Ok(plan) if planted(Bug::AnswerBeforeCommit) => {
                    let next = plan.next.clone();
                    let told = Plan {
                        next,
                        ..Plan::default()
                    };
                    self.answer_dry_run(request, told);
                    self.stage_workload(id, plan);
                    return true;
                }
                Ok(mut plan) => {
                    plan.request = Some((request, mutation));
                    self.stage_workload(id, plan);
                    if self.workloads.get(id).is_some_and(|w| w.staged.is_some()) {
                        return true;
                    }
                }
            }
        }
    }

    fn plan_apply(&self, id: &WorkloadId, apply: &ApplyWorkload) -> Result<Plan, RequestError> {
        let workload = self
            .workloads
            .get(id)
            .ok_or_else(|| Self::no_such_workload(id))?;
        check_match(apply.if_match, workload.revisions.record)?;
        let now = workload.durable.clone();
        match (&now.record, &apply.spec) {
            (None, None) => Err(Self::no_such_workload(id)),
            (None, Some(spec)) => Ok(self.plan_creation(id, apply, spec, now)),
            (Some(record), None) => {
                if record.desired_state == DesiredState::Deleted {
                    let problem =
                        format!("workload {id} is being deleted; apply it with a spec to keep it");
                    return Err(RequestError::Refused(problem));
                }
                let mut next = now.clone();
                let desired = apply.desired_state.unwrap_or(record.desired_state);
                if let Some(record) = next.record.as_mut().map(Arc::make_mut) {
                    record.desired_state = desired;
                    if planted(Bug::LabelsDropped) {
                        record.labels.clear();
                    }
                }
                Ok(self.plan_change(id, &now, next, false))
            }
            (Some(_), Some(spec)) => {
                let next = self.with_spec(&now, apply, spec);
                Ok(self.plan_change(id, &now, next.0, next.1))
            }
        }
    }

    /// `remains`: where somebody else removed the record, the others may be there still, and a copy
    /// where they say.
    fn plan_creation(
        &self,
        id: &WorkloadId,
        apply: &ApplyWorkload,
        spec: &NewSpec,
        mut remains: Durable,
    ) -> Plan {
        let tombstones: Vec<_> = self.leave_home(&mut remains).into_iter().collect();
        let hash = spec_hash(spec);
        let revision = resolve_revision(apply.revision.as_ref(), None, &hash);
        let max = spec.max_attempts.unwrap_or(self.config.retry_attempts_max);
        let record = WorkloadRecord {
            id: id.clone(),
            revision_id: revision,
            desired_state: apply.desired_state.unwrap_or(DesiredState::Running),
            assigned_node: None,
            spec: Arc::new(spec.spec.clone()),
            resources: spec.resources,
            constraints: spec.constraints.clone(),
            tenant: spec.tenant.clone(),
            priority: spec.priority,
            labels: spec.labels.clone(),
            retry: RetryState::fresh(max),
            status: WorkloadStatus {
                actual_state: ActualState::Pending,
                last_updated: self.now,
                failure_reason: String::new(),
                failure: None,
                running_since: None,
                placement: None,
                extra: Extra::new(),
            },
            metadata: WorkloadMetadata {
                created_at: self.now,
                last_action: None,
                last_error: String::new(),
                generation: 1,
                revision_label: apply.revision.clone(),
                spec_hash: hash,
                labels_used: Vec::new(),
                extra: Extra::new(),
            },
            extra: Extra::new(),
        };
        let mut next = Durable {
            record: Some(Arc::new(record)),
            ..Durable::default()
        };
        let mut events = vec![Draft::new(
            EventType::WorkloadCreated,
            None,
            "created by a client",
        )];
        if apply.desired_state == Some(DesiredState::Stopped) {
            next.set_status(ActualState::Stopped, "", self.now);
            return Plan {
                next,
                tombstones,
                events,
                observed: Some(Observed::Missing),
                ..Plan::default()
            };
        }
        let then = self.plan_home(id, &mut next, !tombstones.is_empty(), &mut events);
        Plan {
            next,
            tombstones,
            events,
            then,
            observed: Some(Observed::Missing),
            ..Plan::default()
        }
    }

    /// The records with another spec, and whether the spec is another one.
    fn with_spec(&self, now: &Durable, apply: &ApplyWorkload, spec: &NewSpec) -> (Durable, bool) {
        let mut next = now.clone();
        let Some(record) = next.record.as_mut().map(Arc::make_mut) else {
            return (next, false);
        };
        let hash = spec_hash(spec);
        let (current, label) = (
            record.revision_id.clone(),
            record.metadata.revision_label.clone(),
        );
        let known = record.metadata.spec_hash.clone();
        // A label that named another spec before, however long ago: a node that was away since may
        // still run that one under it.
        let asked = apply.revision.as_ref();
        let used = record.metadata.labels_used.iter();
        let reused = used
            .rev()
            .any(|(old, of)| Some(old) == asked && *of != hash);
        let previous = Previous {
            revision: &current,
            label: if reused { asked } else { label.as_ref() },
            hash: &known,
        };
        let was_deleted = record.desired_state == DesiredState::Deleted;
        let revision: Revision = resolve_revision(apply.revision.as_ref(), Some(previous), &hash);
        let changed = revision != record.revision_id
            || record.constraints != spec.constraints
            || record.resources != spec.resources;
        if apply.revision.is_some() || revision != record.revision_id {
            record.metadata.revision_label.clone_from(&apply.revision);
        }
        if let (Some(label), true) = (label, revision != record.revision_id) {
            let used = &mut record.metadata.labels_used;
            used.push((label, known));
            if used.len() > LABELS_USED_MAX {
                used.remove(0);
            }
        }
        if changed {
            forget_aside(&mut record.extra);
        }
        record.revision_id = revision;
        record.metadata.spec_hash = hash;
        record.spec = Arc::new(spec.spec.clone());
        record.resources = spec.resources;
        record.constraints = spec.constraints.clone();
        record.tenant.clone_from(&spec.tenant);
        record.priority = spec.priority;
        record.labels.clone_from(&spec.labels);
        let max = spec.max_attempts.unwrap_or(self.config.retry_attempts_max);
        record.retry.max_attempts = max;
        if let Some(retry) = next.retry.as_mut().map(Arc::make_mut) {
            retry.state.max_attempts = max;
            retry.state.exhausted |= retry.state.attempts >= max;
            retry.state.attempts = retry.state.attempts.min(max);
        }
        if let Some(desired) = apply.desired_state {
            record.desired_state = desired;
        } else if was_deleted {
            record.desired_state = DesiredState::Running;
        }
        (next, changed)
    }

    /// What a change of spec or desired state brings with it.
    fn plan_change(&self, id: &WorkloadId, now: &Durable, mut next: Durable, moved: bool) -> Plan {
        let (Some(before), Some(record)) = (&now.record, next.record.as_mut().map(Arc::make_mut))
        else {
            return Plan {
                next,
                ..Plan::default()
            };
        };
        if **before == *record {
            // The same again: nothing is written, and the client learns what is.
            return Plan {
                next,
                ..Plan::default()
            };
        }
        let fresh_start = before.revision_id != record.revision_id
            || before.desired_state != record.desired_state;
        if !planted(Bug::GenerationForgotten) {
            record.metadata.generation += 1;
        }
        let desired = record.desired_state;
        if fresh_start {
            next.retry = None;
            next.close_intent(IntentOutcome::Superseded);
            match desired {
                DesiredState::Running => next.set_status(ActualState::Pending, "", self.now),
                DesiredState::Stopped if next.assignment.is_none() => {
                    next.set_status(ActualState::Stopped, "", self.now);
                }
                DesiredState::Stopped | DesiredState::Deleted => {}
            }
        }
        let mut events = vec![Draft::new(
            EventType::WorkloadUpdated,
            next.node(),
            "changed by a client",
        )];
        let mut tombstones = Vec::new();
        if moved && next.assignment.is_some() && desired != DesiredState::Deleted {
            self.rehome_after_change(id, &mut next, &mut events, &mut tombstones);
        }
        let mut then = None;
        if next.assignment.is_none() && desired == DesiredState::Running {
            let leaving = !tombstones.is_empty();
            then = self.plan_home(id, &mut next, leaving, &mut events);
        }
        Plan {
            next,
            tombstones,
            events,
            then,
            fresh_start,
            ..Plan::default()
        }
    }

    fn plan_delete(
        &self,
        id: &WorkloadId,
        if_match: Option<StoreRevision>,
    ) -> Result<Plan, RequestError> {
        let workload = self
            .workloads
            .get(id)
            .ok_or_else(|| Self::no_such_workload(id))?;
        let mut next = workload.durable.clone();
        let record = next
            .record
            .as_mut()
            .map(Arc::make_mut)
            .ok_or_else(|| Self::no_such_workload(id))?;
        check_match(if_match, workload.revisions.record)?;
        if record.desired_state == DesiredState::Deleted {
            return Ok(Plan {
                next,
                ..Plan::default()
            });
        }
        record.desired_state = DesiredState::Deleted;
        record.metadata.generation += 1;
        next.retry = None;
        next.close_intent(IntentOutcome::Superseded);
        let events = vec![Draft::new(
            EventType::WorkloadDeleting,
            next.node(),
            "deleted by a client",
        )];
        Ok(Plan {
            next,
            events,
            fresh_start: true,
            ..Plan::default()
        })
    }

    fn plan_retry(&self, id: &WorkloadId) -> Result<Plan, RequestError> {
        let workload = self
            .workloads
            .get(id)
            .ok_or_else(|| Self::no_such_workload(id))?;
        let mut next = workload.durable.clone();
        let record = next
            .record
            .as_mut()
            .ok_or_else(|| Self::no_such_workload(id))?;
        match record.desired_state {
            DesiredState::Running => {}
            DesiredState::Stopped | DesiredState::Deleted => {
                let problem =
                    format!("workload {id} is not meant to run; there is nothing to retry");
                return Err(RequestError::Refused(problem));
            }
        }
        if next.retry.is_none() && record.status.actual_state == ActualState::Running {
            return Ok(Plan {
                next,
                ..Plan::default()
            });
        }
        next.retry = None;
        let failed = record.status.actual_state == ActualState::Failed;
        if failed {
            next.set_status(ActualState::Pending, "", self.now);
        }
        let mut events = vec![Draft::new(
            EventType::RetryTriggered,
            next.node(),
            "asked for by a client",
        )];
        // One that failed for good and lost its home waits for one from now on, and says why (S21).
        let then = match next.assignment {
            None => self.plan_home(id, &mut next, false, &mut events),
            Some(_) => None,
        };
        Ok(Plan {
            next,
            events,
            then,
            fresh_start: true,
            ..Plan::default()
        })
    }

    /// A suggestion of an automation service: level-triggered, so that the same one comes again
    /// and again. What is so already is accepted without a change.
    pub(super) fn suggest(&mut self, request: RequestId, suggestion: Suggestion) {
        let id = suggestion.workload.clone();
        let decided = self.decide_suggestion(&suggestion);
        let (accepted, reason) = match decided {
            Ok(Some(mutation)) => {
                self.suggestions.insert(id.clone(), self.now);
                // The suggestion is answered at once; the change it makes is a client's change.
                self.queue_mutation(super::NOBODY, &id, mutation);
                (true, "accepted".to_owned())
            }
            Ok(None) => (true, "nothing to change".to_owned()),
            Err(reason) => (false, reason),
        };
        let decided_at = self.now;
        self.reply(
            request,
            Ok(Response::Suggestion {
                accepted,
                reason,
                decided_at,
            }),
        );
    }

    fn decide_suggestion(&self, suggestion: &Suggestion) -> Result<Option<Mutation>, String> {
        let id = &suggestion.workload;
        let record = self.workloads.get(id).and_then(Workload::record);
        let record = record.ok_or_else(|| format!("workload {id} does not exist"))?;
        if self.is_quarantined(id) {
            return Err(Self::unreadable_workload(id).to_string());
        }
        let waiting = self.workloads.get(id).map_or(0, |it| it.waiting.len());
        if waiting >= self.config.requests_waiting_max {
            return Err(RequestError::Busy(format!("workload {id}")).to_string());
        }
        let cooling = self
            .suggestions
            .get(id)
            .is_some_and(|at| self.now.since(*at) < self.config.suggestion_cooldown);
        let apply = |desired| ApplyWorkload {
            workload: id.clone(),
            spec: None,
            revision: None,
            desired_state: Some(desired),
            if_match: None,
            dry_run: false,
        };
        match suggestion.action {
            SuggestedAction::Scale => {
                Err("workloads are single instances and have no replicas".to_owned())
            }
            SuggestedAction::Delete | SuggestedAction::SetDesiredState(DesiredState::Deleted) => {
                let deleted = record.desired_state == DesiredState::Deleted;
                Ok((!deleted).then_some(Mutation::Delete { if_match: None }))
            }
            SuggestedAction::SetDesiredState(desired) => {
                if record.desired_state == DesiredState::Deleted {
                    return Err(format!("workload {id} is being deleted"));
                }
                let same = record.desired_state == desired;
                Ok((!same).then(|| Mutation::Apply(apply(desired))))
            }
            SuggestedAction::Retry if cooling => Err(format!(
                "workload {id} was retried lately; the cooldown is not over"
            )),
            SuggestedAction::Retry => Ok(Some(Mutation::Retry)),
        }
    }
}

fn check_match(
    expected: Option<StoreRevision>,
    current: StoreRevision,
) -> Result<(), RequestError> {
    match expected {
        Some(_) if planted(Bug::IfMatchIgnored) => Ok(()),
        Some(expected) if expected != current => Err(RequestError::Stale { expected, current }),
        Some(_) | None => Ok(()),
    }
}
