//! What came to nothing: a change that was taken back, a delete that was lost, a record that could
//! not be read and was written anew.

use berth_core::io::AgentState;
use berth_core::io::request::{ApplyWorkload, Request};
use berth_core::model::workload::FailureKind;
use berth_core::{Config, Epoch, EventType, Input, Key, Scheduler, StoreRevision};

use crate::cluster::{Cluster, NextCommit, apply, id, node, registration, seconds};
use crate::review::edit;

const SIZE: berth_core::model::units::Resources =
    berth_core::model::units::Resources::new(4_000, 8_192, 100);

/// L2: a node that was about to be lost takes nothing. When nothing came of that, who waits is
/// placed by that, not by the next pass.
#[test]
fn a_loss_that_came_to_nothing_makes_room() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().heartbeats = false;
    cluster.next_commit = NextCommit::Held;
    while cluster.held.is_empty() {
        cluster.pass(seconds(1));
    }
    cluster.next_commit = NextCommit::Works;
    cluster.apply("w", 1_000).unwrap();
    assert_eq!(cluster.seen("w").0, "Pending", "its loss is on its way");
    cluster.heartbeat(&node("n-0"));
    let key = Key::Node(node("n-0"));
    let touched = cluster.store[&key].0.replacen('{', "{\"note\":\"\",", 1);
    edit(&mut cluster, &key, Some(&touched));
    cluster.release();
    assert_eq!(cluster.count(EventType::NodeLost), 0);
    assert_eq!(cluster.seen("w").1, "n-0");
    assert_eq!(cluster.core.counters().rescued_by_pass, 0);
}

/// S11: the record of a failure that was given up comes late, while its node is looked at anew: that
/// is one failure, not two.
#[test]
fn a_failure_whose_record_comes_late_counts_once() {
    let applied = |result| {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
        (agent.result, agent.failure) = (result, FailureKind::ImageNotFound);
        cluster.apply("w", 100).unwrap();
        cluster
    };
    // What one writes who saw it fail ...
    let mut first = applied(AgentState::Failed);
    first.next_commit = NextCommit::Held;
    while first.held.is_empty() {
        first.pass(seconds(1));
    }
    // ... comes to one who has not.
    let mut cluster = applied(AgentState::Pending);
    cluster.held = first.held;
    cluster.release();
    let (revision, records) = cluster.changes.last().cloned().unwrap();
    let revision = StoreRevision(revision);
    cluster.feed(Input::Changed { revision, records });
    assert_eq!(cluster.seen("w").0, "Failed");
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    for (_, state) in agent.has.values_mut() {
        *state = AgentState::Failed;
    }
    cluster.pass(seconds(90));
    let record = cluster.get_workload("w").unwrap().record;
    assert_eq!(record.retry.attempts, 1);
    assert_eq!(cluster.count(EventType::WorkloadFailed), 0);
}

/// L3: a tombstone that cannot be read is left alone; written anew with a later move, it can.
#[test]
fn a_tombstone_that_is_written_anew_is_worked_off() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(5));
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (false, false);
    cluster.pass(seconds(150));
    assert_eq!(cluster.seen("w").1, "n-1");
    let key = Key::Tombstone(node("n-0"), id("w"));
    edit(&mut cluster, &key, Some("{broken"));
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (true, true);
    cluster.pass(seconds(30));
    let drain = Request::Drain {
        node: node("n-1"),
        deadline: seconds(600),
        parallelism: 4,
    };
    cluster.ask(drain).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").1, "n-0", "it waits for its copy there");
    cluster.apply("other", 1_000).unwrap();
    for request in [
        Request::CancelDrain { node: node("n-1") },
        Request::SetSchedulable {
            node: node("n-1"),
            schedulable: true,
        },
    ] {
        cluster.ask(request).unwrap();
    }
    cluster.apply("w", 3_500).unwrap();
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert!(!cluster.store.contains_key(&key));
}

/// S5: where a workload is whose assignment cannot be read was known by its record; it is there
/// still when somebody removes that.
#[test]
fn what_was_known_of_an_assignment_outlives_the_record() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(3));
    let key = Key::Assignment(id("w"));
    edit(&mut cluster, &key, Some("{broken"));
    cluster.restart(20);
    edit(&mut cluster, &Key::Workload(id("w")), None);
    cluster.apply("more", 3_000).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("more").0, "Pending");
    edit(&mut cluster, &key, None);
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("more"), ("Running".into(), "n-0".into()));
}

/// S5: and for a replica that followed, when it begins to lead.
#[test]
fn what_was_known_of_an_assignment_outlives_a_change_of_leaders() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(3));
    let key = Key::Assignment(id("w"));
    edit(&mut cluster, &key, Some("{broken"));
    cluster.core = Scheduler::new(cluster.core.config().clone());
    let snapshot = cluster.snapshot();
    cluster.feed(Input::Follow { snapshot });
    edit(&mut cluster, &Key::Workload(id("w")), None);
    cluster.feed(Input::TakeOver {
        epoch: Epoch(cluster.revision),
    });
    cluster.apply("more", 3_000).unwrap();
    assert_eq!(cluster.seen("more").0, "Pending");
    edit(&mut cluster, &key, None);
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("more"), ("Running".into(), "n-0".into()));
}

/// S20: a copy that nobody assigned was found on a node, and its tombstone is on its way.
#[test]
fn a_node_is_not_drained_while_a_tombstone_is_on_its_way() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    let copy = cluster.agents[&node("n-0")].has[&id("w")].clone();
    let agent = cluster.agents.get_mut(&node("n-1")).unwrap();
    agent.has.insert(id("w"), copy);
    cluster.next_commit = NextCommit::Held;
    cluster.heartbeat(&node("n-1"));
    let held = cluster.held.iter().map(|txn| txn.ops.len());
    assert_eq!(held.collect::<Vec<_>>(), [1], "it was listed");
    cluster.next_commit = NextCommit::Works;
    let drain = Request::Drain {
        node: node("n-1"),
        deadline: seconds(600),
        parallelism: 1,
    };
    cluster.ask(drain).unwrap();
    assert_eq!(cluster.count(EventType::NodeDrained), 0);
    cluster.release();
    cluster.pass(seconds(10));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
    assert!(cluster.agents[&node("n-1")].has.is_empty());
}

/// L2: what the store refused to place is tried again by a timer of its own. That is no rescue by
/// the pass, where both are late and come together.
#[test]
fn a_placement_that_was_refused_is_not_rescued_by_the_pass() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let cordon = Request::SetSchedulable {
        node: node("n-0"),
        schedulable: false,
    };
    cluster.ask(cordon).unwrap();
    cluster.apply("w", 1_000).unwrap();
    cluster.pass(seconds(7));
    let key = Key::Node(node("n-0"));
    let open = cluster.store[&key]
        .0
        .replace("\"schedulable\":false", "\"schedulable\":true");
    cluster.next_commit = NextCommit::Refused;
    edit(&mut cluster, &key, Some(&open));
    assert_eq!(cluster.seen("w").0, "Pending");
    cluster.next_commit = NextCommit::Works;
    cluster.now = cluster.now + seconds(6);
    cluster.feed(Input::Wake);
    assert_eq!(cluster.seen("w").1, "n-0");
    assert_eq!(cluster.core.counters().rescued_by_pass, 0);
}

fn deletes(cluster: &Cluster) -> usize {
    let told = &cluster.agents[&node("n-0")].told;
    told.iter().filter(|(_, what)| what == "delete w").count()
}

/// L1: a delete may be carried out twice; one that had no answer is asked for again soon.
#[test]
fn a_delete_without_an_answer_is_asked_for_again_soon() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    cluster.delete("w").unwrap();
    cluster.pass(seconds(1));
    cluster.go_on("n-0");
    assert_eq!(deletes(&cluster), 0);
    cluster.pass(seconds(10));
    assert_eq!(deletes(&cluster), 1);
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w").0, "Gone");
}

/// L1: a process that registers may know nothing of what its predecessor accepted.
#[test]
fn a_delete_is_asked_for_again_after_a_registration() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    let copy = cluster.agents[&node("n-0")].has[&id("w")].clone();
    cluster.delete("w").unwrap();
    assert_eq!(deletes(&cluster), 1, "it was accepted");
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent.has.insert(id("w"), copy);
    cluster.pass(seconds(20));
    assert_eq!(deletes(&cluster), 1, "it is given time");
    cluster
        .ask(Request::Register(registration("n-0", SIZE)))
        .unwrap();
    cluster.pass(seconds(10));
    assert_eq!(deletes(&cluster), 2);
    assert_eq!(cluster.seen("w").0, "Gone");
}

/// S10: an apply that was never answered may still arrive, however long ago it was sent and however
/// often the node showed nothing since. Its agent is asked for the deletion, until it answers,
/// before the record goes: then it refuses what was sent before.
#[test]
fn what_was_applied_and_never_answered_is_not_gone_before_its_agent_was_asked() {
    let mut cluster = Cluster::with(Config {
        retry_backoff_min: seconds(60),
        ..Config::default()
    });
    cluster.nodes(1);
    let hang = |cluster: &mut Cluster| {
        cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    };
    hang(&mut cluster);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(10));
    cluster.go_on("n-0");
    cluster.pass(seconds(5));
    // It is sent once more when the grace is over, and lost again; the next try is a minute away.
    hang(&mut cluster);
    cluster.pass(seconds(15));
    cluster.go_on("n-0");
    cluster.pass(seconds(25));
    assert!(cluster.agents[&node("n-0")].told.is_empty());
    assert_eq!(cluster.seen("w"), ("Scheduled".into(), "n-0".into()));
    hang(&mut cluster);
    cluster.delete("w").unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").0, "Deleting", "nobody was asked yet");
    cluster.go_on("n-0");
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").0, "Deleting", "nobody has answered");
    cluster.pass(seconds(60));
    let told = &cluster.agents[&node("n-0")].told;
    assert!(
        matches!(&told[..], [(_, only)] if only == "delete w"),
        "{told:?}"
    );
    assert_eq!(cluster.seen("w").0, "Gone");
}

/// A change of unknown fate that nobody repeats keeps the room that it could take, for as long as it
/// could come, and no longer.
#[test]
fn room_for_what_is_too_old_to_come_is_given_back() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let version = cluster.apply("w", 1_000).unwrap().resource_version;
    cluster.pass(seconds(3));
    cluster.next_commit = NextCommit::UnknownLost;
    let larger = ApplyWorkload {
        if_match: cluster.get_workload("w").map(|view| view.resource_version),
        ..apply("w", 3_000)
    };
    assert!(version <= larger.if_match.unwrap());
    let told = cluster.apply_with(larger);
    assert!(told.is_err(), "{told:?}");
    cluster.next_commit = NextCommit::Works;
    cluster.apply("other", 2_500).unwrap();
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("other").0, "Pending", "it may still come");
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("other").0, "Running");
    assert_eq!(
        cluster.get_workload("w").unwrap().record.resources.cpu.0,
        1_000
    );
}
