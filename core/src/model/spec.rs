//! What a workload is: the typed spec that a client gives and an agent receives.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::units::{Gibibytes, Mebibytes};

/// The kinds of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadType {
    /// One container.
    Container,
    /// A compose project.
    Compose,
    /// A virtual machine.
    Vm,
}

impl WorkloadType {
    /// All kinds, in order.
    pub const ALL: [Self; 3] = [Self::Container, Self::Compose, Self::Vm];

    /// The name in JSON and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Compose => "compose",
            Self::Vm => "vm",
        }
    }
}

impl fmt::Display for WorkloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A spec of one of the kinds. In JSON the arm's fields stand in `spec`, the kind in `type` beside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "spec", rename_all = "lowercase")]
pub enum Spec {
    /// One container.
    Container(ContainerSpec),
    /// A compose project.
    Compose(ComposeSpec),
    /// A virtual machine.
    Vm(VmSpec),
}

impl Spec {
    /// The kind of this spec.
    #[must_use]
    pub const fn workload_type(&self) -> WorkloadType {
        match self {
            Self::Container(_) => WorkloadType::Container,
            Self::Compose(_) => WorkloadType::Compose,
            Self::Vm(_) => WorkloadType::Vm,
        }
    }

    /// The volumes that the scheduler must find a storage driver for.
    #[must_use]
    pub fn managed_volumes(&self) -> &[ManagedVolume] {
        match self {
            Self::Container(spec) => &spec.managed_volumes,
            Self::Compose(_) => &[],
            Self::Vm(spec) => &spec.managed_volumes,
        }
    }
}

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// The image's reference.
    pub image: String,
    /// The command and its arguments; empty: the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Folders of the node inside the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Ports of the node that lead into the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What the node's runtime does when the container ends.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Asks for extended privileges. Existing agents have no field for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Volumes that the agent provisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_volumes: Vec<ManagedVolume>,
}

/// What the node's runtime does when a container ends, before the scheduler hears of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing: the scheduler decides.
    #[default]
    No,
    /// Restart whatever the exit code.
    Always,
    /// Restart after an exit code other than 0.
    OnFailure,
    /// Restart unless somebody stopped it.
    UnlessStopped,
}

/// A folder of the node inside a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// The folder on the node.
    pub host_path: String,
    /// Where the container sees it.
    pub container_path: String,
    /// The container may not write.
    #[serde(default)]
    pub read_only: bool,
}

/// A port of the node that leads into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The port on the node; 0: any.
    #[serde(default)]
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A volume that the agent provisions with one of its storage drivers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedVolume {
    /// Its name.
    pub name: String,
    /// `local`, `nfs` or `ceph-rbd`; the node must support it.
    #[serde(default = "local_driver")]
    pub driver: String,
    /// Its size in GiB.
    #[serde(default)]
    pub size_gb: Gibibytes,
    /// The driver's access mode.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub access_mode: String,
    /// The file system to make.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fs_type: String,
    /// Where the workload sees it.
    pub mount_path: String,
    /// The workload may not write.
    #[serde(default)]
    pub read_only: bool,
    /// Whether the volume outlives its workload.
    #[serde(default)]
    pub retain_policy: RetainPolicy,
}

fn local_driver() -> String {
    "local".to_owned()
}

/// What becomes of a managed volume when its workload goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetainPolicy {
    /// It goes too.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// A compose project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeSpec {
    /// Where the project comes from.
    #[serde(default)]
    pub source_type: ComposeSource,
    /// The repository, for `git`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub git_repo: String,
    /// The branch or reference, for `git`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub git_ref: String,
    /// The project as plain YAML, for `inline`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub inline_yaml: String,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// Where a compose project comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComposeSource {
    /// The YAML stands in the spec.
    #[default]
    Inline,
    /// A git repository.
    Git,
}

/// A virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: Mebibytes,
    /// Its disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Its network interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// What cloud-init gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// The image of the system disk.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os_image: String,
    /// Volumes that the agent provisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_volumes: Vec<ManagedVolume>,
}

/// A disk of a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The storage pool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool_name: String,
    /// Its size in GiB.
    pub size_gb: Gibibytes,
    /// The device's name; empty: `vda`, `vdb`, … in order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mount_point: String,
}

/// A network interface of a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The bridge.
    pub bridge: String,
    /// The address comes by DHCP.
    #[serde(default)]
    pub dhcp: bool,
    /// A fixed address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub static_ip: String,
}

/// Documents for cloud-init.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudInit {
    /// `user-data`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_data: String,
    /// `meta-data`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub meta_data: String,
    /// `network-config`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_config: String,
    /// `vendor-data`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vendor_data: String,
}

/// Where a workload may run, beyond what its resources say.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Constraints {
    /// Labels that the node must have, with these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Prefer the value of this node label under which the fewest of the tenant's workloads run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread_by: Option<String>,
    /// Never on a node that holds another workload of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_volumes_of_a_spec_are_found_in_every_type() {
        let volume = json!({"name": "data", "size_gb": 1, "mount_path": "/data"});
        let volumes = json!([volume]);
        for (spec, expected) in [
            (json!({"image": "i", "managed_volumes": volumes}), 1),
            (json!({"image": "i"}), 0),
        ] {
            let spec = Spec::Container(serde_json::from_value(spec).unwrap());
            assert_eq!(spec.managed_volumes().len(), expected);
        }
        let vm = json!({"vcpus": 1, "memory_mb": 64, "managed_volumes": volumes});
        let vm = Spec::Vm(serde_json::from_value(vm).unwrap());
        // Nobody named a driver.
        assert_eq!(vm.managed_volumes()[0].driver, "local");
        assert!(
            Spec::Compose(ComposeSpec::default())
                .managed_volumes()
                .is_empty()
        );
    }
}
