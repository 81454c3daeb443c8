//! The driver against a real etcd, which is killed and started again.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use berth_driver::metrics::FateKind;
use berth_driver::{Driver, DriverConfig, Endpoints, Replica};

use super::fake_agent::Mood;
use super::*;

/// A server that is killed when it is dropped.
struct Etcd {
    process: Child,
}

impl Etcd {
    fn start(dir: &Path, client: u16, peer: u16) -> Self {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir)
            .args(["--listen-client-urls", &url(client)])
            .args(["--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer)])
            .args(["--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("default={}", url(peer))])
            .args(["--quota-backend-bytes", "67108864"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs a real etcd 3.4 or later on the PATH (package etcd-server)");
        Self { process }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two ports that are free now.
fn free_ports() -> (u16, u16) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [client, peer] = listeners.map(|listener| listener.local_addr().unwrap().port());
    (client, peer)
}

/// Waits until this many workloads are confirmed running.
async fn running(core: &CoreHandle, count: u32) {
    let seen = async {
        loop {
            let answer = ask(core, Request::Read(Query::Summary)).await;
            let Response::Summary(summary) = answer else {
                panic!("{answer:?}");
            };
            if summary.running_workloads == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, seen).await;
    seen.unwrap_or_else(|_| panic!("{count} workloads run in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_survives_a_killed_store() {
    let dir = tempfile::tempdir().unwrap();
    let (client_port, peer_port) = free_ports();
    let mut etcd = Etcd::start(dir.path(), client_port, peer_port);
    let agent = FakeAgent::start().await;
    let mut config = DriverConfig::new(Replica {
        id: "a".into(),
        ..Replica::default()
    });
    config.store.lease_ttl = Duration::from_secs(2);
    config.store.page_keys = 7;
    let (shutdown, metrics) = (config.shutdown.clone(), config.metrics.clone());
    let endpoints = Endpoints {
        endpoints: vec![format!("http://127.0.0.1:{client_port}")],
        tls: None,
        user: None,
    };
    let (core, join) = Driver::spawn(config, endpoints);
    ask(&core, registration("node-1", &agent)).await;
    ask(&core, heartbeat("node-1")).await;

    let many: Vec<_> = (0..40)
        .map(|n| {
            let core = core.clone();
            tokio::spawn(async move { ask(&core, apply(&format!("w-{n}"))).await })
        })
        .collect();
    for accepted in many {
        accepted.await.unwrap();
    }
    running(&core, 40).await;
    let epoch = core.health().epoch;
    assert_eq!(metrics.fates(FateKind::Refused), 0);

    // Killed while it has commits to answer: nothing that was accepted is lost.
    agent.set_mood(Mood::Refusing(tonic::Code::Unavailable, "not now"));
    let more: Vec<_> = (40..60)
        .map(|n| {
            let core = core.clone();
            tokio::spawn(async move { ask(&core, apply(&format!("w-{n}"))).await })
        })
        .collect();
    tokio::task::yield_now().await;
    etcd.kill();
    let mut health = core.watch_health();
    let degraded = health.wait_for(|health| !health.leading);
    tokio::time::timeout(PATIENCE, degraded)
        .await
        .unwrap()
        .unwrap();
    let _etcd = Etcd::start(dir.path(), client_port, peer_port);
    agent.set_mood(Mood::Good);
    for accepted in more {
        accepted.await.unwrap();
    }
    ask(&core, heartbeat("node-1")).await;
    running(&core, 60).await;
    assert!(core.health().epoch > epoch);
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, join.join())
        .await
        .unwrap()
        .unwrap();
}
