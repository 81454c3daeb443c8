//! Sequences that a reader found, and that seeds hardly ever draw.

use berth_core::io::Fate;
use berth_core::io::agent::AgentState;
use berth_core::io::request::{ApplyWorkload, Request, RequestError};
use berth_core::model::node::NodeStatus;
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;
use berth_core::{EventType, Input, Key};

use crate::cluster::{Cluster, NextCommit, apply, id, node, seconds};
use crate::nodes::lose;
use crate::review::edit;

pub(crate) const SIZE: Resources = Resources::new(4_000, 8_192, 100);

pub(crate) fn drain(name: &str, deadline: u64) -> Request {
    Request::Drain {
        node: node(name),
        deadline: seconds(deadline),
        parallelism: 1,
    }
}

pub(crate) fn schedulable(name: &str, schedulable: bool) -> Request {
    Request::SetSchedulable {
        node: node(name),
        schedulable,
    }
}

fn with_tries(name: &str, tries: u32) -> ApplyWorkload {
    let mut wanted = apply(name, 100);
    wanted.spec.as_mut().unwrap().max_attempts = Some(tries);
    wanted
}

/// L1: an assignment is put back to an earlier one while nobody leads: the next leader gives nobody the
/// room that it leaves free, and moves nobody.
#[test]
fn what_an_earlier_assignment_leaves_free_is_not_given_away_at_a_takeover() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 1_000).unwrap();
    cluster.pass(seconds(5));
    let key = Key::Assignment(id("w"));
    let earlier = cluster.store[&key].0.clone();
    cluster.apply("w", 3_000).unwrap();
    cluster.apply("late", 2_000).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("late").0, "Pending");
    cluster.revision += 1;
    cluster.store.insert(key, (earlier, cluster.revision));
    cluster.restart(50);
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert_eq!(cluster.seen("late").0, "Pending");
    assert_eq!(cluster.count(EventType::Rescheduled), 0);
}

/// S18: an assignment of another revision that reserves enough moves nobody, although its node would not
/// be chosen any more.
#[test]
fn an_assignment_that_reserves_enough_is_written_anew_where_it_is() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(5));
    let home = cluster.seen("w").1;
    let key = Key::Assignment(id("w"));
    let earlier = cluster.store[&key].0.clone();
    cluster.apply("w", 2_000).unwrap();
    cluster.pass(seconds(5));
    cluster.register(&home, Resources::new(1_000, 8_192, 100));
    edit(&mut cluster, &key, Some(&earlier));
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), home));
    assert_eq!(cluster.count(EventType::Rescheduled), 0);
    assert_ne!(cluster.store[&key].0, earlier);
}

/// L1: a client leaves a workload fewer tries than it had. It is tried once more, and then it has failed,
/// under the next leader too.
#[test]
fn fewer_tries_than_there_were_end_with_a_failure_that_is_told() {
    for takes_over in [false, true] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
        cluster.apply("w", 100).unwrap();
        cluster.pass(seconds(8));
        assert_eq!(cluster.get_workload("w").unwrap().record.retry.attempts, 2);
        cluster.apply_with(with_tries("w", 2)).unwrap();
        if takes_over {
            cluster.restart(50);
        }
        cluster.pass(seconds(200));
        assert_eq!(cluster.seen("w").0, "Failed", "takes over: {takes_over}");
        assert_eq!(cluster.count(EventType::RetriesExhausted), 1);
        let retry = cluster.get_workload("w").unwrap().record.retry;
        assert_eq!((retry.attempts, retry.exhausted), (2, true));
    }
}

/// L2: what runs by its last try and must leave its node without a place is started when there is one.
#[test]
fn what_ran_by_its_last_try_waits_for_room_like_anything_else() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(200));
    assert_eq!(cluster.seen("w"), ("Failed".into(), "n-0".into()));
    let revision = cluster.get_workload("w").unwrap().record.revision_id;
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent.has.insert(id("w"), (revision, AgentState::Running));
    cluster.pass(seconds(70));
    assert_eq!(cluster.seen("w").0, "Running");
    assert!(cluster.get_workload("w").unwrap().record.retry.exhausted);
    cluster.ask(drain("n-0", 5)).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w"), ("Pending".into(), String::new()));
    cluster.register("n-1", SIZE);
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// A drain of `n-0` moved `w` to `n-1`, was cancelled, and `w` went back to `n-0` because `n-1` was lost
/// before it ran there.
fn moved_and_back() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    // Too small, so that one lost node is no disaster.
    cluster.register("tiny", Resources::new(10, 8_192, 100));
    cluster.register("n-1", SIZE);
    cluster.agents.get_mut(&node("n-1")).unwrap().hangs = true;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("w").1, "n-1");
    cluster
        .ask(Request::CancelDrain { node: node("n-0") })
        .unwrap();
    cluster.ask(schedulable("n-0", true)).unwrap();
    lose(&mut cluster, "n-1");
    cluster.pass(seconds(120));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    cluster
}

/// A workload that came back where it was moved from takes no turn of the next drain there.
#[test]
fn what_came_back_holds_no_turn_of_the_next_drain() {
    for takes_over in [false, true] {
        let mut cluster = moved_and_back();
        cluster.register("n-2", SIZE);
        cluster.ask(drain("n-0", 3_000)).unwrap();
        if takes_over {
            cluster.restart(50);
        }
        cluster.pass(seconds(60));
        assert_eq!(cluster.seen("w"), ("Running".into(), "n-2".into()));
    }
}

/// The transaction that moves `b` off the drained node `n-0` has no answer, and is not in the store when
/// it is read back. `n-1`, to which it moves it, takes nothing new since.
fn move_of_unknown_fate() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("a", 3_000).unwrap();
    cluster.apply("b", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.register("n-1", Resources::new(1_000, 8_192, 100));
    cluster.next_commit = NextCommit::TombstoneHeld;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    assert_eq!(cluster.held.len(), 1, "b's move; a does not fit");
    cluster.ask(schedulable("n-1", false)).unwrap();
    let txn = cluster.held[0].id;
    let fate = Fate::Unknown;
    cluster.feed(Input::Commit { txn, fate });
    assert_eq!(cluster.seen("b").1, "n-0");
    cluster
}

/// S16: a move that may still be carried out has its turn, and no other is made beside it.
#[test]
fn a_move_of_unknown_fate_is_one_on_the_way() {
    let mut cluster = move_of_unknown_fate();
    // There is room for either now.
    cluster.register("n-2", SIZE);
    cluster.agents.get_mut(&node("n-2")).unwrap().hangs = true;
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("a").1, "n-0");
    assert_eq!(cluster.seen("b").1, "n-2", "it may be made again itself");
    cluster.go_on("n-2");
    cluster.pass(seconds(90));
    assert_eq!(cluster.seen("a"), ("Running".into(), "n-2".into()));
}

/// S16: one that comes late is on the way all the same.
#[test]
fn a_move_that_comes_late_is_one_on_the_way() {
    let mut cluster = move_of_unknown_fate();
    cluster.agents.get_mut(&node("n-1")).unwrap().hangs = true;
    cluster.register("n-2", Resources::new(3_500, 8_192, 100));
    cluster.ask(schedulable("n-2", false)).unwrap();
    cluster.release_and_tell();
    assert_eq!(cluster.seen("b").1, "n-1");
    cluster.ask(schedulable("n-2", true)).unwrap();
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("a").1, "n-0", "b is on its way");
    cluster.go_on("n-1");
    cluster.pass(seconds(90));
    assert_eq!(cluster.seen("a"), ("Running".into(), "n-2".into()));
}

/// S16: what is on the move and is given another spec, which does not fit where it goes, is still on the
/// move under the next leader.
#[test]
fn a_move_that_a_client_changes_counts_under_the_next_leader() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("first", 100).unwrap();
    cluster.apply("second", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.register("n-1", Resources::new(1_000, 8_192, 100));
    cluster.agents.get_mut(&node("n-1")).unwrap().hangs = true;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("first").1, "n-1");
    cluster.register("n-2", SIZE);
    cluster.agents.get_mut(&node("n-2")).unwrap().hangs = true;
    cluster.apply("first", 2_000).unwrap();
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("first").1, "n-2");
    cluster.restart(50);
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("second"), ("Running".into(), "n-0".into()));
}

/// S3: somebody removes a node's record while a placement there is on its way: its room is kept.
#[test]
fn room_for_what_may_still_come_outlives_its_nodes_record() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Held;
    cluster.begin(Request::Apply(apply("w", 3_000)));
    let held = std::mem::take(&mut cluster.held);
    assert_eq!(held.len(), 1);
    cluster.next_commit = NextCommit::Works;
    edit(&mut cluster, &Key::Node(node("n-0")), None);
    cluster.register("n-0", SIZE);
    let other = cluster.apply("other", 2_000).unwrap().record;
    assert_eq!(other.assigned_node, None);
    cluster.held = held;
    cluster.release();
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert_eq!(cluster.seen("other").0, "Pending");
}

/// S4: a purge waits for what may still be assigned to its node.
#[test]
fn a_purge_waits_for_what_may_still_come() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Held;
    cluster.begin(Request::Apply(apply("w", 100)));
    let held = std::mem::take(&mut cluster.held);
    cluster.next_commit = NextCommit::Works;
    lose(&mut cluster, "n-0");
    cluster.ask(Request::Fence { node: node("n-0") }).unwrap();
    let purge = cluster.begin(Request::Purge { node: node("n-0") });
    cluster.pass(seconds(3));
    assert!(cluster.answer(purge).is_none(), "w may be assigned there");
    cluster.register("n-1", SIZE);
    cluster.held = held;
    cluster.release();
    cluster.pass(seconds(120));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert!(cluster.answer(purge).is_some_and(|answer| answer.is_ok()));
    assert!(!cluster.store.contains_key(&Key::Node(node("n-0"))));
}

/// A purge of a node of which something cannot be read would never end: it is refused, and one that goes
/// on is given up, with what to do.
#[test]
fn a_purge_of_what_cannot_be_read_is_refused() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(5));
    let home = node(&cluster.seen("w").1);
    lose(&mut cluster, home.as_str());
    cluster.pass(seconds(150));
    let key = Key::Tombstone(home.clone(), id("w"));
    let was = cluster.store[&key].0.clone();
    edit(&mut cluster, &key, Some("{"));
    let refused = cluster.ask(Request::Purge { node: home.clone() });
    let Err(RequestError::Refused(why)) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("cannot be read"), "{why}");
    edit(&mut cluster, &key, Some(&was));
    cluster.next_commit = NextCommit::Held;
    let purge = cluster.begin(Request::Purge { node: home.clone() });
    assert!(cluster.answer(purge).is_none());
    cluster.held.clear();
    cluster.next_commit = NextCommit::Works;
    edit(&mut cluster, &key, Some("{"));
    cluster.pass(seconds(10));
    let given_up = cluster.answer(purge);
    assert!(
        matches!(given_up, Some(Err(RequestError::Refused(_)))),
        "{given_up:?}"
    );
    assert!(cluster.store.contains_key(&Key::Node(home)));
}

/// S12: what no other node can take is told once, whatever becomes free or is taken elsewhere.
#[test]
fn what_is_stranded_is_not_told_anew_when_figures_change() {
    let mut cluster = Cluster::new();
    cluster.nodes(3);
    cluster.apply("w", 3_500).unwrap();
    cluster.pass(seconds(5));
    let home = cluster.seen("w").1;
    for at in 0..2 {
        cluster.apply(&format!("big-{at}"), 1_000).unwrap();
    }
    cluster.pass(seconds(5));
    lose(&mut cluster, &home);
    cluster.pass(seconds(150));
    assert_eq!(cluster.seen("w"), ("Unknown".into(), home));
    let key = Key::Workload(id("w"));
    let told = cluster.store[&key].1;
    for cpu in [900, 800, 700] {
        cluster.apply("big-0", cpu).unwrap();
        cluster.pass(seconds(20));
    }
    assert_eq!(cluster.store[&key].1, told);
    // Room for it is no figure.
    cluster.set("big-0", DesiredState::Deleted).unwrap();
    cluster.delete("big-1").unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").0, "Running");
    let ready = cluster.get_node("n-1").unwrap().record.status;
    assert!(matches!(ready, NodeStatus::Ready | NodeStatus::NotReady));
}

/// S16: a drain that is cancelled and begun again knows of a move that may still be carried out.
#[test]
fn a_move_of_unknown_fate_outlives_its_drain() {
    let mut cluster = move_of_unknown_fate();
    let cancel = Request::CancelDrain { node: node("n-0") };
    cluster.ask(cancel).unwrap();
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.register("n-2", SIZE);
    cluster.agents.get_mut(&node("n-2")).unwrap().hangs = true;
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("a").1, "n-0");
    assert_eq!(cluster.seen("b").1, "n-2");
}

/// S3: a change of another of its records does not stop a move that may still be carried out.
#[test]
fn room_for_what_may_come_is_kept_whatever_else_is_written() {
    for lost in [Key::Intent(id("b")), Key::Retry(id("b"))] {
        let mut cluster = move_of_unknown_fate();
        let held = std::mem::take(&mut cluster.held);
        match &lost {
            Key::Intent(_) => edit(&mut cluster, &lost, None),
            _ => {
                let tries = "{\"workload_id\":\"b\",\"revision_id\":\"r-1\",\"attempts\":0,\
                             \"max_attempts\":5,\"exhausted\":false,\
                             \"last_failure_at\":\"1970-01-01T00:16:40.000Z\",\
                             \"last_failure\":\"RuntimeError\"}";
                edit(&mut cluster, &lost, Some(tries));
            }
        }
        // A drained node's workload that fits nowhere else now.
        cluster.register("n-1", Resources::new(1_000, 8_192, 100));
        cluster.ask(schedulable("n-1", true)).unwrap();
        let other = cluster.apply("other", 950).unwrap().record;
        assert_eq!(other.assigned_node, None, "{lost}");
        cluster.held = held;
        cluster.release();
        cluster.pass(seconds(60));
        let there = cluster.get_node("n-1").unwrap().record.resources;
        assert!(there.cpu_allocated <= there.cpu_total, "{there:?}");
    }
}

/// A node that is lost for long is not forgotten while something of it cannot be read; it is when that is
/// repaired.
#[test]
fn a_lost_node_of_which_something_cannot_be_read_is_kept() {
    let config = berth_core::Config {
        forget_node_after: seconds(300),
        ..berth_core::Config::default()
    };
    let mut cluster = Cluster::with(config);
    cluster.nodes(2);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(5));
    let home = node(&cluster.seen("w").1);
    lose(&mut cluster, home.as_str());
    cluster.pass(seconds(150));
    let key = Key::Tombstone(home.clone(), id("w"));
    let was = cluster.store[&key].0.clone();
    edit(&mut cluster, &key, Some("{"));
    cluster.pass(seconds(600));
    assert!(cluster.store.contains_key(&Key::Node(home.clone())));
    edit(&mut cluster, &key, Some(&was));
    cluster.pass(seconds(60));
    assert!(!cluster.store.contains_key(&Key::Node(home)));
}
