//! `persys.agent.v1.AgentService`, as the machine answers it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use berth_agent::{AgentReply, AgentRequest, Caller, Refusal};
use berth_core::Epoch;
use berth_proto::agent::v1 as proto;
use berth_proto::agent::v1::agent_service_server::AgentService;
use berth_proto::metadata;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use crate::driver::Call;
use crate::host::{self, CpuSampler};

/// The service. Everything but health goes through the machine.
pub(crate) struct Service {
    pub(crate) calls: mpsc::Sender<Call>,
    pub(crate) version: String,
    pub(crate) runtimes: Vec<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) cpu: Mutex<CpuSampler>,
}

impl Service {
    async fn ask<T>(
        &self,
        request: Request<T>,
        wrap: impl FnOnce(T) -> AgentRequest,
    ) -> Result<AgentReply, Status> {
        let caller = caller(&request)?;
        let (reply, answer) = oneshot::channel();
        let request = wrap(request.into_inner());
        let ending = |_| Status::unavailable("the agent is ending");
        self.calls
            .send(Call {
                caller,
                request,
                reply,
            })
            .await
            .map_err(|_| ending(()))?;
        match answer.await.map_err(|_| ending(()))? {
            AgentReply::Refused(refusal) => Err(status(&refusal)),
            reply => Ok(reply),
        }
    }
}

/// What the caller says of itself.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let text = |key: &str| {
        request
            .metadata()
            .get(key)
            .map(|value| value.to_str().unwrap_or(""))
    };
    let wrong = |key: &str| Status::invalid_argument(format!("{key} is not a decimal number"));
    let epoch = text(metadata::EPOCH).map(str::parse).transpose();
    let call = text(metadata::CALL).map(str::parse).transpose();
    let node = text(metadata::NODE).map(str::parse).transpose();
    let no_node = |problem| Status::invalid_argument(format!("{}: {problem}", metadata::NODE));
    Ok(Caller {
        node: node.map_err(no_node)?,
        epoch: epoch.map_err(|_| wrong(metadata::EPOCH))?.map(Epoch),
        call: call.map_err(|_| wrong(metadata::CALL))?,
    })
}

fn status(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::StaleEpoch { .. } | Refusal::StaleCall { .. } | Refusal::AnotherNode { .. } => {
            Status::failed_precondition(text)
        }
        Refusal::NotFound => Status::not_found(text),
        Refusal::Full(_) => Status::resource_exhausted(text),
        Refusal::NotDurable(_) => Status::unavailable(text),
    }
}

fn mismatch() -> Status {
    Status::internal("the machine gave an answer of another kind")
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn apply_workload(
        &self,
        request: Request<proto::ApplyWorkloadRequest>,
    ) -> Result<Response<proto::ApplyWorkloadResponse>, Status> {
        match self.ask(request, AgentRequest::Apply).await? {
            AgentReply::Apply(reply) => Ok(Response::new(*reply)),
            _ => Err(mismatch()),
        }
    }

    async fn delete_workload(
        &self,
        request: Request<proto::DeleteWorkloadRequest>,
    ) -> Result<Response<proto::DeleteWorkloadResponse>, Status> {
        match self.ask(request, AgentRequest::Delete).await? {
            AgentReply::Delete(reply) => Ok(Response::new(reply)),
            _ => Err(mismatch()),
        }
    }

    async fn get_workload_status(
        &self,
        request: Request<proto::GetWorkloadStatusRequest>,
    ) -> Result<Response<proto::GetWorkloadStatusResponse>, Status> {
        match self.ask(request, AgentRequest::Status).await? {
            AgentReply::Status(reply) => Ok(Response::new(*reply)),
            _ => Err(mismatch()),
        }
    }

    async fn list_workloads(
        &self,
        request: Request<proto::ListWorkloadsRequest>,
    ) -> Result<Response<proto::ListWorkloadsResponse>, Status> {
        match self.ask(request, AgentRequest::List).await? {
            AgentReply::List(reply) => Ok(Response::new(Arc::unwrap_or_clone(reply))),
            _ => Err(mismatch()),
        }
    }

    async fn health_check(
        &self,
        _request: Request<proto::HealthCheckRequest>,
    ) -> Result<Response<proto::HealthCheckResponse>, Status> {
        let share = self
            .cpu
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sample();
        let healthy = |name: &String| (name.clone(), "healthy".to_owned());
        Ok(Response::new(proto::HealthCheckResponse {
            healthy: true,
            version: self.version.clone(),
            runtime_status: self
                .runtimes
                .iter()
                .map(healthy)
                .collect::<BTreeMap<_, _>>(),
            memory_utilization: host::memory().percent(),
            cpu_utilization: f64::from(u32::try_from(share).unwrap_or(u32::MAX)) / 10.0,
            disk_utilization: host::disk(&self.data_dir).percent(),
        }))
    }

    async fn list_actions(
        &self,
        request: Request<proto::ListActionsRequest>,
    ) -> Result<Response<proto::ListActionsResponse>, Status> {
        match self.ask(request, AgentRequest::Actions).await? {
            AgentReply::Actions(reply) => Ok(Response::new(reply)),
            _ => Err(mismatch()),
        }
    }
}
