//! The fast path of placement: nodes kept in the order in which the exhaustive definition prefers
//! them, so that usually the first that is asked is the answer.

use std::collections::{BTreeMap, BTreeSet};

use super::place::{Rank, SpreadRank, Tally};
use super::types::{Candidate, Demand, PlacementNote, Ppm, Strategy};
use crate::model::id::{NodeId, StoreRevision};
use crate::model::time::Timestamp;

/// All nodes, by utilization and then id.
///
/// Holds an entry for every node of the image, whatever its status: whether a node fits is asked
/// of the node, never of the index, so only a change of a node's capacity or of its reservations
/// needs an [`upsert`](Self::upsert).
///
/// The chosen node and its score are always those of [`place`](super::place()) (S5). How many
/// nodes are visited depends:
///
/// - without spread, all that come before the chosen one: few if the order finds a fit early, as
///   [`Strategy::LeastUtilized`] does unless labels or types are rare; with [`Strategy::BinPack`],
///   every node that is too full already;
/// - with spread, all, unless a fitting node is met under whose label's value nothing runs;
/// - if nothing fits, all: then the note's counts are those of the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementIndex {
    by_utilization: BTreeMap<Ppm, BTreeSet<NodeId>>,
    scores: BTreeMap<NodeId, Ppm>,
}

impl PlacementIndex {
    /// Adds a node, or moves it to its new utilization: what
    /// [`utilization`](super::utilization()) says of its candidate now.
    pub fn upsert(&mut self, node: &NodeId, score: Ppm) {
        match self.scores.insert(node.clone(), score) {
            Some(before) if before == score => return,
            Some(before) => self.forget(node, before),
            None => {}
        }
        let group = self.by_utilization.entry(score).or_default();
        group.insert(node.clone());
    }

    /// Removes a node; nothing happens if it is not there.
    pub fn remove(&mut self, node: &NodeId) {
        if let Some(before) = self.scores.remove(node) {
            self.forget(node, before);
        }
    }

    fn forget(&mut self, node: &NodeId, score: Ppm) {
        let group = self.by_utilization.get_mut(&score);
        let group = group.expect("every node stands in the group of its score");
        group.remove(node);
        if group.is_empty() {
            self.by_utilization.remove(&score);
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Decides as [`place`](super::place()) does, asking only the nodes that it must.
    ///
    /// The note's `candidates`, `refused` and `most_available` cover the `examined` nodes only;
    /// everything else in it is the same, and all of it is if nothing fits. `node_of` answers the
    /// node of the image with that id; the image and the index must hold the same nodes, at the
    /// same utilization (checked where debug assertions are on).
    pub fn place<'a>(
        &self,
        strategy: Strategy,
        node_of: impl Fn(&NodeId) -> Option<Candidate<'a>>,
        demand: &Demand<'_>,
        spread: &BTreeMap<String, u32>,
        at_revision: StoreRevision,
        now: Timestamp,
    ) -> PlacementNote {
        let mut tally = Tally::default();
        let mut best: Option<(Rank<'a>, Ppm)> = None;
        for (id, score) in self.in_order(strategy) {
            let node = node_of(id);
            debug_assert!(node.is_some(), "{id} is in the index and not in the image");
            let Some(node) = node else { continue };
            debug_assert_eq!(score, super::utilization(&node), "{id} is out of date");
            if !tally.ask(&node, demand) {
                continue;
            }
            let rank = Rank::new(strategy, &node, score, demand, spread);
            if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                best = Some((rank, score));
            }
            // Who comes later is less preferred by utilization and id, and cannot do better in
            // spread than the best there is.
            if best.is_some_and(|(least, _)| least.spread == SpreadRank::FIRST) {
                break;
            }
        }
        let chosen = best.map(|(rank, score)| (rank.id.clone(), score));
        let nodes = u32::try_from(self.len()).unwrap_or(u32::MAX);
        PlacementNote {
            nodes,
            ..tally.note(chosen, demand, at_revision, now)
        }
    }

    /// Every node in the order of the strategy: utilization either way, ids always ascending.
    fn in_order(&self, strategy: Strategy) -> impl Iterator<Item = (&NodeId, Ppm)> {
        let groups: Box<dyn Iterator<Item = (&Ppm, &BTreeSet<NodeId>)>> = match strategy {
            Strategy::LeastUtilized => Box::new(self.by_utilization.iter()),
            Strategy::BinPack => Box::new(self.by_utilization.iter().rev()),
        };
        groups.flat_map(|(score, ids)| ids.iter().map(|id| (id, *score)))
    }
}
