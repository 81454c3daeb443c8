//! Specs of the control protocol.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_proto::control::v1 as control;
use control::workload_spec::Workload;

use super::{WireError, invalid};
use crate::admission::limits::VM_SPEC_KEY;
use crate::model::spec::{
    CloudInit, ComposeSource, ComposeSpec, ContainerSpec, Disk, ManagedVolume, Network, Port,
    Protocol, RestartPolicy, RetainPolicy, Spec, VmSpec, VolumeMount,
};
use crate::model::units::{Gibibytes, Mebibytes, Millicores, Resources};
use crate::wire::bound::{entry, quoted};
use crate::wire::vm_blob;

/// The arm that `kind` names. A virtual machine in the metadata takes the place of its arm, which
/// is only a lossy summary of it.
pub(super) fn spec(
    kind: &str,
    arm: Option<Workload>,
    metadata: &BTreeMap<String, String>,
) -> Result<Spec, WireError> {
    let word = kind.trim().to_ascii_lowercase();
    match (word.as_str(), arm) {
        ("container", Some(Workload::Container(spec))) => container(spec).map(Spec::Container),
        ("compose", Some(Workload::Compose(spec))) => compose(spec).map(Spec::Compose),
        ("vm", arm) if metadata.contains_key(VM_SPEC_KEY) => {
            refuse_other_arm(arm.as_ref())?;
            let packed = metadata.get(VM_SPEC_KEY).map_or("", String::as_str);
            let vm = vm_blob::decode(packed)
                .map_err(|problem| invalid(entry("spec.metadata", VM_SPEC_KEY), problem))?;
            Ok(Spec::Vm(vm_blob::summary(&vm)))
        }
        ("vm", Some(Workload::Vm(spec))) => vm(spec).map(Spec::Vm),
        ("container" | "compose" | "vm", arm) => {
            let given = arm.as_ref().map_or("nothing", arm_name);
            let problem = format!("the type is {word}, but the spec holds {given}");
            Err(invalid(format!("spec.{word}"), problem))
        }
        _ => {
            let problem = format!("{} is none of container, compose, vm", quoted(kind));
            Err(invalid("spec.type", problem))
        }
    }
}

fn refuse_other_arm(arm: Option<&Workload>) -> Result<(), WireError> {
    match arm {
        None | Some(Workload::Vm(_)) => Ok(()),
        Some(other @ (Workload::Container(_) | Workload::Compose(_))) => {
            let problem = format!("the type is vm, but the spec holds {}", arm_name(other));
            Err(invalid("spec.vm", problem))
        }
    }
}

const fn arm_name(arm: &Workload) -> &'static str {
    match arm {
        Workload::Container(_) => "container",
        Workload::Compose(_) => "compose",
        Workload::Vm(_) => "vm",
    }
}

/// Requests. Bounds are the admission's; here only what cannot be an amount is refused.
pub(super) fn resources(asked: control::ResourceRequirements) -> Result<Resources, WireError> {
    Ok(Resources {
        cpu: Millicores(amount(
            "spec.resources.cpu_millicores",
            asked.cpu_millicores,
        )?),
        memory_mb: Mebibytes(amount("spec.resources.memory_mb", asked.memory_mb)?),
        disk_gb: Gibibytes(amount("spec.resources.disk_gb", asked.disk_gb)?),
    })
}

fn amount(field: &str, value: i64) -> Result<u64, WireError> {
    u64::try_from(value).map_err(|_| invalid(field, format!("{value} is negative")))
}

fn container(message: control::ContainerSpec) -> Result<ContainerSpec, WireError> {
    let ports = message.ports.iter().enumerate().map(|(at, p)| port(at, p));
    Ok(ContainerSpec {
        ports: ports.collect::<Result<_, _>>()?,
        restart_policy: restart_policy(&message.restart_policy)?,
        managed_volumes: managed_volumes(message.managed_volumes)?,
        image: message.image,
        command: message.command,
        env: message.env,
        volumes: message.volumes.into_iter().map(mount).collect(),
        privileged: message.privileged,
    })
}

fn mount(message: control::VolumeMount) -> VolumeMount {
    let control::VolumeMount {
        host_path,
        container_path,
        read_only,
    } = message;
    VolumeMount {
        host_path,
        container_path,
        read_only,
    }
}

fn port(at: usize, message: &control::Port) -> Result<Port, WireError> {
    let path = |field: &str| format!("spec.ports[{at}].{field}");
    let number = |field: &str, value: i32, low: u16| {
        u16::try_from(value)
            .ok()
            .filter(|n| *n >= low)
            .ok_or_else(|| {
                let problem = format!("{value} is out of range; expected {low} to 65535");
                invalid(path(field), problem)
            })
    };
    let protocol = match message.protocol.trim().to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => {
            let problem = format!("{} is none of tcp, udp", quoted(&message.protocol));
            return Err(invalid(path("protocol"), problem));
        }
    };
    Ok(Port {
        host_port: number("host_port", message.host_port, 0)?,
        container_port: number("container_port", message.container_port, 1)?,
        protocol,
    })
}

fn restart_policy(text: &str) -> Result<RestartPolicy, WireError> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "on-failure" => RestartPolicy::OnFailure,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        _ => {
            let problem = format!(
                "{} is none of no, always, on-failure, unless-stopped",
                quoted(text)
            );
            return Err(invalid("spec.restart_policy", problem));
        }
    })
}

fn managed_volumes(
    messages: Vec<control::ManagedVolumeSpec>,
) -> Result<Vec<ManagedVolume>, WireError> {
    messages
        .into_iter()
        .enumerate()
        .map(|(at, message)| managed_volume(at, message))
        .collect()
}

fn managed_volume(
    at: usize,
    message: control::ManagedVolumeSpec,
) -> Result<ManagedVolume, WireError> {
    let path = |field: &str| format!("spec.managed_volumes[{at}].{field}");
    let retain_policy = match message.retain_policy.trim().to_ascii_lowercase().as_str() {
        "" | "delete" => RetainPolicy::Delete,
        "retain" => RetainPolicy::Retain,
        _ => {
            let problem = format!(
                "{} is none of Delete, Retain",
                quoted(&message.retain_policy)
            );
            return Err(invalid(path("retain_policy"), problem));
        }
    };
    Ok(ManagedVolume {
        size_gb: Gibibytes(amount(&path("size_gb"), message.size_gb)?),
        driver: storage_driver(&message.driver),
        name: message.name,
        access_mode: message.access_mode,
        fs_type: message.fs_type,
        mount_path: message.mount_path,
        read_only: message.read_only,
        retain_policy,
    })
}

/// A driver's name in the one spelling that is compared; blank means local.
pub(in crate::wire) fn storage_driver(text: &str) -> String {
    match text.trim().to_ascii_lowercase().as_str() {
        "" => "local".to_owned(),
        "ceph_rbd" => "ceph-rbd".to_owned(),
        other => other.to_owned(),
    }
}

fn compose(message: control::ComposeSpec) -> Result<ComposeSpec, WireError> {
    let from_git = message.inline_yaml.is_empty() && !message.git_repo.is_empty();
    let source_type = match message.source_type.trim().to_ascii_lowercase().as_str() {
        "git" => ComposeSource::Git,
        "" if from_git => ComposeSource::Git,
        "" | "inline" => ComposeSource::Inline,
        _ => {
            let problem = format!("{} is none of inline, git", quoted(&message.source_type));
            return Err(invalid("spec.source_type", problem));
        }
    };
    Ok(ComposeSpec {
        source_type,
        git_repo: message.git_repo,
        git_ref: message.git_ref,
        inline_yaml: plain_yaml(message.inline_yaml),
        env: message.env,
    })
}

/// YAML that may have come in base64. Base64 has no colon, and every project file has one.
fn plain_yaml(text: String) -> String {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let decoded = STANDARD
        .decode(packed)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    decoded
        .filter(|yaml| yaml.contains(':') && !yaml.contains(odd))
        .unwrap_or(text)
}

fn vm(message: control::VmSpec) -> Result<VmSpec, WireError> {
    let negative = |field: &str, value: i64| invalid(field, format!("{value} is negative"));
    let disks = message.disks.into_iter().enumerate().map(|(at, disk)| {
        Ok(Disk {
            size_gb: Gibibytes(amount(&format!("spec.disks[{at}].size_gb"), disk.size_gb)?),
            pool_name: disk.pool_name,
            mount_point: disk.mount_point,
        })
    });
    Ok(VmSpec {
        vcpus: u32::try_from(message.vcpus)
            .map_err(|_| negative("spec.vcpus", message.vcpus.into()))?,
        memory_mb: Mebibytes(amount("spec.memory_mb", message.memory_mb)?),
        disks: disks.collect::<Result<_, WireError>>()?,
        networks: message.networks.into_iter().map(network).collect(),
        cloud_init: message.cloud_init.map(cloud_init),
        os_image: message.os_image,
        managed_volumes: managed_volumes(message.managed_volumes)?,
    })
}

fn network(message: control::NetworkConfig) -> Network {
    let control::NetworkConfig {
        bridge,
        dhcp,
        static_ip,
    } = message;
    Network {
        bridge,
        dhcp,
        static_ip,
    }
}

fn cloud_init(message: control::CloudInitConfig) -> CloudInit {
    let control::CloudInitConfig {
        user_data,
        meta_data,
        network_config,
        vendor_data,
    } = message;
    CloudInit {
        user_data,
        meta_data,
        network_config,
        vendor_data,
    }
}
