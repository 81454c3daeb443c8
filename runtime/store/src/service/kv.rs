//! `etcdserverpb.KV`: keys.

use berth_kv::Response as Answer;
use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService,
    PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse,
    PbTxnRequest, PbTxnResponse,
};
use tonic::{Request, Response, Status};

use super::{Services, unexpected, unsupported};
use crate::record::Record;
use crate::wire::{request, response};

#[tonic::async_trait]
impl PbKvService for Services {
    async fn range(
        &self,
        message: Request<PbRangeRequest>,
    ) -> Result<Response<PbRangeResponse>, Status> {
        let range = request::range(message.into_inner())?;
        match self.ask(berth_kv::Request::Range(range)).await? {
            Answer::Range(answer) => Ok(Response::new(response::range(answer))),
            other => Err(unexpected(&other)),
        }
    }

    type RangeStreamStream = tokio_stream::Empty<Result<PbRangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(unsupported("streamed ranges"))
    }

    async fn put(&self, message: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        let message = message.into_inner();
        let record = Record::put(&message);
        match self
            .write(berth_kv::Request::Put(request::put(message)), record)
            .await?
        {
            Answer::Put(answer) => Ok(Response::new(response::put(answer))),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete_range(
        &self,
        message: Request<PbDeleteRequest>,
    ) -> Result<Response<PbDeleteResponse>, Status> {
        let message = message.into_inner();
        let record = Record::delete_range(&message);
        let delete = berth_kv::Request::DeleteRange(request::delete(message));
        match self.write(delete, record).await? {
            Answer::DeleteRange(answer) => Ok(Response::new(response::delete(answer))),
            other => Err(unexpected(&other)),
        }
    }

    async fn txn(&self, message: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        let message = message.into_inner();
        let record = Record::txn(&message);
        match self
            .write(berth_kv::Request::Txn(request::txn(message)?), record)
            .await?
        {
            Answer::Txn(answer) => Ok(Response::new(response::txn(answer))),
            other => Err(unexpected(&other)),
        }
    }

    async fn compact(
        &self,
        message: Request<PbCompactionRequest>,
    ) -> Result<Response<PbCompactionResponse>, Status> {
        let message = message.into_inner();
        let record = Record::compact(&message);
        let compact = berth_kv::Request::Compact {
            revision: message.revision,
        };
        let answer = self.write(compact, record).await?;
        Ok(Response::new(PbCompactionResponse {
            header: response::header(answer.revision()),
        }))
    }
}
