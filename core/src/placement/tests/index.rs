//! The fast path against the exhaustive definition.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::world::{Ask, Node, World, node, resources, worlds};
use crate::model::id::{NodeId, StoreRevision};
use crate::model::time::Timestamp;
use crate::model::units::Resources;
use crate::placement::{
    Candidate, PlacementIndex, PlacementNote, Ppm, Question, Strategy as Order, place, utilization,
};

type Image = BTreeMap<NodeId, Node>;

fn indexed(image: &Image) -> PlacementIndex {
    let mut index = PlacementIndex::default();
    for node in image.values() {
        index.upsert(&node.id, utilization(&node.candidate()));
    }
    index
}

fn node_of<'a>(image: &'a Image) -> impl Fn(&NodeId) -> Option<Candidate<'a>> {
    |id| image.get(id).map(Node::candidate)
}

/// What the workload itself has reserved, per node.
type Own = BTreeMap<NodeId, Resources>;

/// Both answers.
fn both(
    image: &Image,
    index: &PlacementIndex,
    world: &World,
    own: &Own,
) -> (PlacementNote, PlacementNote) {
    let candidate = |id: &NodeId| {
        let mut candidate = image.get(id)?.candidate();
        candidate.reserved = candidate.reserved - own.get(id).copied().unwrap_or_default();
        Some(candidate)
    };
    let question = question(world.strategy, &world.ask, &world.spread);
    let Question {
        strategy,
        ref demand,
        spread,
        at_revision,
        now,
    } = question;
    let all = image.keys().filter_map(candidate);
    let exhaustive = place(strategy, all, demand, spread, at_revision, now);
    let fast = index.place(&question, &own.keys().collect(), candidate);
    (exhaustive, fast)
}

fn question<'a>(strategy: Order, ask: &'a Ask, spread: &'a BTreeMap<String, u32>) -> Question<'a> {
    let (demand, at_revision) = (ask.demand(), StoreRevision(7));
    Question {
        strategy,
        demand,
        spread,
        at_revision,
        now: Timestamp::from_millis(1_000),
    }
}

fn node_id(n: u8) -> NodeId {
    format!("node-{n}").parse().unwrap()
}

#[test]
fn the_common_case_visits_one_node() {
    let ids = (0..1_000).map(|n| format!("node-{n:04}"));
    let nodes = ids.map(|id| Node::new(&id)).enumerate();
    let image: Image = nodes
        .map(|(n, node)| (node.id.clone(), node.reserving(n as u64, 0, 0)))
        .collect();
    let index = indexed(&image);
    let visited = Cell::new(0);
    let counting = |id: &NodeId| {
        visited.set(visited.get() + 1);
        image.get(id).map(Node::candidate)
    };
    let ask = Ask::new(1, 1, 1);
    let spread = BTreeMap::new();
    let question = question(Order::default(), &ask, &spread);
    let note = index.place(&question, &BTreeSet::new(), counting);
    assert_eq!(note.node.unwrap().as_str(), "node-0000");
    assert_eq!(
        (note.nodes, note.examined, note.candidates, visited.get()),
        (1_000, 1, 1, 1)
    );
}

#[test]
fn spread_stops_at_a_value_without_workloads() {
    let zone = |n: usize| if n < 3 { "a" } else { "b" };
    let image: Image = (0..100)
        .map(|n| Node::new(&format!("node-{n:04}")).labelled("zone", zone(n)))
        .map(|node| (node.id.clone(), node))
        .collect();
    let (index, ask) = (indexed(&image), Ask::new(1, 1, 1).spread_by("zone"));
    let spread = [("a".to_owned(), 1)].into();
    let question = question(Order::default(), &ask, &spread);
    let note = index.place(&question, &BTreeSet::new(), node_of(&image));
    assert_eq!(note.node.unwrap().as_str(), "node-0003");
    assert_eq!(note.examined, 4);
}

#[test]
fn nodes_come_and_go() {
    let mut index = PlacementIndex::default();
    let id: NodeId = "node-1".parse().unwrap();
    index.remove(&id);
    index.upsert(&id, Ppm(1));
    index.upsert(&id, Ppm(1));
    index.upsert(&id, Ppm(2));
    assert_eq!(index.len(), 1);
    index.remove(&id);
    assert!(index.is_empty());
    assert_eq!(index, PlacementIndex::default());
}

#[test]
fn an_index_is_empty_without_nodes() {
    let mut index = PlacementIndex::default();
    assert!(index.is_empty());
    let id: NodeId = "node-1".parse().unwrap();
    index.upsert(&id, Ppm(1));
    assert!(!index.is_empty());
    index.upsert(&id, Ppm(1));
    assert_eq!(index.len(), 1);
    index.remove(&id);
    assert!(index.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_index_chooses_as_the_exhaustive_definition_does(
        world in worlds(),
        own in btree_map(0..14_u8, resources(3), 0..3),
    ) {
        let image: Image = world.nodes.iter().map(|n| (n.id.clone(), n.clone())).collect();
        // Some of these are no nodes of the image: that must not matter.
        let own = own.into_iter().map(|(n, own)| (node_id(n), own)).collect();
        let (exhaustive, fast) = both(&image, &indexed(&image), &world, &own);
        prop_assert_eq!((&fast.node, fast.score_ppm), (&exhaustive.node, exhaustive.score_ppm));
        prop_assert_eq!(fast.nodes, exhaustive.nodes);
        prop_assert!(fast.examined <= fast.nodes);
        prop_assert_eq!(fast.candidates + fast.refused.values().sum::<u32>(), fast.examined);
        if fast.node.is_none() {
            prop_assert_eq!(fast, exhaustive);
        }
    }

    /// Kept up to date change by change, the index equals one that is built anew, and goes on
    /// choosing the same nodes.
    #[test]
    fn the_index_follows_the_image(
        world in worlds(),
        changes in vec((0..6_u8, prop::option::weighted(0.7, node())), 0..30),
    ) {
        let (mut image, mut index) = (Image::new(), PlacementIndex::default());
        for (n, change) in changes {
            let id = node_id(n);
            match change {
                Some(node) => {
                    let node = Node { id: id.clone(), ..node };
                    index.upsert(&id, utilization(&node.candidate()));
                    image.insert(id, node);
                }
                None => {
                    index.remove(&id);
                    image.remove(&id);
                }
            }
            let (exhaustive, fast) = both(&image, &index, &world, &Own::new());
            prop_assert_eq!(fast.node, exhaustive.node);
        }
        prop_assert_eq!(&index, &indexed(&image));
    }
}
