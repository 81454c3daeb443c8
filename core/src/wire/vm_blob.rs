//! Virtual machines in the agent's own terms, as existing clients pack them into the metadata:
//! base64 of the whole JSON document that the user wrote, in snake case.
//!
//! Read leniently: clients and people wrote it, names may be in camel case and numbers in quotes,
//! and what is not known is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_proto::agent::v1 as agent;
use serde_json::{Map, Value};

use crate::model::spec::{CloudInit, Disk, ManagedVolume, Network, RetainPolicy, VmSpec};
use crate::model::units::{Gibibytes, Mebibytes};

/// Reads the machine; an error says what is wrong with the text.
pub(crate) fn decode(text: &str) -> Result<agent::VmSpec, &'static str> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let json = STANDARD.decode(packed).map_err(|_| "is not base64")?;
    let value: Value = serde_json::from_slice(&json).map_err(|_| "is not JSON in base64")?;
    let map = value.as_object().ok_or("is not a JSON object in base64")?;
    let vm = Fields(map);
    Ok(agent::VmSpec {
        name: vm.text("name"),
        vcpus: i32::try_from(vm.number("vcpus")).unwrap_or(0),
        memory_mb: vm.number("memory_mb"),
        disks: vm.list("disks", disk),
        networks: vm.list("networks", network),
        cloud_init: vm.text("cloud_init"),
        metadata: vm.texts("metadata"),
        cloud_init_config: vm.object("cloud_init_config").map(cloud_init),
        managed_volumes: vm.list("managed_volumes", volume),
    })
}

/// The same machine as the core's spec: what placement and readers need of it.
pub(crate) fn summary(vm: &agent::VmSpec) -> VmSpec {
    let gib = |n: i64| Gibibytes(u64::try_from(n).unwrap_or(0));
    VmSpec {
        vcpus: u32::try_from(vm.vcpus).unwrap_or(0),
        memory_mb: Mebibytes(u64::try_from(vm.memory_mb).unwrap_or(0)),
        disks: vm
            .disks
            .iter()
            .map(|d| Disk {
                pool_name: String::new(),
                size_gb: gib(d.size_gb),
                mount_point: d.device.clone(),
            })
            .collect(),
        networks: vm
            .networks
            .iter()
            .map(|n| Network {
                bridge: n.network.clone(),
                dhcp: n.ip_address.is_empty(),
                static_ip: n.ip_address.clone(),
            })
            .collect(),
        cloud_init: vm.cloud_init_config.as_ref().map(|c| CloudInit {
            user_data: c.user_data.clone(),
            meta_data: c.meta_data.clone(),
            network_config: c.network_config.clone(),
            vendor_data: c.vendor_data.clone(),
        }),
        os_image: String::new(),
        managed_volumes: vm
            .managed_volumes
            .iter()
            .map(|v| ManagedVolume {
                name: v.name.clone(),
                driver: super::control_in::storage_driver(&v.driver),
                size_gb: gib(v.size_gb),
                access_mode: v.access_mode.clone(),
                fs_type: v.fs_type.clone(),
                mount_path: v.mount_path.clone(),
                read_only: v.read_only,
                retain_policy: if v.retain_policy.eq_ignore_ascii_case("retain") {
                    RetainPolicy::Retain
                } else {
                    RetainPolicy::Delete
                },
            })
            .collect(),
    }
}

fn disk(of: Fields<'_>) -> agent::DiskConfig {
    agent::DiskConfig {
        path: of.text("path"),
        device: of.text("device"),
        format: of.text("format"),
        size_gb: of.number("size_gb"),
        r#type: of.text("type"),
        boot: of.flag("boot"),
    }
}

fn network(of: Fields<'_>) -> agent::NetworkConfig {
    agent::NetworkConfig {
        network: of.text("network"),
        mac_address: of.text("mac_address"),
        ip_address: of.text("ip_address"),
    }
}

fn cloud_init(of: Fields<'_>) -> agent::CloudInitConfig {
    agent::CloudInitConfig {
        user_data: of.text("user_data"),
        meta_data: of.text("meta_data"),
        network_config: of.text("network_config"),
        vendor_data: of.text("vendor_data"),
    }
}

fn volume(of: Fields<'_>) -> agent::ManagedVolumeSpec {
    agent::ManagedVolumeSpec {
        name: of.text("name"),
        driver: of.text("driver"),
        size_gb: of.number("size_gb"),
        access_mode: of.text("access_mode"),
        fs_type: of.text("fs_type"),
        mount_path: of.text("mount_path"),
        read_only: of.flag("read_only"),
        retain_policy: of.text("retain_policy"),
    }
}

/// An object's fields by their name in snake case; in the object they may be in camel case.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).or_else(|| self.0.get(&camel(name)))
    }
    fn text(self, name: &str) -> String {
        self.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
    fn number(self, name: &str) -> i64 {
        let value = self.get(name);
        let quoted = || {
            value
                .and_then(Value::as_str)
                .and_then(|text| text.trim().parse().ok())
        };
        value.and_then(Value::as_i64).or_else(quoted).unwrap_or(0)
    }
    fn flag(self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }
    fn object(self, name: &str) -> Option<Self> {
        self.get(name).and_then(Value::as_object).map(Fields)
    }
    fn texts(self, name: &str) -> std::collections::BTreeMap<String, String> {
        let entries = self
            .object(name)
            .into_iter()
            .flat_map(|object| object.0.iter());
        entries
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect()
    }
    fn list<T>(self, name: &str, read: impl Fn(Self) -> T) -> Vec<T> {
        let items = self
            .get(name)
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        items
            .iter()
            .filter_map(Value::as_object)
            .map(|item| read(Fields(item)))
            .collect()
    }
}

fn camel(snake: &str) -> String {
    let mut parts = snake.split('_');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}
