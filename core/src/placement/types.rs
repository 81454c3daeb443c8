//! What placement looks at and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::{NodeId, StoreRevision, WorkloadId};
use crate::model::node::{NodeResources, NodeStatus};
use crate::model::spec::{Constraints, WorkloadType};
use crate::model::time::Timestamp;
use crate::model::units::Resources;

/// The filters, in the order in which they are asked. A node counts for the first that refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The node is ready.
    Ready,
    /// The node does not drain.
    NotDraining,
    /// The node is not cordoned.
    Schedulable,
    /// The node runs this kind of workload.
    WorkloadType,
    /// The node's runtime for this kind of workload worked lately.
    RuntimeAvailable,
    /// The node offers the storage drivers.
    StorageDrivers,
    /// The node has the labels.
    Labels,
    /// The node holds no other workload of the anti-affinity group.
    AntiAffinity,
    /// Enough CPU is not reserved.
    Cpu,
    /// Enough memory is not reserved.
    Memory,
    /// Enough disk is not reserved.
    Disk,
}

impl Filter {
    /// All filters, in the order in which they are asked.
    pub const ALL: [Self; 11] = [
        Self::Ready,
        Self::NotDraining,
        Self::Schedulable,
        Self::WorkloadType,
        Self::RuntimeAvailable,
        Self::StorageDrivers,
        Self::Labels,
        Self::AntiAffinity,
        Self::Cpu,
        Self::Memory,
        Self::Disk,
    ];
}

/// How nodes that fit are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Ascending utilization.
    #[default]
    LeastUtilized,
    /// Descending utilization.
    BinPack,
}

/// What a workload demands of a node.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The workload; it never refuses itself by anti-affinity.
    pub workload: &'a WorkloadId,
    /// What it asks for.
    pub resources: Resources,
    /// Its kind.
    pub workload_type: WorkloadType,
    /// The storage drivers of its managed volumes.
    pub drivers: &'a BTreeSet<String>,
    /// Where it may run.
    pub constraints: &'a Constraints,
}

/// One decision to make: all of what [`place`](super::place()) is asked except the nodes.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// How nodes that fit are ordered.
    pub strategy: Strategy,
    /// What they must offer.
    pub demand: Demand<'a>,
    /// How many workloads count under each value of the label to spread by.
    pub spread: &'a BTreeMap<String, u32>,
    /// The revision of the store that the image reflects.
    pub at_revision: StoreRevision,
    /// The time.
    pub now: Timestamp,
}

/// A node as placement sees it: nothing in here is what an agent reports as used.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: &'a NodeId,
    /// Its status.
    pub status: NodeStatus,
    /// Not cordoned.
    pub schedulable: bool,
    /// Its capacity; the allocated figures in here are not read.
    pub capacity: &'a NodeResources,
    /// What is reserved: assigned, being assigned, or not yet confirmed gone.
    pub reserved: Resources,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// What it can run.
    pub workload_types: &'a BTreeSet<WorkloadType>,
    /// Kinds that its runtime could not run lately.
    pub avoided_types: &'a BTreeSet<WorkloadType>,
    /// Its storage drivers.
    pub drivers: &'a BTreeSet<String>,
    /// The anti-affinity groups of the workloads that are reserved there.
    pub groups: &'a BTreeMap<String, BTreeSet<WorkloadId>>,
}

/// Parts per million: utilization without floating point.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Ppm(pub u64);

impl Ppm {
    /// All of it.
    pub const FULL: Self = Self(1_000_000);
}

impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 10_000, self.0 % 10_000 / 100)
    }
}

/// Why a decision came out as it did; stored with the workload (S21).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementNote {
    /// The chosen node; `None`: nothing fits.
    pub node: Option<NodeId>,
    /// Its utilization before this placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_ppm: Option<Ppm>,
    /// How many nodes there were.
    pub nodes: u32,
    /// How many of them were asked: all, unless the fast path found the answer earlier (see
    /// [`PlacementIndex`](super::PlacementIndex)). `candidates`, `refused` and `most_available`
    /// cover these.
    pub examined: u32,
    /// How many passed every filter.
    pub candidates: u32,
    /// How many nodes each filter refused, each node counted for the first filter that refused it.
    /// A filter that refused none is absent; `candidates` and these add up to `examined`.
    pub refused: BTreeMap<Filter, u32>,
    /// What was asked for.
    pub requested: Resources,
    /// In each dimension, the most that was not reserved on a node refused for that dimension;
    /// zero where none was.
    #[serde(default)]
    pub most_available: Resources,
    /// The revision of the store that this holds for.
    pub at_revision: StoreRevision,
    /// When.
    pub decided_at: Timestamp,
}

impl PlacementNote {
    /// Whether `other` tells people the same, however much later it was decided: no reason to
    /// write the record again.
    #[must_use]
    pub fn same_outcome(&self, other: &Self) -> bool {
        let Self {
            at_revision,
            decided_at,
            ..
        } = *self;
        *self
            == Self {
                at_revision,
                decided_at,
                ..other.clone()
            }
    }
}

/// The answer to "why is it there, or nowhere?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The workload.
    pub workload: WorkloadId,
    /// Where it is assigned now.
    pub assigned_node: Option<NodeId>,
    /// One sentence for people.
    pub summary: String,
    /// The decision that put it there, if it is assigned; else what a decision now would say.
    pub decision: PlacementNote,
    /// When nothing fits: the nodes that come nearest, at most five, nearest first.
    pub nearest: Vec<NearMiss>,
    /// When nothing fits: what would have to change, for people, most effective first.
    pub would_help: Vec<String>,
    /// It may be old.
    pub freshness: crate::io::request::Freshness,
}

/// A node that does not fit, and everything that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMiss {
    /// The node.
    pub node: NodeId,
    /// Everything that is in the way, in the order of filters.
    pub refusals: Vec<Refusal>,
}

/// Why a filter refuses a node, with numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "filter", rename_all = "snake_case")]
pub enum Refusal {
    /// It is not ready.
    #[error("the node is not ready")]
    Ready,
    /// It drains.
    #[error("the node is draining")]
    NotDraining,
    /// It is cordoned.
    #[error("the node is cordoned")]
    Schedulable,
    /// It does not run this kind.
    #[error("the node does not run workloads of type {wanted}")]
    WorkloadType {
        /// The kind.
        wanted: WorkloadType,
    },
    /// Its runtime for this kind failed lately.
    #[error("the node's runtime for {wanted} was not available lately")]
    RuntimeAvailable {
        /// The kind.
        wanted: WorkloadType,
    },
    /// It lacks storage drivers.
    #[error("the node lacks the storage drivers {}", missing.join(", "))]
    StorageDrivers {
        /// Which.
        missing: Vec<String>,
    },
    /// It lacks labels.
    #[error("the node lacks the labels {}", missing.join(", "))]
    Labels {
        /// Which, as `key=value`.
        missing: Vec<String>,
    },
    /// It holds another workload of the group.
    #[error("the node holds {holder} of the anti-affinity group {group}")]
    AntiAffinity {
        /// The group.
        group: String,
        /// One of its workloads.
        holder: WorkloadId,
    },
    /// Too little CPU, millicores.
    #[error("{requested} millicores of CPU requested, {available} of {total} available")]
    Cpu {
        /// Asked for.
        requested: u64,
        /// Not reserved.
        available: u64,
        /// Capacity.
        total: u64,
    },
    /// Too little memory, MiB.
    #[error("{requested} MiB of memory requested, {available} of {total} available")]
    Memory {
        /// Asked for.
        requested: u64,
        /// Not reserved.
        available: u64,
        /// Capacity.
        total: u64,
    },
    /// Too little disk, GiB.
    #[error("{requested} GiB of disk requested, {available} of {total} available")]
    Disk {
        /// Asked for.
        requested: u64,
        /// Not reserved.
        available: u64,
        /// Capacity.
        total: u64,
    },
}
