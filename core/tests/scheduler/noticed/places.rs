//! Of places, tries and what people are told.

use berth_core::io::agent::AgentState;
use berth_core::io::request::{ApplyWorkload, Query, Request, Response};
use berth_core::model::spec::Spec;
use berth_core::model::units::Resources;
use berth_core::model::workload::{
    ActualState, AssignmentRecord, DesiredState, FailureKind, IntentOutcome, IntentRecord,
    WorkloadRecord,
};
use berth_core::{EventType, Key};

use super::nodes::{agent, applies, attempts, calls};
use crate::cluster::{Cluster, NextCommit, apply, id, node, seconds};
use crate::nodes::lose;
use crate::rare::{SIZE, drain, schedulable};
use crate::review::edit;

fn spread(name: &str, tenant: Option<&str>) -> ApplyWorkload {
    let mut wanted = apply(name, 100);
    let spec = wanted.spec.as_mut().unwrap();
    spec.constraints.spread_by = Some("zone".into());
    spec.tenant = tenant.map(|tenant| tenant.parse().unwrap());
    wanted
}

/// `n-0` is the fuller of two nodes, and `s-1`, which is spread by zone, is on `n-1`.
fn one_is_spread() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    let big = cluster.apply("big", 3_000).unwrap().record;
    assert_eq!(big.assigned_node, Some(node("n-0")));
    let first = cluster.apply_with(spread("s-1", None)).unwrap().record;
    assert_eq!(first.assigned_node, Some(node("n-1")));
    cluster
}

/// S5: those of a tenant that are spread alike avoid each other, and nobody else.
#[test]
fn what_is_spread_goes_where_the_fewest_of_its_tenant_are() {
    let mut cluster = one_is_spread();
    let theirs = cluster.apply_with(spread("t-1", Some("t"))).unwrap().record;
    assert_eq!(theirs.assigned_node, Some(node("n-1")));
    let second = cluster.apply_with(spread("s-2", None)).unwrap().record;
    assert_eq!(second.assigned_node, Some(node("n-0")));
}

/// S5: one whose assignment cannot be read counts where its record says that it is.
#[test]
fn what_is_spread_avoids_one_whose_assignment_cannot_be_read() {
    let mut cluster = one_is_spread();
    cluster.pass(seconds(3));
    edit(&mut cluster, &Key::Assignment(id("s-1")), Some("{broken"));
    cluster.restart(20);
    cluster.pass(seconds(3));
    let second = cluster.apply_with(spread("s-2", None)).unwrap().record;
    assert_eq!(second.assigned_node, Some(node("n-0")));
}

/// S21: that a pending workload is in the way of something else now is told.
#[test]
fn another_reason_to_wait_is_told() {
    let mut cluster = Cluster::new();
    cluster.apply("w", 100).unwrap();
    assert_eq!(cluster.count(EventType::WorkloadUnschedulable), 1);
    cluster.register("small", Resources::new(50, 8_192, 100));
    let mut wanted = apply("w", 100);
    wanted.spec.as_mut().unwrap().priority = 5;
    cluster.apply_with(wanted).unwrap();
    assert_eq!(cluster.count(EventType::WorkloadUnschedulable), 2);
}

/// S21: who asks why a workload waits is told of the storage driver that nobody offers.
#[test]
fn a_driver_that_no_node_has_is_named() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let volume = serde_json::json!({
        "name": "data", "size_gb": 1, "mount_path": "/data", "driver": "ceph"
    });
    let spec = serde_json::json!({"image": "example:1", "managed_volumes": [volume]});
    let mut wanted = apply("w", 100);
    wanted.spec.as_mut().unwrap().spec = Spec::Container(serde_json::from_value(spec).unwrap());
    cluster.apply_with(wanted).unwrap();
    let asked = Request::Read(Query::Explain(id("w")));
    let Ok(Response::Explanation(why)) = cluster.ask(asked) else {
        panic!("an explanation");
    };
    let help = &why.would_help;
    assert!(
        help.iter().any(|it| it.contains("storage driver ceph")),
        "{help:?}"
    );
}

/// L2: the pass counts nobody as rescued who has failed for good, cannot be read, or was refused by the
/// store a moment ago.
#[test]
fn the_pass_rescues_nobody_who_must_wait() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    agent(&mut cluster, "n-0").result = AgentState::Failed;
    cluster.apply("failed", 100).unwrap();
    cluster.pass(seconds(200));
    cluster.ask(drain("n-0", 5)).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("failed"), ("Failed".into(), String::new()));
    cluster.apply("unread", 100).unwrap();
    edit(&mut cluster, &Key::Retry(id("unread")), Some("{broken"));
    cluster.register("n-1", SIZE);
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("failed"), ("Failed".into(), String::new()));
    assert_eq!(cluster.core.stats().rescued_by_pass, 0);

    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.ask(schedulable("n-0", false)).unwrap();
    cluster.apply("refused", 100).unwrap();
    cluster.pass(seconds(3));
    let key = Key::Node(node("n-0"));
    let was = cluster.store[&key].0.clone();
    let open = was.replace(r#""schedulable":false"#, r#""schedulable":true"#);
    assert_ne!(was, open);
    cluster.next_commit = NextCommit::Refused;
    edit(&mut cluster, &key, Some(&open));
    cluster.pass(seconds(3));
    assert_eq!(cluster.core.stats().rescued_by_pass, 0);
    cluster.next_commit = NextCommit::Works;
    cluster.pass(seconds(10));
    assert_eq!(cluster.seen("refused").0, "Running");
}

/// S7: what waits for its next try waits for it at its next home too, and what ran since waits for
/// nothing.
#[test]
fn a_workload_whose_nodes_record_is_removed_keeps_its_backoff() {
    for ran in [false, true] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        agent(&mut cluster, "n-0").result = AgentState::Failed;
        cluster.apply("w", 100).unwrap();
        cluster.pass(seconds(4));
        if ran {
            agent(&mut cluster, "n-0").result = AgentState::Running;
        }
        cluster.pass(seconds(20));
        let retry = cluster.get_workload("w").unwrap().record.retry;
        let next = retry.next_retry_at.unwrap();
        assert_eq!(next > cluster.now, !ran, "{retry:?}");
        cluster.register("n-1", SIZE);
        lose(&mut cluster, "n-0");
        let tries = cluster.count(EventType::RetryTriggered);
        edit(&mut cluster, &Key::Node(node("n-0")), None);
        assert_eq!(cluster.seen("w").1, "n-1");
        cluster.pass(seconds(60));
        let told = &cluster.agents[&node("n-1")].told;
        assert!(told.iter().all(|(at, _)| *at >= next), "{told:?}");
        assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
        let tried = cluster.count(EventType::RetryTriggered) - tries;
        assert_eq!(tried, usize::from(!ran));
    }
}

/// S7: a failure that the next leader sees is counted, although there was one before.
#[test]
fn what_fails_while_nobody_leads_has_failed_once_more() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    agent(&mut cluster, "n-0").result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(4));
    agent(&mut cluster, "n-0").result = AgentState::Running;
    cluster.pass(seconds(20));
    assert_eq!(cluster.seen("w").0, "Running");
    assert_eq!(attempts(&mut cluster, "w"), 1);
    let copy = agent(&mut cluster, "n-0").has.get_mut(&id("w")).unwrap();
    copy.1 = AgentState::Failed;
    cluster.restart(20);
    cluster.pass(seconds(2));
    assert_eq!(attempts(&mut cluster, "w"), 2);
}

/// S21: why the last try failed is told until the next one works, wherever that is.
#[test]
fn a_failure_is_told_until_it_runs() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    agent(&mut cluster, "n-0").result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.register("n-1", SIZE);
    cluster.ask(drain("n-0", 600)).unwrap();
    assert_eq!(cluster.seen("w").1, "n-1");
    let failure = |cluster: &mut Cluster| {
        let record = cluster.get_workload("w").unwrap().record;
        record.status.failure
    };
    assert_eq!(failure(&mut cluster), Some(FailureKind::RuntimeError));
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w").0, "Running");
    assert_eq!(failure(&mut cluster), None);
}

/// S1: the intent to stop again what somebody started is closed when that is done.
#[test]
fn an_intent_is_closed_although_the_status_is_what_it_was() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.set("w", DesiredState::Stopped).unwrap();
    cluster.pass(seconds(5));
    let copy = agent(&mut cluster, "n-0").has.get_mut(&id("w")).unwrap();
    copy.1 = AgentState::Running;
    cluster.pass(seconds(20));
    assert_eq!(calls(&cluster, applies).len(), 3);
    let stored = &cluster.store[&Key::Intent(id("w"))].0;
    let intent: IntentRecord = serde_json::from_str(stored).unwrap();
    assert_eq!(intent.outcome, IntentOutcome::Done);
}

/// S4: what leaves its node without another is never said to run.
#[test]
fn nothing_runs_without_a_home() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.ask(drain("n-0", 5)).unwrap();
    cluster.pass(seconds(30));
    assert_eq!(cluster.seen("w"), ("Pending".into(), String::new()));
    let changes = cluster.changes.iter().flat_map(|(_, records)| records);
    let changes = changes.filter(|stored| stored.key == Key::Workload(id("w")));
    for stored in changes {
        let text = stored.value.as_deref().unwrap();
        let record: WorkloadRecord = serde_json::from_str(text).unwrap();
        let runs = record.status.actual_state == ActualState::Running;
        assert!(!runs || record.assigned_node.is_some(), "{text}");
    }
}

/// What was stopped before a drain leaves in silence, and what was to be stopped is told of.
#[test]
fn that_a_drain_stops_something_is_told_of_that_one() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.apply("at-rest", 100).unwrap();
    cluster.pass(seconds(3));
    cluster.set("at-rest", DesiredState::Stopped).unwrap();
    cluster.pass(seconds(5));
    agent(&mut cluster, "n-0").hangs = true;
    cluster.set("w", DesiredState::Stopped).unwrap();
    cluster.ask(drain("n-0", 10)).unwrap();
    cluster.pass(seconds(15));
    for name in ["w", "at-rest"] {
        assert_eq!(cluster.seen(name), ("Stopped".into(), String::new()));
        let stopped = cluster.events.iter().filter(|event| {
            let of_it = event.workload_id == Some(id(name));
            of_it && event.event_type == EventType::WorkloadStopped
        });
        assert_eq!(stopped.count(), 1, "{name}");
    }
}

/// L1: an assignment of which somebody put back only the amounts, or only the revision, follows its
/// record again.
#[test]
fn half_an_earlier_assignment_follows_its_record_again() {
    for amounts in [true, false] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        cluster.apply("w", 1_000).unwrap();
        cluster.pass(seconds(5));
        let key = Key::Assignment(id("w"));
        let stored = |cluster: &Cluster| -> AssignmentRecord {
            serde_json::from_str(&cluster.store[&key].0).unwrap()
        };
        let was = stored(&cluster);
        let mut earlier = was.clone();
        if amounts {
            earlier.resources = Resources::new(500, 64, 1);
        } else {
            earlier.revision_id = "r-earlier".parse().unwrap();
        }
        let text = serde_json::to_string(&earlier).unwrap();
        edit(&mut cluster, &key, Some(&text));
        cluster.pass(seconds(20));
        let is = stored(&cluster);
        assert_eq!(is.resources, was.resources);
        assert_eq!(is.revision_id, was.revision_id);
        assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    }
}

/// What is on its way to another state is shown as that.
#[test]
fn what_is_not_yet_as_it_is_wanted_is_updating() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(3));
    agent(&mut cluster, "n-0").hangs = true;
    cluster.set("w", DesiredState::Stopped).unwrap();
    assert_eq!(cluster.seen("w").0, "Updating");
    cluster.go_on("n-0");
    cluster.pass(seconds(60));
    assert_eq!(cluster.seen("w").0, "Stopped");
    agent(&mut cluster, "n-0").hangs = true;
    let key = Key::Workload(id("w"));
    let was = cluster.store[&key].0.clone();
    let runs = was.replace(
        r#""desired_state":"Stopped""#,
        r#""desired_state":"Running""#,
    );
    assert_ne!(was, runs);
    edit(&mut cluster, &key, Some(&runs));
    assert_eq!(cluster.seen("w").0, "Updating");
}
