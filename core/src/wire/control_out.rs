//! What the scheduler answers: the core's views and errors to `persys.control.v1`.

use std::time::Duration;

use berth_proto::control::v1 as control;
use berth_proto::time::timestamp_from_unix_ms_u64;

use crate::io::RequestError;
use crate::io::request::SuggestedAction;
use crate::io::view::{ClusterSummary, NodeView, WorkloadView};
use crate::model::node::{ChangedBy, NodeReason, NodeStatus};
use crate::model::time::Timestamp;
use crate::model::units::Millicores;
use crate::model::workload::{DesiredState, FailureClass};
use crate::wire::failure::code_of_kind;

/// An instant of the wire.
#[must_use]
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    timestamp_from_unix_ms_u64(at.as_millis())
}

/// A workload. The status is one bare word, never with anything behind it: clients compare it.
#[must_use]
pub fn workload_view(view: &WorkloadView) -> control::WorkloadView {
    let record = &view.record;
    control::WorkloadView {
        workload_id: record.id.to_string(),
        r#type: record.workload_type().name().to_owned(),
        desired_state: desired_name(record.desired_state).to_owned(),
        status: view.display_status.name().to_owned(),
        assigned_node_id: record
            .assigned_node
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        revision_id: record.revision_id.to_string(),
        retry_attempts: count(record.retry.attempts),
        retry_max_attempts: count(record.retry.max_attempts),
        retry_next_at: record.retry.next_retry_at.map(timestamp),
        failure_reason: record.status.failure_reason.clone(),
        last_updated: Some(timestamp(record.status.last_updated)),
        reason: reason(view),
        usage: None,
    }
}

const fn desired_name(state: DesiredState) -> &'static str {
    match state {
        DesiredState::Running => "Running",
        DesiredState::Stopped => "Stopped",
        DesiredState::Deleted => "Deleted",
    }
}

/// Present only while there is something to say.
fn reason(view: &WorkloadView) -> Option<control::ReasonDetail> {
    let (status, retry) = (&view.record.status, &view.record.retry);
    if status.failure.is_none() && status.failure_reason.is_empty() {
        return None;
    }
    let heals = status.failure.is_none_or(|kind| match kind.class() {
        FailureClass::Workload | FailureClass::Infrastructure => true,
        FailureClass::Permanent => false,
    });
    Some(control::ReasonDetail {
        code: status
            .failure
            .map(code_of_kind)
            .unwrap_or_default()
            .to_owned(),
        message: status.failure_reason.clone(),
        last_transition: Some(timestamp(status.last_updated)),
        next_retry_at: retry.next_retry_at.map(timestamp),
        retryable: heals && !retry.exhausted,
    })
}

/// A node. CPU in cores.
#[must_use]
pub fn node_view(view: &NodeView) -> control::NodeView {
    let record = &view.record;
    control::NodeView {
        node_id: record.id.to_string(),
        status: node_status_name(record.status).to_owned(),
        status_reason: node_reason_name(record.status_reason).to_owned(),
        status_updated_by: changed_by_name(record.status_changed_by).to_owned(),
        status_updated_at: Some(timestamp(record.status_changed_at)),
        last_heartbeat: Some(timestamp(record.last_heartbeat)),
        grpc_endpoint: record.agent_endpoint.clone(),
        total_cpu_cores: cores(record.resources.cpu_total),
        available_cpu_cores: cores(view.available.cpu),
        total_memory_mb: whole(record.resources.memory_total.0),
        available_memory_mb: whole(view.available.memory_mb.0),
        supported_workload_types: record
            .supported_workload_types
            .iter()
            .map(|kind| kind.name().to_owned())
            .collect(),
        labels: record.labels.clone(),
    }
}

/// The name of a node's status on the wire.
#[must_use]
pub const fn node_status_name(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Ready => "Ready",
        NodeStatus::NotReady => "NotReady",
        NodeStatus::Draining => "Draining",
    }
}

const fn node_reason_name(reason: NodeReason) -> &'static str {
    match reason {
        NodeReason::Registered => "registered",
        NodeReason::HeartbeatResumed => "heartbeats resumed",
        NodeReason::HeartbeatMissed => "heartbeats missed",
        NodeReason::AgentUnreachable => "the agent cannot be called",
        NodeReason::AgentReachable => "the agent can be called again",
        NodeReason::DrainRequested => "drain requested",
        NodeReason::DrainCancelled => "drain cancelled",
        NodeReason::Fenced => "declared dead by an operator",
    }
}

const fn changed_by_name(by: ChangedBy) -> &'static str {
    match by {
        ChangedBy::Register => "register",
        ChangedBy::Heartbeat => "heartbeat",
        ChangedBy::Monitor => "monitor",
        ChangedBy::Reconciler => "reconciler",
        ChangedBy::Operator => "operator",
    }
}

/// Counts. Whatever is not ready, draining nodes too, counts as not ready.
#[must_use]
pub fn cluster_summary(summary: &ClusterSummary) -> control::GetClusterSummaryResponse {
    control::GetClusterSummaryResponse {
        total_nodes: count(summary.total_nodes),
        ready_nodes: count(summary.ready_nodes),
        not_ready_nodes: count(summary.total_nodes.saturating_sub(summary.ready_nodes)),
        total_workloads: count(summary.total_workloads),
        running_workloads: count(summary.running_workloads),
        pending_workloads: count(summary.pending_workloads),
        failed_workloads: count(summary.failed_workloads),
        deleted_workloads: count(summary.deleted_workloads),
        generated_at: Some(timestamp(summary.generated_at)),
    }
}

/// How a refused mutation is told in band: what the client got wrong is `INVALID_SPEC`, the rest
/// `RUNTIME_ERROR`; clients know only these two from the predecessor.
#[must_use]
pub fn refusal(error: &RequestError) -> (control::FailureReason, String) {
    let reason = match error {
        RequestError::Invalid { .. } => control::FailureReason::InvalidSpec,
        RequestError::NoSuchWorkload(_)
        | RequestError::NoSuchNode(_)
        | RequestError::RegisterAgain(_)
        | RequestError::Stale { .. }
        | RequestError::Refused(_)
        | RequestError::Unavailable { .. }
        | RequestError::Busy(_)
        | RequestError::StoreRefused(_) => control::FailureReason::RuntimeError,
    };
    (reason, error.to_string())
}

/// The answer to an apply: accepted once its commit is known (a workload that cannot be placed yet
/// is a success), or refused in band.
#[must_use]
pub fn apply_response(refused: Option<&RequestError>) -> control::ApplyWorkloadResponse {
    let (reason, error_message) = refused.map_or(
        (control::FailureReason::Unspecified, String::new()),
        refusal,
    );
    control::ApplyWorkloadResponse {
        success: refused.is_none(),
        failure_reason: reason.into(),
        error_message,
    }
}

/// The answer to a deletion: accepted, or refused in band.
#[must_use]
pub fn delete_response(refused: Option<&RequestError>) -> control::DeleteWorkloadResponse {
    control::DeleteWorkloadResponse {
        success: refused.is_none(),
        error_message: refused.map_or_else(String::new, ToString::to_string),
    }
}

/// The answer to a manual retry. The contract has no word for why it was refused.
#[must_use]
pub const fn retry_response(refused: Option<&RequestError>) -> control::RetryWorkloadResponse {
    control::RetryWorkloadResponse {
        accepted: refused.is_none(),
    }
}

/// The answer to a heartbeat.
#[must_use]
pub fn heartbeat_response(drain: bool, lease: Timestamp) -> control::HeartbeatResponse {
    control::HeartbeatResponse {
        acknowledged: true,
        drain_node: drain,
        lease_expires_at: Some(timestamp(lease)),
    }
}

/// The answer to an accepted registration.
#[must_use]
pub fn register_response(interval: Duration, lease: Timestamp) -> control::RegisterNodeResponse {
    control::RegisterNodeResponse {
        accepted: true,
        reason: "registered".to_owned(),
        // Whole seconds, rounded up: 0 would mean the agent's own default.
        heartbeat_interval_seconds: whole_seconds(interval),
        lease_expires_at: Some(timestamp(lease)),
    }
}

/// The answer to a registration that is not accepted; the agent backs off and tries again.
#[must_use]
pub fn register_refused(error: &RequestError) -> control::RegisterNodeResponse {
    control::RegisterNodeResponse {
        accepted: false,
        reason: error.to_string(),
        ..control::RegisterNodeResponse::default()
    }
}

/// The answer to a suggestion.
#[must_use]
pub fn suggestion_response(
    action: Option<SuggestedAction>,
    accepted: bool,
    reason: String,
    decided_at: Timestamp,
) -> control::SubmitAutomationSuggestionResponse {
    let applied = action
        .filter(|_| accepted)
        .map_or("", |action| match action {
            SuggestedAction::SetDesiredState(_) => "set_desired_state",
            SuggestedAction::Retry => "retry_workload",
            SuggestedAction::Delete => "delete_workload",
            SuggestedAction::Scale => "",
        });
    control::SubmitAutomationSuggestionResponse {
        accepted,
        decision: if accepted { "accepted" } else { "rejected" }.to_owned(),
        reason,
        applied_action: applied.to_owned(),
        decided_at: Some(timestamp(decided_at)),
    }
}

fn whole_seconds(time: Duration) -> i32 {
    let seconds = time.as_millis().div_ceil(1000);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

fn count(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// For showing only; nothing is decided by it.
#[allow(clippy::cast_precision_loss)]
fn cores(cpu: Millicores) -> f64 {
    cpu.0 as f64 / 1000.0
}
