//! How long one decision takes: the exhaustive definition and the index, over 100 to 10,000 nodes,
//! for a demand that most nodes fit and for one that none does.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use berth_core::model::node::{NodeResources, NodeStatus};
use berth_core::model::spec::{Constraints, WorkloadType};
use berth_core::model::units::{Gibibytes, Mebibytes, Millicores, Resources};
use berth_core::placement::{
    Candidate, Demand, PlacementIndex, PlacementNote, Question, Strategy, place, utilization,
};
use berth_core::{NodeId, StoreRevision, Timestamp, WorkloadId};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// What all nodes of the bench share, and what each has reserved.
struct Cluster {
    capacity: NodeResources,
    labels: [BTreeMap<String, String>; 3],
    types: BTreeSet<WorkloadType>,
    avoided: BTreeSet<WorkloadType>,
    drivers: BTreeSet<String>,
    groups: BTreeMap<String, BTreeSet<WorkloadId>>,
    nodes: BTreeMap<NodeId, (usize, Resources)>,
}

impl Cluster {
    /// Nodes of 16 cores, 64 GiB and 500 GiB in three zones, between empty and nearly full.
    fn new(size: usize) -> Self {
        let zone = |name: &str| BTreeMap::from([("zone".to_owned(), name.to_owned())]);
        let node = |n: usize| {
            let id: NodeId = format!("node-{n:05}")
                .parse()
                .expect("follows the rule of ids");
            // A step coprime to the range visits all of it without any order.
            let fill = (n as u64 * 7_919) % 15_500;
            (id, (n % 3, Resources::new(fill, fill * 4, fill / 40)))
        };
        Self {
            capacity: NodeResources {
                cpu_total: Millicores(16_000),
                memory_total: Mebibytes(65_536),
                disk_total: Some(Gibibytes(500)),
                ..NodeResources::default()
            },
            labels: [zone("a"), zone("b"), zone("c")],
            types: WorkloadType::ALL.into(),
            avoided: BTreeSet::new(),
            drivers: BTreeSet::from(["local".to_owned()]),
            groups: BTreeMap::new(),
            nodes: (0..size).map(node).collect(),
        }
    }

    fn candidate(&self, id: &NodeId) -> Option<Candidate<'_>> {
        let (id, (zone, reserved)) = self.nodes.get_key_value(id)?;
        Some(self.of(id, *zone, *reserved))
    }

    fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.nodes
            .iter()
            .map(|(id, (zone, reserved))| self.of(id, *zone, *reserved))
    }

    fn of<'a>(&'a self, id: &'a NodeId, zone: usize, reserved: Resources) -> Candidate<'a> {
        Candidate {
            id,
            status: NodeStatus::Ready,
            schedulable: true,
            capacity: &self.capacity,
            reserved,
            labels: &self.labels[zone],
            workload_types: &self.types,
            avoided_types: &self.avoided,
            drivers: &self.drivers,
            groups: &self.groups,
        }
    }

    fn index(&self) -> PlacementIndex {
        let mut index = PlacementIndex::default();
        for node in self.candidates() {
            index.upsert(node.id, utilization(&node));
        }
        index
    }
}

fn exhaustive(cluster: &Cluster, question: &Question<'_>) -> PlacementNote {
    let Question {
        strategy,
        ref demand,
        spread,
        at_revision,
        now,
    } = *question;
    place(
        strategy,
        cluster.candidates(),
        demand,
        spread,
        at_revision,
        now,
    )
}

fn indexed(cluster: &Cluster, index: &PlacementIndex, question: &Question<'_>) -> PlacementNote {
    index.place(question, &BTreeSet::new(), |id| cluster.candidate(id))
}

fn decisions(c: &mut Criterion) {
    let workload: WorkloadId = "w-1".parse().expect("follows the rule of ids");
    let drivers = BTreeSet::from(["local".to_owned()]);
    let constraints = Constraints {
        labels: BTreeMap::from([("zone".to_owned(), "b".to_owned())]),
        ..Constraints::default()
    };
    let demand = |cpu| Demand {
        workload: &workload,
        resources: Resources::new(cpu, 512, 1),
        workload_type: WorkloadType::Container,
        drivers: &drivers,
        constraints: &constraints,
    };
    let spread = BTreeMap::new();
    let question = |strategy, cpu| Question {
        strategy,
        demand: demand(cpu),
        spread: &spread,
        at_revision: StoreRevision(1),
        now: Timestamp::ZERO,
    };
    for strategy in [Strategy::LeastUtilized, Strategy::BinPack] {
        for (name, cpu) in [("easy", 250), ("nothing fits", 16_001)] {
            let mut group = c.benchmark_group(format!("placement/{strategy:?}/{name}"));
            let question = question(strategy, cpu);
            for size in [100, 1_000, 10_000] {
                let cluster = Cluster::new(size);
                let index = cluster.index();
                let expected = exhaustive(&cluster, &question).node;
                assert_eq!(indexed(&cluster, &index, &question).node, expected);
                group.bench_function(BenchmarkId::new("exhaustive", size), |b| {
                    b.iter(|| exhaustive(&cluster, black_box(&question)));
                });
                group.bench_function(BenchmarkId::new("index", size), |b| {
                    b.iter(|| indexed(&cluster, &index, black_box(&question)));
                });
            }
            group.finish();
        }
    }
}

/// What it costs to keep the index up to date: one node's utilization changes and changes back.
fn updates(c: &mut Criterion) {
    let mut group = c.benchmark_group("placement/index update");
    for size in [100, 1_000, 10_000] {
        let cluster = Cluster::new(size);
        let mut index = cluster.index();
        let node = cluster.candidates().nth(size / 2).expect("there are nodes");
        let (before, id) = (utilization(&node), node.id);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                index.upsert(black_box(id), berth_core::placement::Ppm(before.0 + 1));
                index.upsert(black_box(id), before);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, updates);
criterion_main!(benches);
