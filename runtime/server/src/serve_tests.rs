//! Both ports over real sockets: gRPC clients, plain HTTP, TLS, the end.

use std::net::SocketAddr;
use std::time::Duration;

use berth_core::io::request::{Request as Ask, RequestError};
use berth_driver::handle::DriverHealth;
use berth_proto::control::v1::{self as wire, agent_control_client::AgentControlClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::*;
use crate::testing::{Script, workload_answer};

async fn start(script: &Script) -> (Bound, CancellationToken) {
    let shutdown = CancellationToken::new();
    let config = ServerConfig::local();
    let bound = serve_apis(&config, script.core(), None, shutdown.clone())
        .await
        .unwrap();
    (bound, shutdown)
}

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// One request on a connection of its own; the whole answer as text.
async fn http(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head} HTTP/1.1\r\nhost: berth\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn get(id: &str) -> wire::GetWorkloadRequest {
    wire::GetWorkloadRequest {
        workload_id: id.into(),
    }
}

#[tokio::test]
async fn clients_are_answered_and_counted() {
    let script = Script::new(|request| match request {
        Ask::Read(berth_core::io::Query::Workload(id)) if id.as_str() == "gone" => {
            Err(RequestError::NoSuchWorkload(id.clone()))
        }
        _ => workload_answer("web"),
    });
    let (bound, shutdown) = start(&script).await;
    let mut client = AgentControlClient::new(channel(bound.grpc).await);
    let answer = client.get_workload(get("web")).await.unwrap();
    assert_eq!(answer.metadata().get("berth-revision").unwrap(), "50");
    let status = client.get_workload(get("gone")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let streamed = client.control_stream(futures::stream::empty()).await;
    assert_eq!(streamed.unwrap_err().code(), Code::Unimplemented);

    let metrics = http(bound.http, "GET /metrics").await;
    for (code, count) in [("OK", 1), ("NotFound", 1)] {
        let line = format!(
            "persys_scheduler_grpc_server_requests_total{{code=\"{code}\",\
             method=\"/persys.control.v1.AgentControl/GetWorkload\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
    shutdown.cancel();
    bound.finished().await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_in_words() {
    let script = Script::silent();
    let (bound, _shutdown) = start(&script).await;
    let mut client = AgentControlClient::new(channel(bound.grpc).await);
    let heartbeat = wire::HeartbeatRequest {
        node_id: "n-1".into(),
        workload_statuses: vec![wire::WorkloadStatus {
            message: "x".repeat(17 << 20),
            ..Default::default()
        }],
        ..Default::default()
    };
    let status = client.heartbeat(heartbeat).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(
        status.message().contains("too large"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn the_health_service_follows_leadership() {
    let script = Script::silent();
    let (bound, _shutdown) = start(&script).await;
    let mut client = HealthClient::new(channel(bound.grpc).await);
    let service = "persys.control.v1.AgentControl".to_owned();
    let mut updates = client
        .watch(HealthCheckRequest { service })
        .await
        .unwrap()
        .into_inner();
    let mut until = async |wanted: ServingStatus| {
        let reached =
            async { while updates.message().await.unwrap().unwrap().status() != wanted {} };
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .unwrap();
    };
    until(ServingStatus::Serving).await;
    script.set_health(DriverHealth::default());
    until(ServingStatus::NotServing).await;
}

#[tokio::test]
async fn metadata_says_how_new_an_answer_has_to_be_and_a_refusal_when_to_come_back() {
    let script = Script::new(|_| workload_answer("web"));
    script.set_health(DriverHealth::default());
    let (bound, _shutdown) = start(&script).await;
    let mut client = AgentControlClient::new(channel(bound.grpc).await);
    for (key, value, code) in [
        ("x", "y", Code::Ok),
        ("berth-consistency", "strong", Code::Unavailable),
        ("berth-consistency", "s", Code::InvalidArgument),
        ("berth-revision-min", "50", Code::Ok),
        ("berth-revision-min", "51", Code::Unavailable),
    ] {
        let mut request = tonic::Request::new(get("web"));
        request.metadata_mut().insert(key, value.parse().unwrap());
        match client.get_workload(request).await {
            Ok(_) => assert_eq!(code, Code::Ok, "{key}: {value}"),
            Err(status) => {
                assert_eq!(status.code(), code, "{key}: {value}");
                let pause = status.metadata().get("grpc-retry-pushback-ms");
                let expected = (code == Code::Unavailable).then_some("1000");
                assert_eq!(pause.map(|pause| pause.to_str().unwrap()), expected);
            }
        }
    }
}

#[tokio::test]
async fn the_end_waits_for_what_is_in_flight_and_refuses_what_is_new() {
    let (script, mut submissions) = Script::manual();
    let (bound, shutdown) = start(&script).await;
    let (grpc, http_addr) = (bound.grpc, bound.http);
    let mut client = AgentControlClient::new(channel(grpc).await);
    let call = tokio::spawn(async move { client.get_workload(get("web")).await });
    let request = tokio::spawn(http(http_addr, "GET /workloads/web"));
    let first = submissions.recv().await.unwrap();
    let second = submissions.recv().await.unwrap();
    shutdown.cancel();
    let finished = tokio::spawn(bound.finished());
    // The sockets close, while what was asked before is still answered.
    let closed = async {
        while TcpStream::connect(grpc).await.is_ok() || TcpStream::connect(http_addr).await.is_ok()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .unwrap();
    for submission in [first, second] {
        submission.reply.send(workload_answer("web")).unwrap();
    }
    assert!(call.await.unwrap().is_ok());
    assert!(request.await.unwrap().starts_with("HTTP/1.1 200 OK"));
    tokio::time::timeout(Duration::from_secs(10), finished)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_server() {
    let script = Script::new(|_| {
        Ok(berth_core::io::Response::Events(
            berth_core::io::view::EventPage::default(),
        ))
    });
    let (bound, shutdown) = start(&script).await;
    let mut stream = TcpStream::connect(bound.http).await.unwrap();
    let request = "GET /events HTTP/1.1\r\nhost: berth\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    shutdown.cancel();
    let begun = std::time::Instant::now();
    bound.finished().await;
    assert!(begun.elapsed() < PATIENCE, "the stream held the server up");
}

#[tokio::test]
async fn a_body_of_100_megabytes_is_refused_and_the_client_hears_why() {
    let script = Script::silent();
    let (bound, _shutdown) = start(&script).await;
    let mut stream = TcpStream::connect(bound.http).await.unwrap();
    let length = 100 << 20;
    let head = format!(
        "POST /workloads HTTP/1.1\r\nhost: berth\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let megabyte = vec![b' '; 1 << 20];
    for _ in 0..100 {
        stream.write_all(&megabyte).await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

#[test]
fn the_address_for_other_replicas_can_be_given() {
    let listens: SocketAddr = "127.0.0.1:8085".parse().unwrap();
    assert_eq!(published(Some("berth-1:443"), listens), "berth-1:443");
    assert_eq!(published(None, listens), "127.0.0.1:8085");
    let everywhere: SocketAddr = "0.0.0.0:8085".parse().unwrap();
    let named = format!("{}:8085", crate::config::host_name());
    assert_eq!(published(None, everywhere), named);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let script = Script::silent();
    let (bound, _shutdown) = start(&script).await;
    let config = ServerConfig {
        http_addr: bound.http,
        ..ServerConfig::local()
    };
    let again = serve_apis(&config, script.core(), None, CancellationToken::new()).await;
    let error = again.unwrap_err().to_string();
    assert_eq!(error, format!("cannot listen on {}", bound.http));
}
