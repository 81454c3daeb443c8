//! What leaves a lost node, when, and what is said of it.

use berth_core::io::request::Request;
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;
use berth_core::{Config, EventType, Key};

use crate::cluster::{Cluster, apply, id, node, seconds};
use crate::nodes::lose;

#[test]
fn what_was_to_be_stopped_on_a_lost_node_is_at_rest_and_its_copy_is_remembered() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    lose(&mut cluster, "n-0");
    cluster.set("w", DesiredState::Stopped).unwrap();
    cluster.pass(seconds(60));
    assert_eq!(
        cluster.count(EventType::WorkloadStopped),
        0,
        "its node has not said so"
    );
    cluster.pass(seconds(60));
    let record = cluster.get_workload("w").unwrap().record;
    assert_eq!(cluster.seen("w").0, "Stopped");
    assert_eq!(record.assigned_node, None);
    assert_eq!(cluster.count(EventType::WorkloadStopped), 1);
    let copy = Key::Tombstone(node("n-0"), id("w"));
    assert!(cluster.store.contains_key(&copy));
    // Nothing more is written of it, and it is started somewhere else.
    let writes = cluster.commits;
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::WorkloadStopped), 1);
    assert!(
        cluster.commits <= writes + 4,
        "{} writes",
        cluster.commits - writes
    );
    cluster.set("w", DesiredState::Running).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

fn apply_urgent(cluster: &mut Cluster, name: &str, cpu: u64, priority: i32) {
    let mut wanted = apply(name, cpu);
    wanted.spec.as_mut().unwrap().priority = priority;
    cluster.apply_with(wanted).unwrap();
}

#[test]
fn the_most_urgent_takes_what_room_is_left() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    apply_urgent(&mut cluster, "a", 1_500, -1);
    apply_urgent(&mut cluster, "b", 1_500, 7);
    cluster.pass(seconds(5));
    cluster.register("n-1", Resources::new(2_000, 8_192, 100));
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(150));
    assert_eq!(cluster.seen("b"), ("Running".into(), "n-1".into()));
    assert_eq!(cluster.seen("a").1, "n-0");
}

#[test]
fn the_most_urgent_leaves_in_the_first_second() {
    let mut cluster = Cluster::with(Config {
        evictions_per_second_max: 1,
        ..Config::default()
    });
    cluster.nodes(1);
    for (name, priority) in [("a", 0), ("b", 2), ("c", 1), ("d", 2)] {
        apply_urgent(&mut cluster, name, 100, priority);
    }
    cluster.pass(seconds(5));
    cluster.register("n-1", Resources::new(2_000, 8_192, 100));
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(150));
    let moved = cluster
        .events
        .iter()
        .filter(|event| event.event_type == EventType::Rescheduled);
    let moved = moved.map(|event| event.workload_id.as_ref().unwrap().to_string());
    assert_eq!(moved.collect::<Vec<_>>(), ["b", "d", "c", "a"]);
}

#[test]
fn one_leaves_in_each_second_and_the_others_wait_for_theirs() {
    let mut cluster = Cluster::with(Config {
        evictions_per_second_max: 1,
        ..Config::default()
    });
    cluster.nodes(2);
    for at in 0..6 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    lose(&mut cluster, "n-0");
    let there = |cluster: &mut Cluster| {
        let names = (0..6).map(|at| format!("w-{at}"));
        names.filter(|name| cluster.seen(name).1 == "n-0").count()
    };
    assert_eq!(there(&mut cluster), 3);
    let mut left_at = Vec::new();
    for second in 0..150 {
        let before = there(&mut cluster);
        cluster.pass(seconds(1));
        let left = before - there(&mut cluster);
        left_at.extend(std::iter::repeat_n(second, left));
    }
    assert_eq!(left_at.len(), 3);
    for pair in left_at.windows(2) {
        assert!((1..=3).contains(&(pair[1] - pair[0])), "{left_at:?}");
    }
}

#[test]
fn what_fits_nowhere_else_stays_and_says_why() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.register("small", Resources::new(50, 8_192, 100));
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(120));
    let status = cluster.get_workload("w").unwrap().record.status;
    assert_eq!(cluster.seen("w"), ("Unknown".into(), "n-0".into()));
    assert!(
        status
            .failure_reason
            .starts_with("its node was lost; no suitable node")
            && status.failure_reason.contains("refused by cpu"),
        "{}",
        status.failure_reason
    );
    let writes = cluster.commits;
    cluster.pass(seconds(60));
    assert!(cluster.commits <= writes + 4, "it is said once");
    // Room comes, and nobody has to ask.
    cluster.register("small", Resources::new(500, 8_192, 100));
    cluster.pass(seconds(15));
    assert_eq!(cluster.seen("w"), ("Running".into(), "small".into()));
}

#[test]
fn a_share_that_is_just_allowed_pauses_nothing() {
    let config = Config {
        eviction_pause_nodes_min: 3,
        eviction_pause_percent: 60,
        ..Config::default()
    };
    for (nodes, pauses) in [(5, 0), (4, 1)] {
        let mut cluster = Cluster::with(config.clone());
        cluster.nodes(nodes);
        for at in 0..nodes {
            cluster.apply(&format!("w-{at}"), 100).unwrap();
        }
        cluster.pass(seconds(5));
        for name in ["n-0", "n-1", "n-2"] {
            lose(&mut cluster, name);
        }
        cluster.pass(seconds(150));
        assert_eq!(
            cluster.count(EventType::EvictionPaused),
            pauses,
            "{nodes} nodes"
        );
        let left = cluster.seen("w-0").1 != "n-0";
        assert_eq!(left, pauses == 0, "{nodes} nodes");
    }
}

#[test]
fn a_node_that_an_operator_gave_up_is_left_although_many_are_lost() {
    let mut cluster = Cluster::new();
    cluster.nodes(4);
    for at in 0..4 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    for name in ["n-0", "n-1", "n-2"] {
        lose(&mut cluster, name);
    }
    cluster.pass(seconds(150));
    assert_eq!(cluster.count(EventType::EvictionPaused), 1);
    assert_eq!(cluster.seen("w-0"), ("Unknown".into(), "n-0".into()));
    cluster.ask(Request::Fence { node: node("n-0") }).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w-0"), ("Running".into(), "n-3".into()));
    assert_eq!(cluster.seen("w-1"), ("Unknown".into(), "n-1".into()));
}
