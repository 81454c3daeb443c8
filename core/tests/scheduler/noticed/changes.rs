//! Of changes, their fates, and what is left of them.

use std::time::Duration;

use berth_core::io::agent::{AgentOp, AgentReply, AgentState};
use berth_core::io::request::{ApplyWorkload, Query, Request, RequestError, Response};
use berth_core::io::{Deposed, Op, Output};
use berth_core::model::spec::Spec;
use berth_core::model::units::Resources;
use berth_core::model::workload::{ActualState, AssignmentRecord, DesiredState};
use berth_core::wire::control_in::apply_request;
use berth_core::{Config, EventType, Input, Key, Scheduler, StoreRevision};
use berth_proto::control::v1 as control;
use control::workload_spec::Workload;

use crate::cluster::{Agent, Cluster, NextCommit, apply, id, node, registration, seconds};
use crate::nodes::lose;
use crate::rare::{SIZE, drain, schedulable};
use crate::review::edit;

pub(super) fn at<'a>(cluster: &'a mut Cluster, name: &str) -> &'a mut Agent {
    cluster.agents.get_mut(&node(name)).unwrap()
}

/// How often the agent of `n-0` was told to do something with `w`.
pub(super) fn told(cluster: &Cluster, what: &str) -> usize {
    let told = &cluster.agents[&node("n-0")].told;
    told.iter().filter(|(_, it)| it.starts_with(what)).count()
}

fn tombstone() -> Key {
    Key::Tombstone(node("n-0"), id("w"))
}

/// `w` runs on `n-0`, beside `n-1`.
fn running() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 1_000).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    cluster
}

fn with_priority(name: &str, cpu: u64, priority: i32) -> ApplyWorkload {
    let mut wanted = apply(name, cpu);
    wanted.spec.as_mut().unwrap().priority = priority;
    wanted
}

fn events_in_store(cluster: &Cluster) -> usize {
    let keys = cluster.store.keys();
    keys.filter(|key| matches!(key, Key::Event(_))).count()
}

pub(super) fn message(kind: &str, arm: Option<Workload>) -> control::ApplyWorkloadRequest {
    let spec = control::WorkloadSpec {
        r#type: kind.into(),
        resources: Some(control::ResourceRequirements {
            cpu_millicores: 100,
            memory_mb: 64,
            disk_gb: 1,
        }),
        workload: arm,
        ..Default::default()
    };
    control::ApplyWorkloadRequest {
        workload_id: "w".into(),
        spec: Some(spec),
        ..Default::default()
    }
}

pub(super) fn read(message: control::ApplyWorkloadRequest) -> Spec {
    match apply_request(message) {
        Ok(Request::Apply(apply)) => apply.spec.unwrap().spec,
        other => panic!("another request: {other:?}"),
    }
}

/// L2: what waits for room waits for it under the next leader too.
#[test]
fn who_waits_for_room_is_known_to_the_next_leader() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 5_000).unwrap();
    cluster.restart(50);
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w").0, "Pending");
    cluster.register("n-1", Resources::new(8_000, 8_192, 100));
    assert_eq!(cluster.seen("w").1, "n-1");
}

/// No more calls are made at once than the configuration says, however many nodes there are.
#[test]
fn calls_wait_for_their_turn_among_all_nodes() {
    let config = Config {
        calls_max: 1,
        ..Config::default()
    };
    let mut cluster = Cluster::with(config.clone());
    assert_eq!(cluster.core.config(), &config);
    cluster.nodes(2);
    at(&mut cluster, "n-0").hangs = true;
    cluster.apply("a", 100).unwrap();
    cluster.apply("b", 100).unwrap();
    assert_eq!(cluster.seen("b").1, "n-1");
    assert!(at(&mut cluster, "n-1").told.is_empty());
    cluster.go_on("n-0");
    assert_eq!(at(&mut cluster, "n-1").told.len(), 1);
}

/// A process that leads again knows what its snapshot says, and nothing that it knew before.
#[test]
fn who_leads_again_forgets_what_was_removed_meanwhile() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.revision += 1;
    cluster.store.remove(&Key::Node(node("n-1")));
    cluster.lead(50);
    assert!(cluster.get_node("n-0").is_some());
    assert!(cluster.get_node("n-1").is_none());
}

/// One that leads no more has nothing to wake up for.
#[test]
fn a_deposed_leader_waits_for_nothing() {
    let mut cluster = running();
    assert!(cluster.core.poll_deadline().is_some());
    let reason = Deposed::LostLeadership;
    cluster.feed(Input::Deposed { reason });
    assert_eq!(cluster.core.poll_deadline(), None);
}

/// S12: what the store refuses of nodes and tombstones is tried again after a pause, and then done.
#[test]
fn a_refused_removal_is_tried_again_and_not_at_once() {
    let mut cluster = running();
    at(&mut cluster, "n-0").hangs = true;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(1));
    assert!(cluster.store.contains_key(&tombstone()));
    cluster.next_commit = NextCommit::Refused;
    cluster.go_on("n-0");
    let outputs = cluster.outputs.len();
    cluster.pass(seconds(30));
    let commits = cluster.outputs[outputs..]
        .iter()
        .filter(|output| matches!(output, Output::Commit(_)))
        .count();
    assert!((1..100).contains(&commits), "{commits} commits");
    assert!(at(&mut cluster, "n-0").has.is_empty());
    assert!(cluster.store.contains_key(&tombstone()));
    cluster.next_commit = NextCommit::Works;
    cluster.pass(seconds(20));
    assert!(!cluster.store.contains_key(&tombstone()));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// S10: a deletion that was accepted, and does not come to its end, is asked for again in its time.
#[test]
fn an_accepted_deletion_is_asked_for_again_after_its_time() {
    let mut cluster = running();
    at(&mut cluster, "n-0").hangs = true;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    let asked = cluster
        .outputs
        .iter()
        .rev()
        .find_map(|output| match output {
            Output::Call(call) if matches!(call.op, AgentOp::Delete { .. }) => Some(call.id),
            _ => None,
        });
    at(&mut cluster, "n-0").hangs = false;
    cluster.feed(Input::Agent {
        call: asked.unwrap(),
        result: Ok(AgentReply::Deleting),
    });
    let timeout = Config::default().delete_timeout;
    cluster.pass(timeout - seconds(1));
    assert_eq!(told(&cluster, "delete w"), 0);
    cluster.pass(seconds(1));
    assert_eq!(told(&cluster, "delete w"), 1);
}

/// S10: a watch that tells of a tombstone before its commit is answered makes nothing be asked twice;
/// and a deletion that had no answer is asked for again after a pause, not at once.
#[test]
fn a_tombstone_that_is_told_first_is_noted_once() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    let before = told(&cluster, "delete w");
    let copy = (revision, AgentState::Running);
    at(&mut cluster, "n-0").has.insert(id("w"), copy);
    cluster.next_commit = NextCommit::TombstoneLate;
    cluster.heartbeat(&node("n-0"));
    let late = cluster.late.take().expect("it was seen");
    at(&mut cluster, "n-0").hangs = true;
    let (revision, records) = cluster.changes.last().cloned().unwrap();
    let revision = StoreRevision(revision);
    cluster.feed(Input::Changed { revision, records });
    cluster.feed(late);
    cluster.go_on("n-0");
    assert_eq!(told(&cluster, "delete w"), before);
    cluster.pass(seconds(10));
    assert_eq!(told(&cluster, "delete w"), before + 1);
    assert!(at(&mut cluster, "n-0").has.is_empty());
}

/// S11: a copy that comes back is noted by the scheduler itself, however often: nobody else wrote that.
#[test]
fn a_copy_that_comes_back_twice_is_noted_twice() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    for _ in 0..2 {
        let copy = (revision.clone(), AgentState::Running);
        at(&mut cluster, "n-0").has.insert(id("w"), copy);
        cluster.heartbeat(&node("n-0"));
        cluster.pass(seconds(15));
        assert!(at(&mut cluster, "n-0").has.is_empty());
        assert_eq!(cluster.count(EventType::RecordAdopted), 0);
    }
}

/// S18: what went more than an hour ago is a stranger when it is there again.
#[test]
fn what_went_long_ago_is_a_stranger() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    cluster.pass(seconds(3_700));
    cluster.apply("other", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.delete("other").unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("other").0, "Gone");
    let before = told(&cluster, "delete w");
    let copy = (revision, AgentState::Running);
    at(&mut cluster, "n-0").has.insert(id("w"), copy);
    cluster.heartbeat(&node("n-0"));
    cluster.pass(seconds(15));
    assert_eq!(told(&cluster, "delete w"), before);
}

/// S10: somebody removed the record of what a client wants stopped: it is created anew, and the copy of
/// before goes.
#[test]
fn what_is_created_anew_as_stopped_leaves_no_copy() {
    let mut cluster = running();
    at(&mut cluster, "n-0").hangs = true;
    cluster.revision += 1;
    cluster.store.remove(&Key::Workload(id("w")));
    let stopped = ApplyWorkload {
        desired_state: Some(DesiredState::Stopped),
        ..apply("w", 1_000)
    };
    let view = cluster.apply_with(stopped).unwrap();
    assert_eq!(view.display_status.name(), "Stopped");
    assert!(!cluster.store.contains_key(&Key::Assignment(id("w"))));
    assert!(cluster.store.contains_key(&tombstone()));
}

/// S4: the other records of a workload whose canonical one somebody removed go too, and its copy.
#[test]
fn what_is_left_of_a_removed_record_goes() {
    let mut cluster = running();
    at(&mut cluster, "n-0").hangs = true;
    edit(&mut cluster, &Key::Workload(id("w")), None);
    assert!(!cluster.store.contains_key(&Key::Assignment(id("w"))));
    assert!(!cluster.store.contains_key(&Key::Intent(id("w"))));
    assert!(cluster.store.contains_key(&tombstone()));
}

/// Events beyond the limit leave once they are one in twenty too many, by one removal at a time.
#[test]
fn the_oldest_of_too_many_events_leave() {
    let mut cluster = Cluster::with(Config {
        events_max: 40,
        ..Config::default()
    });
    cluster.nodes(1);
    let mut open = false;
    while events_in_store(&cluster) < 42 {
        cluster.ask(schedulable("n-0", open)).unwrap();
        open = !open;
    }
    cluster.pass(seconds(6));
    assert_eq!(events_in_store(&cluster), 42);
    cluster.ask(schedulable("n-0", open)).unwrap();
    cluster.next_commit = NextCommit::Held;
    cluster.pass(seconds(12));
    let removes = |op: &Op| matches!(op, Op::DeleteEventsBefore { .. });
    let held = cluster.held.iter();
    assert_eq!(held.filter(|txn| txn.ops.iter().any(removes)).count(), 1);
    cluster.release();
    assert_eq!(events_in_store(&cluster), 40);
}

/// And those that are too old.
#[test]
fn old_events_leave() {
    let mut cluster = Cluster::with(Config {
        event_retention: seconds(100),
        ..Config::default()
    });
    cluster.pass(seconds(2));
    cluster.nodes(1);
    let is_event = |key: &&Key| matches!(key, Key::Event(_));
    let first = cluster.store.keys().find(is_event).cloned().unwrap();
    cluster.pass(seconds(90));
    assert!(cluster.store.contains_key(&first));
    cluster.pass(seconds(60));
    assert!(!cluster.store.contains_key(&first));
}

/// S11: what left the log of events is not shown by a replica that follows.
#[test]
fn a_follower_forgets_events_that_left() {
    let mut cluster = running();
    cluster.core = Scheduler::new(Config::default());
    let snapshot = cluster.snapshot();
    cluster.feed(Input::Follow { snapshot });
    let shown = |cluster: &mut Cluster| {
        let query = Query::Events {
            after: None,
            workload: None,
            node: None,
            limit: 0,
        };
        match cluster.ask(Request::Read(query)) {
            Ok(Response::Events(page)) => page.events.len(),
            other => panic!("another answer: {other:?}"),
        }
    };
    let before = shown(&mut cluster);
    let is_event = |key: &&Key| matches!(key, Key::Event(_));
    let first = cluster.store.keys().find(is_event).cloned().unwrap();
    edit(&mut cluster, &first, None);
    assert_eq!(shown(&mut cluster), before - 1);
}

/// L1: a client that asks for another try does not wait for the pause after a call that failed.
#[test]
fn a_retry_that_a_client_asks_for_is_made_at_once() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    at(&mut cluster, "n-0").reachable = false;
    cluster.apply("w", 100).unwrap();
    at(&mut cluster, "n-0").reachable = true;
    assert_eq!(told(&cluster, "apply w"), 0);
    let workload = id("w");
    cluster.ask(Request::Retry { workload }).unwrap();
    assert_eq!(told(&cluster, "apply w"), 1);
}

/// S7: what runs, and failed before, has all its tries again when a client asks for one. S8: whose commit
/// was read back is known at the revision that it has.
#[test]
fn a_retry_forgets_the_tries_of_what_runs() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    at(&mut cluster, "n-0").result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(4));
    at(&mut cluster, "n-0").result = AgentState::Running;
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w").0, "Running");
    let key = Key::Retry(id("w"));
    assert!(cluster.store.contains_key(&key));
    cluster.next_commit = NextCommit::UnknownWritten;
    let workload = id("w");
    cluster.ask(Request::Retry { workload }).unwrap();
    assert_eq!(cluster.next_commit, NextCommit::Works);
    assert!(!cluster.store.contains_key(&key));
    cluster.apply_with(with_priority("w", 100, 5)).unwrap();
    assert_eq!(cluster.count(EventType::RecordAdopted), 0);
}

/// L1: a spec that is changed and changed back while its apply is under way is not taken for applied:
/// it is applied again after the grace, not after the deadline of what is pending.
#[test]
fn what_was_changed_and_changed_back_is_applied_again() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    at(&mut cluster, "n-0").result = AgentState::Pending;
    let first = cluster.apply("w", 100).unwrap().record.revision_id;
    cluster.pass(seconds(1));
    cluster.apply("w", 200).unwrap();
    let again = cluster.apply("w", 100).unwrap().record.revision_id;
    assert_eq!(first, again);
    assert_eq!(told(&cluster, "apply w"), 1);
    cluster.pass(seconds(30));
    assert_eq!(told(&cluster, "apply w"), 2);
}

/// S11: the next try of what was moved meanwhile is told of.
#[test]
fn a_retry_at_the_next_home_is_told() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    at(&mut cluster, "n-0").result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(1));
    assert_eq!(cluster.get_workload("w").unwrap().record.retry.attempts, 1);
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert_eq!(cluster.count(EventType::RetryTriggered), 1);
}

/// S7: the throttle of what vanishes again and again begins anew once it ran for long.
#[test]
fn what_ran_for_long_is_applied_again_soon() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    for _ in 0..3 {
        at(&mut cluster, "n-0").has.clear();
        cluster.pass(seconds(60));
    }
    assert_eq!(told(&cluster, "apply w"), 4);
    cluster.pass(seconds(400));
    for count in [5, 6] {
        at(&mut cluster, "n-0").has.clear();
        cluster.pass(seconds(12));
        assert_eq!(told(&cluster, "apply w"), count);
    }
}

/// S16: one that settled where it was moved is not on the move from there any more.
#[test]
fn an_assignment_names_only_where_its_last_move_began() {
    let mut cluster = running();
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    cluster.register("n-2", SIZE);
    cluster.ask(drain("n-1", 3_000)).unwrap();
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-2".into()));
    let stored = &cluster.store[&Key::Assignment(id("w"))].0;
    let home: AssignmentRecord = serde_json::from_str(stored).unwrap();
    assert_eq!(home.moved_from, [node("n-1")]);
}

/// S16: what is deleted while it is on the move has its turn no more.
#[test]
fn a_deleted_workload_holds_no_turn_of_a_drain() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("a", 100).unwrap();
    cluster.apply("b", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.register("n-1", SIZE);
    at(&mut cluster, "n-1").hangs = true;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("a").1, "n-1");
    assert_eq!(cluster.seen("b").1, "n-0");
    cluster.delete("a").unwrap();
    cluster.go_on("n-1");
    cluster.pass(seconds(90));
    assert_eq!(cluster.seen("a").0, "Gone");
    assert_eq!(cluster.seen("b"), ("Running".into(), "n-1".into()));
}

/// S4: the record of a node is removed by somebody: what should run there is placed and applied at once,
/// and what is stopped needs no other home.
#[test]
fn what_was_on_a_removed_node_goes_where_it_should() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("s", 100).unwrap();
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.set("s", DesiredState::Stopped).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("s"), ("Stopped".into(), "n-0".into()));
    cluster.register("n-1", SIZE);
    lose(&mut cluster, "n-0");
    edit(&mut cluster, &Key::Node(node("n-0")), None);
    assert_eq!(cluster.seen("s"), ("Stopped".into(), String::new()));
    assert_eq!(cluster.seen("w").1, "n-1");
    assert_eq!(cluster.count(EventType::Rescheduled), 2);
    let intent = &cluster.store[&Key::Intent(id("w"))].0;
    assert!(intent.contains("\"placed\""), "{intent}");
    assert_eq!(at(&mut cluster, "n-1").told.len(), 1);
}

/// S21: what failed last, on a node that is lost, says that its node is lost and that no other fits.
#[test]
fn what_failed_says_that_its_node_is_lost() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    at(&mut cluster, "n-0").result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(4));
    let status = cluster.get_workload("w").unwrap().record.status;
    assert!(!status.failure_reason.is_empty());
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(150));
    let status = cluster.get_workload("w").unwrap().record.status;
    assert_eq!(status.actual_state, ActualState::Unknown);
    let reason = &status.failure_reason;
    assert!(reason.starts_with("its node was lost"), "{reason}");
}

/// S18: a change that asks for nothing more moves nobody, although its node would not be chosen now.
#[test]
fn another_priority_moves_nobody() {
    let mut cluster = running();
    cluster.register("n-0", Resources::new(500, 8_192, 100));
    cluster.apply_with(with_priority("w", 1_000, 5)).unwrap();
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert_eq!(cluster.count(EventType::Rescheduled), 0);
}

/// S4: what a client lets run is placed and applied by one decision; what it stops before it ran
/// anywhere is stopped by its own word.
#[test]
fn a_change_of_what_is_wanted_is_one_decision() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let stopped = ApplyWorkload {
        desired_state: Some(DesiredState::Stopped),
        ..apply("w", 100)
    };
    cluster.apply_with(stopped).unwrap();
    cluster.set("w", DesiredState::Running).unwrap();
    let intent = &cluster.store[&Key::Intent(id("w"))].0;
    assert!(intent.contains("\"placed\""), "{intent}");
    assert_eq!(told(&cluster, "apply w"), 1);
    cluster.apply("big", 5_000).unwrap();
    let view = cluster.set("big", DesiredState::Stopped).unwrap();
    assert_eq!(view.display_status.name(), "Stopped");
    assert_eq!(cluster.count(EventType::WorkloadStopped), 0);
}

/// S18: a node whose return is on its way to the store is left by nobody.
#[test]
fn who_is_about_to_be_back_is_not_left() {
    let mut cluster = running();
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(70));
    assert_eq!(cluster.count(EventType::NodeLost), 1);
    let agent = at(&mut cluster, "n-0");
    (agent.heartbeats, agent.reachable) = (true, true);
    // Nothing that it says keeps what is assigned to it.
    agent.has.clear();
    cluster.next_commit = NextCommit::Held;
    cluster.heartbeat(&node("n-0"));
    let held = std::mem::take(&mut cluster.held);
    assert_eq!(held.len(), 1);
    cluster.next_commit = NextCommit::Works;
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::Rescheduled), 0);
    cluster.held = held;
    cluster.release();
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
}

/// S3: what a node is about to lose is offered to nobody, not even to what grows there.
#[test]
fn what_a_node_is_about_to_lose_is_not_taken() {
    let mut cluster = running();
    cluster.next_commit = NextCommit::Held;
    let smaller = registration("n-0", Resources::new(2_000, 8_192, 100));
    cluster.begin(Request::Register(smaller));
    let held = std::mem::take(&mut cluster.held);
    assert_eq!(held.len(), 1);
    cluster.next_commit = NextCommit::Works;
    cluster.apply("w", 3_000).unwrap();
    assert_eq!(cluster.seen("w").1, "n-1");
    cluster.held = held;
    cluster.release();
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// S15: a change that waits behind another is answered, too, when a record turns out to be unreadable.
#[test]
fn who_waits_for_what_cannot_be_read_is_answered() {
    let mut cluster = running();
    cluster.next_commit = NextCommit::Held;
    cluster.begin(Request::Apply(apply("w", 200)));
    let second = cluster.begin(Request::Apply(apply("w", 300)));
    edit(&mut cluster, &Key::Intent(id("w")), Some("{broken"));
    assert!(cluster.answer(second).is_none());
    cluster.release();
    let answer = cluster.answer(second);
    assert!(
        matches!(answer, Some(Err(RequestError::Refused(_)))),
        "{answer:?}"
    );
}

/// S12: a record that cannot be read stands in the way of no other workload's move.
#[test]
fn another_workloads_unreadable_record_keeps_no_tombstone() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("a", 100).unwrap();
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    edit(&mut cluster, &Key::Intent(id("a")), Some("{broken"));
    cluster.register("n-1", SIZE);
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert!(!cluster.store.contains_key(&tombstone()));
}

/// L2: somebody writes the record that a change of unknown fate compares: it cannot come any more, and
/// the room that it could take is free by that.
#[test]
fn room_for_what_cannot_come_any_more_is_free_at_once() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 1_000).unwrap();
    cluster.pass(seconds(3));
    cluster.next_commit = NextCommit::UnknownLost;
    let larger = ApplyWorkload {
        if_match: cluster.get_workload("w").map(|view| view.resource_version),
        ..apply("w", 3_000)
    };
    assert!(cluster.apply_with(larger).is_err());
    cluster.apply("other", 2_500).unwrap();
    assert_eq!(cluster.seen("other").0, "Pending", "it may still come");
    let key = Key::Workload(id("w"));
    let was = cluster.store[&key].0.clone();
    let touched = was.replace("\"generation\":1", "\"generation\":7");
    assert_ne!(was, touched);
    edit(&mut cluster, &key, Some(&touched));
    assert_eq!(cluster.seen("other").1, "n-0");
}

/// S11: a tombstone that somebody else removed is said to be adopted.
#[test]
fn a_tombstone_that_somebody_removed_is_told() {
    let mut cluster = running();
    at(&mut cluster, "n-0").hangs = true;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(1));
    let adopted = cluster.count(EventType::RecordAdopted);
    edit(&mut cluster, &tombstone(), None);
    assert_eq!(cluster.count(EventType::RecordAdopted), adopted + 1);
}

/// L1: what an agent accepted and does not list is asked about by itself two seconds later.
#[test]
fn what_left_no_trace_is_asked_about() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    at(&mut cluster, "n-0").has.clear();
    let asked = |cluster: &Cluster| {
        let calls = cluster.outputs.iter().filter_map(|output| match output {
            Output::Call(call) => Some(&call.op),
            _ => None,
        });
        calls
            .filter(|op| matches!(op, AgentOp::Status { .. }))
            .count()
    };
    cluster.pass(Duration::from_millis(1_900));
    assert_eq!(asked(&cluster), 0);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(asked(&cluster), 1);
}

/// S21: a record that names another home than the assignment is put right, and so is what it says of how
/// that was chosen.
#[test]
fn what_was_chosen_is_said_of_the_home_that_it_has() {
    let mut cluster = running();
    let key = Key::Workload(id("w"));
    let was = cluster.store[&key].0.clone();
    let other = was.replace("\"n-0\"", "\"n-1\"");
    assert_ne!(was, other);
    edit(&mut cluster, &key, Some(&other));
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    let note = cluster.get_workload("w").unwrap().record.status.placement;
    let note = note.unwrap();
    assert_eq!(note.node, Some(node("n-0")));
    assert!(note.score_ppm.is_some());
}
