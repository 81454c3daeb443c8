//! Transactions that conflict, vanish, are refused, or are overtaken; leaders that come and go.

use berth_core::io::agent::AgentState;
use berth_core::io::request::{Query, Request, RequestError, Response};
use berth_core::io::{Deposed, Fate, Op, Stored, Txn};
use berth_core::model::workload::DesiredState;
use berth_core::{Config, EventType, Input, Key, StoreRevision};

use crate::cluster::{Cluster, NextCommit, apply, id, node, seconds};

#[test]
fn an_unknown_commit_is_read_back_before_anything_else() {
    for fate in [NextCommit::UnknownWritten, NextCommit::UnknownLost] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        cluster.next_commit = fate;
        let view = cluster.apply("w", 100).unwrap();
        assert_eq!(view.record.assigned_node, Some(node("n-0")), "{fate:?}");
        cluster.pass(seconds(2));
        assert_eq!(cluster.seen("w").0, "Running");
        assert_eq!(cluster.agents[&node("n-0")].told.len(), 1);
        assert_eq!(cluster.count(EventType::WorkloadCreated), 1);
    }
}

#[test]
fn a_refused_write_is_told_and_leaves_nothing_behind() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Refused;
    let refused = cluster.apply("w", 4_000);
    assert!(
        matches!(refused, Err(RequestError::StoreRefused(_))),
        "{refused:?}"
    );
    cluster.next_commit = NextCommit::Works;
    assert_eq!(cluster.seen("w").0, "Gone");
    cluster.apply("other", 4_000).unwrap();
    cluster.pass(seconds(2));
    assert_eq!(
        cluster.seen("other").0,
        "Running",
        "the room was given back"
    );
}

#[test]
fn an_edit_by_somebody_else_is_adopted_and_a_conflict_decided_again() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(2));
    // Somebody stops it with an editor; nobody tells the core.
    let (value, _) = cluster.store[&Key::Workload(id("w"))].clone();
    let edited = value.replace(
        "\"desired_state\":\"Running\"",
        "\"desired_state\":\"Stopped\"",
    );
    cluster.revision += 1;
    let at = cluster.revision;
    cluster
        .store
        .insert(Key::Workload(id("w")), (edited.clone(), at));
    // The next decision meets it.
    cluster.apply("w", 200).unwrap();
    cluster.pass(seconds(3));
    let view = cluster.get_workload("w").unwrap();
    assert_eq!(view.record.desired_state, DesiredState::Stopped);
    assert_eq!(view.record.resources.cpu.0, 200);
    assert_eq!(view.display_status.name(), "Stopped");
    assert!(cluster.core.stats().commit_conflicts >= 1);
}

#[test]
fn a_watched_edit_is_adopted_and_an_undecodable_one_is_left_alone() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.apply("x", 100).unwrap();
    cluster.pass(seconds(2));
    let edit = |cluster: &mut Cluster, name: &str, value: Option<String>| {
        cluster.revision += 1;
        let (key, at) = (Key::Workload(id(name)), cluster.revision);
        match &value {
            Some(value) => cluster.store.insert(key.clone(), (value.clone(), at)),
            None => cluster.store.remove(&key),
        };
        let stored = Stored {
            key,
            value: value.map(Into::into),
            mod_revision: StoreRevision(at),
        };
        cluster.feed(Input::Changed {
            revision: StoreRevision(at),
            records: vec![stored],
        });
    };
    edit(&mut cluster, "w", Some("{broken".into()));
    let refused = cluster.apply("w", 300);
    assert!(
        matches!(refused, Err(RequestError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(cluster.core.stats().quarantined, 1);
    let (value, _) = cluster.store[&Key::Workload(id("x"))].clone();
    let stopped = value.replace(
        "\"desired_state\":\"Running\"",
        "\"desired_state\":\"Stopped\"",
    );
    edit(&mut cluster, "x", Some(stopped));
    cluster.pass(seconds(3));
    assert_eq!(
        cluster.seen("x").0,
        "Stopped",
        "one poison record freezes nobody else"
    );
}

#[test]
fn while_a_transaction_is_open_requests_wait_and_too_many_are_refused() {
    let mut cluster = Cluster::with(Config {
        requests_waiting_max: 3,
        ..Config::default()
    });
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Held;
    let first = cluster.begin(Request::Apply(apply("w", 100)));
    let waiting: Vec<_> = (2..5)
        .map(|n| cluster.begin(Request::Apply(apply("w", 100 * n))))
        .collect();
    assert!(matches!(
        cluster.apply("w", 900),
        Err(RequestError::Busy(_))
    ));
    assert!(cluster.answer(first).is_none());
    cluster.release();
    assert!(cluster.answer(first).is_some_and(|answer| answer.is_ok()));
    for request in waiting {
        assert!(cluster.answer(request).is_some_and(|answer| answer.is_ok()));
    }
    assert_eq!(
        cluster.get_workload("w").unwrap().record.resources.cpu.0,
        400
    );
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("w").0, "Running");
}

#[test]
fn a_deposed_replica_reads_stale_writes_nothing_and_evicts_nobody() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    cluster.next_commit = NextCommit::Held;
    let open = cluster.begin(Request::Apply(apply("open", 100)));
    cluster.feed(Input::Deposed {
        reason: Deposed::StoreUnavailable,
    });
    let answer = cluster.answer(open).expect("answered when leadership goes");
    assert!(matches!(answer, Err(RequestError::Unavailable { .. })));
    let before = cluster.outputs.len();
    cluster
        .agents
        .values_mut()
        .for_each(|agent| agent.heartbeats = false);
    cluster.pass(seconds(1_000));
    assert_eq!(
        cluster.outputs.len(),
        before,
        "nothing is written, called or evicted"
    );
    let view = cluster.get_workload("w").unwrap();
    assert!(view.freshness.stale);
    // Another replica may have created it since: "no such workload" would be a lie (S15).
    assert!(matches!(
        cluster.ask(Request::Read(Query::Workload(id("y")))),
        Err(RequestError::Unavailable { .. })
    ));
    assert!(matches!(
        cluster.apply("x", 1),
        Err(RequestError::Unavailable { .. })
    ));
    assert!(cluster.ask(Request::Read(Query::Summary)).is_ok());
    cluster.held.clear();
    cluster.next_commit = NextCommit::Works;
    cluster
        .agents
        .values_mut()
        .for_each(|agent| agent.heartbeats = true);
    cluster.lead(30);
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert_eq!(cluster.agents[&node("n-0")].told.len(), 1);
    assert_eq!(cluster.seen("open").0, "Gone");
}

#[test]
fn a_new_leader_looks_before_it_sends_again() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = false;
    cluster.apply("w", 100).unwrap();
    // The intent is durable, the call did not arrive; the next leader cannot know that.
    cluster.restart(20);
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = true;
    cluster.pass(seconds(5));
    assert!(cluster.agents[&node("n-0")].told.is_empty());
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w").0, "Running");
    // A delete that was open is taken up within seconds.
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = false;
    cluster.delete("w").unwrap();
    cluster.restart(30);
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = true;
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w").0, "Gone");
}

#[test]
fn events_are_told_in_order_and_old_ones_leave() {
    let config = Config {
        events_max: 50,
        ..Config::default()
    };
    let mut cluster = Cluster::with(config);
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Held;
    cluster.begin(Request::Apply(apply("a", 100)));
    cluster.begin(Request::Apply(apply("b", 100)));
    cluster.next_commit = NextCommit::Works;
    // The second transaction ends first.
    let second = cluster.held.pop().unwrap();
    let first = cluster.held.pop().unwrap();
    cluster.held.push(second);
    cluster.release();
    let told = cluster.events.len();
    cluster.held.push(first);
    cluster.release();
    assert!(
        cluster.events.len() > told,
        "those of the second waited for those of the first"
    );
    assert!(
        cluster
            .events
            .windows(2)
            .all(|pair| pair[0].id < pair[1].id)
    );
    for at in 0..60 {
        cluster.apply(&format!("w-{at}"), 1).unwrap();
    }
    cluster.pass(seconds(20));
    let kept = cluster
        .store
        .keys()
        .filter(|key| matches!(key, Key::Event(_)))
        .count();
    assert!(kept <= 50 + 50 / 20, "{kept} events are kept");
    let Ok(Response::Events(page)) = cluster.ask(Request::Read(Query::Events {
        after: None,
        workload: None,
        node: None,
        limit: 10,
    })) else {
        panic!("events");
    };
    assert_eq!(page.events.len(), 10);
    let after = Some(page.events[3].id.clone());
    let query = Query::Events {
        after,
        workload: None,
        node: None,
        limit: 100,
    };
    let Ok(Response::Events(rest)) = cluster.ask(Request::Read(query)) else {
        panic!("events")
    };
    assert_eq!(rest.events[..6], page.events[4..]);
}

/// A twentieth late, so that it is rare; and none that is young enough.
#[test]
fn events_leave_when_they_are_too_old() {
    let mut cluster = Cluster::with(Config {
        event_retention: seconds(1_000),
        ..Config::default()
    });
    let kept = |cluster: &Cluster| -> Vec<Key> {
        let keys = cluster.store.keys().cloned();
        keys.filter(|key| matches!(key, Key::Event(_))).collect()
    };
    cluster.nodes(1);
    cluster.apply("old", 1).unwrap();
    let old = kept(&cluster).len();
    cluster.pass(seconds(500));
    cluster.apply("young", 1).unwrap();
    let all = kept(&cluster);
    cluster.pass(seconds(540));
    assert_eq!(kept(&cluster)[..all.len()], all);
    cluster.pass(seconds(40));
    let left = kept(&cluster);
    assert!(!left.contains(&all[old - 1]) && left.contains(&all[all.len() - 1]));
}

/// S5, S3: what a transaction of unknown fate may take stays reserved when a later one of the same
/// workload is refused, until that first one is too old to be carried out.
#[test]
fn a_refused_write_frees_nothing_of_one_of_unknown_fate() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.next_commit = NextCommit::Held;
    let first = cluster.begin(Request::Apply(apply("w", 3_000)));
    let lost = cluster.held.remove(0);
    cluster.next_commit = NextCommit::Refused;
    cluster.feed(Input::Commit {
        txn: lost.id,
        fate: Fate::Unknown,
    });
    let refused = cluster.answer(first).expect("an answer");
    assert!(
        matches!(refused, Err(RequestError::Unavailable { .. })),
        "w may still come: {refused:?}"
    );
    cluster.next_commit = NextCommit::Works;
    cluster.apply("other", 3_000).unwrap();
    assert_eq!(cluster.seen("other").0, "Pending", "w may still come");
    let patience = cluster.core.config().stray_commit_max;
    cluster.pass(patience + seconds(1));
    assert_eq!(cluster.seen("other"), ("Running".into(), "n-0".into()));
}

/// S5, S11: the echo of an own removal may come before its answer. It takes effect, and is nobody
/// else's.
#[test]
fn the_echo_of_an_own_removal_frees_what_was_held() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(5));
    let reach = |cluster: &mut Cluster, yes| {
        let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
        (agent.heartbeats, agent.reachable) = (yes, yes);
    };
    reach(&mut cluster, false);
    cluster.pass(seconds(150));
    reach(&mut cluster, true);
    let key = Key::Tombstone(node("n-0"), id("w"));
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    cluster.pass(seconds(15));
    assert!(cluster.store.contains_key(&key));
    cluster.next_commit = NextCommit::Held;
    cluster.go_on("n-0");
    cluster.pass(seconds(15));
    let removes = |op: &Op| matches!(op, Op::Delete { key: removed } if *removed == key);
    assert!(cluster.held.iter().any(|txn| txn.ops.iter().any(removes)));
    let at = StoreRevision(cluster.revision + 1);
    let gone = Stored {
        key: key.clone(),
        value: None,
        mod_revision: at,
    };
    cluster.feed(Input::Changed {
        revision: at,
        records: vec![gone],
    });
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
    cluster.release();
    cluster.pass(seconds(5));
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
    assert_eq!(cluster.count(EventType::RecordAdopted), 0);
    assert!(!cluster.store.contains_key(&key));
}

/// S11: so may the echo of a tombstone that is added by itself, for a copy that came back.
#[test]
fn the_echo_of_an_own_tombstone_is_nobody_elses() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent.has.insert(id("w"), (revision, AgentState::Running));
    cluster.next_commit = NextCommit::Held;
    cluster.pass(seconds(90));
    let key = Key::Tombstone(node("n-0"), id("w"));
    let wrote = |txn: &Txn| {
        txn.ops.iter().find_map(|op| match op {
            Op::Put { key: put, value } if *put == key => Some(value.clone()),
            _ => None,
        })
    };
    let mut held = cluster.held.iter().map(wrote).zip(1..);
    let (value, after) = held
        .find(|(value, _)| value.is_some())
        .expect("it is to be buried");
    let at = StoreRevision(cluster.revision + after);
    let records = vec![Stored {
        key: key.clone(),
        value: value.map(Into::into),
        mod_revision: at,
    }];
    cluster.feed(Input::Changed {
        revision: at,
        records,
    });
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 1);
    cluster.release();
    let mut told = cluster.changes.iter();
    let told = told.find(|(revision, _)| *revision == at.0);
    let buried = told.is_some_and(|(_, told)| told.iter().any(|stored| stored.key == key));
    assert!(buried, "its answer told of another revision");
    cluster.pass(seconds(30));
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
    assert!(!cluster.agents[&node("n-0")].has.contains_key(&id("w")));
    assert_eq!(cluster.count(EventType::RecordAdopted), 0);
}

#[test]
fn the_late_answer_of_a_tombstone_that_was_worked_off_adds_none() {
    let (mut cluster, revision) = Cluster::with_a_grave();
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    agent.has.insert(id("w"), (revision, AgentState::Running));
    cluster.next_commit = NextCommit::TombstoneLate;
    cluster.pass(seconds(90));
    let late = cluster.late.take().expect("it is buried");
    let key = Key::Tombstone(node("n-0"), id("w"));
    let of_it = |(_, records): &&(i64, Vec<Stored>)| records.iter().any(|it| it.key == key);
    let (revision, records) = cluster.changes.iter().rfind(of_it).unwrap().clone();
    cluster.feed(Input::Changed {
        revision: StoreRevision(revision),
        records,
    });
    cluster.pass(seconds(30));
    assert!(!cluster.agents[&node("n-0")].has.contains_key(&id("w")));
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
    let told = cluster.agents[&node("n-0")].told.len();
    cluster.feed(late);
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 0);
    cluster.pass(seconds(90));
    assert_eq!(cluster.agents[&node("n-0")].told.len(), told);
}
