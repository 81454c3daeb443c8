//! What a drain does to what cannot go elsewhere, when its deadline is over.

use berth_core::io::agent::AgentState;
use berth_core::io::request::Request;
use berth_core::model::units::Resources;
use berth_core::model::workload::{ActualState, DesiredState};
use berth_core::{EventType, Key};

use crate::cluster::{Cluster, id, node, seconds};
use crate::nodes::lose;

fn drain(cluster: &mut Cluster, deadline: u64) {
    let drain = Request::Drain {
        node: node("n-0"),
        deadline: seconds(deadline),
        parallelism: 1,
    };
    cluster.ask(drain).unwrap();
}

#[test]
fn what_must_leave_without_a_place_waits_and_says_why_and_is_placed_when_there_is_one() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.register("small", Resources::new(50, 8_192, 100));
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    drain(&mut cluster, 20);
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    cluster.pass(seconds(25));
    let record = cluster.get_workload("w").unwrap().record;
    assert_eq!(record.assigned_node, None);
    assert_eq!(record.status.actual_state, ActualState::Pending);
    let note = record.status.placement.as_ref().unwrap();
    assert_eq!((&note.node, note.score_ppm, note.nodes), (&None, None, 2));
    assert!(!record.status.failure_reason.is_empty());
    assert_eq!(cluster.count(EventType::Rescheduled), 1);
    assert_eq!(cluster.count(EventType::WorkloadStopped), 0);
    // Its copy is remembered until its node says that it is gone.
    let copy = Key::Tombstone(node("n-0"), id("w"));
    assert!(cluster.store.contains_key(&copy));
    assert_eq!(cluster.count(EventType::NodeDrained), 0);
    cluster.go_on("n-0");
    cluster.pass(seconds(90));
    assert!(!cluster.store.contains_key(&copy));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
    cluster.register("small", Resources::new(500, 8_192, 100));
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "small".into()));
}

#[test]
fn what_has_failed_for_good_leaves_as_failed() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(200));
    assert_eq!(cluster.seen("w"), ("Failed".into(), "n-0".into()));
    let said = cluster
        .get_workload("w")
        .unwrap()
        .record
        .status
        .failure_reason;
    drain(&mut cluster, 5);
    cluster.pass(seconds(30));
    let record = cluster.get_workload("w").unwrap().record;
    assert_eq!(record.assigned_node, None);
    assert_eq!(record.status.actual_state, ActualState::Failed);
    assert_eq!(
        record.status.failure_reason, said,
        "why it failed is still said"
    );
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}

#[test]
fn what_was_to_be_stopped_leaves_as_stopped_and_that_is_told_once() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.apply("at-rest", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.set("at-rest", DesiredState::Stopped).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.count(EventType::WorkloadStopped), 1);
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    cluster.set("w", DesiredState::Stopped).unwrap();
    drain(&mut cluster, 10);
    cluster.pass(seconds(15));
    for name in ["w", "at-rest"] {
        assert_eq!(cluster.seen(name), ("Stopped".into(), String::new()));
    }
    assert_eq!(cluster.count(EventType::WorkloadStopped), 2);
}

#[test]
fn what_left_a_drained_node_is_gone_there_and_that_is_told_once() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("w").1, "n-0");
    drain(&mut cluster, 300);
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    cluster.pass(seconds(60));
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    assert_eq!(cluster.count(EventType::Rescheduled), 1);
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}

/// S16: what a drain moved, and what was moved on because that node was lost before it ran there, is on
/// the move under the next leader too.
#[test]
fn a_move_that_was_moved_on_counts_under_the_next_leader() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("first", 100).unwrap();
    cluster.apply("second", 100).unwrap();
    cluster.pass(seconds(3));
    let hanging = |cluster: &mut Cluster, name: &str| {
        cluster.register(name, Resources::new(4_000, 8_192, 100));
        cluster.agents.get_mut(&node(name)).unwrap().hangs = true;
    };
    // Too small for them, so that one lost node is no disaster.
    cluster.register("tiny", Resources::new(10, 8_192, 100));
    hanging(&mut cluster, "n-1");
    drain(&mut cluster, 3_000);
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("first"), ("Scheduled".into(), "n-1".into()));
    lose(&mut cluster, "n-1");
    cluster.pass(seconds(120));
    assert_eq!(cluster.seen("first"), ("Unknown".into(), "n-1".into()));
    hanging(&mut cluster, "n-2");
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("first"), ("Scheduled".into(), "n-2".into()));
    cluster.restart(50);
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("second"), ("Running".into(), "n-0".into()));
    cluster.go_on("n-2");
    cluster.pass(seconds(60));
    for name in ["first", "second"] {
        assert_eq!(cluster.seen(name), ("Running".into(), "n-2".into()));
    }
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}
