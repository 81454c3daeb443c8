//! What the generated types put on the wire, byte for byte.

use berth_proto::agent::v1 as agent;
use berth_proto::control::v1 as control;
use prost::Message as _;

#[test]
fn numbers_reach_the_wire() {
    let request = control::ApplyWorkloadRequest {
        workload_id: "w".to_owned(),
        spec: None,
        revision_id: "r".to_owned(),
        desired_state: "Stopped".to_owned(),
    };
    // Tags: number << 3 | 2 (a length follows); an absent spec takes no bytes.
    let mut expected = vec![1 << 3 | 2, 1, b'w', 10 << 3 | 2, 1, b'r', 11 << 3 | 2, 7];
    expected.extend_from_slice(b"Stopped");
    assert_eq!(request.encode_to_vec(), expected);
}

#[test]
fn maps_have_one_encoding() {
    let pairs = [("b", "2"), ("a", "1"), ("c", "3")];
    let encode = |order: [usize; 3]| {
        let labels = order.map(|i| (pairs[i].0.to_owned(), pairs[i].1.to_owned()));
        let request = control::RegisterNodeRequest {
            labels: labels.into_iter().collect(),
            ..control::RegisterNodeRequest::default()
        };
        request.encode_to_vec()
    };
    let first = encode([0, 1, 2]);
    assert_eq!(encode([2, 1, 0]), first);
    assert_eq!(first[4], b'a', "the smallest key comes first");
}

/// An enum value that we do not know arrives as its number, and is not an error.
#[test]
fn unknown_enum_values_survive() {
    let bytes = [5 << 3, 77];
    let status = agent::WorkloadStatus::decode(bytes.as_slice()).expect("well formed");
    assert_eq!(status.actual_state, 77);
    assert!(agent::ActualState::try_from(status.actual_state).is_err());
    assert_eq!(status.encode_to_vec(), bytes);
}

/// Clients print the names of enum values.
#[test]
fn enum_names_are_those_of_the_contract() {
    assert_eq!(
        control::FailureReason::VmBootFailed.as_str_name(),
        "VM_BOOT_FAILED"
    );
    assert_eq!(
        control::AutomationActionType::AutomationActionScaleReplicas.as_str_name(),
        "AUTOMATION_ACTION_SCALE_REPLICAS"
    );
    assert_eq!(
        agent::ActualState::Unknown.as_str_name(),
        "ACTUAL_STATE_UNKNOWN"
    );
}

#[cfg(feature = "grpc")]
#[test]
fn services_have_their_names() {
    assert_eq!(
        control::agent_control_server::SERVICE_NAME,
        "persys.control.v1.AgentControl"
    );
    assert_eq!(
        agent::agent_service_server::SERVICE_NAME,
        "persys.agent.v1.AgentService"
    );
    assert_eq!(
        berth_proto::berth::v1::berth_server::SERVICE_NAME,
        "berth.v1.Berth"
    );
}
