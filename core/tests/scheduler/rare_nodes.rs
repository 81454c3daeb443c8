//! Sequences about nodes that a reader found, and that seeds hardly ever draw.

use berth_core::io::agent::AgentState;
use berth_core::io::request::Request;
use berth_core::io::{Fate, Stored};
use berth_core::model::node::NodeStatus;
use berth_core::model::units::Resources;
use berth_core::{Config, EventType, Input, Key, StoreRevision};

use crate::cluster::{Cluster, NextCommit, id, node, seconds};
use crate::nodes::lose;
use crate::rare::{drain, schedulable};
use crate::review::edit;

fn reachable(cluster: &mut Cluster, name: &str, reachable: bool) {
    cluster.agents.get_mut(&node(name)).unwrap().reachable = reachable;
}

fn has_tombstones(cluster: &Cluster) -> bool {
    let mut keys = cluster.store.keys();
    keys.any(|key| matches!(key, Key::Tombstone(..)))
}

/// `n-0` heartbeats and cannot be called; `w` is there.
fn unreachable() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-0");
    reachable(&mut cluster, "n-0", false);
    cluster.apply("w", 200).unwrap();
    cluster.pass(seconds(30));
    let status = cluster.get_node("n-0").unwrap().record.status;
    assert_eq!(status, NodeStatus::NotReady);
    cluster
}

/// L1: a node that could not be called when it was declared dead comes back by registering, as its
/// same process.
#[test]
fn what_was_unreachable_when_it_was_fenced_comes_back() {
    let mut cluster = unreachable();
    cluster.ask(Request::Fence { node: node("n-0") }).unwrap();
    cluster.pass(seconds(5));
    reachable(&mut cluster, "n-0", true);
    cluster.pass(seconds(60));
    let status = cluster.get_node("n-0").unwrap().record.status;
    assert_eq!(status, NodeStatus::Ready);
    assert!(!has_tombstones(&cluster));
}

/// S11: a registration makes no node ready that cannot be called, and says so of none.
#[test]
fn a_node_that_cannot_be_called_is_not_called_ready() {
    let mut cluster = unreachable();
    let registered = cluster.count(EventType::NodeRegistered);
    let ready = cluster.count(EventType::NodeReady);
    cluster.register("n-0", Resources::new(8_000, 8_192, 100));
    assert_eq!(cluster.count(EventType::NodeReady), ready);
    assert_eq!(cluster.count(EventType::NodeRegistered), registered + 1);
    reachable(&mut cluster, "n-0", true);
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::NodeReady), ready + 1);
}

/// S11: the end of the drain of a lost node makes it no ready one.
#[test]
fn the_end_of_a_lost_nodes_drain_makes_it_not_ready() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(60));
    cluster.ask(drain("n-0", 60)).unwrap();
    let ready = cluster.count(EventType::NodeReady);
    let end = Request::CancelDrain { node: node("n-0") };
    cluster.ask(end).unwrap();
    assert_eq!(cluster.count(EventType::NodeReady), ready);
    assert_eq!(
        cluster.get_node("n-0").unwrap().record.status,
        NodeStatus::NotReady
    );
}

/// S1: what a removal of unknown fate took away is not brought back by a watch that lags behind it.
#[test]
fn a_late_echo_brings_back_nothing_that_was_removed_meanwhile() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(8));
    assert!(has_tombstones(&cluster));
    cluster.next_commit = NextCommit::UnknownWritten;
    cluster.go_on("n-0");
    cluster.pass(seconds(7));
    assert!(!has_tombstones(&cluster));
    let told = cluster.agents[&node("n-0")].told.len();
    let buries =
        |stored: &Stored| matches!(stored.key, Key::Tombstone(..)) && stored.value.is_some();
    let mut changes = cluster.changes.iter();
    let put = changes.find(|(_, all)| all.iter().any(buries)).cloned();
    let (at, records) = put.unwrap();
    let revision = StoreRevision(at);
    cluster.feed(Input::Changed { revision, records });
    assert_eq!(cluster.agents[&node("n-0")].told.len(), told);
    assert_eq!(cluster.count(EventType::RecordAdopted), 0);
}

/// S20: a drain is not complete while a copy was seen whose tombstone could not be written yet.
#[test]
fn a_drain_waits_for_a_copy_that_was_seen_and_not_noted() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent.has.insert(id("w"), (revision, AgentState::Running));
    cluster.next_commit = NextCommit::UnknownLost;
    cluster.heartbeat(&node("n-0"));
    assert_eq!(cluster.next_commit, NextCommit::Works, "it was seen");
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    cluster.ask(drain("n-0", 600)).unwrap();
    assert_eq!(cluster.count(EventType::NodeDrained), 0);
    cluster.go_on("n-0");
    // The first one may still be written until then.
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
    assert!(cluster.agents[&node("n-0")].has.is_empty());
}

/// S20: nor before anybody has looked.
#[test]
fn a_drain_waits_for_the_first_look() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent.has.insert(id("w"), (revision, AgentState::Running));
    agent.hangs = true;
    cluster.restart(50);
    cluster.ask(drain("n-0", 600)).unwrap();
    cluster.pass(seconds(2));
    assert_eq!(cluster.count(EventType::NodeDrained), 0);
    cluster.go_on("n-0");
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
    assert!(cluster.agents[&node("n-0")].has.is_empty());
}

/// S18: what no record that can be read tells of is left alone by the next leader too.
#[test]
fn a_copy_whose_records_cannot_be_read_is_left_alone_by_the_next_leader() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    let keys = [Key::Workload(id("w")), Key::Assignment(id("w"))];
    let was = keys.clone().map(|key| cluster.store[&key].0.clone());
    for key in &keys {
        edit(&mut cluster, key, Some("{broken"));
    }
    cluster.restart(20);
    cluster.pass(seconds(90));
    let told = |cluster: &Cluster| cluster.agents[&node("n-0")].told.len();
    assert_eq!(told(&cluster), 1);
    for (key, was) in keys.iter().zip(&was) {
        edit(&mut cluster, key, Some(was));
    }
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").0, "Running");
    assert_eq!(told(&cluster), 1);
}

/// S18: nodes that could not be called before they fell silent are lost like any others.
#[test]
fn nodes_that_were_unreachable_first_count_as_lost_at_once() {
    let mut cluster = Cluster::new();
    cluster.nodes(6);
    for at in 0..6 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    let lost = ["n-0", "n-1", "n-2", "n-3"];
    for name in lost {
        lose(&mut cluster, name);
    }
    for at in 0..6 {
        cluster.apply(&format!("w-{at}"), 200).unwrap();
    }
    cluster.pass(seconds(200));
    assert_eq!(cluster.count(EventType::EvictionPaused), 1);
    assert_eq!(cluster.count(EventType::Rescheduled), 0);
    for name in lost {
        let agent = cluster.agents.get_mut(&node(name)).unwrap();
        (agent.heartbeats, agent.reachable) = (true, true);
    }
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::EvictionResumed), 1);
}

/// S8: a closed node that is off for long stays closed: it is not forgotten.
#[test]
fn what_an_operator_closed_is_not_forgotten() {
    let config = Config {
        forget_node_after: seconds(300),
        ..Config::default()
    };
    for closed in [true, false] {
        let mut cluster = Cluster::with(config.clone());
        cluster.nodes(1);
        cluster.ask(schedulable("n-0", !closed)).unwrap();
        lose(&mut cluster, "n-0");
        cluster.pass(seconds(600));
        assert_eq!(cluster.store.contains_key(&Key::Node(node("n-0"))), closed);
    }
}

/// A node that heartbeats is not forgotten, although nobody can call it.
#[test]
fn a_node_that_heartbeats_is_not_forgotten() {
    let config = Config {
        forget_node_after: seconds(300),
        ..Config::default()
    };
    let mut cluster = Cluster::with(config);
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    reachable(&mut cluster, "n-0", false);
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").1, "n-1");
    let end = Request::CancelDrain { node: node("n-0") };
    cluster.ask(end).unwrap();
    cluster.ask(schedulable("n-0", true)).unwrap();
    let status = cluster.get_node("n-0").unwrap().record.status;
    assert_eq!(status, NodeStatus::NotReady);
    cluster.pass(seconds(600));
    assert!(cluster.store.contains_key(&Key::Node(node("n-0"))));
    assert_eq!(cluster.count(EventType::NodePurged), 0);
}

/// S8: a record that somebody writes between a purge's commit and its answer is not lost.
#[test]
fn a_node_that_is_written_while_it_is_purged_is_known() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(60));
    let key = Key::Node(node("n-0"));
    let was = cluster.store[&key].0.clone();
    cluster.next_commit = NextCommit::Held;
    let purge = cluster.begin(Request::Purge { node: node("n-0") });
    let held = std::mem::take(&mut cluster.held);
    assert_eq!(held.len(), 1);
    cluster.next_commit = NextCommit::Works;
    cluster.store.remove(&key);
    cluster.revision += 1;
    let fate = Fate::Committed(StoreRevision(cluster.revision));
    edit(&mut cluster, &key, Some(&was));
    let txn = held[0].id;
    cluster.feed(Input::Commit { txn, fate });
    assert!(cluster.answer(purge).is_some());
    assert!(cluster.get_node("n-0").is_some());
}

/// S20: nor while a workload leaves it whose assignment somebody removed.
#[test]
fn a_drain_waits_for_what_only_a_record_names() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    cluster.ask(schedulable("n-0", false)).unwrap();
    cluster.next_commit = NextCommit::TombstoneHeld;
    edit(&mut cluster, &Key::Assignment(id("w")), None);
    assert_eq!(cluster.held.len(), 1);
    cluster.ask(drain("n-0", 600)).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.count(EventType::NodeDrained), 0);
    cluster.release();
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
    assert!(cluster.agents[&node("n-0")].has.is_empty());
}
