//! S5: every decision equals the one that the exhaustive definition makes on the same image; and
//! S4: the chosen node passed every filter. Both the image and the definition are written down
//! here a second time.

use berth_core::io::{Op, Txn};
use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::units::Resources;
use berth_core::model::workload::{DesiredState, WorkloadRecord};
use berth_core::{Key, NodeId, Timestamp, WorkloadId};

use super::avoidance::Avoided;
use super::memo::Memo;
use super::room::Room;
use super::rule::{Check, Finding};
use super::view::{Flight, View};

/// What the definition says.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    node: Option<NodeId>,
    candidates: u32,
    score_ppm: Option<u64>,
}

/// A scheduler asks for a commit: the decisions in it are made again. `clock`: its own time.
pub(crate) fn asked(view: &View, flight: &Flight, clock: Timestamp) -> Check {
    for (id, record) in &flight.workloads {
        let Some(note) = &record.status.placement else {
            continue;
        };
        let known = view
            .workloads
            .get(id)
            .and_then(|record| record.status.placement.as_ref());
        let decides = note.decided_at == clock && known != Some(note);
        if !decides || record.desired_state != DesiredState::Running || view.is_in_the_dark() {
            continue;
        }
        // Nobody chose it: a record that named another home says where its workload is.
        let home = view.assignments.get(id).map(|home| &home.node_id);
        if home.is_some() && note.node.as_ref() == home && note.score_ppm.is_none() {
            continue;
        }
        let kind = record.workload_type();
        let avoided = |node: &NodeId| view.avoidance.of(node, kind, clock);
        // What it may have forgotten already, or not yet, is avoided everywhere or nowhere.
        let expected = choose(view, id, record, &|node| avoided(node) == Avoided::Yes);
        let made = Choice {
            node: note.node.clone(),
            candidates: note.candidates,
            score_ppm: note.score_ppm.map(|score| score.0),
        };
        if made != expected
            && made != choose(view, id, record, &|node| avoided(node) != Avoided::No)
        {
            let expected = format!("{expected:?}");
            let seen = format!("{made:?} ({note:?}) of {:?}", picture(view, id));
            return Err(Finding::new(expected, seen).of(id));
        }
    }
    homes(view, flight, clock)
}

/// A new home is the one that was chosen in this very decision.
fn homes(view: &View, flight: &Flight, clock: Timestamp) -> Check {
    for (id, home) in &flight.homes {
        let Some(home) = home else { continue };
        let known = view.assignments.get(id);
        if known.is_some_and(|known| known.node_id == home.node_id) {
            continue;
        }
        let record = flight.workloads.get(id);
        let note = record.and_then(|record| record.status.placement.as_ref());
        let chosen = note
            .filter(|note| note.decided_at == clock)
            .and_then(|note| note.node.as_ref());
        if chosen != Some(&home.node_id) {
            let expected = format!("the home that was chosen: {chosen:?}");
            let seen = format!("{} ({note:?})", home.node_id);
            return Err(Finding::new(expected, seen).of(id));
        }
    }
    Ok(())
}

/// What is known of each node: for people who read a finding.
fn picture(view: &View, id: &WorkloadId) -> Vec<(NodeId, NodeStatus, bool, Resources)> {
    let room = Room::new(view, id);
    let nodes = view.nodes.values();
    nodes
        .map(|n| (n.id.clone(), n.status, n.schedulable, room.taken(&n.id)))
        .collect()
}

fn choose(
    view: &View,
    id: &WorkloadId,
    record: &WorkloadRecord,
    is_avoided: &dyn Fn(&NodeId) -> bool,
) -> Choice {
    let room = Room::new(view, id);
    let label = record.constraints.spread_by.as_deref();
    let spread = label.map(|label| (label, room.spread(record, label)));
    let (mut best, mut candidates) = (None, 0);
    // Both are in the order of ids.
    let mut sums = view.sums.iter().peekable();
    for (id, node) in &view.nodes {
        while sums.next_if(|(other, _)| *other < id).is_some() {}
        let sum = sums.next_if(|(other, _)| *other == id);
        // Who takes nothing new is not asked how full it is.
        if node.status != NodeStatus::Ready || !node.schedulable {
            continue;
        }
        let taken = room.taken_of(&node.id, sum.map_or(Resources::default(), |(_, sum)| *sum));
        let has_group = |group: &str| room.groups(&node.id).contains(group);
        if view.unreadable.contains(&node.id)
            || is_avoided(&node.id)
            || !room.stays_open(node)
            || !passes(node, record, taken, &has_group)
        {
            continue;
        }
        // How many are spread alike under the node's value; a node without the label comes last.
        let alike = spread.as_ref().map_or(0, |(label, counts)| {
            let value = node.labels.get(*label);
            value.map_or(u32::MAX, |value| {
                counts.get(value.as_str()).copied().unwrap_or(0)
            })
        });
        candidates += 1;
        let this = (alike, utilization(node, taken), &node.id);
        if best.is_none_or(|best| this < best) {
            best = Some(this);
        }
    }
    Choice {
        node: best.map(|(_, _, node)| node.clone()),
        candidates,
        score_ppm: best.map(|(_, score, _)| score),
    }
}

/// Whether a node passes every filter for a workload. `has_group`: whether somebody of an
/// anti-affinity group is there.
pub(crate) fn passes(
    node: &NodeRecord,
    record: &WorkloadRecord,
    taken: Resources,
    has_group: &dyn Fn(&str) -> bool,
) -> bool {
    let (asks, has) = (record.resources, &node.resources);
    let limits = &record.constraints;
    let mut labels = limits.labels.iter();
    let group = limits.anti_affinity.as_deref();
    let mut volumes = record.spec.managed_volumes().iter();
    node.status == NodeStatus::Ready
        && node.schedulable
        && node
            .supported_workload_types
            .contains(&record.workload_type())
        && labels.all(|(key, value)| node.labels.get(key) == Some(value))
        && volumes.all(|volume| node.supported_storage_drivers.contains(&volume.driver))
        && fits(asks.cpu.0, taken.cpu.0, has.cpu_total.0)
        && fits(asks.memory_mb.0, taken.memory_mb.0, has.memory_total.0)
        && has
            .disk_total
            .is_none_or(|disk| fits(asks.disk_gb.0, taken.disk_gb.0, disk.0))
        && group.is_none_or(|group| !has_group(group))
}

/// Who asks for nothing fits, even where a node that shrank has more taken than it has.
const fn fits(asked: u64, taken: u64, total: u64) -> bool {
    asked <= total.saturating_sub(taken)
}

/// The mean of what is taken of each resource, parts per million, rounded down twice.
fn utilization(node: &NodeRecord, taken: Resources) -> u64 {
    let part = |taken: u64, total: u64| {
        if taken >= total {
            1_000_000
        } else {
            taken * 1_000_000 / total
        }
    };
    let has = &node.resources;
    let (cpu, memory) = (
        part(taken.cpu.0, has.cpu_total.0),
        part(taken.memory_mb.0, has.memory_total.0),
    );
    match has.disk_total {
        Some(disk) => (cpu + memory + part(taken.disk_gb.0, disk.0)) / 3,
        None => (cpu + memory) / 2,
    }
}

/// Reads a transaction's records.
pub(crate) fn flight(txn: Txn, memo: &mut Memo) -> Flight {
    let mut flight = Flight {
        txn,
        nodes: std::collections::BTreeMap::new(),
        workloads: std::collections::BTreeMap::new(),
        homes: std::collections::BTreeMap::new(),
    };
    for op in &flight.txn.ops {
        match op {
            Op::Put {
                key: Key::Workload(id),
                value,
            } => {
                if let Ok(record) = memo.workloads.read(id, value.as_bytes()) {
                    flight.workloads.insert(id.clone(), record);
                }
            }
            Op::Put {
                key: Key::Assignment(id),
                value,
            } => {
                let record = memo.assignments.read(id, value.as_bytes()).ok();
                flight.homes.insert(id.clone(), record);
            }
            Op::Put {
                key: Key::Node(id),
                value,
            } => {
                let record = memo.nodes.read(id, value.as_bytes()).ok();
                flight.nodes.insert(id.clone(), record);
            }
            Op::Delete { key: Key::Node(id) } => {
                flight.nodes.insert(id.clone(), None);
            }
            Op::Delete {
                key: Key::Assignment(id),
            } => {
                flight.homes.insert(id.clone(), None);
            }
            Op::Put { .. } | Op::Delete { .. } | Op::DeleteEventsBefore { .. } => {}
        }
    }
    flight
}
