//! `berth.v1` against a scripted core.

use std::time::Duration;

use berth_core::io::request::{Query, Request as Ask, RequestError, Response as Answer};
use berth_core::io::view::{ClusterSummary, EventPage, Explanation, SchedulerStatus};
use berth_core::model::units::Resources;
use berth_core::placement::{Filter, NearMiss, PlacementNote, Refusal};
use berth_core::{Epoch, StoreRevision, Timestamp};
use berth_proto::berth::v1::{self as wire, berth_server::Berth, watch_events_response::Item};
use futures::StreamExt;
use tonic::{Code, Request};

use super::BerthService;
use crate::api::ApiLimits;
use crate::testing::{Answer as Scripted, Script, event, fresh, node, workload};

fn service(script: &Script) -> BerthService {
    BerthService::new(script.api())
}

fn explanation() -> Explanation {
    Explanation {
        workload: "web".parse().unwrap(),
        assigned_node: None,
        summary: "no node fits".into(),
        decision: PlacementNote {
            node: None,
            score_ppm: None,
            nodes: 5,
            examined: 5,
            most_available: Resources::new(500, 0, 0),
            candidates: 0,
            refused: [
                (Filter::NotDraining, 1),
                (Filter::Schedulable, 2),
                (Filter::Cpu, 2),
            ]
            .into(),
            requested: Resources::new(2000, 64, 0),
            at_revision: StoreRevision(44),
            decided_at: Timestamp::from_millis(1000),
        },
        nearest: vec![NearMiss {
            node: "n-1".parse().unwrap(),
            refusals: vec![
                Refusal::Cpu {
                    requested: 2000,
                    available: 500,
                    total: 4000,
                },
                Refusal::Labels {
                    missing: vec!["zone=a".into()],
                },
            ],
        }],
        would_help: vec!["free 1500 millicores".into()],
        freshness: fresh(50),
    }
}

#[tokio::test]
async fn an_explanation_counts_by_filter_and_says_what_is_missing() {
    let script = Script::new(|request| match request {
        Ask::Read(Query::Explain(_)) => Ok(Answer::Explanation(Box::new(explanation()))),
        _ => {
            let mut view = workload("web");
            view.record.assigned_node = None;
            Ok(Answer::Workload(Box::new(view)))
        }
    });
    let request = wire::ExplainWorkloadRequest {
        workload_id: "web".into(),
    };
    let answer = service(&script)
        .explain_workload(Request::new(request))
        .await
        .unwrap();
    assert_eq!(answer.metadata().get("berth-revision").unwrap(), "50");
    let told = answer.into_inner().explanation.unwrap();
    assert_eq!(told.status(), wire::PlacementStatus::Pending);
    assert_eq!((told.nodes_considered, told.store_revision), (5, 44));
    let refusals: Vec<_> = told
        .refusals
        .iter()
        .map(|r| (r.filter(), r.nodes))
        .collect();
    // Cordoned and draining are one filter of this contract.
    let expected = [
        (wire::PlacementFilter::Schedulable, 3),
        (wire::PlacementFilter::Cpu, 2),
    ];
    assert_eq!(refusals, expected);
    let miss = &told.nearest_misses[0];
    assert_eq!(miss.missing.as_ref().unwrap().cpu_millicores, 1500);
    assert_eq!(miss.missing_labels["zone"], "a");
    assert_eq!(told.required_changes[0].summary, "free 1500 millicores");
}

#[tokio::test]
async fn operators_change_nodes() {
    let script = Script::new(|request| match request {
        Ask::Purge { .. } => Ok(Answer::Purged),
        _ => {
            let mut view = node("n-1");
            view.record.schedulable = false;
            view.tombstones = 4;
            Ok(Answer::Node(Box::new(view)))
        }
    });
    let service = service(&script);
    let (node_id, reason) = ("n-1".to_owned(), "disk swap".to_owned());
    let request = wire::CordonNodeRequest {
        node_id: node_id.clone(),
        reason: reason.clone(),
    };
    let cordoned = service
        .cordon_node(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert!(cordoned.node.unwrap().cordoned);
    let request = wire::DrainNodeRequest {
        node_id: node_id.clone(),
        deadline_seconds: 0,
        parallelism: 7,
        reason: reason.clone(),
    };
    assert!(service.drain_node(Request::new(request)).await.is_ok());
    let request = wire::FenceNodeRequest {
        node_id: node_id.clone(),
        reason,
    };
    let fenced = service
        .fence_node(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(fenced.workloads_released, 1);
    let request = wire::PurgeNodeRequest {
        node_id: node_id.clone(),
    };
    let purged = service
        .purge_node(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(purged.confirmations_dropped, 4);
    let id = || node_id.parse().unwrap();
    let changes: Vec<_> = script
        .seen()
        .into_iter()
        .filter(|ask| !matches!(ask, Ask::Read(_)))
        .collect();
    let deadline = Duration::from_secs(600);
    assert_eq!(
        changes,
        [
            Ask::SetSchedulable {
                node: id(),
                schedulable: false
            },
            Ask::Drain {
                node: id(),
                deadline,
                parallelism: 7
            },
            Ask::Fence { node: id() },
            Ask::Purge { node: id() },
        ]
    );
}

#[tokio::test]
async fn an_uncordon_ends_a_drain_too() {
    let script = Script::new(|request| {
        let mut view = serde_json::to_value(node("n-1").record).unwrap();
        if matches!(request, Ask::Read(_)) {
            view["drain"] = serde_json::json!({"started_at": "2026-02-17T00:00:00.000Z",
                "deadline": "2026-02-17T00:10:00.000Z", "parallelism": 2});
        }
        let record = serde_json::from_value(view).unwrap();
        Ok(Answer::Node(Box::new(berth_core::io::view::NodeView {
            record,
            ..node("n-1")
        })))
    });
    let request = wire::UncordonNodeRequest {
        node_id: "n-1".into(),
    };
    assert!(
        service(&script)
            .uncordon_node(Request::new(request))
            .await
            .is_ok()
    );
    let node = || "n-1".parse().unwrap();
    let expected = [
        Ask::CancelDrain { node: node() },
        Ask::SetSchedulable {
            node: node(),
            schedulable: true,
        },
    ];
    assert_eq!(script.seen()[1..], expected);
}

#[tokio::test]
async fn refusals_are_codes() {
    let unavailable = RequestError::Unavailable {
        reason: "no leader".into(),
        retry_after: Duration::from_secs(2),
        effect: Default::default(),
    };
    for (error, code) in [
        (
            RequestError::NoSuchNode("n-1".parse().unwrap()),
            Code::NotFound,
        ),
        (
            RequestError::Refused("it is ready".into()),
            Code::FailedPrecondition,
        ),
        (
            RequestError::StoreRefused("full".into()),
            Code::FailedPrecondition,
        ),
        (
            RequestError::invalid("parallelism", "is 0"),
            Code::InvalidArgument,
        ),
        (RequestError::Busy("n-1".into()), Code::Unavailable),
        (unavailable, Code::Unavailable),
    ] {
        let script = Script::refusing(error);
        let request = wire::CordonNodeRequest {
            node_id: "n-1".into(),
            ..Default::default()
        };
        let status = service(&script)
            .cordon_node(Request::new(request))
            .await
            .unwrap_err();
        assert_eq!(status.code(), code);
        assert_eq!(
            status.metadata().contains_key("retry-after-ms"),
            code == Code::Unavailable
        );
    }
    let service = service(&Script::silent());
    let request = wire::CordonNodeRequest {
        node_id: "N 1".into(),
        ..Default::default()
    };
    let status = service
        .cordon_node(Request::new(request))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("node_id: "));
    let request = wire::WatchEventsRequest {
        origin: 99,
        ..Default::default()
    };
    let status = service
        .watch_events(Request::new(request))
        .await
        .err()
        .unwrap();
    assert!(status.code() == Code::InvalidArgument && status.message().starts_with("origin"));
    let request = wire::WatchEventsRequest {
        after_event_id: "zzz".into(),
        ..Default::default()
    };
    let watch = service.watch_events(Request::new(request)).await;
    let status = watch.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("after_event_id: "));
}

fn two_events(request: &Ask) -> Scripted {
    let Ask::Read(Query::Events { after, .. }) = request else {
        panic!("{request:?}")
    };
    let newer = |n: &u64| after.as_ref().is_none_or(|after| event(*n).id > *after);
    let events = (1..3).filter(newer).map(event).collect();
    Ok(Answer::Events(EventPage {
        events,
        gap: false,
        freshness: fresh(50),
    }))
}

#[tokio::test]
async fn a_watch_resumes_and_goes_on() {
    let script = Script::new(two_events);
    let api = script.api();
    let service = BerthService::new(api.clone());
    let request = wire::WatchEventsRequest {
        after_event_id: event(1).id.to_string(),
        ..Default::default()
    };
    let mut stream = service
        .watch_events(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    script.emit(event(2));
    script.emit(event(3));
    for n in [2, 3] {
        let item = stream.next().await.unwrap().unwrap().item.unwrap();
        let Item::Event(told) = item else {
            panic!("{item:?}")
        };
        assert_eq!(
            (told.id, told.message),
            (event(n).id.to_string(), format!("number {n}"))
        );
        assert_eq!(
            (told.r#type.as_str(), told.workload_id.as_str()),
            ("WorkloadCreated", "web")
        );
    }
    api.shutdown().cancel();
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn watchers_are_bounded_and_give_their_place_back() {
    let script = Script::new(two_events);
    let limits = ApiLimits {
        watchers_max: 1,
        ..ApiLimits::default()
    };
    let service = BerthService::new(script.api_with(limits));
    let watch = || service.watch_events(Request::new(wire::WatchEventsRequest::default()));
    let first = watch().await.unwrap();
    assert_eq!(watch().await.err().unwrap().code(), Code::Unavailable);
    drop(first);
    assert!(watch().await.is_ok());
}

#[tokio::test]
async fn the_status_of_this_replica() {
    let script = Script::new(|request| match request {
        Ask::Read(Query::Summary) => Ok(Answer::Summary(ClusterSummary {
            total_nodes: 3,
            pending_workloads: 5,
            freshness: fresh(50),
            ..ClusterSummary::default()
        })),
        _ => Ok(Answer::Status(Box::new(SchedulerStatus {
            leading: true,
            epoch: Epoch(7),
            deposed: None,
            eviction_paused: true,
            revision: StoreRevision(50),
            pending: 2,
            commits_in_flight: 0,
            calls_in_flight: 1,
            calls_queued: 0,
            quarantined: 0,
        }))),
    });
    let request = Request::new(wire::GetStatusRequest {});
    let told = service(&script)
        .get_status(request)
        .await
        .unwrap()
        .into_inner();
    assert!(told.is_leader && told.eviction_paused && !told.eviction_paused_reason.is_empty());
    assert_eq!((told.server_id.as_str(), told.leader_epoch), ("test-1", 7));
    assert_eq!(told.store_state(), wire::StoreState::Available);
    let counts = told.counts.unwrap();
    assert_eq!(
        (
            counts.nodes,
            counts.workloads_pending,
            counts.workloads_in_progress
        ),
        (3, 2, 3)
    );
}
