//! What cannot be understood is refused before the core, by name.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::*;
use crate::testing::{Script, workload_answer};

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
async fn a_body_that_never_ends_is_given_up() {
    let script = Script::silent();
    let request_timeout = std::time::Duration::from_millis(5);
    let limits = crate::api::ApiLimits {
        request_timeout,
        ..Default::default()
    };
    let never = futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
    let slow = Request::builder()
        .method("POST")
        .uri("/workloads")
        .header(JSON.0, JSON.1)
        .body(Body::from_stream(never))
        .unwrap();
    let response = router(&script.api_with(limits))
        .oneshot(slow)
        .await
        .unwrap();
    assert_eq!(response.status(), 408);
}
