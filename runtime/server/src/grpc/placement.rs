//! An explanation as `berth.v1` tells it.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::io::view::{Explanation, WorkloadView};
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;
use berth_core::placement::{Filter, NearMiss, Refusal};
use berth_proto::berth::v1 as wire;
use berth_proto::time::timestamp_from_unix_ms_u64;

/// Why a workload is where it is, or nowhere.
pub(crate) fn explanation(
    explained: &Explanation,
    view: &WorkloadView,
) -> wire::PlacementExplanation {
    let (decision, record) = (&explained.decision, &view.record);
    let drivers: BTreeSet<_> = record
        .spec
        .managed_volumes()
        .iter()
        .map(|volume| volume.driver.clone())
        .collect();
    let mut refused: BTreeMap<i32, u32> = BTreeMap::new();
    for (filter, nodes) in &decision.refused {
        *refused.entry(wire_filter(*filter).into()).or_default() += nodes;
    }
    let at = |time: berth_core::Timestamp| timestamp_from_unix_ms_u64(time.as_millis());
    wire::PlacementExplanation {
        workload_id: explained.workload.to_string(),
        revision_id: record.revision_id.to_string(),
        status: status(explained, view).into(),
        summary: explained.summary.clone(),
        node_id: explained
            .assigned_node
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        strategy: "least-utilized".to_owned(),
        score_millionths: decision.score_ppm.map_or(0, |score| amount(score.0)),
        requested: Some(wire::PlacementRequest {
            resources: Some(resources(decision.requested)),
            workload_type: record.workload_type().to_string(),
            required_labels: record.constraints.labels.clone().into_iter().collect(),
            storage_drivers: drivers.into_iter().collect(),
        }),
        nodes_considered: decision.examined,
        candidates: decision.candidates,
        refusals: refused
            .into_iter()
            .map(|(filter, nodes)| wire::FilterRefusal {
                filter,
                nodes,
                ..wire::FilterRefusal::default()
            })
            .collect(),
        available_max: Some(resources(decision.most_available)),
        nearest_misses: explained
            .nearest
            .iter()
            .map(|miss| near_miss(miss, decision.requested))
            .collect(),
        required_changes: explained
            .would_help
            .iter()
            .map(|summary| wire::RequiredChange {
                summary: summary.clone(),
                ..wire::RequiredChange::default()
            })
            .collect(),
        store_revision: decision.at_revision.0,
        decided_at: Some(at(decision.decided_at)),
        next_attempt_at: record.retry.next_retry_at.map(at),
    }
}

fn status(explained: &Explanation, view: &WorkloadView) -> wire::PlacementStatus {
    let record = &view.record;
    match (explained.assigned_node.is_some(), record.desired_state) {
        (true, _) => wire::PlacementStatus::Assigned,
        (false, DesiredState::Stopped | DesiredState::Deleted) => wire::PlacementStatus::NotWanted,
        (false, DesiredState::Running) if record.retry.next_retry_at.is_some() => {
            wire::PlacementStatus::Waiting
        }
        (false, DesiredState::Running) => wire::PlacementStatus::Pending,
    }
}

const fn wire_filter(filter: Filter) -> wire::PlacementFilter {
    match filter {
        Filter::Ready => wire::PlacementFilter::Ready,
        Filter::NotDraining | Filter::Schedulable => wire::PlacementFilter::Schedulable,
        Filter::WorkloadType => wire::PlacementFilter::WorkloadType,
        Filter::RuntimeAvailable => wire::PlacementFilter::RuntimeAvailable,
        Filter::StorageDrivers => wire::PlacementFilter::StorageDriver,
        Filter::Labels => wire::PlacementFilter::Labels,
        Filter::AntiAffinity => wire::PlacementFilter::AntiAffinity,
        Filter::Cpu => wire::PlacementFilter::Cpu,
        Filter::Memory => wire::PlacementFilter::Memory,
        Filter::Disk => wire::PlacementFilter::Disk,
    }
}

fn near_miss(miss: &NearMiss, requested: Resources) -> wire::NearMiss {
    let mut out = wire::NearMiss {
        node_id: miss.node.to_string(),
        ..wire::NearMiss::default()
    };
    // A resource that does not refuse suffices: it counts as just enough.
    let mut available = resources(requested);
    let (mut capacity, mut missing) = (wire::Resources::default(), wire::Resources::default());
    for refusal in &miss.refusals {
        let filter = match refusal {
            Refusal::Ready => Filter::Ready,
            Refusal::NotDraining => Filter::NotDraining,
            Refusal::Schedulable => Filter::Schedulable,
            Refusal::WorkloadType { .. } => Filter::WorkloadType,
            Refusal::RuntimeAvailable { .. } => Filter::RuntimeAvailable,
            Refusal::StorageDrivers { missing } => {
                out.missing_storage_drivers.clone_from(missing);
                Filter::StorageDrivers
            }
            Refusal::Labels { missing } => {
                let pair = |text: &String| {
                    let (key, value) = text.split_once('=').unwrap_or((text, ""));
                    (key.to_owned(), value.to_owned())
                };
                out.missing_labels = missing.iter().map(pair).collect();
                Filter::Labels
            }
            Refusal::AntiAffinity { .. } => Filter::AntiAffinity,
            Refusal::Cpu {
                requested,
                available: free,
                total,
            } => {
                available.cpu_millicores = amount(*free);
                capacity.cpu_millicores = amount(*total);
                missing.cpu_millicores = amount(requested.saturating_sub(*free));
                Filter::Cpu
            }
            Refusal::Memory {
                requested,
                available: free,
                total,
            } => {
                available.memory_mib = amount(*free);
                capacity.memory_mib = amount(*total);
                missing.memory_mib = amount(requested.saturating_sub(*free));
                Filter::Memory
            }
            Refusal::Disk {
                requested,
                available: free,
                total,
            } => {
                available.disk_gib = amount(*free);
                capacity.disk_gib = amount(*total);
                missing.disk_gib = amount(requested.saturating_sub(*free));
                Filter::Disk
            }
        };
        let filter = i32::from(wire_filter(filter));
        if !out.refused_by.contains(&filter) {
            out.refused_by.push(filter);
        }
    }
    out.available = Some(available);
    out.capacity = Some(capacity);
    out.missing = Some(missing);
    out
}

fn resources(amounts: Resources) -> wire::Resources {
    wire::Resources {
        cpu_millicores: amount(amounts.cpu.0),
        memory_mib: amount(amounts.memory_mb.0),
        disk_gib: amount(amounts.disk_gb.0),
        disk_unknown: false,
    }
}

fn amount(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
