//! The words of the existing agent, and what looks like them.

use berth_proto::agent::v1 as agent;

use super::agent_in::*;
use super::bound::{FIELD_BYTES_MAX, STATUSES_MAX};
use crate::io::agent::{AgentError, AgentOp, AgentReply, AgentState};
use crate::model::id::WorkloadId;
use crate::model::spec::WorkloadType;
use crate::model::workload::FailureKind;
use agent::ActualState as Wire;

fn told(state: Wire, revision: &str, message: &str) -> agent::WorkloadStatus {
    agent::WorkloadStatus {
        id: "w".into(),
        r#type: 1,
        revision_id: revision.into(),
        actual_state: state.into(),
        message: message.into(),
        ..Default::default()
    }
}

fn with(mut told: agent::WorkloadStatus, key: &str, value: &str) -> agent::WorkloadStatus {
    told.metadata.insert(key.into(), value.into());
    told
}

fn reply(told: agent::WorkloadStatus) -> AgentReply {
    let answer = agent::GetWorkloadStatusResponse { status: Some(told) };
    status_reply(&"w".parse().unwrap(), answer).unwrap()
}

fn state_of(told: agent::WorkloadStatus) -> AgentState {
    match reply(told) {
        AgentReply::Status(status) => status.state,
        AgentReply::Missing => AgentState::Missing,
        other => panic!("{other:?}"),
    }
}

/// The texts of the existing agent, and what looks like them.
#[test]
fn which_statuses_mean_missing() {
    let delete = |text| with(told(Wire::Failed, "", text), "task_id", "delete-w-17");
    let table = [
        (
            told(Wire::Unknown, "v1", "container not found"),
            AgentState::Missing,
        ),
        (
            told(Wire::Unknown, "v1", "project not found"),
            AgentState::Missing,
        ),
        (
            told(Wire::Unknown, "v1", "domain not found"),
            AgentState::Missing,
        ),
        (delete("workload not found: w"), AgentState::Missing),
        (
            delete("failed to delete: workload not found"),
            AgentState::Missing,
        ),
        // Not these.
        (delete("image not found"), AgentState::Failed),
        (
            told(Wire::Failed, "v1", "image not found"),
            AgentState::Failed,
        ),
        (
            told(Wire::Failed, "", "workload not found"),
            AgentState::Failed,
        ),
        (
            told(Wire::Failed, "v1", "container not found"),
            AgentState::Failed,
        ),
        (
            told(Wire::Unknown, "v1", "image not found"),
            AgentState::Unknown,
        ),
        (
            told(Wire::Unknown, "v1", "container not found: x"),
            AgentState::Unknown,
        ),
        (
            told(Wire::Unknown, "v1", "Container not found"),
            AgentState::Unknown,
        ),
        (
            told(Wire::Running, "v1", "container not found"),
            AgentState::Running,
        ),
        (told(Wire::Unknown, "v1", ""), AgentState::Unknown),
        (
            told(Wire::Unspecified, "v1", "container not found"),
            AgentState::Unknown,
        ),
    ];
    for (status, state) in table {
        let text = format!("{status:?}");
        assert_eq!(state_of(status), state, "{text}");
    }
    let apply = with(
        told(Wire::Failed, "", "workload not found"),
        "task_id",
        "apply-w-17",
    );
    assert_eq!(state_of(apply), AgentState::Failed);
    let kept = with(
        told(Wire::Failed, "v1", "workload not found"),
        "task_id",
        "delete-w-1",
    );
    assert_eq!(state_of(kept), AgentState::Failed);
}

#[test]
fn a_vanished_artifact_keeps_its_record() {
    let gone = told(Wire::Unknown, "v1", "container not found");
    let AgentReply::Status(status) = reply(gone) else {
        panic!("the agent has a record")
    };
    assert_eq!(status.state, AgentState::Missing);
    assert_eq!(status.revision, Some("v1".parse().unwrap()));
    let failed = with(
        told(Wire::Failed, "", "workload not found"),
        "task_id",
        "delete-w-1",
    );
    assert_eq!(reply(failed), AgentReply::Missing);
}

#[test]
fn statuses_are_typed_and_bounded() {
    let mut long = told(Wire::Failed, "v1", &"ä".repeat(5_000_000));
    long.metadata
        .insert("failure_reason".into(), "STORAGE_FULL".into());
    long.metadata
        .insert("container.stderr".into(), "x".repeat(5_000_000));
    let AgentReply::Status(status) = reply(long) else {
        panic!("a status")
    };
    assert!(status.message.len() <= FIELD_BYTES_MAX);
    assert_eq!(status.failure, Some(FailureKind::StorageError));
    assert_eq!(status.workload_type, Some(WorkloadType::Container));

    let mut odd = told(Wire::Running, "not a revision", "running");
    (odd.actual_state, odd.r#type) = (77, -3);
    let AgentReply::Status(status) = reply(odd) else {
        panic!("a status")
    };
    assert_eq!((status.state, status.failure), (AgentState::Unknown, None));
    assert_eq!((status.revision, status.workload_type), (None, None));

    let silent = with(told(Wire::Failed, "v1", ""), "last_error", "boom");
    let AgentReply::Status(status) = reply(silent) else {
        panic!("a status")
    };
    assert_eq!(status.message, "boom");
}

#[test]
fn an_answer_about_another_workload_is_none() {
    let asked: WorkloadId = "other".parse().unwrap();
    let answer = agent::GetWorkloadStatusResponse {
        status: Some(told(Wire::Running, "", "")),
    };
    assert!(matches!(
        status_reply(&asked, answer),
        Err(AgentError::Failed(_))
    ));
    let empty = agent::GetWorkloadStatusResponse { status: None };
    assert!(matches!(
        status_reply(&asked, empty),
        Err(AgentError::Failed(_))
    ));
}

#[test]
fn listings() {
    let mut stranger = told(Wire::Running, "", "");
    stranger.id = "Not/Ours".into();
    let second_delete = with(
        told(Wire::Failed, "", "workload not found"),
        "task_id",
        "delete-",
    );
    let workloads = vec![
        told(Wire::Running, "v1", "running"),
        stranger,
        second_delete,
    ];
    let answer = agent::ListWorkloadsResponse { workloads };
    let Ok(AgentReply::Listing(statuses)) = listing(&answer) else {
        panic!("a listing")
    };
    assert_eq!(statuses.len(), 2);
    assert_eq!(statuses[1].workload, None);
    assert_eq!(statuses[1].raw_id, "Not/Ours");

    let workloads = vec![agent::WorkloadStatus::default(); STATUSES_MAX + 1];
    assert!(listing(&agent::ListWorkloadsResponse { workloads }).is_err());
}

#[test]
fn answers_to_mutations() {
    let applied = |applied, skipped, message: &str| {
        let message = message.into();
        apply_reply(&agent::ApplyWorkloadResponse {
            applied,
            skipped,
            message,
            status: None,
        })
    };
    assert_eq!(applied(true, false, "submitted"), AgentReply::Applied);
    assert_eq!(applied(false, true, "unchanged"), AgentReply::Applied);
    for (text, kind) in [
        (
            "invalid request: spec is required",
            FailureKind::InvalidSpec,
        ),
        (
            "runtime not available for type: vm",
            FailureKind::RuntimeUnavailable,
        ),
        (
            "RESOURCE_QUOTA_EXCEEDED: cpu",
            FailureKind::InsufficientResources,
        ),
        ("boom", FailureKind::RuntimeError),
    ] {
        let AgentReply::ApplyRefused { failure, message } = applied(false, false, text) else {
            panic!("{text}");
        };
        assert_eq!((failure, message.as_str()), (kind, text));
    }
    let deleted = |success, message: &str| {
        delete_reply(&agent::DeleteWorkloadResponse {
            success,
            message: message.into(),
        })
    };
    assert_eq!(deleted(true, "workload not found"), AgentReply::Deleting);
    assert_eq!(
        deleted(false, "delete: workload not found"),
        AgentReply::Missing
    );
    assert!(matches!(
        deleted(false, "image not found"),
        AgentReply::DeleteRefused { .. }
    ));
}

#[test]
fn errors_of_calls() {
    let failed = |text: &str| Err(AgentError::Failed(text.into()));
    let table = [
        (
            2,
            "status not found: status not found",
            true,
            Ok(AgentReply::Missing),
        ),
        (5, "workload not found", true, Ok(AgentReply::Missing)),
        (5, "status not found", true, Ok(AgentReply::Missing)),
        (
            2,
            "image not found",
            true,
            failed("gRPC code 2: image not found"),
        ),
        (2, "not found", true, failed("gRPC code 2: not found")),
        (
            5,
            "method not found",
            true,
            failed("gRPC code 5: method not found"),
        ),
        (
            13,
            "workload not found",
            true,
            failed("gRPC code 13: workload not found"),
        ),
        (
            2,
            "workload not founded",
            true,
            failed("gRPC code 2: workload not founded"),
        ),
        (4, "deadline", true, Err(AgentError::Timeout)),
        (1, "Timeout expired", true, Err(AgentError::Timeout)),
        (1, "cancelled", true, failed("gRPC code 1: cancelled")),
        (
            14,
            "refused",
            false,
            Err(AgentError::Unreachable("refused".into())),
        ),
        (14, "reset", true, failed("gRPC code 14: reset")),
        (
            9,
            "stale epoch 3, seen 7",
            true,
            Err(AgentError::StaleEpoch),
        ),
        (
            9,
            "another node is meant: this is a, not b",
            true,
            Err(AgentError::Unreachable(
                "another node is meant: this is a, not b".into(),
            )),
        ),
        (9, "queue full", true, failed("gRPC code 9: queue full")),
        (-5, "", true, failed("gRPC code -5: ")),
    ];
    for (code, text, connected, expected) in table {
        assert_eq!(
            status_error(code, text, connected),
            expected,
            "{code} {text}"
        );
    }
    let workload: WorkloadId = "w".parse().unwrap();
    let delete = AgentOp::Delete { workload };
    assert_eq!(
        call_error(&delete, 5, "workload not found", true),
        Ok(AgentReply::Missing)
    );
    assert!(call_error(&AgentOp::List, 5, "workload not found", true).is_err());
    assert_eq!(
        call_error(&AgentOp::List, 4, "", true),
        Err(AgentError::Timeout)
    );
}
