//! A decision in words: what is in the way, which nodes come nearest, and what would help.
//!
//! All of it is read off the filters' own answers; nothing is decided here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::advice::{self, Obstacle};
use super::filters::{self, refusals};
use super::types::{Candidate, Demand, Filter, NearMiss, PlacementNote};
use crate::model::id::NodeId;
use crate::model::units::Resources;

/// At most so many nodes are named as nearest.
pub const NEAREST_MAX: usize = 5;

/// What people want to know of a decision beyond its note.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advice {
    /// When nothing fits: the nodes that come nearest, at most [`NEAREST_MAX`]. Fewest refusals
    /// first, then the smallest shortfall, then by id.
    pub nearest: Vec<NearMiss>,
    /// When nothing fits: what would have to change, most effective first.
    pub would_help: Vec<String>,
    /// The decision in one line; [`summary`], and on how many nodes the disk is unknown.
    pub summary: String,
}

/// Puts a decision into words (S21). `note` is what [`super::place()`] answered for `demand` on
/// `nodes`; for an older note `nodes` may be empty, and only the summary is made.
pub fn explain<'a>(
    note: &PlacementNote,
    nodes: impl Iterator<Item = Candidate<'a>>,
    demand: &Demand<'_>,
) -> Advice {
    let mut disks_unknown = 0_u32;
    let mut largest = Resources::default();
    let mut misses: BTreeMap<Nearness<'a>, Miss<'a>> = BTreeMap::new();
    for node in nodes {
        disks_unknown += u32::from(node.capacity.disk_total.is_none());
        advice::raise_to_total(&mut largest, &node);
        if note.node.is_some() {
            continue;
        }
        let found = Miss::new(node, demand);
        if !found.refusals.is_empty() {
            misses.insert(found.nearness(), found);
            if misses.len() > NEAREST_MAX {
                misses.pop_last();
            }
        }
    }
    let mut advice = Advice {
        summary: summary(note),
        ..Advice::default()
    };
    if disks_unknown > 0 && demand.resources.disk_gb.0 > 0 {
        let nodes = count(disks_unknown, "node");
        advice.summary += &format!("; disk is unknown on {nodes} and not filtered there");
    }
    if note.node.is_some() {
        return advice;
    }
    let obstacles = misses
        .values()
        .map(|miss| (miss.node.id, miss.obstacles(demand)));
    advice.would_help = advice::would_help(obstacles, demand, largest);
    advice.nearest = misses.into_values().map(Miss::into_near_miss).collect();
    advice
}

/// The decision in one line, from its note alone: also what a pending workload stores as its
/// reason. Contains `no suitable node` exactly if nothing fits: existing clients look for that.
#[must_use]
pub fn summary(note: &PlacementNote) -> String {
    if let Some(node) = &note.node {
        let score = note.score_ppm.unwrap_or_default();
        let fit = if note.candidates == 1 { "fits" } else { "fit" };
        let all = count(note.nodes, "node");
        let of = if note.examined == note.nodes {
            all
        } else {
            format!("the {} examined of {all}", note.examined)
        };
        let candidates = note.candidates;
        return format!("{node} chosen, {score} utilized before; {candidates} of {of} {fit}");
    }
    if note.nodes == 0 {
        return "no suitable node: there are no nodes".to_owned();
    }
    let mut by_count: Vec<_> = note.refused.iter().collect();
    by_count.sort_by_key(|&(filter, count)| (Reverse(count), filter));
    let parts: Vec<_> = by_count
        .into_iter()
        .map(|(filter, count)| format!("{count} {}", reason(*filter, note)))
        .collect();
    let nodes = count(note.nodes, "node");
    format!("no suitable node: 0 of {nodes} fit: {}", parts.join(", "))
}

/// What stands behind the count of nodes that a filter refused.
fn reason(filter: Filter, note: &PlacementNote) -> String {
    let (asked, most) = (note.requested, note.most_available);
    let room = |name: &str, requested: String, available: u64| {
        format!("refused by {name} ({requested} requested, at most {available} available)")
    };
    match filter {
        Filter::Ready => "not ready".to_owned(),
        Filter::NotDraining => "draining".to_owned(),
        Filter::Schedulable => "cordoned".to_owned(),
        Filter::WorkloadType => "without support for this type of workload".to_owned(),
        Filter::RuntimeAvailable => {
            "whose runtime for this type of workload was not available lately".to_owned()
        }
        Filter::StorageDrivers => "without the storage drivers".to_owned(),
        Filter::Labels => "without the labels".to_owned(),
        Filter::AntiAffinity => "holding another workload of the anti-affinity group".to_owned(),
        Filter::Cpu => room("cpu", asked.cpu.to_string(), most.cpu.0),
        Filter::Memory => room("memory", asked.memory_mb.to_string(), most.memory_mb.0),
        Filter::Disk => room("disk", asked.disk_gb.to_string(), most.disk_gb.0),
    }
}

/// `1 node`, `2 nodes`.
fn count(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A node that does not fit.
struct Miss<'a> {
    node: Candidate<'a>,
    refusals: Vec<super::types::Refusal>,
    shortfall_ppm: u128,
}

/// The order of misses, nearest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Nearness<'a> {
    refusals: usize,
    shortfall_ppm: u128,
    id: &'a NodeId,
}

impl<'a> Miss<'a> {
    fn new(node: Candidate<'a>, demand: &Demand<'_>) -> Self {
        Self {
            refusals: refusals(&node, demand),
            shortfall_ppm: shortfall_ppm(&node, demand),
            node,
        }
    }

    fn nearness(&self) -> Nearness<'a> {
        Nearness {
            refusals: self.refusals.len(),
            shortfall_ppm: self.shortfall_ppm,
            id: self.node.id,
        }
    }

    fn obstacles(&self, demand: &Demand<'_>) -> Vec<Obstacle> {
        let obstacle = |refusal| Obstacle::new(refusal, &self.node, demand);
        self.refusals.iter().map(obstacle).collect()
    }

    fn into_near_miss(self) -> NearMiss {
        NearMiss {
            node: self.node.id.clone(),
            refusals: self.refusals,
        }
    }
}

/// What is missing of each dimension, as a share of what is asked for, summed up: dimensions with
/// different units become comparable.
fn shortfall_ppm(node: &Candidate<'_>, demand: &Demand<'_>) -> u128 {
    let rooms = [
        Some(filters::cpu(node, demand)),
        Some(filters::memory(node, demand)),
        filters::disk(node, demand),
    ];
    let share = |room: filters::Room| {
        u128::from(room.shortfall) * 1_000_000 / u128::from(room.requested.max(1))
    };
    rooms.into_iter().flatten().map(share).sum()
}
