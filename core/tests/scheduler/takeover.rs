//! What a leader that takes over makes of what the former one left: tries, waits, open intents.

use berth_core::Timestamp;
use berth_core::io::agent::AgentState;
use berth_core::io::request::Request;

use crate::cluster::{Cluster, id, node, seconds};
use crate::nodes::lose;

fn applies(cluster: &Cluster, name: &str) -> Vec<Timestamp> {
    let told = cluster.agents[&node(name)].told.iter();
    let applies = told.filter(|(_, what)| what.starts_with("apply"));
    applies.map(|(at, _)| *at).collect()
}

/// A cluster of one node whose starts fail.
fn failing() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster
}

#[test]
fn a_wait_goes_on_over_a_change_of_leaders_and_is_no_longer() {
    let mut cluster = failing();
    // Two failures: the third try comes ten seconds after the second.
    cluster.pass(seconds(8));
    let before = applies(&cluster, "n-0");
    assert_eq!(before.len(), 2, "{before:?}");
    let retry = cluster.get_workload("w").unwrap().record.retry;
    let due = retry.next_retry_at.unwrap();
    cluster.restart(50);
    cluster.pass(seconds(20));
    let after = applies(&cluster, "n-0");
    assert_eq!(after.len(), 3, "{after:?}");
    assert!(
        after[2] >= due && after[2] < due + seconds(3),
        "{after:?}, due {due:?}"
    );
}

#[test]
fn a_wait_that_ended_while_nobody_led_is_over() {
    let mut cluster = failing();
    cluster.pass(seconds(8));
    let due = cluster.get_workload("w").unwrap().record.retry;
    let due = due.next_retry_at.unwrap();
    cluster.now = due + seconds(60);
    cluster.restart(50);
    cluster.pass(seconds(4));
    assert_eq!(applies(&cluster, "n-0").len(), 3);
}

#[test]
fn what_has_failed_for_good_stays_so_under_another_leader() {
    let mut cluster = failing();
    cluster.pass(seconds(200));
    assert_eq!(applies(&cluster, "n-0").len(), 5);
    cluster.restart(50);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Running;
    cluster.pass(seconds(200));
    assert_eq!(cluster.seen("w").0, "Failed");
    assert_eq!(applies(&cluster, "n-0").len(), 5);
    cluster.ask(Request::Retry { workload: id("w") }).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("w").0, "Running");
}

#[test]
fn what_runs_after_failures_is_no_try_of_the_next_leader() {
    let mut cluster = failing();
    cluster.pass(seconds(4));
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Running;
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w").0, "Running");
    let tries = cluster.get_workload("w").unwrap().record.retry.attempts;
    assert!(tries > 0);
    let before = applies(&cluster, "n-0").len();
    cluster.restart(50);
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w").0, "Running");
    let kept = cluster.get_workload("w").unwrap().record.retry.attempts;
    assert_eq!(kept, tries, "they are kept until it has run for long");
    cluster.pass(seconds(400));
    let forgotten = cluster.get_workload("w").unwrap().record.retry.attempts;
    assert_eq!((forgotten, applies(&cluster, "n-0").len()), (0, before));
}

#[test]
fn a_delete_that_may_have_been_sent_is_asked_for_again_soon() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = true;
    cluster.delete("w").unwrap();
    cluster.pass(seconds(1));
    cluster.agents.get_mut(&node("n-0")).unwrap().hangs = false;
    cluster.restart(50);
    cluster.pass(seconds(12));
    assert_eq!(
        cluster.seen("w").0,
        "Gone",
        "and not after the whole deadline of a delete"
    );
}

/// The last try of a workload that runs has not failed, although no other one is left: elsewhere, and
/// under another leader, it is started.
#[test]
fn what_runs_by_its_last_try_is_started_where_it_moves() {
    for takes_over in [false, true] {
        let mut cluster = Cluster::new();
        cluster.nodes(2);
        cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
        cluster.apply("w", 100).unwrap();
        cluster.pass(seconds(200));
        assert_eq!(cluster.seen("w"), ("Failed".into(), "n-0".into()));
        // It had started after all, and nobody had learnt that.
        let revision = cluster.get_workload("w").unwrap().record.revision_id;
        let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
        agent.has.insert(id("w"), (revision, AgentState::Running));
        cluster.pass(seconds(70));
        let record = cluster.get_workload("w").unwrap().record;
        assert_eq!(cluster.seen("w").0, "Running");
        assert!(record.retry.exhausted);
        lose(&mut cluster, "n-0");
        // On its new node nothing is done before the leader is another one.
        cluster.agents.get_mut(&node("n-1")).unwrap().hangs = takes_over;
        cluster.pass(seconds(120));
        if takes_over {
            cluster.go_on("n-1");
            cluster.restart(50);
        }
        cluster.pass(seconds(130));
        assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
        let there = &cluster.agents[&node("n-1")].has;
        assert!(there.contains_key(&id("w")), "takes over: {takes_over}");
    }
}
