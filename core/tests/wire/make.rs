//! Messages with anything in them: mostly good, each field sometimes hostile.

use std::collections::BTreeMap;

use berth_proto::{agent::v1 as agent, control::v1 as control};
use control::workload_spec::Workload;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// What a hostile or careless peer writes.
pub(crate) fn text() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "\\PC{0,16}",
        2 => "[ -~]{0,40}",
        1 => select(vec![
            "", " ", "\0", "\n", "..", "../../etc", "berth/", "berth/x", "%%", "\u{feff}",
            "workload not found", "container not found", "invalid request", "eyJ2Y3B1cyI6MX0=",
        ]).prop_map(String::from),
        1 => (1_usize..3).prop_map(|n| "ä".repeat(n * 5_000)),
    ]
    .boxed()
}

/// One of the good ones nine times out of ten.
fn mostly(good: &'static [&'static str]) -> BoxedStrategy<String> {
    prop_oneof![15 => select(good).prop_map(String::from), 1 => text()].boxed()
}

fn number(good: std::ops::Range<i64>) -> BoxedStrategy<i64> {
    prop_oneof![30 => good, 1 => any::<i64>(), 1 => select(vec![0, -1, i64::MAX, i64::MIN])].boxed()
}

fn small(good: std::ops::Range<i64>) -> BoxedStrategy<i32> {
    number(good)
        .prop_map(|n| i32::try_from(n).unwrap_or(if n < 0 { i32::MIN } else { i32::MAX }))
        .boxed()
}

fn texts() -> BoxedStrategy<BTreeMap<String, String>> {
    btree_map(
        mostly(&["a", "b.c/d", "PATH", "zone"]),
        mostly(&["x", "y z", ""]),
        0..3,
    )
    .boxed()
}

fn metadata() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = mostly(&[
        "team",
        "berth/label.zone",
        "berth/tenant",
        "berth/priority",
        "berth/spread-by",
        "berth/anti-affinity",
        "berth/max-attempts",
        "persys.vm_spec_b64",
    ]);
    btree_map(
        key,
        mostly(&["1", "7", "eyJ2Y3B1cyI6MSwibWVtb3J5X21iIjoxfQ=="]),
        0..3,
    )
}

prop_compose! {
    fn volume()(
        name in mostly(&["v1", "v2"]), driver in mostly(&["", "local", "nfs", "ceph_rbd"]),
        size_gb in number(0..100), mount_path in mostly(&["/a", "/b/c"]),
        (access_mode, fs_type) in (mostly(&["", "rwo"]), mostly(&["", "ext4"])),
        retain_policy in mostly(&["", "Delete", "retain"]), read_only in any::<bool>(),
    ) -> control::ManagedVolumeSpec {
        control::ManagedVolumeSpec {
            name, driver, size_gb, access_mode, fs_type, mount_path, read_only, retain_policy,
        }
    }
}

prop_compose! {
    fn container()(
        image in mostly(&["alpine:latest", "r.io/a/b@sha256:00"]),
        command in vec(mostly(&["sleep", "60"]), 0..3), env in texts(),
        volumes in vec((mostly(&["/srv"]), mostly(&["/data", "/x"]), any::<bool>()), 0..2),
        ports in vec((small(0..65_536), small(1..65_536), mostly(&["", "tcp", "UDP"])), 0..3),
        restart_policy in mostly(&["", "no", "Always", "on-failure", "unless-stopped"]),
        privileged in any::<bool>(), managed_volumes in vec(volume().boxed(), 0..2),
    ) -> Workload {
        Workload::Container(control::ContainerSpec {
            image,
            command,
            env,
            volumes: volumes.into_iter().map(|(host_path, container_path, read_only)| {
                control::VolumeMount { host_path, container_path, read_only }
            }).collect(),
            ports: ports.into_iter().map(|(host_port, container_port, protocol)| {
                control::Port { host_port, container_port, protocol }
            }).collect(),
            restart_policy,
            privileged,
            managed_volumes,
        })
    }
}

prop_compose! {
    fn compose()(
        source_type in mostly(&["", "inline", "GIT"]), git_repo in mostly(&["", "https://x/y"]),
        git_ref in mostly(&["", "main"]), env in texts(),
        inline_yaml in mostly(&["services: {}", "c2VydmljZXM6IHt9"]),
    ) -> Workload {
        Workload::Compose(control::ComposeSpec { source_type, git_repo, git_ref, inline_yaml, env })
    }
}

prop_compose! {
    fn vm()(
        vcpus in small(1..64), memory_mb in number(1..65_536),
        disks in vec((mostly(&["", "pool"]), number(0..100), mostly(&["", "vdb", "/"])), 0..2),
        networks in vec((mostly(&["br0"]), any::<bool>(), mostly(&["", "10.0.0.2/24"])), 0..2),
        cloud_init in option::of((text(), text(), text(), text())),
        os_image in mostly(&["", "ubuntu-22.04"]), managed_volumes in vec(volume().boxed(), 0..2),
    ) -> Workload {
        Workload::Vm(control::VmSpec {
            vcpus,
            memory_mb,
            disks: disks.into_iter().map(|(pool_name, size_gb, mount_point)| {
                control::DiskConfig { pool_name, size_gb, mount_point }
            }).collect(),
            networks: networks.into_iter().map(|(bridge, dhcp, static_ip)| {
                control::NetworkConfig { bridge, dhcp, static_ip }
            }).collect(),
            cloud_init: cloud_init.map(|(user_data, meta_data, network_config, vendor_data)| {
                control::CloudInitConfig { user_data, meta_data, network_config, vendor_data }
            }),
            os_image,
            managed_volumes,
        })
    }
}

/// A type with its own arm, most of the time.
fn typed() -> impl Strategy<Value = (String, Option<Workload>)> {
    let arm = || prop_oneof![container().boxed(), compose().boxed(), vm().boxed()].boxed();
    let kind = mostly(&["container", "Compose", "VM"]);
    prop_oneof![
        8 => arm().prop_map(|arm| {
            let kind = match &arm {
                Workload::Container(_) => "Container",
                Workload::Compose(_) => "compose",
                Workload::Vm(_) => "VM",
            };
            (kind.to_owned(), Some(arm))
        }),
        1 => (kind, option::of(arm())),
    ]
}

prop_compose! {
    fn spec()(
        (r#type, workload) in typed().boxed(), metadata in metadata(),
        resources in option::of((number(0..9_000), number(0..9_000), number(0..900))),
    ) -> control::WorkloadSpec {
        let resources = resources.map(|(cpu_millicores, memory_mb, disk_gb)| {
            control::ResourceRequirements { cpu_millicores, memory_mb, disk_gb }
        });
        control::WorkloadSpec { r#type, resources, metadata, workload }
    }
}

prop_compose! {
    pub(crate) fn apply()(
        workload_id in mostly(&["w", "web-1.a_b"]), spec in option::weighted(0.9, spec().boxed()),
        revision_id in mostly(&["", "r1", "rev-1"]),
        desired_state in mostly(&["", "Running", "stopped", "Started"]),
    ) -> control::ApplyWorkloadRequest {
        control::ApplyWorkloadRequest { workload_id, spec, revision_id, desired_state }
    }
}

prop_compose! {
    fn capabilities()(
        cpu_total_millicores in number(1..64_000), memory_total_mb in number(1..999_999),
        pools in vec((text(), text(), number(0..9_999)), 0..3),
        supported_workload_types in vec(mostly(&["container", "docker-compose", "VM"]), 0..4),
        supported_storage_drivers in vec(mostly(&["local", "nfs", "ceph_rbd"]), 0..4),
    ) -> control::NodeCapabilities {
        control::NodeCapabilities {
            cpu_total_millicores,
            memory_total_mb,
            storage_pools: pools.into_iter().map(|(name, r#type, total_gb)| {
                control::StoragePool { name, r#type, total_gb }
            }).collect(),
            supported_workload_types,
            supported_storage_drivers,
        }
    }
}

prop_compose! {
    pub(crate) fn register()(
        node_id in mostly(&["n", "node-1"]), capabilities in option::weighted(0.9, capabilities()),
        labels in texts(), agent_version in text(), cluster_id in text(),
        grpc_endpoint in mostly(&["127.0.0.1:1", "host.example:50051", "[::1]:9", "[::1]", ":1"]),
        clock in option::of(any::<(i64, i32)>()),
    ) -> control::RegisterNodeRequest {
        control::RegisterNodeRequest {
            node_id, capabilities, labels, agent_version, grpc_endpoint, cluster_id,
            timestamp: clock.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }),
        }
    }
}

prop_compose! {
    fn status()(
        workload_id in mostly(&["w"]), message in text(), failure_reason in small(0..9),
        state in mostly(&["Running", "Stopped", "Failed", "Pending", "Unknown"]),
        reason in option::of((mostly(&["STORAGE_FULL", "RUNTIME_ERROR"]), text())),
    ) -> control::WorkloadStatus {
        control::WorkloadStatus {
            workload_id, state, failure_reason, message,
            reason: reason.map(|(code, message)| {
                control::ReasonDetail { code, message, ..Default::default() }
            }),
            ..Default::default()
        }
    }
}

prop_compose! {
    pub(crate) fn heartbeat()(
        node_id in mostly(&["n"]), usage in option::of(any::<[i64; 3]>()),
        workload_statuses in vec(status(), 0..4),
    ) -> control::HeartbeatRequest {
        let usage = usage.map(|[cpu, memory, disk]| control::NodeUsage {
            cpu_used_millicores: cpu,
            memory_used_mb: memory,
            disk_used_gb: disk,
            ..Default::default()
        });
        control::HeartbeatRequest { node_id, usage, workload_statuses, ..Default::default() }
    }
}

prop_compose! {
    pub(crate) fn suggestion()(
        target_workload in mostly(&["w"]), action_type in small(0..6), policy_id in text(),
        desired_state in mostly(&["", "Running", "stop", "deleted"]), reason in text(),
        there in prop::bool::weighted(0.9),
    ) -> control::SubmitAutomationSuggestionRequest {
        let suggestion = control::AutomationSuggestion {
            target_workload, action_type, policy_id, desired_state, reason, ..Default::default()
        };
        control::SubmitAutomationSuggestionRequest { suggestion: there.then_some(suggestion) }
    }
}

prop_compose! {
    pub(crate) fn agent_status()(
        id in mostly(&["w", ""]), numbers in (small(0..4), small(0..3), small(0..6)),
        revision_id in mostly(&["", "r1"]), message in text(), key in mostly(&[
            "failure_reason", "failure_message", "last_error", "task_id",
        ]), value in text(),
    ) -> agent::WorkloadStatus {
        agent::WorkloadStatus {
            id, r#type: numbers.0, revision_id, desired_state: numbers.1, actual_state: numbers.2,
            message, metadata: [(key, value)].into(), ..Default::default()
        }
    }
}

/// JSON in the shape of a manifest, with a word changed here and there.
pub(crate) fn manifest() -> impl Strategy<Value = String> {
    let good = select(vec![
        r#"{"id":"w","type":"container","spec":{"image":"x","ports":[{"container_port":80}]},"resources":{"cpu":0.5,"memory_mb":64}}"#,
        r#"{"id":"w","type":"compose","spec":{"inline_yaml":"services: {}"},"constraints":{"labels":{"zone":"a"}}}"#,
        r#"{"id":"w","type":"vm","spec":{"vcpus":2,"memory_mb":2048,"disks":[{"size_gb":5}]},"priority":3}"#,
    ]);
    let word = select(vec![
        "w",
        "container",
        "80",
        "0.5",
        "64",
        "{",
        "]",
        "\"",
        "zone",
        "2048",
    ]);
    let other = prop_oneof![
        select(vec![
            "-1",
            "1e99",
            "null",
            "[]",
            "\\u0000",
            "Ä",
            "\"\"",
            "18446744073709551616"
        ])
        .prop_map(String::from),
        text(),
    ];
    (good, word, other, any::<bool>()).prop_map(|(good, word, other, spoil)| {
        if spoil {
            good.replacen(word, &other, 1)
        } else {
            good.to_owned()
        }
    })
}
