//! Sequences that a reader found by thinking: each was wrong once.

use std::collections::BTreeMap;

use berth_core::io::agent::{AgentOp, AgentState};
use berth_core::io::request::{ApplyWorkload, Request, RequestError};
use berth_core::io::{Op, Output, Stored};
use berth_core::model::node::NodeStatus;
use berth_core::model::units::Resources;
use berth_core::model::workload::{AssignmentRecord, DesiredState, RetryState};
use berth_core::{Config, EventType, Input, Key, StoreRevision};

use crate::cluster::{Cluster, NextCommit, apply, id, node, registration, seconds};

/// The agent mutations of a workload in the order in which they left: `node action`.
fn mutations(cluster: &Cluster, workload: &str) -> Vec<String> {
    let calls = cluster.outputs.iter().filter_map(|output| match output {
        Output::Call(call) if call.op.workload() == Some(&id(workload)) => Some(call),
        _ => None,
    });
    calls
        .filter_map(|call| match &call.op {
            AgentOp::Apply { .. } => Some(format!("{} apply", call.node)),
            AgentOp::Delete { .. } => Some(format!("{} delete", call.node)),
            AgentOp::Status { .. } | AgentOp::List => None,
        })
        .collect()
}

fn pinned(name: &str, zone: &str) -> ApplyWorkload {
    let mut apply = apply(name, 100);
    if let Some(spec) = &mut apply.spec {
        spec.constraints.labels = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
    }
    apply
}

/// S13: the copy at the former home goes before the one at the next begins; and what was seen at
/// the former home proves nothing about the next, though the revision is the same.
#[test]
fn a_move_for_a_constraint_deletes_first_and_proves_itself_anew() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply_with(pinned("w", "n-0")).unwrap();
    cluster.pass(seconds(3));
    let before = cluster.get_workload("w").unwrap().record.revision_id;
    cluster.apply_with(pinned("w", "n-1")).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert_eq!(
        cluster.get_workload("w").unwrap().record.revision_id,
        before
    );
    assert_eq!(
        mutations(&cluster, "w"),
        ["n-0 apply", "n-0 delete", "n-1 apply"]
    );
    assert_eq!(cluster.count(EventType::WorkloadRunning), 2);
    assert_eq!(cluster.count(EventType::DriftDetected), 0);
}

/// S7: a move is no way round the wait for the next try.
#[test]
fn a_workload_that_waits_for_its_next_try_waits_at_its_next_home_too() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    for at in 0..2 {
        let agent = cluster.agents.get_mut(&node(&format!("n-{at}"))).unwrap();
        agent.result = berth_core::io::agent::AgentState::Failed;
    }
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(20));
    let retry = cluster.get_workload("w").unwrap().record.retry;
    let next = retry.next_retry_at.expect("it failed three times");
    let drain = Request::Drain {
        node: node("n-0"),
        deadline: seconds(600),
        parallelism: 1,
    };
    cluster.ask(drain).unwrap();
    cluster.pass(seconds(60));
    let told = &cluster.agents[&node("n-1")].told;
    assert!(
        told.iter().all(|(at, _)| *at >= next),
        "{told:?}, not before {next}"
    );
    assert!(!told.is_empty());
}

/// S16, L1: one conflict does not end a drain.
#[test]
fn a_drain_goes_on_after_a_move_that_was_lost() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    for at in 0..3 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(3));
    cluster.nodes(2);
    let drain = Request::Drain {
        node: node("n-0"),
        deadline: seconds(6_000),
        parallelism: 1,
    };
    cluster.next_commit = NextCommit::Held;
    cluster.begin(drain);
    cluster.release();
    cluster.next_commit = NextCommit::UnknownLost;
    cluster.pass(seconds(60));
    assert_eq!(cluster.get_node("n-0").unwrap().workloads, 0);
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}

/// A node that could not be called and then fell silent is called again when it heartbeats.
#[test]
fn an_unreachable_node_that_was_silent_comes_back_by_its_heartbeats() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = false;
    cluster.pass(seconds(200));
    cluster.agents.get_mut(&node("n-0")).unwrap().heartbeats = false;
    cluster.pass(seconds(100));
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (true, true);
    cluster.pass(seconds(40));
    assert_eq!(
        cluster.get_node("n-0").unwrap().record.status,
        NodeStatus::Ready
    );
    assert_eq!(cluster.seen("w").0, "Running");
}

pub(crate) fn edit(cluster: &mut Cluster, key: &Key, value: Option<&str>) {
    cluster.revision += 1;
    let at = cluster.revision;
    match value {
        Some(value) => cluster.store.insert(key.clone(), (value.to_owned(), at)),
        None => cluster.store.remove(key),
    };
    let stored = Stored {
        key: key.clone(),
        value: value.map(|value| value.to_owned().into()),
        mod_revision: StoreRevision(at),
    };
    let revision = StoreRevision(at);
    cluster.feed(Input::Changed {
        revision,
        records: vec![stored],
    });
}

/// S3: what is assigned to a node stays reserved when somebody removes the node's record.
#[test]
fn a_node_whose_record_somebody_removed_is_not_filled_twice() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    for at in 0..4 {
        cluster.apply(&format!("w-{at}"), 1_000).unwrap();
    }
    cluster.pass(seconds(3));
    cluster.next_commit = NextCommit::Held;
    edit(&mut cluster, &Key::Node(node("n-0")), None);
    cluster.release();
    cluster.pass(seconds(30));
    cluster.apply("more", 1_000).unwrap();
    cluster.pass(seconds(30));
    let allocated = cluster
        .get_node("n-0")
        .unwrap()
        .record
        .resources
        .cpu_allocated;
    assert!(allocated.0 <= 4_000, "{allocated}");
}

/// L1: what somebody else removed of the tries is no more in what the workload's record repeats.
#[test]
fn tries_that_somebody_else_removed_are_forgotten_in_the_record_too() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(4));
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Running;
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w").0, "Running");
    assert!(cluster.get_workload("w").unwrap().record.retry.attempts > 0);
    edit(&mut cluster, &Key::Retry(id("w")), None);
    let outputs = cluster.outputs.len();
    cluster.pass(seconds(30));
    let record = cluster.get_workload("w").unwrap().record;
    assert_eq!(
        record.retry,
        RetryState::fresh(record.retry.max_attempts),
        "with the next pass"
    );
    let commits = cluster.outputs[outputs..].iter();
    let commits = commits.filter(|output| matches!(output, Output::Commit(_)));
    assert!(commits.count() <= 3, "and then it is left alone");
}

/// S12: a record that cannot be read is left alone, without a storm of commits, and whoever asks
/// is answered.
#[test]
fn a_poisoned_record_costs_nothing() {
    for key in [
        Key::Assignment(id("w")),
        Key::Intent(id("w")),
        Key::Retry(id("w")),
    ] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        cluster.apply("w", 100).unwrap();
        cluster.apply("other", 100).unwrap();
        cluster.pass(seconds(3));
        edit(&mut cluster, &key, Some("{broken"));
        let outputs = cluster.outputs.len();
        cluster.pass(seconds(30));
        let commits = cluster.outputs[outputs..]
            .iter()
            .filter(|output| matches!(output, Output::Commit(_)))
            .count();
        assert!(commits <= 2, "{key}: {commits} commits");
        let refused = cluster.apply("w", 200);
        assert!(
            matches!(refused, Err(RequestError::Refused(_))),
            "{key}: {refused:?}"
        );
        assert_eq!(cluster.seen("other").0, "Running");
    }
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    edit(&mut cluster, &Key::Node(node("n-0")), Some("[]"));
    cluster.agents.get_mut(&node("n-0")).unwrap().heartbeats = false;
    cluster.restart(20);
    cluster.pass(seconds(60));
    assert_eq!(
        mutations(&cluster, "w"),
        ["n-0 apply"],
        "nothing is moved off it"
    );
}

/// S12: a store that takes nothing is not asked in a loop.
#[test]
fn a_store_that_refuses_is_asked_rarely() {
    let mut cluster = Cluster::new();
    cluster.nodes(3);
    for at in 0..9 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(3));
    cluster.next_commit = NextCommit::Refused;
    for agent in cluster.agents.values_mut() {
        agent.has.clear();
    }
    let outputs = cluster.outputs.len();
    cluster.pass(seconds(60));
    let commits = cluster.outputs[outputs..]
        .iter()
        .filter(|output| matches!(output, Output::Commit(_)))
        .count();
    assert!(commits <= 9 * 13 + 40, "{commits} commits in a minute");
    cluster.next_commit = NextCommit::Works;
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w-0").0, "Running");
}

/// S18: a stopped workload's copy is somebody's data too.
#[test]
fn stopped_workloads_stay_where_they_are_while_evictions_pause() {
    let mut cluster = Cluster::new();
    cluster.nodes(4);
    for at in 0..4 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(3));
    for at in 0..4 {
        cluster
            .set(&format!("w-{at}"), DesiredState::Stopped)
            .unwrap();
    }
    cluster.pass(seconds(3));
    for at in 0..3 {
        let agent = cluster.agents.get_mut(&node(&format!("n-{at}"))).unwrap();
        (agent.heartbeats, agent.reachable) = (false, false);
    }
    cluster.pass(seconds(300));
    assert_eq!(cluster.count(EventType::EvictionPaused), 1);
    assert_eq!(
        cluster.get_workload("w-0").unwrap().record.assigned_node,
        Some(node("n-0"))
    );
    // The next leader knows it at once.
    cluster.restart(20);
    cluster.pass(seconds(300));
    assert_eq!(
        cluster.get_workload("w-0").unwrap().record.assigned_node,
        Some(node("n-0"))
    );
}

/// Lost nodes without assignments leave, with what was never confirmed gone there.
#[test]
fn a_lost_node_with_tombstones_is_forgotten_in_the_end() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (false, false);
    cluster.pass(seconds(200));
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 1);
    cluster.pass(seconds(26 * 3_600));
    assert!(cluster.get_node("n-0").is_none());
    assert!(
        !cluster
            .store
            .keys()
            .any(|key| matches!(key, Key::Tombstone(..)))
    );
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// S4: the record follows the assignment, and the copy at the home that it named goes.
#[test]
fn an_assignment_that_somebody_removed_is_repaired() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    edit(&mut cluster, &Key::Assignment(id("w")), None);
    cluster.pass(seconds(10));
    let (status, home) = cluster.seen("w");
    assert_eq!(status, "Running");
    let copies = cluster
        .agents
        .values()
        .filter(|a| a.has.contains_key(&id("w")))
        .count();
    assert_eq!(copies, 1);
    assert!(cluster.agents[&node(&home)].has.contains_key(&id("w")));
    assert!(cluster.count(EventType::RecordAdopted) >= 1);
}

/// S4: the same when it is the record that says of no home.
#[test]
fn a_record_that_forgot_its_home_is_told() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    let key = Key::Workload(id("w"));
    let was = cluster.store[&key].0.clone();
    let forgot = was.replace(r#""assigned_node":"n-0""#, r#""assigned_node":null"#);
    assert_ne!(was, forgot);
    edit(&mut cluster, &key, Some(&forgot));
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert!(cluster.store[&key].0.contains(r#""assigned_node":"n-0""#));
    assert_eq!(cluster.agents[&node("n-0")].told.len(), 1);
}

/// S10: an agent that lists a copy as missing may make it anew: it is not gone while it is listed.
#[test]
fn a_copy_that_is_listed_as_missing_is_deleted_until_it_is_not_listed() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    let listed_as_missing = |cluster: &mut Cluster| {
        let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
        let revision = "r".parse().unwrap();
        agent.has.insert(id("w"), (revision, AgentState::Missing));
    };
    // While it should run it is applied again.
    listed_as_missing(&mut cluster);
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w").0, "Running");
    assert_eq!(mutations(&cluster, "w").len(), 2);
    cluster.delete("w").unwrap();
    listed_as_missing(&mut cluster);
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w").0, "Deleting");
    cluster.pass(Config::default().delete_timeout * 2);
    assert_eq!(cluster.seen("w").0, "Gone");
    assert_eq!(mutations(&cluster, "w").len(), 4);
}

/// S10: that a workload was missing when its home was chosen proves nothing once it was applied.
#[test]
fn a_workload_deleted_right_after_its_apply_is_deleted_on_its_node_too() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    assert!(agent.has.contains_key(&id("w")), "applied");
    (agent.heartbeats, agent.reachable) = (false, false);
    cluster.delete("w").unwrap();
    cluster.pass(seconds(50));
    assert_eq!(cluster.seen("w").0, "Deleting");
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (true, true);
    // A new process of the agent: its node is ready at once, before anybody has listed it.
    let mut anew = registration("n-0", Resources::new(4_000, 8_192, 100));
    anew.incarnation = "2".into();
    cluster.ask(Request::Register(anew)).unwrap();
    assert_eq!(
        cluster.get_node("n-0").unwrap().record.status,
        NodeStatus::Ready
    );
    assert_eq!(cluster.seen("w").0, "Deleting");
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").0, "Gone");
    // Not found later as an orphan and cleaned up: its record waited for it.
    assert_eq!(cluster.core.stats().orphans_found, 0);
    assert!(cluster.agents[&node("n-0")].has.is_empty());
}

/// S1: what is under way at a node that cannot be asked is decided anew when somebody removes the
/// record of it.
#[test]
fn an_intent_that_somebody_removed_is_decided_again() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    assert!(agent.has.contains_key(&id("w")), "applied");
    (agent.heartbeats, agent.reachable) = (false, false);
    edit(&mut cluster, &Key::Intent(id("w")), None);
    cluster.pass(seconds(50));
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (true, true);
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
}

/// L1, S3: an assignment that somebody put back to an earlier one: what is reserved is what the workload
/// asks for, and it moves where that does not fit any more.
#[test]
fn an_assignment_that_was_put_back_follows_its_record_again() {
    for taken in [false, true] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        cluster.apply("w", 1_000).unwrap();
        cluster.pass(seconds(5));
        let key = Key::Assignment(id("w"));
        let earlier = cluster.store[&key].0.clone();
        cluster.apply("w", 3_000).unwrap();
        cluster.pass(seconds(5));
        let wanted = cluster.get_workload("w").unwrap().record;
        if taken {
            // Until its record was looked at again, its room was free by its assignment.
            cluster.next_commit = NextCommit::Held;
        }
        edit(&mut cluster, &key, Some(&earlier));
        if taken {
            let held = std::mem::take(&mut cluster.held);
            cluster.next_commit = NextCommit::Works;
            let writes = |op: &Op| matches!(op, Op::Put { key: put, .. } if *put == key);
            let written = held.iter().filter(|txn| txn.ops.iter().any(writes));
            assert_eq!(written.count(), 1, "{held:?}");
            let late = cluster.apply("late", 2_000).unwrap();
            assert_eq!(late.record.assigned_node, None, "what is on its way counts");
            cluster.held = held;
            cluster.release();
        }
        cluster.pass(seconds(20));
        let home: AssignmentRecord = serde_json::from_str(&cluster.store[&key].0).unwrap();
        assert_eq!(home.resources, wanted.resources);
        assert_eq!(home.revision_id, wanted.revision_id);
        assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
        assert_eq!(cluster.count(EventType::Rescheduled), 0);
    }
}
