//! One call to one agent.

use berth_core::io::{AgentCall, AgentError, AgentOp, AgentReply};
use berth_core::wire::agent_in::{apply_reply, call_error, delete_reply, listing, status_reply};
use berth_core::wire::agent_out::{AgentRequest, agent_request};
use berth_proto::agent::v1::agent_service_client::AgentServiceClient;
use berth_proto::metadata;
use tokio::time::Instant;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::pool::{Connect, Pool};
use super::status::{describe, had_connection};
use crate::metrics::{AgentRpc, DriverMetrics};
use crate::store::LeaseGuard;

/// A listing of a large node may exceed the 4 MiB that tonic takes by default.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Makes the call and says what came of it, in the core's terms.
pub(super) async fn make(
    call: AgentCall,
    pool: &Pool,
    connect: &dyn Connect,
    lease: &LeaseGuard,
    metrics: &DriverMetrics,
) -> Result<AgentReply, AgentError> {
    // The order may have waited; from here on to the wire it does not any more (S2).
    if !lease.is_valid() {
        return Err(AgentError::Unreachable(
            "the leadership lease ran out".to_owned(),
        ));
    }
    let channel = pool
        .get(&call.endpoint, connect)
        .map_err(AgentError::Unreachable)?;
    let client = AgentServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let began = Instant::now();
    let answered = match tokio::time::timeout(call.timeout, send(client, &call)).await {
        Ok(answered) => answered,
        Err(_) => Err(Box::new(Status::deadline_exceeded("no answer in time"))),
    };
    let code = match &answered {
        Ok(_) => Code::Ok,
        Err(status) => code_of(status),
    };
    metrics.call(AgentRpc::of(&call.op), code, began.elapsed());
    match answered {
        Ok(reply) => reply,
        Err(status) => {
            let connected = had_connection(&status);
            // An agent's own words are matched exactly; those of our side are for people.
            let message = if connected {
                status.message().to_owned()
            } else {
                describe(&status)
            };
            call_error(&call.op, code as i32, &message, connected)
        }
    }
}

/// A deadline of ours that arrives as `Cancelled` is counted as what it is.
fn code_of(status: &Status) -> Code {
    if status.code() == Code::Cancelled && status.message() == "Timeout expired" {
        return Code::DeadlineExceeded;
    }
    status.code()
}

type Answered = Result<Result<AgentReply, AgentError>, Box<Status>>;

/// Sends the request of a call. An outer error is gRPC's, an inner one the agent's.
async fn send(mut client: AgentServiceClient<Channel>, call: &AgentCall) -> Answered {
    match agent_request(&call.op) {
        AgentRequest::Apply(message) => {
            let answer = client.apply_workload(with_epoch(message, call)).await?;
            Ok(Ok(apply_reply(answer.get_ref())))
        }
        AgentRequest::Delete(message) => {
            let answer = client.delete_workload(with_epoch(message, call)).await?;
            Ok(Ok(delete_reply(answer.get_ref())))
        }
        AgentRequest::Status(message) => {
            let answer = client
                .get_workload_status(with_epoch(message, call))
                .await?;
            Ok(match &call.op {
                AgentOp::Status { workload } => status_reply(workload, answer.into_inner()),
                AgentOp::Apply { .. } | AgentOp::Delete { .. } | AgentOp::List => {
                    Err(AgentError::Failed("asked for something else".to_owned()))
                }
            })
        }
        AgentRequest::List(message) => {
            let answer = client.list_workloads(with_epoch(message, call)).await?;
            Ok(listing(answer.get_ref()))
        }
    }
}

/// The request with the leader's epoch and the call's number, so that a late one is told from a
/// new one, with the node that is meant, and with the deadline, so that the agent knows it too.
fn with_epoch<T>(message: T, call: &AgentCall) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(call.timeout);
    let epoch = AsciiMetadataValue::from(call.epoch.0);
    request.metadata_mut().insert(metadata::EPOCH, epoch);
    let number = AsciiMetadataValue::from(call.id.0);
    request.metadata_mut().insert(metadata::CALL, number);
    // An id that is no header's value is asked for without: the agent takes it for meant.
    if let Ok(node) = AsciiMetadataValue::try_from(call.node.as_str()) {
        request.metadata_mut().insert(metadata::NODE, node);
    }
    request
}
