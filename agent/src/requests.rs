//! Calls to the agent: what is accepted, what it changes, what is answered.

use std::sync::Arc;

use berth_core::{Revision, Timestamp, WorkloadId};
use berth_proto::agent::v1 as proto;

use berth_core::planted::{Bug, planted};

use crate::failure::FailureCode;
use crate::io::{AgentReply, AgentRequest, Caller, Refusal, RequestId};
use crate::lane::{Lane, Step, Waiter, is_wanted, next_step};
use crate::machine::AgentMachine;
use crate::record::{Phase, Record, SpecBlob, Stamp, Target, Want};
use crate::status::{agent_status, wire_type};
use crate::tasks::{TaskKind, TaskState};

/// Why an apply or a delete is refused in band. Existing agents begin such texts the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Invalid {
    #[error("invalid request: id {0:?} {1}")]
    Id(String, berth_core::model::id::IdError),
    #[error("invalid request: revision_id {0:?} is not a revision: {1}")]
    Revision(String, berth_core::model::id::RevisionError),
    #[error("invalid request: spec is required")]
    NoSpec,
    #[error("invalid request: type {asked} does not fit a spec of type {given}")]
    Type { asked: String, given: String },
    #[error("runtime not available for type: {0}")]
    NoRuntime(String),
}

impl Invalid {
    const fn code(&self) -> FailureCode {
        match self {
            Self::Id(..) | Self::Revision(..) | Self::NoSpec | Self::Type { .. } => {
                FailureCode::InvalidSpecification
            }
            Self::NoRuntime(_) => FailureCode::RuntimeUnavailable,
        }
    }
}

/// What an apply comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is what was asked for.
    Skipped,
    /// It was asked for before and is under way.
    UnderWay,
    /// A new task.
    Accepted,
}

impl AgentMachine {
    pub(crate) fn request(
        &mut self,
        now: Timestamp,
        id: RequestId,
        caller: Caller,
        request: AgentRequest,
    ) {
        let this = &self.config.node_id;
        if let Some(meant) = caller.node.filter(|meant| meant != this)
            && !planted(Bug::AnswersForAnother)
        {
            // Nothing is learnt from it, so nothing has to be durable first.
            let this = this.clone();
            self.refuse(
                id,
                AgentReply::Refused(Refusal::AnotherNode { meant, this }),
            );
            return;
        }
        if let Err(refusal) = self.admit(id, caller.epoch) {
            self.reply(id, AgentReply::Refused(refusal));
            return;
        }
        let stamp = caller
            .epoch
            .zip(caller.call)
            .map(|(epoch, call)| Stamp { epoch, call });
        match request {
            AgentRequest::Apply(request) => self.apply(now, id, stamp, request),
            AgentRequest::Delete(request) => self.delete(now, id, stamp, &request),
            AgentRequest::Status(request) => {
                let workload = request.id.parse::<WorkloadId>().ok();
                let lane = workload.and_then(|workload| self.lanes.get(&workload));
                let reply = match lane.and_then(|lane| agent_status(lane, &self.tasks)) {
                    Some(status) => {
                        AgentReply::Status(Box::new(proto::GetWorkloadStatusResponse {
                            status: Some(status),
                        }))
                    }
                    None => AgentReply::Refused(Refusal::NotFound),
                };
                self.reply(id, reply);
            }
            AgentRequest::List(request) => {
                let mut listing = self.listing();
                if request.r#type != i32::from(proto::WorkloadType::Unspecified) {
                    let of_type = |status: &proto::WorkloadStatus| status.r#type == request.r#type;
                    Arc::make_mut(&mut listing).workloads.retain(of_type);
                }
                self.reply(id, AgentReply::List(listing));
            }
            AgentRequest::Actions(request) => {
                let actions = self.tasks.list(&request);
                self.reply(id, AgentReply::Actions(actions));
            }
        }
    }

    fn apply(
        &mut self,
        now: Timestamp,
        id: RequestId,
        stamp: Option<Stamp>,
        request: proto::ApplyWorkloadRequest,
    ) {
        let raw_id = request.id.clone();
        let (workload, want) = match self.check_apply(request) {
            Ok(checked) => checked,
            Err(invalid) => {
                self.reply(id, AgentReply::Apply(Box::new(refused(raw_id, &invalid))));
                return;
            }
        };
        if let Err(refusal) = self.enter(now, &workload, stamp) {
            self.reply(id, AgentReply::Refused(refusal));
            return;
        }
        let Some(lane) = self.lanes.get_mut(&workload) else {
            return;
        };
        let repeated = lane
            .record
            .as_ref()
            .is_some_and(|record| stamp.is_some() && record.stamp == stamp);
        let (outcome, note) = lane.take_want(now, want, repeated);
        lane.take_stamp(now, stamp);
        if outcome == Outcome::Accepted {
            self.begin_task(now, &workload, TaskKind::Apply);
        }
        self.answer_apply(id, &workload, outcome, note);
        self.settle(now, &workload);
    }

    fn check_apply(
        &self,
        request: proto::ApplyWorkloadRequest,
    ) -> Result<(WorkloadId, Want), Invalid> {
        let id = request
            .id
            .parse()
            .map_err(|error| Invalid::Id(request.id.clone(), error))?;
        let asked = request.r#type();
        let running = request.desired_state() != proto::DesiredState::Stopped;
        let spec = request
            .spec
            .and_then(|spec| spec.spec)
            .ok_or(Invalid::NoSpec)?;
        let spec = SpecBlob::new(spec);
        let given = spec.workload_type();
        if asked != proto::WorkloadType::Unspecified && asked != wire_type(given) {
            let asked = asked.as_str_name().to_owned();
            return Err(Invalid::Type {
                asked,
                given: given.to_string(),
            });
        }
        let revision: Revision = request
            .revision_id
            .parse()
            .map_err(|error| Invalid::Revision(request.revision_id.clone(), error))?;
        if !self.config.supported_types.contains(&given) {
            return Err(Invalid::NoRuntime(given.to_string()));
        }
        Ok((
            id,
            Want {
                revision,
                running,
                spec,
            },
        ))
    }

    /// Makes sure that there is a lane that may take a call of this stamp.
    fn enter(
        &mut self,
        now: Timestamp,
        workload: &WorkloadId,
        stamp: Option<Stamp>,
    ) -> Result<(), Refusal> {
        let kept = self.lanes.len();
        let known = self.lanes.get(workload);
        let latest = known
            .and_then(|lane| lane.record.as_ref())
            .and_then(|record| record.stamp);
        match (stamp, latest) {
            (Some(got), Some(latest)) if got < latest => {
                return Err(Refusal::StaleCall {
                    got: got.call,
                    latest: latest.call,
                });
            }
            (Some(_) | None, _) => {}
        }
        if known.is_none() && kept >= self.config.workloads_max {
            return Err(Refusal::Full(kept));
        }
        let lane = self.lanes.get_or_default(workload);
        if lane.record.is_none() {
            lane.record = Some(Record {
                id: workload.clone(),
                target: Target::Absent { since: now },
                artifact: None,
                last_artifact: 0,
                stamp: None,
                created_at: now,
                updated_at: now,
            });
        }
        Ok(())
    }

    /// The task that was under way, if any, gives way to a new one.
    fn begin_task(&mut self, now: Timestamp, workload: &WorkloadId, kind: TaskKind) {
        let task = self.tasks.add(now, kind, workload.clone());
        let lane = self.lanes.get_mut(workload);
        if let Some(former) = lane.and_then(|lane| lane.task.replace(task)) {
            let error = "a later call took its place".to_owned();
            self.tasks.set(now, former, TaskState::Failed(error));
        }
    }

    fn answer_apply(
        &mut self,
        id: RequestId,
        workload: &WorkloadId,
        outcome: Outcome,
        note: &'static str,
    ) {
        let Some(lane) = self.lanes.get_mut(workload) else {
            return;
        };
        let mut status = agent_status(lane, &self.tasks).unwrap_or_default();
        let message = match outcome {
            Outcome::Skipped => "it is at this revision",
            Outcome::UnderWay => "accepted before and under way",
            Outcome::Accepted => "accepted",
        };
        if outcome != Outcome::Skipped {
            status.actual_state = proto::ActualState::Pending.into();
        }
        let reply = proto::ApplyWorkloadResponse {
            applied: true,
            skipped: outcome == Outcome::Skipped,
            message: format!("{message}{note}"),
            status: Some(status),
        };
        let reply = AgentReply::Apply(Box::new(reply));
        lane.waiters.push(Waiter {
            version: lane.version,
            id,
            reply,
        });
    }

    fn delete(
        &mut self,
        now: Timestamp,
        id: RequestId,
        stamp: Option<Stamp>,
        request: &proto::DeleteWorkloadRequest,
    ) {
        let answer = |success, message: String| {
            AgentReply::Delete(proto::DeleteWorkloadResponse { success, message })
        };
        let workload = match request.id.parse::<WorkloadId>() {
            Ok(workload) => workload,
            Err(error) => {
                let text = Invalid::Id(request.id.clone(), error).to_string();
                self.reply(id, answer(false, text));
                return;
            }
        };
        let known = self
            .lanes
            .get(&workload)
            .and_then(|lane| lane.record.as_ref());
        let exists = known.is_some_and(|record| !record.is_tombstone());
        if !exists && stamp.is_none() && known.is_none() {
            // Its removal may not be durable yet: then this answer waits for it as well.
            let reply = answer(true, "workload not found: nothing to delete".to_owned());
            match self.lanes.get_mut(&workload) {
                Some(lane) => lane.waiters.push(Waiter {
                    version: lane.version,
                    id,
                    reply,
                }),
                None => self.reply(id, reply),
            }
            return;
        }
        if let Err(refusal) = self.enter(now, &workload, stamp) {
            self.reply(id, AgentReply::Refused(refusal));
            return;
        }
        let Some(lane) = self.lanes.get_mut(&workload) else {
            return;
        };
        let news = lane.take_delete(now);
        lane.take_stamp(now, stamp);
        if news {
            self.begin_task(now, &workload, TaskKind::Delete);
        }
        let text = if exists {
            "accepted"
        } else {
            "workload not found: nothing to delete"
        };
        if let Some(lane) = self.lanes.get_mut(&workload) {
            let reply = answer(true, text.to_owned());
            lane.waiters.push(Waiter {
                version: lane.version,
                id,
                reply,
            });
        }
        self.settle(now, &workload);
    }
}

fn refused(id: String, invalid: &Invalid) -> proto::ApplyWorkloadResponse {
    let message = invalid.to_string();
    let metadata = [
        ("failure_reason", invalid.code().text().to_owned()),
        ("failure_message", message.clone()),
    ];
    let status = proto::WorkloadStatus {
        id,
        actual_state: proto::ActualState::Failed.into(),
        message: message.clone(),
        metadata: metadata.map(|(key, text)| (key.to_owned(), text)).into(),
        ..Default::default()
    };
    proto::ApplyWorkloadResponse {
        applied: false,
        skipped: false,
        message,
        status: Some(status),
    }
}

impl Lane {
    /// Makes this what the workload should be. Returns what that comes to, and a remark.
    ///
    /// `repeated`: this very call was taken before, and its copy starts nothing anew.
    fn take_want(&mut self, now: Timestamp, want: Want, repeated: bool) -> (Outcome, &'static str) {
        let Some(record) = &mut self.record else {
            return (Outcome::Skipped, "");
        };
        let same = record
            .want()
            .is_some_and(|old| old.revision == want.revision && old.running == want.running);
        let differs = record
            .want()
            .is_some_and(|old| old.revision == want.revision && old.spec != want.spec);
        let note = if differs {
            "; the spec differs from the one of this revision: it counts from the next start"
        } else {
            ""
        };
        if !same || differs {
            record.target = Target::Present(want);
        }
        let ended = record
            .want()
            .zip(record.artifact.as_ref())
            .is_some_and(|(want, artifact)| {
                want.running
                    && is_wanted(artifact, want)
                    && matches!(artifact.phase, Phase::Ended(_))
            });
        // The restart policy's next start counts as under way.
        let anew = ended && !repeated && (!same || next_step(record) == Step::Rest);
        if anew && let Some(artifact) = &mut record.artifact {
            artifact.discard = true;
        }
        if !same || differs || anew {
            self.touch(now);
        }
        let outcome = match (same && !anew, self.rests()) {
            (false, _) => Outcome::Accepted,
            (true, false) => Outcome::UnderWay,
            (true, true) => Outcome::Skipped,
        };
        (outcome, note)
    }

    /// Makes the workload one that should not exist. Returns whether that is news.
    ///
    /// What exists now goes, whatever is applied later: a delete is final for what it saw.
    fn take_delete(&mut self, now: Timestamp) -> bool {
        let Some(record) = self
            .record
            .as_mut()
            .filter(|record| record.want().is_some())
        else {
            return false;
        };
        record.target = Target::Absent { since: now };
        if let Some(artifact) = &mut record.artifact {
            artifact.discard = true;
        }
        self.restart_at = None;
        self.touch(now);
        true
    }

    /// Remembers the call that spoke of this workload last.
    fn take_stamp(&mut self, now: Timestamp, stamp: Option<Stamp>) {
        let Some(record) = &mut self.record else {
            return;
        };
        if stamp.is_some() && stamp > record.stamp {
            record.stamp = stamp;
            self.touch(now);
        }
    }
}
