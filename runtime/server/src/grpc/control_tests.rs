//! Each method against a scripted core: what it asks, what it answers, how it fails.

use std::time::Duration;

use berth_core::io::request::{Freshness, Request as Ask, RequestError, Response as Answer};
use berth_core::model::workload::DesiredState;
use berth_core::{StoreRevision, Timestamp};
use berth_proto::control::v1::{self as wire, agent_control_server::AgentControl};
use tonic::{Code, Request};

use super::ControlService;
use crate::testing::{Script, fresh, node, node_answer, workload, workload_answer};

fn service(script: &Script) -> ControlService {
    ControlService::new(script.api())
}

fn unavailable() -> RequestError {
    RequestError::Unavailable {
        reason: "no leader".into(),
        retry_after: Duration::from_millis(1500),
        effect: Default::default(),
    }
}

fn container() -> wire::WorkloadSpec {
    wire::WorkloadSpec {
        r#type: "container".into(),
        workload: Some(wire::workload_spec::Workload::Container(
            wire::ContainerSpec {
                image: "alpine".into(),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn apply(id: &str, state: &str) -> Request<wire::ApplyWorkloadRequest> {
    Request::new(wire::ApplyWorkloadRequest {
        workload_id: id.into(),
        spec: Some(container()),
        revision_id: "rev-1".into(),
        desired_state: state.into(),
    })
}

fn register(cpu: i64) -> wire::RegisterNodeRequest {
    wire::RegisterNodeRequest {
        node_id: "node-1".into(),
        grpc_endpoint: "127.0.0.1:50051".into(),
        capabilities: Some(wire::NodeCapabilities {
            cpu_total_millicores: cpu,
            memory_total_mb: 1024,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_apply_is_answered_after_its_commit() {
    let script = Script::new(|_| workload_answer("web"));
    let answer = service(&script)
        .apply_workload(apply("web", "Running"))
        .await
        .unwrap();
    assert!(answer.get_ref().success);
    let seen = script.seen();
    let [Ask::Apply(asked)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(asked.workload.as_str(), "web");
    assert_eq!(asked.desired_state, Some(DesiredState::Running));
    assert!(asked.spec.is_some() && !asked.dry_run);
}

#[tokio::test]
async fn an_apply_that_wants_it_deleted_deletes() {
    let script = Script::new(|_| workload_answer("web"));
    let answer = service(&script)
        .apply_workload(apply("web", "deleted"))
        .await
        .unwrap();
    assert!(answer.get_ref().success);
    assert!(matches!(&script.seen()[..], [Ask::Delete { .. }]));
}

#[tokio::test]
async fn mutations_fail_in_band_once_well_formed() {
    for error in [
        RequestError::NoSuchWorkload("web".parse().unwrap()),
        RequestError::Refused("it is being deleted".into()),
        RequestError::Busy("web".into()),
        RequestError::StoreRefused("too large".into()),
    ] {
        let script = Script::refusing(error.clone());
        let service = service(&script);
        let applied = service
            .apply_workload(apply("web", ""))
            .await
            .unwrap()
            .into_inner();
        assert!(!applied.success);
        assert_eq!(applied.error_message, error.to_string());
        assert_eq!(applied.failure_reason(), wire::FailureReason::RuntimeError);
        let request = wire::DeleteWorkloadRequest {
            workload_id: "web".into(),
        };
        let deleted = service
            .delete_workload(Request::new(request))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (deleted.success, deleted.error_message),
            (false, error.to_string())
        );
        let request = wire::RetryWorkloadRequest {
            workload_id: "web".into(),
        };
        let retried = service.retry_workload(Request::new(request)).await.unwrap();
        assert!(!retried.get_ref().accepted);
        let registered = service
            .register_node(Request::new(register(1000)))
            .await
            .unwrap();
        assert!(!registered.get_ref().accepted && !registered.get_ref().reason.is_empty());
    }
}

#[tokio::test]
async fn a_bad_spec_fails_in_band_and_never_reaches_the_core() {
    let service = service(&Script::silent());
    let mut request = apply("web", "").into_inner();
    request.spec.as_mut().unwrap().resources = Some(wire::ResourceRequirements {
        cpu_millicores: -5,
        ..Default::default()
    });
    let answer = service
        .apply_workload(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.success);
    assert_eq!(answer.failure_reason(), wire::FailureReason::InvalidSpec);
    assert!(
        answer.error_message.contains("cpu"),
        "{}",
        answer.error_message
    );
    let answer = service
        .apply_workload(apply("web", "sideways"))
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.success && answer.error_message.contains("desired_state"));
}

#[tokio::test]
async fn malformed_requests_are_invalid_arguments_that_name_the_field() {
    let service = service(&Script::silent());
    for id in ["", "Bad Id", "a/b", &"x".repeat(129)] {
        let status = service.apply_workload(apply(id, "")).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{id}");
        assert!(
            status.message().starts_with("workload_id: "),
            "{}",
            status.message()
        );
        let request = wire::DeleteWorkloadRequest {
            workload_id: id.into(),
        };
        let status = service
            .delete_workload(Request::new(request))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let request = wire::RetryWorkloadRequest {
            workload_id: id.into(),
        };
        let status = service
            .retry_workload(Request::new(request))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let request = wire::GetWorkloadRequest {
            workload_id: id.into(),
        };
        let status = service
            .get_workload(Request::new(request))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    for (request, field) in [
        (
            wire::RegisterNodeRequest {
                node_id: String::new(),
                ..register(1)
            },
            "node_id",
        ),
        (
            wire::RegisterNodeRequest {
                grpc_endpoint: "x".into(),
                ..register(1)
            },
            "grpc_endpoint",
        ),
    ] {
        let status = service
            .register_node(Request::new(request))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{}", status.message());
    }
    let status = service
        .heartbeat(Request::new(Default::default()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_huge_request_is_refused_before_the_core() {
    let service = service(&Script::silent());
    let mut request = apply("web", "").into_inner();
    let large = "x".repeat(berth_core::wire::bound::REQUEST_BYTES_MAX);
    request
        .spec
        .as_mut()
        .unwrap()
        .metadata
        .insert("k".into(), large);
    let status = service
        .apply_workload(Request::new(request))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("at most"), "{}", status.message());
}

#[tokio::test]
async fn a_registration_without_capacity_is_not_accepted() {
    let service = service(&Script::silent());
    let answer = service
        .register_node(Request::new(register(0)))
        .await
        .unwrap()
        .into_inner();
    assert!(
        !answer.accepted && answer.reason.contains("cpu"),
        "{}",
        answer.reason
    );
}

#[tokio::test]
async fn a_registration_carries_boot_and_incarnation() {
    let script = Script::new(|_| {
        Ok(Answer::Registered {
            heartbeat_interval: Duration::from_millis(1200),
            lease_expires_at: Timestamp::from_millis(9000),
        })
    });
    let mut request = Request::new(register(1000));
    request
        .metadata_mut()
        .insert("berth-boot-id", "boot-7".parse().unwrap());
    request
        .metadata_mut()
        .insert("berth-incarnation", "3".parse().unwrap());
    let answer = service(&script)
        .register_node(request)
        .await
        .unwrap()
        .into_inner();
    assert!(answer.accepted);
    assert_eq!(
        (answer.reason.as_str(), answer.heartbeat_interval_seconds),
        ("registered", 2)
    );
    assert_eq!(answer.lease_expires_at.unwrap().seconds, 9);
    let seen = script.seen();
    let [Ask::Register(asked)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (asked.boot_id.as_str(), asked.incarnation.as_str()),
        ("boot-7", "3")
    );
}

#[tokio::test]
async fn heartbeats() {
    let ack = |drain| {
        Script::new(move |_| {
            let lease_expires_at = Timestamp::from_millis(9000);
            Ok(Answer::HeartbeatAck {
                drain,
                lease_expires_at,
            })
        })
    };
    let beat = || {
        let node_id = "node-1".into();
        Request::new(wire::HeartbeatRequest {
            node_id,
            ..Default::default()
        })
    };
    let answer = service(&ack(true))
        .heartbeat(beat())
        .await
        .unwrap()
        .into_inner();
    assert!(answer.acknowledged && answer.drain_node);
    let stranger = Script::refusing(RequestError::NoSuchNode("node-1".parse().unwrap()));
    let status = service(&stranger).heartbeat(beat()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn without_a_leader_mutations_are_unavailable_with_a_hint() {
    let script = Script::refusing(unavailable());
    let service = service(&script);
    let delete = wire::DeleteWorkloadRequest {
        workload_id: "web".into(),
    };
    let retry = wire::RetryWorkloadRequest {
        workload_id: "web".into(),
    };
    for status in [
        service.apply_workload(apply("web", "")).await.unwrap_err(),
        service
            .delete_workload(Request::new(delete))
            .await
            .unwrap_err(),
        service
            .retry_workload(Request::new(retry))
            .await
            .unwrap_err(),
        service
            .register_node(Request::new(register(1000)))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.metadata().get("retry-after-ms").unwrap(), "1500");
    }
}

#[tokio::test]
async fn reads_say_how_old_they_are() {
    let script = Script::new(|request| match request {
        Ask::Read(berth_core::io::Query::Workload(_)) => workload_answer("web"),
        Ask::Read(berth_core::io::Query::Node(_)) => node_answer("node-1"),
        Ask::Read(berth_core::io::Query::Workloads(_)) => Ok(Answer::Workloads {
            workloads: vec![workload("web")],
            more: false,
            freshness: Freshness {
                revision: StoreRevision(51),
                stale: true,
                age_ms: 40,
            },
        }),
        _ => Ok(Answer::Nodes {
            nodes: vec![node("node-1")],
            more: false,
            freshness: fresh(52),
        }),
    });
    let service = service(&script);
    let request = wire::GetWorkloadRequest {
        workload_id: "web".into(),
    };
    let answer = service.get_workload(Request::new(request)).await.unwrap();
    assert_eq!(answer.metadata().get("berth-revision").unwrap(), "50");
    assert!(answer.metadata().get("berth-stale").is_none());
    assert_eq!(answer.into_inner().workload.unwrap().status, "Running");
    let answer = service
        .list_workloads(Request::new(Default::default()))
        .await
        .unwrap();
    assert_eq!(answer.metadata().get("berth-stale").unwrap(), "true");
    assert_eq!(answer.metadata().get("berth-revision").unwrap(), "51");
    assert_eq!(answer.get_ref().workloads.len(), 1);
    let request = wire::ListNodesRequest {
        status: "ready".into(),
    };
    assert_eq!(
        service
            .list_nodes(Request::new(request))
            .await
            .unwrap()
            .get_ref()
            .nodes
            .len(),
        1
    );
    let request = wire::GetNodeRequest {
        node_id: "node-1".into(),
    };
    assert!(service.get_node(Request::new(request)).await.is_ok());
}

#[tokio::test]
async fn reads_of_what_does_not_exist() {
    let script = Script::refusing(RequestError::NoSuchWorkload("web".parse().unwrap()));
    let request = wire::GetWorkloadRequest {
        workload_id: "web".into(),
    };
    let status = service(&script)
        .get_workload(Request::new(request))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let script = Script::refusing(RequestError::NoSuchNode("node-1".parse().unwrap()));
    let request = wire::GetNodeRequest {
        node_id: "node-1".into(),
    };
    let status = service(&script)
        .get_node(Request::new(request))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn suggestions() {
    let suggest = |action: i32, state: &str, target: &str| {
        Request::new(wire::SubmitAutomationSuggestionRequest {
            suggestion: Some(wire::AutomationSuggestion {
                target_workload: target.into(),
                action_type: action,
                desired_state: state.into(),
                ..Default::default()
            }),
        })
    };
    let script = Script::new(|_| {
        Ok(Answer::Suggestion {
            accepted: true,
            reason: "stopped".into(),
            decided_at: Timestamp::from_millis(5000),
        })
    });
    let taken = service(&script);
    let answer = taken
        .submit_automation_suggestion(suggest(1, "Stopped", "web"))
        .await
        .unwrap();
    let answer = answer.into_inner();
    assert!(answer.accepted);
    assert_eq!(
        (answer.decision.as_str(), answer.applied_action.as_str()),
        ("accepted", "set_desired_state")
    );
    // In band: a blank target, a state that is none, no action.
    for request in [
        suggest(2, "", ""),
        suggest(1, "sideways", "web"),
        suggest(0, "", "web"),
    ] {
        let answer = service(&Script::silent())
            .submit_automation_suggestion(request)
            .await;
        let answer = answer.unwrap().into_inner();
        assert!(!answer.accepted && answer.decision == "rejected" && !answer.reason.is_empty());
    }
    // Malformed: an action that is no number of the enum, no suggestion at all.
    let none = Request::new(wire::SubmitAutomationSuggestionRequest::default());
    for request in [suggest(77, "", "web"), none] {
        let answer = service(&Script::silent())
            .submit_automation_suggestion(request)
            .await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().starts_with("suggestion"),
            "{}",
            status.message()
        );
    }
}
