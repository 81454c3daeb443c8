//! The whole server over the embedded store, from outside: REST and gRPC against the real core.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use berth_proto::berth::v1::{self as berth, berth_client::BerthClient};
use berth_proto::control::v1::{self as control, agent_control_client::AgentControlClient};
use berth_server::{Running, ServerConfig, start};
use berth_store::EmbeddedStore;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    running: Running,
    shutdown: CancellationToken,
}

impl Server {
    /// Starts a server, and waits until it leads.
    async fn start(store: &EmbeddedStore) -> Self {
        let client = store.client().await.unwrap();
        let shutdown = CancellationToken::new();
        let factory = move || {
            let client = client.clone();
            async move { Ok(client) }
        };
        let running = start(ServerConfig::local(), factory, shutdown.clone())
            .await
            .unwrap();
        let server = Self { running, shutdown };
        server
            .until("GET /readyz", |reply| reply.status == 200)
            .await;
        server
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.finished().await.unwrap();
    }

    async fn call(&self, line: &str) -> Reply {
        exchange(self.running.http, line, &[], None).await
    }

    async fn send(&self, line: &str, headers: &[&str], body: &Value) -> Reply {
        exchange(self.running.http, line, headers, Some(&body.to_string())).await
    }

    /// Asks until the answer is as wanted; black-box, so there is nothing to wait on.
    async fn until(&self, line: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
        let begun = Instant::now();
        loop {
            let reply = self.call(line).await;
            if wanted(&reply) {
                return reply;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{line}: {} {}",
                reply.status,
                reply.body
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn channel(&self) -> Channel {
        let uri = format!("http://{}", self.running.grpc);
        Channel::from_shared(uri).unwrap().connect().await.unwrap()
    }
}

struct Reply {
    status: u16,
    head: String,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

async fn exchange(to: SocketAddr, line: &str, headers: &[&str], body: Option<&str>) -> Reply {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut text = format!("{line} HTTP/1.1\r\nhost: berth\r\nconnection: close\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    if let Some(body) = body {
        let length = body.len();
        text.push_str(&format!(
            "content-type: application/json\r\ncontent-length: {length}\r\n"
        ));
    }
    text.push_str("\r\n");
    text.push_str(body.unwrap_or_default());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|_| body.into());
    Reply {
        status,
        head: head.to_owned(),
        body,
    }
}

fn manifest(id: &str, image: &str) -> Value {
    json!({"id": id, "type": "container", "spec": {"image": image},
        "resources": {"cpu": 0.5, "memory_mb": 64}})
}

/// A node whose agent never answers: enough to be placed on.
async fn register(server: &Server, node: &str, cpu: i64) {
    let mut client = AgentControlClient::new(server.channel().await);
    let request = control::RegisterNodeRequest {
        node_id: node.into(),
        grpc_endpoint: "127.0.0.1:9".into(),
        capabilities: Some(control::NodeCapabilities {
            cpu_total_millicores: cpu,
            memory_total_mb: 4096,
            supported_workload_types: vec!["container".into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = client.register_node(request).await.unwrap().into_inner();
    assert!(answer.accepted, "{}", answer.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_from_its_manifest_to_its_deletion() {
    let store = EmbeddedStore::open(None).unwrap();
    let server = Server::start(&store).await;
    let web = manifest("web", "alpine");

    let dry = server.send("POST /workloads?dry_run=true", &[], &web).await;
    assert_eq!(dry.status, 200, "{}", dry.body);
    assert_eq!(server.call("GET /workloads/web").await.status, 404);
    let created = server
        .send("POST /workloads", &["if-none-match: *"], &web)
        .await;
    assert_eq!(created.status, 201, "{}", created.body);
    let again = server
        .send("POST /workloads", &["if-none-match: *"], &web)
        .await;
    assert_eq!(again.status, 412, "{}", again.body);

    // Nothing fits: it waits, and says why.
    let explained = server.call("GET /workloads/web/explain").await;
    assert_eq!(explained.status, 200);
    assert_eq!(explained.body["assigned_node"], Value::Null);
    register(&server, "node-1", 4000).await;
    let placed = server
        .until("GET /workloads/web", |reply| {
            reply.body["assigned_node"] == "node-1"
        })
        .await;
    let tag = placed.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", placed.body["resource_version"]));
    let node = server.call("GET /nodes/node-1").await;
    assert_eq!(node.body["available"]["cpu"], 3.5, "{}", node.body);

    let newer = manifest("web", "alpine:3");
    let stale = server
        .send("PUT /workloads/web", &["if-match: \"1\""], &newer)
        .await;
    assert_eq!(
        (stale.status, &stale.body["field"]),
        (412, &json!("If-Match"))
    );
    let other = server.send("PUT /workloads/web", &[], &newer).await;
    assert_eq!(other.status, 200, "{}", other.body);
    assert_ne!(other.body["revision_id"], placed.body["revision_id"]);
    assert_eq!(server.call("DELETE /workloads/web").await.status, 202);
    let gone = server.call("DELETE /workloads/never").await;
    assert_eq!(gone.status, 404, "{}", gone.body);
    server.stop().await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_page_by_page_and_survive_a_restart() {
    let store = EmbeddedStore::open(None).unwrap();
    let server = Server::start(&store).await;
    for n in 0..5 {
        let created = server
            .send("POST /workloads", &[], &manifest(&format!("w-{n}"), "a"))
            .await;
        assert_eq!(created.status, 200, "{}", created.body);
    }
    server.stop().await;
    let server = Server::start(&store).await;
    let mut ids = Vec::new();
    let mut line = "GET /workloads?limit=2".to_owned();
    loop {
        let page = server.call(&line).await;
        assert_eq!(page.status, 200, "{}", page.body);
        for item in page.body["items"].as_array().unwrap() {
            ids.push(item["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(page.body["stale"], false);
        let Some(link) = page.header("link") else {
            break;
        };
        let (path, _) = link[1..].split_once('>').unwrap();
        line = format!("GET {path}");
    }
    assert_eq!(ids, ["w-0", "w-1", "w-2", "w-3", "w-4"]);
    let summary = server.call("GET /summary").await;
    assert_eq!(summary.body["total_workloads"], 5);
    let status = server.call("GET /status").await;
    assert_eq!(
        (&status.body["leading"], &status.body["pending"]),
        (&json!(true), &json!(5))
    );
    server.stop().await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_existing_clients_contract() {
    let store = EmbeddedStore::open(None).unwrap();
    let server = Server::start(&store).await;
    register(&server, "node-1", 1000).await;
    let mut client = AgentControlClient::new(server.channel().await);
    let beat = |node: &str| {
        let node_id = node.to_owned();
        control::HeartbeatRequest {
            node_id,
            ..Default::default()
        }
    };
    let answer = client.heartbeat(beat("node-1")).await.unwrap().into_inner();
    assert!(answer.acknowledged && !answer.drain_node && answer.lease_expires_at.is_some());
    assert_eq!(
        client.heartbeat(beat("stranger")).await.unwrap_err().code(),
        Code::NotFound
    );

    let container = control::ContainerSpec {
        image: "alpine".into(),
        ..Default::default()
    };
    let spec = control::WorkloadSpec {
        r#type: "container".into(),
        workload: Some(control::workload_spec::Workload::Container(container)),
        ..Default::default()
    };
    let apply = |spec, state: &str| control::ApplyWorkloadRequest {
        workload_id: "web".into(),
        spec,
        revision_id: "rev-1".into(),
        desired_state: state.into(),
    };
    // Without a spec there must be a workload.
    let refused = client
        .apply_workload(apply(None, "Stopped"))
        .await
        .unwrap()
        .into_inner();
    assert!(!refused.success);
    assert_eq!(
        refused.failure_reason(),
        control::FailureReason::RuntimeError
    );
    let accepted = client
        .apply_workload(apply(Some(spec), "Running"))
        .await
        .unwrap();
    assert!(
        accepted.get_ref().success,
        "{}",
        accepted.get_ref().error_message
    );
    let request = control::GetWorkloadRequest {
        workload_id: "web".into(),
    };
    let answer = client.get_workload(request).await.unwrap();
    assert!(answer.metadata().contains_key("berth-revision"));
    let view = answer.into_inner().workload.unwrap();
    assert_eq!(
        (view.revision_id.as_str(), view.desired_state.as_str()),
        ("rev-1", "Running")
    );
    let nodes = client
        .list_nodes(control::ListNodesRequest::default())
        .await
        .unwrap();
    assert_eq!(nodes.get_ref().nodes[0].total_cpu_cores, 1.0);
    let request = control::RetryWorkloadRequest {
        workload_id: "never".into(),
    };
    assert!(
        !client
            .retry_workload(request)
            .await
            .unwrap()
            .get_ref()
            .accepted
    );
    let request = control::DeleteWorkloadRequest {
        workload_id: "web".into(),
    };
    assert!(
        client
            .delete_workload(request)
            .await
            .unwrap()
            .get_ref()
            .success
    );

    let metrics = server.call("GET /metrics").await;
    let text = metrics.body.as_str().unwrap();
    for line in [
        "persys_scheduler_grpc_server_requests_total{code=\"OK\",\
         method=\"/persys.control.v1.AgentControl/ApplyWorkload\"} 2",
        "berth_leading 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(
        text.contains("berth_commit_latency_seconds_count"),
        "the driver's figures are there"
    );
    server.stop().await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_streamed_from_a_point_on() {
    let store = EmbeddedStore::open(None).unwrap();
    let server = Server::start(&store).await;
    register(&server, "node-1", 1000).await;
    let page = server.call("GET /events?node=node-1").await;
    assert_eq!(
        page.body["items"][0]["type"], "NodeRegistered",
        "{}",
        page.body
    );
    let next = page.body["next"].as_str().unwrap().to_owned();

    let stream = TcpStream::connect(server.running.http).await.unwrap();
    let mut lines = BufReader::new(stream);
    let request = format!(
        "GET /events HTTP/1.1\r\nhost: berth\r\naccept: text/event-stream\r\n\
         last-event-id: {next}\r\n\r\n"
    );
    lines.write_all(request.as_bytes()).await.unwrap();
    let mut client = BerthClient::new(server.channel().await);
    let request = berth::WatchEventsRequest {
        after_event_id: next,
        ..Default::default()
    };
    let mut watch = client.watch_events(request).await.unwrap().into_inner();

    let cordoned = server.call("POST /nodes/node-1/cordon").await;
    assert_eq!(cordoned.status, 200, "{}", cordoned.body);
    let heard = async {
        let mut line = String::new();
        while !line.starts_with("event:") {
            line.clear();
            assert!(
                lines.read_line(&mut line).await.unwrap() > 0,
                "the stream ended"
            );
        }
        line
    };
    let line = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!(line.trim(), "event: NodeCordoned");
    let item = tokio::time::timeout(PATIENCE, watch.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let Some(berth::watch_events_response::Item::Event(event)) = item.item else {
        panic!("{item:?}");
    };
    assert_eq!(
        (event.r#type.as_str(), event.node_id.as_str()),
        ("NodeCordoned", "node-1")
    );
    server.stop().await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_reads_answer_and_writes_are_refused_with_a_hint() {
    let store = EmbeddedStore::open(None).unwrap();
    let server = Server::start(&store).await;
    let created = server
        .send("POST /workloads", &[], &manifest("web", "alpine"))
        .await;
    assert_eq!(created.status, 200, "{}", created.body);
    store.shutdown().await;
    let ready = server
        .until("GET /readyz", |reply| reply.status == 503)
        .await;
    assert!(ready.header("retry-after").is_some());
    let read = server.until("GET /workloads/web", |reply| {
        reply.header("berth-stale").is_some()
    });
    let read = read.await;
    assert_eq!(
        (read.status, &read.body["freshness"]["stale"]),
        (200, &json!(true))
    );
    let write = server
        .send("POST /workloads", &[], &manifest("other", "alpine"))
        .await;
    assert_eq!(write.status, 503, "{}", write.body);
    assert!(write.header("retry-after").is_some());
    let health = server.call("GET /health").await;
    assert_eq!(
        (health.status, &health.body["leading"]),
        (200, &json!(false))
    );
    let mut client = AgentControlClient::new(server.channel().await);
    let request = control::DeleteWorkloadRequest {
        workload_id: "web".into(),
    };
    let status = client.delete_workload(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.metadata().contains_key("retry-after-ms"));
    server.stop().await;
}
