//! The fast path of placement: nodes kept in the order in which the exhaustive definition prefers
//! them, so that usually the first that is asked is the answer.

use std::collections::{BTreeMap, BTreeSet};

use super::place::{Rank, SpreadRank, Tally};
use super::score::utilization;
use super::types::{Candidate, PlacementNote, Ppm, Question, Strategy};
use crate::model::id::NodeId;

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
    /// [`utilization`] says of its candidate now.
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
    /// `node_of` answers the node of the image with that id, less what the workload itself has
    /// reserved on it. `apart` names the nodes where that is something: for this decision they do
    /// not stand where the index has them, and are asked before all others. At every other node,
    /// the utilization must be the one that the index has (checked where debug assertions are on),
    /// and the image must hold exactly the nodes of the index.
    ///
    /// The note's `candidates`, `refused` and `most_available` cover the `examined` nodes only;
    /// everything else in it is the same, and all of it is if nothing fits.
    pub fn place<'a>(
        &self,
        question: &Question<'_>,
        apart: &BTreeSet<&NodeId>,
        node_of: impl Fn(&NodeId) -> Option<Candidate<'a>>,
    ) -> PlacementNote {
        let mut search = Search {
            question,
            tally: Tally::default(),
            best: None,
        };
        for id in apart {
            if let Some(node) = node_of(id) {
                search.ask(&node, utilization(&node));
            }
        }
        for (id, score) in self.in_order(question.strategy) {
            if apart.contains(id) {
                continue;
            }
            let node = node_of(id);
            debug_assert!(node.is_some(), "{id} is in the index and not in the image");
            let Some(node) = node else { continue };
            debug_assert_eq!(score, utilization(&node), "{id} is out of date");
            // Whoever fits here is preferred by utilization and id to all who follow, so that
            // spread alone could decide for one of them; and nobody has a better spread than this.
            if search.ask(&node, score) == Some(SpreadRank::FIRST) {
                break;
            }
        }
        let nodes = u32::try_from(self.len()).unwrap_or(u32::MAX);
        PlacementNote {
            nodes,
            ..search.note()
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

/// A decision on its way.
struct Search<'q, 'a> {
    question: &'q Question<'q>,
    tally: Tally,
    best: Option<(Rank<'a>, Ppm)>,
}

impl<'a> Search<'_, 'a> {
    /// Asks a node; if it fits, how spreading ranks it.
    fn ask(&mut self, node: &Candidate<'a>, score: Ppm) -> Option<SpreadRank> {
        let Question {
            strategy,
            ref demand,
            spread,
            ..
        } = *self.question;
        if !self.tally.ask(node, demand) {
            return None;
        }
        let rank = Rank::new(strategy, node, score, demand, spread);
        if self.best.is_none_or(|(least, _)| rank.precedes(&least)) {
            self.best = Some((rank, score));
        }
        Some(rank.spread)
    }

    fn note(self) -> PlacementNote {
        let Question {
            ref demand,
            at_revision,
            now,
            ..
        } = *self.question;
        let chosen = self.best.map(|(rank, score)| (rank.id.clone(), score));
        self.tally.note(chosen, demand, at_revision, now)
    }
}
