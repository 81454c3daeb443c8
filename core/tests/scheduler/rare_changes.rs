//! Sequences of changes and their fates that a reader found, and that seeds hardly ever draw.

use berth_core::io::request::{ApplyWorkload, Request, RequestError};
use berth_core::io::{Fate, Op};
use berth_core::model::units::Resources;
use berth_core::{Config, EventType, Input, Key, StoreRevision};

use crate::cluster::{Cluster, NextCommit, apply, id, node, seconds};
use crate::rare::{SIZE, drain, schedulable};
use crate::review::edit;

pub(crate) fn hangs(cluster: &mut Cluster, name: &str) {
    cluster.agents.get_mut(&node(name)).unwrap().hangs = true;
}

/// `w` on n-0, and its move to n-1 without an answer.
pub(crate) fn a_move_on_its_way() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(3));
    cluster.register("n-1", SIZE);
    cluster.next_commit = NextCommit::TombstoneHeld;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster
}

/// The same, of unknown fate, and nobody moves it any more: it may come.
pub(crate) fn a_move_that_may_come() -> Cluster {
    let mut cluster = a_move_on_its_way();
    cluster.ask(schedulable("n-1", false)).unwrap();
    let txn = cluster.held[0].id;
    let fate = Fate::Unknown;
    cluster.feed(Input::Commit { txn, fate });
    let end = Request::CancelDrain { node: node("n-0") };
    cluster.ask(end).unwrap();
    cluster.ask(schedulable("n-1", true)).unwrap();
    cluster
}

pub(crate) fn more_urgent(name: &str) -> ApplyWorkload {
    let mut wanted = apply(name, 3_000);
    wanted.spec.as_mut().unwrap().priority = 5;
    wanted
}

/// S3: a conflict with a late move gives away nothing of the room that the move takes.
#[test]
fn a_late_move_learned_by_a_conflict_gives_no_room_away() {
    let mut cluster = a_move_that_may_come();
    let other = cluster.apply("other", 2_000).unwrap().record;
    assert_eq!(other.assigned_node, None);
    cluster.release();
    cluster.apply_with(more_urgent("w")).unwrap();
    assert!(!cluster.store.contains_key(&Key::Assignment(id("other"))));
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// S13: who learns of a late move by a conflict learns with it what the move left behind.
#[test]
fn a_late_move_learned_by_a_conflict_starts_no_second_copy() {
    let mut cluster = a_move_that_may_come();
    cluster.release();
    hangs(&mut cluster, "n-0");
    cluster.apply_with(more_urgent("w")).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-1");
    assert!(cluster.agents[&node("n-1")].told.is_empty());
    cluster.go_on("n-0");
    cluster.pass(seconds(60));
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// The same when it is read back, because nobody knows what became of the change that met it.
#[test]
fn a_late_move_that_is_read_back_starts_no_second_copy() {
    let mut cluster = a_move_that_may_come();
    let late = std::mem::take(&mut cluster.held);
    cluster.next_commit = NextCommit::Held;
    let asked = cluster.begin(Request::Apply(more_urgent("w")));
    let mine = std::mem::replace(&mut cluster.held, late);
    cluster.release();
    hangs(&mut cluster, "n-0");
    let (txn, fate) = (mine[0].id, Fate::Unknown);
    cluster.feed(Input::Commit { txn, fate });
    cluster.answer(asked).unwrap().unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-1");
    assert!(cluster.agents[&node("n-1")].told.is_empty());
}

/// S8: what was created, created again and deleted does not come back with its first creation, which
/// had no home.
#[test]
fn a_creation_without_a_home_that_comes_late_brings_nothing_back() {
    let mut cluster = Cluster::new();
    let mut wanted = apply("w", 100);
    wanted.if_match = Some(StoreRevision(0));
    cluster.next_commit = NextCommit::Held;
    let first = cluster.begin(Request::Apply(wanted.clone()));
    let held = std::mem::take(&mut cluster.held);
    cluster.next_commit = NextCommit::Works;
    let (txn, fate) = (held[0].id, Fate::Unknown);
    cluster.feed(Input::Commit { txn, fate });
    assert!(cluster.answer(first).unwrap().is_err());
    cluster.apply_with(wanted).unwrap();
    cluster.delete("w").unwrap();
    cluster.held = held;
    cluster.release();
    cluster.pass(seconds(90));
    assert!(!cluster.store.contains_key(&Key::Workload(id("w"))));
}

/// S8: a write whose first try may still be carried out is not called refused, whatever becomes of its
/// second.
#[test]
fn a_refused_second_try_does_not_deny_the_first() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Held;
    let asked = cluster.begin(Request::Apply(apply("w", 100)));
    let held = std::mem::take(&mut cluster.held);
    cluster.next_commit = NextCommit::Refused;
    let (txn, fate) = (held[0].id, Fate::Unknown);
    cluster.feed(Input::Commit { txn, fate });
    cluster.next_commit = NextCommit::Works;
    let answer = cluster.answer(asked).unwrap();
    assert!(
        matches!(answer, Err(RequestError::Unavailable { .. })),
        "{answer:?}"
    );
    cluster.held = held;
    cluster.release_and_tell();
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w").0, "Running");
}

/// The same of an operator's change.
#[test]
fn a_refused_second_try_of_an_operator_does_not_deny_the_first() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Held;
    let asked = cluster.begin(schedulable("n-0", false));
    let held = std::mem::take(&mut cluster.held);
    cluster.next_commit = NextCommit::Refused;
    let (txn, fate) = (held[0].id, Fate::Unknown);
    cluster.feed(Input::Commit { txn, fate });
    let answer = cluster.answer(asked).unwrap();
    assert!(
        matches!(answer, Err(RequestError::Unavailable { .. })),
        "{answer:?}"
    );
}

/// S1: a delete that waits for its node's turn does not leave when it is not wanted any more.
#[test]
fn a_delete_that_was_taken_back_while_it_waited_does_not_leave() {
    let config = Config {
        calls_per_node_max: 1,
        ..Config::default()
    };
    let mut cluster = Cluster::with(config);
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    hangs(&mut cluster, "n-0");
    cluster.apply("other", 100).unwrap();
    cluster.delete("w").unwrap();
    cluster.apply("w", 100).unwrap();
    cluster.go_on("n-0");
    cluster.pass(seconds(30));
    let told = &cluster.agents[&node("n-0")].told;
    assert!(told.iter().all(|(_, what)| what != "delete w"), "{told:?}");
    assert_eq!(cluster.seen("w").0, "Running");
}

/// S16: a second try that is refused does not end the turn of a move whose first may still be carried out.
#[test]
fn a_refused_second_try_keeps_the_turn_of_the_first() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("a", 3_000).unwrap();
    cluster.apply("b", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.register("n-1", Resources::new(1_000, 8_192, 100));
    cluster.register("n-2", SIZE);
    cluster.ask(schedulable("n-2", false)).unwrap();
    hangs(&mut cluster, "n-1");
    hangs(&mut cluster, "n-2");
    cluster.next_commit = NextCommit::TombstoneHeld;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    let (txn, fate) = (cluster.held[0].id, Fate::Unknown);
    cluster.next_commit = NextCommit::Refused;
    cluster.feed(Input::Commit { txn, fate });
    cluster.next_commit = NextCommit::Works;
    cluster.ask(schedulable("n-2", true)).unwrap();
    cluster.pass(seconds(4));
    assert_eq!(cluster.seen("a").1, "n-0");
    cluster.go_on("n-1");
    cluster.go_on("n-2");
    cluster.pass(seconds(90));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}

/// L1: a client's change of what somebody put back elsewhere says where it is now.
#[test]
fn a_change_of_what_was_put_back_names_its_home() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    let key = Key::Assignment(id("w"));
    let was = cluster.store[&key].0.clone();
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").1, "n-1");
    let end = Request::CancelDrain { node: node("n-0") };
    cluster.ask(end).unwrap();
    cluster.ask(schedulable("n-0", true)).unwrap();
    cluster.next_commit = NextCommit::Held;
    edit(&mut cluster, &key, Some(&was));
    let asked = cluster.begin(Request::Apply(apply("w", 200)));
    let repairs = |op: &Op| {
        matches!(
            op,
            Op::Put {
                key: Key::Workload(_),
                ..
            }
        )
    };
    let repair = cluster.held.iter().find(|txn| txn.ops.iter().any(repairs));
    let txn = repair.unwrap().id;
    cluster.next_commit = NextCommit::Works;
    let fate = Fate::Unknown;
    cluster.feed(Input::Commit { txn, fate });
    assert!(cluster.answer(asked).unwrap().is_ok());
    let record = cluster.get_workload("w").unwrap().record;
    assert_eq!(record.assigned_node, Some(node("n-0")));
    assert_eq!(record.status.placement.unwrap().node, Some(node("n-0")));
}
