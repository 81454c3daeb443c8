//! Calls to agents.

use std::sync::Arc;

use agent::workload_spec::Spec as Arm;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_proto::agent::v1 as agent;

use crate::admission::limits::VM_SPEC_KEY;
use crate::io::agent::AgentOp;
use crate::model::spec::*;
use crate::model::units::{Gibibytes, Mebibytes, Resources};
use crate::wire::agent_out::{AgentRequest, agent_request};

fn sent(spec: Spec, labels: &[(&str, &str)]) -> agent::ApplyWorkloadRequest {
    let op = AgentOp::Apply {
        workload: "w".parse().unwrap(),
        revision: "v1".parse().unwrap(),
        running: true,
        spec: Arc::new(spec),
        resources: Resources::new(250, 64, 3),
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    match agent_request(&op) {
        AgentRequest::Apply(request) => request,
        other => panic!("{other:?}"),
    }
}

fn arm(request: agent::ApplyWorkloadRequest) -> Arm {
    request.spec.and_then(|spec| spec.spec).unwrap()
}

#[test]
fn a_container_with_its_limits_and_the_users_labels() {
    let spec = ContainerSpec {
        image: "x".into(),
        command: vec!["a".into(), "b".into()],
        ports: vec![Port {
            host_port: 65_535,
            container_port: 1,
            protocol: Protocol::Udp,
        }],
        restart_policy: RestartPolicy::UnlessStopped,
        managed_volumes: vec![ManagedVolume {
            name: "m".into(),
            driver: "nfs".into(),
            size_gb: Gibibytes(1),
            mount_path: "/m".into(),
            retain_policy: RetainPolicy::Retain,
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = sent(Spec::Container(spec), &[("team", "x")]);
    assert_eq!(
        (request.id.as_str(), request.revision_id.as_str()),
        ("w", "v1")
    );
    assert_eq!(request.r#type(), agent::WorkloadType::Container);
    assert_eq!(request.desired_state(), agent::DesiredState::Running);
    let Arm::Container(sent) = arm(request) else {
        panic!("a container")
    };
    let limits = sent.resources.unwrap();
    assert_eq!((limits.cpu_shares, limits.memory_bytes), (250, 64 << 20));
    assert_eq!(sent.labels, [("team".to_owned(), "x".to_owned())].into());
    assert_eq!(sent.restart_policy.unwrap().policy, "unless-stopped");
    assert_eq!(
        (sent.ports[0].host_port, sent.ports[0].protocol.as_str()),
        (65_535, "udp")
    );
    let volume = &sent.managed_volumes[0];
    assert_eq!(
        (volume.driver.as_str(), volume.retain_policy.as_str()),
        ("nfs", "Retain")
    );
}

#[test]
fn compose_goes_plain() {
    let spec = ComposeSpec {
        inline_yaml: "services: {}".into(),
        ..Default::default()
    };
    let Arm::Compose(sent) = arm(sent(Spec::Compose(spec), &[])) else {
        panic!("a project")
    };
    assert_eq!(
        (sent.compose_yaml.as_str(), sent.project_name.as_str()),
        ("services: {}", "w")
    );
}

#[test]
fn a_machine_gets_the_defaults() {
    let disk = |size, device: &str| Disk {
        size_gb: Gibibytes(size),
        mount_point: device.into(),
        ..Default::default()
    };
    let spec = VmSpec {
        vcpus: 2,
        memory_mb: Mebibytes(2048),
        disks: vec![
            disk(0, ""),
            disk(5, "sdx"),
            disk(5, "/dev/vdq"),
            disk(1, "../x"),
        ],
        networks: vec![Network {
            bridge: "br0".into(),
            static_ip: "10.0.0.2".into(),
            dhcp: false,
        }],
        cloud_init: Some(CloudInit {
            user_data: "u".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let Arm::Vm(sent) = arm(sent(Spec::Vm(spec), &[])) else {
        panic!("a machine")
    };
    let disks: Vec<_> = sent
        .disks
        .iter()
        .map(|d| (d.device.as_str(), d.size_gb))
        .collect();
    assert_eq!(disks, [("vda", 20), ("sdx", 5), ("vdq", 5), ("vdd", 1)]);
    assert_eq!(sent.disks[0].path, "/var/lib/libvirt/images/w-vda.qcow2");
    assert_eq!(
        (sent.disks[0].format.as_str(), sent.disks[0].boot),
        ("qcow2", true)
    );
    assert_eq!(sent.networks[0].network, "br0");
    assert_eq!(sent.networks[0].ip_address, "10.0.0.2");
    assert_eq!(sent.cloud_init_config.unwrap().user_data, "u");
    assert_eq!(
        (sent.name.as_str(), sent.vcpus, sent.memory_mb),
        ("w", 2, 2048)
    );
}

#[test]
fn disks_beyond_the_alphabet_have_names() {
    let spec = VmSpec {
        disks: vec![Disk::default(); 30],
        ..Default::default()
    };
    let Arm::Vm(sent) = arm(sent(Spec::Vm(spec), &[])) else {
        panic!("a machine")
    };
    let names: std::collections::BTreeSet<_> = sent.disks.iter().map(|d| &d.device).collect();
    assert_eq!(names.len(), 30);
    assert_eq!(
        (
            sent.disks[25].device.as_str(),
            sent.disks[26].device.as_str()
        ),
        ("vdz", "vdaa")
    );
}

#[test]
fn a_packed_machine_goes_as_it_was_written() {
    let packed = STANDARD.encode(
        r#"{"name": "other", "vcpus": 4, "memory_mb": 4096, "cloud_init": "cloud",
            "disks": [{"path": "/p", "device": "vdb", "format": "raw", "size_gb": 30, "boot": true}],
            "networks": [{"network": "n", "mac_address": "m"}], "metadata": {"a": "b", "c": 7}}"#,
    );
    let Arm::Vm(sent) = arm(sent(Spec::Vm(VmSpec::default()), &[(VM_SPEC_KEY, &packed)])) else {
        panic!("a machine");
    };
    assert_eq!(
        (sent.name.as_str(), sent.vcpus, sent.memory_mb),
        ("w", 4, 4096)
    );
    assert_eq!(
        (sent.disks[0].format.as_str(), sent.disks[0].path.as_str()),
        ("raw", "/p")
    );
    assert_eq!(
        (
            sent.cloud_init.as_str(),
            sent.networks[0].mac_address.as_str()
        ),
        ("cloud", "m")
    );
    assert_eq!(sent.metadata, [("a".to_owned(), "b".to_owned())].into());
}

#[test]
fn the_other_calls() {
    let workload: crate::WorkloadId = "w".parse().unwrap();
    let id = "w".to_owned();
    assert_eq!(
        agent_request(&AgentOp::Delete {
            workload: workload.clone()
        }),
        AgentRequest::Delete(agent::DeleteWorkloadRequest { id: id.clone() })
    );
    assert_eq!(
        agent_request(&AgentOp::Status { workload }),
        AgentRequest::Status(agent::GetWorkloadStatusRequest { id })
    );
    let all = agent::ListWorkloadsRequest { r#type: 0 };
    assert_eq!(agent_request(&AgentOp::List), AgentRequest::List(all));
}
