//! Entries of the durable log: the requests that changed something, as etcd's own messages.

use berth_kv::{LeaseId, Request};
use etcd_client::proto::{
    PbAlarmRequest, PbCompactionRequest, PbDeleteRequest, PbLeaseGrantRequest,
    PbLeaseRevokeRequest, PbPutRequest, PbTxnRequest,
};
use prost::Message;

use crate::error::StoreError;
use crate::wire::request as wire;

/// Which message a record holds. The numbers are the format on disk: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Put = 1,
    DeleteRange = 2,
    Txn = 3,
    Compact = 4,
    LeaseGrant = 5,
    LeaseRevoke = 6,
    Alarm = 7,
}

/// One entry: a byte for the kind, then the encoded message. Replaying it on the state that it
/// was first applied to gives the same state, chosen lease ids included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record(Vec<u8>);

impl Record {
    fn new(kind: Kind, message: &impl Message) -> Self {
        let mut bytes = Vec::with_capacity(1 + message.encoded_len());
        bytes.push(kind as u8);
        message
            .encode(&mut bytes)
            .expect("a vector grows as needed");
        Record(bytes)
    }

    pub(crate) fn put(message: &PbPutRequest) -> Self {
        Record::new(Kind::Put, message)
    }

    pub(crate) fn delete_range(message: &PbDeleteRequest) -> Self {
        Record::new(Kind::DeleteRange, message)
    }

    pub(crate) fn txn(message: &PbTxnRequest) -> Self {
        Record::new(Kind::Txn, message)
    }

    pub(crate) fn compact(message: &PbCompactionRequest) -> Self {
        Record::new(Kind::Compact, message)
    }

    pub(crate) fn lease_grant(message: &PbLeaseGrantRequest) -> Self {
        Record::new(Kind::LeaseGrant, message)
    }

    pub(crate) fn lease_revoke(id: LeaseId) -> Self {
        Record::new(Kind::LeaseRevoke, &PbLeaseRevokeRequest { id: id.0 })
    }

    pub(crate) fn alarm(message: &PbAlarmRequest) -> Self {
        Record::new(Kind::Alarm, message)
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Record(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The request to replay.
    pub(crate) fn decode(&self) -> Result<Request, StoreError> {
        let corrupt = |error: &dyn std::fmt::Display| StoreError::Corrupt(error.to_string());
        let (kind, body) = self
            .0
            .split_first()
            .ok_or_else(|| corrupt(&"an empty record"))?;
        let bad_message = |error: prost::DecodeError| corrupt(&error);
        let bad_request = |status: tonic::Status| corrupt(&status);
        match *kind {
            k if k == Kind::Put as u8 => PbPutRequest::decode(body)
                .map(wire::put)
                .map(Request::Put)
                .map_err(bad_message),
            k if k == Kind::DeleteRange as u8 => PbDeleteRequest::decode(body)
                .map(wire::delete)
                .map(Request::DeleteRange)
                .map_err(bad_message),
            k if k == Kind::Txn as u8 => {
                let message = PbTxnRequest::decode(body).map_err(bad_message)?;
                wire::txn(message).map(Request::Txn).map_err(bad_request)
            }
            k if k == Kind::Compact as u8 => PbCompactionRequest::decode(body)
                .map(|message| Request::Compact {
                    revision: message.revision,
                })
                .map_err(bad_message),
            k if k == Kind::LeaseGrant as u8 => PbLeaseGrantRequest::decode(body)
                .map(|message| wire::lease_grant(&message))
                .map_err(bad_message),
            k if k == Kind::LeaseRevoke as u8 => PbLeaseRevokeRequest::decode(body)
                .map(|message| Request::LeaseRevoke {
                    id: LeaseId(message.id),
                })
                .map_err(bad_message),
            k if k == Kind::Alarm as u8 => {
                let message = PbAlarmRequest::decode(body).map_err(bad_message)?;
                wire::alarm(&message).map_err(bad_request)
            }
            other => Err(corrupt(&format_args!("a record of unknown kind {other}"))),
        }
    }
}
