//! Nodes and demands that own what placement borrows, and how to draw random ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::id::{NodeId, WorkloadId};
use crate::model::node::{NodeResources, NodeStatus};
use crate::model::spec::{Constraints, WorkloadType};
use crate::model::units::{Gibibytes, Mebibytes, Millicores, Resources};
use crate::placement::{Candidate, Demand, Strategy as Order};

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) status: NodeStatus,
    pub(super) schedulable: bool,
    pub(super) capacity: NodeResources,
    pub(super) reserved: Resources,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) types: BTreeSet<WorkloadType>,
    pub(super) avoided: BTreeSet<WorkloadType>,
    pub(super) drivers: BTreeSet<String>,
    pub(super) groups: BTreeMap<String, BTreeSet<WorkloadId>>,
}

impl Node {
    /// Ready and empty: 4000 millicores, 8192 MiB, 100 GiB; runs everything.
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.parse().unwrap(),
            status: NodeStatus::Ready,
            schedulable: true,
            capacity: capacity(4000, 8192, Some(100)),
            reserved: Resources::default(),
            labels: BTreeMap::new(),
            types: WorkloadType::ALL.into(),
            avoided: BTreeSet::new(),
            drivers: BTreeSet::new(),
            groups: BTreeMap::new(),
        }
    }

    pub(super) fn reserving(mut self, cpu: u64, memory: u64, disk: u64) -> Self {
        self.reserved = Resources::new(cpu, memory, disk);
        self
    }

    pub(super) fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(super) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            id: &self.id,
            status: self.status,
            schedulable: self.schedulable,
            capacity: &self.capacity,
            reserved: self.reserved,
            labels: &self.labels,
            workload_types: &self.types,
            avoided_types: &self.avoided,
            drivers: &self.drivers,
            groups: &self.groups,
        }
    }
}

/// Capacity; what is allocated in it is a trap: placement must not read it.
pub(super) fn capacity(cpu: u64, memory: u64, disk: Option<u64>) -> NodeResources {
    NodeResources {
        cpu_total: Millicores(cpu),
        cpu_allocated: Millicores(u64::MAX),
        memory_total: Mebibytes(memory),
        memory_allocated: Mebibytes(u64::MAX),
        disk_total: disk.map(Gibibytes),
        disk_allocated: Gibibytes(u64::MAX),
    }
}

/// A demand.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) workload: WorkloadId,
    pub(super) resources: Resources,
    pub(super) kind: WorkloadType,
    pub(super) drivers: BTreeSet<String>,
    pub(super) constraints: Constraints,
}

impl Ask {
    /// A container without constraints.
    pub(super) fn new(cpu: u64, memory: u64, disk: u64) -> Self {
        Self {
            workload: "w-0".parse().unwrap(),
            resources: Resources::new(cpu, memory, disk),
            kind: WorkloadType::Container,
            drivers: BTreeSet::new(),
            constraints: Constraints::default(),
        }
    }

    pub(super) fn labelled(mut self, key: &str, value: &str) -> Self {
        let labels = &mut self.constraints.labels;
        labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(super) fn spread_by(mut self, key: &str) -> Self {
        self.constraints.spread_by = Some(key.to_owned());
        self
    }

    pub(super) fn demand(&self) -> Demand<'_> {
        Demand {
            workload: &self.workload,
            resources: self.resources,
            workload_type: self.kind,
            drivers: &self.drivers,
            constraints: &self.constraints,
        }
    }
}

/// One decision to make.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) ask: Ask,
    pub(super) strategy: Order,
    pub(super) spread: BTreeMap<String, u32>,
}

impl World {
    pub(super) fn candidates(&self) -> impl DoubleEndedIterator<Item = Candidate<'_>> {
        self.nodes.iter().map(Node::candidate)
    }
}

/// Worlds in which ties, refusals of every kind and fits all happen: everything is drawn from few
/// values.
pub(super) fn worlds() -> impl Strategy<Value = World> {
    let strategy = select(vec![Order::LeastUtilized, Order::BinPack]);
    let spread = btree_map(value(), 0..3_u32, 0..3);
    (vec(node(), 0..14), ask(), strategy, spread).prop_map(|(mut nodes, ask, strategy, spread)| {
        // Ids in an order that is neither that of the list nor that of numbers.
        for (n, node) in nodes.iter_mut().enumerate() {
            node.id = format!("node-{}", n * 5 % 14).parse().unwrap();
        }
        World {
            nodes,
            ask,
            strategy,
            spread,
        }
    })
}

/// Any node, its id always `node-x`.
pub(super) fn node() -> impl Strategy<Value = Node> {
    let state = (
        prop_oneof![
            8 => Just(NodeStatus::Ready),
            1 => Just(NodeStatus::NotReady),
            1 => Just(NodeStatus::Draining),
        ],
        prop::bool::weighted(0.9),
    );
    let room = (resources(4), resources(4), prop::bool::weighted(0.8));
    let offers = (
        prop_oneof![6 => Just(BTreeSet::from(WorkloadType::ALL)), 1 => btree_set(kind(), 0..3)],
        prop_oneof![6 => Just(BTreeSet::new()), 1 => btree_set(kind(), 0..2)],
        btree_set(select(vec!["local".to_owned(), "nfs".to_owned()]), 0..3),
    );
    let holds = (
        btree_map(key(), value(), 0..3),
        btree_map(group(), holders(), 0..2),
    );
    (state, room, offers, holds).prop_map(|(state, room, offers, holds)| {
        let (total, reserved, disk_known) = room;
        let disk = disk_known.then_some(total.disk_gb.0);
        Node {
            id: "node-x".parse().unwrap(),
            status: state.0,
            schedulable: state.1,
            capacity: capacity(total.cpu.0, total.memory_mb.0, disk),
            reserved,
            labels: holds.0,
            types: offers.0,
            avoided: offers.1,
            drivers: offers.2,
            groups: holds.1,
        }
    })
}

/// Any demand.
pub(super) fn ask() -> impl Strategy<Value = Ask> {
    let drivers = prop_oneof![
        4 => Just(BTreeSet::new()),
        1 => btree_set(select(vec!["local".to_owned(), "nfs".to_owned()]), 0..3),
    ];
    let labels = prop_oneof![4 => Just(BTreeMap::new()), 1 => btree_map(key(), value(), 0..3)];
    let constraints = (labels, option::of(key()), option::weighted(0.2, group()));
    (resources(2), kind(), drivers, constraints, workload()).prop_map(
        |(resources, kind, drivers, (labels, spread_by, anti_affinity), workload)| Ask {
            workload,
            resources,
            kind,
            drivers,
            constraints: Constraints {
                labels,
                spread_by,
                anti_affinity,
            },
        },
    )
}

/// Amounts in steps, so that they meet exactly, and now and then one beside a step or beyond all.
pub(super) fn resources(steps_max: u64) -> impl Strategy<Value = Resources> {
    let amount = move || {
        prop_oneof![
            20 => (0..=steps_max).prop_map(|steps| steps * 1000),
            4 => 0..=steps_max * 1000 + 1,
            1 => select(vec![1, u64::MAX - 1, u64::MAX]),
        ]
    };
    (amount(), amount(), amount()).prop_map(|(cpu, memory, disk)| Resources::new(cpu, memory, disk))
}

fn kind() -> impl Strategy<Value = WorkloadType> {
    select(WorkloadType::ALL.to_vec())
}

fn key() -> impl Strategy<Value = String> {
    select(vec!["zone".to_owned(), "rack".to_owned()])
}

fn value() -> impl Strategy<Value = String> {
    select(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()])
}

fn group() -> impl Strategy<Value = String> {
    select(vec!["g".to_owned(), "h".to_owned()])
}

fn holders() -> impl Strategy<Value = BTreeSet<WorkloadId>> {
    btree_set(workload(), 0..3)
}

fn workload() -> impl Strategy<Value = WorkloadId> {
    (0..3).prop_map(|n| format!("w-{n}").parse().unwrap())
}
