//! Whether a workload fits a node: the one place where that is decided.
//!
//! Every filter is a value of [`Filter`]; [`Filter::passes`] decides, and [`Filter::refusal`] says
//! what the same figures look like in words. Nothing else in the scheduler compares a demand with
//! a node, so placing, checking, explaining and the simulator's oracle cannot disagree.

use super::types::{Candidate, Demand, Filter, Refusal};
use crate::model::id::WorkloadId;
use crate::model::node::NodeStatus;
use crate::planted::{Bug, planted};

/// Whether the workload fits the node; if not, the first refusal in the order of [`Filter::ALL`].
///
/// What the workload itself has reserved on the node counts as reserved: whoever asks about a
/// workload in its own place takes its reservation out of the candidate first.
///
/// # Errors
/// The refusal of the first filter that the node does not pass.
pub fn fits(node: &Candidate<'_>, demand: &Demand<'_>) -> Result<(), Refusal> {
    match first_refusing(node, demand) {
        None => Ok(()),
        Some(filter) => Err(filter.refusal(node, demand)),
    }
}

/// Everything that is in the way, in the order of [`Filter::ALL`]; empty exactly if it [`fits`].
#[must_use]
pub fn refusals(node: &Candidate<'_>, demand: &Demand<'_>) -> Vec<Refusal> {
    Filter::ALL
        .into_iter()
        .filter(|filter| !filter.passes(node, demand))
        .map(|filter| filter.refusal(node, demand))
        .collect()
}

/// The first filter that the node does not pass: [`fits`] without the words.
#[must_use]
pub fn first_refusing(node: &Candidate<'_>, demand: &Demand<'_>) -> Option<Filter> {
    Filter::ALL
        .into_iter()
        .find(|filter| !filter.passes(node, demand))
}

impl Filter {
    /// Whether the node passes this filter.
    #[must_use]
    pub fn passes(self, node: &Candidate<'_>, demand: &Demand<'_>) -> bool {
        match self {
            Self::Ready => node.status != NodeStatus::NotReady,
            Self::NotDraining => node.status != NodeStatus::Draining,
            Self::Schedulable => node.schedulable || planted(Bug::CordonIgnored),
            Self::WorkloadType => node.workload_types.contains(&demand.workload_type),
            Self::RuntimeAvailable => !node.avoided_types.contains(&demand.workload_type),
            Self::StorageDrivers => missing_drivers(node, demand).next().is_none(),
            Self::Labels => {
                missing_labels(node, demand).next().is_none() || planted(Bug::ZoneIgnored)
            }
            Self::AntiAffinity => {
                holder(node, demand).is_none() || planted(Bug::AntiAffinityIgnored)
            }
            Self::Cpu => cpu(node, demand).suffices(),
            Self::Memory => memory(node, demand).suffices(),
            Self::Disk => {
                disk(node, demand).is_none_or(|room| room.suffices())
                    || planted(Bug::DiskNotCounted)
            }
        }
    }

    /// What this filter says of a node that does not pass it.
    fn refusal(self, node: &Candidate<'_>, demand: &Demand<'_>) -> Refusal {
        let wanted = demand.workload_type;
        match self {
            Self::Ready => Refusal::Ready,
            Self::NotDraining => Refusal::NotDraining,
            Self::Schedulable => Refusal::Schedulable,
            Self::WorkloadType => Refusal::WorkloadType { wanted },
            Self::RuntimeAvailable => Refusal::RuntimeAvailable { wanted },
            Self::StorageDrivers => Refusal::StorageDrivers {
                missing: missing_drivers(node, demand).cloned().collect(),
            },
            Self::Labels => Refusal::Labels {
                missing: missing_labels(node, demand)
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect(),
            },
            Self::AntiAffinity => {
                let (group, holder) = holder(node, demand).expect("only asked when refused");
                Refusal::AntiAffinity {
                    group: group.to_owned(),
                    holder: holder.clone(),
                }
            }
            Self::Cpu => {
                let Room {
                    requested,
                    available,
                    total,
                    ..
                } = cpu(node, demand);
                Refusal::Cpu {
                    requested,
                    available,
                    total,
                }
            }
            Self::Memory => {
                let Room {
                    requested,
                    available,
                    total,
                    ..
                } = memory(node, demand);
                Refusal::Memory {
                    requested,
                    available,
                    total,
                }
            }
            Self::Disk => {
                let Room {
                    requested,
                    available,
                    total,
                    ..
                } = disk(node, demand).expect("an unknown disk refuses nothing");
                Refusal::Disk {
                    requested,
                    available,
                    total,
                }
            }
        }
    }
}

impl Refusal {
    /// The filter that refuses.
    #[must_use]
    pub const fn filter(&self) -> Filter {
        match self {
            Self::Ready => Filter::Ready,
            Self::NotDraining => Filter::NotDraining,
            Self::Schedulable => Filter::Schedulable,
            Self::WorkloadType { .. } => Filter::WorkloadType,
            Self::RuntimeAvailable { .. } => Filter::RuntimeAvailable,
            Self::StorageDrivers { .. } => Filter::StorageDrivers,
            Self::Labels { .. } => Filter::Labels,
            Self::AntiAffinity { .. } => Filter::AntiAffinity,
            Self::Cpu { .. } => Filter::Cpu,
            Self::Memory { .. } => Filter::Memory,
            Self::Disk { .. } => Filter::Disk,
        }
    }
}

/// One dimension of a node against a demand, in that dimension's unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Asked for.
    pub(super) requested: u64,
    /// Not reserved; zero on an overcommitted node.
    pub(super) available: u64,
    /// Capacity.
    pub(super) total: u64,
    /// What would have to be freed; more than is missing in `available` on an overcommitted node.
    pub(super) shortfall: u64,
}

impl Room {
    fn new(requested: u64, reserved: u64, total: u64) -> Self {
        let shortfall = if requested == 0 {
            // Who asks for nothing lacks nothing, however overcommitted the node is.
            0
        } else if requested <= total {
            reserved.saturating_sub(total - requested)
        } else {
            // Freeing everything would not be enough; the figure only orders such nodes.
            (requested - total).saturating_add(reserved)
        };
        Self {
            requested,
            available: total.saturating_sub(reserved),
            total,
            shortfall,
        }
    }

    /// A request for nothing always fits: available is never below zero.
    const fn suffices(self) -> bool {
        self.requested <= self.available
    }
}

/// CPU in millicores.
pub(super) fn cpu(node: &Candidate<'_>, demand: &Demand<'_>) -> Room {
    let (asked, reserved) = (demand.resources.cpu.0, node.reserved.cpu.0);
    Room::new(asked, reserved, node.capacity.cpu_total.0)
}

/// Memory in MiB.
pub(super) fn memory(node: &Candidate<'_>, demand: &Demand<'_>) -> Room {
    let (asked, reserved) = (demand.resources.memory_mb.0, node.reserved.memory_mb.0);
    Room::new(asked, reserved, node.capacity.memory_total.0)
}

/// Disk in GiB; `None` where the node's disk is unknown.
pub(super) fn disk(node: &Candidate<'_>, demand: &Demand<'_>) -> Option<Room> {
    let (asked, reserved) = (demand.resources.disk_gb.0, node.reserved.disk_gb.0);
    let total = node.capacity.disk_total?;
    Some(Room::new(asked, reserved, total.0))
}

fn missing_drivers<'a>(
    node: &Candidate<'a>,
    demand: &Demand<'a>,
) -> impl Iterator<Item = &'a String> {
    demand.drivers.difference(node.drivers)
}

fn missing_labels<'a>(
    node: &Candidate<'a>,
    demand: &Demand<'a>,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    let has = node.labels;
    let wanted = demand.constraints.labels.iter();
    wanted.filter(move |(key, value)| has.get(*key) != Some(*value))
}

/// Another workload of the demanded anti-affinity group on the node: the first by id.
fn holder<'a>(node: &Candidate<'a>, demand: &Demand<'a>) -> Option<(&'a str, &'a WorkloadId)> {
    let group = demand.constraints.anti_affinity.as_deref()?;
    let mut held = node.groups.get(group)?.iter();
    held.find(|id| *id != demand.workload).map(|id| (group, id))
}
