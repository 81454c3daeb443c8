//! `etcdserverpb.Cluster`: a cluster of one.

use etcd_client::proto::{
    PbClusterService, PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest,
    PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest,
    PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse,
};
use tonic::{Request, Response, Status};

use super::{Services, unsupported};
use crate::wire::{MEMBER_ID, MEMBER_NAME, response};

#[tonic::async_trait]
impl PbClusterService for Services {
    async fn member_list(
        &self,
        _: Request<PbMemberListRequest>,
    ) -> Result<Response<PbMemberListResponse>, Status> {
        let header = response::header(self.revision().await?);
        let addresses = self.addresses.lock().expect("no holder panics");
        let member = PbMember {
            id: MEMBER_ID,
            name: MEMBER_NAME.to_owned(),
            client_ur_ls: addresses
                .iter()
                .map(|address| format!("http://{address}"))
                .collect(),
            ..PbMember::default()
        };
        Ok(Response::new(PbMemberListResponse {
            header,
            members: vec![member],
        }))
    }

    async fn member_add(
        &self,
        _: Request<PbMemberAddRequest>,
    ) -> Result<Response<PbMemberAddResponse>, Status> {
        Err(unsupported("second member"))
    }

    async fn member_remove(
        &self,
        _: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        Err(unsupported("second member"))
    }

    async fn member_update(
        &self,
        _: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        Err(unsupported("second member"))
    }

    async fn member_promote(
        &self,
        _: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        Err(unsupported("second member"))
    }
}
