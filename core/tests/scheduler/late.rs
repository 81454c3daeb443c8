//! What comes late: answers, reads, watches, looks, and transactions that were given up.

use berth_core::io::agent::{AgentError, AgentOp, AgentReply, AgentState};
use berth_core::io::request::{
    ApplyWorkload, Effect, Request, RequestError, Response, SuggestedAction, Suggestion,
};
use berth_core::io::{Deposed, Fate, Stored};
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;
use berth_core::{Config, EventId, EventType, Input, Key, Output, StoreRevision, Timestamp, TxnId};

use crate::cluster::{Cluster, NextCommit, apply, id, node, registration, seconds};
use crate::nodes::lose;
use crate::rare::{SIZE, drain, schedulable};
use crate::rare_changes::{a_move_on_its_way, a_move_that_may_come, hangs, more_urgent};
use crate::review::edit;

fn told(cluster: &Cluster, name: &str) -> usize {
    cluster.agents[&node(name)].told.len()
}

fn tombstone() -> Key {
    Key::Tombstone(node("n-0"), id("w"))
}

/// A copy of `w`, which is gone, runs on n-0, and has not been seen yet.
fn a_copy_that_came_back() -> Cluster {
    let (mut cluster, revision) = Cluster::with_a_grave();
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent.has.insert(id("w"), (revision, AgentState::Running));
    cluster
}

fn told_of(cluster: &mut Cluster, key: &Key, value: Option<String>, at: i64) {
    let stored = Stored {
        key: key.clone(),
        value: value.map(Into::into),
        mod_revision: StoreRevision(at),
    };
    cluster.feed(Input::Changed {
        revision: StoreRevision(at),
        records: vec![stored],
    });
}

/// S1: the watch tells of a tombstone, and of its removal, before the answers to what wrote and removed it.
#[test]
fn a_tombstone_whose_creation_is_answered_after_its_removal_does_not_come_back() {
    let mut cluster = a_copy_that_came_back();
    cluster.next_commit = NextCommit::TombstoneLate;
    cluster.heartbeat(&node("n-0"));
    let (value, at) = cluster.store[&tombstone()].clone();
    cluster.next_commit = NextCommit::Held;
    told_of(&mut cluster, &tombstone(), Some(value), at);
    cluster.pass(seconds(7));
    assert_eq!(cluster.held.len(), 1, "its removal: {:?}", cluster.held);
    let asked = told(&cluster, "n-0");
    told_of(&mut cluster, &tombstone(), None, at + 5);
    let late = cluster.late.take().unwrap();
    cluster.feed(late);
    assert_eq!(told(&cluster, "n-0"), asked);
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
}

/// S1: a conflict shows that a tombstone is gone, and then a watch that lags tells that it was written.
#[test]
fn a_tombstone_that_a_conflict_showed_to_be_gone_does_not_come_back() {
    let mut cluster = a_copy_that_came_back();
    cluster.next_commit = NextCommit::TombstoneLate;
    cluster.heartbeat(&node("n-0"));
    let (value, at) = cluster.store[&tombstone()].clone();
    cluster.next_commit = NextCommit::Held;
    let created = cluster.late.take().unwrap();
    cluster.feed(created);
    cluster.pass(seconds(7));
    cluster.give_up_held();
    let _untold = cluster.carry_out_held();
    cluster.pass(seconds(10));
    let asked = told(&cluster, "n-0");
    told_of(&mut cluster, &tombstone(), Some(value), at);
    assert_eq!(told(&cluster, "n-0"), asked);
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
}

/// S13: what was read before a late move does not undo what the watch told of it meanwhile.
#[test]
fn a_read_that_is_older_than_the_watch_takes_nothing_away() {
    let mut cluster = a_move_on_its_way();
    cluster.slow_reads = true;
    cluster.give_up_held();
    for change in cluster.carry_out_held() {
        cluster.feed(change);
    }
    hangs(&mut cluster, "n-0");
    cluster.tell_reads();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w").1, "n-1");
    assert_eq!(told(&cluster, "n-1"), 0, "the copy on n-0 goes first");
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 1);
}

/// S3, S15: the same of a creation: it is there, and keeps its room.
#[test]
fn a_read_that_is_older_than_the_watch_denies_no_creation() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let wanted = ApplyWorkload {
        if_match: Some(StoreRevision(0)),
        ..apply("w", 3_000)
    };
    cluster.next_commit = NextCommit::Held;
    let asked = cluster.begin(Request::Apply(wanted));
    cluster.slow_reads = true;
    cluster.give_up_held();
    for change in cluster.carry_out_held() {
        cluster.feed(change);
    }
    cluster.tell_reads();
    assert!(cluster.answer(asked).unwrap().is_err());
    let other = cluster.apply("other", 2_000).unwrap().record;
    assert_eq!(other.assigned_node, None);
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
}

/// S3: a large change is told in parts, and a part of a late move gives no room away.
#[test]
fn a_part_of_a_late_move_gives_no_room_away() {
    let mut cluster = a_move_that_may_come();
    let other = cluster.apply("other", 2_000).unwrap().record;
    assert_eq!(other.assigned_node, None);
    let mut told = cluster.carry_out_held();
    let Some(Input::Changed { revision, records }) = told.pop() else {
        panic!("the move is told");
    };
    let is_record = |stored: &Stored| matches!(stored.key, Key::Workload(_));
    let (first, rest): (Vec<_>, Vec<_>) = records.into_iter().partition(is_record);
    assert_eq!(first.len(), 1);
    for records in [first, rest] {
        cluster.feed(Input::Changed { revision, records });
    }
    assert!(!cluster.store.contains_key(&Key::Assignment(id("other"))));
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// L1: a failure that was written late is told whole, and the record repeats it.
#[test]
fn a_late_failure_is_not_half_told() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
    let mut wanted = apply("w", 100);
    wanted.spec.as_mut().unwrap().max_attempts = Some(1);
    cluster.apply_with(wanted.clone()).unwrap();
    cluster.next_commit = NextCommit::Held;
    cluster.pass(seconds(1));
    let failure = |key: &Key| matches!(key, Key::Retry(_));
    let writes = |txn: &berth_core::io::Txn| txn.compares.iter().any(|(key, _)| failure(key));
    assert!(cluster.held.iter().any(writes), "{:?}", cluster.held);
    wanted.spec.as_mut().unwrap().priority = 5;
    let asked = cluster.begin(Request::Apply(wanted));
    cluster.slow_reads = true;
    cluster.give_up_held();
    let _untold = cluster.carry_out_held();
    cluster.tell_reads();
    cluster.answer(asked).unwrap().unwrap();
    let record = cluster.get_workload("w").unwrap().record;
    assert_eq!((record.retry.attempts, record.retry.exhausted), (1, true));
}

/// S1: what may be written once more is not removed: it would delete what is there by then.
#[test]
fn a_tombstone_that_may_be_written_again_stays_for_as_long() {
    let mut cluster = a_copy_that_came_back();
    cluster.next_commit = NextCommit::TombstoneHeld;
    cluster.heartbeat(&node("n-0"));
    cluster.give_up_held();
    cluster.pass(seconds(20));
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    assert!(cluster.store.contains_key(&tombstone()));
    cluster.pass(seconds(20));
    assert!(!cluster.store.contains_key(&tombstone()));
}

/// S9: nor is a node purged that a late registration would bring back.
#[test]
fn a_purge_waits_for_a_registration_that_may_come() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let mut smaller = registration("n-0", SIZE);
    smaller.cpu_total.0 -= 1;
    cluster.next_commit = NextCommit::UnknownLost;
    cluster.ask(Request::Register(smaller)).unwrap();
    lose(&mut cluster, "n-0");
    cluster.ask(Request::Fence { node: node("n-0") }).unwrap();
    let purge = cluster.begin(Request::Purge { node: node("n-0") });
    cluster.pass(seconds(20));
    assert!(cluster.answer(purge).is_none());
    cluster.pass(seconds(20));
    assert!(matches!(cluster.answer(purge), Some(Ok(Response::Purged))));
}

/// A new leader has not heard of a node that was lost for long, and does not say so.
#[test]
fn a_new_leader_invents_no_heartbeat() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.pass(seconds(20));
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(1_000));
    let last = |cluster: &mut Cluster| cluster.get_node("n-0").unwrap().record.last_heartbeat;
    let heard = last(&mut cluster);
    cluster.restart(50);
    cluster.pass(seconds(60));
    // It may be older: it is written coarsely.
    assert!(last(&mut cluster) <= heard);
    let at = last(&mut cluster).to_string();
    let stored = &cluster.store[&Key::Node(node("n-0"))].0;
    assert!(stored.contains(&at), "{at} in {stored}");
}

/// S8: a write that may come is not called refused because a record cannot be read by now.
#[test]
fn what_may_be_written_is_not_refused_for_what_cannot_be_read() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.next_commit = NextCommit::Held;
    let asked = cluster.begin(Request::Apply(more_urgent("w")));
    edit(&mut cluster, &Key::Retry(id("w")), Some("{"));
    cluster.give_up_held();
    let answer = cluster.answer(asked).unwrap();
    let unknown = |error: &RequestError| matches!(error, RequestError::Unavailable { effect, .. } if *effect == Effect::Unknown);
    assert!(answer.as_ref().is_err_and(unknown), "{answer:?}");
}

/// The same of a purge that had begun.
#[test]
fn a_purge_that_had_begun_is_not_called_undone() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.ask(Request::Fence { node: node("n-0") }).unwrap();
    cluster.next_commit = NextCommit::Held;
    let purge = cluster.begin(Request::Purge { node: node("n-0") });
    let reason = Deposed::LostLeadership;
    cluster.feed(Input::Deposed { reason });
    let Some(Err(RequestError::Unavailable { effect, .. })) = cluster.answer(purge) else {
        panic!("it is not known");
    };
    assert_eq!(effect, Effect::Unknown);
}

/// What nobody waits for any more is no news.
#[test]
fn a_conflict_of_a_transaction_that_is_forgotten_changes_nothing() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    let gone = Stored {
        key: Key::Workload(id("w")),
        value: None,
        mod_revision: StoreRevision(0),
    };
    let fate = Fate::Conflict {
        revision: StoreRevision(cluster.revision + 9),
        current: vec![gone],
    };
    let txn = TxnId(99_999);
    cluster.feed(Input::Commit { txn, fate });
    assert!(cluster.get_workload("w").is_some());
}

/// L7: a copy that goes slowly from where a workload was keeps nobody from stopping it where it is.
#[test]
fn what_runs_is_stopped_while_its_former_copy_goes() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    lose(&mut cluster, "n-0");
    cluster.pass(seconds(150));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable, agent.hangs) = (true, true, true);
    cluster.heartbeat(&node("n-0"));
    cluster.set("w", DesiredState::Stopped).unwrap();
    cluster.pass(seconds(2));
    let has = &cluster.agents[&node("n-1")].has[&id("w")];
    assert_eq!(has.1, AgentState::Stopped);
    assert_eq!(cluster.seen("w").0, "Stopped");
}

/// S13: a node that cannot be called and says that it runs a workload keeps it from running elsewhere,
/// whether it is its home still or not.
#[test]
fn what_a_former_home_says_it_runs_is_not_started_elsewhere() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 1_000).unwrap();
    cluster.pass(seconds(5));
    cluster.register("n-1", Resources::new(8_000, 8_192, 100));
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = false;
    cluster.apply("w", 6_000).unwrap();
    assert_eq!(cluster.seen("w").1, "n-1");
    cluster.pass(seconds(300));
    assert_eq!(told(&cluster, "n-1"), 0);
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = true;
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
}

/// L7: calls that waited for their turn go to where the node is by then.
#[test]
fn a_call_that_waited_goes_to_the_present_address() {
    let mut cluster = Cluster::with(Config {
        calls_per_node_max: 1,
        ..Config::default()
    });
    cluster.nodes(1);
    cluster.pass(seconds(2));
    hangs(&mut cluster, "n-0");
    for at in 0..3 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    let mut moved = registration("n-0", SIZE);
    moved.endpoint = "elsewhere:1".into();
    cluster.ask(Request::Register(moved)).unwrap();
    let made = cluster.outputs.len();
    cluster.go_on("n-0");
    cluster.pass(seconds(1));
    let endpoint = |output: &Output| match output {
        Output::Call(call) => Some(call.endpoint.clone()),
        _ => None,
    };
    let mut called = cluster.outputs[made..].iter().filter_map(endpoint);
    assert_eq!(called.next().as_deref(), Some("elsewhere:1"));
    assert!(called.all(|endpoint| endpoint == "elsewhere:1"));
}

/// S20: what the former process of an agent answers is no look at the one that registered since.
#[test]
fn a_look_at_the_former_process_completes_no_drain() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.pass(seconds(2));
    hangs(&mut cluster, "n-0");
    cluster.pass(seconds(70));
    let list = |output: &Output| match output {
        Output::Call(call) if call.op == AgentOp::List => Some(call.id),
        _ => None,
    };
    let former = cluster.outputs.iter().rev().find_map(list).unwrap();
    let mut another = registration("n-0", SIZE);
    another.incarnation = "2".into();
    cluster.ask(Request::Register(another)).unwrap();
    cluster.ask(drain("n-0", 600)).unwrap();
    cluster.feed(Input::Agent {
        call: former,
        result: Ok(AgentReply::Listing([].into())),
    });
    assert_eq!(cluster.count(EventType::NodeDrained), 0);
    cluster.go_on("n-0");
    cluster.pass(seconds(10));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}

/// S12: an event from a clock that is far ahead does not keep old events from going, nor the store busy.
#[test]
fn old_events_go_although_an_id_is_far_ahead() {
    let mut cluster = Cluster::with(Config {
        event_retention: seconds(600),
        ..Config::default()
    });
    let ahead = EventId::new(
        Timestamp::from_millis(9_000_000_000),
        berth_core::Epoch(9),
        1,
    );
    let key = Key::Event(ahead);
    cluster.store.insert(key.clone(), ("{".into(), 1));
    cluster.restart(20);
    cluster.store.remove(&key);
    cluster.nodes(1);
    for _ in 0..4 {
        cluster.apply("w", 100).unwrap();
        cluster.pass(seconds(300));
        cluster.delete("w").unwrap();
        cluster.pass(seconds(300));
    }
    let events = cluster.store.keys();
    let events = events.filter(|key| matches!(key, Key::Event(_))).count();
    assert!(events < 20, "{events} events");
    let commits = cluster.commits;
    cluster.pass(seconds(120));
    assert!(cluster.commits < commits + 10, "no loop");
}

fn is_accepted(cluster: &mut Cluster) -> bool {
    let suggestion = Suggestion {
        policy: "p".into(),
        workload: id("w"),
        action: SuggestedAction::SetDesiredState(DesiredState::Stopped),
        reason: String::new(),
    };
    match cluster.ask(Request::Suggest(suggestion)).unwrap() {
        Response::Suggestion { accepted, .. } => accepted,
        other => panic!("another answer: {other:?}"),
    }
}

/// What is suggested of a workload that cannot be read is not called accepted.
#[test]
fn a_suggestion_that_cannot_be_carried_out_is_not_accepted() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    edit(&mut cluster, &Key::Retry(id("w")), Some("{"));
    assert!(!is_accepted(&mut cluster));
}

/// Where a workload is placed again while its former copy there goes, nothing is sent of it before that.
#[test]
fn nothing_is_sent_where_a_former_copy_goes() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    hangs(&mut cluster, "n-0");
    cluster.apply("w", 5_000).unwrap();
    cluster.apply("w", 200).unwrap();
    assert_eq!(cluster.seen("w").1, "n-0");
    cluster.set("w", DesiredState::Stopped).unwrap();
    let made = cluster.outputs.len();
    cluster.pass(seconds(20));
    let applies = |output: &Output| matches!(output, Output::Call(call) if matches!(call.op, AgentOp::Apply { .. }));
    assert!(!cluster.outputs[made..].iter().any(applies));
    assert_ne!(cluster.seen("w").0, "Stopped");
    cluster.go_on("n-0");
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w").0, "Stopped");
}

/// Room that appears is given in order, also when who waits for it is looked at anyway.
#[test]
fn who_is_looked_at_anyway_does_not_go_before_others() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.ask(schedulable("n-0", false)).unwrap();
    cluster.apply("a", 3_000).unwrap();
    cluster.apply_with(more_urgent("z")).unwrap();
    let (there, waiting) = (Key::Node(node("n-0")), Key::Workload(id("a")));
    cluster.revision += 1;
    let at = cluster.revision;
    let text = &cluster.store[&there].0;
    let opened = text.replace("\"schedulable\":false", "\"schedulable\":true");
    assert_ne!(*text, opened);
    let again = cluster.store[&waiting].0.clone();
    let mut records = Vec::new();
    for (key, value) in [(there, opened), (waiting, again)] {
        cluster.store.insert(key.clone(), (value.clone(), at));
        records.push(Stored {
            key,
            value: Some(value.into()),
            mod_revision: StoreRevision(at),
        });
    }
    let revision = StoreRevision(at);
    cluster.feed(Input::Changed { revision, records });
    assert_eq!(cluster.seen("z").1, "n-0");
    assert_eq!(cluster.seen("a").1, "");
}

/// S1: a watch that is made anew tells what is past: what was there then and is gone is not believed.
#[test]
fn what_was_before_the_image_was_loaded_is_not_believed() {
    let mut cluster = a_copy_that_came_back();
    cluster.next_commit = NextCommit::TombstoneLate;
    cluster.heartbeat(&node("n-0"));
    let (value, at) = cluster.store[&tombstone()].clone();
    let created = cluster.late.take().unwrap();
    cluster.feed(created);
    cluster.pass(seconds(10));
    assert!(!cluster.store.contains_key(&tombstone()));
    cluster.restart(50);
    cluster.pass(seconds(5));
    let asked = told(&cluster, "n-0");
    told_of(&mut cluster, &tombstone(), Some(value), at);
    assert_eq!(told(&cluster, "n-0"), asked);
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
}

/// `w` is wanted again over the remains of a former one, which the store kept; of that nobody knows.
fn created_over_remains(cluster: &mut Cluster) {
    cluster.next_commit = NextCommit::Refused;
    edit(cluster, &Key::Workload(id("w")), None);
    cluster.next_commit = NextCommit::Held;
    let asked = cluster.begin(Request::Apply(apply("w", 3_000)));
    cluster.pass(seconds(6));
    assert!(!cluster.held.is_empty());
    cluster.next_commit = NextCommit::Refused;
    cluster.give_up_held();
    cluster.answer(asked).unwrap().unwrap_err();
    cluster.next_commit = NextCommit::Works;
    cluster.pass(seconds(6));
    assert!(!cluster.store.contains_key(&Key::Assignment(id("w"))));
}

/// S5: what may still be created keeps its room, and no longer than it may come, when the remains of a
/// former one are cleared meanwhile.
#[test]
fn the_room_of_a_creation_that_may_come_is_not_kept_for_ever() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(3));
    created_over_remains(&mut cluster);
    cluster.pass(seconds(60));
    let other = cluster.apply("other", 3_000).unwrap().record;
    assert_eq!(other.assigned_node, Some(node("n-0")));
}

/// L7: a call that failed at a former address says nothing of the present one.
#[test]
fn failures_at_a_former_address_do_not_count() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.pass(seconds(2));
    hangs(&mut cluster, "n-0");
    for at in 0..3 {
        cluster.apply(&format!("w-{at}"), 100).unwrap();
    }
    let applies = |output: &Output| match output {
        Output::Call(call) if matches!(call.op, AgentOp::Apply { .. }) => Some(call.id),
        _ => None,
    };
    let calls: Vec<_> = cluster.outputs.iter().filter_map(applies).collect();
    assert_eq!(calls.len(), 3);
    let mut moved = registration("n-0", SIZE);
    moved.endpoint = "elsewhere:1".into();
    cluster.ask(Request::Register(moved)).unwrap();
    for call in calls {
        let result = Err(AgentError::Timeout);
        cluster.feed(Input::Agent { call, result });
    }
    assert_eq!(cluster.count(EventType::NodeLost), 0);
}

/// A suggestion that finds too many changes waiting is not called accepted.
#[test]
fn a_suggestion_that_finds_no_room_to_wait_is_not_accepted() {
    let mut cluster = Cluster::with(Config {
        requests_waiting_max: 1,
        ..Config::default()
    });
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.next_commit = NextCommit::Held;
    for priority in [5, 6] {
        let mut wanted = more_urgent("w");
        wanted.spec.as_mut().unwrap().priority = priority;
        cluster.begin(Request::Apply(wanted));
    }
    assert!(!is_accepted(&mut cluster));
}
