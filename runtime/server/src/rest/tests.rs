//! The port against a scripted core: codes, fields, headers, and the description.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use berth_core::io::request::{Freshness, Query, Request as Ask, RequestError, Response as Answer};
use berth_core::io::view::EventPage;
use berth_core::model::workload::DesiredState;
use berth_core::{EventId, StoreRevision};
use berth_driver::handle::DriverHealth;
use futures::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::api::ApiLimits;
use crate::testing::{Script, event, fresh, node_answer, workload, workload_answer};

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
    fn field(&self) -> &str {
        self.body["field"].as_str().unwrap_or("")
    }
}

async fn send(script: &Script, request: Request<Body>) -> Reply {
    let response = router(&script.api()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 24).await.unwrap();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body.to_owned())).unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn call(script: &Script, line: &str, body: &str) -> Reply {
    let (method, uri) = line.split_once(' ').unwrap();
    let headers: &[_] = if body.is_empty() { &[] } else { &[JSON] };
    send(script, request(method, uri, headers, body)).await
}

fn manifest() -> Value {
    json!({"id": "web", "type": "container", "spec": {"image": "alpine"},
        "resources": {"cpu": 0.5, "memory_mb": 64, "disk_gb": 0}})
}

fn with(path: &str, value: Value) -> String {
    let mut manifest = manifest();
    let mut at = &mut manifest;
    for part in path.split('.') {
        at = &mut at[part];
    }
    *at = value;
    manifest.to_string()
}

#[tokio::test]
async fn bad_input_is_refused_by_field_before_the_core() {
    let long = "x".repeat(129);
    let table = [
        ("not json".to_owned(), 400, "body"),
        ("{\"id\": \"web\"".to_owned(), 400, "body"),
        ("{} {}".to_owned(), 400, "body"),
        ("[\"web\"]".to_owned(), 422, "body"),
        ("{}".to_owned(), 422, "id"),
        (with("id", json!("Web")), 422, "id"),
        (with("id", json!("")), 422, "id"),
        (with("id", json!("a/../b")), 422, "id"),
        (with("id", json!(long)), 422, "id"),
        (with("id", json!(7)), 422, "id"),
        (with("colour", json!("red")), 422, "colour"),
        (with("type", json!("pod")), 422, "type"),
        (with("spec", json!("alpine")), 422, "spec"),
        (with("spec.imagee", json!("alpine")), 422, "spec.imagee"),
        (with("spec.image", json!("")), 422, "spec.image"),
        (with("spec.image", json!(3)), 422, "spec.image"),
        (
            with("spec.ports", json!([{"container_port": 70000}])),
            422,
            "spec.ports[0].container_port",
        ),
        (with("resources.cpu", json!(-1)), 422, "resources.cpu"),
        (with("resources.cpu", json!(1e30)), 422, "resources.cpu"),
        (with("resources.cpu", json!("1")), 422, "resources.cpu"),
        (
            with("resources.memory_mb", json!(-64)),
            422,
            "resources.memory_mb",
        ),
        (
            with("resources.memory_mb", json!(1u64 << 60)),
            422,
            "resources.memory_mb",
        ),
        (with("resources.ram", json!(64)), 422, "resources.ram"),
        (
            with("desired_state", json!("Sideways")),
            422,
            "desired_state",
        ),
        (
            with("desired_state", json!("Deleted")),
            422,
            "desired_state",
        ),
        (with("tenant", json!("Not A Tenant")), 422, "tenant"),
        (with("max_attempts", json!(-1)), 422, "max_attempts"),
    ];
    let script = Script::silent();
    for (body, status, field) in table {
        let reply = call(&script, "POST /workloads", &body).await;
        assert_eq!(
            (reply.status, reply.field()),
            (status, field),
            "{body}: {}",
            reply.body
        );
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert_eq!(reply.body["status"], status);
        assert!(!reply.body["detail"].as_str().unwrap().is_empty());
    }
    let mut doubled = manifest().to_string();
    doubled.insert_str(1, "\"id\":\"web\",");
    assert_eq!(call(&script, "POST /workloads", &doubled).await.status, 422);
    assert_eq!(call(&script, "POST /workloads", "").await.status, 400);
}

#[tokio::test]
async fn parameters_paths_and_methods_are_checked() {
    let script = Script::silent();
    for (line, status, field) in [
        ("GET /workloads?colour=red", 400, "colour"),
        ("GET /workloads?limit=1&limit=2", 400, "limit"),
        ("GET /workloads?limit=0", 422, "limit"),
        ("GET /workloads?limit=many", 422, "limit"),
        ("GET /workloads?limit=1000000", 422, "limit"),
        ("GET /workloads?status=Happy", 422, "status"),
        ("GET /workloads?node=Bad%20Node", 422, "node"),
        ("GET /workloads?after=%2F", 422, "after"),
        ("GET /nodes?status=Happy", 422, "status"),
        ("GET /nodes?tenant=a", 400, "tenant"),
        ("GET /workloads/Bad", 422, "id"),
        ("GET /workloads/web?x=1", 400, "x"),
        ("POST /workloads?dry_run=perhaps", 422, "dry_run"),
        ("DELETE /workloads/web?force=true", 400, "force"),
        ("POST /nodes/Bad/cordon", 422, "id"),
        ("GET /events?limit=-1", 422, "limit"),
        ("GET /summary?x=1", 400, "x"),
        ("GET /nowhere", 404, ""),
        ("PATCH /workloads", 405, ""),
        ("POST /summary", 405, ""),
    ] {
        let body = if line.starts_with("POST /workloads") {
            manifest().to_string()
        } else {
            String::new()
        };
        let reply = call(&script, line, &body).await;
        assert_eq!(
            (reply.status, reply.field()),
            (status, field),
            "{line}: {}",
            reply.body
        );
        assert_eq!(
            reply.header("content-type"),
            "application/problem+json",
            "{line}"
        );
    }
    let reply = call(&script, "PATCH /workloads", "").await;
    assert!(
        reply.header("allow").contains("POST"),
        "{:?}",
        reply.headers
    );
}

#[tokio::test]
async fn refusals_of_the_core_become_codes() {
    let web = || "web".parse().unwrap();
    let unavailable = RequestError::Unavailable {
        reason: "no leader".into(),
        retry_after: Duration::from_millis(1200),
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
async fn large_and_foreign_bodies() {
    let script = Script::silent();
    let yaml = request(
        "POST",
        "/workloads",
        &[("content-type", "application/yaml")],
        "id: web",
    );
    assert_eq!(send(&script, yaml).await.status, 415);
    let untyped = request("POST", "/workloads", &[], &manifest().to_string());
    assert_eq!(send(&script, untyped).await.status, 415);
    let charset = [("content-type", "Application/JSON; charset=utf-8")];
    let accepted = Script::new(|_| workload_answer("web"));
    let reply = send(
        &accepted,
        request("POST", "/workloads", &charset, &manifest().to_string()),
    )
    .await;
    assert_eq!(reply.status, 200);
    // 100 MB that never are in memory at once: chunked, and declared.
    let chunks = || {
        let chunk = axum::body::Bytes::from(vec![b' '; 1 << 20]);
        futures::stream::iter((0..100).map(move |_| Ok::<_, std::io::Error>(chunk.clone())))
    };
    for length in [None, Some(100 << 20)] {
        let mut builder = Request::builder()
            .method("POST")
            .uri("/workloads")
            .header(JSON.0, JSON.1);
        if let Some(length) = length {
            builder = builder.header("content-length", length);
        }
        let reply = send(&script, builder.body(Body::from_stream(chunks())).unwrap()).await;
        assert_eq!(
            (reply.status, &reply.body["type"]),
            (413, &json!("urn:berth:problem:too-large"))
        );
    }
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

fn log_of_events() -> Script {
    Script::new(|request| {
        let Ask::Read(Query::Events { after, limit, .. }) = request else {
            panic!("{request:?}")
        };
        let newer = |n: &u64| after.as_ref().is_none_or(|after| event(*n).id > *after);
        let events = (0..5).filter(newer).map(event).take(*limit).collect();
        Ok(Answer::Events(EventPage {
            events,
            gap: false,
            freshness: fresh(70),
        }))
    })
}

#[tokio::test]
async fn events_as_pages() {
    let script = log_of_events();
    let after = EventId::from_text(event(0).id.as_str());
    let reply = call(&script, &format!("GET /events?limit=2&after={after}"), "").await;
    assert_eq!(reply.body["items"][0]["reason"], "number 1");
    assert_eq!(reply.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&reply.body["more"], &reply.body["gap"]),
        (&json!(true), &json!(false))
    );
    let next = reply.body["next"].as_str().unwrap();
    let reply = call(&script, &format!("GET /events?limit=2&after={next}"), "").await;
    assert_eq!(reply.body["more"], false);
    let at_end = call(&script, &format!("GET /events?after={}", event(9).id), "").await;
    assert_eq!(at_end.body["next"], event(9).id.as_str());
}

#[tokio::test]
async fn events_as_a_stream_resume_after_the_last_id() {
    let script = log_of_events();
    let api = script.api();
    let last = event(2).id;
    let headers = [
        ("accept", "text/event-stream"),
        ("last-event-id", last.as_str()),
    ];
    // The header wins over the parameter: the browser repeats the URL of its first try.
    let uri = format!("/events?after={}", event(0).id);
    let response = router(&api)
        .oneshot(request("GET", &uri, &headers, ""))
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    script.emit(event(4));
    script.emit(event(5));
    while !text.contains("number 5") {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    let numbers: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("data:"))
        .collect();
    assert_eq!(numbers.len(), 3, "{text}");
    for n in 3..6 {
        assert_eq!(
            text.matches(&format!("\"reason\":\"number {n}\"")).count(),
            1,
            "{text}"
        );
        assert!(text.contains(&format!("id: {}\n", event(n).id)), "{text}");
    }
    api.shutdown().cancel();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn watchers_are_bounded() {
    let script = Script::silent();
    let api = script.api_with(ApiLimits {
        watchers_max: 0,
        ..ApiLimits::default()
    });
    let watch = request("GET", "/events", &[("accept", "text/event-stream")], "");
    let response = router(&api).oneshot(watch).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_description_has_every_route_and_no_other() {
    let described: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut in_document = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in methods
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
        {
            in_document.insert((path.clone(), method.to_ascii_uppercase()));
        }
    }
    let mut in_router = BTreeSet::new();
    for (path, methods, _) in routes() {
        for method in methods {
            in_router.insert((path.to_owned(), method.to_string()));
        }
    }
    assert_eq!(in_document, in_router);
    // And what the list says is what the router serves.
    let script = Script::refusing(RequestError::Refused("no".into()));
    for (path, methods, _) in routes() {
        let uri = path.replace("{id}", "x");
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let reply = send(&script, request(method.as_str(), &uri, &[], "")).await;
            assert_eq!(
                reply.status != 405,
                methods.contains(&method),
                "{method} {uri}"
            );
        }
    }
}

#[tokio::test]
async fn every_reference_of_the_description_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    found.push(target.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let described: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut found = Vec::new();
    references(&described, &mut found);
    assert!(!found.is_empty());
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(described.pointer(pointer).is_some(), "{target}");
    }
    let reply = call(&Script::silent(), "GET /openapi.json", "").await;
    assert_eq!(reply.body["openapi"], "3.1.0");
}

#[tokio::test]
async fn the_index_lists_the_routes() {
    let script = Script::silent();
    let reply = call(&script, "GET /", "").await;
    assert_eq!(
        reply.body["routes"].as_array().unwrap().len(),
        routes().len()
    );
    let page = send(&script, request("GET", "/", &[("accept", "text/html")], "")).await;
    assert!(
        page.body
            .as_str()
            .unwrap()
            .contains("<a href=\"/workloads\">")
    );
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let script = Script::new(|_| workload_answer("web"));
    let api = script.api();
    let app = router(&api);
    for path in ["/workloads/web", "/workloads/other", "/no/such/path"] {
        app.clone()
            .oneshot(request("GET", path, &[], ""))
            .await
            .unwrap();
    }
    let text = api.metrics().export(&api).unwrap();
    let line = |route: &str, status: u16, count: u32| {
        format!(
            "berth_http_requests_total{{method=\"GET\",route=\"{route}\",status=\"{status}\"}} {count}\n"
        )
    };
    assert!(text.contains(&line("/workloads/{id}", 200, 2)), "{text}");
    assert!(text.contains(&line("unknown", 404, 1)), "{text}");
    assert!(text.contains("\nberth_leading 1\n"));
    assert!(text.contains("berth_mode{mode=\"degraded\"} 0\n"));
}
