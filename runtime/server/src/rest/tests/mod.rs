//! The port against a scripted core: codes, fields, headers, and the description.

mod answers;
mod description;
mod events;
mod input;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::testing::Script;

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
    pub(super) fn field(&self) -> &str {
        self.body["field"].as_str().unwrap_or("")
    }
}

pub(super) async fn send(script: &Script, request: Request<Body>) -> Reply {
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

pub(super) fn request(
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body.to_owned())).unwrap()
}

pub(super) const JSON: (&str, &str) = ("content-type", "application/json");

pub(super) async fn call(script: &Script, line: &str, body: &str) -> Reply {
    let (method, uri) = line.split_once(' ').unwrap();
    let headers: &[_] = if body.is_empty() { &[] } else { &[JSON] };
    send(script, request(method, uri, headers, body)).await
}

pub(super) fn manifest() -> Value {
    json!({"id": "web", "type": "container", "spec": {"image": "alpine"},
        "resources": {"cpu": 0.5, "memory_mb": 64, "disk_gb": 0}})
}

pub(super) fn with(path: &str, value: Value) -> String {
    let mut manifest = manifest();
    let mut at = &mut manifest;
    for part in path.split('.') {
        at = &mut at[part];
    }
    *at = value;
    manifest.to_string()
}
