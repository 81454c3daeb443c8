//! What people read.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::{Ask, Node, capacity, worlds};
use crate::model::id::StoreRevision;
use crate::model::node::NodeStatus;
use crate::model::spec::WorkloadType;
use crate::model::time::Timestamp;
use crate::placement::{
    Advice, NEAREST_MAX, PlacementNote, Ppm, Refusal, Strategy as Order, explain, filters, fits,
    place, refusals, summary,
};

const AT: StoreRevision = StoreRevision(7);
const NOW: Timestamp = Timestamp::from_millis(1_000);

fn advice(nodes: &[Node], ask: &Ask) -> Advice {
    let (demand, all) = (ask.demand(), nodes.iter().map(Node::candidate));
    let note = place(
        Order::default(),
        all.clone(),
        &demand,
        &BTreeMap::new(),
        AT,
        NOW,
    );
    explain(&note, all, &demand)
}

/// A case: the nodes, the demand, the summary, the sentences of what would help.
type Case = (Vec<Node>, Ask, &'static str, &'static [&'static str]);

fn with(mut node: Node, change: impl FnOnce(&mut Node)) -> Node {
    change(&mut node);
    node
}

fn resource_cases() -> Vec<Case> {
    vec![
        (
            vec![],
            Ask::new(2000, 2048, 0),
            "no suitable node: there are no nodes",
            &[
                "add a node that runs workloads of type container with at least 2000 millicores, \
               2048 MiB",
            ],
        ),
        (
            vec![
                Node::new("node-1").reserving(3000, 0, 0),
                with(Node::new("node-2"), |node| {
                    node.status = NodeStatus::NotReady
                }),
                Node::new("node-3").reserving(2500, 0, 0),
            ],
            Ask::new(2000, 2048, 0),
            "no suitable node: 0 of 3 nodes fit: 2 refused by cpu (2000 millicores requested, at \
             most 1500 available), 1 not ready",
            &[
                "bring back node-2, which is not ready",
                "free 500 millicores on node-3",
                "free 1000 millicores on node-1",
                "add a node that runs workloads of type container with at least 2000 millicores, \
                 2048 MiB",
            ],
        ),
        (
            vec![Node::new("node-1").reserving(5000, 8192, 95)],
            Ask::new(1, 1, 10),
            "no suitable node: 0 of 1 node fit: 1 refused by cpu (1 millicores requested, at most \
             0 available)",
            &[
                "free 1001 millicores, 1 MiB and 5 GiB of disk on node-1",
                "add a node that runs workloads of type container with at least 1 millicores, \
                 1 MiB, 10 GiB of disk",
            ],
        ),
    ]
}

fn edge_cases() -> Vec<Case> {
    vec![
        (
            vec![
                Node::new("node-1"),
                with(Node::new("node-2"), |node| {
                    node.capacity = capacity(1000, 16384, None)
                }),
            ],
            Ask::new(0, 20_000, 500),
            "no suitable node: 0 of 2 nodes fit: 2 refused by memory (20000 MiB requested, at \
             most 16384 available); disk is unknown on 1 node and not filtered there",
            &[
                "ask for at most 16384 MiB: no node has more",
                "add a node that runs workloads of type container with at least 20000 MiB, 500 \
                 GiB of disk",
            ],
        ),
        (
            vec![with(Node::new("node-1").reserving(1, 1, 0), |node| {
                node.capacity = capacity(4000, 8192, None);
            })],
            Ask::new(4000, 8192, 0),
            "no suitable node: 0 of 1 node fit: 1 refused by cpu (4000 millicores requested, at \
             most 3999 available)",
            &[
                "free 1 millicores and 1 MiB on node-1",
                "add a node that runs workloads of type container with at least 4000 millicores, \
                 8192 MiB",
            ],
        ),
        (
            vec![Node::new("node-1")],
            Ask::new(0, 0, 101),
            "no suitable node: 0 of 1 node fit: 1 refused by disk (101 GiB requested, at most 100 \
             available)",
            &[
                "ask for at most 100 GiB of disk: no node has more",
                "add a node that runs workloads of type container with at least 101 GiB of disk",
            ],
        ),
        (
            vec![Node::new("node-1")],
            Ask::new(4001, 8192, 100),
            "no suitable node: 0 of 1 node fit: 1 refused by cpu (4001 millicores requested, at \
             most 4000 available)",
            &[
                "ask for at most 4000 millicores: no node has more",
                "add a node that runs workloads of type container with at least 4001 millicores, \
                 8192 MiB, 100 GiB of disk",
            ],
        ),
        (
            vec![Node::new("node-1").reserving(0, 0, 60)],
            Ask::new(0, 0, 50),
            "no suitable node: 0 of 1 node fit: 1 refused by disk (50 GiB requested, at most 40 \
             available)",
            &[
                "free 10 GiB of disk on node-1",
                "add a node that runs workloads of type container with at least 50 GiB of disk",
            ],
        ),
    ]
}

fn other_cases() -> Vec<Case> {
    let cordoned = |id| with(Node::new(id), |node| node.schedulable = false);
    let picky = Ask {
        kind: WorkloadType::Vm,
        drivers: ["ceph-rbd", "nfs"].map(str::to_owned).into(),
        ..Ask::new(0, 0, 0).labelled("disktype", "ssd")
    };
    let mut apart = Ask::new(0, 0, 0);
    apart.constraints.anti_affinity = Some("db".to_owned());
    vec![
        (
            vec![cordoned("node-1"), cordoned("node-2"), cordoned("node-3")],
            Ask::new(0, 0, 0),
            "no suitable node: 0 of 3 nodes fit: 3 cordoned",
            &[
                "uncordon node-1, node-2 or node-3",
                "add a node that runs workloads of type container",
            ],
        ),
        (
            vec![
                with(Node::new("node-1"), |node| {
                    node.types = [WorkloadType::Container].into()
                }),
                with(Node::new("node-2"), |node| {
                    node.avoided = [WorkloadType::Vm].into()
                }),
                with(Node::new("node-3"), |node| {
                    node.status = NodeStatus::Draining
                }),
            ],
            picky,
            "no suitable node: 0 of 3 nodes fit: 1 draining, 1 without support for this type of \
             workload, 1 whose runtime for this type of workload was not available lately",
            &[
                "let node-1 run workloads of type vm, offer the storage drivers ceph-rbd and nfs \
                 on node-1 and give node-1 the label disktype=ssd",
                "repair the vm runtime of node-2, offer the storage drivers ceph-rbd and nfs on \
                 node-2 and give node-2 the label disktype=ssd",
                "end the drain of node-3, offer the storage drivers ceph-rbd and nfs on node-3 \
                 and give node-3 the label disktype=ssd",
                "add a node that runs workloads of type vm, the label disktype=ssd, the storage \
                 drivers ceph-rbd and nfs",
            ],
        ),
        (
            vec![
                with(Node::new("node-1"), |node| {
                    node.groups = [("db".to_owned(), ["w-9".parse().unwrap()].into())].into();
                }),
                Node::new("node-2").labelled("a", "1"),
            ],
            apart.labelled("a", "1").labelled("b", "2"),
            "no suitable node: 0 of 2 nodes fit: 2 without the labels",
            &[
                "give node-2 the label b=2",
                "give node-1 the labels a=1 and b=2 and move w-9 of the anti-affinity group db \
                 away from node-1",
                "add a node that runs workloads of type container, the labels a=1 and b=2",
            ],
        ),
    ]
}

fn all_cases() -> impl Iterator<Item = Case> {
    let all = [resource_cases(), edge_cases(), other_cases()];
    all.into_iter().flatten()
}

#[test]
fn the_texts_are_these() {
    for (nodes, ask, summary, would_help) in all_cases() {
        let advice = advice(&nodes, &ask);
        assert_eq!(advice.summary, summary);
        assert_eq!(advice.would_help, would_help, "{summary}");
    }
}

#[test]
fn a_choice_is_told_and_needs_no_advice() {
    let nodes = [
        Node::new("node-1").reserving(1000, 0, 0),
        with(Node::new("node-2"), |node| {
            node.capacity = capacity(4000, 8192, None)
        }),
    ];
    let advice = advice(&nodes, &Ask::new(1, 1, 1));
    let expected = "node-2 chosen, 0.00 % utilized before; 2 of 2 nodes fit; disk is unknown on \
                    1 node and not filtered there";
    assert_eq!(advice.summary, expected);
    assert_eq!((advice.nearest, advice.would_help), (vec![], vec![]));
    let fast = PlacementNote {
        node: Some("node-7".parse().unwrap()),
        score_ppm: Some(Ppm(123_456)),
        nodes: 100,
        examined: 3,
        candidates: 1,
        ..PlacementNote::default()
    };
    let expected = "node-7 chosen, 12.34 % utilized before; 1 of the 3 examined of 100 nodes fits";
    assert_eq!(summary(&fast), expected);
}

#[test]
fn when_it_was_decided_is_no_other_outcome() {
    let note = PlacementNote {
        nodes: 3,
        ..PlacementNote::default()
    };
    let later = PlacementNote {
        at_revision: AT,
        decided_at: NOW,
        ..note.clone()
    };
    assert!(note != later && note.same_outcome(&later));
    let other = PlacementNote { nodes: 4, ..later };
    assert!(!note.same_outcome(&other));
}

#[test]
fn the_nearest_are_five_by_refusals_then_shortfall_then_id() {
    let mut nodes: Vec<_> = [400, 300, 200, 200, 100, 4000]
        .iter()
        .enumerate()
        .map(|(n, lack)| Node::new(&format!("node-{n}")).reserving(*lack, 0, 0))
        .collect();
    nodes[4].schedulable = false;
    nodes.push(with(Node::new("node-9"), |node| node.schedulable = false));
    let nearest = advice(&nodes, &Ask::new(4000, 0, 0)).nearest;
    let ids: Vec<_> = nearest.iter().map(|near| near.node.as_str()).collect();
    assert_eq!(ids, ["node-9", "node-2", "node-3", "node-1", "node-0"]);
}

#[test]
fn notes_and_refusals_have_this_json() {
    let ask = Ask::new(2500, 64, 0);
    let nodes = [Node::new("node-1").reserving(2000, 0, 0)];
    let all = nodes.iter().map(Node::candidate);
    let note = place(
        Order::default(),
        all,
        &ask.demand(),
        &BTreeMap::new(),
        AT,
        NOW,
    );
    let json = serde_json::json!({
        "node": null, "nodes": 1, "examined": 1, "candidates": 0, "refused": {"cpu": 1},
        "requested": {"cpu": 2.5, "memory_mb": 64, "disk_gb": 0},
        "most_available": {"cpu": 2, "memory_mb": 0, "disk_gb": 0},
        "at_revision": 7, "decided_at": "1970-01-01T00:00:01.000Z",
    });
    assert_eq!(serde_json::to_value(&note).unwrap(), json);
    assert_eq!(serde_json::from_value::<PlacementNote>(json).unwrap(), note);
    let refusal = refusals(&nodes[0].candidate(), &ask.demand()).remove(0);
    let json = serde_json::json!({
        "filter": "cpu", "requested": 2500, "available": 2000, "total": 4000,
    });
    assert_eq!(serde_json::to_value(&refusal).unwrap(), json);
    assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), refusal);
    let text = "2500 millicores of CPU requested, 2000 of 4000 available";
    assert_eq!(refusal.to_string(), text);
}

proptest! {
    #[test]
    fn advice_is_given_exactly_if_nothing_fits(world in worlds()) {
        let advice = advice(&world.nodes, &world.ask);
        let demand = world.ask.demand();
        let fits = world.candidates().any(|node| fits(&node, &demand).is_ok());
        prop_assert_eq!(advice.summary.contains("no suitable node"), !fits);
        prop_assert!(!advice.summary.contains('\n'));
        prop_assert_eq!(advice.would_help.is_empty(), fits);
        let expected = if fits { 0 } else { world.nodes.len().min(NEAREST_MAX) };
        prop_assert_eq!(advice.nearest.len(), expected);
        prop_assert!(advice.nearest.iter().all(|near| !near.refusals.is_empty()));
        prop_assert!(advice.nearest.is_sorted_by_key(|near| near.refusals.len()));
    }

    /// Freeing what the advice says is exactly enough, unless the node is too small.
    #[test]
    fn freeing_the_shortfall_is_just_enough(world in worlds()) {
        for node in &world.nodes {
            let (demand, mut freed) = (world.ask.demand(), node.clone());
            let room = filters::cpu(&node.candidate(), &demand);
            if room.shortfall == 0 || room.requested > room.total {
                continue;
            }
            freed.reserved.cpu.0 -= room.shortfall;
            let filters = |node: &Node| {
                let found = refusals(&node.candidate(), &demand);
                found.iter().any(|refusal| matches!(refusal, Refusal::Cpu { .. }))
            };
            prop_assert!(!filters(&freed));
            freed.reserved.cpu.0 += 1;
            prop_assert!(filters(&freed));
        }
    }
}
