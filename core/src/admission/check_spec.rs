//! The arms of a spec: containers, compose projects, virtual machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::check::{Checked, at_most, no_nul, out_of_range};
use super::limits::*;
use crate::io::RequestError;
use crate::model::spec::{
    ComposeSource, ComposeSpec, ContainerSpec, ManagedVolume, Network, Port, Spec, VmSpec,
    VolumeMount,
};
use crate::wire::bound::{entry, quoted};

pub(super) fn check_spec(spec: &Spec) -> Checked {
    match spec {
        Spec::Container(spec) => check_container(spec),
        Spec::Compose(spec) => check_compose(spec),
        Spec::Vm(spec) => check_vm(spec),
    }
}

fn check_container(spec: &ContainerSpec) -> Checked {
    check_image(&spec.image)?;
    at_most(
        "spec.command",
        spec.command.len(),
        COMMAND_WORDS_MAX,
        "words",
    )?;
    for (at, word) in spec.command.iter().enumerate() {
        let path = format!("spec.command[{at}]");
        at_most(&path, word.len(), WORD_BYTES_MAX, "bytes long")?;
        no_nul(&path, word)?;
    }
    check_env(&spec.env)?;
    check_mounts(&spec.volumes)?;
    check_ports(&spec.ports)?;
    check_managed_volumes(&spec.managed_volumes)
}

fn check_image(image: &str) -> Checked {
    if image.is_empty() {
        return Err(RequestError::invalid(
            "spec.image",
            "is empty; expected an image's reference",
        ));
    }
    at_most("spec.image", image.len(), IMAGE_BYTES_MAX, "bytes long")?;
    let odd = |c: &char| !c.is_ascii_alphanumeric() && !"._/:@+-".contains(*c);
    if let Some(c) = image.chars().find(odd) {
        let problem =
            format!("has {c:?}; expected a-z, A-Z, 0-9, '.', '_', '/', ':', '@', '+', '-'");
        return Err(RequestError::invalid("spec.image", problem));
    }
    if !image.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(RequestError::invalid(
            "spec.image",
            "must begin with a letter or digit",
        ));
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>) -> Checked {
    at_most("spec.env", env.len(), ENV_MAX, "variables")?;
    for (key, value) in env {
        let path = entry("spec.env", key);
        at_most(&path, key.len(), ENV_KEY_BYTES_MAX, "bytes long (the name)")?;
        if key.is_empty() || key.contains(|c: char| c == '=' || c.is_control()) {
            let problem = "the name is empty, or has '=' or a control character";
            return Err(RequestError::invalid(path, problem));
        }
        at_most(&path, value.len(), WORD_BYTES_MAX, "bytes long")?;
        no_nul(&path, value)?;
    }
    Ok(())
}

fn check_mounts(mounts: &[VolumeMount]) -> Checked {
    at_most("spec.volumes", mounts.len(), PARTS_MAX, "mounts")?;
    let mut taken = BTreeSet::new();
    for (at, mount) in mounts.iter().enumerate() {
        absolute(&format!("spec.volumes[{at}].host_path"), &mount.host_path)?;
        let path = format!("spec.volumes[{at}].container_path");
        absolute(&path, &mount.container_path)?;
        if !taken.insert(&mount.container_path) {
            return Err(twice(path, &mount.container_path));
        }
    }
    Ok(())
}

fn check_ports(ports: &[Port]) -> Checked {
    at_most("spec.ports", ports.len(), PARTS_MAX, "ports")?;
    let mut taken = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        if port.container_port == 0 {
            return Err(out_of_range(
                &format!("spec.ports[{at}].container_port"),
                0,
                1..=65_535,
            ));
        }
        let tcp = port.protocol == crate::model::spec::Protocol::Tcp;
        if port.host_port != 0 && !taken.insert((port.host_port, tcp)) {
            let path = format!("spec.ports[{at}].host_port");
            return Err(twice(path, &port.host_port.to_string()));
        }
    }
    Ok(())
}

fn check_managed_volumes(volumes: &[ManagedVolume]) -> Checked {
    at_most("spec.managed_volumes", volumes.len(), PARTS_MAX, "volumes")?;
    let mut taken = BTreeSet::new();
    for (at, volume) in volumes.iter().enumerate() {
        let path = |field: &str| format!("spec.managed_volumes[{at}].{field}");
        file_name(&path("name"), &volume.name)?;
        if !taken.insert(&volume.name) {
            return Err(twice(path("name"), &volume.name));
        }
        if !STORAGE_DRIVERS.contains(&volume.driver.as_str()) {
            let problem = format!(
                "{} is not a driver; expected {}",
                quoted(&volume.driver),
                STORAGE_DRIVERS.join(", ")
            );
            return Err(RequestError::invalid(path("driver"), problem));
        }
        if volume.size_gb.0 > DISK_GIB_MAX {
            return Err(out_of_range(
                &path("size_gb"),
                volume.size_gb.0,
                0..=DISK_GIB_MAX,
            ));
        }
        word(&path("access_mode"), &volume.access_mode)?;
        word(&path("fs_type"), &volume.fs_type)?;
        absolute(&path("mount_path"), &volume.mount_path)?;
    }
    Ok(())
}

fn check_compose(spec: &ComposeSpec) -> Checked {
    match spec.source_type {
        ComposeSource::Inline if spec.inline_yaml.trim().is_empty() => {
            let problem = "is empty; a project with source_type inline needs its YAML";
            return Err(RequestError::invalid("spec.inline_yaml", problem));
        }
        ComposeSource::Git if spec.git_repo.trim().is_empty() => {
            let problem = "is empty; a project with source_type git needs its repository";
            return Err(RequestError::invalid("spec.git_repo", problem));
        }
        ComposeSource::Inline | ComposeSource::Git => {}
    }
    no_nul("spec.inline_yaml", &spec.inline_yaml)?;
    for (field, text) in [
        ("spec.git_repo", &spec.git_repo),
        ("spec.git_ref", &spec.git_ref),
    ] {
        at_most(field, text.len(), PATH_BYTES_MAX, "bytes long")?;
        one_line(field, text)?;
        if text.starts_with('-') {
            // Read as an option by the tool that fetches it.
            return Err(RequestError::invalid(field, "must not begin with '-'"));
        }
    }
    check_env(&spec.env)
}

fn check_vm(spec: &VmSpec) -> Checked {
    if !(1..=VCPUS_MAX).contains(&spec.vcpus) {
        return Err(out_of_range("spec.vcpus", spec.vcpus, 1..=VCPUS_MAX));
    }
    if !(1..=MEMORY_MIB_MAX).contains(&spec.memory_mb.0) {
        return Err(out_of_range(
            "spec.memory_mb",
            spec.memory_mb.0,
            1..=MEMORY_MIB_MAX,
        ));
    }
    at_most("spec.disks", spec.disks.len(), PARTS_MAX, "disks")?;
    for (at, disk) in spec.disks.iter().enumerate() {
        let path = |field: &str| format!("spec.disks[{at}].{field}");
        if disk.size_gb.0 > DISK_GIB_MAX {
            return Err(out_of_range(
                &path("size_gb"),
                disk.size_gb.0,
                0..=DISK_GIB_MAX,
            ));
        }
        word(&path("pool_name"), &disk.pool_name)?;
        word(&path("mount_point"), &disk.mount_point)?;
    }
    at_most("spec.networks", spec.networks.len(), PARTS_MAX, "networks")?;
    for (at, network) in spec.networks.iter().enumerate() {
        check_network(at, network)?;
    }
    if let Some(documents) = &spec.cloud_init {
        no_nul("spec.cloud_init.user_data", &documents.user_data)?;
        no_nul("spec.cloud_init.meta_data", &documents.meta_data)?;
        no_nul("spec.cloud_init.network_config", &documents.network_config)?;
        no_nul("spec.cloud_init.vendor_data", &documents.vendor_data)?;
    }
    at_most(
        "spec.os_image",
        spec.os_image.len(),
        PATH_BYTES_MAX,
        "bytes long",
    )?;
    one_line("spec.os_image", &spec.os_image)?;
    check_managed_volumes(&spec.managed_volumes)
}

fn check_network(at: usize, network: &Network) -> Checked {
    word(&format!("spec.networks[{at}].bridge"), &network.bridge)?;
    let address = network
        .static_ip
        .split_once('/')
        .map_or(&*network.static_ip, |(ip, _)| ip);
    if !network.static_ip.is_empty() && address.parse::<IpAddr>().is_err() {
        let problem = format!("{} is not an IP address", quoted(&network.static_ip));
        return Err(RequestError::invalid(
            format!("spec.networks[{at}].static_ip"),
            problem,
        ));
    }
    word(
        &format!("spec.networks[{at}].static_ip"),
        &network.static_ip,
    )
}

/// A path from the root, without `..`.
fn absolute(field: &str, path: &str) -> Checked {
    at_most(field, path.len(), PATH_BYTES_MAX, "bytes long")?;
    one_line(field, path)?;
    if !path.starts_with('/') {
        let problem = format!("{} is not an absolute path", quoted(path));
        return Err(RequestError::invalid(field, problem));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(RequestError::invalid(
            field,
            format!("{} has '..' in it", quoted(path)),
        ));
    }
    Ok(())
}

/// The name of a volume: agents make a folder of it.
fn file_name(field: &str, text: &str) -> Checked {
    at_most(field, text.len(), NAME_BYTES_MAX, "bytes long")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(plain) {
        let problem = format!(
            "{} is not a name; expected a letter or digit, then a-z, A-Z, 0-9, '.', '_', '-'",
            quoted(text)
        );
        return Err(RequestError::invalid(field, problem));
    }
    Ok(())
}

/// A name that must not be empty: one word.
pub(super) fn name(field: &str, text: &str) -> Checked {
    if text.is_empty() {
        return Err(RequestError::invalid(field, "is empty"));
    }
    word(field, text)
}

/// One word or nothing, short, without blanks.
fn word(field: &str, text: &str) -> Checked {
    at_most(field, text.len(), NAME_BYTES_MAX, "bytes long")?;
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let problem = format!("{} has a blank or a control character", quoted(text));
        return Err(RequestError::invalid(field, problem));
    }
    Ok(())
}

/// No control characters.
pub(super) fn one_line(field: &str, text: &str) -> Checked {
    if text.contains(char::is_control) {
        let problem = format!("{} has a control character", quoted(text));
        return Err(RequestError::invalid(field, problem));
    }
    Ok(())
}

fn twice(field: String, what: &str) -> RequestError {
    RequestError::invalid(field, format!("{} is used twice", quoted(what)))
}
