//! What the scheduler asks of an agent: the core's calls to `persys.agent.v1`.

use std::collections::BTreeMap;

use berth_proto::agent::v1 as agent;

use crate::admission::limits::VM_SPEC_KEY;
use crate::io::agent::AgentOp;
use crate::model::id::WorkloadId;
use crate::model::spec::{
    ComposeSpec, ContainerSpec, ManagedVolume, Protocol, RestartPolicy, RetainPolicy, Spec, VmSpec,
    WorkloadType,
};
use crate::model::units::Resources;
use crate::wire::vm_blob;

/// The size of a machine's disk that names none, in GiB.
const DISK_GIB_DEFAULT: i64 = 20;

/// A call as the message of its method.
// On its way into a call at once, never kept: a box would be one more allocation for nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum AgentRequest {
    /// `ApplyWorkload`.
    Apply(agent::ApplyWorkloadRequest),
    /// `DeleteWorkload`.
    Delete(agent::DeleteWorkloadRequest),
    /// `GetWorkloadStatus`.
    Status(agent::GetWorkloadStatusRequest),
    /// `ListWorkloads`.
    List(agent::ListWorkloadsRequest),
}

/// The message of a call. The agent gets the user's labels and nothing of the scheduler's own.
#[must_use]
pub fn agent_request(op: &AgentOp) -> AgentRequest {
    let id = |workload: &WorkloadId| workload.to_string();
    match op {
        AgentOp::Apply {
            workload,
            revision,
            running,
            spec,
            resources,
            labels,
        } => {
            let desired = if *running {
                agent::DesiredState::Running
            } else {
                agent::DesiredState::Stopped
            };
            AgentRequest::Apply(agent::ApplyWorkloadRequest {
                id: id(workload),
                r#type: workload_type(spec.workload_type()).into(),
                revision_id: revision.to_string(),
                desired_state: desired.into(),
                spec: Some(workload_spec(workload, spec, *resources, labels)),
            })
        }
        AgentOp::Delete { workload } => {
            AgentRequest::Delete(agent::DeleteWorkloadRequest { id: id(workload) })
        }
        AgentOp::Status { workload } => {
            AgentRequest::Status(agent::GetWorkloadStatusRequest { id: id(workload) })
        }
        AgentOp::List => AgentRequest::List(agent::ListWorkloadsRequest {
            r#type: agent::WorkloadType::Unspecified.into(),
        }),
    }
}

const fn workload_type(kind: WorkloadType) -> agent::WorkloadType {
    match kind {
        WorkloadType::Container => agent::WorkloadType::Container,
        WorkloadType::Compose => agent::WorkloadType::Compose,
        WorkloadType::Vm => agent::WorkloadType::Vm,
    }
}

fn workload_spec(
    id: &WorkloadId,
    spec: &Spec,
    resources: Resources,
    labels: &BTreeMap<String, String>,
) -> agent::WorkloadSpec {
    use agent::workload_spec::Spec as Arm;
    let arm = match spec {
        Spec::Container(spec) => Arm::Container(container(spec, resources, labels)),
        Spec::Compose(spec) => Arm::Compose(compose(id, spec)),
        Spec::Vm(spec) => {
            // The machine in the agent's own terms, when the client packed one; admission has
            // refused what does not decode.
            let packed = labels
                .get(VM_SPEC_KEY)
                .and_then(|text| vm_blob::decode(text).ok());
            Arm::Vm(packed.map_or_else(|| vm(id, spec, labels), |vm| named(id, vm)))
        }
    };
    agent::WorkloadSpec { spec: Some(arm) }
}

fn container(
    spec: &ContainerSpec,
    resources: Resources,
    labels: &BTreeMap<String, String>,
) -> agent::ContainerSpec {
    let ports = spec.ports.iter().map(|port| agent::PortMapping {
        host_port: port.host_port.into(),
        container_port: port.container_port.into(),
        protocol: match port.protocol {
            Protocol::Tcp => "tcp".to_owned(),
            Protocol::Udp => "udp".to_owned(),
        },
    });
    let volumes = spec.volumes.iter().map(|mount| agent::VolumeMount {
        host_path: mount.host_path.clone(),
        container_path: mount.container_path.clone(),
        read_only: mount.read_only,
    });
    agent::ContainerSpec {
        image: spec.image.clone(),
        command: spec.command.clone(),
        args: Vec::new(),
        env: spec.env.clone(),
        volumes: volumes.collect(),
        ports: ports.collect(),
        resources: Some(limits(resources)),
        restart_policy: Some(agent::RestartPolicy {
            policy: restart_policy_name(spec.restart_policy).to_owned(),
            max_retry_count: 0,
        }),
        labels: labels.clone(),
        managed_volumes: spec.managed_volumes.iter().map(managed_volume).collect(),
    }
}

/// Agents take millicores as shares, and memory in bytes; 0 means no limit.
fn limits(resources: Resources) -> agent::ResourceLimits {
    let bytes = resources.memory_mb.0.saturating_mul(1 << 20);
    agent::ResourceLimits {
        cpu_shares: whole(resources.cpu.0),
        memory_bytes: whole(bytes),
        memory_swap_bytes: 0,
    }
}

const fn restart_policy_name(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::No => "no",
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::UnlessStopped => "unless-stopped",
    }
}

fn managed_volume(volume: &ManagedVolume) -> agent::ManagedVolumeSpec {
    agent::ManagedVolumeSpec {
        name: volume.name.clone(),
        driver: volume.driver.clone(),
        size_gb: whole(volume.size_gb.0),
        access_mode: volume.access_mode.clone(),
        fs_type: volume.fs_type.clone(),
        mount_path: volume.mount_path.clone(),
        read_only: volume.read_only,
        retain_policy: match volume.retain_policy {
            RetainPolicy::Delete => "Delete".to_owned(),
            RetainPolicy::Retain => "Retain".to_owned(),
        },
    }
}

/// The agent's protocol carries YAML only: a project from git arrives without any, and the agent
/// refuses it.
fn compose(id: &WorkloadId, spec: &ComposeSpec) -> agent::ComposeSpec {
    agent::ComposeSpec {
        project_name: id.to_string(),
        compose_yaml: spec.inline_yaml.clone(),
        env: spec.env.clone(),
    }
}

/// The workload's id is the machine's name, whatever the document says.
fn named(id: &WorkloadId, mut vm: agent::VmSpec) -> agent::VmSpec {
    vm.name = id.to_string();
    vm
}

fn vm(id: &WorkloadId, spec: &VmSpec, labels: &BTreeMap<String, String>) -> agent::VmSpec {
    let disks = spec.disks.iter().enumerate().map(|(at, disk)| {
        let device = device_name(at, &disk.mount_point);
        agent::DiskConfig {
            path: format!("/var/lib/libvirt/images/{id}-{device}.qcow2"),
            device,
            format: "qcow2".to_owned(),
            size_gb: if disk.size_gb.0 == 0 {
                DISK_GIB_DEFAULT
            } else {
                whole(disk.size_gb.0)
            },
            r#type: "disk".to_owned(),
            boot: at == 0,
        }
    });
    let networks = spec.networks.iter().map(|network| agent::NetworkConfig {
        network: network.bridge.clone(),
        mac_address: String::new(),
        ip_address: network.static_ip.clone(),
    });
    agent::VmSpec {
        name: id.to_string(),
        vcpus: i32::try_from(spec.vcpus).unwrap_or(i32::MAX),
        memory_mb: whole(spec.memory_mb.0),
        disks: disks.collect(),
        networks: networks.collect(),
        cloud_init: String::new(),
        metadata: labels.clone(),
        cloud_init_config: spec
            .cloud_init
            .as_ref()
            .map(|documents| agent::CloudInitConfig {
                user_data: documents.user_data.clone(),
                meta_data: documents.meta_data.clone(),
                network_config: documents.network_config.clone(),
                vendor_data: documents.vendor_data.clone(),
            }),
        managed_volumes: spec.managed_volumes.iter().map(managed_volume).collect(),
    }
}

/// The device's name as the client gave it, if it can be one (it becomes part of a path); else
/// `vda`, `vdb`, … `vdz`, `vdaa`, … by position.
fn device_name(at: usize, given: &str) -> String {
    let given = given.strip_prefix("/dev/").unwrap_or(given);
    if !given.is_empty()
        && given
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    {
        return given.to_owned();
    }
    let mut letters = Vec::new();
    let mut rest = at + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(b'a' + u8::try_from(rest % 26).unwrap_or(0)));
        rest /= 26;
    }
    format!("vd{}", letters.iter().rev().collect::<String>())
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
