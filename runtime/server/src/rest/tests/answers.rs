//! What the core says, as codes, headers and documents.

use std::time::Duration;

use axum::http::StatusCode;
use berth_core::StoreRevision;
use berth_core::io::request::{Freshness, Query, Request as Ask, RequestError, Response as Answer};
use berth_core::model::workload::DesiredState;
use berth_driver::handle::DriverHealth;
use serde_json::{Value, json};

use super::*;
use crate::api::ApiLimits;
use crate::testing::{Script, node_answer, workload, workload_answer};

#[tokio::test]
async fn refusals_of_the_core_become_codes() {
    let web = || "web".parse().unwrap();
    let unavailable = RequestError::Unavailable {
        reason: "no leader".into(),
        retry_after: Duration::from_millis(1200),
        effect: Default::default(),
    };
    let not_known = RequestError::Unavailable {
        reason: "leadership was lost".into(),
        retry_after: Duration::from_millis(1200),
        effect: berth_core::io::request::Effect::Unknown,
    };
    let stale = RequestError::Stale {
        expected: StoreRevision(1),
        current: StoreRevision(2),
    };
    for (error, status, kind, retry) in [
        (RequestError::NoSuchWorkload(web()), 404, "not-found", ""),
        (
            RequestError::NoSuchNode("n".parse().unwrap()),
            404,
            "not-found",
            "",
        ),
        (
            RequestError::Refused("it is ready".into()),
            409,
            "refused",
            "",
        ),
        (stale, 412, "stale", ""),
        (
            RequestError::invalid("spec", "is wrong"),
            422,
            "invalid-field",
            "",
        ),
        (RequestError::Busy("web".into()), 429, "busy", "1"),
        (unavailable, 503, "unavailable", "2"),
        (not_known, 503, "outcome-unknown", ""),
        (
            RequestError::StoreRefused("too large".into()),
            507,
            "store-refused",
            "",
        ),
    ] {
        let script = Script::refusing(error);
        for line in [
            "POST /workloads",
            "PUT /workloads/web",
            "DELETE /workloads/web",
            "GET /workloads/web",
            "GET /workloads",
            "POST /workloads/web/retry",
            "POST /workloads/web/start",
            "POST /workloads/web/stop",
            "GET /workloads/web/explain",
            "GET /nodes",
            "GET /nodes/n",
            "POST /nodes/n/cordon",
            "POST /nodes/n/uncordon",
            "POST /nodes/n/drain",
            "POST /nodes/n/fence",
            "DELETE /nodes/n",
            "GET /events",
            "GET /summary",
            "GET /status",
        ] {
            let writes = line.starts_with("PUT") || line == "POST /workloads";
            let body = if writes {
                manifest().to_string()
            } else {
                String::new()
            };
            let reply = call(&script, line, &body).await;
            assert_eq!(reply.status, status, "{line}: {}", reply.body);
            assert_eq!(reply.body["type"], format!("urn:berth:problem:{kind}"));
            assert_eq!(reply.header("retry-after"), retry);
        }
    }
}

#[tokio::test]
async fn writes_reach_the_core_as_they_were_meant() {
    let script = Script::new(|_| workload_answer("web"));
    let body = manifest().to_string();
    let if_match = [JSON, ("if-match", "\"41\"")];
    let reply = send(
        &script,
        request("POST", "/workloads?dry_run=true", &if_match, &body),
    )
    .await;
    assert_eq!((reply.status, reply.header("etag")), (200, "\"42\""));
    assert_eq!(reply.body["id"], "web");
    let create = [JSON, ("if-none-match", "*")];
    let reply = send(&script, request("POST", "/workloads", &create, &body)).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (201, "/workloads/web")
    );
    let without_id = "{ \"type\": \"container\", \"spec\": {\"image\": \"alpine\"}}";
    assert_eq!(
        call(&script, "PUT /workloads/web", without_id).await.status,
        200
    );
    assert_eq!(call(&script, "PUT /workloads/web", &body).await.status, 200);
    assert_eq!(
        call(&script, "POST /workloads/web/stop", "{}").await.status,
        200
    );
    let reply = send(
        &script,
        request("DELETE", "/workloads/web", &[("if-match", "\"9\"")], ""),
    )
    .await;
    assert_eq!(reply.status, 202);
    let seen = script.seen();
    let applies: Vec<_> = seen
        .iter()
        .filter_map(|request| match request {
            Ask::Apply(apply) => Some((
                apply.workload.as_str(),
                apply.spec.is_some(),
                apply.desired_state,
                apply.if_match.map(|revision| revision.0),
                apply.dry_run,
            )),
            _ => None,
        })
        .collect();
    assert_eq!(
        applies,
        [
            ("web", true, None, Some(41), true),
            ("web", true, None, Some(0), false),
            ("web", true, None, None, false),
            ("web", true, None, None, false),
            ("web", false, Some(DesiredState::Stopped), None, false),
        ]
    );
    let deleted = Ask::Delete {
        workload: "web".parse().unwrap(),
        if_match: Some(StoreRevision(9)),
    };
    assert_eq!(seen.last(), Some(&deleted));
    let other = call(&Script::silent(), "PUT /workloads/other", &body).await;
    assert_eq!((other.status, other.field()), (422, "id"));
    let bad = request("POST", "/workloads", &[JSON, ("if-match", "42")], &body);
    assert_eq!(send(&Script::silent(), bad).await.field(), "If-Match");
}

#[tokio::test]
async fn pages_link_to_the_next() {
    let script = Script::new(|request| {
        let Ask::Read(Query::Workloads(filter)) = request else {
            panic!("{request:?}")
        };
        Ok(Answer::Workloads {
            workloads: vec![workload("a"), workload("b")],
            more: filter.after.is_none(),
            freshness: Freshness {
                revision: StoreRevision(60),
                stale: true,
                age_ms: 40,
            },
        })
    });
    let line = "GET /workloads?limit=2&status=running&tenant=t-1";
    let reply = call(&script, line, "").await;
    assert_eq!(
        reply.header("link"),
        "</workloads?after=b&limit=2&status=Running&tenant=t-1>; rel=\"next\""
    );
    assert_eq!(
        (reply.header("berth-stale"), reply.header("berth-revision")),
        ("true", "60")
    );
    let body = &reply.body;
    assert_eq!(
        (
            &body["more"],
            &body["next"],
            &body["revision"],
            &body["stale"]
        ),
        (&json!(true), &json!("b"), &json!(60), &json!(true))
    );
    assert_eq!(body["items"][1]["id"], "b");
    let last = call(&script, "GET /workloads?after=b", "").await;
    assert_eq!(
        (last.header("link"), &last.body["next"]),
        ("", &Value::Null)
    );
}

#[tokio::test]
async fn a_reader_that_has_the_record_gets_no_body() {
    let script = Script::new(|_| workload_answer("web"));
    let tagged = |tag| request("GET", "/workloads/web", &[("if-none-match", tag)], "");
    assert_eq!(send(&script, tagged("\"42\"")).await.status, 304);
    let reply = send(&script, tagged("\"41\"")).await;
    assert_eq!((reply.status, reply.header("berth-revision")), (200, "50"));
}

#[tokio::test]
async fn operations_on_nodes() {
    let script = Script::new(|request| match request {
        Ask::Purge { .. } => Ok(Answer::Purged),
        _ => node_answer("n"),
    });
    assert_eq!(call(&script, "POST /nodes/n/cordon", "").await.status, 200);
    let drain = "{\"deadline_seconds\": 5, \"parallelism\": 3}";
    assert_eq!(
        call(&script, "POST /nodes/n/drain", drain).await.status,
        200
    );
    assert_eq!(call(&script, "POST /nodes/n/drain", "").await.status, 200);
    assert_eq!(call(&script, "DELETE /nodes/n", "").await.status, 204);
    let node = || "n".parse().unwrap();
    assert_eq!(
        script.seen(),
        [
            Ask::SetSchedulable {
                node: node(),
                schedulable: false
            },
            Ask::Drain {
                node: node(),
                deadline: Duration::from_secs(5),
                parallelism: 3
            },
            Ask::Drain {
                node: node(),
                deadline: Duration::from_secs(600),
                parallelism: 2
            },
            Ask::Purge { node: node() },
        ]
    );
    for (body, field) in [
        ("{\"parallelism\": 0}", "parallelism"),
        ("{\"parallelism\": -1}", "parallelism"),
        ("{\"deadline\": \"5m\"}", "deadline"),
        ("[1]", "body"),
    ] {
        let reply = call(&Script::silent(), "POST /nodes/n/drain", body).await;
        assert_eq!(
            (reply.status, reply.field()),
            (422, field),
            "{body}: {}",
            reply.body
        );
    }
}

#[tokio::test]
async fn probes_tell_how_things_are() {
    let script = Script::silent();
    for (line, status) in [
        ("GET /health", 200),
        ("GET /livez", 200),
        ("GET /readyz", 200),
    ] {
        assert_eq!(call(&script, line, "").await.status, status);
    }
    script.set_health(DriverHealth {
        store_error: "etcd does not answer".into(),
        ..DriverHealth::default()
    });
    let health = call(&script, "GET /health", "").await;
    assert_eq!(health.status, 200);
    assert_eq!(
        (&health.body["status"], &health.body["mode"]),
        (&json!("degraded"), &json!("degraded"))
    );
    assert_eq!(health.body["reason"], "etcd does not answer");
    assert!(health.body["modeChangedAt"].is_string());
    let ready = call(&script, "GET /readyz", "").await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, "1"));
    assert_eq!(call(&script, "GET /livez", "").await.status, 200);
}

#[tokio::test]
async fn beyond_the_bound_requests_are_shed_and_probes_are_not() {
    let script = Script::silent();
    let api = script.api_with(ApiLimits {
        requests_max: 0,
        ..ApiLimits::default()
    });
    let app = router(&api);
    for (path, status) in [
        ("/summary", StatusCode::SERVICE_UNAVAILABLE),
        ("/livez", StatusCode::OK),
    ] {
        let response = app
            .clone()
            .oneshot(request("GET", path, &[], ""))
            .await
            .unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn a_silent_core_is_not_waited_for_for_ever() {
    let (script, _submissions) = Script::manual();
    let request_timeout = Duration::from_millis(5);
    let api = script.api_with(ApiLimits {
        request_timeout,
        ..ApiLimits::default()
    });
    let response = router(&api)
        .oneshot(request("GET", "/summary", &[], ""))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn how_new_an_answer_has_to_be() {
    let script = Script::new(|_| workload_answer("web"));
    script.set_health(DriverHealth::default());
    // It does not lead, and there is nobody to ask.
    for (line, header, status, field) in [
        ("GET /workloads/web", ("x", "y"), 200, ""),
        (
            "GET /workloads/web?consistency=default",
            ("x", "y"),
            200,
            "",
        ),
        ("GET /workloads/web?consistency=strong", ("x", "y"), 503, ""),
        (
            "GET /workloads/web?consistency=s",
            ("x", "y"),
            422,
            "consistency",
        ),
        (
            "DELETE /workloads/web?consistency=strong",
            ("x", "y"),
            400,
            "consistency",
        ),
        (
            "GET /workloads/web",
            ("berth-consistency", "strong"),
            503,
            "",
        ),
        (
            "GET /workloads/web",
            ("berth-consistency", "s"),
            400,
            "berth-consistency",
        ),
        // Every scripted image is at revision 50.
        ("GET /workloads/web", ("berth-revision-min", "50"), 200, ""),
        ("GET /workloads/web", ("berth-revision-min", "51"), 503, ""),
        (
            "GET /workloads/web",
            ("berth-revision-min", "x"),
            400,
            "berth-revision-min",
        ),
    ] {
        let (method, uri) = line.split_once(' ').unwrap();
        let reply = send(&script, request(method, uri, &[header], "{}")).await;
        let answered = (reply.status, reply.field());
        assert_eq!(
            answered,
            (status, field),
            "{line} {header:?}: {}",
            reply.body
        );
    }
}
