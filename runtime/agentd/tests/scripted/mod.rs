//! A scheduler that accepts everything and notes what it hears, and a caller of agents.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_agentd::{AgentdConfig, AgentdHandle, start};
use berth_proto::agent::v1::agent_service_client::AgentServiceClient;
use berth_proto::agent::v1::{self as agent, ActualState};
use berth_proto::control::v1 as control;
use berth_proto::control::v1::agent_control_server::{AgentControl, AgentControlServer};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// What the scheduler heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) registrations: Vec<(control::RegisterNodeRequest, String, u64)>,
    pub(crate) heartbeats: Vec<control::HeartbeatRequest>,
    /// Heartbeats are refused: the scheduler has forgotten the node.
    pub(crate) forgetful: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Scheduler {
    pub(crate) heard: Arc<Mutex<Heard>>,
}

impl Scheduler {
    pub(crate) fn heard<T>(&self, look: impl FnOnce(&mut Heard) -> T) -> T {
        look(&mut self.heard.lock().unwrap())
    }

    /// The state of a workload as the latest heartbeat told it.
    pub(crate) fn told(&self, workload: &str) -> Option<control::WorkloadStatus> {
        self.heard(|heard| {
            let last = heard.heartbeats.last()?;
            last.workload_statuses
                .iter()
                .find(|status| status.workload_id == workload)
                .cloned()
        })
    }

    /// Serves until the token is cancelled.
    pub(crate) async fn serve(&self, addr: SocketAddr, ended: CancellationToken) -> SocketAddr {
        let incoming = TcpIncoming::bind(addr).unwrap();
        let addr = incoming.local_addr().unwrap();
        let service = AgentControlServer::new(self.clone());
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, ended.cancelled_owned()));
        addr
    }
}

fn nobody_asks<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("agents do not call this"))
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AgentControl for Scheduler {
    async fn register_node(
        &self,
        request: Request<control::RegisterNodeRequest>,
    ) -> Answer<control::RegisterNodeResponse> {
        let text = |key: &str| {
            let value = request
                .metadata()
                .get(key)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let boot = text(berth_proto::metadata::BOOT_ID);
        let incarnation = text(berth_proto::metadata::INCARNATION).parse().unwrap();
        self.heard(|heard| {
            heard
                .registrations
                .push((request.into_inner(), boot, incarnation));
        });
        Ok(Response::new(control::RegisterNodeResponse {
            accepted: true,
            reason: "registered".to_owned(),
            // Far apart: what arrives sooner was sent because something changed.
            heartbeat_interval_seconds: 3_600,
            lease_expires_at: None,
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<control::HeartbeatRequest>,
    ) -> Answer<control::HeartbeatResponse> {
        self.heard(|heard| {
            if heard.forgetful {
                return Err(Status::not_found("node is not registered"));
            }
            heard.heartbeats.push(request.into_inner());
            Ok(())
        })?;
        let answer = control::HeartbeatResponse {
            acknowledged: true,
            ..Default::default()
        };
        Ok(Response::new(answer))
    }

    async fn apply_workload(
        &self,
        _: Request<control::ApplyWorkloadRequest>,
    ) -> Answer<control::ApplyWorkloadResponse> {
        nobody_asks()
    }
    async fn delete_workload(
        &self,
        _: Request<control::DeleteWorkloadRequest>,
    ) -> Answer<control::DeleteWorkloadResponse> {
        nobody_asks()
    }
    async fn retry_workload(
        &self,
        _: Request<control::RetryWorkloadRequest>,
    ) -> Answer<control::RetryWorkloadResponse> {
        nobody_asks()
    }
    async fn submit_automation_suggestion(
        &self,
        _: Request<control::SubmitAutomationSuggestionRequest>,
    ) -> Answer<control::SubmitAutomationSuggestionResponse> {
        nobody_asks()
    }
    async fn list_nodes(
        &self,
        _: Request<control::ListNodesRequest>,
    ) -> Answer<control::ListNodesResponse> {
        nobody_asks()
    }
    async fn get_node(
        &self,
        _: Request<control::GetNodeRequest>,
    ) -> Answer<control::GetNodeResponse> {
        nobody_asks()
    }
    async fn list_workloads(
        &self,
        _: Request<control::ListWorkloadsRequest>,
    ) -> Answer<control::ListWorkloadsResponse> {
        nobody_asks()
    }
    async fn get_workload(
        &self,
        _: Request<control::GetWorkloadRequest>,
    ) -> Answer<control::GetWorkloadResponse> {
        nobody_asks()
    }
    async fn get_cluster_summary(
        &self,
        _: Request<control::GetClusterSummaryRequest>,
    ) -> Answer<control::GetClusterSummaryResponse> {
        nobody_asks()
    }

    type ControlStreamStream =
        Pin<Box<dyn Stream<Item = Result<control::ControlMessage, Status>> + Send>>;

    async fn control_stream(
        &self,
        _: Request<Streaming<control::ControlMessage>>,
    ) -> Answer<Self::ControlStreamStream> {
        nobody_asks()
    }
}

/// A scheduler, an agent's folder, and whoever runs in it.
pub(crate) struct Cluster {
    pub(crate) scheduler: Scheduler,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: AgentdConfig,
    ended: CancellationToken,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        let scheduler = Scheduler::default();
        let ended = CancellationToken::new();
        let addr = scheduler
            .serve(SocketAddr::from(([127, 0, 0, 1], 0)), ended.clone())
            .await;
        let folder = tempfile::tempdir().unwrap();
        // Marks of processes hold the node's id: tests that run side by side have their own.
        let unique = folder
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .to_lowercase();
        let id = format!(
            "n{}",
            unique.replace(|c: char| !c.is_ascii_alphanumeric(), "")
        );
        let mut config = AgentdConfig::new(id.parse().unwrap(), folder.path().join("agent"));
        config.schedulers.push(addr.to_string());
        config.stop_grace = Duration::from_millis(500);
        Self {
            scheduler,
            folder,
            config,
            ended,
        }
    }

    pub(crate) async fn agent(&self) -> Agent {
        Agent::start(self.config.clone()).await
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.data_dir
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// A running agent and a connection to it.
pub(crate) struct Agent {
    pub(crate) handle: AgentdHandle,
    pub(crate) client: AgentServiceClient<Channel>,
}

impl Agent {
    pub(crate) async fn start(config: AgentdConfig) -> Self {
        let handle = start(config, CancellationToken::new()).await.unwrap();
        let url = format!("http://{}", handle.local_addr());
        let client = AgentServiceClient::connect(url).await.unwrap();
        Self { handle, client }
    }

    pub(crate) async fn apply(
        &mut self,
        id: &str,
        revision: &str,
        spec: agent::ContainerSpec,
    ) -> agent::ApplyWorkloadResponse {
        let request = apply(id, revision, spec);
        self.client
            .apply_workload(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn delete(&mut self, id: &str) {
        let request = agent::DeleteWorkloadRequest { id: id.to_owned() };
        let reply = self
            .client
            .delete_workload(request)
            .await
            .unwrap()
            .into_inner();
        assert!(reply.success, "{}", reply.message);
    }

    /// `None`: `NOT_FOUND`.
    pub(crate) async fn status(&mut self, id: &str) -> Option<agent::WorkloadStatus> {
        let request = agent::GetWorkloadStatusRequest { id: id.to_owned() };
        match self.client.get_workload_status(request).await {
            Ok(reply) => Some(reply.into_inner().status.unwrap()),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::NotFound, "{status}");
                assert_eq!(status.message(), "workload not found");
                None
            }
        }
    }

    pub(crate) async fn until(&mut self, id: &str, wanted: ActualState) -> agent::WorkloadStatus {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status(id).await;
            match status {
                Some(status) if status.actual_state() == wanted => return status,
                other => assert!(Instant::now() < until, "{id} is not {wanted:?}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn until_gone(&mut self, id: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while let Some(status) = self.status(id).await {
            assert!(Instant::now() < until, "{id} does not go: {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn apply(
    id: &str,
    revision: &str,
    spec: agent::ContainerSpec,
) -> agent::ApplyWorkloadRequest {
    let spec = agent::workload_spec::Spec::Container(spec);
    agent::ApplyWorkloadRequest {
        id: id.to_owned(),
        r#type: agent::WorkloadType::Container.into(),
        revision_id: revision.to_owned(),
        desired_state: agent::DesiredState::Running.into(),
        spec: Some(agent::WorkloadSpec { spec: Some(spec) }),
    }
}

pub(crate) fn command(line: &[&str]) -> agent::ContainerSpec {
    agent::ContainerSpec {
        image: "alpine:latest".to_owned(),
        command: line.iter().map(|word| (*word).to_owned()).collect(),
        ..Default::default()
    }
}

pub(crate) fn pid(status: &agent::WorkloadStatus) -> i32 {
    status.metadata["process.pid"].parse().unwrap()
}

/// Whether a process runs; one that ended and was not asked about does not.
pub(crate) fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Waits until something holds; fails after 20 s.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
