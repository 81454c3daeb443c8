//! The exhaustive definition of placement (S5): filter every node, order those that fit, take the
//! first. Whatever is faster is checked against this.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::filters::{self, first_refusing};
use super::score::utilization;
use super::types::{Candidate, Demand, Filter, PlacementNote, Ppm, Strategy};
use crate::model::id::{NodeId, StoreRevision};
use crate::model::time::Timestamp;
use crate::model::units::Resources;
use crate::planted::{Bug, planted};

/// Decides where the workload goes, looking at every node (S5, S21).
///
/// The nodes that pass every filter are ordered by, first, how many workloads `spread` counts
/// under the node's value of the label `spread_by`, if the demand asks for spread (a value that is
/// not in `spread` counts zero; a node without the label comes last); then utilization, ascending,
/// or descending for [`Strategy::BinPack`]; then id. The order in which `nodes` come is irrelevant;
/// each may come once only.
pub fn place<'a>(
    strategy: Strategy,
    nodes: impl Iterator<Item = Candidate<'a>>,
    demand: &Demand<'_>,
    spread: &BTreeMap<String, u32>,
    at_revision: StoreRevision,
    now: Timestamp,
) -> PlacementNote {
    let mut tally = Tally::default();
    let mut best: Option<(Rank<'a>, Ppm)> = None;
    for node in nodes {
        if !tally.ask(&node, demand) {
            continue;
        }
        let score = utilization(&node);
        let rank = Rank::new(strategy, &node, score, demand, spread);
        if best.as_ref().is_none_or(|(least, _)| rank.precedes(least)) {
            best = Some((rank, score));
        }
    }
    let chosen = best.map(|(rank, score)| (rank.id.clone(), score));
    tally.note(chosen, demand, at_revision, now)
}

/// Where a node that fits stands in the order; the least is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    pub(super) spread: SpreadRank,
    utilization: UtilizationRank,
    pub(super) id: &'a NodeId,
}

impl<'a> Rank<'a> {
    pub(super) fn new(
        strategy: Strategy,
        node: &Candidate<'a>,
        score: Ppm,
        demand: &Demand<'_>,
        spread: &BTreeMap<String, u32>,
    ) -> Self {
        Self {
            spread: SpreadRank::new(node, demand, spread),
            utilization: match strategy {
                Strategy::LeastUtilized => UtilizationRank::Ascending(score),
                Strategy::BinPack => UtilizationRank::Descending(Reverse(score)),
            },
            id: node.id,
        }
    }
}

impl Rank<'_> {
    /// Whether it is preferred to the other.
    pub(super) fn precedes(&self, other: &Rank<'_>) -> bool {
        let ties = (self.spread, self.utilization) == (other.spread, other.utilization);
        self < other || planted(Bug::TieBreak) && ties
    }
}

/// Utilization as the strategy orders it. Within one decision only one of the arms occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum UtilizationRank {
    Ascending(Ppm),
    Descending(Reverse<Ppm>),
}

/// Where spreading puts a node: few workloads under its label's value first, no label last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SpreadRank {
    /// So many workloads run under the value; zero, too, when no spread is asked for.
    Under(u32),
    /// The node does not have the label.
    Unlabelled,
}

impl SpreadRank {
    /// Nothing orders before this.
    pub(super) const FIRST: Self = Self::Under(0);

    fn new(node: &Candidate<'_>, demand: &Demand<'_>, spread: &BTreeMap<String, u32>) -> Self {
        let wanted = demand.constraints.spread_by.as_ref();
        let Some(key) = wanted.filter(|_| !planted(Bug::SpreadIgnored)) else {
            return Self::FIRST;
        };
        match node.labels.get(key) {
            Some(value) => Self::Under(spread.get(value).copied().unwrap_or(0)),
            None => Self::Unlabelled,
        }
    }
}

/// Counts what the filters say while nodes are asked.
#[derive(Debug, Default)]
pub(super) struct Tally {
    examined: u32,
    candidates: u32,
    refused: BTreeMap<Filter, u32>,
    most_available: Resources,
}

impl Tally {
    /// Asks the node, counts the answer, and says whether it fits.
    pub(super) fn ask(&mut self, node: &Candidate<'_>, demand: &Demand<'_>) -> bool {
        self.examined += 1;
        let Some(filter) = first_refusing(node, demand) else {
            self.candidates += 1;
            return true;
        };
        *self.refused.entry(filter).or_default() += 1;
        let most = &mut self.most_available;
        match filter {
            Filter::Cpu => raise(&mut most.cpu.0, filters::cpu(node, demand).available),
            Filter::Memory => raise(
                &mut most.memory_mb.0,
                filters::memory(node, demand).available,
            ),
            Filter::Disk => {
                let room = filters::disk(node, demand);
                raise(&mut most.disk_gb.0, room.map_or(0, |room| room.available));
            }
            Filter::Ready
            | Filter::NotDraining
            | Filter::Schedulable
            | Filter::WorkloadType
            | Filter::RuntimeAvailable
            | Filter::StorageDrivers
            | Filter::Labels
            | Filter::AntiAffinity => {}
        }
        false
    }

    /// The record of a decision for which every node there is was asked.
    pub(super) fn note(
        self,
        chosen: Option<(NodeId, Ppm)>,
        demand: &Demand<'_>,
        at_revision: StoreRevision,
        now: Timestamp,
    ) -> PlacementNote {
        let (node, score_ppm) = chosen.unzip();
        PlacementNote {
            node,
            score_ppm,
            nodes: self.examined,
            examined: self.examined,
            candidates: self.candidates,
            refused: self.refused,
            requested: demand.resources,
            most_available: self.most_available,
            at_revision,
            decided_at: now,
        }
    }
}

fn raise(most: &mut u64, to: u64) {
    *most = (*most).max(to);
}
