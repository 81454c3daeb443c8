//! `etcdserverpb.Maintenance`: what `etcdctl endpoint` asks, and the alarm about space.

use berth_kv::Response as Answer;
use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse,
    PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest,
    PbSnapshotResponse, PbStatusRequest, PbStatusResponse,
};
use tonic::{Request, Response, Status};

use super::{Services, unexpected, unsupported};
use crate::record::Record;
use crate::wire::status::failed;
use crate::wire::{MEMBER_ID, RAFT_TERM, VERSION, request, response};

#[tonic::async_trait]
impl PbMaintenanceService for Services {
    async fn alarm(
        &self,
        message: Request<PbAlarmRequest>,
    ) -> Result<Response<PbAlarmResponse>, Status> {
        let message = message.into_inner();
        let record = Record::alarm(&message);
        match self.write(request::alarm(&message)?, record).await? {
            Answer::NoSpaceAlarm { revision, active } => Ok(Response::new(PbAlarmResponse {
                header: response::header(revision),
                alarms: response::alarms(active),
            })),
            other => Err(unexpected(&other)),
        }
    }

    async fn status(
        &self,
        _: Request<PbStatusRequest>,
    ) -> Result<Response<PbStatusResponse>, Status> {
        let status = self.owner.status().await.map_err(failed)?;
        let size = i64::try_from(status.size_bytes).unwrap_or(i64::MAX);
        let alarm = status.no_space.then(|| "NOSPACE".to_owned());
        Ok(Response::new(PbStatusResponse {
            header: response::header(status.revision),
            version: VERSION.to_owned(),
            db_size: size,
            db_size_in_use: size,
            leader: MEMBER_ID,
            raft_index: status.mutations,
            raft_applied_index: status.mutations,
            raft_term: RAFT_TERM,
            errors: alarm.into_iter().collect(),
            ..PbStatusResponse::default()
        }))
    }

    async fn defragment(
        &self,
        _: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        let header = response::header(self.revision().await?);
        Ok(Response::new(PbDefragmentResponse { header }))
    }

    async fn hash(&self, _: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        Err(unsupported("hash of etcd's files"))
    }

    async fn hash_kv(
        &self,
        _: Request<PbHashKvRequest>,
    ) -> Result<Response<PbHashKvResponse>, Status> {
        Err(unsupported("hash of etcd's files"))
    }

    type SnapshotStream = tokio_stream::Empty<Result<PbSnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(unsupported("snapshots in etcd's format"))
    }

    async fn move_leader(
        &self,
        _: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        Err(unsupported("second member"))
    }

    async fn downgrade(
        &self,
        _: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        Err(unsupported("second version"))
    }
}
