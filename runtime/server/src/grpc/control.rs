//! `persys.control.v1.AgentControl`: all twelve methods.
//!
//! A mutation that is well formed is answered in band, because a client of this contract takes any
//! error code for a sick scheduler; codes are for malformed requests, for reads of what does not
//! exist, and for a scheduler that does not lead.

use berth_core::io::request::{
    NodeFilter, Query, Request as Ask, RequestError, Response as Answer, SuggestedAction,
    WorkloadFilter,
};
use berth_core::wire::{WireError, control_in, control_out, status};
use berth_proto::control::v1::{self as wire, agent_control_server::AgentControl};
use berth_proto::metadata::{BOOT_ID, INCARNATION};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::reply::{dated, said, status_of};
use crate::api::{Api, AskError, expect_answer};
use crate::health::now;

/// The service.
#[derive(Debug, Clone)]
pub struct ControlService {
    api: Api,
}

type Answered<T> = Result<Response<T>, Status>;

impl ControlService {
    /// The service in front of `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    /// A mutation: the core's refusal is a value, everything else an error.
    async fn mutate(&self, request: Ask) -> Result<Result<Answer, RequestError>, Status> {
        match self.api.ask(request).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(AskError::Core(error)) => status::mutated(Err(error)).map_err(said),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self, query: Query) -> Result<Answer, AskError> {
        self.api.ask(Ask::Read(query)).await
    }
}

/// What stands in the way of a mutation: in band, or as a code.
fn in_band(error: WireError) -> Result<RequestError, Status> {
    status::in_band(error).map_err(said)
}

/// For ids in reads, whatever is wrong with them.
fn as_status(error: WireError) -> Status {
    status_of(error.request_error())
}

/// Only heartbeats may be larger than what can be stored.
fn bounded(message: &impl prost::Message) -> Result<(), Status> {
    status::bounded(message).map_err(|error| status_of(&error))
}

fn metadata_text<'a>(metadata: &'a MetadataMap, key: &str) -> &'a str {
    metadata
        .get(key)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

#[tonic::async_trait]
impl AgentControl for ControlService {
    async fn register_node(
        &self,
        request: Request<wire::RegisterNodeRequest>,
    ) -> Answered<wire::RegisterNodeResponse> {
        bounded(request.get_ref())?;
        let boot_id = metadata_text(request.metadata(), BOOT_ID).to_owned();
        let incarnation = metadata_text(request.metadata(), INCARNATION).to_owned();
        let message = request.into_inner();
        let registration = match control_in::register_request(message, &boot_id, &incarnation) {
            Ok(registration) => registration,
            Err(error) => {
                let refused = control_out::register_refused(&in_band(error)?);
                return Ok(Response::new(refused));
            }
        };
        match self.mutate(Ask::Register(registration)).await? {
            Ok(Answer::Registered {
                heartbeat_interval,
                lease_expires_at,
            }) => Ok(Response::new(control_out::register_response(
                heartbeat_interval,
                lease_expires_at,
            ))),
            Ok(_) => Err(AskError::WrongAnswer.into()),
            Err(error) => Ok(Response::new(control_out::register_refused(&error))),
        }
    }

    async fn heartbeat(
        &self,
        request: Request<wire::HeartbeatRequest>,
    ) -> Answered<wire::HeartbeatResponse> {
        let heartbeat = control_in::heartbeat_request(request.into_inner()).map_err(as_status)?;
        // Not in band: an agent registers again on an error, and only then.
        let answer = self.api.ask(Ask::Heartbeat(heartbeat)).await?;
        let response = expect_answer!(answer, Answer::HeartbeatAck { drain, lease_expires_at } => {
            control_out::heartbeat_response(drain, lease_expires_at)
        })?;
        Ok(Response::new(response))
    }

    async fn apply_workload(
        &self,
        request: Request<wire::ApplyWorkloadRequest>,
    ) -> Answered<wire::ApplyWorkloadResponse> {
        bounded(request.get_ref())?;
        let refused = match control_in::apply_request(request.into_inner()) {
            Ok(ask) => self.mutate(ask).await?.err(),
            Err(error) => Some(in_band(error)?),
        };
        Ok(Response::new(control_out::apply_response(refused.as_ref())))
    }

    async fn delete_workload(
        &self,
        request: Request<wire::DeleteWorkloadRequest>,
    ) -> Answered<wire::DeleteWorkloadResponse> {
        bounded(request.get_ref())?;
        let ask = control_in::delete_request(request.get_ref()).map_err(as_status)?;
        let refused = self.mutate(ask).await?.err();
        Ok(Response::new(control_out::delete_response(
            refused.as_ref(),
        )))
    }

    async fn retry_workload(
        &self,
        request: Request<wire::RetryWorkloadRequest>,
    ) -> Answered<wire::RetryWorkloadResponse> {
        bounded(request.get_ref())?;
        let ask = control_in::retry_request(request.get_ref()).map_err(as_status)?;
        let refused = self.mutate(ask).await?.err();
        Ok(Response::new(control_out::retry_response(refused.as_ref())))
    }

    async fn submit_automation_suggestion(
        &self,
        request: Request<wire::SubmitAutomationSuggestionRequest>,
    ) -> Answered<wire::SubmitAutomationSuggestionResponse> {
        bounded(request.get_ref())?;
        let suggestion = match control_in::suggestion(request.into_inner()) {
            Ok(suggestion) => suggestion,
            Err(error) => return Ok(rejected(None, &in_band(error)?)),
        };
        let action = suggestion.action;
        match self.mutate(Ask::Suggest(suggestion)).await? {
            Ok(Answer::Suggestion {
                accepted,
                reason,
                decided_at,
            }) => Ok(Response::new(control_out::suggestion_response(
                Some(action),
                accepted,
                reason,
                decided_at,
            ))),
            Ok(_) => Err(AskError::WrongAnswer.into()),
            Err(error) => Ok(rejected(Some(action), &error)),
        }
    }

    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Answered<wire::ListNodesResponse> {
        let status = Some(request.into_inner().status).filter(|text| !text.trim().is_empty());
        let filter = NodeFilter {
            status,
            ..NodeFilter::default()
        };
        let answer = self.read(Query::Nodes(filter)).await?;
        let (nodes, freshness) = expect_answer!(
            answer,
            Answer::Nodes { nodes, freshness, .. } => (nodes, freshness)
        )?;
        let nodes = nodes.iter().map(control_out::node_view).collect();
        Ok(dated(wire::ListNodesResponse { nodes }, freshness))
    }

    async fn get_node(
        &self,
        request: Request<wire::GetNodeRequest>,
    ) -> Answered<wire::GetNodeResponse> {
        let id = control_in::node_id("node_id", &request.get_ref().node_id).map_err(as_status)?;
        let answer = self.read(Query::Node(id)).await?;
        let view = expect_answer!(answer, Answer::Node(view) => view)?;
        let node = Some(control_out::node_view(&view));
        Ok(dated(wire::GetNodeResponse { node }, view.freshness))
    }

    async fn list_workloads(
        &self,
        request: Request<wire::ListWorkloadsRequest>,
    ) -> Answered<wire::ListWorkloadsResponse> {
        let message = request.into_inner();
        let node = match message.node_id.as_str() {
            "" => None,
            id => Some(control_in::node_id("node_id", id).map_err(as_status)?),
        };
        let status = Some(message.status).filter(|text| !text.trim().is_empty());
        let filter = WorkloadFilter {
            node,
            status,
            ..WorkloadFilter::default()
        };
        let answer = self.read(Query::Workloads(filter)).await?;
        let (workloads, freshness) = expect_answer!(
            answer,
            Answer::Workloads { workloads, freshness, .. } => (workloads, freshness)
        )?;
        let workloads = workloads.iter().map(control_out::workload_view).collect();
        Ok(dated(wire::ListWorkloadsResponse { workloads }, freshness))
    }

    async fn get_workload(
        &self,
        request: Request<wire::GetWorkloadRequest>,
    ) -> Answered<wire::GetWorkloadResponse> {
        let id = control_in::workload_id("workload_id", &request.get_ref().workload_id)
            .map_err(as_status)?;
        let answer = self.read(Query::Workload(id)).await?;
        let view = expect_answer!(answer, Answer::Workload(view) => view)?;
        let workload = Some(control_out::workload_view(&view));
        Ok(dated(
            wire::GetWorkloadResponse { workload },
            view.freshness,
        ))
    }

    async fn get_cluster_summary(
        &self,
        _request: Request<wire::GetClusterSummaryRequest>,
    ) -> Answered<wire::GetClusterSummaryResponse> {
        let answer = self.read(Query::Summary).await?;
        let summary = expect_answer!(answer, Answer::Summary(summary) => summary)?;
        Ok(dated(
            control_out::cluster_summary(&summary),
            summary.freshness,
        ))
    }

    type ControlStreamStream = futures::stream::Empty<Result<wire::ControlMessage, Status>>;

    async fn control_stream(
        &self,
        _request: Request<Streaming<wire::ControlMessage>>,
    ) -> Answered<Self::ControlStreamStream> {
        Err(Status::unimplemented(
            "ControlStream is not served; use the unary methods",
        ))
    }
}

fn rejected(
    action: Option<SuggestedAction>,
    error: &RequestError,
) -> Response<wire::SubmitAutomationSuggestionResponse> {
    let reason = error.to_string();
    Response::new(control_out::suggestion_response(
        action,
        false,
        reason,
        now(),
    ))
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
