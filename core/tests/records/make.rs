//! Records with anything in them that the types allow.

use std::sync::Arc;

use berth_core::model::event::EventRecord;
use berth_core::model::node::*;
use berth_core::model::spec::*;
use berth_core::model::units::*;
use berth_core::model::workload::*;
use berth_core::placement::{Filter, PlacementNote, Ppm};
use berth_core::{
    Epoch, EventId, EventType, NodeId, Revision, StoreRevision, Timestamp, WorkloadId,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Any text, with what hurts parsers likelier than by chance.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "[a-z]{0,8}",
        select(vec!["", "\0", "\"\\\u{2028}\u{10ffff}", "null", "1e400"]).prop_map(String::from),
    ]
}

/// Any JSON without fractions: those may change their spelling, and no record has them.
pub(crate) fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Into::into),
            btree_map(text(), inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn workload_id() -> impl Strategy<Value = WorkloadId> {
    "[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?".prop_map(|id| id.parse().unwrap())
}

fn node_id() -> impl Strategy<Value = NodeId> {
    "[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?".prop_map(|id| id.parse().unwrap())
}

fn revision() -> impl Strategy<Value = Revision> {
    "[A-Za-z0-9.+:_-]{1,40}".prop_map(|id| id.parse().unwrap())
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_millis)
}

fn cpu() -> impl Strategy<Value = Millicores> {
    (0..=1_000_000_000_u64).prop_map(Millicores)
}

fn resources() -> impl Strategy<Value = Resources> {
    (cpu(), any::<u64>(), any::<u64>()).prop_map(|(cpu, m, d)| Resources::new(cpu.0, m, d))
}

fn texts() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

/// Names of other versions never equal ours.
fn extra() -> impl Strategy<Value = berth_core::model::Extra> {
    btree_map("x_[a-z]{1,6}", json(), 0..3)
}

prop_compose! {
    fn managed_volume()(
        name in text(), driver in text(), size in any::<u64>(), mode in text(), fs in text(),
        mount_path in text(), read_only in any::<bool>(),
        retain_policy in select(vec![RetainPolicy::Delete, RetainPolicy::Retain]),
    ) -> ManagedVolume {
        ManagedVolume {
            name, driver, size_gb: Gibibytes(size), access_mode: mode, fs_type: fs, mount_path,
            read_only, retain_policy,
        }
    }
}

prop_compose! {
    fn port()(
        host_port in any::<u16>(), container_port in any::<u16>(),
        protocol in select(vec![Protocol::Tcp, Protocol::Udp]),
    ) -> Port {
        Port { host_port, container_port, protocol }
    }
}

prop_compose! {
    fn container()(
        image in text(), command in vec(text(), 0..3), env in texts(),
        mounts in vec((text(), text(), any::<bool>()), 0..2), ports in vec(port(), 0..3),
        restart_policy in select(vec![
            RestartPolicy::No, RestartPolicy::Always, RestartPolicy::OnFailure,
            RestartPolicy::UnlessStopped,
        ]),
        privileged in any::<bool>(), managed_volumes in vec(managed_volume().boxed(), 0..2),
    ) -> Spec {
        let volumes = mounts.into_iter().map(|(host_path, container_path, read_only)| {
            VolumeMount { host_path, container_path, read_only }
        });
        Spec::Container(ContainerSpec {
            image, command, env, volumes: volumes.collect(), ports, restart_policy, privileged,
            managed_volumes,
        })
    }
}

prop_compose! {
    fn compose()(
        source_type in select(vec![ComposeSource::Inline, ComposeSource::Git]),
        git_repo in text(), git_ref in text(), inline_yaml in text(), env in texts(),
    ) -> Spec {
        Spec::Compose(ComposeSpec { source_type, git_repo, git_ref, inline_yaml, env })
    }
}

prop_compose! {
    fn vm()(
        vcpus in any::<u32>(), memory in any::<u64>(),
        disks in vec((text(), any::<u64>(), text()), 0..2),
        networks in vec((text(), any::<bool>(), text()), 0..2),
        documents in option::of((text(), text(), text(), text())), os_image in text(),
        managed_volumes in vec(managed_volume().boxed(), 0..2),
    ) -> Spec {
        Spec::Vm(VmSpec {
            vcpus,
            memory_mb: Mebibytes(memory),
            disks: disks.into_iter().map(|(pool_name, size, mount_point)| {
                Disk { pool_name, size_gb: Gibibytes(size), mount_point }
            }).collect(),
            networks: networks.into_iter().map(|(bridge, dhcp, static_ip)| {
                Network { bridge, dhcp, static_ip }
            }).collect(),
            cloud_init: documents.map(|(user_data, meta_data, network_config, vendor_data)| {
                CloudInit { user_data, meta_data, network_config, vendor_data }
            }),
            os_image,
            managed_volumes,
        })
    }
}

fn failure() -> impl Strategy<Value = FailureKind> {
    select(vec![
        FailureKind::ImagePullFailed,
        FailureKind::ImageNotFound,
        FailureKind::InsufficientResources,
        FailureKind::InvalidSpec,
        FailureKind::RuntimeError,
        FailureKind::RuntimeUnavailable,
        FailureKind::NetworkError,
        FailureKind::StorageError,
        FailureKind::VmBootFailed,
        FailureKind::NodeUnreachable,
        FailureKind::StartTimeout,
    ])
}

prop_compose! {
    fn retry_state()(
        attempts in any::<u32>(), max_attempts in any::<u32>(),
        next_retry_at in option::of(time()), exhausted in any::<bool>(),
    ) -> RetryState {
        RetryState { attempts, max_attempts, next_retry_at, exhausted }
    }
}

prop_compose! {
    fn note()(
        node in option::of(node_id()), score in option::of(any::<u64>()), nodes in any::<u32>(),
        examined in any::<u32>(), candidates in any::<u32>(),
        refused in btree_map(select(Filter::ALL.to_vec()), any::<u32>(), 0..4),
        requested in resources(), most_available in resources(), at in any::<i64>(),
        decided_at in time(),
    ) -> PlacementNote {
        PlacementNote {
            node, score_ppm: score.map(Ppm), nodes, examined, candidates, refused, requested,
            most_available, at_revision: StoreRevision(at), decided_at,
        }
    }
}

prop_compose! {
    fn status()(
        actual_state in select(ActualState::ALL.to_vec()), last_updated in time(),
        failure_reason in text(), failure in option::of(failure()),
        running_since in option::of(time()), placement in option::of(note()), extra in extra(),
    ) -> WorkloadStatus {
        WorkloadStatus {
            actual_state, last_updated, failure_reason, failure, running_since, placement, extra,
        }
    }
}

prop_compose! {
    fn metadata()(
        created_at in time(), last_action in option::of(select(Action::ALL.to_vec())),
        last_error in text(), generation in any::<u64>(), revision_label in option::of(revision()),
        spec_hash in text(), labels_used in vec((revision(), text()), 0..3), extra in extra(),
    ) -> WorkloadMetadata {
        WorkloadMetadata {
            created_at, last_action, last_error, generation, revision_label, spec_hash,
            labels_used, extra,
        }
    }
}

prop_compose! {
    fn constraints()(
        labels in texts(), spread_by in option::of(text()), anti_affinity in option::of(text()),
    ) -> Constraints {
        Constraints { labels, spread_by, anti_affinity }
    }
}

prop_compose! {
    fn desired()(
        state in select(vec![DesiredState::Running, DesiredState::Stopped, DesiredState::Deleted]),
    ) -> DesiredState {
        state
    }
}

prop_compose! {
    pub(crate) fn workload()(
        (id, revision_id, desired_state) in (workload_id(), revision(), desired()),
        assigned_node in option::of(node_id()),
        spec in prop_oneof![container().boxed(), compose().boxed(), vm().boxed()],
        resources in resources(), constraints in constraints(),
        tenant in option::of("[a-z]{1,8}".prop_map(|t| t.parse().unwrap())),
        priority in any::<i32>(), labels in texts(), retry in retry_state(),
        status in status().boxed(),
        (metadata, extra) in (metadata(), extra()),
    ) -> WorkloadRecord {
        WorkloadRecord {
            id, revision_id, desired_state, assigned_node, spec: Arc::new(spec), resources,
            constraints, tenant, priority, labels, retry, status, metadata, extra,
        }
    }
}

prop_compose! {
    fn node_resources()(
        cpu_total in cpu(), cpu_allocated in cpu(), memory in any::<(u64, u64)>(),
        disk in any::<(Option<u64>, u64)>(),
    ) -> NodeResources {
        NodeResources {
            cpu_total,
            cpu_allocated,
            memory_total: Mebibytes(memory.0),
            memory_allocated: Mebibytes(memory.1),
            disk_total: disk.0.map(Gibibytes),
            disk_allocated: Gibibytes(disk.1),
        }
    }
}

prop_compose! {
    fn drain()(
        started_at in time(), deadline in time(), parallelism in any::<u32>(),
        completed_at in option::of(time()),
    ) -> DrainState {
        DrainState { started_at, deadline, parallelism, completed_at }
    }
}

prop_compose! {
    pub(crate) fn node()(
        id in node_id(), status in select(NodeStatus::ALL.to_vec()),
        (status_reason, status_changed_by) in select(vec![
            (NodeReason::Registered, ChangedBy::Register),
            (NodeReason::HeartbeatResumed, ChangedBy::Heartbeat),
            (NodeReason::HeartbeatMissed, ChangedBy::Monitor),
            (NodeReason::AgentUnreachable, ChangedBy::Reconciler),
            (NodeReason::AgentReachable, ChangedBy::Reconciler),
            (NodeReason::DrainRequested, ChangedBy::Operator),
            (NodeReason::DrainCancelled, ChangedBy::Operator),
            (NodeReason::Fenced, ChangedBy::Operator),
        ]),
        times in (time(), time(), time()), resources in node_resources(), labels in texts(),
        (agent_endpoint, agent_version, boot_id, incarnation) in (text(), text(), text(), text()),
        types in proptest::sample::subsequence(WorkloadType::ALL.to_vec(), 0..=3),
        drivers in vec(text(), 0..3), schedulable in any::<bool>(), drain in option::of(drain()),
        extra in extra(),
    ) -> NodeRecord {
        NodeRecord {
            id, status, status_reason, status_changed_by, status_changed_at: times.0, resources,
            last_heartbeat: times.1, labels, agent_endpoint, agent_version,
            supported_workload_types: types.into_iter().collect(),
            supported_storage_drivers: drivers.into_iter().collect(), schedulable, drain,
            created_at: times.2, boot_id, incarnation, extra,
        }
    }
}

prop_compose! {
    pub(crate) fn event()(
        at in time(), epoch in 0..i64::MAX, sequence in any::<u64>(),
        event_type in select(vec![
            EventType::WorkloadScheduled, EventType::WorkloadFailed, EventType::NodeLost,
            EventType::RetryTriggered, EventType::Rescheduled, EventType::AutomationDecided,
        ]),
        workload_id in option::of(workload_id()), node_id in option::of(node_id()),
        revision_id in option::of(revision()), reason in text(), extra in extra(),
    ) -> EventRecord {
        EventRecord {
            id: EventId::new(at, Epoch(epoch), sequence), event_type, workload_id, node_id,
            revision_id, reason, timestamp: at, extra,
        }
    }
}

prop_compose! {
    pub(crate) fn assignment()(
        workload_id in workload_id(), node_id in node_id(), resources in resources(),
        revision_id in revision(), assigned_at in time(), epoch in any::<i64>(),
        moved_from in vec(node_id(), 0..3), extra in extra(),
    ) -> AssignmentRecord {
        AssignmentRecord {
            workload_id, node_id, resources, revision_id, assigned_at, epoch: Epoch(epoch), moved_from,
            extra,
        }
    }
}

prop_compose! {
    pub(crate) fn intent()(
        workload_id in workload_id(), action in select(Action::ALL.to_vec()),
        revision_id in revision(), node_id in node_id(), reason in text(), decided_at in time(),
        outcome in select(vec![
            IntentOutcome::Open, IntentOutcome::Done, IntentOutcome::Failed,
            IntentOutcome::Superseded,
        ]),
        extra in extra(),
    ) -> IntentRecord {
        IntentRecord {
            workload_id, action, revision_id, node_id, reason, decided_at, outcome, extra,
        }
    }
}

prop_compose! {
    pub(crate) fn retry()(
        workload_id in workload_id(), revision_id in revision(), state in retry_state(),
        last_failure_at in time(), last_failure in failure(), extra in extra(),
    ) -> RetryRecord {
        RetryRecord { workload_id, revision_id, state, last_failure_at, last_failure, extra }
    }
}

prop_compose! {
    pub(crate) fn tombstone()(
        workload_id in workload_id(), node_id in node_id(), resources in resources(),
        since in time(), extra in extra(),
    ) -> TombstoneRecord {
        TombstoneRecord { workload_id, node_id, resources, since, extra }
    }
}

/// The example of the design.
pub(crate) fn plain_workload() -> WorkloadRecord {
    let at = Timestamp::from_millis(1_771_286_400_000);
    WorkloadRecord {
        id: "w-1".parse().unwrap(),
        revision_id: "rev-1".parse().unwrap(),
        desired_state: DesiredState::Running,
        assigned_node: Some("node-1".parse().unwrap()),
        spec: Arc::new(Spec::Container(ContainerSpec::default())),
        resources: Resources::new(2_000, 2_048, 20),
        constraints: Constraints::default(),
        tenant: None,
        priority: 0,
        labels: Default::default(),
        retry: RetryState {
            attempts: 1,
            max_attempts: 5,
            next_retry_at: Some(at),
            exhausted: false,
        },
        status: WorkloadStatus {
            actual_state: ActualState::Pending,
            last_updated: at,
            failure_reason: String::new(),
            failure: None,
            running_since: None,
            placement: None,
            extra: Default::default(),
        },
        metadata: WorkloadMetadata {
            created_at: at,
            last_action: Some(Action::Apply),
            last_error: String::new(),
            generation: 1,
            revision_label: None,
            spec_hash: String::new(),
            labels_used: Vec::new(),
            extra: Default::default(),
        },
        extra: Default::default(),
    }
}

/// A node of one and a half cores.
pub(crate) fn plain_node() -> NodeRecord {
    let at = Timestamp::from_millis(1_771_286_400_000);
    NodeRecord {
        id: "node-1".parse().unwrap(),
        status: NodeStatus::Ready,
        status_reason: NodeReason::Registered,
        status_changed_by: ChangedBy::Register,
        status_changed_at: at,
        resources: NodeResources {
            cpu_total: Millicores(1_500),
            ..NodeResources::default()
        },
        last_heartbeat: at,
        labels: Default::default(),
        agent_endpoint: "127.0.0.1:1".into(),
        agent_version: String::new(),
        supported_workload_types: Default::default(),
        supported_storage_drivers: Default::default(),
        schedulable: true,
        drain: None,
        created_at: at,
        boot_id: String::new(),
        incarnation: String::new(),
        extra: Default::default(),
    }
}
