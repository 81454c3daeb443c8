//! Lists with their filters and pages, the summary, and the log of events.

use berth_core::io::agent::AgentState;
use berth_core::io::request::{
    ApplyWorkload, NodeFilter, Query, Request, Response, WorkloadFilter,
};
use berth_core::io::view::ClusterSummary;
use berth_core::model::units::Resources;
use berth_core::model::workload::{ActualState, DesiredState};
use berth_core::{EventId, Key, WorkloadId};

use crate::cluster::{Cluster, apply, id, node, seconds};
use crate::review::edit;

/// Three nodes, of which `n-1` drains and `n-2` is lost. `a` runs, `b` failed, `c` is stopped and
/// has a tenant, `d` does not fit, `e` is being deleted on the lost node.
fn busy() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.register("n-2", Resources::new(4_000, 8_192, 100));
    cluster.apply("e", 50).unwrap();
    cluster.pass(seconds(2));
    let lost = cluster.agents.get_mut(&node("n-2")).unwrap();
    (lost.heartbeats, lost.reachable) = (false, false);
    cluster.nodes(2);
    cluster.delete("e").unwrap();
    let drain = Request::Drain {
        node: node("n-1"),
        deadline: seconds(600),
        parallelism: 1,
    };
    cluster.pass(seconds(60));
    cluster.ask(drain).unwrap();
    cluster.apply("a", 100).unwrap();
    let stopped = ApplyWorkload {
        desired_state: Some(DesiredState::Stopped),
        ..apply("c", 100)
    };
    let mut stopped = stopped;
    stopped.spec.as_mut().unwrap().tenant = Some("t".parse().unwrap());
    cluster.apply_with(stopped).unwrap();
    cluster.apply("d", 5_000).unwrap();
    cluster.pass(seconds(2));
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
    let mut once = apply("b", 200);
    once.spec.as_mut().unwrap().max_attempts = Some(1);
    cluster.apply_with(once).unwrap();
    cluster.pass(seconds(2));
    cluster
}

fn list(cluster: &mut Cluster, filter: WorkloadFilter) -> (Vec<WorkloadId>, bool) {
    match cluster.ask(Request::Read(Query::Workloads(filter))) {
        Ok(Response::Workloads {
            workloads, more, ..
        }) => (workloads.into_iter().map(|w| w.record.id).collect(), more),
        other => panic!("another answer: {other:?}"),
    }
}

fn nodes(cluster: &mut Cluster, filter: NodeFilter) -> (String, bool) {
    match cluster.ask(Request::Read(Query::Nodes(filter))) {
        Ok(Response::Nodes { nodes, more, .. }) => {
            let names: Vec<_> = nodes.iter().map(|n| n.record.id.as_str()).collect();
            (names.join(" "), more)
        }
        other => panic!("another answer: {other:?}"),
    }
}

#[test]
fn every_filter_takes_what_it_names() {
    let mut cluster = busy();
    let all = WorkloadFilter::default;
    let status = |text: &str| WorkloadFilter {
        status: Some(text.to_owned()),
        ..all()
    };
    let at = |name: &str| WorkloadFilter {
        node: Some(node(name)),
        ..all()
    };
    let tenant = |text: &str| WorkloadFilter {
        tenant: Some(text.parse().unwrap()),
        ..all()
    };
    let state = |state| WorkloadFilter {
        actual_state: Some(state),
        ..all()
    };
    let both = WorkloadFilter {
        status: Some("running".to_owned()),
        ..at("n-2")
    };
    for (filter, expected) in [
        (all(), "a b c d e"),
        (status("RUNNING"), "a"),
        (status("stopped"), "c"),
        (at("n-0"), "a b"),
        (at("n-2"), "e"),
        (tenant("t"), "c"),
        (tenant("u"), ""),
        (state(ActualState::Failed), "b"),
        (both, ""),
    ] {
        let (found, more) = list(&mut cluster, filter.clone());
        let found: Vec<_> = found.iter().map(WorkloadId::as_str).collect();
        assert_eq!(found.join(" "), expected, "{filter:?}");
        assert!(!more);
    }
    for (text, expected) in [
        (None, "n-0 n-1 n-2"),
        (Some("ready"), "n-0"),
        (Some("DRAINING"), "n-1"),
        (Some("NotReady"), "n-2"),
    ] {
        let filter = NodeFilter {
            status: text.map(str::to_owned),
            ..NodeFilter::default()
        };
        let found = nodes(&mut cluster, filter);
        assert_eq!(found, (expected.to_owned(), false), "{text:?}");
    }
}

#[test]
fn pages_follow_each_other() {
    let mut cluster = busy();
    for (after, limit, expected, more) in [
        (None, 2, "a b", true),
        (Some("b"), 2, "c d", true),
        (Some("d"), 2, "e", false),
        (Some("c"), 2, "d e", false),
        (Some("c"), 0, "d e", false),
    ] {
        let filter = WorkloadFilter {
            after: after.map(id),
            limit,
            ..WorkloadFilter::default()
        };
        let (found, said) = list(&mut cluster, filter);
        let found: Vec<_> = found.iter().map(WorkloadId::as_str).collect();
        assert_eq!(
            (found.join(" ").as_str(), said),
            (expected, more),
            "{after:?}"
        );
    }
    for (after, limit, expected, more) in [
        (None, 2, "n-0 n-1", true),
        (Some("n-0"), 2, "n-1 n-2", false),
        (Some("n-1"), 0, "n-2", false),
    ] {
        let filter = NodeFilter {
            after: after.map(node),
            limit,
            ..NodeFilter::default()
        };
        let found = nodes(&mut cluster, filter);
        assert_eq!(found, (expected.to_owned(), more), "{after:?}");
    }
}

#[test]
fn the_summary_counts_each_once() {
    let mut cluster = busy();
    let now = cluster.now;
    let Ok(Response::Summary(sum)) = cluster.ask(Request::Read(Query::Summary)) else {
        panic!("a summary");
    };
    let expected = ClusterSummary {
        total_nodes: 3,
        ready_nodes: 1,
        not_ready_nodes: 1,
        draining_nodes: 1,
        total_workloads: 5,
        running_workloads: 1,
        pending_workloads: 1,
        failed_workloads: 1,
        stopped_workloads: 1,
        deleted_workloads: 1,
        capacity: Resources::new(12_000, 24_576, 300),
        allocated: sum.allocated,
        generated_at: now,
        freshness: sum.freshness,
    };
    assert_eq!(sum, expected);
    assert_eq!(sum.allocated.cpu.0, 100 + 200 + 50);
    let view = cluster.get_node("n-0").unwrap();
    let free = view.record.resources.cpu_total.0 - view.record.resources.cpu_allocated.0;
    assert_eq!((view.available.cpu.0, free), (3_700, 3_700));
}

#[test]
fn events_are_those_of_a_workload_or_a_node() {
    let mut cluster = busy();
    let mut page = |after: Option<EventId>, workload: Option<&str>, at: Option<&str>| {
        let query = Query::Events {
            after,
            workload: workload.map(id),
            node: at.map(node),
            limit: 0,
        };
        match cluster.ask(Request::Read(query)) {
            Ok(Response::Events(page)) => page,
            other => panic!("another answer: {other:?}"),
        }
    };
    let all = page(None, None, None).events;
    for (workload, at) in [
        (Some("a"), None),
        (None, Some("n-0")),
        (Some("a"), Some("n-0")),
    ] {
        let mut expected = all.clone();
        expected.retain(|event| {
            workload.is_none_or(|w| event.workload_id == Some(id(w)))
                && at.is_none_or(|n| event.node_id == Some(node(n)))
        });
        assert!(!expected.is_empty() && expected.len() < all.len());
        assert_eq!(page(None, workload, at).events, expected);
    }
    // Whoever comes back after what is kept learns that something is missing.
    assert!(!page(Some(all[0].id.clone()), None, None).gap);
    assert!(page(Some(EventId::from_text("0")), None, None).gap);
}

#[test]
fn what_is_placed_is_explained_by_the_decision_that_placed_it() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    let decided = cluster.get_workload("w").unwrap().record.status.placement;
    // A better place comes: that is not why it is where it is.
    cluster.register("n-9", Resources::new(16_000, 65_536, 1_000));
    let explain = |cluster: &mut Cluster| {
        let explain = Request::Read(Query::Explain(id("w")));
        let Ok(Response::Explanation(why)) = cluster.ask(explain) else {
            panic!("an explanation")
        };
        why
    };
    let why = explain(&mut cluster);
    assert_eq!(why.assigned_node, Some(node("n-0")));
    assert_eq!(Some(&why.decision), decided.as_ref());
    // One whose note is of another node, as somebody wrote it, is explained as it would be placed now.
    let key = Key::Workload(id("w"));
    let note = "\"placement\":{\"node\":\"n-0\"";
    let other = note.replace("n-0", "n-9");
    let record = cluster.store[&key].0.replace(note, &other);
    assert_ne!(record, cluster.store[&key].0);
    edit(&mut cluster, &key, Some(&record));
    let why = explain(&mut cluster);
    assert_eq!(why.assigned_node, Some(node("n-0")));
    assert_eq!(why.decision.nodes, 2, "{:?}", why.decision);
}
