//! An agent inside the test: speaks the wire contracts, runs nothing, records everything.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_proto::agent::v1 as agent;
use berth_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use berth_proto::control::v1 as control;
use berth_proto::control::v1::agent_control_client::AgentControlClient;
use berth_proto::metadata::{CALL, EPOCH};
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::agent_book::{AgentBook, Call, CallKind};

/// Looks at a mutation before it is carried out; `Err` is noted as a complaint.
pub type Witness = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What the agent says of its node, and how it behaves.
#[derive(Clone)]
pub struct FakeAgentOptions {
    /// The node's id.
    pub node: String,
    /// All CPU, millicores.
    pub cpu_millicores: i64,
    /// All memory, MiB.
    pub memory_mb: i64,
    /// All disk, GiB.
    pub disk_gb: i64,
    /// From an accepted apply until it runs.
    pub start_delay: Duration,
    /// Between two heartbeats; `None`: as the scheduler says.
    pub heartbeat: Option<Duration>,
    /// Looks at every mutation.
    pub witness: Option<Witness>,
    /// How long an answer of a scheduler is waited for.
    pub patience: Duration,
    /// Where it listens; port 0: any.
    pub listen: String,
    /// `host:port` at which the scheduler reaches it; `None`: where it listens.
    pub advertise: Option<String>,
}

impl FakeAgentOptions {
    /// A node with this much of everything: CPU in millicores, memory in MiB.
    #[must_use]
    pub fn new(node: &str, cpu_millicores: i64, memory_mb: i64) -> Self {
        Self {
            node: node.to_owned(),
            cpu_millicores,
            memory_mb,
            disk_gb: 100,
            start_delay: Duration::ZERO,
            heartbeat: None,
            witness: None,
            patience: Duration::from_secs(10),
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
        }
    }
}

impl fmt::Debug for FakeAgentOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeAgentOptions")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// A running agent; it ends when this is dropped.
#[derive(Debug)]
pub struct FakeAgent {
    book: Arc<AgentBook>,
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl FakeAgent {
    /// Serves on a free port and registers with the scheduler's gRPC address.
    ///
    /// # Panics
    /// When it cannot listen, or the address is none.
    pub async fn start(scheduler: &str, options: FakeAgentOptions) -> Self {
        Self::start_at(&[scheduler.to_owned()], options).await
    }

    /// The same with several schedulers, which are tried in turn, as the reference agent does.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_at(schedulers: &[String], options: FakeAgentOptions) -> Self {
        let listener = TcpListener::bind(&options.listen)
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let book = Arc::new(AgentBook::default());
        let service = Service {
            book: Arc::clone(&book),
            options: options.clone(),
        };
        let serve = tonic::transport::Server::builder()
            .add_service(AgentServiceServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let endpoints = schedulers.iter().map(|scheduler| {
            Channel::from_shared(format!("http://{scheduler}"))
                .expect("host:port makes a URI")
                .timeout(options.patience)
        });
        let beat = heartbeats(endpoints.collect(), address, Arc::clone(&book), options);
        let tasks = vec![
            tokio::spawn(async move {
                let _ = serve.await;
            }),
            tokio::spawn(beat),
        ];
        Self {
            book,
            address,
            tasks,
        }
    }

    /// What it was asked and what it holds.
    #[must_use]
    pub fn book(&self) -> &AgentBook {
        &self.book
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Registers, then heartbeats for ever; registers again after an error, as existing agents do.
async fn heartbeats(
    endpoints: Vec<Endpoint>,
    address: SocketAddr,
    book: Arc<AgentBook>,
    options: FakeAgentOptions,
) {
    // The next scheduler after an error; a new connection, since the old one may be dead.
    for endpoint in endpoints.iter().cycle() {
        let mut client = AgentControlClient::new(endpoint.connect_lazy());
        let registered = client.register_node(registration(address, &options)).await;
        let told = match registered {
            Ok(answer) if answer.get_ref().accepted => answer.get_ref().heartbeat_interval_seconds,
            Ok(_) | Err(_) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let told = Duration::from_secs(u64::try_from(told).unwrap_or(0).max(1));
        let interval = options.heartbeat.unwrap_or(told);
        loop {
            let beat = control::HeartbeatRequest {
                node_id: options.node.clone(),
                // Nothing used, nothing allocated: placement must not believe it.
                usage: Some(control::NodeUsage::default()),
                workload_statuses: book.heartbeat(),
                ..control::HeartbeatRequest::default()
            };
            if client.heartbeat(beat).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                break;
            }
            tokio::time::sleep(interval).await;
        }
    }
}

fn registration(address: SocketAddr, options: &FakeAgentOptions) -> control::RegisterNodeRequest {
    let pool = control::StoragePool {
        name: "root".to_owned(),
        r#type: "local".to_owned(),
        total_gb: options.disk_gb,
    };
    let capabilities = control::NodeCapabilities {
        cpu_total_millicores: options.cpu_millicores,
        memory_total_mb: options.memory_mb,
        storage_pools: vec![pool],
        supported_workload_types: ["container", "compose", "vm"]
            .map(ToOwned::to_owned)
            .to_vec(),
        supported_storage_drivers: vec!["local".to_owned()],
    };
    control::RegisterNodeRequest {
        node_id: options.node.clone(),
        capabilities: Some(capabilities),
        labels: [("os", "linux"), ("arch", "amd64")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        grpc_endpoint: options
            .advertise
            .clone()
            .unwrap_or_else(|| address.to_string()),
        ..control::RegisterNodeRequest::default()
    }
}

/// The agent's side of the calls.
struct Service {
    book: Arc<AgentBook>,
    options: FakeAgentOptions,
}

impl Service {
    fn call<T>(&self, kind: CallKind, workload: &str, request: &Request<T>) -> Call {
        let text = |key| request.metadata().get(key).and_then(|v| v.to_str().ok());
        let epoch = text(EPOCH).and_then(|v| v.parse().ok());
        let number = text(CALL).and_then(|v| v.parse().ok());
        Call {
            at: Instant::now(),
            kind,
            workload: workload.to_owned(),
            revision: String::new(),
            running: false,
            epoch,
            number,
        }
    }

    fn admit(&self, call: &Call) -> Result<(), Status> {
        if self.book.admits(call) {
            return Ok(());
        }
        let text = format!("stale epoch or call: {:?} {:?}", call.epoch, call.number);
        Err(Status::failed_precondition(text))
    }

    async fn note(&self, call: Call) {
        let mutation = matches!(call.kind, CallKind::Apply | CallKind::Delete);
        self.book.note(call.clone());
        if let Some(witness) = self.options.witness.as_ref().filter(|_| mutation)
            && let Err(problem) = witness(call).await
        {
            self.book.complain(problem);
        }
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn apply_workload(
        &self,
        request: Request<agent::ApplyWorkloadRequest>,
    ) -> Result<Response<agent::ApplyWorkloadResponse>, Status> {
        let mut call = self.call(CallKind::Apply, &request.get_ref().id, &request);
        let request = request.into_inner();
        call.revision.clone_from(&request.revision_id);
        call.running = request.desired_state != agent::DesiredState::Stopped as i32;
        self.note(call.clone()).await;
        self.admit(&call)?;
        self.book.apply(&request, self.options.start_delay);
        let status = agent::WorkloadStatus {
            id: request.id,
            actual_state: agent::ActualState::Pending as i32,
            ..agent::WorkloadStatus::default()
        };
        Ok(Response::new(agent::ApplyWorkloadResponse {
            applied: true,
            skipped: false,
            message: "accepted".to_owned(),
            status: Some(status),
        }))
    }

    async fn delete_workload(
        &self,
        request: Request<agent::DeleteWorkloadRequest>,
    ) -> Result<Response<agent::DeleteWorkloadResponse>, Status> {
        let call = self.call(CallKind::Delete, &request.get_ref().id, &request);
        self.note(call.clone()).await;
        self.admit(&call)?;
        self.book.delete(&request.get_ref().id);
        let message = "accepted".to_owned();
        Ok(Response::new(agent::DeleteWorkloadResponse {
            success: true,
            message,
        }))
    }

    async fn get_workload_status(
        &self,
        request: Request<agent::GetWorkloadStatusRequest>,
    ) -> Result<Response<agent::GetWorkloadStatusResponse>, Status> {
        self.note(self.call(CallKind::Status, &request.get_ref().id, &request))
            .await;
        match self.book.status(&request.get_ref().id) {
            Some(status) => Ok(Response::new(agent::GetWorkloadStatusResponse {
                status: Some(status),
            })),
            // In the words and with the code of existing agents.
            None => Err(Status::unknown("status not found: status not found")),
        }
    }

    async fn list_workloads(
        &self,
        request: Request<agent::ListWorkloadsRequest>,
    ) -> Result<Response<agent::ListWorkloadsResponse>, Status> {
        self.note(self.call(CallKind::List, "", &request)).await;
        Ok(Response::new(agent::ListWorkloadsResponse {
            workloads: self.book.list(),
        }))
    }

    async fn health_check(
        &self,
        _: Request<agent::HealthCheckRequest>,
    ) -> Result<Response<agent::HealthCheckResponse>, Status> {
        let healthy = agent::HealthCheckResponse {
            healthy: true,
            ..Default::default()
        };
        Ok(Response::new(healthy))
    }

    async fn list_actions(
        &self,
        _: Request<agent::ListActionsRequest>,
    ) -> Result<Response<agent::ListActionsResponse>, Status> {
        Ok(Response::new(agent::ListActionsResponse::default()))
    }
}
