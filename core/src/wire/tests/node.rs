//! Registration and heartbeat.

use berth_proto::control::v1 as control;

use super::told;
use crate::io::agent::AgentState;
use crate::model::spec::WorkloadType;
use crate::model::units::{Gibibytes, Mebibytes, Millicores};
use crate::model::workload::FailureKind;
use crate::wire::bound::{FIELD_BYTES_MAX, STATUSES_MAX};
use crate::wire::control_in::{heartbeat_request, register_request};

fn message() -> control::RegisterNodeRequest {
    control::RegisterNodeRequest {
        node_id: "node-1".into(),
        capabilities: Some(control::NodeCapabilities {
            cpu_total_millicores: 4000,
            memory_total_mb: 8192,
            storage_pools: Vec::new(),
            supported_workload_types: vec!["docker-container".into(), "Compose".into(), "x".into()],
            supported_storage_drivers: vec![
                "local".into(),
                "ceph_rbd".into(),
                "".into(),
                "zfs".into(),
            ],
        }),
        labels: [
            ("scheduler_shard".into(), "s".into()),
            ("os".into(), "linux".into()),
        ]
        .into(),
        agent_version: String::new(),
        grpc_endpoint: "127.0.0.1:50051".into(),
        cluster_id: "default".into(),
        timestamp: None,
    }
}

fn pools(message: &mut control::RegisterNodeRequest, sizes: &[i64]) {
    let pool = |size: &i64| control::StoragePool {
        total_gb: *size,
        ..Default::default()
    };
    let has = message.capabilities.as_mut().unwrap();
    has.storage_pools = sizes.iter().map(pool).collect();
}

#[test]
fn an_agent_registers() {
    let node = register_request(message(), "boot", "7").unwrap();
    assert_eq!(
        (node.cpu_total, node.memory_total),
        (Millicores(4000), Mebibytes(8192))
    );
    assert_eq!(node.disk_total, None);
    let types = [WorkloadType::Container, WorkloadType::Compose];
    assert_eq!(node.supported_workload_types, types.into());
    let drivers = ["local".to_owned(), "ceph-rbd".to_owned()];
    assert_eq!(node.supported_storage_drivers, drivers.into());
    assert_eq!(
        node.labels.get("scheduler_shard").map(String::as_str),
        Some("s")
    );
    assert_eq!(
        (node.boot_id.as_str(), node.incarnation.as_str()),
        ("boot", "7")
    );

    let mut with_pools = message();
    pools(&mut with_pools, &[10, 0, 5]);
    let node = register_request(with_pools, "", "").unwrap();
    assert_eq!(node.disk_total, Some(Gibibytes(15)));

    let mut machines = message();
    let capabilities = machines.capabilities.as_mut().unwrap();
    capabilities.supported_workload_types = vec![" VM ".into(), "wasm".into()];
    let types = register_request(machines, "", "").unwrap();
    assert_eq!(types.supported_workload_types, [WorkloadType::Vm].into());

    let mut bare = message();
    bare.capabilities
        .as_mut()
        .unwrap()
        .supported_workload_types
        .clear();
    assert!(
        register_request(bare, "", "")
            .unwrap()
            .supported_workload_types
            .is_empty()
    );
}

#[test]
fn endpoints() {
    for (text, good) in [
        ("10.0.0.1:50051", true),
        (" node-1.example.com:1 ", true),
        ("[::1]:50051", true),
        ("", false),
        ("host", false),
        (":50051", false),
        ("host:", false),
        ("host:0", false),
        ("host:65536", false),
        ("host:+80", false),
        ("::1:50051", false),
        ("[host]:50051", false),
        ("http://host:80", false),
        ("a b:80", false),
        ("host:80\n:80", false),
    ] {
        let mut message = message();
        message.grpc_endpoint = text.into();
        match register_request(message, "", "") {
            Ok(node) => {
                assert!(good, "{text}");
                assert_eq!(node.endpoint, text.trim());
            }
            Err(error) => {
                assert!(!good, "{text}");
                assert_eq!(told(&error), ("malformed", "grpc_endpoint"));
            }
        }
    }
}

#[test]
fn what_cannot_be_registered() {
    let refused = |spoil: fn(&mut control::RegisterNodeRequest), kind: &str, field: &str| {
        let mut message = message();
        spoil(&mut message);
        let error = register_request(message, "", "").unwrap_err();
        assert_eq!(told(&error), (kind, field));
    };
    refused(|m| m.node_id.clear(), "malformed", "node_id");
    refused(|m| m.node_id = "a/status".into(), "malformed", "node_id");
    let zone = r#"labels["zone"]"#;
    refused(
        |m| drop(m.labels.insert("zone".into(), "x".repeat(300))),
        "malformed",
        zone,
    );
    refused(
        |m| drop(m.labels.insert("a b".into(), "x".into())),
        "malformed",
        r#"labels["a b"]"#,
    );
    let cpu = "capabilities.cpu_total_millicores";
    refused(|m| m.capabilities = None, "not accepted", cpu);
    for millicores in [-1, 0, i64::MAX] {
        let mut message = message();
        message.capabilities.as_mut().unwrap().cpu_total_millicores = millicores;
        let error = register_request(message, "", "").unwrap_err();
        assert_eq!(told(&error), ("not accepted", cpu));
    }
    let memory = "capabilities.memory_total_mb";
    refused(
        |m| m.capabilities.as_mut().unwrap().memory_total_mb = 0,
        "not accepted",
        memory,
    );
    let pool = "capabilities.storage_pools[1].total_gb";
    refused(|m| pools(m, &[1, -1]), "not accepted", pool);
}

/// The largest node is what the documentation says, to the unit: 100,000 cores, 4 PiB of memory,
/// 1 EiB of disk.
#[test]
fn the_largest_node_is_taken_and_nothing_larger() {
    const CPU: i64 = 100_000_000;
    const MEMORY: i64 = 4_294_967_296;
    const DISK: i64 = 1_073_741_824;
    let sized = |cpu: i64, memory: i64, disk: i64| {
        let mut node = message();
        pools(&mut node, &[disk]);
        let has = node.capabilities.as_mut().unwrap();
        (has.cpu_total_millicores, has.memory_total_mb) = (cpu, memory);
        register_request(node, "", "")
    };
    let largest = sized(CPU, MEMORY, DISK).unwrap();
    assert_eq!(largest.memory_total, Mebibytes(MEMORY.unsigned_abs()));
    assert_eq!(largest.disk_total, Some(Gibibytes(DISK.unsigned_abs())));
    for (cpu, memory, disk) in [
        (CPU + 1, MEMORY, DISK),
        (CPU, MEMORY + 1, DISK),
        (CPU, MEMORY, DISK + 1),
    ] {
        sized(cpu, memory, disk).expect_err("larger than any node");
    }
}

fn status(state: &str, text: &str) -> control::WorkloadStatus {
    control::WorkloadStatus {
        workload_id: "w".into(),
        state: state.into(),
        message: text.into(),
        ..Default::default()
    }
}

fn beat(statuses: Vec<control::WorkloadStatus>) -> crate::io::request::Heartbeat {
    heartbeat_request(control::HeartbeatRequest {
        node_id: "node-1".into(),
        workload_statuses: statuses,
        ..Default::default()
    })
    .unwrap()
}

#[test]
fn a_heartbeat_tells_states() {
    for (state, text, expected) in [
        ("Running", "running", AgentState::Running),
        ("stopped", "", AgentState::Stopped),
        ("Failed", "", AgentState::Failed),
        ("Pending", "container not found", AgentState::Pending),
        ("Unknown", "", AgentState::Unknown),
        ("Unknown", "container not found", AgentState::Missing),
        ("Unknown", "image not found", AgentState::Unknown),
        ("Paused", "", AgentState::Unknown),
        ("", "", AgentState::Unknown),
    ] {
        let heard = &beat(vec![status(state, text)]).statuses[0];
        assert_eq!(heard.state, expected, "{state} {text}");
        assert_eq!(heard.failure.is_some(), expected == AgentState::Failed);
        assert_eq!(heard.revision, None);
    }
}

#[test]
fn the_code_of_a_failure_counts_before_its_reason() {
    let failed = |reason: i32, code: &str| {
        let mut told = status("Failed", "text");
        told.failure_reason = reason;
        told.reason = Some(control::ReasonDetail {
            code: code.into(),
            ..Default::default()
        });
        beat(vec![told]).statuses[0].failure
    };
    assert_eq!(failed(5, "STORAGE_FULL"), Some(FailureKind::StorageError));
    assert_eq!(failed(5, ""), Some(FailureKind::RuntimeError));
    assert_eq!(failed(6, "nonsense"), Some(FailureKind::NetworkError));
    assert_eq!(failed(77, ""), Some(FailureKind::RuntimeError));
    assert_eq!(failed(6, "RUNTIME_ERROR"), Some(FailureKind::RuntimeError));
}

#[test]
fn heartbeats_are_bounded() {
    let mut long = status("Failed", &"x".repeat(5_000_000));
    long.workload_id = "Y".repeat(5_000_000);
    let mut statuses = vec![long];
    statuses.resize(STATUSES_MAX + 5, status("Running", ""));
    let heard = beat(statuses);
    assert_eq!(heard.statuses.len(), STATUSES_MAX);
    assert!(heard.statuses[0].message.len() <= FIELD_BYTES_MAX);
    assert!(heard.statuses[0].raw_id.len() <= FIELD_BYTES_MAX);
    assert_eq!(heard.statuses[0].workload, None);

    let odd = control::NodeUsage {
        cpu_used_millicores: i64::MAX,
        memory_used_mb: -1,
        ..Default::default()
    };
    let message = control::HeartbeatRequest {
        node_id: "n".into(),
        usage: Some(odd),
        ..Default::default()
    };
    let usage = heartbeat_request(message).unwrap().usage;
    assert_eq!(usage.memory_used, Mebibytes(0));
    let text = serde_json::to_string(&usage).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::model::node::NodeUsage>(&text).unwrap(),
        usage
    );

    let nobody = heartbeat_request(control::HeartbeatRequest::default()).unwrap_err();
    assert_eq!(told(&nobody), ("malformed", "node_id"));
}
