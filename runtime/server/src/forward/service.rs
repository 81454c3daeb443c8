//! `berth.replica.v1.Replica`: the leader's side of forwarding.

use berth_core::StoreRevision;
use berth_driver::Replica as Own;
use berth_proto::replica::v1::replica_server::{Replica, ReplicaServer};
use berth_proto::replica::v1::{ForwardRequest, ForwardResponse};
use tonic::{Request, Response, Status};

use super::{FORWARD_BYTES_MAX, wire};
use crate::api::Api;
use crate::call::Call;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaService {
    api: Api,
    own: Own,
}

impl ReplicaService {
    /// The service in front of `api`, for those who know the secret of `own`.
    pub(crate) fn server(api: Api, own: Own) -> ReplicaServer<Self> {
        ReplicaServer::new(Self { api, own })
            .max_decoding_message_size(FORWARD_BYTES_MAX)
            .max_encoding_message_size(FORWARD_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl Replica for ReplicaService {
    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardResponse>, Status> {
        let message = request.into_inner();
        // What it says of the caller is believed of a replica only.
        if !self.own.secret.is_known_as(&message.secret) {
            let text = "only replicas that read this one's record in the store may forward";
            return Err(Status::permission_denied(text));
        }
        let outcome = match wire::request_in(&message.request) {
            Err(why) => wire::not_done(format!("the request is of another version: {why}")),
            Ok(_) if !self.api.core().health().leading => {
                wire::not_done(format!("{} does not lead", self.own.id))
            }
            Ok(request) => {
                let call = Call {
                    caller: wire::caller_in(message.caller),
                    at_least: StoreRevision(message.at_least_revision),
                    strong: true,
                    forwarded: true,
                    ..Call::current()
                };
                let Call { caller, .. } = &call;
                tracing::debug!(
                    from = message.from,
                    address = caller.address,
                    subject = caller.subject,
                    "a call was forwarded to this replica"
                );
                let answer = call.scope(self.api.ask(request)).await;
                wire::outcome_out(answer)?
            }
        };
        let outcome = Some(outcome);
        Ok(Response::new(ForwardResponse { outcome }))
    }
}
