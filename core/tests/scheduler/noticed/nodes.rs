//! Of nodes, calls and what is seen of them.

use std::time::Duration;

use berth_core::io::agent::{AgentOp, AgentReply, AgentState, AgentStatus};
use berth_core::io::request::{Request, RequestError, Response};
use berth_core::io::{Fate, Output};
use berth_core::model::node::{ChangedBy, NodeReason, NodeRecord, NodeStatus};
use berth_core::model::units::Resources;
use berth_core::model::workload::{DesiredState, FailureKind};
use berth_core::{CallId, Config, EventType, Input, Key, Revision};

use crate::cluster::{Agent, Cluster, NextCommit, apply, id, node, registration, seconds};
use crate::nodes::lose;
use crate::rare::{SIZE, drain, schedulable};
use crate::review::edit;

fn lists(op: &AgentOp) -> bool {
    matches!(op, AgentOp::List)
}

pub(super) fn asks(op: &AgentOp) -> bool {
    matches!(op, AgentOp::Status { .. })
}

pub(super) fn applies(op: &AgentOp) -> bool {
    matches!(op, AgentOp::Apply { .. })
}

fn deletes(op: &AgentOp) -> bool {
    matches!(op, AgentOp::Delete { .. })
}

/// The calls of a kind in the order in which they left.
pub(super) fn calls(cluster: &Cluster, kind: fn(&AgentOp) -> bool) -> Vec<CallId> {
    let calls = cluster.outputs.iter().filter_map(|output| match output {
        Output::Call(call) if kind(&call.op) => Some(call.id),
        _ => None,
    });
    calls.collect()
}

/// The last call of a kind, which an agent left open, is answered like this.
fn reply(cluster: &mut Cluster, kind: fn(&AgentOp) -> bool, reply: AgentReply) {
    let call = *calls(cluster, kind).last().unwrap();
    let result = Ok(reply);
    cluster.feed(Input::Agent { call, result });
}

pub(super) fn agent<'a>(cluster: &'a mut Cluster, name: &str) -> &'a mut Agent {
    cluster.agents.get_mut(&node(name)).unwrap()
}

pub(super) fn status(cluster: &mut Cluster, name: &str) -> NodeStatus {
    cluster.get_node(name).unwrap().record.status
}

pub(super) fn attempts(cluster: &mut Cluster, name: &str) -> u32 {
    cluster.get_workload(name).unwrap().record.retry.attempts
}

/// `w` ran on `n-0`, which was lost, and runs on `n-1`.
fn moved_off_a_lost_node() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-0");
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(150));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    cluster
}

/// A drain of `n-0` moved `a` to `n-1`, which does not answer; `b` waits for its turn.
fn one_on_its_way(deadline: u64) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("a", 100).unwrap();
    cluster.apply("b", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.register("n-1", SIZE);
    agent(&mut cluster, "n-1").hangs = true;
    cluster.ask(drain("n-0", deadline)).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("a").1, "n-1");
    assert_eq!(cluster.seen("b").1, "n-0");
    cluster
}

/// S11: a node that was silent is ready by its next heartbeat: nobody asks it to register.
#[test]
fn who_is_heard_again_is_ready_without_registering() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(60));
    assert_eq!(status(&mut cluster, "n-0"), NodeStatus::NotReady);
    let heard = cluster.journal.len();
    let back = agent(&mut cluster, "n-0");
    (back.heartbeats, back.reachable) = (true, true);
    cluster.pass(seconds(30));
    let record = cluster.get_node("n-0").unwrap().record;
    assert_eq!(record.status, NodeStatus::Ready);
    assert_eq!(record.status_reason, NodeReason::HeartbeatResumed);
    assert_eq!(record.status_changed_by, ChangedBy::Heartbeat);
    let registers = |input: &Input| {
        matches!(
            input,
            Input::Request {
                request: Request::Register(_),
                ..
            }
        )
    };
    let journal = cluster.journal[heard..].iter();
    assert_eq!(journal.filter(|(_, input)| registers(input)).count(), 0);
}

/// S11: a node is lost when its lease ends and forgotten when that is due, not with the next pass.
#[test]
fn a_node_is_lost_and_forgotten_when_it_is_time() {
    let moment = Duration::from_millis(1);
    let config = Config {
        forget_node_after: seconds(303),
        ..Config::default()
    };
    let lease = config.lease();
    let mut cluster = Cluster::with(config);
    cluster.nodes(1);
    cluster.pass(seconds(1));
    cluster.heartbeat(&node("n-0"));
    lose(&mut cluster, "n-0");
    cluster.pass(lease - moment);
    assert_eq!(status(&mut cluster, "n-0"), NodeStatus::Ready);
    cluster.pass(moment);
    assert_eq!(status(&mut cluster, "n-0"), NodeStatus::NotReady);
    cluster.pass(seconds(303) - moment);
    assert!(cluster.get_node("n-0").is_some());
    cluster.pass(moment);
    assert!(cluster.get_node("n-0").is_none());
    let purged = |event: &&berth_core::EventRecord| event.event_type == EventType::NodePurged;
    let event = cluster.events.iter().find(purged).unwrap();
    assert!(event.reason.starts_with("lost for long"), "{event:?}");
}

/// S12: heartbeats are written once in a while, and not each of them.
#[test]
fn a_heartbeat_is_written_now_and_then() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let written = |cluster: &Cluster| {
        let stored = &cluster.store[&Key::Node(node("n-0"))].0;
        let record: NodeRecord = serde_json::from_str(stored).unwrap();
        record.last_heartbeat
    };
    let first = written(&cluster);
    let interval = Config::default().heartbeat_flush_interval;
    cluster.pass(interval - seconds(10));
    assert_eq!(written(&cluster), first);
    cluster.pass(seconds(20));
    assert!(written(&cluster) > first);
}

/// L1: a new process where one could not be called is not blamed for it.
#[test]
fn a_new_process_of_an_unreachable_agent_is_ready_at_once() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-0");
    agent(&mut cluster, "n-0").reachable = false;
    cluster.apply("w", 200).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(status(&mut cluster, "n-0"), NodeStatus::NotReady);
    let back = agent(&mut cluster, "n-0");
    (back.reachable, back.hangs) = (true, true);
    let mut anew = registration("n-0", SIZE);
    anew.incarnation = "2".into();
    cluster.ask(Request::Register(anew)).unwrap();
    assert_eq!(status(&mut cluster, "n-0"), NodeStatus::Ready);
}

/// S3: what is assigned to a node and cannot be looked at is reserved from the first when the node's
/// record, which somebody removed, is there again.
#[test]
fn what_cannot_be_read_keeps_its_room_when_its_node_comes_back() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(3));
    edit(&mut cluster, &Key::Intent(id("w")), Some("{broken"));
    edit(&mut cluster, &Key::Node(node("n-0")), None);
    assert!(cluster.get_node("n-0").is_none());
    cluster.register("n-0", SIZE);
    let more = cluster.apply("more", 2_000).unwrap().record;
    assert_eq!(more.assigned_node, None);
}

/// A kind of workload that a node's runtime could not run goes there again when that is over.
#[test]
fn a_node_is_avoided_for_a_while_and_no_longer() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    let broken = agent(&mut cluster, "n-0");
    (broken.result, broken.failure) = (AgentState::Failed, FailureKind::RuntimeUnavailable);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-1");
    agent(&mut cluster, "n-0").result = AgentState::Running;
    cluster.ask(schedulable("n-1", false)).unwrap();
    cluster.apply("next", 100).unwrap();
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("next").0, "Pending");
    cluster.pass(Config::default().runtime_exclusion - seconds(50));
    assert_eq!(cluster.seen("next"), ("Running".into(), "n-0".into()));
}

/// S16: the moves of a drain go on when another node is purged.
#[test]
fn a_drain_goes_on_while_another_node_is_purged() {
    let mut cluster = one_on_its_way(3_000);
    cluster.register("n-2", Resources::new(10, 8_192, 100));
    lose(&mut cluster, "n-2");
    cluster.ask(Request::Fence { node: node("n-2") }).unwrap();
    let purged = cluster.ask(Request::Purge { node: node("n-2") });
    assert_eq!(purged, Ok(Response::Purged));
    cluster.go_on("n-1");
    cluster.pass(seconds(90));
    assert_eq!(cluster.seen("b"), ("Running".into(), "n-1".into()));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}

/// S16: what is left at a drain's deadline leaves at once, whatever is on its way.
#[test]
fn what_is_left_at_the_deadline_waits_for_no_turn() {
    let mut cluster = one_on_its_way(30);
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("b").1, "n-0");
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("b").1, "n-1");
}

/// S16: what one drain moved takes no turn of the next.
#[test]
fn what_a_cancelled_drain_moved_takes_no_turn_of_the_next() {
    let mut cluster = one_on_its_way(3_000);
    cluster
        .ask(Request::CancelDrain { node: node("n-0") })
        .unwrap();
    cluster.ask(drain("n-0", 3_000)).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("b").1, "n-1");
}

/// S16: a move that the store refused has no turn any more: one that fits elsewhere goes.
#[test]
fn a_move_that_is_refused_gives_its_turn_away() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("a", 3_000).unwrap();
    cluster.apply("b", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.register("n-1", SIZE);
    cluster.register("n-2", Resources::new(1_000, 8_192, 100));
    cluster.next_commit = NextCommit::TombstoneHeld;
    cluster.ask(drain("n-0", 3_000)).unwrap();
    assert_eq!(cluster.held.len(), 1, "a's move");
    cluster.ask(schedulable("n-1", false)).unwrap();
    let txn = cluster.held[0].id;
    let fate = Fate::Refused("etcdserver: request is too large".into());
    cluster.feed(Input::Commit { txn, fate });
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("a").1, "n-0");
    assert_eq!(cluster.seen("b").1, "n-2");
}

/// S4: a node to which something is assigned is not purged, whether that can be read or not.
#[test]
fn a_node_is_not_purged_under_what_is_assigned_to_it() {
    for unreadable in [false, true] {
        let mut cluster = Cluster::new();
        cluster.nodes(2);
        cluster.apply("w", 100).unwrap();
        cluster.pass(seconds(5));
        assert_eq!(cluster.seen("w").1, "n-0");
        if unreadable {
            edit(&mut cluster, &Key::Assignment(id("w")), Some("{broken"));
            cluster.restart(20);
        }
        lose(&mut cluster, "n-0");
        cluster.pass(seconds(45));
        let purge = cluster.begin(Request::Purge { node: node("n-0") });
        let refused = cluster.answer(purge);
        let Some(Err(RequestError::Refused(why))) = refused else {
            panic!("{refused:?}")
        };
        assert!(why.starts_with("1 workloads are still assigned"), "{why}");
    }
}

/// S10: a node is not purged while the record of what was there cannot be read.
#[test]
fn a_copy_of_what_cannot_be_read_is_not_purged() {
    let mut cluster = moved_off_a_lost_node();
    let key = Key::Workload(id("w"));
    let was = cluster.store[&key].0.clone();
    edit(&mut cluster, &key, Some("{broken"));
    let purge = || Request::Purge { node: node("n-0") };
    let asked = cluster.begin(purge());
    let refused = cluster.answer(asked);
    assert!(
        matches!(&refused, Some(Err(RequestError::Refused(why))) if why.contains("cannot be read")),
        "{refused:?}"
    );
    edit(&mut cluster, &key, Some(&was));
    assert_eq!(cluster.ask(purge()), Ok(Response::Purged));
}

/// S10: what a purge took for gone is asked for when the node registers before it is purged.
#[test]
fn a_purge_that_is_given_up_proves_nothing() {
    let mut cluster = moved_off_a_lost_node();
    cluster.next_commit = NextCommit::Held;
    let purge = cluster.begin(Request::Purge { node: node("n-0") });
    let held = std::mem::take(&mut cluster.held);
    assert_eq!(held.len(), 1, "the tombstone's removal");
    cluster.next_commit = NextCommit::Works;
    let back = agent(&mut cluster, "n-0");
    (back.heartbeats, back.reachable) = (true, true);
    cluster.register("n-0", SIZE);
    let given_up = cluster.answer(purge);
    assert!(
        matches!(given_up, Some(Err(RequestError::Refused(_)))),
        "{given_up:?}"
    );
    let txn = held[0].id;
    let fate = Fate::Refused("etcdserver: request is too large".into());
    cluster.feed(Input::Commit { txn, fate });
    cluster.pass(seconds(30));
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    assert_eq!(
        cluster.core.stats().orphans_found,
        0,
        "its tombstone waited for it"
    );
}

/// S15: there is nothing to purge of a node that has no record and no copy of anything.
#[test]
fn a_node_of_which_nothing_is_left_is_not_purged() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Held;
    cluster.begin(Request::Apply(apply("w", 100)));
    assert_eq!(cluster.held.len(), 1);
    cluster.next_commit = NextCommit::Works;
    edit(&mut cluster, &Key::Node(node("n-0")), None);
    let asked = cluster.begin(Request::Purge { node: node("n-0") });
    let answer = cluster.answer(asked);
    assert!(
        matches!(answer, Some(Err(RequestError::NoSuchNode(_)))),
        "{answer:?}"
    );
}

/// S10: that something was not there before says nothing about what an accepted delete met.
#[test]
fn an_accepted_delete_is_waited_for_although_nothing_was_seen_before() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    let copy = agent(&mut cluster, "n-0").has.remove(&id("w")).unwrap();
    cluster.pass(Duration::from_millis(500));
    // The apply takes effect late.
    agent(&mut cluster, "n-0").has.insert(id("w"), copy);
    cluster.delete("w").unwrap();
    assert_eq!(calls(&cluster, deletes).len(), 1);
    assert_eq!(cluster.seen("w").0, "Deleting");
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").0, "Gone");
}

/// S10: a listing that began before a delete was accepted proves nothing.
#[test]
fn a_listing_from_before_a_delete_proves_nothing() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    agent(&mut cluster, "n-0").hangs = true;
    cluster.register("n-0", SIZE);
    cluster.delete("w").unwrap();
    reply(&mut cluster, deletes, AgentReply::Deleting);
    reply(&mut cluster, lists, AgentReply::Listing([].into()));
    assert_eq!(cluster.seen("w").0, "Deleting");
    let back = agent(&mut cluster, "n-0");
    back.hangs = false;
    back.has.clear();
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("w").0, "Gone");
}

/// S7: a refusal of what is wanted no more is nobody's failure, and what is wanted waits a little.
#[test]
fn a_refusal_of_a_former_revision_costs_no_try() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    agent(&mut cluster, "n-0").hangs = true;
    cluster.apply("w", 100).unwrap();
    cluster.apply("w", 200).unwrap();
    agent(&mut cluster, "n-0").hangs = false;
    let refused = AgentReply::ApplyRefused {
        failure: FailureKind::RuntimeError,
        message: "not this one".into(),
    };
    reply(&mut cluster, applies, refused);
    assert_eq!(cluster.count(EventType::WorkloadFailed), 0);
    cluster.pass(seconds(4));
    let told = cluster.agents[&node("n-0")].told.len();
    assert_eq!(told, 0, "not at once");
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("w").0, "Running");
    assert_eq!(attempts(&mut cluster, "w"), 0);
}

/// S7: an apply that did not arrive is sent again after a pause, and costs no try.
#[test]
fn an_apply_that_did_not_arrive_is_not_sent_again_at_once() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    agent(&mut cluster, "n-0").reachable = false;
    cluster.apply("w", 100).unwrap();
    assert_eq!(calls(&cluster, applies).len(), 1);
    agent(&mut cluster, "n-0").reachable = true;
    cluster.pass(seconds(4));
    assert_eq!(calls(&cluster, applies).len(), 1);
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("w").0, "Running");
    assert_eq!(attempts(&mut cluster, "w"), 0);
}

/// S10: a delete that is refused is asked for again after a pause, whatever was known before.
#[test]
fn a_refused_delete_is_asked_for_again_soon() {
    for confirmed in [true, false] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        cluster.apply("w", 100).unwrap();
        if confirmed {
            cluster.pass(seconds(3));
        }
        agent(&mut cluster, "n-0").hangs = true;
        cluster.delete("w").unwrap();
        agent(&mut cluster, "n-0").hangs = false;
        let message = "busy".into();
        reply(&mut cluster, deletes, AgentReply::DeleteRefused { message });
        cluster.pass(seconds(4));
        assert_eq!(calls(&cluster, deletes).len(), 1, "{confirmed}");
        cluster.pass(seconds(2));
        assert_eq!(calls(&cluster, deletes).len(), 2, "{confirmed}");
        assert_eq!(cluster.seen("w").0, "Gone");
    }
}

/// S1: an apply that waits for its node's turn does not leave when another thing is wanted.
#[test]
fn an_apply_that_is_wanted_no_more_does_not_leave() {
    for stops in [false, true] {
        let mut cluster = Cluster::with(Config {
            calls_per_node_max: 1,
            ..Config::default()
        });
        cluster.nodes(1);
        agent(&mut cluster, "n-0").hangs = true;
        cluster.apply("other", 100).unwrap();
        cluster.apply("w", 100).unwrap();
        let wanted = if stops {
            cluster.set("w", DesiredState::Stopped).unwrap();
            Vec::new()
        } else {
            let revision = cluster.apply("w", 200).unwrap().record.revision_id;
            vec![format!("apply w@{revision} true")]
        };
        cluster.go_on("n-0");
        cluster.pass(seconds(30));
        let told = cluster.agents[&node("n-0")].told.iter();
        let told: Vec<_> = told.map(|(_, what)| what.clone()).collect();
        let of_w = told.iter().filter(|what| what.contains(" w@"));
        assert_eq!(of_w.cloned().collect::<Vec<_>>(), wanted, "{told:?}");
    }
}

/// L1: what a heartbeat tells while a listing is under way is looked at when that is over.
#[test]
fn what_is_heard_during_a_listing_is_looked_at_after_it() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    agent(&mut cluster, "n-0").hangs = true;
    cluster.register("n-0", SIZE);
    agent(&mut cluster, "n-0").has.clear();
    cluster.heartbeat(&node("n-0"));
    cluster.go_on("n-0");
    cluster.pass(seconds(1));
    assert_eq!(calls(&cluster, applies).len(), 2);
}

/// A node that does not answer its listing is not listed again meanwhile.
#[test]
fn a_node_is_listed_once_at_a_time() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.pass(seconds(1));
    agent(&mut cluster, "n-0").hangs = true;
    cluster.register("n-0", SIZE);
    let listings = calls(&cluster, lists).len();
    cluster.apply("w", 100).unwrap();
    reply(&mut cluster, applies, AgentReply::Applied);
    cluster.pass(seconds(1));
    assert_eq!(calls(&cluster, lists).len(), listings);
    cluster.go_on("n-0");
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").0, "Running");
}

/// S7: of what left no trace an agent is asked again and again, and what it says counts.
#[test]
fn an_agent_is_asked_for_the_one_that_it_does_not_list() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    agent(&mut cluster, "n-0").has.clear();
    cluster.pass(Duration::from_millis(6_900));
    assert_eq!(calls(&cluster, asks).len(), 1);
    agent(&mut cluster, "n-0").hangs = true;
    cluster.pass(Duration::from_millis(200));
    assert_eq!(calls(&cluster, asks).len(), 2);
    let failed = AgentStatus {
        workload: Some(id("w")),
        raw_id: "w".into(),
        workload_type: None,
        revision: None,
        state: AgentState::Failed,
        failure: Some(FailureKind::RuntimeError),
        message: "exit code 1".into(),
    };
    reply(&mut cluster, asks, AgentReply::Status(failed));
    assert_eq!(attempts(&mut cluster, "w"), 1);
    assert_eq!(cluster.seen("w").0, "RetryPending");
}

/// L1: what does not get anywhere for long is applied again, however often it is looked at.
#[test]
fn what_is_pending_or_unknown_for_long_is_applied_again() {
    for state in [AgentState::Pending, AgentState::Unknown] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        agent(&mut cluster, "n-0").result = state;
        cluster.apply("w", 100).unwrap();
        cluster.pass(Config::default().pending_deadline + seconds(10));
        assert_eq!(calls(&cluster, applies).len(), 2, "{state:?}");
    }
}

/// S12: of what others run on a node a bounded number is remembered.
#[test]
fn no_more_than_a_thousand_strangers_are_remembered() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let revision: Revision = "r".parse().unwrap();
    for at in 0..1_001 {
        let copy = (revision.clone(), AgentState::Running);
        let has = &mut agent(&mut cluster, "n-0").has;
        has.insert(id(&format!("s-{at}")), copy);
    }
    cluster.pass(seconds(5));
    assert_eq!(cluster.get_node("n-0").unwrap().strangers, Some(1_000));
}
