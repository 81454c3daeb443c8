//! A server that answers what it was told to, in order, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::text(status, &body.to_string())
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_owned(),
        }
    }

    /// Server-sent events, then the end of the stream.
    pub(crate) fn stream(body: &str) -> Self {
        Self::text(200, body).header("content-type", "text/event-stream")
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A problem document.
pub(crate) fn problem(status: u16, detail: &str) -> Answer {
    let body =
        json!({"type": "about:blank", "title": "Problem", "status": status, "detail": detail});
    Answer::json(status, body).header("content-type", "application/problem+json")
}

/// A workload as the server shows it.
pub(crate) fn workload(id: &str, status: &str) -> Value {
    json!({
        "id": id, "type": "container", "revision_id": "rev-1", "desired_state": "Running",
        "assigned_node": "node-1", "spec": {"image": "x", "restart_policy": "no"},
        "resources": {"cpu": 0, "memory_mb": 0, "disk_gb": 0},
        "retry": {"attempts": 0, "max_attempts": 5},
        "status": {"actual_state": "Pending", "last_updated": "2026-02-17T00:00:00Z",
            "failure_reason": ""},
        "metadata": {"created_at": "2026-02-17T00:00:00Z", "last_action": null, "last_error": ""},
        "display_status": status, "resource_version": 7,
        "freshness": {"revision": 9, "stale": false},
    })
}

#[derive(Debug, Default)]
struct Script {
    once: BTreeMap<String, VecDeque<Answer>>,
    always: BTreeMap<String, Answer>,
    seen: Vec<String>,
    resumed: Vec<String>,
}

type Shared = Arc<Mutex<Script>>;

/// The server.
pub(crate) struct Server {
    url: String,
    script: Shared,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let script = Shared::default();
        let app = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self { url, script, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Answers the next request of this kind so; further ones in the order of calls.
    pub(crate) fn on(&self, method: &str, path: &str, answer: Answer) {
        let mut script = self.script.lock().expect("no panic");
        script
            .once
            .entry(format!("{method} {path}"))
            .or_default()
            .push_back(answer);
    }

    /// Answers all requests of this kind so that nothing else is left for.
    pub(crate) fn always(&self, method: &str, path: &str, answer: Answer) {
        let mut script = self.script.lock().expect("no panic");
        script.always.insert(format!("{method} {path}"), answer);
    }

    /// What was asked: method, path with query, body.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.script.lock().expect("no panic").seen.clone()
    }

    /// The `Last-Event-ID` of every stream that was asked for.
    pub(crate) fn resumed(&self) -> Vec<String> {
        self.script.lock().expect("no panic").resumed.clone()
    }
}

async fn answer(State(script): State<Shared>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20)
        .await
        .expect("a small body");
    let key = format!("{} {}", head.method, head.uri);
    let mut script = script.lock().expect("no panic");
    let seen = format!("{key} {}", String::from_utf8_lossy(&body));
    script.seen.push(seen.trim_end().to_owned());
    if let Some(id) = head.headers.get("last-event-id") {
        script.resumed.push(id.to_str().expect("text").to_owned());
    }
    let next = script.once.get_mut(&key).and_then(VecDeque::pop_front);
    let answer = next.or_else(|| script.always.get(&key).cloned());
    let answer = answer.unwrap_or_else(|| problem(500, &format!("{key} is not in the script")));
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    response
        .body(Body::from(answer.body))
        .expect("a good answer")
}

/// A stream that keeps what was written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
