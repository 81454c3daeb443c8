//! Nodes that come, go, drain and lie.

use berth_core::io::Op;
use berth_core::io::agent::AgentState;
use berth_core::io::request::{Query, Request, RequestError, Response};
use berth_core::model::node::{NodeReason, NodeStatus};
use berth_core::model::units::Resources;
use berth_core::model::workload::{DesiredState, FailureKind};
use berth_core::{Config, EventType, Input, Key};

use crate::cluster::{Cluster, NextCommit, apply, id, node, registration, seconds};

pub(crate) fn lose(cluster: &mut Cluster, name: &str) {
    let agent = cluster.agents.get_mut(&node(name)).unwrap();
    (agent.heartbeats, agent.reachable) = (false, false);
}

fn find(cluster: &mut Cluster, name: &str) {
    let agent = cluster.agents.get_mut(&node(name)).unwrap();
    (agent.heartbeats, agent.reachable) = (true, true);
}

#[test]
fn a_lost_node_is_left_after_its_grace_and_cleaned_when_it_returns() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-0");
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(45));
    assert_eq!(cluster.seen("w"), ("Unknown".into(), "n-0".into()));
    assert_eq!(cluster.count(EventType::NodeLost), 1);
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert!(
        cluster
            .store
            .contains_key(&Key::Tombstone(node("n-0"), id("w")))
    );
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 1);
    find(&mut cluster, "n-0");
    cluster.pass(seconds(30));
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    assert!(
        !cluster
            .store
            .contains_key(&Key::Tombstone(node("n-0"), id("w")))
    );
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// S13: what waited for its turn is checked once more before it leaves.
#[test]
fn an_apply_that_waited_does_not_leave_once_the_former_node_is_back() {
    let mut cluster = Cluster::with(Config {
        calls_per_node_max: 1,
        ..Config::default()
    });
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-0");
    cluster.agents.get_mut(&node("n-1")).unwrap().hangs = true;
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(105));
    assert_eq!(cluster.seen("w"), ("Scheduled".into(), "n-1".into()));
    // It waits behind a listing that n-1 does not answer. Meanwhile n-0 is heard again.
    find(&mut cluster, "n-0");
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    cluster.pass(seconds(15));
    let back = cluster.get_node("n-0").unwrap();
    assert_eq!(back.record.status, NodeStatus::Ready);
    cluster.go_on("n-1");
    cluster.pass(seconds(5));
    let told = |cluster: &Cluster| cluster.agents[&node("n-1")].told.clone();
    assert!(told(&cluster).is_empty(), "{:?}", told(&cluster));
    assert_eq!(cluster.agents[&node("n-0")].has.len(), 1);
    cluster.go_on("n-0");
    cluster.pass(seconds(60));
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert_eq!(told(&cluster).len(), 1, "{:?}", told(&cluster));
}

#[test]
fn a_node_that_is_back_within_its_grace_keeps_everything() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(70));
    find(&mut cluster, "n-0");
    cluster.pass(seconds(120));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert_eq!(cluster.count(EventType::Rescheduled), 0);
    assert_eq!(cluster.agents[&node("n-0")].told.len(), 1);
}

#[test]
fn after_a_restart_nobody_is_evicted_before_a_full_window() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    // The scheduler was away for an hour; the node's stored heartbeat is old.
    cluster.now = cluster.now + seconds(3_600);
    cluster.restart(20);
    cluster.pass(seconds(120));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert_eq!(cluster.count(EventType::NodeLost), 0);
    assert_eq!(
        cluster.agents[&node("n-0")].told.len(),
        1,
        "nothing was sent again"
    );
}

#[test]
fn evictions_pause_when_most_of_the_cluster_vanishes() {
    let mut cluster = Cluster::new();
    cluster.nodes(6);
    for at in 0..6 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    for name in ["n-0", "n-1", "n-2", "n-3"] {
        lose(&mut cluster, name);
    }
    cluster.pass(seconds(300));
    assert_eq!(cluster.count(EventType::EvictionPaused), 1);
    assert_eq!(cluster.count(EventType::Rescheduled), 0);
    let Ok(Response::Status(status)) = cluster.ask(Request::Read(Query::Status)) else {
        panic!("a status");
    };
    assert!(status.eviction_paused && status.leading);
    find(&mut cluster, "n-0");
    cluster.pass(seconds(30));
    assert_eq!(cluster.count(EventType::EvictionResumed), 1);
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::Rescheduled), 3);
}

/// S18: nodes that were cut off together come back one after another. Those that are heard last
/// keep what they run, although evictions may go on since.
#[test]
fn who_is_back_a_moment_after_the_others_is_not_left() {
    let mut cluster = Cluster::new();
    cluster.nodes(6);
    for at in 0..6 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    for name in ["n-0", "n-1", "n-2", "n-3"] {
        lose(&mut cluster, name);
    }
    cluster.pass(seconds(300));
    find(&mut cluster, "n-0");
    cluster.pass(seconds(11));
    assert_eq!(cluster.count(EventType::EvictionResumed), 1);
    for name in ["n-1", "n-2", "n-3"] {
        find(&mut cluster, name);
    }
    cluster.pass(seconds(120));
    assert_eq!(cluster.count(EventType::Rescheduled), 0);
    assert_eq!(cluster.seen("w-3"), ("Running".into(), "n-3".into()));
}

#[test]
fn evictions_keep_to_their_rate() {
    let mut cluster = Cluster::with(Config {
        evictions_per_second_max: 2,
        ..Config::default()
    });
    cluster.nodes(2);
    cluster.register("n-2", Resources::new(40_000, 80_000, 1_000));
    let on_lost = |cluster: &Cluster| {
        cluster
            .outputs
            .iter()
            .filter(|o| format!("{o:?}").contains("its node was lost"))
            .count()
    };
    for at in 0..24 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(40 + 55));
    let mut last = on_lost(&cluster);
    for _ in 0..20 {
        cluster.pass(seconds(1));
        let now = on_lost(&cluster);
        assert!(
            now - last <= 2 * 2 * 2,
            "{} evictions in a second",
            now - last
        );
        last = now;
    }
    assert!(cluster.get_node("n-0").unwrap().workloads == 0);
}

#[test]
fn a_node_that_cannot_be_called_is_not_ready_once_and_keeps_what_it_runs() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = false;
    cluster.pass(seconds(400));
    let view = cluster.get_node("n-0").unwrap();
    assert_eq!(view.record.status, NodeStatus::NotReady);
    assert_eq!(view.record.status_reason, NodeReason::AgentUnreachable);
    assert_eq!(cluster.count(EventType::NodeLost), 1, "it does not flap");
    assert_eq!(
        cluster.seen("w").1,
        "n-0",
        "its heartbeats say that it runs"
    );
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = true;
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
}

#[test]
fn a_drain_moves_a_few_at_a_time_and_says_when_it_is_done() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    for at in 0..10 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    cluster.nodes(2);
    cluster.agents.get_mut(&node("n-1")).unwrap().result = AgentState::Pending;
    let drain = Request::Drain {
        node: node("n-0"),
        deadline: seconds(600),
        parallelism: 3,
    };
    cluster.ask(drain).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(
        cluster.get_node("n-0").unwrap().workloads,
        7,
        "three are on the move"
    );
    let agent = cluster.agents.get_mut(&node("n-1")).unwrap();
    agent.result = AgentState::Running;
    agent
        .has
        .values_mut()
        .for_each(|(_, state)| *state = AgentState::Running);
    cluster.pass(seconds(60));
    let drained = cluster.get_node("n-0").unwrap();
    assert_eq!((drained.workloads, drained.tombstones), (0, 0));
    assert!(
        drained
            .record
            .drain
            .is_some_and(|drain| drain.completed_at.is_some())
    );
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    cluster
        .ask(Request::CancelDrain { node: node("n-0") })
        .unwrap();
    assert!(
        !cluster.get_node("n-0").unwrap().record.schedulable,
        "it stays cordoned"
    );
    let uncordon = Request::SetSchedulable {
        node: node("n-0"),
        schedulable: true,
    };
    cluster.ask(uncordon).unwrap();
    cluster.apply("new", 100).unwrap();
    assert_eq!(cluster.seen("new").1, "n-0");
}

#[test]
fn a_drain_without_room_waits_for_its_deadline() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.apply("s", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.set("s", DesiredState::Stopped).unwrap();
    cluster.pass(seconds(3));
    let drain = Request::Drain {
        node: node("n-0"),
        deadline: seconds(100),
        parallelism: 1,
    };
    cluster.ask(drain).unwrap();
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Pending".into(), String::new()));
    assert_eq!(cluster.seen("s"), ("Stopped".into(), String::new()));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}

/// L1: a second process with the node's id registers and is gone; the first one heartbeats on, and
/// has no reason to register. Seeds 2465, 3767, 4051 and 4087.
#[test]
fn a_node_that_is_not_reached_where_it_registered_says_again_where_it_answers() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    let mut second = registration("n-0", Resources::new(4_000, 8_192, 100));
    second.endpoint = "another:50051".into();
    cluster.ask(Request::Register(second)).unwrap();
    // Three calls fail first, and one in a minute is made.
    cluster.pass(seconds(240));
    let state = |cluster: &mut Cluster| {
        let record = cluster.get_node("n-0").unwrap().record;
        (record.status, record.agent_endpoint)
    };
    assert_eq!(
        state(&mut cluster),
        (NodeStatus::Ready, "n-0:50051".to_owned())
    );
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
}

/// L2: the room was seen in the very step in which the pass came; nothing was missed. Seed 4194.
#[test]
fn a_pass_counts_nothing_as_rescued_that_an_event_of_its_step_places() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let cordon = |schedulable| Request::SetSchedulable {
        node: node("n-0"),
        schedulable,
    };
    cluster.ask(cordon(false)).unwrap();
    cluster.apply("w", 100).unwrap();
    cluster.next_commit = NextCommit::Held;
    cluster.begin(cordon(true));
    // The answer comes when the pass is overdue, as in a process that stood still.
    cluster.now = cluster.now + seconds(7);
    cluster.release();
    let view = cluster.get_workload("w").unwrap();
    assert_eq!(view.record.assigned_node, Some(node("n-0")));
    assert_eq!(cluster.core.stats().rescued_by_pass, 0);
}

/// An agent that cannot be called, wherever it registers, is not made to do nothing else.
#[test]
fn a_node_is_asked_to_register_again_once_a_lease() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = false;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(40));
    let heard = cluster.journal.len();
    cluster.pass(seconds(120));
    let registers = cluster.journal[heard..].iter().filter(|(_, input)| {
        let register = |request: &Request| matches!(request, Request::Register(_));
        matches!(input, Input::Request { request, .. } if register(request))
    });
    let registers = registers.count();
    assert!((3..=4).contains(&registers), "{registers} registrations");
    assert_eq!(
        cluster.get_node("n-0").unwrap().record.status,
        NodeStatus::NotReady
    );
}

#[test]
fn a_cordoned_node_takes_nothing_new() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster
        .ask(Request::SetSchedulable {
            node: node("n-0"),
            schedulable: false,
        })
        .unwrap();
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w").0, "Pending");
    cluster
        .ask(Request::SetSchedulable {
            node: node("n-0"),
            schedulable: true,
        })
        .unwrap();
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("w").0, "Running");
    let unknown = cluster.ask(Request::SetSchedulable {
        node: node("x"),
        schedulable: true,
    });
    assert!(matches!(unknown, Err(RequestError::NoSuchNode(_))));
}

#[test]
fn a_fenced_node_is_left_at_once_and_a_purge_ends_what_waits_for_it() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    for at in 0..4 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    let early = cluster.ask(Request::Purge { node: node("n-0") });
    assert!(matches!(early, Err(RequestError::Refused(_))), "{early:?}");
    lose(&mut cluster, "n-0");
    cluster.delete("w-0").unwrap();
    cluster.ask(Request::Fence { node: node("n-0") }).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("w-2"), ("Running".into(), "n-1".into()));
    assert_eq!(
        cluster.seen("w-0").0,
        "Deleting",
        "its node must say so, or be purged"
    );
    assert_eq!(
        cluster.ask(Request::Purge { node: node("n-0") }),
        Ok(Response::Purged)
    );
    assert_eq!(cluster.seen("w-0").0, "Gone");
    assert!(cluster.get_node("n-0").is_none());
    assert!(
        !cluster
            .store
            .keys()
            .any(|key| matches!(key, Key::Tombstone(..)))
    );
}

#[test]
fn a_stranger_is_left_alone_and_what_came_back_from_the_grave_is_not() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent
        .has
        .insert(id("foreign"), (revision.clone(), AgentState::Running));
    // A command that was delayed in the network.
    agent.has.insert(id("w"), (revision, AgentState::Running));
    cluster.pass(seconds(90));
    let has = &cluster.agents[&node("n-0")].has;
    assert!(
        has.contains_key(&id("foreign")) && !has.contains_key(&id("w")),
        "{has:?}"
    );
    assert_eq!(cluster.get_node("n-0").unwrap().strangers, Some(1));
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
}

#[test]
fn a_new_leader_knows_from_the_events_what_was_where() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    cluster.restart(20);
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    for name in ["foreign", "w"] {
        let copy = (revision.clone(), AgentState::Running);
        agent.has.insert(id(name), copy);
    }
    cluster.pass(seconds(90));
    let has: Vec<_> = cluster.agents[&node("n-0")].has.keys().collect();
    assert_eq!(has, [&id("foreign")]);
    assert_eq!(cluster.get_node("n-0").unwrap().strangers, Some(1));
}

#[test]
fn registering_again_resets_nothing() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    for at in 0..8 {
        cluster.apply(&format!("w-{at}"), 500).unwrap();
    }
    cluster.pass(seconds(2));
    for _ in 0..5 {
        cluster.register("n-0", Resources::new(4_000, 8_192, 100));
    }
    cluster.apply("more", 500).unwrap();
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("more").0, "Pending");
    assert_eq!(cluster.count(EventType::NodeRegistered), 1);
    cluster.register("n-0", Resources::new(5_000, 8_192, 100));
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("more").0, "Running");
}

#[test]
fn a_node_that_is_gone_for_long_and_holds_nothing_is_forgotten() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    lose(&mut cluster, "n-1");
    cluster.pass(seconds(26 * 3_600));
    assert!(cluster.get_node("n-1").is_none());
    assert!(cluster.get_node("n-0").is_some());
}

/// S16: a move is over when that is written, not when it is seen.
#[test]
fn a_drain_takes_the_next_when_the_former_is_written_down() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    for at in 0..2 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    cluster.pass(seconds(5));
    cluster.nodes(2);
    let agent = cluster.agents.get_mut(&node("n-1")).unwrap();
    agent.result = AgentState::Pending;
    let drain = Request::Drain {
        node: node("n-0"),
        deadline: seconds(600),
        parallelism: 1,
    };
    cluster.ask(drain).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.get_node("n-0").unwrap().workloads, 1);
    let agent = cluster.agents.get_mut(&node("n-1")).unwrap();
    let states = agent.has.values_mut();
    states.for_each(|(_, state)| *state = AgentState::Running);
    cluster.next_commit = NextCommit::Held;
    cluster.pass(seconds(9));
    let moves = cluster.held.iter().flat_map(|txn| &txn.ops);
    let moves = moves.filter(|op| {
        matches!(
            op,
            Op::Put {
                key: Key::Tombstone(..),
                ..
            }
        )
    });
    assert_eq!(moves.count(), 0, "{:?}", cluster.held);
    assert!(!cluster.held.is_empty(), "that it runs is on its way");
    cluster.release();
    cluster.pass(seconds(30));
    assert_eq!(cluster.get_node("n-0").unwrap().workloads, 0);
}

/// S21: who is tried again and has no home is told why, or gets one.
#[test]
fn a_retry_of_what_has_no_home_looks_for_one() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent.result = AgentState::Failed;
    agent.failure = FailureKind::ImageNotFound;
    let mut wish = apply("w", 100);
    wish.spec.as_mut().unwrap().max_attempts = Some(1);
    cluster.apply_with(wish).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").0, "Failed");
    let drain = Request::Drain {
        node: node("n-0"),
        deadline: seconds(5),
        parallelism: 1,
    };
    cluster.ask(drain).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w"), ("Failed".into(), String::new()));
    let retry = || Request::Retry { workload: id("w") };
    cluster.ask(retry()).unwrap();
    assert_eq!(cluster.seen("w").0, "Pending");
    let why = cluster.get_workload("w").unwrap().record.status;
    assert!(!why.failure_reason.is_empty(), "{why:?}");
    cluster.nodes(2);
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}
