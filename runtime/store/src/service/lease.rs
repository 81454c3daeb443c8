//! `etcdserverpb.Lease`: leases.

use std::pin::Pin;

use berth_kv::{LeaseId, Response as Answer};
use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse,
    PbLeaseService, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{Services, unexpected};
use crate::record::Record;
use crate::wire::{request, response};

impl Services {
    async fn keep_alive(&self, id: LeaseId) -> Result<PbLeaseKeepAliveResponse, Status> {
        match self.ask(berth_kv::Request::LeaseKeepAlive { id }).await? {
            Answer::LeaseKeepAlive {
                revision,
                id,
                ttl_s,
            } => Ok(PbLeaseKeepAliveResponse {
                header: response::header(revision),
                id: id.0,
                ttl: ttl_s,
            }),
            other => Err(unexpected(&other)),
        }
    }
}

#[tonic::async_trait]
impl PbLeaseService for Services {
    async fn lease_grant(
        &self,
        message: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let message = message.into_inner();
        let record = Record::lease_grant(&message);
        match self.write(request::lease_grant(&message), record).await? {
            Answer::LeaseGrant {
                revision,
                id,
                ttl_s,
            } => Ok(Response::new(PbLeaseGrantResponse {
                header: response::header(revision),
                id: id.0,
                ttl: ttl_s,
                error: String::new(),
            })),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        message: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let id = LeaseId(message.into_inner().id);
        let revoke = berth_kv::Request::LeaseRevoke { id };
        let answer = self.write(revoke, Record::lease_revoke(id)).await?;
        Ok(Response::new(PbLeaseRevokeResponse {
            header: response::header(answer.revision()),
        }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<PbLeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        messages: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let services = self.clone();
        let answers = messages.into_inner().then(move |message| {
            let services = services.clone();
            async move { services.keep_alive(LeaseId(message?.id)).await }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        message: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let message = message.into_inner();
        let (id, keys) = (LeaseId(message.id), message.keys);
        match self
            .ask(berth_kv::Request::LeaseTimeToLive { id, keys })
            .await?
        {
            Answer::LeaseTimeToLive {
                revision,
                id,
                lease,
            } => Ok(Response::new(response::time_to_live(revision, id, lease))),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_leases(
        &self,
        _: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        match self.ask(berth_kv::Request::LeaseList).await? {
            Answer::LeaseList { revision, leases } => {
                Ok(Response::new(response::leases(revision, leases)))
            }
            other => Err(unexpected(&other)),
        }
    }
}
