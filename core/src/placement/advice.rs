//! What would have to change for a workload to fit, as sentences for people.

use super::filters;
use super::types::{Candidate, Demand, Refusal};
use crate::model::id::{NodeId, WorkloadId};
use crate::model::spec::WorkloadType;
use crate::model::units::{Gibibytes, Mebibytes, Millicores, Resources};

/// Something that is in the way on a node, as what would remove it. Equal on two nodes if the same
/// sentence holds for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The node must become ready.
    Recover,
    /// Its drain must end.
    CancelDrain,
    /// It must be uncordoned.
    Uncordon,
    /// It must support the kind.
    Support(WorkloadType),
    /// Its runtime must be repaired.
    Repair(WorkloadType),
    /// It must offer storage drivers.
    Drivers(Vec<String>),
    /// It must get labels.
    Labels(Vec<String>),
    /// A workload of the group must leave it.
    Move(WorkloadId, String),
    /// So much, with its unit, must be freed.
    Free(String),
    /// The request exceeds the whole node: nothing that can be done on it would help.
    TooSmall,
}

impl Obstacle {
    pub(super) fn new(refusal: &Refusal, node: &Candidate<'_>, demand: &Demand<'_>) -> Self {
        let free = |room: Option<filters::Room>, unit: fn(u64) -> String| match room {
            Some(room) if room.requested <= room.total => Self::Free(unit(room.shortfall)),
            Some(_) | None => Self::TooSmall,
        };
        match refusal {
            Refusal::Ready => Self::Recover,
            Refusal::NotDraining => Self::CancelDrain,
            Refusal::Schedulable => Self::Uncordon,
            Refusal::WorkloadType { wanted } => Self::Support(*wanted),
            Refusal::RuntimeAvailable { wanted } => Self::Repair(*wanted),
            Refusal::StorageDrivers { missing } => Self::Drivers(missing.clone()),
            Refusal::Labels { missing } => Self::Labels(missing.clone()),
            Refusal::AntiAffinity { group, holder } => Self::Move(holder.clone(), group.clone()),
            Refusal::Cpu { .. } => free(Some(filters::cpu(node, demand)), |n| {
                Millicores(n).to_string()
            }),
            Refusal::Memory { .. } => free(Some(filters::memory(node, demand)), |n| {
                Mebibytes(n).to_string()
            }),
            Refusal::Disk { .. } => free(filters::disk(node, demand), |n| {
                format!("{} of disk", Gibibytes(n))
            }),
        }
    }
}

/// The sentences, most effective first: what to do on the nearest nodes, in their order; a smaller
/// request, where no node is large enough; a new node, which always helps.
pub(super) fn would_help<'a>(
    nearest: impl Iterator<Item = (&'a NodeId, Vec<Obstacle>)>,
    demand: &Demand<'_>,
    largest: Resources,
) -> Vec<String> {
    // Nodes with the same things in the way share a sentence.
    let mut groups: Vec<(Vec<Obstacle>, Vec<&NodeId>)> = Vec::new();
    for (node, obstacles) in nearest {
        if obstacles.contains(&Obstacle::TooSmall) {
            continue;
        }
        match groups.iter_mut().find(|(same, _)| *same == obstacles) {
            Some((_, nodes)) => nodes.push(node),
            None => groups.push((obstacles, vec![node])),
        }
    }
    let mut sentences: Vec<_> = groups
        .iter()
        .map(|(obstacles, nodes)| on_nodes(obstacles, &either(nodes)))
        .collect();
    sentences.extend(ask_less(demand, largest));
    sentences.push(add_a_node(demand));
    sentences
}

/// What to do on one node, or on any one of several.
fn on_nodes(obstacles: &[Obstacle], node: &str) -> String {
    let mut steps: Vec<String> = Vec::new();
    let mut amounts: Vec<&str> = Vec::new();
    for obstacle in obstacles {
        steps.push(match obstacle {
            Obstacle::Recover => format!("bring back {node}, which is not ready"),
            Obstacle::CancelDrain => format!("end the drain of {node}"),
            Obstacle::Uncordon => format!("uncordon {node}"),
            Obstacle::Support(kind) => format!("let {node} run workloads of type {kind}"),
            Obstacle::Repair(kind) => format!("repair the {kind} runtime of {node}"),
            Obstacle::Drivers(missing) => {
                format!("offer the {} on {node}", named("storage driver", missing))
            }
            Obstacle::Labels(missing) => format!("give {node} the {}", named("label", missing)),
            Obstacle::Move(holder, group) => {
                format!("move {holder} of the anti-affinity group {group} away from {node}")
            }
            Obstacle::Free(amount) => {
                amounts.push(amount);
                continue;
            }
            Obstacle::TooSmall => continue,
        });
    }
    if !amounts.is_empty() {
        steps.push(format!("free {} on {node}", list(&amounts, "and")));
    }
    list(&steps, "and")
}

/// Where no node is large enough in a dimension even when empty: what the largest would allow.
fn ask_less(demand: &Demand<'_>, largest: Resources) -> Option<String> {
    let asked = demand.resources;
    let mut limits: Vec<String> = Vec::new();
    if asked.cpu > largest.cpu {
        limits.push(largest.cpu.to_string());
    }
    if asked.memory_mb > largest.memory_mb {
        limits.push(largest.memory_mb.to_string());
    }
    if asked.disk_gb > largest.disk_gb {
        limits.push(format!("{} of disk", largest.disk_gb));
    }
    let none = limits.is_empty() || largest == Resources::default();
    (!none).then(|| format!("ask for at most {}: no node has more", list(&limits, "and")))
}

/// The node that would be large enough when empty.
fn add_a_node(demand: &Demand<'_>) -> String {
    let asked = demand.resources;
    let mut amounts: Vec<String> = Vec::new();
    if asked.cpu.0 > 0 {
        amounts.push(asked.cpu.to_string());
    }
    if asked.memory_mb.0 > 0 {
        amounts.push(asked.memory_mb.to_string());
    }
    if asked.disk_gb.0 > 0 {
        amounts.push(format!("{} of disk", asked.disk_gb));
    }
    let mut text = format!(
        "add a node that runs workloads of type {}",
        demand.workload_type
    );
    if !amounts.is_empty() {
        text += &format!(" with at least {}", amounts.join(", "));
    }
    let labels = demand.constraints.labels.iter();
    let labels: Vec<_> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !labels.is_empty() {
        text += &format!(", the {}", named("label", &labels));
    }
    let drivers: Vec<_> = demand.drivers.iter().cloned().collect();
    if !drivers.is_empty() {
        text += &format!(", the {}", named("storage driver", &drivers));
    }
    text
}

/// Raises `largest` to the node's capacity, dimension by dimension. An unknown disk is as large as
/// anybody may ask for.
pub(super) fn raise_to_total(largest: &mut Resources, node: &Candidate<'_>) {
    let disk = node.capacity.disk_total.unwrap_or(Gibibytes(u64::MAX));
    largest.cpu = largest.cpu.max(node.capacity.cpu_total);
    largest.memory_mb = largest.memory_mb.max(node.capacity.memory_total);
    largest.disk_gb = largest.disk_gb.max(disk);
}

/// `label a=b`, `labels a=b and c=d`.
fn named(what: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{what}{plural} {}", list(names, "and"))
}

/// `node-1`, `node-1 or node-2`.
fn either(nodes: &[&NodeId]) -> String {
    let names: Vec<_> = nodes.iter().map(|id| id.as_str()).collect();
    list(&names, "or")
}

/// `a`, `a and b`, `a, b and c`.
fn list(parts: &[impl AsRef<str>], last: &str) -> String {
    let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
    match parts.split_last() {
        None => String::new(),
        Some((only, [])) => (*only).to_owned(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}
