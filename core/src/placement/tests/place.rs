//! Which node is chosen.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::reference;
use super::world::{Ask, Node, World, capacity, node, worlds};
use crate::model::id::StoreRevision;
use crate::model::node::NodeStatus;
use crate::model::time::Timestamp;
use crate::model::units::Resources;
use crate::placement::{
    Candidate, Filter, PlacementNote, Ppm, Strategy as Order, fits, place, utilization,
};

const AT: StoreRevision = StoreRevision(7);
const NOW: Timestamp = Timestamp::from_millis(1_000);

fn decide(world: &World) -> PlacementNote {
    decide_among(world, world.candidates())
}

fn decide_among<'a>(world: &World, of: impl Iterator<Item = Candidate<'a>>) -> PlacementNote {
    place(
        world.strategy,
        of,
        &world.ask.demand(),
        &world.spread,
        AT,
        NOW,
    )
}

/// The chosen node among `nodes`, as text.
fn chosen(order: Order, nodes: &[Node], ask: &Ask, spread: &[(&str, u32)]) -> Option<String> {
    let spread = spread
        .iter()
        .map(|(value, n)| ((*value).to_owned(), *n))
        .collect();
    let nodes = nodes.iter().map(Node::candidate);
    let note = place(order, nodes, &ask.demand(), &spread, AT, NOW);
    note.node.map(|id| id.to_string())
}

#[test]
fn the_least_utilized_is_chosen_or_the_fullest_then_the_first_by_id() {
    let nodes = [
        Node::new("node-4").reserving(1000, 0, 0),
        Node::new("node-3").reserving(2000, 0, 0),
        Node::new("node-2").reserving(2000, 0, 0),
        Node::new("node-1").reserving(1000, 0, 0),
    ];
    let one = Ask::new(1, 1, 1);
    let by = |order| chosen(order, &nodes, &one, &[]);
    assert_eq!(by(Order::LeastUtilized).as_deref(), Some("node-1"));
    assert_eq!(by(Order::BinPack).as_deref(), Some("node-2"));
}

#[test]
fn disk_alone_tells_nodes_apart() {
    let nodes = [Node::new("node-1").reserving(0, 0, 50), Node::new("node-2")];
    let by = chosen(Order::LeastUtilized, &nodes, &Ask::new(1, 1, 1), &[]);
    assert_eq!(by.as_deref(), Some("node-2"));
}

#[test]
fn spread_comes_before_utilization_and_no_label_comes_last() {
    let nodes = [
        Node::new("node-1"),
        Node::new("node-2").labelled("zone", "a"),
        Node::new("node-3")
            .labelled("zone", "b")
            .reserving(3000, 0, 0),
        Node::new("node-4")
            .labelled("zone", "c")
            .reserving(2000, 0, 0),
    ];
    let ask = Ask::new(1, 1, 1).spread_by("zone");
    let by = |of: &[Node], counts: &[_]| chosen(Order::LeastUtilized, of, &ask, counts);
    assert_eq!(
        by(&nodes, &[("a", 1), ("b", 0)]).as_deref(),
        Some("node-4"),
        "c counts zero"
    );
    assert_eq!(
        by(&nodes, &[("a", 2), ("b", 1), ("c", 3)]).as_deref(),
        Some("node-3")
    );
    assert_eq!(
        by(&nodes[..2], &[("a", u32::MAX)]).as_deref(),
        Some("node-2")
    );
    assert_eq!(by(&nodes[..1], &[]).as_deref(), Some("node-1"));
}

#[test]
fn the_note_counts_each_node_once_and_tells_the_most_room() {
    let mut nodes = [
        Node::new("node-1").reserving(3000, 8192, 0),
        Node::new("node-2").reserving(2500, 0, 0),
        Node::new("node-3"),
        Node::new("node-4"),
    ];
    nodes[2].status = NodeStatus::NotReady;
    nodes[2].schedulable = false;
    nodes[3].capacity = capacity(4000, 1024, None);
    let ask = Ask::new(2000, 2048, 1);
    let all = nodes.iter().map(Node::candidate);
    let note = place(
        Order::default(),
        all,
        &ask.demand(),
        &BTreeMap::new(),
        AT,
        NOW,
    );
    let expected = PlacementNote {
        node: None,
        score_ppm: None,
        nodes: 4,
        examined: 4,
        candidates: 0,
        refused: [(Filter::Ready, 1), (Filter::Cpu, 2), (Filter::Memory, 1)].into(),
        requested: ask.resources,
        most_available: Resources::new(1500, 1024, 0),
        at_revision: AT,
        decided_at: NOW,
    };
    assert_eq!(note, expected);
    let later = PlacementNote {
        decided_at: Timestamp::from_millis(2_000),
        ..note.clone()
    };
    assert!(note.same_outcome(&later));
    assert!(!note.same_outcome(&PlacementNote {
        candidates: 1,
        ..later
    }));
}

#[test]
fn the_score_rounds_down_and_knows_its_edges() {
    let of = |total, reserved: Resources| {
        let mut node = Node::new("node-1");
        (node.capacity, node.reserved) = (total, reserved);
        utilization(&node.candidate())
    };
    let third = Resources::new(1, 1, 1);
    assert_eq!(of(capacity(3, 3, Some(3)), third), Ppm(333_333));
    assert_eq!(
        of(capacity(3, 3, None), third),
        Ppm(333_333),
        "the disk is left out"
    );
    assert_eq!(
        of(capacity(2, 4, Some(0)), Resources::default()),
        Ppm(333_333),
        "none is full"
    );
    assert_eq!(
        of(capacity(1, 2, Some(3)), third),
        Ppm((1_000_000 + 500_000 + 333_333) / 3)
    );
    assert_eq!(
        of(capacity(1, 1, Some(1)), Resources::new(9, 9, 9)),
        Ppm::FULL
    );
    let most = u64::MAX;
    let nearly = Resources::new(most - 1, most - 1, most - 1);
    assert_eq!(of(capacity(most, most, Some(most)), nearly), Ppm(999_999));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn placement_is_that_of_the_reference(world in worlds()) {
        let note = decide(&world);
        let got = reference::Answer {
            chosen: note.node.as_ref().map(ToString::to_string),
            score: note.score_ppm.map(|score| score.0),
            candidates: note.candidates,
            refused: note.refused.clone(),
        };
        prop_assert_eq!(got, reference::answer(&world));
        prop_assert_eq!(note.nodes as usize, world.nodes.len());
        prop_assert_eq!(note.candidates + note.refused.values().sum::<u32>(), note.nodes);
    }

    #[test]
    fn the_chosen_node_fits_and_keeps_its_capacity(world in worlds()) {
        if let Some(id) = decide(&world).node {
            let node = world.nodes.iter().find(|node| node.id == id).unwrap();
            prop_assert_eq!(fits(&node.candidate(), &world.ask.demand()), Ok(()));
            for (asked, taken, total, filter) in reference::dimensions(node, &world.ask) {
                prop_assert!(asked == 0 || taken + asked <= total, "{:?}", filter);
            }
        }
    }

    #[test]
    fn the_order_of_the_nodes_is_irrelevant(world in worlds(), turn in 0..14_usize) {
        let expected = decide(&world);
        prop_assert_eq!(&decide_among(&world, world.candidates().rev()), &expected);
        let mut turned = world.clone();
        turned.nodes.rotate_left(turn.min(world.nodes.len()));
        prop_assert_eq!(&decide(&turned), &expected);
    }

    #[test]
    fn a_refused_node_changes_no_choice(world in worlds(), extra in node()) {
        let refused_by = reference::wrong(&extra, &world.ask).into_iter().min();
        prop_assume!(refused_by.is_some());
        let (before, mut with) = (decide(&world), world.clone());
        with.nodes.push(extra);
        let after = decide(&with);
        prop_assert_eq!((&after.node, after.score_ppm), (&before.node, before.score_ppm));
        let count = |note: &PlacementNote| note.refused.get(&refused_by.unwrap()).copied();
        prop_assert_eq!(count(&after), Some(count(&before).unwrap_or(0) + 1));
    }

    #[test]
    fn losing_a_node_that_was_not_chosen_changes_no_choice(world in worlds()) {
        let before = decide(&world);
        for node in &world.nodes {
            if before.node.as_ref() != Some(&node.id) {
                let rest = world.candidates().filter(|other| *other.id != node.id);
                prop_assert_eq!(&decide_among(&world, rest).node, &before.node);
            }
        }
    }

    #[test]
    fn the_score_is_bounded_and_grows_with_what_is_reserved(node in node(), more in 0..5_000_u64) {
        let before = utilization(&node.candidate());
        prop_assert!(before <= Ppm::FULL);
        prop_assert_eq!(i64::try_from(before.0), Ok(reference::score(&node)));
        let mut fuller = node.clone();
        fuller.reserved += Resources::new(more, more, more);
        prop_assert!(utilization(&fuller.candidate()) >= before);
    }
}

proptest! {
    #[test]
    fn placing_one_after_another_never_overcommits(world in worlds()) {
        let mut world = world;
        for node in &mut world.nodes {
            node.reserved = Resources::default();
        }
        for _ in 0..30 {
            let Some(id) = decide(&world).node else { break };
            let node = world.nodes.iter_mut().find(|node| node.id == id).unwrap();
            node.reserved += world.ask.resources;
            for (_, taken, total, filter) in reference::dimensions(node, &world.ask) {
                prop_assert!(taken <= total, "{:?}", filter);
            }
        }
    }
}
