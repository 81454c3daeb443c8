//! The port describes and counts itself.

use std::collections::BTreeSet;

use axum::http::Method;
use berth_core::io::request::RequestError;
use serde_json::Value;

use super::*;
use crate::testing::{Script, workload_answer};

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
