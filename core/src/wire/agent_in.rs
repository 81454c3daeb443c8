//! What an agent answers: `persys.agent.v1` to the core's replies.
//!
//! "Not found" means that a workload is missing only in the exact forms that agents use for it:
//! an image that is not found is a failure, and treating it as absence would start it for ever.

use berth_proto::agent::v1 as agent;

use crate::io::agent::{AgentError, AgentOp, AgentReply, AgentState, AgentStatus};
use crate::model::id::WorkloadId;
use crate::model::spec::WorkloadType;
use crate::wire::bound::{FIELD_BYTES_MAX, STATUSES_MAX, bounded, quoted};
use crate::wire::failure::classify;

/// The longest id of an agent's own that is kept, in bytes.
const RAW_ID_BYTES_MAX: usize = 256;

/// gRPC codes that are told apart.
mod code {
    pub(super) const CANCELLED: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const UNAVAILABLE: i32 = 14;
}

/// The answer to an apply. Accepted means that the agent goes on by itself; the outcome shows in
/// the status.
#[must_use]
pub fn apply_reply(answer: &agent::ApplyWorkloadResponse) -> AgentReply {
    if answer.applied || answer.skipped {
        return AgentReply::Applied;
    }
    let status = answer.status.as_ref();
    let code = status
        .and_then(|s| s.metadata.get("failure_reason"))
        .map(String::as_str);
    let told = status.map_or("", |s| &*s.message);
    let text = if answer.message.is_empty() {
        told
    } else {
        &*answer.message
    };
    AgentReply::ApplyRefused {
        failure: classify(code, text),
        message: bounded(text, FIELD_BYTES_MAX),
    }
}

/// The answer to a delete.
#[must_use]
pub fn delete_reply(answer: &agent::DeleteWorkloadResponse) -> AgentReply {
    if answer.success {
        AgentReply::Deleting
    } else if answer.message.contains("workload not found") {
        AgentReply::Missing
    } else {
        AgentReply::DeleteRefused {
            message: bounded(&answer.message, FIELD_BYTES_MAX),
        }
    }
}

/// The answer to a status call about `asked`.
///
/// [`AgentReply::Missing`]: the agent has no record of it. A record without its artifact is a
/// [`AgentReply::Status`] in the state [`AgentState::Missing`]: existing agents make the artifact
/// again by themselves until they are told to delete the record.
///
/// # Errors
/// [`AgentError::Failed`] when the answer is empty or about another workload.
pub fn status_reply(
    asked: &WorkloadId,
    answer: agent::GetWorkloadStatusResponse,
) -> Result<AgentReply, AgentError> {
    let Some(told) = answer.status else {
        return Err(AgentError::Failed("the answer holds no status".to_owned()));
    };
    if !told.id.is_empty() && told.id != asked.as_str() {
        let problem = format!(
            "asked about {asked}, it answered about {}",
            quoted(&told.id)
        );
        return Err(AgentError::Failed(problem));
    }
    if second_delete_failed(&told) {
        return Ok(AgentReply::Missing);
    }
    let mut status = status(&told);
    status.workload = Some(asked.clone());
    Ok(AgentReply::Status(status))
}

/// The answer to a list.
///
/// # Errors
/// [`AgentError::Failed`] when it holds more than [`STATUSES_MAX`] workloads: a part of it would
/// make the others look gone.
pub fn listing(answer: &agent::ListWorkloadsResponse) -> Result<AgentReply, AgentError> {
    let count = answer.workloads.len();
    if count > STATUSES_MAX {
        let problem = format!("it lists {count} workloads; at most {STATUSES_MAX} are read");
        return Err(AgentError::Failed(problem));
    }
    let present = answer
        .workloads
        .iter()
        .filter(|told| !second_delete_failed(told));
    Ok(AgentReply::Listing(present.map(status).collect()))
}

/// What one status says.
#[must_use]
pub fn status(told: &agent::WorkloadStatus) -> AgentStatus {
    let state = state(told);
    let code = told.metadata.get("failure_reason").map(String::as_str);
    let text = [Some(&told.message), told.metadata.get("failure_message")]
        .into_iter()
        .flatten()
        .chain(told.metadata.get("last_error"))
        .find(|text| !text.is_empty())
        .map_or("", String::as_str);
    AgentStatus {
        workload: told.id.parse().ok(),
        raw_id: raw_id(&told.id),
        workload_type: workload_type(told.r#type),
        revision: told.revision_id.parse().ok(),
        state,
        failure: (state == AgentState::Failed).then(|| classify(code, text)),
        message: bounded(text, FIELD_BYTES_MAX),
    }
}

/// A number that is no state is one that the agent cannot tell us: the grace periods apply.
fn state(told: &agent::WorkloadStatus) -> AgentState {
    use agent::ActualState as Wire;
    match Wire::try_from(told.actual_state) {
        Ok(Wire::Pending) => AgentState::Pending,
        Ok(Wire::Running) => AgentState::Running,
        Ok(Wire::Stopped) => AgentState::Stopped,
        Ok(Wire::Failed) => AgentState::Failed,
        Ok(Wire::Unknown) if artifact_is_gone(&told.message) => AgentState::Missing,
        Ok(Wire::Unknown | Wire::Unspecified) | Err(_) => AgentState::Unknown,
    }
}

fn workload_type(number: i32) -> Option<WorkloadType> {
    match agent::WorkloadType::try_from(number) {
        Ok(agent::WorkloadType::Container) => Some(WorkloadType::Container),
        Ok(agent::WorkloadType::Compose) => Some(WorkloadType::Compose),
        Ok(agent::WorkloadType::Vm) => Some(WorkloadType::Vm),
        Ok(agent::WorkloadType::Unspecified) | Err(_) => None,
    }
}

/// The exact texts by which an agent that is unsure says that the artifact is gone.
pub(super) fn artifact_is_gone(message: &str) -> bool {
    matches!(
        message,
        "container not found" | "project not found" | "domain not found"
    )
}

/// A delete of what was already gone leaves a failed task, which the agent shows as a failed
/// workload until it restarts.
fn second_delete_failed(told: &agent::WorkloadStatus) -> bool {
    told.actual_state == i32::from(agent::ActualState::Failed)
        && told.revision_id.is_empty()
        && told
            .metadata
            .get("task_id")
            .is_some_and(|task| task.starts_with("delete-"))
        && told.message.contains("workload not found")
}

pub(super) fn raw_id(text: &str) -> String {
    bounded(text, RAW_ID_BYTES_MAX)
}

/// What a gRPC error of a status call means; see [`call_error`].
///
/// # Errors
/// Anything but the exact forms of absence.
pub fn status_error(code: i32, message: &str, connected: bool) -> Result<AgentReply, AgentError> {
    let absent = matches!(code, code::UNKNOWN | code::NOT_FOUND) && says_absent(message);
    if absent {
        return Ok(AgentReply::Missing);
    }
    Err(match code {
        code::DEADLINE_EXCEEDED => AgentError::Timeout,
        // What a client library makes of its own deadline.
        code::CANCELLED if message == "Timeout expired" => AgentError::Timeout,
        code::FAILED_PRECONDITION if message.starts_with("stale epoch") => AgentError::StaleEpoch,
        // Whoever is meant is not there any more, and was asked for nothing.
        code::FAILED_PRECONDITION if message.starts_with("another node") => {
            AgentError::Unreachable(bounded(message, FIELD_BYTES_MAX))
        }
        code::UNAVAILABLE if !connected => {
            AgentError::Unreachable(bounded(message, FIELD_BYTES_MAX))
        }
        _ => {
            let text = format!("gRPC code {code}: {message}");
            AgentError::Failed(bounded(&text, FIELD_BYTES_MAX))
        }
    })
}

/// What a gRPC error of any call means. `code` is the number of the gRPC status; `connected` is
/// true when the request may have left, so that nobody knows whether it was carried out.
///
/// # Errors
/// Anything but the absence of the workload that a status or a delete asked about.
pub fn call_error(
    op: &AgentOp,
    code: i32,
    message: &str,
    connected: bool,
) -> Result<AgentReply, AgentError> {
    match (op, status_error(code, message, connected)) {
        (AgentOp::Apply { .. } | AgentOp::List, Ok(_)) => {
            let text = format!("gRPC code {code}: {message}");
            Err(AgentError::Failed(bounded(&text, FIELD_BYTES_MAX)))
        }
        (
            AgentOp::Apply { .. } | AgentOp::Delete { .. } | AgentOp::Status { .. } | AgentOp::List,
            result,
        ) => result,
    }
}

/// `status not found` or `workload not found`, alone or followed by a colon and details.
fn says_absent(message: &str) -> bool {
    ["status not found", "workload not found"]
        .iter()
        .any(|form| {
            message
                .strip_prefix(form)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
}
