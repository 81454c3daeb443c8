//! Records that cannot be read, or are gone, while a replica begins to lead: what they stand for
//! counts as if it were so.

use berth_core::io::agent::AgentState;
use berth_core::io::request::{Query, Request, RequestError, Response};
use berth_core::{EventType, Key};

use crate::cluster::{Agent, Cluster, NextCommit, id, node, seconds};
use crate::review::edit;

const DRAIN: fn() -> Request = || Request::Drain {
    node: node("n-0"),
    deadline: seconds(600),
    parallelism: 1,
};

/// Makes a record unreadable while a process of the scheduler ends and another begins to lead.
/// Answers what it was.
fn poison(cluster: &mut Cluster, key: &Key) -> String {
    let was = cluster.store[key].0.clone();
    edit(cluster, key, Some("{broken"));
    cluster.restart(20);
    was
}

/// S20, S5: a workload whose assignment cannot be read is where its own record says.
#[test]
fn a_node_is_not_empty_while_an_assignment_cannot_be_read() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(3));
    let key = Key::Assignment(id("w"));
    let was = poison(&mut cluster, &key);
    cluster.pass(seconds(30));
    let told = cluster.agents[&node("n-0")].told.len();
    assert_eq!(told, 1, "its copy is nobody's orphan");
    cluster.apply("more", 3_000).unwrap();
    assert_eq!(
        cluster.seen("more").0,
        "Pending",
        "its room is not given away"
    );
    cluster.delete("more").unwrap();
    cluster.register(
        "n-1",
        berth_core::model::units::Resources::new(4_000, 8_192, 100),
    );
    cluster.ask(DRAIN()).unwrap();
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::NodeDrained), 0);
    edit(&mut cluster, &key, Some(&was));
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
    assert!(cluster.agents[&node("n-0")].has.is_empty());
}

/// What cannot be read and is removed stands in nobody's way any more.
#[test]
fn an_unreadable_assignment_that_is_removed_is_repaired() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(3));
    let key = Key::Assignment(id("w"));
    poison(&mut cluster, &key);
    edit(&mut cluster, &key, None);
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
}

/// S15: what cannot be read exists.
#[test]
fn what_cannot_be_read_is_not_denied() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    let was = poison(&mut cluster, &Key::Workload(id("w")));
    for query in [Query::Workload(id("w")), Query::Explain(id("w"))] {
        let answer = cluster.ask(Request::Read(query));
        assert!(
            matches!(answer, Err(RequestError::Refused(_))),
            "{answer:?}"
        );
    }
    edit(&mut cluster, &Key::Workload(id("w")), Some(&was));
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    poison(&mut cluster, &Key::Node(node("n-0")));
    for request in [Request::Read(Query::Node(node("n-0"))), DRAIN()] {
        let answer = cluster.ask(request);
        assert!(
            matches!(answer, Err(RequestError::Refused(_))),
            "{answer:?}"
        );
    }
}

/// A workload moved from n-0 to n-1 while n-0 was lost, so that a tombstone is there.
fn moved() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 3_000).unwrap();
    cluster.pass(seconds(5));
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (false, false);
    cluster.pass(seconds(150));
    assert_eq!(cluster.seen("w").1, "n-1");
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 1);
    cluster
}

fn back(cluster: &mut Cluster) {
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (true, true);
    cluster.pass(seconds(60));
    assert!(!cluster.agents[&node("n-0")].has.contains_key(&id("w")));
    assert!(
        !cluster
            .store
            .keys()
            .any(|key| matches!(key, Key::Tombstone(..)))
    );
}

/// S5, L3: tombstones wait for their node's record, whoever leads when it comes back.
#[test]
fn the_tombstones_of_a_node_whose_record_cannot_be_read_are_not_forgotten() {
    let mut cluster = moved();
    let key = Key::Node(node("n-0"));
    let was = poison(&mut cluster, &key);
    cluster.pass(seconds(30));
    edit(&mut cluster, &key, Some(&was));
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 1);
    back(&mut cluster);
}

/// The same of a node whose record somebody removed.
#[test]
fn the_tombstones_of_a_node_whose_record_is_removed_are_not_forgotten() {
    let mut cluster = moved();
    edit(&mut cluster, &Key::Node(node("n-0")), None);
    cluster.apply("more", 3_000).unwrap();
    back(&mut cluster);
    assert_eq!(cluster.seen("more"), ("Running".into(), "n-0".into()));
}

/// S20: a tombstone that cannot be read says all the same that a copy may be there.
#[test]
fn an_unreadable_tombstone_is_left_alone_and_counts() {
    let mut cluster = moved();
    let key = Key::Tombstone(node("n-0"), id("w"));
    let was = poison(&mut cluster, &key);
    assert_eq!(cluster.get_node("n-0").unwrap().tombstones, 1);
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (true, true);
    cluster.pass(seconds(60));
    cluster.ask(DRAIN()).unwrap();
    cluster.pass(seconds(60));
    assert_eq!(cluster.count(EventType::NodeDrained), 0);
    assert_eq!(cluster.agents[&node("n-0")].has.len(), 1);
    edit(&mut cluster, &key, Some(&was));
    back(&mut cluster);
    assert_eq!(cluster.count(EventType::NodeDrained), 1);
}

/// S4: a node whose record cannot be read any more keeps what it has, gets nothing new, and is
/// asked again as soon as it can be read.
#[test]
fn a_node_whose_record_cannot_be_read_gets_nothing_new() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 500).unwrap();
    cluster.pass(seconds(3));
    let key = Key::Node(node("n-0"));
    let was = cluster.store[&key].0.clone();
    edit(&mut cluster, &key, Some("{broken"));
    cluster.apply("more", 500).unwrap();
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("more").0, "Pending");
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    edit(&mut cluster, &key, Some(&was));
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("more"), ("Running".into(), "n-0".into()));
}

/// L3: a copy on a node whose record cannot be read gets a tombstone when somebody removes the
/// assignment, for whoever leads when the node is back.
#[test]
fn a_copy_on_a_node_whose_record_cannot_be_read_is_not_forgotten() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    let home = cluster.seen("w").1;
    let key = Key::Node(node(&home));
    cluster.agents.get_mut(&node(&home)).unwrap().heartbeats = false;
    let was = poison(&mut cluster, &key);
    edit(&mut cluster, &Key::Assignment(id("w")), None);
    cluster.pass(seconds(10));
    cluster.delete("w").unwrap();
    cluster.pass(seconds(60));
    edit(&mut cluster, &key, Some(&was));
    cluster.agents.get_mut(&node(&home)).unwrap().heartbeats = true;
    cluster.pass(seconds(60));
    let runs = |home: &str| cluster.agents[&node(home)].has.contains_key(&id("w"));
    assert!(!runs("n-0") && !runs("n-1"));
}

/// Two workloads run on n-0, which falls silent; one is to be deleted. Then somebody removes the
/// record of the node.
fn without_its_record() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.apply("gone", 100).unwrap();
    cluster.pass(seconds(5));
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (false, false);
    cluster.delete("gone").unwrap();
    cluster.pass(seconds(5));
    edit(&mut cluster, &Key::Node(node("n-0")), None);
    cluster.pass(seconds(5));
    let buried = |key: &&Key| matches!(key, Key::Tombstone(..));
    assert_eq!(cluster.store.keys().filter(buried).count(), 2);
    assert!(!cluster.store.contains_key(&Key::Workload(id("gone"))));
    assert_eq!(cluster.seen("w").0, "Pending");
    cluster
}

/// L3: what ran on a node whose record somebody removed has tombstones there, also for whoever
/// leads when the node registers again.
#[test]
fn what_ran_on_a_node_whose_record_is_removed_is_not_forgotten() {
    let mut cluster = without_its_record();
    cluster.restart(20);
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.heartbeats, agent.reachable) = (true, true);
    cluster.nodes(1);
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    let has: Vec<_> = cluster.agents[&node("n-0")].has.keys().collect();
    assert_eq!(has, [&id("w")], "made anew, and nothing beside it");
    assert!(
        !cluster
            .store
            .keys()
            .any(|key| matches!(key, Key::Tombstone(..)))
    );
}

/// S17: an operator ends it where the node never comes back. Nothing else that is asked of such a
/// node finds one.
#[test]
fn a_node_without_a_record_is_purged_of_its_tombstones() {
    let mut cluster = without_its_record();
    let purge = || Request::Purge { node: node("n-0") };
    let none = Err(RequestError::NoSuchNode(node("n-0")));
    assert_eq!(cluster.ask(DRAIN()), none);
    assert_eq!(cluster.ask(purge()), Ok(Response::Purged));
    assert!(
        !cluster
            .store
            .keys()
            .any(|key| matches!(key, Key::Tombstone(..)))
    );
    assert_eq!(cluster.ask(purge()), none);
}

/// S4: a change of a client, made before what somebody broke is repaired, takes the place of what
/// the record says of its home: the copy there gets its tombstone with it.
#[test]
fn a_change_before_a_repair_forgets_no_copy() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    cluster.next_commit = NextCommit::Refused;
    edit(&mut cluster, &Key::Assignment(id("w")), None);
    cluster.next_commit = NextCommit::Works;
    assert!(cluster.agents[&node("n-0")].has.contains_key(&id("w")));
    cluster.delete("w").unwrap();
    cluster.pass(seconds(60));
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    let buried = |key: &Key| matches!(key, Key::Tombstone(..));
    assert!(!cluster.store.keys().any(buried));
}

/// S4: a client applies anew what somebody removed the record of, before what is left of it is
/// cleared away: the copy at the former home gets its tombstone with that, wherever the new one is.
#[test]
fn what_is_created_over_the_remains_of_another_forgets_no_copy() {
    for (third, home) in [(500, "n-0"), (1_500, "n-1")] {
        let mut cluster = Cluster::new();
        cluster.nodes(2);
        cluster.apply("w", 100).unwrap();
        cluster.apply("other", 1_000).unwrap();
        cluster.apply("third", third).unwrap();
        cluster.pass(seconds(5));
        assert_eq!(cluster.seen("w").1, "n-0");
        cluster.next_commit = NextCommit::Refused;
        edit(&mut cluster, &Key::Workload(id("w")), None);
        cluster.next_commit = NextCommit::Works;
        assert!(cluster.store.contains_key(&Key::Assignment(id("w"))));
        cluster.apply("w", 200).unwrap();
        let told = &cluster.agents[&node("n-0")].told;
        assert!(told.iter().any(|(_, what)| what == "delete w"), "{home}");
        cluster.pass(seconds(60));
        assert_eq!(cluster.seen("w"), ("Running".into(), home.into()));
        let here = |(_, agent): &(_, &Agent)| agent.has.contains_key(&id("w"));
        assert_eq!(cluster.agents.iter().filter(here).count(), 1);
    }
}

/// What cannot be read is held, too: who compares with what the store counts finds no difference.
#[test]
fn records_that_cannot_be_read_are_counted() {
    let build = || {
        let mut cluster = moved();
        let agent = cluster.agents.get_mut(&node("n-1")).expect("a second node");
        agent.result = AgentState::Failed;
        cluster.apply("v", 100).unwrap();
        cluster.pass(seconds(2));
        cluster
    };
    let keys = |cluster: &Cluster| -> Vec<Key> {
        let all = cluster.store.keys().cloned();
        all.filter(|key| !matches!(key, Key::Event(_) | Key::Meta(_) | Key::Leader(_)))
            .collect()
    };
    let all = keys(&build());
    let mut kinds: Vec<_> = all.iter().map(std::mem::discriminant).collect();
    kinds.dedup();
    assert_eq!(kinds.len(), 6, "one of each kind: {all:?}");
    for key in all {
        let mut cluster = build();
        poison(&mut cluster, &key);
        assert_eq!(cluster.core.records_held(), keys(&cluster).len(), "{key}");
    }
}
