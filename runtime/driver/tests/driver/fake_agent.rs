//! An agent in memory, on a loopback port: applies are done at once, and it can be told to
//! misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use berth_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use berth_proto::agent::v1::{
    ActualState, ApplyWorkloadRequest, ApplyWorkloadResponse, DeleteWorkloadRequest,
    DeleteWorkloadResponse, GetWorkloadStatusRequest, GetWorkloadStatusResponse,
    HealthCheckRequest, HealthCheckResponse, ListActionsRequest, ListActionsResponse,
    ListWorkloadsRequest, ListWorkloadsResponse, WorkloadStatus,
};
use berth_proto::metadata;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

/// How it answers.
#[derive(Debug, Clone, Default)]
pub(crate) enum Mood {
    /// As it should.
    #[default]
    Good,
    /// Never.
    Silent,
    /// With an error.
    Refusing(Code, &'static str),
}

/// A call that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called {
    /// Its name and the workload that it is about.
    pub(crate) what: String,
    /// The leader's epoch, as the metadata say it.
    pub(crate) epoch: Option<i64>,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    calls: Vec<Called>,
    workloads: BTreeMap<String, WorkloadStatus>,
}

/// The agent. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct FakeAgent {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    address: SocketAddr,
}

impl FakeAgent {
    /// Starts one on a free port; it runs until the runtime ends.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = Self {
            state: Arc::default(),
            changed: watch::channel(0).0,
            address: listener.local_addr().unwrap(),
        };
        let service = AgentServiceServer::new(agent.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        agent
    }

    pub(crate) fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Waits until `holds` does of the calls that arrived.
    pub(crate) async fn wait_for(&self, holds: impl Fn(&[Called]) -> bool) -> Vec<Called> {
        let mut changes = self.changed.subscribe();
        loop {
            let calls = self.state().calls.clone();
            if holds(&calls) {
                return calls;
            }
            changes.changed().await.unwrap();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn enter<T>(&self, request: &Request<T>, what: String) -> Result<(), Status> {
        let epoch = request.metadata().get(metadata::EPOCH);
        let epoch = epoch.and_then(|text| text.to_str().ok()?.parse().ok());
        let mood = {
            let mut state = self.state();
            state.calls.push(Called { what, epoch });
            state.mood.clone()
        };
        self.changed.send_modify(|count| *count += 1);
        match mood {
            Mood::Good => Ok(()),
            Mood::Silent => std::future::pending().await,
            Mood::Refusing(code, message) => Err(Status::new(code, message)),
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AgentService for FakeAgent {
    async fn apply_workload(
        &self,
        request: Request<ApplyWorkloadRequest>,
    ) -> Answer<ApplyWorkloadResponse> {
        let what = format!("apply {}", request.get_ref().id);
        self.enter(&request, what).await?;
        let asked = request.into_inner();
        let status = WorkloadStatus {
            id: asked.id.clone(),
            r#type: asked.r#type,
            revision_id: asked.revision_id,
            desired_state: asked.desired_state,
            actual_state: ActualState::Running.into(),
            ..Default::default()
        };
        self.state().workloads.insert(asked.id, status);
        Ok(Response::new(ApplyWorkloadResponse {
            applied: true,
            ..Default::default()
        }))
    }

    async fn delete_workload(
        &self,
        request: Request<DeleteWorkloadRequest>,
    ) -> Answer<DeleteWorkloadResponse> {
        let what = format!("delete {}", request.get_ref().id);
        self.enter(&request, what).await?;
        self.state().workloads.remove(&request.get_ref().id);
        Ok(Response::new(DeleteWorkloadResponse {
            success: true,
            ..Default::default()
        }))
    }

    async fn get_workload_status(
        &self,
        request: Request<GetWorkloadStatusRequest>,
    ) -> Answer<GetWorkloadStatusResponse> {
        let what = format!("status {}", request.get_ref().id);
        self.enter(&request, what).await?;
        let status = self.state().workloads.get(&request.get_ref().id).cloned();
        match status {
            Some(status) => Ok(Response::new(GetWorkloadStatusResponse {
                status: Some(status),
            })),
            None => Err(Status::unknown("status not found")),
        }
    }

    async fn list_workloads(
        &self,
        request: Request<ListWorkloadsRequest>,
    ) -> Answer<ListWorkloadsResponse> {
        self.enter(&request, "list".to_owned()).await?;
        let workloads = self.state().workloads.values().cloned().collect();
        Ok(Response::new(ListWorkloadsResponse { workloads }))
    }

    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Answer<HealthCheckResponse> {
        Err(Status::unimplemented("not asked by the scheduler"))
    }

    async fn list_actions(&self, _: Request<ListActionsRequest>) -> Answer<ListActionsResponse> {
        Err(Status::unimplemented("not asked by the scheduler"))
    }
}
