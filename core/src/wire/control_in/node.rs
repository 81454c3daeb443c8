//! What agents say: registration and heartbeat.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;

use berth_proto::control::v1 as control;

use super::{WireError, malformed, node_id};
use crate::admission::check_node_labels;
use crate::admission::limits::{
    NODE_CPU_MILLICORES_MAX, NODE_DISK_GIB_MAX, NODE_MEMORY_MIB_MAX, STORAGE_DRIVERS,
};
use crate::io::RequestError;
use crate::io::agent::{AgentState, AgentStatus};
use crate::io::request::{Heartbeat, Registration};
use crate::model::node::NodeUsage;
use crate::model::spec::WorkloadType;
use crate::model::units::{Gibibytes, Mebibytes, Millicores};
use crate::model::workload::FailureKind;
use crate::wire::agent_in::{artifact_is_gone, raw_id};
use crate::wire::bound::{FIELD_BYTES_MAX, STATUSES_MAX, bounded, quoted};
use crate::wire::failure::{classify, kind_of_code, kind_of_reason};

/// The longest boot id, incarnation or version that is kept, in bytes.
const AGENT_WORD_BYTES_MAX: usize = 256;

/// A registration. `boot_id` and `incarnation` come from the call's metadata; empty when the agent
/// does not send them.
///
/// Kinds of workload and storage drivers are folded to one spelling; those unknown are left out.
/// No storage pool at all leaves the disk unknown.
///
/// # Errors
/// [`WireError::Malformed`] for an id, an endpoint or labels that are none;
/// [`WireError::NotAccepted`] for capacities that no node has.
pub fn register_request(
    message: control::RegisterNodeRequest,
    boot_id: &str,
    incarnation: &str,
) -> Result<Registration, WireError> {
    let node = node_id("node_id", &message.node_id)?;
    let endpoint = endpoint(&message.grpc_endpoint)?;
    check_node_labels(&message.labels).map_err(WireError::Malformed)?;
    let has = message.capabilities.unwrap_or_default();
    let cpu = positive(
        "capabilities.cpu_total_millicores",
        has.cpu_total_millicores,
        NODE_CPU_MILLICORES_MAX,
    )?;
    let memory = positive(
        "capabilities.memory_total_mb",
        has.memory_total_mb,
        NODE_MEMORY_MIB_MAX,
    )?;
    Ok(Registration {
        node,
        endpoint,
        cpu_total: Millicores(cpu),
        memory_total: Mebibytes(memory),
        disk_total: disk_total(&has.storage_pools)?,
        supported_workload_types: workload_types(&has.supported_workload_types),
        supported_storage_drivers: storage_drivers(&has.supported_storage_drivers),
        labels: message.labels,
        agent_version: bounded(&message.agent_version, AGENT_WORD_BYTES_MAX),
        boot_id: bounded(boot_id, AGENT_WORD_BYTES_MAX),
        incarnation: bounded(incarnation, AGENT_WORD_BYTES_MAX),
    })
}

/// `host:port`, the host a name, an IPv4 address, or an IPv6 address in brackets.
fn endpoint(text: &str) -> Result<String, WireError> {
    let wrong = || {
        let problem = format!("{} is not an endpoint; expected host:port", quoted(text));
        malformed("grpc_endpoint", problem)
    };
    let text = text.trim();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    if !digits || !port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Err(wrong());
    }
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let good = match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            (1..=253).contains(&host.len()) && host.bytes().all(plain)
        }
    };
    if good {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

fn positive(field: &str, value: i64, max: u64) -> Result<u64, WireError> {
    capacity(field, value, 1, max)
}

fn capacity(field: &str, value: i64, min: u64, max: u64) -> Result<u64, WireError> {
    let amount = u64::try_from(value)
        .ok()
        .filter(|n| (min..=max).contains(n));
    amount.ok_or_else(|| {
        let problem = format!("{value} is out of range; expected {min} to {max}");
        WireError::NotAccepted(RequestError::invalid(field, problem))
    })
}

fn disk_total(pools: &[control::StoragePool]) -> Result<Option<Gibibytes>, WireError> {
    if pools.is_empty() {
        return Ok(None);
    }
    let mut sum = Gibibytes(0);
    for (at, pool) in pools.iter().enumerate() {
        let field = format!("capabilities.storage_pools[{at}].total_gb");
        sum += Gibibytes(capacity(&field, pool.total_gb, 0, NODE_DISK_GIB_MAX)?);
    }
    Ok(Some(Gibibytes(sum.0.min(NODE_DISK_GIB_MAX))))
}

fn workload_types(texts: &[String]) -> BTreeSet<WorkloadType> {
    let known = |text: &String| match text.trim().to_ascii_lowercase().as_str() {
        "container" | "docker-container" => Some(WorkloadType::Container),
        "compose" | "docker-compose" => Some(WorkloadType::Compose),
        "vm" => Some(WorkloadType::Vm),
        _ => None,
    };
    texts.iter().filter_map(known).collect()
}

fn storage_drivers(texts: &[String]) -> BTreeSet<String> {
    let named = texts.iter().filter(|text| !text.trim().is_empty());
    let folded = named.map(|text| super::storage_driver(text));
    folded
        .filter(|driver| STORAGE_DRIVERS.contains(&driver.as_str()))
        .collect()
}

/// A heartbeat. Tolerant where an agent may be newer than this scheduler or lie: one odd status
/// must not make a living node look lost. At most [`STATUSES_MAX`] statuses are taken; they are
/// hints, and a full listing finds out the rest.
///
/// # Errors
/// [`WireError::Malformed`] for a node id that is none.
pub fn heartbeat_request(message: control::HeartbeatRequest) -> Result<Heartbeat, WireError> {
    let node = node_id("node_id", &message.node_id)?;
    let used = message.usage.unwrap_or_default();
    let amount = |value: i64, max: u64| u64::try_from(value).unwrap_or(0).min(max);
    Ok(Heartbeat {
        node,
        usage: NodeUsage {
            cpu_used: Millicores(amount(used.cpu_used_millicores, NODE_CPU_MILLICORES_MAX)),
            memory_used: Mebibytes(amount(used.memory_used_mb, NODE_MEMORY_MIB_MAX)),
            disk_used: Gibibytes(amount(used.disk_used_gb, NODE_DISK_GIB_MAX)),
        },
        statuses: hints(&message.workload_statuses),
    })
}

/// What a heartbeat says of workloads: a part of [`heartbeat_request`].
#[must_use]
pub fn hints(told: &[control::WorkloadStatus]) -> Arc<[AgentStatus]> {
    told.iter().take(STATUSES_MAX).map(status).collect()
}

fn status(message: &control::WorkloadStatus) -> AgentStatus {
    let detail = message.reason.as_ref();
    let told = detail.map_or("", |detail| &*detail.message);
    let text = if message.message.is_empty() {
        told
    } else {
        &*message.message
    };
    let state = match message.state.trim().to_ascii_lowercase().as_str() {
        "running" => AgentState::Running,
        "stopped" => AgentState::Stopped,
        "failed" => AgentState::Failed,
        "pending" => AgentState::Pending,
        _ if artifact_is_gone(&message.message) => AgentState::Missing,
        _ => AgentState::Unknown,
    };
    AgentStatus {
        workload: message.workload_id.parse().ok(),
        raw_id: raw_id(&message.workload_id),
        workload_type: None,
        revision: None,
        state,
        failure: (state == AgentState::Failed).then(|| failure(message, text)),
        message: bounded(text, FIELD_BYTES_MAX),
    }
}

/// The code says more than the reason, which existing agents set to the same for all.
fn failure(message: &control::WorkloadStatus, text: &str) -> FailureKind {
    let code = message.reason.as_ref().map(|detail| detail.code.as_str());
    let reason = control::FailureReason::try_from(message.failure_reason).ok();
    match classify(code, text) {
        FailureKind::RuntimeError if code.and_then(kind_of_code).is_none() => reason
            .and_then(kind_of_reason)
            .unwrap_or(FailureKind::RuntimeError),
        kind => kind,
    }
}
