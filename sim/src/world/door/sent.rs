//! What a client sends.

use std::collections::BTreeMap;

use berth_core::admission::Manifest;
use berth_core::io::request::{ApplyWorkload, NewSpec, Query, Request};
use berth_core::model::spec::{
    ContainerSpec, ManagedVolume, Port, Protocol, RestartPolicy, RetainPolicy, Spec, VolumeMount,
};
use berth_core::model::workload::DesiredState;
use berth_core::wire::control_in::{
    ANTI_AFFINITY_KEY, LABEL_PREFIX, MAX_ATTEMPTS_KEY, PRIORITY_KEY, SPREAD_BY_KEY, TENANT_KEY,
};
use berth_core::wire::rest::{DrainFields, entity_tag};
use berth_proto::control::v1 as control;
use prost::Message;

use super::{ClientMessage, RestCall};

impl ClientMessage {
    /// A request as it travels; `grpc`: over gRPC, if the contract can say it.
    pub(in crate::world) fn of(request: &Request, grpc: bool) -> Self {
        let spoken = grpc.then(|| contract(request)).flatten();
        spoken
            .or_else(|| rest(request).map(Self::Rest))
            .unwrap_or_else(|| Self::Plain(Box::new(request.clone())))
    }
}

/// In the contract's words. It knows no preconditions and no dry runs, and an apply without a desired
/// state means `Running` there.
fn contract(request: &Request) -> Option<ClientMessage> {
    match request {
        Request::Apply(ApplyWorkload {
            workload,
            spec,
            revision,
            desired_state: Some(desired),
            if_match: None,
            dry_run: false,
        }) => {
            let spec = match spec {
                Some(new) => Some(workload_spec(new)?),
                None => None,
            };
            let message = control::ApplyWorkloadRequest {
                workload_id: workload.to_string(),
                spec,
                revision_id: revision
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                desired_state: match desired {
                    DesiredState::Running => "Running".to_owned(),
                    DesiredState::Stopped => "Stopped".to_owned(),
                    DesiredState::Deleted => return None,
                },
            };
            Some(ClientMessage::Apply(message.encode_to_vec()))
        }
        Request::Delete {
            workload,
            if_match: None,
        } => {
            let workload_id = workload.to_string();
            let message = control::DeleteWorkloadRequest { workload_id };
            Some(ClientMessage::Delete(message.encode_to_vec()))
        }
        Request::Retry { workload } => {
            let workload_id = workload.to_string();
            let message = control::RetryWorkloadRequest { workload_id };
            Some(ClientMessage::Retry(message.encode_to_vec()))
        }
        Request::Read(Query::Workload(workload)) => {
            let workload_id = workload.to_string();
            let message = control::GetWorkloadRequest { workload_id };
            Some(ClientMessage::Get(message.encode_to_vec()))
        }
        _ => None,
    }
}

/// Clients ask for containers.
fn workload_spec(new: &NewSpec) -> Option<control::WorkloadSpec> {
    let NewSpec {
        spec,
        resources,
        constraints,
        tenant,
        priority,
        max_attempts,
        labels,
    } = new;
    let Spec::Container(container) = spec else {
        return None;
    };
    let amount = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut metadata: BTreeMap<String, String> = labels.clone();
    let mut say = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            metadata.insert(key.to_owned(), value);
        }
    };
    for (key, value) in &constraints.labels {
        say(&format!("{LABEL_PREFIX}{key}"), Some(value.clone()));
    }
    say(SPREAD_BY_KEY, constraints.spread_by.clone());
    say(ANTI_AFFINITY_KEY, constraints.anti_affinity.clone());
    say(TENANT_KEY, tenant.as_ref().map(ToString::to_string));
    let priority = Some(priority).filter(|priority| **priority != 0);
    say(PRIORITY_KEY, priority.map(ToString::to_string));
    say(MAX_ATTEMPTS_KEY, max_attempts.map(|most| most.to_string()));
    Some(control::WorkloadSpec {
        r#type: "container".to_owned(),
        resources: Some(control::ResourceRequirements {
            cpu_millicores: amount(resources.cpu.0),
            memory_mb: amount(resources.memory_mb.0),
            disk_gb: amount(resources.disk_gb.0),
        }),
        metadata,
        workload: Some(control::workload_spec::Workload::Container(
            container_message(container),
        )),
    })
}

fn container_message(container: &ContainerSpec) -> control::ContainerSpec {
    let ContainerSpec {
        image,
        command,
        env,
        volumes,
        ports,
        restart_policy,
        privileged,
        managed_volumes,
    } = container;
    let restart_policy = match restart_policy {
        RestartPolicy::No => "no",
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::UnlessStopped => "unless-stopped",
    };
    control::ContainerSpec {
        image: image.clone(),
        command: command.clone(),
        env: env.clone(),
        volumes: volumes.iter().map(mount).collect(),
        ports: ports.iter().map(port).collect(),
        restart_policy: restart_policy.to_owned(),
        privileged: *privileged,
        managed_volumes: managed_volumes.iter().map(volume).collect(),
    }
}

fn mount(mount: &VolumeMount) -> control::VolumeMount {
    let VolumeMount {
        host_path,
        container_path,
        read_only,
    } = mount.clone();
    control::VolumeMount {
        host_path,
        container_path,
        read_only,
    }
}

fn port(port: &Port) -> control::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    control::Port {
        host_port: port.host_port.into(),
        container_port: port.container_port.into(),
        protocol: protocol.to_owned(),
    }
}

fn volume(volume: &ManagedVolume) -> control::ManagedVolumeSpec {
    let retain_policy = match volume.retain_policy {
        RetainPolicy::Delete => "Delete",
        RetainPolicy::Retain => "Retain",
    };
    control::ManagedVolumeSpec {
        name: volume.name.clone(),
        driver: volume.driver.clone(),
        size_gb: i64::try_from(volume.size_gb.0).unwrap_or(i64::MAX),
        access_mode: volume.access_mode.clone(),
        fs_type: volume.fs_type.clone(),
        mount_path: volume.mount_path.clone(),
        read_only: volume.read_only,
        retain_policy: retain_policy.to_owned(),
    }
}

/// As a request of the REST API. A node is opened there together with the end of its drain, which
/// are two requests of the core.
fn rest(request: &Request) -> Option<RestCall> {
    match request {
        Request::Apply(apply) => rest_apply(apply),
        Request::Delete { workload, if_match } => {
            let call = RestCall::new("DELETE", format!("/workloads/{workload}"));
            Some(RestCall {
                if_match: if_match.map(entity_tag),
                ..call
            })
        }
        Request::Retry { workload } => Some(RestCall::new(
            "POST",
            format!("/workloads/{workload}/retry"),
        )),
        Request::Read(Query::Workload(workload)) => {
            Some(RestCall::new("GET", format!("/workloads/{workload}")))
        }
        Request::SetSchedulable {
            node,
            schedulable: false,
        } => Some(RestCall::new("POST", format!("/nodes/{node}/cordon"))),
        Request::Drain {
            node,
            deadline,
            parallelism,
        } if deadline.subsec_nanos() == 0 => {
            let fields = DrainFields {
                deadline_seconds: Some(u32::try_from(deadline.as_secs()).ok()?),
                parallelism: Some(*parallelism),
            };
            Some(RestCall {
                body: serde_json::to_vec(&fields).ok()?,
                ..RestCall::new("POST", format!("/nodes/{node}/drain"))
            })
        }
        Request::Fence { node } => Some(RestCall::new("POST", format!("/nodes/{node}/fence"))),
        Request::Purge { node } => Some(RestCall::new("DELETE", format!("/nodes/{node}"))),
        _ => None,
    }
}

fn rest_apply(apply: &ApplyWorkload) -> Option<RestCall> {
    let (id, dry) = (
        &apply.workload,
        if apply.dry_run { "?dry_run=true" } else { "" },
    );
    let (target, body) = match (&apply.spec, apply.desired_state) {
        (Some(new), desired) => {
            let body = serde_json::to_vec(&manifest(apply, new, desired)?).ok()?;
            (format!("/workloads{dry}"), body)
        }
        (None, Some(desired)) if apply.revision.is_none() => {
            let word = match desired {
                DesiredState::Running => "start",
                DesiredState::Stopped => "stop",
                DesiredState::Deleted => return None,
            };
            (format!("/workloads/{id}/{word}{dry}"), Vec::new())
        }
        (None, _) => return None,
    };
    Some(RestCall {
        body,
        if_match: apply.if_match.map(entity_tag),
        ..RestCall::new("POST", target)
    })
}

fn manifest(
    apply: &ApplyWorkload,
    new: &NewSpec,
    desired_state: Option<DesiredState>,
) -> Option<Manifest> {
    let spec = match &new.spec {
        Spec::Container(spec) => serde_json::to_value(spec),
        Spec::Compose(spec) => serde_json::to_value(spec),
        Spec::Vm(spec) => serde_json::to_value(spec),
    };
    Some(Manifest {
        id: apply.workload.clone(),
        workload_type: new.spec.workload_type(),
        spec: spec.ok()?,
        resources: new.resources,
        constraints: new.constraints.clone(),
        tenant: new.tenant.clone(),
        priority: new.priority,
        max_attempts: new.max_attempts,
        labels: new.labels.clone(),
        revision_id: apply.revision.clone(),
        desired_state,
    })
}

impl RestCall {
    const fn new(method: &'static str, target: String) -> Self {
        Self {
            method,
            target,
            if_match: None,
            body: Vec::new(),
        }
    }
}
