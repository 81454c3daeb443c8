//! Views and answers.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::control::v1 as control;

use crate::io::RequestError;
use crate::io::request::{Freshness, SuggestedAction};
use crate::io::view::{ClusterSummary, DisplayStatus, NodeView, WorkloadView};
use crate::model::id::StoreRevision;
use crate::model::node::*;
use crate::model::spec::{ContainerSpec, Spec};
use crate::model::time::Timestamp;
use crate::model::units::*;
use crate::model::workload::*;
use crate::wire::control_out::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn workload() -> WorkloadView {
    WorkloadView {
        record: WorkloadRecord {
            id: "w".parse().unwrap(),
            revision_id: "r1".parse().unwrap(),
            desired_state: DesiredState::Running,
            assigned_node: Some("n".parse().unwrap()),
            spec: Arc::new(Spec::Container(ContainerSpec::default())),
            resources: Resources::default(),
            constraints: Default::default(),
            tenant: None,
            priority: 0,
            labels: Default::default(),
            retry: RetryState {
                attempts: 2,
                max_attempts: 5,
                next_retry_at: Some(at(9_000)),
                exhausted: false,
            },
            status: WorkloadStatus {
                actual_state: ActualState::Pending,
                last_updated: at(1_500),
                failure_reason: "disk full".into(),
                failure: Some(FailureKind::StorageError),
                running_since: None,
                placement: None,
                extra: Default::default(),
            },
            metadata: WorkloadMetadata {
                created_at: at(0),
                last_action: None,
                last_error: String::new(),
                generation: 1,
                revision_label: None,
                spec_hash: String::new(),
                labels_used: Vec::new(),
                extra: Default::default(),
            },
            extra: Default::default(),
        },
        display_status: DisplayStatus::RetryPending,
        resource_version: StoreRevision(7),
        freshness: Freshness::default(),
    }
}

#[test]
fn a_workload_is_shown() {
    let shown = workload_view(&workload());
    assert_eq!(shown.status, "RetryPending");
    assert_eq!(
        (shown.r#type.as_str(), shown.desired_state.as_str()),
        ("container", "Running")
    );
    assert_eq!((shown.retry_attempts, shown.retry_max_attempts), (2, 5));
    assert_eq!(shown.retry_next_at.unwrap().seconds, 9);
    assert_eq!(shown.last_updated.unwrap().nanos, 500_000_000);
    assert_eq!(shown.failure_reason, "disk full");
    let reason = shown.reason.unwrap();
    assert_eq!(
        (reason.code.as_str(), reason.retryable),
        ("STORAGE_ERROR", true)
    );

    let mut calm = workload();
    calm.record.assigned_node = None;
    calm.record.status.failure = None;
    calm.record.status.failure_reason.clear();
    let shown = workload_view(&calm);
    assert_eq!((shown.assigned_node_id.as_str(), shown.reason), ("", None));

    let mut hopeless = workload();
    hopeless.record.status.failure = Some(FailureKind::ImageNotFound);
    assert!(!workload_view(&hopeless).reason.unwrap().retryable);
    hopeless.record.status.failure = Some(FailureKind::RuntimeError);
    hopeless.record.retry.exhausted = true;
    assert!(!workload_view(&hopeless).reason.unwrap().retryable);
}

#[test]
fn a_status_is_one_bare_word() {
    for status in DisplayStatus::ALL {
        let view = WorkloadView {
            display_status: status,
            ..workload()
        };
        let word = workload_view(&view).status;
        assert!(word.chars().all(|c| c.is_ascii_alphabetic()), "{word}");
    }
}

fn a_node() -> NodeView {
    NodeView {
        record: NodeRecord {
            id: "n".parse().unwrap(),
            status: NodeStatus::NotReady,
            status_reason: NodeReason::HeartbeatMissed,
            status_changed_by: ChangedBy::Monitor,
            status_changed_at: at(2_000),
            resources: NodeResources {
                cpu_total: Millicores(4_000),
                memory_total: Mebibytes(8_192),
                ..Default::default()
            },
            last_heartbeat: at(1_000),
            labels: [("os".into(), "linux".into())].into(),
            agent_endpoint: "10.0.0.1:50051".into(),
            agent_version: String::new(),
            supported_workload_types: crate::model::spec::WorkloadType::ALL.into(),
            supported_storage_drivers: Default::default(),
            schedulable: true,
            drain: None,
            created_at: at(0),
            boot_id: String::new(),
            incarnation: String::new(),
            extra: Default::default(),
        },
        available: Resources::new(3_750, 8_000, 0),
        usage: NodeUsage::default(),
        workloads: 1,
        tombstones: 0,
        strangers: Some(0),
        resource_version: StoreRevision(1),
        freshness: Freshness::default(),
    }
}

#[test]
fn every_reason_of_a_nodes_status_is_told_in_its_own_words() {
    let mut told = std::collections::BTreeSet::new();
    let reasons = [
        (NodeReason::Registered, "registered"),
        (NodeReason::HeartbeatResumed, "heartbeats resumed"),
        (NodeReason::HeartbeatMissed, "heartbeats missed"),
        (NodeReason::AgentUnreachable, "the agent cannot be called"),
        (NodeReason::AgentReachable, "the agent can be called again"),
        (NodeReason::DrainRequested, "drain requested"),
        (NodeReason::DrainCancelled, "drain cancelled"),
        (NodeReason::Fenced, "declared dead by an operator"),
    ];
    for (reason, words) in reasons {
        let mut view = a_node();
        view.record.status_reason = reason;
        let shown = node_view(&view).status_reason;
        assert_eq!(shown, words);
        told.insert(shown);
    }
    assert_eq!(told.len(), reasons.len());
}

#[test]
fn a_heartbeat_is_answered_with_the_drain_and_the_lease() {
    for drain in [true, false] {
        let answer = heartbeat_response(drain, at(7_500));
        assert!(answer.acknowledged);
        assert_eq!(answer.drain_node, drain);
        let lease = answer.lease_expires_at.unwrap();
        assert_eq!((lease.seconds, lease.nanos), (7, 500_000_000));
    }
}

#[test]
fn a_node_is_shown_in_cores() {
    let shown = node_view(&a_node());
    assert_eq!(
        (shown.total_cpu_cores, shown.available_cpu_cores),
        (4.0, 3.75)
    );
    assert_eq!(
        (shown.total_memory_mb, shown.available_memory_mb),
        (8_192, 8_000)
    );
    assert_eq!(
        (shown.status.as_str(), shown.status_updated_by.as_str()),
        ("NotReady", "monitor")
    );
    assert_eq!(
        shown.supported_workload_types,
        ["container", "compose", "vm"]
    );
    assert_eq!(shown.grpc_endpoint, "10.0.0.1:50051");
    assert_eq!(shown.last_heartbeat.unwrap().seconds, 1);
}

#[test]
fn what_is_not_ready_counts_as_not_ready() {
    let summary = ClusterSummary {
        total_nodes: 10,
        ready_nodes: 6,
        not_ready_nodes: 1,
        draining_nodes: 3,
        total_workloads: u32::MAX,
        ..Default::default()
    };
    let shown = cluster_summary(&summary);
    assert_eq!((shown.ready_nodes, shown.not_ready_nodes), (6, 4));
    assert_eq!(shown.total_workloads, i32::MAX);
}

#[test]
fn refusals_are_told_in_band() {
    let invalid = RequestError::invalid("spec.image", "is empty");
    let told = apply_response(Some(&invalid));
    assert!(!told.success);
    assert_eq!(told.failure_reason(), control::FailureReason::InvalidSpec);
    assert_eq!(told.error_message, "spec.image: is empty");
    let refused = RequestError::Refused("no".into());
    assert_eq!(
        refusal(&refused),
        (control::FailureReason::RuntimeError, "no".into())
    );
    let fine = apply_response(None);
    assert!(fine.success && fine.error_message.is_empty() && fine.failure_reason == 0);

    let register = register_refused(&invalid);
    assert!(!register.accepted && register.lease_expires_at.is_none());
    assert_eq!(register.reason, invalid.to_string());
}

#[test]
fn intervals_are_whole_seconds_and_never_zero() {
    for (millis, seconds) in [(1, 1), (1_000, 1), (1_001, 2), (60_000, 60)] {
        let told = register_response(Duration::from_millis(millis), at(5));
        assert_eq!(told.heartbeat_interval_seconds, seconds);
        assert!(told.accepted);
    }
}

#[test]
fn suggestions_are_answered() {
    let told = |action, accepted| suggestion_response(action, accepted, "why".into(), at(1));
    let yes = told(Some(SuggestedAction::Retry), true);
    assert_eq!(
        (yes.decision.as_str(), yes.applied_action.as_str()),
        ("accepted", "retry_workload")
    );
    let no = told(Some(SuggestedAction::Retry), false);
    assert_eq!(
        (no.decision.as_str(), no.applied_action.as_str()),
        ("rejected", "")
    );
}
