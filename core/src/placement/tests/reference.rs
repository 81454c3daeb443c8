//! Placement once more, as naively as it can be said: list what is wrong with every node, sort the
//! nodes with nothing wrong, take the first. Shares no code with the real thing.

use std::collections::BTreeMap;

use super::world::{Ask, Node, World};
use crate::model::node::NodeStatus;
use crate::placement::{Filter, Strategy};

/// What the reference answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) chosen: Option<String>,
    pub(super) score: Option<u64>,
    pub(super) candidates: u32,
    pub(super) refused: BTreeMap<Filter, u32>,
}

pub(super) fn answer(world: &World) -> Answer {
    let mut answer = Answer::default();
    let mut fitting: Vec<(u64, i64, String)> = Vec::new();
    for node in &world.nodes {
        if let Some(first) = wrong(node, &world.ask).into_iter().min() {
            *answer.refused.entry(first).or_insert(0) += 1;
            continue;
        }
        answer.candidates += 1;
        let spread = match &world.ask.constraints.spread_by {
            None => 0,
            Some(key) if !node.labels.contains_key(key) => u64::MAX,
            Some(key) => *world.spread.get(&node.labels[key]).unwrap_or(&0) as u64,
        };
        let sign = if world.strategy == Strategy::BinPack {
            -1
        } else {
            1
        };
        fitting.push((spread, sign * score(node), node.id.to_string()));
    }
    fitting.sort();
    if let Some((_, signed, id)) = fitting.first() {
        answer.chosen = Some(id.clone());
        answer.score = Some(signed.unsigned_abs());
    }
    answer
}

/// Everything that is wrong with a node, in no particular order.
pub(super) fn wrong(node: &Node, ask: &Ask) -> Vec<Filter> {
    let mut wrong = Vec::new();
    let mut unless = |fine: bool, filter| {
        if !fine {
            wrong.push(filter);
        }
    };
    for (asked, taken, total, filter) in dimensions(node, ask) {
        unless(asked == 0 || taken + asked <= total, filter);
    }
    if let Some(group) = &ask.constraints.anti_affinity {
        let mut others = node.groups.get(group).cloned().unwrap_or_default();
        others.remove(&ask.workload);
        unless(others.is_empty(), Filter::AntiAffinity);
    }
    for label in &ask.constraints.labels {
        if !node.labels.iter().any(|has| has == label) {
            unless(false, Filter::Labels);
        }
    }
    unless(ask.drivers.is_subset(&node.drivers), Filter::StorageDrivers);
    unless(!node.avoided.contains(&ask.kind), Filter::RuntimeAvailable);
    unless(node.types.contains(&ask.kind), Filter::WorkloadType);
    unless(node.schedulable, Filter::Schedulable);
    match node.status {
        NodeStatus::Ready => {}
        NodeStatus::NotReady => unless(false, Filter::Ready),
        NodeStatus::Draining => unless(false, Filter::NotDraining),
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// (asked, taken, total, filter) of each dimension that is known, wide enough to add up.
pub(super) fn dimensions(node: &Node, ask: &Ask) -> Vec<(u128, u128, u128, Filter)> {
    let (asked, taken, has) = (ask.resources, node.reserved, node.capacity);
    let mut all = vec![
        (asked.cpu.0, taken.cpu.0, has.cpu_total.0, Filter::Cpu),
        (
            asked.memory_mb.0,
            taken.memory_mb.0,
            has.memory_total.0,
            Filter::Memory,
        ),
    ];
    if let Some(total) = has.disk_total {
        all.push((asked.disk_gb.0, taken.disk_gb.0, total.0, Filter::Disk));
    }
    let wide = |(a, t, n, filter): (u64, u64, u64, _)| (a.into(), t.into(), n.into(), filter);
    all.into_iter().map(wide).collect()
}

/// Utilization in parts per million.
pub(super) fn score(node: &Node) -> i64 {
    let parts: Vec<u128> = dimensions(node, &Ask::new(0, 0, 0))
        .into_iter()
        .map(|(_, taken, total, _)| {
            let full = 1_000_000;
            (taken * full).checked_div(total).unwrap_or(full).min(full)
        })
        .collect();
    let mean = parts.iter().sum::<u128>() / parts.len() as u128;
    i64::try_from(mean).unwrap()
}
