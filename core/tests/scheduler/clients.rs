//! What clients ask for, and what becomes of it when agents do well or badly.

use berth_core::EventType;
use berth_core::io::agent::{AgentOp, AgentState};
use berth_core::io::request::{
    ApplyWorkload, Query, Request, RequestError, Response, SuggestedAction, Suggestion,
};
use berth_core::io::{Input, Output, Stored};
use berth_core::model::units::Resources;
use berth_core::model::workload::{ActualState, DesiredState, FailureKind};
use berth_core::{Config, Key, StoreRevision};

use crate::cluster::{Cluster, apply, id, node, seconds};

#[test]
fn a_workload_runs_in_two_transactions() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.pass(seconds(6));
    let before = cluster.commits;
    let view = cluster.apply("w", 100).unwrap();
    assert_eq!(view.record.assigned_node, Some(node("n-0")));
    cluster.pass(seconds(1));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert_eq!(
        cluster.commits - before,
        2,
        "accepted with its intent, then confirmed"
    );
    let told = &cluster.agents[&node("n-0")].told;
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_hundred_at_once_never_overcommit_and_the_rest_is_explained_and_placed_later() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    for at in 0..100 {
        cluster.apply(&format!("w-{at}"), 500).unwrap();
    }
    cluster.pass(seconds(2));
    for name in ["n-0", "n-1"] {
        let node = cluster.get_node(name).unwrap();
        assert_eq!(node.record.resources.cpu_allocated.0, 4_000);
    }
    let pending = cluster.get_workload("w-99").unwrap();
    assert_eq!(pending.record.status.actual_state, ActualState::Pending);
    let reason = &pending.record.status.failure_reason;
    assert!(
        reason.contains("no suitable node") && reason.contains("2 refused by cpu"),
        "{reason}"
    );
    let Ok(Response::Explanation(why)) = cluster.ask(Request::Read(Query::Explain(id("w-99"))))
    else {
        panic!("an explanation");
    };
    assert_eq!((why.nearest.len(), why.would_help.is_empty()), (2, false));
    // Room appears; nobody asks for anything.
    cluster.delete("w-0").unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("w-16").0, "Running", "the oldest that waited");
    assert_eq!(cluster.seen("w-17").0, "Pending");
    assert_eq!(cluster.core.stats().rescued_by_pass, 0);
    cluster.register("n-2", Resources::new(1_000, 8_192, 100));
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("w-18"), ("Running".into(), "n-2".into()));
}

#[test]
fn an_idle_cluster_writes_nothing_and_tells_agents_nothing() {
    let mut cluster = Cluster::new();
    cluster.nodes(3);
    for at in 0..50 {
        cluster.apply(&format!("w-{at}"), 50).unwrap();
    }
    cluster.pass(seconds(30));
    let before = (cluster.commits, told(&cluster));
    cluster.pass(seconds(200));
    assert_eq!((cluster.commits, told(&cluster)), before);
}

fn told(cluster: &Cluster) -> usize {
    cluster.agents.values().map(|agent| agent.told.len()).sum()
}

#[test]
fn the_same_again_changes_nothing_and_a_new_spec_makes_a_new_revision() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let first = cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(1));
    let before = cluster.commits;
    let again = cluster.apply("w", 100).unwrap();
    assert_eq!(again.record.revision_id, first.record.revision_id);
    assert_eq!(cluster.commits, before);
    let other = cluster.apply("w", 200).unwrap();
    assert_ne!(other.record.revision_id, first.record.revision_id);
    assert_eq!(cluster.seen("w").0, "Updating");
    cluster.pass(seconds(1));
    assert_eq!(cluster.seen("w").0, "Running");
    let reserved = cluster
        .get_node("n-0")
        .unwrap()
        .record
        .resources
        .cpu_allocated;
    assert_eq!(reserved.0, 200);
}

/// Who leads knows what there is; who does not lead says so instead.
#[test]
fn a_leader_denies_what_it_does_not_have() {
    let mut cluster = Cluster::new();
    for query in [Query::Workload(id("w")), Query::Explain(id("w"))] {
        let denied = cluster.ask(Request::Read(query));
        assert!(matches!(denied, Err(RequestError::NoSuchWorkload(_))));
    }
    let denied = cluster.ask(Request::Read(Query::Node(node("n-0"))));
    assert!(matches!(denied, Err(RequestError::NoSuchNode(_))));
}

/// What was just created is known to be nowhere: it is applied, or left alone, without a question.
#[test]
fn what_is_created_is_told_of_and_nobody_is_asked_about_it() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.pass(seconds(6));
    let before = cluster.outputs.len();
    cluster.apply("w", 100).unwrap();
    let stopped = ApplyWorkload {
        desired_state: Some(DesiredState::Stopped),
        ..apply("stopped", 100)
    };
    let view = cluster.apply_with(stopped).unwrap();
    assert_eq!(view.record.status.actual_state, ActualState::Stopped);
    assert_eq!(cluster.count(EventType::WorkloadCreated), 2);
    let calls = cluster.outputs[before..].iter().filter_map(|o| match o {
        Output::Call(call) => Some(&call.op),
        _ => None,
    });
    let first = calls.take(1).collect::<Vec<_>>();
    assert!(matches!(first[..], [AgentOp::Apply { .. }]), "{first:?}");
    cluster.pass(seconds(60));
    let asked = cluster.outputs[before..].iter().any(
        |output| matches!(output, Output::Call(call) if matches!(call.op, AgentOp::Status { .. })),
    );
    assert!(!asked, "what happened is seen in the listings");
}

#[test]
fn a_label_that_comes_back_with_another_spec_gets_a_suffix() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let mut labelled = |label: &str, cpu| {
        let revision = Some(label.parse().unwrap());
        let view = cluster
            .apply_with(ApplyWorkload {
                revision,
                ..apply("w", cpu)
            })
            .unwrap();
        cluster.pass(seconds(1));
        view.record.revision_id.to_string()
    };
    assert_eq!(labelled("v1", 100), "v1");
    assert_eq!(labelled("v2", 200), "v2");
    let third = labelled("v1", 300);
    assert!(third.starts_with("v1-"), "{third}");
    assert_eq!(labelled("v1", 300), third);
    assert_eq!(labelled("v4", 400), "v4");
}

#[test]
fn stop_start_and_delete() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    assert!(matches!(
        cluster.set("w", DesiredState::Stopped),
        Err(RequestError::NoSuchWorkload(_))
    ));
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(1));
    cluster.set("w", DesiredState::Stopped).unwrap();
    cluster.pass(seconds(1));
    assert_eq!(cluster.seen("w").0, "Stopped");
    cluster.set("w", DesiredState::Running).unwrap();
    cluster.pass(seconds(1));
    assert_eq!(cluster.seen("w").0, "Running");
    cluster.delete("w").unwrap();
    cluster.pass(seconds(1));
    assert_eq!(cluster.seen("w").0, "Gone");
    assert!(cluster.agents[&node("n-0")].has.is_empty());
    let left: Vec<_> = cluster
        .store
        .keys()
        .filter(|key| !matches!(key, Key::Event(_)))
        .collect();
    assert_eq!(left, [&Key::Node(node("n-0"))]);
    let start = apply("s", 100);
    cluster
        .apply_with(ApplyWorkload {
            desired_state: Some(DesiredState::Stopped),
            ..start
        })
        .unwrap();
    assert_eq!(cluster.seen("s"), ("Stopped".into(), String::new()));
    assert!(cluster.delete("nobody").is_err());
}

#[test]
fn a_create_during_a_deletion_begins_after_it() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(1));
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = false;
    cluster.delete("w").unwrap();
    assert_eq!(cluster.seen("w").0, "Deleting");
    let refused = cluster.set("w", DesiredState::Running);
    assert!(
        matches!(refused, Err(RequestError::Refused(_))),
        "{refused:?}"
    );
    cluster.apply("w", 300).unwrap();
    cluster.agents.get_mut(&node("n-0")).unwrap().reachable = true;
    cluster.pass(seconds(90));
    assert_eq!(cluster.seen("w").0, "Running");
}

/// What another version of the scheduler writes beside our own fields is no news of a workload.
#[test]
fn a_failure_is_counted_once_whoever_writes_into_the_record() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(200));
    assert_eq!(cluster.count(EventType::RetriesExhausted), 1);
    let key = Key::Workload(id("w"));
    let (value, _) = cluster.store[&key].clone();
    let value = value.replacen('{', "{\"later\":7,", 1);
    cluster.revision += 1;
    let at = cluster.revision;
    cluster.store.insert(key.clone(), (value.clone(), at));
    let stored = Stored {
        key: key.clone(),
        value: Some(value.into()),
        mod_revision: StoreRevision(at),
    };
    cluster.feed(Input::Changed {
        revision: StoreRevision(at),
        records: vec![stored],
    });
    cluster.pass(seconds(200));
    let retry = cluster.get_workload("w").unwrap().record.retry;
    assert_eq!((retry.attempts, retry.exhausted), (5, true));
    assert_eq!(cluster.count(EventType::RetriesExhausted), 1);
    assert!(cluster.store[&key].0.contains("later"));
}

#[test]
fn failures_follow_the_retry_law_and_a_retry_begins_anew() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(200));
    let view = cluster.get_workload("w").unwrap();
    assert_eq!(view.record.status.actual_state, ActualState::Failed);
    assert_eq!(
        (view.record.retry.attempts, view.record.retry.max_attempts),
        (5, 5)
    );
    let applies: Vec<_> = cluster.agents[&node("n-0")]
        .told
        .iter()
        .filter(|(_, what)| what.starts_with("apply"))
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(applies.len(), 5);
    for (pair, wait) in applies.windows(2).zip([5, 10, 20, 40]) {
        let gap = pair[1].since(pair[0]);
        assert!(
            gap >= seconds(wait) && gap < seconds(wait + 3),
            "{gap:?}, expected {wait} s"
        );
    }
    assert_eq!(cluster.count(EventType::WorkloadFailed), 5);
    assert_eq!(cluster.count(EventType::RetriesExhausted), 1);
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Running;
    cluster.pass(seconds(300));
    assert_eq!(
        cluster.seen("w").0,
        "Failed",
        "it stays so until somebody asks"
    );
    let Ok(Response::Workload(_)) = cluster.ask(Request::Retry { workload: id("w") }) else {
        panic!("accepted");
    };
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("w").0, "Running");
    cluster.pass(seconds(310));
    let retry = cluster.get_workload("w").unwrap().record.retry;
    assert_eq!((retry.attempts, retry.exhausted), (0, false));
    assert!(!cluster.store.contains_key(&Key::Retry(id("w"))));
}

#[test]
fn what_cannot_heal_ends_at_once_and_a_new_revision_begins_anew() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.result, agent.failure) = (AgentState::Failed, FailureKind::ImageNotFound);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("w").0, "Failed");
    cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Running;
    cluster.apply("w", 200).unwrap();
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("w").0, "Running");
}

#[test]
fn a_missing_runtime_sends_the_workload_elsewhere() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    let agent = cluster.agents.get_mut(&node("n-0")).unwrap();
    (agent.result, agent.failure) = (AgentState::Failed, FailureKind::RuntimeUnavailable);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(5));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-1".into()));
    assert!(
        cluster.agents[&node("n-0")].has.is_empty(),
        "the copy there is deleted"
    );
    assert_eq!(cluster.get_workload("w").unwrap().record.retry.attempts, 0);
}

#[test]
fn what_vanishes_is_applied_again_at_growing_intervals() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(2));
    for _ in 0..20 {
        cluster.agents.get_mut(&node("n-0")).unwrap().has.clear();
        cluster.heartbeat(&node("n-0"));
        cluster.pass(seconds(5));
    }
    let applies = cluster.agents[&node("n-0")].told.len();
    assert!((4..=8).contains(&applies), "{applies} applies in 100 s");
    assert!(cluster.count(EventType::DriftDetected) >= 3);
}

#[test]
fn a_stale_match_is_refused_and_a_dry_run_writes_nothing() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    let dry = ApplyWorkload {
        dry_run: true,
        ..apply("w", 100)
    };
    let before = (cluster.store.clone(), cluster.outputs.len());
    let foretold = cluster.apply_with(dry).unwrap();
    assert_eq!(foretold.record.assigned_node, Some(node("n-0")));
    assert_eq!(
        (&cluster.store, cluster.outputs.len()),
        (&before.0, before.1 + 1)
    );
    let none = ApplyWorkload {
        if_match: Some(StoreRevision(7)),
        ..apply("w", 100)
    };
    assert!(matches!(
        cluster.apply_with(none),
        Err(RequestError::Stale { .. })
    ));
    let view = cluster.apply("w", 100).unwrap();
    assert_eq!(view.record.revision_id, foretold.record.revision_id);
    let delete = Request::Delete {
        workload: id("w"),
        if_match: Some(StoreRevision(1)),
    };
    assert!(matches!(
        cluster.ask(delete),
        Err(RequestError::Stale { .. })
    ));
    let exists = ApplyWorkload {
        if_match: Some(StoreRevision(0)),
        ..apply("w", 100)
    };
    assert!(matches!(
        cluster.apply_with(exists),
        Err(RequestError::Stale { .. })
    ));
}

#[test]
fn suggestions_are_idempotent_and_retries_have_a_cooldown() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    cluster.pass(seconds(2));
    let suggest = |action| {
        Request::Suggest(Suggestion {
            policy: "p".into(),
            workload: id("w"),
            action,
            reason: String::new(),
        })
    };
    let mut accepted = |action| match cluster.ask(suggest(action)) {
        Ok(Response::Suggestion { accepted, .. }) => accepted,
        other => panic!("another answer: {other:?}"),
    };
    let stop = SuggestedAction::SetDesiredState(DesiredState::Stopped);
    for _ in 0..10 {
        assert!(accepted(stop));
    }
    assert!(!accepted(SuggestedAction::Scale));
    assert!(accepted(SuggestedAction::SetDesiredState(
        DesiredState::Running
    )));
    assert!(!accepted(SuggestedAction::Retry), "changed a moment ago");
    assert!(accepted(SuggestedAction::Delete));
    cluster.pass(seconds(3));
    assert_eq!(cluster.count(EventType::WorkloadUpdated), 2);
    assert_eq!(cluster.seen("w").0, "Gone");
}

/// A retry may be suggested again when the cooldown is over, and not a moment before.
#[test]
fn a_cooldown_has_an_end() {
    let mut cluster = Cluster::new();
    cluster.nodes(1);
    cluster.apply("w", 100).unwrap();
    let mut retry = |wait| {
        cluster.pass(wait);
        let suggestion = Suggestion {
            policy: "p".into(),
            workload: id("w"),
            action: SuggestedAction::Retry,
            reason: String::new(),
        };
        match cluster.ask(Request::Suggest(suggestion)) {
            Ok(Response::Suggestion { accepted, .. }) => accepted,
            other => panic!("another answer: {other:?}"),
        }
    };
    let cooldown = Config::default().suggestion_cooldown;
    assert!(retry(seconds(1)));
    assert!(!retry(cooldown - seconds(1)));
    assert!(retry(seconds(1)));
}

/// Fewer tries than were used up: it has had its last. More: it goes on.
#[test]
fn the_number_of_tries_may_change_between_them() {
    for (max, attempts, exhausted) in [(9, 2, false), (3, 2, false), (2, 2, true), (1, 1, true)] {
        let mut cluster = Cluster::new();
        cluster.nodes(1);
        cluster.agents.get_mut(&node("n-0")).unwrap().result = AgentState::Failed;
        cluster.apply("w", 100).unwrap();
        cluster.pass(seconds(8));
        assert_eq!(cluster.get_workload("w").unwrap().record.retry.attempts, 2);
        let mut change = apply("w", 100);
        change.spec.as_mut().unwrap().max_attempts = Some(max);
        let retry = cluster.apply_with(change).unwrap().record.retry;
        assert_eq!((retry.max_attempts, retry.attempts), (max, attempts));
        assert_eq!(retry.exhausted, exhausted, "{max}");
    }
}

#[test]
fn an_update_that_does_not_fit_moves_after_the_old_copy_is_gone() {
    let mut cluster = Cluster::new();
    cluster.nodes(2);
    cluster.apply("big", 3_000).unwrap();
    cluster.apply("w", 1_000).unwrap();
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("w").1, "n-1");
    cluster.apply("other", 2_500).unwrap();
    cluster.pass(seconds(2));
    assert_eq!(cluster.seen("other").1, "n-1");
    cluster.delete("big").unwrap();
    cluster.pass(seconds(2));
    cluster.apply("w", 2_000).unwrap();
    cluster.pass(seconds(3));
    assert_eq!(cluster.seen("w"), ("Running".into(), "n-0".into()));
    assert!(!cluster.agents[&node("n-1")].has.contains_key(&id("w")));
}
