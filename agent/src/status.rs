//! A workload's state as both protocols tell it.

use berth_core::model::spec::WorkloadType;
use berth_proto::time::timestamp_from_unix_ms_u64;
use berth_proto::{agent::v1 as proto, control::v1 as control};

use crate::failure::Failure;
use crate::lane::{Lane, Step, is_wanted, next_step};
use crate::record::{Artifact, Phase, Record, Want};
use crate::tasks::{TaskLog, seconds};

/// What a workload is, in the words of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) state: proto::ActualState,
    pub(crate) failure: Option<Failure>,
    pub(crate) message: String,
}

impl Observed {
    fn new(state: proto::ActualState, message: impl Into<String>) -> Self {
        Self {
            state,
            failure: None,
            message: message.into(),
        }
    }
    fn pending(message: impl Into<String>) -> Self {
        Self::new(proto::ActualState::Pending, message)
    }
}

/// What a lane's workload is. `None`: it does not exist.
pub(crate) fn observe(lane: &Lane) -> Option<Observed> {
    let record = lane
        .record
        .as_ref()
        .filter(|record| !record.is_tombstone())?;
    let observed = match (record.want(), &record.artifact) {
        (None, _) => Observed::pending("being removed"),
        (Some(want), None) if want.running => Observed::pending("accepted, not started yet"),
        (Some(_), None) => Observed::new(proto::ActualState::Stopped, "not started"),
        (Some(want), Some(artifact)) if !is_wanted(artifact, want) => {
            let (old, new) = (&artifact.revision, &want.revision);
            Observed::pending(format!(
                "removing the artifact of {old} before {new} starts"
            ))
        }
        (Some(_), Some(_)) if lane.must_probe && !lane.still_starts => Observed::new(
            proto::ActualState::Unknown,
            "the agent restarted and is looking at what runs",
        ),
        (Some(want), Some(artifact)) => observe_wanted(record, want, artifact),
    };
    Some(observed)
}

fn observe_wanted(record: &Record, want: &Want, artifact: &Artifact) -> Observed {
    match (&artifact.phase, want.running) {
        (Phase::Starting, true) => Observed::pending("starting"),
        (Phase::Starting | Phase::Running, false) => Observed::pending("stopping"),
        (Phase::Running, true) => {
            Observed::new(proto::ActualState::Running, artifact.message.clone())
        }
        (Phase::Stopped, true) => Observed::pending("stopped, to be started again"),
        (Phase::Stopped | Phase::Ended(_), false) => {
            Observed::new(proto::ActualState::Stopped, artifact.message.clone())
        }
        (Phase::Ended(end), true) => match (&end.failure, next_step(record)) {
            (_, Step::Restart(after)) => Observed::pending(format!(
                "restarting {} s after its end: {}",
                after.as_secs(),
                artifact.message
            )),
            (None, _) => Observed::new(proto::ActualState::Stopped, artifact.message.clone()),
            (Some(failure), _) => Observed {
                state: proto::ActualState::Failed,
                failure: Some(failure.clone()),
                message: failure.message.clone(),
            },
        },
    }
}

/// The type on the wire.
pub(crate) const fn wire_type(kind: WorkloadType) -> proto::WorkloadType {
    match kind {
        WorkloadType::Container => proto::WorkloadType::Container,
        WorkloadType::Compose => proto::WorkloadType::Compose,
        WorkloadType::Vm => proto::WorkloadType::Vm,
    }
}

/// The status that `GetWorkloadStatus` and `ListWorkloads` give. `None`: it does not exist.
pub(crate) fn agent_status(lane: &Lane, tasks: &TaskLog) -> Option<proto::WorkloadStatus> {
    let observed = observe(lane)?;
    let record = lane.record.as_ref()?;
    let (want, artifact) = (record.want(), record.artifact.as_ref());
    let revision = want
        .map(|want| &want.revision)
        .or(artifact.map(|artifact| &artifact.revision));
    let kind = want.map(|want| want.spec.workload_type());
    let kind = kind.or(artifact.map(|artifact| artifact.workload_type));
    let running = want.is_some_and(|want| want.running);
    let desired = if running {
        proto::DesiredState::Running
    } else {
        proto::DesiredState::Stopped
    };
    let mut status = proto::WorkloadStatus {
        id: record.id.to_string(),
        r#type: kind
            .map_or(proto::WorkloadType::Unspecified, wire_type)
            .into(),
        revision_id: revision.map(ToString::to_string).unwrap_or_default(),
        desired_state: desired.into(),
        actual_state: observed.state.into(),
        message: observed.message,
        created_at: seconds(record.created_at),
        updated_at: seconds(record.updated_at),
        metadata: artifact
            .map(|artifact| artifact.details.clone())
            .unwrap_or_default(),
        usage: None,
    };
    let mut note = |key: &str, value: String| status.metadata.insert(key.to_owned(), value);
    if let Some(task) = lane.task.and_then(|number| tasks.get(number)) {
        note("task_id", task.name());
        note("task_status", task.state.text().to_owned());
    }
    if let Some(artifact) = artifact {
        note(
            "artifact",
            format!("{}.{}", artifact.number, artifact.launch),
        );
        if let Phase::Ended(end) = &artifact.phase {
            if let Some(code) = end.exit_code {
                note("exit_code", code.to_string());
            }
            if let Some(failure) = &end.failure {
                note("last_failure_at", artifact.since.to_string());
                note("last_error", failure.message.clone());
            }
        }
    }
    if let Some(failure) = observed.failure {
        note("failure_reason", failure.code.text().to_owned());
        note("failure_message", failure.message);
    }
    Some(status)
}

/// The state's name in a heartbeat.
const fn state_name(state: proto::ActualState) -> &'static str {
    match state {
        proto::ActualState::Pending => "Pending",
        proto::ActualState::Running => "Running",
        proto::ActualState::Stopped => "Stopped",
        proto::ActualState::Failed => "Failed",
        proto::ActualState::Unspecified | proto::ActualState::Unknown => "Unknown",
    }
}

/// The status that a heartbeat gives. `None`: it does not exist.
pub(crate) fn control_status(lane: &Lane) -> Option<control::WorkloadStatus> {
    let observed = observe(lane)?;
    let record = lane.record.as_ref()?;
    let since = record
        .artifact
        .as_ref()
        .map_or(record.updated_at, |artifact| artifact.since);
    let since = Some(timestamp_from_unix_ms_u64(since.as_millis()));
    let reason = observed
        .failure
        .as_ref()
        .map(|failure| control::ReasonDetail {
            code: failure.code.text().to_owned(),
            message: failure.message.clone(),
            last_transition: since,
            next_retry_at: None,
            retryable: failure.code.is_retryable(),
        });
    let failure = observed
        .failure
        .as_ref()
        .map(|failure| failure.code.reason());
    Some(control::WorkloadStatus {
        workload_id: record.id.to_string(),
        state: state_name(observed.state).to_owned(),
        failure_reason: failure.unwrap_or_default().into(),
        message: observed.message,
        last_transition: since,
        reason,
        usage: None,
    })
}
